//! `holdfast key …`: makes keys, and rotates those of the cluster.

use super::{
    args::KeyCommand,
    client::Client,
    failure::Failure,
    output::{Output, at, list_at, number_at, say, say_json, table},
};
use crate::gossip::ClusterKey;
use hyper::Method;
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

/// Far more than a key is, so that what is no key is refused as such.
const INPUT_BYTES_MAX: u64 = 4_096;

pub(super) async fn run(
    client: &Client,
    output: Output,
    command: KeyCommand,
) -> Result<(), Failure> {
    match command {
        KeyCommand::New => new(),
        KeyCommand::Ls => {
            let keys = client.get("/v1/keys").await?;
            match output {
                Output::Json => say_json(&keys),
                Output::Table => say(&list_text(&keys)),
            }
        }
        KeyCommand::Install { file } => {
            let key = read_key(&file)?;
            let body = json!({"key": key.to_text()});
            told(client.write(Method::POST, "/v1/keys", &body).await?, output)
        }
        KeyCommand::Use { key, force } => {
            let path = format!("/v1/keys/{}/use", whole_id(client, &key).await?);
            let body = json!({"force": force});
            told(client.write(Method::POST, &path, &body).await?, output)
        }
        KeyCommand::Remove { key, force } => {
            let path = format!("/v1/keys/{}", whole_id(client, &key).await?);
            let body = json!({"force": force});
            told(client.write(Method::DELETE, &path, &body).await?, output)
        }
    }
}

fn told(answer: Value, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => say_json(&answer),
        Output::Table => say(&format!(
            "key {}: {}; see `holdfast key ls` for how far it has come",
            at(&answer, "/id"),
            at(&answer, "/status")
        )),
    }
}

fn new() -> Result<(), Failure> {
    let key = ClusterKey::generate()
        .map_err(|err| Failure::Refused(format!("cannot read random bytes: {err}")))?;
    say(&key.to_text())
}

/// Never from the command line, where every user of the machine would see it.
fn read_key(file: &Path) -> Result<ClusterKey, Failure> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => io::stdin().take(INPUT_BYTES_MAX).read_to_string(&mut text),
        _ => fs::File::open(file)
            .and_then(|file| file.take(INPUT_BYTES_MAX).read_to_string(&mut text)),
    };
    let refused = |why: String| Failure::Refused(format!("{}: {why}", file.display()));
    read.map_err(|err| refused(err.to_string()))?;
    let lines = text.lines().map(str::trim);
    let mut keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (keys.next(), keys.next()) {
        (Some(key), None) => key.parse().map_err(|err| refused(format!("{err}"))),
        _ => Err(refused(
            "it must have one key, on a line of its own".to_owned(),
        )),
    }
}

async fn whole_id(client: &Client, begin: &str) -> Result<String, Failure> {
    let keys = client.get("/v1/keys").await?;
    let ids = list_at(&keys, "/keys").iter().map(|key| at(key, "/id"));
    let mut fitting = ids.filter(|id| !begin.is_empty() && id.starts_with(begin));
    match (fitting.next(), fitting.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Failure::Refused(format!(
            "no host has a key {begin:?}; `holdfast key ls` lists them"
        ))),
        _ => Err(Failure::Refused(format!(
            "several keys begin with {begin:?}"
        ))),
    }
}

pub(super) fn list_text(answer: &Value) -> String {
    let up = number_at(answer, "/hostsUp");
    let names = |key: &Value, list: &str| -> Vec<String> {
        list_at(key, list).iter().map(|name| at(name, "")).collect()
    };
    let rows = list_at(answer, "/keys").iter().map(|key| {
        let mut lacking = names(key, "/lacking");
        let down = names(key, "/lackingDown").into_iter();
        lacking.extend(down.map(|name| format!("{name} (down)")));
        let wanted = match (key["inUse"] == json!(true), key["removed"] == json!(true)) {
            (_, true) => "removed",
            (true, _) => "in use",
            _ => "",
        };
        vec![
            at(key, "/id"),
            wanted.to_owned(),
            format!("{} of {up}", number_at(key, "/hosts")),
            format!("{} of {up}", list_at(key, "/sealing").len()),
            lacking.join(", "),
        ]
    });
    table(
        &["KEY", "WANTED", "HAVE IT", "SEAL WITH IT", "LACK IT"],
        rows,
    )
}
