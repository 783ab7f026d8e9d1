//! Volumes of a task: directories of the host, and what the container runtime keeps for it.

use crate::ids::TaskId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    pub source: VolumeSource,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// Absolute path on the host.
    Host(String),
    /// Empty at first, gone with the task.
    Scratch,
    /// ECS's `dockerVolumeConfiguration`.
    Docker(DockerVolume),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerVolume {
    /// Outlives the task, and all tasks of a host that name it have the same.
    pub is_shared: bool,
    /// Of one that is shared: whether it is made if it is not there.
    pub autoprovision: Option<bool>,
    /// `local` where absent.
    pub driver: Option<String>,
    pub driver_options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

impl Volume {
    /// As the container runtime knows it: a path of the host, or a name; of what belongs to a task
    /// one that no other can have.
    pub fn source_of(&self, family: &str, task: TaskId) -> String {
        match &self.source {
            VolumeSource::Host(path) => path.clone(),
            VolumeSource::Docker(docker) if docker.is_shared => self.name.clone(),
            VolumeSource::Scratch | VolumeSource::Docker(_) => {
                format!("holdfast-{family}-{}-{task}", self.name)
            }
        }
    }
}
