//! Pulls missing images: each once however many ask, few at a time, and never stuck.

use super::{
    docker::{Shared, lock},
    failure::{CallError, Operation},
};
use bollard::{models::CreateImageInfo, query_parameters::CreateImageOptions};
use futures_util::StreamExt;
use holdfast_core::task::runtime::RuntimeFailure;
use std::{sync::Arc, time::Duration};
use tokio::{sync::OnceCell, time::timeout};

/// Images pulled at once; each is layers times three connections in Docker.
pub(crate) const PULLS_MAX: usize = 4;
/// A pull may take long, but not without a word of progress.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);

/// The outcome of one pull, which all who wait for the image share.
pub(crate) type Pull = OnceCell<Result<(), RuntimeFailure>>;

pub(crate) async fn pull(shared: &Shared, image: &str) -> Result<(), RuntimeFailure> {
    let pull = Arc::clone(lock(&shared.pulling).entry(image.to_owned()).or_default());
    let outcome = pull.get_or_init(|| pull_now(shared, image)).await.clone();
    let mut pulling = lock(&shared.pulling);
    // Who comes after this pull has ended starts another one; a later pull isn't ours to forget.
    if pulling
        .get(image)
        .is_some_and(|current| Arc::ptr_eq(current, &pull))
    {
        pulling.remove(image);
    }
    outcome
}

async fn pull_now(shared: &Shared, image: &str) -> Result<(), RuntimeFailure> {
    let failed = |err: &CallError| match err {
        CallError::Docker(_) | CallError::Unavailable | CallError::Id(_) => {
            Operation::Pull.failed(err)
        }
        CallError::TimedOut(limit) => Operation::Pull.permanent(&format!(
            "no progress in pulling {image} for {} s; look at the registry and the network",
            limit.as_secs()
        )),
    };
    let _permit = shared
        .pulls
        .acquire()
        .await
        .expect("the semaphore is never closed");
    let client = shared.client().map_err(|err| failed(&err))?;
    let options = CreateImageOptions {
        from_image: Some(with_tag(image)),
        ..CreateImageOptions::default()
    };
    let mut progress = client.create_image(Some(options), None, None);
    loop {
        let step: Option<Result<CreateImageInfo, _>> = timeout(PROGRESS_TIMEOUT, progress.next())
            .await
            .map_err(|_| failed(&CallError::TimedOut(PROGRESS_TIMEOUT)))?;
        match step {
            None => return Ok(()),
            Some(Ok(_)) => {}
            Some(Err(err)) => return Err(failed(&CallError::Docker(err))),
        }
    }
}

/// Docker takes a name without tag and digest for *every* tag of that name.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_name_gets_the_tag_latest() {
        for (image, expected) in [
            ("web", "web:latest"),
            ("web:1", "web:1"),
            ("localhost:5000/web", "localhost:5000/web:latest"),
            ("localhost:5000/web:1", "localhost:5000/web:1"),
            ("web@sha256:00", "web@sha256:00"),
        ] {
            assert_eq!(with_tag(image), expected);
        }
    }
}
