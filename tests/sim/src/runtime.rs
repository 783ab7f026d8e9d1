//! The fake container runtime: keeps the contract of `RuntimeCommand` as Docker does, or fails to.

use crate::{manners::Manners, silence::time_out};
use holdfast_core::{
    ids::{HostId, RuntimeId, TaskId},
    rng::Rng,
    spec::task_definition::{PortMapping, Protocol},
    task::runtime::{
        CreateContainer, Exit, FailureKind, Labels, Observed, ObservedStatus, PortBinding,
        RuntimeCommand, RuntimeEvent, RuntimeFailure,
    },
    time::Wall,
};
use std::collections::BTreeMap;

pub const VERSION: &str = "fake 1.0";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerKey {
    pub task: TaskId,
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct FakeContainer {
    pub runtime_id: RuntimeId,
    pub make: CreateContainer,
    pub status: ObservedStatus,
    /// Which run of its process; an exit that was drawn for an earlier one does not count.
    run: u32,
    /// It ignores SIGTERM.
    pub(crate) stubborn: bool,
}

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
            RuntimeCommand::Remove { .. } | RuntimeCommand::List => self.manners.other_us,
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
            Chore::Exit { key, run, code } => Finished {
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
            RuntimeCommand::Create(make) => self.create(*make),
            RuntimeCommand::Start {
                task,
                container,
                runtime_id,
            } => {
                let started = self.start(wall, task, container, runtime_id);
                if let RuntimeEvent::Started {
                    task, container, ..
                } = &started
                {
                    then = self.draw_exit(now, *task, container);
                }
                started
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
            let runtime_id = there.runtime_id;
            return RuntimeEvent::Created {
                task,
                container,
                runtime_id,
            };
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
        };
        self.containers.insert(key, made);
        RuntimeEvent::Created {
            task,
            container,
            runtime_id,
        }
    }

    fn start(
        &mut self,
        at: Wall,
        task: TaskId,
        container: String,
        runtime_id: RuntimeId,
    ) -> RuntimeEvent {
        let wanted = match self.known(task, &container, runtime_id) {
            None => Err(permanent(format!(
                "CannotStartContainerError: no such container: {runtime_id}"
            ))),
            Some(there) => Ok((there.is_running(), there.make.container.ports.clone())),
        };
        let bound = match wanted {
            Ok((true, _)) => None,
            Ok((false, wanted)) => Some(self.bind(&wanted)),
            Err(failure) => Some(Err(failure)),
        };
        let bound = match bound {
            Some(Ok(ports)) => match self.draw_failure("CannotStartContainerError: cgroup") {
                Some(failure) => Some(Err(failure)),
                None => Some(Ok(ports)),
            },
            other => other,
        };
        let there = self.containers.get_mut(&key(task, &container));
        match (there, bound) {
            (_, Some(Err(failure))) => RuntimeEvent::StartFailed {
                task,
                container,
                failure,
            },
            (Some(there), Some(Ok(ports))) => {
                there.run += 1;
                there.status = ObservedStatus::Running {
                    since: at,
                    ports: ports.clone(),
                };
                started(task, container, there, at, ports)
            }
            (Some(there), None) => match there.status.clone() {
                ObservedStatus::Running { since, ports } => {
                    started(task, container, there, since, ports)
                }
                ObservedStatus::Created | ObservedStatus::Exited(_) => {
                    unreachable!("a container without a need to bind runs")
                }
            },
            (None, _) => unreachable!("an unknown container has failed above"),
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

impl FakeContainer {
    pub const fn is_running(&self) -> bool {
        matches!(self.status, ObservedStatus::Running { .. })
    }
}

/// No two are alike: whose it is, the host, and a number.
fn runtime_id(host: HostId, whose: &str, number: u64) -> RuntimeId {
    let mut bytes = [0; 32];
    bytes[..whose.len()].copy_from_slice(whose.as_bytes());
    bytes[8..24].copy_from_slice(&host.0.to_be_bytes());
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    RuntimeId(bytes)
}

fn key(task: TaskId, name: &str) -> ContainerKey {
    ContainerKey {
        task,
        name: name.to_owned(),
    }
}

const fn exit(code: i32, at: Wall) -> Exit {
    Exit {
        code: Some(code),
        out_of_memory: false,
        at,
    }
}

const fn permanent(reason: String) -> RuntimeFailure {
    RuntimeFailure {
        kind: FailureKind::Permanent,
        reason,
    }
}

fn started(
    task: TaskId,
    container: String,
    there: &FakeContainer,
    at: Wall,
    ports: Vec<PortBinding>,
) -> RuntimeEvent {
    RuntimeEvent::Started {
        task,
        container,
        runtime_id: there.runtime_id,
        at,
        ports,
    }
}
