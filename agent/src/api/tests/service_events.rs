//! What `DescribeServices` tells of what happened to a service.

use super::board::{
    A, B, NEWER, T0, WEB, board, bury_service, call, deploy_newer, put, record, records, slot,
    task, task_id, with_view,
};
use crate::api::{Operation, service_events::EVENTS_MAX, services::service_json, view::View};
use expect_test::{Expect, expect};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key, ServiceCount, TaskReport},
    },
    task::status::{Health, StopCode, TaskStatus},
    time::Wall,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Milliseconds after [`T0`].
const fn at(ms: u64) -> Wall {
    Wall(T0.0 + ms)
}

fn events(board: &Board) -> Vec<Value> {
    let body = json!({"services": ["web"]});
    let answer = call(board, Operation::DescribeServices, &body);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["services"][0]["events"].as_array().unwrap().clone()
}

/// Each event with how long after [`T0`] it happened.
fn told(board: &Board) -> String {
    let line = |event: &Value| {
        let s = event["createdAt"].as_f64().unwrap() - T0.0 as f64 / 1_000.0;
        format!("{s:.3} {}", event["message"].as_str().unwrap())
    };
    let lines: Vec<_> = events(board).iter().map(line).collect();
    shortened(&lines.join("\n"))
}

/// Only the last digits of ids.
fn shortened(text: &str) -> String {
    text.replace("aaaaaaaa00000000000000000000", "…")
}

fn check(board: &Board, expected: Expect) {
    expected.assert_eq(&told(board));
}

/// Two slots, which run on both hosts.
fn steady() -> Board {
    let mut board = board();
    let count = Body::ServiceCount(ServiceCount { desired: 2 });
    put(&mut board, Key::ServiceCount(WEB), 1, count);
    board.merge(&record(Key::Slot(WEB, 2), 2, None));
    let mut second = task(1, TaskStatus::Running);
    second.created_at = at(700);
    second.started_at = Some(at(3_000));
    put(&mut board, Key::Task(B, task_id(2)), 2, Body::Task(second));
    board
}

fn stopped(slot: u32, code: StopCode, reason: &str) -> TaskReport {
    let mut report = task(slot, TaskStatus::Stopped);
    report.desired = TaskStatus::Stopped;
    report.stop_code = Some(code);
    report.stopped_reason = reason.into();
    report.stopping_at = Some(at(8_000));
    report.stopped_at = Some(at(9_000));
    report
}

