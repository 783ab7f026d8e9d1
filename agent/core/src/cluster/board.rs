//! The board: a full copy of the records, what they mean together, and their hash tree.

use crate::{
    cluster::{
        body::{
            Availability, Body, HostReport, HostStatus, Key, Protection, RuntimeStatus, Slot,
            Standing, TaskReport,
        },
        hash_tree::HashTree,
        record::{Record, Version},
    },
    event::HostStanding,
    ids::{Digest, Generation, HostId, Incarnation, ServiceId, SlotIndex, TaskId},
    limits,
    time::Wall,
};
use entry::{ByKey, BySlot, ByTask, TasksOf};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    iter,
    ops::{Bound, RangeBounds},
    sync::Arc,
};
use traces::Traces;

/// Reads the body of one kind of record, with its version.
macro_rules! body {
    ($board:expr, $key:expr, $kind:ident) => {
        match $board.record(&$key).map(|r| (r.version, r.body.as_ref())) {
            Some((version, Some(Body::$kind(body)))) => Some((version, body)),
            _ => None,
        }
    };
}

mod definitions;
mod entry;
mod said;
mod service;
mod traces;

pub use service::Service;
pub use traces::Trace;

/// A clone costs nothing and shares all that is equal: whoever reads gets a consistent picture
/// without stopping who writes.
#[derive(Clone, Debug, Default)]
pub struct Board {
    records: OrdSet<ByKey>,
    tree: HashTree,
    /// Services with live settings by name; the earliest of a name is the one that counts.
    names: OrdMap<String, OrdSet<(Wall, ServiceId)>>,
    /// Task reports with a slot.
    slot_tasks: OrdSet<BySlot>,
    tasks: OrdSet<ByTask>,
    /// What the first tasks of runs are to be called.
    run_tasks: OrdMap<TaskId, (ServiceId, SlotIndex)>,
    /// Definitions that runs have changed for themselves, and which.
    run_definitions: OrdMap<Digest, OrdSet<ServiceId>>,
    traces: Traces,
}

/// What a host said of a task of a service.
#[derive(Clone, Copy, Debug)]
pub struct TaskSaid<'a> {
    pub host: HostId,
    pub task: TaskId,
    /// In which it said so.
    pub life: Incarnation,
    pub report: &'a TaskReport,
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

// Writing.
impl Board {
    pub fn from_records(records: impl IntoIterator<Item = Arc<Record>>) -> Self {
        let mut board = Self::default();
        for record in records {
            board.merge(&record);
        }
        board
    }

    /// The one rule: the higher version wins, always, for every kind.
    pub fn merge(&mut self, record: &Arc<Record>) -> Merge {
        if let Some(ours) = self.record(&record.key) {
            match record.version.cmp(&ours.version) {
                std::cmp::Ordering::Less if !planted!(LastWordWins) => {
                    return Merge::Older {
                        ours: Arc::clone(ours),
                    };
                }
                std::cmp::Ordering::Equal => return Merge::Known,
                std::cmp::Ordering::Less | std::cmp::Ordering::Greater => {}
            }
        }
        let replaced = self.records.insert(ByKey(Arc::clone(record)));
        let replaced = replaced.map(|ByKey(old)| old);
        if let Some(old) = &replaced {
            self.unindex(old);
        }
        self.index(record);
        Merge::Taken { replaced }
    }

    /// How long tombstones are kept: while a host is down, longer, so that it hears of them.
    pub fn tombstone_ms(&self) -> u64 {
        let mut hosts = self.hosts();
        if hosts.any(|(host, ..)| self.is_down(host)) {
            limits::TOMBSTONE_FOR_ABSENT_MS
        } else {
            limits::TOMBSTONE_MS
        }
    }

    /// Takes tombstones away that every host has had the time to see; returns them.
    pub fn bury(&mut self, now: Wall) -> Vec<Arc<Record>> {
        let kept_ms = self.tombstone_ms();
        let old =
            |r: &&Arc<Record>| r.body.is_none() && now.ms_since(r.version.stamp.wall) > kept_ms;
        // Without the tombstone nobody would know that its slots are to go, too.
        let has_slots = |key: &Key| match key {
            Key::ServiceSettings(service) | Key::Run(service) => {
                self.slots(*service).next().is_some()
            }
            _ => false,
        };
        let buried = self.records().filter(|r| old(r) && !has_slots(&r.key));
        let buried: Vec<_> = buried.cloned().collect();
        for record in &buried {
            self.remove(record);
        }
        buried
    }

    /// Takes a record away that the board holds, in this version.
    pub fn remove(&mut self, record: &Arc<Record>) {
        self.records.remove(&record.key);
        self.unindex(record);
    }

