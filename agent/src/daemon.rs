//! `holdfast agent`: reads the settings, opens what the agent needs, and runs it until stopped.

use crate::{
    api::context::ApiContext,
    config::{Config, ConfigError, Flags, Pull, RawConfig, peer_port},
    discovery::{Discovery, DiscoverySettings},
    disk::{Disk, chain},
    drive::{Driver, Ending, Ports},
    gossip::{self, KeyFileError, KeyStore, Knocks, Transport, TransportConfig, read_key_file},
    handle::{Call, DaemonStatus, Handle},
    http,
    identity::{IdentityError, StateDir, StateDirError},
    journal::JournalFile,
    probe::{HostFacts, ProbeError},
    recordings::Recordings,
    runtime::{Docker, DockerConfig},
    store::{Entries, Store, StoreError},
    systemd,
    telemetry::{self, FilterError, TelemetryError},
};
use holdfast_core::{
    agent::{AgentConfig, Timings},
    cluster::{body::Capacity, keys::KeyReport, record::Record},
    ids::HostId,
    input::Input,
    task::runtime::RuntimeEvent,
    time::Wall,
};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tracing::{info, warn};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Messages from peers that wait for the driver. Each may hold a frame of 1 MiB at the worst.
const INBOX_MAX: usize = 256;
const RUNTIME_EVENTS_MAX: usize = 1_024;
/// One call to Docker; a hung engine costs this much, for one container.
const DOCKER_CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the agent did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error("cannot read what this machine is")]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    Transport(#[from] gossip::BindError),
    #[error(transparent)]
    Http(#[from] http::BindError),
    #[error("cannot draw random bytes: check that the kernel's random device works")]
    Random(#[from] getrandom::Error),
    #[error("cannot {what}")]
    System {
        what: &'static str,
        #[source]
        err: io::Error,
    },
    #[error("{0}")]
    Fatal(String),
}

/// Runs the agent until SIGTERM or SIGINT, which leave its tasks running, or until it has left.
pub(crate) fn run(flags: &Flags) -> Result<Ending, DaemonError> {
    if flags.print_default_config {
        print!("{}", RawConfig::default_file());
        return Ok(Ending::Stopped);
    }
    let facts = HostFacts::read()?;
    let raw = RawConfig::gather(flags, std::env::vars_os(), &facts)?;
    if flags.print_config {
        print!("{}", raw.render());
        return Ok(Ending::Stopped);
    }
    let config = Config::try_from(raw)?;
    telemetry::start(config.log_format, telemetry::parse_filter(&config.log)?)?;
    let state = StateDir::open(&config.state_dir)?;
    let host = state.identity(facts.fingerprint)?.host;
    let (store, entries) = Store::open(&state.path().join("holdfast.redb"), gossip::now_wall_ms())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|err| DaemonError::System { what: "start", err })?;
    let served = async {
        let started = start(config, (host, facts.fingerprint), store, entries).await?;
        started.run().await
    };
    // `state` holds the lock on the state directory until here.
    runtime.block_on(served)
}

/// An agent that listens and knows its first peers, and has not taken its first step.
struct Started {
    driver: Driver,
    received: mpsc::Receiver<gossip::Received>,
    happened: mpsc::Receiver<RuntimeEvent>,
    knocked: mpsc::Receiver<Input>,
    calls: mpsc::Receiver<Call>,
}

impl Started {
    async fn run(self) -> Result<Ending, DaemonError> {
        let ended = self
            .driver
            .run(self.received, self.happened, self.knocked, self.calls);
        let ending = ended.await.map_err(DaemonError::Fatal)?;
        match ending {
            Ending::Stopped => {
                systemd::stopping("Stopped; tasks go on.");
                info!("Agent stopped. Its tasks go on.");
            }
            Ending::Left => {
                systemd::stopping("Left the cluster.");
                info!("This host has left the cluster. Start the agent to come back.");
            }
        }
        Ok(ending)
    }
}

async fn start(
    config: Config,
    (host, fingerprint): (HostId, u64),
    mut store: Store,
    entries: Entries,
) -> Result<Started, DaemonError> {
    let boot = match store.next_incarnation(gossip::now_wall_ms()) {
        // A full disk must not keep an agent from its tasks; the wall clock grows, too.
        Err(err @ StoreError::Full { .. }) => {
            warn!(reason = %chain(&err), "Cannot save this start; going on with the wall clock.");
            gossip::now_wall_ms()
        }
        next => next?,
    };
    let keys = config.key_file.as_deref().map(read_key_file).transpose()?;
    let keys = keys.map(|file| KeyStore::open(&config.state_dir, file));
    let keys = keys.transpose()?;
    if keys.is_none() {
        warn!("There is no cluster key: only agents on this machine can be peers.");
    }
    let (inbox, received) = mpsc::channel(INBOX_MAX);
    let transport = TransportConfig {
        bind: config.bind,
        advertise: config.advertise,
        cluster: config.cluster.clone(),
        keyring: keys.as_ref().map(|keys| keys.ring().clone()),
        host,
        boot,
        now_wall_ms: gossip::now_wall_ms,
    };
    let transport = Transport::bind(transport, inbox).await?;
    let mut address = config.advertise;
    if address.port() == 0 {
        address.set_port(transport.local_addr().port());
    }
    let (events, happened) = mpsc::channel(RUNTIME_EVENTS_MAX);
    let docker = Docker::start(docker_config(&config, host), events);
    let (handle, calls) = Handle::new(DaemonStatus {
        agent_version: VERSION.to_owned(),
        started_at: Wall(gossip::now_wall_ms()),
        ..DaemonStatus::default()
    });
    let mut discovery = Discovery::start(config.peers.clone(), discovery_settings(&config))?;
    let seeds = discovery.first().await;
    let servers = serve_http(&config, &handle).await?;
    info!(%host, cluster = config.cluster, %address, version = VERSION, "Agent started.");
    let mut agent = agent_config(&config, (host, boot, fingerprint), address, seeds);
    agent.keys = keys.as_ref().map(KeyStore::report).unwrap_or_default();
    let (knocks, knocked) = Knocks::new();
    let saved = records(entries);
    let ports = Ports {
        transport,
        docker,
        knocks,
        disk: Disk::start(store),
        journal: JournalFile::open(&config.state_dir, &saved),
        handle,
        servers,
        discovery,
        keys,
        recordings: Recordings::new(&config.state_dir),
    };
    Ok(Started {
        driver: Driver::start(agent, saved, ports)?,
        received,
        happened,
        knocked,
        calls,
    })
}

async fn serve_http(config: &Config, handle: &Handle) -> Result<http::Servers, DaemonError> {
    let context = ApiContext {
        region: config.region.clone(),
        account: config.account.clone(),
        cluster: config.cluster.clone(),
    };
    let recordings = Recordings::new(&config.state_dir);
    let app = http::App::new(handle.clone(), context, &config.api_group, recordings);
    let local = http::bind_local(&config.api_socket).await?;
    let introspection = match config.introspection {
        Some(address) => Some(http::bind_introspection(address).await?),
        None => None,
    };
    Ok(http::Servers::start(&app, local, introspection))
}

fn docker_config(config: &Config, host: HostId) -> DockerConfig {
    DockerConfig {
        socket: config.docker_socket.clone(),
        cluster: config.cluster.clone(),
        host,
        stop_grace_default: config.stop_timeout,
        call_timeout: DOCKER_CALL_TIMEOUT,
        pull: config.pull == Pull::Missing,
    }
}

fn discovery_settings(config: &Config) -> DiscoverySettings {
    DiscoverySettings {
        refresh: config.peers_refresh,
        command_wait_max: config.peers_command_timeout,
        port: peer_port(config.bind),
    }
}

fn agent_config(
    config: &Config,
    (host, incarnation, fingerprint): (HostId, u64, u64),
    address: SocketAddr,
    seeds: Vec<SocketAddr>,
) -> AgentConfig {
    AgentConfig {
        host,
        incarnation,
        cluster: config.cluster.clone(),
        name: config.name.clone(),
        address,
        seeds_expected: seeds.is_empty() && !config.peers.is_empty(),
        seeds,
        zone: config.zone.clone(),
        attributes: config.attributes.clone(),
        capacity: Capacity {
            cpu: config.cpu,
            memory_mib: config.memory_mib,
        },
        fingerprint,
        keys: KeyReport::default(),
        agent_version: VERSION.to_owned(),
        timings: Timings {
            probe_interval: config.probe_interval,
            suspect_after: config.suspect_after,
            down_after: config.down_after,
            restart_grace: config.restart_grace,
            impaired_grace: config.impaired_grace,
            compare_interval: config.docker_resync,
            container_retention: config.stopped_container_retention,
            stop_timeout: config.stop_timeout,
            leave_timeout: config.leave_timeout,
            reap_after: config.reap_after,
            ..Timings::default()
        },
    }
}

/// What the disk held, as records. One that cannot be read is left out: peers have it.
fn records(entries: Entries) -> Vec<Arc<Record>> {
    let read = |(_, value): (Vec<u8>, Vec<u8>)| match Record::decode(&value) {
        Ok(record) => Some(record),
        Err(err) => {
            warn!(reason = %chain(&err), "Left a saved record out.");
            None
        }
    };
    entries.into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests;
