//! What ECS has no word for, and the ECS agent's introspection.

use super::board::{
    A, B, T0, WEB, begin_anew, board, condemn, context, pretty, put, slot, task, task_id, with_view,
};
use crate::{
    api::{hosts, introspection, overview, services, tasks, view::View, why},
    handle::DaemonStatus,
};
use expect_test::expect_file;
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key},
    },
    ids::Digest,
    task::status::{Health, TaskStatus},
};
use serde_json::{Value, json};

/// The RUNNING task of `A` does not count among its service's; this is how it is shown.
fn shown_but_not_counted(view: &View<'_>) -> Value {
    let service = view.board.service(WEB).unwrap();
    let counted = services::counts(view, service.id);
    assert_eq!((counted.running, counted.pending), (0, 1));
    let (host, report) = view.board.task(task_id(1)).unwrap();
    tasks::extended_json(view, host, task_id(1), report)
}

#[test]
fn tasks_on_a_host_that_is_down_are_shown_but_not_counted() {
    let mut board = board();
    condemn(&mut board, A);
    with_view(&board, |view| {
        let shown = shown_but_not_counted(view);
        expect_file!["snapshots/down_task.txt"].assert_eq(&format!(
            "{} {} {}",
            shown["lastStatus"], shown["connectivity"], shown["holdfast"]["host"]
        ));
        let (_, report) = board.host(A).unwrap();
        let host = hosts::container_instance_json(view, A, report);
        assert_eq!(host["agentConnected"], json!(false));
    });
}

#[test]
fn what_a_host_that_is_back_has_not_confirmed_is_shown_but_not_counted() {
    let mut board = board();
    begin_anew(&mut board, A);
    with_view(&board, |view| {
        let shown = shown_but_not_counted(view);
        assert_eq!(shown["holdfast"]["confirmed"], json!(false));
        let why = why::why(view, "web").unwrap();
        let text = why["slots"][0]["explanation"].as_str().unwrap();
        assert!(text.contains("has not said yet whether task"), "{text}");
        assert_eq!(why["slots"][0]["well"], json!(false));
    });
}

#[test]
fn why_names_the_filter_the_host_and_who_decides() {
    let mut board = board();
    let explanations = |board: &_| {
        let why = with_view(board, |view| why::why(view, "web")).unwrap();
        let slots = why["slots"].as_array().unwrap().clone();
        let texts: Vec<_> = slots
            .iter()
            .map(|slot| {
                format!(
                    "{}: {}",
                    slot["slot"],
                    slot["explanation"].as_str().unwrap()
                )
            })
            .collect();
        texts.join("\n")
    };
    expect_file!["snapshots/why.txt"].assert_eq(&explanations(&board));
    condemn(&mut board, A);
    let mut failed = task(1, TaskStatus::Stopped);
    failed.stopped_reason = "needs 128 MiB of memory, 64 free".into();
    failed.refused = true;
    put(&mut board, Key::Task(B, task_id(2)), 2, Body::Task(failed));
    expect_file!["snapshots/why_2.txt"].assert_eq(&explanations(&board));
}

/// Both were said to be RUNNING, and well.
#[test]
fn why_says_what_keeps_a_rollout_from_going_on() {
    let mut board = board();
    let mut moving = task(0, TaskStatus::Running);
    (moving.ready, moving.health) = (false, Health::Healthy);
    moving.containers[0].reason = "GET /ready at port 80 answers 503".into();
    put(&mut board, Key::Task(A, task_id(1)), 2, Body::Task(moving));
    let mut older = task(1, TaskStatus::Running);
    older.slot.as_mut().unwrap().generation = 2;
    older.definition = Digest::default();
    put(&mut board, Key::Task(B, task_id(2)), 2, Body::Task(older));
    // Which it has, since that was written.
    let waits = slot(
        Some(B),
        "waits to move to web:1: the definition web:1 has not come yet",
    );
    put(&mut board, Key::Slot(WEB, 1), 2, Body::Slot(waits));
    let why = with_view(&board, |view| why::why(view, "web")).unwrap();
    let explained: Vec<_> = why["slots"].as_array().unwrap()[..2]
        .iter()
        .map(|slot| slot["explanation"].as_str().unwrap())
        .collect();
    assert_eq!(
        explained,
        [
            "task aaaaaaaa000000000000000000000001 on alpha is RUNNING and not ready: GET /ready \
             at port 80 answers 503",
            "task aaaaaaaa000000000000000000000002 on beta is RUNNING; it is to move to web:1",
        ]
    );
    assert_eq!(why["slots"][0]["well"], json!(false));
    assert_eq!(why["slots"][1]["well"], json!(false));
}

