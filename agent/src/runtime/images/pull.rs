//! Pulls images: each once however many ask, few at a time, never stuck, and telling how far it is.

use super::{
    credentials::{self, Credentials},
    digest::in_its_repository,
    name::ImageName,
    notes::Pulled,
    progress::Progress,
};
use crate::{
    disk::chain,
    runtime::{
        docker::{Shared, bounded, lock},
        failure::{CallError, Operation},
        timestamp,
    },
};
use bollard::{
    Docker as Client,
    models::ImageInspect,
    query_parameters::{CreateImageOptions, ListImagesOptions},
};
use futures_util::StreamExt as _;
use holdfast_core::{
    ids::TaskId,
    task::runtime::{PulledImage, RuntimeEvent, RuntimeFailure},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{OnceCell, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

/// Images pulled at once; each is layers times three connections in Docker.
pub(crate) const PULLS_MAX: usize = 4;
/// Of which so many at most are of images that no task waits for.
pub(crate) const PULLS_AHEAD_MAX: usize = 2;
/// A pull may take long, but not without a word of progress.
pub(crate) const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
/// Most pulls are over before anybody has to be told of them.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// Each time that it is told is a report that travels to all hosts.
const TOLD_EACH: Duration = Duration::from_secs(2);

/// What a registry says to whoever may not pull, in small letters.
const NOT_ALLOWED: [&str; 4] = [
    "unauthorized",
    "no basic auth credentials",
    "access denied",
    "access to the resource is denied",
];

/// The container that waits for an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiter {
    pub(crate) task: TaskId,
    pub(crate) container: String,
}

/// One pull, which all who wait for the image share.
#[derive(Debug)]
pub(crate) struct Pull {
    outcome: OnceCell<Result<PulledImage, RuntimeFailure>>,
    /// Each with what it was last told.
    waiters: Mutex<BTreeMap<Waiter, String>>,
    /// In words, as [`Progress::in_words`] has them.
    progress: watch::Sender<String>,
}

impl Default for Pull {
    fn default() -> Self {
        Self {
            outcome: OnceCell::new(),
            waiters: Mutex::default(),
            progress: watch::Sender::new(String::new()),
        }
    }
}

impl Pull {
    /// The one that is under way, or a new one.
    pub(crate) fn join(shared: &Shared, image: &ImageName) -> Arc<Self> {
        let mut pulling = lock(&shared.images.pulling);
        Arc::clone(pulling.entry(image.clone()).or_default())
    }

    /// The container is told how far the image has come.
    pub(crate) fn add(&self, waiter: Waiter) {
        lock(&self.waiters).entry(waiter).or_default();
    }

    pub(crate) fn follow(&self) -> watch::Receiver<String> {
        self.progress.subscribe()
    }

    /// Pulls, or waits for whoever does. If they give up waiting, the next one goes on.
    pub(crate) async fn outcome(
        self: Arc<Self>,
        shared: &Shared,
        image: &ImageName,
    ) -> Result<PulledImage, RuntimeFailure> {
        let carry_out = || async {
            tokio::select! {
                outcome = self.carry_out(shared, image) => outcome,
                never = self.keep_telling(shared, image) => match never {},
            }
        };
        let _present = Present {
            shared,
            image,
            pull: &self,
        };
        self.outcome.get_or_init(carry_out).await.clone()
    }

    async fn keep_telling(&self, shared: &Shared, image: &ImageName) -> Infallible {
        sleep(TOLD_AFTER).await;
        loop {
            let words = self.progress.borrow().clone();
            let told = match words.is_empty() {
                true => format!("pulls {image}"),
                false => format!("pulls {image}: {words}"),
            };
            let waiters = lock(&self.waiters).clone();
            for (waiter, _) in waiters.into_iter().filter(|(_, last)| *last != told) {
                let progress = told.clone();
                let Waiter { task, container } = waiter.clone();
                let event = RuntimeEvent::Pulling {
                    task,
                    container,
                    progress,
                };
                shared.tell(|_| event).await;
                lock(&self.waiters).insert(waiter, told.clone());
            }
            sleep(TOLD_EACH).await;
        }
    }

    async fn carry_out(
        &self,
        shared: &Shared,
        image: &ImageName,
    ) -> Result<PulledImage, RuntimeFailure> {
        let pulls = &shared.images.pulls;
        let turn = match pulls.try_acquire() {
            Ok(turn) => Ok(turn),
            Err(_) => {
                self.progress
                    .send_replace("waits for other pulls".to_owned());
                pulls.acquire().await
            }
        };
        let _turn = turn.expect("the semaphore is never closed");
        self.progress.send_replace(String::new());
        let client = shared
            .client()
            .map_err(|err| Operation::Pull.failed(&err))?;
        let before = images_here(shared, &client).await;
        self.load(shared, &client, image).await?;
        let name = image.to_string();
        let found = client.inspect_image(&name);
        let found = match bounded(shared.config.call_timeout, found).await {
            Ok(found) => found,
            Err(err) => {
                let reason = err.text();
                warn!(%image, reason, "Cannot inspect what was pulled; it is not noted.");
                let (digest, was_here) = (String::new(), false);
                return Ok(PulledImage { digest, was_here });
            }
        };
        let digest = shown_digest(&found, image);
        let id = found.id.unwrap_or_default();
        info!(%image, id, "Image pulled.");
        // Where it is not known what was here before, it was.
        let was_here = before.is_none_or(|before| before.contains(&id));
        shared.images.notes.on_pulled(Pulled {
            image,
            id: &id,
            at: timestamp::now(),
            is_ahead: lock(&self.waiters).is_empty(),
            was_here,
        });
        shared.images.notes.save().await;
        shared.images.room_wanted.notify_one();
        Ok(PulledImage { digest, was_here })
    }

    /// Has Docker load it, as long as Docker tells of progress.
    async fn load(
        &self,
        shared: &Shared,
        client: &Client,
        image: &ImageName,
    ) -> Result<(), RuntimeFailure> {
        let settings = &shared.config.images;
        let credentials = match &settings.auth_file {
            None => None,
            Some(path) => credentials::find(path, image.registry(), credentials::COMMAND_TIMEOUT)
                .await
                .map_err(|err| Operation::Pull.permanent(&chain(&err)))?,
        };
        // Docker takes a name without tag and digest for *every* tag of that name; ours has one.
        let options = CreateImageOptions {
            from_image: Some(image.to_string()),
            ..CreateImageOptions::default()
        };
        let given = credentials
            .as_ref()
            .map(|given| given.for_docker(image.registry()));
        let mut steps = client.create_image(Some(options), None, given);
        let mut progress = Progress::default();
        loop {
            let limit = shared.config.progress_timeout;
            match timeout(limit, steps.next()).await {
                Err(_) => {
                    return Err(Operation::Pull.transient(&format!(
                        "no progress in pulling {image} for {} s; look at the registry and the \
                         network",
                        limit.as_secs_f32()
                    )));
                }
                Ok(None) => return Ok(()),
                Ok(Some(Ok(step))) => {
                    progress.on(&step);
                    let words = progress.in_words();
                    self.progress.send_if_modified(|was| {
                        let changed = *was != words;
                        *was = words;
                        changed
                    });
                }
                Ok(Some(Err(err))) => {
                    return Err(refused(
                        &CallError::Docker(err),
                        image,
                        credentials.as_ref(),
                    ));
                }
            }
        }
    }
}

/// Somebody waits for a pull.
struct Present<'a> {
    shared: &'a Shared,
    image: &'a ImageName,
    pull: &'a Arc<Pull>,
}

