//! Whoever uses an image and whoever removes it keep out of each other's way.
//!
//! A user holds the name first and then looks whether the image is being removed; who removes it
//! says so first and then looks whether anybody holds a name of it. So one of the two sees the
//! other, whatever comes between.

use super::ImageName;
use std::collections::BTreeSet;
use tokio::sync::watch;

/// The names of the image that is being removed; there is one at a time at most.
#[derive(Debug, Default)]
pub(crate) struct Removals(watch::Sender<BTreeSet<ImageName>>);

/// An image is being removed, as long as this lives.
#[derive(Debug)]
pub(crate) struct Removing<'a>(&'a Removals);

impl Removals {
    pub(crate) fn begin(&self, names: BTreeSet<ImageName>) -> Removing<'_> {
        self.0.send_replace(names);
        Removing(self)
    }

    /// Waits until it is not, or no longer, being removed.
    pub(crate) async fn over(&self, image: &ImageName) {
        let mut names = self.0.subscribe();
        let is_over = names.wait_for(|names| !names.contains(image)).await;
        is_over.expect("its sender lives as long as we do");
    }
}

impl Drop for Removing<'_> {
    fn drop(&mut self) {
        self.0.0.send_replace(BTreeSet::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn whoever_wants_what_is_being_removed_waits_until_that_is_over_and_nobody_else_does() {
        let removals = Removals::default();
        let (web, db) = (ImageName::of("web:1"), ImageName::of("db:7"));
        let removing = removals.begin([web.clone()].into());
        assert_eq!(removals.over(&db).now_or_never(), Some(()));
        let mut waiting = Box::pin(removals.over(&web));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(removing);
        waiting.await;
    }
}
