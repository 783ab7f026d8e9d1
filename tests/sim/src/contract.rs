//! The contract of the runtime boundary as scripts: the fake runs them, and so does real Docker.

use crate::runtime::{Chore, FakeRuntime};
use holdfast_core::{
    ids::{Digest, HostId, RuntimeId, TaskId},
    spec::{
        image::ImageRef,
        task_definition::{Container, PortMapping, Protocol},
    },
    task::runtime::{
        CreateContainer, FailureKind, Labels, ObservedStatus, RuntimeCommand, RuntimeEvent, Shared,
    },
    time::{Span, Wall},
};
use std::collections::BTreeMap;

pub const CLUSTER: &str = "contract";
pub const HOST: HostId = HostId(0xc017_7ac7 << 96);

/// What serves the commands of a script: the fake with virtual time, Docker with real time.
pub trait Driver {
    fn command(&mut self, command: RuntimeCommand);
    /// The next event about this task (or a list), or `None` if there is none within this time.
    fn next_event(&mut self, within: Span) -> Option<RuntimeEvent>;
    /// `docker kill` from outside.
    fn kill(&mut self, task: TaskId, container: &str);
    /// `docker rm -f` from outside.
    fn remove_by_force(&mut self, task: TaskId, container: &str);
}

/// A story: commands, and the events that they must lead to, in order.
#[derive(Clone, Debug)]
pub struct Script {
    pub name: &'static str,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Create(Kind),
    Start,
    Stop {
        grace: Span,
    },
    Remove,
    List,
    Kill,
    RemoveByForce,
    /// Ahead of any use.
    Pull(Kind),
    Expect(Pattern),
    /// Nothing may be told for this long.
    Silence(Span),
}

/// What kind of container; a driver for Docker maps the image and keeps the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs until it is told to stop, and then ends at once.
    Sleeper,
    /// As `Sleeper`, with container port 80 on a host port that the runtime chooses.
    Server,
    /// Its image is nowhere to be found.
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    Created,
    CreatedAgain,
    CreateFailed(FailureKind),
    Started,
    StartedWithPort,
    StartFailed(FailureKind),
    Exited,
    ExitedWith(Option<i32>),
    Removed,
    RemoveFailed,
    ListedCreated,
    ListedRunning,
    ListedExited,
    ListedNothing,
    PullFailed(FailureKind),
}

const SOON: Span = Span::from_secs(30);
const QUIET: Span = Span::from_secs(1);

/// All scripts, each of which is to be run with a task id of its own.
pub fn scripts() -> Vec<Script> {
    use Pattern::{
        Created, CreatedAgain, Exited, ExitedWith, ListedCreated, ListedExited, ListedNothing,
        ListedRunning, RemoveFailed, Removed, Started, StartedWithPort,
    };
    use Step::{Create, Expect, Kill, List, Remove, RemoveByForce, Silence, Start};
    let stop = Step::Stop {
        grace: Span::from_secs(10),
    };
    let create = [Create(Kind::Sleeper), Expect(Created)];
    let run = [create.as_slice(), &[Start, Expect(Started)]].concat();
    let script = |name, first: &[Step], then: &[Step]| Script {
        name,
        steps: [first, then].concat(),
    };
    let end = [stop, Expect(Exited), Remove, Expect(Removed), List];
    vec![
        script(
            "a container is made, started, stopped and removed",
            &run,
            &[&end[..], &[Expect(ListedNothing)]].concat(),
        ),
        script(
            "creating what is there answers Created with the same id",
            &create,
            &[
                Create(Kind::Sleeper),
                Expect(CreatedAgain),
                List,
                Expect(ListedCreated),
            ],
        ),
        script(
            "starting what runs answers Started again",
            &run,
            &[Start, Expect(Started), List, Expect(ListedRunning)],
        ),
        script(
            "stopping what has stopped answers Exited with the same code",
            &run,
            &[
                Kill,
                Expect(ExitedWith(Some(137))),
                stop,
                Expect(ExitedWith(Some(137))),
            ],
        ),
        script(
            "stopping what is gone answers Exited without a code",
            &create,
            &[Remove, Expect(Removed), stop, Expect(ExitedWith(None))],
        ),
        script(
            "removing what is gone is fine",
            &create,
            &[Remove, Expect(Removed), Remove, Expect(Removed)],
        ),
        script(
            "what runs is not removed",
            &run,
            &[Remove, Expect(RemoveFailed), List, Expect(ListedRunning)],
        ),
        script(
            "an end from outside is told, and found by a list",
            &run,
            &[
                Kill,
                Expect(ExitedWith(Some(137))),
                List,
                Expect(ListedExited),
                Silence(QUIET),
            ],
        ),
        script(
            "a removal from outside is told as end and removal",
            &run,
            &[
                RemoveByForce,
                Expect(Exited),
                Expect(Removed),
                List,
                Expect(ListedNothing),
            ],
        ),
        script(
            "starting what is gone fails for good",
            &create,
            &[
                Remove,
                Expect(Removed),
                Start,
                Expect(Pattern::StartFailed(FailureKind::Permanent)),
            ],
        ),
        script(
            "a missing image fails for good",
            &[],
            &[
                Create(Kind::Missing),
                Expect(Pattern::CreateFailed(FailureKind::Permanent)),
                List,
                Expect(ListedNothing),
            ],
        ),
        script(
            "an image that is nowhere cannot be pulled ahead",
            &[],
            &[
                Step::Pull(Kind::Missing),
                Expect(Pattern::PullFailed(FailureKind::Permanent)),
            ],
        ),
        script(
            "a port of the runtime's choice is told",
            &[],
            &[
                Create(Kind::Server),
                Expect(Created),
                Start,
                Expect(StartedWithPort),
                stop,
                Expect(Exited),
            ],
        ),
    ]
}

