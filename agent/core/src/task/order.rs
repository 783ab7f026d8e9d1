//! In which order the containers of a task start and stop: ECS's `dependsOn`.

use crate::{
    spec::task_definition::{self, Condition, Dependency, TaskDefinition},
    task::{
        container::{Container, Phase},
        runtime::Exit,
    },
    time::{Mono, Span},
};

/// Whether a container may be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Not yet, and why.
    Waits(String),
    /// Never, and why.
    Hopeless(String),
}

/// How far a container has come that others wait for.
enum Progress<'a> {
    NotStarted,
    Runs,
    Ended(&'a Exit),
}

pub fn readiness(definition: &TaskDefinition, containers: &[Container], name: &str) -> Readiness {
    let mut waits = None;
    for dependency in dependencies(definition, name) {
        let (on, condition) = (&dependency.container, dependency.condition);
        let other = containers.iter().find(|c| c.name == *on);
        match (condition, other.map_or(Progress::NotStarted, progress)) {
            (Condition::Start, Progress::Runs | Progress::Ended(_))
            | (Condition::Complete, Progress::Ended(_))
            | (Condition::Success, Progress::Ended(Exit { code: Some(0), .. })) => {}
            (Condition::Success, Progress::Ended(exit)) => {
                let end = exit.in_words();
                return Readiness::Hopeless(format!(
                    "TaskDependencyError: {name} waits for {on} to succeed, which {end}"
                ));
            }
            (_, Progress::NotStarted)
            | (Condition::Complete | Condition::Success, Progress::Runs) => {
                waits.get_or_insert(format!("waits for {on} to {}", condition.awaited()));
            }
        }
    }
    waits.map_or(Readiness::Ready, Readiness::Waits)
}

/// Whether another container that may still run depends on this one, which has to outlive it.
pub fn is_needed(definition: &TaskDefinition, containers: &[Container], name: &str) -> bool {
    // One that is being made is not started any more.
    let may_run = |other: &&Container| !other.is_over() && other.phase != Phase::Creating;
    let mut others = containers.iter().filter(may_run);
    others.any(|other| depends(definition, other, name))
}

/// Whether another container has been started that depends on this one.
pub fn is_relied_on(definition: &TaskDefinition, containers: &[Container], name: &str) -> bool {
    let mut started = containers.iter().filter(|c| c.phase >= Phase::Starting);
    started.any(|other| depends(definition, other, name))
}

/// Whether any of its containers waits for another.
pub fn is_ordered(definition: &TaskDefinition) -> bool {
    definition
        .containers
        .iter()
        .any(|c| !c.depends_on.is_empty())
}

/// Somebody waits for the end of what has a `startTimeout`.
#[derive(Debug)]
pub struct Awaited<'a> {
    /// When that is over.
    pub until: Mono,
    name: &'a str,
    by: &'a str,
    limit_s: u32,
}

impl Awaited<'_> {
    /// What is to be said when it is over.
    pub fn reason(&self) -> String {
        let Self {
            name, by, limit_s, ..
        } = self;
        format!(
            "TaskDependencyError: {by} waits for {name}, but its startTimeout of {limit_s} s is \
             over"
        )
    }
}

/// Of those who have a `startTimeout` and are awaited, the one for whom it is over first.
pub fn awaited<'a>(
    definition: &'a TaskDefinition,
    containers: &'a [Container],
) -> Option<Awaited<'a>> {
    let awaited = |one: &'a task_definition::Container| {
        // 0 is no limit, as in ECS.
        let limit_s = one.start_timeout_s.filter(|limit_s| *limit_s != 0)?;
        let running = containers.iter().find(|c| c.name == one.name);
        let since = running.filter(|c| c.phase == Phase::Running)?.started?;
        let waits = |other: &&Container| {
            let mut depends = dependencies(definition, &other.name).iter();
            other.phase <= Phase::Created
                && depends.any(|d| d.container == one.name && d.condition != Condition::Start)
        };
        Some(Awaited {
            until: since + Span::from_secs(u64::from(limit_s)),
            name: &one.name,
            by: &containers.iter().find(waits)?.name,
            limit_s,
        })
    };
    let all = definition.containers.iter().filter_map(awaited);
    all.min_by_key(|awaited| awaited.until)
}

fn depends(definition: &TaskDefinition, container: &Container, on: &str) -> bool {
    let defined = definition.container(&container.name);
    defined.is_some_and(|defined| defined.waits_for(on))
}

fn dependencies<'a>(definition: &'a TaskDefinition, name: &str) -> &'a [Dependency] {
    let defined = definition.container(name);
    defined.map_or(&[], |defined| &defined.depends_on)
}

const fn progress(container: &Container) -> Progress<'_> {
    match container.phase {
        Phase::Unknown | Phase::Creating | Phase::Created | Phase::Starting => Progress::NotStarted,
        Phase::Running | Phase::Stopping => Progress::Runs,
        Phase::Stopped | Phase::Removing | Phase::Gone => match &container.exit {
            Some(exit) => Progress::Ended(exit),
            None => Progress::NotStarted,
        },
    }
}
