//! Tasks are killed, and services created: how much is added to what Docker alone needs.

use crate::{
    raw::{Raw, Spread},
    rival::{EVERYWHERE, HOSTS, Rival, await_living, seconds},
    swarm::{self, Tuning},
    trials::{Row, Trials, Unit},
    watching::Watching,
};
use e2e::{
    lab::fleet::LabFleet,
    wait::{pass, secs, wall_nanos},
};
use std::time::Duration;

/// Swarm waits its delay of 5 s before.
const REPLACED_WITHIN: Duration = secs(30);
/// A task that ends sooner is held for one that failed to start.
const SETTLED: Duration = secs(6);
const CREATED_WITHIN: Duration = secs(60);
const SWARMS_TASKS: usize = 5;
const CREATED: usize = 20;
const KILLED: &str = "task killed → replacement running";

/// All of them on the same hosts, with a service each.
pub(crate) fn killed(trials: usize) -> Option<Vec<Row>> {
    let mut fleet = everybody()?;
    let mut taken: [Trials; 3] = Default::default();
    let (mut alone, mut after_end) = <(Trials, Trials)>::default();
    for rival in Rival::ALL {
        // One of ours for each trial: a slot whose tasks end again and again has to wait.
        let count = match rival {
            Rival::Holdfast => trials.next_multiple_of(HOSTS.into()),
            Rival::Swarm(_) => SWARMS_TASKS,
        };
        rival.create(&mut fleet, service(rival), count);
    }
    let mut spared: Vec<String> = Vec::new();
    for trial in 0..trials {
        pass(SETTLED);
        let host = trial % usize::from(HOSTS);
        for (rival, taken) in Rival::ALL.into_iter().zip(&mut taken) {
            let all = rival.containers(&fleet, host, service(rival));
            let victim = all.iter().find(|container| !spared.contains(&container.id));
            let victim = victim.expect("it runs on each host").id.clone();
            let (took, successor) = kill(&mut fleet, host, &victim);
            taken.push(took);
            if rival == Rival::Holdfast {
                spared.push(successor);
            }
        }
        let mut raw = Raw::on(&fleet, host);
        alone.push(raw.start());
        after_end.push(raw.replace());
        let [ours, swarms, tuned] = taken.each_ref().map(Trials::last);
        let raw = (alone.last(), after_end.last());
        eprintln!(
            "  {trial}: Holdfast {ours:.0} ms, Swarm {swarms:.0} ms, tuned {tuned:.0} ms; Docker \
             alone {:.0} ms, after an end {:.0} ms",
            raw.0, raw.1
        );
    }
    let limit = (taken[1].median() / 10.0).min(alone.median() + 50.0);
    let row = |who: &str, trials| Row::new(KILLED, who, Unit::Milliseconds, trials);
    let [ours, swarms, tuned] = taken;
    Some(vec![
        row("Holdfast", ours).aims_at(limit, "≤ Docker alone + 50 ms, ≤ 1/10 of Swarm"),
        row("Docker alone, create and start", alone),
        row("Docker alone, at the end of another", after_end),
        row("Swarm", swarms),
        row("Swarm, tuned", tuned),
    ])
}

/// From 20 tasks asked for to the start of the last one.
pub(crate) fn created(trials: usize) -> Option<Vec<Row>> {
    let mut fleet = everybody()?;
    let (mut ours, mut swarms, mut alone) = <(Trials, Trials, Trials)>::default();
    let swarm = Rival::Swarm(Tuning::AsItComes);
    for trial in 0..trials {
        for (rival, taken) in [(swarm, &mut swarms), (Rival::Holdfast, &mut ours)] {
            let name = format!("web{trial}");
            let mut watching = Watching::on(&fleet, &EVERYWHERE);
            let from = wall_nanos();
            rival.ask_for(&mut fleet, &name, CREATED);
            taken.push(all_started(&mut watching, from));
            rival.await_running(&mut fleet, &name, CREATED);
            rival.remove(&mut fleet, &name, CREATED);
        }
        let mut watching = Watching::on(&fleet, &EVERYWHERE);
        let from = wall_nanos();
        let raw = Spread::start(&fleet, CREATED / usize::from(HOSTS));
        alone.push(all_started(&mut watching, from));
        drop(raw);
        await_living(&fleet, 0);
        eprintln!(
            "  {trial}: Swarm {:.2} s, Holdfast {:.2} s, Docker alone {:.2} s",
            swarms.last(),
            ours.last(),
            alone.last()
        );
    }
    let limit = alone.median() * 1.1;
    let row = |who: &str, trials| {
        Row::new(
            "service of 20 created → all running",
            who,
            Unit::Seconds,
            trials,
        )
    };
    Some(vec![
        row("Holdfast", ours).aims_at(limit, "≤ 1.1 × Docker alone"),
        row("Docker alone", alone),
        row("Swarm", swarms),
    ])
}

fn all_started(watching: &mut Watching, from: u64) -> f64 {
    let last = watching.nth_start(CREATED, CREATED_WITHIN);
    seconds(from, last.expect("all of them start").at_nanos)
}

/// Both on the same hosts.
pub(crate) fn everybody() -> Option<LabFleet> {
    let mut fleet = Rival::Holdfast.fresh()?;
    swarm::form(&mut fleet, Tuning::AsItComes);
    Some(fleet)
}

fn service(rival: Rival) -> &'static str {
    match rival {
        Rival::Holdfast => "ours",
        Rival::Swarm(Tuning::AsItComes) => "theirs",
        Rival::Swarm(Tuning::Tuned) => "tuned",
    }
}

/// From the end of a container to the start of its successor, in ms; the successor's id.
fn kill(fleet: &mut LabFleet, host: usize, victim: &str) -> (f64, String) {
    let mut watching = Watching::on(fleet, &EVERYWHERE);
    fleet.ground(host).engine().kill(victim);
    fleet.note(&format!("killed {victim}"));
    let mut told = |action| {
        let event = watching.nth(action, 1, REPLACED_WITHIN);
        event.unwrap_or_else(|| panic!("no {action} after {victim} was killed"))
    };
    let (ended, started) = (told("die"), told("start"));
    assert_eq!(ended.id, victim, "nobody else ended");
    (seconds(ended.at_nanos, started.at_nanos) * 1e3, started.id)
}
