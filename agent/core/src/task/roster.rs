//! All tasks of this host: routes what the runtime says to them, and adopts what it finds.

use crate::{
    cluster::body::{ServiceRevision, TaskReport},
    effect::{Effect, Effects},
    ids::{HostId, TaskId},
    spec::task_definition::TaskDefinition,
    task::{
        machine::{Defined, Owner, Started, Task},
        runtime::{Labels, Observed, RuntimeCommand, RuntimeEvent},
        status::{StopCode, TaskStatus},
    },
    time::{Mono, Now},
    timings::Timings,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Roster {
    owner: Owner,
    timings: Timings,
    tasks: BTreeMap<TaskId, Task>,
    /// Tasks whose report may differ from what the board has.
    changed: BTreeSet<TaskId>,
    /// A full comparison has been made since the agent started.
    compared: bool,
    next_wake: Option<Mono>,
}

impl Roster {
    pub fn new(cluster: &str, host: HostId, timings: Timings) -> Self {
        let owner = Owner {
            cluster: cluster.into(),
            host,
        };
        Self {
            owner,
            timings,
            tasks: BTreeMap::new(),
            changed: BTreeSet::new(),
            compared: false,
            next_wake: None,
        }
    }

    pub const fn deadline(&self) -> Option<Mono> {
        self.next_wake
    }

    pub fn get(&self, task: TaskId) -> Option<&Task> {
        self.tasks.get(&task)
    }

    pub fn get_mut(&mut self, task: TaskId) -> Option<&mut Task> {
        self.changed.insert(task);
        self.tasks.get_mut(&task)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// The container runtime has been asked for everything at least once.
    pub const fn has_compared(&self) -> bool {
        self.compared
    }

    /// The last comparison missed something that ran; the next one decides.
    pub fn is_in_doubt(&self) -> bool {
        self.tasks.values().any(Task::is_in_doubt)
    }

    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// All that this host says of its tasks is to be said again, in its new incarnation.
    pub fn change_all(&mut self) {
        self.changed.extend(self.tasks.keys());
    }

    /// What this host says of the task is no longer on the board. Whether there is such a task.
    pub fn say_again(&mut self, task: TaskId) -> bool {
        let known = self.tasks.contains_key(&task);
        if known {
            self.changed.insert(task);
        }
        known
    }

    /// Takes the tasks that changed since it was last asked.
    pub fn take_changed(&mut self) -> BTreeSet<TaskId> {
        std::mem::take(&mut self.changed)
    }

    /// A report of ours is on the board: one that we just wrote, or one of an earlier life that the
    /// peers remembered better than our disk. A status that was told is never taken back.
    pub fn on_own_report(&mut self, now: Now, id: TaskId, report: &TaskReport, fx: &mut Effects) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        if report.last > task.report.last {
            task.report.last = report.last;
            self.changed.insert(id);
        }
        if report.desired == TaskStatus::Stopped && !task.is_stopping() {
            let code = report
                .stop_code
                .unwrap_or(StopCode::EssentialContainerExited);
            task.stop(now, code, &report.stopped_reason, fx);
            self.changed.insert(id);
        }
    }

    /// A task that the disk remembers from before a restart.
    pub fn remember(&mut self, id: TaskId, report: TaskReport, definition: Option<TaskDefinition>) {
        if planted!(ForgetsItsTasks) {
            return;
        }
        let owner = self.owner.clone();
        let task = Task::remembered(id, report, definition, owner, &self.timings);
        self.tasks.insert(id, task);
    }

    /// A task of ours that only its container's labels tell of. With its definition it is known
    /// which containers it lacks.
    pub fn adopt(&mut self, now: Now, labels: &Labels, definition: Option<TaskDefinition>) {
        if self.owns(labels) && !planted!(LeavesStrangersRunning) {
            let (report, owner) = (adopted_report(now, labels), self.owner.clone());
            let mut task = Task::remembered(labels.task, report, definition, owner, &self.timings);
            task.on_gpus(labels.gpus.clone());
            self.tasks.insert(labels.task, task);
            self.changed.insert(labels.task);
        }
    }

    fn owns(&self, labels: &Labels) -> bool {
        let ours = *labels.cluster == *self.owner.cluster || planted!(TakesAnothersContainers);
        ours && labels.host == self.owner.host
    }

    /// With the ports and the GPUs that were chosen for it.
    pub fn start(
        &mut self,
        now: Now,
        id: TaskId,
        report: TaskReport,
        defined: Defined,
        fx: &mut Effects,
    ) {
        let owner = self.owner.clone();
        let mut task = Task::new(id, report, defined, owner, &self.timings);
        task.go(now, fx);
        self.tasks.insert(id, task);
        self.changed.insert(id);
    }

    /// The definition of a task that was adopted without it has come.
    pub fn define(&mut self, now: Now, id: TaskId, definition: TaskDefinition, fx: &mut Effects) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.on_definition(now, definition, &self.timings, fx);
            self.changed.insert(id);
        }
        // It may have containers that nobody has looked for.
        fx.push(Effect::Runtime(RuntimeCommand::List));
        self.settle();
    }

    pub fn stop(&mut self, now: Now, id: TaskId, code: StopCode, reason: &str, fx: &mut Effects) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.stop(now, code, reason, fx);
            self.changed.insert(id);
        }
        self.settle();
    }

    /// Nobody wants to look at its stopped containers any more: they are removed.
    pub fn let_go(&mut self, now: Now, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.let_go(now);
        }
        self.settle();
    }

    pub fn on_wake(&mut self, now: Now, fx: &mut Effects) {
        if self.next_wake.is_none_or(|at| now.mono < at) {
            return;
        }
        for (id, task) in &mut self.tasks {
            if task.deadline().is_some_and(|at| now.mono >= at) {
                task.on_wake(now, fx);
                self.changed.insert(*id);
            }
        }
        self.settle();
    }

    /// Routes one event of the runtime. `Available` and `Unavailable` are the agent's to note.
    pub fn on_runtime(&mut self, now: Now, event: RuntimeEvent, fx: &mut Effects) {
        match event {
            RuntimeEvent::Available { .. } => fx.push(Effect::Runtime(RuntimeCommand::List)),
            RuntimeEvent::Unavailable { .. } => {}
            RuntimeEvent::Listed(observed) => self.on_listed(now, observed, fx),
            event => self.on_container(now, event, fx),
        }
        self.settle();
    }

    /// Hands what is said of one container to its task.
    fn on_container(&mut self, now: Now, event: RuntimeEvent, fx: &mut Effects) {
        use RuntimeEvent as E;
        let Some((id, name)) = event.subject() else {
            return;
        };
        let (id, name) = (id, name.to_owned());
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        match event {
            E::Available { .. }
            | E::Unavailable { .. }
            | E::Listed(_)
            | E::ImagePulling { .. }
            | E::ImagePulled { .. } => {}
            E::Pulling { progress, .. } => task.on_pulling(now, &name, progress),
            E::Created {
                runtime_id, image, ..
            } => task.on_created(now, &name, (runtime_id, image), fx),
            E::Started {
                runtime_id,
                at,
                ports,
                ..
            } => {
                let started = Started {
                    runtime_id,
                    since: at,
                    ports,
                };
                task.on_started(now, &name, started, fx);
            }
            E::CreateFailed { failure, .. } | E::StartFailed { failure, .. } => {
                task.on_failed(now, &name, &failure, fx);
            }
            E::Health { health, detail, .. } => task.on_health(now, &name, (health, detail), fx),
            E::Checked { kind, outcome, .. } => task.on_checked(now, &name, kind, outcome, fx),
            E::Exited { exit, .. } => task.on_exited(now, &name, exit, fx),
            E::LastWords { text, .. } => task.on_last_words(now, &name, &text),
            E::StopFailed { .. } => task.on_stop_failed(now, &name),
            E::Removed { .. } => task.on_removed(now, &name, fx),
            E::RemoveFailed { .. } => task.on_remove_failed(now, &name),
        }
        self.changed.insert(id);
    }

    /// Compares what runs with what we know, and notes what is missing.
    fn on_listed(&mut self, now: Now, observed: Vec<Observed>, fx: &mut Effects) {
        let mut found: BTreeMap<TaskId, Vec<Observed>> = BTreeMap::new();
        for one in observed {
            // The runtime filters by labels already; what is not ours must not be touched.
            if self.owns(&one.labels) {
                found.entry(one.labels.task).or_default().push(one);
            }
        }
        for (id, task) in &mut self.tasks {
            let containers = found.remove(id).unwrap_or_default();
            let names: Vec<String> = containers
                .iter()
                .map(|one| one.labels.container.clone())
                .collect();
            for one in containers {
                task.on_observed(now, one, fx);
            }
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            task.on_missing(now, &names, fx);
            self.changed.insert(*id);
        }
        self.compared = true;
    }

    /// Forgets tasks of which nothing is left, and notes the next deadline.
    fn settle(&mut self) {
        let changed = &self.changed;
        self.tasks
            .retain(|id, task| !task.is_gone() || changed.contains(id));
        self.next_wake = self.tasks.values().filter_map(Task::deadline).min();
    }
}

/// What labels alone tell of a task.
fn adopted_report(now: Now, labels: &Labels) -> TaskReport {
    let revision = ServiceRevision {
        definition: labels.definition,
        family: labels.family.clone(),
        revision: labels.revision,
        renewals: labels.renewals,
    };
    TaskReport::begin(revision, labels.slot.clone(), now.wall)
}
