//! What an operator would tell a colleague: changes of tasks, services and hosts, with reasons.

use crate::{
    ids::{HostId, ServiceId, SlotIndex, TaskId},
    task::status::{StopCode, TaskStatus},
    time::Wall,
};
use serde::Serialize;

/// Emitted by every agent for every change that it learns of, so that any agent's stream covers the
/// whole cluster. The sequence is this agent's own, without gaps since it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    pub sequence: u64,
    pub at: Wall,
    pub what: Happening,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Happening {
    Task(TaskChange),
    Host(HostChange),
    Service(ServiceChange),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskChange {
    pub task: TaskId,
    pub host: HostId,
    pub service: Option<(ServiceId, String, SlotIndex)>,
    pub from: Option<TaskStatus>,
    pub to: TaskStatus,
    pub stop_code: Option<StopCode>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostChange {
    pub host: HostId,
    pub name: String,
    pub now: HostStanding,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum HostStanding {
    Up,
    Suspect,
    /// Its agent does not answer, its machine does.
    Impaired,
    Down,
    Restarting,
    /// People want it empty: its tasks are moved, and it is given no more.
    Draining,
    /// Its agent moves the tasks away, and then goes.
    Leaving,
    /// It went by its own word.
    Left,
    /// Its records were removed.
    Forgotten,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceChange {
    pub service: ServiceId,
    pub name: String,
    pub text: String,
}

impl HostStanding {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Suspect => "SUSPECT",
            Self::Impaired => "IMPAIRED",
            Self::Down => "DOWN",
            Self::Restarting => "RESTARTING",
            Self::Draining => "DRAINING",
            Self::Leaving => "LEAVING",
            Self::Left => "LEFT",
            Self::Forgotten => "FORGOTTEN",
        }
    }
}
