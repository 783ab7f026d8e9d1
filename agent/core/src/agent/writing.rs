//! How records come onto this host's board: written here, or taken from others.

use super::Agent;
use crate::{
    cluster::{
        board::Merge,
        body::{Body, HostReport, HostStatus, Key},
        clock::Clock,
        record::{Record, Version},
    },
    effect::{Effect, Effects},
    ids::{HostId, Incarnation},
    limits,
    schedule::keeper::keeper_of,
    task::status::{StopCode, TaskStatus},
    time::Now,
};
use std::sync::Arc;

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
                self.outbox.push((Arc::clone(&record), None));
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
        let version = record.version;
        let author_is_me = version.stamp.author == self.config.host;
        if Clock::is_from_the_future(version.stamp, now.wall) && !author_is_me {
            return;
        }
        if !self.is_credible(now, record) {
            return;
        }
        let known = self.board.record(&record.key).is_some();
        if !known && self.board.len() >= limits::RECORDS_MAX {
            return;
        }
        self.clock.observe(version.stamp);
        match self.board.merge(record) {
            Merge::Known | Merge::Older { .. } => {}
            Merge::Taken { replaced } => {
                self.unsaved.push(Arc::clone(record));
                self.outbox.push((Arc::clone(record), from));
                self.on_change(now, replaced.as_deref(), record, fx);
            }
        }
    }

    /// No honest host writes such an epoch: following it would leave no higher one to write. And a
    /// tombstone that has had its time is not dug out again.
    fn is_credible(&self, now: Now, record: &Record) -> bool {
        let epoch = record.version.epoch;
        let told_in_time = now.wall.ms_since(record.version.stamp.wall) <= limits::TOMBSTONE_MS;
        let credible = match &record.key {
            Key::Host(_) | Key::Task(..) | Key::Verdict(_) => {
                epoch <= now.wall.0 + limits::EPOCH_AHEAD_MAX
            }
            Key::Slot(service, index) => {
                let ours = self
                    .board
                    .slot(*service, *index)
                    .map_or(0, |(generation, _)| generation);
                epoch <= ours + limits::EPOCH_AHEAD_MAX
            }
            Key::ServiceCount(_) | Key::ServiceRevision(_) | Key::ServiceSettings(_) => epoch <= 1,
            Key::Definition(_) | Key::StopOrder(_) => epoch == 0,
            Key::Label { .. } | Key::Unknown { .. } => true,
        };
        credible && (record.body.is_some() || told_in_time)
    }

    /// What follows for the machines from a record that changed.
    fn on_change(&mut self, now: Now, old: Option<&Record>, new: &Record, fx: &mut Effects) {
        self.tell_change(now, old, new, fx);
        match &new.key {
            Key::Host(host) => {
                if *host == self.config.host {
                    self.on_own_host(now, new, fx);
                } else {
                    self.membership.on_board(now, &self.board, *host);
                }
                self.all_dirty |= differs_for_placing(old, new);
            }
            Key::Verdict(host) => {
                self.membership.on_board(now, &self.board, *host);
                self.all_dirty = true;
                if *host == self.config.host && new.version.epoch >= self.incarnation {
                    // We are not down: a new incarnation says so to everybody.
                    self.begin_incarnation(now, new.version.epoch + 1, fx);
                }
            }
            Key::Slot(service, index) => {
                self.keeper.on_slot(now, *service, *index);
                self.dirty.insert(*service);
            }
            Key::ServiceCount(service) | Key::ServiceRevision(service) => {
                self.dirty.insert(*service);
            }
            Key::ServiceSettings(_) => self.all_dirty = true,
            Key::Task(host, task) => {
                let body = new
                    .body
                    .as_ref()
                    .or_else(|| old.and_then(|old| old.body.as_ref()));
                if let Some(Body::Task(report)) = body
                    && let Some(slot) = &report.slot
                {
                    self.dirty.insert(slot.service);
                }
                if *host == self.config.host
                    && let Some(Body::Task(report)) = &new.body
                {
                    self.roster.on_own_report(now, *task, report, fx);
                }
            }
            Key::Definition(_) => self.on_definition(new),
            Key::StopOrder(task) => {
                if let Some(Body::StopOrder(order)) = &new.body {
                    let reason = order.reason.clone();
                    self.roster
                        .stop(now, *task, StopCode::UserInitiated, &reason, fx);
                }
            }
            Key::Label { family, .. } => self.on_label(now, family, old, new, fx),
            Key::Unknown { .. } => {}
        }
    }

    /// A definition has come: tasks that were adopted without it can be accounted for.
    fn on_definition(&mut self, record: &Record) {
        self.all_dirty = true;
        let (Key::Definition(digest), Some(Body::Definition(definition))) =
            (&record.key, &record.body)
        else {
            return;
        };
        let waiting = |task: &&crate::task::machine::Task| {
            task.definition().is_none() && task.report.definition == *digest
        };
        let waiting: Vec<_> = self
            .roster
            .iter()
            .filter(waiting)
            .map(|task| task.id)
            .collect();
        for task in waiting {
            if let Some(task) = self.roster.get_mut(task) {
                task.on_definition(definition.clone());
                if task.report.last.is_live() {
                    self.ledger.adopt(task.id, definition.needs());
                }
            }
        }
    }

    /// Another host's earlier stamp has taken a number that we had given: ours gets the next one.
    fn on_label(
        &mut self,
        now: Now,
        family: &str,
        old: Option<&Record>,
        new: &Record,
        fx: &mut Effects,
    ) {
        let ours = old.filter(|old| old.version.stamp.author == self.config.host);
        let (Some(Body::Label(ours)), Some(Body::Label(theirs))) =
            (ours.and_then(|old| old.body.as_ref()), &new.body)
        else {
            return;
        };
        if ours.definition != theirs.definition {
            let definition = ours.definition;
            self.write_label(now, family, definition, fx);
        }
    }

    /// Our own host record came back from elsewhere, newer than ours: an earlier life's, or a
    /// clone's.
    fn on_own_host(&mut self, now: Now, record: &Record, fx: &mut Effects) {
        let Some(Body::Host(report)) = &record.body else {
            return;
        };
        let ours =
            report.address == self.config.address && report.fingerprint == self.config.fingerprint;
        if ours && record.version.epoch <= self.incarnation {
            return;
        }
        let written_since = record.version.stamp.wall > self.started.wall;
        let elder = (report.registered_at, report.started_at);
        if !ours && written_since && elder < (self.registered_at, self.started.wall) {
            let reason = format!(
                "another agent, at {}, has this host's id {}: this machine was cloned with its \
                 state; remove the state directory of the clone, so that it makes an id of its own",
                report.address, self.config.host
            );
            fx.push(Effect::Fatal { reason });
            return;
        }
        let next = self.incarnation.max(record.version.epoch) + 1;
        self.begin_incarnation(now, next, fx);
    }

    /// Says that this host is there, and says again, as of now, what it says of its tasks.
    fn begin_incarnation(&mut self, now: Now, next: Incarnation, fx: &mut Effects) {
        self.incarnation = next;
        self.publish_host(now, fx);
        self.roster.change_all();
    }

    /// Says of this host what is true now, if the board says anything else.
    pub(super) fn publish_host(&mut self, now: Now, fx: &mut Effects) {
        let me = self.config.host;
        let before = self.board.host(me);
        let report = HostReport {
            name: self.config.name.clone(),
            address: self.config.address,
            zone: self.config.zone.clone(),
            attributes: self.config.attributes.clone(),
            capacity: self.config.capacity,
            used: self.ledger.used(),
            status: self.status,
            caught_up: self.joining.is_done(),
            runtime: self.runtime.clone(),
            fingerprint: self.config.fingerprint,
            agent_version: self.config.agent_version.clone(),
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

    /// Buries old tombstones, lets stopped tasks go after an hour, and clears up after deletions.
    pub(super) fn keep_house(&mut self, now: Now, fx: &mut Effects) {
        let buried = self.board.bury(now.wall);
        if !buried.is_empty() {
            fx.push(Effect::Forget(buried));
        }
        let me = self.config.host;
        let old = self.board.tasks_on(me).filter(|(task, report)| {
            let stopped_at = report.stopped_at.unwrap_or(now.wall);
            report.last == TaskStatus::Stopped
                && now.wall.ms_since(stopped_at) > limits::STOPPED_TASK_KEPT_MS
                && self.roster.get(*task).is_none()
        });
        let old: Vec<_> = old.map(|(task, _)| task).collect();
        for task in old {
            self.write(now, Key::Task(me, task), self.incarnation, None, fx);
            if self.board.stop_order(task).is_some() {
                self.write(now, Key::StopOrder(task), 0, None, fx);
            }
        }
        let orphaned = self.board.all_slots().filter(|(service, ..)| {
            self.board.is_service_gone(*service)
                && keeper_of(&self.board, *service) == Some(me)
                && !self
                    .board
                    .tasks_of(*service)
                    .any(|(_, _, report)| report.last.is_live())
        });
        let orphaned: Vec<_> = orphaned
            .map(|(service, index, epoch, _)| (service, index, epoch))
            .collect();
        for (service, index, generation) in orphaned {
            self.write(now, Key::Slot(service, index), generation + 1, None, fx);
        }
    }
}

/// Whether a host's report says anything new to a keeper; what it has promised is known from its
/// tasks already.
fn differs_for_placing(old: Option<&Record>, new: &Record) -> bool {
    if old.is_none_or(|old| old.version.epoch != new.version.epoch) {
        // What it said of its tasks before no longer counts.
        return true;
    }
    let (Some(Body::Host(old)), Some(Body::Host(new))) =
        (old.and_then(|old| old.body.as_ref()), &new.body)
    else {
        return true;
    };
    let same_status = old.status == new.status && old.caught_up == new.caught_up;
    !(same_status && old.runtime == new.runtime && old.capacity == new.capacity)
        || new.status == HostStatus::Restarting
}
