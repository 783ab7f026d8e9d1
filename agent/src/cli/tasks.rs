//! `holdfast task …`.

use super::{
    args::TaskCommand,
    client::{Client, encode},
    failure::Failure,
    output::{Output, ago, at, list_at, now, properties, say, say_json, table, tail},
};
use crate::api::Operation;
use serde_json::{Value, json};

/// As much of an id as tables show: the host that minted it, and enough to tell its tasks apart.
const ID_SHOWN: usize = 16;
const ID_DIGITS: usize = 32;

pub(super) async fn run(
    client: &Client,
    output: Output,
    command: TaskCommand,
) -> Result<(), Failure> {
    match command {
        TaskCommand::Ls {
            service,
            host,
            family,
            stopped,
            all,
        } => {
            let status = if all {
                "all"
            } else if stopped {
                "stopped"
            } else {
                "running"
            };
            let mut path = format!("/v1/cluster-tasks?status={status}");
            for (name, value) in [("service", service), ("host", host), ("family", family)] {
                if let Some(value) = value {
                    path.push_str(&format!("&{name}={}", encode(&value)));
                }
            }
            let tasks = client.list(&path, "tasks").await?;
            match output {
                Output::Json => say_json(&json!(tasks)),
                Output::Table => say(&list_text(&tasks, now())),
            }
        }
        TaskCommand::Show { task } => {
            let task = find(client, &task).await?;
            match output {
                Output::Json => say_json(&task),
                Output::Table => say(&show_text(&task, now())),
            }
        }
        TaskCommand::Stop { task, reason } => {
            let id = at(&find(client, &task).await?, "/holdfast/taskId");
            let mut body = json!({"task": id});
            if let Some(reason) = reason {
                body["reason"] = json!(reason);
            }
            let answer = client.call(Operation::StopTask, &body).await?;
            match output {
                Output::Json => say_json(&answer["task"]),
                Output::Table => say(&id),
            }
        }
    }
}

/// The one task whose id starts as given.
async fn find(client: &Client, given: &str) -> Result<Value, Failure> {
    let id = tail(given).to_ascii_lowercase();
    let hex = id.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex || !(4..=ID_DIGITS).contains(&id.len()) {
        return Err(Failure::Usage(format!(
            "{given:?} is not a task id: give at least 4 of its 32 hexadecimal digits, or its ARN"
        )));
    }
    let path = format!("/v1/cluster-tasks?status=all&id={id}");
    let mut found = client.list(&path, "tasks").await?;
    match (found.pop(), found.len()) {
        (Some(task), 0) => Ok(task),
        (None, _) => Err(Failure::Refused(format!(
            "there is no task {given}; `holdfast task ls --all` lists them"
        ))),
        (Some(_), more) => Err(Failure::Refused(format!(
            "{} tasks have an id that starts with {given}; give more of it",
            more + 1
        ))),
    }
}

pub(super) fn list_text(tasks: &[Value], now: f64) -> String {
    let header = [
        "TASK",
        "SERVICE",
        "TASK DEFINITION",
        "HOST",
        "STATUS",
        "HEALTH",
        "AGE",
        "PORTS",
        "REASON",
    ];
    let rows = tasks.iter().map(|task| {
        let id: String = at(task, "/holdfast/taskId")
            .chars()
            .take(ID_SHOWN)
            .collect();
        vec![
            id,
            service(task),
            tail(&at(task, "/taskDefinitionArn")).to_owned(),
            at(task, "/holdfast/host/name"),
            status(task),
            health(task),
            ago(task, "/createdAt", now),
            ports(task),
            at(task, "/stoppedReason"),
        ]
    });
    table(&header, rows)
}

fn service(task: &Value) -> String {
    match at(task, "/holdfast/serviceName") {
        name if name.is_empty() => name,
        name => format!("{name}/{}", at(task, "/holdfast/slot")),
    }
}

/// What a host that is gone said last must not pass for the truth.
fn status(task: &Value) -> String {
    let (last, standing) = (at(task, "/lastStatus"), at(task, "/holdfast/host/standing"));
    match standing.as_str() {
        "DOWN" if last != "STOPPED" => format!("{last} (host down)"),
        _ if task["holdfast"]["confirmed"] == Value::Bool(false) => format!("{last} (unconfirmed)"),
        _ if task["holdfast"]["refused"] == Value::Bool(true) => format!("{last} (refused)"),
        _ => last,
    }
}

/// Most tasks have no health check, which is not worth a word.
fn health(task: &Value) -> String {
    match at(task, "/healthStatus") {
        unknown if unknown == "UNKNOWN" => String::new(),
        known => known,
    }
}

fn ports(task: &Value) -> String {
    let bindings = list_at(task, "/containers")
        .iter()
        .flat_map(|container| list_at(container, "/networkBindings"))
        .map(|port| {
            format!(
                "{}->{}/{}",
                at(port, "/hostPort"),
                at(port, "/containerPort"),
                at(port, "/protocol")
            )
        });
    bindings.collect::<Vec<_>>().join(", ")
}

pub(super) fn show_text(task: &Value, now: f64) -> String {
    let since = |pointer: &str| match ago(task, pointer, now) {
        ago if ago.is_empty() => ago,
        ago => format!("{ago} ago"),
    };
    let properties = properties(&[
        ("Task", at(task, "/holdfast/taskId")),
        ("Service", service(task)),
        (
            "Task definition",
            tail(&at(task, "/taskDefinitionArn")).to_owned(),
        ),
        (
            "Host",
            format!(
                "{} ({})",
                at(task, "/holdfast/host/name"),
                at(task, "/holdfast/host/standing")
            ),
        ),
        (
            "Status",
            format!("{}, desired {}", status(task), at(task, "/desiredStatus")),
        ),
        ("Health", health(task)),
        ("Created", since("/createdAt")),
        ("Started", since("/startedAt")),
        ("Stopped", since("/stoppedAt")),
        ("Stop code", at(task, "/stopCode")),
        ("Reason", at(task, "/stoppedReason")),
    ]);
    let rows = list_at(task, "/containers").iter().map(|container| {
        vec![
            at(container, "/name"),
            at(container, "/image"),
            at(container, "/lastStatus"),
            at(container, "/exitCode"),
            at(container, "/runtimeId").chars().take(12).collect(),
            at(container, "/reason"),
        ]
    });
    let header = [
        "CONTAINER",
        "IMAGE",
        "STATUS",
        "EXIT",
        "DOCKER ID",
        "REASON",
    ];
    format!("{properties}\n\n{}", table(&header, rows))
}