    fn index(&mut self, record: &Arc<Record>) {
        self.tree.insert(record);
        self.traces.note(record);
        match (&record.key, &record.body) {
            (Key::ServiceSettings(id), Some(Body::ServiceSettings(s))) => {
                poisoned!(&s.name);
                self.names
                    .entry(s.name.clone())
                    .or_default()
                    .insert((s.created_at, *id));
            }
            (Key::Task(..), Some(Body::Task(report))) => {
                self.tasks.insert(ByTask(Arc::clone(record)));
                if report.slot.is_some() {
                    self.slot_tasks.insert(BySlot(Arc::clone(record)));
                }
            }
            (Key::Run(id), Some(Body::Run(run))) => {
                let slots = (0..).zip(&run.tasks);
                let slots = slots.map(|(index, task)| (*task, (*id, index)));
                self.run_tasks.extend(slots);
                if run.overridden.is_some() {
                    let of = self.run_definitions.entry(run.revision.definition);
                    of.or_default().insert(*id);
                }
            }
            _ => {}
        }
    }

    fn unindex(&mut self, record: &Arc<Record>) {
        self.tree.remove(record);
        self.traces.note(record);
        match (&record.key, &record.body) {
            (Key::ServiceSettings(id), Some(Body::ServiceSettings(s))) => {
                if let Some(ids) = self.names.get_mut(&s.name) {
                    ids.remove(&(s.created_at, *id));
                    if ids.is_empty() {
                        self.names.remove(&s.name);
                    }
                }
            }
            (Key::Task(..), Some(Body::Task(report))) => {
                self.tasks.remove(&ByTask(Arc::clone(record)));
                if report.slot.is_some() {
                    self.slot_tasks.remove(&BySlot(Arc::clone(record)));
                }
            }
            (Key::Run(id), Some(Body::Run(run))) => {
                for task in &run.tasks {
                    self.run_tasks.remove(task);
                }
                let digest = run.revision.definition;
                if let Some(of) = self.run_definitions.get_mut(&digest) {
                    of.remove(id);
                    if of.is_empty() {
                        self.run_definitions.remove(&digest);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The records alone: all else follows from them.
impl Serialize for Board {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.records())
    }
}

impl<'de> Deserialize<'de> for Board {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let records = Vec::<Arc<Record>>::deserialize(deserializer)?;
        Ok(Self::from_records(records))
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
        self.tree.root()
    }

    pub const fn tree(&self) -> &HashTree {
        &self.tree
    }

    pub fn by_key_hash(&self, key_hash: u64) -> Option<&Arc<Record>> {
        self.tree.get(key_hash)
    }

    /// All records in order of their keys.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.iter().map(|ByKey(record)| record)
    }

    pub fn record(&self, key: &Key) -> Option<&Arc<Record>> {
        self.records.get(key).map(|ByKey(record)| record)
    }

    /// We know that it was removed; not knowing it at all is something else.
    pub fn is_buried(&self, key: &Key) -> bool {
        self.record(key).is_some_and(|record| record.body.is_none())
    }

    /// Those whose keys come after this one, or all.
    pub fn records_after(&self, after: Option<&Key>) -> impl Iterator<Item = &Arc<Record>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.records.range::<_, Key>((from, Bound::Unbounded));
        range.map(|ByKey(record)| record)
    }

    pub(super) fn range(
        &self,
        keys: impl RangeBounds<Key>,
    ) -> impl DoubleEndedIterator<Item = &Record> {
        let range = self.records.range::<_, Key>(keys);
        range.map(|ByKey(record)| record.as_ref())
    }
}

// Reading.
impl Board {
    pub fn host(&self, host: HostId) -> Option<(Incarnation, &HostReport)> {
        body!(self, Key::Host(host), Host).map(|(version, report)| (version.epoch, report))
    }

