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
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

/// How long a record that nothing waits for may stay in memory.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

type Entry = (Vec<u8>, Vec<u8>);

enum Write {
    Soon {
        puts: Vec<Entry>,
        deletes: Vec<Vec<u8>>,
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
}

impl Disk {
    pub(crate) fn start(store: Store) -> Self {
        let (writes, taken) = channel();
        let (tell, trouble) = watch::channel(None);
        thread::spawn(move || run(store, &taken, &tell));
        Self { writes, trouble }
    }

    pub(crate) fn remember(&self, records: &[Arc<Record>]) {
        self.hand(Write::Soon {
            puts: entries(records),
            deletes: Vec::new(),
        });
    }

    pub(crate) fn forget(&self, records: &[Arc<Record>]) {
        let deletes = records.iter().map(|record| key_of(record)).collect();
        self.hand(Write::Soon {
            puts: Vec::new(),
            deletes,
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
            Ok(Write::Soon { puts, deletes }) => store.commit(&puts, &deletes, Durable::Later),
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
