//! What must hold across hosts after every step: counts on each side, healthy tasks, promises.

use crate::{
    checks::Copy,
    cluster::{Cluster, SECOND},
    container::FakeContainer,
    host::{CLUSTER, Host},
    trace::low,
};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key},
        record::Record,
        run::{Ended, Run},
    },
    ids::{RuntimeId, ServiceId, TaskId},
    spec::options::HandOver,
    task::{
        runtime::{CreateContainer, Labels, ObservedStatus, RuntimeCommand, SlotLabel},
        status::{Health, TaskStatus},
    },
    time::Wall,
};
use std::collections::BTreeMap;

/// Nobody can help what happened less than this ago: the news of it may still be on its way.
const RACE: u64 = 3 * SECOND;
/// How long two copies of a slot may both serve where views have settled: a hand-over's overlap.
const OVERLAP: u64 = 15 * SECOND;

/// A time that one host tells by its clock may have come so much earlier by another's.
const CLOCKS_DIFFER: u64 = 10 * SECOND;

// Truth: who runs what, by the runtimes alone.
impl Cluster {
    /// A slot of which two copies ran at one time, one of them begun since then.
    pub fn runs_twice_since(&self, since: u64) -> Option<String> {
        let meet = |copies: &Vec<Copy>| {
            copies.iter().any(|late| {
                let meets = |early: &Copy| {
                    early.task != late.task
                        && early.up_at <= late.up_at
                        && early.down_at.is_none_or(|down_at| down_at > late.up_at)
                };
                late.up_at >= since && copies.iter().any(meets)
            })
        };
        let mut slots = self.checks.copies.iter();
        let found = slots.find(|(_, copies)| meet(copies));
        found.map(|((service, index), _)| format!("slot {index} of {service}"))
    }

    /// Counts a task anew after something happened to one of its containers.
    pub(crate) fn refresh(&mut self, place: usize, task: TaskId) {
        self.check_order(place, task);
        let mut containers = self.hosts[place].runtime.containers_of(task).peekable();
        let Some(first) = containers.peek() else {
            drop(containers);
            self.on_down(place, task);
            return;
        };
        let labels = &first.make.labels;
        let definition = self.definitions.get(&labels.definition);
        let needed = definition.map_or(1, |definition| definition.containers.len());
        let slot = labels.slot.clone();
        let running = containers.filter(|container| container.is_up()).count();
        match slot {
            Some(slot) if running == needed => self.on_up(place, task, &slot),
            _ => self.on_down(place, task),
        }
    }

    /// No container runs before one that it depends on was started.
    fn check_order(&mut self, place: usize, task: TaskId) {
        let runtime = &self.hosts[place].runtime;
        let early = runtime.containers_of(task).find_map(|one| {
            let mut awaited = one.make.container.depends_on.iter();
            let is_early = awaited.any(|dependency| {
                let other = runtime.container(task, &dependency.container);
                other.is_some_and(|other| other.status == ObservedStatus::Created)
            });
            let name = &one.make.labels.container;
            (one.is_running() && is_early).then(|| name.clone())
        });
        if let Some(name) = early {
            let task = low(task.0);
            self.fail(format!(
                "task {task:08x} on h{place}: {name} runs before what it depends on was started"
            ));
        }
    }

    /// No container is told to stop while another one runs that depends on it.
    pub(crate) fn check_stop_order(&mut self, place: usize, task: TaskId, stopped: &str) {
        let needs_it =
            |one: &&FakeContainer| one.is_running() && one.make.container.waits_for(stopped);
        let runtime = &self.hosts[place].runtime;
        let name = |other: &FakeContainer| other.make.labels.container.clone();
        let other = runtime.containers_of(task).find(needs_it).map(name);
        if let Some(other) = other {
            let task = low(task.0);
            self.fail(format!(
                "task {task:08x} on h{place}: {stopped} is told to stop while {other} runs, which \
                 depends on it"
            ));
        }
    }

    pub(crate) fn refresh_all(&mut self, place: usize) {
        let containers = self.hosts[place].runtime.containers();
        let mut tasks: Vec<_> = containers.map(|(key, _)| key.task).collect();
        tasks.dedup();
        tasks.into_iter().for_each(|task| self.refresh(place, task));
    }

