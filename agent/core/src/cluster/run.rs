//! Runs on the board: tasks that are to run once, and how it ended with each of them.

use crate::{
    cluster::{
        board::Board,
        body::{ContainerReport, Key, ServiceRevision, ServiceSettings, TaskReport},
        namespace::qualified,
        schedule::SCHEDULE_PREFIX,
        trailing,
    },
    ids::{HostId, ServiceId, SlotIndex, TaskId},
    spec::{run::RunOptions, task_definition::TaskDefinition},
    task::{runtime::SlotLabel, status::StopCode},
    time::{Span, Wall},
};
use serde::{Deserialize, Serialize};

/// A set of slots that end. It is kept as a service is, under an id of the same kind; it is written
/// once and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub settings: ServiceSettings,
    pub revision: ServiceRevision,
    /// What the revision means here, where the run changes something of it.
    pub overridden: Option<Box<TaskDefinition>>,
    /// What the first task of each slot is called, so that whoever asked knows it at once.
    pub tasks: Vec<TaskId>,
    pub options: RunOptions,
    /// ECS's `group`; that of the family where empty.
    pub group: String,
    pub started_by: String,
    /// ECS's `overrides` as they were given; empty where nothing was.
    pub overrides: String,
    /// Where each of the tasks is to run, where somebody chose it; anywhere if empty.
    #[serde(with = "trailing")]
    pub hosts: Vec<HostId>,
}

/// How it ended with one slot of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub at: Wall,
    pub how: Ended,
    /// Of its last task, if there was one.
    pub exit_code: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// All essential containers ended with 0.
    Succeeded,
    Failed,
    /// It ran for longer than it might.
    TimedOut,
    /// On somebody's word.
    Stopped,
    /// Its host is gone, or stopped it because it goes. It may run on unseen.
    Lost,
}

/// What people are told that a slot is of, by the name in its label: a service, a run, or a
/// schedule.
pub fn title(name: &str) -> String {
    match (
        name.strip_prefix(NAME_PREFIX),
        name.strip_prefix(SCHEDULE_PREFIX),
    ) {
        (Some(run), _) => format!("(run {run})"),
        (_, Some(schedule)) => format!("(schedule {schedule})"),
        (None, None) => format!("(service {name})"),
    }
}

/// What a run is called where a service has its name; no service can be called so.
pub const NAME_PREFIX: &str = "run/";

impl Ended {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Stopped => "STOPPED",
            Self::Lost => "LOST",
        }
    }
}

impl End {
    /// What a task that has stopped says of its slot.
    pub fn of(run: &Run, report: &TaskReport, essential: impl Fn(&str) -> bool) -> Self {
        let mut counted = report.containers.iter().filter(|c| essential(&c.name));
        let code = |container: &ContainerReport| container.exit_code;
        let failed = counted.clone().find(|c| code(c) != Some(0));
        let exit_code = failed.or_else(|| counted.next()).and_then(code);
        let how = match report.stop_code {
            _ if timed_out(run, report) => Ended::TimedOut,
            Some(StopCode::UserInitiated) => Ended::Stopped,
            Some(StopCode::ServiceSchedulerInitiated | StopCode::TerminationNotice) => Ended::Lost,
            Some(StopCode::TaskFailedToStart) | None => Ended::Failed,
            Some(StopCode::EssentialContainerExited) if failed.is_none() => Ended::Succeeded,
            Some(StopCode::EssentialContainerExited) => Ended::Failed,
        };
        let at = report.stopped_at.unwrap_or_default();
        Self { at, how, exit_code }
    }

    /// Of a slot whose task tells nothing of it: there was none, or it is out of sight.
    pub const fn taskless(at: Wall, how: Ended) -> Self {
        Self {
            at,
            how,
            exit_code: None,
        }
    }
}

