//! The board as the keeper needs it: loads, slots of each host, offers, keepers.
//!
//! Follows the board record by record and says which slots a change can touch, so that the news of
//! one host re-plans a few slots and not every service.

use crate::{
    cluster::{
        board::{Board, Service},
        body::{Body, HostReport, HostStatus, Key, Placement, RuntimeStatus, Slot, TaskReport},
        record::Record,
    },
    ids::{Digest, HostId, ServiceId, SlotIndex, TaskId},
    rng::hash_bytes,
    schedule::{
        copy::serves,
        keepers::{Fitness, Keepers},
        load::{HostFacts, Load, Standing},
        pace::avoided_for,
    },
    spec::{
        given::ValueName,
        options::PartitionPolicy,
        privilege::{DENIED, PRIVILEGE_ATTRIBUTE},
        task_definition::{Architecture, Resources, TaskDefinition},
    },
    task::status::{StopCode, TaskStatus},
    time::Wall,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What has to be looked at again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Touched {
    /// Each slot of these, and whatever else there is of them.
    pub services: BTreeSet<ServiceId>,
    pub slots: BTreeSet<(ServiceId, SlotIndex)>,
    /// A host can be given slots that could not before, or more of them.
    pub more_room: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Index {
    pub(super) load: Load,
    keepers: Keepers,
    /// Services under the policy `majority`.
    under_majority: BTreeSet<ServiceId>,
    /// The slots that name a host.
    named: BTreeSet<(HostId, ServiceId, SlotIndex)>,
    /// Slots that no host could run.
    unplaced: BTreeSet<(ServiceId, SlotIndex)>,
    /// Slots whose host has not said anything of them yet: they count as promised.
    offered: BTreeMap<(ServiceId, SlotIndex), (HostId, Digest)>,
    /// Slots of which predecessors still live, and where; these do not count as copies.
    handed_over: BTreeMap<(ServiceId, SlotIndex), Vec<HostId>>,
    /// Tasks that hosts have lately failed to start, and when they gave up.
    failed_starts: BTreeMap<(ServiceId, HostId), BTreeMap<TaskId, Wall>>,
    /// Hosts that are not down and do not answer at the moment.
    doubted: BTreeSet<HostId>,
    /// Definitions that were looked for and are not on the board yet.
    missing: BTreeSet<Digest>,
}

impl Touched {
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.slots.is_empty()
    }

    pub fn absorb(&mut self, mut other: Self) {
        self.services.append(&mut other.services);
        self.slots.append(&mut other.slots);
        self.more_room |= other.more_room;
    }
}

// Reading.
impl Index {
    pub const fn keepers(&self) -> &Keepers {
        &self.keepers
    }

    pub fn keeper_of(&self, service: ServiceId) -> Option<HostId> {
        self.keepers.of(service)
    }

    /// The one who would keep a service if only these hosts were there.
    pub fn keeper_among(
        &self,
        service: ServiceId,
        is_there: impl Fn(HostId) -> bool,
    ) -> Option<HostId> {
        self.keepers.among(service, is_there)
    }

    /// The services that this host would keep were it there, each with the host that keeps it.
    pub fn heirs_of(&self, gone: HostId) -> impl Iterator<Item = (ServiceId, HostId)> {
        self.keepers.heirs_of(gone)
    }

    /// Whether this host would keep the service instead of the one that does.
    pub fn outranks(&self, service: ServiceId, host: HostId) -> bool {
        self.keepers.outranks(service, host)
    }

    /// Services under the policy `majority`, in order of their ids.
    pub fn under_majority(&self) -> impl Iterator<Item = ServiceId> {
        self.under_majority.iter().copied()
    }

    pub fn is_under_majority(&self, service: ServiceId) -> bool {
        self.under_majority.contains(&service)
    }

    /// Hosts that had better not be given a slot of the service: those that have failed to start
    /// one lately, with how often, and those that do not answer at the moment.
    pub fn avoided(&self, now: Wall, service: ServiceId) -> BTreeMap<HostId, u32> {
        let range = (service, HostId(0))..=(service, HostId(u128::MAX));
        let failed = self
            .failed_starts
            .range(range)
            .filter_map(|((_, host), failures)| {
                let last = failures.values().max()?;
                let times = u32::try_from(failures.len()).unwrap_or(u32::MAX);
                let is_recent = now.ms_since(*last) < avoided_for(times).as_ms();
                let counts = is_recent && !planted!(TriesTheSameHostForEver);
                counts.then_some((*host, times))
            });
        let mut avoided: BTreeMap<HostId, u32> = failed.collect();
        avoided.extend(self.doubted.iter().map(|host| (*host, u32::MAX)));
        avoided
    }

    pub fn standing(&self, host: HostId) -> Standing {
        self.load.facts(host).standing
    }

    /// How many hosts the cluster has, those that are down included and those that leave not.
    pub fn roster(&self) -> u32 {
        self.load.roster()
    }

    /// Slots whose predecessors still serve, on hosts that are up.
    pub fn moves(&self, board: &Board) -> usize {
        let serves = |at: &Placement| {
            let report = board.task_at(at.host, at.task);
            // Who is protected stays for long: others need not wait for that.
            let goes = report.is_some_and(|r| r.last.is_live() && !r.is_protected());
            goes && board.is_up(at.host)
        };
        let moving = self.handed_over.keys().filter(|(service, index)| {
            let slot = board.slot(*service, *index);
            slot.is_some_and(|(_, slot)| slot.superseded.iter().any(serves))
        });
        moving.count()
    }

    /// The slots of the service that name the host.
    pub fn slots_naming(
        &self,
        host: HostId,
        service: ServiceId,
    ) -> impl Iterator<Item = SlotIndex> {
        let range = (host, service, 0)..=(host, service, SlotIndex::MAX);
        self.named.range(range).map(|&(_, _, index)| index)
    }

    /// The slots of all services that name the host.
    pub fn all_naming(&self, host: HostId) -> impl Iterator<Item = (ServiceId, SlotIndex)> {
        let first = (host, ServiceId(0), 0);
        let last = (host, ServiceId(u128::MAX), SlotIndex::MAX);
        self.named
            .range(first..=last)
            .map(|&(_, service, index)| (service, index))
    }
}

#[cfg(test)]
impl Index {
    /// All that it knows of the board. What it looked for in vain is its own.
    pub(super) fn shown(&self) -> String {
        let known = (&self.load, &self.keepers, &self.named);
        let slots = (&self.unplaced, &self.offered, &self.handed_over);
        let hosts = (&self.failed_starts, &self.doubted);
        format!("{known:#?} {slots:#?} {hosts:#?}")
    }
}

// Following the board.
impl Index {
    /// Reads a whole board.
    pub fn of(board: &Board) -> Self {
        let (mut index, mut touched) = (Self::default(), Touched::default());
        for record in board.records() {
            index.follow(board, None, record, &mut touched);
        }
        index
    }

    /// The board has taken `new` in the place of `old`; what that can touch.
    pub fn on_record(&mut self, board: &Board, old: Option<&Record>, new: &Record) -> Touched {
        let mut touched = Touched::default();
        if let Some((digest, _)) = new.defines() {
            let waiting = self.offered.iter().filter(|(_, (_, of))| *of == digest);
            touched.slots.extend(waiting.map(|(slot, _)| *slot));
            touched.slots.extend(&self.unplaced);
            if self.missing.contains(&digest) {
                // What needs it was counted as nothing.
                *self = Self::of(board);
            }
        }
        self.follow(board, old, new, &mut touched);
        touched
    }

    fn follow(&mut self, board: &Board, old: Option<&Record>, new: &Record, touched: &mut Touched) {
        match &new.key {
            Key::Host(host) | Key::Verdict(host) | Key::Directive(host) => {
                let same_life = old.is_some_and(|old| old.version.epoch == new.version.epoch);
                self.on_host(board, *host, same_life, touched);
            }
            Key::ServiceCount(service) | Key::ServiceRevision(service) | Key::Pins(service) => {
                self.on_service(board, *service, touched);
            }
            Key::ServiceSettings(service) => {
                self.on_settings(*service, new.body.as_ref());
                let named = old.into_iter().chain([new]);
                for record in named {
                    if let Some(Body::ServiceSettings(settings)) = &record.body {
                        let others: Vec<_> = board.services_called(&settings.name).collect();
                        others
                            .into_iter()
                            .for_each(|other| self.on_service(board, other, touched));
                    }
                }
                self.on_service(board, *service, touched);
            }
            Key::Run(run) => self.on_run(board, *run, new.body.is_some(), touched),
            // It may be of a task of a run that has not begun.
            Key::StopOrder(task) => touched.slots.extend(board.run_of_task(*task)),
            Key::Slot(service, index) => {
                let hosts = |record: &Record| match &record.body {
                    Some(Body::Slot(slot)) => Some(slot.host),
                    _ => None,
                };
                let (before, now) = (old.and_then(hosts), hosts(new));
                if let Some(Some(host)) = before {
                    self.named.remove(&(host, *service, *index));
                }
                if let Some(Some(host)) = now {
                    self.named.insert((host, *service, *index));
                }
                if now == Some(None) {
                    self.unplaced.insert((*service, *index));
                } else {
                    self.unplaced.remove(&(*service, *index));
                }
                self.on_slot(board, *service, *index, touched);
            }
            Key::Task(host, task) => {
                if let Some(Body::Task(report)) = old.and_then(|old| old.body.as_ref()) {
                    self.on_task(board, (*host, *task, report), false, touched);
                }
                if let Some(Body::Task(report)) = &new.body {
                    self.on_task(board, (*host, *task, report), true, touched);
                }
            }
            Key::Secret(_) | Key::Config(_) => on_value(board, &new.key, touched),
            Key::Definition(_)
            | Key::Label { .. }
            | Key::ClusterKey(_)
            | Key::Electorate
            | Key::KeyInUse
            | Key::Protection(_)
            | Key::Schedule(_)
            | Key::Ticks(_)
            | Key::Cluster(_)
            | Key::Tag(..)
            | Key::Unknown { .. } => {}
        }
    }

    fn on_run(&mut self, board: &Board, run: ServiceId, is_there: bool, touched: &mut Touched) {
        match is_there {
            true => self.keepers.add_service(run),
            false => self.keepers.remove_service(run),
        }
        self.on_service(board, run, touched);
    }

    fn on_settings(&mut self, service: ServiceId, settings: Option<&Body>) {
        if settings.is_some() {
            self.keepers.add_service(service);
        } else {
            self.keepers.remove_service(service);
        }
        match settings {
            Some(Body::ServiceSettings(settings))
                if settings.options.partition == PartitionPolicy::Majority =>
            {
                self.under_majority.insert(service);
            }
            _ => {
                self.under_majority.remove(&service);
            }
        }
    }

    /// A host's report, verdict or directive changed. Most reports are no news to a keeper: what a
    /// host has promised is known from its tasks. In a new life, what it said of them before no
    /// longer counts.
    fn on_host(&mut self, board: &Board, host: HostId, same_life: bool, touched: &mut Touched) {
        let fitness = fitness_of(board, host);
        self.keepers.set_host(host, fitness, &mut touched.services);
        if self.set_doubted(host, board.is_in_doubt(host)) {
            touched.slots.extend(self.all_naming(host));
        }
        let facts = facts_of(board, host);
        if same_life && facts == self.load.facts(host) {
            return;
        }
        let grew = self.load.set_facts(host, facts);
        touched.slots.extend(self.all_naming(host));
        let there = board.tasks_on(host).filter_map(|(_, report)| {
            let label = report.slot.as_ref()?;
            report
                .last
                .is_live()
                .then_some((label.service, label.index))
        });
        touched.slots.extend(there);
        touched.more_room |= grew;
        if grew {
            touched.slots.extend(&self.unplaced);
        }
    }

    /// Says whether that is news.
    fn set_doubted(&mut self, host: HostId, is_doubted: bool) -> bool {
        if is_doubted {
            self.doubted.insert(host)
        } else {
            self.doubted.remove(&host)
        }
    }

    fn on_service(&mut self, board: &Board, service: ServiceId, touched: &mut Touched) {
        touched.services.insert(service);
        let slots: Vec<SlotIndex> = board.slots(service).map(|(index, ..)| index).collect();
        for index in slots {
            self.count_offer(board, service, index);
        }
    }

    fn on_slot(
        &mut self,
        board: &Board,
        service: ServiceId,
        index: SlotIndex,
        touched: &mut Touched,
    ) {
        touched.slots.insert((service, index));
        self.count_offer(board, service, index);
    }

    /// A report came, or is no longer what is said.
    fn on_task(
        &mut self,
        board: &Board,
        (host, task, report): (HostId, TaskId, &TaskReport),
        holds: bool,
        touched: &mut Touched,
    ) {
        if let Some(label) = &report.slot {
            self.recount(label.service, label.index);
            self.note_failure((label.service, host), task, report, holds);
        }
        if report.last.is_live() {
            let service = report.slot.as_ref().map(|label| label.service);
            let needs = self.needs(board, report.definition);
            if holds {
                self.load.add(host, service, &needs);
            } else {
                self.load.release(host, service, &needs);
            }
        }
        if let Some(label) = &report.slot {
            self.on_slot(board, label.service, label.index, touched);
        }
    }

    /// A refusal is no failure: it says what there was no room for at the time.
    fn note_failure(
        &mut self,
        key: (ServiceId, HostId),
        task: TaskId,
        report: &TaskReport,
        holds: bool,
    ) {
        let failed = report.stop_code == Some(StopCode::TaskFailedToStart) && !report.refused;
        if let Some(at) = report.stopping_at.filter(|_| failed && holds) {
            self.failed_starts.entry(key).or_default().insert(task, at);
        } else if failed && let Some(failures) = self.failed_starts.get_mut(&key) {
            failures.remove(&task);
            if failures.is_empty() {
                self.failed_starts.remove(&key);
            }
        }
    }

    /// A slot that is wanted, and that its host has not answered yet, counts as promised there.
    fn count_offer(&mut self, board: &Board, service: ServiceId, index: SlotIndex) {
        self.discount(board, service, index);
        let offer = open_offer(board, service, index);
        let before = self.offered.get(&(service, index)).copied();
        if before == offer {
            return;
        }
        if let Some((host, definition)) = before {
            self.offered.remove(&(service, index));
            let needs = self.needs(board, definition);
            self.load.release(host, Some(service), &needs);
        }
        if let Some((host, definition)) = offer {
            self.offered.insert((service, index), (host, definition));
            let needs = self.needs(board, definition);
            self.load.add(host, Some(service), &needs);
        }
    }

    /// Predecessors that still live do not count as copies: they go as soon as they can.
    fn discount(&mut self, board: &Board, service: ServiceId, index: SlotIndex) {
        self.recount(service, index);
        let superseded = board.slot(service, index).map(|(_, slot)| &slot.superseded);
        let lives = |at: &&Placement| {
            let report = board.task_at(at.host, at.task);
            let label = report.and_then(|report| report.slot.as_ref());
            report.is_some_and(|report| report.last.is_live())
                && label.is_some_and(|l| (l.service, l.index) == (service, index))
        };
        let hosts = superseded.into_iter().flatten().filter(lives);
        let hosts: Vec<HostId> = hosts.map(|at| at.host).collect();
        for host in &hosts {
            self.load.discount(*host, service);
        }
        if !hosts.is_empty() {
            self.handed_over.insert((service, index), hosts);
        }
    }

    fn recount(&mut self, service: ServiceId, index: SlotIndex) {
        for host in self
            .handed_over
            .remove(&(service, index))
            .unwrap_or_default()
        {
            self.load.recount(host, service);
        }
    }

    fn needs(&mut self, board: &Board, definition: Digest) -> Resources {
        match board.definition(definition) {
            Some(definition) => definition.needs(),
            None => {
                self.missing.insert(definition);
                Resources::default()
            }
        }
    }
}

/// Its users' tasks may be what they are no longer to be.
fn on_value(board: &Board, value: &Key, touched: &mut Touched) {
    let name = ValueName::of(value);
    let uses = |service: &Service<'_>| {
        let definition = board.definition(service.revision.definition);
        let values = definition.map(TaskDefinition::values);
        values.is_some_and(|values| name.as_ref().is_some_and(|name| values.contains(name)))
    };
    let users = board.services().filter(uses);
    touched.services.extend(users.map(|service| service.id));
}

