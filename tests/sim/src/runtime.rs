//! The fake container runtime: keeps the contract of `RuntimeCommand` as Docker does, or fails to.

use crate::{
    container::{ContainerKey, FakeContainer, is_checked, key, runtime_id, started},
    manners::Manners,
    silence::{permanent, time_out},
    values::lacking,
};
use holdfast_core::{
    ids::{HostId, RuntimeId, TaskId},
    rng::Rng,
    spec::task_definition::{PortMapping, Protocol},
    task::runtime::{
        CreateContainer, Exit, FailureKind, Labels, Observed, ObservedStatus, PortBinding,
        RuntimeCommand, RuntimeEvent, RuntimeFailure, is_same_end,
    },
    task::status::Health,
    time::Wall,
};
use std::collections::BTreeMap;

pub const VERSION: &str = "fake 1.0";
/// How long a container works that ends by itself.
const WORK_US: (u64, u64) = (1_000_000, 10_000_000);

/// Work in progress inside the runtime.
#[derive(Clone, Debug)]
pub enum Chore {
    Command(RuntimeCommand),
    /// The process ends by itself.
    Exit {
        key: ContainerKey,
        run: u32,
        code: i32,
    },
    /// The process has done its work.
    Done {
        key: ContainerKey,
        run: u32,
        code: i32,
    },
}

/// What came of a chore.
#[derive(Debug, Default)]
pub struct Finished {
    pub event: Option<RuntimeEvent>,
    pub then: Option<(u64, Chore)>,
}

#[derive(Clone, Debug)]
pub struct FakeRuntime {
    cluster: String,
    host: HostId,
    pub manners: Manners,
    answers: bool,
    containers: BTreeMap<ContainerKey, FakeContainer>,
    /// Containers of others on this host; whatever touches one fails the run.
    foreign: Vec<RuntimeId>,
    minted: u64,
    has_all_images: bool,
    is_calm: bool,
    rng: Rng,
}

impl FakeRuntime {
    pub fn new(cluster: &str, host: HostId, seed: u64) -> Self {
        Self {
            cluster: cluster.to_owned(),
            host,
            manners: Manners::GOOD,
            answers: true,
            containers: BTreeMap::new(),
            foreign: vec![runtime_id(host, "foreign", 1)],
            minted: 0,
            has_all_images: false,
            is_calm: false,
            rng: Rng::new(seed),
        }
    }

    pub fn foreign(&self) -> &[RuntimeId] {
        &self.foreign
    }

    /// Test-only hook: a runtime that breaks its contract, since no image is ever missing.
    pub const fn has_all_images(&mut self) {
        self.has_all_images = true;
    }

    /// From here on no container ends by itself, even where that was drawn before.
    pub fn calm(&mut self) {
        self.is_calm = true;
    }

    pub const fn answers(&self) -> bool {
        self.answers
    }

    pub fn set_answers(&mut self, answers: bool) {
        self.answers = answers;
    }

    pub fn containers(&self) -> impl Iterator<Item = (&ContainerKey, &FakeContainer)> {
        self.containers.iter()
    }

    pub fn container(&self, task: TaskId, name: &str) -> Option<&FakeContainer> {
        self.containers.get(&key(task, name))
    }

    pub fn containers_of(&self, task: TaskId) -> impl Iterator<Item = &FakeContainer> {
        self.containers
            .range(key(task, "")..)
            .take_while(move |(key, _)| key.task == task)
            .map(|(_, container)| container)
    }

    /// Takes a command on; when it is done, and what is to be handed to [`Self::finish`] then.
    pub fn command(&mut self, now: u64, command: RuntimeCommand) -> (u64, Chore) {
        let takes = match &command {
            _ if !self.answers => (1_000_000, 3_000_000),
            RuntimeCommand::Create(_) => self.manners.create_us,
            RuntimeCommand::Start { .. } => self.manners.start_us,
            RuntimeCommand::Pull { .. } => self.manners.pull_us,
            RuntimeCommand::Remove { .. }
            | RuntimeCommand::Check { .. }
            | RuntimeCommand::ReadLog { .. }
            | RuntimeCommand::List => self.manners.other_us,
            RuntimeCommand::Stop {
                task,
                container,
                runtime_id,
                grace,
            } => match self.known(*task, container, *runtime_id) {
                Some(known) if known.is_running() && known.stubborn => (grace.0, grace.0),
                Some(known) if known.is_running() => self.manners.term_us,
                _ => self.manners.other_us,
            },
        };
        (now + self.draw(takes), Chore::Command(command))
    }

