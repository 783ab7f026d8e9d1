//! Task definitions as meant: the valid form of ECS's `RegisterTaskDefinition` input.

use crate::ids::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Digest as _;
use std::{collections::BTreeMap, fmt};

/// One or more containers that always run together on one host. Immutable; its digest is its
/// identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefinition {
    pub family: String,
    pub containers: Vec<Container>,
    pub volumes: Vec<Volume>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Hard limit in MiB, which is also what is reserved.
    pub memory_mib: u32,
    /// The task stops when this container does.
    pub essential: bool,
    pub ports: Vec<PortMapping>,
    pub mounts: Vec<Mount>,
    /// Seconds between SIGTERM and SIGKILL; the agent's default where absent.
    pub stop_timeout_s: Option<u32>,
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
                .fold(0, |sum, c| sum.saturating_add(c.memory_mib)),
            ports,
        }
    }

    /// The definition as ECS describes it, with the defaults that ECS fills in; clients compare
    /// it with what they sent. Parsing it gives this very definition again.
    pub fn to_ecs_json(&self) -> Value {
        let containers: Vec<_> = self.containers.iter().map(Container::to_ecs_json).collect();
        let volumes: Vec<_> = self
            .volumes
            .iter()
            .map(|v| json!({"name": v.name, "host": {"sourcePath": v.host_path}}))
            .collect();
        json!({
            "family": self.family,
            "networkMode": "bridge",
            "containerDefinitions": containers,
            "volumes": volumes,
        })
    }
}

impl Container {
    fn to_ecs_json(&self) -> Value {
        let environment: Vec<_> = self
            .environment
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let ports: Vec<_> = self
            .ports
            .iter()
            .map(|port| {
                json!({
                    "containerPort": port.container_port,
                    "hostPort": port.host_port,
                    "protocol": port.protocol.to_string(),
                })
            })
            .collect();
        let mounts: Vec<_> = self
            .mounts
            .iter()
            .map(|mount| {
                json!({
                    "sourceVolume": mount.source_volume,
                    "containerPath": mount.container_path,
                    "readOnly": mount.read_only,
                })
            })
            .collect();
        let mut container = json!({
            "name": self.name,
            "image": self.image,
            "cpu": self.cpu,
            "memory": self.memory_mib,
            "essential": self.essential,
            "environment": environment,
            "portMappings": ports,
            "mountPoints": mounts,
            "volumesFrom": [],
            "systemControls": [],
        });
        // ECS leaves these out where they were not given, and clients take [] for a change.
        if !self.command.is_empty() {
            container["command"] = json!(self.command);
        }
        if !self.entry_point.is_empty() {
            container["entryPoint"] = json!(self.entry_point);
        }
        if let Some(seconds) = self.stop_timeout_s {
            container["stopTimeout"] = json!(seconds);
        }
        container
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
