//! Waits until a service runs what it should, or a host nothing any more; shows how far it is.

use super::{
    client::{Client, encode},
    failure::Failure,
    output::{at, list_at, number_at},
};
use crate::api::service_events::NOT_PLACED;
use serde_json::Value;
use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};
use tokio::time::{Instant, sleep};

pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How many slots a time-out explains.
const EXPLAINED_MAX: usize = 5;

/// One line that is written anew on a terminal, and a line for each change elsewhere.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    shown: String,
}

/// Progress goes to stderr, so that `-o json` stays JSON.
pub(super) async fn steady(client: &Client, name: &str, seconds: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut progress = Progress::new();
    loop {
        let answer = client
            .get(&format!("/v1/services/{}", encode(name)))
            .await?;
        let service = &answer["service"];
        progress.show(&line(service));
        let status = at(service, "/status");
        if status != "ACTIVE" {
            progress.end();
            return Err(Failure::Refused(format!(
                "{name} is {status}: it was deleted"
            )));
        }
        if is_steady(service) {
            progress.end();
            return Ok(());
        }
        if Instant::now() >= deadline {
            progress.end();
            return Err(Failure::TimedOut(late(client, name, seconds).await?));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// As ECS's own waiter `ServicesStable` has it.
pub(super) fn is_steady(service: &Value) -> bool {
    number_at(service, "/runningCount") == number_at(service, "/desiredCount")
        && list_at(service, "/deployments").len() == 1
        // All run, but not all the same bytes yet.
        && at(service, "/deployments/0/rolloutState") != "IN_PROGRESS"
}

pub(super) fn line(service: &Value) -> String {
    let (name, desired) = (
        at(service, "/serviceName"),
        number_at(service, "/desiredCount"),
    );
    let mut line = format!(
        "{name}: {}/{desired} running",
        number_at(service, "/runningCount")
    );
    let pending = number_at(service, "/pendingCount");
    if pending > 0 {
        line.push_str(&format!(", {pending} pending"));
    }
    let old: u64 = list_at(service, "/deployments")
        .iter()
        .skip(1)
        .map(|deployment| number_at(deployment, "/runningCount"))
        .sum();
    if old > 0 {
        line.push_str(&format!(", {old} of an older revision"));
    }
    // Of what happens, what holds it up; the rest is in the numbers.
    let mut told = list_at(service, "/events").iter();
    let not_placed = told.find(|event| at(event, "/message").contains(NOT_PLACED));
    if let Some(event) = not_placed {
        line.push_str(&format!("; {}", at(event, "/message")));
    }
    line
}

async fn late(client: &Client, name: &str, seconds: u64) -> Result<String, Failure> {
    let why = client
        .get(&format!("/v1/services/{}/why", encode(name)))
        .await?;
    let waiting: Vec<_> = list_at(&why, "/slots")
        .iter()
        .filter(|slot| slot["well"] != Value::Bool(true))
        .collect();
    let mut text = format!(
        "{name} runs {} of {} after {seconds} s; `holdfast service show {name}` tells more",
        number_at(&why, "/runningCount"),
        number_at(&why, "/desiredCount")
    );
    for slot in waiting.iter().take(EXPLAINED_MAX) {
        text.push_str(&format!(
            "\n  slot {}: {}",
            at(slot, "/slot"),
            at(slot, "/explanation")
        ));
    }
    if waiting.len() > EXPLAINED_MAX {
        text.push_str(&format!("\n  and {} more", waiting.len() - EXPLAINED_MAX));
    }
    Ok(text)
}

/// Until no task is left on any of these hosts.
pub(super) async fn empty(client: &Client, hosts: &[String], seconds: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut progress = Progress::new();
    for host in hosts {
        loop {
            let answer = client.get(&format!("/v1/hosts/{}", encode(host))).await?;
            let name = at(&answer, "/host/holdfast/name");
            let left = tasks_left(client, &at(&answer, "/host/holdfast/id")).await?;
            progress.show(&left_line(&name, &left));
            if left.is_empty() {
                break;
            }
            let standing = at(&answer, "/host/holdfast/standing");
            if standing == "DOWN" {
                progress.end();
                return Err(Failure::Refused(format!(
                    "{name} is DOWN: what it ran is replaced elsewhere, and nobody can tell \
                     whether it still runs there"
                )));
            }
            if Instant::now() >= deadline {
                progress.end();
                return Err(Failure::TimedOut(still_there(&name, &left, seconds)));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
    progress.end();
    Ok(())
}

/// The tasks that a host has not ended yet.
pub(super) async fn tasks_left(client: &Client, host: &str) -> Result<Vec<Value>, Failure> {
    let path = format!("/v1/cluster-tasks?host={}&status=all", encode(host));
    let mut tasks = client.list(&path, "tasks").await?;
    tasks.retain(|task| at(task, "/lastStatus") != "STOPPED");
    Ok(tasks)
}

pub(super) fn left_line(name: &str, left: &[Value]) -> String {
    let stopping = left
        .iter()
        .filter(|task| at(task, "/desiredStatus") == "STOPPED");
    match (left.len(), stopping.count()) {
        (0, _) => format!("{name}: no tasks left"),
        (count, 0) => format!("{name}: tasks left: {count}"),
        (count, stopping) => format!("{name}: tasks left: {count}, of which {stopping} stop"),
    }
}

pub(super) fn still_there(name: &str, left: &[Value], seconds: u64) -> String {
    let mut services: Vec<String> = left
        .iter()
        .map(|task| at(task, "/holdfast/serviceName"))
        .filter(|service| !service.is_empty())
        .collect();
    services.dedup();
    services.truncate(EXPLAINED_MAX);
    let why: Vec<_> = services
        .iter()
        .map(|service| format!("`holdfast service why {service}`"))
        .collect();
    let mut text = format!(
        "{name} is not empty after {seconds} s (tasks left: {}); it stays drained",
        left.len()
    );
    if !why.is_empty() {
        text.push_str(&format!("; {} tells why", why.join(" or ")));
    }
    text
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    pub(super) fn show(&mut self, line: &str) {
        if line == self.shown {
            return;
        }
        line.clone_into(&mut self.shown);
        let mut err = io::stderr().lock();
        let written = match self.terminal {
            true => write!(err, "\r\x1b[2K{line}").and_then(|()| err.flush()),
            false => writeln!(err, "{line}"),
        };
        // Progress that nobody can see is no reason to stop.
        written.ok();
    }

    /// Makes room for what is said on stdout.
    pub(super) fn hide(&mut self) {
        if self.terminal && !self.shown.is_empty() {
            eprint!("\r\x1b[2K");
        }
        self.shown.clear();
    }

    pub(super) fn end(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}
