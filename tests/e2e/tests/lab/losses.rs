//! Hosts are lost for good or for a while, and the counts are held on what is left.

use crate::{CALM, COUNT, calm_fleet};
use e2e::{
    lab::fleet::LabFleet,
    wait::{secs, wall_nanos},
};
use std::time::Duration;

/// From the moment a host falls silent to the start of the last replacement. The design promises
/// 2 s; the rest is for a machine that has other work.
const RESTORED_WITHIN: Duration = secs(5);

/// Waits for the count, and says how long after the loss the last replacement started.
#[track_caller]
fn restored(fleet: &mut LabFleet, since: u64) {
    fleet.await_running("web", COUNT, RESTORED_WITHIN + secs(10));
    let took = fleet.last_start_after(since);
    println!("from loss to count restored: {took:?}");
    assert!(took <= RESTORED_WITHIN, "it took {took:?}");
}

#[test]
fn whichever_host_is_lost_the_others_restore_the_count() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    for index in 0..5 {
        let since = fleet.lose(&[index]);
        restored(&mut fleet, since);
        fleet.await_up(4);
        fleet.boot(&[index]);
        fleet.await_all();
        let from = wall_nanos();
        fleet.await_agreed("web", COUNT);
        fleet.stays(CALM);
        let moves = fleet.moves_since(from);
        assert!(
            moves.started.is_empty(),
            "its return moves nothing: {moves:#?}"
        );
    }
}

#[test]
fn all_but_one_host_may_be_lost_one_after_the_other() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    for index in 0..4 {
        let since = fleet.lose(&[index]);
        restored(&mut fleet, since);
    }
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}

#[test]
fn all_but_one_host_may_be_lost_at_once() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let since = fleet.lose(&[0, 1, 3, 4]);
    restored(&mut fleet, since);
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}

#[test]
fn a_power_cut_of_all_hosts_ends_with_the_count() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    fleet.lose(&[0, 1, 2, 3, 4]);
    fleet.boot(&[0, 1, 2, 3, 4]);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}

#[test]
fn a_host_that_shuts_down_in_order_and_boots_at_once_ends_with_the_count() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    fleet.shut_down(&[1]);
    fleet.boot(&[1]);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}

#[test]
fn a_new_machine_in_the_place_of_a_lost_one_is_a_host_like_any_other() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let old = fleet.hosts[2].id();
    let since = fleet.lose(&[2]);
    restored(&mut fleet, since);
    fleet.boot_fresh(&[2]);
    // The lost one is known for longer, and is down.
    fleet.await_up(5);
    let from = wall_nanos();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    let moves = fleet.moves_since(from);
    assert!(
        moves.started.is_empty(),
        "its coming moves nothing: {moves:#?}"
    );
    let new = fleet.hosts[2].id();
    assert_ne!(new, old);
    fleet.scale("web", COUNT + 4);
    let all = fleet.await_agreed("web", COUNT + 4);
    assert!(
        all.iter().any(|container| container.host == new),
        "it is used: {all:#?}"
    );
}
