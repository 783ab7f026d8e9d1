//! The network is split, one or two against the rest: what each policy of a service promises, and
//! the healing.

use crate::{CALM, COUNT, nothing_moved};
use e2e::{
    lab::{faults, fleet::LabFleet},
    wait::{holds, secs, until, wall_nanos},
};
use std::time::Duration;

/// The smaller side and the larger one.
type Split = (&'static [usize], &'static [usize]);
const ONE_OF_FIVE: Split = (&[2], &[0, 1, 3, 4]);
const TWO_OF_FIVE: Split = (&[1, 3], &[0, 2, 4]);
/// What a majority replaces, it replaces 17 s after a loss, where a container has a second to stop:
/// the lease is 10 s. The rest is for a machine that has other work.
const MOVED_WITHIN: Duration = secs(27);
/// Longer than the lease.
const SPLIT_FOR: Duration = secs(14);
const EXACT_WITHIN: Duration = secs(15);

fn held_fleet(policy: &str) -> Option<LabFleet> {
    let mut fleet = LabFleet::start(5)?;
    fleet.create_service_held("web", COUNT, "holdfast:partition", policy);
    fleet.await_agreed("web", COUNT);
    Some(fleet)
}

/// Never more than the count: whoever chose this wants at most one of each.
fn the_larger_side_alone_runs_the_count((smaller, larger): Split) {
    let Some(mut fleet) = held_fleet("majority") else {
        return;
    };
    let count = COUNT as usize;
    fleet.partition(&faults::sides(&[smaller, larger]));
    until("the larger side holds the count", MOVED_WITHIN, || {
        let (few, many) = (fleet.living_on(smaller), fleet.living_on(larger));
        assert!(few + many <= count, "{few} and {many} of {count} live");
        match (few, many) {
            (0, many) if many == count => Ok(()),
            _ => Err(format!("{few} and {many} live")),
        }
    });
    fleet.note("the larger side alone holds the count");
    fleet.stays(CALM);
    fleet.heal();
    fleet.await_all();
    fleet.settles(count, EXACT_WITHIN);
    fleet.await_agreed("web", COUNT);
}

#[test]
fn majority_runs_the_count_on_four_hosts_against_one_and_never_more() {
    the_larger_side_alone_runs_the_count(ONE_OF_FIVE);
}

#[test]
fn majority_runs_the_count_on_three_hosts_against_two_and_never_more() {
    the_larger_side_alone_runs_the_count(TWO_OF_FIVE);
}

#[test]
fn majority_holds_the_count_when_two_of_five_are_lost_one_after_the_other() {
    let Some(mut fleet) = held_fleet("majority") else {
        return;
    };
    fleet.lose(&[0]);
    fleet.await_running("web", COUNT, MOVED_WITHIN);
    fleet.lose(&[1]);
    fleet.await_running("web", COUNT, MOVED_WITHIN);
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}

fn nothing_moves_while_held((smaller, larger): Split) {
    let Some(mut fleet) = held_fleet("hold") else {
        return;
    };
    let from = wall_nanos();
    fleet.partition(&faults::sides(&[smaller, larger]));
    fleet.stays(SPLIT_FOR);
    fleet.heal();
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    nothing_moved(&fleet, from);
}

#[test]
fn hold_replaces_nothing_on_a_host_that_is_merely_out_of_reach() {
    nothing_moves_while_held(ONE_OF_FIVE);
}

#[test]
fn hold_replaces_nothing_that_is_merely_out_of_reach() {
    nothing_moves_while_held(TWO_OF_FIVE);
}

/// What a side can see for itself is replaced there, whatever the policy.
#[test]
fn hold_replaces_a_container_that_ends_on_the_smaller_side() {
    let Some(mut fleet) = held_fleet("hold") else {
        return;
    };
    let (smaller, larger) = TWO_OF_FIVE;
    fleet.partition(&faults::sides(&[smaller, larger]));
    let victim = fleet.containers_on(smaller[0]).expect("Docker answers")[0].clone();
    let from = wall_nanos();
    fleet.ground(smaller[0]).engine().kill(&victim.id);
    fleet.note("killed a container of h2");
    until("it is replaced", MOVED_WITHIN, || {
        let moves = fleet.moves_since(from);
        match (moves.ended.len(), moves.started.len()) {
            (1, 1) => Ok(()),
            moves => Err(format!("ended and started: {moves:?}")),
        }
    });
    holds("the count", CALM, || {
        match fleet.living_on(&[0, 1, 2, 3, 4]) {
            living if living == COUNT as usize => Ok(()),
            living => Err(format!("{living} live")),
        }
    });
    fleet.heal();
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}
