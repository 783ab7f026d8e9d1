//! How records come onto this host's board: written here, or taken from others.

use super::Agent;
use crate::{
    cluster::{
        board::Merge,
        body::{Body, HostReport, Key, Standing, Verdict},
        clock::Clock,
        membership::Turn,
        message::Message,
        record::{Record, Version},
    },
    effect::{Effect, Effects},
    ids::{HostId, Incarnation, ServiceId, TaskId},
    limits,
    task::status::{StopCode, TaskStatus},
    time::Now,
};
use std::sync::Arc;

/// After this time a host says again that it is there.
const SIGN_LIFE_MS: u64 = limits::TOMBSTONE_MS / 6;

impl Agent {
    /// Writes a record of our own: later than whatever we know.
    pub(super) fn write(
        &mut self,
        now: Now,
        key: Key,
        epoch: u64,
        body: Option<Body>,
        fx: &mut Effects,
    ) -> Arc<Record> {
        let version = Version {
            epoch,
            stamp: self.clock.stamp(now.wall),
        };
        let record = Record::new(key, version, body);
        match self.board.merge(&record) {
            Merge::Taken { replaced } => {
                self.unsaved.push(Arc::clone(&record));
                self.outbox.push(&record, None);
                self.on_set_aside(now, &record, fx);
                self.on_change(now, replaced.as_deref(), &record, fx);
            }
            // A newer epoch came from elsewhere in this very step: theirs stands.
            Merge::Known | Merge::Older { .. } => {}
        }
        record
    }

    /// Takes a record that another host sent: merged by the one rule, passed on if it was new.
    pub(super) fn take(
        &mut self,
        now: Now,
        record: &Arc<Record>,
        from: Option<HostId>,
        fx: &mut Effects,
    ) {
        let Some(record) = &self.examine(record) else {
            return;
        };
        let version = record.version;
        let author_is_me = version.stamp.author == self.config.host;
        let wall = self.clock.steady(now);
        if Clock::is_from_the_future(version.stamp, wall) && !author_is_me {
            self.on_stamp_ahead(now, version.stamp, from, fx);
            return;
        }
        if !self.is_credible(now, record) {
            return;
        }
        let ours = self.board.record(&record.key);
        let own = |ours: &Arc<Record>| ours.version.stamp.author == self.config.host;
        if planted!(KeepsItsOwnWord) && !author_is_me && ours.is_some_and(own) {
            return;
        }
        let known = ours.is_some();
        if !known && self.board.len() >= limits::RECORDS_MAX {
            return;
        }
        if !self.is_believed(now, record, fx) {
            return;
        }
        self.merge(now, record, from, fx);
        let me = self.config.host;
        if let (true, Some(from)) = (record.key == Key::Verdict(me), from) {
            // Whoever accuses us sees at once that we are there, be it news to us or not.
            let ours = [Key::Host(me), Key::Verdict(me)];
            let ours = ours.iter().filter_map(|key| self.board.record(key));
            let message = Message::Records(ours.cloned().collect());
            self.send_to(from, message, fx);
        }
        if let Some(from) = from {
            self.answer_for(now, record, from, fx);
        }
    }

    /// A verdict may be doubted. An agent that has no board of its own yet has no doubts.
    fn is_believed(&mut self, now: Now, record: &Arc<Record>, fx: &mut Effects) -> bool {
        let mut turn = Turn {
            now,
            board: &self.board,
            fx,
            findings: &mut Vec::new(),
        };
        !self.joining.is_done() || self.membership.weigh(&mut turn, record)
    }

    pub(super) fn merge(
        &mut self,
        now: Now,
        record: &Arc<Record>,
        from: Option<HostId>,
        fx: &mut Effects,
    ) {
        self.clock.observe(record.version.stamp);
        match self.board.merge(record) {
            Merge::Known | Merge::Older { .. } => {}
            Merge::Taken { replaced } => {
                self.unsaved.push(Arc::clone(record));
                // Whoever is still catching up takes what the others have already.
                if self.joining.is_done() {
                    self.outbox.push(record, from);
                }
                self.on_set_aside(now, record, fx);
                self.on_change(now, replaced.as_deref(), record, fx);
            }
        }
    }

