//! The last lines that a container wrote.

use super::docker::Shared;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::TryStreamExt as _;
use holdfast_core::ids::RuntimeId;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::debug;

const LINES: &str = "5";
/// What is read of them travels to all hosts.
const CHARS_MAX: usize = 300;
/// A successor's start comes first: Docker is busy with that, and with clearing up.
const AFTER: Duration = Duration::from_millis(500);

/// `None` where it wrote nothing, or what it wrote is kept where Docker cannot read it.
pub(crate) async fn last(shared: &Shared, runtime_id: RuntimeId) -> Option<String> {
    sleep(AFTER).await;
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .tail(LINES)
        .build();
    let client = shared.client().ok()?;
    let lines = client.logs(&runtime_id.to_string(), Some(options));
    let lines = timeout(shared.config.call_timeout, lines.try_collect::<Vec<_>>()).await;
    let lines = match lines.ok()? {
        Ok(lines) => lines,
        Err(err) => {
            debug!(%err, "A container's last words cannot be read.");
            return None;
        }
    };
    let written: Vec<String> = lines.iter().map(ToString::to_string).collect();
    end_of(&written.join("\n"))
}

/// In one line, without what a terminal would act upon.
fn end_of(text: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.collect::<Vec<_>>().join(" | ");
    let plain: Vec<char> = lines.chars().filter(|c| !c.is_control()).collect();
    let end = &plain[plain.len().saturating_sub(CHARS_MAX)..];
    (!end.is_empty()).then(|| end.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_written_stands_in_one_line() {
        assert_eq!(end_of("\n \r\n"), None);
        let text = "starts\r\n\n  \u{1b}[31mpanicked\u{7}\n";
        assert_eq!(end_of(text).as_deref(), Some("starts | [31mpanicked"));
        let long = "x".repeat(1_000) + "ß";
        let end = end_of(&long).expect("there is one");
        assert_eq!((end.chars().count(), end.chars().last()), (300, Some('ß')));
    }
}
