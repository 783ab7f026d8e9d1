//! What each host has promised, as the board tells: kept up to date, never counted anew.
//!
//! Hosts that can be given a slot stand in order of their load, so that one placement among ten
//! thousand hosts looks at a few of them.

use crate::{
    cluster::body::Capacity,
    ids::{HostId, ServiceId},
    spec::task_definition::{Architecture, Protocol, Resources},
};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a host can be given a slot at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Open,
    /// Tasks or slots name it, but it has not said anything of itself.
    #[default]
    Unknown,
    Down,
    Leaving,
    Restarting,
    CatchingUp,
    NoRuntime,
}

/// What placement knows of a host besides its load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    pub standing: Standing,
    pub capacity: Capacity,
    /// `None` where the host does not say: then it is not asked for.
    pub architecture: Option<Architecture>,
    /// It allows no task that would be root on it.
    pub denies_privilege: bool,
    /// Hash of the zone's name; 0 for none.
    pub zone: u64,
}

/// A clone shares what is equal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    hosts: OrdMap<HostId, HostLoad>,
    /// The open hosts of each zone.
    zones: BTreeMap<u64, Zone>,
    /// Where the copies of each service are, on open hosts.
    spreads: BTreeMap<(ServiceId, u64), Spread>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct HostLoad {
    pub(super) facts: HostFacts,
    cpu: u64,
    memory_mib: u64,
    gpus: u64,
    ports: BTreeMap<(Protocol, u16), u32>,
    pub(super) tasks: u32,
    of_service: BTreeMap<ServiceId, u32>,
}

/// The open hosts of a zone: by their number of tasks, and then in a ring.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Zone {
    pub(super) by_tasks: BTreeMap<u32, Ring>,
    hosts: u32,
}

/// Hosts in order of a hash of their ids, with what each has free: who walks along needs not look
/// up those that are too full.
pub(super) type Ring = OrdMap<Place, Capacity>;

/// Where on its ring a host is.
pub(super) type Place = (u64, HostId);

/// How many copies of a service a host has, and its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copies {
    pub(super) host: u32,
    pub(super) zone: u32,
}

/// The copies of one service in one zone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) copies: u32,
    /// How many hosts have so many copies; none are not listed.
    hosts_with: BTreeMap<u32, u32>,
    /// The copies of each of these hosts, in the order of rings: who walks along a ring walks along
    /// here, too, and looks nobody up.
    pub(super) on: OrdMap<Place, u32>,
}

impl Load {
    pub(super) fn hosts(&self) -> impl Iterator<Item = (HostId, &HostLoad)> {
        self.hosts.iter().map(|(host, load)| (*host, load))
    }

    pub(super) fn host(&self, host: HostId) -> Option<&HostLoad> {
        self.hosts.get(&host)
    }

    pub(super) fn zones(&self) -> impl Iterator<Item = (u64, &Zone)> {
        self.zones.iter().map(|(zone, hosts)| (*zone, hosts))
    }

    /// The copies of the service on the host, and in its zone.
    pub(super) fn copies_on(&self, service: ServiceId, host: HostId) -> Copies {
        let load = self.hosts.get(&host);
        let zone = load.map_or(0, |load| load.facts.zone);
        Copies {
            host: load.map_or(0, |load| load.copies_of(service)),
            zone: self.copies_in(service, zone).0,
        }
    }

    pub(super) fn spread(&self, service: ServiceId, zone: u64) -> Option<&Spread> {
        self.spreads.get(&(service, zone))
    }

    /// Copies of the service in the zone, and the fewest that any of its open hosts has.
    pub(super) fn copies_in(&self, service: ServiceId, zone: u64) -> (u32, u32) {
        let Some(spread) = self.spread(service, zone) else {
            return (0, 0);
        };
        let hosts = self.zones.get(&zone).map_or(0, |zone| zone.hosts);
        let fewest = match spread.hosts_with.keys().next() {
            Some(fewest) if spread.on.len() >= hosts as usize => *fewest,
            _ => 0,
        };
        (spread.copies, fewest)
    }

