//! One sink: delivers what is spooled in order, and waits longer and longer where it can't.

use super::{
    OutboundSettings, journal, program,
    spool::{Kept, Reader, Spooled},
    webhook::{Webhook, WebhookError},
};
use crate::api::introspection::rfc3339;
use holdfast_core::time::Wall;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;
use tracing::{info, warn};

/// Events in one request.
pub(super) const BATCH_MAX: usize = 100;
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// What is shown of why a sink does not take events.
const REASON_CHARS_MAX: usize = 300;

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    /// Not now: it is tried again.
    Failed(String),
    /// Never: the events themselves are not what the receiver takes.
    Refused(String),
}

#[derive(Debug)]
pub(super) enum Target {
    Webhook(Box<Webhook>),
    /// A program and its arguments.
    Program(Vec<String>),
    Journal,
}

impl Target {
    pub(super) fn of(settings: &OutboundSettings) -> Result<Vec<Self>, WebhookError> {
        let mut targets = Vec::new();
        if let Some(url) = &settings.webhook {
            let webhook = Webhook::new(url.clone(), settings.webhook_secret_file.clone())?;
            targets.push(Self::Webhook(Box::new(webhook)));
        }
        if !settings.command.is_empty() {
            targets.push(Self::Program(settings.command.clone()));
        }
        if settings.journal {
            targets.push(Self::Journal);
        }
        Ok(targets)
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Program(_) => "command",
            Self::Journal => "journal",
        }
    }

    /// Without what may be a secret: paths and arguments often have one in them.
    fn shown(&self) -> String {
        match self {
            Self::Webhook(webhook) => webhook.shown(),
            Self::Program(words) => words.first().cloned().unwrap_or_default(),
            Self::Journal => "journald".to_owned(),
        }
    }

    const fn batch_max(&self) -> usize {
        match self {
            Self::Webhook(_) | Self::Journal => BATCH_MAX,
            Self::Program(_) => 1,
        }
    }

    async fn deliver(&self, batch: &[Kept]) -> Outcome {
        match self {
            Self::Webhook(webhook) => webhook.deliver(batch).await,
            Self::Program(words) => program::deliver(words, batch).await,
            Self::Journal => journal::deliver(batch).await,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Counts {
    delivered: u64,
    failed: u64,
    refused: u64,
    /// In a row.
    failures: u32,
    last_error: Option<(Wall, String)>,
}

#[derive(Debug)]
pub(super) struct Sink {
    place: usize,
    target: Target,
    counts: Mutex<Counts>,
}

impl Sink {
    pub(super) fn new(place: usize, target: Target) -> Self {
        Self {
            place,
            target,
            counts: Mutex::default(),
        }
    }

    /// Which queue of the spool is its own.
    pub(super) const fn place(&self) -> usize {
        self.place
    }

    /// Until the spool is closed. One delivery at a time, so that nothing overtakes.
    pub(super) async fn run(self: Arc<Self>, mut spool: Reader) {
        let mut alone = 0_usize;
        loop {
            let count_max = match alone {
                0 => self.target.batch_max(),
                _ => 1,
            };
            let Some(batch) = spool.next(self.place, count_max).await else {
                return;
            };
            let (count, last) = (batch.len(), batch.last().map_or(0, |kept| kept.key));
            match self.target.deliver(&batch).await {
                Outcome::Taken => {
                    self.on_taken(count);
                    self.done(&spool, last).await;
                    alone = alone.saturating_sub(1);
                }
                // Which of them is refused shows when each goes alone.
                Outcome::Refused(_) if count > 1 => alone = count,
                Outcome::Refused(reason) => {
                    self.on_refused(&batch, &reason);
                    self.done(&spool, last).await;
                    alone = alone.saturating_sub(1);
                }
                Outcome::Failed(reason) => {
                    let failures = self.on_failed(&reason);
                    sleep(backoff(failures, getrandom::u32().unwrap_or(0))).await;
                }
            }
        }
    }

    /// Nothing is delivered again, and nothing else, before it is written down what was.
    async fn done(&self, spool: &Reader, last: u64) {
        let mut failures = 0;
        while !spool.done(self.place, last).await {
            failures += 1;
            sleep(backoff(failures, getrandom::u32().unwrap_or(0))).await;
        }
    }

    fn on_taken(&self, count: usize) {
        let mut counts = self.lock();
        counts.delivered += count as u64;
        if std::mem::take(&mut counts.failures) > 0 {
            info!(sink = self.target.name(), "Events are delivered again.");
        }
        counts.last_error = None;
    }

    fn on_refused(&self, batch: &[Kept], reason: &str) {
        let mut counts = self.lock();
        counts.refused += 1;
        counts.failures = 0;
        counts.last_error = Some((now(), shown(reason)));
        for kept in batch {
            let event: Value = serde_json::from_slice(&kept.json).unwrap_or_default();
            let id = event["id"].as_str().unwrap_or_default();
            let kind = event["detail-type"].as_str().unwrap_or_default();
            let sink = self.target.name();
            warn!(
                sink,
                id, kind, reason, "An event was refused, and is dropped."
            );
        }
    }

    fn on_failed(&self, reason: &str) -> u32 {
        let mut counts = self.lock();
        counts.failed += 1;
        counts.failures = counts.failures.saturating_add(1);
        counts.last_error = Some((now(), shown(reason)));
        if counts.failures == 1 {
            let sink = self.target.name();
            warn!(
                sink,
                reason, "Events cannot be delivered; they are kept and tried again."
            );
        }
        counts.failures
    }

    /// For `/v1/status`.
    pub(super) fn status_json(&self, spooled: Spooled) -> Value {
        let counts = self.lock().clone();
        let (at, error) = counts.last_error.unzip();
        json!({
            "sink": self.target.name(),
            "target": self.target.shown(),
            "pending": spooled.waiting,
            "pendingBytes": spooled.bytes,
            "delivered": counts.delivered,
            "failed": counts.failed,
            "refused": counts.refused,
            "dropped": spooled.dropped,
            "lastError": error,
            "lastErrorAt": at.map(rfc3339),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Each field is valid by itself.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

fn now() -> Wall {
    Wall(crate::gossip::now_wall_ms())
}

/// Twice as long each time, and up to half as long again, so that a cluster does not call in step.
fn backoff(failures: u32, drawn: u32) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let base = doubled.min(BACKOFF_MAX * 2 / 3);
    base + base.mul_f64(f64::from(drawn) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_second_to_a_minute() {
        let pauses = |drawn| [1, 2, 3, 5, 6, 7, 90].map(|n| backoff(n, drawn).as_secs_f64());
        assert_eq!(pauses(0), [1.0, 2.0, 4.0, 16.0, 32.0, 40.0, 40.0]);
        assert_eq!(pauses(u32::MAX), [1.5, 3.0, 6.0, 24.0, 48.0, 60.0, 60.0]);
    }
}
