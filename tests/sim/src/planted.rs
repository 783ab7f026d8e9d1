//! Bugs planted at the simulator's boundary, each of which some check must catch.

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
}

impl Planted {
    pub const ALL: [Self; 17] = [
        Self::DropPersist,
        Self::Misdeliver,
        Self::DoubleStart,
        Self::IgnoreStop,
        Self::TouchForeign,
        Self::StopHealthy,
        Self::RepeatEvent,
        Self::SkipEvent,
        Self::StatusBack,
        Self::Resurrect,
        Self::OverPromise,
        Self::Spin,
        Self::FatDatagram,
        Self::LoseReply,
        Self::DeafToRecords,
        Self::Chatter,
        Self::VanishQuietly,
    ];
}
