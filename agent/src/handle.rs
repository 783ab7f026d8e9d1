//! How servers reach the one owner of the `Agent`, and what they may read without it.

mod events;

use crate::directory::Directory;
use holdfast_core::{
    agent::{Agent, Picture},
    command::{Command, Outcome, Refusal},
    time::Wall,
};
use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

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
    pub(crate) pace: Pace,
    /// Why this host cannot save; absent while it can.
    pub(crate) disk: Option<String>,
    /// What is wrong with this host's clock; absent while nothing is.
    pub(crate) clock: Option<String>,
    /// How events are delivered, as `/v1/status` shows it; null where nobody is to have them.
    pub(crate) events: serde_json::Value,
    /// Where containers may ask what they are; absent where that is switched off.
    pub(crate) metadata: Option<MetadataStatus>,
    /// Records that are kept and not read, since reading them crashed this agent.
    pub(crate) set_aside: Vec<String>,
    /// Where DNS is served, and why not; null where it is switched off.
    pub(crate) dns: serde_json::Value,
}

/// How long the core's steps take, each of which holds up all else that the agent decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    steps: u64,
    slow: u64,
    longest: Duration,
}

/// No step is to take longer.
const SLOW: Duration = Duration::from_millis(5);

impl Pace {
    pub(crate) fn note(&mut self, took: Duration) {
        self.steps += 1;
        self.slow += u64::from(took > SLOW);
        self.longest = self.longest.max(took);
    }

    /// As `/v1/status` shows it.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "taken": self.steps,
            "over5Ms": self.slow,
            "longestMs": self.longest.as_micros() as f64 / 1e3,
        })
    }
}

/// What tells whether the board is another one by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoardState {
    pub(crate) root: u64,
    /// It has been once: what is on the board is not from before this agent was away.
    pub(crate) caught_up: bool,
}

/// The metadata endpoint, as `/v1/status` shows it.
#[derive(Clone, Debug)]
pub(crate) struct MetadataStatus {
    pub(crate) address: SocketAddr,
    /// Why nobody is served there; absent while all is well.
    pub(crate) trouble: Option<String>,
}

/// Cheap to clone; one for each server.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    calls: mpsc::Sender<Call>,
    events: Arc<EventLog>,
    status: Arc<Mutex<DaemonStatus>>,
    board: Arc<watch::Sender<BoardState>>,
    directory: Arc<watch::Sender<Option<Arc<Directory>>>>,
}

impl Handle {
    /// The handle for the servers, and the calls that the driver has to take.
    pub(crate) fn new(status: DaemonStatus) -> (Self, mpsc::Receiver<Call>) {
        let (calls, taken) = mpsc::channel(CALLS_WAITING_MAX);
        let handle = Self {
            calls,
            events: Arc::new(EventLog::default()),
            status: Arc::new(Mutex::new(status)),
            board: Arc::default(),
            directory: Arc::default(),
        };
        (handle, taken)
    }

    /// What the agent sees between two steps: all that was answered before is in it.
    pub(crate) async fn picture(&self) -> Result<Picture, Stopping> {
        self.read(Agent::picture).await
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

    /// For the driver alone, after each step.
    pub(crate) fn note_board(&self, root: u64, is_caught_up: bool) {
        self.board.send_if_modified(|state| {
            let before = *state;
            state.root = root;
            state.caught_up |= is_caught_up;
            *state != before
        });
    }

    pub(crate) fn changes(&self) -> watch::Receiver<BoardState> {
        self.board.subscribe()
    }

    pub(crate) fn set_directory(&self, directory: Option<Arc<Directory>>) {
        self.directory.send_replace(directory);
    }

    /// `None` before the board has been read from a peer.
    pub(crate) fn directory(&self) -> Option<Arc<Directory>> {
        self.directory.borrow().clone()
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
