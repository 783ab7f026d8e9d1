//! What must come about once nothing goes wrong any more: exact counts, equal boards, then quiet.

use crate::{
    checks::{Asked, Copy},
    cluster::{Cluster, SECOND},
    host::Host,
};
use holdfast_core::{
    agent::Agent,
    cluster::{
        board::{Board, Service},
        run::Run,
    },
    event::HostStanding,
    ids::ServiceId,
    spec::task_definition::{Protocol, TaskDefinition},
    task::{runtime::ObservedStatus, status::TaskStatus},
};
use std::collections::BTreeMap;

/// From the last fault until all is well: 30 s of the design, plus the longest that single things
/// may take by right: a SIGTERM that is ignored (30 s), an agent that is expected back (30 s), and
/// a back-off that began before (60 s).
pub const CONVERGE_MAX: u64 = 150 * SECOND;
/// For how long, beside that, it may wait for containers that ignore a SIGTERM.
const KILLS_MAX: u64 = 20 * 30 * SECOND;
/// For how long nothing may start or stop afterwards.
pub const QUIET: u64 = 600 * SECOND;
/// From then on until slots are spread evenly again.
pub const BALANCE_MAX: u64 = 600 * SECOND;
/// So soon a keeper looks for balance again where something was not at rest.
const LOOKED_AGAIN: u64 = 32 * SECOND;
/// All must be well for so long before it counts: two rounds of repair.
const SETTLED: u64 = 3 * SECOND;
pub(crate) const ANSWER_MAX: u64 = 5 * SECOND;
/// The longest pull, or as many questions as it takes to give a host up, and some to find out that
/// an agent began anew.
pub const PULL_MAX: u64 = 30 * SECOND;

/// What is made of copies that were told to stop and have not ended: some ignore SIGTERM, and by
/// right have until they are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endings {
    Awaited,
    Spared,
}

impl Cluster {
    /// Runs until nothing is pending; how long that took. An update goes from slot to slot, and may
    /// have to wait at each for a SIGTERM that is ignored: that time does not count.
    pub fn converge(&mut self, within: u64) -> Result<u64, String> {
        let began = self.now;
        let mut within = within;
        // The counts can be right for a moment while word of a change is still on its way.
        let (mut well_since, mut exact_since) = (None, None);
        self.stats.exact_us = None;
        loop {
            if self.pending_but(Endings::Spared).is_some() {
                exact_since = None;
            } else {
                let since = *exact_since.get_or_insert(self.now);
                if self.stats.exact_us.is_none() && self.now - since >= SETTLED {
                    self.stats.exact_us = Some(since - began);
                }
            }
            let Some(pending) = self.pending() else {
                let since = *well_since.get_or_insert(self.now);
                if self.now - since >= SETTLED {
                    self.stats.converged_us = Some(since - began);
                    return Ok(since - began);
                }
                self.run_for(SECOND / 10)?;
                continue;
            };
            well_since = None;
            if self.awaits_a_kill() {
                within = (within + SECOND / 10).min(CONVERGE_MAX + KILLS_MAX);
            }
            if self.now - began >= within {
                if let Some((service, index)) = self.pending_slot.take() {
                    self.explain_slot(service, index);
                }
                let seconds = within / SECOND;
                self.fail(format!(
                    "still pending {seconds} s after the last change: {pending}"
                ));
            }
            self.run_for(SECOND / 10)?;
        }
    }

    /// Runs until no keeper is about to move a slot for balance, and all is well again. What was
    /// not at rest when its keeper looked is looked at again: so nothing must have moved since.
    pub fn balance(&mut self, within: u64) -> Result<(), String> {
        let began = self.now;
        let before = (self.stats.converged_us, self.stats.exact_us);
        loop {
            let moved = (self.stats.starts, self.stats.stops);
            self.run_for(LOOKED_AGAIN)?;
            self.converge(CONVERGE_MAX)?;
            let is_still = moved == (self.stats.starts, self.stats.stops);
            if is_still && self.live_agents().all(Agent::is_balanced) {
                break;
            }
            if self.now - began >= within {
                return Err("keepers still move slots for balance".to_owned());
            }
        }
        (self.stats.converged_us, self.stats.exact_us) = before;
        Ok(())
    }

    fn live_agents(&self) -> impl Iterator<Item = &Agent> {
        self.hosts.iter().filter_map(|host| host.agent.as_ref())
    }