    /// Hosts that are there or expected back: all but those that are leaving.
    pub(super) fn roster(&self) -> u32 {
        let expected = |load: &&HostLoad| {
            !matches!(load.facts.standing, Standing::Unknown | Standing::Leaving)
        };
        let hosts = self.hosts.values().filter(expected).count();
        u32::try_from(hosts).unwrap_or(u32::MAX)
    }

    pub fn facts(&self, host: HostId) -> HostFacts {
        self.hosts
            .get(&host)
            .map_or_else(HostFacts::default, |load| load.facts)
    }

    /// Takes over what a host says of itself; says whether it can now be given what it could not
    /// before.
    pub fn set_facts(&mut self, host: HostId, facts: HostFacts) -> bool {
        let before = self.facts(host);
        if before == facts {
            return false;
        }
        self.hosts.entry(host).or_default();
        self.rank(host, false);
        if let Some(load) = self.hosts.get_mut(&host) {
            load.facts = facts;
        }
        self.rank(host, true);
        self.drop_if_empty(host);
        let grew = facts.capacity.cpu > before.capacity.cpu
            || facts.capacity.memory_mib > before.capacity.memory_mib
            || facts.capacity.gpus > before.capacity.gpus;
        facts.standing == Standing::Open && (before.standing != Standing::Open || grew)
    }

    /// The host has promised this to one more task.
    pub fn add(&mut self, host: HostId, service: Option<ServiceId>, needs: &Resources) {
        let load = self.hosts.entry(host).or_default();
        let tasks = load.tasks;
        load.cpu += u64::from(needs.cpu);
        load.memory_mib += u64::from(needs.memory_mib);
        load.gpus += u64::from(needs.gpus);
        for port in &needs.ports {
            *load.ports.entry(*port).or_default() += 1;
        }
        load.tasks += 1;
        let copies = service.map(|service| {
            let copies = load.of_service.entry(service).or_default();
            *copies += 1;
            (service, *copies - 1, *copies)
        });
        self.rerank(host, tasks, copies);
    }

    /// Takes back what [`Load::add`] was told.
    pub fn release(&mut self, host: HostId, service: Option<ServiceId>, needs: &Resources) {
        let Some(load) = self.hosts.get_mut(&host) else {
            return;
        };
        let tasks = load.tasks;
        load.cpu = load.cpu.saturating_sub(u64::from(needs.cpu));
        load.memory_mib = load.memory_mib.saturating_sub(u64::from(needs.memory_mib));
        load.gpus = load.gpus.saturating_sub(u64::from(needs.gpus));
        for port in &needs.ports {
            if let Some(holders) = load.ports.get_mut(port) {
                *holders -= 1;
                if *holders == 0 {
                    load.ports.remove(port);
                }
            }
        }
        load.tasks = load.tasks.saturating_sub(1);
        let copies = service.and_then(|service| {
            let copies = load.of_service.get_mut(&service)?;
            *copies -= 1;
            let now = *copies;
            if now == 0 {
                load.of_service.remove(&service);
            }
            Some((service, now + 1, now))
        });
        self.rerank(host, tasks, copies);
        self.drop_if_empty(host);
    }

    /// One of the service's copies on the host is about to go: it still has its resources, but no
    /// longer counts where copies are spread.
    pub fn discount(&mut self, host: HostId, service: ServiceId) {
        self.change_copies(host, service, |copies| copies.saturating_sub(1));
    }

    /// Takes back what [`Load::discount`] was told.
    pub fn recount(&mut self, host: HostId, service: ServiceId) {
        self.change_copies(host, service, |copies| copies + 1);
    }

    fn change_copies(&mut self, host: HostId, service: ServiceId, change: fn(u32) -> u32) {
        let Some(load) = self.hosts.get_mut(&host) else {
            return;
        };
        let before = load.copies_of(service);
        let now = change(before);
        if now == 0 {
            load.of_service.remove(&service);
        } else {
            load.of_service.insert(service, now);
        }
        let tasks = load.tasks;
        self.rerank(host, tasks, Some((service, before, now)));
    }

