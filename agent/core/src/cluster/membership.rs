//! Membership: fixed observers probe each host, corroborate one another, and agree that it is down.
//!
//! Each host has K observers (the idea: Rapid, USENIX ATC'18). A missed probe starts a short burst,
//! a silent burst raises an alarm among the co-observers, and alarms are votes. Whoever still has
//! answers from the accused says so, which takes the votes back: one bad link, or one host that
//! hardly hears anybody, evicts nobody. State is kept of those alone who are watched; everything
//! else is read from the board.

mod rings;
mod watch;
mod pauses;
mod hearing;
mod probing;
mod judging;
mod doubting;
mod streams;

use crate::{
    cluster::{
        board::Board,
        body::{HostReport, Standing},
        message::{Message, Via},
        record::Record,
    },
    effect::{Effect, Effects, Send},
    ids::{HostId, Incarnation},
    rng::Rng,
    time::{Mono, Now, Span, Wall},
    timings::Timings,
};
use doubting::Doubt;
use pauses::Pauses;
use rings::{Rings, Zone};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};
use watch::Watch;

/// Answered so recently, a host needs no probe to be vouched for.
const FRESH: Span = Span::from_ms(150);
/// Judged down, a host that answered so lately is about to refute it.
const RETURNS_WITHIN: Span = Span::from_ms(1_500);
/// Hosts that were judged down within this time fell silent together.
const TOGETHER: Span = Span::from_secs(60);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Membership {
    me: HostId,
    timings: Timings,
    rng: Rng,
    rings: Rings,
    /// The rings changed: subjects are to be chosen again.
    changed: bool,
    down: BTreeMap<HostId, Gone>,
    /// Our subjects, and those under somebody's alarm.
    watched: BTreeMap<HostId, Watch>,
    /// Verdicts of others that are not believed before the accused was asked.
    doubts: BTreeMap<HostId, Doubt>,
    pauses: Pauses,
    /// Whom datagrams do not reach, and when it last asked or answered by stream.
    by_stream: BTreeMap<HostId, Mono>,
    /// Rounds of probes since we last stood still; without one behind us we have no vote.
    rounds: u32,
    /// When we last heard enough of those whom we watch, or one of them that had been silent.
    alone_since: Mono,
    next_tick: Mono,
    next_check: Option<Mono>,
    next_seed: Mono,
    seeds: Vec<SocketAddr>,
}

/// A host that is judged down.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Gone {
    /// The last answer we had from it.
    answered: Option<Mono>,
    /// Of its agent: one that is back as it was did not restart, it paused.
    started_at: Wall,
    since: Mono,
}

/// What a step of the agent lends: the time, the board to read, and where to put what follows.
#[derive(Debug)]
pub struct Turn<'a> {
    pub now: Now,
    pub board: &'a Board,
    pub fx: &'a mut Effects,
    pub findings: &'a mut Vec<Finding>,
}

/// What membership has found out, for the agent to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// To be written as a verdict.
    Judged {
        host: HostId,
        incarnation: Incarnation,
        standing: Standing,
        votes: Vec<HostId>,
        silent: Span,
    },
    /// A verdict that was doubted, and that the accused did not contradict.
    Believed(Arc<Record>),
}

impl Membership {
    pub fn new(
        me: HostId,
        zone: Option<&str>,
        timings: Timings,
        seeds: Vec<SocketAddr>,
        mut rng: Rng,
        now: Now,
    ) -> Self {
        // Over the longest interval: else those who start together would all leave a part of it.
        let phase = Span(rng.below(probing::among_many(timings.probe_interval).0.max(1)));
        Self {
            me,
            rng,
            rings: Rings::new(me, Zone::of(zone)),
            changed: false,
            down: BTreeMap::new(),
            watched: BTreeMap::new(),
            doubts: BTreeMap::new(),
            pauses: Pauses::default(),
            by_stream: BTreeMap::new(),
            rounds: probing::ROUNDS_TO_VOTE,
            alone_since: now.mono,
            next_tick: now.mono + phase,
            next_check: None,
            next_seed: now.mono,
            timings,
            seeds,
        }
    }

