//! Schedules: what is told of them, what becomes a command, and every refusal.

use super::{
    board::{T0, board, error_text, pretty, put, with_view},
    runs::{RUN, begun},
};
use crate::api::{self, overview::Query, schedules};
use expect_test::{expect, expect_file};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key},
        schedule::{Overlap, Schedule, Tick, Ticked, Ticks},
    },
    command::{Command, Outcome},
    ids::ServiceId,
    spec::timetable::Timetable,
    time::Wall,
};
use serde_json::{Value, json};

const HOUR_MS: u64 = 3_600_000;

/// One goes on, as its ticks went one by one; of the other nothing is to come any more.
pub(crate) fn scheduled() -> Board {
    let mut board = begun();
    let hourly = Schedule {
        timetable: Timetable::new("rate(1 hour)", "Europe/Berlin").unwrap(),
        run: r#"{"count":2,"taskDefinition":"web"}"#.to_owned(),
        overlap: Overlap::Forbid,
        deadline_s: 600,
        enabled: true,
        created_at: Wall(T0.0 - HOUR_MS),
        since: T0,
    };
    let paused = Schedule {
        enabled: false,
        ..hourly.clone()
    };
    for (name, schedule) in [("hourly", hourly), ("paused", paused)] {
        let key = Key::Schedule(name.to_owned());
        put(&mut board, key, 0, Body::Schedule(schedule));
    }
    let forgotten = ServiceId(7);
    let went = [
        Ticked::Begun(forgotten),
        Ticked::Missed,
        Ticked::Failed("there is no web".to_owned()),
        Ticked::Begun(RUN),
        Ticked::Forbidden(RUN),
    ];
    let ticks = (1..).zip(went).map(|(hour, what)| Tick {
        at: Wall(T0.0 + hour * HOUR_MS),
        what,
    });
    let ticks = Ticks {
        through: Wall(T0.0 + 5 * HOUR_MS),
        last: ticks.collect(),
    };
    let key = Key::Ticks("hourly".to_owned());
    put(&mut board, key, 0, Body::Ticks(ticks));
    board
}

pub(crate) fn list(board: &Board) -> Vec<Value> {
    let listed = with_view(board, |view| schedules::schedules(view, &Query::new()));
    listed.unwrap()["schedules"].as_array().unwrap().clone()
}

pub(crate) fn show(board: &Board, name: &str) -> Value {
    let shown = with_view(board, |view| schedules::schedule(view, name));
    shown.unwrap()["schedule"].clone()
}

fn set(name: &str, body: &Value) -> Result<Command, String> {
    let planned = with_view(&board(), |view| schedules::plan_set(view, T0, name, body));
    planned.map_err(|err| error_text(&err))
}

