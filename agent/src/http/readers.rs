//! Answers are made beside the agent's loop, a few at a time.

use crate::api::error::ApiError;
use std::sync::Arc;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

/// A short answer does not wait for a long one, and the loop has its part of a core that it shares.
const READERS_MAX: usize = 2;

/// Who makes answers.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Semaphore>);

/// One of them.
pub(super) struct Turn(OwnedSemaphorePermit);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READERS_MAX)))
    }
}

impl Readers {
    /// First come, first served.
    pub(super) async fn turn(&self) -> Turn {
        let permit = Arc::clone(&self.0).acquire_owned().await;
        Turn(permit.expect("it is never closed"))
    }
}

impl Turn {
    /// Does the work on a thread of its own, to its end even if nobody waits for it any more.
    pub(super) async fn spend<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let working = spawn_blocking(move || {
            let done = work();
            drop(self.0);
            done
        });
        working.await.map_err(|_| {
            ApiError::Server(
                "the agent has a bug and cannot answer this; look at its log with `journalctl -u \
                 holdfast`"
                    .to_owned(),
            )
        })
    }
}