    fn on_up(&mut self, place: usize, task: TaskId, slot: &SlotLabel) {
        let copies = self
            .checks
            .copies
            .entry((slot.service, slot.index))
            .or_default();
        if copies
            .iter()
            .any(|copy| copy.task == task && copy.down_at.is_none())
        {
            return;
        }
        copies.push(Copy {
            place,
            task,
            generation: slot.generation,
            up_at: self.now,
            down_at: None,
            told: false,
        });
        self.count_service(slot.service);
        self.check_slot(slot.service, slot.index);
    }

    fn on_down(&mut self, place: usize, task: TaskId) {
        let now = self.now;
        let mut changed = None;
        for ((service, _), copies) in &mut self.checks.copies {
            let copy = copies
                .iter_mut()
                .find(|c| (c.place, c.task) == (place, task) && c.down_at.is_none());
            if let Some(copy) = copy {
                copy.down_at = Some(now);
                changed = Some(*service);
            }
        }
        if let Some(service) = changed {
            self.count_service(service);
        }
    }

    /// Notes when a service came to be short of copies, and when it was restored.
    pub(crate) fn count_service(&mut self, service: ServiceId) {
        let all = (service, 0)..=(service, u32::MAX);
        let slots = self.checks.copies.range(all);
        let up = slots.filter(|(_, copies)| copies.iter().any(|c| c.down_at.is_none()));
        let up = up.count();
        let now = self.now;
        let Some(wanted) = self.checks.wanted.get_mut(&service) else {
            return;
        };
        let is_short = up < wanted.desired as usize;
        match wanted.short_since {
            None if is_short => wanted.short_since = Some(now),
            Some(since) if !is_short => {
                wanted.short_since = None;
                self.stats.restored_us.push(now - since);
            }
            _ => {}
        }
    }
}

// The count on each side.
impl Cluster {
    /// Each second: forgets what ended long ago, and looks at slots with more than one copy.
    pub(crate) fn check_sweep(&mut self) {
        let now = self.now;
        self.watch_majority();
        self.checks.copies.retain(|_, copies| {
            copies.retain(|copy| copy.down_at.is_none_or(|at| at + 120 * SECOND > now));
            !copies.is_empty()
        });
        let crowded = self.checks.copies.iter().filter(|(_, copies)| {
            let up = copies.iter().filter(|c| c.down_at.is_none());
            up.count() > 1
        });
        let crowded: Vec<_> = crowded.map(|(slot, _)| *slot).collect();
        for (service, index) in crowded {
            self.check_slot(service, index);
        }
    }

    /// Where views have settled, a slot runs once on each side, and twice during a hand-over. Views
    /// have settled when no fault but a clean partition is on, and nothing changed for `OVERLAP`:
    /// only then are copies from before a healing, and starts in vain, expected to be gone.
    fn check_slot(&mut self, service: ServiceId, index: u32) {
        let now = self.now;
        self.check_exclusive(service, index);
        let settled = self.faults_on == 0 && self.checks.disturbed_at + OVERLAP < now;
        if !settled || !self.network.is_cleanly_split() {
            return;
        }
        let sides = self.network.sides();
        let mut by_side: BTreeMap<usize, (u32, u32)> = BTreeMap::new();
        for copy in self.checks.copies_of(service, index) {
            // Whoever has no agent at the moment cannot be asked to stop anything.
            let is_asked = self.hosts[copy.place].is_acting();
            if copy.down_at.is_none() && !copy.told && is_asked {
                let count = by_side.entry(sides[copy.place]).or_default();
                count.0 += 1;
                count.1 += u32::from(copy.up_at + OVERLAP < now);
            }
        }
        for (copies, old) in by_side.into_values() {
            if copies > 2 || old > 1 {
                let up = self.checks.copies_of(service, index).iter();
                let up = up.filter(|copy| copy.down_at.is_none() && !copy.told);
                let up: Vec<_> = up
                    .map(|c| {
                        let (task, since) = (low(c.task.0), c.up_at / SECOND);
                        format!("{task:08x} on h{} since {since} s", c.place)
                    })
                    .collect();
                self.explain_slot(service, index);
                self.fail(format!(
                    "slot {index} of service {service} runs {copies} times on one side, {old} of \
                     them for longer than a hand-over takes: {}",
                    up.join(", ")
                ));
            }
        }
    }
}

