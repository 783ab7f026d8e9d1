//! `holdfast run` and `holdfast runs …`: tasks that run once.

use super::{
    args::{InputArgs, RunArgs, RunsCommand},
    client::{Client, encode},
    failure::Failure,
    output::{Output, ago, at, list_at, now, number_at, properties, say, say_json, table, tail},
    task_definitions::read_json,
    wait::{LOOK_INTERVAL, Progress},
};
use crate::api::Operation;
use hyper::Method;
use serde_json::{Value, json};
use std::fmt::Display;
use tokio::time::sleep;

/// As much of an id as tables show; as of tasks.
const ID_SHOWN: usize = 16;

pub(super) async fn begin(client: &Client, output: Output, args: RunArgs) -> Result<(), Failure> {
    let mut body = input(client, &args.input).await?;
    if let Some(by) = &args.started_by {
        body["startedBy"] = json!(by);
    }
    if let Some(token) = &args.client_token {
        body["clientToken"] = json!(token);
    }
    let answer = client.call(Operation::RunTask, &body).await?;
    let run = get(client, tail(&at(&answer, "/tasks/0/taskArn"))).await?;
    let id = at(&run, "/runId");
    if !args.wait {
        return match output {
            Output::Json => say_json(&answer),
            Output::Table => say(&id),
        };
    }
    let run = ended(client, &id).await?;
    if args.input.rm {
        let path = format!("/v1/runs/{id}");
        client.write(Method::DELETE, &path, &json!({})).await?;
    }
    match output {
        Output::Json => say_json(&run)?,
        Output::Table => say(&id)?,
    }
    outcome(&run)
}

pub(super) async fn run(
    client: &Client,
    output: Output,
    command: RunsCommand,
) -> Result<(), Failure> {
    match command {
        RunsCommand::Ls { family } => {
            let family = family.map_or_else(String::new, |f| format!("?family={}", encode(&f)));
            let runs = client.list(&format!("/v1/runs{family}"), "runs").await?;
            match output {
                Output::Json => say_json(&json!(runs)),
                Output::Table => say(&list_text(&runs, now())),
            }
        }
        RunsCommand::Show { run } => {
            let run = get(client, &run).await?;
            match output {
                Output::Json => say_json(&run),
                Output::Table => say(&show_text(&run, now())),
            }
        }
        RunsCommand::Wait { run } => {
            let id = at(&get(client, &run).await?, "/runId");
            let run = ended(client, &id).await?;
            match output {
                Output::Json => say_json(&run)?,
                Output::Table => say(&show_text(&run, now()))?,
            }
            outcome(&run)
        }
        RunsCommand::Stop { run, reason } => {
            let mut body = json!({});
            if let Some(reason) = reason {
                body["reason"] = json!(reason);
            }
            let path = format!("/v1/runs/{}/stop", encode(&run));
            told(client.write(Method::POST, &path, &body).await?, output)
        }
        RunsCommand::Rm { run, force } => {
            let path = format!("/v1/runs/{}", encode(&run));
            let body = json!({"force": force});
            told(client.write(Method::DELETE, &path, &body).await?, output)
        }
    }
}

fn told(answer: Value, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => say_json(&answer),
        Output::Table => say(&at(&answer, "/runId")),
    }
}

async fn get(client: &Client, run: &str) -> Result<Value, Failure> {
    let mut answer = client.get(&format!("/v1/runs/{}", encode(run))).await?;
    Ok(answer["run"].take())
}

/// ECS's own request, from what was typed; what is typed replaces what the file says.
pub(super) async fn input(client: &Client, args: &InputArgs) -> Result<Value, Failure> {
    let mut body = match &args.cli_input_json {
        Some(file) => object(read_json(file)?, &file.display())?,
        None => json!({}),
    };
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[name] = value;
        }
    };
    set(
        "taskDefinition",
        args.task_definition.as_ref().map(|td| json!(td)),
    );
    set("count", args.count.map(|count| json!(count)));
    set("group", args.group.as_ref().map(|group| json!(group)));
    if let Some(file) = &args.overrides {
        set("overrides", Some(read_json(file)?));
    }
    let said = body
        .as_object_mut()
        .and_then(|body| body.remove("overrides"));
    let mut overrides = object(said.unwrap_or_default(), &"overrides")?;
    let mut override_with = |name: &str, value: &Option<u32>| {
        if let Some(value) = value {
            overrides[name] = json!(value.to_string());
        }
    };
    override_with("cpu", &args.cpu);
    override_with("memory", &args.memory);
    if let Some(container) = container(client, args, &body).await? {
        overrides["containerOverrides"] = json!([container]);
    }
    if !overrides.is_null() {
        body["overrides"] = overrides;
    }
    let typed = [
        (
            "holdfast:retries",
            args.retries.map(|times| times.to_string()),
        ),
        ("holdfast:timeout", args.timeout.clone()),
        ("holdfast:on-lost", args.on_lost.clone()),
        ("holdfast:remove", args.rm.then(|| "true".to_owned())),
    ];
    let typed = typed
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    let typed: Vec<_> = typed
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    if !typed.is_empty() {
        body["tags"] = json!(typed);
    }
    Ok(body)
}

/// What is typed goes into it, so it must be an object, or nothing.
fn object(value: Value, what: &dyn Display) -> Result<Value, Failure> {
    match value {
        Value::Object(_) | Value::Null => Ok(value),
        _ => Err(Failure::Refused(format!(
            "{what} is not a JSON object; correct it there"
        ))),
    }
}

