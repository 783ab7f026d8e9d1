//! What happened, as people read it (columns) and as machines compare it (one hash for a run).

use holdfast_core::{
    cluster::message::Message,
    rng::{hash_bytes, mix},
    task::runtime::{RuntimeCommand, RuntimeEvent},
};
use std::{collections::VecDeque, fmt};

const KEPT: usize = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceMode {
    /// Only the hash: nothing is formatted.
    Off,
    /// The last lines, for the case that the run fails.
    Keep,
    /// All lines, at once.
    Print,
}

#[derive(Debug)]
pub struct Trace {
    mode: TraceMode,
    hash: u64,
    lines: VecDeque<String>,
}

impl Trace {
    pub const fn new(mode: TraceMode) -> Self {
        Self {
            mode,
            hash: 0,
            lines: VecDeque::new(),
        }
    }

    /// Adds to the hash of the run; called for each input and each effect.
    pub const fn mix(&mut self, now: u64, host: usize, what: u64) {
        self.hash = mix(self.hash ^ now ^ (host as u64) << 48 ^ what.rotate_left(17));
    }

    pub const fn hash(&self) -> u64 {
        self.hash
    }

    pub const fn is_on(&self) -> bool {
        !matches!(self.mode, TraceMode::Off)
    }

    /// One line; `host` is `None` for what concerns the whole cluster. Callers that have to work
    /// for their text ask [`Self::is_on`] first.
    pub fn line(&mut self, now: u64, host: Option<usize>, what: fmt::Arguments<'_>) {
        if self.mode == TraceMode::Off {
            return;
        }
        let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
        let host = host.map_or_else(|| "-".to_owned(), |host| format!("h{host}"));
        let line = format!("{seconds:>5}.{micros:06}  {host:<5} {what}");
        if self.mode == TraceMode::Print {
            println!("{line}");
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn last_lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

/// A word that stands for a message in the hash of the run.
pub fn message_word(message: &Message) -> u64 {
    match message {
        Message::Probe { sequence } => 1 << 32 | u64::from(*sequence),
        Message::Ack { sequence } => 2 << 32 | u64::from(*sequence),
        Message::Alarm(alarm) => 3 << 32 ^ alarm.subject.word() ^ u64::from(alarm.silent_ms),
        Message::Records(records) => records.iter().fold(4 << 32, |sum, r| mix(sum ^ r.hash())),
        Message::Summary { root } => 5 << 32 ^ root,
        Message::Branches(branches) => branches
            .iter()
            .flat_map(|(_, hashes)| hashes)
            .fold(6 << 32, |sum, h| mix(sum ^ h)),
        Message::Holdings { held, .. } => held.iter().fold(7 << 32, |sum, h| mix(sum ^ h.0)),
        Message::Fetch(hashes) => hashes.iter().fold(8 << 32, |sum, h| mix(sum ^ h)),
        Message::CatchUp { after } => {
            9 << 32 ^ after.as_ref().map_or(0, |key| hash_bytes(&key.to_wire().1))
        }
        Message::Page { records, last } => records
            .iter()
            .fold(10 << 32 | u64::from(*last), |sum, r| mix(sum ^ r.hash())),
        #[allow(
            unreachable_patterns,
            reason = "kinds of messages that are yet to come"
        )]
        _ => 11 << 32,
    }
}

/// The kind of a message, and how many entries it has.
pub const fn message_kind(message: &Message) -> (&'static str, usize) {
    match message {
        Message::Probe { .. } => ("Probe", 0),
        Message::Ack { .. } => ("Ack", 0),
        Message::Alarm(_) => ("Alarm", 0),
        Message::Records(records) => ("Records", records.len()),
        Message::Summary { .. } => ("Summary", 0),
        Message::Branches(branches) => ("Branches", branches.len()),
        Message::Holdings { held, .. } => ("Holdings", held.len()),
        Message::Fetch(hashes) => ("Fetch", hashes.len()),
        Message::CatchUp { .. } => ("CatchUp", 0),
        Message::Page { records, .. } => ("Page", records.len()),
        Message::Pull { .. } => ("Pull", 0),
        Message::Pulling { .. } => ("Pulling", 0),
        #[allow(
            unreachable_patterns,
            reason = "kinds of messages that are yet to come"
        )]
        _ => ("another message", 0),
    }
}

