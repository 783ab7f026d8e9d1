//! `holdfast task …`.

use super::{
    args::TaskCommand,
    client::{Client, encode},
    copy, exec,
    failure::Failure,
    logs,
    output::{Output, ago, at, list_at, now, number_at, properties, say, say_json, table, tail},
    stats,
};
use crate::api::Operation;
use serde_json::{Value, json};

/// As much of an id as tables show: the host that minted it, and enough to tell its tasks apart.
pub(super) const ID_SHOWN: usize = 16;
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
        TaskCommand::Logs(args) => logs::run(client, args).await,
        TaskCommand::Exec(args) => exec::run(client, args).await,
        TaskCommand::Cp(args) => copy::run(client, args).await,
        TaskCommand::Stats(args) => stats::stats(client, output, args).await,
        TaskCommand::Top(args) => stats::top(client, output, args).await,
        TaskCommand::Protect { task, minutes } => {
            protect(client, output, &task, Some(minutes)).await
        }
        TaskCommand::Unprotect { task } => protect(client, output, &task, None).await,
    }
}

fn protected(task: &Value, now: f64) -> String {
    let until = task.pointer("/holdfast/protectedUntil");
    let left = until.and_then(Value::as_f64).map(|until| until - now);
    let left = left.filter(|seconds| *seconds > 0.0);
    left.map_or_else(String::new, |seconds| {
        format!("from being stopped, for {} min", (seconds / 60.0).ceil())
    })
}

async fn protect(
    client: &Client,
    output: Output,
    given: &str,
    minutes: Option<u32>,
) -> Result<(), Failure> {
    let id = at(&find(client, given).await?, "/holdfast/taskId");
    let mut body = json!({"tasks": [id], "protectionEnabled": minutes.is_some()});
    if let Some(minutes) = minutes {
        body["expiresInMinutes"] = json!(minutes);
    }
    let answer = client.call(Operation::UpdateTaskProtection, &body).await?;
    if let Some(failure) = answer["failures"].get(0) {
        let (reason, detail) = (at(failure, "/reason"), at(failure, "/detail"));
        return Err(Failure::Refused(format!("task {id}: {detail} ({reason})")));
    }
    match output {
        Output::Json => say_json(&answer["protectedTasks"][0]),
        Output::Table => say(&id),
    }
}

/// The one task whose id starts as given.
pub(super) async fn find(client: &Client, given: &str) -> Result<Value, Failure> {
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
            reason(task),
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

/// Why it stopped; or what the first of its containers that waits is waiting for.
fn reason(task: &Value) -> String {
    let waiting = || {
        let containers = list_at(task, "/containers").iter();
        let mut reasons = containers.map(|container| at(container, "/reason"));
        reasons
            .find(|reason| !reason.is_empty())
            .unwrap_or_default()
    };
    match at(task, "/stoppedReason") {
        none if none.is_empty() && at(task, "/lastStatus") != "STOPPED" => waiting(),
        stopped => stopped,
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

/// With the beginning of its digest, where it has one that its name does not say.
fn image(container: &Value) -> String {
    const DIGEST_CHARS: usize = "sha256:".len() + 12;
    let (name, digest) = (at(container, "/image"), at(container, "/imageDigest"));
    match digest.is_empty() || name.contains('@') {
        true => name,
        false => {
            let short: String = digest.chars().take(DIGEST_CHARS).collect();
            format!("{name} ({short})")
        }
    }
}

/// Which container has which.
fn gpus(task: &Value) -> String {
    let ids = |container| {
        let ids = list_at(container, "/gpuIds").iter().map(|id| at(id, ""));
        ids.collect::<Vec<_>>()
    };
    let containers = list_at(task, "/containers").iter();
    let dealt = containers.map(|container| (at(container, "/name"), ids(container)));
    let dealt = dealt.filter(|(_, ids)| !ids.is_empty());
    let dealt = dealt.map(|(name, ids)| format!("{name}: {}", ids.join(", ")));
    dealt.collect::<Vec<_>>().join("; ")
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
        ("GPUs", gpus(task)),
        ("Protected", protected(task, now)),
        ("Created", since("/createdAt")),
        ("Started", since("/startedAt")),
        ("Stopped", since("/stoppedAt")),
        ("Stop code", at(task, "/stopCode")),
        ("Reason", at(task, "/stoppedReason")),
    ]);
    let rows = list_at(task, "/containers").iter().map(|container| {
        let name = at(container, "/name");
        let restarts = number_at(task, &format!("/holdfast/restarts/{name}"));
        vec![
            name,
            image(container),
            at(container, "/lastStatus"),
            at(container, "/exitCode"),
            // Hardly any is ever run again, which is not worth a word.
            Some(restarts)
                .filter(|times| *times > 0)
                .map(|times| times.to_string())
                .unwrap_or_default(),
            at(container, "/runtimeId").chars().take(12).collect(),
            at(container, "/reason"),
        ]
    });
    let header = [
        "CONTAINER",
        "IMAGE",
        "STATUS",
        "EXIT",
        "RESTARTS",
        "DOCKER ID",
        "REASON",
    ];
    format!("{properties}\n\n{}", table(&header, rows))
}