/// The override of one container: the one that was named, or the only one that there is.
async fn container(
    client: &Client,
    args: &InputArgs,
    body: &Value,
) -> Result<Option<Value>, Failure> {
    if args.command.is_empty() && args.environment.is_empty() {
        return Ok(None);
    }
    let name = match &args.container {
        Some(name) => name.clone(),
        None => only_container(client, &at(body, "/taskDefinition")).await?,
    };
    let mut container = json!({"name": name});
    if !args.command.is_empty() {
        container["command"] = json!(args.command);
    }
    let variables = args
        .environment
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(json!({"name": name, "value": value})),
            Some(_) | None => Err(Failure::Usage(format!("{pair:?} is not NAME=VALUE"))),
        });
    let variables = variables.collect::<Result<Vec<_>, _>>()?;
    if !variables.is_empty() {
        container["environment"] = json!(variables);
    }
    Ok(Some(container))
}

async fn only_container(client: &Client, definition: &str) -> Result<String, Failure> {
    let asked = json!({"taskDefinition": definition});
    let answer = client
        .call(Operation::DescribeTaskDefinition, &asked)
        .await?;
    match list_at(&answer, "/taskDefinition/containerDefinitions") {
        [only] => Ok(at(only, "/name")),
        several => {
            let names: Vec<String> = several.iter().map(|one| at(one, "/name")).collect();
            Err(Failure::Usage(format!(
                "{definition} has several containers: say with --container which of {} the \
                 command and --env are for",
                names.join(", ")
            )))
        }
    }
}

/// Progress goes to stderr, so that `-o json` stays JSON.
async fn ended(client: &Client, id: &str) -> Result<Value, Failure> {
    let mut progress = Progress::new();
    loop {
        let run = get(client, id).await?;
        progress.show(&line(&run));
        if !at(&run, "/endedAt").is_empty() {
            progress.end();
            return Ok(run);
        }
        sleep(LOOK_INTERVAL).await;
    }
}

fn line(run: &Value) -> String {
    let slots = list_at(run, "/slots");
    let mut line = format!("{}: {}", short(&at(run, "/runId")), at(run, "/status"));
    if let [slot] = slots {
        let host = at(slot, "/host");
        if !host.is_empty() {
            line.push_str(&format!(" on {host}"));
        }
    } else {
        let ended = slots.iter().filter(|slot| !at(slot, "/endedAt").is_empty());
        line.push_str(&format!(
            ", {} of {} tasks have ended",
            ended.count(),
            slots.len()
        ));
    }
    let waits = slots.iter().find(|slot| at(slot, "/host").is_empty());
    if let Some(waits) = waits.filter(|slot| !at(slot, "/reason").is_empty()) {
        line.push_str(&format!("; {}", at(waits, "/reason")));
    }
    line
}

/// The command ends as the first task did that failed.
fn outcome(run: &Value) -> Result<(), Failure> {
    let mut slots = list_at(run, "/slots").iter();
    let Some(bad) = slots.find(|slot| at(slot, "/status") != "SUCCEEDED") else {
        return Ok(());
    };
    let (slot, status) = (at(bad, "/slot"), at(bad, "/status"));
    let exit = match at(bad, "/exitCode") {
        none if none.is_empty() => String::new(),
        code => format!(" with exit code {code}"),
    };
    let text = format!(
        "slot {slot} of the run is {status}{exit}: {}",
        at(bad, "/reason")
    );
    let code = bad["exitCode"]
        .as_i64()
        .and_then(|code| u8::try_from(code).ok());
    Err(Failure::Ended {
        code: code.filter(|code| *code != 0).unwrap_or(1),
        text,
    })
}

pub(super) fn short(id: &str) -> String {
    id.chars().take(ID_SHOWN).collect()
}

pub(super) fn list_text(runs: &[Value], now: f64) -> String {
    let header = [
        "RUN",
        "TASK DEFINITION",
        "TASKS",
        "STATUS",
        "AGE",
        "GROUP",
        "STARTED BY",
    ];
    let rows = runs.iter().map(|run| {
        vec![
            short(&at(run, "/runId")),
            tail(&at(run, "/taskDefinitionArn")).to_owned(),
            at(run, "/count"),
            at(run, "/status"),
            ago(run, "/createdAt", now),
            at(run, "/group"),
            at(run, "/startedBy"),
        ]
    });
    table(&header, rows)
}

pub(super) fn show_text(run: &Value, now: f64) -> String {
    let since = |pointer: &str| match ago(run, pointer, now) {
        ago if ago.is_empty() => ago,
        ago => format!("{ago} ago"),
    };
    let timeout = match number_at(run, "/timeoutSeconds") {
        0 => String::new(),
        seconds => format!("{seconds} s"),
    };
    let properties = properties(&[
        ("Run", at(run, "/runId")),
        (
            "Task definition",
            tail(&at(run, "/taskDefinitionArn")).to_owned(),
        ),
        ("Status", at(run, "/status")),
        ("Group", at(run, "/group")),
        ("Started by", at(run, "/startedBy")),
        ("Retries", at(run, "/retries")),
        ("Time-out", timeout),
        ("If its host is lost", at(run, "/onLost")),
        ("Created", since("/createdAt")),
        ("Ended", since("/endedAt")),
    ]);
    let header = [
        "SLOT", "TASK", "HOST", "STATUS", "EXIT", "ATTEMPTS", "REASON",
    ];
    let rows = list_at(run, "/slots").iter().map(|slot| {
        vec![
            at(slot, "/slot"),
            short(&at(slot, "/taskId")),
            at(slot, "/host"),
            at(slot, "/status"),
            at(slot, "/exitCode"),
            at(slot, "/attempts"),
            at(slot, "/reason"),
        ]
    });
    format!("{properties}\n\n{}", table(&header, rows))
}