/// Plays one script; the error says at which step what came instead.
pub fn play(script: &Script, task: TaskId, driver: &mut dyn Driver) -> Result<(), String> {
    // Nobody's, until one is made.
    let mut runtime_id = RuntimeId([0; 32]);
    let container = || "main".to_owned();
    for (number, step) in script.steps.iter().enumerate() {
        match *step {
            Step::Create(kind) => {
                let make = Box::new(container_of(kind, task));
                driver.command(RuntimeCommand::Create(make));
            }
            Step::Start => driver.command(RuntimeCommand::Start {
                task,
                container: container(),
                runtime_id,
                after: None,
            }),
            Step::Stop { grace } => driver.command(RuntimeCommand::Stop {
                task,
                container: container(),
                runtime_id,
                grace,
            }),
            Step::Remove => driver.command(RuntimeCommand::Remove {
                task,
                container: container(),
                runtime_id,
            }),
            Step::List => driver.command(RuntimeCommand::List),
            Step::Pull(kind) => {
                let image = container_of(kind, task).container.image;
                let image = ImageRef::try_from(image).expect("it is one");
                driver.command(RuntimeCommand::Pull { image });
            }
            Step::Kill => driver.kill(task, "main"),
            Step::RemoveByForce => driver.remove_by_force(task, "main"),
            Step::Expect(pattern) => {
                let got = driver.next_event(SOON);
                let fits = got
                    .as_ref()
                    .is_some_and(|e| pattern.fits(e, task, runtime_id));
                if !fits {
                    let name = script.name;
                    return Err(format!(
                        "{name:?}, step {number}: {pattern:?} expected, got {got:?}"
                    ));
                }
                if let Some(RuntimeEvent::Created { runtime_id: id, .. }) = got {
                    runtime_id = id;
                }
            }
            Step::Silence(span) => {
                if let Some(event) = driver.next_event(span) {
                    let name = script.name;
                    return Err(format!(
                        "{name:?}, step {number}: silence expected, got {event:?}"
                    ));
                }
            }
        }
    }
    Ok(())
}

