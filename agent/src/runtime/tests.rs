//! The runtime's tests: what they share. Most of them need a Docker Engine, `fake` brings its own.

pub(crate) mod asked;
mod contract;
mod events;
mod fake;
mod garbled;
mod given;
mod hangs;
mod images;
mod metadata_file;
mod others;
mod pause;
mod proxy;
mod real;
mod registry;
mod replies;
mod story;
mod together;

use super::{
    Docker, DockerConfig, GivenSettings, LogDriver, MetadataFileSettings,
    images::{CleanUp, ImageSettings, PROGRESS_TIMEOUT, PullBehavior, WhenCleaned},
};
use crate::{
    api::{metadata_file::FileHost, tests::board::context},
    metadata::Secret,
    vault::Vault,
};
pub(crate) use bollard::Docker as Client;
use bollard::{
    models::ContainerCreateBody,
    query_parameters::{LogsOptionsBuilder, RemoveContainerOptionsBuilder},
};
use futures_util::StreamExt as _;
use holdfast_core::{
    ids::{Digest, HostId, ServiceId, TaskId},
    spec::task_definition::Container,
    task::runtime::{CreateContainer, Labels, RuntimeEvent, Shared, SlotLabel},
    time::Span,
};
use std::{
    env,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use tokio::{runtime, sync::mpsc, time::timeout};

/// Far beyond what a loaded machine needs; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The image that the tests on a real Docker run, made by `tests/e2e/make-image.sh`.
pub(crate) fn docker_image() -> Option<String> {
    let image = env::var("HOLDFAST_TEST_DOCKER_IMAGE").ok();
    if image.is_none() {
        eprintln!("SKIPPED: set HOLDFAST_TEST_DOCKER_IMAGE to the image of tests/e2e/workload");
    }
    image
}

/// Of the engine that the image was made on.
fn docker_socket() -> PathBuf {
    let host = env::var("DOCKER_HOST").unwrap_or_else(|_| "/run/docker.sock".to_owned());
    PathBuf::from(host)
}

/// Docker's own client: the hand from outside.
pub(crate) fn client() -> Client {
    let socket = docker_socket().display().to_string();
    Client::connect_with_unix(&socket, 60, bollard::API_DEFAULT_VERSION)
        .expect("Docker's socket is there")
}

/// Waits for its first words: before them it is deaf to signals, as any first process is, and
/// serves nobody.
pub(crate) async fn first_words(client: &Client, container: &str) {
    let options = LogsOptionsBuilder::new().follow(true).stdout(true).build();
    let mut logs = client.logs(container, Some(options));
    let first = timeout(PATIENCE, logs.next()).await;
    let first = first.expect("it says something").expect("it runs");
    first.expect("Docker keeps its words");
}

/// One of the test image that is nobody's; its id.
pub(crate) async fn start_container(
    client: &Client,
    image: &str,
    words: &str,
    terminal: bool,
) -> String {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(words.split_whitespace().map(str::to_owned).collect()),
        tty: Some(terminal),
        ..ContainerCreateBody::default()
    };
    let made = client.create_container(None, body).await;
    let id = made.expect("Docker makes a container").id;
    client.start_container(&id, None).await.expect("it starts");
    id
}

pub(crate) async fn kill(client: &Client, container: &str) {
    let killed = client.kill_container(container, None).await;
    killed.expect("it runs");
}

/// Removes them by id, whatever they do.
pub(crate) async fn remove(client: &Client, containers: Vec<String>) {
    for id in containers {
        let force = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        if let Err(err) = client.remove_container(&id, Some(force)).await {
            eprintln!("cannot clean up {id}: {err}");
        }
    }
}

/// For a `drop`, which cannot await anything: does it on a thread of its own, and waits for that.
pub(crate) fn clean_up(what: &str, work: impl Future<Output = ()> + Send + 'static) {
    let cleaner = thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(work);
    });
    if cleaner.join().is_err() {
        eprintln!("cannot clean up {what}");
    }
}

