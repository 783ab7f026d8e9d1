//! One task: its containers, the status that follows from them, and what to ask of the runtime.

use crate::{
    cluster::body::{ContainerReport, ContainerStatus, TaskReport},
    effect::{Effect, Effects},
    ids::{HostId, RuntimeId, TaskId},
    spec::task_definition::TaskDefinition,
    task::{
        container::{AfterFailure, Container, Phase},
        runtime::{
            CreateContainer, Exit, FailureKind, Labels, Observed, ObservedStatus, PortBinding,
            RuntimeCommand, RuntimeFailure,
        },
        status::{StopCode, TaskStatus},
    },
    time::{Mono, Now, Span, Wall},
    timings::Timings,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    /// What the board is told; always true of the containers when a step ends.
    pub report: TaskReport,
    /// Absent while a task adopted from labels waits for its definition to come from a peer.
    definition: Option<TaskDefinition>,
    containers: Vec<Container>,
    /// When the stopped containers are to be removed.
    remove_at: Option<Mono>,
    retention: Span,
    /// What runs has been compared since the task is known here: no container means none.
    compared: bool,
}

/// Whose containers these are: what their labels say beside the task.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub cluster: &'a str,
    pub host: HostId,
}

/// A container has been seen to run.
#[derive(Clone, Debug)]
pub struct Started {
    pub runtime_id: RuntimeId,
    pub since: Wall,
    pub ports: Vec<PortBinding>,
}

impl Task {
    /// A new task; nothing is asked of the runtime before [`Task::go`].
    pub fn new(
        id: TaskId,
        report: TaskReport,
        definition: TaskDefinition,
        timings: &Timings,
    ) -> Self {
        let containers = containers_of(&definition, timings, Phase::Creating);
        let mut task = Self::empty(id, report, timings);
        (task.containers, task.definition) = (containers, Some(definition));
        task.sync(Now::default());
        task
    }

    /// A task that the disk remembers; its containers stand where the next comparison says.
    pub fn remembered(
        id: TaskId,
        report: TaskReport,
        definition: Option<TaskDefinition>,
        timings: &Timings,
    ) -> Self {
        let mut task = Self::empty(id, report, timings);
        task.containers = match &definition {
            Some(definition) => containers_of(definition, timings, Phase::Unknown),
            None => Vec::new(),
        };
        for container in &mut task.containers {
            if let Some(known) = task
                .report
                .containers
                .iter()
                .find(|c| *c.name == *container.name)
            {
                container.runtime_id = known.runtime_id;
                container.ports.clone_from(&known.ports);
            }
        }
        task.definition = definition;
        task
    }

    fn empty(id: TaskId, report: TaskReport, timings: &Timings) -> Self {
        let retention = timings.container_retention;
        Self {
            id,
            report,
            definition: None,
            containers: Vec::new(),
            remove_at: None,
            retention,
            compared: false,
        }
    }

    pub const fn definition(&self) -> Option<&TaskDefinition> {
        self.definition.as_ref()
    }

    pub fn is_stopping(&self) -> bool {
        self.report.desired == TaskStatus::Stopped
    }

    /// Stopped, and nothing of it is left on the host.
    pub fn is_gone(&self) -> bool {
        self.report.last == TaskStatus::Stopped
            && self.containers.iter().all(|c| c.phase == Phase::Gone)
    }

    /// Something of it ran and was missed by the last comparison.
    pub fn is_in_doubt(&self) -> bool {
        self.containers.iter().any(Container::is_in_doubt)
    }

    pub fn deadline(&self) -> Option<Mono> {
        self.containers
            .iter()
            .filter_map(Container::deadline)
            .chain(self.remove_at)
            .min()
    }

    /// Asks for all containers of a new task.
    pub fn go(&self, owner: Owner<'_>, fx: &mut Effects) {
        for number in 0..self.containers.len() {
            self.create(number, owner, fx);
        }
    }

