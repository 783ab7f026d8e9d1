//! How answers are shown: plain tables for people, JSON for programs.

use super::failure::Failure;
use comfy_table::{Table, presets};
use serde_json::Value;
use std::{
    io::{self, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

/// Prints one text and a line feed.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|err| match err.kind() {
        io::ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::Refused(format!("cannot write the output: {err}")),
    })
}

pub(super) fn say_json(value: &Value) -> Result<(), Failure> {
    say(&format!("{value:#}"))
}

/// As `docker ps` has them: no lines, three spaces between the columns.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.trim_fmt()
}

/// Names and values below one another; what has no value is left out.
pub(super) fn properties(pairs: &[(&str, String)]) -> String {
    let given = || pairs.iter().filter(|(_, value)| !value.is_empty());
    let width = given().map(|(name, _)| name.len() + 1).max().unwrap_or(0);
    let lines: Vec<_> = given()
        .map(|(name, value)| format!("{:width$}  {value}", format!("{name}:")))
        .collect();
    lines.join("\n")
}

/// The text or number at a JSON pointer; empty where there is none.
pub(super) fn at(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

pub(super) fn number_at(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

pub(super) fn list_at<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The name or id at the end of an ARN.
pub(super) fn tail(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// How long ago a timestamp of ECS's was, in one unit.
pub(super) fn ago(value: &Value, pointer: &str, now: f64) -> String {
    let Some(then) = value.pointer(pointer).and_then(Value::as_f64) else {
        return String::new();
    };
    // Clocks of two hosts differ a little.
    let seconds = (now - then).max(0.0) as u64;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