impl Pattern {
    fn fits(self, event: &RuntimeEvent, meant: TaskId, known_id: RuntimeId) -> bool {
        let listed = |fits: fn(&ObservedStatus) -> bool| match event {
            RuntimeEvent::Listed(all) => all
                .iter()
                .any(|observed| observed.labels.task == meant && fits(&observed.status)),
            _ => false,
        };
        match (self, event) {
            (Self::Created, RuntimeEvent::Created { task, .. }) => *task == meant,
            (
                Self::CreatedAgain,
                RuntimeEvent::Created {
                    task, runtime_id, ..
                },
            ) => *task == meant && *runtime_id == known_id,
            (Self::CreateFailed(kind), RuntimeEvent::CreateFailed { task, failure, .. })
            | (Self::StartFailed(kind), RuntimeEvent::StartFailed { task, failure, .. }) => {
                *task == meant && failure.kind == kind && failure.reason.contains(": ")
            }
            (
                Self::Started,
                RuntimeEvent::Started {
                    task, runtime_id, ..
                },
            ) => *task == meant && *runtime_id == known_id,
            (Self::StartedWithPort, RuntimeEvent::Started { task, ports, .. }) => {
                *task == meant
                    && ports
                        .iter()
                        .any(|p| p.container_port == 80 && p.host_port != 0)
            }
            (Self::PullFailed(kind), RuntimeEvent::ImagePulled { outcome, .. }) => {
                matches!(outcome, Err(failure) if failure.kind == kind)
            }
            (Self::Exited, RuntimeEvent::Exited { task, .. }) => *task == meant,
            (Self::ExitedWith(code), RuntimeEvent::Exited { task, exit, .. }) => {
                *task == meant && exit.code == code
            }
            (Self::Removed, RuntimeEvent::Removed { task, .. })
            | (Self::RemoveFailed, RuntimeEvent::RemoveFailed { task, .. }) => *task == meant,
            (Self::ListedCreated, _) => listed(|s| matches!(s, ObservedStatus::Created)),
            (Self::ListedRunning, _) => listed(|s| matches!(s, ObservedStatus::Running { .. })),
            (Self::ListedExited, _) => listed(|s| matches!(s, ObservedStatus::Exited(_))),
            (Self::ListedNothing, RuntimeEvent::Listed(all)) => {
                all.iter().all(|observed| observed.labels.task != meant)
            }
            _ => false,
        }
    }
}

/// The container that a script asks for.
pub fn container_of(kind: Kind, task: TaskId) -> CreateContainer {
    let port = PortMapping::new(80, 0, Protocol::Tcp);
    CreateContainer {
        labels: Labels {
            cluster: CLUSTER.to_owned(),
            host: HOST,
            task,
            container: "main".to_owned(),
            essential: true,
            definition: Digest([7; 32]),
            family: "contract".to_owned(),
            revision: 1,
            renewals: 0,
            slot: None,
            gpus: Box::default(),
        },
        container: Container {
            name: "main".to_owned(),
            image: match kind {
                Kind::Sleeper | Kind::Server => "sleeper:1".to_owned(),
                Kind::Missing => "missing:1".to_owned(),
            },
            memory_mib: 32,
            essential: true,
            ports: match kind {
                Kind::Server => vec![port],
                Kind::Sleeper | Kind::Missing => Vec::new(),
            },
            ..Container::default()
        },
        shared: Shared::default(),
        volumes: Vec::new(),
        gpus: Box::default(),
        given: vec![],
    }
}

/// The fake runtime with a virtual clock of its own.
#[derive(Debug)]
pub struct FakeDriver {
    pub runtime: FakeRuntime,
    now: u64,
    number: u64,
    chores: BTreeMap<(u64, u64), Chore>,
    told: Vec<RuntimeEvent>,
}

impl FakeDriver {
    pub fn new(seed: u64) -> Self {
        Self {
            runtime: FakeRuntime::new(CLUSTER, HOST, seed),
            now: 0,
            number: 0,
            chores: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    fn push(&mut self, (at, chore): (u64, Chore)) {
        self.number += 1;
        self.chores.insert((at, self.number), chore);
    }
}

impl Driver for FakeDriver {
    fn command(&mut self, command: RuntimeCommand) {
        let chore = self.runtime.command(self.now, command);
        self.push(chore);
    }

    fn next_event(&mut self, within: Span) -> Option<RuntimeEvent> {
        if !self.told.is_empty() {
            return Some(self.told.remove(0));
        }
        let until = self.now + within.0;
        while let Some(entry) = self.chores.first_entry() {
            let at = entry.key().0;
            if at > until {
                break;
            }
            let chore = entry.remove();
            self.now = at;
            let finished = self.runtime.finish(at, Wall(at / 1_000), chore);
            finished.then.into_iter().for_each(|then| self.push(then));
            if finished.event.is_some() {
                return finished.event;
            }
        }
        self.now = until;
        None
    }

    fn kill(&mut self, task: TaskId, container: &str) {
        let name = container.to_owned();
        let key = crate::container::ContainerKey { task, name };
        let event = self.runtime.kill(&key, Wall(self.now / 1_000));
        self.told.extend(event);
    }

    fn remove_by_force(&mut self, task: TaskId, container: &str) {
        let name = container.to_owned();
        let key = crate::container::ContainerKey { task, name };
        let events = self.runtime.remove_by_force(&key, Wall(self.now / 1_000));
        self.told.extend(events);
    }
}
