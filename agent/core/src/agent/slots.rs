//! Serving and keeping: this host acts on the slots that name it, and decides those it keeps.

use super::Agent;
use crate::{
    cluster::{
        body::{Body, HostStatus, Key, RuntimeStatus, Slot, TaskReport},
        run::title,
    },
    effect::Effects,
    ids::{Generation, GpuId, ServiceId, SlotIndex, TaskId},
    schedule::{
        copy::{Fate, awaited, fate, fate_of_protected, serves},
        keeper::{Scope, Sight},
        lease::Standing,
        pins::learned,
    },
    spec::{
        privilege::{DENIED, PRIVILEGE_ATTRIBUTE},
        task_definition::TaskDefinition,
    },
    task::{
        machine::Defined,
        runtime::SlotLabel,
        status::{StopCode, TaskStatus},
    },
    time::{Mono, Now, Span},
};
use std::collections::BTreeSet;

/// A copy gives way when its successor has served for so long, as far as this host knows: what
/// comes by way of others may be out of date, and the news that corrects it is seldom far behind.
const CONFIRMED_AFTER: Span = Span::from_ms(500);

/// Why a copy under `majority` stops.
const LEASE_OVER: &str = "its host was cut off from more than half of the hosts that count, and \
                          its service runs on the side of the majority only";

/// A slot that names this host and that no task of ours serves yet.
struct Offer {
    index: SlotIndex,
    generation: Generation,
    slot: Slot,
    service_name: Box<str>,
}

impl Agent {
    pub(super) fn every_service(&self) -> BTreeSet<ServiceId> {
        let known = self.board.services().map(|service| service.id);
        let known = known.chain(self.board.shadowed_services());
        let known = known.chain(self.board.runs().map(|(run, _)| run));
        let running = self
            .roster
            .iter()
            .filter_map(|task| task.report.slot.as_ref());
        known.chain(running.map(|slot| slot.service)).collect()
    }

    /// Does with this host's copies of a service what its slots say, and takes up new offers.
    pub(super) fn serve(&mut self, now: Now, service: ServiceId, scope: &Scope, fx: &mut Effects) {
        if !self.may_speak() {
            return;
        }
        let mine: Vec<(TaskId, SlotLabel)> = self
            .roster
            .iter()
            .filter(|task| !task.is_stopping())
            .filter_map(|task| Some((task.id, task.report.slot.clone()?)))
            .filter(|(_, label)| label.service == service && scope.covers(label.index))
            .collect();
        let is_long_gone = self.is_long_gone(service);
        for (task, label) in mine {
            if is_long_gone {
                let title = title(&label.service_name);
                let reason = format!("{title} was deleted while this host was away");
                self.stop_copy(now, task, &reason, fx);
                continue;
            }
            if self.lease_is_over(service) {
                self.stop_copy(now, task, LEASE_OVER, fx);
                continue;
            }
            let fate = match self.is_protected(task) {
                true => fate_of_protected(&self.board, (self.config.host, task), &label),
                false => fate(&self.board, (self.config.host, task), &label),
            };
            // Who may be down has taken over nothing for certain.
            if matches!(fate, Fate::Stop { .. } | Fate::GiveWay { .. })
                && self.may_lack_heir(&label)
            {
                self.giving_way.insert(task, (service, now.mono));
                continue;
            }
            if !matches!(fate, Fate::GiveWay { .. }) {
                self.giving_way.remove(&task);
            }
            match fate {
                Fate::Serve => self.mark(task, label.generation, false),
                Fate::TakeOver(generation) => self.mark(task, generation, false),
                Fate::Replaced => self.mark(task, label.generation, true),
                Fate::Stop { reason } => self.stop_copy(now, task, &reason, fx),
                Fate::GiveWay { reason } => {
                    let (_, since) = *self.giving_way.entry(task).or_insert((service, now.mono));
                    if now.mono >= since + CONFIRMED_AFTER {
                        self.giving_way.remove(&task);
                        self.stop_copy(now, task, &reason, fx);
                    }
                }
            }
        }
        let able = self.status == HostStatus::Active
            && self.may_start(service)
            && matches!(self.runtime, RuntimeStatus::Available { .. });
        if able {
            for offer in self.offers(service, scope) {
                self.take_up(now, service, offer, fx);
            }
        }
    }

    /// The host that the slot was given to is suspect, or said to be down and being asked. What has
    /// ended needs no heir.
    fn may_lack_heir(&self, label: &SlotLabel) -> bool {
        let slot = self.board.slot(label.service, label.index);
        let host = slot
            .filter(|(_, slot)| slot.end.is_none())
            .and_then(|(_, slot)| slot.host);
        host.is_some_and(|host| self.board.is_suspect(host) || self.membership.is_accused(host))
    }

