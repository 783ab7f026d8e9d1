//! Task definitions as meant: the valid form of ECS's `RegisterTaskDefinition` input.

use super::{
    given::{EnvironmentFile, Secret, ValueName},
    health::HealthCheck,
    linux::{LinuxParameters, SystemControl, Ulimit},
    volume::Volume,
};
use crate::{
    ids::{Digest, GpuId},
    time::Span,
};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// One or more containers that always run together on one host. Immutable; its digest is its
/// identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefinition {
    pub family: String,
    pub network: NetworkMode,
    /// Whose processes its containers see.
    pub pid: Option<Namespace>,
    /// Whose shared memory, semaphores and message queues they see.
    pub ipc: Option<Namespace>,
    /// CPU units of the whole task, which its containers share; their sum where absent.
    pub cpu: Option<u32>,
    /// What all of its containers may use together; no limit beyond their own where absent.
    pub memory_mib: Option<u32>,
    pub platform: Option<Platform>,
    /// Kept for who reads the definition: hosts use rights of their own.
    pub execution_role: Option<String>,
    pub containers: Vec<Container>,
    pub volumes: Vec<Volume>,
}

/// Which network a task's containers see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// One of their own behind the container runtime's bridge; ports are mapped to the host.
    #[default]
    Bridge,
    /// The host's.
    Host,
    /// None but loopback.
    None,
    /// One for all containers of the task, which meet on its loopback; ports are mapped to the
    /// host. What ECS's `awsvpc` gives, without an address of the cloud's.
    Task,
}

/// A namespace that is not the container's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    Host,
    /// Shared by the containers of the task.
    Task,
    /// Of IPC alone: none at all.
    None,
}

/// ECS's `runtimePlatform`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: Option<Architecture>,
    /// `operatingSystemFamily`, which can only be `LINUX`, was said.
    pub says_linux: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    X86_64,
    Arm64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub name: String,
    pub image: String,
    /// Each task takes what the image's tag means when it begins; else all of a deployment run what
    /// the first one found.
    pub follows_tag: bool,
    /// Replaces the image's `CMD` where not empty.
    pub command: Vec<String>,
    /// Replaces the image's `ENTRYPOINT` where not empty.
    pub entry_point: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Read for each task; of two that say the same variable the first one counts.
    pub environment_files: Vec<EnvironmentFile>,
    /// Values that are not in the definition.
    pub secrets: Vec<Secret>,
    /// CPU units, 1024 a core; 0 reserves nothing.
    pub cpu: u32,
    /// Hard limit in MiB; 0 is none.
    pub memory_mib: u32,
    /// What is reserved on the host, and what the container is held to when memory is short; the
    /// hard limit where absent.
    pub memory_reservation_mib: Option<u32>,
    /// The task stops when this container does.
    pub essential: bool,
    pub ports: Vec<PortMapping>,
    pub mounts: Vec<Mount>,
    /// Seconds between SIGTERM and SIGKILL; the agent's default where absent.
    pub stop_timeout_s: Option<u32>,
    pub hostname: Option<String>,
    /// As Docker takes it: `user`, `uid`, `user:group`, `uid:gid`.
    pub user: Option<String>,
    pub working_directory: Option<String>,
    pub dns_servers: Vec<String>,
    pub dns_search_domains: Vec<String>,
    pub extra_hosts: Vec<HostEntry>,
    /// Docker labels beside the agent's own.
    pub labels: BTreeMap<String, String>,
    pub security_options: Vec<String>,
    pub interactive: Option<bool>,
    pub pseudo_terminal: Option<bool>,
    pub read_only_root: Option<bool>,
    pub privileged: Option<bool>,
    pub ulimits: Vec<Ulimit>,
    pub system_controls: Vec<SystemControl>,
    pub linux: LinuxParameters,
    /// What has to be before it is started.
    pub depends_on: Vec<Dependency>,
    /// Seconds from its start within which those that wait for its end, or its health, must have
    /// it.
    pub start_timeout_s: Option<u32>,
    /// Whether it lives: a task of a service that does not is replaced.
    pub health_check: Option<HealthCheck>,
    /// Whether it may be used; nobody is replaced for it.
    pub readiness_check: Option<HealthCheck>,
    pub restart: Option<RestartPolicy>,
    /// Other containers, whose names it can look up: `name` or `name:alias`.
    pub links: Vec<Link>,
    pub volumes_from: Vec<VolumesFrom>,
    /// The container runtime's default where absent.
    pub log: Option<LogConfiguration>,
    /// Sent to end it; the image's, or SIGTERM, where absent.
    pub stop_signal: Option<String>,
    /// Seconds that the task runs on, not ready any more, before it is stopped on somebody's word.
    pub deregistration_delay_s: Option<u32>,
    /// How many GPUs of its host it has for itself.
    pub gpus: u32,
}