    /// Ends the task for the first reason given; a later one changes nothing.
    pub fn stop(&mut self, now: Now, code: StopCode, reason: &str, fx: &mut Effects) {
        if self.is_stopping() {
            return;
        }
        self.report.desired = TaskStatus::Stopped;
        self.report.stop_code = Some(code);
        self.report.stopped_reason = reason.into();
        self.report.stopping_at = Some(now.wall);
        for container in &mut self.containers {
            match container.phase {
                // In flight: what comes back decides what to do.
                Phase::Unknown => {}
                // A retry that is due later is not made any more.
                Phase::Creating if container.deadline().is_some() => container.enter(Phase::Gone),
                Phase::Creating => {}
                Phase::Created => container.enter(Phase::Stopped),
                // A start that failed and is due again may have happened all the same.
                Phase::Starting if container.deadline().is_some() => {
                    container.enter(Phase::Stopping);
                    fx.ask(container.stop(self.id));
                }
                Phase::Starting => {}
                Phase::Running => {
                    container.enter(Phase::Stopping);
                    fx.ask(container.stop(self.id));
                }
                Phase::Stopping | Phase::Stopped | Phase::Removing | Phase::Gone => {}
            }
        }
        self.sync(now);
    }

    pub fn on_wake(&mut self, now: Now, owner: Owner<'_>, fx: &mut Effects) {
        if self.remove_at.is_some_and(|at| now.mono >= at) {
            self.remove_at = None;
            for container in self
                .containers
                .iter_mut()
                .filter(|c| c.phase == Phase::Stopped)
            {
                container.enter(Phase::Removing);
                fx.ask(container.remove(self.id));
            }
        }
        for number in 0..self.containers.len() {
            if !self.containers[number].take_retry(now) {
                continue;
            }
            let container = &self.containers[number];
            let command = match container.phase {
                Phase::Creating => {
                    self.create(number, owner, fx);
                    continue;
                }
                Phase::Starting => container.start(self.id),
                Phase::Stopping => container.stop(self.id),
                Phase::Removing => container.remove(self.id),
                Phase::Unknown | Phase::Created | Phase::Running | Phase::Stopped | Phase::Gone => {
                    continue;
                }
            };
            fx.ask(command);
        }
    }

    fn create(&self, number: usize, owner: Owner<'_>, fx: &mut Effects) {
        let name = &self.containers[number].name;
        let definition = self
            .definition
            .as_ref()
            .expect("only defined containers are created");
        let container = definition.containers.iter().find(|c| c.name == *name);
        let container = container
            .expect("containers come from the definition")
            .clone();
        let labels = Labels {
            cluster: owner.cluster.to_owned(),
            host: owner.host,
            task: self.id,
            container: container.name.clone(),
            essential: container.essential,
            definition: self.report.definition,
            family: self.report.family.to_string(),
            revision: self.report.revision,
            slot: self.report.slot.clone(),
        };
        let volumes = definition.volumes.clone();
        let create = CreateContainer {
            labels,
            container,
            volumes,
        };
        fx.push(Effect::Runtime(RuntimeCommand::Create(Box::new(create))));
    }

    fn find(&mut self, name: &str) -> Option<&mut Container> {
        self.containers.iter_mut().find(|c| c.name == name)
    }
}

// What the runtime says.
impl Task {
    pub fn on_created(&mut self, now: Now, name: &str, runtime_id: RuntimeId, fx: &mut Effects) {
        let (id, stopping) = (self.id, self.is_stopping());
        let Some(container) = self.find(name) else {
            return;
        };
        if container.phase > Phase::Creating {
            return;
        }
        container.runtime_id = Some(runtime_id);
        if stopping && !planted!(StartsWhatWasStopped) {
            container.enter(Phase::Stopped);
        } else {
            container.enter(Phase::Starting);
            fx.ask(container.start(id));
        }
        self.sync(now);
    }

    pub fn on_started(&mut self, now: Now, name: &str, started: Started, fx: &mut Effects) {
        let (id, stopping) = (self.id, self.is_stopping());
        let Some(container) = self.find(name) else {
            return;
        };
        if container.phase == Phase::Stopped && !container.ended_since(started.since) {
            // By another start: one had failed, or was over, and a second one was under way.
            fx.ask(container.stop(id));
        }
        if container.phase >= Phase::Running {
            return;
        }
        let Started {
            runtime_id,
            since,
            ports,
        } = started;
        container.runtime_id = Some(runtime_id);
        container.ports = ports.into();
        container.enter(Phase::Running);
        if stopping {
            container.enter(Phase::Stopping);
            fx.ask(container.stop(id));
        }
        self.report.started_at.get_or_insert(since);
        self.sync(now);
    }

