//! A story on a real engine: one agent's runtime, what it is asked for, and what it tells.

use super::{
    PATIENCE, clean_up, client, config, connect, create, docker_image, docker_socket, first_words,
    proxy::Proxy, remove, unavailable, until,
};
use crate::runtime::{Docker, DockerConfig, docker::asked, gpus::is_podman, labels};
use bollard::{
    Docker as Client,
    models::ContainerCreateBody,
    query_parameters::{
        CreateContainerOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions,
        KillContainerOptionsBuilder, ListContainersOptionsBuilder, ListVolumesOptions,
        RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    },
};
use futures_util::StreamExt;
use holdfast_core::{
    ids::{ImageDigest, RuntimeId, TaskId},
    spec::task_definition::Container,
    task::runtime::{
        CreateContainer, Exit, Labels, Observed, PortBinding, RuntimeCommand, RuntimeEvent,
        RuntimeFailure,
    },
    time::{Span, Wall},
};
use std::{
    collections::HashMap,
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::mpsc,
    time::{interval, timeout},
};

/// What an engine on a busy machine needs, and a test can wait for.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

/// One agent's runtime on a real Docker, in a cluster of its own; removes by id all that is in it.
pub(super) struct Story {
    pub(super) config: DockerConfig,
    pub(super) docker: Docker,
    pub(super) events: mpsc::Receiver<RuntimeEvent>,
    pub(super) client: Client,
    pub(super) image: String,
    pub(super) foreign: Vec<String>,
    number: u64,
}

impl Story {
    pub(super) async fn begin() -> Option<Self> {
        Self::with(config()).await
    }

    /// Between the agent and the engine there is a proxy, and no call may take long.
    pub(super) async fn behind_proxy() -> Option<(Self, Proxy)> {
        docker_image()?;
        let proxy = Proxy::start(docker_socket());
        let config = DockerConfig {
            socket: proxy.socket.clone(),
            call_timeout: CALL_TIMEOUT,
            ..config()
        };
        Some((Self::with(config).await?, proxy))
    }