/// Where what it writes goes: a log driver of the container runtime, and its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfiguration {
    pub driver: String,
    pub options: BTreeMap<String, String>,
}

/// ECS's `restartPolicy`: the container is started again and the task goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    pub enabled: bool,
    /// Exit codes with which it has ended for good.
    pub ignored_exit_codes: Vec<i32>,
    /// Seconds that it must have run to be started again.
    pub attempt_period_s: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub container: String,
    pub alias: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    pub container: String,
    pub read_only: bool,
}

/// Another container of the task, and what it is awaited to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub container: String,
    pub condition: Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It has been started.
    Start,
    /// It has ended, however.
    Complete,
    /// It has ended with 0.
    Success,
    /// Its health check has found it healthy.
    Healthy,
}

/// A line of the container's `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    pub hostname: String,
    pub address: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub container_port: u16,
    /// 0: the container runtime chooses a free one.
    pub host_port: u16,
    pub protocol: Protocol,
    /// What others may call it; it means nothing to the agent.
    pub name: Option<String>,
    /// What is spoken there, for who wants to know.
    pub app_protocol: Option<AppProtocol>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppProtocol {
    Http,
    Http2,
    Grpc,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Name of one of the definition's volumes.
    pub source_volume: String,
    pub container_path: String,
    pub read_only: bool,
}

/// What a task takes from its host's capacity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU units, 1024 a core.
    pub cpu: u32,
    pub memory_mib: u32,
    pub gpus: u32,
    /// Which ones, once they have been chosen.
    pub gpu_ids: Vec<GpuId>,
    /// Fixed host ports, sorted.
    pub ports: Vec<(Protocol, u16)>,
    /// The one that it was built for; any where absent.
    pub architecture: Option<Architecture>,
    /// It would be root on its host, which not every host allows.
    pub privileged: bool,
}

impl TaskDefinition {
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|one| one.name == name)
    }

    /// How long stopping a task takes at most whose containers are given these times to end: one
    /// after the other where they depend on one another, all at once otherwise.
    pub fn stopping_takes(&self, graces: impl Iterator<Item = Span>) -> Span {
        let waits = |container: &Container| container.dependencies().next().is_some();
        let stops = match self.containers.iter().any(waits) {
            true => Span(graces.map(|grace| grace.0).sum()),
            false => graces.max().unwrap_or(Span::ZERO),
        };
        Span(self.deregistration_delay().0 + stops.0)
    }

    /// How long its checks take at most to find a task unhealthy that never was well.
    pub fn checks_take(&self) -> Span {
        let checks = self
            .containers
            .iter()
            .filter_map(|c| c.health_check.as_ref());
        let seconds = checks.map(|check| {
            let round = check.interval_s + check.timeout_s;
            // The first rounds of our own come sooner, and do not count.
            check.start_period_s.unwrap_or(0) + (check.retries + 3) * round
        });
        Span::from_secs(u64::from(seconds.max().unwrap_or(0)))
    }

    /// How long a task runs on that is not to be used any more.
    pub fn deregistration_delay(&self) -> Span {
        let containers = self.containers.iter();
        let delays = containers.filter_map(|container| container.deregistration_delay_s);
        Span::from_secs(u64::from(delays.max().unwrap_or(0)))
    }

    /// SHA-256 over the canonical form (the field order of this version's binary encoding).
    pub fn digest(&self) -> Digest {
        let bytes = postcard::to_allocvec(self).expect("a definition always encodes");
        Digest(sha2::Sha256::digest(&bytes).into())
    }

    /// The container's part of the GPUs that were given to the task: they are dealt out in the
    /// order of the definition.
    pub fn gpus_of<'a>(&self, name: &str, dealt: &'a [GpuId]) -> &'a [GpuId] {
        let mut left = dealt;
        for container in &self.containers {
            let count = usize::try_from(container.gpus).unwrap_or(usize::MAX);
            let (its, rest) = left.split_at(count.min(left.len()));
            if container.name == name {
                return its;
            }
            left = rest;
        }
        &[]
    }

    /// The values of the cluster's that its containers are given, in order.
    pub fn values(&self) -> BTreeSet<ValueName> {
        self.containers.iter().flat_map(Container::values).collect()
    }

    /// What one task of this definition reserves on its host.
    pub fn needs(&self) -> Resources {
        let mut ports: Vec<_> = self
            .containers
            .iter()
            .flat_map(|c| &c.ports)
            .filter(|p| p.host_port != 0)
            .map(|p| (p.protocol, p.host_port))
            .collect();
        ports.sort_unstable();
        let sum = |part: fn(&Container) -> u32| {
            let parts = self.containers.iter().map(part);
            parts.fold(0, u32::saturating_add)
        };
        Resources {
            cpu: self.cpu.unwrap_or_else(|| sum(|c| c.cpu)),
            memory_mib: self
                .memory_mib
                .unwrap_or_else(|| sum(Container::memory_reserved_mib)),
            gpus: sum(|c| c.gpus),
            gpu_ids: Vec::new(),
            ports,
            architecture: self.platform.and_then(|platform| platform.architecture),
            privileged: self.privilege().is_some(),
        }
    }
}

