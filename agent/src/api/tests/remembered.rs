//! What was written down of a service is told for as long as it would be written again.

use super::board::{
    A, B, NEWER, T0, WEB, begin_anew, board, condemn, deploy_newer, put, record, revision, slot,
    task, task_id, with_view,
};
use crate::api::{
    self, Operation, Plan,
    remembered::{Remembered, service_written},
    view::View,
};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key, Pins, ServiceCount, ServiceSettings},
        tag::{Subject, Tag},
    },
    ids::{ImageDigest, ServiceId},
    spec::options::ServiceOptions,
    task::status::{StopCode, TaskStatus},
    time::Wall,
};
use serde_json::{Value, json, value::RawValue};
use std::sync::Arc;

const COPIES: u32 = 100;
const OTHER: ServiceId = ServiceId(0x0d << 120);

/// Its service is as it is to be.
fn large() -> Board {
    let mut board = board();
    for (host, task) in [(A, 1), (B, 2)] {
        board.merge(&record(Key::Task(host, task_id(task)), 2, None));
    }
    let count = Body::ServiceCount(ServiceCount { desired: COPIES });
    put(&mut board, Key::ServiceCount(WEB), 1, count);
    for index in 0..COPIES {
        let placed = Body::Slot(slot(Some(A), "spread: fewest tasks"));
        put(&mut board, Key::Slot(WEB, index), 2, placed);
        let mut running = task(index, TaskStatus::Running);
        running.containers[0].image = Some(ImageDigest([4; 32]));
        let key = Key::Task(A, task_id(100 + u128::from(index)));
        put(&mut board, key, 1, Body::Task(running));
    }
    board
}

fn looking<T>(board: &Board, remembered: &Remembered, look: impl FnOnce(&View<'_>) -> T) -> T {
    with_view(board, |view| {
        look(&View {
            standing: &|host| board.standing_now(host),
            remembered,
            ..*view
        })
    })
}

fn written(board: &Board, remembered: &Remembered) -> Arc<RawValue> {
    looking(board, remembered, |view| {
        service_written(view, &board.service(WEB).unwrap())
    })
}

fn described(board: &Board, remembered: &Remembered) -> Value {
    let body = json!({"services": ["web"]});
    let plan = looking(board, remembered, |view| {
        api::plan(view, Operation::DescribeServices, &body)
    });
    match plan.unwrap() {
        Plan::Written { json, .. } => serde_json::from_slice(&json).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn stopped(index: u32) -> Body {
    let mut report = task(index, TaskStatus::Stopped);
    report.stopped_at = Some(Wall(T0.0 + 9_000));
    report.stop_code = Some(StopCode::TaskFailedToStart);
    report.stopped_reason = "no such image".into();
    Body::Task(report)
}

type Change = fn(&mut Board);

/// All by which a service is described, one after the other.
fn changes() -> Vec<(&'static str, Change)> {
    let mut all = of_tasks();
    all.extend(of_all_else());
    all
}

fn of_tasks() -> Vec<(&'static str, Change)> {
    vec![
        ("its images are known, and others", |board| {
            let pins = Pins {
                definition: revision().definition,
                renewals: 0,
                images: [("nginx".into(), ImageDigest([5; 32]))].into(),
            };
            put(board, Key::Pins(WEB), 1, Body::Pins(pins));
        }),
        ("a task is reported anew", |board| {
            put(board, Key::Task(A, task_id(100)), 2, stopped(0));
        }),
        ("a task is forgotten", |board| {
            board.merge(&record(Key::Task(A, task_id(100)), 3, None));
        }),
        ("its report is removed", |board| {
            let said = board.record(&Key::Task(A, task_id(101)));
            let said = Arc::clone(said.unwrap());
            board.remove(&said);
        }),
        ("it comes back under the same version", |board| {
            let body = Body::Task(task(1, TaskStatus::Running));
            put(board, Key::Task(A, task_id(101)), 1, body);
        }),
        ("a slot has no host", |board| {
            put(
                board,
                Key::Slot(WEB, 7),
                3,
                Body::Slot(slot(None, "no host")),
            );
        }),
        ("it fails", |board| {
            let mut failing = slot(Some(B), "");
            failing.failures = 3;
            put(board, Key::Slot(WEB, 7), 4, Body::Slot(failing));
        }),
    ]
}

fn of_all_else() -> Vec<(&'static str, Change)> {
    vec![
        ("it is scaled", |board| {
            let count = Body::ServiceCount(ServiceCount {
                desired: COPIES + 1,
            });
            put(board, Key::ServiceCount(WEB), 2, count);
        }),
        ("its options are others", |board| {
            let options = ServiceOptions {
                health_grace_s: 77,
                ..ServiceOptions::default()
            };
            let settings = ServiceSettings {
                name: "web".to_owned(),
                created_at: T0,
                client_token: String::new(),
                options,
            };
            let body = Body::ServiceSettings(settings);
            put(board, Key::ServiceSettings(WEB), 2, body);
        }),
        ("a tag is set", |board| {
            let key = Key::Tag(Subject::Service(WEB), "team".to_owned());
            put(
                board,
                key,
                1,
                Body::Tag(Tag {
                    value: "blue".to_owned(),
                    over: None,
                }),
            );
        }),
        ("another version is deployed", deploy_newer),
        ("a task of it runs", |board| {
            let mut newer = task(3, TaskStatus::Running);
            (newer.definition, newer.revision) = (NEWER, 2);
            put(board, Key::Task(B, task_id(500)), 1, Body::Task(newer));
        }),
        ("a host's agent is started again", |board| {
            begin_anew(board, A)
        }),
        ("a host is down", |board| condemn(board, B)),
        ("a host is forgotten", |board| {
            board.merge(&record(Key::Host(A), 9, None));
        }),
        ("it is deleted", |board| {
            board.merge(&record(Key::ServiceSettings(WEB), 9, None));
        }),
    ]
}

#[test]
fn whatever_changes_a_description_is_told_at_once() {
    let (mut board, remembered) = (large(), Remembered::default());
    for (what, change) in changes() {
        let before = described(&board, &remembered);
        assert_eq!(before, described(&board, &remembered), "before {what}");
        let old = board.clone();
        change(&mut board);
        let anew = described(&board, &Remembered::default());
        assert_ne!(anew, before, "{what} makes no difference");
        assert_eq!(described(&board, &remembered), anew, "{what}");
        // A reader may have an older picture than the one before.
        assert_eq!(described(&old, &remembered), before, "before {what}");
    }
}

#[test]
fn it_is_kept_while_nothing_of_the_service_changes() {
    let (mut board, remembered) = (large(), Remembered::default());
    let written = |board: &Board| written(board, &remembered);
    let first = written(&board);
    let mut of_other = task(0, TaskStatus::Running);
    of_other.slot.as_mut().unwrap().service = OTHER;
    put(
        &mut board,
        Key::Task(A, task_id(900)),
        1,
        Body::Task(of_other),
    );
    put(
        &mut board,
        Key::Slot(OTHER, 0),
        1,
        Body::Slot(slot(None, "full")),
    );
    assert!(Arc::ptr_eq(&first, &written(&board)));
    put(&mut board, Key::Task(A, task_id(100)), 2, stopped(0));
    let second = written(&board);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &written(&board.clone())));
}

#[test]
fn a_small_service_is_written_each_time() {
    let (board, remembered) = (board(), Remembered::default());
    let written = || written(&board, &remembered);
    assert!(!Arc::ptr_eq(&written(), &written()));
}