#[test]
fn a_service_that_is_as_it_is_to_be_has_reached_a_steady_state() {
    check(
        &steady(),
        expect![[r#"
        3.000 (service web) has reached a steady state.
        3.000 (service web) (deployment ecs-svc/7243499500343923142) deployment completed.
        0.700 (service web) has started 1 tasks: (task …0002).
        0.000 (service web) has started 1 tasks: (task …0001)."#]],
    );
}

#[test]
fn a_service_of_no_tasks_is_steady_from_when_it_was_asked_for() {
    let mut board = Board::default();
    let of_tasks = |key: &Key| matches!(key, Key::Task(..) | Key::Slot(..));
    for one in records().iter().filter(|record| !of_tasks(&record.key)) {
        board.merge(one);
    }
    check(&board, expect![[""]]);
    let count = Body::ServiceCount(ServiceCount { desired: 0 });
    put(&mut board, Key::ServiceCount(WEB), 5, count);
    check(
        &board,
        expect![[r#"
        0.005 (service web) has reached a steady state.
        0.000 (service web) (deployment ecs-svc/7243499500343923142) deployment completed."#]],
    );
}

#[test]
fn a_rolling_update_is_told_step_by_step() {
    let mut board = steady();
    deploy_newer(&mut board);
    let begin = |slot, ms| {
        let mut report = task(slot, TaskStatus::Running);
        report.definition = NEWER;
        report.created_at = at(ms);
        report.started_at = Some(at(ms + 500));
        Body::Task(report)
    };
    put(&mut board, Key::Task(A, task_id(3)), 3, begin(0, 5_000));
    put(&mut board, Key::Task(B, task_id(4)), 3, begin(1, 6_000));
    check(
        &board,
        expect![[r#"
        6.000 (service web) has started 1 tasks: (task …0004).
        5.000 (service web) has started 1 tasks: (task …0003).
        0.700 (service web) has started 1 tasks: (task …0002).
        0.000 (service web) has started 1 tasks: (task …0001)."#]],
    );
    let code = StopCode::ServiceSchedulerInitiated;
    for (host, slot) in [(A, 0), (B, 1)] {
        let report = Body::Task(stopped(slot, code, "moves from web:1 to web:2"));
        put(
            &mut board,
            Key::Task(host, task_id(u128::from(slot) + 1)),
            3,
            report,
        );
    }
    check(
        &board,
        expect![[r#"
        9.000 (service web) has reached a steady state.
        9.000 (service web) (deployment ecs-svc/5223502968215205464) deployment completed.
        8.000 (service web) has stopped 2 running tasks: (task …0001) (task …0002).
        6.000 (service web) has started 1 tasks: (task …0004).
        5.000 (service web) has started 1 tasks: (task …0003).
        0.000 (service web) has started 2 tasks: (task …0001) (task …0002)."#]],
    );
}

#[test]
fn tasks_that_fail_say_so_in_their_ways() {
    let mut board = steady();
    let mut refused = stopped(
        0,
        StopCode::TaskFailedToStart,
        "RESOURCE:CPU: needs 256, 0 free",
    );
    refused.refused = true;
    refused.started_at = None;
    refused.stopping_at = None;
    put(
        &mut board,
        Key::Task(B, task_id(11)),
        1,
        Body::Task(refused),
    );
    for id in [12, 13] {
        let reason = "CannotPullContainerError: x";
        let mut unpulled = stopped(0, StopCode::TaskFailedToStart, reason);
        unpulled.created_at = at(4_000);
        unpulled.started_at = None;
        put(
            &mut board,
            Key::Task(B, task_id(id)),
            1,
            Body::Task(unpulled),
        );
    }
    let reason = "its task failed container health checks (nginx: no answer)";
    let unwell = stopped(1, StopCode::ServiceSchedulerInitiated, reason);
    put(&mut board, Key::Task(B, task_id(14)), 1, Body::Task(unwell));
    // ECS tells only of what is started in its place.
    let exited = stopped(1, StopCode::EssentialContainerExited, "it exited with 1");
    put(&mut board, Key::Task(B, task_id(15)), 1, Body::Task(exited));
    let mut ill = task(0, TaskStatus::Running);
    ill.health = Health::Unhealthy;
    put(&mut board, Key::Task(A, task_id(1)), 20, Body::Task(ill));
    let mut failing = slot(Some(A), "its task stopped");
    failing.failures = 2;
    put(&mut board, Key::Slot(WEB, 0), 30, Body::Slot(failing));
    check(
        &board,
        expect![[r#"
        9.000 (service web) has reached a steady state.
        9.000 (service web) failed to launch a task with (error RESOURCE:CPU: needs 256, 0 free).
        8.000 (service web) has stopped 1 running tasks: (task …000e).
        8.000 (service web) (task …000e) failed container health checks.
        8.000 (service web) failed to launch 2 tasks with (error CannotPullContainerError: x).
        4.000 (service web) has started 2 tasks: (task …000c) (task …000d).
        1.000 (service web) (deployment ecs-svc/7243499500343923142) deployment completed.
        0.700 (service web) has started 1 tasks: (task …0002).
        0.030 (service web) is unable to consistently start tasks successfully.
        0.020 (service web) (task …0001) failed container health checks.
        0.000 (service web) has started 3 tasks: (task …0001) (task …000e) (task …000f)."#]],
    );
}

#[test]
fn what_happened_to_a_deleted_service_is_told_as_long_as_the_service_is() {
    let mut board = steady();
    bury_service(&mut board);
    let code = StopCode::ServiceSchedulerInitiated;
    let report = Body::Task(stopped(0, code, "service web was deleted"));
    put(&mut board, Key::Task(A, task_id(1)), 3, report);
    check(
        &board,
        expect![[r#"
        8.000 (service web) has stopped 1 running tasks: (task …0001).
        0.700 (service web) has started 1 tasks: (task …0002).
        0.000 (service web) has started 1 tasks: (task …0001)."#]],
    );
}

#[test]
fn an_event_keeps_its_id_when_tasks_that_ended_are_forgotten() {
    let mut board = steady();
    let scaled = stopped(
        2,
        StopCode::ServiceSchedulerInitiated,
        "(service web) was scaled to 2",
    );
    put(&mut board, Key::Task(B, task_id(5)), 1, Body::Task(scaled));
    let ids = |board: &Board| {
        let events = events(board).into_iter();
        let steady = events.filter(|event| event["message"].as_str().unwrap().contains("steady"));
        steady.map(|event| event["id"].clone()).collect::<Vec<_>>()
    };
    let before = ids(&board);
    board.merge(&record(Key::Task(B, task_id(5)), 2, None));
    assert_eq!(ids(&board), before);
    assert_eq!(before.len(), 1);
}

#[test]
fn every_agent_tells_the_same_and_each_event_has_an_id_of_its_own() {
    let board = steady();
    let of = |me| {
        with_view(&board, |view| {
            let service = board.service(WEB).unwrap();
            service_json(&View { me, ..*view }, &service)["events"].clone()
        })
    };
    assert_eq!(of(A), of(B));
    let ids: BTreeSet<_> = events(&board)
        .iter()
        .map(|event| event["id"].to_string())
        .collect();
    assert_eq!(ids.len(), events(&board).len());
}

#[test]
fn of_many_tasks_the_newest_hundred_events_are_told_and_ten_tasks_are_named_in_each() {
    let mut board = board();
    let count = Body::ServiceCount(ServiceCount { desired: 5_000 });
    put(&mut board, Key::ServiceCount(WEB), 1, count);
    // Forty in each second, the slots in no order of time.
    for slot in 0..5_000_u32 {
        let mut report = task(slot, TaskStatus::Pending);
        report.created_at = at(u64::from(slot * 7 % 5_000) * 25);
        put(
            &mut board,
            Key::Task(B, task_id(u128::from(slot) + 100)),
            1,
            Body::Task(report),
        );
    }
    let events = events(&board);
    assert_eq!(events.len(), EVENTS_MAX);
    let newest = shortened(events[0]["message"].as_str().unwrap());
    let newest = newest.replace(" (task", "\n(task");
    expect![[r#"
        (service web) has started 20 tasks:
        (task …032c)
        (task …032d)
        (task …032e)
        (task …05f6)
        (task …05f7)
        (task …05f8)
        (task …08c0)
        (task …08c1)
        (task …08c2)
        (task …0b8b) and 10 more."#]]
    .assert_eq(&newest);
    let times: Vec<_> = events
        .iter()
        .map(|e| e["createdAt"].as_f64().unwrap())
        .collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older));
    let span = times[0] - times[EVENTS_MAX - 1];
    assert_eq!((span * 1_000.0).round(), 98_500.0);
}
