//! `holdfast schedule …`: runs that begin by the clock.

use super::{
    args::{ScheduleCommand, SetArgs},
    client::{Client, encode},
    failure::Failure,
    output::{Output, ago, at, list_at, now, properties, say, say_json, table},
    runs::{self, short},
};
use crate::api::introspection::rfc3339;
use holdfast_core::time::Wall;
use hyper::Method;
use serde_json::{Value, json};

pub(super) async fn run(
    client: &Client,
    output: Output,
    command: ScheduleCommand,
) -> Result<(), Failure> {
    match command {
        ScheduleCommand::Set(args) => {
            let body = body(&args, runs::input(client, &args.input).await?);
            let set = client.write(Method::PUT, &path(&args.name), &body).await?;
            told(&set, output)
        }
        ScheduleCommand::Ls => {
            let schedules = client.list("/v1/schedules", "schedules").await?;
            match output {
                Output::Json => say_json(&json!(schedules)),
                Output::Table => say(&list_text(&schedules, now())),
            }
        }
        ScheduleCommand::Show { name } => {
            let shown = client.get(&path(&name)).await?;
            match output {
                Output::Json => say_json(&shown["schedule"]),
                Output::Table => say(&show_text(&shown["schedule"], now())),
            }
        }
        ScheduleCommand::Rm { names } => {
            for name in names {
                let path = path(&name);
                let removed = client.write(Method::DELETE, &path, &json!({})).await?;
                match output {
                    Output::Json => say_json(&removed)?,
                    Output::Table => say(&at(&removed, "/name"))?,
                }
            }
            Ok(())
        }
        ScheduleCommand::Enable { name } => {
            let path = format!("{}/enable", path(&name));
            told(
                &client.write(Method::POST, &path, &json!({})).await?,
                output,
            )
        }
        ScheduleCommand::Disable { name } => {
            let path = format!("{}/disable", path(&name));
            told(
                &client.write(Method::POST, &path, &json!({})).await?,
                output,
            )
        }
    }
}

fn path(name: &str) -> String {
    format!("/v1/schedules/{}", encode(name))
}

fn told(answer: &Value, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => say_json(&answer["schedule"]),
        Output::Table => say(&set_text(answer, now())),
    }
}

/// The agent's own request, from what was typed.
pub(super) fn body(args: &SetArgs, run: Value) -> Value {
    let mut body = json!({"enabled": !args.disabled, "run": run});
    let typed = [("cron", &args.cron), ("rate", &args.rate), ("at", &args.at)];
    for (kind, given) in typed {
        if let Some(given) = given {
            body["expression"] = json!(expression(kind, given));
        }
    }
    if let Some(zone) = &args.timezone {
        body["timezone"] = json!(zone);
    }
    if let Some(overlap) = &args.overlap {
        body["overlap"] = json!(overlap);
    }
    if let Some(seconds) = args.deadline {
        body["deadlineSeconds"] = json!(seconds);
    }
    body
}

/// With its kind and brackets around it, whether these were typed or not.
fn expression(kind: &str, given: &str) -> String {
    let given = given.trim();
    match given.starts_with(&format!("{kind}(")) {
        true => given.to_owned(),
        false => format!("{kind}({given})"),
    }
}

/// To the second.
fn time(value: &Value, pointer: &str) -> String {
    let seconds = value.pointer(pointer).and_then(Value::as_f64);
    let wall = seconds.map(|seconds| Wall(seconds as u64 * 1_000));
    wall.map_or_else(String::new, |wall| rfc3339(wall).replace(".000Z", "Z"))
}

/// How far ahead a tick is, which is late where it has come.
fn ahead(schedule: &Value, now: f64) -> String {
    let Some(next) = schedule["nextTick"].as_f64() else {
        return String::new();
    };
    if next <= now {
        return "due".to_owned();
    }
    // Seen from there, now is so long ago.
    format!("in {}", ago(&json!(now), "", next))
}

pub(super) fn set_text(answer: &Value, now: f64) -> String {
    let schedule = &answer["schedule"];
    let set = match answer["created"] == json!(true) {
        true => "is new",
        false => "is set",
    };
    let (name, state) = (at(schedule, "/name"), at(schedule, "/state"));
    let next = match time(schedule, "/nextTick") {
        _ if state == "DISABLED" => "it is disabled".to_owned(),
        none if none.is_empty() => "it is never to run again".to_owned(),
        next => format!("it runs next at {next}, {}", ahead(schedule, now)),
    };
    format!("schedule {name} {set}; {next}")
}

pub(super) fn list_text(schedules: &[Value], now: f64) -> String {
    let header = [
        "NAME",
        "EXPRESSION",
        "TIMEZONE",
        "TASK DEFINITION",
        "STATE",
        "NEXT",
        "LAST",
    ];
    let rows = schedules.iter().map(|schedule| {
        let last = match at(schedule, "/ticks/0/outcome") {
            none if none.is_empty() => none,
            outcome => format!("{outcome} {} ago", ago(schedule, "/ticks/0/at", now)),
        };
        vec![
            at(schedule, "/name"),
            at(schedule, "/expression"),
            at(schedule, "/timezone"),
            at(schedule, "/run/taskDefinition"),
            at(schedule, "/state"),
            ahead(schedule, now),
            last,
        ]
    });
    table(&header, rows)
}

pub(super) fn show_text(schedule: &Value, now: f64) -> String {
    let next = match time(schedule, "/nextTick") {
        none if none.is_empty() => none,
        next => format!("{next}, {}", ahead(schedule, now)),
    };
    let properties = properties(&[
        ("Schedule", at(schedule, "/name")),
        ("Expression", at(schedule, "/expression")),
        ("Time zone", at(schedule, "/timezone")),
        ("State", at(schedule, "/state")),
        ("Next tick", next),
        ("Overlap", at(schedule, "/overlap")),
        ("Deadline", at(schedule, "/deadlineSeconds") + " s"),
        ("Keeper", at(schedule, "/keeper")),
        ("Created", ago(schedule, "/createdAt", now) + " ago"),
        ("Set", ago(schedule, "/updatedAt", now) + " ago"),
        ("Runs", at(schedule, "/run")),
    ]);
    let header = ["TICK", "OUTCOME", "RUN", "STATUS", "REASON"];
    let rows = list_at(schedule, "/ticks").iter().map(|tick| {
        vec![
            time(tick, "/at"),
            at(tick, "/outcome"),
            short(&at(tick, "/runId")),
            at(tick, "/runStatus"),
            at(tick, "/reason"),
        ]
    });
    format!("{properties}\n\n{}", table(&header, rows))
}
