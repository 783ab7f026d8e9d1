//! Docker is killed, restarted and frozen under a running agent: nothing is lost.

use crate::{CALM, COUNT, calm_fleet};
use e2e::wait::{holds, secs, wall_nanos};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Without its containers' consent: a Docker that starts ends those that a crash left running.
const REPLACED_WITHIN: Duration = secs(15);

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
    let moves = fleet.moves_since(from);
    assert!(
        moves.started.is_empty() && moves.ended.is_empty(),
        "{moves:#?}"
    );
}

#[test]
fn a_docker_that_is_killed_and_keeps_its_containers_moves_nothing() {
    let Some(mut fleet) = calm_fleet(&["--live-restore"]) else {
        return;
    };
    let before = fleet.living();
    fleet.signal_docker(1, Signal::SIGKILL);
    fleet.stays(secs(4));
    fleet.start_docker(1);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    assert_eq!(fleet.living(), before, "the same containers live");
}

#[test]
fn a_docker_that_is_killed_and_ends_its_containers_at_its_start_is_made_good() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    fleet.signal_docker(1, Signal::SIGKILL);
    fleet.stays(secs(4));
    fleet.start_docker(1);
    fleet.await_running("web", COUNT, REPLACED_WITHIN);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}

/// As an upgrade of Docker does it. It ends its containers in order, and then itself.
#[test]
fn a_docker_that_is_restarted_in_order_is_made_good() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    fleet.stop_docker(1);
    fleet.start_docker(1);
    fleet.await_running("web", COUNT, REPLACED_WITHIN);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}

#[test]
fn a_docker_that_is_restarted_in_order_and_keeps_its_containers_moves_nothing() {
    let Some(mut fleet) = calm_fleet(&["--live-restore"]) else {
        return;
    };
    let before = fleet.living();
    fleet.stop_docker(1);
    fleet.stays(secs(4));
    fleet.start_docker(1);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    assert_eq!(fleet.living(), before, "the same containers live");
}

/// Longer than it takes to be held for unavailable: its tasks run, and nobody can ask about them.
#[test]
fn a_docker_that_hangs_for_forty_seconds_lacks_no_task_and_ends_with_the_count() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    fleet.signal_docker(1, Signal::SIGSTOP);
    holds("no task is lacking", secs(40), || {
        match fleet.living_on(&[0, 1, 2, 3, 4]) {
            living if living >= COUNT as usize => Ok(()),
            living => Err(format!("{living} live")),
        }
    });
    fleet.signal_docker(1, Signal::SIGCONT);
    fleet.settles(COUNT as usize, REPLACED_WITHIN);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}
