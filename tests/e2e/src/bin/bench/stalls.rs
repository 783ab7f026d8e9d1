//! An agent stalls while its tasks are fine: whatever is started or killed then, is for nothing.

use crate::{
    rival::{Rival, await_living},
    swarm::Tuning,
    tasks,
    trials::{Row, Trials, Unit},
};
use e2e::{
    lab::fleet::LabFleet,
    wait::{pass, secs, wall_nanos},
};
use nix::sys::signal::Signal;
use std::time::Duration;

const COUNT: usize = 10;
const FROZEN: Duration = secs(30);
/// What follows in its own time.
const CALM: Duration = secs(5);
/// A worker in Swarm's cluster.
const VICTIM: usize = 3;

pub(crate) fn frozen(trials: usize) -> Option<Vec<Row>> {
    let mut fleet = tasks::everybody()?;
    let swarm = Rival::Swarm(Tuning::AsItComes);
    let mut started: [Trials; 2] = Default::default();
    let mut ended: [Trials; 2] = Default::default();
    for trial in 0..trials {
        let taken = started.iter_mut().zip(&mut ended);
        for (rival, (started, ended)) in [swarm, Rival::Holdfast].into_iter().zip(taken) {
            let name = format!("web{trial}");
            rival.create(&mut fleet, &name, COUNT);
            let (starts, kills) = freeze(&mut fleet, rival);
            eprintln!(
                "  {trial}: {}: {starts} starts, {kills} kills",
                rival.name()
            );
            started.push_count(starts);
            ended.push_count(kills);
            rival.remove(&mut fleet, &name, COUNT);
        }
    }
    let rows = |what, [swarms, ours]: [Trials; 2]| {
        let row = |rival: Rival, trials| Row::new(what, rival.name(), Unit::Times, trials);
        [
            row(Rival::Holdfast, ours).aims_at(0.0, "0"),
            row(swarm, swarms),
        ]
    };
    let mut all = rows("agent frozen 30 s, tasks fine: starts", started).to_vec();
    all.extend(rows("… kills", ended));
    Some(all)
}

/// How many containers are started and ended by it.
fn freeze(fleet: &mut LabFleet, rival: Rival) -> (usize, usize) {
    let signal = |fleet: &mut LabFleet, signal| match rival {
        Rival::Holdfast => fleet.signal_agent(VICTIM, signal),
        Rival::Swarm(_) => fleet.signal_docker(VICTIM, signal),
    };
    let from = wall_nanos();
    signal(fleet, Signal::SIGSTOP);
    pass(FROZEN);
    signal(fleet, Signal::SIGCONT);
    rival.await_well(fleet);
    await_living(fleet, COUNT);
    pass(CALM);
    await_living(fleet, COUNT);
    let moves = fleet.moves_since(from);
    (moves.started.len(), moves.ended.len())
}
