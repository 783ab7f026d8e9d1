//! What an operator would tell a colleague: changes of tasks, services and hosts, with reasons.

use crate::{
    cluster::{
        body::{Body, TaskReport},
        record::Record,
    },
    ids::{Digest, HostId, Incarnation, ServiceId, SlotIndex, TaskId},
    rng::mix,
    task::status::{StopCode, TaskStatus},
    time::Wall,
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Emitted by every agent for every change that it learns of, so that any agent's stream covers the
/// whole cluster. The sequence is this agent's own, without gaps since it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    pub sequence: u64,
    pub id: EventId,
    pub at: Wall,
    /// Whether this agent, of all that emit it, tells those outside of the cluster.
    pub ours: bool,
    pub what: Happening,
}

/// The same for one event whoever tells it and however often, so that receivers can drop repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventId(pub u128);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Happening {
    Task(TaskChange),
    Loss(TaskLoss),
    Host(HostChange),
    Service(ServiceChange),
    Clash(Clash),
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
    pub said: Said,
}

/// A task went down with its host, as far as anybody can know, or is there again with it. What its
/// host last said of it stands meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskLoss {
    pub task: TaskId,
    pub host: HostId,
    pub service: Option<(ServiceId, String, SlotIndex)>,
    pub last: TaskStatus,
    pub fate: LossFate,
    /// The one that ended, or the one in which its host is back.
    pub incarnation: Incarnation,
    /// When the host was judged, or said that the task is there.
    pub since: Wall,
    pub reason: String,
    pub said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum LossFate {
    Lost,
    Found,
}

/// The report of a task that an event tells of: it may be another by the time that it is read.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Said(#[serde(skip)] Arc<Record>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostChange {
    pub host: HostId,
    pub name: String,
    pub now: HostStanding,
    /// When something was said of the host last.
    pub since: Wall,
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

/// Two agents that had not heard of each other were asked for what cannot both be: what was asked
/// for here did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clash {
    /// What was asked for, as people call it.
    pub about: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceChange {
    pub service: ServiceId,
    pub name: String,
    pub news: ServiceNews,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ServiceNews {
    Created,
    Deleted,
    Options,
    DesiredCount,
    /// Tasks are to run once.
    Run,
    /// It was set, or its time came.
    Schedule,
    /// One of its tasks asked not to be stopped, or did not do so for longer.
    Protection,
    /// A slot is given to a host.
    Placed,
    /// No host can run a slot.
    NotPlaced,
    /// Its tasks are to be of this deployment from now on.
    Deploys(Deployment),
    /// All its tasks are of this deployment, and run.
    Deployed(Deployment),
    /// It runs as many tasks as it is to, and none beside them.
    Steady,
}

/// A service's tasks of one definition, counted anew each time that all are to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    pub definition: Digest,
    pub renewals: u32,
}

impl Said {
    /// # Panics
    /// If the record is not a task's report.
    pub fn new(record: &Arc<Record>) -> Self {
        let said = Self(Arc::clone(record));
        said.report();
        said
    }

    pub fn report(&self) -> &TaskReport {
        match &self.0.body {
            Some(Body::Task(report)) => report,
            _ => panic!("only a task's report says what became of it"),
        }
    }

    pub fn record(&self) -> &Record {
        &self.0
    }
}

/// What else the event says is what people read.
impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl EventId {
    /// Of whatever tells the event from all others, in an order that never changes.
    pub(crate) fn of(kind: u64, parts: &[u64]) -> Self {
        let lane = |seed| parts.iter().fold(mix(kind ^ seed), |h, part| mix(h ^ part));
        Self(u128::from(lane(0x6576_656e)) << 64 | u128::from(lane(0x7473)))
    }
}

/// As a UUID whose bits are free to be whatever we like (version 8, RFC 9562 §5.8).
impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MARKS: u128 = 0xF000 << 64 | 0b11 << 62;
        let hex = format!("{:032x}", self.0 & !MARKS | 0x8000 << 64 | 0b10 << 62);
        let (a, b, c) = (&hex[..8], &hex[8..12], &hex[12..16]);
        write!(f, "{a}-{b}-{c}-{}-{}", &hex[16..20], &hex[20..])
    }
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
