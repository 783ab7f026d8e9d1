//! `holdfast agent`: reads the settings, opens what the agent needs, and runs it until stopped.

use crate::{
    api::{context::ApiContext, metadata_file::FileHost},
    config::{Config, ConfigError, Flags, RawConfig, peer_port},
    directory::Refresher,
    discovery::{Discovery, DiscoverySettings},
    disk::{Disk, chain},
    dns::DnsSettings,
    drive::{Driver, Ending, Ports},
    gossip::{self, KeyFileError, KeyStore, Knocks, Transport, TransportConfig, read_key_file},
    gpus,
    handle::{Call, DaemonStatus, Handle},
    http,
    identity::{IdentityError, StateDir, StateDirError},
    journal::JournalFile,
    metadata::{MetadataPaths, Secret},
    outbound::{Outbound, OutboundError},
    probe::{HostFacts, ProbeError},
    recordings::Recordings,
    runtime::{
        Docker, DockerConfig, GivenSettings, MetadataFileSettings, images::PROGRESS_TIMEOUT,
    },
    store::{Entries, Store, StoreError},
    systemd,
    telemetry::{self, FilterError, TelemetryError},
    vault::Vault,
};
use holdfast_core::{
    agent::{AgentConfig, Timings},
    cluster::{body::Capacity, keys::KeyReport, record::Record},
    ids::{GpuId, HostId},
    input::Input,
    spec::{
        privilege::{DENIED, PRIVILEGE_ATTRIBUTE},
        task_definition::Architecture,
    },
    task::runtime::RuntimeEvent,
    time::Wall,
};
use std::{
    collections::BTreeMap,
    env::consts::ARCH,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
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
    Outbound(#[from] OutboundError),
    #[error(transparent)]
    Http(#[from] http::BindError),
    #[error(transparent)]
    ApiKeys(#[from] http::KeysError),
    #[error(transparent)]
    ApiTls(#[from] http::TlsError),
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
    let open = |file| KeyStore::open(&config.state_dir, file);
    let keys = keys.map(open).transpose()?;
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
    let mut transport = Transport::bind(transport, inbox).await?;
    let address = address_of(&config, &transport);
    let (events, happened) = mpsc::channel(RUNTIME_EVENTS_MAX);
    let vault = Vault::new(&config.cluster, keys.as_ref().map(KeyStore::ring).cloned());
    let docker = docker_config(&config, (host, address.ip()), &vault)?;
    let docker = Docker::start(docker, events);
    let (handle, calls) = Handle::new(status_at_start());
    let mut discovery = Discovery::start(config.peers.clone(), discovery_settings(&config))?;
    let found = tokio::join!(discovery.first(), gpus::find(&config.gpus));
    let servers = serve_http(&config, &handle, (&docker, &vault), &mut transport).await?;
    info!(%host, cluster = config.cluster, %address, version = VERSION, "Agent started.");
    let mut agent = agent_config(&config, (host, boot, fingerprint), address, found);
    agent.keys = keys.as_ref().map(KeyStore::report).unwrap_or_default();
    let ((knocks, knocked), saved) = (Knocks::new(), records(entries));
    let ports = Ports {
        transport,
        docker,
        knocks,
        disk: Disk::start(store),
        journal: JournalFile::open(&config.state_dir, &saved),
        directory: refresher(&config, &handle)?,
        handle,
        servers,
        discovery,
        keys,
        outbound: outbound(&config, host)?,
        vault,
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

fn status_at_start() -> DaemonStatus {
    DaemonStatus {
        agent_version: VERSION.to_owned(),
        started_at: Wall(gossip::now_wall_ms()),
        ..DaemonStatus::default()
    }
}

async fn serve_http(
    config: &Config,
    handle: &Handle,
    (docker, vault): (&Docker, &Vault),
    transport: &mut Transport,
) -> Result<http::Servers, DaemonError> {
    let context = api_context(config);
    let recordings = Recordings::new(&config.state_dir);
    let group = &config.api_group;
    let reach = http::Reach {
        containers: docker.containers(),
        tunnels: transport.tunnels(),
        denies_exec: config.denies_exec,
    };
    let (images, vault) = (docker.images(), vault.clone());
    let app = http::App::new(handle.clone(), context, group, recordings, images, vault);
    let access = config
        .api
        .as_ref()
        .map(|api| http::Access::open(&api.keys_file));
    let app = app.reaching(reach).keyed(access.transpose()?);
    let local = match http::take_local(&config.api_socket)? {
        Some(held) => held,
        None => http::bind_local(&config.api_socket).await?,
    };
    let introspection = match config.introspection {
        Some(address) => Some(http::bind_introspection(address).await?),
        None => None,
    };
    let mut servers = http::Servers::start(&app, local, introspection);
    if let Some(api) = &config.api {
        servers.serve_api(&app, http::ApiListener::bind(api).await?);
    }
    let incoming = transport.take_incoming();
    let why = "nobody took it since the transport was bound";
    servers.serve_peers(&app, incoming.expect(why));
    if let Some((paths, facts)) = docker.metadata() {
        servers.serve_containers(&app, paths, facts);
    }
    Ok(servers)
}

fn outbound(config: &Config, host: HostId) -> Result<Option<Outbound>, OutboundError> {
    let (ours, now) = ((api_context(config), host), Wall(gossip::now_wall_ms()));
    Outbound::start(&config.events, ours, &config.state_dir, now)
}

fn api_context(config: &Config) -> ApiContext {
    ApiContext {
        region: config.region.clone(),
        account: config.account.clone(),
        cluster: config.cluster.clone(),
        namespace: None,
        is_named: false,
    }
}

/// What the paths of containers are made of; `None` where there are none.
fn metadata_secret(config: &Config) -> Result<Option<Secret>, DaemonError> {
    let is_wanted = config.metadata.is_some() || config.metadata_file;
    let secret = is_wanted.then(|| Secret::open(&config.state_dir));
    Ok(secret.transpose()?)
}

fn docker_config(
    config: &Config,
    (host, address): (HostId, IpAddr),
    vault: &Vault,
) -> Result<DockerConfig, DaemonError> {
    let secret = metadata_secret(config)?;
    let paths = config.metadata.zip(secret.clone());
    let with_file = secret.filter(|_| config.metadata_file);
    Ok(DockerConfig {
        socket: config.docker_socket.clone(),
        cluster: config.cluster.clone(),
        host,
        stop_grace_default: config.stop_timeout,
        task_pids_limit: config.task_pids_limit,
        call_timeout: DOCKER_CALL_TIMEOUT,
        log_driver: config.log_driver,
        images: config.images.clone(),
        given: GivenSettings {
            vault: vault.clone(),
            environment_files: config.environment_files.clone(),
            secret_files: config.secret_files.clone(),
            secret_commands: config.secret_commands.clone(),
            secret_mounts: config.secret_mounts.clone(),
        },
        progress_timeout: PROGRESS_TIMEOUT,
        state_dir: config.state_dir.clone(),
        metadata: paths.map(|(address, secret)| MetadataPaths::new(address, secret)),
        metadata_file: with_file.map(|secret| MetadataFileSettings {
            secret,
            host: FileHost {
                context: api_context(config),
                zone: config.zone.clone(),
                address,
            },
        }),
    })
}

/// Where peers reach this agent.
fn address_of(config: &Config, transport: &Transport) -> SocketAddr {
    let mut address = config.advertise;
    if address.port() == 0 {
        address.set_port(transport.local_addr().port());
    }
    address
}

fn refresher(config: &Config, handle: &Handle) -> Result<Refresher, DaemonError> {
    let dns = config.dns.map(|bind| DnsSettings {
        bind,
        domain: config.dns_domain.clone(),
        own: config.advertise.ip(),
    });
    let what = "start the thread of the directory";
    Refresher::start(handle, dns).map_err(|err| DaemonError::System { what, err })
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
    (seeds, gpus): (Vec<SocketAddr>, Vec<GpuId>),
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
        attributes: attributes(config),
        capacity: Capacity {
            cpu: config.cpu,
            memory_mib: config.memory_mib,
            gpus: u16::try_from(gpus.len()).expect("only so many are taken"),
        },
        gpus,
        dynamic_ports: config.dynamic_ports,
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

/// Those of the configuration, and what ECS's agent says of each machine.
fn attributes(config: &Config) -> BTreeMap<String, String> {
    let architecture = match ARCH {
        "aarch64" => "arm64",
        other => other,
    };
    let own = (Architecture::ATTRIBUTE, architecture);
    let denied = config
        .denies_privilege
        .then_some((PRIVILEGE_ATTRIBUTE, DENIED));
    let own = [own].into_iter().chain(denied);
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let of_config = config.attributes.clone().into_iter();
    of_config.chain(own).collect()
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