    /// No honest host writes such an epoch: following it would leave no higher one to write. And a
    /// tombstone that has had its time is not dug out again.
    fn is_credible(&self, now: Now, record: &Record) -> bool {
        if planted!(BelievesAnyEpoch) {
            return true;
        }
        let epoch = record.version.epoch;
        let age_ms = now.wall.ms_since(record.version.stamp.wall);
        // It is still of use to whoever holds what it buries.
        let is_of_use = record.body.is_some()
            || age_ms <= limits::TOMBSTONE_MS
            || self.board.record(&record.key).is_some()
            || age_ms <= self.board.tombstone_ms();
        let credible = match &record.key {
            Key::Host(_) | Key::Task(..) | Key::Verdict(_) | Key::Secret(_) | Key::Config(_) => {
                epoch <= now.wall.0 + limits::EPOCH_AHEAD_MAX
            }
            Key::Slot(service, index) => {
                let ours = self
                    .board
                    .slot(*service, *index)
                    .map_or(0, |(generation, _)| generation);
                epoch <= ours + limits::EPOCH_AHEAD_MAX
            }
            Key::ServiceCount(_)
            | Key::ServiceRevision(_)
            | Key::ServiceSettings(_)
            | Key::Pins(_)
            | Key::Run(_) => epoch <= 1,
            Key::Definition(_)
            | Key::StopOrder(_)
            | Key::Protection(_)
            | Key::Directive(_)
            | Key::Tag(..)
            | Key::ClusterKey(_)
            | Key::KeyInUse => epoch == 0,
            Key::Electorate => {
                let ours = self.board.electorate().map_or(0, |(changes, _)| changes);
                epoch <= ours + limits::EPOCH_AHEAD_MAX
            }
            Key::Schedule(_) | Key::Ticks(_) | Key::Cluster(_) => {
                let ours = self.board.record(&record.key);
                let ours = ours.map_or(0, |ours| ours.version.epoch);
                epoch <= ours + limits::EPOCH_AHEAD_MAX
            }
            Key::Label { .. } => true,
            Key::Unknown { .. } => !planted!(DropsTheUnknown),
        };
        credible && is_of_use
    }

    /// What follows for the machines from a record that changed.
    pub(super) fn on_change(
        &mut self,
        now: Now,
        old: Option<&Record>,
        new: &Arc<Record>,
        fx: &mut Effects,
    ) {
        self.tell_change(now, old, new, fx);
        let touched = self.index.on_record(&self.board, old, new);
        if touched.more_room {
            self.keeper.on_more_room(now);
        }
        self.dirty.absorb(touched);
        match &new.key {
            Key::Host(host) => {
                self.on_standing(now, *host);
                if *host == self.config.host {
                    self.on_own_host(now, new, fx);
                } else {
                    self.membership.on_board(now, &self.board, *host);
                }
            }
            Key::Verdict(host) => {
                self.on_standing(now, *host);
                self.membership.on_board(now, &self.board, *host);
                if self.board.judged(*host) == Some(Standing::Cleared) {
                    // Somebody has an answer, or the accused itself heard that it is accused.
                    self.membership.on_alive(*host, new.version.epoch);
                }
                if *host == self.config.host && !planted!(DoesNotRefute) {
                    self.on_accused(now, new, fx);
                }
            }
            Key::Slot(service, index) => {
                if old.is_none_or(|old| old.version.epoch != new.version.epoch) {
                    self.keeper.on_slot(now, *service, *index);
                }
            }
            Key::Task(host, task) => {
                if *host == self.config.host {
                    self.on_own_task(now, *task, (old, new), fx);
                }
            }
            Key::Definition(_) => self.on_definition(now, new, fx),
            Key::Run(id) => {
                self.on_definition(now, new, fx);
                self.on_run(now, *id);
            }
            Key::Schedule(name) | Key::Ticks(name) => self.note_schedule(now, name),
            Key::StopOrder(task) | Key::Protection(task) => {
                self.on_word_of_a_task(now, *task, new, fx);
            }
            Key::Label { family, revision } => {
                self.on_label(now, (family, *revision), (old, new), fx);
            }
            Key::ServiceCount(_)
            | Key::ServiceRevision(_)
            | Key::Pins(_)
            | Key::Electorate
            | Key::Secret(_)
            | Key::Config(_)
            | Key::Cluster(_)
            | Key::Unknown { .. } => {}
            Key::ServiceSettings(service) => self.on_name(now, *service, (old, new), fx),
            Key::Tag(..) => self.on_tag(now, (old, new), fx),
            Key::ClusterKey(_) | Key::KeyInUse => self.keys_dirty = true,
            Key::Directive(host) => self.on_standing(now, *host),
        }
    }

