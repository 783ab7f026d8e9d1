//! Running the tools that the lab is made with: `ip`, `nft`, `nsenter` and their like.

use super::Outcome;
use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Where the tools are, also for whoever has no sbin on the path; and all that a host's programs
/// get of an environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const NEEDED: &[&str] = &[
    "bash",
    "containerd",
    "dockerd",
    "ip",
    "iptables",
    "nft",
    "nsenter",
    "runc",
    "setsid",
    "unshare",
];
/// Either reaps orphans; Docker's own package brings one of them.
const REAPERS: [&str; 2] = ["tini", "docker-init"];

/// A command with a clean environment.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

/// Runs a tool; what it prints.
pub(super) fn run(program: &str, arguments: &[&str]) -> Outcome<String> {
    let mut command = command(program);
    let output = command.args(arguments).output();
    let output = output.map_err(|err| format!("cannot run {command:?}: {err}"))?;
    printed(&command, &output)
}

/// Runs a tool that reads this text.
pub(super) fn feed(program: &str, arguments: &[&str], text: &str) -> Outcome<String> {
    let mut command = command(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let cannot = |err| format!("cannot run {program} {arguments:?}: {err}");
    let mut child = command.spawn().map_err(cannot)?;
    let mut stdin = child.stdin.take().expect("it is a pipe");
    let written = stdin.write_all(text.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(cannot)?;
    let printed = printed(&command, &output).map_err(|why| format!("{why}\n{text}"))?;
    written.map_err(cannot)?;
    Ok(printed)
}

fn printed(command: &Command, output: &Output) -> Outcome<String> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let words: Vec<_> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy())
            .collect();
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "{}: {}: {}",
            words.join(" "),
            output.status,
            said.trim()
        ))
    }
}

/// Says what is missing, all of it.
pub(super) fn check() -> Outcome<()> {
    let mut missing: Vec<_> = NEEDED
        .iter()
        .copied()
        .filter(|tool| !is_here(tool))
        .collect();
    if reaper().is_none() {
        missing.push(REAPERS[0]);
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "missing: {} (`packaging/prerequisites.sh lab` installs it)",
            missing.join(", ")
        ))
    }
}

pub(super) fn reaper() -> Option<&'static str> {
    REAPERS.into_iter().find(|program| is_here(program))
}

fn is_here(program: &str) -> bool {
    PATH.split(':')
        .any(|dir| Path::new(dir).join(program).exists())
}
