//! Real hosts with a Docker each, and the faults that machines have: `make lab-test`, as root.

mod ground;
mod losses;
mod splits;
mod policies;
mod meetings;
mod agents;
mod reach;
mod dockers;
mod meddling;
mod disks;
mod clocks;
mod discovery;

use e2e::{
    lab::fleet::LabFleet,
    wait::{holds, secs},
};
use std::time::Duration;

/// More than there are hosts, so that one of them runs two.
const COUNT: u32 = 6;
/// For so long nothing may move when all is well again.
const CALM: Duration = secs(3);

/// Five hosts with their service, and nothing under way; with more arguments for dockerd.
fn calm_fleet(dockerd_arguments: &[&str]) -> Option<LabFleet> {
    let mut fleet = LabFleet::up(5, dockerd_arguments)?;
    fleet.start_all();
    fleet.create_service("web", COUNT);
    fleet.await_agreed("web", COUNT);
    Some(fleet)
}

/// That since then no container was started, stopped or restarted.
#[track_caller]
fn nothing_moved(fleet: &LabFleet, since: u64) {
    let moves = fleet.moves_since(since);
    assert!(
        moves.started.is_empty() && moves.ended.is_empty(),
        "{moves:#?}"
    );
}

/// That for so long no task is lacking; some may be too many.
#[track_caller]
fn nothing_lacks(fleet: &LabFleet, during: Duration) {
    holds("no task is lacking", during, || {
        match fleet.living_on(&[0, 1, 2, 3, 4]) {
            living if living >= COUNT as usize => Ok(()),
            living => Err(format!("{living} live")),
        }
    });
}
