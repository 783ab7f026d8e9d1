//! The spool's file: a queue for each sink in redb, and what is let go when one is full.

use super::{BATCH_BYTES_MAX, Entry, Kept, Spooled, Unsaved};
use crate::{
    api::{context::ApiContext, events::dropped_json},
    store::{StoreError, open_database, store_error},
};
use holdfast_core::{
    event::EventId,
    ids::HostId,
    rng::{hash_bytes, mix},
    time::Wall,
};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use std::path::{Path, PathBuf};
use tracing::warn;

/// When the spool is full, so many parts of a hundred are let go at once.
const LET_GO_PERCENT: u64 = 5;
/// What an event costs beside its text.
const ENTRY_BYTES: u64 = 32;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const NEXT: &str = "next";

struct Queue {
    table: &'static str,
    spooled: Spooled,
}

pub(super) struct File {
    path: PathBuf,
    /// `None` before it could be opened and after a failure: it is opened for the next transaction.
    database: Option<Database>,
    /// What was there when it was first opened was counted.
    is_counted: bool,
    queues: Vec<Queue>,
    next: u64,
    bytes_max: u64,
}

/// What stands under a key: an event, or that those from `first` to this key were dropped.
enum Value<'a> {
    Event { json: &'a [u8] },
    Dropped { first: u64, from: Wall, to: Wall },
}

impl File {
    pub(super) fn new(path: &Path, sinks: Vec<&'static str>, bytes_max: u64) -> Self {
        let queue = |table| Queue {
            table,
            spooled: Spooled::default(),
        };
        Self {
            path: path.to_owned(),
            database: None,
            is_counted: false,
            queues: sinks.into_iter().map(queue).collect(),
            next: 1,
            bytes_max,
        }
    }

    pub(super) fn database(&mut self) -> Result<&Database, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => {
                let opened = open_database(&self.path);
                let counted = opened.and_then(|mut database| {
                    self.count(&mut database)?;
                    Ok(database)
                });
                counted.map_err(|err| store_error(&self.path, err))?
            }
        };
        Ok(self.database.insert(database))
    }

    /// Finds out, once, what is there from an earlier life. An empty file is made small again.
    fn count(&mut self, database: &mut Database) -> Result<(), redb::Error> {
        if self.is_counted {
            return Ok(());
        }
        let transaction = database.begin_write()?;
        let mut next = transaction
            .open_table(META)?
            .get(NEXT)?
            .map_or(1, |next| next.value());
        let mut counted = Vec::new();
        for queue in &self.queues {
            let mut spooled = Spooled::default();
            for entry in transaction.open_table(events(queue.table))?.iter()? {
                let (key, value) = entry?;
                next = next.max(key.value() + 1);
                spooled.waiting += 1;
                spooled.bytes += value.value().len() as u64 + ENTRY_BYTES;
            }
            counted.push(spooled);
        }
        transaction.commit()?;
        if counted.iter().all(|spooled| spooled.waiting == 0) {
            database.compact()?;
        }
        let queues = self.queues.iter_mut().zip(counted);
        queues.for_each(|(queue, spooled)| queue.spooled = spooled);
        self.next = next;
        self.is_counted = true;
        Ok(())
    }

    /// All or nothing, and durable. The oldest make room.
    pub(super) fn append(&mut self, unsaved: &[Unsaved]) -> Result<(), StoreError> {
        self.database()?;
        let (mut next, bytes_max) = (self.next, self.bytes_max);
        let before: Vec<Spooled> = self.queues.iter().map(|queue| queue.spooled).collect();
        let written = self.write(|transaction, queues| {
            for unsaved in unsaved {
                let values: Vec<Vec<u8>> = match unsaved {
                    Unsaved::Events { entries, .. } => entries.iter().map(event_value).collect(),
                    Unsaved::Lost(count, from, to) => {
                        let first = next;
                        next += count - 1;
                        queues
                            .iter_mut()
                            .for_each(|queue| queue.spooled.dropped += count);
                        vec![dropped_value(first, *from, *to)]
                    }
                };
                for queue in queues.iter_mut() {
                    let mut table = transaction.open_table(events(queue.table))?;
                    for (value, key) in values.iter().zip(next..) {
                        table.insert(key, value.as_slice())?;
                        queue.spooled.waiting += 1;
                        queue.spooled.bytes += value.len() as u64 + ENTRY_BYTES;
                    }
                    if queue.spooled.bytes > bytes_max {
                        let goal = bytes_max - bytes_max * LET_GO_PERCENT / 100;
                        let_go(&mut table, &mut queue.spooled, goal)?;
                    }
                }
                next += values.len() as u64;
            }
            transaction.open_table(META)?.insert(NEXT, next)?;
            Ok(())
        });
        match written {
            Ok(()) => self.next = next,
            Err(_) => {
                let queues = self.queues.iter_mut().zip(before);
                queues.for_each(|(queue, before)| queue.spooled = before);
            }
        }
        written
    }

    pub(super) fn take(
        &mut self,
        sink: usize,
        count_max: usize,
        (context, host): (&ApiContext, HostId),
    ) -> Result<Vec<Kept>, StoreError> {
        let Some(queue) = self.queues.get(sink) else {
            return Ok(Vec::new());
        };
        let name = queue.table;
        let database = self.database()?;
        let read = || -> Result<Vec<Kept>, redb::Error> {
            let table = database.begin_read()?.open_table(events(name))?;
            let (mut taken, mut bytes) = (Vec::new(), 0);
            for entry in table.iter()?.take(count_max) {
                let (key, value) = entry?;
                let key = key.value();
                let json = match Value::read(value.value()) {
                    Value::Event { json } => json.to_vec(),
                    Value::Dropped { first, from, to } => {
                        let (id, count) = (gap_id(name, host, (first, key)), key + 1 - first);
                        let json = dropped_json(context, (&id.to_string(), count), (from, to));
                        json.to_string().into_bytes()
                    }
                };
                bytes += json.len();
                if bytes > BATCH_BYTES_MAX && !taken.is_empty() {
                    break;
                }
                taken.push(Kept { key, json });
            }
            Ok(taken)
        };
        read().map_err(|err| store_error(&self.path, err))
    }

    pub(super) fn remove(&mut self, sink: usize, upto: u64) -> Result<(), StoreError> {
        let before = self.queues.get(sink).map(|queue| queue.spooled);
        let removed = self.write(|transaction, queues| {
            let Some(queue) = queues.get_mut(sink) else {
                return Ok(());
            };
            let mut table = transaction.open_table(events(queue.table))?;
            for entry in table.extract_from_if(..=upto, |_, _| true)? {
                let (_, value) = entry?;
                queue.spooled.forget(value.value().len());
            }
            // While they were on their way, some of them were dropped here, with others.
            let front = table
                .first()?
                .map(|(key, value)| (key.value(), value.value().to_vec()));
            if let Some((key, value)) = front
                && let Value::Dropped { first, from, to } = Value::read(&value)
                && first <= upto
            {
                table.insert(key, dropped_value(upto + 1, from, to).as_slice())?;
                let delivered = upto + 1 - first;
                queue.spooled.dropped = queue.spooled.dropped.saturating_sub(delivered);
            }
            Ok(())
        });
        if let (Err(_), Some(before)) = (&removed, before) {
            self.queues[sink].spooled = before;
        }
        removed
    }

    fn write(
        &mut self,
        fill: impl FnOnce(&redb::WriteTransaction, &mut [Queue]) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        self.database()?;
        let database = self.database.take().expect("it was opened just now");
        let written = (|| {
            let transaction = database.begin_write()?;
            fill(&transaction, &mut self.queues)?;
            Ok(transaction.commit()?)
        })();
        match written {
            Ok(()) => {
                self.database = Some(database);
                Ok(())
            }
            Err(err) => Err(store_error(&self.path, err)),
        }
    }
}

