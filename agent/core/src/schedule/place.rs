//! Placement: which hosts can run one more task, which of them should, and why the others cannot.

use crate::{
    cluster::body::Capacity,
    ids::{HostId, ServiceId, SlotIndex},
    rng,
    schedule::load::{HostLoad, Load, Place, Ring, Standing, Zone},
    spec::task_definition::{Architecture, Resources},
};
use imbl::OrdMap;
use std::{collections::BTreeMap, fmt, iter::Peekable};

/// How many hosts each filter refused; the answer to "why is this pending?".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    hosts: u32,
    down: u32,
    leaving: u32,
    restarting: u32,
    catching_up: u32,
    no_runtime: u32,
    architecture: u32,
    privilege: u32,
    cpu: u32,
    memory: u32,
    gpus: u32,
    ports: u32,
    needs: Resources,
    free_most: Capacity,
    /// Somebody chose the host: no other was looked at.
    is_chosen: bool,
}

/// Steps along an ordered map that take as long as one look into it.
const STEPS_PER_LOOK: usize = 16;

/// Smaller is better: failures there, copies of the service on the host and in its zone, tasks, and
/// the way around the ring from where the slot begins.
type Rank = (u32, u32, u32, u32, u64);

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub service: ServiceId,
    pub index: SlotIndex,
    pub needs: &'a Resources,
    /// How often each host has refused it or failed to start it lately.
    pub failed: &'a BTreeMap<HostId, u32>,
    /// The one host that it may run on; any where nobody chose.
    pub only: Option<HostId>,
}

/// Chooses the host for one slot: of those that can run it the one that has refused it or failed to
/// start it least often, then with the fewest tasks of the service, then in the zone with the
/// fewest of them, then with the fewest tasks.
pub fn choose(load: &Load, wanted: Wanted<'_>) -> Result<HostId, Box<Refusals>> {
    if let Some(host) = wanted.only {
        return chosen(load, host, wanted.needs);
    }
    let best = load
        .zones()
        .filter_map(|(id, zone)| best_in(load, id, zone, wanted))
        .min();
    let best = best.or_else(|| {
        let failed = wanted.failed.iter().filter(|(_, times)| **times > 0);
        failed
            .filter_map(|(host, times)| {
                let there = load.host(*host)?;
                let (in_zone, _) = load.copies_in(wanted.service, there.facts.zone);
                let fits = there.facts.standing == Standing::Open && fits(there, wanted.needs);
                fits.then(|| (wanted.rank(*host, there, in_zone, *times), *host))
            })
            .min()
    });
    best.map(|(_, host)| host)
        .ok_or_else(|| Box::new(refusals(load, wanted.needs)))
}

/// The host that somebody chose, if it can run the task.
fn chosen(load: &Load, host: HostId, needs: &Resources) -> Result<HostId, Box<Refusals>> {
    let mut refusals = Refusals {
        needs: needs.clone(),
        is_chosen: true,
        ..Refusals::default()
    };
    match load.host(host) {
        Some(there) if there.facts.standing == Standing::Open && fits(there, needs) => Ok(host),
        Some(there) => {
            refusals.count(there);
            Err(Box::new(refusals))
        }
        None => Err(Box::new(refusals)),
    }
}

/// The best host of a zone that has not failed. The zone's hosts are walked in order of their
/// tasks, so the first one with as few copies as any has is the best.
fn best_in(load: &Load, id: u64, zone: &Zone, wanted: Wanted<'_>) -> Option<(Rank, HostId)> {
    let (in_zone, fewest) = load.copies_in(wanted.service, id);
    let spread = load.spread(wanted.service, id);
    let mut best: Option<(Rank, HostId)> = None;
    for ring in zone.by_tasks.values() {
        let from = wanted.from();
        let mut along = Along::new(ring, spread.map(|spread| &spread.on), from);
        for (place, free) in around(ring, from) {
            let copies = along.copies_at(*place);
            let host = place.1;
            if best.is_some_and(|((_, least, ..), _)| least <= copies)
                || !holds(*free, wanted.needs)
                || wanted.failed.get(&host).is_some_and(|times| *times > 0)
            {
                continue;
            }
            let there = load.host(host)?;
            if !has_ports(there, wanted.needs) || !suits(there, wanted.needs) {
                continue;
            }
            best = Some((wanted.rank(host, there, in_zone, 0), host));
            if copies <= fewest {
                return best;
            }
        }
    }
    best
}

/// All of a ring, from there on and once around.
fn around<V>(ring: &OrdMap<Place, V>, from: Place) -> impl Iterator<Item = (&Place, &V)> {
    ring.range(from..).chain(ring.range(..from))
}

/// The hosts with copies of a service, walked along while a ring is: in the same order. Those on a
/// short ring are rather looked up.
struct Along<'a> {
    from: Place,
    on: Option<&'a OrdMap<Place, u32>>,
    left: Option<Peekable<Entries<'a>>>,
}

type Entries<'a> = Box<dyn Iterator<Item = (&'a Place, &'a u32)> + 'a>;

impl<'a> Along<'a> {
    fn new(ring: &Ring, on: Option<&'a OrdMap<Place, u32>>, from: Place) -> Self {
        let is_long = |on: &&OrdMap<Place, u32>| ring.len() * STEPS_PER_LOOK >= on.len();
        let left = on.filter(is_long).map(|on| {
            let left: Entries<'a> = Box::new(around(on, from));
            left.peekable()
        });
        Self { from, on, left }
    }

