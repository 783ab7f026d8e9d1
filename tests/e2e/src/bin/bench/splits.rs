//! The network is split two against three and heals: how soon exactly as many run as wanted.

use crate::{
    rival::{Rival, await_living, seconds},
    swarm::Tuning,
    tasks,
    trials::{Row, Trials, Unit},
};
use e2e::{
    lab::{faults, fleet::LabFleet},
    wait::{poll, secs, until, wall_nanos},
};
use std::time::Duration;

const COUNT: usize = 10;
const LEFT: [usize; 2] = [1, 3];
const RIGHT: [usize; 3] = [0, 2, 4];
/// Swarm's side with the leader holds the count after some 20 s.
const FILLED_WITHIN: Duration = secs(60);
const HEALED_WITHIN_S: u64 = 90;

/// What one healing took.
struct Healing {
    /// `None` where it did not happen in time.
    seconds: Option<f64>,
    /// Healthy tasks that were stopped beyond what was too many.
    stopped_too_many: usize,
}

pub(crate) fn healed(trials: usize) -> Option<Vec<Row>> {
    let mut fleet = tasks::everybody()?;
    let swarm = Rival::Swarm(Tuning::AsItComes);
    let mut taken: [Trials; 2] = Default::default();
    let mut stopped: [Trials; 2] = Default::default();
    for trial in 0..trials {
        let each = taken.iter_mut().zip(&mut stopped);
        for (rival, (taken, stopped)) in [swarm, Rival::Holdfast].into_iter().zip(each) {
            let name = format!("web{trial}");
            rival.await_well(&mut fleet);
            rival.create(&mut fleet, &name, COUNT);
            let healing = split_and_heal(&mut fleet, rival);
            taken.push_if(healing.seconds);
            stopped.push_count(healing.stopped_too_many);
            eprintln!(
                "  {trial}: {}: {:.2} s, {} stopped too many",
                rival.name(),
                taken.last(),
                healing.stopped_too_many
            );
            rival.await_well(&mut fleet);
            await_living(&fleet, COUNT);
            rival.remove(&mut fleet, &name, COUNT);
        }
    }
    let [swarms, ours] = taken;
    let [swarms_stopped, ours_stopped] = stopped;
    let exact = |rival: Rival, trials| {
        let what = "split 2 against 3, healed → exactly the count";
        Row::new(what, rival.name(), Unit::Seconds, trials).waited_at_most(HEALED_WITHIN_S)
    };
    let stops = |rival: Rival, trials| {
        let what = "… healthy tasks stopped beyond the surplus";
        Row::new(what, rival.name(), Unit::Times, trials)
    };
    Some(vec![
        exact(Rival::Holdfast, ours).aims_at(3.0, "≤ 3 s"),
        exact(swarm, swarms),
        stops(Rival::Holdfast, ours_stopped).aims_at(0.0, "0"),
        stops(swarm, swarms_stopped),
    ])
}

fn split_and_heal(fleet: &mut LabFleet, rival: Rival) -> Healing {
    fleet.partition(&faults::sides(&[&LEFT, &RIGHT]));
    let sides: &[&[usize]] = match rival {
        Rival::Holdfast => &[&LEFT, &RIGHT],
        // The other side has no quorum, and stays as it is.
        Rival::Swarm(_) => &[&RIGHT],
    };
    until("the sides hold the count", FILLED_WITHIN, || {
        let living = sides.iter().map(|side| fleet.living_on(side));
        let living: Vec<usize> = living.collect();
        if living.iter().all(|living| *living == COUNT) {
            Ok(())
        } else {
            Err(format!("{living:?} live"))
        }
    });
    let everywhere = [&LEFT[..], &RIGHT].concat();
    let surplus = fleet.living_on(&everywhere) - COUNT;
    let from = wall_nanos();
    fleet.heal();
    let exact = poll(secs(HEALED_WITHIN_S), || {
        match fleet.living_on(&everywhere) {
            COUNT => Ok(()),
            living => Err(format!("{living} live")),
        }
    });
    // What follows in its own time is stopped too many, too.
    rival.await_well(fleet);
    if exact.is_err() {
        await_living(fleet, COUNT);
    }
    // A container is gone before Docker tells of its end.
    let ended = until("Docker tells of all ends", FILLED_WITHIN, || {
        let ended = fleet.moves_since(from).ended;
        match ended.len() {
            told if told >= surplus => Ok(ended),
            told => Err(format!("{told} of {surplus}")),
        }
    });
    let last = ended.get(surplus.saturating_sub(1));
    let at = last.map_or(from, |last| last.event.at_nanos);
    Healing {
        seconds: exact.ok().map(|()| seconds(from, at)),
        stopped_too_many: ended.len().saturating_sub(surplus),
    }
}