impl Drop for Present<'_> {
    /// Who comes after a pull has ended starts another one, and the last one to give up on it
    /// clears up; a later pull isn't ours to forget.
    fn drop(&mut self) {
        let mut pulling = lock(&self.shared.images.pulling);
        let is_current = |current: &Arc<Pull>| Arc::ptr_eq(current, self.pull);
        // The table's and ours.
        let is_last = Arc::strong_count(self.pull) <= 2;
        if pulling.get(self.image).is_some_and(is_current)
            && (is_last || self.pull.outcome.initialized())
        {
            pulling.remove(self.image);
        }
    }
}

/// Docker's own words; and where credentials are the matter, which ones were tried.
fn refused(
    err: &CallError,
    image: &ImageName,
    credentials: Option<&Credentials>,
) -> RuntimeFailure {
    let text = err.text();
    let small = text.to_ascii_lowercase();
    if !NOT_ALLOWED.iter().any(|words| small.contains(words)) {
        return Operation::Pull.failed(err);
    }
    let registry = image.registry();
    let tried = match credentials {
        None => format!("no credentials for {registry}: give some in registry_auth_file"),
        Some(Credentials { user, .. }) => format!(
            "{registry} did not take the credentials of {user:?}: look at registry_auth_file"
        ),
    };
    Operation::Pull.permanent(&format!("{text}; {tried}"))
}

/// What the registry calls these bytes; the image's id where no registry does.
fn shown_digest(found: &ImageInspect, image: &ImageName) -> String {
    let told = found.repo_digests.as_deref().unwrap_or_default();
    let digest = in_its_repository(image, told).next();
    let digest = digest.and_then(|name| name.split_once('@'));
    let digest = digest.map(|(_, digest)| digest.to_owned());
    digest.or_else(|| found.id.clone()).unwrap_or_default()
}

/// The ids of all images; `None` where Docker does not say.
async fn images_here(shared: &Shared, client: &Client) -> Option<BTreeSet<String>> {
    let options = ListImagesOptions {
        all: true,
        ..ListImagesOptions::default()
    };
    let listed = bounded(
        shared.config.call_timeout,
        client.list_images(Some(options)),
    )
    .await;
    Some(listed.ok()?.into_iter().map(|image| image.id).collect())
}
