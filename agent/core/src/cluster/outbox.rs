//! The outbox: changed records that wait to be spread, within a budget and fair in a flood.
//!
//! What comes into a quiet outbox leaves at once; what follows within a few milliseconds leaves
//! together, so that datagrams are full. Verdicts, services, slots and the like do not wait for
//! that, and a flood of others cannot hold them up; nor can one of slots hold up what is said of
//! hosts and services, for which keepers wait and hosts that were given slots. Of each sort the
//! newest and the oldest share what may be sent, so that news is news and everything has its turn.
//! What is too much is left to repair.

use crate::{
    cluster::{body::Key, record::Record},
    ids::HostId,
    limits,
    time::{Mono, Span},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Between two flushes of what can wait.
const FLUSH_INTERVAL: Span = Span::from_ms(10);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outbox {
    /// The most urgent sort first.
    queues: [Queue; 3],
    /// By key hash, so that a later version takes the place of the one that waits.
    places: BTreeMap<u64, u64>,
    pushed: u64,
    /// Our own of this step, which also go straight to whom they concern.
    fresh: Vec<Arc<Record>>,
    next_flush: Mono,
    /// What may still be sent to each peer before `next_flush`.
    budget: usize,
}

/// A changed record, and who sent it if it was not written here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    pub record: Arc<Record>,
    pub from: Option<HostId>,
}

/// In the order in which they came.
type Queue = BTreeMap<u64, Change>;

impl Outbox {
    pub fn push(&mut self, record: &Arc<Record>, from: Option<HostId>) {
        if from.is_none() {
            self.fresh.push(Arc::clone(record));
        }
        self.pushed += 1;
        if let Some(place) = self.places.insert(record.key_hash, self.pushed) {
            for queue in &mut self.queues {
                queue.remove(&place);
            }
        }
        let change = Change {
            record: Arc::clone(record),
            from,
        };
        self.queues[sort(&record.key)].insert(self.pushed, change);
        while self.len() > limits::OUTBOX_RECORDS_MAX {
            let oldest = self.queues.iter_mut().rev().find_map(Queue::pop_first);
            if let Some((_, change)) = oldest {
                self.places.remove(&change.record.key_hash);
            }
        }
    }

    /// What was written here since it was last asked.
    pub fn take_fresh(&mut self) -> Vec<Arc<Record>> {
        std::mem::take(&mut self.fresh)
    }

    fn len(&self) -> usize {
        self.queues.iter().map(Queue::len).sum()
    }

    /// What is to be sent now; at most [`limits::SPREAD_BYTES_MAX`] in one interval.
    pub fn flush(&mut self, now: Mono) -> Vec<Change> {
        if self.len() == 0 {
            return Vec::new();
        }
        let due = now >= self.next_flush;
        if due {
            self.next_flush = now + FLUSH_INTERVAL;
            self.budget = limits::SPREAD_BYTES_MAX;
        }
        let mut taken = Vec::new();
        for sort in 0..self.queues.len() {
            let [queue, later @ ..] = &mut self.queues[sort..] else {
                break;
            };
            if sort == REST && !due {
                break;
            }
            // What is less urgent has its share, too.
            let waiting = later.iter().filter(|queue| !queue.is_empty()).count();
            let reserved = waiting * limits::SPREAD_BYTES_MAX / 4;
            let room = self.budget.saturating_sub(reserved);
            let bytes = take(queue, room, &mut taken);
            self.budget = self.budget.saturating_sub(bytes);
        }
        for change in &taken {
            self.places.remove(&change.record.key_hash);
        }
        taken
    }

    pub fn deadline(&self) -> Option<Mono> {
        (self.len() > 0).then_some(self.next_flush)
    }
}

/// Takes the newest into one half of the room and the oldest into the other; says how many bytes.
fn take(queue: &mut Queue, room: usize, into: &mut Vec<Change>) -> usize {
    let mut bytes = 0;
    loop {
        let next = if bytes < room / 2 {
            queue.last_entry()
        } else {
            queue.first_entry()
        };
        let Some(next) = next else { break };
        let size = next.get().record.bytes as usize;
        // One that is larger than all room goes alone.
        let fits = bytes + size <= room || (bytes == 0 && room == limits::SPREAD_BYTES_MAX);
        if !fits {
            break;
        }
        bytes += size;
        into.push(next.remove());
    }
    bytes
}

/// Whoever acts on what is more urgent acts at once, and there is little of it.
const fn sort(key: &Key) -> usize {
    match key {
        Key::Host(_)
        | Key::StopOrder(_)
        | Key::Protection(_)
        | Key::Verdict(_)
        | Key::Directive(_)
        | Key::Electorate
        | Key::ClusterKey(_)
        | Key::KeyInUse
        | Key::ServiceCount(_)
        | Key::ServiceRevision(_)
        | Key::ServiceSettings(_)
        | Key::Run(_)
        | Key::Cluster(_)
        | Key::Schedule(_)
        | Key::Ticks(_)
        | Key::Pins(_) => 0,
        Key::Slot(..) => 1,
        Key::Definition(_)
        | Key::Label { .. }
        | Key::Task(..)
        | Key::Secret(_)
        | Key::Config(_)
        | Key::Tag(..)
        | Key::Unknown { .. } => REST,
    }
}

const REST: usize = 2;
