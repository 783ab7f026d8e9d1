//! `holdfast events`: what has happened, and with `--follow` what happens.

use super::{
    client::Client,
    failure::Failure,
    output::{Output, at, list_at, number_at, say},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// After a stream has ended, before it is asked for again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// A line that is longer than this is none of ours.
const LINE_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn run(
    client: &Client,
    output: Output,
    follow: bool,
    after: Option<u64>,
) -> Result<(), Failure> {
    if follow {
        return follow_stream(client, output, after).await;
    }
    let query = after
        .map(|after| format!("&after={after}"))
        .unwrap_or_default();
    let kept = client
        .get(&format!("/v1/events?follow=false{query}"))
        .await?;
    let missed = number_at(&kept, "/missed");
    if missed > 0 {
        show(output, &json!({"kind": "missed", "missed": missed}))?;
    }
    list_at(&kept, "/events")
        .iter()
        .try_for_each(|event| show(output, event))
}

/// Goes on where it was when the agent ends the stream; fails only where it can't begin.
async fn follow_stream(
    client: &Client,
    output: Output,
    mut after: Option<u64>,
) -> Result<(), Failure> {
    loop {
        let query = after
            .map(|after| format!("?after={after}"))
            .unwrap_or_default();
        let mut body = client
            .open(&format!("/v1/events{query}"))
            .await?
            .into_body();
        let mut buffer = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else {
                continue;
            };
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let Some(event) = event_of(&line) else {
                    continue;
                };
                after = event.get("sequence").and_then(Value::as_u64).or(after);
                show(output, &event)?;
            }
            if buffer.len() > LINE_BYTES_MAX {
                break;
            }
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

/// Our events have one line of data each; their name and id are in it too.
fn event_of(line: &[u8]) -> Option<Value> {
    serde_json::from_slice(line.strip_prefix(b"data: ")?).ok()
}

fn show(output: Output, event: &Value) -> Result<(), Failure> {
    match output {
        Output::Json => say(&event.to_string()),
        Output::Table => say(&text(event)),
    }
}

pub(super) fn text(event: &Value) -> String {
    let at_time = at(event, "/at");
    let short = |pointer: &str, digits: usize| -> String {
        at(event, pointer).chars().take(digits).collect()
    };
    match at(event, "/kind").as_str() {
        "task" => {
            let mut what = format!("task {}", short("/taskId", 16));
            if event.get("service").is_some() {
                what.push_str(&format!(
                    " of {}/{}",
                    at(event, "/service"),
                    at(event, "/slot")
                ));
            }
            let from = match at(event, "/from") {
                from if from.is_empty() => from,
                from => format!("{from} -> "),
            };
            let reason = match at(event, "/reason") {
                reason if reason.is_empty() => reason,
                reason => format!(": {reason}"),
            };
            let (to, host) = (at(event, "/to"), short("/host", 8));
            format!("{at_time}  {what} on {host}: {from}{to}{reason}")
        }
        "host" => format!(
            "{at_time}  host {} is {}: {}",
            at(event, "/hostName"),
            at(event, "/standing"),
            at(event, "/reason")
        ),
        "service" => {
            // Some sentences begin with the name, as ECS's do.
            let (name, reason) = (at(event, "/service"), at(event, "/reason"));
            let reason = reason
                .strip_prefix(&format!("(service {name}) "))
                .unwrap_or(&reason);
            format!("{at_time}  service {name}: {reason}")
        }
        "missed" => format!("({} older events are no longer kept)", at(event, "/missed")),
        "restarted" => "(the agent has restarted; its events count anew)".to_owned(),
        _ => event.to_string(),
    }
}
