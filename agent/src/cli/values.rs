//! `holdfast secret …` and `holdfast config …`: values that the cluster keeps for tasks.

use super::{
    client::{Client, encode},
    failure::Failure,
    output::{Output, ago, at, list_at, now, properties, say, say_json, table},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use holdfast_core::limits::VALUE_BYTES_MAX;
use hyper::Method;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Keep a secret in the cluster, or set one anew, which services take up one task after another
    #[command(
        after_help = "Examples:\n  holdfast secret set db-password password.txt\n  \
        pwgen 32 1 | holdfast secret set db-password\n\n\
        A task definition has it as {\"name\": \"DB_PASSWORD\", \"valueFrom\": \
        \"secret:db-password\"}."
    )]
    Set(SetArgs),
    /// List the secrets: when and by whom they were set, never what they are
    #[command(visible_alias = "list", after_help = "Examples:\n  holdfast secret ls")]
    Ls,
    /// Show what is known of a secret, but for what it is, which nobody is told
    #[command(
        alias = "inspect",
        after_help = "Examples:\n  holdfast secret show db-password"
    )]
    Show { name: String },
    /// Remove a secret that no service uses
    #[command(
        visible_alias = "remove",
        after_help = "Examples:\n  holdfast secret rm db-password"
    )]
    Rm(RmArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Keep a file in the cluster, or set one anew, which services take up one task after another
    #[command(
        after_help = "Examples:\n  holdfast config set web.conf nginx.conf\n\n\
        A task definition has it as {\"name\": \"/etc/nginx/nginx.conf\", \"valueFrom\": \
        \"config:web.conf\"}."
    )]
    Set(SetArgs),
    /// List the files
    #[command(visible_alias = "list", after_help = "Examples:\n  holdfast config ls")]
    Ls,
    /// Print a file
    #[command(
        alias = "inspect",
        visible_alias = "cat",
        after_help = "Examples:\n  holdfast config show web.conf"
    )]
    Show { name: String },
    /// Remove a file that no service uses
    #[command(
        visible_alias = "remove",
        after_help = "Examples:\n  holdfast config rm web.conf"
    )]
    Rm(RmArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    name: String,
    /// File with the value, or - for standard input; it is never taken from the command line
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Leave the tasks as they are: new ones have the new value
    #[arg(long)]
    no_restart: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    name: String,
    /// Also where services use it: their tasks run on, and new ones fail
    #[arg(long, short)]
    force: bool,
}

/// What differs between the two.
#[derive(Clone, Copy)]
struct Kind {
    word: &'static str,
    list: &'static str,
    path: &'static str,
}

const SECRET: Kind = Kind {
    word: "secret",
    list: "/secrets",
    path: "/v1/secrets",
};

const CONFIG: Kind = Kind {
    word: "config",
    list: "/configs",
    path: "/v1/configs",
};

pub(super) async fn run_secret(
    client: &Client,
    output: Output,
    command: SecretCommand,
) -> Result<(), Failure> {
    match command {
        SecretCommand::Set(args) => set(client, output, SECRET, args).await,
        SecretCommand::Ls => list(client, output, SECRET).await,
        SecretCommand::Show { name } => {
            let shown = client.get(&SECRET.at(&name)).await?;
            match output {
                Output::Json => say_json(&shown),
                Output::Table => say(&secret_text(&shown, now())),
            }
        }
        SecretCommand::Rm(args) => remove(client, output, SECRET, args).await,
    }
}

pub(super) async fn run_config(
    client: &Client,
    output: Output,
    command: ConfigCommand,
) -> Result<(), Failure> {
    match command {
        ConfigCommand::Set(args) => set(client, output, CONFIG, args).await,
        ConfigCommand::Ls => list(client, output, CONFIG).await,
        ConfigCommand::Show { name } => {
            let shown = client.get(&CONFIG.at(&name)).await?;
            match output {
                Output::Json => say_json(&shown),
                Output::Table => print(&shown),
            }
        }
        ConfigCommand::Rm(args) => remove(client, output, CONFIG, args).await,
    }
}

