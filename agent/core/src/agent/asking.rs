//! Offers that nobody has answered: the host of the slot is told of it again, and says what became
//! of it.
//!
//! Where very much happens at once, a slot or what its host says of it may be lost or come late.
//! Whoever keeps the service, perhaps since a moment ago, would give the slot to another host
//! after a while, and what runs would run twice.

use super::Agent;
use crate::{
    cluster::{
        body::{Body, Key},
        record::Record,
    },
    effect::Effects,
    ids::HostId,
    limits,
    time::{Now, Span},
};
use std::{collections::BTreeMap, sync::Arc};

/// An offer that is open for so long was answered, if at all, in words that did not come.
const ASKED_AFTER: Span = Span::from_secs(1);
/// Who is told of a slot so long after it was written is asked; sooner, it is news that comes from
/// several sides.
const NEWS_MS: u64 = 1_000;
/// What is said of one slot: its task now, and under this generation perhaps one before.
const ANSWERS_MAX: usize = 4;

impl Agent {
    /// Tells those of their slots again who have said nothing of them; to be called now and then.
    pub(super) fn ask_again(&self, now: Now, fx: &mut Effects) {
        let mut asked: BTreeMap<HostId, Vec<Arc<Record>>> = BTreeMap::new();
        let open = self.keeper.unanswered(now.mono, ASKED_AFTER);
        for (service, index) in open.take(limits::ASKED_SLOTS_MAX) {
            let Some(record) = self.board.record(&Key::Slot(service, index)) else {
                continue;
            };
            if let Some(Body::Slot(slot)) = &record.body
                && let Some(host) = slot.host.filter(|host| *host != self.config.host)
            {
                asked.entry(host).or_default().push(Arc::clone(record));
            }
        }
        for (host, slots) in asked {
            self.send_records(host, slots, fx);
        }
    }

    /// Says what became of a slot of ours to whoever tells us of it again. What a host has from
    /// before it was away, nobody may want to hear any more.
    pub(super) fn answer_for(&self, now: Now, record: &Record, from: HostId, fx: &mut Effects) {
        let (Key::Slot(service, index), Some(Body::Slot(slot))) = (&record.key, &record.body)
        else {
            return;
        };
        let me = self.config.host;
        let is_news = now.wall.0.abs_diff(record.version.stamp.wall.0) < NEWS_MS;
        if slot.host != Some(me) || is_news || !self.joining.is_done() {
            return;
        }
        let ours = self.tasks_for((*service, *index), (record.version.epoch, slot));
        let ours = ours.filter_map(|task| self.board.record(&Key::Task(me, task)));
        self.send_records(from, ours.take(ANSWERS_MAX).cloned().collect(), fx);
    }
}