    /// Runs for `micros`, in which nothing may start or stop and messages keep to the idle rate.
    pub fn quiet(&mut self, micros: u64) -> Result<(), String> {
        let before = (self.stats.starts, self.stats.stops);
        let last_minute = self.now + micros.saturating_sub(60 * SECOND);
        self.run_until(last_minute)?;
        let sent = self.stats.sent_by().to_vec();
        self.run_for(micros.min(60 * SECOND))?;
        let (starts, stops) = (self.stats.starts - before.0, self.stats.stops - before.1);
        if (starts, stops) != (0, 0) {
            return Err(format!(
                "{starts} starts and {stops} stops while nothing happened"
            ));
        }
        if let Some(pending) = self.pending() {
            return Err(format!("all was well, and is no more: {pending}"));
        }
        self.check_idle_rate(&sent, micros.min(60 * SECOND) / SECOND)?;
        self.check_told()
    }

    /// Each host sends a probe to each of its subjects (each has ten observers) and answers its own
    /// observers, once a second; the rest is for comparing boards.
    fn check_idle_rate(&self, before: &[u64], seconds: u64) -> Result<(), String> {
        let live = self.hosts.iter().filter(|host| host.agent.is_some());
        let live = live.count() as u64;
        let lost = self.hosts.len() as u64 - live;
        let bound = 2 * live.saturating_sub(1).min(10) + lost + 6 + self.roll_call_bound();
        let now = self.stats.sent_by().iter().sum::<u64>();
        let sent = now - before.iter().sum::<u64>();
        if sent > bound * live * seconds {
            let rate = sent / (live * seconds);
            return Err(format!(
                "{rate} messages/s a host when idle, over the bound of {bound}"
            ));
        }
        Ok(())
    }

    /// Every task that runs was told of.
    fn check_told(&self) -> Result<(), String> {
        for copy in self.checks.copies.values().flatten() {
            if copy.down_at.is_none() && !self.checks.was_told_running(copy.place, copy.task) {
                let (place, task) = (copy.place, copy.task);
                return Err(format!("h{place} never told that task {task} runs"));
            }
        }
        Ok(())
    }

    fn awaits_a_kill(&self) -> bool {
        let mut copies = self.checks.copies.values().flatten();
        copies.any(|copy| {
            let mut its = self.hosts[copy.place].runtime.containers_of(copy.task);
            copy.told && copy.down_at.is_none() && its.any(|c| c.is_running() && c.stubborn)
        })
    }

    /// What is missing until all is well.
    pub fn pending(&self) -> Option<String> {
        self.pending_but(Endings::Awaited)
    }

    fn pending_but(&self, endings: Endings) -> Option<String> {
        let live: Vec<_> = self.hosts.iter().filter(|host| !host.lost).collect();
        let agents: Vec<_> = live
            .iter()
            .filter_map(|host| host.agent.as_ref().map(|agent| (*host, agent)))
            .collect();
        if agents.len() < live.len() {
            return Some("an agent is not there".to_owned());
        }
        let board = agents.first()?.1.board();
        self.pending_views(&agents)
            .or_else(|| self.pending_words(&agents))
            .or_else(|| self.pending_answers())
            .or_else(|| self.pending_ticks(agents.first()?.0.place))
            .or_else(|| {
                board
                    .services()
                    .find_map(|s| self.pending_service(board, &s, endings))
            })
            .or_else(|| {
                board
                    .runs()
                    .find_map(|(id, run)| self.pending_run(board, id, run))
            })
            .or_else(|| self.pending_orphans(board, endings))
    }

    /// Each slot of a run ends, if a host has room for it.
    fn pending_run(&self, board: &Board, id: ServiceId, run: &Run) -> Option<String> {
        let desired = u32::try_from(run.tasks.len()).unwrap_or(u32::MAX);
        let index = (0..desired).find(|index| {
            let slot = board.slot(id, *index);
            slot.is_none_or(|(_, slot)| slot.end.is_none())
        })?;
        let waits = self.is_explained(board, &board.service(id)?, index);
        let slot = board.slot(id, index);
        (!waits).then(|| format!("slot {index} of run {id} has not ended: {slot:?}"))
    }

