//! The digest of an image: what its registry knows it by, and every host can ask for.

use super::name::ImageName;
use crate::runtime::docker::{Shared, bounded};
use holdfast_core::ids::ImageDigest;
use std::{collections::BTreeSet, time::Duration};
use tracing::debug;

/// A container is not to wait long for what it can do without; making it takes longer, mostly.
const DIGEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What `image` is, which Docker knows as `id` or by its name; `None` where it came from no
/// registry, or Docker does not say.
pub(crate) async fn digest_of(shared: &Shared, image: &ImageName, id: &str) -> Option<ImageDigest> {
    if image.is_by_digest() {
        return image.digest();
    }
    let client = shared.client().ok()?;
    match bounded(DIGEST_TIMEOUT, client.inspect_image(id)).await {
        Ok(found) => chosen(image, &found.repo_digests.unwrap_or_default()),
        Err(err) => {
            let reason = err.text();
            debug!(%image, reason, "Cannot look up the digest of an image.");
            None
        }
    }
}

/// Of several in its repository none: some may be of this machine's architecture alone, and some no
/// registry may know (Podman lists both beside the one that was asked for).
fn chosen(image: &ImageName, told: &[String]) -> Option<ImageDigest> {
    let its: BTreeSet<_> = in_its_repository(image, told)
        .filter_map(|name| ImageName::of(name).digest())
        .collect();
    its.first().copied().filter(|_| its.len() == 1)
}

/// Of the names by digest that Docker tells of an image, those in this repository.
pub(super) fn in_its_repository<'a>(
    image: &ImageName,
    told: &'a [String],
) -> impl Iterator<Item = &'a String> {
    let is_its = |name: &&String| ImageName::of(name).repository() == image.repository();
    told.iter().filter(is_its)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_images_digests_that_of_its_own_repository_counts() {
        let told = |repository: &str, byte: u8| {
            let digest = ImageDigest([byte; 32]);
            format!("{repository}@{digest}")
        };
        let all = [
            told("other", 1),
            told("web", 2),
            told("docker.io/library/web", 2),
            told("me/web", 3),
            told("me/web", 4),
        ];
        for (image, digest) in [
            ("web:1", Some(ImageDigest([2; 32]))),
            ("docker.io/library/web", Some(ImageDigest([2; 32]))),
            ("a.example/web:1", None),
            ("me/web:1", None),
        ] {
            assert_eq!(chosen(&ImageName::of(image), &all), digest, "{image}");
        }
        assert_eq!(
            chosen(&ImageName::of("web"), &["web@sha256:00".into()]),
            None
        );
    }
}