    /// Does what the chore set out to do. When the runtime does not answer by now, the chore may
    /// have been done all the same, and nobody is told so.
    pub fn finish(&mut self, now: u64, wall: Wall, chore: Chore) -> Finished {
        match chore {
            Chore::Exit { .. } if self.is_calm => Finished::default(),
            Chore::Exit { key, run, code } | Chore::Done { key, run, code } => Finished {
                event: self
                    .end(&key, |c| c.run == run, exit(code, wall))
                    .filter(|_| self.answers),
                then: None,
            },
            Chore::Command(command) if self.answers => self.serve(now, wall, command),
            Chore::Command(command) => {
                let event = time_out(&command);
                if self.rng.chance_ppm(500_000) {
                    let silent = self.serve(now, wall, command);
                    return Finished {
                        event,
                        then: silent.then,
                    };
                }
                Finished { event, then: None }
            }
        }
    }

    fn serve(&mut self, now: u64, wall: Wall, command: RuntimeCommand) -> Finished {
        let mut then = None;
        let event = match command {
            RuntimeCommand::Create(make) => lacking(&make).unwrap_or_else(|| self.create(*make)),
            RuntimeCommand::Start {
                task,
                container,
                runtime_id,
                after,
            } => {
                let started = self.start((now, wall), (task, container, runtime_id), after);
                if let RuntimeEvent::Started {
                    task, container, ..
                } = &started
                {
                    then = self.draw_exit(now, *task, container);
                }
                started
            }
            RuntimeCommand::ReadLog {
                task, container, ..
            } => RuntimeEvent::LastWords {
                task,
                container,
                text: "no more".to_owned(),
            },
            RuntimeCommand::Check {
                task,
                container,
                runtime_id,
                kind,
                ..
            } => {
                let outcome = self.check(now, task, &container, runtime_id);
                RuntimeEvent::Checked {
                    task,
                    container,
                    kind,
                    outcome,
                }
            }
            RuntimeCommand::Stop {
                task, container, ..
            } if self.manners.unkillable => RuntimeEvent::StopFailed {
                task,
                container,
                failure: permanent("CannotStopContainerError: it does not end".to_owned()),
            },
            RuntimeCommand::Stop {
                task,
                container,
                runtime_id,
                ..
            } => self.stop(wall, task, container, runtime_id),
            RuntimeCommand::Remove {
                task,
                container,
                runtime_id,
            } => self.remove(task, container, runtime_id),
            RuntimeCommand::Pull { image } => self.manners.pull(image),
            RuntimeCommand::List => RuntimeEvent::Listed(self.list()),
        };
        Finished {
            event: Some(event),
            then,
        }
    }

    fn create(&mut self, make: CreateContainer) -> RuntimeEvent {
        let (task, container) = (make.labels.task, make.labels.container.clone());
        let key = key(task, &container);
        if let Some(there) = self.containers.get(&key) {
            return there.created(self.host);
        }
        if let Some(failure) = self.draw_failure("CannotCreateContainerError: no space left") {
            return RuntimeEvent::CreateFailed {
                task,
                container,
                failure,
            };
        }
        let missing = make.container.image.starts_with("missing") && !self.has_all_images;
        if missing || self.manners.no_images {
            let failure = permanent(format!(
                "CannotPullContainerError: no such image: {}",
                make.container.image
            ));
            return RuntimeEvent::CreateFailed {
                task,
                container,
                failure,
            };
        }
        self.minted += 1;
        let runtime_id = runtime_id(self.host, "ours", self.minted);
        let made = FakeContainer {
            runtime_id,
            make,
            status: ObservedStatus::Created,
            run: 0,
            stubborn: self.rng.chance_ppm(self.manners.stubborn_ppm),
            well_at: 0,
            sick: false,
            found_well: false,
        };
        let created = made.created(self.host);
        self.containers.insert(key, made);
        created
    }

