//! The spool: what each sink has yet to take, in one redb file, bounded; what is dropped is told.
//!
//! One thread owns the file. An event is written before the records that it tells of are, so that
//! what is not spooled when the agent is killed is found out, and told, anew.

mod file;

use crate::{
    api::context::ApiContext,
    disk::chain,
    store::{StoreError, put_aside},
};
use file::File;
use holdfast_core::{ids::HostId, time::Wall};
use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::timeout,
};
use tracing::{error, info};

/// What may wait for the disk; beyond it events are dropped rather than kept in memory.
const UNSAVED_KIB_MAX: usize = 8 * 1_024;
/// A disk that failed is tried again so often.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// What is handed to a sink at a time.
pub(super) const BATCH_BYTES_MAX: usize = 512 * 1_024;

/// One event, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) at: Wall,
    pub(super) json: Vec<u8>,
}

/// An event as a sink takes it; `key` only grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) key: u64,
    pub(super) json: Vec<u8>,
}

/// What waits for one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spooled {
    pub(super) waiting: u64,
    pub(super) bytes: u64,
    /// Since the agent started.
    pub(super) dropped: u64,
}

enum Order {
    Append {
        entries: Vec<Entry>,
        /// Given back when they are written.
        room: OwnedSemaphorePermit,
    },
    /// There was no room for these.
    Lose {
        count: u64,
        from: Wall,
        to: Wall,
    },
    Take {
        sink: usize,
        count_max: usize,
        reply: oneshot::Sender<Vec<Kept>>,
    },
    Done {
        sink: usize,
        upto: u64,
        reply: oneshot::Sender<bool>,
    },
    Pass(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// What the thread tells to whoever asks, at any time.
#[derive(Debug, Default)]
struct Told {
    spooled: Vec<Spooled>,
    trouble: Option<String>,
}

/// For the driver; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Spool {
    orders: Sender<Order>,
    grown: watch::Receiver<u64>,
    told: Arc<Mutex<Told>>,
    room_kib: Arc<Semaphore>,
    /// What there was no room for, until there is.
    lost: Option<(u64, Wall, Wall)>,
    /// Something was handed over since the last pass.
    is_fresh: bool,
}

/// For one sink.
#[derive(Debug)]
pub(super) struct Reader {
    orders: Sender<Order>,
    grown: watch::Receiver<u64>,
}

impl Spool {
    /// A damaged file is put aside: what it held is lost, and the agent goes on.
    pub(super) fn open(
        path: &Path,
        sinks: Vec<&'static str>,
        bytes_max: u64,
        (context, host): (Arc<ApiContext>, HostId),
        now: Wall,
    ) -> Result<Self, StoreError> {
        let mut file = File::new(path, sinks, bytes_max);
        let opened = match file.database().map(drop) {
            Err(StoreError::Damaged { err, .. }) => {
                put_aside(path, now.0, &err)?;
                file.database().map(drop)
            }
            opened => opened,
        };
        // A full disk must not keep an agent from its tasks: it is tried again with each event.
        let trouble = opened.err().map(|err| chain(&err));
        let (orders, taken) = channel();
        let (tell, grown) = watch::channel(0);
        let told = Arc::new(Mutex::new(Told::default()));
        let worker = Worker {
            file,
            context,
            host,
            tell,
            told: Arc::clone(&told),
            unsaved: Vec::new(),
        };
        worker.show(trouble);
        thread::spawn(move || worker.run(&taken));
        Ok(Self {
            orders,
            grown,
            told,
            room_kib: Arc::new(Semaphore::new(UNSAVED_KIB_MAX)),
            lost: None,
            is_fresh: false,
        })
    }

    pub(super) fn reader(&self) -> Reader {
        Reader {
            orders: self.orders.clone(),
            grown: self.grown.clone(),
        }
    }

