//! Images: when they are pulled and with which credentials, what is noted of them, and their end.

mod ahead;
mod auth_file;
mod clean_up;
mod credentials;
mod digest;
mod name;
mod notes;
mod progress;
mod pull;
mod settings;
mod removal;
mod view;

pub(crate) use ahead::on_pull;
pub(crate) use clean_up::keep_clean;
#[cfg(test)]
pub(crate) use clean_up::{Reasons, clean};
pub(crate) use credentials::mend_header;
pub(crate) use digest::digest_of;
pub(crate) use name::ImageName;
pub(crate) use pull::PROGRESS_TIMEOUT;
pub(crate) use settings::{CleanUp, ImageSettings, PullBehavior, WhenCleaned};
pub(crate) use view::{Images, PulledImage};

use super::{
    docker::Shared,
    failure::Operation,
    tally::{Hold, Tally},
    timestamp,
};
use holdfast_core::{
    ids::ImageDigest,
    task::runtime::{CreateContainer, RuntimeFailure},
};
use notes::Notes;
use pull::{PULLS_AHEAD_MAX, PULLS_MAX, Pull, Waiter};
use removal::Removals;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tracing::warn;

/// What all workers share of images.
#[derive(Debug)]
pub(crate) struct ImageState {
    pub(crate) notes: Notes,
    pulls: Semaphore,
    /// Those of them that no task waits for.
    ahead: Semaphore,
    /// Pulls under way: many tasks of one image are one pull.
    pulling: Mutex<BTreeMap<ImageName, Arc<Pull>>>,
    /// Images that containers are being made of, or that are being pulled: not to be removed.
    held: Tally<ImageName>,
    removals: Removals,
    /// An image has come, so the disk may be full.
    room_wanted: Notify,
    /// When images are next looked at for their age; kept over lost connections.
    next_cycle: Mutex<Instant>,
}

/// A container is being made of this image.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    shared: &'a Shared,
    _held: Hold<'a, ImageName>,
    image: ImageName,
    waiter: Waiter,
    /// The pull that came before its making failed, and why.
    failed: Option<RuntimeFailure>,
}

impl ImageState {
    pub(crate) fn open(state_dir: &Path, settings: &ImageSettings) -> Self {
        Self {
            notes: Notes::open(state_dir),
            pulls: Semaphore::new(PULLS_MAX),
            ahead: Semaphore::new(PULLS_AHEAD_MAX),
            pulling: Mutex::default(),
            held: Tally::default(),
            removals: Removals::default(),
            room_wanted: Notify::new(),
            next_cycle: Mutex::new(Instant::now() + settings.clean_up.interval),
        }
    }

    /// For as long as it is held, the image is not removed; a removal that has begun ends first.
    async fn claim(&self, image: &ImageName) -> Hold<'_, ImageName> {
        let held = self.held.hold(image.clone());
        self.removals.over(image).await;
        held
    }
}

impl<'a> Wanted<'a> {
    pub(crate) async fn claim(shared: &'a Shared, create: &CreateContainer) -> Self {
        let image = ImageName::of(&create.container.image);
        Self {
            _held: shared.images.claim(&image).await,
            shared,
            image,
            waiter: Waiter {
                task: create.labels.task,
                container: create.labels.container.clone(),
            },
            failed: None,
        }
    }

    /// Before the container is made: pulls where that is not left to an image that is missing.
    pub(crate) async fn before(&mut self) -> Result<(), RuntimeFailure> {
        let (notes, behavior) = (&self.shared.images.notes, self.behavior());
        let pulls = match behavior {
            // A digest always means the same bytes: if they are here, nothing is to be had.
            _ if self.image.is_by_digest() => false,
            PullBehavior::Default | PullBehavior::Always => true,
            PullBehavior::Once => !notes.has_pulled(&self.image),
            PullBehavior::PreferCached | PullBehavior::Never => false,
        };
        if !pulls {
            return Ok(());
        }
        match self.pull().await {
            Err(failure) if behavior == PullBehavior::Default => {
                self.failed = Some(failure);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Docker says that there is no such image.
    pub(crate) async fn on_missing(&mut self) -> Result<(), RuntimeFailure> {
        if self.behavior() == PullBehavior::Never {
            let text = format!(
                "no such image: {}; pulling is switched off on this host",
                self.image
            );
            return Err(Operation::Pull.permanent(&text));
        }
        match self.failed.take() {
            Some(failure) => Err(failure),
            None => self.pull().await,
        }
    }

    pub(crate) fn on_made(&self) {
        let image = &self.image;
        self.shared.images.notes.on_used(image, timestamp::now());
        if let Some(RuntimeFailure { reason, .. }) = &self.failed {
            warn!(%image, reason, "Cannot pull an image; the one that is here has to do.");
        }
    }

    /// As [`digest_of`] of what its name means now. What only serves since it could not be pulled
    /// settles nothing for others.
    pub(crate) async fn digest(&self) -> Option<ImageDigest> {
        if self.failed.is_some() {
            return None;
        }
        digest_of(self.shared, &self.image, &self.image.to_string()).await
    }

    fn behavior(&self) -> PullBehavior {
        self.shared.config.images.behavior
    }

    async fn pull(&self) -> Result<(), RuntimeFailure> {
        let pull = Pull::join(self.shared, &self.image);
        pull.add(self.waiter.clone());
        pull.outcome(self.shared, &self.image).await.map(drop)
    }
}
