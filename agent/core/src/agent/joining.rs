//! Joining: a starting agent takes a full copy of the board from a peer before it decides anything.
//!
//! A host that was away for long would else bring back what was deleted meanwhile. It asks a few
//! peers for a first page and goes on, page by page, with the one that answered first; when that
//! one falls silent, with others from the same key. With no peer in sight it goes on alone after a
//! while, from its own disk; but not if it was away for longer than tombstones are kept: then it
//! waits for a peer, and what only it still holds of the others' is let go.

use super::Agent;
use crate::{
    cluster::{
        board::Board,
        body::Key,
        message::{Message, Via},
        record::Record,
        repair,
    },
    effect::{Effect, Effects, Send},
    ids::{HostId, ServiceId},
    limits,
    task::runtime::RuntimeCommand,
    time::{Mono, Now, Span},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

/// Between questions to peers that have not answered.
const ASK_AGAIN: Span = Span::from_ms(500);
/// A page that takes longer than this is asked of another peer.
const PAGE_WAIT: Span = Span::from_secs(2);
/// After a loss of power everywhere the others must hear of deletions before they are buried.
const BURY_AFTER: Span = Span::from_secs(600);
/// Away for this much less than tombstones are kept, a host is taken to be away as long.
const AWAY_MARGIN_MS: u64 = 3_600 * 1_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Joining {
    Seeking(Box<Seeking>),
    Done,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Seeking {
    /// The start, or the last page.
    since: Mono,
    ask_at: Mono,
    /// At the first start there is nothing on the disk, so nothing that could be out of date.
    first_start: bool,
    /// Who said that this is their first start, too.
    blank: BTreeSet<SocketAddr>,
    /// Whose pages we follow.
    source: Option<HostId>,
    /// The last key of the last page.
    after: Option<Key>,
    /// What was on the disk, if it is too old to be believed.
    stale: Option<Board>,
    /// What the pages brought, as key hashes; only to be compared with what is stale.
    copied: BTreeSet<u64>,
    /// Somebody is there, but has no full copy either.
    behind: bool,
}

impl Joining {
    pub(super) fn new(now: Now, saved: &Board) -> Self {
        Self::Seeking(Box::new(Seeking {
            since: now.mono,
            ask_at: now.mono,
            first_start: saved.is_empty(),
            blank: BTreeSet::new(),
            source: None,
            after: None,
            stale: is_old(now, saved).then(|| saved.clone()),
            copied: BTreeSet::new(),
            behind: false,
        }))
    }

    /// What the disk told of the time was read by a clock that was wrong.
    pub(super) fn look_at_age(&mut self, now: Now, saved: &Board) {
        if let Self::Seeking(seeking) = self
            && seeking.after.is_none()
            && !seeking.first_start
            && seeking.stale.is_none()
            && is_old(now, saved)
        {
            seeking.stale = Some(saved.clone());
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// What this host holds is from so long ago that nobody may take it from here.
    pub(super) const fn is_stale(&self) -> bool {
        matches!(self, Self::Seeking(seeking) if seeking.stale.is_some())
    }

    pub(super) const fn deadline(&self) -> Option<Mono> {
        match self {
            Self::Seeking(seeking) => Some(seeking.ask_at),
            Self::Done => None,
        }
    }
}

impl Agent {
    /// Asks a few peers for the board; gives up asking, not joining, after a while.
    pub(super) fn look_for_peers(&mut self, now: Now, fx: &mut Effects) {
        let Joining::Seeking(seeking) = &mut self.joining else {
            return;
        };
        if now.mono < seeking.ask_at {
            return;
        }
        seeking.ask_at = now.mono + ASK_AGAIN;
        // Whom we followed has fallen silent: others go on from where it was.
        seeking.source = None;
        let waited = now.mono.since(seeking.since) >= self.config.timings.alone_after;
        let may_go_alone = seeking.stale.is_none() || seeking.behind;
        let after = seeking.after.clone();
        let me = self.config.address;
        let seeds = others(me, &self.config.seeds);
        let known: BTreeSet<SocketAddr> = self.board.hosts().map(|(.., r)| r.address).collect();
        let known: Vec<_> = known
            .into_iter()
            .filter(|peer| *peer != me && !seeds.contains(peer))
            .collect();
        let nobody = known.is_empty() && seeds.is_empty() && !self.config.seeds_expected;
        let is_whole = !self.quarantine.is_busy();
        if is_whole && (nobody || (waited && may_go_alone)) {
            self.joined(now, fx);
            return;
        }
        // Some of each: of those that the disk remembers all may have new addresses by now.
        let few = known.len() + seeds.len() <= limits::FANOUT_SEEDS;
        let asked = [seeds, known].map(|mut peers| {
            let count = if few {
                peers.len()
            } else {
                limits::CATCH_UP_PEERS
            };
            let drawn = (0..count).filter_map(|_| {
                let index = self.rng.index(peers.len())?;
                Some(peers.swap_remove(index))
            });
            drawn.collect::<Vec<_>>()
        });
        for to in asked.into_iter().flatten() {
            let after = after.clone();
            tell(to, None, Message::CatchUp { after }, fx);
        }
    }

    /// First peers were found, or have moved; a starting agent asks them at once.
    pub(super) fn on_seeds(&mut self, now: Now, mut seeds: Vec<SocketAddr>, fx: &mut Effects) {
        if planted!(IgnoresNewAddresses) {
            return;
        }
        seeds.truncate(limits::SEEDS_MAX);
        self.membership
            .set_seeds(others(self.config.address, &seeds));
        self.config.seeds = seeds;
        if let Joining::Seeking(seeking) = &mut self.joining {
            seeking.ask_at = now.mono;
        }
        self.look_for_peers(now, fx);
    }

    /// A peer asks for the next page of the board. One that has not got it itself only says so.
    pub(super) fn on_catch_up(
        &mut self,
        now: Now,
        (from, to): (HostId, SocketAddr),
        after: Option<&Key>,
        fx: &mut Effects,
    ) {
        let Joining::Seeking(seeking) = &self.joining else {
            if after.is_none() {
                // Before the page, so that it is read by the right time.
                self.tell_clock(now, (from, to), fx);
            }
            tell(to, Some(from), repair::page(&self.board, after), fx);
            return;
        };
        if seeking.first_start {
            tell(to, Some(from), Message::Blank, fx);
            return;
        }
        tell(to, Some(from), Message::Behind, fx);
        if seeking.stale.is_none() {
            let root = self.board.root();
            tell(to, Some(from), Message::Summary { root }, fx);
        }
    }

    /// Where all first peers start for the first time, as we do, there is no board to wait for.
    pub(super) fn on_blank(&mut self, now: Now, from: SocketAddr, fx: &mut Effects) {
        let Joining::Seeking(seeking) = &mut self.joining else {
            return;
        };
        if planted!(WaitsForABoard) {
            return;
        }
        seeking.blank.insert(from);
        let me = self.config.address;
        let mut seeds = self.config.seeds.iter();
        let is_blank = seeking.first_start && !self.quarantine.is_busy();
        if is_blank && seeds.all(|seed| *seed == me || seeking.blank.contains(seed)) {
            self.joined(now, fx);
        }
    }

    /// There is something on the disk, if it was held back.
    pub(super) fn is_no_first_start(&mut self) {
        if let Joining::Seeking(seeking) = &mut self.joining {
            seeking.first_start = false;
        }
    }

    pub(super) const fn on_behind(&mut self) {
        if let Joining::Seeking(seeking) = &mut self.joining {
            seeking.behind = true;
        }
    }

    pub(super) fn on_page(
        &mut self,
        now: Now,
        (from, address): (HostId, SocketAddr),
        records: Vec<Arc<Record>>,
        last: bool,
        fx: &mut Effects,
    ) {
        for record in &records {
            self.take(now, record, Some(from), fx);
        }
        let Joining::Seeking(seeking) = &mut self.joining else {
            return;
        };
        if *seeking.source.get_or_insert(from) != from {
            return;
        }
        if seeking.stale.is_some() {
            let brought = records.iter().map(|record| record.key_hash);
            seeking.copied.extend(brought);
        }
        let may_be_a_copy = self.copy_until.is_some_and(|at| now.mono < at);
        if last && (may_be_a_copy || self.quarantine.is_busy()) {
            return;
        }
        if last {
            self.let_go_of_stale(now, fx);
            self.joined(now, fx);
            return;
        }
        if let Some(record) = records.last() {
            seeking.after = Some(record.key.clone());
        }
        seeking.since = now.mono;
        seeking.ask_at = now.mono + PAGE_WAIT;
        let after = seeking.after.clone();
        tell(address, Some(from), Message::CatchUp { after }, fx);
    }

    /// What was on our disk and nobody has any more was deleted, and the tombstones are gone, too.
    fn let_go_of_stale(&mut self, now: Now, fx: &mut Effects) {
        let Joining::Seeking(seeking) = &mut self.joining else {
            return;
        };
        let copied = std::mem::take(&mut seeking.copied);
        let Some(stale) = seeking.stale.take() else {
            return;
        };
        // Containers may still run here of what else was deleted meanwhile.
        self.was_away_long = true;
        let me = self.config.host;
        let mut gone = Vec::new();
        for record in stale.records() {
            let is_own = matches!(record.key, Key::Host(host) | Key::Task(host, _) if host == me);
            let ours = self.board.record(&record.key);
            let is_as_it_was = ours.is_some_and(|ours| ours.version == record.version);
            if is_as_it_was && !is_own && !copied.contains(&record.key_hash) {
                gone.push(Arc::clone(record));
            }
        }
        for record in &gone {
            self.board.remove(record);
            let without = Record::new(record.key.clone(), record.version, None);
            self.on_change(now, Some(record), &without, fx);
        }
        if !gone.is_empty() {
            fx.push(Effect::Forget(gone));
        }
    }

    /// Deleted while this host was away for so long that the others have forgotten even that. What
    /// it runs it knew, and its board was since a full copy of theirs.
    pub(super) fn is_long_gone(&self, service: ServiceId) -> bool {
        let keys = [Key::ServiceSettings(service), Key::Run(service)];
        let is_unknown = keys.iter().all(|key| self.board.record(key).is_none());
        self.was_away_long && is_unknown && !planted!(ServesWhatNobodyKnows)
    }

    /// No other host is up, as far as this agent can tell: time to ask again where peers are.
    pub fn is_alone(&self) -> bool {
        self.membership.up().is_empty()
    }

    /// Has a full copy of the board, or has looked for a peer in vain.
    pub const fn is_caught_up(&self) -> bool {
        self.joining.is_done()
    }

    fn joined(&mut self, now: Now, fx: &mut Effects) {
        if self.joining.is_stale() {
            self.bury_from = now.mono + BURY_AFTER;
        }
        self.joining = Joining::Done;
        self.look_first();
        if self.runtime_version.is_some() {
            fx.push(Effect::Runtime(RuntimeCommand::List));
        }
        self.all_dirty = true;
        self.publish_host(now, fx);
    }
}

/// The youngest record is older than tombstones are kept, or nearly.
fn is_old(now: Now, saved: &Board) -> bool {
    let stamps = saved.records().map(|record| record.version.stamp.wall);
    let away = stamps.max().map_or(0, |newest| now.wall.ms_since(newest));
    away > limits::TOMBSTONE_MS - AWAY_MARGIN_MS && !planted!(BelievesAnOldDisk)
}

/// All of joining goes by stream: a lost answer would cost half a second.
fn tell(to: SocketAddr, host: Option<HostId>, message: Message, fx: &mut Effects) {
    let via = Via::Stream;
    fx.push(Effect::Send(Send {
        to,
        host,
        via,
        message,
    }));
}

/// First peers often are all hosts, so this one is among them.
pub(super) fn others(me: SocketAddr, seeds: &[SocketAddr]) -> Vec<SocketAddr> {
    seeds.iter().copied().filter(|seed| *seed != me).collect()
}
