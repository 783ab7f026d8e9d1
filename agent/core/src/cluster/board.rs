//! The board: a full copy of the records, what they mean together, and their bucket hashes.

use crate::{
    cluster::{
        body::{
            Body, HostReport, Key, Label, RuntimeStatus, ServiceRevision, ServiceSettings, Slot,
            TaskReport,
        },
        record::Record,
    },
    ids::{Digest, Generation, HostId, Incarnation, ServiceId, SlotIndex, TaskId},
    limits,
    spec::{service::DefinitionRef, task_definition::TaskDefinition},
    time::Wall,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Clone, Debug)]
pub struct Board {
    records: BTreeMap<Key, Arc<Record>>,
    buckets: Vec<Bucket>,
    root: u64,
    /// Services with live settings by name; the earliest of a name is the one that counts.
    names: BTreeMap<String, BTreeSet<(Wall, ServiceId)>>,
    service_tasks: BTreeMap<ServiceId, BTreeSet<(HostId, TaskId)>>,
    task_hosts: BTreeMap<TaskId, HostId>,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    hash: u64,
    records: BTreeMap<u64, Arc<Record>>,
}

/// What merging one record did.
#[derive(Clone, Debug)]
pub enum Merge {
    /// It was new, and replaced this one.
    Taken { replaced: Option<Arc<Record>> },
    /// We have this very version.
    Known,
    /// We have a later one.
    Older { ours: Arc<Record> },
}

/// A service as its three records describe it together.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    pub id: ServiceId,
    pub settings: &'a ServiceSettings,
    pub revision: &'a ServiceRevision,
    pub desired: u32,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
            buckets: vec![Bucket::default(); limits::BUCKETS],
            root: 0,
            names: BTreeMap::new(),
            service_tasks: BTreeMap::new(),
            task_hosts: BTreeMap::new(),
        }
    }
}

// Writing.
impl Board {
    /// The one rule: the higher version wins, always, for every kind.
    pub fn merge(&mut self, record: &Arc<Record>) -> Merge {
        if let Some(ours) = self.records.get(&record.key) {
            match record.version.cmp(&ours.version) {
                std::cmp::Ordering::Less => {
                    return Merge::Older {
                        ours: Arc::clone(ours),
                    };
                }
                std::cmp::Ordering::Equal => return Merge::Known,
                std::cmp::Ordering::Greater => {}
            }
        }
        let replaced = self.records.insert(record.key.clone(), Arc::clone(record));
        if let Some(old) = &replaced {
            self.unindex(old);
        }
        self.index(record);
        Merge::Taken { replaced }
    }

    /// Takes tombstones away that every host has had the time to see; returns them.
    pub fn bury(&mut self, now: Wall) -> Vec<Arc<Record>> {
        let old = |r: &&Arc<Record>| {
            r.body.is_none() && now.ms_since(r.version.stamp.wall) > limits::TOMBSTONE_MS
        };
        let buried: Vec<_> = self.records.values().filter(old).cloned().collect();
        for record in &buried {
            self.records.remove(&record.key);
            self.unindex(record);
        }
        buried
    }

    fn index(&mut self, record: &Arc<Record>) {
        let hash = record.hash();
        let bucket = &mut self.buckets[bucket_of(record.key_hash)];
        bucket.records.insert(record.key_hash, Arc::clone(record));
        bucket.hash ^= hash;
        self.root ^= hash;
        match (&record.key, &record.body) {
            (Key::ServiceSettings(id), Some(Body::ServiceSettings(s))) => {
                self.names
                    .entry(s.name.clone())
                    .or_default()
                    .insert((s.created_at, *id));
            }
            (Key::Task(host, task), Some(Body::Task(report))) => {
                self.task_hosts.insert(*task, *host);
                if let Some(slot) = &report.slot {
                    self.service_tasks
                        .entry(slot.service)
                        .or_default()
                        .insert((*host, *task));
                }
            }
            _ => {}
        }
    }

    fn unindex(&mut self, record: &Arc<Record>) {
        let hash = record.hash();
        let bucket = &mut self.buckets[bucket_of(record.key_hash)];
        bucket.records.remove(&record.key_hash);
        bucket.hash ^= hash;
        self.root ^= hash;
        match (&record.key, &record.body) {
            (Key::ServiceSettings(id), Some(Body::ServiceSettings(s))) => {
                if let Some(ids) = self.names.get_mut(&s.name) {
                    ids.remove(&(s.created_at, *id));
                    if ids.is_empty() {
                        self.names.remove(&s.name);
                    }
                }
            }
            (Key::Task(host, task), Some(Body::Task(report))) => {
                if self.task_hosts.get(task) == Some(host) {
                    self.task_hosts.remove(task);
                }
                if let Some(slot) = &report.slot
                    && let Some(tasks) = self.service_tasks.get_mut(&slot.service)
                {
                    tasks.remove(&(*host, *task));
                    if tasks.is_empty() {
                        self.service_tasks.remove(&slot.service);
                    }
                }
            }
            _ => {}
        }
    }
}