impl Container {
    /// What has to be before it is started, said or not: a link leads to what runs, and volumes
    /// are taken from what has been.
    pub fn dependencies(&self) -> impl Iterator<Item = (&str, Condition)> {
        let said = self.depends_on.iter();
        let said = said.map(|one| (one.container.as_str(), one.condition));
        said.chain(self.taken_from().map(|name| (name, Condition::Start)))
    }

    /// Those that have to be made before it can be made.
    pub fn taken_from(&self) -> impl Iterator<Item = &str> {
        let links = self.links.iter().map(|link| link.container.as_str());
        let volumes = self.volumes_from.iter();
        links.chain(volumes.map(|from| from.container.as_str()))
    }

    /// The values of the cluster's that it is given; some twice, perhaps.
    pub fn values(&self) -> impl Iterator<Item = ValueName> {
        let files = self.environment_files.iter().filter_map(|f| f.value());
        let secrets = self.secrets.iter();
        files.chain(secrets.filter_map(|secret| secret.from.value()))
    }

    pub fn waits_for(&self, other: &str) -> bool {
        self.dependencies().any(|(name, _)| name == other)
    }

    /// What it takes of its host's memory.
    pub fn memory_reserved_mib(&self) -> u32 {
        self.memory_reservation_mib.unwrap_or(self.memory_mib)
    }
}

impl Condition {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Complete => "COMPLETE",
            Self::Success => "SUCCESS",
            Self::Healthy => "HEALTHY",
        }
    }

    /// Follows "waits for … to".
    pub const fn awaited(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Complete => "end",
            Self::Success => "succeed",
            Self::Healthy => "be healthy",
        }
    }
}

impl NetworkMode {
    /// ECS's word, but for one's own.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "none",
            Self::Task => "task",
        }
    }
}

impl Namespace {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Task => "task",
            Self::None => "none",
        }
    }
}

impl Architecture {
    /// What hosts say of themselves, in ECS.
    pub const ATTRIBUTE: &str = "ecs.cpu-architecture";

    /// ECS's words for it, which differ from those of definitions.
    pub fn of_attribute(value: &str) -> Option<Self> {
        match value {
            "x86_64" => Some(Self::X86_64),
            "arm64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// ECS's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "X86_64",
            Self::Arm64 => "ARM64",
        }
    }
}

impl PortMapping {
    /// Without what is said for people.
    pub const fn new(container_port: u16, host_port: u16, protocol: Protocol) -> Self {
        Self {
            container_port,
            host_port,
            protocol,
            name: None,
            app_protocol: None,
        }
    }
}

impl AppProtocol {
    /// ECS's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }
}

impl RestartPolicy {
    /// ECS's value where nothing is said, in seconds.
    pub const ATTEMPT_PERIOD_S: u32 = 300;
}

impl Link {
    /// As ECS and Docker write it.
    pub fn in_words(&self) -> String {
        match &self.alias {
            Some(alias) => format!("{}:{alias}", self.container),
            None => self.container.clone(),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