/// Drops the oldest until no more than `goal` bytes are left; one entry stands for all of them.
fn let_go(
    table: &mut redb::Table<'_, u64, &'static [u8]>,
    spooled: &mut Spooled,
    goal: u64,
) -> Result<(), redb::Error> {
    let mut gap: Option<(u64, u64, Wall, Wall)> = None;
    while spooled.bytes > goal {
        let Some((key, value)) = table.pop_first()? else {
            break;
        };
        let (key, value) = (key.value(), value.value());
        spooled.forget(value.len());
        let (first, from, to) = match Value::read(value) {
            Value::Event { .. } => {
                spooled.dropped += 1;
                let at = time_of(value);
                (key, at, at)
            }
            Value::Dropped { first, from, to } => (first, from, to),
        };
        gap = Some(match gap {
            None => (first, key, from, to),
            Some((first, _, from, _)) => (first, key, from, to),
        });
    }
    if let Some((first, last, from, to)) = gap {
        let value = dropped_value(first, from, to);
        spooled.waiting += 1;
        spooled.bytes += value.len() as u64 + ENTRY_BYTES;
        table.insert(last, value.as_slice())?;
        let count = last + 1 - first;
        warn!(
            count,
            "Dropped events, since the spool is full and a sink does not take them."
        );
    }
    Ok(())
}

impl File {
    pub(super) fn spooled(&self) -> Vec<Spooled> {
        self.queues.iter().map(|queue| queue.spooled).collect()
    }
}

impl Spooled {
    const fn forget(&mut self, bytes: usize) {
        self.waiting = self.waiting.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64 + ENTRY_BYTES);
    }
}

const fn events(table: &str) -> TableDefinition<'_, u64, &'static [u8]> {
    TableDefinition::new(table)
}

const EVENT: u8 = 0;
const DROPPED: u8 = 1;

fn event_value(entry: &Entry) -> Vec<u8> {
    let mut value = vec![EVENT];
    value.extend(entry.at.0.to_le_bytes());
    value.extend(&entry.json);
    value
}

fn dropped_value(first: u64, from: Wall, to: Wall) -> Vec<u8> {
    let mut value = vec![DROPPED];
    for number in [from.0, to.0, first] {
        value.extend(number.to_le_bytes());
    }
    value
}

/// The first number of a value; 0 where it was not written by us.
fn number(value: &[u8], place: usize) -> u64 {
    let bytes = value.get(1 + place * 8..9 + place * 8);
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

fn time_of(value: &[u8]) -> Wall {
    Wall(number(value, 0))
}

impl<'a> Value<'a> {
    fn read(value: &'a [u8]) -> Self {
        match value.first() {
            Some(&DROPPED) => Self::Dropped {
                from: time_of(value),
                to: Wall(number(value, 1)),
                first: number(value, 2),
            },
            _ => Self::Event {
                json: value.get(9..).unwrap_or_default(),
            },
        }
    }
}

/// The same each time that the same gap is told.
fn gap_id(sink: &str, host: HostId, (first, last): (u64, u64)) -> EventId {
    let seed = hash_bytes(sink.as_bytes()) ^ host.word();
    let (high, low) = (mix(seed ^ mix(first)), mix(seed ^ mix(last) ^ 1));
    EventId(u128::from(high) << 64 | u128::from(low))
}