    /// A create or start failed.
    pub fn on_failed(&mut self, now: Now, name: &str, failure: &RuntimeFailure, fx: &mut Effects) {
        let (id, stopping) = (self.id, self.is_stopping());
        let Some(container) = self.find(name) else {
            return;
        };
        let starting = match container.phase {
            Phase::Creating => false,
            Phase::Starting => true,
            _ => return,
        };
        if !stopping && container.on_failure(now, failure) == AfterFailure::TryAgain {
            return;
        }
        if !starting {
            container.enter(Phase::Gone);
        } else if failure.kind == FailureKind::Permanent {
            container.enter(Phase::Stopped);
        } else {
            // Nobody knows whether it runs: a stop finds out, and is harmless if it does not.
            container.enter(Phase::Stopping);
            fx.ask(container.stop(id));
        }
        self.stop(now, StopCode::TaskFailedToStart, &failure.reason, fx);
        self.sync(now);
    }

    pub fn on_exited(&mut self, now: Now, name: &str, exit: Exit, fx: &mut Effects) {
        let Some(container) = self.find(name) else {
            return;
        };
        if container.is_over() {
            return;
        }
        container.enter(Phase::Stopped);
        let essential = container.essential;
        let reason = format!(
            "Essential container in task exited: {name} {}",
            describe(&exit)
        );
        container.exit = Some(exit);
        if essential && !planted!(IgnoresTheEssential) {
            self.stop(now, StopCode::EssentialContainerExited, &reason, fx);
        }
        self.sync(now);
    }

    pub fn on_stop_failed(&mut self, now: Now, name: &str) {
        if let Some(container) = self.find(name).filter(|c| c.phase == Phase::Stopping) {
            container.on_stop_failure(now);
        }
    }

    pub fn on_removed(&mut self, now: Now, name: &str, fx: &mut Effects) {
        let Some(container) = self.find(name) else {
            return;
        };
        if planted!(IgnoresRemovals) {
            return;
        }
        if !container.is_over() {
            // Somebody removed it behind our back.
            let exit = Exit {
                code: None,
                out_of_memory: false,
                at: now.wall,
            };
            self.on_exited(now, name, exit, fx);
        }
        if let Some(container) = self.find(name) {
            container.enter(Phase::Gone);
        }
        self.sync(now);
    }

    pub fn on_remove_failed(&mut self, now: Now, name: &str) {
        if let Some(container) = self.find(name).filter(|c| c.phase == Phase::Removing) {
            container.on_remove_failure(now);
        }
    }

    /// A full comparison found this container of ours.
    pub fn on_observed(&mut self, now: Now, observed: Observed, fx: &mut Effects) {
        let (id, stopping) = (self.id, self.is_stopping());
        let name = observed.labels.container.clone();
        if self.find(&name).is_none() {
            let essential = observed.labels.essential;
            let grace = crate::limits::STOP_TIMEOUT_DEFAULT;
            let found = Container::new(name.clone(), essential, grace, Phase::Unknown);
            self.containers.push(found);
        }
        let container = self.find(&name).expect("it is there now");
        container.runtime_id = Some(observed.runtime_id);
        let never_ran = observed.status == ObservedStatus::Created;
        let runs = matches!(observed.status, ObservedStatus::Running { .. });
        let lost = match container.phase {
            Phase::Starting if never_ran && stopping => container.stop(id),
            Phase::Starting if never_ran => container.start(id),
            Phase::Stopping if never_ran || runs => container.stop(id),
            Phase::Stopped | Phase::Gone if runs => container.stop(id),
            Phase::Removing => container.remove(id),
            _ => None,
        };
        let lags = container.lags(now.mono, lost.is_some());
        fx.ask(lost.filter(|_| lags));
        match observed.status {
            _ if planted!(TrustsOnlyAnswers) => {}
            ObservedStatus::Created => {
                self.on_created(now, &name, observed.runtime_id, fx);
            }
            ObservedStatus::Running { since, ports } => {
                let runtime_id = observed.runtime_id;
                self.on_started(
                    now,
                    &name,
                    Started {
                        runtime_id,
                        since,
                        ports,
                    },
                    fx,
                );
            }
            ObservedStatus::Exited(_) if planted!(TakesExitedForRunning) => {}
            ObservedStatus::Exited(exit) => self.on_exited(now, &name, exit, fx),
        }
    }