#[test]
fn a_schedule_is_told_with_what_became_of_its_ticks() {
    let board = scheduled();
    let shown = pretty(&show(&board, "hourly"));
    expect_file!["snapshots/schedule.json"].assert_eq(&shown);
    let listed = list(&board);
    let names = listed.iter().map(|schedule| schedule["name"].clone());
    assert_eq!(
        json!(names.collect::<Vec<_>>()),
        json!(["hourly", "paused"])
    );
    // In a list of the last tick alone.
    assert_eq!(listed[0]["ticks"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["ticks"][0], show(&board, "hourly")["ticks"][0]);
    let paused = &listed[1];
    assert_eq!(
        (&paused["state"], &paused["ticks"], paused.get("nextTick")),
        (&json!("DISABLED"), &json!([]), None)
    );
}

#[test]
fn what_is_not_said_of_a_schedule_is_as_documented() {
    let body = json!({"expression": " cron(0 3 * * ? *)", "run": {"taskDefinition": "web"}});
    let planned = set("nightly", &body).unwrap();
    expect![[r#"
        SetSchedule {
            name: "nightly",
            schedule: Schedule {
                timetable: Timetable {
                    expression: "cron(0 3 * * ? *)",
                    zone: "UTC",
                },
                run: "{\"taskDefinition\":\"web\"}",
                overlap: Allow,
                deadline_s: 3600,
                enabled: true,
                created_at: Wall(
                    1795392000500,
                ),
                since: Wall(
                    1795392000500,
                ),
            },
        }"#]]
    .assert_eq(&format!("{planned:#?}"));
    let body = json!({"expression": "at(2027-01-01T00:00:00)", "timezone": "Asia/Tokyo",
        "overlap": "replace", "deadlineSeconds": 60, "enabled": false, "run": {
            "taskDefinition": "web:1", "count": 2, "cluster": "shop", "overrides": {
                "containerOverrides": [{"name": "nginx", "command": ["-t"]}]}}});
    let Command::SetSchedule { name, schedule } = set("a.B-c_1", &body).unwrap() else {
        panic!("it is to be set");
    };
    assert_eq!(name, "a.B-c_1");
    assert_eq!(schedule.timetable.zone(), "Asia/Tokyo");
    let settings = (schedule.overlap, schedule.deadline_s, schedule.enabled);
    assert_eq!(settings, (Overlap::Replace, 60, false));
    let run: Value = serde_json::from_str(&schedule.run).unwrap();
    assert_eq!(run, body["run"]);
}

#[test]
fn whatever_is_wrong_with_a_schedule_is_told_at_once() {
    let good = json!({"expression": "rate(5 minutes)", "run": {"taskDefinition": "web"}});
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let run = |name: &str, value: Value| {
        let mut body = good.clone();
        body["run"][name] = value;
        body
    };
    let cases = [
        ("", good.clone()),
        ("a b", good.clone()),
        ("a/b", good.clone()),
        (&*"a".repeat(65), good.clone()),
        ("a", json!("rate(5 minutes)")),
        ("a", json!({})),
        ("a", with("expresion", json!("rate(1 day)"))),
        ("a", with("ticks", json!([1]))),
        ("a", with("expression", json!(5))),
        ("a", with("expression", json!("5 minutes"))),
        ("a", with("expression", json!("rate(5 seconds)"))),
        ("a", with("expression", json!("cron(0 3 * * *)"))),
        ("a", with("expression", json!("cron(0 3 * * * *)"))),
        ("a", with("expression", json!("at(tomorrow)"))),
        ("a", with("expression", json!("at(2026-11-22T23:59:59)"))),
        ("a", with("expression", json!("cron(0 0 31 2 ? *)"))),
        ("a", with("expression", json!("9".repeat(257)))),
        ("a", with("timezone", json!("Mars/Base"))),
        ("a", with("timezone", json!(1))),
        ("a", with("overlap", json!("skip"))),
        ("a", with("deadlineSeconds", json!(0))),
        ("a", with("deadlineSeconds", json!(86_401))),
        ("a", with("deadlineSeconds", json!("10m"))),
        ("a", with("enabled", json!("yes"))),
        ("a", with("run", json!("web"))),
        ("a", with("run", json!({}))),
        ("a", run("taskDefinition", json!("none"))),
        ("a", run("taskDefinition", json!("web:2"))),
        ("a", run("count", json!(0))),
        ("a", run("clientToken", json!("t"))),
        ("a", run("startedBy", json!("me"))),
        ("a", run("cluster", json!("other"))),
        ("a", run("networkConfiguration", json!({"a": 1}))),
        ("a", run("overrides", json!({"cpu": "x"}))),
        (
            "a",
            run(
                "tags",
                json!(vec![json!({"key": "holdfast:retries", "value": "1"}); 500]),
            ),
        ),
        (
            "a b",
            json!({"expression": "now", "timezone": "here", "overlap": 1, "run": {
                "taskDefinition": "web", "count": 0, "startedBy": "me"}}),
        ),
    ];
    let told = cases.map(|(name, body)| set(name, &body).unwrap_err());
    expect_file!["snapshots/schedule_refusals.txt"].assert_eq(&told.join("\n\n"));
}

#[test]
fn schedules_are_switched_and_removed_by_name_and_nothing_else() {
    let (board, none) = (board(), json!({}));
    type Plan = fn(&api::view::View<'_>, &str, &Value) -> Result<Command, api::error::ApiError>;
    let plans: [Plan; 3] = [
        schedules::plan_enable,
        schedules::plan_disable,
        schedules::plan_remove,
    ];
    let planned = plans.map(|plan| {
        let forced = with_view(&board, |view| plan(view, "a", &json!({"force": true})));
        let planned = with_view(&board, |view| plan(view, "a", &none)).unwrap();
        format!("{planned:?}\n{}", error_text(&forced.unwrap_err()))
    });
    expect![[r#"
        SwitchSchedule { name: "a", enabled: true }
        InvalidParameterException: force is not an ECS field; remove it
        SwitchSchedule { name: "a", enabled: false }
        InvalidParameterException: force is not an ECS field; remove it
        RemoveSchedule("a")
        InvalidParameterException: force is not an ECS field; remove it"#]]
    .assert_eq(&planned.join("\n"));
}

#[test]
fn what_was_done_is_told() {
    let board = scheduled();
    let told = |outcome| with_view(&board, |view| api::answer(view, &outcome));
    let set = |name: &str, is_new| Outcome::ScheduleSet {
        name: name.to_owned(),
        is_new,
    };
    let answer = told(set("hourly", true)).unwrap();
    assert_eq!(answer["created"], true);
    assert_eq!(answer["schedule"], show(&board, "hourly"));
    assert_eq!(told(set("hourly", false)).unwrap().get("created"), None);
    let removed = told(Outcome::ScheduleRemoved("hourly".to_owned())).unwrap();
    assert_eq!(removed, json!({"name": "hourly", "status": "REMOVED"}));
    // Somebody else may have removed it in the meantime.
    let gone = told(set("gone", false)).unwrap_err();
    assert_eq!(gone.kind(), "ResourceNotFoundException");
    let query = Query::from([("family".to_owned(), "web".to_owned())]);
    let refused = with_view(&board, |view| schedules::schedules(view, &query)).unwrap_err();
    assert!(refused.to_string().contains("family"), "{refused}");
}