// Comparing.
impl Board {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The XOR of all record hashes: equal boards have equal roots.
    pub const fn root(&self) -> u64 {
        self.root
    }

    pub fn bucket_hashes(&self) -> Vec<u64> {
        self.buckets.iter().map(|bucket| bucket.hash).collect()
    }

    /// The records of one bucket by the hash of their key.
    pub fn bucket(&self, number: usize) -> impl Iterator<Item = (u64, &Arc<Record>)> {
        let bucket = self.buckets.get(number).into_iter();
        bucket.flat_map(|b| b.records.iter().map(|(hash, record)| (*hash, record)))
    }

    pub fn by_key_hash(&self, key_hash: u64) -> Option<&Arc<Record>> {
        self.buckets[bucket_of(key_hash)].records.get(&key_hash)
    }

    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.values()
    }

    pub fn record(&self, key: &Key) -> Option<&Arc<Record>> {
        self.records.get(key)
    }
}

/// Reads the body of one kind of record, with its version.
macro_rules! body {
    ($board:expr, $key:expr, $kind:ident) => {
        match $board
            .records
            .get(&$key)
            .map(|r| (r.version, r.body.as_ref()))
        {
            Some((version, Some(Body::$kind(body)))) => Some((version, body)),
            _ => None,
        }
    };
}

// Reading.
impl Board {
    pub fn host(&self, host: HostId) -> Option<(Incarnation, &HostReport)> {
        body!(self, Key::Host(host), Host).map(|(version, report)| (version.epoch, report))
    }

    pub fn hosts(&self) -> impl Iterator<Item = (HostId, Incarnation, &HostReport)> {
        let range = Key::Host(HostId(0))..=Key::Host(HostId(u128::MAX));
        self.records
            .range(range)
            .filter_map(|(key, record)| match (key, &record.body) {
                (Key::Host(host), Some(Body::Host(report))) => {
                    Some((*host, record.version.epoch, report))
                }
                _ => None,
            })
    }

    /// Judged down by its observers, and not heard of again since.
    pub fn is_down(&self, host: HostId) -> bool {
        let Some((judged, _)) = body!(self, Key::Verdict(host), Verdict) else {
            return false;
        };
        self.host(host)
            .is_some_and(|(incarnation, _)| incarnation <= judged.epoch)
    }

    /// Neither judged down nor unknown.
    pub fn is_up(&self, host: HostId) -> bool {
        self.records.contains_key(&Key::Host(host)) && !self.is_down(host)
    }

    /// The host can vouch for what it says of the task: it is fresh, and its container runtime
    /// answers.
    pub fn is_vouched(&self, host: HostId, task: TaskId) -> bool {
        let runtime = self.host(host).map(|(_, report)| &report.runtime);
        matches!(runtime, Some(RuntimeStatus::Available { .. })) && self.is_fresh(host, task)
    }

    pub fn definition(&self, digest: Digest) -> Option<&TaskDefinition> {
        body!(self, Key::Definition(digest), Definition).map(|(_, definition)| definition)
    }

    pub fn label(&self, family: &str, revision: u32) -> Option<&Label> {
        body!(
            self,
            Key::Label {
                family: family.to_owned(),
                revision
            },
            Label
        )
        .map(|(_, l)| l)
    }

    /// All labels in order of family and revision.
    pub fn labels(&self) -> impl Iterator<Item = (&str, u32, &Label)> {
        let first = Key::Label {
            family: String::new(),
            revision: 0,
        };
        let range = first..Key::ServiceCount(ServiceId(0));
        self.records
            .range(range)
            .filter_map(|(key, record)| match (key, &record.body) {
                (Key::Label { family, revision }, Some(Body::Label(label))) => {
                    Some((family.as_str(), *revision, label))
                }
                _ => None,
            })
    }

    pub fn latest_revision(&self, family: &str) -> Option<u32> {
        let key = |revision| Key::Label {
            family: family.to_owned(),
            revision,
        };
        let mut range = self.records.range(key(0)..=key(u32::MAX));
        range
            .rfind(|(_, record)| record.body.is_some())
            .and_then(|(key, _)| match key {
                Key::Label { revision, .. } => Some(*revision),
                _ => None,
            })
    }

    /// The definition that `family` (its latest) or `family:revision` means.
    pub fn resolve(&self, wanted: &DefinitionRef) -> Option<ServiceRevision> {
        let family = wanted.family.clone();
        let revision = wanted.revision.or_else(|| self.latest_revision(&family))?;
        let definition = self.label(&family, revision)?.definition;
        Some(ServiceRevision {
            definition,
            family,
            revision,
        })
    }

