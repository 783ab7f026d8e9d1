//! What copies and keepers do about tasks that are protected from being stopped.

use super::{SERVICE, Scene, host_id, label, revision, slot_on, task_id};
use crate::{
    cluster::body::{Body, Directive, Key, Placement, Slot, TaskReport},
    ids::Digest,
    schedule::{
        copy::{Fate, fate, fate_of_protected},
        keeper::Keeper,
        tests::keeper::{plan, scene, take_up, write},
    },
    spec::options::HandOver,
    task::status::Health,
    time::Wall,
};

const fn protect(report: &mut TaskReport) {
    report.protected_until = Some(Wall(9_000_000));
}

/// Three slots that are served on three hosts; the task of the first one is protected.
fn served() -> Scene {
    let mut scene = scene(3);
    let decisions = plan(&mut Keeper::default(), &scene, 0);
    write(&mut scene, &decisions);
    take_up(&mut scene, &decisions);
    let first = &decisions[0];
    let host = first.slot.host.expect("there is room");
    let label = label(first.index, first.generation);
    let definition = first.slot.revision.definition;
    scene.copy((host.0 >> 96) as u64, label, definition, protect);
    scene
}

fn reasons(scene: &Scene) -> Vec<(u32, Option<u64>, String)> {
    let decisions = plan(&mut Keeper::default(), scene, 60_000);
    let told = decisions.into_iter().map(|decision| {
        let host = decision.slot.host.map(|host| (host.0 >> 96) as u64);
        (decision.index, host, decision.slot.reason)
    });
    told.collect()
}

#[test]
fn an_update_goes_on_with_the_others() {
    let mut scene = served();
    scene.service(3, 2, &[]);
    let told = reasons(&scene);
    let waits = "waits to move to web:2: its task is protected from being stopped";
    assert_eq!(told[0].2, waits, "{told:?}");
    assert_eq!(
        told.len(),
        2,
        "one that waits, and one that moves: {told:?}"
    );
    assert!(told[1].2.contains("moves from web:1 to web:2"), "{told:?}");
}

#[test]
fn a_host_that_drains_keeps_it() {
    let mut scene = served();
    let (_, slot) = scene.board.slot(SERVICE, 0).expect("it is placed");
    let host = slot.host.expect("it is placed");
    let availability = crate::cluster::body::Availability::Drain;
    let drain = Body::Directive(Directive { availability });
    scene.put(Key::Directive(host), 0, Some(drain));
    let told = reasons(&scene);
    let first = told.iter().find(|(index, ..)| *index == 0);
    let (_, _, reason) = first.expect("it is said why it stays");
    let number = host.0 >> 96;
    let expected =
        format!("waits to leave host h{number}: its task is protected from being stopped");
    assert_eq!(*reason, expected);
}

#[test]
fn one_that_fails_its_checks_is_protected_from_nothing() {
    let scene = served();
    let mut tasks = scene.board.tasks_of(SERVICE);
    let protected = tasks.find(|(_, _, report)| report.is_protected());
    let (_, _, report) = protected.expect("one is protected");
    let sick = TaskReport {
        health: Health::Unhealthy,
        ..report.clone()
    };
    assert!(!sick.is_protected());
}

#[test]
fn neither_a_smaller_count_nor_a_successor_ends_it() {
    let (host, task) = (host_id(1), task_id(1, 3 << 32));
    let ours = label(0, 3);
    let check = |case: &str, arrange: &dyn Fn(&mut Scene), stays: bool| {
        let mut scene = Scene::default();
        scene.host(1);
        scene.host(2);
        let digest = scene.service(1, 1, &[]);
        scene.copy(1, ours.clone(), digest, protect);
        arrange(&mut scene);
        let plain = fate(&scene.board, (host, task), &ours);
        assert!(matches!(plain, Fate::Stop { .. }), "{case}: {plain:?}");
        let told = fate_of_protected(&scene.board, (host, task), &ours);
        assert_eq!(told == Fate::Serve, stays, "{case}: {told:?}");
    };
    let shrink = |scene: &mut Scene| {
        scene.service(0, 1, &[]);
    };
    check("a smaller count", &shrink, true);
    let successor = Slot {
        superseded: vec![Placement { host, task }],
        order: HandOver::StopFirst,
        ..slot_on(2, revision(Digest::default(), 1))
    };
    check(
        "stop-first",
        &|scene| scene.slot(0, 4, successor.clone()),
        true,
    );
    let bury = |scene: &mut Scene| scene.put(Key::ServiceSettings(SERVICE), 1, None);
    check("a deletion", &bury, false);
}
