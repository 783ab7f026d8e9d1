//! `holdfast task stats` and `top`: what tasks use of their hosts, and their processes.

use super::{
    args::{StatsArgs, TopArgs},
    client::{Client, encode},
    failure::Failure,
    output::{Output, at, list_at, number_at, say, say_json, table},
    tasks::{ID_SHOWN, find},
    terminal,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

const SHOWN_EACH: Duration = Duration::from_secs(1);
/// Tasks that are asked for at once.
const ASKED_MAX: usize = 16;
/// Clears the terminal, as `clear` does.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Counters of one container at one moment, by task and container.
type Samples = BTreeMap<(String, String), Value>;

pub(super) async fn stats(client: &Client, output: Output, args: StatsArgs) -> Result<(), Failure> {
    let mut before = Samples::new();
    // A rate takes two samples.
    let mut is_shown = !args.no_stream && output == Output::Table;
    loop {
        let now = samples(client, &args).await?;
        let rows: Vec<_> = now
            .iter()
            .map(|(key, sample)| with_rates(sample, before.get(key)))
            .collect();
        if is_shown {
            match output {
                Output::Json => say_json(&json!(rows))?,
                Output::Table if !args.no_stream && terminal::is_output_terminal() => {
                    say(&format!("{CLEAR}{}", stats_text(&rows)))?;
                }
                Output::Table => say(&stats_text(&rows))?,
            }
        }
        if is_shown && args.no_stream {
            return Ok(());
        }
        is_shown = true;
        before = now;
        sleep(SHOWN_EACH).await;
    }
}

async fn samples(client: &Client, args: &StatsArgs) -> Result<Samples, Failure> {
    let mut tasks = Vec::new();
    for task in &args.tasks {
        tasks.push(find(client, task).await?);
    }
    if tasks.is_empty() {
        let filter = args.service.as_ref();
        let filter = filter.map(|name| format!("?service={}", encode(name)));
        let path = format!("/v1/cluster-tasks{}", filter.unwrap_or_default());
        tasks = client.list(&path, "tasks").await?;
    }
    let asked = stream::iter(&tasks).map(async |task| {
        let id = at(task, "/holdfast/taskId");
        let answer = client.get(&format!("/v1/tasks/{id}/stats")).await;
        (id, task, answer)
    });
    let answers: Vec<_> = asked.buffer_unordered(ASKED_MAX).collect().await;
    let mut samples = Samples::new();
    for (id, task, answer) in answers {
        match answer {
            Ok(answer) => {
                for one in list_at(&answer, "/containers") {
                    let mut one = one.clone();
                    one["taskId"] = json!(id);
                    one["host"] = task["holdfast"]["host"]["name"].clone();
                    one["service"] = task["holdfast"]["serviceName"].clone();
                    samples.insert((id.clone(), at(&one, "/container")), one);
                }
            }
            // One that was asked for by name; of the others some end, and some hosts are lost.
            Err(failure) if !args.tasks.is_empty() => return Err(failure),
            Err(failure @ (Failure::Unreachable { .. } | Failure::Usage(_))) => {
                return Err(failure);
            }
            Err(failure) => eprintln!("task {id}: {failure}"),
        }
    }
    Ok(samples)
}

/// In per cent of one CPU, as `docker stats` has it.
fn with_rates(sample: &Value, before: Option<&Value>) -> Value {
    let mut shown = sample.clone();
    let delta = |name: &str| {
        let (now, then) = (sample.get(name)?.as_u64()?, before?.get(name)?.as_u64()?);
        now.checked_sub(then).map(|delta| delta as f64)
    };
    let system = delta("systemCpuNanoseconds").filter(|delta| *delta > 0.0);
    if let (Some(used), Some(system)) = (delta("cpuNanoseconds"), system) {
        let cpus = number_at(sample, "/cpus").max(1) as f64;
        shown["cpuPercent"] = json!((used / system * cpus * 10_000.0).round() / 100.0);
    }
    shown
}

pub(super) fn stats_text(rows: &[Value]) -> String {
    let known = |row: &Value, name: &str, show: fn(f64) -> String| {
        row.get(name)
            .and_then(Value::as_f64)
            .map_or_else(|| "--".to_owned(), show)
    };
    let rows = rows.iter().map(|row| {
        let pair = |a, b| format!("{} / {}", known(row, a, bytes), known(row, b, bytes));
        let (used, limit) = (
            number_at(row, "/memoryBytes"),
            number_at(row, "/memoryLimitBytes"),
        );
        let of_limit = match limit {
            0 => "--".to_owned(),
            limit => percent(used as f64 * 100.0 / limit as f64),
        };
        vec![
            at(row, "/taskId").chars().take(ID_SHOWN).collect(),
            at(row, "/container"),
            at(row, "/service"),
            at(row, "/host"),
            known(row, "cpuPercent", percent),
            pair("memoryBytes", "memoryLimitBytes"),
            of_limit,
            pair("networkReceivedBytes", "networkSentBytes"),
            pair("diskReadBytes", "diskWrittenBytes"),
            at(row, "/processes"),
        ]
    });
    let header = [
        "TASK",
        "CONTAINER",
        "SERVICE",
        "HOST",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "NET I/O",
        "BLOCK I/O",
        "PIDS",
    ];
    table(&header, rows)
}

fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

fn bytes(value: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if value < 1_024.0 {
        return format!("{value:.0} B");
    }
    let (mut value, mut unit) = (value / 1_024.0, 0);
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

pub(super) async fn top(client: &Client, output: Output, args: TopArgs) -> Result<(), Failure> {
    let mut query = Vec::new();
    if let Some(container) = &args.container {
        query.push(format!("container={}", encode(container)));
    }
    if !args.ps_args.is_empty() {
        query.push(format!("psArgs={}", encode(&args.ps_args.join(" "))));
    }
    let path = format!("/v1/tasks/{}/top?{}", encode(&args.task), query.join("&"));
    let answer = client.get(&path).await?;
    match output {
        Output::Json => say_json(&answer["containers"]),
        Output::Table => say(&top_text(&answer)),
    }
}

/// A table for each container, as they may have different columns.
pub(super) fn top_text(answer: &Value) -> String {
    let containers = list_at(answer, "/containers");
    let tables = containers.iter().map(|container| {
        let titles: Vec<_> = list_at(container, "/titles")
            .iter()
            .map(|t| at(t, ""))
            .collect();
        let titles: Vec<_> = titles.iter().map(String::as_str).collect();
        let processes = list_at(container, "/processes").iter();
        let rows =
            processes.map(|process| list_at(process, "").iter().map(|c| at(c, "")).collect());
        let shown = table(&titles, rows);
        match containers.len() {
            1 => shown,
            _ => format!("{}:\n{shown}", at(container, "/container")),
        }
    });
    tables.collect::<Vec<_>>().join("\n\n")
}
