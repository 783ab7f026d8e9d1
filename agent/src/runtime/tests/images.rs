//! Images on a real Docker Engine, from a real registry: when they are pulled, and when they go.
//!
//! Needs what `real` needs, and `docker-registry`; skipped, loudly, without.

use super::{
    connect,
    proxy::{Fault, Proxy},
    registry::{PASSWORD, Registry, USER},
    story::Story,
};
use crate::{
    runtime::{
        DockerConfig,
        images::{PullBehavior, Reasons, WhenCleaned, clean},
        labels::container_name,
    },
    test_dir::TestDir,
};
use bollard::{
    models::ContainerCreateBody,
    query_parameters::{InspectContainerOptions, RemoveContainerOptions, TagImageOptions},
};
use holdfast_core::{
    spec::image::ImageRef,
    task::runtime::{
        CreateContainer, FailureKind, PulledImage, RuntimeCommand, RuntimeEvent, RuntimeFailure,
    },
};
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

/// An agent with a registry; the fields end in this order.
struct Shop {
    story: Story,
    registry: Registry,
    dir: TestDir,
    tasks: u128,
}

impl Shop {
    async fn new(registry: fn() -> Option<Registry>, behavior: PullBehavior) -> Option<Self> {
        Self::with(Story::begin().await?, registry, behavior).await
    }

    async fn with(
        story: Story,
        registry: fn() -> Option<Registry>,
        behavior: PullBehavior,
    ) -> Option<Self> {
        let mut shop = Self {
            story,
            registry: registry()?,
            dir: TestDir::new("shop"),
            tasks: 0,
        };
        let state_dir = shop.dir.to_path_buf();
        shop.change(|config| {
            config.images.behavior = behavior;
            config.state_dir = state_dir;
        })
        .await;
        Some(shop)
    }

    /// With a proxy between the agent and its engine.
    async fn behind_proxy(behavior: PullBehavior) -> Option<(Self, Proxy)> {
        let (story, proxy) = Story::behind_proxy().await?;
        Some((Self::with(story, Registry::open, behavior).await?, proxy))
    }

    /// The agent is another process, with other settings.
    async fn change(&mut self, change: impl FnOnce(&mut DockerConfig)) {
        change(&mut self.story.config);
        let connected = connect(&self.story.config.clone()).await;
        (self.story.docker, self.story.events) = connected;
    }

    fn create(&mut self, image: &str) -> CreateContainer {
        self.tasks += 1;
        let mut create = self.story.create(self.tasks, "run");
        create.container.image = self.registry.name(image);
        create
    }

    /// The id of the image that a new container has.
    async fn made_of(&mut self, image: &str) -> String {
        let create = self.create(image);
        self.story.created(&create).await;
        self.image_of(&create).await
    }

    async fn image_of(&self, create: &CreateContainer) -> String {
        let name = container_name(&create.labels);
        let found = self
            .story
            .client
            .inspect_container(&name, None::<InspectContainerOptions>);
        found
            .await
            .expect("it was made")
            .image
            .expect("it has an image")
    }

    async fn fails(&mut self, image: &str) -> RuntimeFailure {
        let create = self.create(image);
        self.story.create_failed(&create).await
    }

    /// Removes all containers, so that nothing uses their images.
    async fn remove_containers(&mut self) {
        for task in 1..=self.tasks {
            let create = self.story.create(task, "run");
            let name = container_name(&create.labels);
            let removed = self
                .story
                .client
                .remove_container(&name, None::<RemoveContainerOptions>);
            removed.await.unwrap_or_default();
        }
    }

    async fn clean(&self, age: bool, disk: bool) {
        let shared = self.story.docker.images().0;
        let client = shared.client().expect("it is connected");
        let disks = &[PathBuf::from("/")][..usize::from(disk)];
        clean(&shared, &client, Reasons { age, disks })
            .await
            .expect("Docker answers");
    }

    async fn pull_ahead(&mut self, image: &str) -> Result<PulledImage, RuntimeFailure> {
        let image = ImageRef::try_from(self.registry.name(image)).expect("it is one");
        let command = RuntimeCommand::Pull {
            image: image.clone(),
        };
        self.story.docker.carry_out(command);
        let pulled = |event| match event {
            RuntimeEvent::ImagePulled { image: of, outcome } if of == image => Ok(outcome),
            other => Err(other),
        };
        self.story.until("ImagePulled", pulled).await
    }

    /// A file of credentials.
    fn auths(&self, password: &str, mode: u32) -> PathBuf {
        let path = self.dir.join("registry.json");
        let entry = json!({"username": USER, "password": password});
        let file = json!({"auths": {self.registry.address.as_str(): entry}});
        fs::write(&path, file.to_string()).expect("the directory is ours");
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&path, mode).expect("the file is ours");
        path
    }
}

