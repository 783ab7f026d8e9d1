//! The disk's worker: writes records in the background, and tells when a barrier has been passed.

use crate::store::{Durable, Store, StoreError};
use holdfast_core::cluster::record::Record;
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tracing::{error, info};

/// How long a record that nothing waits for may stay in memory.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// What may wait to be written. A disk that hangs for long holds up the agent, as it does at each
/// barrier, rather than fill the memory.
const WAITING_KIB_MAX: usize = 64 * 1_024;

type Entry = (Vec<u8>, Vec<u8>);

enum Write {
    Soon {
        puts: Vec<Entry>,
        deletes: Vec<Vec<u8>>,
        /// Given back when it is written, or given up.
        _room: Option<OwnedSemaphorePermit>,
    },
    Barrier {
        puts: Vec<Entry>,
        done: oneshot::Sender<Result<(), String>>,
    },
    Close(oneshot::Sender<()>),
}

/// Hands records to the worker; dropping it ends the worker.
#[derive(Debug)]
pub(crate) struct Disk {
    writes: Sender<Write>,
    /// Why the last write failed; `None` while the disk works.
    trouble: watch::Receiver<Option<String>>,
    room_kib: Arc<Semaphore>,
}

impl Disk {
    pub(crate) fn start(store: Store) -> Self {
        let (writes, taken) = channel();
        let (tell, trouble) = watch::channel(None);
        thread::spawn(move || run(store, &taken, &tell));
        Self {
            writes,
            trouble,
            room_kib: Arc::new(Semaphore::new(WAITING_KIB_MAX)),
        }
    }

    /// Waits only where too much is waiting already.
    pub(crate) async fn remember(&self, records: &[Arc<Record>]) {
        self.soon(entries(records), Vec::new()).await;
    }

    /// As [`Disk::remember`].
    pub(crate) async fn forget(&self, records: &[Arc<Record>]) {
        let deletes = records.iter().map(|record| key_of(record)).collect();
        self.soon(Vec::new(), deletes).await;
    }

    async fn soon(&self, puts: Vec<Entry>, deletes: Vec<Vec<u8>>) {
        let put: usize = puts
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        let deleted: usize = deletes.iter().map(Vec::len).sum();
        let kib = ((put + deleted) / 1_024 + 1).min(WAITING_KIB_MAX) as u32;
        let room = Arc::clone(&self.room_kib).acquire_many_owned(kib).await;
        self.hand(Write::Soon {
            puts,
            deletes,
            // It is never closed.
            _room: room.ok(),
        });
    }

    /// Returns when the records are on disk. After an error they are not.
    pub(crate) async fn persist(&self, records: &[Arc<Record>]) -> Result<(), String> {
        let (done, passed) = oneshot::channel();
        self.hand(Write::Barrier {
            puts: entries(records),
            done,
        });
        passed
            .await
            .unwrap_or_else(|_| Err("the disk's worker has ended".to_owned()))
    }

    /// Writes what is still in memory.
    pub(crate) async fn close(&self) {
        let (done, passed) = oneshot::channel();
        self.hand(Write::Close(done));
        // A worker that has ended has written everything that it could.
        passed.await.ok();
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    fn hand(&self, write: Write) {
        // The worker only ends after us.
        self.writes.send(write).ok();
    }
}

/// The store's key of a record: its kind, then its own key.
fn key_of(record: &Record) -> Vec<u8> {
    let (kind, key) = record.key.to_wire();
    let mut bytes = vec![kind];
    bytes.extend(key);
    bytes
}

fn entries(records: &[Arc<Record>]) -> Vec<Entry> {
    records
        .iter()
        .map(|record| (key_of(record), record.encode()))
        .collect()
}

fn run(mut store: Store, writes: &Receiver<Write>, tell: &watch::Sender<Option<String>>) {
    loop {
        let written = match writes.recv_timeout(FLUSH_INTERVAL) {
            Ok(Write::Soon {
                puts,
                deletes,
                _room,
            }) => store.commit(&puts, &deletes, Durable::Later),
            Ok(Write::Barrier { puts, done }) => {
                let written = store.commit(&puts, &[], Durable::Now);
                let told = written.as_ref().copied().map_err(chain);
                // Whoever waited may have gone; the write stands.
                done.send(told).ok();
                written
            }
            Ok(Write::Close(done)) => {
                let written = store.flush();
                done.send(()).ok();
                written
            }
            Err(RecvTimeoutError::Timeout) => store.flush(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        note(&written, tell);
    }
    note(&store.flush(), tell);
}

/// Tells of trouble when it begins and when it ends, not with each write.
fn note(written: &Result<(), StoreError>, tell: &watch::Sender<Option<String>>) {
    let now = written.as_ref().err().map(chain);
    let changed = tell.send_if_modified(|was| {
        let changed = was.is_some() != now.is_some();
        was.clone_from(&now);
        changed
    });
    match (changed, &now) {
        (true, Some(reason)) => error!(%reason, "Cannot save; tasks go on, changes are refused."),
        (true, None) => info!("Saving works again."),
        (false, _) => {}
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(err: &(impl std::error::Error + ?Sized)) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use holdfast_core::{cluster::body::Key, cluster::record::Version, ids::HostId};

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_whoever_writes_until_there_is_room_again() {
        let (writes, taken) = channel();
        let (_tell, trouble) = watch::channel(None);
        let disk = Disk {
            writes,
            trouble,
            room_kib: Arc::new(Semaphore::new(2)),
        };
        let record = [Record::new(Key::Host(HostId(1)), Version::default(), None)];
        disk.remember(&record).await;
        disk.forget(&record).await;
        let mut third = Box::pin(disk.remember(&record));
        assert_eq!(
            third.as_mut().now_or_never(),
            None,
            "there is no room for it"
        );
        // A barrier is waited for by itself.
        let passed = disk.persist(&record);
        let mut passed = Box::pin(passed);
        assert_eq!(passed.as_mut().now_or_never(), None);
        drop(taken.recv().unwrap());
        third.await;
        let left: Vec<Write> = taken.try_iter().collect();
        assert_eq!(left.len(), 3);
    }
}
