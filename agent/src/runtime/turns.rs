//! Who may ask Docker for its heavy work, and how many at a time.

use super::{
    docker::{START_TIMEOUT_FACTOR, Shared, bounded},
    failure::CallError,
};
use bollard::errors::Error as DockerError;
use std::{pin::pin, time::Duration};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::timeout,
};

/// A create or start that takes longer hangs on something, and keeps no core busy.
const TURN_MAX: Duration = Duration::from_secs(5);
/// If for so long none that has a turn comes to its end, they all hang, and waiting is in vain.
const TURNS_STUCK: Duration = Duration::from_secs(2);

/// One kind of call, and how many of it there may be at a time.
#[derive(Debug)]
pub(crate) struct Lane {
    permits: Semaphore,
    /// A call has come to its end, and not by hanging too long.
    ended: Notify,
}

impl Lane {
    pub(crate) fn new(calls_max: usize) -> Self {
        Self {
            permits: Semaphore::new(calls_max),
            ended: Notify::new(),
        }
    }

    /// `None`, and go on without one, where whoever has a turn hangs: however many hang, others do
    /// not.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let mut permit = pin!(acquire(&self.permits));
        loop {
            let ended = timeout(TURNS_STUCK, self.ended.notified());
            tokio::select! {
                permit = &mut permit => return Some(permit),
                ended = ended => if ended.is_err() { return None },
            }
        }
    }
}

/// Heavy calls take turns, but one that hangs doesn't keep its turn.
pub(crate) async fn in_turn<T>(
    shared: &Shared,
    lane: &Lane,
    call: impl Future<Output = Result<T, DockerError>>,
) -> Result<T, CallError> {
    let permit = lane.turn().await;
    let limit = shared.config.call_timeout * START_TIMEOUT_FACTOR;
    let mut call = pin!(bounded(limit, call));
    if let Ok(outcome) = timeout(TURN_MAX, &mut call).await {
        lane.ended.notify_waiters();
        return outcome;
    }
    drop(permit);
    call.await
}

pub(crate) async fn acquire(semaphore: &Semaphore) -> SemaphorePermit<'_> {
    semaphore
        .acquire()
        .await
        .expect("the semaphore is never closed")
}
