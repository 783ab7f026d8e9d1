//! Task definitions as meant: the valid form of ECS's `RegisterTaskDefinition` input.

use super::linux::{LinuxParameters, SystemControl, Ulimit};
use crate::ids::Digest;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::{collections::BTreeMap, fmt};

/// One or more containers that always run together on one host. Immutable; its digest is its
/// identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefinition {
    pub family: String,
    pub network: NetworkMode,
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
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub name: String,
    pub image: String,
    /// Replaces the image's `CMD` where not empty.
    pub command: Vec<String>,
    /// Replaces the image's `ENTRYPOINT` where not empty.
    pub entry_point: Vec<String>,
    pub environment: BTreeMap<String, String>,
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
    /// Seconds from its start within which those that wait for its end must have it.
    pub start_timeout_s: Option<u32>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub container_port: u16,
    /// 0: the container runtime chooses a free one.
    pub host_port: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Name of one of the definition's volumes.
    pub source_volume: String,
    pub container_path: String,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    /// Absolute path on the host.
    pub host_path: String,
}

/// What a task takes from its host's capacity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU units, 1024 a core.
    pub cpu: u32,
    pub memory_mib: u32,
    /// Fixed host ports, sorted.
    pub ports: Vec<(Protocol, u16)>,
}

impl TaskDefinition {
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|one| one.name == name)
    }

    /// SHA-256 over the canonical form (the field order of this version's binary encoding).
    pub fn digest(&self) -> Digest {
        let bytes = postcard::to_allocvec(self).expect("a definition always encodes");
        Digest(sha2::Sha256::digest(&bytes).into())
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
        Resources {
            cpu: self
                .containers
                .iter()
                .fold(0, |sum, c| sum.saturating_add(c.cpu)),
            memory_mib: self
                .containers
                .iter()
                .fold(0, |sum, c| sum.saturating_add(c.memory_reserved_mib())),
            ports,
        }
    }
}

impl Container {
    pub fn waits_for(&self, other: &str) -> bool {
        self.depends_on.iter().any(|one| one.container == other)
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
        }
    }

    /// Follows "waits for … to".
    pub const fn awaited(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Complete => "end",
            Self::Success => "succeed",
        }
    }
}

impl NetworkMode {
    /// ECS's word, which is Docker's, too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "none",
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
