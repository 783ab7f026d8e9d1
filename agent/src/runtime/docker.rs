//! Docker as the core's container runtime: takes commands, never blocks, answers with events.

use super::{
    containers::Containers,
    facts::Facts,
    failure::CallError,
    given::GivenSettings,
    images::{ImageSettings, ImageState, Images},
    ledger::Ledger,
    metadata_file::MetadataFileSettings,
    operations, supervise,
    tally::Tally,
    turns::Lane,
};
use crate::metadata::{MetadataFiles, MetadataPaths};
use bollard::{Docker as Client, errors::Error as DockerError};
use holdfast_core::{
    ids::{HostId, RuntimeId, TaskId},
    task::runtime::{RuntimeCommand, RuntimeEvent},
    time::Span,
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::NonZero,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    thread::available_parallelism,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::AbortHandle,
    time::{sleep, timeout},
};

/// Starting is Docker's heavy work, of which much is waiting for the kernel's lock on networks.
const STARTS_PER_CORE_MAX: usize = 4;
/// Were creations as many as starts, then of fifty tasks all would be created before one started.
const CREATES_PER_CORE_MAX: usize = 1;
/// Each is one socket. Far above what a host's tasks need: stopping must not queue.
const STOPS_MAX: usize = 256;
/// Creating and starting may take this much longer than other calls.
pub(crate) const START_TIMEOUT_FACTOR: u32 = 2;

const PASSING_WORDS: [&str; 2] = ["variant `initialized`", "variant `stopped`"];
const PASSING_TRIES_MAX: u32 = 40;
const PASSING_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(crate) struct DockerConfig {
    /// Docker's socket, with or without a leading `unix://`.
    pub(crate) socket: PathBuf,
    pub(crate) cluster: String,
    pub(crate) host: HostId,
    /// Written on containers whose definition has no stop time-out, for who stops them by hand.
    pub(crate) stop_grace_default: Span,
    /// How many processes and threads a task may have.
    pub(crate) task_pids_limit: Option<u32>,
    /// How long one call may take; creating and starting may take twice as long.
    pub(crate) call_timeout: Duration,
    pub(crate) log_driver: LogDriver,
    pub(crate) images: ImageSettings,
    pub(crate) given: GivenSettings,
    /// How long a pull may say nothing.
    pub(crate) progress_timeout: Duration,
    /// Where it is noted which images were pulled.
    pub(crate) state_dir: PathBuf,
    /// Where containers may ask what they are.
    pub(crate) metadata: Option<MetadataPaths>,
    /// What each container has a file of; `None`: none has.
    pub(crate) metadata_file: Option<MetadataFileSettings>,
}

/// What is at the other end of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Engine {
    /// What goes before a path, to name the version of the API that both sides speak.
    pub(crate) api: String,
    pub(crate) is_podman: bool,
}

/// What becomes of the logs of a container whose definition does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogDriver {
    /// Docker's `local`, which throws away what is old.
    Local,
    /// What the engine is set to; by default that keeps everything for ever.
    Engine,
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
    /// A container may have begun to run.
    pub(crate) started: Notify,
    pub(crate) creates: Lane,
    pub(crate) starts: Lane,
    pub(crate) stops: Semaphore,
    pub(crate) images: ImageState,
    pub(crate) metadata_files: Arc<MetadataFiles>,
    /// The last container that died, and when we heard of it.
    pub(crate) died: Mutex<Option<(RuntimeId, Instant)>>,
    /// Tasks of which containers are being made.
    pub(crate) making: Tally<TaskId>,
    /// Where containers are reached that are checked from outside.
    pub(crate) addresses: Mutex<BTreeMap<RuntimeId, IpAddr>>,
    client: Mutex<Option<Client>>,
    engine: Mutex<Engine>,
    ledger: Mutex<Ledger>,
    events: mpsc::Sender<RuntimeEvent>,
}

impl Docker {
    /// Must be called within a tokio runtime (a current-thread one will do).
    pub(crate) fn start(config: DockerConfig, events: mpsc::Sender<RuntimeEvent>) -> Self {
        let shared = Arc::new(Shared::new(config, events));
        let supervisor = tokio::spawn(supervise::supervise(Arc::clone(&shared))).abort_handle();
        Self { shared, supervisor }
    }

    /// For whoever asks about images.
    pub(crate) fn images(&self) -> Images {
        Images(Arc::clone(&self.shared))
    }

    /// For whoever asks something of a single container.
    pub(crate) fn containers(&self) -> Containers {
        Containers(Arc::clone(&self.shared))
    }

    /// For whoever tells containers what they are: where they ask, and what Docker knows of them.
    pub(crate) fn metadata(&self) -> Option<(MetadataPaths, Facts)> {
        let paths = self.shared.config.metadata.clone()?;
        Some((paths, Facts::new(Arc::clone(&self.shared))))
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
    pub(crate) fn new(config: DockerConfig, events: mpsc::Sender<RuntimeEvent>) -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self {
            images: ImageState::open(&config.state_dir, &config.images),
            metadata_files: Arc::new(MetadataFiles::new(&config.state_dir)),
            config,
            list_wanted: Notify::new(),
            started: Notify::new(),
            creates: Lane::new(cores * CREATES_PER_CORE_MAX),
            starts: Lane::new(cores * STARTS_PER_CORE_MAX),
            stops: Semaphore::new(STOPS_MAX),
            died: Mutex::default(),
            making: Tally::default(),
            addresses: Mutex::default(),
            client: Mutex::default(),
            engine: Mutex::default(),
            ledger: Mutex::default(),
            events,
        }
    }

    pub(crate) fn client(&self) -> Result<Client, CallError> {
        lock(&self.client).clone().ok_or(CallError::Unavailable)
    }

    pub(crate) fn set_client(&self, client: Option<Client>) {
        *lock(&self.client) = client;
    }

    /// Absent while there is no connection.
    pub(crate) fn engine(&self) -> Option<Engine> {
        lock(&self.client).as_ref()?;
        Some(lock(&self.engine).clone())
    }

    pub(crate) fn set_engine(&self, engine: Engine) {
        *lock(&self.engine) = engine;
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
        self.tell_if(|ledger| Some(event(ledger))).await;
    }

    /// As [`Self::tell`], where the ledger may show that there is nothing to be told.
    pub(crate) async fn tell_if(&self, event: impl FnOnce(&mut Ledger) -> Option<RuntimeEvent>) {
        // Without a receiver the agent is on its way out, and nobody is left to be told.
        let Ok(permit) = self.events.reserve().await else {
            return;
        };
        let mut ledger = self.ledger();
        if let Some(event) = event(&mut ledger) {
            permit.send(event);
        }
    }
}

/// As [`bounded`], of a question about containers. Podman calls one `initialized` before it starts
/// and `stopped` while it clears up after its end, for some 100 ms. Our client library knows none
/// of these words and cannot read such an answer at all, so it asks again.
pub(crate) async fn asked<T, F>(limit: Duration, ask: impl Fn() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, DockerError>>,
{
    let passes = |err: &DockerError| match err {
        DockerError::JsonDataError { message, .. } => {
            PASSING_WORDS.iter().any(|word| message.contains(word))
        }
        _ => false,
    };
    let settled = async {
        for _ in 0..PASSING_TRIES_MAX {
            match ask().await {
                Err(err) if passes(&err) => sleep(PASSING_PAUSE).await,
                outcome => return outcome,
            }
        }
        ask().await
    };
    bounded(limit, settled).await
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
