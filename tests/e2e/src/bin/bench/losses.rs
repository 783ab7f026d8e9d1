//! Hosts lose power, one or three of five: how long until the count is restored on what is left.

use crate::{
    rival::{EVERYWHERE, Rival, seconds},
    swarm::{self, Tuning},
    trials::{Row, Trials, Unit},
    watching::Watching,
};
use e2e::{
    lab::fleet::LabFleet,
    wait::{pass, secs, until},
};
use std::time::Duration;

const COUNT: usize = 10;
/// Swarm was seen to take 83 s when its leader was lost.
const ONE_WITHIN_S: u64 = 90;
/// Three heartbeats of Swarm's and its pause before a task is replaced are 20 s.
const THREE_WITHIN_S: u64 = 30;
const CONFIRMED_WITHIN: Duration = secs(20);
/// The last two are workers in Swarm's cluster.
const WORKERS: [usize; 2] = [3, 4];
const HOST_LOST: &str = "host lost → count restored";
const THREE_LOST: &str = "three of five lost at once → full count on two";

/// One host at a time. Of Holdfast's, each is lost in turn, as all of them are alike.
pub(crate) fn one_host(trials: usize) -> Option<Vec<Row>> {
    let mut ours = Trials::default();
    let mut each: [Trials; 5] = Default::default();
    let tunings = [Tuning::AsItComes, Tuning::Tuned];
    let mut workers: [Trials; 2] = Default::default();
    let mut leaders: [Trials; 2] = Default::default();
    for trial in 0..trials {
        for (tuning, (worker, leader)) in tunings.iter().zip(workers.iter_mut().zip(&mut leaders)) {
            let rival = Rival::Swarm(*tuning);
            let mut fleet = rival.fresh()?;
            rival.create(&mut fleet, "web", COUNT);
            worker.push_if(lose(&mut fleet, rival, WORKERS[trial % 2], trial));
            let leads = swarm::who_leads(&fleet).expect("one leads where all is well");
            leader.push_if(lose_for_good(&mut fleet, &[leads], trial, ONE_WITHIN_S));
            let (worker, leader) = (worker.last(), leader.last());
            eprintln!(
                "  {trial}: {}: {worker:.2} s; leader {leader:.2} s",
                rival.name()
            );
        }
        let mut fleet = Rival::Holdfast.fresh()?;
        Rival::Holdfast.create(&mut fleet, "web", COUNT);
        for victim in [trial % 5, (trial + 2) % 5] {
            let took = lose(&mut fleet, Rival::Holdfast, victim, trial);
            ours.push_if(took);
            each[victim].push_if(took);
            eprintln!("  {trial}: Holdfast, h{}: {:.2} s", victim + 1, ours.last());
        }
    }
    let limit = (workers[0].median() / 8.0).min(2.0);
    let row = |who: &str, trials: Trials| {
        Row::new(HOST_LOST, who, Unit::Seconds, trials).waited_at_most(ONE_WITHIN_S)
    };
    let slowest = each
        .into_iter()
        .filter(|trials| trials.median().is_finite());
    let slowest = slowest.max_by(|a, b| a.median().total_cmp(&b.median()));
    let [worker, worker_tuned] = workers;
    let [leader, leader_tuned] = leaders;
    Some(vec![
        row("Holdfast, any host", ours).aims_at(limit, "≤ 2 s, ≤ 1/8 of Swarm"),
        row("Holdfast, its slowest host", slowest.unwrap_or_default()).aims_at(limit, "the same"),
        row("Swarm, a worker", worker),
        row("Swarm, the leader", leader),
        row("Swarm, tuned, a worker", worker_tuned),
        row("Swarm, tuned, the leader", leader_tuned),
    ])
}

/// Three at once, among them two of Swarm's three managers with their leader.
pub(crate) fn three_hosts(trials: usize) -> Option<Vec<Row>> {
    let (mut ours, mut swarms) = <(Trials, Trials)>::default();
    let swarm = Rival::Swarm(Tuning::AsItComes);
    for trial in 0..trials {
        for (rival, taken) in [(swarm, &mut swarms), (Rival::Holdfast, &mut ours)] {
            let mut fleet = rival.fresh()?;
            rival.create(&mut fleet, "web", COUNT);
            taken.push_if(lose_for_good(&mut fleet, &[0, 1, 4], trial, THREE_WITHIN_S));
            eprintln!("  {trial}: {}: {:.2} s", rival.name(), taken.last());
        }
    }
    let row = |rival: Rival, trials: Trials| {
        Row::new(THREE_LOST, rival.name(), Unit::Seconds, trials).waited_at_most(THREE_WITHIN_S)
    };
    Some(vec![
        row(Rival::Holdfast, ours).aims_at(5.0, "≤ 5 s"),
        row(swarm, swarms),
    ])
}

/// One host loses power, and comes back when the others have made up for it.
fn lose(fleet: &mut LabFleet, rival: Rival, victim: usize, trial: usize) -> Option<f64> {
    let took = lose_for_good(fleet, &[victim], trial, ONE_WITHIN_S);
    rival.boot(fleet, &[victim]);
    rival.await_running(fleet, "web", COUNT);
    took
}

fn lose_for_good(
    fleet: &mut LabFleet,
    victims: &[usize],
    trial: usize,
    within_s: u64,
) -> Option<f64> {
    // Each time in another moment between two heartbeats.
    pass(Duration::from_millis(700) * u32::try_from(trial % 10).expect("it is small"));
    let left: Vec<usize> = EVERYWHERE
        .into_iter()
        .filter(|host| !victims.contains(host))
        .collect();
    let needed = fleet.living_on(victims);
    let mut watching = Watching::on(fleet, &left);
    let since = fleet.lose(victims);
    let restored = watching.nth_start(needed, secs(within_s))?;
    until("what was started lives", CONFIRMED_WITHIN, || {
        match fleet.living_on(&left) {
            living if living >= COUNT => Ok(()),
            living => Err(format!("{living} live")),
        }
    });
    Some(seconds(since, restored.at_nanos))
}