#[test]
fn introspection_has_the_ecs_agents_shapes() {
    let board = board();
    with_view(&board, |view| {
        expect_file!["snapshots/introspection.json"]
            .assert_eq(&introspection::metadata(view, "0.1.0").to_string());
        expect_file!["snapshots/introspection_2.json"]
            .assert_eq(&pretty(&introspection::tasks(view)));
        let by_id = |id: &str| introspection::task_by_docker_id(view, id).map(|t| t["Arn"].clone());
        let arn = json!(context().task_arn(task_id(1)));
        assert_eq!(by_id("0c0ffee01234"), Ok(arn.clone()));
        assert_eq!(by_id(&format!("0c0ffee0123456789{:047}", 0)), Ok(arn));
        assert_eq!(
            by_id("0c0ffee01234567"),
            Err(introspection::NoTask::Unknown)
        );
        assert_eq!(by_id(""), Err(introspection::NoTask::Unknown));
    });
}

#[test]
fn a_short_docker_id_that_fits_two_tasks_is_ambiguous() {
    let mut board = board();
    put(
        &mut board,
        Key::Task(A, task_id(5)),
        1,
        Body::Task(task(0, TaskStatus::Running)),
    );
    with_view(&board, |view| {
        let found = introspection::task_by_docker_id(view, "0c0ffee01234");
        assert_eq!(found, Err(introspection::NoTask::Ambiguous));
    });
}

#[test]
fn an_image_is_not_told_before_the_definition_that_names_it_has_come() {
    let mut board = Board::default();
    let running = Body::Task(task(0, TaskStatus::Running));
    put(&mut board, Key::Task(A, task_id(1)), 1, running);
    with_view(&board, |view| {
        let (host, report) = view.board.task(task_id(1)).unwrap();
        let task = tasks::task_json(view, host, task_id(1), report);
        assert_eq!(task["containers"][0].get("image"), None);
        let tasks = introspection::tasks(view);
        assert_eq!(tasks["Tasks"][0]["Containers"][0]["Image"], json!(""));
    });
}

#[test]
fn status_and_readiness_tell_what_is_missing() {
    let board = board();
    let daemon = DaemonStatus {
        agent_version: "0.1.0".to_owned(),
        started_at: T0,
        transport: json!({"datagrams": {"sent": 7}}),
        pace: Default::default(),
        disk: None,
        clock: None,
        events: json!({"sinks": [{"sink": "webhook", "pending": 3}], "spool": null}),
        metadata: None,
        set_aside: vec!["slot 3 of service web".to_owned()],
        dns: json!({"address": "127.0.0.1:8600", "trouble": null}),
    };
    with_view(&board, |view| {
        let mut status = overview::status(view, &daemon);
        // The root changes with every field of every record.
        status["board"]["root"] = json!("…");
        expect_file!["snapshots/status.json"].assert_eq(&pretty(&status));
        let (ready, _) = overview::readiness(view, &daemon);
        assert!(ready);
        let mut daemon = daemon.clone();
        daemon.disk = Some("no space left on device".to_owned());
        let (ready, answer) = overview::readiness(view, &daemon);
        assert!(!ready);
        let missing = json!(["it cannot save: no space left on device"]);
        assert_eq!(answer, json!({"ready": false, "missing": missing}));
    });
}