// Commands.
impl Cluster {
    pub(crate) fn check_command(&mut self, place: usize, command: &RuntimeCommand) {
        let result = match command {
            RuntimeCommand::Create(make) => self
                .check_labels(place, &make.labels)
                .and_then(|()| self.check_start(place, &make.labels))
                .and_then(|()| self.check_room(place, make)),
            RuntimeCommand::Start {
                task,
                container,
                runtime_id,
                after,
            } => self
                .check_ours(place, *task, container, *runtime_id)
                .and_then(|()| {
                    let there = self.hosts[place].runtime.container(*task, container);
                    there.map_or(Ok(()), |there| {
                        check_again(there, *after)?;
                        self.check_start(place, &there.make.labels)
                    })
                }),
            RuntimeCommand::ReadLog {
                task,
                container,
                runtime_id,
            }
            | RuntimeCommand::Check {
                task,
                container,
                runtime_id,
                ..
            } => self.check_ours(place, *task, container, *runtime_id),
            RuntimeCommand::Stop {
                task,
                container,
                runtime_id,
                ..
            } => self
                .check_ours(place, *task, container, *runtime_id)
                .and_then(|()| self.check_protection(place, *task))
                .and_then(|()| self.check_stop(place, *task)),
            RuntimeCommand::Remove {
                task,
                container,
                runtime_id,
            } => self.check_ours(place, *task, container, *runtime_id),
            RuntimeCommand::List => Ok(()),
            #[allow(unreachable_patterns, reason = "commands that are yet to come")]
            _ => Ok(()),
        };
        if let (RuntimeCommand::Stop { task, .. }, Ok(())) = (command, &result) {
            self.checks.on_told_to_stop(place, *task);
        }
        if let Err(what) = result {
            if let RuntimeCommand::Stop { task, .. } = command {
                self.explain_task(*task);
            }
            self.fail(format!("h{place}: {what}"));
        }
    }

    /// A host calls a task STOPPED only when nothing of it runs any more.
    pub(crate) fn check_stopped(&mut self, place: usize, record: &Record) {
        let host = &self.hosts[place];
        let (Key::Task(on, task), Some(Body::Task(report))) = (&record.key, &record.body) else {
            return;
        };
        let ours = *on == host.id && record.version.stamp.author == host.id;
        let runs = host.runtime.containers_of(*task).any(|c| c.is_running());
        if ours && runs && report.last == TaskStatus::Stopped {
            self.fail(format!(
                "h{place} calls task {task} STOPPED while a container of it runs"
            ));
        }
    }

    fn check_labels(&self, place: usize, labels: &Labels) -> Result<(), String> {
        let host = &self.hosts[place];
        if labels.host != host.id || labels.cluster != CLUSTER {
            return Err(format!(
                "creates a container with labels of another: {labels:?}"
            ));
        }
        Ok(())
    }

    fn check_ours(
        &self,
        place: usize,
        task: TaskId,
        name: &str,
        runtime_id: RuntimeId,
    ) -> Result<(), String> {
        let runtime = &self.hosts[place].runtime;
        if runtime.foreign().contains(&runtime_id) {
            return Err(format!("touches {runtime_id}, which is not ours"));
        }
        let ours = runtime.container(task, name);
        if ours.is_some_and(|c| c.runtime_id != runtime_id) {
            return Err(format!(
                "task {task}: {runtime_id} is not the id of its {name}"
            ));
        }
        Ok(())
    }

    fn check_start(&self, place: usize, labels: &Labels) -> Result<(), String> {
        let task = labels.task;
        if self.checks.status(place, task) == Some(TaskStatus::Stopped) {
            return Err(format!(
                "starts a container of task {task}, which is STOPPED"
            ));
        }
        let board = self.board(place);
        match (&labels.slot, board) {
            (Some(slot), Some(board)) if has_ended(board, slot) => Err(format!(
                "starts a container of slot {} of {}, which it knows to have ended",
                slot.index, slot.service_name
            )),
            (Some(slot), Some(board)) if board.is_service_gone(slot.service) => Err(format!(
                "starts a container of {}, which it knows to be deleted",
                slot.service_name
            )),
            _ => Ok(()),
        }
    }

