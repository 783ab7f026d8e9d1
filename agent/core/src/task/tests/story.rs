//! How a story of one task is told: its steps, the status after each, and what was asked for.

use crate::{
    cluster::body::TaskReport,
    effect::{Effect, Effects},
    ids::{Digest, HostId, RuntimeId, TaskId},
    spec::task_definition::{Condition, Container, Dependency, TaskDefinition},
    task::{
        machine::{Owner, Started, Task},
        runtime::{
            Exit, FailureKind, Labels, Observed, ObservedStatus, RuntimeCommand, RuntimeFailure,
        },
        status::{Health, StopCode, TaskStatus},
    },
    time::{Mono, Now, Span, Wall},
    timings::Timings,
};

const TASK: TaskId = TaskId(7);
pub(super) const OWNER: Owner<'static> = Owner {
    cluster: "test",
    host: HostId(1),
};

/// How the machine comes to know the task.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// It is new, and its containers are asked for at once.
    New,
    /// The disk remembers it with this status.
    Disk(TaskStatus),
    /// Only labels tell of it.
    Labels,
}

pub(super) struct Story {
    pub(super) task: Task,
    now: Now,
    pub(super) fx: Effects,
    lines: String,
}

/// An essential container `web`, and others, which are not. `web<db` depends on the start of db,
/// `web<db!` on its end, `web<db+` on its success; `migrate` has 10 s for that.
fn definition(names: &[&str]) -> TaskDefinition {
    let container = |spelt: &&str| {
        let (name, awaited) = spelt
            .split_once('<')
            .map_or((*spelt, None), |(a, b)| (a, Some(b)));
        Container {
            name: name.to_owned(),
            image: format!("{name}:1"),
            essential: name == "web",
            depends_on: awaited.map(dependency).into_iter().collect(),
            start_timeout_s: (name == "migrate").then_some(10),
            ..Container::default()
        }
    };
    TaskDefinition {
        family: "shop".to_owned(),
        containers: names.iter().map(container).collect(),
        ..TaskDefinition::default()
    }
}

fn dependency(spelt: &str) -> Dependency {
    let condition = match spelt.chars().next_back() {
        Some('!') => Condition::Complete,
        Some('+') => Condition::Success,
        _ => Condition::Start,
    };
    Dependency {
        container: spelt.trim_end_matches(['!', '+']).to_owned(),
        condition,
    }
}

fn report(last: TaskStatus) -> TaskReport {
    TaskReport {
        definition: Digest([1; 32]),
        family: "shop".into(),
        revision: 1,
        slot: None,
        desired: match last {
            TaskStatus::Stopping | TaskStatus::Stopped => TaskStatus::Stopped,
            _ => TaskStatus::Running,
        },
        last,
        health: Health::Unknown,
        stop_code: None,
        stopped_reason: Box::default(),
        refused: false,
        replaced: false,
        created_at: Wall(0),
        started_at: None,
        stopping_at: None,
        stopped_at: None,
        containers: Box::default(),
    }
}

impl Story {
    pub(super) fn new(origin: Origin, names: &[&str]) -> Self {
        let timings = Timings::default();
        let now = Now {
            mono: Mono(0),
            wall: Wall(1_000),
        };
        let (mut fx, definition) = (Effects::new(), definition(names));
        let task = match origin {
            Origin::New => {
                let report = report(TaskStatus::Provisioning);
                let task = Task::new(TASK, report, definition, &timings);
                task.go(OWNER, &mut fx);
                task
            }
            Origin::Disk(last) => Task::remembered(TASK, report(last), Some(definition), &timings),
            Origin::Labels => {
                Task::remembered(TASK, report(TaskStatus::Provisioning), None, &timings)
            }
        };
        let mut story = Self {
            task,
            now,
            fx,
            lines: String::new(),
        };
        story.note(&format!("{origin:?}"));
        story
    }

