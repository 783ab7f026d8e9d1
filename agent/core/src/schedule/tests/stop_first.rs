//! The order stop-first: who begins when, and what a successor waits for.

use super::{
    SERVICE, Scene, host_id,
    keeper::{at, plan, scene, take_up, write},
};
use crate::{
    cluster::body::{HostStatus, Placement},
    schedule::{
        copy::awaited,
        keeper::{Decision, Keeper},
    },
    spec::options::{HandOver, PartitionPolicy, ServiceOptions},
    task::status::TaskStatus,
};

fn options(partition: PartitionPolicy) -> ServiceOptions {
    ServiceOptions {
        hand_over: HandOver::StopFirst,
        partition,
        ..ServiceOptions::default()
    }
}

/// One copy on each of three hosts, which all take one port; then the service is to run another
/// definition. What the keeper decides first.
fn updated(partition: PartitionPolicy) -> (Scene, Keeper, Decision) {
    let mut scene = scene(3);
    scene.service_with(3, 1, &[80], options(partition));
    let decisions = plan(&mut Keeper::default(), &scene, 0);
    write(&mut scene, &decisions);
    take_up(&mut scene, &decisions);
    scene.service_with(3, 2, &[80], options(partition));
    let mut keeper = Keeper::default();
    let decisions = plan(&mut keeper, &scene, 100_000);
    write(&mut scene, &decisions);
    let [decision] = &decisions[..] else {
        panic!("one at a time of three: {decisions:#?}");
    };
    (scene, keeper, decision.clone())
}

fn old(decision: &Decision) -> Placement {
    decision.slot.superseded[0]
}

fn waits_for(scene: &Scene, decision: &Decision) -> Option<Placement> {
    let (_, slot) = scene.board.slot(SERVICE, decision.index)?;
    awaited(&scene.board, SERVICE, slot)
}

fn end(scene: &mut Scene, decision: &Decision) {
    let (at, generation) = (old(decision), decision.generation - 1);
    let label = super::label(decision.index, generation);
    let definition = decision.slot.revision.definition;
    let host = (at.host.0 >> 96) as u64;
    let ended = scene.copy(host, label, definition, |report| {
        (report.last, report.desired) = (TaskStatus::Stopped, TaskStatus::Stopped);
    });
    assert_eq!(ended, at.task);
}

#[test]
fn the_successor_may_take_the_place_and_the_port_of_the_old_copy_when_that_has_ended() {
    let (mut scene, mut keeper, decision) = updated(PartitionPolicy::Fill);
    assert_eq!(decision.slot.order, HandOver::StopFirst);
    assert_eq!(
        decision.slot.host,
        Some(old(&decision).host),
        "nowhere else"
    );
    assert_eq!(waits_for(&scene, &decision), Some(old(&decision)));
    assert_eq!(plan(&mut keeper, &scene, 105_000), [], "it is waited for");
    end(&mut scene, &decision);
    assert_eq!(waits_for(&scene, &decision), None);
    assert_eq!(plan(&mut keeper, &scene, 109_000), [], "the offer is new");
}

#[test]
fn what_takes_long_to_stop_is_named_and_the_offer_stands() {
    let (mut scene, mut keeper, decision) = updated(PartitionPolicy::Fill);
    assert_eq!(plan(&mut keeper, &scene, 101_000), []);
    let said = plan(&mut keeper, &scene, 111_000);
    let Placement { host, task } = old(&decision);
    let number = host.0 >> 96;
    assert_eq!(
        said[0].slot.reason,
        format!("waits until host h{number} has stopped task {task}")
    );
    assert_eq!(said[0].generation, decision.generation);
    write(&mut scene, &said);
    assert_eq!(plan(&mut keeper, &scene, 200_000), []);
}

#[test]
fn where_the_old_host_is_down_only_fill_goes_on() {
    for (partition, goes_on) in [
        (PartitionPolicy::Fill, true),
        (PartitionPolicy::Hold, false),
        (PartitionPolicy::Majority, false),
    ] {
        // The successor is elsewhere.
        let (mut scene, _, mut decision) = updated(partition);
        decision.slot.host = Some(host_id(9));
        scene.host(9);
        scene.slot(decision.index, decision.generation, decision.slot.clone());
        scene.down((old(&decision).host.0 >> 96) as u64);
        let waits = waits_for(&scene, &decision).is_some();
        assert_eq!(waits, !goes_on, "{partition}");
    }
}

#[test]
fn a_host_that_left_has_stopped_what_it_ran() {
    let (mut scene, _, decision) = updated(PartitionPolicy::Hold);
    let host = (old(&decision).host.0 >> 96) as u64;
    scene.host_in(host, 2, |report| report.status = HostStatus::Left);
    assert_eq!(waits_for(&scene, &decision), None);
}

#[test]
fn where_nobody_can_take_it_over_nothing_stops() {
    let mut scene = scene(3);
    let stop_first = options(PartitionPolicy::Fill);
    scene.service_with(3, 1, &[80], stop_first);
    let decisions = plan(&mut Keeper::default(), &scene, 0);
    write(&mut scene, &decisions);
    take_up(&mut scene, &decisions);
    // Each host has room for what it runs, but not for what is wanted now.
    for host in 1..=3 {
        scene.host_in(host, 1, |report| report.capacity.memory_mib = 300);
    }
    scene.service_with(3, 2, &[80], stop_first);
    let said = plan(&mut Keeper::default(), &scene, at(100_000).wall.0);
    assert!(!said.is_empty());
    for decision in said {
        assert_eq!(decision.generation, 1, "{decision:#?}");
        assert!(
            decision.slot.reason.starts_with("waits to move"),
            "{decision:#?}"
        );
    }
}
