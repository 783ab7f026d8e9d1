//! A host's disk: what was persisted is there after a crash, what was to be remembered perhaps.

use holdfast_core::cluster::{body::Key, record::Record};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

#[derive(Clone, Debug, Default)]
pub struct Disk {
    records: BTreeMap<Key, Arc<Record>>,
    /// Written but not yet durable, in order, each with the time from which it is.
    late: VecDeque<(u64, Write)>,
}

#[derive(Clone, Debug)]
enum Write {
    Put(Arc<Record>),
    Remove(Arc<Record>),
}

impl Disk {
    pub fn persist(&mut self, records: Vec<Arc<Record>>) {
        records.into_iter().for_each(|record| self.put(record));
    }

    pub fn remember(&mut self, now: u64, durable_at: u64, records: Vec<Arc<Record>>) {
        self.settle(now);
        let writes = records.into_iter().map(|r| (durable_at, Write::Put(r)));
        self.late.extend(writes);
    }

    pub fn forget(&mut self, now: u64, durable_at: u64, records: Vec<Arc<Record>>) {
        self.settle(now);
        let writes = records.into_iter().map(|r| (durable_at, Write::Remove(r)));
        self.late.extend(writes);
    }

    /// The power or the process is gone: what is not durable by now is lost.
    pub fn crash(&mut self, now: u64) {
        self.settle(now);
        self.late.clear();
    }

    /// An orderly end writes everything.
    pub fn flush(&mut self) {
        self.settle(u64::MAX);
    }

    pub fn saved(&self) -> Vec<Arc<Record>> {
        self.records.values().cloned().collect()
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Record>> {
        self.records.get(key)
    }

    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.values()
    }

    fn settle(&mut self, now: u64) {
        while self.late.front().is_some_and(|(at, _)| *at <= now) {
            match self.late.pop_front() {
                Some((_, Write::Put(record))) => self.put(record),
                Some((_, Write::Remove(record))) => {
                    if self.is_not_newer(&record) {
                        self.records.remove(&record.key);
                    }
                }
                None => return,
            }
        }
    }

    fn put(&mut self, record: Arc<Record>) {
        // A late write must not undo a persisted one that was made after it.
        if self.is_not_newer(&record) {
            self.records.insert(record.key.clone(), record);
        }
    }

    fn is_not_newer(&self, record: &Record) -> bool {
        self.records
            .get(&record.key)
            .is_none_or(|ours| ours.version <= record.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::{cluster::record::Version, ids::HostId};

    fn record(host: u128, epoch: u64) -> Arc<Record> {
        let version = Version {
            epoch,
            ..Version::default()
        };
        Record::new(Key::Host(HostId(host)), version, None)
    }

    #[test]
    fn a_crash_loses_what_was_only_to_be_remembered() {
        let mut disk = Disk::default();
        disk.persist(vec![record(1, 1)]);
        disk.remember(0, 10, vec![record(2, 1)]);
        disk.remember(5, 15, vec![record(3, 1)]);
        disk.crash(12);
        let kept: Vec<_> = disk.saved().into_iter().map(|r| r.key.clone()).collect();
        assert_eq!(kept, [Key::Host(HostId(1)), Key::Host(HostId(2))]);
    }

    #[test]
    fn a_late_write_never_undoes_a_persisted_one() {
        let mut disk = Disk::default();
        disk.remember(0, 10, vec![record(1, 1)]);
        disk.persist(vec![record(1, 2)]);
        disk.forget(5, 12, vec![record(1, 1)]);
        disk.flush();
        assert_eq!(disk.get(&Key::Host(HostId(1))), Some(&record(1, 2)));
    }
}
