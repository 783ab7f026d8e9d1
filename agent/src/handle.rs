//! How servers reach the one owner of the `Agent`, and what they may read without it.

mod events;

use holdfast_core::{
    agent::Agent,
    command::{Command, Outcome, Refusal},
    time::Wall,
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, oneshot};

pub(crate) use events::{Delivery, EventLog, Place};

/// Calls that wait for the driver; whoever comes later waits to be let in.
const CALLS_WAITING_MAX: usize = 256;

/// What a server asks of the driver loop.
///
/// The driver runs a `Read` between two steps, and answers a `Command` only after its `Persist` is
/// on disk: an outcome says that the change survives a crash.
pub(crate) enum Call {
    Read(Box<dyn FnOnce(&Agent) + Send>),
    /// What the agent was told of late, as a file.
    Record {
        at: Wall,
        reply: oneshot::Sender<Vec<u8>>,
    },
    Command {
        command: Command,
        reply: oneshot::Sender<Result<Outcome, Refusal>>,
    },
}

/// The driver has ended or is ending: nothing was read or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this agent is stopping; ask again when it is back, or ask another agent")]
pub(crate) struct Stopping;

/// What the driver knows and the core does not.
#[derive(Clone, Debug, Default)]
pub(crate) struct DaemonStatus {
    pub(crate) agent_version: String,
    pub(crate) started_at: Wall,
    /// Counters of the transport, as they are shown by `/v1/status`.
    pub(crate) transport: serde_json::Value,
    /// Why this host cannot save; absent while it can.
    pub(crate) disk: Option<String>,
    /// What is wrong with this host's clock; absent while nothing is.
    pub(crate) clock: Option<String>,
    /// Records that are kept and not read, since reading them crashed this agent.
    pub(crate) set_aside: Vec<String>,
}

/// Cheap to clone; one for each server.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    calls: mpsc::Sender<Call>,
    events: Arc<EventLog>,
    status: Arc<Mutex<DaemonStatus>>,
}

impl Handle {
    /// The handle for the servers, and the calls that the driver has to take.
    pub(crate) fn new(status: DaemonStatus) -> (Self, mpsc::Receiver<Call>) {
        let (calls, taken) = mpsc::channel(CALLS_WAITING_MAX);
        let handle = Self {
            calls,
            events: Arc::new(EventLog::default()),
            status: Arc::new(Mutex::new(status)),
        };
        (handle, taken)
    }

    /// Runs `read` at the driver, between two steps. It holds up the agent as long as it takes, so
    /// it must be quick and must not block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Agent) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        let call = Call::Read(Box::new(move |agent| {
            // Nobody waits for it any more where the sending fails, which is fine.
            reply.send(read(agent)).ok();
        }));
        self.calls.send(call).await.map_err(|_| Stopping)?;
        answer.await.map_err(|_| Stopping)
    }

    /// A recording of the agent's last steps. It holds up the agent for as long as it takes to
    /// write its board down.
    pub(crate) async fn record(&self, at: Wall) -> Result<Vec<u8>, Stopping> {
        let (reply, answer) = oneshot::channel();
        let call = Call::Record { at, reply };
        self.calls.send(call).await.map_err(|_| Stopping)?;
        answer.await.map_err(|_| Stopping)
    }

    /// Has `command` carried out. `Err(Stopping)` after it was handed over leaves open whether it
    /// was: clients find out by reading.
    pub(crate) async fn command(
        &self,
        command: Command,
    ) -> Result<Result<Outcome, Refusal>, Stopping> {
        let (reply, answer) = oneshot::channel();
        let call = Call::Command { command, reply };
        self.calls.send(call).await.map_err(|_| Stopping)?;
        answer.await.map_err(|_| Stopping)
    }

    pub(crate) fn events(&self) -> &EventLog {
        &self.events
    }

    /// A log that outlives this handle, for streams.
    pub(crate) fn events_shared(&self) -> Arc<EventLog> {
        Arc::clone(&self.events)
    }

    pub(crate) fn status(&self) -> DaemonStatus {
        self.lock().clone()
    }

    pub(crate) fn update_status(&self, change: impl FnOnce(&mut DaemonStatus)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, DaemonStatus> {
        // Each field is valid by itself, so a panic elsewhere has left nothing half done.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(_) => f.write_str("Read"),
            Self::Record { .. } => f.write_str("Record"),
            Self::Command { command, .. } => f.debug_tuple("Command").field(command).finish(),
        }
    }
}
