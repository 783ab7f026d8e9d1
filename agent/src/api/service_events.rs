//! What happened to a service, in ECS's sentences: all of it follows from the board, so that every
//! agent tells the same under the same ids, and what the board has forgotten is not told any more.

use super::{
    deployments::Deployments,
    tasks::deployment_id,
    view::{View, seconds},
};
use holdfast_core::{
    cluster::{board::TaskSaid, body::Key},
    ids::{ServiceId, TaskId},
    rng::{hash_bytes, mix},
    schedule::keeper::FAILED_CHECKS,
    task::status::{Health, StopCode, TaskStatus},
    time::Wall,
};
use serde_json::{Value, json};
use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

/// As in ECS: the newest.
pub(crate) const EVENTS_MAX: usize = 100;

/// What an event says of slots that have no host.
pub(crate) const NOT_PLACED: &str = "was unable to place";

/// Tasks that one sentence names; of more, it tells how many.
const TASKS_NAMED_MAX: usize = 10;

/// Failures in a row, from which on a slot's next task is waited with.
const FAILURES_MIN: u32 = 2;

/// What became of a service's tasks, gathered in one look at each: the newest of it, however many
/// tasks there are.
#[derive(Debug)]
pub(crate) struct History<'v> {
    service: ServiceId,
    name: &'v str,
    max: usize,
    /// By the second in which it happened.
    moments: BTreeMap<(u64, What<'v>), Group>,
}

/// What became of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What<'v> {
    Started,
    /// For this reason.
    FailedToStart(&'v str),
    FailedChecks(TaskId),
    Stopped,
}

/// Tasks that shared it.
#[derive(Debug, Default)]
struct Group {
    /// When the last of them did.
    at: Wall,
    tasks: usize,
    /// The first in the board's order.
    named: Vec<TaskId>,
}