    /// Nothing is promised twice: neither what the containers hold in truth, nor what the host's
    /// own reports say of its tasks.
    fn check_room(&self, place: usize, make: &CreateContainer) -> Result<(), String> {
        let host = &self.hosts[place];
        let wanted = &make.container;
        let holding = host.runtime.containers().filter(|(key, there)| {
            (key.task, &key.name) != (make.labels.task, &wanted.name)
                && !matches!(there.status, ObservedStatus::Exited(_))
                && self.checks.status(place, key.task) != Some(TaskStatus::Stopped)
        });
        let (mut cpu, mut memory) = (wanted.cpu, wanted.memory_reserved_mib());
        let (gpus, own) = (&make.gpus, host.gpus());
        if gpus.len() != wanted.gpus as usize || !gpus.iter().all(|gpu| own.contains(gpu)) {
            return Err(format!("promises {gpus:?}, {} of {own:?}", wanted.gpus));
        }
        for (key, there) in holding {
            cpu += there.make.container.cpu;
            memory += there.make.container.memory_reserved_mib();
            if let Some(gpu) = gpus.iter().find(|gpu| there.make.gpus.contains(gpu)) {
                return Err(format!(
                    "promises GPU {gpu} twice; task {} has it",
                    key.task
                ));
            }
            let twice = wanted
                .ports
                .iter()
                .find(|port| port.host_port != 0 && there.make.container.ports.contains(port));
            if let Some(port) = twice {
                let (port, other) = (port.host_port, key.task);
                return Err(format!("promises port {port} twice; task {other} has it"));
            }
        }
        let capacity = host.capacity;
        if cpu > capacity.cpu || memory > capacity.memory_mib {
            return Err(format!(
                "promises {cpu} CPU units, {memory} MiB of {capacity:?}"
            ));
        }
        self.board(place)
            .map_or(Ok(()), |board| self.check_reports(host, board))
    }

    fn check_reports(&self, host: &Host, board: &Board) -> Result<(), String> {
        let (mut cpu, mut memory) = (0, 0);
        for (_, report) in board.tasks_on(host.id) {
            // From DEPROVISIONING on, its containers have ended.
            let holds = report.last < TaskStatus::Deprovisioning && !report.refused;
            if let Some(definition) = self.definitions.get(&report.definition)
                && holds
            {
                let needs = definition.needs();
                cpu += needs.cpu;
                memory += needs.memory_mib;
            }
        }
        if cpu > host.capacity.cpu || memory > host.capacity.memory_mib {
            return Err(format!(
                "has promised {cpu} CPU units and {memory} MiB in its reports"
            ));
        }
        Ok(())
    }

    /// What its host has been told of its protection holds until the time that was asked for; but
    /// not against people's orders, and not where nobody may run it any more.
    fn check_protection(&self, place: usize, task: TaskId) -> Result<(), String> {
        let Some(board) = self.board(place) else {
            return Ok(());
        };
        let asked_until = self.checks.protected.get(&task);
        let is_asked = asked_until.is_some_and(|until| self.now + CLOCKS_DIFFER < *until);
        let is_told = board.protection(task).is_some_and(|it| it.until.is_some());
        let of = self.checks.slot_of(place, task);
        let of = of.filter(|_| self.checks.is_serving(place, task));
        let Some((service, _)) = of.filter(|_| is_asked && is_told) else {
            return Ok(());
        };
        let report = board.task_at(self.hosts[place].id, task);
        let is_sick = report.is_some_and(|report| report.health == Health::Unhealthy);
        let is_excused = is_sick
            || self.must_go(place, board)
            || self.is_without_majority(place, service)
            || board.service(service).is_none()
            || board.stop_order(task).is_some();
        match is_excused {
            true => Ok(()),
            false => Err(format!("stops task {task}, which is protected and healthy")),
        }
    }

