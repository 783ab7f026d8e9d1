//! Waits for what was done at another agent and is on its way here.

use super::App;
use crate::handle::BoardState;
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

/// A board on which much happens is not looked at more often.
const PAUSE: Duration = Duration::from_millis(5);

/// Begun before the first look, so that nothing is missed between two.
pub(super) struct Hearing {
    changes: watch::Receiver<BoardState>,
    until: Instant,
}

impl Hearing {
    pub(super) fn new(app: &App, bound: Duration) -> Self {
        let mut changes = app.handle.changes();
        changes.mark_unchanged();
        Self {
            changes,
            until: Instant::now() + bound,
        }
    }

    /// Whether it is worth another look: the board is another one, and there is time.
    pub(super) async fn next(&mut self) -> bool {
        let changed = timeout_at(self.until, self.changes.changed()).await;
        if !matches!(changed, Ok(Ok(()))) {
            return false;
        }
        sleep(PAUSE).await;
        self.changes.mark_unchanged();
        Instant::now() < self.until
    }
}
