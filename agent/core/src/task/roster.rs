//! All tasks of this host: routes what the runtime says to them, and adopts what it finds.

use crate::{
    cluster::body::{ServiceRevision, TaskReport},
    effect::{Effect, Effects},
    ids::{HostId, TaskId},
    spec::task_definition::TaskDefinition,
    task::{
        machine::{Owner, Started, Task},
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
    cluster: String,
    host: HostId,
    timings: Timings,
    tasks: BTreeMap<TaskId, Task>,
    /// Tasks whose report may differ from what the board has.
    changed: BTreeSet<TaskId>,
    /// A full comparison has been made since the agent started.
    compared: bool,
    next_wake: Option<Mono>,
}

impl Roster {
    pub const fn new(cluster: String, host: HostId, timings: Timings) -> Self {
        Self {
            cluster,
            host,
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
        self.tasks
            .insert(id, Task::remembered(id, report, definition, &self.timings));
    }

    /// A task of ours that only its container's labels tell of. With its definition it is known
    /// which containers it lacks.
    pub fn adopt(&mut self, now: Now, labels: &Labels, definition: Option<TaskDefinition>) {
        let ours = labels.cluster == self.cluster || planted!(TakesAnothersContainers);
        if ours && labels.host == self.host && !planted!(LeavesStrangersRunning) {
            let report = adopted_report(now, labels);
            let task = Task::remembered(labels.task, report, definition, &self.timings);
            self.tasks.insert(labels.task, task);
            self.changed.insert(labels.task);
        }
    }

    pub fn start(
        &mut self,
        id: TaskId,
        report: TaskReport,
        definition: TaskDefinition,
        fx: &mut Effects,
    ) {
        let task = Task::new(id, report, definition, &self.timings);
        let owner = Owner {
            cluster: &self.cluster,
            host: self.host,
        };
        task.go(owner, fx);
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

    pub fn on_wake(&mut self, now: Now, fx: &mut Effects) {
        if self.next_wake.is_none_or(|at| now.mono < at) {
            return;
        }
        let owner = Owner {
            cluster: &self.cluster,
            host: self.host,
        };
        for (id, task) in &mut self.tasks {
            if task.deadline().is_some_and(|at| now.mono >= at) {
                task.on_wake(now, owner, fx);
                self.changed.insert(*id);
            }
        }
        self.settle();
    }

    /// Routes one event of the runtime. `Available` and `Unavailable` are the agent's to note.
    pub fn on_runtime(&mut self, now: Now, event: RuntimeEvent, fx: &mut Effects) {
        use RuntimeEvent as E;
        match event {
            E::Available { .. } => fx.push(Effect::Runtime(RuntimeCommand::List)),
            E::Unavailable { .. } => {}
            E::Created {
                task,
                container,
                runtime_id,
            } => {
                self.with(task, |t| t.on_created(now, &container, runtime_id, fx));
            }
            E::Started {
                task,
                container,
                runtime_id,
                at,
                ports,
            } => {
                let started = Started {
                    runtime_id,
                    since: at,
                    ports,
                };
                self.with(task, |t| t.on_started(now, &container, started, fx));
            }
            E::CreateFailed {
                task,
                container,
                failure,
            }
            | E::StartFailed {
                task,
                container,
                failure,
            } => {
                self.with(task, |t| t.on_failed(now, &container, &failure, fx));
            }
            E::Exited {
                task,
                container,
                exit,
            } => {
                self.with(task, |t| t.on_exited(now, &container, exit, fx));
            }
            E::StopFailed {
                task, container, ..
            } => {
                self.with(task, |t| t.on_stop_failed(now, &container));
            }
            E::Removed { task, container } => {
                self.with(task, |t| t.on_removed(now, &container, fx));
            }
            E::RemoveFailed {
                task, container, ..
            } => {
                self.with(task, |t| t.on_remove_failed(now, &container));
            }
            E::Listed(observed) => self.on_listed(now, observed, fx),
        }
        self.settle();
    }

    fn with(&mut self, task: TaskId, act: impl FnOnce(&mut Task)) {
        if let Some(found) = self.tasks.get_mut(&task) {
            act(found);
            self.changed.insert(task);
        }
    }

    /// Compares what runs with what we know, and notes what is missing.
    fn on_listed(&mut self, now: Now, observed: Vec<Observed>, fx: &mut Effects) {
        let mut found: BTreeMap<TaskId, Vec<Observed>> = BTreeMap::new();
        for one in observed {
            // The runtime filters by labels already; what is not ours must not be touched.
            let ours = one.labels.cluster == self.cluster || planted!(TakesAnothersContainers);
            if ours && one.labels.host == self.host {
                found.entry(one.labels.task).or_default().push(one);
            }
        }
        let owner = Owner {
            cluster: &self.cluster,
            host: self.host,
        };
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
            task.on_missing(now, &names, owner, fx);
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
    };
    TaskReport::begin(revision, labels.slot.clone(), now.wall)
}
