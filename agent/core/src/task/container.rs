//! One container of a task: what was asked of the runtime, and what to ask next.

use crate::{
    cluster::body::{ContainerReport, ContainerStatus},
    ids::{RuntimeId, TaskId},
    task::runtime::{Exit, FailureKind, PortBinding, RuntimeCommand, RuntimeFailure},
    time::{Mono, Now, Span, Wall},
};
use serde::{Deserialize, Serialize};

/// Failed attempts at one call before the task is given up.
const ATTEMPTS_MAX: u32 = 5;
/// Two comparisons that come sooner one after the other are no more than one: what was asked for
/// before the first may be under way in both.
const COMPARED_AGAIN: Span = Span::from_secs(10);
/// Between removals that fail; the container harms nobody meanwhile.
const REMOVE_RETRY: Span = Span::from_secs(30);

/// Where a container stands. It moves down this list, and may skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Known from before a restart; the next full comparison says where it stands.
    Unknown,
    Creating,
    Created,
    Starting,
    Running,
    Stopping,
    Stopped,
    Removing,
    Gone,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Container {
    pub name: String,
    pub essential: bool,
    pub grace: Span,
    pub phase: Phase,
    /// `None` until the container is known to exist.
    pub runtime_id: Option<RuntimeId>,
    pub exit: Option<Exit>,
    /// When it came to be known here that it runs.
    pub started: Option<Mono>,
    pub ports: Box<[PortBinding]>,
    /// Why it could not be made or started, or what it waits for; empty otherwise.
    pub reason: String,
    attempts: u32,
    retry_at: Option<Mono>,
    /// Since when full comparisons have found it behind what was asked for, or not at all.
    behind: Option<Mono>,
}

/// What a failed call means for the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    TryAgain,
    GiveUp,
}

impl Container {
    pub fn new(name: String, essential: bool, grace: Span, phase: Phase) -> Self {
        Self {
            name,
            essential,
            grace,
            phase,
            runtime_id: None,
            exit: None,
            started: None,
            ports: Box::default(),
            reason: String::new(),
            attempts: 0,
            retry_at: None,
            behind: None,
        }
    }

    /// What a report of an earlier life says of it.
    pub fn remember(&mut self, known: &ContainerReport) {
        self.runtime_id = known.runtime_id;
        self.ports.clone_from(&known.ports);
        if known.status == ContainerStatus::Stopped {
            self.reason = known.reason.to_string();
            self.exit = Some(Exit {
                code: known.exit_code,
                out_of_memory: false,
                at: Wall(0),
            });
        }
    }

    pub const fn deadline(&self) -> Option<Mono> {
        self.retry_at
    }

    /// Says once that the time of a retry has come.
    pub fn take_retry(&mut self, now: Now) -> bool {
        let due = self.retry_at.is_some_and(|at| now.mono >= at);
        if due {
            self.retry_at = None;
            // What a comparison before this call found says nothing of it.
            self.behind = None;
        }
        due
    }

    pub fn enter(&mut self, phase: Phase) {
        assert!(
            phase >= self.phase,
            "{}: {:?} after {phase:?}",
            self.name,
            self.phase
        );
        if phase > self.phase {
            if self.phase == Phase::Created {
                // What it waited for.
                self.reason.clear();
            }
            // A comparison that found it behind what it was then says nothing of what it is now.
            (self.attempts, self.retry_at, self.behind) = (0, None, None);
        }
        self.phase = phase;
    }

    /// Nothing of it runs or may come to run.
    pub fn is_over(&self) -> bool {
        self.phase >= Phase::Stopped
    }

    /// It has ended after it was started then.
    pub fn ended_since(&self, start: Wall) -> bool {
        self.exit.as_ref().is_some_and(|exit| exit.at >= start)
    }

    /// A comparison may have been made before our last command was carried out, so only the second
    /// in a row that finds the container behind is believed: then the command or its answer is
    /// lost.
    pub fn lags(&mut self, now: Mono, behind: bool) -> bool {
        self.is_believed(now, behind, COMPARED_AGAIN)
    }

    /// As [`Self::lags`] of one that was there before: nothing of it can be under way.
    pub fn is_missed(&mut self, now: Mono) -> bool {
        self.is_believed(now, true, Span::ZERO)
    }

    fn is_believed(&mut self, now: Mono, behind: bool, after: Span) -> bool {
        let before = self.behind.filter(|_| behind);
        let is_believed =
            self.retry_at.is_none() && before.is_some_and(|since| now.since(since) >= after);
        self.behind = (behind && !is_believed).then(|| before.unwrap_or(now));
        is_believed
    }

    /// It runs as far as we know, and the last comparison did not find it so.
    pub fn is_in_doubt(&self) -> bool {
        self.behind.is_some() && self.phase == Phase::Running
    }

    /// `None`, as of the other commands, where nobody has said yet how the runtime calls it: the
    /// comparison that finds it repeats what was to be asked.
    pub fn start(&self, task: TaskId) -> Option<RuntimeCommand> {
        Some(RuntimeCommand::Start {
            task,
            container: self.name.clone(),
            runtime_id: self.runtime_id?,
        })
    }

    pub fn stop(&self, task: TaskId) -> Option<RuntimeCommand> {
        Some(RuntimeCommand::Stop {
            task,
            container: self.name.clone(),
            runtime_id: self.runtime_id?,
            grace: self.grace,
        })
    }

    pub fn remove(&self, task: TaskId) -> Option<RuntimeCommand> {
        Some(RuntimeCommand::Remove {
            task,
            container: self.name.clone(),
            runtime_id: self.runtime_id?,
        })
    }

    /// What the board is told of it.
    pub fn report(&self) -> ContainerReport {
        let status = match self.phase {
            Phase::Unknown | Phase::Creating | Phase::Created | Phase::Starting => {
                ContainerStatus::Pending
            }
            Phase::Running | Phase::Stopping => ContainerStatus::Running,
            Phase::Stopped | Phase::Removing | Phase::Gone => ContainerStatus::Stopped,
        };
        let exit = self.exit.as_ref();
        let reason = match exit {
            Some(exit) if exit.out_of_memory => {
                "OutOfMemoryError: Container killed due to memory usage"
            }
            _ => &self.reason,
        };
        ContainerReport {
            name: self.name.as_str().into(),
            runtime_id: self.runtime_id,
            status,
            exit_code: exit.and_then(|exit| exit.code),
            reason: reason.into(),
            ports: self.ports.clone(),
        }
    }

    /// A create or start failed: again after a while (0.2 s, doubling), or not.
    pub fn on_failure(&mut self, now: Now, failure: &RuntimeFailure) -> AfterFailure {
        self.attempts += 1;
        if failure.kind == FailureKind::Permanent || self.attempts >= ATTEMPTS_MAX {
            self.reason.clone_from(&failure.reason);
            return AfterFailure::GiveUp;
        }
        self.retry_at = Some(now.mono + Span::from_ms(100 << self.attempts));
        AfterFailure::TryAgain
    }

    /// A stop failed: it is asked for again until the container is known to have ended.
    pub fn on_stop_failure(&mut self, now: Now) {
        if planted!(TakesAFailedStopForTheEnd) {
            self.enter(Phase::Stopped);
            return;
        }
        self.attempts = (self.attempts + 1).min(ATTEMPTS_MAX);
        self.retry_at = Some(now.mono + Span::from_ms(500 << self.attempts));
    }

    pub fn on_remove_failure(&mut self, now: Now) {
        self.retry_at = Some(now.mono + REMOVE_RETRY);
    }
}