async fn set(client: &Client, output: Output, kind: Kind, args: SetArgs) -> Result<(), Failure> {
    let value = read(&args.file)?;
    let body = json!({"value": STANDARD.encode(&value), "restart": !args.no_restart});
    let path = kind.at(&args.name);
    let answer = client.write(Method::PUT, &path, &body).await?;
    match output {
        Output::Json => say_json(&answer),
        Output::Table => say(&set_text(kind.word, &answer)),
    }
}

async fn list(client: &Client, output: Output, kind: Kind) -> Result<(), Failure> {
    let answer = client.get(kind.path).await?;
    match output {
        Output::Json => say_json(&answer),
        Output::Table => say(&list_text(list_at(&answer, kind.list), now())),
    }
}

async fn remove(client: &Client, output: Output, kind: Kind, args: RmArgs) -> Result<(), Failure> {
    let body = json!({"force": args.force});
    let path = kind.at(&args.name);
    let answer = client.write(Method::DELETE, &path, &body).await?;
    match output {
        Output::Json => say_json(&answer),
        Output::Table => say(&format!(
            "{} {} is removed",
            kind.word,
            at(&answer, "/name")
        )),
    }
}

impl Kind {
    fn at(self, name: &str) -> String {
        format!("{}/{}", self.path, encode(name))
    }
}

/// A little more than is allowed, so that what is too long is refused as such.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let (mut value, max) = (Vec::new(), VALUE_BYTES_MAX as u64 + 1);
    let read = match file.to_str() {
        Some("-") => io::stdin().take(max).read_to_end(&mut value),
        _ => File::open(file).and_then(|file| file.take(max).read_to_end(&mut value)),
    };
    let refused = |why: String| Failure::Refused(format!("{}: {why}", file.display()));
    read.map_err(|err| refused(err.to_string()))?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(refused(format!(
            "it has more than {VALUE_BYTES_MAX} bytes, which are the most that a value may have"
        )));
    }
    Ok(value)
}

/// As it was set, byte for byte.
fn print(shown: &Value) -> Result<(), Failure> {
    let value = STANDARD.decode(at(shown, "/value"));
    let value = value.map_err(|err| Failure::Refused(format!("the answer is garbled: {err}")))?;
    let mut out = io::stdout().lock();
    let written = out.write_all(&value).and_then(|()| out.flush());
    written.map_err(|err| match err.kind() {
        io::ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::Refused(format!("cannot write the output: {err}")),
    })
}

fn names(answer: &Value, pointer: &str) -> String {
    let names = list_at(answer, pointer).iter().map(|name| at(name, ""));
    names.collect::<Vec<_>>().join(", ")
}

pub(super) fn set_text(word: &str, answer: &Value) -> String {
    let (name, version) = (at(answer, "/name"), at(answer, "/version"));
    let (restarting, left) = (names(answer, "/restarting"), names(answer, "/notRestarted"));
    let set = format!("{word} {name}: version {version} is set");
    match (restarting.is_empty(), left.is_empty()) {
        (false, _) => format!("{set}; its services take it up, task by task: {restarting}"),
        (true, false) => format!("{set}; the tasks of its services stay as they are: {left}"),
        (true, true) => set,
    }
}

pub(super) fn list_text(values: &[Value], now: f64) -> String {
    let rows = values.iter().map(|value| {
        vec![
            at(value, "/name"),
            at(value, "/version"),
            at(value, "/size"),
            ago(value, "/setAt", now),
            at(value, "/setBy"),
            names(value, "/usedBy"),
        ]
    });
    table(
        &["NAME", "VERSION", "BYTES", "AGE", "SET BY", "USED BY"],
        rows,
    )
}

pub(super) fn secret_text(shown: &Value, now: f64) -> String {
    properties(&[
        ("Name", at(shown, "/name")),
        ("Version", at(shown, "/version")),
        ("Bytes", at(shown, "/size")),
        ("Set", ago(shown, "/setAt", now) + " ago"),
        ("By", at(shown, "/setBy")),
        ("Sealed with key", at(shown, "/sealedWith")),
        ("Used by", names(shown, "/usedBy")),
    ])
}
