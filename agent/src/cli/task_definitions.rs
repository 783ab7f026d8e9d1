//! `holdfast task-definition …`.

use super::{
    args::TaskDefinitionCommand,
    client::{Client, encode},
    failure::Failure,
    output::{Output, ago, at, list_at, now, number_at, say, say_json, table, tail},
};
use crate::api::Operation;
use holdfast_core::limits;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

pub(super) async fn run(
    client: &Client,
    output: Output,
    command: TaskDefinitionCommand,
) -> Result<(), Failure> {
    match command {
        TaskDefinitionCommand::Register { file } => {
            let body = read_json(&file)?;
            let answer = client
                .call(Operation::RegisterTaskDefinition, &body)
                .await?;
            let definition = &answer["taskDefinition"];
            match output {
                Output::Json => say_json(definition),
                Output::Table => say(&format!(
                    "{}:{}",
                    at(definition, "/family"),
                    number_at(definition, "/revision")
                )),
            }
        }
        TaskDefinitionCommand::Ls { family } => {
            let query = family.map(|family| format!("?family={}", encode(&family)));
            let path = format!("/v1/task-definitions{}", query.unwrap_or_default());
            let definitions = client.list(&path, "taskDefinitions").await?;
            match output {
                Output::Json => say_json(&json!(definitions)),
                Output::Table => say(&list_text(&definitions, now())),
            }
        }
        TaskDefinitionCommand::Show { definition } => {
            let body = json!({"taskDefinition": definition});
            let answer = client
                .call(Operation::DescribeTaskDefinition, &body)
                .await?;
            say_json(&answer["taskDefinition"])
        }
        TaskDefinitionCommand::Deregister { definition } => {
            let body = json!({"taskDefinition": definition});
            let answer = client
                .call(Operation::DeregisterTaskDefinition, &body)
                .await?;
            told(&answer["taskDefinition"], output)
        }
        TaskDefinitionCommand::Rm { definitions } => {
            let body = json!({"taskDefinitions": definitions});
            let answer = client.call(Operation::DeleteTaskDefinitions, &body).await?;
            for definition in list_at(&answer, "/taskDefinitions") {
                told(definition, output)?;
            }
            let failures = list_at(&answer, "/failures").iter();
            let failures = failures.map(|one| {
                let arn = at(one, "/arn");
                format!("{}: {}", tail(&arn), at(one, "/reason"))
            });
            let failures: Vec<_> = failures.collect();
            match failures.is_empty() {
                true => Ok(()),
                false => Err(Failure::Refused(failures.join("\n"))),
            }
        }
    }
}

/// What became of one that was taken back.
fn told(definition: &Value, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => say_json(definition),
        Output::Table => say(&format!(
            "{}:{} is {}",
            at(definition, "/family"),
            number_at(definition, "/revision"),
            at(definition, "/status")
        )),
    }
}

pub(super) fn list_text(definitions: &[Value], now: f64) -> String {
    let rows = definitions.iter().map(|definition| {
        let digest: String = at(definition, "/digest").chars().take(12).collect();
        vec![
            format!(
                "{}:{}",
                at(definition, "/family"),
                at(definition, "/revision")
            ),
            at(definition, "/status"),
            digest,
            ago(definition, "/registeredAt", now),
        ]
    });
    table(&["TASK DEFINITION", "STATUS", "DIGEST", "AGE"], rows)
}

/// A file, or standard input for `-`.
pub(super) fn read_json(file: &Path) -> Result<Value, Failure> {
    let shown = file.display();
    let failed = |err: io::Error| Failure::Refused(format!("cannot read {shown}: {err}"));
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(file).map_err(failed)?),
    };
    let mut text = Vec::new();
    let max = limits::REQUEST_BYTES_MAX as u64;
    source
        .take(max + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > max {
        return Err(Failure::Refused(format!(
            "{shown} is longer than {max} bytes"
        )));
    }
    serde_json::from_slice(&text)
        .map_err(|err| Failure::Refused(format!("{shown} is not JSON: {err}; correct it there")))
}