    pub fn set_seeds(&mut self, seeds: Vec<SocketAddr>) {
        self.seeds = seeds;
    }

    pub fn deadline(&self) -> Mono {
        self.next_check
            .map_or(self.next_tick, |check| check.min(self.next_tick))
    }

    /// Peers that are not judged down, in order of their ids.
    pub fn up(&self) -> &[HostId] {
        self.rings.up()
    }

    pub fn down(&self) -> impl Iterator<Item = HostId> {
        self.down.keys().copied()
    }

    /// Judged down, but with an answer to us lately: its refutation is on its way.
    pub fn returning(&self, now: Now) -> BTreeSet<HostId> {
        let lately = |at| now.mono.since(at) < RETURNS_WITHIN;
        let lately = |gone: &Gone| gone.answered.is_some_and(lately);
        let down = self.down.iter().filter(|(_, gone)| lately(gone));
        down.map(|(host, _)| *host).collect()
    }

    /// Takes over what the board says of a host; to be called whenever its report or verdict
    /// changed.
    pub fn on_board(&mut self, now: Now, board: &Board, host: HostId) {
        if host == self.me {
            return;
        }
        let Some((incarnation, report)) = board.host(host) else {
            self.changed |= self.rings.leave(host);
            self.watched.remove(&host);
            self.down.remove(&host);
            self.by_stream.remove(&host);
            return;
        };
        if board.is_down(host) {
            self.changed |= self.rings.leave(host);
            self.doubts.remove(&host);
            let watch = self.watched.remove(&host);
            self.down.entry(host).or_insert(Gone {
                answered: watch.map(|watch| watch.answered),
                started_at: report.started_at,
                since: now.mono,
            });
            return;
        }
        if let Some(gone) = self.down.remove(&host) {
            self.on_return(now, host, &gone, report);
        }
        let zone = Zone::of(report.zone.as_deref());
        self.changed |= self.rings.join(host, zone);
        if let Some(watch) = self.watched.get_mut(&host)
            && watch.incarnation < incarnation
        {
            // Its own word of its new life is as good as an answer.
            watch.incarnation = incarnation;
            watch.answered = now.mono;
            watch.calm();
        }
        let judged = |doubt: &Doubt| doubt.record.version.epoch;
        if self.doubts.get(&host).map(judged) < Some(incarnation) {
            self.doubts.remove(&host);
        }
    }

    /// A host that was judged down has refuted it.
    fn on_return(&mut self, now: Now, host: HostId, gone: &Gone, report: &HostReport) {
        if let Some(answered) = gone.answered
            && gone.started_at == report.started_at
            && !self.others_are_silent(now, host)
        {
            let lasted = now.mono.since(answered);
            self.pauses.on_pause(now.mono, host, lasted);
        }
    }

    /// Several hosts that fall silent together do not pause: something is between us and them.
    fn others_are_silent(&self, now: Now, host: HostId) -> bool {
        let alarmed = |(other, watch): (&HostId, &Watch)| *other != host && watch.alarm.is_some();
        let lately = |gone: &Gone| now.mono.since(gone.since) < TOGETHER;
        self.down.values().any(lately) || self.watched.iter().any(alarmed)
    }

    fn send(&self, turn: &mut Turn<'_>, host: HostId, via: Via, message: Message) {
        if let Some((_, report)) = turn.board.host(host) {
            turn.fx.push(Effect::Send(Send {
                to: report.address,
                host: Some(host),
                via,
                message,
            }));
        }
    }

    fn check_by(&mut self, at: Mono) {
        self.next_check = Some(self.next_check.map_or(at, |check| check.min(at)));
    }

    /// Takes back a check that nothing waits for any more.
    fn check_again(&mut self) {
        let watched = self.watched.values().filter_map(Watch::due);
        let doubts = self.doubts.values().map(|doubt| doubt.next);
        self.next_check = watched.chain(doubts).min();
    }
}
