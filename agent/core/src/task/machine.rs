//! One task: its containers, the status that follows from them, and what to ask of the runtime.

mod advance;
mod told;

use crate::{
    cluster::body::TaskReport,
    effect::{Effect, Effects},
    ids::{HostId, RuntimeId, TaskId},
    spec::task_definition::{NetworkMode, PortMapping, TaskDefinition},
    task::{
        container::{Container, Phase},
        order,
        runtime::{CreateContainer, Labels, PortBinding, RuntimeCommand},
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
                container.remember(known);
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
            .chain(self.awaited().map(|awaited| awaited.until))
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
                // The latter in their order.
                Phase::Starting | Phase::Running => {}
                Phase::Stopping | Phase::Stopped | Phase::Removing | Phase::Gone => {}
            }
        }
        self.settle(now, fx);
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
        let over = self.awaited().filter(|awaited| now.mono >= awaited.until);
        if let Some(reason) = over.map(|awaited| awaited.reason()) {
            self.stop(now, StopCode::TaskFailedToStart, &reason, fx);
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
        let container = definition
            .container(name)
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
            network: definition.network,
            volumes,
        };
        fx.push(Effect::Runtime(RuntimeCommand::Create(Box::new(create))));
    }

    /// How long stopping it may take: one container after the other where they depend on one
    /// another, all at once otherwise.
    pub fn stopping_takes(&self) -> Span {
        let graces = self.containers.iter().map(|c| c.grace);
        let ordered = self.definition.as_ref().is_some_and(order::is_ordered);
        if ordered {
            return Span(graces.map(|grace| grace.0).sum());
        }
        graces.max().unwrap_or(Span::ZERO)
    }

    /// It ran before this agent's life, as its own report or those that depend on it show.
    fn has_been(&self, number: usize) -> bool {
        let container = &self.containers[number];
        let relied_on = |known| order::is_relied_on(known, &self.containers, &container.name);
        container.exit.is_some() || self.definition.as_ref().is_some_and(relied_on)
    }

    /// In the host's network no port is mapped: the runtime knows of none.
    fn host_ports(&self, name: &str) -> Option<Vec<PortBinding>> {
        let definition = self.definition.as_ref()?;
        let container = definition.container(name)?;
        let binding = |port: &PortMapping| PortBinding {
            container_port: port.container_port,
            host_port: port.host_port,
            protocol: port.protocol,
        };
        let is_hosts = definition.network == NetworkMode::Host;
        is_hosts.then(|| container.ports.iter().map(binding).collect())
    }

    fn find(&mut self, name: &str) -> Option<&mut Container> {
        self.containers.iter_mut().find(|c| c.name == name)
    }

    /// The definition of a task that was adopted from labels has come.
    pub fn on_definition(
        &mut self,
        now: Now,
        definition: TaskDefinition,
        timings: &Timings,
        fx: &mut Effects,
    ) {
        for container in &mut self.containers {
            let known = definition.container(&container.name);
            if let Some(seconds) = known.and_then(|known| known.stop_timeout_s) {
                container.grace = Span::from_secs(u64::from(seconds));
            }
        }
        // Of these the next comparison says whether they are there.
        for container in containers_of(&definition, timings, Phase::Unknown) {
            if self.find(&container.name).is_none() {
                self.containers.push(container);
            }
        }
        self.definition = Some(definition);
        for number in 0..self.containers.len() {
            let ports = self.host_ports(&self.containers[number].name);
            let container = &mut self.containers[number];
            if let Some(ports) = ports.filter(|_| container.phase == Phase::Running) {
                container.ports = ports.into();
            }
        }
        self.settle(now, fx);
    }

    /// Makes the report follow from the containers.
    fn sync(&mut self, now: Now) {
        self.report.containers = self.containers.iter().map(Container::report).collect();
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
