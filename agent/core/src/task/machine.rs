//! One task: its containers, the status that follows from them, and what to ask of the runtime.

mod advance;
mod checks;
mod report;
mod told;

use crate::{
    cluster::body::{ContainerReport, TaskReport},
    effect::{Effect, Effects},
    ids::{GpuId, HostId, ImageDigest, RuntimeId, TaskId},
    spec::task_definition::{NetworkMode, PortMapping, Resources, TaskDefinition},
    task::{
        container::{Container, Phase},
        order,
        pause::{PAUSE, pause},
        runtime::{CreateContainer, Labels, PortBinding, RuntimeCommand, Shared},
        status::{StopCode, TaskStatus},
    },
    time::{Mono, Now, Span, Wall},
    timings::Timings,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    /// What the board is told; always true of the containers when a step ends.
    pub report: TaskReport,
    /// Absent while a task adopted from labels waits for its definition to come from a peer.
    definition: Option<TaskDefinition>,
    containers: Vec<Container>,
    /// Those of its host that it has, which its containers have in the definition's order.
    gpus: Box<[GpuId]>,
    owner: Owner,
    /// It is out of use, and runs on until then for whoever still uses it.
    used_until: Option<Mono>,
    /// When the stopped containers are to be removed.
    remove_at: Option<Mono>,
    retention: Span,
    /// What runs has been compared since the task is known here: no container means none.
    compared: bool,
}

/// Whose containers these are: what their labels say beside the task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Owner {
    pub cluster: Box<str>,
    pub host: HostId,
}