/// One event; its words are made only where it is told.
#[derive(Debug)]
enum Sentence<'v> {
    Tasks(u64, What<'v>, Group),
    NotPlaced { reason: &'v str, slots: usize },
    FailsToStart,
    Completed(String),
    Steady { anchor: Wall },
}

impl<'v> History<'v> {
    pub(crate) const fn of(service: ServiceId, name: &'v str, max: usize) -> Self {
        Self {
            service,
            name,
            max,
            moments: BTreeMap::new(),
        }
    }

    pub(crate) fn note(&mut self, view: &View<'_>, said: TaskSaid<'v>) {
        let TaskSaid {
            host, task, report, ..
        } = said;
        // What its host refused was never begun.
        if !report.refused {
            self.add(report.created_at, What::Started, task);
        }
        let Some(ended) = report.stopping_at.or(report.stopped_at) else {
            if report.health == Health::Unhealthy && report.desired == TaskStatus::Running {
                let said = view.written_at(&Key::Task(host, task));
                self.add(said.unwrap_or_default(), What::FailedChecks(task), task);
            }
            return;
        };
        match report.stop_code {
            Some(StopCode::TaskFailedToStart) => {
                self.add(ended, What::FailedToStart(&report.stopped_reason), task);
            }
            Some(
                StopCode::ServiceSchedulerInitiated
                | StopCode::UserInitiated
                | StopCode::TerminationNotice,
            ) => {
                if report.started_at.is_some() {
                    self.add(ended, What::Stopped, task);
                }
                // As it stops, nobody asks any more how it is: the reason tells.
                if report.stopped_reason.starts_with(FAILED_CHECKS) {
                    self.add(ended, What::FailedChecks(task), task);
                }
            }
            // It ended by itself: ECS tells of what is started in its place only.
            Some(StopCode::EssentialContainerExited) | None => {}
        }
    }

    fn add(&mut self, at: Wall, what: What<'v>, task: TaskId) {
        let moment = (at.0 / 1_000, what);
        let oldest = self.moments.first_key_value();
        let is_full = self.moments.len() >= self.max;
        if is_full && oldest.is_some_and(|(oldest, _)| moment < *oldest) {
            return;
        }
        let group = self.moments.entry(moment).or_default();
        group.at = group.at.max(at);
        group.tasks += 1;
        if group.named.len() < TASKS_NAMED_MAX {
            group.named.push(task);
        }
        if self.moments.len() > self.max {
            self.moments.pop_first();
        }
    }

    /// The events of a service that is there.
    pub(crate) fn with(self, view: &'v View<'_>, deployments: &'v Deployments<'v>) -> Vec<Value> {
        let mut events = Vec::new();
        if let Some(steady) = deployments.steady(view) {
            let anchor = steady.anchor;
            events.push((steady.since, Sentence::Steady { anchor }));
        }
        if let Some(at) = deployments.completed_at(view) {
            let id = deployment_id(self.service, deployments.primary_key());
            events.push((at, Sentence::Completed(id)));
        }
        of_slots(view, deployments, &mut events);
        self.told(events)
    }

    /// Those of its tasks alone.
    pub(crate) fn json(self) -> Vec<Value> {
        self.told(Vec::new())
    }

    /// Of what happened at one time, what was given first comes first.
    fn told(self, mut events: Vec<(Wall, Sentence<'v>)>) -> Vec<Value> {
        let moments = self.moments.into_iter().rev();
        events.extend(moments.map(|((second, what), group)| {
            let at = group.at;
            (at, Sentence::Tasks(second, what, group))
        }));
        events.sort_by_key(|(at, _)| Reverse(*at));
        events.truncate(self.max);
        let told = events.iter().map(|(at, sentence)| {
            json!({
                "id": format!("{:016x}", sentence.id(self.service, *at)),
                "createdAt": seconds(*at),
                "message": format!("(service {}) {}", self.name, sentence.text()),
            })
        });
        told.collect()
    }
}

/// Why slots have no host, where those that share a reason share an event; and that tasks fail
/// again and again.
fn of_slots<'v>(
    view: &'v View<'_>,
    deployments: &Deployments<'v>,
    events: &mut Vec<(Wall, Sentence<'v>)>,
) {
    let service = deployments.service();
    let mut reasons: BTreeMap<&str, (usize, Wall)> = BTreeMap::new();
    let mut failed_at = None;
    for (index, _, slot) in view.board.slots(service.id) {
        let is_failing = slot.failures >= FAILURES_MIN;
        if index >= service.desired || (slot.host.is_some() && !is_failing) {
            continue;
        }
        let at = view.written_at(&Key::Slot(service.id, index));
        let at = at.unwrap_or_default();
        if is_failing {
            failed_at = failed_at.max(Some(at));
        }
        if slot.host.is_none() {
            let (slots, latest) = reasons.entry(&slot.reason).or_default();
            *slots += 1;
            *latest = at.max(*latest);
        }
    }
    events.extend(failed_at.map(|at| (at, Sentence::FailsToStart)));
    let reasons = reasons.into_iter();
    events.extend(reasons.map(|(reason, (slots, at))| (at, Sentence::NotPlaced { reason, slots })));
}

impl Sentence<'_> {
    /// Of what it tells, so that it stays the same while tasks are added to it.
    fn id(&self, service: ServiceId, at: Wall) -> u64 {
        let (kind, word) = match self {
            Self::Tasks(second, What::Started, _) => ("started", *second),
            Self::Tasks(second, What::FailedToStart(reason), _) => {
                ("not started", mix(*second) ^ hash_bytes(reason.as_bytes()))
            }
            Self::Tasks(_, What::FailedChecks(task), _) => ("failed checks", task.word()),
            Self::Tasks(second, What::Stopped, _) => ("stopped", *second),
            Self::NotPlaced { reason, .. } => {
                ("not placed", mix(at.0) ^ hash_bytes(reason.as_bytes()))
            }
            Self::FailsToStart => ("fails to start", at.0),
            Self::Completed(id) => ("completed", hash_bytes(id.as_bytes())),
            Self::Steady { anchor } => ("steady", anchor.0),
        };
        mix(service.word() ^ mix(hash_bytes(kind.as_bytes()) ^ word))
    }

    /// In ECS's words.
    fn text(&self) -> String {
        let some = |tasks: usize| match tasks {
            1 => "a task".to_owned(),
            many => format!("{many} tasks"),
        };
        match self {
            Self::Tasks(_, What::Started, group) => {
                format!("has started {} tasks: {}.", group.tasks, group.names())
            }
            Self::Tasks(_, What::FailedToStart(reason), group) => {
                format!(
                    "failed to launch {} with (error {reason}).",
                    some(group.tasks)
                )
            }
            Self::Tasks(_, What::FailedChecks(task), _) => {
                format!("(task {task}) failed container health checks.")
            }
            Self::Tasks(_, What::Stopped, group) => {
                format!(
                    "has stopped {} running tasks: {}.",
                    group.tasks,
                    group.names()
                )
            }
            Self::NotPlaced { reason, slots } => {
                format!("{NOT_PLACED} {} because {reason}", some(*slots))
            }
            Self::FailsToStart => "is unable to consistently start tasks successfully.".to_owned(),
            Self::Completed(id) => format!("(deployment {id}) deployment completed."),
            Self::Steady { .. } => "has reached a steady state.".to_owned(),
        }
    }
}

impl Group {
    fn names(&self) -> String {
        let mut names = String::new();
        for task in &self.named {
            let space = if names.is_empty() { "" } else { " " };
            write!(names, "{space}(task {task})").expect("a string takes all");
        }
        let more = self.tasks - self.named.len();
        if more > 0 {
            write!(names, " and {more} more").expect("a string takes all");
        }
        names
    }
}
