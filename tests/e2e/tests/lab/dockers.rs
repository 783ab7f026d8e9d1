//! Docker is killed, restarted and frozen under a running agent: nothing is lost.

use crate::{CALM, COUNT, calm_fleet, nothing_lacks, nothing_moved};
use e2e::{
    lab::fleet::LabFleet,
    wait::{secs, wall_nanos},
};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Without its containers' consent: a Docker that starts ends those that a crash left running.
const REPLACED_WITHIN: Duration = secs(15);

/// Docker comes back, and lets its containers run meanwhile: they are the same after it.
fn ended_and_back(end: impl FnOnce(&mut LabFleet)) {
    let Some(mut fleet) = calm_fleet(&["--live-restore"]) else {
        return;
    };
    let before = fleet.living();
    end(&mut fleet);
    fleet.stays(secs(4));
    fleet.start_docker(1);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    assert_eq!(fleet.living(), before, "the same containers live");
}

/// Docker comes back, and its containers have ended: others take their places.
fn made_good(fleet: &mut LabFleet) {
    fleet.start_docker(1);
    fleet.await_running("web", COUNT, REPLACED_WITHIN);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}

#[test]
fn a_docker_that_hangs_for_ten_seconds_moves_nothing() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let from = wall_nanos();
    fleet.signal_docker(1, Signal::SIGSTOP);
    fleet.stays(secs(10));
    fleet.signal_docker(1, Signal::SIGCONT);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    nothing_moved(&fleet, from);
}

#[test]
fn a_docker_that_is_killed_and_keeps_its_containers_moves_nothing() {
    ended_and_back(|fleet| fleet.signal_docker(1, Signal::SIGKILL));
}

#[test]
fn a_docker_that_is_killed_and_ends_its_containers_at_its_start_is_made_good() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    fleet.signal_docker(1, Signal::SIGKILL);
    fleet.stays(secs(4));
    made_good(&mut fleet);
}

/// As an upgrade of Docker does it. It ends its containers in order, and then itself.
#[test]
fn a_docker_that_is_restarted_in_order_is_made_good() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    fleet.stop_docker(1);
    made_good(&mut fleet);
}

#[test]
fn a_docker_that_is_restarted_in_order_and_keeps_its_containers_moves_nothing() {
    ended_and_back(|fleet| fleet.stop_docker(1));
}

/// Longer than it takes to be held for unavailable: its tasks run, and nobody can ask about them.
#[test]
fn a_docker_that_hangs_for_forty_seconds_lacks_no_task_and_ends_with_the_count() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    fleet.signal_docker(1, Signal::SIGSTOP);
    nothing_lacks(&fleet, secs(40));
    fleet.signal_docker(1, Signal::SIGCONT);
    fleet.settles(COUNT as usize, REPLACED_WITHIN);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}