/// What a new task is to be.
#[derive(Clone, Debug)]
pub struct Defined {
    pub definition: TaskDefinition,
    /// What its containers' images stand for, as far as that is settled.
    pub images: BTreeMap<Box<str>, ImageDigest>,
    /// Those that the task has, for its containers in their order.
    pub gpus: Vec<GpuId>,
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
        Defined {
            definition,
            images,
            gpus,
        }: Defined,
        owner: Owner,
        timings: &Timings,
    ) -> Self {
        let containers = containers_of(&definition, timings, Phase::Waiting);
        let mut task = Self::empty(id, report, owner, timings);
        (task.containers, task.definition) = (containers, Some(definition));
        task.gpus = gpus.into();
        // Those that were chosen are promised from now on, whatever becomes of this agent.
        for number in 0..task.containers.len() {
            let chosen = task.chosen_ports(&task.containers[number].name);
            task.containers[number].ports = chosen.into();
        }
        for container in &mut task.containers {
            container.image = images.get(container.name.as_str()).copied();
        }
        task
    }

    /// A task that the disk remembers; its containers stand where the next comparison says.
    pub fn remembered(
        id: TaskId,
        report: TaskReport,
        definition: Option<TaskDefinition>,
        owner: Owner,
        timings: &Timings,
    ) -> Self {
        let mut task = Self::empty(id, report, owner, timings);
        task.containers = match &definition {
            Some(definition) => containers_of(definition, timings, Phase::Unknown),
            None => Vec::new(),
        };
        let report = &task.report;
        for container in &mut task.containers {
            let mut known = report.containers.iter();
            if let Some(known) = known.find(|c| *c.name == *container.name) {
                container.remember(known, report.ready);
            }
            if container.name == PAUSE {
                // It has those of all, and is in no report itself.
                let ports = report.containers.iter().flat_map(|c| &c.ports);
                container.ports = ports.copied().collect();
            }
        }
        task.definition = definition.map(|definition| with_ports(definition, &task.report));
        let gpus = task.reported_gpus();
        task.on_gpus(gpus);
        task
    }

    /// In the order of the definition, by which they are dealt out.
    fn reported_gpus(&self) -> Box<[GpuId]> {
        let reported = &self.report.containers;
        let of = |name: &str| reported.iter().find(|c| *c.name == *name);
        let gpus = |found: Vec<&ContainerReport>| {
            let gpus = found.into_iter().flat_map(|c| &c.gpus);
            gpus.cloned().collect()
        };
        match &self.definition {
            Some(known) => gpus(
                known
                    .containers
                    .iter()
                    .filter_map(|c| of(&c.name))
                    .collect(),
            ),
            None => gpus(reported.iter().collect()),
        }
    }

    fn empty(id: TaskId, report: TaskReport, owner: Owner, timings: &Timings) -> Self {
        let retention = timings.container_retention;
        Self {
            id,
            report,
            definition: None,
            containers: Vec::new(),
            gpus: Box::default(),
            owner,
            used_until: None,
            remove_at: None,
            retention,
            compared: false,
        }
    }

    pub const fn definition(&self) -> Option<&TaskDefinition> {
        self.definition.as_ref()
    }

    /// What it holds of its host, with the ports and GPUs that were chosen for it; the rest is not
    /// known before its definition is.
    pub fn needs(&self) -> Resources {
        let known = self.definition.as_ref();
        let mut needs = known.map_or_else(Resources::default, TaskDefinition::needs);
        needs.gpu_ids = self.gpus.to_vec();
        let bound = self.report.containers.iter().flat_map(|c| &c.ports);
        needs
            .ports
            .extend(bound.map(|port| (port.protocol, port.host_port)));
        needs.ports.sort_unstable();
        needs.ports.dedup();
        needs
    }

    /// Its report of an earlier life, or a container's labels, say which GPUs it has.
    pub fn on_gpus(&mut self, gpus: Box<[GpuId]>) {
        if self.gpus.is_empty() && !planted!(ForgetsItsGpus) {
            self.gpus = gpus;
        }
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
            .chain(self.used_until)
            .chain(self.awaited().map(|awaited| awaited.until))
            .min()
    }

    /// Its stopped containers need be kept no longer.
    pub fn let_go(&mut self, now: Now) {
        self.remove_at = self.remove_at.map(|at| at.min(now.mono));
    }

    /// Asks for the containers of a new task.
    pub fn go(&mut self, now: Now, fx: &mut Effects) {
        self.settle(now, fx);
    }

    /// Ends the task for the first reason given; a later one changes nothing.
    pub fn stop(&mut self, now: Now, code: StopCode, reason: &str, fx: &mut Effects) {
        if self.is_stopping() {
            return;
        }
        self.used_until = self.deregistered_at(now, code);
        self.report.desired = TaskStatus::Stopped;
        self.report.stop_code = Some(code);
        self.report.stopped_reason = reason.into();
        self.report.stopping_at = Some(now.wall);
        for container in &mut self.containers {
            match container.phase {
                // In flight: what comes back decides what to do.
                Phase::Unknown => {}
                Phase::Waiting => container.enter(Phase::Gone),
                // A retry that is due later is not made any more.
                Phase::Creating if container.is_retried() => container.enter(Phase::Gone),
                // Nobody waits for its image any more.
                Phase::Creating => container.reason.clear(),
                Phase::Created => container.enter(Phase::Stopped),
                // A start that failed and is due again may have happened all the same.
                Phase::Starting if container.is_retried() => {
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

    /// When a task that was in use ends on somebody's word: whoever uses it is given time to see
    /// that it is not to be used any more.
    fn deregistered_at(&self, now: Now, code: StopCode) -> Option<Mono> {
        let on_a_word = matches!(
            code,
            StopCode::ServiceSchedulerInitiated | StopCode::UserInitiated
        );
        let was_in_use = self.report.last == TaskStatus::Running && self.report.ready;
        let known = self.definition.as_ref();
        let delay = known.map_or(Span::ZERO, TaskDefinition::deregistration_delay);
        (on_a_word && was_in_use && delay > Span::ZERO).then(|| now.mono + delay)
    }

    pub fn on_wake(&mut self, now: Now, fx: &mut Effects) {
        if self.used_until.is_some_and(|until| now.mono >= until) {
            self.used_until = None;
            self.settle(now, fx);
        }
        self.ask_checks(now, fx);
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
                    self.create(number, fx);
                    continue;
                }
                Phase::Starting => container.start(self.id),
                Phase::Stopping => container.stop(self.id),
                Phase::Removing => container.remove(self.id),
                Phase::Unknown
                | Phase::Waiting
                | Phase::Created
                | Phase::Running
                | Phase::Stopped
                | Phase::Gone => continue,
            };
            fx.ask(command);
        }
    }

    fn create(&self, number: usize, fx: &mut Effects) {
        let name = &self.containers[number].name;
        let definition = self.definition.as_ref();
        let definition = definition.expect("only defined containers are created");
        let container = match name.as_str() {
            PAUSE => pause(definition),
            name => definition.container(name).cloned(),
        };
        let mut container = container.expect("containers come from the definition");
        if let Some(image) = self.containers[number]
            .image
            .filter(|_| !planted!(MakesByTag))
        {
            container.image = with_digest(&container.image, image);
        }
        let labels = Labels {
            cluster: self.owner.cluster.to_string(),
            host: self.owner.host,
            task: self.id,
            container: container.name.clone(),
            essential: container.essential,
            definition: self.report.definition,
            family: self.report.family.to_string(),
            revision: self.report.revision,
            renewals: self.report.renewals,
            slot: self.report.slot.clone(),
            gpus: self.gpus.clone(),
        };
        let create = CreateContainer {
            labels,
            gpus: definition.gpus_of(&container.name, &self.gpus).into(),
            container,
            shared: Shared {
                network: definition.network,
                pid: definition.pid,
                ipc: definition.ipc,
                cpu: definition.cpu,
                memory_mib: definition.memory_mib,
            },
            volumes: definition.volumes.clone(),
            // Whoever holds the board knows them.
            given: Vec::new(),
        };
        fx.push(Effect::Runtime(RuntimeCommand::Create(Box::new(create))));
    }

    /// How long stopping it may take.
    pub fn stopping_takes(&self) -> Span {
        let graces = self.containers.iter().map(|c| c.grace);
        match &self.definition {
            Some(known) => known.stopping_takes(graces),
            None => graces.max().unwrap_or(Span::ZERO),
        }
    }

    /// It ran before this agent's life, as its own report or those that depend on it show.
    fn has_been(&self, number: usize) -> bool {
        let container = &self.containers[number];
        let relied_on = |known| order::is_relied_on(known, &self.containers, &container.name);
        container.exit.is_some() || self.definition.as_ref().is_some_and(relied_on)
    }

    /// The host ports that the container is to have, as far as they are certain.
    fn chosen_ports(&self, name: &str) -> Vec<PortBinding> {
        let Some(definition) = &self.definition else {
            return Vec::new();
        };
        let shares = definition.network == NetworkMode::Task;
        let containers = definition.containers.iter();
        let its = containers.filter(|one| match name {
            PAUSE => shares,
            name => one.name == name && definition.network == NetworkMode::Bridge,
        });
        let certain = its
            .flat_map(|one| &one.ports)
            .filter(|port| port.host_port != 0);
        certain.map(binding).collect()
    }

    /// In the host's network no port is mapped: the runtime knows of none.
    fn host_ports(&self, name: &str) -> Option<Vec<PortBinding>> {
        let definition = self.definition.as_ref()?;
        let container = definition.container(name)?;
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
            if self.containers[number].phase == Phase::Running {
                self.begin_checks(number, now);
            }
        }
        self.settle(now, fx);
    }
}

