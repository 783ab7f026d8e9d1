//! Sets up the log: text for a person, the journal under systemd, JSON lines for anything else.

use std::{
    fs::File,
    io::{self, IsTerminal},
    os::{fd::AsFd, unix::fs::MetadataExt},
};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines look and where they go; all but the journal go to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Text on a terminal, the journal where standard error is the journal, else JSON.
    Auto,
    Text,
    Json,
    Journald,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error(
        "cannot reach the journal for the log: set log_format to \"text\" or \"json\" where \
         systemd-journald does not run"
    )]
    Journal(#[source] io::Error),
    #[error("cannot set up the log: it was set up before in this process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// A log filter was not written as such.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{directive:?} is no log directive: use error, warn, info, debug, trace or off, for all \
     modules or as module=level, separated by commas"
)]
pub(crate) struct FilterError {
    directive: String,
}

/// Reads a filter such as "info" or "info,holdfast::docker=debug".
///
/// Stricter than `EnvFilter` alone, which takes a misspelt level ("inof") for the name of a
/// module and then logs nothing at all.
pub(crate) fn parse_filter(text: &str) -> Result<EnvFilter, FilterError> {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    for directive in text.split(',') {
        let level = directive
            .rsplit_once('=')
            .map_or(directive, |(_, level)| level);
        if !levels.contains(&level.trim().to_ascii_lowercase().as_str()) {
            return Err(FilterError {
                directive: directive.to_owned(),
            });
        }
    }
    EnvFilter::builder().parse(text).map_err(|_| FilterError {
        directive: text.to_owned(),
    })
}

/// Starts the log, once for each process and before any worker.
pub(crate) fn start(format: LogFormat, filter: EnvFilter) -> Result<(), TelemetryError> {
    let stderr = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let output = match resolved(format) {
        LogFormat::Journald => tracing_journald::layer()
            .map_err(TelemetryError::Journal)?
            .with_syslog_identifier("holdfast".to_owned())
            .with_field_prefix(Some("HOLDFAST".to_owned()))
            .boxed(),
        LogFormat::Json => stderr.json().flatten_event(true).boxed(),
        LogFormat::Text | LogFormat::Auto => stderr.with_ansi(io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry()
        .with(output.with_filter(filter))
        .try_init()
        .map_err(TelemetryError::Twice)
}

fn resolved(format: LogFormat) -> LogFormat {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    match format {
        LogFormat::Auto => automatic(io::stderr().is_terminal(), stream.as_deref(), stderr_file()),
        other => other,
    }
}

/// systemd.exec(5): JOURNAL_STREAM is inherited by whoever we start, so it only says that standard
/// error is the journal where the device and inode that it names are those of standard error.
fn automatic(terminal: bool, journal: Option<&str>, stderr: Option<(u64, u64)>) -> LogFormat {
    let journal = journal.and_then(|text| {
        let (device, inode) = text.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    });
    match (terminal, journal) {
        (true, _) => LogFormat::Text,
        (false, Some(file)) if stderr == Some(file) => LogFormat::Journald,
        (false, _) => LogFormat::Json,
    }
}

fn stderr_file() -> Option<(u64, u64)> {
    let handle = io::stderr().as_fd().try_clone_to_owned().ok()?;
    let metadata = File::from(handle).metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_where_standard_error_leads() {
        let pipe = Some((9, 77));
        assert_eq!(automatic(true, None, pipe), LogFormat::Text);
        assert_eq!(automatic(true, Some("9:78"), pipe), LogFormat::Text);
        assert_eq!(automatic(false, Some("9:77"), pipe), LogFormat::Journald);
        assert_eq!(automatic(false, Some("9:78"), pipe), LogFormat::Json);
        assert_eq!(automatic(false, Some("rubbish"), None), LogFormat::Json);
        assert_eq!(automatic(false, None, pipe), LogFormat::Json);
        assert_eq!(resolved(LogFormat::Text), LogFormat::Text);
    }

    #[test]
    fn filters_are_read_and_misspelt_ones_refused_by_name() {
        for good in [
            "info",
            "WARN",
            "info,holdfast::docker=debug",
            "off,holdfast=trace",
        ] {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "inof",
            "info,",
            "holdfast=loud",
            "info,holdfast::docker",
        ] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
        let err = parse_filter("info,holdfast=loud").map(drop).unwrap_err();
        assert!(
            err.to_string()
                .starts_with("\"holdfast=loud\" is no log directive"),
            "{err}"
        );
    }
}