pub(crate) fn config() -> DockerConfig {
    DockerConfig {
        socket: docker_socket(),
        cluster: "test".to_owned(),
        host: HostId(7 << 96),
        stop_grace_default: Span::from_secs(30),
        task_pids_limit: None,
        call_timeout: Duration::from_secs(60),
        log_driver: LogDriver::Local,
        images: ImageSettings {
            behavior: PullBehavior::Never,
            auth_file: None,
            clean_up: CleanUp {
                when: WhenCleaned::Never,
                interval: Duration::from_secs(1_800),
                age_min: Duration::from_secs(3_600),
                deleted_max: 5,
                disk_percent_max: 85,
                containerd_root: "/var/lib/containerd".into(),
                excluded: vec![],
            },
        },
        given: GivenSettings {
            vault: Vault::new("test", None),
            environment_files: "/nonexistent/env".into(),
            secret_files: "/nonexistent/secrets".into(),
            secret_commands: None,
            secret_mounts: mounts_of_its_own(),
        },
        progress_timeout: PROGRESS_TIMEOUT,
        // Only who pulls writes there.
        state_dir: env::temp_dir(),
        metadata: None,
        metadata_file: None,
    }
}

/// What an agent knows nothing of there, it removes.
fn mounts_of_its_own() -> PathBuf {
    let unique = getrandom::u64().expect("there are random bytes");
    format!("/dev/shm/holdfast-tests-{unique:016x}").into()
}

/// Of an agent whose containers have ECS's metadata file, in that directory.
pub(crate) fn with_metadata_file(dir: &Path) -> DockerConfig {
    let settings = MetadataFileSettings {
        secret: Secret::open(dir).expect("there are random bytes"),
        host: FileHost {
            context: context(),
            zone: Some("here".to_owned()),
            address: [10, 0, 0, 1].into(),
        },
    };
    DockerConfig {
        state_dir: dir.to_owned(),
        metadata_file: Some(settings),
        ..config()
    }
}

pub(crate) fn labels() -> Labels {
    Labels {
        cluster: "test".to_owned(),
        host: HostId(7 << 96),
        task: TaskId(7 << 96 | 1),
        container: "web".to_owned(),
        essential: true,
        definition: Digest([9; 32]),
        family: "shop".to_owned(),
        revision: 3,
        renewals: 0,
        slot: None,
        gpus: Box::default(),
    }
}

pub(crate) fn slot() -> SlotLabel {
    SlotLabel {
        service: ServiceId(7 << 96 | 5),
        service_name: "front".into(),
        index: 2,
        generation: 4,
    }
}

pub(crate) fn create(image: &str) -> CreateContainer {
    CreateContainer {
        labels: labels(),
        container: Container {
            name: "web".to_owned(),
            image: image.to_owned(),
            essential: true,
            ..Container::default()
        },
        shared: Shared::default(),
        volumes: vec![],
        gpus: Box::default(),
        given: vec![],
    }
}

pub(crate) async fn connect(config: &DockerConfig) -> (Docker, mpsc::Receiver<RuntimeEvent>) {
    let (sender, mut events) = mpsc::channel(64);
    let docker = Docker::start(config.clone(), sender);
    let available = |event| match event {
        RuntimeEvent::Available { version } => Ok(version),
        other => Err(other),
    };
    until(&mut events, "Available", available).await;
    (docker, events)
}

async fn unavailable(events: &mut mpsc::Receiver<RuntimeEvent>) -> String {
    let unavailable = |event| match event {
        RuntimeEvent::Unavailable { reason } => Ok(reason),
        other => Err(other),
    };
    until(events, "Unavailable", unavailable).await
}

async fn until<T>(
    events: &mut mpsc::Receiver<RuntimeEvent>,
    what: &str,
    look: impl Fn(RuntimeEvent) -> Result<T, RuntimeEvent>,
) -> T {
    let mut passed = Vec::new();
    let found = timeout(PATIENCE, async {
        loop {
            match look(events.recv().await.expect("the runtime lives")) {
                Ok(found) => return found,
                Err(other) => passed.push(other),
            }
        }
    });
    match found.await {
        Ok(found) => found,
        Err(_) => panic!("no {what} within {PATIENCE:?}, but {passed:?}"),
    }
}