    /// What a person, or the task itself, wants to become of it.
    fn on_word_of_a_task(&mut self, now: Now, task: TaskId, new: &Record, fx: &mut Effects) {
        match &new.body {
            Some(Body::StopOrder(order)) => {
                let code = StopCode::UserInitiated;
                self.roster.stop(now, task, code, &order.reason, fx);
            }
            Some(Body::Protection(asked)) => self.on_protection(now, task, *asked),
            _ => {}
        }
    }

    /// What is said of a host has changed. What a starting agent reads is old: it says nothing of
    /// how many hosts were lost within the last seconds.
    fn on_standing(&mut self, now: Now, host: HostId) {
        if self.joining.is_done() {
            self.keeper.on_host(now, &self.board, &self.index, host);
        }
    }

    /// Our own word of a task is on the board, or was taken off it: by us, or by those who forgot
    /// this host, and then it is to be said again.
    fn on_own_task(
        &mut self,
        now: Now,
        task: TaskId,
        (old, new): (Option<&Record>, &Record),
        fx: &mut Effects,
    ) {
        match &new.body {
            Some(Body::Task(report)) => self.roster.on_own_report(now, task, report, fx),
            Some(_) => {}
            None if new.version.stamp.author == self.config.host => {}
            None => {
                if let Some(Body::Task(said)) = old.and_then(|old| old.body.as_ref())
                    && self.roster.say_again(task)
                {
                    self.unsaid.insert(task, said.last);
                }
            }
        }
    }

    /// We are judged, and are there.
    fn on_accused(&mut self, now: Now, record: &Record, fx: &mut Effects) {
        let (Some(Body::Verdict(verdict)), epoch) = (&record.body, record.version.epoch) else {
            return;
        };
        match verdict.standing {
            _ if epoch < self.incarnation => {}
            Standing::Cleared => {}
            Standing::Suspect | Standing::Impaired => {
                let body = Body::Verdict(Verdict {
                    standing: Standing::Cleared,
                    votes: Vec::new(),
                    silent_ms: 0,
                });
                self.write(now, record.key.clone(), epoch, Some(body), fx);
            }
            // A new incarnation says so to everybody.
            Standing::Down => self.begin_incarnation(now, epoch + 1, fx),
        }
    }

    /// A definition has come: tasks that were adopted without it can be accounted for.
    fn on_definition(&mut self, now: Now, record: &Record, fx: &mut Effects) {
        let Some((digest, definition)) = record.defines() else {
            return;
        };
        let waiting = |task: &&crate::task::machine::Task| {
            task.definition().is_none() && task.report.definition == digest
        };
        let waiting: Vec<_> = self
            .roster
            .iter()
            .filter(waiting)
            .map(|task| task.id)
            .collect();
        for task in waiting {
            self.roster.define(now, task, definition.clone(), fx);
            let live = self
                .roster
                .get(task)
                .filter(|task| task.report.last.is_live());
            if let Some(known) = live {
                self.ledger.adopt(task, known.needs());
            }
        }
    }

    /// Our own host record came back from elsewhere, newer than ours: an earlier life's, or a
    /// clone's.
    fn on_own_host(&mut self, now: Now, record: &Record, fx: &mut Effects) {
        let report = match &record.body {
            Some(Body::Host(report)) => report,
            Some(_) => return,
            None => return self.on_forgotten(now, record.version, fx),
        };
        let ours =
            report.address == self.config.address && report.fingerprint == self.config.fingerprint;
        if ours && record.version.epoch <= self.incarnation {
            return;
        }
        let written_since = record.version.stamp.wall > self.started.wall;
        let elder = (report.registered_at, report.started_at);
        let twin = !ours && !planted!(ToleratesATwin);
        if twin && written_since && elder < (self.registered_at, self.started.wall) {
            let reason = format!(
                "another agent, at {}, has this host's id {}: this machine was cloned with its \
                 state; remove the state directory of the clone, so that it makes an id of its own",
                report.address, self.config.host
            );
            fx.push(Effect::Fatal { reason });
            return;
        }
        if planted!(IgnoresItsPast) {
            return;
        }
        let next = self.incarnation.max(record.version.epoch) + 1;
        self.begin_incarnation(now, next, fx);
    }

    /// Says that this host is there, and says again, as of now, what it says of its tasks. It is on
    /// the disk first: no later agent of this host may begin the same one again, of which others
    /// know what this one said.
    pub(super) fn begin_incarnation(&mut self, now: Now, next: Incarnation, fx: &mut Effects) {
        self.incarnation = next;
        self.publish_host(now, fx);
        self.persist(fx);
        self.roster.change_all();
    }