    fn drop_if_empty(&mut self, host: HostId) {
        let gone = |load: &HostLoad| load.tasks == 0 && load.facts.standing == Standing::Unknown;
        if self.hosts.get(&host).is_some_and(gone) {
            self.hosts.remove(&host);
        }
    }

    /// After one more or one less: the host's place in its ring, and its copies of one service.
    fn rerank(&mut self, host: HostId, tasks: u32, copies: Option<(ServiceId, u32, u32)>) {
        let load = &self.hosts[&host];
        if load.facts.standing != Standing::Open {
            return;
        }
        let zone = load.facts.zone;
        let entry = (host.word(), host);
        let by_tasks = &mut self.zones.entry(zone).or_default().by_tasks;
        take(by_tasks, tasks, entry);
        let ring = by_tasks.entry(load.tasks).or_default();
        ring.insert(entry, load.free());
        if let Some((service, before, now)) = copies {
            self.spreads
                .entry((service, zone))
                .or_default()
                .change(entry, before, now);
            self.drop_spread(service, zone);
        }
    }

    /// Takes an open host into the order, or out of it, with all its copies.
    fn rank(&mut self, host: HostId, enters: bool) {
        let load = &self.hosts[&host];
        if load.facts.standing != Standing::Open {
            return;
        }
        let (id, entry) = (load.facts.zone, (host.word(), host));
        let zone = self.zones.entry(id).or_default();
        if enters {
            zone.hosts += 1;
            let ring = zone.by_tasks.entry(load.tasks).or_default();
            ring.insert(entry, load.free());
        } else {
            zone.hosts -= 1;
            take(&mut zone.by_tasks, load.tasks, entry);
            if zone.hosts == 0 {
                self.zones.remove(&id);
            }
        }
        let copies: Vec<_> = load.of_service.iter().map(|(s, n)| (*s, *n)).collect();
        for (service, copies) in copies {
            let spread = self.spreads.entry((service, id)).or_default();
            if enters {
                spread.change(entry, 0, copies);
            } else {
                spread.change(entry, copies, 0);
            }
            self.drop_spread(service, id);
        }
    }

    fn drop_spread(&mut self, service: ServiceId, zone: u64) {
        if self
            .spreads
            .get(&(service, zone))
            .is_some_and(|s| s.copies == 0)
        {
            self.spreads.remove(&(service, zone));
        }
    }
}

impl HostLoad {
    /// What is left, by what the board tells of its promises.
    pub(super) fn free(&self) -> Capacity {
        let left = |has: u32, used: u64| u64::from(has).saturating_sub(used) as u32;
        let Capacity {
            cpu,
            memory_mib,
            gpus,
        } = self.facts.capacity;
        Capacity {
            cpu: left(cpu, self.cpu),
            memory_mib: left(memory_mib, self.memory_mib),
            gpus: left(gpus.into(), self.gpus) as u16,
        }
    }

    pub(super) fn has_port(&self, port: &(Protocol, u16)) -> bool {
        self.ports.contains_key(port)
    }

    pub(super) fn copies_of(&self, service: ServiceId) -> u32 {
        self.of_service.get(&service).copied().unwrap_or(0)
    }
}

impl Spread {
    fn change(&mut self, place: Place, before: u32, now: u32) {
        self.copies = self.copies - before + now;
        if now > 0 {
            self.on.insert(place, now);
        } else {
            self.on.remove(&place);
        }
        if before > 0
            && let Some(hosts) = self.hosts_with.get_mut(&before)
        {
            *hosts -= 1;
            if *hosts == 0 {
                self.hosts_with.remove(&before);
            }
        }
        if now > 0 {
            *self.hosts_with.entry(now).or_default() += 1;
        }
    }
}

fn take(by_tasks: &mut BTreeMap<u32, Ring>, tasks: u32, entry: Place) {
    if let Some(ring) = by_tasks.get_mut(&tasks) {
        ring.remove(&entry);
        if ring.is_empty() {
            by_tasks.remove(&tasks);
        }
    }
}