    /// To be asked for one place after the other, the way around from where it began.
    fn copies_at(&mut self, place: Place) -> u32 {
        let Some(left) = &mut self.left else {
            return self.on.and_then(|on| on.get(&place)).map_or(0, |n| *n);
        };
        let way = |place: &Place| (place.0.wrapping_sub(self.from.0), place.1);
        let to = way(&place);
        while left.next_if(|(at, _)| way(at) < to).is_some() {}
        let there = left.next_if(|(at, _)| **at == place);
        there.map_or(0, |(_, copies)| *copies)
    }
}

impl Wanted<'_> {
    /// Where on the ring of hosts this slot begins to look: keepers that place at the same time
    /// must not all come to the same host.
    const fn from(&self) -> Place {
        let word = rng::mix(self.service.word() ^ rng::mix(self.index as u64));
        (word, HostId(0))
    }

    fn rank(&self, host: HostId, there: &HostLoad, in_zone: u32, failed: u32) -> Rank {
        let way = host.word().wrapping_sub(self.from().0);
        let copies = there.copies_of(self.service);
        (failed, copies, in_zone, there.tasks, way)
    }
}

const fn holds(free: Capacity, needs: &Resources) -> bool {
    free.cpu >= needs.cpu && free.memory_mib >= needs.memory_mib && free.gpus as u32 >= needs.gpus
}

fn fits(there: &HostLoad, needs: &Resources) -> bool {
    holds(there.free(), needs) && has_ports(there, needs) && suits(there, needs)
}

fn has_ports(there: &HostLoad, needs: &Resources) -> bool {
    !needs.ports.iter().any(|port| there.has_port(port))
}

fn suits(there: &HostLoad, needs: &Resources) -> bool {
    is_built_for(there, needs) && may_run(there, needs)
}

const fn may_run(there: &HostLoad, needs: &Resources) -> bool {
    !(needs.privileged && there.facts.denies_privilege)
}

fn is_built_for(there: &HostLoad, needs: &Resources) -> bool {
    let (is, wanted) = (there.facts.architecture, needs.architecture);
    wanted.is_none() || is.is_none() || is == wanted
}

/// Why no host can run it, counted host by host.
fn refusals(load: &Load, needs: &Resources) -> Refusals {
    let mut refusals = Refusals {
        needs: needs.clone(),
        ..Refusals::default()
    };
    load.hosts().for_each(|(_, there)| refusals.count(there));
    refusals
}

impl Refusals {
    /// Counts the first filter that refuses the host.
    fn count(&mut self, there: &HostLoad) {
        let free = there.free();
        let refused_by = match there.facts.standing {
            Standing::Unknown => return,
            Standing::Down => &mut self.down,
            Standing::Leaving => &mut self.leaving,
            Standing::Restarting => &mut self.restarting,
            Standing::CatchingUp => &mut self.catching_up,
            Standing::NoRuntime => &mut self.no_runtime,
            Standing::Open if !is_built_for(there, &self.needs) => &mut self.architecture,
            Standing::Open if !may_run(there, &self.needs) => &mut self.privilege,
            Standing::Open if free.cpu < self.needs.cpu => {
                self.free_most.cpu = self.free_most.cpu.max(free.cpu);
                &mut self.cpu
            }
            Standing::Open if free.memory_mib < self.needs.memory_mib => {
                self.free_most.memory_mib = self.free_most.memory_mib.max(free.memory_mib);
                &mut self.memory
            }
            Standing::Open if u32::from(free.gpus) < self.needs.gpus => {
                self.free_most.gpus = self.free_most.gpus.max(free.gpus);
                &mut self.gpus
            }
            Standing::Open => &mut self.ports,
        };
        *refused_by += 1;
        self.hosts += 1;
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            needs, free_most, ..
        } = self;
        write!(f, "no host can run it: ")?;
        let ports = || {
            let ports = needs
                .ports
                .iter()
                .map(|(protocol, port)| format!("{port}/{protocol}"));
            ports.collect::<Vec<_>>().join(", ")
        };
        let architecture = needs.architecture.map_or("any", Architecture::as_str);
        let reasons = [
            (self.down, "down".to_owned()),
            (self.leaving, "leaving".to_owned()),
            (self.restarting, "restarting".to_owned()),
            (self.catching_up, "still reading the board".to_owned()),
            (
                self.no_runtime,
                "without a container runtime that answers".to_owned(),
            ),
            (
                self.architecture,
                format!("refused by cpuArchitecture (needs {architecture})"),
            ),
            (
                self.privilege,
                "refused by their setting privileged (it would be root there)".to_owned(),
            ),
            (
                self.cpu,
                format!(
                    "refused by cpu (needs {} units, most free {})",
                    needs.cpu, free_most.cpu
                ),
            ),
            (
                self.memory,
                format!(
                    "refused by memory (needs {} MiB, most free {})",
                    needs.memory_mib, free_most.memory_mib
                ),
            ),
            (
                self.gpus,
                format!(
                    "refused by GPUs (needs {}, most free {})",
                    needs.gpus, free_most.gpus
                ),
            ),
            (self.ports, format!("refused by ports ({} taken)", ports())),
        ];
        let told: Vec<String> = reasons
            .into_iter()
            .filter(|(hosts, _)| *hosts > 0)
            .map(|(hosts, reason)| format!("{hosts} {reason}"))
            .collect();
        match (self.is_chosen, self.hosts) {
            (true, 0) => return write!(f, "the one that was chosen is not there"),
            (true, _) => write!(f, "only one was chosen: ")?,
            (false, _) => {}
        }
        let plural = if self.hosts == 1 { "host" } else { "hosts" };
        write!(f, "of {} {plural} {}", self.hosts, told.join(", "))
    }
}