/// Short texts for the columns.
pub fn command_text(command: &RuntimeCommand) -> String {
    match command {
        RuntimeCommand::Create(make) => {
            let slot = make.labels.slot.as_ref().map_or_else(
                || "no slot".to_owned(),
                |s| format!("{}/{} g{}", s.service_name, s.index, s.generation),
            );
            let labels = &make.labels;
            format!(
                "create {} of task {:08x} ({slot})",
                labels.container,
                low(labels.task.0)
            )
        }
        RuntimeCommand::Start {
            task,
            container,
            after,
            ..
        } => {
            let again = if after.is_some() { " again" } else { "" };
            format!("start {container} of task {:08x}{again}", low(task.0))
        }
        RuntimeCommand::ReadLog {
            task, container, ..
        } => format!("read the log of {container} of task {:08x}", low(task.0)),
        RuntimeCommand::Check {
            task,
            container,
            kind,
            ..
        } => format!("check {container} of task {:08x} ({kind:?})", low(task.0)),
        RuntimeCommand::Stop {
            task,
            container,
            grace,
            ..
        } => {
            format!(
                "stop {container} of task {:08x}, grace {grace}",
                low(task.0)
            )
        }
        RuntimeCommand::Remove {
            task, container, ..
        } => {
            format!("remove {container} of task {:08x}", low(task.0))
        }
        RuntimeCommand::List => "list".to_owned(),
        #[allow(unreachable_patterns, reason = "commands that are yet to come")]
        _ => format!("{command:?}"),
    }
}

pub fn event_text(event: &RuntimeEvent) -> String {
    match event {
        RuntimeEvent::Available { version } => format!("available: {version}"),
        RuntimeEvent::Unavailable { reason } => format!("unavailable: {reason}"),
        RuntimeEvent::Pulling {
            task,
            container,
            progress,
        } => {
            format!("{container} of task {:08x} {progress}", low(task.0))
        }
        RuntimeEvent::Created {
            task, container, ..
        } => {
            format!("created {container} of task {:08x}", low(task.0))
        }
        RuntimeEvent::Started {
            task, container, ..
        } => {
            format!("started {container} of task {:08x}", low(task.0))
        }
        RuntimeEvent::Exited {
            task,
            container,
            exit,
        } => {
            format!(
                "exited {container} of task {:08x}, code {:?}",
                low(task.0),
                exit.code
            )
        }
        RuntimeEvent::Removed { task, container } => {
            format!("removed {container} of task {:08x}", low(task.0))
        }
        RuntimeEvent::CreateFailed { task, failure, .. } => {
            format!("create failed, task {:08x}: {failure:?}", low(task.0))
        }
        RuntimeEvent::StartFailed { task, failure, .. } => {
            format!("start failed, task {:08x}: {failure:?}", low(task.0))
        }
        RuntimeEvent::StopFailed { task, failure, .. } => {
            format!("stop failed, task {:08x}: {failure:?}", low(task.0))
        }
        RuntimeEvent::RemoveFailed { task, failure, .. } => {
            format!("remove failed, task {:08x}: {failure:?}", low(task.0))
        }
        RuntimeEvent::Listed(all) => format!("listed {} containers", all.len()),
        #[allow(unreachable_patterns, reason = "events that are yet to come")]
        _ => format!("{event:?}"),
    }
}

/// The part of a task's id that tells it from the others of its host.
pub const fn low(id: u128) -> u32 {
    (id >> 64) as u32
}