    /// Says of this host what is true now, if the board says anything else.
    pub(super) fn publish_host(&mut self, now: Now, fx: &mut Effects) {
        let me = self.config.host;
        let before = self.board.host(me);
        let report = HostReport {
            name: self.config.name.as_str().into(),
            address: self.config.address,
            zone: self.config.zone.as_deref().map(Box::from),
            attributes: self.config.attributes.clone().into_iter().collect(),
            capacity: self.config.capacity,
            gpus: self.config.gpus.clone().into(),
            status: self.status,
            caught_up: self.joining.is_done() && self.clocks.are_right(),
            runtime: self.runtime.clone(),
            fingerprint: self.config.fingerprint,
            keys: self.config.keys.clone(),
            agent_version: self.config.agent_version.as_str().into(),
            registered_at: self.registered_at,
            started_at: self.started.wall,
        };
        if before.is_none_or(|(epoch, old)| epoch != self.incarnation || *old != report) {
            self.write(
                now,
                Key::Host(me),
                self.incarnation,
                Some(Body::Host(report)),
                fx,
            );
        }
    }

    /// Where nothing happens, the newest stamp on the board would not tell a host that comes back
    /// how long it was away.
    fn sign_life(&mut self, now: Now, fx: &mut Effects) {
        let key = Key::Host(self.config.host);
        let own = self.board.record(&key);
        let old = |own: &&Arc<Record>| now.wall.ms_since(own.version.stamp.wall) > SIGN_LIFE_MS;
        if let Some(body) = own.filter(old).and_then(|own| own.body.clone()) {
            self.write(now, key, self.incarnation, Some(body), fx);
        }
    }

    /// Buries old tombstones, lets stopped tasks go after an hour, and clears up after deletions.
    pub(super) fn keep_house(&mut self, now: Now, fx: &mut Effects) {
        self.reap(now, fx);
        self.call_unknown_peer(fx);
        self.tell_clock_to_somebody(now, fx);
        // A driver that could not save its keys is asked once more.
        self.keys_dirty = true;
        self.reseal(fx);
        self.sign_life(now, fx);
        if now.mono >= self.bury_from {
            let buried = self.board.bury(now.wall);
            if !buried.is_empty() {
                fx.push(Effect::Forget(buried));
            }
        }
        self.follow_further(now, fx);
        self.keeper.tidy(now);
        self.clear_up_runs(now, fx);
        self.clear_up_tags(now, fx);
        self.time_ticks(now);
        self.clear_up_ticks(now, fx);
        self.pulls.tidy(now.mono);
        let me = self.config.host;
        let old = self.board.tasks_on(me).filter(|(task, report)| {
            let stopped_at = report.stopped_at.unwrap_or(now.wall);
            let run = report.slot.as_ref().map(|label| label.service);
            let is_gone = run.is_some_and(|run| self.board.is_run_gone(run));
            report.last == TaskStatus::Stopped
                && (is_gone || now.wall.ms_since(stopped_at) > limits::STOPPED_TASK_KEPT_MS)
                && self.board.is_settled(report)
                && self.roster.get(*task).is_none()
        });
        let old: Vec<_> = old.map(|(task, _)| task).collect();
        for task in old {
            self.write(now, Key::Task(me, task), self.incarnation, None, fx);
            if self.board.stop_order(task).is_some() {
                self.write(now, Key::StopOrder(task), 0, None, fx);
            }
            if self.board.protection(task).is_some() {
                self.write(now, Key::Protection(task), 0, None, fx);
            }
        }
        let services = self.board.services_with_slots();
        let orphaned = services.filter(|service| self.are_orphaned(*service));
        let orphaned = orphaned.flat_map(|service| {
            let slots = self.board.slots(service);
            slots.map(move |(index, generation, _)| (service, index, generation))
        });
        let orphaned: Vec<_> = orphaned.collect();
        for (service, index, generation) in orphaned {
            self.write(now, Key::Slot(service, index), generation + 1, None, fx);
        }
    }

    /// Nothing is left of the service but slots, and they are ours to clear up.
    fn are_orphaned(&self, service: ServiceId) -> bool {
        let mut tasks = self.board.tasks_of(service);
        self.board.is_service_gone(service)
            && self.index.keeper_of(service) == Some(self.config.host)
            && !tasks.any(|(_, _, report)| report.last.is_live())
    }
}
