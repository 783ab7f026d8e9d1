//! How a step ends: what changed is settled, remembered, and sent on.

use super::{Agent, via};
use crate::{
    cluster::{
        body::{Body, Key},
        message::Message,
        record::Record,
        repair,
    },
    effect::{Effect, Effects},
    ids::HostId,
    limits,
    schedule::keeper::keeper_of,
    time::Now,
};
use std::{collections::BTreeMap, sync::Arc};

/// Rounds of settling in one step. Each one only follows from what the one before wrote, and a
/// chain is never that long: offer, refusal, next offer, and so on for one host.
const ROUNDS_MAX: u32 = 64;

impl Agent {
    /// Acts on everything that changed in this step until nothing does any more.
    pub(super) fn settle(&mut self, now: Now, fx: &mut Effects) {
        for _ in 0..ROUNDS_MAX {
            self.publish_tasks(now, fx);
            // What was told of a task is on its way to the disk before anything follows from it.
            self.save(fx);
            if !self.all_dirty && self.dirty.is_empty() {
                break;
            }
            let mut dirty = std::mem::take(&mut self.dirty);
            if std::mem::take(&mut self.all_dirty) {
                dirty.extend(self.every_service());
            }
            for service in dirty {
                self.serve(now, service, fx);
                self.publish_tasks(now, fx);
                self.save(fx);
                self.keep(now, service, fx);
            }
        }
        self.save(fx);
        self.spread(fx);
    }

    /// Pushes what changed to the disk's queue; the caller decides if anything waits for it.
    fn save(&mut self, fx: &mut Effects) {
        if !self.unsaved.is_empty() {
            fx.push(Effect::Remember(std::mem::take(&mut self.unsaved)));
        }
    }

    /// Pushes what changed so far to the disk; what follows waits until it is there.
    pub(super) fn persist(&mut self, fx: &mut Effects) {
        if !self.unsaved.is_empty() {
            fx.push(Effect::Persist(std::mem::take(&mut self.unsaved)));
        }
    }

    /// Sends what changed to a few random peers, and straight to those whom it concerns.
    fn spread(&mut self, fx: &mut Effects) {
        if self.outbox.is_empty() {
            return;
        }
        let outbox = std::mem::take(&mut self.outbox);
        let authored = self.sample(limits::FANOUT_AUTHOR);
        let forwarded = self.sample(limits::FANOUT_FORWARD);
        let mut parcels: BTreeMap<HostId, Vec<Arc<Record>>> = BTreeMap::new();
        for (record, from) in outbox {
            let random = if from.is_none() {
                &authored
            } else {
                &forwarded
            };
            let mut targets = random.clone();
            targets.extend(self.concerned(&record));
            targets.sort_unstable();
            targets.dedup();
            let author = record.version.stamp.author;
            for target in targets {
                let knows = Some(target) == from || target == author;
                if target != self.config.host && !knows {
                    parcels.entry(target).or_default().push(Arc::clone(&record));
                }
            }
        }
        for (peer, records) in parcels {
            let Some(to) = self.membership.address(peer) else {
                continue;
            };
            for message in repair::pack(records) {
                let via = via(&message);
                let host = Some(peer);
                fx.push(Effect::Send(crate::effect::Send {
                    to,
                    host,
                    via,
                    message,
                }));
            }
        }
    }

    /// Whom a record concerns so much that chance must not decide when they hear of it.
    fn concerned(&self, record: &Record) -> Vec<HostId> {
        match (&record.key, &record.body) {
            (Key::Slot(..), Some(Body::Slot(slot))) => slot
                .host
                .into_iter()
                .chain(slot.superseded.iter().map(|at| at.host))
                .collect(),
            (Key::Task(..), Some(Body::Task(report))) => {
                // The keeper decides what follows; the predecessors wait for this very report.
                let Some(label) = &report.slot else {
                    return Vec::new();
                };
                let slot = self.board.slot(label.service, label.index);
                let superseded = slot.into_iter().flat_map(|(_, slot)| &slot.superseded);
                let keeper = keeper_of(&self.board, label.service);
                superseded.map(|at| at.host).chain(keeper).collect()
            }
            (Key::StopOrder(task), _) => self
                .board
                .task(*task)
                .map(|(host, _)| host)
                .into_iter()
                .collect(),
            (Key::Verdict(host), _) => vec![*host],
            _ => Vec::new(),
        }
    }

    fn sample(&mut self, count: usize) -> Vec<HostId> {
        let mut peers = self.membership.up().to_vec();
        if peers.len() <= count {
            return peers;
        }
        for place in 0..count {
            let other = place
                + self
                    .rng
                    .index(peers.len() - place)
                    .expect("more than count");
            peers.swap(place, other);
        }
        peers.truncate(count);
        peers
    }

    /// Answers a host that asks for the whole board.
    pub(super) fn pages(&self) -> Vec<Message> {
        let records: Vec<Arc<Record>> = self.board.records().cloned().collect();
        let mut chunks = repair::chunks(records, limits::PAGE_BYTES_MAX);
        let last = chunks.pop().unwrap_or_default();
        let first = chunks.into_iter().map(|records| Message::Page {
            records,
            last: false,
        });
        first
            .chain([Message::Page {
                records: last,
                last: true,
            }])
            .collect()
    }
}
