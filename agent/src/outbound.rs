//! Events on their way out of the cluster: spooled on disk, and taken to each sink from there.
//!
//! Each agent delivers what the core says is its own to tell. Nothing here holds up the agent: what
//! no sink takes waits on the disk, and what the disk does not take is told as a gap.

mod spool;
mod sink;
mod webhook;
mod program;
mod journal;

pub(crate) use webhook::{WebhookError, WebhookUrl};

use crate::{
    api::{context::ApiContext, events::ecs_json, view::View},
    store::StoreError,
};
use holdfast_core::{agent::Agent, event::Event, ids::HostId, time::Wall};
use serde_json::{Value, json};
use sink::{Sink, Target};
use spool::{Entry, Spool};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long a host that leaves for good waits for its last events to be taken.
const LAST_EVENTS_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Where events go, as the settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutboundSettings {
    pub(crate) webhook: Option<WebhookUrl>,
    pub(crate) webhook_secret_file: Option<PathBuf>,
    /// A program and its arguments.
    pub(crate) command: Vec<String>,
    pub(crate) journal: bool,
    /// For each sink.
    pub(crate) spool_bytes_max: u64,
}

/// Why events cannot be delivered at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboundError {
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Spool(#[from] StoreError),
}

/// The sinks of one agent, which work for as long as this is there.
#[derive(Debug)]
pub(crate) struct Outbound {
    context: Arc<ApiContext>,
    spool: Spool,
    sinks: Vec<Arc<Sink>>,
    workers: JoinSet<()>,
}

impl Outbound {
    /// `None` where no sink is set: then nothing is spooled either.
    pub(crate) fn start(
        settings: &OutboundSettings,
        (context, host): (ApiContext, HostId),
        state_dir: &Path,
        now: Wall,
    ) -> Result<Option<Self>, OutboundError> {
        let targets = Target::of(settings)?;
        if targets.is_empty() {
            return Ok(None);
        }
        let context = Arc::new(context);
        let names = targets.iter().map(Target::name).collect();
        let path = state_dir.join("events.redb");
        let ours = (Arc::clone(&context), host);
        let spool = Spool::open(&path, names, settings.spool_bytes_max, ours, now)?;
        let sinks: Vec<_> = targets
            .into_iter()
            .enumerate()
            .map(|(place, target)| Arc::new(Sink::new(place, target)))
            .collect();
        let mut workers = JoinSet::new();
        for sink in &sinks {
            workers.spawn(Arc::clone(sink).run(spool.reader()));
        }
        Ok(Some(Self {
            context,
            spool,
            sinks,
            workers,
        }))
    }

    /// Puts what is to be told on its way to the disk, in order. Of what ECS has no word for
    /// nothing is told.
    pub(crate) fn tell<'e>(&mut self, agent: &Agent, events: impl Iterator<Item = &'e Event>) {
        let context = Arc::clone(&self.context);
        let entries = View::look(&agent.picture(), (&context, &Default::default()), |view| {
            let entry = |event: &Event| {
                let text = ecs_json(view, event)?.to_string();
                Some(Entry {
                    at: event.at,
                    json: text.into_bytes(),
                })
            };
            events.filter_map(entry).collect::<Vec<_>>()
        });
        if !entries.is_empty() {
            self.spool.append(entries);
        }
    }

    /// Returns when all that was told is on the disk, or cannot be put there.
    pub(crate) async fn pass(&mut self) {
        self.spool.pass().await;
    }

    /// For `/v1/status`.
    pub(crate) fn status(&self) -> Value {
        let sinks = self.sinks.iter().map(|sink| {
            let spooled = self.spool.spooled(sink.place());
            sink.status_json(spooled)
        });
        let sinks: Vec<_> = sinks.collect();
        json!({"sinks": sinks, "spool": self.spool.trouble()})
    }

    /// Of an agent that goes for good, what waits is delivered first, for a while.
    pub(crate) async fn close(mut self, for_good: bool) {
        self.spool.pass().await;
        if for_good {
            let empty = async {
                while self
                    .sinks
                    .iter()
                    .any(|s| self.spool.spooled(s.place()).waiting > 0)
                {
                    sleep(LOOK_INTERVAL).await;
                }
            };
            timeout(LAST_EVENTS_TIMEOUT, empty).await.ok();
        }
        self.workers.shutdown().await;
        self.spool.close().await;
    }
}

#[cfg(test)]
mod tests;
