//! How a step ends: what changed is settled, remembered, and sent on.

use super::Agent;
use crate::{
    cluster::{
        body::{Body, Key, TaskReport},
        message::Message,
        outbox::Change,
        record::Record,
        repair,
        schedule::keeper_id,
    },
    effect::{Effect, Effects},
    ids::{HostId, ServiceId},
    limits,
    schedule::{index::Touched, keeper::Scope},
    spec::options::HandOver,
    time::Now,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Rounds of settling in one step. Each one only follows from what the one before wrote, and a
/// chain is never that long: offer, refusal, next offer, and so on for one host.
const ROUNDS_MAX: u32 = 64;

/// What was found longer ago has had its time to spread.
const NEWS_MS: u64 = 30_000;

/// Draws of peers to spread to, in vain or not.
const DRAWS_MAX: u32 = 32;

impl Agent {
    /// Acts on everything that changed in this step until nothing does any more.
    pub(super) fn settle(&mut self, now: Now, fx: &mut Effects) {
        self.give_values(fx);
        for _ in 0..ROUNDS_MAX {
            self.publish_tasks(now, fx);
            self.attend_roll_call(now, fx);
            // What was told of a task is on its way to the disk before anything follows from it.
            self.save(fx);
            if !self.all_dirty && self.dirty.is_empty() {
                break;
            }
            let mut dirty = std::mem::take(&mut self.dirty);
            if std::mem::take(&mut self.all_dirty) {
                dirty.services.extend(self.every_service());
            }
            for (service, scope) in scopes(dirty) {
                self.follow(now, service, &scope, fx);
                self.serve(now, service, &scope, fx);
                self.publish_tasks(now, fx);
                self.save(fx);
                self.keep(now, service, &scope, fx);
            }
        }
        self.save(fx);
        self.order_keys(fx);
        self.give_values(fx);
        self.spread(now, fx);
    }

    /// Pushes what changed to the disk's queue; the caller decides if anything waits for it.
    fn save(&mut self, fx: &mut Effects) {
        if !self.unsaved.is_empty() {
            fx.push(Effect::Remember(std::mem::take(&mut self.unsaved)));
        }
    }

    /// Pushes what changed so far to the disk; what follows waits until it is there.
    pub(super) fn persist(&mut self, fx: &mut Effects) {
        if !self.unsaved.is_empty() && !planted!(AnswersBeforeDisk) {
            fx.push(Effect::Persist(std::mem::take(&mut self.unsaved)));
        }
    }

    /// Sends what changed to a few peers, and what was written here straight to whom it concerns.
    fn spread(&mut self, now: Now, fx: &mut Effects) {
        let mut parcels: BTreeMap<HostId, BTreeMap<u64, Arc<Record>>> = BTreeMap::new();
        let mut add = |target: HostId, record: &Arc<Record>| {
            let parcel = parcels.entry(target).or_default();
            parcel.insert(record.key_hash, Arc::clone(record));
        };
        for record in self.outbox.take_fresh() {
            for target in self.concerned(&record) {
                add(target, &record);
            }
            for (heir, verdict) in self.inheritance(now, &record) {
                add(heir, &verdict);
            }
        }
        let changes = self.outbox.flush(now.mono);
        if !changes.is_empty() {
            let peers = self.sample(limits::FANOUT_VERDICT);
            for Change { record, from } in changes {
                if planted!(TellsOnlyItsOwn) && from.is_some() {
                    continue;
                }
                let author = record.version.stamp.author;
                let fanout = match (&record.key, from) {
                    (Key::Verdict(_), _) => limits::FANOUT_VERDICT,
                    (_, None) => limits::FANOUT_AUTHOR,
                    (_, Some(_)) => limits::FANOUT_FORWARD,
                };
                for target in peers.iter().take(fanout) {
                    if Some(*target) != from && *target != author {
                        add(*target, &record);
                    }
                }
                if from.is_some() {
                    for (heir, verdict) in self.inheritance(now, &record) {
                        add(heir, &verdict);
                    }
                }
            }
        }
        parcels.remove(&self.config.host);
        for (peer, records) in parcels {
            self.send_records(peer, records.into_values().collect(), fx);
        }
    }

    /// Sends records in as few datagrams as they fit into.
    pub(super) fn send_records(&self, host: HostId, records: Vec<Arc<Record>>, fx: &mut Effects) {
        for records in repair::chunks(records, limits::DATAGRAM_MESSAGE_BYTES_MAX) {
            self.send_to(host, Message::Records(records), fx);
        }
    }

    /// Whom a record concerns so much that chance must not decide when they hear of it.
    fn concerned(&self, record: &Record) -> Vec<HostId> {
        match (&record.key, &record.body) {
            // Its keeper places it.
            (Key::Run(run), _) => self.index.keeper_of(*run).into_iter().collect(),
            (Key::Schedule(name) | Key::Ticks(name), _) => {
                let keeper = self.index.keeper_of(keeper_id(name));
                keeper.into_iter().collect()
            }
            (Key::Slot(..), Some(Body::Slot(slot))) => slot
                .host
                .into_iter()
                .chain(slot.superseded.iter().map(|at| at.host))
                .collect(),
            (Key::Task(..), Some(Body::Task(report))) => self.waiting_for(report),
            (Key::StopOrder(task) | Key::Protection(task), _) => self
                .board
                .task(*task)
                .map(|(host, _)| host)
                .into_iter()
                .collect(),
            // Its other observers are about to write the same.
            (Key::Verdict(host), Some(Body::Verdict(verdict))) => {
                verdict.votes.iter().copied().chain([*host]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The keeper decides what follows, and whoever gave out the slot may be the keeper without our
    /// knowledge; the predecessors, or under stop-first the successor, wait for this very report.
    fn waiting_for(&self, report: &TaskReport) -> Vec<HostId> {
        let Some(label) = &report.slot else {
            return Vec::new();
        };
        let record = self.board.record(&Key::Slot(label.service, label.index));
        let giver = record.map(|record| record.version.stamp.author);
        let giver = giver.filter(|giver| self.board.is_up(*giver));
        let slot = record.and_then(|record| match &record.body {
            Some(Body::Slot(slot)) => Some(slot),
            _ => None,
        });
        let superseded = slot.into_iter().flat_map(|slot| &slot.superseded);
        let successor = slot.filter(|slot| slot.order == HandOver::StopFirst);
        let successor = successor.and_then(|slot| slot.host);
        let keeper = self.index.keeper_of(label.service);
        let hosts = superseded.map(|at| at.host).chain(keeper).chain(giver);
        hosts.chain(successor).collect()
    }

    /// Whoever keeps a service now because a host is down has to know it, and of all others before
    /// it that are down: where many are lost at once, much of what is spread goes to the lost. Who
    /// found one of them down tells it, as soon as another is known to be down, too.
    fn inheritance(&self, now: Now, record: &Record) -> Vec<(HostId, Arc<Record>)> {
        let Key::Verdict(gone) = record.key else {
            return Vec::new();
        };
        if !self.board.is_down(gone) {
            return Vec::new();
        }
        let heirs: Vec<_> = self.index.heirs_of(gone).collect();
        if heirs.is_empty() {
            return Vec::new();
        }
        let is_news = |host: &HostId| {
            let since = self.board.down_since(*host);
            since.is_some_and(|since| now.wall.0.abs_diff(since.0) < NEWS_MS)
        };
        let lost: Vec<HostId> = self.membership.down().filter(is_news).collect();
        let mut told = Vec::new();
        for (service, heir) in heirs {
            let before = lost
                .iter()
                .filter(|host| self.index.outranks(service, **host));
            let verdicts: Vec<_> = before
                .filter_map(|host| self.board.record(&Key::Verdict(*host)))
                .collect();
            if verdicts.iter().any(|verdict| self.found(verdict)) {
                told.extend(verdicts.into_iter().map(|v| (heir, Arc::clone(v))));
            }
        }
        told
    }

    /// Whether this host is one of those that agreed on a verdict.
    fn found(&self, verdict: &Record) -> bool {
        let me = self.config.host;
        matches!(&verdict.body, Some(Body::Verdict(verdict)) if verdict.votes.contains(&me))
    }

    /// The next peer in the order of ids, then random ones; of suspects only where there is nobody
    /// else: what is sent to one that is dead is lost, and all learn of a death at once.
    fn sample(&mut self, count: usize) -> Vec<HostId> {
        let up = self.membership.up();
        let next = up.partition_point(|peer| *peer < self.config.host);
        let is_suspect = |place: &usize| self.board.is_suspect(up[*place]);
        let mut around = (next..up.len()).chain(0..next);
        let first = around.find(|place| !is_suspect(place));
        let mut places: Vec<usize> = first.into_iter().collect();
        for _ in 0..DRAWS_MAX {
            if places.len() >= count.min(up.len()) {
                break;
            }
            let place = self.rng.index(up.len()).expect("there are peers");
            if !places.contains(&place) && !is_suspect(&place) {
                places.push(place);
            }
        }
        places.into_iter().map(|place| up[place]).collect()
    }
}

/// Service by service: all of it, or the slots that were touched.
fn scopes(dirty: Touched) -> BTreeMap<ServiceId, Scope> {
    let mut scopes = BTreeMap::new();
    for (service, index) in dirty.slots {
        let scope = scopes
            .entry(service)
            .or_insert_with(|| Scope::Slots(BTreeSet::new()));
        if let Scope::Slots(slots) = scope {
            slots.insert(index);
        }
    }
    scopes.extend(dirty.services.into_iter().map(|s| (s, Scope::Whole)));
    scopes
}
