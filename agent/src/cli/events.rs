//! `holdfast events`: what has happened, and with `--follow` what happens.

use super::{
    args::EventsArgs,
    client::{Client, encode},
    failure::Failure,
    output::{Output, at, list_at, number_at, say},
};
use holdfast_core::cluster::run::title;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// After a stream has ended, before it is asked for again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn run(
    client: &Client,
    output: Output,
    wanted: &EventsArgs,
) -> Result<(), Failure> {
    let filters = filters(wanted);
    if wanted.follow {
        return follow_stream(client, output, &filters, wanted.after).await;
    }
    let path = path(&filters, wanted.after);
    let kept = client.get(&format!("{path}&follow=false")).await?;
    let missed = number_at(&kept, "/missed");
    if missed > 0 {
        show(output, &json!({"kind": "missed", "missed": missed}))?;
    }
    list_at(&kept, "/events")
        .iter()
        .try_for_each(|event| show(output, event))
}

fn filters(wanted: &EventsArgs) -> String {
    let given = [
        ("service", &wanted.service),
        ("task", &wanted.task),
        ("host", &wanted.host),
        ("kind", &wanted.kind),
    ];
    let given = given
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let given = given.map(|(name, value)| format!("&{name}={}", encode(value)));
    given.collect()
}

fn path(filters: &str, after: Option<u64>) -> String {
    let after = after.map(|after| format!("&after={after}"));
    format!(
        "/v1/events?format=plain{filters}{}",
        after.unwrap_or_default()
    )
}

/// Goes on where it was when the agent ends the stream; fails only where it can't begin.
async fn follow_stream(
    client: &Client,
    output: Output,
    filters: &str,
    mut after: Option<u64>,
) -> Result<(), Failure> {
    loop {
        let mut stream = client.open(&path(filters, after)).await?;
        while let Some(event) = stream.next().await {
            show(output, &event)?;
        }
        after = stream.last_id().or(after);
        sleep(RECONNECT_PAUSE).await;
    }
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
            // Some sentences begin with what they are of, as ECS's do; runs and schedules are told
            // of as services are.
            let (title, reason) = (title(&at(event, "/service")), at(event, "/reason"));
            let reason = reason.strip_prefix(&format!("{title} ")).unwrap_or(&reason);
            let title = title.trim_matches(['(', ')']);
            format!("{at_time}  {title}: {reason}")
        }
        "missed" => format!("({} older events are no longer kept)", at(event, "/missed")),
        "restarted" => "(the agent has restarted; its events count anew)".to_owned(),
        _ => event.to_string(),
    }
}
