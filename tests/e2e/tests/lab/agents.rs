//! Agents are killed, frozen and started again on hosts that are well: no container is touched.

use crate::{CALM, COUNT, calm_fleet, nothing_lacks, nothing_moved};
use e2e::wait::{pass, secs, wall_nanos};
use nix::sys::signal::Signal;
use std::time::Duration;

#[test]
fn an_agent_that_is_killed_and_started_again_touches_no_container() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let from = wall_nanos();
    for index in 0..5 {
        fleet.hosts[index].kill();
        fleet.start_agents(&[index]);
        fleet.await_all();
    }
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    nothing_moved(&fleet, from);
}

#[test]
fn all_agents_may_be_killed_at_once_and_started_again() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let from = wall_nanos();
    fleet.hosts.iter_mut().for_each(e2e::host::Host::kill);
    fleet.start_agents(&[0, 1, 2, 3, 4]);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    nothing_moved(&fleet, from);
}

#[test]
fn a_rolling_restart_of_all_agents_touches_no_container() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let from = wall_nanos();
    for index in 0..5 {
        fleet.hosts[index].terminate();
        // As long as an upgrade takes, and longer than what makes a silent host down.
        pass(secs(4));
        fleet.start_agents(&[index]);
        fleet.await_all();
    }
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    nothing_moved(&fleet, from);
}

/// Freezes one agent on a host that is well.
fn frozen_for(during: Duration) {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let from = wall_nanos();
    fleet.signal_agent(1, Signal::SIGSTOP);
    fleet.stays(during);
    fleet.signal_agent(1, Signal::SIGCONT);
    fleet.await_up(5);
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    nothing_moved(&fleet, from);
}

#[test]
fn an_agent_that_is_frozen_for_one_second_moves_nothing() {
    frozen_for(secs(1));
}

/// As long as a host whose kernel answers is left alone.
#[test]
fn an_agent_that_is_frozen_for_fifty_seconds_moves_nothing() {
    frozen_for(secs(50));
}

#[test]
fn an_agent_that_is_frozen_for_ten_seconds_moves_nothing() {
    frozen_for(secs(10));
}

/// Longer than a host whose kernel answers is left alone: its tasks are replaced, and run on. None
/// is lacking at any time, and what is too many goes when the agent is back.
#[test]
fn an_agent_that_is_frozen_for_more_than_a_minute_lacks_no_task_and_gives_back_the_surplus() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let count = COUNT as usize;
    fleet.signal_agent(1, Signal::SIGSTOP);
    nothing_lacks(&fleet, secs(75));
    let surplus = fleet.living_on(&[0, 1, 2, 3, 4]) - count;
    let from = wall_nanos();
    fleet.signal_agent(1, Signal::SIGCONT);
    fleet.settles(count, secs(10));
    fleet.await_up(5);
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    let moves = fleet.moves_since(from);
    assert_eq!(
        (moves.started.len(), moves.ended.len()),
        (0, surplus),
        "{moves:#?}"
    );
}
