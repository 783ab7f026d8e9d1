//! `holdfast image …`: what this host's agent pulled, and pulling ahead, here and on other hosts;
//! and the sealing of machine images.

use super::{
    args::ImageCommand,
    client::Client,
    failure::Failure,
    output::{Output, ago, at, list_at, now, number_at, say, say_json, table},
    seal,
    wait::Progress,
};
use serde_json::{Value, json};

/// As much of an id as Docker's own lists show.
const ID_SHOWN: usize = 12;
/// Containers that are named; of more there is the number.
const USERS_SHOWN: usize = 2;
const MIB: u64 = 1_024 * 1_024;

pub(super) async fn run(
    client: &Client,
    output: Output,
    command: ImageCommand,
) -> Result<(), Failure> {
    match command {
        ImageCommand::Ls => {
            let answer = client.get("/v1/images").await?;
            match output {
                Output::Json => say_json(&answer["images"]),
                Output::Table => say(&list_text(&answer, now())),
            }
        }
        ImageCommand::Pull { images, hosts, all } => {
            let mut body = json!({"images": images});
            match (all, hosts.is_empty()) {
                (true, _) => body["allHosts"] = json!(true),
                (false, false) => body["hosts"] = json!(hosts),
                (false, true) => {}
            }
            pull(client, output, &body).await
        }
        ImageCommand::Seal { root, allow_key } => seal::run(output, &root, allow_key),
    }
}

/// What has come goes to stdout, how far the rest is and what fails to stderr.
async fn pull(client: &Client, output: Output, body: &Value) -> Result<(), Failure> {
    let mut stream = client.open_post("/v1/images/pull", body).await?;
    let (mut pulled, mut failed) = (Vec::new(), Vec::new());
    let mut progress = Progress::new();
    let mut total = None;
    while let Some(event) = stream.next().await {
        match at(&event, "/kind").as_str() {
            "begun" => total = Some(number_at(&event, "/pulls")),
            "progress" => progress.show(&line(&event)),
            "pulled" => {
                if output == Output::Table {
                    progress.hide();
                    say(&line(&event))?;
                }
                pulled.push(event);
            }
            _ => failed.push(event),
        }
    }
    progress.hide();
    if output == Output::Json {
        say_json(&json!({"pulled": pulled, "failed": failed}))?;
    }
    let over = (pulled.len() + failed.len()) as u64;
    let lines: Vec<_> = failed.iter().map(line).collect();
    match total.map(|total| total - over.min(total)) {
        Some(0) if lines.is_empty() => Ok(()),
        Some(0) => Err(Failure::Refused(lines.join("\n"))),
        left => Err(client.unreachable(&broken_off(&lines, left))),
    }
}

/// The agent that was asked is gone, and with it what it would have told of the rest.
fn broken_off(failed: &[String], left: Option<u64>) -> String {
    let left = left.map_or_else(|| "of it".to_owned(), |left| format!("of {left} pulls"));
    let mut text = format!("it broke off before it had told {left}, which may go on");
    for line in failed {
        text.push_str(&format!("\n{line}"));
    }
    text
}

/// What is told of one image on one host.
pub(super) fn line(event: &Value) -> String {
    let (host, image) = (at(event, "/host/name"), at(event, "/image"));
    let told = match at(event, "/kind").as_str() {
        "progress" => at(event, "/progress"),
        "pulled" => {
            let seconds = event["seconds"].as_f64().unwrap_or(0.0);
            let how = match event["wasHere"] == Value::Bool(true) {
                true => "already here",
                false => "pulled",
            };
            let digest = at(event, "/digest");
            let joint = if digest.is_empty() { "" } else { ", " };
            format!("{how} ({digest}{joint}{seconds:.1} s)")
        }
        _ => format!("failed: {}", at(event, "/reason")),
    };
    format!("{host}: {image}: {told}")
}

pub(super) fn list_text(answer: &Value, now: f64) -> String {
    let rows = list_at(answer, "/images").iter().map(|image| {
        let texts = |list: &str| -> Vec<String> {
            list_at(image, list)
                .iter()
                .map(|text| at(text, ""))
                .collect()
        };
        let mut names = texts("/names");
        if names.is_empty() {
            names = texts("/digests");
        }
        let id = at(image, "/id");
        let id = id.rsplit(':').next().unwrap_or(&id);
        let users = texts("/usedBy");
        let mut used_by = users.iter().take(USERS_SHOWN).cloned().collect::<Vec<_>>();
        if let Some(more) = users
            .len()
            .checked_sub(USERS_SHOWN)
            .filter(|more| *more > 0)
        {
            used_by.push(format!("{more} more"));
        }
        vec![
            names.join(", "),
            id.chars().take(ID_SHOWN).collect(),
            size(number_at(image, "/bytes")),
            ago(image, "/pulledAt", now),
            ago(image, "/lastUsedAt", now),
            used_by.join(", "),
        ]
    });
    let header = ["IMAGE", "ID", "SIZE", "PULLED", "LAST USED", "USED BY"];
    table(&header, rows)
}

fn size(bytes: u64) -> String {
    match bytes < MIB {
        true => format!("{} KiB", bytes.div_ceil(1_024)),
        false => format!("{} MiB", bytes.div_ceil(MIB)),
    }
}