const fn binding(port: &PortMapping) -> PortBinding {
    PortBinding {
        container_port: port.container_port,
        host_port: port.host_port,
        protocol: port.protocol,
    }
}

/// The same repository, and these bytes; a digest that people wrote themselves stays.
fn with_digest(image: &str, digest: ImageDigest) -> String {
    if image.contains('@') {
        return image.to_owned();
    }
    let path = image.rfind('/').map_or(0, |slash| slash + 1);
    let end = image[path..]
        .find(':')
        .map_or(image.len(), |tag| path + tag);
    format!("{}@{digest}", &image[..end])
}

/// With the host ports that were chosen for this task.
fn with_ports(mut definition: TaskDefinition, report: &TaskReport) -> TaskDefinition {
    for container in &mut definition.containers {
        let known = report
            .containers
            .iter()
            .find(|c| *c.name == *container.name);
        let mut bound: Vec<PortBinding> = known.map_or(Vec::new(), |c| c.ports.to_vec());
        for port in container
            .ports
            .iter_mut()
            .filter(|port| port.host_port == 0)
        {
            if let Some(at) = bound.iter().position(|one| one.is_of(port)) {
                port.host_port = bound.swap_remove(at).host_port;
            }
        }
    }
    definition
}

fn containers_of(definition: &TaskDefinition, timings: &Timings, phase: Phase) -> Vec<Container> {
    let grace = |seconds: Option<u32>| {
        seconds.map_or(timings.stop_timeout, |s| Span::from_secs(u64::from(s)))
    };
    let pause = pause(definition);
    let containers = pause.iter().chain(&definition.containers);
    containers
        .map(|c| {
            let (name, grace) = (c.name.clone(), grace(c.stop_timeout_s));
            Container::new(name, c.essential, grace, phase)
        })
        .collect()
}