/// It was told to stop when its time was over: by what it was told, whatever clocks have shown.
fn timed_out(run: &Run, report: &TaskReport) -> bool {
    let ordered = report.stop_code == Some(StopCode::UserInitiated);
    let overtime = run.overtime();
    ordered && overtime.is_some_and(|overtime| report.stopped_reason.starts_with(&overtime))
}

impl Run {
    /// As [`ServiceSettings::name`] of a run has it.
    pub fn name(cluster: Option<&str>, id: ServiceId) -> String {
        let own = qualified(cluster, &format!("{:016x}", id.0 >> 64));
        format!("{NAME_PREFIX}{own}")
    }

    /// The one host that a slot may be given to; any where nobody chose.
    pub fn host_of(&self, index: SlotIndex) -> Option<HostId> {
        self.hosts.get(usize::try_from(index).ok()?).copied()
    }

    /// A tick has begun it, or it says so.
    pub fn is_of_schedule(&self) -> bool {
        self.started_by.starts_with(SCHEDULE_PREFIX)
    }

    /// What a task that has had its time is told to stop for; `None` where it has all time.
    pub fn overtime(&self) -> Option<String> {
        let seconds = self.options.timeout_s?;
        let title = title(&self.settings.name);
        Some(format!(
            "{title} ran for longer than the {seconds} s that it may"
        ))
    }

    pub fn timeout(&self) -> Option<Span> {
        let seconds = self.options.timeout_s?;
        Some(Span::from_secs(u64::from(seconds)))
    }
}

impl Board {
    /// It was removed, or has ended long ago; what nobody knows is something else.
    pub fn is_run_gone(&self, id: ServiceId) -> bool {
        self.is_buried(&Key::Run(id))
    }

    /// When all of a run's slots have ended: since when.
    pub fn run_ended_at(&self, id: ServiceId) -> Option<Wall> {
        let run = self.run(id)?;
        let ends = (0..).zip(&run.tasks).map(|(index, _)| {
            let (_, slot) = self.slot(id, index)?;
            Some(slot.end.as_ref()?.at)
        });
        let ends: Option<Vec<Wall>> = ends.collect();
        ends.and_then(|ends| ends.into_iter().max())
    }

    /// The slot is of a run, and has ended for good at this generation or a later one: what is lost
    /// may be back.
    pub fn has_ended(&self, label: &SlotLabel) -> bool {
        let slot = self.slot(label.service, label.index);
        slot.is_some_and(|(generation, slot)| {
            let end = slot.end.as_ref();
            generation >= label.generation && end.is_some_and(|end| end.how != Ended::Lost)
        })
    }

    /// Whether a report of this task may go: nobody needs it to know what became of a run.
    pub fn is_settled(&self, report: &TaskReport) -> bool {
        let Some(label) = &report.slot else {
            return true;
        };
        if self.run(label.service).is_none() {
            return true;
        }
        let slot = self.slot(label.service, label.index);
        slot.is_some_and(|(generation, slot)| slot.end.is_some() || generation > label.generation)
    }

    /// The name of the first task of a slot of a run: for who has not begun one under it yet.
    pub fn unused_name(&self, id: ServiceId, index: SlotIndex) -> Option<TaskId> {
        // Of the first task nothing may be left by the time that another is begun.
        if self.slot(id, index).is_some_and(|(_, slot)| slot.tried > 0) {
            return None;
        }
        let name = *self.run(id)?.tasks.get(usize::try_from(index).ok()?)?;
        let mut copies = self.copies(id, index);
        let is_used = copies.any(|(_, task, _)| task == name);
        (!is_used && self.stop_order(name).is_none()).then_some(name)
    }

    /// A person ordered the slot's first task to stop before there was one.
    pub fn is_called_off(&self, id: ServiceId, index: SlotIndex) -> bool {
        let name = self
            .run(id)
            .and_then(|run| run.tasks.get(usize::try_from(index).ok()?));
        name.is_some_and(|name| self.stop_order(*name).is_some())
    }
}
