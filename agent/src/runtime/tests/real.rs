//! The runtime's contract, held against a real Docker Engine.
//!
//! Needs `HOLDFAST_TEST_DOCKER_IMAGE`, an image of `tests/e2e/workload`; skipped, loudly, without.

use super::{PATIENCE, client, config, connect, create, docker_image, until};
use crate::runtime::{Docker, DockerConfig, labels, translate};
use bollard::{
    Docker as Client,
    models::ContainerCreateBody,
    query_parameters::{
        CreateContainerOptionsBuilder, EventsOptionsBuilder, KillContainerOptionsBuilder,
        ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        StopContainerOptionsBuilder,
    },
};
use futures_util::StreamExt;
use holdfast_core::{
    ids::{RuntimeId, TaskId},
    spec::task_definition::{Container, PortMapping, Protocol},
    task::runtime::{
        CreateContainer, Exit, FailureKind, Labels, Observed, ObservedStatus, PortBinding,
        RuntimeCommand, RuntimeEvent, RuntimeFailure,
    },
    time::{Span, Wall},
};
use std::{
    collections::HashMap,
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{runtime, sync::mpsc, time::timeout};

/// One agent's runtime on a real Docker, in a cluster of its own; removes by id all that is in it.
pub(super) struct Story {
    config: DockerConfig,
    docker: Docker,
    events: mpsc::Receiver<RuntimeEvent>,
    pub(super) client: Client,
    image: String,
    foreign: Vec<String>,
    number: u64,
}

impl Story {
    pub(super) async fn begin() -> Option<Self> {
        let image = docker_image()?;
        static STORIES: AtomicU64 = AtomicU64::new(0);
        let number = STORIES.fetch_add(1, Ordering::Relaxed);
        let cluster = format!("story-{}-{number}", process::id());
        let config = DockerConfig {
            cluster,
            ..config()
        };
        let (docker, events) = connect(&config).await;
        Some(Self {
            config,
            docker,
            events,
            client: client(),
            image,
            foreign: vec![],
            number,
        })
    }

    pub(super) fn create(&self, task: u128, words: &str) -> CreateContainer {
        let base = create(&self.image);
        CreateContainer {
            labels: Labels {
                cluster: self.config.cluster.clone(),
                // Stories run at once, and names are Docker's, not a cluster's.
                task: TaskId(
                    u128::from(process::id()) << 96 | u128::from(self.number) << 64 | task,
                ),
                ..base.labels
            },
            container: Container {
                command: words.split_whitespace().map(str::to_owned).collect(),
                ..base.container
            },
            ..base
        }
    }

    pub(super) async fn created(&mut self, create: &CreateContainer) -> RuntimeId {
        self.docker
            .carry_out(RuntimeCommand::Create(Box::new(create.clone())));
        let made = |event| match event {
            RuntimeEvent::Created { runtime_id, .. } => Ok(runtime_id),
            other => Err(other),
        };
        self.until("Created", made).await
    }

    async fn create_failed(&mut self, create: &CreateContainer) -> RuntimeFailure {
        self.docker
            .carry_out(RuntimeCommand::Create(Box::new(create.clone())));
        let failed = |event| match event {
            RuntimeEvent::CreateFailed { failure, .. } => Ok(failure),
            other => Err(other),
        };
        self.until("CreateFailed", failed).await
    }

    pub(super) async fn started(
        &mut self,
        create: &CreateContainer,
        runtime_id: RuntimeId,
    ) -> Vec<PortBinding> {
        self.start(create, runtime_id);
        let started = |event| match event {
            RuntimeEvent::Started { ports, .. } => Ok(ports),
            other => Err(other),
        };
        self.until("Started", started).await
    }

    async fn running(&mut self, task: u128, words: &str) -> (CreateContainer, RuntimeId) {
        let create = self.create(task, words);
        let runtime_id = self.created(&create).await;
        self.started(&create, runtime_id).await;
        (create, runtime_id)
    }

    /// Waits for its first words: before them it is deaf to signals, as any first process is.
    async fn ready(&self, runtime_id: RuntimeId) {
        let options = LogsOptionsBuilder::new().follow(true).stdout(true).build();
        let mut logs = self.client.logs(&runtime_id.to_string(), Some(options));
        let first = timeout(PATIENCE, logs.next()).await;
        let first = first.expect("it says something").expect("it runs");
        first.expect("Docker keeps its words");
    }

    /// Of this very container: another one's exit may be told twice.
    async fn exited(&mut self, create: &CreateContainer) -> Exit {
        let exited = |event| match event {
            RuntimeEvent::Exited { task, exit, .. } if task == create.labels.task => Ok(exit),
            other => Err(other),
        };
        self.until("Exited", exited).await
    }

    async fn listed(&mut self) -> Vec<Observed> {
        self.docker.carry_out(RuntimeCommand::List);
        let listed = |event| match event {
            RuntimeEvent::Listed(observed) => Ok(observed),
            other => Err(other),
        };
        self.until("Listed", listed).await
    }

    fn start(&self, create: &CreateContainer, runtime_id: RuntimeId) {
        let (task, container) = (create.labels.task, create.labels.container.clone());
        self.docker.carry_out(RuntimeCommand::Start {
            task,
            container,
            runtime_id,
        });
    }

    fn stop(&self, create: &CreateContainer, runtime_id: RuntimeId, grace: Span) {
        let (task, container) = (create.labels.task, create.labels.container.clone());
        self.docker.carry_out(RuntimeCommand::Stop {
            task,
            container,
            runtime_id,
            grace,
        });
    }

    fn remove(&self, create: &CreateContainer, runtime_id: RuntimeId) {
        let (task, container) = (create.labels.task, create.labels.container.clone());
        self.docker.carry_out(RuntimeCommand::Remove {
            task,
            container,
            runtime_id,
        });
    }

    async fn foreign(&mut self, name: &str) -> RuntimeId {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let body = ContainerCreateBody {
            image: Some(self.image.clone()),
            ..ContainerCreateBody::default()
        };
        let made = self.client.create_container(Some(options), body).await;
        let id = made.expect("Docker makes a container").id;
        let runtime_id = id.parse().expect("Docker's ids are ids");
        self.foreign.push(id);
        runtime_id
    }

    /// What happened to networks until now: the action and the container.
    async fn network_events(&self, since: SystemTime) -> Vec<(String, RuntimeId)> {
        let seconds = |at: SystemTime| {
            let at = at.duration_since(UNIX_EPOCH).expect("after 1970");
            format!("{}.{:09}", at.as_secs(), at.subsec_nanos())
        };
        let options = EventsOptionsBuilder::new()
            .since(&seconds(since))
            .until(&seconds(SystemTime::now()))
            .filters(&HashMap::from([("type", vec!["network"])]))
            .build();
        let events = self.client.events(Some(options));
        let told = events.map(|event| {
            let event = event.expect("Docker tells its events");
            let attributes = event.actor.and_then(|actor| actor.attributes);
            let container = attributes.and_then(|mut map| map.remove("container"));
            let id = container.unwrap_or_default().parse().ok()?;
            Some((event.action.unwrap_or_default(), id))
        });
        told.filter_map(async |event| event).collect().await
    }

    /// Awaits the event that is looked for; others (duplicates are harmless) pass.
    async fn until<T>(
        &mut self,
        what: &str,
        look: impl Fn(RuntimeEvent) -> Result<T, RuntimeEvent>,
    ) -> T {
        until(&mut self.events, what, look).await
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let (client, cluster) = (self.client.clone(), self.config.cluster.clone());
        let mut ids = std::mem::take(&mut self.foreign);
        let cleaner = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                let label = vec![format!("{}={cluster}", labels::CLUSTER)];
                let options = ListContainersOptionsBuilder::new()
                    .all(true)
                    .filters(&HashMap::from([("label", label)]))
                    .build();
                let listed = client
                    .list_containers(Some(options))
                    .await
                    .unwrap_or_default();
                ids.extend(listed.into_iter().filter_map(|container| container.id));
                for id in ids {
                    let force = RemoveContainerOptionsBuilder::new()
                        .force(true)
                        .v(true)
                        .build();
                    if let Err(err) = client.remove_container(&id, Some(force)).await {
                        eprintln!("cannot clean up {id}: {err}");
                    }
                }
            });
        });
        if cleaner.join().is_err() {
            eprintln!("cannot clean up cluster {}", self.config.cluster);
        }
    }
}

