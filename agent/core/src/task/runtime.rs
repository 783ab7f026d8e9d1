//! The boundary to the container runtime: commands out, events in. Docker serves it in the daemon,
//! the fake in the simulator, and one contract suite holds both to it.
//!
//! Containers are addressed by task id and container name, never by an operation number: a repeated
//! command or a late event is harmless, and a lost reply is made good by the next
//! [`RuntimeCommand::List`].

use crate::{
    cluster::values::GivenValue,
    ids::{
        Digest, Generation, GpuId, HostId, ImageDigest, RuntimeId, ServiceId, SlotIndex, TaskId,
    },
    spec::{
        health::NetProbe,
        image::ImageRef,
        task_definition::{Container, Namespace, NetworkMode, PortMapping, Protocol},
        volume::Volume,
    },
    task::{checkup::CheckKind, status::Health},
    time::{Span, Wall},
};
use serde::{Deserialize, Serialize};

/// What the core asks of the container runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeCommand {
    /// Make the container, not started. If one of this task and name is there already, answer
    /// `Created` with its id, as if it had just been made.
    Create(Box<CreateContainer>),
    /// Start a container that was created. Starting one that runs answers `Started` again; one that
    /// has ended answers `Exited`, perhaps after `Started`, and is not run again unless that very
    /// end is to be made good.
    Start {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
        /// When the run ended that this one follows on.
        after: Option<Wall>,
    },
    /// Ask a running container how it is; answered by `Checked` within the time-out, or not at all
    /// where the runtime does not even know where it is.
    Check {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
        kind: CheckKind,
        probe: NetProbe,
        timeout: Span,
    },
    /// Read the last lines that a container wrote which ended by itself; answered by `LastWords`,
    /// or not at all where there are none to be read.
    ReadLog {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
    },
    /// SIGTERM (or the container's own signal), then SIGKILL after `grace`. Always answered by
    /// `Exited` or `StopFailed`; a container that has stopped already, or is gone, answers
    /// `Exited`.
    Stop {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
        grace: Span,
    },
    /// Remove a stopped container and its anonymous volumes, with the last one of a task the
    /// volumes of the task; gone already is fine.
    Remove {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
    },
    /// Pull an image, which nothing may need yet, even if one of that name is here. Always answered
    /// by `ImagePulled`, before it perhaps by `ImagePulling`. What is being pulled already is
    /// waited for.
    Pull { image: ImageRef },
    /// Compare in full: answer `Listed` with every container that carries this cluster's and this
    /// host's labels, whatever its status.
    List,
}

/// Everything that is needed to make one container of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateContainer {
    pub labels: Labels,
    pub container: Container,
    pub shared: Shared,
    /// The task's volumes, by which the container's mounts are resolved.
    pub volumes: Vec<Volume>,
    /// The container's part of the task's GPUs.
    pub gpus: Box<[GpuId]>,
    /// The values of the cluster's that it refers to, as its agent's board has them.
    pub given: Vec<GivenValue>,
}

/// What is the same for all containers of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    pub network: NetworkMode,
    pub pid: Option<Namespace>,
    pub ipc: Option<Namespace>,
    /// What they may use together: CPU units and MiB.
    pub cpu: Option<u32>,
    pub memory_mib: Option<u32>,
}

/// Whose a container is. Written on every container as Docker labels; enough, alone, to adopt it
/// after a restart that lost the agent's own state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    pub cluster: String,
    pub host: HostId,
    pub task: TaskId,
    pub container: String,
    pub essential: bool,
    pub definition: Digest,
    pub family: String,
    pub revision: u32,
    /// How often the deployment was renewed that the task is of.
    pub renewals: u32,
    /// The slot that the task serves; absent for a task that belongs to no service.
    pub slot: Option<SlotLabel>,
    /// The GPUs that the task has, all of its containers together.
    pub gpus: Box<[GpuId]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotLabel {
    pub service: ServiceId,
    pub service_name: Box<str>,
    pub index: SlotIndex,
    pub generation: Generation,
}