    fn pending_views(&self, agents: &[(&Host, &Agent)]) -> Option<String> {
        let root = agents.first()?.1.board().root();
        for (host, agent) in agents {
            let place = host.place;
            if !agent.is_caught_up() {
                return Some(format!("h{place} is not caught up"));
            }
            if agent.board().root() != root {
                let first = agents.first()?.1.board();
                let differs = difference(first, agent.board());
                return Some(format!("h{place} has another board: {differs}"));
            }
            let mut lost = self.hosts.iter().filter(|host| host.lost);
            if let Some(lost) = lost.find(|lost| agent.board().is_up(lost.id)) {
                return Some(format!(
                    "h{place} holds h{} for up, which is lost",
                    lost.place
                ));
            }
            for (other, _) in agents.iter().filter(|(other, _)| other.place != place) {
                let standing = agent.standing(other.id);
                if !matches!(standing, HostStanding::Up | HostStanding::Draining) {
                    return Some(format!(
                        "h{place} sees h{} {}",
                        other.place,
                        standing.as_str()
                    ));
                }
            }
        }
        None
    }

    /// A command that should have been answered by now.
    pub fn pending_answers(&self) -> Option<String> {
        let late = |asked: &Asked| asked.at + asked.within < self.now;
        let mut open = self
            .checks
            .asked
            .iter()
            .filter(|(_, asked)| asked.answer.is_none());
        let (id, asked) = open.find(|(_, asked)| late(asked))?;
        Some(format!("command {id} to h{} is not answered", asked.place))
    }

    fn pending_service(
        &self,
        board: &Board,
        service: &Service<'_>,
        endings: Endings,
    ) -> Option<String> {
        let name = &service.settings.name;
        let counts =
            |copy: &&Copy| copy.down_at.is_none() && !(copy.told && endings == Endings::Spared);
        for index in 0..service.desired {
            self.pending_slot.set(Some((service.id, index)));
            let copies = self.checks.copies_of(service.id, index).iter();
            let mut up = copies.filter(counts);
            let (first, second) = (up.next(), up.next());
            if first.is_some_and(|copy| copy.told) {
                return Some(format!("slot {index} of {name} is being stopped"));
            }
            if second.is_some() {
                return Some(format!("slot {index} of {name} runs more than once"));
            }
            let Some(copy) = first else {
                if self.is_explained(board, service, index) {
                    continue;
                }
                let slot = board.slot(service.id, index);
                return Some(format!("slot {index} of {name} does not run: {slot:?}"));
            };
            // A copy that was superseded serves only until its successor has started.
            let at = board.slot(service.id, index).map_or(0, |(at, _)| at);
            let report = board.task(copy.task).map(|(_, report)| report);
            let label = report.and_then(|report| report.slot.as_ref());
            if label.is_none_or(|label| label.generation < at) && self.has_room(service) {
                return Some(format!("slot {index} of {name} is being handed over"));
            }
            let containers = self.hosts[copy.place].runtime.containers_of(copy.task);
            let wanted = (service.revision.definition, service.revision.renewals);
            let mut runs = containers.map(|c| &c.make.labels);
            if runs.any(|labels| (labels.definition, labels.renewals) != wanted) {
                // Its successor starts first, and for that there may be no room.
                let slot = board.slot(service.id, index);
                if slot.is_some_and(|(_, slot)| !slot.reason.is_empty()) && !self.has_room(service)
                {
                    continue;
                }
                return Some(format!("slot {index} of {name} runs another definition"));
            }
        }
        self.pending_slot.set(None);
        if let Some(why) = self.pending_bytes(service) {
            return Some(why);
        }
        let beyond = (service.id, service.desired)..=(service.id, u32::MAX);
        let mut surplus = self.checks.copies.range(beyond);
        surplus
            .find(|(_, copies)| copies.iter().any(|copy| counts(&copy)))
            .map(|((_, index), _)| format!("slot {index} of {name} still runs"))
    }

    /// All tasks of a deployment run the same bytes.
    fn pending_bytes(&self, service: &Service<'_>) -> Option<String> {
        let definition = self.definitions.get(&service.revision.definition)?;
        let pinned = definition.containers.iter().filter(|c| !c.follows_tag);
        let pinned: Vec<&str> = pinned.map(|container| container.name.as_str()).collect();
        let mut first = BTreeMap::new();
        for index in 0..service.desired {
            let copies = self.checks.copies_of(service.id, index).iter();
            for copy in copies.filter(|copy| copy.down_at.is_none()) {
                let host = &self.hosts[copy.place];
                for container in host.runtime.containers_of(copy.task) {
                    let name = container.make.container.name.as_str();
                    let image = container.image(host.id);
                    let others = *first.entry(name).or_insert(image);
                    if pinned.contains(&name) && image != others {
                        return Some(format!(
                            "container {name} of slot {index} of {} runs other bytes than others",
                            service.settings.name
                        ));
                    }
                }
            }
        }
        None
    }

