//! Runs: what is promised, what is told of it, and of tasks whose host is lost.

use super::board::{A, B, T0, board, context, error_text, put, revision, slot, task, with_view};
use crate::api::{self, Operation, Plan, overview::Query, runs};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key, ServiceSettings, Slot},
        run::{End, Ended, Run},
    },
    command::{Command, Outcome, RunOrder},
    ids::{ServiceId, TaskId},
    spec::{options::ServiceOptions, run::RunOptions},
    task::status::{StopCode, TaskStatus},
    time::Wall,
};
use serde_json::{Value, json};

pub(crate) const RUN: ServiceId = ServiceId(0xaaaa_aaaa_5eed << 80);

fn named(index: u32) -> TaskId {
    TaskId((0xaaaa_aaaa << 96) | 0xf00 | u128::from(index))
}

/// Of two tasks, the first has begun on a host, the second is on offer to another.
pub(crate) fn begun() -> Board {
    let mut board = board();
    let run = Run {
        settings: ServiceSettings {
            name: Run::name(None, RUN),
            created_at: T0,
            client_token: String::new(),
            options: ServiceOptions::default(),
        },
        revision: revision(),
        overridden: None,
        tasks: vec![named(0), named(1)],
        options: RunOptions {
            retries: 2,
            ..RunOptions::default()
        },
        group: String::new(),
        started_by: "tester".to_owned(),
        overrides: r#"{"cpu":"64"}"#.to_owned(),
        hosts: Vec::new(),
    };
    put(&mut board, Key::Run(RUN), 0, Body::Run(run));
    for (index, host) in [(0, A), (1, B)] {
        let body = Body::Slot(slot(Some(host), "first placement"));
        put(&mut board, Key::Slot(RUN, index), 1, body);
    }
    let mut report = task(0, TaskStatus::Running);
    if let Some(label) = &mut report.slot {
        (label.service, label.service_name) = (RUN, Run::name(None, RUN).into());
    }
    put(&mut board, Key::Task(A, named(0)), 2, Body::Task(report));
    board
}

fn end(board: &mut Board, index: u32, how: Ended, exit_code: Option<i32>) {
    let (_, slot) = board.slot(RUN, index).expect("it is there");
    let end = End {
        at: Wall(T0.0 + 5_000),
        how,
        exit_code,
    };
    let slot = Slot {
        end: Some(Box::new(end)),
        reason: format!("it is {}", how.as_str()),
        ..slot.clone()
    };
    put(board, Key::Slot(RUN, index), 2, Body::Slot(slot));
}

fn ask(board: &Board, operation: Operation, body: &Value) -> Value {
    let answer = super::board::call(board, operation, body);
    serde_json::from_str(&answer).expect("it is JSON")
}

fn run_told(board: &Board) -> Value {
    let given = RUN.to_string();
    with_view(board, |view| runs::run(view, &given[..10])).expect("there is one")["run"].clone()
}

#[test]
fn a_request_becomes_an_order_with_the_definition_as_the_run_has_it() {
    let body = json!({"taskDefinition": "web", "count": 2, "overrides": {
        "containerOverrides": [{"name": "nginx", "command": ["-t"]}]}});
    let plan = with_view(&board(), |view| api::plan(view, Operation::RunTask, &body));
    let Ok(Plan::Write { command, .. }) = plan else {
        panic!("{plan:?}");
    };
    let Command::RunTask(order) = command else {
        panic!("{command:?}");
    };
    let RunOrder {
        definition,
        overridden,
        overrides,
        count,
        ..
    } = *order;
    assert_eq!((definition.to_string().as_str(), count), ("web:1", 2));
    let overridden = overridden.expect("it is changed");
    assert_eq!(overridden.containers[0].command, ["-t"]);
    assert_eq!(overridden.containers[0].image, "nginx:1.27");
    assert!(overrides.contains("-t"), "{overrides}");

    let body = json!({"taskDefinition": "none", "overrides": {"cpu": "64"}});
    let refused = with_view(&board(), |view| api::plan(view, Operation::RunTask, &body));
    let refused = error_text(&refused.expect_err("there is none"));
    assert!(
        refused.contains("Unable to find task definition"),
        "{refused}"
    );
}