    /// Waits for nothing. What there is no room for is told as dropped.
    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        let (from, to) = (first.at, last.at);
        let bytes: usize = entries.iter().map(|entry| entry.json.len()).sum();
        let kib = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room_kib).try_acquire_many_owned(kib);
        self.is_fresh = true;
        let Ok(room) = room else {
            let count = entries.len() as u64;
            let (lost, since, _) = self.lost.unwrap_or((0, from, to));
            self.lost = Some((lost + count, since, to));
            return;
        };
        if let Some((count, from, to)) = self.lost.take() {
            self.hand(Order::Lose { count, from, to });
        }
        self.hand(Order::Append { entries, room });
    }

    pub(super) async fn pass(&mut self) {
        if std::mem::take(&mut self.is_fresh) {
            let (done, passed) = oneshot::channel();
            self.hand(Order::Pass(done));
            passed.await.ok();
        }
    }

    pub(super) async fn close(&self) {
        let (done, passed) = oneshot::channel();
        self.hand(Order::Close(done));
        passed.await.ok();
    }

    pub(super) fn spooled(&self, sink: usize) -> Spooled {
        lock(&self.told)
            .spooled
            .get(sink)
            .copied()
            .unwrap_or_default()
    }

    /// Why nothing can be spooled; absent while it can.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.told).trouble.clone()
    }

    fn hand(&self, order: Order) {
        // The thread only ends after us.
        self.orders.send(order).ok();
    }
}

impl Reader {
    /// The next events for the sink, at least one, in order; `None` when the spool is closed.
    pub(super) async fn next(&mut self, sink: usize, count_max: usize) -> Option<Vec<Kept>> {
        loop {
            self.grown.mark_unchanged();
            let (reply, taken) = oneshot::channel();
            let order = Order::Take {
                sink,
                count_max,
                reply,
            };
            self.orders.send(order).ok()?;
            let taken = taken.await.ok()?;
            if !taken.is_empty() {
                return Some(taken);
            }
            // A spool that could not be read is looked at again, too.
            if let Ok(Err(_)) = timeout(LOOK_AGAIN, self.grown.changed()).await {
                return None;
            }
        }
    }

    /// The sink has taken all up to this one, or will never take them. `false`: that could not be
    /// written down, and is to be tried again, since they would come again.
    pub(super) async fn done(&self, sink: usize, upto: u64) -> bool {
        let (reply, passed) = oneshot::channel();
        if self.orders.send(Order::Done { sink, upto, reply }).is_err() {
            // It is closed: nothing comes any more.
            return true;
        }
        passed.await.unwrap_or(true)
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    // Each field is valid by itself.
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own.
struct Worker {
    file: File,
    context: Arc<ApiContext>,
    host: HostId,
    /// Ticks with what is appended.
    tell: watch::Sender<u64>,
    told: Arc<Mutex<Told>>,
    unsaved: Vec<Unsaved>,
}

enum Unsaved {
    Events {
        entries: Vec<Entry>,
        _room: OwnedSemaphorePermit,
    },
    Lost(u64, Wall, Wall),
}

impl Worker {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let order = match self.unsaved.is_empty() {
                true => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => orders.recv_timeout(RETRY_INTERVAL),
            };
            match order {
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.save(),
                Ok(Order::Append { entries, room }) => {
                    self.unsaved.push(Unsaved::Events {
                        entries,
                        _room: room,
                    });
                    self.save();
                }
                Ok(Order::Lose { count, from, to }) => {
                    self.unsaved.push(Unsaved::Lost(count, from, to));
                    self.save();
                }
                Ok(Order::Take {
                    sink,
                    count_max,
                    reply,
                }) => {
                    let taken = self.file.take(sink, count_max, (&self.context, self.host));
                    reply.send(self.noted(taken).unwrap_or_default()).ok();
                }
                Ok(Order::Done { sink, upto, reply }) => {
                    let done = self.file.remove(sink, upto);
                    reply.send(self.noted(done).is_some()).ok();
                }
                Ok(Order::Pass(done)) => {
                    done.send(()).ok();
                }
                Ok(Order::Close(done)) => {
                    self.save();
                    done.send(()).ok();
                    break;
                }
            }
        }
    }

    /// One transaction for all that waits. What was not written is tried again.
    fn save(&mut self) {
        let written = self.file.append(&self.unsaved);
        if self.noted(written).is_some() {
            self.unsaved.clear();
            self.tell.send_modify(|ticks| *ticks += 1);
        }
    }

    fn noted<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        let trouble = result.as_ref().err().map(chain);
        self.show(trouble);
        result.ok()
    }

    /// Tells of trouble when it begins and when it ends, not each time.
    fn show(&self, trouble: Option<String>) {
        let mut told = lock(&self.told);
        match (&told.trouble, &trouble) {
            (None, Some(reason)) => error!(%reason, "Cannot spool events; they wait in memory."),
            (Some(_), None) => info!("Spooling events works again."),
            _ => {}
        }
        told.trouble = trouble;
        told.spooled = self.file.spooled();
    }
}

#[cfg(test)]
mod tests;