/// What the container runtime tells the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeEvent {
    /// The runtime answers (again). The core asks for a `List` at once.
    Available {
        version: String,
    },
    /// The runtime does not answer; nothing is known of the containers until it is available again.
    Unavailable {
        reason: String,
    },
    /// Making the container waits for its image; how far that has come, as people are told it.
    Pulling {
        task: TaskId,
        container: String,
        progress: String,
    },
    Created {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
        /// What its image was found to be; `None` where it has no digest, as one that never was in
        /// a registry, or where it is not known.
        image: Option<ImageDigest>,
    },
    CreateFailed {
        task: TaskId,
        container: String,
        failure: RuntimeFailure,
    },
    Started {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
        at: Wall,
        ports: Vec<PortBinding>,
    },
    StartFailed {
        task: TaskId,
        container: String,
        failure: RuntimeFailure,
    },
    /// The runtime's own check of a running container has come to another opinion.
    Health {
        task: TaskId,
        container: String,
        health: Health,
        /// What the check said when it failed.
        detail: String,
    },
    /// What came of a `Check`.
    Checked {
        task: TaskId,
        container: String,
        kind: CheckKind,
        outcome: Result<(), String>,
    },
    /// The container's process has ended, by itself or because it was asked to.
    Exited {
        task: TaskId,
        container: String,
        exit: Exit,
    },
    /// What a container wrote last that has ended.
    LastWords {
        task: TaskId,
        container: String,
        text: String,
    },
    StopFailed {
        task: TaskId,
        container: String,
        failure: RuntimeFailure,
    },
    /// The container is no longer there, removed by us or by somebody else.
    Removed {
        task: TaskId,
        container: String,
    },
    RemoveFailed {
        task: TaskId,
        container: String,
        failure: RuntimeFailure,
    },
    Listed(Vec<Observed>),
    /// How far a `Pull` has come, as people are told it.
    ImagePulling {
        image: ImageRef,
        progress: String,
    },
    ImagePulled {
        image: ImageRef,
        outcome: Result<PulledImage, RuntimeFailure>,
    },
}

impl RuntimeEvent {
    /// The container that it is about; none where it is about the runtime.
    pub fn subject(&self) -> Option<(TaskId, &str)> {
        match self {
            Self::Available { .. }
            | Self::Unavailable { .. }
            | Self::Listed(_)
            | Self::ImagePulling { .. }
            | Self::ImagePulled { .. } => None,
            Self::Pulling {
                task, container, ..
            }
            | Self::Created {
                task, container, ..
            }
            | Self::CreateFailed {
                task, container, ..
            }
            | Self::Started {
                task, container, ..
            }
            | Self::StartFailed {
                task, container, ..
            }
            | Self::Health {
                task, container, ..
            }
            | Self::Checked {
                task, container, ..
            }
            | Self::Exited {
                task, container, ..
            }
            | Self::LastWords {
                task, container, ..
            }
            | Self::StopFailed {
                task, container, ..
            }
            | Self::Removed { task, container }
            | Self::RemoveFailed {
                task, container, ..
            } => Some((*task, container)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// `None` where the runtime does not know it (the container was removed behind our back).
    pub code: Option<i32>,
    pub out_of_memory: bool,
    pub at: Wall,
}

impl Exit {
    /// Follows the container's name.
    pub fn in_words(&self) -> String {
        match (self.code, self.out_of_memory) {
            (_, true) => "was killed for its memory usage".to_owned(),
            (Some(code), false) => format!("exited with {code}"),
            (None, false) => "is gone".to_owned(),
        }
    }
}

/// Whether what has ended at `at` is the end that the run after `after` follows on. Who tells of an
/// end has its own moment for it: the event, the inspection, some time later the clean-up.
pub const fn is_same_end(after: Wall, at: Wall) -> bool {
    const APART_MS: u64 = 1_000;
    at.0 <= after.0 + APART_MS
}

/// A failed call, sorted by what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFailure {
    pub kind: FailureKind,
    /// ECS's error name and a sentence: `CannotPullContainerError: no such image: web:1`.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// Worth trying again: a time-out, a refused connection, a server error.
    Transient,
    /// Trying again changes nothing: no such image, a port in use, a bad argument.
    Permanent,
}

/// What a name meant when it was pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledImage {
    /// As its registry calls these bytes (`sha256:…`), else as the runtime does; empty where the
    /// runtime did not say.
    pub digest: String,
    /// The host had it before.
    pub was_here: bool,
}

/// A host port that leads to a container port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    pub container_port: u16,
    pub host_port: u16,
    pub protocol: Protocol,
}

impl PortBinding {
    /// It is one that the mapping asks for.
    pub fn is_of(&self, port: &PortMapping) -> bool {
        (self.container_port, self.protocol) == (port.container_port, port.protocol)
    }
}

/// One of our containers as a full comparison found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub runtime_id: RuntimeId,
    pub labels: Labels,
    pub status: ObservedStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObservedStatus {
    Created,
    Running {
        since: Wall,
        ports: Vec<PortBinding>,
        /// By the runtime's own check; unknown where there is none.
        health: Health,
    },
    Exited(Exit),
}