#[tokio::test]
async fn a_missing_image_is_pulled_once_however_many_want_it_and_never_again_while_it_is_here() {
    let Some(mut shop) = Shop::new(Registry::open, PullBehavior::PreferCached).await else {
        return;
    };
    let id = shop.registry.push("web:1").await;
    let before = shop.registry.asked_for("web:1");
    let both = [shop.create("web:1"), shop.create("web:1")];
    for create in &both {
        let create = RuntimeCommand::Create(Box::new(create.clone()));
        shop.story.docker.carry_out(create);
    }
    for _ in both {
        shop.story.until("Created", created).await;
    }
    assert_eq!(
        shop.registry.asked_for("web:1"),
        before + 1,
        "two waited for one pull"
    );
    shop.registry.push("web:1").await;
    assert_eq!(
        shop.made_of("web:1").await,
        id,
        "the tag has moved, and what is here serves"
    );
    let pulled = shop
        .story
        .docker
        .images()
        .list()
        .await
        .expect("Docker answers");
    let [pulled] = &pulled[..] else {
        panic!("{pulled:?}")
    };
    assert_eq!(
        (&pulled.id, pulled.used_by.len(), pulled.was_here),
        (&id, 3, false)
    );
}

fn created(event: RuntimeEvent) -> Result<(), RuntimeEvent> {
    match event {
        RuntimeEvent::Created { .. } => Ok(()),
        other => Err(other),
    }
}

#[tokio::test]
async fn always_takes_a_tag_that_has_moved_and_fails_without_the_registry() {
    let Some(mut shop) = Shop::new(Registry::open, PullBehavior::Always).await else {
        return;
    };
    for _ in 0..2 {
        let id = shop.registry.push("web:1").await;
        assert_eq!(shop.made_of("web:1").await, id);
    }
    let listed = shop
        .story
        .docker
        .images()
        .list()
        .await
        .expect("Docker answers");
    let digests = listed.iter().flat_map(|image| &image.digests);
    let digest = digests
        .last()
        .expect("what was pulled has a digest")
        .clone();
    shop.registry.stop();
    let failure = shop.fails("web:1").await;
    assert!(
        failure.reason.starts_with("CannotPullContainerError: "),
        "{failure:?}"
    );
    let by_digest = digest
        .rsplit_once('/')
        .expect("it is in the registry")
        .1
        .to_owned();
    shop.made_of(&by_digest).await;
}

#[tokio::test]
async fn by_default_a_tag_that_has_moved_is_taken_and_without_the_registry_what_is_here_serves() {
    let Some(mut shop) = Shop::new(Registry::open, PullBehavior::Default).await else {
        return;
    };
    shop.registry.push("web:1").await;
    shop.made_of("web:1").await;
    let id = shop.registry.push("web:1").await;
    assert_eq!(shop.made_of("web:1").await, id);
    shop.registry.stop();
    assert_eq!(shop.made_of("web:1").await, id);
    let failure = shop.fails("web:2").await;
    assert!(
        failure.reason.contains("connection refused"),
        "not here: {failure:?}"
    );
}