    fn start(
        &mut self,
        (now, at): (u64, Wall),
        (task, container, runtime_id): (TaskId, String, RuntimeId),
        after: Option<Wall>,
    ) -> RuntimeEvent {
        let Some(there) = self.known(task, &container, runtime_id) else {
            let failure = permanent(format!(
                "CannotStartContainerError: no such container: {runtime_id}"
            ));
            return RuntimeEvent::StartFailed {
                task,
                container,
                failure,
            };
        };
        match &there.status {
            ObservedStatus::Running { since, ports, .. } => {
                let (since, ports) = (*since, ports.clone());
                return started(task, container, there, since, ports);
            }
            ObservedStatus::Exited(exit)
                if after.is_none_or(|after| !is_same_end(after, exit.at)) =>
            {
                let exit = exit.clone();
                return RuntimeEvent::Exited {
                    task,
                    container,
                    exit,
                };
            }
            ObservedStatus::Created | ObservedStatus::Exited(_) => {}
        }
        let wanted = there.make.container.ports.clone();
        let is_checked = is_checked(&there.make);
        let bound = self.bind(&wanted);
        let bound =
            bound.and_then(
                |ports| match self.draw_failure("CannotStartContainerError: cgroup") {
                    Some(failure) => Err(failure),
                    None => Ok(ports),
                },
            );
        let warm = if is_checked {
            self.draw(self.manners.warm_us)
        } else {
            0
        };
        let there = self.containers.get_mut(&key(task, &container));
        match (bound, there) {
            (Err(failure), _) => RuntimeEvent::StartFailed {
                task,
                container,
                failure,
            },
            (Ok(ports), Some(there)) => {
                there.run += 1;
                there.status = ObservedStatus::Running {
                    since: at,
                    ports: ports.clone(),
                    health: Health::Unknown,
                };
                (there.well_at, there.found_well) = (now + warm, false);
                started(task, container, there, at, ports)
            }
            (Ok(_), None) => unreachable!("an unknown container has failed above"),
        }
    }

    fn check(
        &mut self,
        now: u64,
        task: TaskId,
        name: &str,
        runtime_id: RuntimeId,
    ) -> Result<(), String> {
        let there = self.containers.get_mut(&key(task, name));
        let there = there.filter(|there| there.runtime_id == runtime_id && there.is_running());
        match there {
            Some(there) if !there.sick && now >= there.well_at => {
                there.found_well = true;
                Ok(())
            }
            Some(_) => Err("it answers 503".to_owned()),
            None => Err("it does not run".to_owned()),
        }
    }

    /// Whatever runs and is checked is not well from now on.
    pub fn sicken(&mut self) {
        for there in self.containers.values_mut() {
            there.sick |= there.is_running() && is_checked(&there.make);
        }
    }

    fn bind(&mut self, wanted: &[PortMapping]) -> Result<Vec<PortBinding>, RuntimeFailure> {
        let mut bound: Vec<PortBinding> = Vec::new();
        for port in wanted {
            let host_port = if port.host_port == 0 {
                (32_768..=u16::MAX).find(|free| {
                    !self.is_bound(port.protocol, *free)
                        && bound.iter().all(|b| b.host_port != *free)
                })
            } else {
                (!self.is_bound(port.protocol, port.host_port)).then_some(port.host_port)
            };
            let Some(host_port) = host_port else {
                return Err(permanent(format!(
                    "CannotStartContainerError: port {} is already allocated",
                    port.host_port
                )));
            };
            bound.push(PortBinding {
                container_port: port.container_port,
                host_port,
                protocol: port.protocol,
            });
        }
        Ok(bound)
    }

    pub fn is_bound(&self, protocol: Protocol, host_port: u16) -> bool {
        let taken = self.manners.ports_taken.contains(&host_port);
        taken
            || self.containers.values().any(|container| {
                matches!(&container.status, ObservedStatus::Running { ports, .. }
                if ports.iter().any(|p| (p.protocol, p.host_port) == (protocol, host_port)))
            })
    }

    fn stop(
        &mut self,
        at: Wall,
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
    ) -> RuntimeEvent {
        let gone = Exit {
            code: None,
            out_of_memory: false,
            at,
        };
        let end = match self.known(task, &container, runtime_id) {
            Some(there) => match &there.status {
                ObservedStatus::Exited(exit) => exit.clone(),
                ObservedStatus::Created => gone,
                ObservedStatus::Running { .. } => {
                    let code = if there.stubborn { 137 } else { 143 };
                    self.end(&key(task, &container), |_| true, exit(code, at));
                    exit(code, at)
                }
            },
            None => gone,
        };
        RuntimeEvent::Exited {
            task,
            container,
            exit: end,
        }
    }

    fn remove(&mut self, task: TaskId, container: String, runtime_id: RuntimeId) -> RuntimeEvent {
        match self.known(task, &container, runtime_id) {
            Some(there) if there.is_running() => {
                let reason = "CannotRemoveContainerError: the container is running";
                RuntimeEvent::RemoveFailed {
                    task,
                    container,
                    failure: permanent(reason.to_owned()),
                }
            }
            Some(_) => {
                self.containers.remove(&key(task, &container));
                RuntimeEvent::Removed { task, container }
            }
            None => RuntimeEvent::Removed { task, container },
        }
    }

