//! What a keeper does about tasks that are unhealthy, or never ready.

use super::{Scene, host_id, label, revision, slot_on};
use crate::{
    cluster::body::{Capacity, HostStatus, Placement, Slot, TaskReport},
    ids::Digest,
    schedule::{
        keeper::{Decision, Keeper},
        tests::keeper::{plan, scene, take_up, write},
    },
    spec::options::{HandOver, ServiceOptions},
    task::status::{Health, TaskStatus},
    time::Mono,
};

const fn unhealthy(report: &mut TaskReport) {
    (report.health, report.ready) = (Health::Unhealthy, false);
}

/// So many copies run, one on each of three hosts after the other, all unhealthy.
fn all_unhealthy(desired: u32) -> Scene {
    let mut scene = scene(desired);
    let decisions = plan(&mut Keeper::default(), &scene, 0);
    write(&mut scene, &decisions);
    for decision in &decisions {
        let host = decision.slot.host.expect("there is room");
        let label = label(decision.index, decision.generation);
        let definition = decision.slot.revision.definition;
        scene.copy((host.0 >> 96) as u64, label, definition, unhealthy);
    }
    scene
}

/// Two hosts that hold one task each: an old copy on the first, its unhealthy successor on the
/// second.
fn full(change: fn(&mut TaskReport)) -> (Scene, Digest) {
    let mut scene = Scene::default();
    for host in 1..=2 {
        let memory_mib = 512;
        scene.host_with(host, |report| {
            report.capacity = Capacity {
                cpu: 4_096,
                memory_mib,
                gpus: 0,
            }
        });
    }
    let digest = scene.service(1, 1, &[]);
    let old = scene.copy(1, label(0, 1), digest, change);
    let superseded = vec![Placement {
        host: host_id(1),
        task: old,
    }];
    let slot = Slot {
        superseded,
        ..slot_on(2, revision(digest, 1))
    };
    scene.slot(0, 2, slot);
    scene.copy(2, label(0, 2), digest, unhealthy);
    (scene, digest)
}

#[test]
fn unhealthy_tasks_are_replaced_a_quarter_at_a_time_and_others_first() {
    let mut scene = all_unhealthy(8);
    let (mut keeper, mut given) = (Keeper::default(), 0);
    let decisions = plan(&mut keeper, &scene, 100_000);
    assert_eq!(decisions.len(), 2, "a quarter of 8");
    for Decision { slot, .. } in &decisions {
        assert_eq!(slot.order, HandOver::StartFirst);
        assert_eq!(slot.superseded.len(), 1);
        assert!(
            slot.reason.contains("failed container health checks"),
            "{}",
            slot.reason
        );
        given += slot.failures;
    }
    assert_eq!(given, 2, "each is a first failure");
    write(&mut scene, &decisions);
    take_up(&mut scene, &decisions);
    assert_eq!(
        plan(&mut keeper, &scene, 100_000),
        [],
        "those that are to go have not gone"
    );
}

#[test]
fn where_there_is_no_room_the_unhealthy_goes_first_unless_another_would_go_with_it() {
    let (scene, _) = full(|_| {});
    let decisions = plan(&mut Keeper::default(), &scene, 100_000);
    let [
        Decision {
            slot, generation, ..
        },
    ] = &decisions[..]
    else {
        panic!("{decisions:?}")
    };
    // It only says what it waits for.
    assert_eq!((slot.order, *generation), (HandOver::StartFirst, 2));
    let (mut scene, _) = full(|report| report.last = TaskStatus::Stopped);
    scene.host_with(1, |report| report.status = HostStatus::Leaving);
    let decisions = plan(&mut Keeper::default(), &scene, 100_000);
    let [Decision { slot, .. }] = &decisions[..] else {
        panic!("{decisions:?}")
    };
    assert_eq!(
        (slot.order, slot.host),
        (HandOver::StopFirst, Some(host_id(2)))
    );
}

#[test]
fn what_is_never_ready_is_put_right_by_the_next_update() {
    let mut scene = scene(1);
    let decisions = plan(&mut Keeper::default(), &scene, 0);
    write(&mut scene, &decisions);
    let slot = &decisions[0].slot;
    let host = (slot.host.expect("there is room").0 >> 96) as u64;
    let of_it = label(0, decisions[0].generation);
    scene.copy(host, of_it, slot.revision.definition, |report| {
        report.ready = false
    });
    let mut keeper = Keeper::default();
    assert_eq!(plan(&mut keeper, &scene, 100_000), []);
    let new = scene.service(1, 2, &[]);
    let decisions = plan(&mut keeper, &scene, 101_000);
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].slot.revision.definition, new);
}

#[test]
fn the_unhealthy_is_left_alone_while_its_grace_lasts() {
    let mut scene = scene(1);
    let options = ServiceOptions {
        health_grace_s: 60,
        ..ServiceOptions::default()
    };
    let digest = scene.service_with(1, 1, &[], options);
    scene.slot(0, 1, slot_on(1, revision(digest, 1)));
    // It was started at 10 ms.
    scene.copy(1, label(0, 1), digest, unhealthy);
    let mut keeper = Keeper::default();
    assert_eq!(plan(&mut keeper, &scene, 60_009), []);
    assert_eq!(keeper.deadline(), Some(Mono(60_010_000)));
    assert_eq!(plan(&mut keeper, &scene, 60_010).len(), 1);
}
