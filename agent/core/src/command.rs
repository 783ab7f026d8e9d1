//! What people ask an agent to change, and what they are told: the write side of the API.
//!
//! Reads need no command: whoever holds the `Agent` reads its board between steps.

use crate::{
    ids::{Digest, ServiceId, TaskId},
    spec::{service::DefinitionRef, task_definition::TaskDefinition},
};

/// Pairs a reply with its command; minted by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    RegisterTaskDefinition(TaskDefinition),
    CreateService {
        name: String,
        definition: DefinitionRef,
        desired: u32,
        /// Makes a repeated call harmless; empty where the client gave none.
        client_token: String,
    },
    UpdateService {
        service: String,
        desired: Option<u32>,
        definition: Option<DefinitionRef>,
    },
    /// Without `force` a service is deleted only when it is scaled to 0, as ECS does.
    DeleteService {
        service: String,
        force: bool,
    },
    StopTask {
        task: TaskId,
        reason: String,
    },
}

/// The change is on this host's board and disk, and on its way to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Registered {
        family: String,
        revision: u32,
        definition: Digest,
    },
    Created(ServiceId),
    Updated(ServiceId),
    Deleted(ServiceId),
    StopOrdered(TaskId),
}

/// Nothing was changed, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no task definition {0}; `holdfast task-definition ls` lists them")]
    NoSuchDefinition(String),
    #[error("there is no service {0:?}; `holdfast service ls` lists them")]
    NoSuchService(String),
    #[error("there is no task {0}")]
    NoSuchTask(TaskId),
    #[error(
        "the service {0:?} exists already; change it with `service update`, or delete it first"
    )]
    ServiceExists(String),
    #[error(
        "the service {name:?} cannot be deleted while it is scaled above 0 (its desired count is \
         {desired}); scale it to 0 first, or use force"
    )]
    StillScaled { name: String, desired: u32 },
    /// Only a driver says so: the core does not know the disk.
    #[error(
        "this host cannot save the change, so it does not answer for it: {reason}. It may still \
         take effect; repeat it on another agent to be sure"
    )]
    NotSaved { reason: String },
    #[error("{what} is at its limit of {max}")]
    Limit { what: &'static str, max: u64 },
    #[error(
        "this agent has not yet read the board from a peer (since {seconds} s); try again in a \
         moment, or ask another agent"
    )]
    NotCaughtUp { seconds: u64 },
}