#[test]
fn what_is_promised_is_described_before_and_after_a_host_has_begun_it() {
    let board = begun();
    let answered = with_view(&board, |view| api::answer(view, &Outcome::RunBegun(RUN)));
    let answered = answered.expect("it is there");
    let arns = [0, 1].map(|index| context().task_arn(named(index)));
    let tasks = &answered["tasks"];
    assert_eq!(
        (&tasks[0]["taskArn"], &tasks[1]["taskArn"]),
        (&json!(arns[0]), &json!(arns[1]))
    );
    // Whatever has begun by the time that it is answered.
    assert_eq!(tasks[0]["lastStatus"], "PROVISIONING");
    let told = with_view(&board, |view| runs::named_json(view, named(0)));
    assert_eq!(told.expect("it is there")["lastStatus"], "RUNNING");
    assert_eq!(tasks[1]["lastStatus"], "PROVISIONING");
    for task in [&tasks[0], &tasks[1]] {
        assert_eq!(
            (&task["group"], &task["startedBy"], &task["overrides"]),
            (
                &json!("family:web"),
                &json!("tester"),
                &json!({"cpu": "64"})
            ),
            "{task}"
        );
    }
    let described = ask(&board, Operation::DescribeTasks, &json!({"tasks": arns}));
    assert_eq!(described["tasks"][1], answered["tasks"][1]);
    let listed = ask(
        &board,
        Operation::ListTasks,
        &json!({"startedBy": "tester"}),
    );
    assert_eq!(listed["taskArns"], json!([arns[1], arns[0]]));
    let page = json!({"startedBy": "tester", "maxResults": 1});
    let mut page = ask(&board, Operation::ListTasks, &page);
    let next = json!({"startedBy": "tester", "nextToken": page["nextToken"].take()});
    let next = ask(&board, Operation::ListTasks, &next);
    assert_eq!(next["taskArns"], json!([arns[0]]));
}

#[test]
fn a_run_is_what_its_slots_are() {
    let mut board = begun();
    let run = run_told(&board);
    assert_eq!(
        (&run["status"], &run["count"]),
        (&json!("RUNNING"), &json!(2))
    );
    assert_eq!(run["slots"][1]["status"], "PROVISIONING");
    end(&mut board, 0, Ended::Succeeded, Some(0));
    assert_eq!(run_told(&board)["status"], "PENDING");
    end(&mut board, 1, Ended::Failed, Some(3));
    let run = run_told(&board);
    assert_eq!(
        (&run["status"], &run["slots"][1]["exitCode"]),
        (&json!("FAILED"), &json!(3))
    );
    assert_eq!(run["slots"][1]["reason"], "it is FAILED");
    let query = Query::from([("family".to_owned(), "web".to_owned())]);
    let listed = with_view(&board, |view| runs::runs(view, &query)).expect("it is a good one");
    assert_eq!(listed["runs"], json!([run]));
    let none = with_view(&board, |view| runs::run(view, "ffff")).expect_err("there is none");
    assert!(error_text(&none).contains("runs ls"), "{none}");
}

/// Whoever waits for its end must not wait for ever: its host cannot say it.
#[test]
fn a_task_that_is_lost_is_told_to_have_stopped() {
    let mut board = begun();
    end(&mut board, 0, Ended::Lost, None);
    let (_, slot) = board.slot(RUN, 0).expect("it is there");
    let slot = slot.clone();
    put(&mut board, Key::Slot(RUN, 0), 1, Body::Slot(slot));
    let told = |board: &Board| {
        let arn = context().task_arn(named(0));
        let told = ask(board, Operation::DescribeTasks, &json!({"tasks": [arn]}));
        told["tasks"][0].clone()
    };
    // The end is of a later generation than this task: it is another one that was lost.
    assert_eq!(told(&board)["lastStatus"], "RUNNING");
    let mut report = task(0, TaskStatus::Running);
    if let Some(label) = &mut report.slot {
        (label.service, label.service_name) = (RUN, Run::name(None, RUN).into());
        label.generation = 2;
    }
    put(&mut board, Key::Task(A, named(0)), 3, Body::Task(report));
    let task = told(&board);
    assert_eq!(
        (&task["lastStatus"], &task["desiredStatus"]),
        (&json!("STOPPED"), &json!("STOPPED"))
    );
    assert_eq!(task["stopCode"], StopCode::TerminationNotice.as_str());
    assert_eq!(task["stoppedReason"], "it is LOST");
}
