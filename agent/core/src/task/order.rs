//! In which order the containers of a task start and stop: ECS's `dependsOn`.

use crate::{
    spec::task_definition::{self, Condition, Dependency, TaskDefinition},
    task::container::{Container, Phase},
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
enum Progress {
    NotStarted,
    Runs,
    /// With this code, where it is known.
    Ended(Option<i32>),
}

pub fn readiness(definition: &TaskDefinition, containers: &[Container], name: &str) -> Readiness {
    let mut waits = None;
    for dependency in dependencies(definition, name) {
        let (on, condition) = (&dependency.container, dependency.condition);
        let other = containers.iter().find(|c| c.name == *on);
        match (condition, other.map_or(Progress::NotStarted, progress)) {
            (Condition::Start, Progress::Runs | Progress::Ended(_))
            | (Condition::Complete, Progress::Ended(_))
            | (Condition::Success, Progress::Ended(Some(0))) => {}
            (Condition::Success, Progress::Ended(code)) => {
                let end = code.map_or("is gone".to_owned(), |code| format!("exited with {code}"));
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

/// When somebody will have waited for too long for the end of what has a `startTimeout`, and what
/// is to be said then; the first.
pub fn overdue(definition: &TaskDefinition, containers: &[Container]) -> Option<(Mono, String)> {
    let awaited = |one: &task_definition::Container| {
        // 0 is no limit, as in ECS.
        let limit_s = one.start_timeout_s.filter(|limit_s| *limit_s != 0)?;
        let running = containers.iter().find(|c| c.name == one.name);
        let since = running.filter(|c| c.phase == Phase::Running)?.started?;
        let waits = |other: &&Container| {
            let mut depends = dependencies(definition, &other.name).iter();
            other.phase <= Phase::Created
                && depends.any(|d| d.container == one.name && d.condition != Condition::Start)
        };
        let waiting = containers.iter().find(waits)?;
        let reason = format!(
            "TaskDependencyError: {} waits for {}, but its startTimeout of {limit_s} s is over",
            waiting.name, one.name
        );
        Some((since + Span::from_secs(u64::from(limit_s)), reason))
    };
    let all = definition.containers.iter().filter_map(awaited);
    all.min_by_key(|(at, _)| *at)
}

fn depends(definition: &TaskDefinition, container: &Container, on: &str) -> bool {
    let mut dependencies = dependencies(definition, &container.name).iter();
    dependencies.any(|dependency| dependency.container == on)
}

fn dependencies<'a>(definition: &'a TaskDefinition, name: &str) -> &'a [Dependency] {
    let defined = definition.containers.iter().find(|c| c.name == name);
    defined.map_or(&[], |defined| &defined.depends_on)
}

const fn progress(container: &Container) -> Progress {
    match container.phase {
        Phase::Unknown | Phase::Creating | Phase::Created | Phase::Starting => Progress::NotStarted,
        Phase::Running | Phase::Stopping => Progress::Runs,
        Phase::Stopped | Phase::Removing | Phase::Gone => match &container.exit {
            Some(exit) => Progress::Ended(exit.code),
            None => Progress::NotStarted,
        },
    }
}