#[tokio::test]
async fn a_container_runs_ends_and_says_how() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let create = story.create(1, "exit 42");
    let id = story.created(&create).await;
    assert_eq!(
        story.created(&create).await,
        id,
        "making it again answers with the same one"
    );
    assert_eq!(story.started(&create, id).await, []);
    let exit = story.exited(&create).await;
    assert_eq!((exit.code, exit.out_of_memory), (Some(42), false));
    assert!(exit.at > Wall(1_600_000_000_000), "{exit:?}");
    story.started(&create, id).await;
    assert_eq!(
        story.exited(&create).await.code,
        Some(42),
        "a task runs once, and isn't run again"
    );
    story.remove(&create, id);
    story.until("Removed", removed).await;
    story.remove(&create, id);
    story.until("Removed", removed).await;
}

fn removed(event: RuntimeEvent) -> Result<(), RuntimeEvent> {
    match event {
        RuntimeEvent::Removed { .. } => Ok(()),
        other => Err(other),
    }
}

#[tokio::test]
async fn a_stop_asks_then_kills_and_is_content_with_what_is_gone() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let (polite, id) = story.running(1, "run").await;
    story.ready(id).await;
    story.stop(&polite, id, Span::from_secs(30));
    assert_eq!(story.exited(&polite).await.code, Some(0));
    story.stop(&polite, id, Span::from_secs(30));
    assert_eq!(story.exited(&polite).await.code, Some(0), "stopped already");

    let (stubborn, id) = story.running(2, "ignore-term").await;
    story.ready(id).await;
    let since = Instant::now();
    story.stop(&stubborn, id, Span::from_secs(1));
    assert_eq!(story.exited(&stubborn).await.code, Some(137));
    assert!(since.elapsed() >= Duration::from_secs(1));

    let never = story.create(3, "exit 0");
    let id = story.created(&never).await;
    story.stop(&never, id, Span::from_secs(1));
    assert_eq!(story.exited(&never).await.code, None, "it never ran");

    story.stop(&never, RuntimeId([0; 32]), Span::from_secs(1));
    assert_eq!(story.exited(&never).await.code, None, "gone");
}

