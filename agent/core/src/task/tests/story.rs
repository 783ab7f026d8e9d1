//! How a story of one task is told: its steps, the status after each, and what was asked for.

use crate::{
    cluster::body::TaskReport,
    effect::{Effect, Effects},
    ids::{Digest, HostId, ImageDigest, RuntimeId, TaskId},
    spec::{
        health::{HealthCheck, NetProbe, Probe},
        task_definition::{Condition, Container, Dependency, Link, RestartPolicy, TaskDefinition},
    },
    task::{
        checkup::CheckKind,
        machine::{Defined, Owner, Started, Task},
        pause::PAUSE,
        runtime::{
            Exit, FailureKind, Labels, Observed, ObservedStatus, RuntimeCommand, RuntimeFailure,
        },
        status::{Health, StopCode, TaskStatus},
    },
    time::{Mono, Now, Span, Wall},
    timings::Timings,
};

const TASK: TaskId = TaskId(7);
const HOST: HostId = HostId(1);
pub(super) const PINNED: ImageDigest = ImageDigest([0xab; 32]);

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
/// `web<db!` on its end, `web<db+` on its success, `web<db*` on its health; `migrate` has 10 s for
/// that. `again` is run again when it ends after 10 s, but not with 3. `db` is checked by the
/// runtime, `api` by us: every second whether it lives, every two seconds whether it is ready.
/// `late` is out of use for 5 s before it is stopped, and `linked` has a link to `db`.
fn definition(names: &[&str]) -> TaskDefinition {
    let container = |spelt: &&str| {
        let (name, awaited) = spelt
            .split_once('<')
            .map_or((*spelt, None), |(a, b)| (a, Some(b)));
        Container {
            name: name.to_owned(),
            image: format!("{name}:1"),
            essential: ["web", "late", "api"].contains(&name),
            depends_on: awaited.map(dependency).into_iter().collect(),
            start_timeout_s: (name == "migrate").then_some(10),
            health_check: match name {
                "db" => Some(check(
                    1,
                    Probe::Command {
                        shell: true,
                        words: vec![],
                    },
                )),
                "api" => Some(check(1, probe())),
                _ => None,
            },
            readiness_check: (name == "api").then(|| check(2, probe())),
            restart: (name == "again").then(|| RestartPolicy {
                enabled: true,
                ignored_exit_codes: vec![3],
                attempt_period_s: Some(10),
            }),
            deregistration_delay_s: (name == "late").then_some(5),
            links: (name == "linked")
                .then(|| Link {
                    container: "db".to_owned(),
                    alias: None,
                })
                .into_iter()
                .collect(),
            ..Container::default()
        }
    };
    TaskDefinition {
        family: "shop".to_owned(),
        containers: names.iter().map(container).collect(),
        ..TaskDefinition::default()
    }
}

fn probe() -> Probe {
    Probe::Net(NetProbe {
        port: 80,
        path: None,
    })
}

fn check(interval_s: u32, probe: Probe) -> HealthCheck {
    HealthCheck {
        probe,
        interval_s,
        timeout_s: 1,
        retries: 1,
        start_period_s: None,
    }
}

fn dependency(spelt: &str) -> Dependency {
    let condition = match spelt.chars().next_back() {
        Some('!') => Condition::Complete,
        Some('+') => Condition::Success,
        Some('*') => Condition::Healthy,
        _ => Condition::Start,
    };
    Dependency {
        container: spelt.trim_end_matches(['!', '+', '*']).to_owned(),
        condition,
    }
}

