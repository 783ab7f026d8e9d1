//! The runtime's tests: what they share. `contract` and `real` need a Docker Engine,
//! `fake` brings its own.

pub(crate) mod asked;
mod contract;
mod fake;
mod real;

use super::{Docker, DockerConfig};
use bollard::Docker as Client;
use holdfast_core::{
    ids::{Digest, HostId, ServiceId, TaskId},
    spec::task_definition::{Container, NetworkMode},
    task::runtime::{CreateContainer, Labels, RuntimeEvent, SlotLabel},
    time::Span,
};
use std::{env, path::PathBuf, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// Far beyond what a loaded machine needs; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The image that the tests on a real Docker run, made by `tests/e2e/make-image.sh`.
fn docker_image() -> Option<String> {
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
fn client() -> Client {
    let socket = docker_socket().display().to_string();
    Client::connect_with_unix(&socket, 60, bollard::API_DEFAULT_VERSION)
        .expect("Docker's socket is there")
}

pub(crate) fn config() -> DockerConfig {
    DockerConfig {
        socket: docker_socket(),
        cluster: "test".to_owned(),
        host: HostId(7 << 96),
        stop_grace_default: Span::from_secs(30),
        call_timeout: Duration::from_secs(60),
        pull: false,
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
        slot: None,
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
        network: NetworkMode::Bridge,
        volumes: vec![],
    }
}

async fn connect(config: &DockerConfig) -> (Docker, mpsc::Receiver<RuntimeEvent>) {
    let (sender, mut events) = mpsc::channel(64);
    let docker = Docker::start(config.clone(), sender);
    let available = |event| match event {
        RuntimeEvent::Available { version } => Ok(version),
        other => Err(other),
    };
    until(&mut events, "Available", available).await;
    (docker, events)
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