    /// What this host says of its tasks is true: it has compared them with what runs, and knows
    /// what its peers last heard of them.
    fn may_speak(&self) -> bool {
        self.joining.is_done() && self.roster.has_compared()
    }

    pub(super) fn stop_copy(&mut self, now: Now, task: TaskId, reason: &str, fx: &mut Effects) {
        let code = StopCode::ServiceSchedulerInitiated;
        self.roster.stop(now, task, code, reason, fx);
    }

    /// When a copy that gives way is to be looked at again.
    pub(super) fn giving_way_deadline(&self) -> Option<Mono> {
        self.giving_way
            .values()
            .map(|(_, since)| *since + CONFIRMED_AFTER)
            .min()
    }

    pub(super) fn on_giving_way_wake(&mut self, now: Now) {
        let goes_on = |task: &TaskId| self.roster.get(*task).is_some_and(|t| !t.is_stopping());
        self.giving_way.retain(|task, _| goes_on(task));
        let due = self
            .giving_way
            .values()
            .filter(|(_, since)| now.mono >= *since + CONFIRMED_AFTER);
        let services = due.map(|(service, _)| *service);
        self.dirty.services.extend(services);
    }

    fn mark(&mut self, task: TaskId, generation: Generation, replaced: bool) {
        let report = self.roster.get(task).map(|task| &task.report);
        let label = report.and_then(|report| report.slot.as_ref());
        if label.is_some_and(|label| label.generation == generation)
            && report.is_some_and(|report| report.replaced == replaced)
        {
            return;
        }
        if let Some(task) = self.roster.get_mut(task) {
            task.report.replaced = replaced;
            if let Some(label) = &mut task.report.slot {
                label.generation = generation;
            }
        }
    }

    fn offers(&self, id: ServiceId, scope: &Scope) -> Vec<Offer> {
        let Some(service) = self.board.service(id) else {
            return Vec::new();
        };
        let me = self.config.host;
        let naming_me = self
            .index
            .slots_naming(me, id)
            .filter(|index| *index < service.desired && scope.covers(*index));
        let offer = |index| {
            let (generation, slot) = self.board.slot(id, index)?;
            let mut tasks = self.tasks_for((id, index), (generation, slot));
            let is_served = tasks.next().is_some();
            let is_over = slot.end.is_some() || self.board.is_called_off(id, index);
            let begins = !is_served && !is_over && awaited(&self.board, id, slot).is_none();
            begins.then(|| Offer {
                index,
                generation,
                slot: slot.clone(),
                service_name: service.settings.name.as_str().into(),
            })
        };
        naming_me.filter_map(offer).collect()
    }

    /// This host's tasks for a slot as it is now, whatever became of them.
    pub(super) fn tasks_for(
        &self,
        (service, index): (ServiceId, SlotIndex),
        (generation, slot): (Generation, &Slot),
    ) -> impl Iterator<Item = TaskId> {
        let (me, adopted) = (self.config.host, slot.adopted);
        let copies = self.board.copies(service, index);
        let ours = copies.filter(move |(host, task, report)| {
            *host == me && (adopted == Some(*task) || serves(report, index, generation))
        });
        ours.map(|(_, task, _)| task)
    }

    /// The host has the last word: it starts the task, or says why not.
    fn take_up(&mut self, now: Now, service: ServiceId, offer: Offer, fx: &mut Effects) {
        let revision = offer.slot.revision;
        let Some(definition) = self.board.definition(revision.definition).cloned() else {
            // It comes by repair, and then the offer is looked at again.
            return;
        };
        let label = SlotLabel {
            service,
            service_name: offer.service_name,
            index: offer.index,
            generation: offer.generation,
        };
        let pins = self.board.service(service).and_then(|known| known.pins);
        let pins = pins.filter(|pins| pins.are_of(&revision));
        let images = pins.map(|pins| pins.images.clone()).unwrap_or_default();
        let mut report = TaskReport::begin(revision, Some(label), now.wall);
        // What is only refused was never the task that a run promised by its name.
        let minted = TaskId::mint(self.config.host, &mut self.rng);
        let named = self.board.unused_name(service, offer.index);
        let task = named.unwrap_or(minted);
        report.values = self.values_set_at(definition.values().into_iter());
        match self.accept(task, definition) {
            Ok((definition, gpus)) => {
                let defined = Defined {
                    definition,
                    images,
                    gpus,
                };
                self.roster.start(now, task, report, defined, fx);
            }
            Err(why) => {
                report.desired = TaskStatus::Stopped;
                report.last = TaskStatus::Stopped;
                report.stop_code = Some(StopCode::TaskFailedToStart);
                report.stopped_reason = why.into();
                report.refused = true;
                report.stopped_at = Some(now.wall);
                self.write_task(now, minted, report, fx);
            }
        }
    }