fn report(last: TaskStatus) -> TaskReport {
    TaskReport {
        definition: Digest([1; 32]),
        family: "shop".into(),
        revision: 1,
        renewals: 0,
        values: Box::default(),
        slot: None,
        desired: match last {
            TaskStatus::Stopping | TaskStatus::Stopped => TaskStatus::Stopped,
            _ => TaskStatus::Running,
        },
        last,
        health: Health::Unknown,
        ready: false,
        stop_code: None,
        stopped_reason: Box::default(),
        refused: false,
        replaced: false,
        protected_until: None,
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
        let owner = Owner {
            cluster: "test".into(),
            host: HOST,
        };
        let task = match origin {
            Origin::New => {
                let report = report(TaskStatus::Provisioning);
                // Of the containers that are pinned it is settled what their images are.
                let pinned = |c: &&Container| c.name.starts_with("pinned");
                let pinned = definition.containers.iter().filter(pinned);
                let images = pinned.map(|c| (c.name.as_str().into(), PINNED)).collect();
                let defined = Defined {
                    definition,
                    images,
                    gpus: vec![],
                };
                let mut task = Task::new(TASK, report, defined, owner, &timings);
                task.go(now, &mut fx);
                task
            }
            Origin::Disk(last) => {
                Task::remembered(TASK, report(last), Some(definition), owner, &timings)
            }
            Origin::Labels => {
                let report = report(TaskStatus::Provisioning);
                Task::remembered(TASK, report, None, owner, &timings)
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
            ["pulls", name, ref how_far @ ..] => {
                let progress = format!("pulls {name}:1: {}", how_far.join(" "));
                self.task.on_pulling(now, name, progress);
            }
            ["created", name, "of-pinned"] => {
                let made = (runtime_id(name), Some(PINNED));
                self.task.on_created(now, name, made, fx);
            }
            ["created", name] => self
                .task
                .on_created(now, name, (runtime_id(name), None), fx),
            ["started", name] => self.task.on_started(now, name, started(name), fx),
            ["exited", name, code, at] => {
                let at = Wall(at.parse().expect("it is a time"));
                self.task
                    .on_exited(now, name, Exit { at, ..exit(code) }, fx);
            }
            ["health", name, health] => {
                let found = (health_of(health), "ill".to_owned());
                self.task.on_health(now, name, found, fx);
            }
            ["lives", name, answer] => {
                let kind = CheckKind::Liveness;
                self.task.on_checked(now, name, kind, answer_of(answer), fx);
            }
            ["ready", name, answer] => {
                let kind = CheckKind::Readiness;
                self.task.on_checked(now, name, kind, answer_of(answer), fx);
            }
            ["words", name, text] => self.task.on_last_words(now, name, text),
            ["pass", seconds] => {
                let seconds = seconds.parse().expect("it is a number");
                self.pass(Span::from_secs(seconds));
            }
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
        self.task.on_missing(self.now, &seen, &mut self.fx);
    }

    /// Lets the time pass that the task waits for.
    fn wake(&mut self) {
        let at = self.task.deadline().expect("it waits for something");
        self.pass(at.since(self.now.mono));
        self.task.on_wake(self.now, &mut self.fx);
    }

    fn pass(&mut self, span: Span) {
        self.now = Now {
            mono: self.now.mono + span,
            wall: Wall(self.now.wall.0 + span.as_ms()),
        };
    }

    fn note(&mut self, step: &str) {
        let asked: Vec<String> = self.fx.drain().map(|effect| told(&effect)).collect();
        let (status, report) = (self.task.report.last, &self.task.report);
        let health = match (report.health, report.ready) {
            (Health::Unknown, _) => "",
            (Health::Healthy, true) => "(healthy) ",
            (Health::Healthy, false) => "(healthy, not ready) ",
            (Health::Unhealthy, _) => "(unhealthy) ",
        };
        let line = format!("{step:<24} {status:<12} {health}{}", asked.join(", "));
        self.lines += line.trim_end();
        self.lines.push('\n');
    }

    /// A line for each step, and one before them.
    pub(super) fn lines(&self) -> &str {
        &self.lines
    }

    fn end(mut self) -> String {
        let report = &self.task.report;
        if let Some(code) = report.stop_code {
            let reason = report.stopped_reason.replace("; ", ";\n  ");
            self.lines += &format!("{code}\n  {reason}\n");
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
            assert_eq!((make.labels.task, make.labels.host), (TASK, HOST));
            let container = &make.container;
            let usual = format!("{}:1", container.name);
            match container.image == usual || container.name == PAUSE {
                true => format!("create {}", container.name),
                false => {
                    let image = container.image.replace(&PINNED.to_string(), "PINNED");
                    format!("create {} of {image}", container.name)
                }
            }
        }
        RuntimeCommand::Start {
            container,
            runtime_id,
            after,
            ..
        } => {
            let id = String::from_utf8_lossy(&runtime_id.0);
            let again = if after.is_some() { " again" } else { "" };
            format!("start {container} ({}){again}", id.trim_end_matches('\0'))
        }
        RuntimeCommand::ReadLog { container, .. } => format!("read the log of {container}"),
        RuntimeCommand::Check {
            container, kind, ..
        } => format!("ask {container} {kind:?}"),
        RuntimeCommand::Stop {
            container, grace, ..
        } => {
            format!("stop {container} in {} s", grace.as_ms() / 1_000)
        }
        RuntimeCommand::Remove { container, .. } => format!("remove {container}"),
        RuntimeCommand::Pull { image } => format!("pull {image}"),
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

fn health_of(word: &str) -> Health {
    match word {
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        other => panic!("what is {other:?}?"),
    }
}

fn answer_of(word: &str) -> Result<(), String> {
    match word {
        "yes" => Ok(()),
        _ => Err("connection refused".to_owned()),
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
            health: Health::Unknown,
        },
        code => {
            let (code, at) = code.split_once('@').unwrap_or((code, "3000"));
            let at = Wall(at.parse().expect("it is a time"));
            ObservedStatus::Exited(Exit { at, ..exit(code) })
        }
    };
    let labels = Labels {
        cluster: "test".to_owned(),
        host: HOST,
        task: TASK,
        container: name.to_owned(),
        essential: name == "web",
        definition: Digest([1; 32]),
        family: "shop".to_owned(),
        revision: 1,
        renewals: 0,
        slot: None,
        gpus: Box::default(),
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
