//! One container of a task: what was asked of the runtime, and what to ask next.

use crate::{
    cluster::body::{ContainerReport, ContainerStatus},
    ids::{ImageDigest, RuntimeId, TaskId},
    task::{
        checkup::Checkup,
        runtime::{Exit, FailureKind, PortBinding, RuntimeCommand, RuntimeFailure, is_same_end},
        status::Health,
    },
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

/// How long what is to run again waits first, and how long at most; it doubles with each restart.
const RESTART_DELAY: Span = Span::from_secs(1);
const RESTART_DELAY_MAX: Span = Span::from_secs(60);
/// Who ran so long is taken for a newcomer at its next end, and is run again at once.
const RAN_WELL: Span = Span::from_secs(300);

/// Where a container stands. It moves down this list, and may skip; who is run again goes back to
/// be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Known from before a restart; the next full comparison says where it stands.
    Unknown,
    /// Not asked for: another one has to be made first.
    Waiting,
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
    /// What it is to be made of where that is settled, or was made of.
    pub image: Option<ImageDigest>,
    /// Why it could not be made or started, or what it waits for, its image among that; empty
    /// otherwise.
    pub reason: String,
    pub liveness: Checkup,
    pub readiness: Checkup,
    /// How often it was run again.
    pub restarts: u32,
    /// How many of them followed one another fast.
    hasty_restarts: u32,
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
            image: None,
            reason: String::new(),
            liveness: Checkup::default(),
            readiness: Checkup::default(),
            restarts: 0,
            hasty_restarts: 0,
            attempts: 0,
            retry_at: None,
            behind: None,
        }
    }

    /// What a report of an earlier life says of it.
    pub fn remember(&mut self, known: &ContainerReport, is_ready: bool) {
        self.runtime_id = known.runtime_id;
        (self.restarts, self.image) = (known.restarts, known.image);
        self.liveness = Checkup::remembered(known.health);
        self.readiness = Checkup::remembered(match is_ready {
            true => Health::Healthy,
            false => Health::Unknown,
        });
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

    pub fn deadline(&self) -> Option<Mono> {
        let checks = [self.liveness.deadline(), self.readiness.deadline()];
        let checks = checks.into_iter().flatten();
        let checks = checks.filter(|_| self.phase == Phase::Running);
        checks.chain(self.retry_at).min()
    }

    /// What failed is tried again, later.
    pub const fn is_retried(&self) -> bool {
        self.retry_at.is_some()
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

    /// It has ended, and is run again: at once, or after a while if it was run again just before.
    pub fn restart(&mut self, now: Now, exit: Exit) {
        let ran = self.started.map(|started| now.mono.since(started));
        if ran.is_some_and(|ran| ran >= RAN_WELL) {
            self.hasty_restarts = 0;
        }
        let delay = match self.hasty_restarts {
            0 => Span::ZERO,
            more => Span(RESTART_DELAY.0 << (more - 1).min(16)).min(RESTART_DELAY_MAX),
        };
        (self.restarts, self.hasty_restarts) = (self.restarts + 1, self.hasty_restarts + 1);
        self.reason = format!("is run again, since it {}", exit.in_words());
        (self.exit, self.started) = (Some(exit), None);
        (self.liveness, self.readiness) = (Checkup::default(), Checkup::default());
        (self.phase, self.attempts, self.behind) = (Phase::Starting, 0, None);
        self.retry_at = Some(now.mono + delay);
    }

    /// This very end, or one before it, has been made good already, or is about to be.
    pub fn is_past(&self, exit: &Exit) -> bool {
        let Some(last) = self.exit.as_ref().filter(|_| self.restarts > 0) else {
            return false;
        };
        let is_past = match self.phase {
            Phase::Starting => is_same_end(last.at, exit.at),
            Phase::Running => exit.at <= last.at,
            _ => false,
        };
        // What was removed is gone for good.
        is_past && exit.code.is_some()
    }

    /// It has ended, and the start that is to make that good has not been asked for yet.
    pub fn is_to_run_again(&self) -> bool {
        let is_due_later = self.attempts == 0 && self.retry_at.is_some();
        self.phase == Phase::Starting && self.restarts > 0 && is_due_later
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
            after: self.exit.as_ref().map(|exit| exit.at),
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

    pub fn read_log(&self, task: TaskId) -> Option<RuntimeCommand> {
        Some(RuntimeCommand::ReadLog {
            task,
            container: self.name.clone(),
            runtime_id: self.runtime_id?,
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
            Phase::Unknown
            | Phase::Waiting
            | Phase::Creating
            | Phase::Created
            | Phase::Starting => ContainerStatus::Pending,
            Phase::Running | Phase::Stopping => ContainerStatus::Running,
            Phase::Stopped | Phase::Removing | Phase::Gone => ContainerStatus::Stopped,
        };
        let runs = status == ContainerStatus::Running;
        let exit = self.exit.as_ref().filter(|_| !runs);
        let reason = match exit {
            Some(exit) if exit.out_of_memory => {
                "OutOfMemoryError: Container killed due to memory usage"
            }
            _ if runs && !self.liveness.detail.is_empty() => &self.liveness.detail,
            _ if runs && !self.readiness.detail.is_empty() => &self.readiness.detail,
            _ => &self.reason,
        };
        ContainerReport {
            name: self.name.as_str().into(),
            runtime_id: self.runtime_id,
            status,
            exit_code: exit.and_then(|exit| exit.code),
            reason: reason.into(),
            ports: self.ports.clone(),
            health: match runs {
                true => self.liveness.health,
                false => Health::Unknown,
            },
            restarts: self.restarts,
            image: self.image,
            // The task knows which are whose.
            gpus: Box::default(),
        }
    }

    /// It is being made, and that takes its time: no comparison that misses it says otherwise.
    pub fn on_progress(&mut self, progress: String) {
        (self.reason, self.behind) = (progress, None);
    }

    /// A create or start failed: again after a while (0.2 s, doubling), or not.
    pub fn on_failure(&mut self, now: Now, failure: &RuntimeFailure) -> AfterFailure {
        self.attempts += 1;
        self.reason.clear();
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
