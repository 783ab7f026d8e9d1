//! A container of the fake runtime, and how it is.

use holdfast_core::{
    ids::{HostId, ImageDigest, RuntimeId, TaskId},
    rng::{hash_bytes, mix},
    task::runtime::{CreateContainer, ObservedStatus, PortBinding, RuntimeEvent},
    time::Wall,
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerKey {
    pub task: TaskId,
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct FakeContainer {
    pub runtime_id: RuntimeId,
    pub make: CreateContainer,
    pub status: ObservedStatus,
    /// Which run of its process; an exit that was drawn for an earlier one does not count.
    pub(crate) run: u32,
    /// It ignores SIGTERM.
    pub(crate) stubborn: bool,
    /// From when on checks find it well, unless it is sick.
    pub(crate) well_at: u64,
    pub(crate) sick: bool,
    /// A check has found it well in this run.
    pub(crate) found_well: bool,
}

impl FakeContainer {
    pub const fn is_running(&self) -> bool {
        matches!(self.status, ObservedStatus::Running { .. })
    }

    /// The exit code with which it ends by itself, if it does: as its image says.
    pub(crate) fn does_work(&self) -> Option<i32> {
        let code = self.make.container.image.strip_prefix("once-")?;
        code.split(':').next()?.parse().ok()
    }

    /// What its image is: of one that drifts, each host has other bytes by the same tag.
    pub fn image(&self, host: HostId) -> ImageDigest {
        let name = &self.make.container.image;
        if let Some((_, digest)) = name.split_once('@') {
            return digest.parse().expect("the core writes whole digests");
        }
        let salt = match name.starts_with("drifting") {
            true => host.0 as u64 ^ (host.0 >> 64) as u64,
            false => 0,
        };
        let word = hash_bytes(name.as_bytes()) ^ mix(salt);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&word.to_be_bytes());
        ImageDigest(bytes)
    }

    pub(crate) fn created(&self, host: HostId) -> RuntimeEvent {
        RuntimeEvent::Created {
            task: self.make.labels.task,
            container: self.make.labels.container.clone(),
            runtime_id: self.runtime_id,
            image: Some(self.image(host)),
        }
    }

    /// It runs, and where it is checked, it has been found well and is so.
    pub fn is_up(&self) -> bool {
        let is_well = !is_checked(&self.make) || self.found_well && !self.sick;
        self.is_running() && is_well
    }
}

pub(crate) fn is_checked(make: &CreateContainer) -> bool {
    make.container.health_check.is_some() || make.container.readiness_check.is_some()
}

/// No two are alike: whose it is, the host, and a number.
pub(crate) fn runtime_id(host: HostId, whose: &str, number: u64) -> RuntimeId {
    let mut bytes = [0; 32];
    bytes[..whose.len()].copy_from_slice(whose.as_bytes());
    bytes[8..24].copy_from_slice(&host.0.to_be_bytes());
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    RuntimeId(bytes)
}

pub(crate) fn key(task: TaskId, name: &str) -> ContainerKey {
    ContainerKey {
        task,
        name: name.to_owned(),
    }
}

pub(crate) fn started(
    task: TaskId,
    container: String,
    there: &FakeContainer,
    at: Wall,
    ports: Vec<PortBinding>,
) -> RuntimeEvent {
    RuntimeEvent::Started {
        task,
        container,
        runtime_id: there.runtime_id,
        at,
        ports,
    }
}
