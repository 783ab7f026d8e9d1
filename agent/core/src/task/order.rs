//! In which order the containers of a task start and stop: ECS's `dependsOn`.

use crate::{
    spec::task_definition::{self, Condition, TaskDefinition},
    task::{
        checkup::Checkup,
        container::{Container, Phase},
        pause::{PAUSE, has_pause},
        runtime::Exit,
        status::Health,
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
    Runs(&'a Checkup),
    Ended(&'a Exit),
}

pub fn readiness(definition: &TaskDefinition, containers: &[Container], name: &str) -> Readiness {
    let mut waits = None;
    for (on, condition) in dependencies(definition, name) {
        let other = containers.iter().find(|c| c.name == on);
        match (condition, other.map_or(Progress::NotStarted, progress)) {
            (Condition::Start, Progress::Runs(_) | Progress::Ended(_))
            | (Condition::Complete, Progress::Ended(_))
            | (Condition::Success, Progress::Ended(Exit { code: Some(0), .. })) => {}
            (Condition::Healthy, Progress::Runs(found)) if found.health == Health::Healthy => {}
            (Condition::Success | Condition::Healthy, Progress::Ended(exit)) => {
                let (awaited, end) = (condition.awaited(), exit.in_words());
                return Readiness::Hopeless(format!(
                    "TaskDependencyError: {name} waits for {on} to {awaited}, which {end}"
                ));
            }
            (Condition::Healthy, Progress::Runs(found)) if found.health == Health::Unhealthy => {
                let detail = &found.detail;
                return Readiness::Hopeless(format!(
                    "TaskDependencyError: {name} waits for {on} to be healthy, which is not: \
                     {detail}"
                ));
            }
            (_, Progress::NotStarted | Progress::Runs(_)) => {
                waits.get_or_insert(format!("waits for {on} to {}", condition.awaited()));
            }
        }
    }
    waits.map_or(Readiness::Ready, Readiness::Waits)
}

/// Whether another container that may still run depends on this one, which has to outlive it.
pub fn is_needed(definition: &TaskDefinition, containers: &[Container], name: &str) -> bool {
    // One that is being made is not started any more.
    let is_made = |other: &Container| !matches!(other.phase, Phase::Waiting | Phase::Creating);
    let may_run = |other: &&Container| !other.is_over() && is_made(other);
    let mut others = containers.iter().filter(may_run);
    others.any(|other| depends(definition, other, name))
}

/// Whether another container has been started that depends on this one.
pub fn is_relied_on(definition: &TaskDefinition, containers: &[Container], name: &str) -> bool {
    let mut started = containers.iter().filter(|c| c.phase >= Phase::Starting);
    started.any(|other| depends(definition, other, name))
}

/// Whether all is there that a container is made with.
pub fn can_be_made(definition: &TaskDefinition, containers: &[Container], name: &str) -> bool {
    let is_made = |phase| phase >= Phase::Created && phase != Phase::Gone;
    sources(definition, containers, name).all(|phase| phase.is_some_and(is_made))
}

/// Whether something that a container is made with is gone for good.
pub fn lacks(definition: &TaskDefinition, containers: &[Container], name: &str) -> bool {
    sources(definition, containers, name).any(|phase| phase == Some(Phase::Gone))
}

/// Where those stand that a container is made with.
fn sources<'a>(
    definition: &'a TaskDefinition,
    containers: &'a [Container],
    name: &str,
) -> impl Iterator<Item = Option<Phase>> {
    let defined = definition.container(name).into_iter();
    let sources = defined.flat_map(task_definition::Container::taken_from);
    sources.map(|of| containers.iter().find(|c| c.name == of).map(|c| c.phase))
}

/// Somebody waits for the end, or the health, of what has a `startTimeout`.
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
            let mut depends = dependencies(definition, &other.name);
            let is_healthy = running.is_some_and(|c| c.liveness.health == Health::Healthy);
            other.phase <= Phase::Created
                && depends.any(|(on, condition)| {
                    let awaited = match condition {
                        Condition::Start => false,
                        Condition::Healthy => !is_healthy,
                        Condition::Complete | Condition::Success => true,
                    };
                    on == one.name && awaited
                })
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
    dependencies(definition, &container.name).any(|(name, _)| name == on)
}

/// Whatever shares a namespace of the task needs the container that holds it.
fn dependencies<'a>(
    definition: &'a TaskDefinition,
    name: &'a str,
) -> impl Iterator<Item = (&'a str, Condition)> {
    let defined = definition.container(name).into_iter();
    let shares = name != PAUSE && has_pause(definition);
    let said = defined.flat_map(task_definition::Container::dependencies);
    said.chain(shares.then_some((PAUSE, Condition::Start)))
}

const fn progress(container: &Container) -> Progress<'_> {
    match container.phase {
        Phase::Unknown | Phase::Waiting | Phase::Creating | Phase::Created | Phase::Starting => {
            Progress::NotStarted
        }
        Phase::Running | Phase::Stopping => Progress::Runs(&container.liveness),
        Phase::Stopped | Phase::Removing | Phase::Gone => match &container.exit {
            Some(exit) => Progress::Ended(exit),
            None => Progress::NotStarted,
        },
    }
}
