//! Keeps the directory in step with the board, and DNS with it, on a thread of their own.

use super::Directory;
use crate::{
    dns::{self, DnsSettings, Zone},
    gossip::now_wall_ms,
    handle::{Handle, Stopping},
};
use holdfast_core::cluster::board::Board;
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

/// Between two directories at least: what changes within it is taken together.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Where very much happens, making them takes this part of a processor at most.
const BUSY_PART_MAX: u32 = 10;

/// Ends its thread when it is dropped.
#[derive(Debug)]
pub(crate) struct Refresher {
    _closing: DropGuard,
}

impl Refresher {
    /// It has no part in the agent's loop: neither holds the other up. `None`: without DNS.
    pub(crate) fn start(handle: &Handle, dns: Option<DnsSettings>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let closing = CancellationToken::new();
        let (closed, handle) = (closing.clone(), handle.clone());
        let thread = thread::Builder::new().name("directory".to_owned());
        thread.spawn(move || runtime.block_on(closed.run_until_cancelled(run(handle, dns))))?;
        let _closing = closing.drop_guard();
        Ok(Self { _closing })
    }
}

async fn run(handle: Handle, dns: Option<DnsSettings>) {
    let (zones, zone) = watch::channel(None);
    let served = dns::serve(dns.clone(), zone, &handle);
    // The agent stops then, and says so by itself.
    let refreshed = async { refresh(&handle, dns.as_ref(), &zones).await.ok() };
    tokio::join!(refreshed, served);
}

/// Until the agent stops.
async fn refresh(
    handle: &Handle,
    dns: Option<&DnsSettings>,
    zones: &watch::Sender<Option<Arc<Zone>>>,
) -> Result<(), Stopping> {
    let mut changes = handle.changes();
    let caught_up = changes.wait_for(|state| state.caught_up).await;
    caught_up.map_err(|_| Stopping)?;
    let mut latest = Arc::new(Directory::default());
    loop {
        changes.mark_unchanged();
        let board = handle.read(|agent| agent.board().clone()).await?;
        let begun = Instant::now();
        // What is old is worse than nothing: clients go on with what they were told last.
        let made = made(board, &latest, dns);
        if let Some((directory, _)) = &made {
            latest = Arc::clone(directory);
        }
        let (directory, zone) = made.unzip();
        zones.send_replace(zone.flatten());
        handle.set_directory(directory);
        sleep(PAUSE_MIN.max(begun.elapsed() * BUSY_PART_MAX)).await;
        changes.changed().await.map_err(|_| Stopping)?;
    }
}

/// `None` where a record on the board brings a bug of ours to light, which is not to end the agent.
fn made(
    board: Board,
    before: &Directory,
    dns: Option<&DnsSettings>,
) -> Option<(Arc<Directory>, Option<Arc<Zone>>)> {
    let make = AssertUnwindSafe(|| {
        let directory = Arc::new(Directory::of(board, before));
        let serial = u32::try_from(now_wall_ms() / 1_000).unwrap_or_default();
        let zone = dns.map(|dns| Arc::new(Zone::of(Arc::clone(&directory), dns, serial)));
        (directory, zone)
    });
    let made = catch_unwind(make);
    if made.is_err() {
        error!("The agent has a bug: it cannot tell who may be used, until the board changes.");
    }
    made.ok()
}
