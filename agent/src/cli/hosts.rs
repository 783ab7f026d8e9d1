//! `holdfast host …` and `holdfast status`.

use super::{
    args::HostCommand,
    client::{Client, encode},
    failure::Failure,
    output::{Output, ago, at, list_at, now, number_at, properties, say, say_json, table},
    tasks, wait,
};
use crate::api::Operation;
use holdfast_core::limits::UPDATE_HOSTS_MAX;
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
        HostCommand::Drain { hosts, wait } => {
            direct(client, output, &hosts, "DRAINING").await?;
            if wait.wait {
                wait::empty(client, &hosts, wait.timeout).await?;
            }
            Ok(())
        }
        HostCommand::Activate { hosts } => direct(client, output, &hosts, "ACTIVE").await,
        HostCommand::Forget { hosts, force } => forget(client, output, &hosts, force).await,
    }
}

/// One call for each ten, as ECS has it; those that are not there are named.
async fn direct(
    client: &Client,
    output: Output,
    hosts: &[String],
    status: &str,
) -> Result<(), Failure> {
    let (mut directed, mut unknown) = (Vec::new(), Vec::new());
    for hosts in hosts.chunks(UPDATE_HOSTS_MAX) {
        let body = json!({"containerInstances": hosts, "status": status});
        let answer = client.call(Operation::UpdateContainerInstancesState, &body);
        let answer = answer.await?;
        directed.extend_from_slice(list_at(&answer, "/containerInstances"));
        unknown.extend(list_at(&answer, "/failures").iter().map(|f| at(f, "/arn")));
    }
    match output {
        Output::Json => say_json(&json!(directed))?,
        Output::Table => {
            for host in &directed {
                say(&format!("{}: {status}", at(host, "/ec2InstanceId")))?;
            }
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "there is no host {}; `holdfast host ls` lists them",
        unknown.join(", ")
    )))
}

async fn forget(
    client: &Client,
    output: Output,
    hosts: &[String],
    force: bool,
) -> Result<(), Failure> {
    for host in hosts {
        let body = json!({"containerInstance": host, "force": force});
        let answer = client.call(Operation::DeregisterContainerInstance, &body);
        let answer = answer.await?;
        let name = at(&answer, "/containerInstance/ec2InstanceId");
        match output {
            Output::Json => say_json(&answer["containerInstance"])?,
            Output::Table => say(&format!("{name}: forgotten"))?,
        }
    }
    Ok(())
}

/// The column of GPUs, which is only there if some host has any.
const GPUS_AT: usize = 8;

pub(super) fn list_text(hosts: &[Value], now: f64) -> String {
    let mut header = vec![
        "HOST", "NAME", "ADDRESS", "ZONE", "STATUS", "SINCE", "CPU", "MEMORY", "GPUS", "TASKS",
        "DOCKER", "AGENT", "AGE",
    ];
    let has_gpus = hosts.iter().any(|host| !gpus_used(host).is_empty());
    if !has_gpus {
        header.remove(GPUS_AT);
    }
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
        let mut row = vec![
            id,
            name,
            at(host, "/holdfast/address"),
            at(host, "/holdfast/zone"),
            at(host, "/holdfast/standing"),
            ago(host, "/holdfast/since", now),
            used(host, "CPU", ""),
            used(host, "MEMORY", " MiB"),
            gpus_used(host),
            tasks,
            docker(&host["holdfast"]["docker"]),
            at(host, "/versionInfo/agentVersion"),
            ago(host, "/registeredAt", now),
        ];
        if !has_gpus {
            row.remove(GPUS_AT);
        }
        row
    });
    table(&header, rows)
}

/// How a host stands, since when and why: "DOWN for 3m: silent for 2000 ms, as …".
fn standing(host: &Value, now: f64) -> String {
    let mut text = at(host, "/holdfast/standing");
    let since = ago(host, "/holdfast/since", now);
    if !since.is_empty() {
        text.push_str(&format!(" for {since}"));
    }
    format!("{text}: {}", at(host, "/holdfast/reason"))
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

/// All of them, and those that are free.
fn gpus(host: &Value) -> (&[Value], &[Value]) {
    let of = |list: &str| {
        let mut resources = list_at(host, list).iter();
        let found = resources.find(|resource| at(resource, "/name") == "GPU");
        found.map_or(&[][..], |gpus| list_at(gpus, "/stringSetValue"))
    };
    (of("/registeredResources"), of("/remainingResources"))
}

/// As [`used`]; empty where there are none.
fn gpus_used(host: &Value) -> String {
    match gpus(host) {
        ([], _) => String::new(),
        (all, left) => format!("{}/{}", all.len() - left.len(), all.len()),
    }
}

fn gpus_named(host: &Value) -> String {
    let (all, left) = gpus(host);
    let named = all.iter().map(|gpu| {
        let free = if left.contains(gpu) { " (free)" } else { "" };
        format!("{}{free}", at(gpu, ""))
    });
    let named: Vec<_> = named.collect();
    match named.is_empty() {
        true => String::new(),
        false => format!("{}: {}", gpus_used(host), named.join(", ")),
    }
}

fn docker(docker: &Value) -> String {
    match docker["available"] == Value::Bool(true) {
        true => at(docker, "/version"),
        false => "not available".to_owned(),
    }
}

pub(super) fn show_text(answer: &Value, now: f64) -> String {
    let host = &answer["host"];
    let docker = match at(host, "/holdfast/docker/reason") {
        reason if reason.is_empty() => at(host, "/holdfast/docker/version"),
        reason => format!("not available: {reason}"),
    };
    let attributes: Vec<_> = list_at(host, "/attributes")
        .iter()
        .map(|attribute| format!("{}={}", at(attribute, "/name"), at(attribute, "/value")))
        .collect();
    let registered = format!("{} ago", ago(host, "/registeredAt", now));
    let properties = properties(&[
        ("Host", at(host, "/holdfast/id")),
        ("Name", at(host, "/holdfast/name")),
        ("Address", at(host, "/holdfast/gossipAddress")),
        ("Zone", at(host, "/holdfast/zone")),
        ("Status", standing(host, now)),
        ("Incarnation", at(host, "/holdfast/incarnation")),
        ("CPU units", used(host, "CPU", "")),
        ("Memory", used(host, "MEMORY", " MiB")),
        ("GPUs", gpus_named(host)),
        ("Attributes", attributes.join(", ")),
        ("Docker", docker),
        ("Agent", at(host, "/versionInfo/agentVersion")),
        ("Registered", registered),
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
        ("Events", event_trouble(status)),
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

/// What is wrong with the delivery of events; nothing where all is well.
fn event_trouble(status: &Value) -> String {
    let mut troubles = Vec::new();
    for sink in list_at(status, "/events/sinks") {
        let (name, pending) = (at(sink, "/sink"), number_at(sink, "/pending"));
        let reason = at(sink, "/lastError");
        if !reason.is_empty() {
            troubles.push(format!("{name}: {pending} wait: {reason}"));
        }
        let (dropped, refused) = (number_at(sink, "/dropped"), number_at(sink, "/refused"));
        if dropped + refused > 0 {
            troubles.push(format!("{name}: {dropped} were dropped, {refused} refused"));
        }
    }
    let spool = at(status, "/events/spool");
    troubles.extend(Some(spool).filter(|reason| !reason.is_empty()));
    troubles.join("; ")
}
