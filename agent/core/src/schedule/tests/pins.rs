//! Which bytes a deployment is of, and what a keeper does about a task of others.

use super::{SERVICE, Scene, host_id, label, revision, slot_on, task_id};
use crate::{
    cluster::body::{Body, ContainerReport, ContainerStatus, Key, Pins, TaskReport},
    ids::{Digest, ImageDigest},
    schedule::{
        keeper::{Decision, Keeper, Scope},
        pins::learned,
        tests::keeper::plan,
    },
    spec::options::{HandOver, ServiceOptions},
    task::status::Health,
};

const FIRST: ImageDigest = ImageDigest([1; 32]);
const OTHER: ImageDigest = ImageDigest([2; 32]);

fn made_of(image: Option<ImageDigest>) -> impl FnOnce(&mut TaskReport) {
    move |report| {
        report.containers = Box::new([ContainerReport {
            name: "main".into(),
            runtime_id: None,
            status: ContainerStatus::Running,
            exit_code: None,
            reason: Box::default(),
            ports: Box::default(),
            health: Health::Unknown,
            restarts: 0,
            image,
            gpus: Box::default(),
        }]);
    }
}

/// Two copies on two hosts, of these bytes.
fn scene(images: [Option<ImageDigest>; 2]) -> (Scene, Digest) {
    let mut scene = Scene::default();
    (1..=3).for_each(|host| scene.host(host));
    let digest = scene.service(2, 1, &[]);
    for (index, image) in (0..).zip(images) {
        let host = u64::from(index) + 1;
        scene.slot(index, 1, slot_on(host, revision(digest, 1)));
        scene.copy(host, label(index, 1), digest, made_of(image));
    }
    (scene, digest)
}

fn pins(definition: Digest, image: ImageDigest) -> Pins {
    Pins {
        definition,
        renewals: 0,
        images: [("main".into(), image)].into(),
    }
}

fn put(scene: &mut Scene, pins: Pins) {
    scene.put(Key::Pins(SERVICE), 0, Some(Body::Pins(pins)));
}

#[test]
fn the_first_slot_of_which_it_is_known_tells_what_all_are_to_run() {
    let told = |scene: &Scene| learned(&scene.board, scene.the_service(), &Scope::Whole);
    let (mut both, digest) = scene([Some(FIRST), Some(OTHER)]);
    assert_eq!(told(&both), Some(pins(digest, FIRST)));
    let of_second = Scope::Slots([1].into());
    let by_second = learned(&both.board, both.the_service(), &of_second);
    assert_eq!(by_second, Some(pins(digest, OTHER)));
    put(&mut both, pins(digest, FIRST));
    assert_eq!(told(&both), None, "nothing is left to be learned");

    let (second, digest) = scene([None, Some(OTHER)]);
    assert_eq!(told(&second), Some(pins(digest, OTHER)));
    let (neither, _) = scene([None, None]);
    assert_eq!(told(&neither), None);
}

#[test]
fn what_another_deployment_ran_says_nothing_of_this_one() {
    let (mut scene, digest) = scene([Some(FIRST), Some(OTHER)]);
    put(&mut scene, pins(digest, FIRST));
    scene.service(2, 2, &[]);
    assert_eq!(scene.the_service().pins, None);
    let told = learned(&scene.board, scene.the_service(), &Scope::Whole);
    assert_eq!(told, None, "no task of it has begun");
}

#[test]
fn a_task_of_other_bytes_is_replaced_and_one_of_unknown_bytes_is_not() {
    let (mut scene, digest) = scene([None, Some(OTHER)]);
    assert_eq!(plan(&mut Keeper::default(), &scene, 100_000), []);
    put(&mut scene, pins(digest, FIRST));
    let decisions = plan(&mut Keeper::default(), &scene, 100_000);
    let [Decision { index, slot, .. }] = &decisions[..] else {
        panic!("{decisions:?}")
    };
    assert_eq!(*index, 1);
    assert_eq!(slot.superseded[0].task, task_id(2, 1 << 32 | 1));
    assert_eq!(
        slot.reason,
        format!("(service web) runs one image everywhere: container main moves to {FIRST}")
    );
}

#[test]
fn under_stop_first_nothing_stops_for_bytes_that_nobody_runs() {
    for (first, order) in [(None, None), (Some(FIRST), Some(HandOver::StopFirst))] {
        let (mut scene, digest) = scene([first, Some(OTHER)]);
        let options = ServiceOptions {
            hand_over: HandOver::StopFirst,
            ..ServiceOptions::default()
        };
        scene.service_with(2, 1, &[], options);
        put(&mut scene, pins(digest, FIRST));
        let decisions = plan(&mut Keeper::default(), &scene, 100_000);
        let [decision] = &decisions[..] else {
            panic!("{decisions:?}")
        };
        let moves = decision.generation == 2;
        assert_eq!(
            (decision.index, moves),
            (1, order.is_some()),
            "{decision:?}"
        );
        let moved = Some(decision.slot.order).filter(|_| moves);
        assert_eq!(moved, order);
    }
}

#[test]
fn a_renewed_deployment_replaces_all_its_tasks_and_has_no_pins() {
    let (mut scene, digest) = scene([Some(FIRST), Some(FIRST)]);
    put(&mut scene, pins(digest, FIRST));
    assert_eq!(plan(&mut Keeper::default(), &scene, 100_000), []);
    let mut renewed = revision(digest, 1);
    renewed.renewals = 1;
    let body = Body::ServiceRevision(renewed.clone());
    scene.put(Key::ServiceRevision(SERVICE), 0, Some(body));
    assert_eq!(scene.the_service().pins, None);
    let decisions = plan(&mut Keeper::default(), &scene, 100_000);
    let [Decision { slot, .. }] = &decisions[..] else {
        panic!("one at a time: {decisions:?}")
    };
    assert_eq!(slot.revision, renewed);
    assert_ne!(slot.host, Some(host_id(1)));
    assert_eq!(slot.reason, "(service web) deploys web:1 anew");
}