    /// A full comparison is over, and these containers of ours were not in it. One that was known
    /// before the agent started is gone; of another the comparison may have been too early to know,
    /// so the second in a row that misses it is believed.
    pub fn on_missing(&mut self, now: Now, seen: &[&str], owner: Owner<'_>, fx: &mut Effects) {
        self.compared = true;
        let stopping = self.is_stopping();
        for number in 0..self.containers.len() {
            let container = &mut self.containers[number];
            if seen.contains(&container.name.as_str()) {
                continue;
            }
            let name = container.name.clone();
            match container.phase {
                Phase::Unknown if self.report.last < TaskStatus::Running => {
                    container.enter(Phase::Creating);
                    if self.report.desired == TaskStatus::Stopped {
                        container.enter(Phase::Gone);
                    } else {
                        self.create(number, owner, fx);
                    }
                }
                Phase::Unknown => self.on_removed(now, &name, fx),
                Phase::Gone => {}
                Phase::Creating => match (container.lags(now.mono, true), stopping) {
                    (true, true) => container.enter(Phase::Gone),
                    (true, false) => self.create(number, owner, fx),
                    (false, _) => {}
                },
                Phase::Created
                | Phase::Starting
                | Phase::Running
                | Phase::Stopping
                | Phase::Stopped
                | Phase::Removing => {
                    if container.is_missed(now.mono) {
                        self.on_removed(now, &name, fx);
                    }
                }
            }
        }
        self.sync(now);
    }

    /// The definition of a task that was adopted from labels has come.
    pub fn on_definition(&mut self, definition: TaskDefinition) {
        for container in &mut self.containers {
            let known = definition
                .containers
                .iter()
                .find(|c| c.name == container.name);
            if let Some(seconds) = known.and_then(|known| known.stop_timeout_s) {
                container.grace = Span::from_secs(u64::from(seconds));
            }
        }
        self.definition = Some(definition);
    }

    /// Makes the report follow from the containers.
    fn sync(&mut self, now: Now) {
        self.report.containers = self.containers.iter().map(report_of).collect();
        let status = self.status();
        if self.report.last.can_become(status) {
            self.report.last = status;
            if status == TaskStatus::Stopped {
                self.report.stopped_at = Some(now.wall);
            }
        }
        let left = self.containers.iter().any(|c| c.phase == Phase::Stopped);
        if self.report.last == TaskStatus::Stopped && left && self.remove_at.is_none() {
            self.remove_at = Some(now.mono + self.retention);
        }
    }

    fn status(&self) -> TaskStatus {
        let all = |phase| self.containers.iter().all(|c| c.phase >= phase);
        let any = |phase| self.containers.iter().any(|c| c.phase >= phase);
        let unseen = self.containers.is_empty() && !self.compared;
        if self.is_stopping() {
            return if all(Phase::Stopped) && !unseen {
                TaskStatus::Stopped
            } else {
                TaskStatus::Stopping
            };
        }
        if self.containers.is_empty() {
            TaskStatus::Provisioning
        } else if all(Phase::Running) {
            TaskStatus::Running
        } else if any(Phase::Starting) {
            TaskStatus::Activating
        } else if any(Phase::Creating) {
            TaskStatus::Pending
        } else {
            TaskStatus::Provisioning
        }
    }
}

fn containers_of(definition: &TaskDefinition, timings: &Timings, phase: Phase) -> Vec<Container> {
    let grace = |seconds: Option<u32>| {
        seconds.map_or(timings.stop_timeout, |s| Span::from_secs(u64::from(s)))
    };
    let containers = definition.containers.iter();
    containers
        .map(|c| {
            let (name, grace) = (c.name.clone(), grace(c.stop_timeout_s));
            Container::new(name, c.essential, grace, phase)
        })
        .collect()
}

fn report_of(container: &Container) -> ContainerReport {
    let status = match container.phase {
        Phase::Unknown | Phase::Creating | Phase::Created | Phase::Starting => {
            ContainerStatus::Pending
        }
        Phase::Running | Phase::Stopping => ContainerStatus::Running,
        Phase::Stopped | Phase::Removing | Phase::Gone => ContainerStatus::Stopped,
    };
    let exit = container.exit.as_ref();
    let reason = match exit {
        Some(exit) if exit.out_of_memory => {
            "OutOfMemoryError: Container killed due to memory usage"
        }
        _ => &container.reason,
    };
    ContainerReport {
        name: container.name.as_str().into(),
        runtime_id: container.runtime_id,
        status,
        exit_code: exit.and_then(|exit| exit.code),
        reason: reason.into(),
        ports: container.ports.clone(),
    }
}

fn describe(exit: &Exit) -> String {
    match (exit.code, exit.out_of_memory) {
        (_, true) => "was killed for its memory usage".to_owned(),
        (Some(code), false) => format!("exited with {code}"),
        (None, false) => "is gone".to_owned(),
    }
}