#[tokio::test]
async fn once_pulls_what_this_agent_has_not_pulled_though_it_is_here_and_remembers_that() {
    let Some(mut shop) = Shop::new(Registry::open, PullBehavior::Once).await else {
        return;
    };
    shop.registry.push("web:1").await;
    shop.registry.pull("web:1").await;
    let new = shop.registry.push("web:1").await;
    let before = shop.registry.asked_for("web:1");
    assert_eq!(shop.made_of("web:1").await, new);
    assert_eq!(shop.registry.asked_for("web:1"), before + 1);
    shop.change(|_| ()).await;
    assert_eq!(shop.made_of("web:1").await, new);
    assert_eq!(
        shop.registry.asked_for("web:1"),
        before + 1,
        "a restart forgets nothing"
    );
    let failure = shop.fails("web:2").await;
    assert!(
        failure.reason.starts_with("CannotPullContainerError: "),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_registry_wants_credentials_and_a_refusal_says_whose_were_tried_and_no_secret() {
    let Some(mut shop) = Shop::new(Registry::guarded, PullBehavior::PreferCached).await else {
        return;
    };
    let id = shop.registry.push("web:1").await;
    let address = shop.registry.address.clone();
    let failure = shop.fails("web:1").await;
    let expected = format!("; no credentials for {address}: give some in registry_auth_file");
    assert!(failure.reason.ends_with(&expected), "{failure:?}");
    assert_eq!(failure.kind, FailureKind::Permanent);

    let path = shop.auths("not-the-password", 0o600);
    shop.change(|config| config.images.auth_file = Some(path))
        .await;
    let failure = shop.fails("web:1").await;
    assert!(
        failure.reason.starts_with("CannotPullContainerError: "),
        "{failure:?}"
    );
    let expected = format!(
        "; {address} did not take the credentials of \"alice\": look at registry_auth_file"
    );
    assert!(failure.reason.ends_with(&expected), "{failure:?}");
    assert!(!failure.reason.contains("not-the-password"), "{failure:?}");

    shop.auths(PASSWORD, 0o644);
    let failure = shop.fails("web:1").await;
    assert!(
        failure.reason.contains("others than its owner can read"),
        "{failure:?}"
    );

    shop.auths(PASSWORD, 0o600);
    assert_eq!(
        shop.made_of("web:1").await,
        id,
        "the file is read anew, the password taken whole"
    );
}

#[tokio::test]
async fn a_pull_that_stalls_is_given_up() {
    let Some(mut shop) = Shop::new(Registry::open, PullBehavior::PreferCached).await else {
        return;
    };
    shop.change(|config| config.progress_timeout = Duration::from_millis(500))
        .await;
    shop.registry.freeze();
    let failure = shop.fails("web:1").await;
    let name = shop.registry.name("web:1");
    assert_eq!(
        failure.reason,
        format!(
            "CannotPullContainerError: no progress in pulling {name} for 0.5 s; look at the \
             registry and the network"
        )
    );
}

#[tokio::test]
async fn images_that_are_old_and_unused_go_a_few_at_a_time_and_no_others() {
    let Some(mut shop) = Shop::new(Registry::open, PullBehavior::PreferCached).await else {
        return;
    };
    let excluded = shop.registry.name("stays");
    let age_min = Duration::from_secs(3_600);
    shop.change(|config| {
        config.images.clean_up.when = WhenCleaned::Age;
        config.images.clean_up.deleted_max = 2;
        config.images.clean_up.age_min = age_min;
        config.images.clean_up.excluded = vec![excluded];
    })
    .await;
    let mut ids = Vec::new();
    for name in ["a:1", "b:1", "c:1", "stays:1"] {
        ids.push(shop.registry.push(name).await);
        shop.made_of(name).await;
    }
    // Pulled ahead: it waits for its use. Theirs: it was here before we pulled it.
    let ahead = shop.registry.push("ahead:1").await;
    let pulled = shop.pull_ahead("ahead:1").await.expect("it is there");
    assert!(
        !pulled.was_here && pulled.digest.starts_with("sha256:"),
        "{pulled:?}"
    );
    let theirs = shop.registry.push("theirs:1").await;
    shop.registry.pull("theirs:1").await;
    let pulled = shop.pull_ahead("theirs:1").await.expect("it is there");
    assert!(pulled.was_here, "{pulled:?}");
    shop.made_of("theirs:1").await;
    let here = async |shop: &Shop| {
        let mut here = Vec::new();
        for id in ids.iter().chain([&ahead, &theirs]) {
            here.push(shop.registry.has(id).await);
        }
        here
    };
    shop.clean(true, false).await;
    assert_eq!(here(&shop).await, [true; 6], "all of them are in use");
    shop.remove_containers().await;
    shop.clean(true, false).await;
    assert_eq!(here(&shop).await, [true; 6], "none of them is old");
    shop.change(|config| config.images.clean_up.age_min = Duration::ZERO)
        .await;
    shop.clean(false, false).await;
    assert_eq!(here(&shop).await, [true; 6], "there is no reason");
    shop.clean(true, false).await;
    assert_eq!(
        here(&shop).await,
        [false, false, true, true, true, true],
        "two at a time"
    );
    shop.clean(true, false).await;
    assert_eq!(here(&shop).await, [false, false, false, true, true, true]);
    let pulled = shop
        .story
        .docker
        .images()
        .list()
        .await
        .expect("Docker answers");
    assert_eq!(pulled.len(), 3, "{pulled:?}");
}

#[tokio::test]
async fn a_full_disk_takes_what_was_used_least_recently_but_nothing_of_anybody_elses() {
    let Some(mut shop) = Shop::new(Registry::open, PullBehavior::PreferCached).await else {
        return;
    };
    shop.change(|config| config.images.clean_up.disk_percent_max = 100)
        .await;
    let (old, tagged) = (
        shop.registry.push("a:1").await,
        shop.registry.push("b:1").await,
    );
    shop.made_of("a:1").await;
    shop.made_of("b:1").await;
    let used = shop.registry.push("c:1").await;
    let by_hand = shop.registry.name("c:1");
    shop.made_of("c:1").await;
    shop.remove_containers().await;
    // Somebody gives one of ours a name of their own, and makes a container of another.
    let tag = TagImageOptions {
        repo: Some(shop.registry.name("mine")),
        tag: Some("1".to_owned()),
    };
    let name = shop.registry.name("b:1");
    shop.story
        .client
        .tag_image(&name, Some(tag))
        .await
        .expect("it is here");
    let body = ContainerCreateBody {
        image: Some(by_hand),
        cmd: Some(vec!["run".to_owned()]),
        ..ContainerCreateBody::default()
    };
    let made = shop.story.client.create_container(None, body).await;
    shop.story
        .foreign
        .push(made.expect("Docker makes a container").id);
    let here = async |shop: &Shop| {
        let registry = &shop.registry;
        [
            registry.has(&old).await,
            registry.has(&tagged).await,
            registry.has(&used).await,
        ]
    };
    shop.clean(false, true).await;
    assert_eq!(here(&shop).await, [true; 3], "no disk is fuller than that");
    shop.change(|config| config.images.clean_up.disk_percent_max = 0)
        .await;
    shop.clean(false, true).await;
    assert_eq!(here(&shop).await, [false, true, true]);
}

/// What it was found to be is what another host can ask for, and the tag may lead elsewhere then.
#[tokio::test]
async fn a_container_is_made_of_the_bytes_that_another_one_was_found_to_be_of() {
    let Some(mut shop) = Shop::new(Registry::open, PullBehavior::Default).await else {
        return;
    };
    let first = shop.registry.push("web:1").await;
    let create = shop.create("web:1");
    let digest = shop.story.created_of(&create).await.1;
    let digest = digest.expect("it came from a registry");
    assert_eq!(shop.story.created_of(&create).await.1, Some(digest));
    shop.registry.push("web:1").await;

    let pinned = shop.registry.name(&format!("web@{digest}"));
    let mut create = shop.create("web:1");
    create.container.image.clone_from(&pinned);
    assert_eq!(shop.story.created_of(&create).await.1, Some(digest));
    assert_eq!(shop.image_of(&create).await, first);

    // Also where it is not there yet.
    shop.remove_containers().await;
    shop.registry.remove(&first).await;
    let mut create = shop.create("web:1");
    create.container.image = pinned;
    assert_eq!(shop.story.created_of(&create).await.1, Some(digest));
    assert_eq!(shop.image_of(&create).await, first);
}

/// While one image was removed, a container began to be made of the next: that was removed, too.
#[tokio::test]
async fn an_image_that_is_wanted_while_others_are_removed_stays() {
    let Some((mut shop, proxy)) = Shop::behind_proxy(PullBehavior::PreferCached).await else {
        return;
    };
    shop.change(|config| {
        config.images.clean_up.disk_percent_max = 0;
        config.call_timeout = super::PATIENCE;
    })
    .await;
    let mut ids = Vec::new();
    for name in ["a:1", "b:1", "c:1"] {
        ids.push(shop.registry.push(name).await);
        shop.made_of(name).await;
    }
    shop.remove_containers().await;
    // By its digest, which it was not pulled by.
    let listed = shop.story.docker.images().list().await;
    let listed = listed.expect("Docker answers");
    let third = listed.iter().find(|image| image.id == ids[2]);
    let by_digest = &third.expect("it was pulled").digests[0];
    let by_digest = by_digest.rsplit_once('/').expect("it has a registry").1;
    let wanted = [shop.create("b:1"), shop.create(by_digest)];
    let removal = proxy.arm(&["DELETE /", "/images/", &ids[0]], Fault::Hold);
    let creations = proxy.arm(&["POST /", "/containers/create"], Fault::Hold);
    let shared = shop.story.docker.images().0;
    let cleaning = tokio::spawn(async move {
        let client = shared.client().expect("it is connected");
        let disks = &["/".into()];
        clean(&shared, &client, Reasons { age: false, disks }).await
    });
    removal.met(1).await;
    for create in &wanted {
        shop.story.make(create);
    }
    creations.met(2).await;
    // Nothing that is removed now can be had again.
    shop.registry.stop();
    removal.lift();
    let cleaned = cleaning.await.expect("it ends by itself");
    cleaned.expect("Docker answers");
    let mut here = Vec::new();
    for id in &ids {
        here.push(shop.registry.has(id).await);
    }
    assert_eq!(here, [false, true, true]);
    creations.lift();
    for _ in wanted {
        shop.story.until("Created", created).await;
    }
}
