//! Docker as the core's container runtime: takes commands, never blocks, answers with events.

use super::{
    failure::CallError,
    ledger::Ledger,
    operations,
    pull::{PULLS_MAX, Pull},
    supervise,
};
use bollard::{Docker as Client, errors::Error as DockerError};
use holdfast_core::{
    ids::{HostId, RuntimeId},
    task::runtime::{RuntimeCommand, RuntimeEvent},
    time::Span,
};
use std::{
    collections::BTreeMap,
    num::NonZero,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    thread::available_parallelism,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::AbortHandle,
    time::timeout,
};

/// Creating and starting are Docker's heavy work; more of it at once only makes each one slower.
const STARTS_PER_CORE_MAX: usize = 2;
/// Each is one socket. Far above what a host's tasks need: stopping must not queue.
const STOPS_MAX: usize = 256;
/// Creating and starting may take this much longer than other calls.
pub(crate) const START_TIMEOUT_FACTOR: u32 = 2;

#[derive(Clone, Debug)]
pub(crate) struct DockerConfig {
    /// Docker's socket, with or without a leading `unix://`.
    pub(crate) socket: PathBuf,
    pub(crate) cluster: String,
    pub(crate) host: HostId,
    /// Written on containers whose definition has no stop time-out, for who stops them by hand.
    pub(crate) stop_grace_default: Span,
    /// How long one call may take; creating and starting may take twice as long.
    pub(crate) call_timeout: Duration,
    /// Whether a missing image is pulled.
    pub(crate) pull: bool,
}

/// Serves the core's runtime boundary with a Docker Engine. Dropping it ends the connection; calls
/// under way come to their end.
#[derive(Debug)]
pub(crate) struct Docker {
    shared: Arc<Shared>,
    supervisor: AbortHandle,
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: DockerConfig,
    pub(crate) list_wanted: Notify,
    pub(crate) starts: Semaphore,
    pub(crate) stops: Semaphore,
    pub(crate) pulls: Semaphore,
    /// Pulls under way, by image: many tasks of one image are one pull.
    pub(crate) pulling: Mutex<BTreeMap<String, Arc<Pull>>>,
    /// The last container that died, and when we heard of it.
    pub(crate) died: Mutex<Option<(RuntimeId, Instant)>>,
    client: Mutex<Option<Client>>,
    ledger: Mutex<Ledger>,
    events: mpsc::Sender<RuntimeEvent>,
}

impl Docker {
    /// Must be called within a tokio runtime (a current-thread one will do).
    pub(crate) fn start(config: DockerConfig, events: mpsc::Sender<RuntimeEvent>) -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let shared = Arc::new(Shared {
            config,
            list_wanted: Notify::new(),
            starts: Semaphore::new(cores * STARTS_PER_CORE_MAX),
            stops: Semaphore::new(STOPS_MAX),
            pulls: Semaphore::new(PULLS_MAX),
            pulling: Mutex::default(),
            died: Mutex::default(),
            client: Mutex::default(),
            ledger: Mutex::default(),
            events,
        });
        let supervisor = tokio::spawn(supervise::supervise(Arc::clone(&shared))).abort_handle();
        Self { shared, supervisor }
    }

    /// Begins to carry out a command; the answer comes as an event. Never blocks. The commands of
    /// one container may overtake each other: whoever needs an order awaits the answer.
    pub(crate) fn carry_out(&self, command: RuntimeCommand) {
        match command {
            // The supervisor lists, one comparison at a time; asking twice is asking once.
            RuntimeCommand::List => self.shared.list_wanted.notify_one(),
            command => {
                tokio::spawn(operations::carry_out(Arc::clone(&self.shared), command));
            }
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Shared {
    pub(crate) fn client(&self) -> Result<Client, CallError> {
        lock(&self.client).clone().ok_or(CallError::Unavailable)
    }

    pub(crate) fn set_client(&self, client: Option<Client>) {
        *lock(&self.client) = client;
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Notes in the ledger and tells the core in one step, so that the ledger's order is the
    /// core's order: a full comparison told in between would be stale.
    pub(crate) async fn tell(&self, event: impl FnOnce(&mut Ledger) -> RuntimeEvent) {
        // Without a receiver the agent is on its way out, and nobody is left to be told.
        let Ok(permit) = self.events.reserve().await else {
            return;
        };
        let mut ledger = self.ledger();
        permit.send(event(&mut ledger));
    }
}

/// Awaits one call to Docker, but not for ever: a hung Docker must not hold its caller.
pub(crate) async fn bounded<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, DockerError>>,
) -> Result<T, CallError> {
    match timeout(limit, call).await {
        Ok(outcome) => outcome.map_err(CallError::Docker),
        Err(_) => Err(CallError::TimedOut(limit)),
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing panics while it holds one of the runtime's locks")
}