fn open_offer(board: &Board, service: ServiceId, index: SlotIndex) -> Option<(HostId, Digest)> {
    let (generation, slot) = board.slot(service, index)?;
    let host = slot.host?;
    let wanted = board.service(service).is_some_and(|s| index < s.desired) && slot.end.is_none();
    let mut copies = board.copies(service, index);
    let answered =
        copies.any(|(on, task, report)| on == host && answers(slot, generation, task, report));
    (wanted && !answered).then_some((host, slot.revision.definition))
}

/// The report is the answer to what the slot offers.
fn answers(slot: &Slot, generation: u64, task: TaskId, report: &TaskReport) -> bool {
    let adopted = slot.adopted == Some(task) && report.last < TaskStatus::Stopped;
    let index = report.slot.as_ref().map_or(0, |label| label.index);
    adopted || serves(report, index, generation)
}

fn facts_of(board: &Board, host: HostId) -> HostFacts {
    let Some((_, report)) = board.host(host) else {
        return HostFacts::default();
    };
    let standing = if board.is_down(host) {
        Standing::Down
    } else if board.is_leaving(host) {
        Standing::Leaving
    } else if report.status == HostStatus::Restarting {
        Standing::Restarting
    } else if !report.caught_up {
        Standing::CatchingUp
    } else if matches!(report.runtime, RuntimeStatus::Unavailable { .. }) {
        Standing::NoRuntime
    } else {
        Standing::Open
    };
    let zone = report.zone.as_ref();
    HostFacts {
        standing,
        capacity: report.capacity,
        architecture: architecture(report),
        denies_privilege: attribute(report, PRIVILEGE_ATTRIBUTE) == Some(DENIED),
        zone: zone.map_or(0, |zone| hash_bytes(zone.as_bytes())),
    }
}

fn fitness_of(board: &Board, host: HostId) -> Option<Fitness> {
    let (_, report) = board.host(host)?;
    let able = report.caught_up && !board.is_down(host) && report.status != HostStatus::Restarting;
    able.then(|| {
        if board.is_leaving(host) {
            Fitness::LastResort
        } else {
            Fitness::Eligible
        }
    })
}

/// By ECS's own attribute.
fn architecture(report: &HostReport) -> Option<Architecture> {
    attribute(report, Architecture::ATTRIBUTE).and_then(Architecture::of_attribute)
}

fn attribute<'a>(report: &'a HostReport, wanted: &str) -> Option<&'a str> {
    let mut attributes = report.attributes.iter();
    let said = attributes.find(|(name, _)| name == wanted);
    said.map(|(_, value)| value.as_str())
}
