//! What a container asks of the kernel beyond its process: limits, capabilities, devices, memory.

use serde::{Deserialize, Serialize};

/// A limit of `setrlimit(2)`; -1 is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Without `RLIMIT_`, in small letters.
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// A kernel parameter of the container's own namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemControl {
    pub namespace: String,
    pub value: String,
}

/// ECS's `linuxParameters`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxParameters {
    /// Without `CAP_`; `ALL` is all of them.
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    pub devices: Vec<Device>,
    /// Whether a small init process reaps what the container's own leaves behind.
    pub init: Option<bool>,
    /// Size of `/dev/shm`.
    pub shared_memory_mib: Option<u32>,
    pub tmpfs: Vec<Tmpfs>,
    /// Swap on top of the memory limit; 0: none.
    pub max_swap_mib: Option<u32>,
    /// 0 to 100; without effect where `max_swap_mib` is absent, as in ECS.
    pub swappiness: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub host_path: String,
    /// The same as on the host where absent.
    pub container_path: Option<String>,
    /// All of them where empty.
    pub permissions: Vec<DevicePermission>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DevicePermission {
    Read,
    Write,
    /// To make device files.
    Mknod,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    pub container_path: String,
    pub size_mib: u32,
    pub options: Vec<String>,
}

impl DevicePermission {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Mknod => "mknod",
        }
    }
}