#[tokio::test]
async fn a_container_killed_by_hand_is_told_at_once() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let (create, id) = story.running(1, "run").await;
    let kill = KillContainerOptionsBuilder::new().signal("KILL").build();
    story
        .client
        .kill_container(&id.to_string(), Some(kill))
        .await
        .expect("it runs");
    assert_eq!(story.exited(&create).await.code, Some(137));
    let force = RemoveContainerOptionsBuilder::new().force(true).build();
    story
        .client
        .remove_container(&id.to_string(), Some(force))
        .await
        .expect("it is there");
    story.until("Removed", removed).await;
}

/// Docker tells of a death before it takes down the network; a start beside that is slow.
#[tokio::test]
async fn a_start_right_after_a_death_waits_until_docker_has_cleared_up() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    for round in 0..3 {
        let (old, old_id) = story.running(round * 2, "run").await;
        let new = story.create(round * 2 + 1, "run");
        let new_id = story.created(&new).await;
        let since = SystemTime::now();
        story.stop(&old, old_id, Span::ZERO);
        story.exited(&old).await;
        story.started(&new, new_id).await;
        let told = story.network_events(since).await;
        let order: Vec<(&str, bool)> = told
            .iter()
            .filter(|(_, id)| [old_id, new_id].contains(id))
            .map(|(action, id)| (action.as_str(), *id == new_id))
            .collect();
        assert_eq!(order, [("disconnect", false), ("connect", true)]);
    }
}

#[tokio::test]
async fn a_container_that_needs_too_much_memory_says_so() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mut create = story.create(1, "hoard");
    create.container.memory_mib = 8;
    let id = story.created(&create).await;
    story.start(&create, id);
    let exit = story.exited(&create).await;
    assert_eq!(exit.code, Some(137));
    // A busy Docker 20.10 may learn of it too late for its own inspection, or never.
    let inspected = story.client.inspect_container(&id.to_string(), None).await;
    let state = inspected.expect("it is there").state.unwrap_or_default();
    if state.oom_killed == Some(true) && !exit.out_of_memory {
        assert!(story.exited(&create).await.out_of_memory, "told once more");
    }
}

#[tokio::test]
async fn ports_are_told_and_a_port_in_use_is_permanent() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mapping = |host_port| PortMapping {
        container_port: 80,
        host_port,
        protocol: Protocol::Tcp,
    };
    let mut first = story.create(1, "run");
    first.container.ports = vec![mapping(0)];
    let id = story.created(&first).await;
    let ports = story.started(&first, id).await;
    let [port] = ports[..] else {
        panic!("{ports:?}")
    };
    assert_eq!((port.container_port, port.protocol), (80, Protocol::Tcp));
    assert_eq!(
        story.started(&first, id).await,
        ports,
        "starting again tells the same"
    );

    let mut second = story.create(2, "run");
    second.container.ports = vec![mapping(port.host_port)];
    let id = story.created(&second).await;
    story.start(&second, id);
    let failed = |event| match event {
        RuntimeEvent::StartFailed { failure, .. } => Ok(failure),
        other => Err(other),
    };
    let failure = story.until("StartFailed", failed).await;
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure:?}");
    assert!(
        failure.reason.starts_with("CannotStartContainerError: "),
        "{failure:?}"
    );
    assert!(
        failure.reason.contains("port is already allocated"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_made_says_why_for_good() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mut missing = story.create(1, "exit 0");
    missing.container.image = "holdfast-no-such-image:none".to_owned();
    let failure = story.create_failed(&missing).await;
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (
            FailureKind::Permanent,
            "CannotPullContainerError: no such image: holdfast-no-such-image:none; \
             pulling is switched off on this host"
        )
    );

    let mut no_command = story.create(2, "run");
    no_command.container.entry_point = vec!["/no/such/command".to_owned()];
    let id = story.created(&no_command).await;
    story.start(&no_command, id);
    let failed = |event| match event {
        RuntimeEvent::StartFailed { failure, .. } => Ok(failure),
        other => Err(other),
    };
    let failure = story.until("StartFailed", failed).await;
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure:?}");
}

