//! The boundary to the container runtime: commands out, events in. Docker serves it in the daemon,
//! the fake in the simulator, and one contract suite holds both to it.
//!
//! Containers are addressed by task id and container name, never by an operation number: a repeated
//! command or a late event is harmless, and a lost reply is made good by the next
//! [`RuntimeCommand::List`].

use crate::{
    ids::{Digest, Generation, HostId, RuntimeId, ServiceId, SlotIndex, TaskId},
    spec::task_definition::{Container, NetworkMode, Protocol, Volume},
    time::{Span, Wall},
};
use serde::{Deserialize, Serialize};

/// What the core asks of the container runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeCommand {
    /// Make the container, not started. If one of this task and name is there already, answer
    /// `Created` with its id, as if it had just been made.
    Create(Box<CreateContainer>),
    /// Start a container that was created. Starting one that runs answers `Started` again.
    Start {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
    },
    /// SIGTERM, then SIGKILL after `grace`. Always answered by `Exited` or `StopFailed`; a
    /// container
    /// that has stopped already, or is gone, answers `Exited`.
    Stop {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
        grace: Span,
    },
    /// Remove a stopped container and its anonymous volumes; gone already is fine.
    Remove {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
    },
    /// Compare in full: answer `Listed` with every container that carries this cluster's and this
    /// host's labels, whatever its status.
    List,
}

/// Everything that is needed to make one container of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateContainer {
    pub labels: Labels,
    pub container: Container,
    pub network: NetworkMode,
    /// The task's volumes, by which the container's mounts are resolved.
    pub volumes: Vec<Volume>,
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
    /// The slot that the task serves; absent for a task that belongs to no service.
    pub slot: Option<SlotLabel>,
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
    Created {
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
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
    /// The container's process has ended, by itself or because it was asked to.
    Exited {
        task: TaskId,
        container: String,
        exit: Exit,
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

/// A host port that leads to a container port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    pub container_port: u16,
    pub host_port: u16,
    pub protocol: Protocol,
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
    },
    Exited(Exit),
}