    /// The service if it lives and is the earliest of its name.
    pub fn service(&self, id: ServiceId) -> Option<Service<'_>> {
        let (_, settings) = body!(self, Key::ServiceSettings(id), ServiceSettings)?;
        if self.service_id_named(&settings.name) != Some(id) {
            return None;
        }
        let (_, count) = body!(self, Key::ServiceCount(id), ServiceCount)?;
        let (_, revision) = body!(self, Key::ServiceRevision(id), ServiceRevision)?;
        Some(Service {
            id,
            settings,
            revision,
            desired: count.desired,
        })
    }

    pub fn service_named(&self, name: &str) -> Option<Service<'_>> {
        self.service(self.service_id_named(name)?)
    }

    /// All services in order of their names.
    pub fn services(&self) -> impl Iterator<Item = Service<'_>> {
        self.names
            .keys()
            .filter_map(|name| self.service_named(name))
    }

    /// Services whose name an earlier one has.
    pub fn shadowed_services(&self) -> impl Iterator<Item = ServiceId> {
        self.names
            .values()
            .flat_map(|ids| ids.iter().skip(1).map(|(_, id)| *id))
    }

    /// We know that the service was deleted (or lost its name to an earlier one); not knowing a
    /// service at all is something else.
    pub fn is_service_gone(&self, id: ServiceId) -> bool {
        match self.records.get(&Key::ServiceSettings(id)).map(|r| &r.body) {
            None => false,
            Some(Some(Body::ServiceSettings(s))) => self.service_id_named(&s.name) != Some(id),
            Some(_) => true,
        }
    }

    fn service_id_named(&self, name: &str) -> Option<ServiceId> {
        self.names.get(name)?.first().map(|(_, id)| *id)
    }

    pub fn slot(&self, service: ServiceId, index: SlotIndex) -> Option<(Generation, &Slot)> {
        body!(self, Key::Slot(service, index), Slot).map(|(version, slot)| (version.epoch, slot))
    }

    pub fn slots(
        &self,
        service: ServiceId,
    ) -> impl Iterator<Item = (SlotIndex, Generation, &Slot)> {
        let range = Key::Slot(service, 0)..=Key::Slot(service, SlotIndex::MAX);
        self.records
            .range(range)
            .filter_map(|(key, record)| match (key, &record.body) {
                (Key::Slot(_, index), Some(Body::Slot(slot))) => {
                    Some((*index, record.version.epoch, slot))
                }
                _ => None,
            })
    }

    /// Every slot record of every service.
    pub fn all_slots(&self) -> impl Iterator<Item = (ServiceId, SlotIndex, Generation, &Slot)> {
        let first = Key::Slot(ServiceId(0), 0);
        let last = Key::Slot(ServiceId(u128::MAX), SlotIndex::MAX);
        self.records
            .range(first..=last)
            .filter_map(|(key, record)| match (key, &record.body) {
                (Key::Slot(service, index), Some(Body::Slot(slot))) => {
                    Some((*service, *index, record.version.epoch, slot))
                }
                _ => None,
            })
    }

    pub fn task(&self, task: TaskId) -> Option<(HostId, &TaskReport)> {
        let host = *self.task_hosts.get(&task)?;
        self.task_at(host, task).map(|report| (host, report))
    }

    pub fn task_at(&self, host: HostId, task: TaskId) -> Option<&TaskReport> {
        body!(self, Key::Task(host, task), Task).map(|(_, report)| report)
    }

    /// The host is up, and its report of the task was written since it last (re)started or was
    /// falsely judged: whatever is older may be from before a loss of power.
    pub fn is_fresh(&self, host: HostId, task: TaskId) -> bool {
        let written = self
            .records
            .get(&Key::Task(host, task))
            .map(|record| record.version.epoch);
        let now = self.host(host).map(|(incarnation, _)| incarnation);
        self.is_up(host) && written.is_some() && written >= now
    }

    pub fn tasks(&self) -> impl Iterator<Item = (HostId, TaskId, &TaskReport)> {
        self.task_range(HostId(0), HostId(u128::MAX))
    }

    pub fn tasks_on(&self, host: HostId) -> impl Iterator<Item = (TaskId, &TaskReport)> {
        self.task_range(host, host)
            .map(|(_, task, report)| (task, report))
    }

    fn task_range(
        &self,
        first: HostId,
        last: HostId,
    ) -> impl Iterator<Item = (HostId, TaskId, &TaskReport)> {
        let range = Key::Task(first, TaskId(0))..=Key::Task(last, TaskId(u128::MAX));
        self.records
            .range(range)
            .filter_map(|(key, record)| match (key, &record.body) {
                (Key::Task(host, task), Some(Body::Task(report))) => Some((*host, *task, report)),
                _ => None,
            })
    }

    /// All reported tasks of a service, whatever their status, on hosts up or down.
    pub fn tasks_of(
        &self,
        service: ServiceId,
    ) -> impl Iterator<Item = (HostId, TaskId, &TaskReport)> {
        self.service_tasks
            .get(&service)
            .into_iter()
            .flatten()
            .filter_map(|&(host, task)| self.task_at(host, task).map(|report| (host, task, report)))
    }

    pub fn stop_order(&self, task: TaskId) -> Option<&str> {
        body!(self, Key::StopOrder(task), StopOrder).map(|(_, order)| order.reason.as_str())
    }
}

const fn bucket_of(key_hash: u64) -> usize {
    // The top bits: the low ones order the records within a bucket.
    (key_hash >> 58) as usize
}

const _: () = assert!(limits::BUCKETS == 1 << (64 - 58));