    /// Nothing has room for it in truth, and its slot record says why.
    fn is_explained(&self, board: &Board, service: &Service<'_>, index: u32) -> bool {
        let says_why = board
            .slot(service.id, index)
            .is_some_and(|(_, slot)| slot.host.is_none() && !slot.reason.is_empty());
        says_why && !self.has_room(service)
    }

    /// Some host could run one more copy, by what its containers hold in truth.
    fn has_room(&self, service: &Service<'_>) -> bool {
        let definition = self.definitions.get(&service.revision.definition);
        let Some(needs) = definition.map(TaskDefinition::needs) else {
            return true;
        };
        let boards = self.hosts.iter().filter_map(|host| host.agent.as_ref());
        let board = boards.map(Agent::board).next();
        let is_leaving = |host: &Host| board.is_some_and(|board| board.is_leaving(host.id));
        let mut live = self.hosts.iter().filter(|host| !host.lost);
        live.any(|host| {
            if is_leaving(host) {
                return false;
            }
            let holding = host.runtime.containers().map(|(_, there)| there);
            let holding = holding.filter(|c| !matches!(c.status, ObservedStatus::Exited(_)));
            let (cpu, memory, gpus) = holding.fold((0, 0, 0), |(cpu, memory, gpus), c| {
                let container = &c.make.container;
                (
                    cpu + container.cpu,
                    memory + container.memory_reserved_mib(),
                    gpus + container.gpus,
                )
            });
            let is_bound = |port: &(Protocol, u16)| host.runtime.is_bound(port.0, port.1);
            cpu + needs.cpu <= host.capacity.cpu
                && memory + needs.memory_mib <= host.capacity.memory_mib
                && gpus + needs.gpus <= host.capacity.gpus.into()
                && !needs.ports.iter().any(is_bound)
        })
    }

    fn pending_orphans(&self, board: &Board, endings: Endings) -> Option<String> {
        for host in self.hosts.iter().filter(|host| !host.lost) {
            for (key, there) in host.runtime.containers().filter(|(_, c)| c.is_running()) {
                let reported = board.task_at(host.id, key.task);
                let stopping = reported.is_some_and(|r| r.desired == TaskStatus::Stopped);
                if stopping && endings == Endings::Spared {
                    continue;
                }
                if stopping {
                    let (place, task) = (host.place, key.task);
                    return Some(format!("h{place} runs {} of {task}, which ends", key.name));
                }
                let slot = there.make.labels.slot.as_ref();
                let service = slot.and_then(|slot| board.service(slot.service));
                if service.is_none() {
                    let (place, task) = (host.place, key.task);
                    return Some(format!("h{place} runs {} of {task} for nobody", key.name));
                }
                let up = self.checks.copies.values().flatten();
                let mut up = up.filter(|copy| copy.down_at.is_none());
                if !up.any(|copy| copy.task == key.task) {
                    let (place, task) = (host.place, key.task);
                    return Some(format!("h{place} runs a part of task {task} only"));
                }
            }
            let made = host.runtime.containers();
            let mut made = made.filter(|(_, c)| c.status == ObservedStatus::Created);
            if let Some((key, _)) = made.find(|(key, _)| board.task_at(host.id, key.task).is_none())
            {
                let (place, task) = (host.place, key.task);
                return Some(format!("h{place} has {} of {task} for nobody", key.name));
            }
        }
        None
    }
}

/// The first record in which two boards differ.
fn difference(a: &Board, b: &Board) -> String {
    let other = |board: &Board, r: &holdfast_core::cluster::record::Record| {
        board.record(&r.key).map(|theirs| theirs.version) != Some(r.version)
    };
    let here = a.records().find(|r| other(b, r));
    let there = b.records().find(|r| other(a, r));
    let key = here.or(there).map(|record| &record.key);
    format!("{key:?} of {} and {} records", a.len(), b.len())
}
