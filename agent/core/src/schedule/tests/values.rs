//! What a keeper does when a value that tasks are given is set anew.

use super::{SERVICE, Scene, host_id, label, revision, slot_on, task_id};
use crate::{
    cluster::{
        body::{Body, Key, ServiceRevision},
        values::{ConfigText, Opaque, SetAt, Setting},
    },
    ids::Digest,
    schedule::{
        index::Index,
        keeper::{Decision, Keeper},
        tests::keeper::plan,
    },
    spec::{
        given::{Secret, SecretPlace, SecretSource},
        options::{HandOver, ServiceOptions},
    },
};

fn put(scene: &mut Scene, set_at: SetAt, valid_since: SetAt) {
    let body = Body::Config(ConfigText {
        text: Opaque::from(vec![]),
        set: Setting {
            number: 1,
            by: "ann".into(),
            valid_since,
        },
    });
    scene.put(Key::Config("conf".to_owned()), set_at, Some(body));
}

/// Two copies on two hosts, which have the config as it was set then.
fn scene(given: [SetAt; 2], options: ServiceOptions) -> (Scene, Digest) {
    let mut scene = Scene::default();
    (1..=3).for_each(|host| scene.host(host));
    let plain = scene.service_with(2, 1, &[], options);
    let mut definition = scene.board.definition(plain).expect("it is there").clone();
    definition.containers[0].secrets = vec![Secret {
        at: SecretPlace::Variable("CONF".to_owned()),
        from: SecretSource::Config("conf".to_owned()),
    }];
    let digest = definition.digest();
    scene.put(
        Key::Definition(digest),
        0,
        Some(Body::Definition(definition)),
    );
    let of_service: ServiceRevision = revision(digest, 1);
    let body = Body::ServiceRevision(of_service);
    scene.put(Key::ServiceRevision(SERVICE), 0, Some(body));
    for (index, set_at) in (0..).zip(given) {
        let host = u64::from(index) + 1;
        scene.slot(index, 1, slot_on(host, revision(digest, 1)));
        scene.copy(host, label(index, 1), digest, |report| {
            report.values = [set_at].into();
        });
    }
    (scene, digest)
}

#[test]
fn what_was_set_without_a_restart_leaves_tasks_as_they_are() {
    let (mut scene, _) = scene([100, 200], ServiceOptions::default());
    put(&mut scene, 200, 0);
    assert_eq!(plan(&mut Keeper::default(), &scene, 100_000), []);
    // Of the two, one has it already.
    put(&mut scene, 200, 200);
    let decisions = plan(&mut Keeper::default(), &scene, 100_000);
    let slots: Vec<_> = decisions.iter().map(|one| one.index).collect();
    assert_eq!(slots, [0]);
}

#[test]
fn one_task_after_the_other_takes_up_what_was_set_anew() {
    let (mut scene, digest) = scene([100, 200], ServiceOptions::default());
    put(&mut scene, 200, 200);
    let decisions = plan(&mut Keeper::default(), &scene, 100_000);
    let [Decision { index, slot, .. }] = &decisions[..] else {
        panic!("{decisions:?}")
    };
    assert_eq!((*index, slot.revision.definition), (0, digest));
    assert_eq!(slot.superseded[0].task, task_id(1, 1 << 32));
    assert_ne!(slot.host, Some(host_id(1)));
    assert_eq!(slot.order, HandOver::StartFirst);
    assert_eq!(
        slot.reason,
        "(service web) takes up the config \"conf\", which was set anew"
    );
}

#[test]
fn under_stop_first_nobody_waits_for_an_example() {
    let options = ServiceOptions {
        hand_over: HandOver::StopFirst,
        ..ServiceOptions::default()
    };
    let (mut scene, _) = scene([100, 100], options);
    put(&mut scene, 200, 200);
    let decisions = plan(&mut Keeper::default(), &scene, 100_000);
    let orders: Vec<_> = decisions.iter().map(|one| one.slot.order).collect();
    assert_eq!(orders, [HandOver::StopFirst]);
}

#[test]
fn what_a_task_has_of_which_nobody_knows_stays() {
    let (mut scene, digest) = scene([100, 100], ServiceOptions::default());
    put(&mut scene, 200, 200);
    for (host, index) in [(1, 0), (2, 1)] {
        scene.copy(host, label(index, 1), digest, |report| {
            report.values = Box::default();
        });
    }
    assert_eq!(plan(&mut Keeper::default(), &scene, 100_000), []);
}

#[test]
fn a_value_touches_the_services_that_are_given_it() {
    let (mut scene, _) = scene([100, 100], ServiceOptions::default());
    let mut index = Index::of(&scene.board);
    put(&mut scene, 200, 200);
    let mut touched = |name: &str| {
        let key = Key::Config(name.to_owned());
        let record = scene.board.record(&Key::Config("conf".to_owned()));
        let record = record.expect("it was put").as_ref().clone();
        let record = crate::cluster::record::Record::new(key, record.version, record.body);
        index.on_record(&scene.board, None, &record).services
    };
    assert_eq!(touched("conf"), [SERVICE].into());
    assert_eq!(touched("other"), [].into());
}