    pub(super) fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        let (now, fx) = (self.now, &mut self.fx);
        match words[..] {
            ["created", name] => self.task.on_created(now, name, runtime_id(name), fx),
            ["started", name] => self.task.on_started(now, name, started(name), fx),
            ["exited", name, code] => self.task.on_exited(now, name, exit(code), fx),
            ["failed", name, kind] => self.task.on_failed(now, name, &failure(kind), fx),
            ["stop-failed", name] => self.task.on_stop_failed(now, name),
            ["removed", name] => self.task.on_removed(now, name, fx),
            ["remove-failed", name] => self.task.on_remove_failed(now, name),
            ["stop"] => {
                let code = StopCode::UserInitiated;
                self.task.stop(now, code, "by hand", fx);
            }
            ["definition", ref names @ ..] => {
                let names = if names.is_empty() { &["web"] } else { names };
                let timings = Timings::default();
                self.task
                    .on_definition(now, definition(names), &timings, fx);
            }
            ["compare", ref found @ ..] => {
                self.pass(Timings::default().compare_interval);
                self.compare(found);
            }
            ["again", ref found @ ..] => self.compare(found),
            ["wake"] => self.wake(),
            _ => panic!("what is {step:?}?"),
        }
        self.note(step);
    }

    /// A full comparison: what it found, and that there was nothing else.
    fn compare(&mut self, found: &[&str]) {
        let mut seen = Vec::new();
        for found in found {
            let (name, status) = found.split_once('=').expect("it is name=status");
            seen.push(name);
            self.task
                .on_observed(self.now, observed(name, status), &mut self.fx);
        }
        self.task.on_missing(self.now, &seen, OWNER, &mut self.fx);
    }

    /// Lets the time pass that the task waits for.
    fn wake(&mut self) {
        let at = self.task.deadline().expect("it waits for something");
        self.pass(at.since(self.now.mono));
        self.task.on_wake(self.now, OWNER, &mut self.fx);
    }

    fn pass(&mut self, span: Span) {
        self.now = Now {
            mono: self.now.mono + span,
            wall: Wall(self.now.wall.0 + span.as_ms()),
        };
    }

    fn note(&mut self, step: &str) {
        let asked: Vec<String> = self.fx.drain().map(|effect| told(&effect)).collect();
        let status = self.task.report.last;
        let line = format!("{step:<24} {status:<12} {}", asked.join(", "));
        self.lines += line.trim_end();
        self.lines.push('\n');
    }

    fn end(mut self) -> String {
        let report = &self.task.report;
        if let Some(code) = report.stop_code {
            self.lines += &format!("{code}\n  {}\n", report.stopped_reason);
        }
        for container in &report.containers {
            let code = container
                .exit_code
                .map_or("-".to_owned(), |code| code.to_string());
            let (name, status, reason) = (&container.name, container.status, &container.reason);
            self.lines += format!("{name} {status:?} {code} {reason}").trim_end();
            self.lines.push('\n');
        }
        if let Some(at) = self.task.deadline() {
            self.lines += &format!("wakes in {}\n", at.since(self.now.mono));
        }
        if self.task.is_gone() {
            self.lines += "gone\n";
        }
        self.lines
    }
}

fn told(effect: &Effect) -> String {
    let Effect::Runtime(command) = effect else {
        panic!("{effect:?}")
    };
    match command {
        RuntimeCommand::Create(make) => {
            assert_eq!((make.labels.task, make.labels.host), (TASK, OWNER.host));
            format!("create {}", make.labels.container)
        }
        RuntimeCommand::Start {
            container,
            runtime_id,
            ..
        } => {
            let id = String::from_utf8_lossy(&runtime_id.0);
            format!("start {container} ({})", id.trim_end_matches('\0'))
        }
        RuntimeCommand::Stop {
            container, grace, ..
        } => {
            format!("stop {container} in {} s", grace.as_ms() / 1_000)
        }
        RuntimeCommand::Remove { container, .. } => format!("remove {container}"),
        RuntimeCommand::List => "list".to_owned(),
    }
}

/// Spells `id-` and the container's name.
fn runtime_id(name: &str) -> RuntimeId {
    let mut bytes = [0; 32];
    let spelt = format!("id-{name}");
    bytes[..spelt.len()].copy_from_slice(spelt.as_bytes());
    RuntimeId(bytes)
}

fn started(name: &str) -> Started {
    let runtime_id = runtime_id(name);
    Started {
        runtime_id,
        since: Wall(2_000),
        ports: vec![],
    }
}

fn exit(code: &str) -> Exit {
    let out_of_memory = code == "oom";
    let code = if out_of_memory {
        Some(137)
    } else {
        code.parse().ok()
    };
    Exit {
        code,
        out_of_memory,
        at: Wall(3_000),
    }
}

fn failure(kind: &str) -> RuntimeFailure {
    let (kind, reason) = match kind {
        "transient" => (FailureKind::Transient, "DockerTimeoutError: no answer"),
        "permanent" => (
            FailureKind::Permanent,
            "CannotPullContainerError: no such image",
        ),
        other => panic!("what is {other:?}?"),
    };
    RuntimeFailure {
        kind,
        reason: reason.to_owned(),
    }
}

fn observed(name: &str, status: &str) -> Observed {
    let status = match status {
        "created" => ObservedStatus::Created,
        "running" => ObservedStatus::Running {
            since: Wall(2_000),
            ports: vec![],
        },
        code => ObservedStatus::Exited(exit(code)),
    };
    let labels = Labels {
        cluster: OWNER.cluster.to_owned(),
        host: OWNER.host,
        task: TASK,
        container: name.to_owned(),
        essential: name == "web",
        definition: Digest([1; 32]),
        family: "shop".to_owned(),
        revision: 1,
        slot: None,
    };
    Observed {
        runtime_id: runtime_id(name),
        labels,
        status,
    }
}

/// Plays the script with every step's status; each that was told must be a legal move.
pub(super) fn transcript(origin: Origin, names: &[&str], script: &str) -> String {
    let mut story = Story::new(origin, names);
    for step in script.split(';') {
        let before = story.task.report.last;
        story.step(step.trim());
        let after = story.task.report.last;
        assert!(
            before == after || before.can_become(after),
            "{step}: {before} to {after}"
        );
    }
    story.end()
}