    pub fn hosts(&self) -> impl Iterator<Item = (HostId, Incarnation, &HostReport)> {
        let range = Key::Host(HostId(0))..=Key::Host(HostId(u128::MAX));
        self.range(range)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Host(host), Some(Body::Host(report))) => {
                    Some((*host, record.version.epoch, report))
                }
                _ => None,
            })
    }

    /// What its observers agree on about the host as it is now, if they ever said anything.
    pub fn judged(&self, host: HostId) -> Option<Standing> {
        let (judged, verdict) = body!(self, Key::Verdict(host), Verdict)?;
        let (incarnation, _) = self.host(host)?;
        (incarnation <= judged.epoch).then_some(verdict.standing)
    }

    /// When somebody last asked something of the service: its tasks, what they run, how.
    pub fn asked_at(&self, service: ServiceId) -> Wall {
        let keys = [
            Key::ServiceSettings(service),
            Key::ServiceRevision(service),
            Key::ServiceCount(service),
            Key::Run(service),
        ];
        let said = keys.iter().filter_map(|key| self.record(key));
        let at = said.map(|record| record.version.stamp.wall);
        at.max().unwrap_or_default()
    }

    /// Judged down by its observers and not heard of again since, or gone by its own word.
    pub fn is_down(&self, host: HostId) -> bool {
        self.down_since(host).is_some()
    }

    /// Neither its agent nor its machine answers its observers at the moment.
    pub fn is_suspect(&self, host: HostId) -> bool {
        self.judged(host) == Some(Standing::Suspect)
    }

    /// Its agent does not answer its observers at the moment, its machine does.
    pub fn is_impaired(&self, host: HostId) -> bool {
        self.judged(host) == Some(Standing::Impaired)
    }

    /// Not down, and not known to answer either.
    pub fn is_in_doubt(&self, host: HostId) -> bool {
        self.is_suspect(host) || self.is_impaired(host)
    }

    /// How long the host had been silent when it was last judged.
    pub fn silent_ms(&self, host: HostId) -> u64 {
        body!(self, Key::Verdict(host), Verdict).map_or(0, |(_, verdict)| verdict.silent_ms)
    }

    /// When a host that is down was judged, or said that it goes.
    pub fn down_since(&self, host: HostId) -> Option<Wall> {
        let report = self.record(&Key::Host(host))?;
        match &report.body {
            Some(Body::Host(said)) if said.status == HostStatus::Left => {
                return Some(report.version.stamp.wall);
            }
            Some(_) => {}
            None => return None,
        }
        let (judged, verdict) = body!(self, Key::Verdict(host), Verdict)?;
        let stands = verdict.standing == Standing::Down && report.version.epoch <= judged.epoch;
        stands.then_some(judged.stamp.wall)
    }

    /// Neither down nor unknown nor forgotten.
    pub fn is_up(&self, host: HostId) -> bool {
        self.host(host).is_some() && !self.is_down(host)
    }

    /// Its tasks are to be moved away, and it is given no more.
    pub fn is_leaving(&self, host: HostId) -> bool {
        self.availability(host) == Availability::Drain
            || self.status(host) == Some(HostStatus::Leaving)
    }

    /// What the host says that it is about to do.
    pub fn status(&self, host: HostId) -> Option<HostStatus> {
        self.host(host).map(|(_, report)| report.status)
    }

    /// What people want of the host.
    pub fn availability(&self, host: HostId) -> Availability {
        let directive = body!(self, Key::Directive(host), Directive);
        directive.map_or(Availability::Active, |(_, directive)| {
            directive.availability
        })
    }

    /// What people are told of a host that an agent sees as `seen`: its own word and what is wanted
    /// of it say more than that it answers.
    pub fn standing(&self, host: HostId, seen: HostStanding) -> HostStanding {
        match (self.status(host), seen) {
            (Some(HostStatus::Left), _) => HostStanding::Left,
            (Some(HostStatus::Leaving), HostStanding::Up) => HostStanding::Leaving,
            _ if self.is_down(host) => HostStanding::Down,
            (_, HostStanding::Up) if self.availability(host) == Availability::Drain => {
                HostStanding::Draining
            }
            _ => seen,
        }
    }

    /// What is to be said of the host by this board alone.
    pub fn standing_now(&self, host: HostId) -> HostStanding {
        let Some((_, report)) = self.host(host) else {
            return HostStanding::Down;
        };
        let seen = match (self.judged(host), report.status) {
            (Some(Standing::Down), _) => HostStanding::Down,
            (_, HostStatus::Restarting) => HostStanding::Restarting,
            (Some(Standing::Suspect), _) => HostStanding::Suspect,
            (Some(Standing::Impaired), _) => HostStanding::Impaired,
            (Some(Standing::Cleared) | None, _) => HostStanding::Up,
        };
        self.standing(host, seen)
    }

    /// Hosts whose records were removed, and the version of the tombstone.
    pub fn forgotten_hosts(&self) -> impl Iterator<Item = (HostId, Version)> {
        let range = Key::Host(HostId(0))..=Key::Host(HostId(u128::MAX));
        self.range(range)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Host(host), None) => Some((*host, record.version)),
                _ => None,
            })
    }

    /// The host can vouch for what it says of the task: it is fresh, and its container runtime
    /// answers.
    pub fn is_vouched(&self, host: HostId, task: TaskId) -> bool {
        let runtime = self.host(host).map(|(_, report)| &report.runtime);
        matches!(runtime, Some(RuntimeStatus::Available { .. })) && self.is_fresh(host, task)
    }

    pub fn slot(&self, service: ServiceId, index: SlotIndex) -> Option<(Generation, &Slot)> {
        body!(self, Key::Slot(service, index), Slot).map(|(version, slot)| (version.epoch, slot))
    }

    pub fn slots(
        &self,
        service: ServiceId,
    ) -> impl Iterator<Item = (SlotIndex, Generation, &Slot)> {
        let range = Key::Slot(service, 0)..=Key::Slot(service, SlotIndex::MAX);
        self.range(range)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Slot(_, index), Some(Body::Slot(slot))) => {
                    Some((*index, record.version.epoch, slot))
                }
                _ => None,
            })
    }

    /// Those that have slots on record, alive or gone; without a look at each slot.
    pub fn services_with_slots(&self) -> impl Iterator<Item = ServiceId> {
        let last = Key::Slot(ServiceId(u128::MAX), SlotIndex::MAX);
        let first_from = move |from| {
            let mut slots = self.range(Key::Slot(from, 0)..=last.clone());
            slots.find_map(|record| match (&record.key, &record.body) {
                (Key::Slot(service, _), Some(Body::Slot(_))) => Some(*service),
                _ => None,
            })
        };
        let mut next = Some(ServiceId(0));
        iter::from_fn(move || {
            let service = first_from(next?)?;
            next = service.0.checked_add(1).map(ServiceId);
            Some(service)
        })
    }

    /// Every slot record of every service.
    pub fn all_slots(&self) -> impl Iterator<Item = (ServiceId, SlotIndex, Generation, &Slot)> {
        let first = Key::Slot(ServiceId(0), 0);
        let last = Key::Slot(ServiceId(u128::MAX), SlotIndex::MAX);
        self.range(first..=last)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Slot(service, index), Some(Body::Slot(slot))) => {
                    Some((*service, *index, record.version.epoch, slot))
                }
                _ => None,
            })
    }

    pub fn task(&self, task: TaskId) -> Option<(HostId, &TaskReport)> {
        let record = self.tasks.get_next(&task)?;
        record
            .report()
            .filter(|(_, id, _)| *id == task)
            .map(|(host, _, report)| (host, report))
    }

    pub fn task_at(&self, host: HostId, task: TaskId) -> Option<&TaskReport> {
        body!(self, Key::Task(host, task), Task).map(|(_, report)| report)
    }

    /// The host is up, and its report of the task was written since it last (re)started or was
    /// falsely judged: whatever is older may be from before a loss of power.
    pub fn is_fresh(&self, host: HostId, task: TaskId) -> bool {
        let written = self
            .record(&Key::Task(host, task))
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
        self.range(range)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Task(host, task), Some(Body::Task(report))) => Some((*host, *task, report)),
                _ => None,
            })
    }

    /// All reported tasks of a service, whatever their status, on hosts up or down; slot by slot.
    pub fn tasks_of(
        &self,
        service: ServiceId,
    ) -> impl Iterator<Item = (HostId, TaskId, &TaskReport)> {
        let records = self.slot_task_records(service, 0, SlotIndex::MAX);
        records.filter_map(entry::report)
    }

    /// As `tasks_of`, with all that tells whether it may be believed.
    pub fn tasks_said_of(&self, service: ServiceId) -> impl Iterator<Item = TaskSaid<'_>> {
        let records = self.slot_task_records(service, 0, SlotIndex::MAX);
        records.filter_map(|record| {
            let (host, task, report) = entry::report(record)?;
            Some(TaskSaid {
                host,
                task,
                life: record.version.epoch,
                report,
            })
        })
    }

    /// All reported tasks of a slot.
    pub fn copies(
        &self,
        service: ServiceId,
        index: SlotIndex,
    ) -> impl Iterator<Item = (HostId, TaskId, &TaskReport)> {
        let records = self.slot_task_records(service, index, index);
        records.filter_map(entry::report)
    }

    fn slot_task_records(
        &self,
        service: ServiceId,
        first: SlotIndex,
        last: SlotIndex,
    ) -> impl Iterator<Item = &Record> {
        let range = TasksOf::Begin(service, first)..TasksOf::End(service, last);
        let records = self.slot_tasks.range(range);
        records.map(|BySlot(record)| &**record)
    }

    /// Greater than that of what is there now, or was there before it was removed.
    pub fn next_epoch(&self, key: &Key) -> u64 {
        self.record(key)
            .map_or(0, |record| record.version.epoch + 1)
    }

    /// What was asked last of how long the task is not to be stopped.
    pub fn protection(&self, task: TaskId) -> Option<Protection> {
        body!(self, Key::Protection(task), Protection).map(|(_, protection)| *protection)
    }

    pub fn stop_order(&self, task: TaskId) -> Option<&str> {
        body!(self, Key::StopOrder(task), StopOrder).map(|(_, order)| order.reason.as_str())
    }
}