    /// What this host allows and has room for, with what it chose for the task; else why not.
    pub(super) fn accept(
        &mut self,
        task: TaskId,
        definition: TaskDefinition,
    ) -> Result<(TaskDefinition, Vec<GpuId>), String> {
        let attribute = self.config.attributes.get(PRIVILEGE_ATTRIBUTE);
        let denies = attribute.is_some_and(|said| said == DENIED);
        if let Some(what) = definition.privilege().filter(|_| denies) {
            return Err(format!(
                "POLICY: {what}, and its host allows nothing that is root there (its agent's \
                 setting privileged)"
            ));
        }
        let chosen = self.ledger.choose_ports(definition).and_then(|definition| {
            let gpus = self.ledger.reserve(task, &definition.needs())?;
            Ok((definition, gpus))
        });
        chosen.map_err(|no_room| no_room.to_string())
    }

    fn write_task(&mut self, now: Now, task: TaskId, report: TaskReport, fx: &mut Effects) {
        let key = Key::Task(self.config.host, task);
        self.write(now, key, self.incarnation, Some(Body::Task(report)), fx);
    }

    /// Tells the board of each task that changed, and takes what has stopped off the ledger.
    pub(super) fn publish_tasks(&mut self, now: Now, fx: &mut Effects) {
        if !self.may_speak() || !self.roster.has_changed() {
            return;
        }
        let changed = self.roster.take_changed();
        for id in changed {
            let Some(task) = self.roster.get(id) else {
                continue;
            };
            let (report, needs) = (task.report.clone(), task.needs());
            self.note_protection(now, id, &report);
            match report.last.is_live() {
                false => self.ledger.release(id),
                true => self.ledger.adopt(id, needs),
            }
            self.note_timeout(now, id);
            let told = self.board.task_at(self.config.host, id) == Some(&report)
                && (self.board.is_fresh(self.config.host, id) || !report.last.is_live());
            if !told {
                self.write_task(now, id, report, fx);
            }
        }
        self.close_lost(now, fx);
        self.publish_host(now, fx);
    }

    /// A task that our own record calls live, but of which nothing is left, has ended unseen.
    fn close_lost(&mut self, now: Now, fx: &mut Effects) {
        if !self.roster.has_compared() {
            return;
        }
        let lost = self
            .board
            .tasks_on(self.config.host)
            .filter(|(task, report)| report.last.is_live() && self.roster.get(*task).is_none());
        let lost: Vec<_> = lost.map(|(task, report)| (task, report.clone())).collect();
        for (task, mut report) in lost {
            report.desired = TaskStatus::Stopped;
            report.last = TaskStatus::Stopped;
            report
                .stop_code
                .get_or_insert(StopCode::EssentialContainerExited);
            if report.stopped_reason.is_empty() {
                report.stopped_reason = "its containers were gone when the agent looked".into();
            }
            report.stopped_at = Some(now.wall);
            self.write_task(now, task, report, fx);
        }
    }

    /// If this host is the service's keeper: writes what its plan decides.
    pub(super) fn keep(&mut self, now: Now, id: ServiceId, scope: &Scope, fx: &mut Effects) {
        let keeper = self.index.keeper_of(id);
        let mine = self.joining.is_done() && keeper == Some(self.config.host);
        let known = self.board.service(id).filter(|_| mine);
        let pinned = known.filter(|known| known.run.is_none());
        if let Some(pins) = pinned.and_then(|known| learned(&self.board, known, scope)) {
            // They are known to whoever looks at the slots now.
            self.write(now, Key::Pins(id), 0, Some(Body::Pins(pins)), fx);
        }
        let Some(service) = self.board.service(id).filter(|_| mine) else {
            if mine && self.board.shadowed_services().any(|other| other == id) {
                // Two sides created a service of one name: the earlier one stays.
                self.delete_records(now, id, fx);
            }
            self.keeper.forget(id);
            return;
        };
        let mut returning = self.membership.returning(now);
        // What was just heard of a host that has gone was its goodbye.
        returning.retain(|host| self.board.status(*host) != Some(HostStatus::Left));
        let sight = Sight {
            board: &self.board,
            index: &mut self.index,
            returning: &returning,
            is_majority: self.lease.standing() == Standing::Majority,
        };
        for decision in self.keeper.plan(now, sight, service, scope) {
            let key = Key::Slot(decision.service, decision.index);
            self.tell_decision(now, &decision, fx);
            self.write(
                now,
                key,
                decision.generation,
                Some(Body::Slot(decision.slot)),
                fx,
            );
        }
    }

    /// This host's own tasks, and the slots that name it, are to be looked at again.
    pub(super) fn touch_own(&mut self) {
        self.dirty
            .slots
            .extend(self.index.all_naming(self.config.host));
        let mine = self.roster.iter().filter_map(|task| {
            let label = task.report.slot.as_ref()?;
            Some((label.service, label.index))
        });
        self.dirty.slots.extend(mine);
    }
}
