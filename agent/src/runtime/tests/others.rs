//! What others do to our containers behind our back, on a real engine, and what becomes of it.

use super::{PATIENCE, story::Story};
use crate::runtime::{docker::asked, labels::container_name, timestamp};
use bollard::query_parameters::{
    RenameContainerOptionsBuilder, RestartContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use holdfast_core::{
    cluster::body::{ServiceRevision, TaskReport},
    effect::{Effect, Effects},
    ids::{RuntimeId, TaskId},
    spec::task_definition::TaskDefinition,
    task::{
        machine::Defined,
        roster::Roster,
        runtime::{CreateContainer, Observed, ObservedStatus, RuntimeEvent},
        status::TaskStatus,
    },
    time::{Mono, Now, Span},
    timings::Timings,
};
use std::{collections::BTreeMap, time::Instant};

/// As the engine itself sees it.
async fn runs(story: &Story, id: RuntimeId) -> bool {
    let id = id.to_string();
    let found = asked(PATIENCE, || story.client.inspect_container(&id, None)).await;
    let state = found.expect("it is there").state.unwrap_or_default();
    state.running == Some(true)
}

fn one_runs(listed: &[Observed]) -> bool {
    let [one] = listed else {
        panic!("{listed:?}");
    };
    matches!(one.status, ObservedStatus::Running { .. })
}

async fn stop_by_hand(story: &Story, id: RuntimeId) {
    let (id, options) = (id.to_string(), StopContainerOptionsBuilder::new().t(30));
    let stopped = story.client.stop_container(&id, Some(options.build()));
    stopped.await.expect("it runs");
}

async fn restart_by_hand(story: &Story, id: RuntimeId) {
    let (id, options) = (id.to_string(), RestartContainerOptionsBuilder::new().t(30));
    let restarted = story.client.restart_container(&id, Some(options.build()));
    restarted.await.expect("it runs");
}

#[tokio::test]
async fn a_stop_by_hand_is_an_end() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let (create, id) = story.running(1, "run").await;
    story.ready(id).await;
    stop_by_hand(&story, id).await;
    assert_eq!(story.exited(&create).await.code, Some(0));
    assert!(!one_runs(&story.listed().await));
}

#[tokio::test]
async fn a_restart_by_hand_is_an_end_and_what_runs_again_can_be_stopped() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let (create, id) = story.running(1, "run").await;
    story.ready(id).await;
    restart_by_hand(&story, id).await;
    assert_eq!(story.exited(&create).await.code, Some(0));
    assert!(runs(&story, id).await);
    story.remove(&create, id);
    let failure = story.failures(1).await.remove(0);
    assert!(
        failure.starts_with("Transient CannotRemoveContainerError: "),
        "{failure}"
    );
    assert!(one_runs(&story.listed().await), "the comparison says so");
    story.stop(&create, id, Span::from_secs(30));
    story.exited(&create).await;
    assert!(!runs(&story, id).await);
    story.remove(&create, id);
    story.removed(&create).await;
}

/// The core's tasks, which ask the engine, and are told.
struct Core {
    story: Story,
    roster: Roster,
    fx: Effects,
    since: Instant,
}

impl Core {
    fn start(story: Story, create: &CreateContainer) -> Self {
        let config = &story.config;
        let (cluster, host) = (config.cluster.clone(), config.host);
        let mut core = Self {
            roster: Roster::new(&cluster, host, Timings::default()),
            story,
            fx: Effects::new(),
            since: Instant::now(),
        };
        let revision = ServiceRevision {
            definition: create.labels.definition,
            family: create.labels.family.clone(),
            revision: create.labels.revision,
            renewals: 0,
        };
        let definition = TaskDefinition {
            family: create.labels.family.clone(),
            containers: vec![create.container.clone()],
            ..TaskDefinition::default()
        };
        let now = core.now();
        let report = TaskReport::begin(revision, None, now.wall);
        let (roster, fx) = (&mut core.roster, &mut core.fx);
        let defined = Defined {
            definition,
            images: BTreeMap::new(),
            gpus: vec![],
        };
        roster.start(now, create.labels.task, report, defined, fx);
        core
    }

    fn now(&self) -> Now {
        Now {
            mono: Mono(self.since.elapsed().as_micros() as u64),
            wall: timestamp::now(),
        }
    }

    /// Gives its commands, and tells it the next event.
    async fn step(&mut self) -> RuntimeEvent {
        for effect in self.fx.drain() {
            if let Effect::Runtime(command) = effect {
                self.story.docker.carry_out(command);
            }
        }
        let event = self.story.until("anything", Ok).await;
        let now = self.now();
        self.roster.on_runtime(now, event.clone(), &mut self.fx);
        event
    }

    async fn reaches(&mut self, task: TaskId, status: TaskStatus) {
        while self.roster.get(task).expect("it is known").report.last != status {
            self.step().await;
        }
    }
}

/// A task runs once. What somebody runs again belongs to a task that has ended, and would run
/// beside its successor for ever.
#[tokio::test]
async fn what_was_restarted_by_hand_is_stopped_by_the_next_comparison() {
    let Some(story) = Story::begin().await else {
        return;
    };
    let create = story.create(1, "run");
    let task = create.labels.task;
    let mut core = Core::start(story, &create);
    core.reaches(task, TaskStatus::Running).await;
    let report = &core.roster.get(task).expect("it is known").report;
    let id = report.containers[0].runtime_id.expect("it runs");
    core.story.ready(id).await;
    restart_by_hand(&core.story, id).await;
    core.reaches(task, TaskStatus::Stopped).await;
    assert!(runs(&core.story, id).await);
    // As the agent does every half a minute.
    core.story.list();
    while !matches!(core.step().await, RuntimeEvent::Listed(_)) {}
    while !matches!(core.step().await, RuntimeEvent::Exited { .. }) {}
    assert!(!runs(&core.story, id).await);
}

/// It is no longer called what we called it: whoever did that has taken it over.
#[tokio::test]
async fn a_container_that_was_renamed_is_left_alone() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let (create, id) = story.running(1, "run").await;
    let name = format!("{}-kept", container_name(&create.labels));
    let options = RenameContainerOptionsBuilder::new().name(&name).build();
    let renamed = story
        .client
        .rename_container(&id.to_string(), options)
        .await;
    renamed.expect("the name is free");
    assert_eq!(story.listed().await, []);
    story.stop(&create, id, Span::ZERO);
    let failure = story.failures(1).await.remove(0);
    assert!(
        failure.starts_with("Permanent CannotStopContainerError: ")
            && failure.contains(" is left alone: it is called ")
            && failure.ends_with(": it is a copy, or was renamed"),
        "{failure}"
    );
    assert!(runs(&story, id).await);
}

#[tokio::test]
async fn a_container_that_was_paused_runs_and_can_be_stopped() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let (create, id) = story.running(1, "run").await;
    story.ready(id).await;
    let paused = story.client.pause_container(&id.to_string()).await;
    paused.expect("it runs");
    assert!(one_runs(&story.listed().await));
    story.restart().await;
    assert!(one_runs(&story.listed().await));
    // Podman refuses the first one.
    let ended = |event| match event {
        RuntimeEvent::Exited { .. } => Ok(true),
        RuntimeEvent::StopFailed { .. } => Ok(false),
        other => Err(other),
    };
    story.stop(&create, id, Span::from_secs(1));
    if !story.until("an answer", ended).await {
        story.stop(&create, id, Span::from_secs(1));
        story.exited(&create).await;
    }
    assert!(!runs(&story, id).await);
}
