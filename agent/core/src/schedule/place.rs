//! Placement: which hosts can run one more task, which of them should, and why the others cannot.

use crate::{
    cluster::{
        board::Board,
        body::{Capacity, HostReport, HostStatus, RuntimeStatus},
    },
    ids::{HostId, ServiceId, SlotIndex},
    rng,
    spec::task_definition::{Protocol, Resources},
    task::status::TaskStatus,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What each host has promised already, as far as the board tells; kept up to date while a plan is
/// made, so that a hundred decisions in one plan do not all choose the same host.
#[derive(Debug, Default)]
pub struct Load {
    hosts: BTreeMap<HostId, HostLoad>,
}

#[derive(Debug, Default)]
struct HostLoad {
    used: Capacity,
    ports: BTreeSet<(Protocol, u16)>,
    tasks: u32,
    of_service: BTreeMap<ServiceId, u32>,
}

/// How many hosts each filter refused; the answer to "why is this pending?".
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    hosts: u32,
    down: u32,
    restarting: u32,
    catching_up: u32,
    no_runtime: u32,
    cpu: u32,
    memory: u32,
    ports: u32,
    needs: Resources,
    free_most: Capacity,
}

impl Load {
    /// Counts every live task on hosts that are up, and every slot whose host has not started yet.
    pub fn of(board: &Board) -> Self {
        let mut load = Self::default();
        for (host, _, report) in board.tasks() {
            if report.last.is_live() && board.is_up(host) {
                let service = report.slot.as_ref().map(|slot| slot.service);
                let needs = board.definition(report.definition).map(|d| d.needs());
                load.add(host, service, &needs.unwrap_or_default());
            }
        }
        for (service, index, generation, slot) in board.all_slots() {
            let Some(host) = slot.host else { continue };
            let wanted = board.service(service).is_some_and(|s| index < s.desired);
            let reported = board.tasks_of(service).any(|(on, task, report)| {
                let adopted = slot.adopted == Some(task) && report.last < TaskStatus::Stopped;
                on == host && (adopted || super::copy::serves(report, index, generation))
            });
            if wanted && !reported {
                let needs = board
                    .definition(slot.revision.definition)
                    .map(|d| d.needs());
                load.add(host, Some(service), &needs.unwrap_or_default());
            }
        }
        load
    }

    pub fn add(&mut self, host: HostId, service: Option<ServiceId>, needs: &Resources) {
        let load = self.hosts.entry(host).or_default();
        load.used.cpu = load.used.cpu.saturating_add(needs.cpu);
        load.used.memory_mib = load.used.memory_mib.saturating_add(needs.memory_mib);
        load.ports.extend(&needs.ports);
        load.tasks += 1;
        if let Some(service) = service {
            *load.of_service.entry(service).or_default() += 1;
        }
    }
}

/// Chooses the host for one slot: of those that can run it the one that has refused it or failed to
/// start it least often, then with the fewest tasks of the service, then with the fewest tasks.
pub fn choose(
    board: &Board,
    load: &Load,
    slot: (ServiceId, SlotIndex),
    needs: &Resources,
    failed: &BTreeMap<HostId, u32>,
) -> Result<HostId, Refusals> {
    let none = HostLoad::default();
    let mut refusals = Refusals {
        needs: needs.clone(),
        ..Refusals::default()
    };
    let (service, index) = slot;
    let subject = service.word() ^ rng::mix(u64::from(index));
    let fitting = board.hosts().filter(|(host, _, report)| {
        let load = load.hosts.get(host).unwrap_or(&none);
        refusals.admit(board.is_down(*host), report, load)
    });
    let rank = |host: HostId| {
        let load = load.hosts.get(&host).unwrap_or(&none);
        let failed = failed.get(&host).copied().unwrap_or(0);
        let of_service = load.of_service.get(&service).copied().unwrap_or(0);
        (
            failed,
            of_service,
            load.tasks,
            Reverse(rng::score(subject, host.word())),
        )
    };
    let best = fitting
        .map(|(host, _, _)| host)
        .min_by_key(|host| rank(*host));
    best.ok_or(refusals)
}

impl Refusals {
    /// Puts one host through the filters; counts the first that refuses it.
    fn admit(&mut self, down: bool, report: &HostReport, load: &HostLoad) -> bool {
        self.hosts += 1;
        let free = report.capacity.less(load.used);
        let refused_by = if down {
            &mut self.down
        } else if report.status == HostStatus::Restarting {
            &mut self.restarting
        } else if !report.caught_up {
            &mut self.catching_up
        } else if matches!(report.runtime, RuntimeStatus::Unavailable { .. }) {
            &mut self.no_runtime
        } else {
            if free.cpu < self.needs.cpu {
                self.free_most.cpu = self.free_most.cpu.max(free.cpu);
                &mut self.cpu
            } else if free.memory_mib < self.needs.memory_mib {
                self.free_most.memory_mib = self.free_most.memory_mib.max(free.memory_mib);
                &mut self.memory
            } else if self
                .needs
                .ports
                .iter()
                .any(|port| load.ports.contains(port))
            {
                &mut self.ports
            } else {
                return true;
            }
        };
        *refused_by += 1;
        false
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
        let reasons = [
            (self.down, "down".to_owned()),
            (self.restarting, "restarting".to_owned()),
            (self.catching_up, "still reading the board".to_owned()),
            (
                self.no_runtime,
                "without a container runtime that answers".to_owned(),
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
            (self.ports, format!("refused by ports ({} taken)", ports())),
        ];
        let told: Vec<String> = reasons
            .into_iter()
            .filter(|(hosts, _)| *hosts > 0)
            .map(|(hosts, reason)| format!("{hosts} {reason}"))
            .collect();
        let plural = if self.hosts == 1 { "host" } else { "hosts" };
        write!(f, "of {} {plural} {}", self.hosts, told.join(", "))
    }
}