    pub(super) async fn with(config: DockerConfig) -> Option<Self> {
        let image = docker_image()?;
        static STORIES: AtomicU64 = AtomicU64::new(0);
        let number = STORIES.fetch_add(1, Ordering::Relaxed);
        let cluster = format!("story-{}-{number}", process::id());
        let config = DockerConfig { cluster, ..config };
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

    /// For what Podman does otherwise, and why that is not our doing.
    pub(super) async fn skips_podman(&self, why: &str) -> bool {
        let is_podman = self.is_podman().await;
        if is_podman {
            eprintln!("SKIPPED on Podman: {why}");
        }
        is_podman
    }

    pub(super) async fn is_podman(&self) -> bool {
        let version = self.client.version().await.expect("the engine answers");
        is_podman(&version)
    }

    /// As an agent that was restarted: it knows nothing of its containers.
    pub(super) async fn restart(&mut self) {
        (self.docker, self.events) = connect(&self.config).await;
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
        self.created_of(create).await.0
    }

    /// With what its image is.
    pub(super) async fn created_of(
        &mut self,
        create: &CreateContainer,
    ) -> (RuntimeId, Option<ImageDigest>) {
        self.make(create);
        let made = |event| match event {
            RuntimeEvent::Created {
                runtime_id, image, ..
            } => Ok((runtime_id, image)),
            other => Err(other),
        };
        self.until("Created", made).await
    }

    pub(super) async fn create_failed(&mut self, create: &CreateContainer) -> RuntimeFailure {
        self.make(create);
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

    pub(super) async fn running(
        &mut self,
        task: u128,
        words: &str,
    ) -> (CreateContainer, RuntimeId) {
        let create = self.create(task, words);
        let runtime_id = self.created(&create).await;
        self.started(&create, runtime_id).await;
        (create, runtime_id)
    }

    pub(super) async fn ready(&self, runtime_id: RuntimeId) {
        first_words(&self.client, &runtime_id.to_string()).await;
    }

    /// Of this very container: another one's exit may be told twice.
    pub(super) async fn exited(&mut self, create: &CreateContainer) -> Exit {
        let exited = |event| match event {
            RuntimeEvent::Exited { task, exit, .. } if task == create.labels.task => Ok(exit),
            other => Err(other),
        };
        self.until("Exited", exited).await
    }

    pub(super) async fn listed(&mut self) -> Vec<Observed> {
        self.list();
        let listed = |event| match event {
            RuntimeEvent::Listed(observed) => Ok(observed),
            other => Err(other),
        };
        self.until("Listed", listed).await
    }

    pub(super) fn list(&self) {
        self.docker.carry_out(RuntimeCommand::List);
    }

    pub(super) fn make(&self, create: &CreateContainer) {
        let create = Box::new(create.clone());
        self.docker.carry_out(RuntimeCommand::Create(create));
    }

    /// Waits until something is so that comes after a container's removal is told of: Docker may
    /// tell it before all is cleared up, and our own answer may come first.
    pub(super) async fn until_cleared(&self, what: &str, is_cleared: impl AsyncFn() -> bool) {
        let mut look = interval(POLL);
        let cleared = async {
            while !is_cleared().await {
                look.tick().await;
            }
        };
        let within = timeout(PATIENCE, cleared).await;
        assert!(within.is_ok(), "{what} within {PATIENCE:?}");
    }

    pub(super) async fn removed(&mut self, create: &CreateContainer) {
        let removed = |event| match event {
            RuntimeEvent::Removed { task, .. } if task == create.labels.task => Ok(()),
            other => Err(other),
        };
        self.until("Removed", removed).await;
    }

    pub(super) fn start(&self, create: &CreateContainer, runtime_id: RuntimeId) {
        self.start_after(create, runtime_id, None);
    }

    pub(super) fn start_after(
        &self,
        create: &CreateContainer,
        runtime_id: RuntimeId,
        after: Option<Wall>,
    ) {
        let (task, container) = (create.labels.task, create.labels.container.clone());
        self.docker.carry_out(RuntimeCommand::Start {
            task,
            container,
            runtime_id,
            after,
        });
    }

    /// As [`Self::exited`], later than that one.
    pub(super) async fn later_exit(&mut self, create: &CreateContainer, than: Wall) -> Exit {
        let exited = |event| match event {
            RuntimeEvent::Exited { task, exit, .. }
                if task == create.labels.task && exit.at > than =>
            {
                Ok(exit)
            }
            other => Err(other),
        };
        self.until("another Exited", exited).await
    }

    /// Those of this cluster.
    pub(super) async fn volumes(&self) -> Vec<String> {
        volumes(&self.client, &self.config.cluster).await
    }

    pub(super) fn stop(&self, create: &CreateContainer, runtime_id: RuntimeId, grace: Span) {
        let (task, container) = (create.labels.task, create.labels.container.clone());
        self.docker.carry_out(RuntimeCommand::Stop {
            task,
            container,
            runtime_id,
            grace,
        });
    }

    pub(super) fn remove(&self, create: &CreateContainer, runtime_id: RuntimeId) {
        let (task, container) = (create.labels.task, create.labels.container.clone());
        self.docker.carry_out(RuntimeCommand::Remove {
            task,
            container,
            runtime_id,
        });
    }

    pub(super) async fn foreign(&mut self, name: &str) -> RuntimeId {
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
    pub(super) async fn network_events(&self, since: SystemTime) -> Vec<(String, RuntimeId)> {
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

    /// By another's hand.
    pub(super) async fn kill(&self, runtime_id: RuntimeId) {
        let kill = KillContainerOptionsBuilder::new().signal("KILL").build();
        let id = runtime_id.to_string();
        let killed = self.client.kill_container(&id, Some(kill));
        killed.await.expect("it runs");
    }

    /// By another's hand.
    pub(super) async fn remove_by_force(&self, runtime_id: RuntimeId) {
        let force = RemoveContainerOptionsBuilder::new().force(true).build();
        let id = runtime_id.to_string();
        let removed = self.client.remove_container(&id, Some(force));
        removed.await.expect("it is there");
    }

    /// Awaits this many failures: of what kind, and why; sorted, as they may come in any order.
    pub(super) async fn failures(&mut self, count: usize) -> Vec<String> {
        let failed = |event: RuntimeEvent| match event {
            RuntimeEvent::CreateFailed { failure, .. }
            | RuntimeEvent::StartFailed { failure, .. }
            | RuntimeEvent::StopFailed { failure, .. }
            | RuntimeEvent::RemoveFailed { failure, .. } => {
                Ok(format!("{:?} {}", failure.kind, failure.reason))
            }
            other => Err(other),
        };
        let mut failures = Vec::new();
        for _ in 0..count {
            failures.push(self.until("a failure", failed).await);
        }
        failures.sort();
        failures
    }

    /// Awaits that the engine is lost; why.
    pub(super) async fn unavailable(&mut self) -> String {
        unavailable(&mut self.events).await
    }

    pub(super) async fn available(&mut self) {
        let available = |event| match event {
            RuntimeEvent::Available { .. } => Ok(()),
            other => Err(other),
        };
        self.until("Available", available).await;
    }

    /// Awaits that the container's process has ended, as the engine itself says.
    pub(super) async fn ended(&self, runtime_id: RuntimeId) {
        let mut waiting = self.client.wait_container(&runtime_id.to_string(), None);
        // A code that is not zero is an error to the client; that it is told is what counts.
        timeout(PATIENCE, waiting.next())
            .await
            .expect("it ends")
            .expect("the engine says how")
            .ok();
        // It answers who waits a moment before it says the same to who looks.
        let id = runtime_id.to_string();
        let looks = async {
            loop {
                let options = None::<InspectContainerOptions>;
                let found = self.client.inspect_container(&id, options);
                let state = found.await.ok().and_then(|found| found.state);
                if state.is_none_or(|state| state.running != Some(true)) {
                    return;
                }
            }
        };
        timeout(PATIENCE, looks).await.expect("the engine says so");
    }

    /// Awaits the event that is looked for; others (duplicates are harmless) pass, but no failure.
    pub(super) async fn until<T>(
        &mut self,
        what: &str,
        look: impl Fn(RuntimeEvent) -> Result<T, RuntimeEvent>,
    ) -> T {
        until(&mut self.events, what, |event| {
            look(event).inspect_err(|other| match other {
                RuntimeEvent::CreateFailed { failure, .. }
                | RuntimeEvent::StartFailed { failure, .. }
                | RuntimeEvent::StopFailed { failure, .. }
                | RuntimeEvent::RemoveFailed { failure, .. } => {
                    panic!("{failure:?} in the place of {what}")
                }
                _ => {}
            })
        })
        .await
    }
}

async fn volumes(client: &Client, cluster: &str) -> Vec<String> {
    let label = vec![format!("{}={cluster}", labels::CLUSTER)];
    let options = ListVolumesOptions {
        filters: Some(HashMap::from([("label".to_owned(), label)])),
    };
    let found = client.list_volumes(Some(options)).await;
    let found = found.unwrap_or_default().volumes.unwrap_or_default();
    found.into_iter().map(|volume| volume.name).collect()
}

impl Drop for Story {
    fn drop(&mut self) {
        let mounts = &self.config.given.secret_mounts;
        if let Err(err) = std::fs::remove_dir_all(mounts)
            && err.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("cannot remove {}: {err}", mounts.display());
        }
        let (client, cluster) = (self.client.clone(), self.config.cluster.clone());
        let mut ids = std::mem::take(&mut self.foreign);
        clean_up(&format!("cluster {}", self.config.cluster), async move {
            let label = vec![format!("{}={cluster}", labels::CLUSTER)];
            let options = ListContainersOptionsBuilder::new()
                .all(true)
                .filters(&HashMap::from([("label", label)]))
                .build();
            let list = || client.list_containers(Some(options.clone()));
            let listed = asked(PATIENCE, list).await.unwrap_or_default();
            ids.extend(listed.into_iter().filter_map(|container| container.id));
            remove(&client, ids).await;
            for volume in volumes(&client, &cluster).await {
                let removed = client.remove_volume(&volume, None::<RemoveVolumeOptions>);
                if let Err(err) = removed.await {
                    eprintln!("cannot clean up volume {volume}: {err}");
                }
            }
        });
    }
}
