//! Images that are wanted on this host before any task needs them.

use super::{ImageName, PullBehavior, pull::Pull};
use crate::runtime::{docker::Shared, failure::Operation};
use holdfast_core::{
    spec::image::ImageRef,
    task::runtime::{PulledImage, RuntimeEvent, RuntimeFailure},
};
use std::{convert::Infallible, future::pending, time::Duration};
use tokio::{sync::watch, time::sleep};

/// Whoever waits asks no more often.
const TOLD_EACH: Duration = Duration::from_secs(1);

pub(crate) async fn on_pull(shared: &Shared, image: ImageRef) {
    let outcome = pull(shared, &image).await;
    let event = RuntimeEvent::ImagePulled { image, outcome };
    shared.tell(|_| event).await;
}

async fn pull(shared: &Shared, image: &ImageRef) -> Result<PulledImage, RuntimeFailure> {
    if shared.config.images.behavior == PullBehavior::Never {
        let text = "pulling is switched off on this host: image_pull_behavior is \"never\"";
        return Err(Operation::Pull.permanent(text));
    }
    // Tasks that need an image come first: few of their turns are taken for what nobody needs yet.
    let turn = shared.images.ahead.acquire().await;
    let _turn = turn.expect("the semaphore is never closed");
    let name = ImageName::of(image.as_str());
    // Until what came of it is noted.
    let _held = shared.images.claim(&name).await;
    let pull = Pull::join(shared, &name);
    let progress = pull.follow();
    tokio::select! {
        outcome = pull.outcome(shared, &name) => outcome,
        never = keep_telling(shared, image, progress) => match never {},
    }
}

async fn keep_telling(
    shared: &Shared,
    image: &ImageRef,
    mut progress: watch::Receiver<String>,
) -> Infallible {
    while progress.changed().await.is_ok() {
        let progress = progress.borrow_and_update().clone();
        if progress.is_empty() {
            continue;
        }
        let image = image.clone();
        let event = RuntimeEvent::ImagePulling { image, progress };
        shared.tell(|_| event).await;
        sleep(TOLD_EACH).await;
    }
    // The pull is over, and so is this in a moment.
    pending().await
}