#[tokio::test]
async fn a_pull_that_fails_is_told_in_ecs_words() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    story.config.pull = true;
    (story.docker, story.events) = connect(&story.config.clone()).await;
    let mut missing = story.create(1, "exit 0");
    // Port 1 of this very host: no registry, and no network is needed to find that out.
    missing.container.image = "localhost:1/holdfast/none:none".to_owned();
    let failure = story.create_failed(&missing).await;
    assert!(
        failure.reason.starts_with("CannotPullContainerError: "),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_foreign_container_is_never_touched() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let create = story.create(1, "exit 0");
    let name = labels::container_name(&create.labels);
    let foreign = story.foreign(&name).await;
    let failure = story.create_failed(&create).await;
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure:?}");
    assert!(
        failure.reason.contains(&foreign.short()),
        "it names the foreign one: {failure:?}"
    );
    assert_eq!(story.listed().await, []);

    story.remove(&create, foreign);
    let failed = |event| match event {
        RuntimeEvent::RemoveFailed { failure, .. } => Ok(failure),
        other => Err(other),
    };
    let failure = story.until("RemoveFailed", failed).await;
    assert!(failure.reason.contains("is left alone"), "{failure:?}");
    story
        .client
        .inspect_container(&foreign.to_string(), None)
        .await
        .expect("it is still there");
}

#[tokio::test]
async fn a_restarted_agent_finds_all_its_containers() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let created = story.create(1, "exit 0");
    story.created(&created).await;
    let (running, _) = story.running(2, "ignore-term").await;
    let (exited, _) = story.running(3, "exit 5").await;
    story.exited(&exited).await;
    let before = story.listed().await;

    (story.docker, story.events) = connect(&story.config.clone()).await;
    let mut after = story.listed().await;
    after.sort_by_key(|observed| observed.labels.task);
    let labels: Vec<_> = after.iter().map(|observed| &observed.labels).collect();
    assert_eq!(labels, [&created.labels, &running.labels, &exited.labels]);
    assert_eq!(after[0].status, ObservedStatus::Created);
    assert!(
        matches!(after[1].status, ObservedStatus::Running { .. }),
        "{after:?}"
    );
    assert!(
        matches!(
            after[2].status,
            ObservedStatus::Exited(Exit { code: Some(5), .. })
        ),
        "{after:?}"
    );
    assert_eq!(before.len(), after.len());

    let id = after[1].runtime_id;
    story.stop(&running, id, Span::ZERO);
    assert_eq!(
        story.exited(&running).await.code,
        Some(137),
        "what was found can be stopped"
    );
}

#[tokio::test]
async fn starting_costs_little_more_than_the_raw_calls() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    const ROUNDS: u128 = 10;
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let create = story.create(round, "run");
        let since = Instant::now();
        let id = story.created(&create).await;
        story.started(&create, id).await;
        ours.push(since.elapsed());
        story.stop(&create, id, Span::ZERO);
        story.exited(&create).await;

        let body = translate::translate(&create, Span::ZERO).expect("it has no mounts");
        let body = ContainerCreateBody {
            labels: None,
            ..body
        };
        let since = Instant::now();
        let made = story.client.create_container(None, body).await;
        let id = made.expect("Docker makes a container").id;
        story.foreign.push(id.clone());
        story
            .client
            .start_container(&id, None)
            .await
            .expect("it starts");
        raw.push(since.elapsed());
        // Stopped in the same way, so that both begin in the same calm.
        let now = StopContainerOptionsBuilder::new().t(0).build();
        let stopped = story.client.stop_container(&id, Some(now)).await;
        stopped.expect("it runs");
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    // Printed, not judged: a time on a loaded machine is luck.
    eprintln!(
        "create + start: ours {:?}, raw {:?}",
        median(&mut ours),
        median(&mut raw)
    );
}