    fn list(&self) -> Vec<Observed> {
        let ours = |labels: &Labels| labels.cluster == self.cluster && labels.host == self.host;
        let strangers = self.manners.strangers.iter().cloned();
        self.containers
            .values()
            .filter(|container| ours(&container.make.labels))
            .map(|container| Observed {
                runtime_id: container.runtime_id,
                labels: container.make.labels.clone(),
                status: container.status.clone(),
            })
            .chain(strangers)
            .collect()
    }

    /// Ends a running container's process; `None` if it does not run, or is not the one meant.
    fn end(
        &mut self,
        key: &ContainerKey,
        meant: impl Fn(&FakeContainer) -> bool,
        exit: Exit,
    ) -> Option<RuntimeEvent> {
        let container = self.containers.get_mut(key)?;
        if !container.is_running() || !meant(container) {
            return None;
        }
        container.status = ObservedStatus::Exited(exit.clone());
        Some(RuntimeEvent::Exited {
            task: key.task,
            container: key.name.clone(),
            exit,
        })
    }

    /// `docker kill`, by whoever has a hand on the host.
    pub fn kill(&mut self, key: &ContainerKey, at: Wall) -> Option<RuntimeEvent> {
        self.end(key, |_| true, exit(137, at))
    }

    /// `docker rm -f` by an operator: the end, then the removal.
    pub fn remove_by_force(&mut self, key: &ContainerKey, at: Wall) -> Vec<RuntimeEvent> {
        let mut events: Vec<_> = self.kill(key, at).into_iter().collect();
        if self.containers.remove(key).is_some() {
            events.push(RuntimeEvent::Removed {
                task: key.task,
                container: key.name.clone(),
            });
        }
        events
    }

    /// The machine or the runtime went down under its containers: all processes end, unheard.
    pub fn end_all(&mut self, at: Wall) {
        for container in self.containers.values_mut().filter(|c| c.is_running()) {
            container.status = ObservedStatus::Exited(exit(137, at));
        }
    }

    /// Test-only hook of the planted bugs: a second container of the same slot, started by nobody.
    pub fn double(&mut self, key: &ContainerKey, other: TaskId, at: Wall) {
        if let Some(mut twin) = self.containers.get(key).cloned() {
            twin.make.labels.task = other;
            self.minted += 1;
            twin.runtime_id = runtime_id(self.host, "ours", self.minted);
            twin.status = ObservedStatus::Running {
                since: at,
                ports: Vec::new(),
                health: Health::Unknown,
            };
            let key = ContainerKey {
                task: other,
                name: key.name.clone(),
            };
            self.containers.insert(key, twin);
        }
    }

    fn known(&self, task: TaskId, name: &str, runtime_id: RuntimeId) -> Option<&FakeContainer> {
        self.container(task, name)
            .filter(|container| container.runtime_id == runtime_id)
    }

    fn draw(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.rng.below(most - least + 1)
    }

    fn draw_failure(&mut self, reason: &str) -> Option<RuntimeFailure> {
        if self.manners.fail_ppm == 0 || !self.rng.chance_ppm(self.manners.fail_ppm) {
            return None;
        }
        let kind = if self.rng.below(5) == 0 {
            FailureKind::Permanent
        } else {
            FailureKind::Transient
        };
        Some(RuntimeFailure {
            kind,
            reason: reason.to_owned(),
        })
    }

    fn draw_exit(&mut self, now: u64, task: TaskId, name: &str) -> Option<(u64, Chore)> {
        let there = self.containers.get(&key(task, name))?;
        if let Some(code) = there.does_work() {
            let (key, run) = (key(task, name), there.run);
            return Some((now + self.draw(WORK_US), Chore::Done { key, run, code }));
        }
        if let Some(after) = self.manners.crashes_after_us {
            let key = key(task, name);
            let run = self.containers.get(&key)?.run;
            return Some((now + after, Chore::Exit { key, run, code: 1 }));
        }
        if self.manners.exits_ppm == 0 || !self.rng.chance_ppm(self.manners.exits_ppm) {
            return None;
        }
        let key = key(task, name);
        let run = self.containers.get(&key)?.run;
        let code = i32::from(self.rng.below(2) == 0);
        Some((
            now + self.draw((100_000, 60_000_000)),
            Chore::Exit { key, run, code },
        ))
    }
}

const fn exit(code: i32, at: Wall) -> Exit {
    Exit {
        code: Some(code),
        out_of_memory: false,
        at,
    }
}
