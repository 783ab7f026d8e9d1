//! The network is split, broken in part or flapping; healed, each count is exact again.

use crate::{CALM, COUNT, calm_fleet};
use e2e::{
    lab::{faults, fleet::LabFleet},
    wait::{holds, pass, secs, wall_nanos},
};
use std::time::Duration;

/// From the healing to exactly as many as wanted. The design promises 3 s; the rest is for a
/// machine that has other work.
const EXACT_WITHIN: Duration = secs(5);
/// Both sides notice the split and fill up; not measured.
const FILLED_WITHIN: Duration = secs(15);

/// Splits five hosts, lets each side hold the full count, heals.
fn split_and_heal(left: &[usize], right: &[usize]) {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    fleet.partition(&faults::sides(&[left, right]));
    for side in [left, right] {
        fleet.await_running_on(side, "web", COUNT, FILLED_WITHIN);
    }
    fleet.stays(CALM);
    let surplus = COUNT as usize;
    heal_to_exactly_the_count(&mut fleet, surplus);
}

/// Heals, and allows for the end of the surplus, and for no start and no other end.
fn heal_to_exactly_the_count(fleet: &mut LabFleet, surplus: usize) {
    let from = wall_nanos();
    fleet.heal();
    fleet.settles(COUNT as usize, EXACT_WITHIN + secs(10));
    let ended = fleet.moves_since(from).ended;
    let last = ended.last().map_or(from, |last| last.event.at_nanos);
    let took = Duration::from_nanos(last.saturating_sub(from));
    println!("from healing to exactly {COUNT}: {took:?}");
    assert!(took <= EXACT_WITHIN, "it took {took:?}");
    fleet.await_up(5);
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    let moves = fleet.moves_since(from);
    assert!(moves.started.is_empty(), "nothing is started: {moves:#?}");
    assert_eq!(
        moves.ended.len(),
        surplus,
        "only the surplus ends: {moves:#?}"
    );
}

#[test]
fn a_split_of_one_against_four_heals_to_the_exact_count() {
    split_and_heal(&[0], &[1, 2, 3, 4]);
}

#[test]
fn a_split_of_two_against_three_heals_to_the_exact_count() {
    split_and_heal(&[1, 3], &[0, 2, 4]);
}

#[test]
fn a_host_that_is_paused_until_it_was_replaced_gives_back_only_the_surplus() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let lost = fleet.ground(3).living().len();
    fleet.pause(3);
    fleet.await_running_on(&[0, 1, 2, 4], "web", COUNT, FILLED_WITHIN);
    let from = wall_nanos();
    fleet.resume(3);
    fleet.settles(COUNT as usize, EXACT_WITHIN);
    fleet.await_up(5);
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    let moves = fleet.moves_since(from);
    assert!(moves.started.is_empty(), "nothing is started: {moves:#?}");
    assert_eq!(moves.ended.len(), lost, "only the surplus ends: {moves:#?}");
}

/// Nothing may move, as everybody else reaches both.
#[test]
fn a_broken_link_between_two_hosts_moves_nothing() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    fleet.cut_one_way(0, 1);
    fleet.stays(secs(6));
    fleet.cut_between(0, 1);
    fleet.stays(secs(6));
    fleet.heal();
    fleet.await_up(5);
    fleet.await_agreed("web", COUNT);
}

#[test]
fn a_link_that_flaps_faster_than_hosts_are_judged_moves_nothing() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let before = fleet.living();
    for _ in 0..8 {
        fleet.cut_off(2);
        pass(secs(1));
        fleet.heal();
        pass(secs(1));
    }
    assert_eq!(fleet.living(), before, "nothing moved");
    fleet.await_up(5);
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    assert_eq!(fleet.living(), before, "nothing moved");
}

/// A firewall that lets connections through and no datagrams: hosts reach one another by stream,
/// for longer than one whose agent alone is silent would be borne with.
#[test]
fn a_host_without_datagrams_loses_nothing() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let from = wall_nanos();
    fleet.block_udp(&[1]);
    holds("nothing moves", secs(70), || {
        let moves = fleet.moves_since(from);
        if moves.started.is_empty() && moves.ended.is_empty() {
            Ok(())
        } else {
            Err(format!("{moves:?}"))
        }
    });
    heal_to_exactly_the_count(&mut fleet, 0);
}