    /// A healthy task is stopped for a smaller count, a deletion, a person's order, a stop-first
    /// hand-over, or because another copy of its slot serves (or did, a moment ago) on its side.
    fn check_stop(&self, place: usize, task: TaskId) -> Result<(), String> {
        let found = self.checks.copies.iter().find_map(|(slot, copies)| {
            let up = copies
                .iter()
                .find(|c| c.task == task && c.down_at.is_none())?;
            let is_serving = up.place == place && self.checks.is_serving(place, task);
            is_serving.then_some((*slot, up.up_at))
        });
        let (Some(((service, index), up_at)), Some(board)) = (found, self.board(place)) else {
            return Ok(());
        };
        let wanted = board.service(service).map(|service| service.desired);
        // Deleted so long ago that it does not know it, which is excused only if it is so.
        let is_unknown = board.record(&Key::ServiceSettings(service)).is_none();
        let is_excused = self.must_go(place, board)
            || (is_unknown && !self.checks.wanted.contains_key(&service))
            || self.is_without_majority(place, service)
            || board.is_service_gone(service)
            || self.is_over(board, (service, index), up_at)
            || wanted.is_some_and(|desired| index >= desired)
            || board.stop_order(task).is_some()
            || board
                .slot(service, index)
                .is_some_and(|(_, slot)| slot.order == HandOver::StopFirst);
        if is_excused {
            return Ok(());
        }
        let host = &self.hosts[place];
        let mut since = self.now.saturating_sub(RACE);
        if let Some((frozen_at, thawed_at)) = host.thawed
            && thawed_at >= since
        {
            // What it reads now waited in its socket while it was frozen.
            since = since.min(frozen_at.saturating_sub(RACE));
        }
        let sides = self.network.sides();
        let moved = self.checks.disturbed_at >= since;
        let others = self.checks.copies_of(service, index).iter();
        let served = others.filter(|other| other.task != task).any(|other| {
            let is_near = moved || sides[other.place] == sides[place];
            is_near && other.down_at.is_none_or(|at| at >= since)
        });
        if served {
            return Ok(());
        }
        Err(format!(
            "stops task {task}, which is healthy and the only copy of slot {index} of service \
             {service} on its side"
        ))
    }

    /// The slot is of a run: it has ended, or this copy has had its time.
    fn is_over(&self, board: &Board, (run, index): (ServiceId, u32), up_at: u64) -> bool {
        let limit = board.run(run).and_then(Run::timeout);
        let slot = board.slot(run, index).map(|(_, slot)| slot);
        limit.is_some_and(|limit| self.now >= up_at + limit.0)
            || slot.is_some_and(|slot| slot.end.is_some())
    }

    /// It was told to go in any case, and has waited long enough, or there is nobody to wait for.
    fn must_go(&self, place: usize, board: &Board) -> bool {
        let id = self.hosts[place].id;
        let stays = |host| board.is_up(host) && !board.is_leaving(host);
        self.hosts[place].leave_by.is_some_and(|by| {
            self.now >= by || !board.hosts().any(|(host, ..)| host != id && stays(host))
        })
    }

    pub(crate) fn board(&self, place: usize) -> Option<&Board> {
        self.hosts[place]
            .agent
            .as_ref()
            .map(holdfast_core::agent::Agent::board)
    }
}

/// The slot is of a run, and nothing is to be begun for it any more.
fn has_ended(board: &Board, slot: &SlotLabel) -> bool {
    let known = board.slot(slot.service, slot.index);
    known.is_some_and(|(generation, known)| {
        let end = known.end.as_ref();
        generation >= slot.generation && end.is_some_and(|end| end.how != Ended::Lost)
    })
}

/// What has ended is run again only where its own policy says so.
fn check_again(there: &FakeContainer, after: Option<Wall>) -> Result<(), String> {
    let policy = there.make.container.restart.as_ref();
    let is_asked = policy.is_some_and(|policy| policy.enabled);
    if after.is_some() && !is_asked {
        let name = &there.make.labels.container;
        return Err(format!(
            "{name} is run again, which its policy does not say"
        ));
    }
    Ok(())
}
