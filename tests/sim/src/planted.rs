//! Bugs to plant, in the core or at the simulator's boundary; some check must catch each of them.

use holdfast_core::planted::Bug;

/// A check that catches nothing is worse than none; a table test plants each of these in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// `Persist` never reaches the disk.
    DropPersist,
    /// A message for one host is handed to another.
    Misdeliver,
    /// A second container of the slot runs, with a task id that nobody minted.
    DoubleStart,
    /// The runtime drops `Stop`.
    IgnoreStop,
    /// A `Stop` hits a container of somebody else.
    TouchForeign,
    /// A healthy running task is told to stop, for no reason.
    StopHealthy,
    /// An event is emitted twice.
    RepeatEvent,
    /// An event gets lost on its way out.
    SkipEvent,
    /// A task that was RUNNING is recorded as PENDING.
    StatusBack,
    /// A task of a service that was deleted is started again.
    Resurrect,
    /// A task that needs more than the host has is created.
    OverPromise,
    /// The agent is woken for ever at one instant.
    Spin,
    /// A datagram carries more than it can.
    FatDatagram,
    /// A command is never answered.
    LoseReply,
    /// One host never gets a record.
    DeafToRecords,
    /// Every datagram is sent ten times.
    Chatter,
    /// A container is removed by nobody's order and nobody is told.
    VanishQuietly,
    /// An agent is told something that its recorder is not told.
    OffTheRecord,
    /// Inside the core.
    Core(Bug),
}

impl Planted {
    /// Those at the boundary, each with a part of what the check says that catches it.
    pub const AT_BOUNDARY: [(Self, &str); 18] = [
        (Self::DropPersist, "before it was on its disk"),
        (Self::Misdeliver, "was handed a message for"),
        (Self::DoubleStart, ""),
        (Self::IgnoreStop, ""),
        (Self::TouchForeign, "which is not ours"),
        (Self::StopHealthy, "which is healthy and the only copy"),
        (Self::RepeatEvent, "follows event"),
        (Self::SkipEvent, "follows event"),
        (Self::StatusBack, "went from"),
        (Self::Resurrect, "knows to be deleted"),
        (Self::OverPromise, "promises"),
        (Self::Spin, "woken for ever"),
        (Self::FatDatagram, "sends a datagram of"),
        (Self::LoseReply, "is not answered"),
        (Self::DeafToRecords, ""),
        (Self::Chatter, "messages/s a host when idle"),
        (Self::VanishQuietly, ""),
        (Self::OffTheRecord, "the recording of"),
    ];

    /// What is to be planted in the cores of the run.
    pub const fn in_core(self) -> Option<Bug> {
        match self {
            Self::Core(bug) => Some(bug),
            _ => None,
        }
    }
}
