//! `holdfast host …` and `holdfast status`.

use super::{
    args::HostCommand,
    client::{Client, encode},
    failure::Failure,
    output::{Output, ago, at, list_at, now, number_at, properties, say, say_json, table},
    tasks,
};
use serde_json::{Value, json};

pub(super) async fn run(
    client: &Client,
    output: Output,
    command: HostCommand,
) -> Result<(), Failure> {
    match command {
        HostCommand::Ls => {
            let hosts = client.list("/v1/hosts", "hosts").await?;
            match output {
                Output::Json => say_json(&json!(hosts)),
                Output::Table => say(&list_text(&hosts, now())),
            }
        }
        HostCommand::Show { host } => {
            let mut host = client.get(&format!("/v1/hosts/{}", encode(&host))).await?;
            let id = at(&host, "/host/holdfast/id");
            let path = format!("/v1/cluster-tasks?host={id}");
            host["tasks"] = json!(client.list(&path, "tasks").await?);
            match output {
                Output::Json => say_json(&host),
                Output::Table => say(&show_text(&host, now())),
            }
        }
    }
}

pub(super) fn list_text(hosts: &[Value], now: f64) -> String {
    let header = [
        "HOST", "NAME", "ADDRESS", "ZONE", "STATUS", "CPU", "MEMORY", "TASKS", "DOCKER", "AGE",
    ];
    let rows = hosts.iter().map(|host| {
        let id: String = at(host, "/holdfast/id").chars().take(8).collect();
        let mut name = at(host, "/holdfast/name");
        if host["holdfast"]["me"] == Value::Bool(true) {
            name.push_str(" *");
        }
        let tasks = match (
            at(host, "/runningTasksCount"),
            number_at(host, "/pendingTasksCount"),
        ) {
            (running, 0) => running,
            (running, pending) => format!("{running} (+{pending} pending)"),
        };
        vec![
            id,
            name,
            at(host, "/holdfast/address"),
            at(host, "/holdfast/zone"),
            at(host, "/holdfast/standing"),
            used(host, "CPU", ""),
            used(host, "MEMORY", " MiB"),
            tasks,
            docker(&host["holdfast"]["docker"]),
            ago(host, "/registeredAt", now),
        ]
    });
    table(&header, rows)
}

/// What is taken of what there is.
fn used(host: &Value, name: &str, unit: &str) -> String {
    let of = |list: &str| {
        let found = list_at(host, list)
            .iter()
            .find(|resource| at(resource, "/name") == name);
        found.map_or(0, |resource| number_at(resource, "/integerValue"))
    };
    let (all, left) = (of("/registeredResources"), of("/remainingResources"));
    format!("{}/{all}{unit}", all.saturating_sub(left))
}

fn docker(docker: &Value) -> String {
    match docker["available"] == Value::Bool(true) {
        true => at(docker, "/version"),
        false => "not available".to_owned(),
    }
}

fn show_text(answer: &Value, now: f64) -> String {
    let host = &answer["host"];
    let docker = match at(host, "/holdfast/docker/reason") {
        reason if reason.is_empty() => at(host, "/holdfast/docker/version"),
        reason => format!("not available: {reason}"),
    };
    let attributes: Vec<_> = list_at(host, "/attributes")
        .iter()
        .map(|attribute| format!("{}={}", at(attribute, "/name"), at(attribute, "/value")))
        .collect();
    let properties = properties(&[
        ("Host", at(host, "/holdfast/id")),
        ("Name", at(host, "/holdfast/name")),
        ("Address", at(host, "/holdfast/gossipAddress")),
        ("Zone", at(host, "/holdfast/zone")),
        ("Status", at(host, "/holdfast/standing")),
        ("Incarnation", at(host, "/holdfast/incarnation")),
        ("CPU units", used(host, "CPU", "")),
        ("Memory", used(host, "MEMORY", " MiB")),
        ("Attributes", attributes.join(", ")),
        ("Docker", docker),
        ("Agent", at(host, "/versionInfo/agentVersion")),
    ]);
    match list_at(answer, "/tasks") {
        [] => properties,
        tasks => format!("{properties}\n\n{}", tasks::list_text(tasks, now)),
    }
}

pub(super) fn status_text(status: &Value) -> String {
    let counts = |pointer: &str| {
        let counts = status.pointer(pointer).and_then(Value::as_object);
        let counts = counts
            .into_iter()
            .flatten()
            .filter(|(_, count)| **count != json!(0));
        let counts: Vec<_> = counts
            .map(|(name, count)| format!("{count} {}", name.to_lowercase()))
            .collect();
        match counts.is_empty() {
            true => "none".to_owned(),
            false => counts.join(", "),
        }
    };
    let mut tasks = counts("/tasks/byStatus");
    if number_at(status, "/tasks/onDownHosts") > 0 {
        let lost = number_at(status, "/tasks/onDownHosts");
        tasks.push_str(&format!(", {lost} on hosts that are down"));
    }
    if number_at(status, "/tasks/unconfirmed") > 0 {
        let silent = number_at(status, "/tasks/unconfirmed");
        tasks.push_str(&format!(", {silent} not confirmed by their hosts yet"));
    }
    let docker = match at(status, "/docker/reason") {
        reason if reason.is_empty() => at(status, "/docker/version"),
        reason => format!("not available: {reason}"),
    };
    let ready = match status["caughtUp"] == Value::Bool(true) {
        true => "yes",
        false => "no: it has not read the board from a peer yet",
    };
    properties(&[
        ("Cluster", at(status, "/cluster")),
        (
            "This host",
            format!("{} ({})", at(status, "/host/name"), at(status, "/host/id")),
        ),
        ("Hosts", counts("/hosts")),
        ("Services", at(status, "/services/count")),
        (
            "Tasks",
            format!("{} desired; {tasks}", at(status, "/services/tasksDesired")),
        ),
        ("Caught up", ready.to_owned()),
        ("Docker", docker),
        (
            "Board",
            format!(
                "{} records, root {}",
                at(status, "/board/records"),
                at(status, "/board/root")
            ),
        ),
        (
            "Agent",
            format!(
                "{}, up since {}",
                at(status, "/version"),
                at(status, "/startedAt")
            ),
        ),
    ])
}
