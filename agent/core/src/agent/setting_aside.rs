//! Records that are held back since their reader crashed: tried one after another, or set aside.

use super::Agent;
use crate::{
    cluster::{body::Key, quarantine::Blame, record::Record},
    effect::{Effect, Effects},
    time::{Mono, Now, Span},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// What was tried and has crashed nobody for so long is acquitted.
const PROBATION: Span = Span::from_secs(1);
/// So many groups are made of the most suspect; of few each is tried alone.
const GROUPS: usize = 8;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Quarantine {
    blame: Blame,
    /// Suspects that are held back, by their hashes.
    waiting: BTreeMap<u64, Arc<Record>>,
    trial: Vec<Arc<Record>>,
    next_at: Mono,
    /// What is on the board as bytes alone.
    unread: BTreeMap<Key, Arc<Record>>,
}

impl Quarantine {
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.is_busy().then_some(self.next_at)
    }

    /// There are suspects that have not been tried yet.
    pub(super) fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || !self.trial.is_empty()
    }

    /// Takes the next group of those that were there at most crashes.
    fn next_group(&mut self) -> Vec<Arc<Record>> {
        let crashes = |hash: &u64| self.blame.crashes.get(hash).copied().unwrap_or(0);
        let most = self.waiting.keys().map(crashes).max();
        let worst = self.waiting.keys().copied();
        let worst = worst.filter(|hash| Some(crashes(hash)) == most);
        let mut group: Vec<u64> = worst.collect();
        group.truncate((group.len() / GROUPS).max(1));
        let taken = group.iter().filter_map(|hash| self.waiting.remove(hash));
        taken.collect()
    }
}

impl Agent {
    /// The agent before this one died while it read something; what of that was on the disk was
    /// held back.
    pub(super) fn on_blame(
        &mut self,
        now: Now,
        blame: Blame,
        held: &[Arc<Record>],
        fx: &mut Effects,
    ) {
        self.quarantine.blame = blame;
        self.quarantine.next_at = now.mono;
        if !held.is_empty() {
            self.is_no_first_start();
        }
        for record in held {
            self.take(now, record, None, fx);
        }
    }

    /// What may be read of the record now: all, its bytes, or (`None`) nothing for the moment.
    pub(super) fn examine(&mut self, record: &Arc<Record>) -> Option<Arc<Record>> {
        let Quarantine { blame, waiting, .. } = &mut self.quarantine;
        if !blame.holds(record) {
            return Some(Arc::clone(record));
        }
        let hash = record.hash();
        if blame.set_aside.contains(&hash) {
            return Some(record.unread());
        }
        waiting.insert(hash, Arc::clone(record));
        None
    }

    /// Acquits whoever was tried last, and has the next ones tried.
    pub(super) fn go_on_trying(&mut self, now: Now, fx: &mut Effects) {
        let quarantine = &mut self.quarantine;
        if !quarantine.is_busy() || now.mono < quarantine.next_at {
            return;
        }
        let tried = std::mem::take(&mut quarantine.trial);
        if !tried.is_empty() {
            let hashes = tried.iter().map(|record| record.hash()).collect();
            fx.push(Effect::Acquit(hashes));
        }
        quarantine.trial = quarantine.next_group();
        quarantine.next_at = now.mono + PROBATION;
        let hashes: Vec<u64> = quarantine
            .trial
            .iter()
            .map(|record| record.hash())
            .collect();
        if !hashes.is_empty() {
            fx.push(Effect::Try(hashes));
        }
    }

    /// The driver has noted who is tried.
    pub(super) fn on_tried(&mut self, now: Now, fx: &mut Effects) {
        for record in self.quarantine.trial.clone() {
            self.quarantine.blame.crashes.remove(&record.hash());
            self.take(now, &record, None, fx);
        }
    }

    /// A record came onto the board: one that is not read, or one that takes its place.
    pub(super) fn on_set_aside(&mut self, now: Now, record: &Arc<Record>, fx: &mut Effects) {
        let Quarantine { blame, unread, .. } = &mut self.quarantine;
        let what = &record.key;
        let text = if blame.set_aside.contains(&record.hash()) {
            unread.insert(what.clone(), Arc::clone(record));
            format!(
                "{what} is set aside, since reading it crashed this agent twice: it is kept and \
                 passed on, not read, until it is written anew"
            )
        } else if let Some(old) = unread.remove(what) {
            let hash = old.hash();
            blame.set_aside.remove(&hash);
            fx.push(Effect::Acquit(vec![hash]));
            format!("{what} was written anew, and is read again")
        } else {
            return;
        };
        let me = self.config.host;
        self.tell_host(now, me, self.standing(me), &text, fx);
    }

    /// Records that are on the board as bytes alone, since reading them crashed this agent.
    pub fn set_aside(&self) -> impl Iterator<Item = &Record> {
        self.quarantine.unread.values().map(AsRef::as_ref)
    }
}
