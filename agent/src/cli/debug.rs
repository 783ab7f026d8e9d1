//! `holdfast debug …`: what whoever looks for a bug in Holdfast needs from a host.

use super::{
    args::DebugCommand,
    client::Client,
    failure::Failure,
    output::{Output, at, number_at, say, say_json},
};
use hyper::Method;
use serde_json::{Value, json};
use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

pub(super) async fn run(
    client: &Client,
    output: Output,
    command: DebugCommand,
) -> Result<(), Failure> {
    let DebugCommand::Record { file: copy } = command;
    let nothing = json!({});
    let answer = client.write(Method::POST, "/v1/recordings", &nothing);
    let mut answer = answer.await?;
    if let Some(copy) = copy {
        take(Path::new(&at(&answer, "/path")), &copy)?;
        answer["path"] = json!(copy);
    }
    match output {
        Output::Json => say_json(&answer),
        Output::Table => say(&record_text(&answer)),
    }
}

pub(super) fn record_text(answer: &Value) -> String {
    format!(
        "{}: the last {} steps of this host's agent, {} KiB. It holds task definitions with their \
         environment: show it to nobody who may not know that.",
        at(answer, "/path"),
        number_at(answer, "/steps"),
        number_at(answer, "/bytes").div_ceil(1_024),
    )
}

/// A copy for the caller alone, next to the agent's own, which stays.
fn take(recording: &Path, copy: &Path) -> Result<(), Failure> {
    let copied = || -> io::Result<()> {
        let mut from = fs::File::open(recording)?;
        let mut options = OpenOptions::new();
        let mut to = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(copy)?;
        io::copy(&mut from, &mut to)?;
        to.sync_all()
    };
    copied().map_err(|err| {
        Failure::Refused(format!(
            "the recording is {}, and cannot be copied to {}: {err}; only root reads it, on the \
             host itself",
            recording.display(),
            copy.display()
        ))
    })
}
