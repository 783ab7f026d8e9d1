//! The pause image and its container, on a real Docker Engine.
//!
//! Needs `HOLDFAST_TEST_DOCKER_IMAGE`, an image of `tests/e2e/workload`; skipped, loudly, without.

use super::{PATIENCE, clean_up, client, docker_image, first_words, remove};
use crate::runtime::pause::{self, BYTES, LABEL};
use bollard::{
    Docker as Client,
    errors::Error as DockerError,
    models::{ContainerCreateBody, HostConfig, ImageInspect},
    query_parameters::{
        RemoveImageOptions, StopContainerOptionsBuilder, TagImageOptionsBuilder,
        WaitContainerOptions,
    },
};
use futures_util::{StreamExt as _, future};
use holdfast_core::ids::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    process,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// A container of the pause image and some of the workload's; removes what it made.
struct Scene {
    client: Client,
    workload: String,
    containers: Vec<String>,
    images: Vec<String>,
}

impl Scene {
    fn begin() -> Option<Self> {
        Some(Self {
            workload: docker_image()?,
            client: client(),
            containers: vec![],
            images: vec![],
        })
    }

    /// As bare as it can be: it needs nothing.
    async fn pauses(&mut self) -> String {
        let image = pause::image(&self.client, PATIENCE).await;
        let body = ContainerCreateBody {
            image: Some(image.expect("Docker takes the image")),
            host_config: Some(HostConfig {
                readonly_rootfs: Some(true),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        self.runs(body).await
    }

    async fn works(&mut self, words: &str, host: HostConfig) -> String {
        let words = words.split_whitespace().map(str::to_owned);
        let body = ContainerCreateBody {
            image: Some(self.workload.clone()),
            cmd: Some(words.collect()),
            env: Some(vec!["PORT=8080".to_owned()]),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        self.runs(body).await
    }

    async fn runs(&mut self, body: ContainerCreateBody) -> String {
        let made = self.client.create_container(None, body).await;
        let id = made.expect("Docker makes a container").id;
        self.containers.push(id.clone());
        let started = self.client.start_container(&id, None).await;
        started.expect("it starts");
        id
    }

    async fn exit_code(&self, id: &str) -> i64 {
        let mut ended = self.client.wait_container(id, None::<WaitContainerOptions>);
        let ended = timeout(PATIENCE, ended.next()).await;
        match ended.expect("it ends").expect("it is there") {
            Ok(ended) => ended.status_code,
            Err(DockerError::DockerContainerWaitError { code, .. }) => code,
            Err(err) => panic!("{err}"),
        }
    }

    async fn inspected(&self, image: &str) -> ImageInspect {
        let found = self.client.inspect_image(image).await;
        found.expect("the image is there")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let (client, images) = (self.client.clone(), std::mem::take(&mut self.images));
        let containers = std::mem::take(&mut self.containers);
        clean_up("a pause container", async move {
            remove(&client, containers).await;
            for image in images {
                let removed = client.remove_image(&image, None::<RemoveImageOptions>, None);
                if let Err(err) = removed.await {
                    eprintln!("cannot clean up {image}: {err}");
                }
            }
        });
    }
}

fn network_of(pause: &str) -> HostConfig {
    HostConfig {
        network_mode: Some(format!("container:{pause}")),
        ..HostConfig::default()
    }
}

#[tokio::test]
async fn whoever_asks_for_the_image_gets_the_same_one() {
    let Some(mut scene) = Scene::begin() else {
        return;
    };
    let name = pause::image(&scene.client, PATIENCE).await;
    let name = name.expect("Docker takes the image");
    let again = pause::image(&scene.client, PATIENCE).await;
    assert_eq!(again.expect("Docker has the image"), name);
    let found = scene.inspected(&name).await;
    let digest = Digest(Sha256::digest(BYTES).into()).to_string();
    assert_eq!(name, format!("holdfast-pause:{}", &digest[..12]));
    let config = found.config.expect("an image has one");
    assert_eq!(config.entrypoint, Some(vec!["/pause".to_owned()]));
    assert_eq!(config.labels, Some([(LABEL.to_owned(), digest)].into()));
    assert!(found.size.is_some_and(|bytes| bytes < 1024 * 1024));

    // Under a name of its own, which nobody has yet, and all at once.
    let own = format!("holdfast-pause-test:{}", process::id());
    scene.images.push(own.clone());
    let calls = (0..4).map(|_| pause::provide(&scene.client, &own, PATIENCE));
    for outcome in future::join_all(calls).await {
        outcome.expect("Docker takes the image");
    }
    assert_eq!(scene.inspected(&own).await.id, found.id);

    // A name alone proves nothing.
    let tag = TagImageOptionsBuilder::new()
        .repo("holdfast-pause-test")
        .tag(&process::id().to_string())
        .build();
    let tagged = scene.client.tag_image(&scene.workload, Some(tag)).await;
    tagged.expect("Docker gives names");
    assert_ne!(scene.inspected(&own).await.id, found.id);
    let provided = pause::provide(&scene.client, &own, PATIENCE).await;
    provided.expect("Docker takes the image");
    assert_eq!(scene.inspected(&own).await.id, found.id);
}

#[tokio::test]
async fn containers_meet_on_its_localhost_and_it_ends_when_it_is_asked_to() {
    let Some(mut scene) = Scene::begin() else {
        return;
    };
    let pause = scene.pauses().await;
    let server = scene.works("run", network_of(&pause)).await;
    first_words(&scene.client, &server).await;
    let check = scene.works("check", network_of(&pause)).await;
    assert_eq!(scene.exit_code(&check).await, 0, "the server answers");

    let since = Instant::now();
    let grace = StopContainerOptionsBuilder::new().t(60).build();
    let stopped = scene.client.stop_container(&pause, Some(grace)).await;
    stopped.expect("it runs");
    assert_eq!(scene.exit_code(&pause).await, 0);
    // Far below the grace, and far above what a loaded machine needs.
    assert!(since.elapsed() < Duration::from_secs(30), "{since:?}");
}

#[tokio::test]
async fn what_loses_its_parent_is_reaped() {
    let Some(mut scene) = Scene::begin() else {
        return;
    };
    let pause = scene.pauses().await;
    let processes = HostConfig {
        pid_mode: Some(format!("container:{pause}")),
        ..HostConfig::default()
    };
    let orphans = scene.works("orphan", processes).await;
    assert_eq!(scene.exit_code(&orphans).await, 0, "reaped");
}
