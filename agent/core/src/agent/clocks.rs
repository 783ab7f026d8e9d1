//! Clocks that are wrong: what most hosts' clocks show is the time, and whoever differs follows it.
//!
//! Agents tell one another what their clocks show. One whose clock is more than five minutes from
//! the (lower) median of those it heard goes by the median, says so, takes no new tasks and keeps
//! no service until its clock is set right. What it stamped before it knew, nobody took: it is said
//! again. The median of two is the lower one: of two clocks either may be wrong, but they agree.
//! Nobody doubts a clock that it has gone by before it has heard half of the others, or enough of
//! them: else a newcomer's, which may be all that was heard yet, would be most clocks.

use super::Agent;
use crate::{
    cluster::{
        body::{Body, Key},
        message::{Message, Via},
        record::{Record, Stamp},
        schedule::Schedule,
    },
    effect::{Effect, Effects, Send},
    ids::HostId,
    limits,
    time::{Mono, Now, Span, Wall},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

/// People are told of the same clock again after this.
const TOLD_AGAIN: Span = Span::from_secs(600);
/// So many clocks are kept in mind; with more of them wrong, ours is.
const CLOCKS_MAX: usize = 64;
/// Of more hosts than this, so many count as all: half of them must be heard.
const VOICES: usize = 8;
/// What a clock showed counts for so long.
const HEARD_FOR: Span = Span::from_secs(180);
/// Whoever differs is told what our clock shows, once in this time.
const ANSWERED_AGAIN: Span = Span::from_secs(5);
/// A clock that jumps further than this was set, or its machine was suspended.
const JUMP_MS: u64 = 60_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Clocks {
    /// When our monotonic clock was zero, as our wall clock has it.
    own: i64,
    /// The same as the clocks of others have it, and when they said so.
    heard: BTreeMap<HostId, (i64, Mono)>,
    /// What is added to our wall clock, in ms.
    shift: i64,
    answered: BTreeMap<HostId, Mono>,
    /// Whom to tell next what our clock shows.
    turn: u64,
    /// Of whose clock people were told, and when.
    told: BTreeMap<HostId, Mono>,
}

fn zero(now: Now) -> i64 {
    let mono_ms = i64::try_from(now.mono.since(Mono(0)).as_ms()).unwrap_or(i64::MAX);
    i64::try_from(now.wall.0)
        .unwrap_or(i64::MAX)
        .saturating_sub(mono_ms)
}

impl Clocks {
    pub(super) fn new(now: Now) -> Self {
        Self {
            own: zero(now),
            heard: BTreeMap::new(),
            shift: 0,
            answered: BTreeMap::new(),
            turn: 0,
            told: BTreeMap::new(),
        }
    }

    /// Our clock is right, as far as is known.
    pub(super) const fn are_right(&self) -> bool {
        self.shift == 0
    }

    /// A time of ours without the correction.
    fn raw(&self, now: Now) -> Now {
        let wall = Wall(now.wall.0.saturating_add_signed(-self.shift));
        Now { wall, ..now }
    }

    fn corrected(&self, now: Now) -> Now {
        let wall = Wall(now.wall.0.saturating_add_signed(self.shift));
        Now { wall, ..now }
    }

    /// What most clocks show, `own` among them if it has a voice; `None` while nobody is heard.
    fn median(&mut self, now: Mono, own: Option<i64>) -> Option<i64> {
        self.heard.retain(|_, (_, at)| now.since(*at) < HEARD_FOR);
        if self.heard.is_empty() || planted!(FollowsItsOwnClock) {
            return None;
        }
        let heard = self.heard.values().map(|(zero, _)| *zero);
        let mut zeros: Vec<i64> = heard.chain(own).collect();
        zeros.sort_unstable();
        Some(zeros[(zeros.len() - 1) / 2])
    }
}

/// How people are told of a difference.
fn apart(ms: i64) -> String {
    let seconds = ms.unsigned_abs() / 1_000;
    if ms > 0 {
        format!("{seconds} s ahead of")
    } else {
        format!("{seconds} s behind")
    }
}

impl Agent {
    /// The time of a step, as most clocks have it. A clock that was set, ours, is judged anew.
    pub(super) fn by_most_clocks(&mut self, now: Now, fx: &mut Effects) -> Now {
        let own = zero(now);
        if own.abs_diff(self.clocks.own) > JUMP_MS {
            self.clocks.heard.clear();
            if !self.clocks.are_right() {
                // Time goes on as it did: perhaps without any correction now.
                let goes_on = self.clocks.own + self.clocks.shift - own;
                let is_right = goes_on.unsigned_abs() <= limits::STAMP_AHEAD_MS_MAX;
                self.clocks.own = own;
                self.shift_clock(now, if is_right { 0 } else { goes_on }, fx);
            }
        }
        self.clocks.own = own;
        self.clocks.corrected(now)
    }

    /// What our clock shows, told to this peer.
    pub(super) fn tell_clock(
        &mut self,
        now: Now,
        (host, to): (HostId, SocketAddr),
        fx: &mut Effects,
    ) {
        let message = self.shown_clock(now);
        fx.push(Effect::Send(Send {
            to,
            host: Some(host),
            via: Via::Stream,
            message,
        }));
    }

    /// What we say of the time: what we go by or, while that is others' word, our own clock's.
    fn shown_clock(&mut self, now: Now) -> Message {
        let wall = if self.clocks.are_right() {
            self.clock.steady(now)
        } else {
            self.clocks.raw(now).wall
        };
        Message::Clock { wall }
    }

    /// Now and then one of the others is told what our clock shows.
    pub(super) fn tell_clock_to_somebody(&mut self, now: Now, fx: &mut Effects) {
        let up = self.membership.up();
        // One after another; each host begins with another one.
        self.clocks.turn = self.clocks.turn.wrapping_add(1);
        let turn = self.config.host.word().wrapping_add(self.clocks.turn);
        let peer = turn
            .checked_rem(up.len() as u64)
            .map(|turn| up[turn as usize]);
        if let Some(peer) = peer {
            let message = self.shown_clock(now);
            self.send_to(peer, message, fx);
        }
    }

    /// A peer says what its clock shows.
    pub(super) fn on_clock(
        &mut self,
        now: Now,
        (from, address): (HostId, SocketAddr),
        wall: Wall,
        fx: &mut Effects,
    ) {
        let shown = zero(Now { wall, ..now });
        let clocks = &mut self.clocks;
        if clocks.heard.len() < CLOCKS_MAX || clocks.heard.contains_key(&from) {
            clocks.heard.insert(from, (shown, now.mono));
        }
        let raw = clocks.raw(now);
        self.judge_clock(now, fx);
        let clocks = &mut self.clocks;
        let now = clocks.corrected(raw);
        let differs = shown.abs_diff(clocks.own) > limits::STAMP_AHEAD_MS_MAX;
        let answered = clocks.answered.get(&from);
        if differs && answered.is_none_or(|at| now.mono.since(*at) >= ANSWERED_AGAIN) {
            clocks
                .answered
                .retain(|_, at| now.mono.since(*at) < ANSWERED_AGAIN);
            clocks.answered.insert(from, now.mono);
            self.tell_clock(now, (from, address), fx);
        }
        let ms = shown - zero(now);
        if ms.unsigned_abs() > limits::STAMP_AHEAD_MS_MAX && self.is_news_of_clock(now, from) {
            let reason = format!(
                "its clock is {} this host's; check the time on both",
                apart(ms)
            );
            self.tell_host(now, from, self.standing(from), &reason, fx);
        }
    }

    /// Whether our clock, or what we made of it, is too far from what most show.
    fn judge_clock(&mut self, now: Now, fx: &mut Effects) {
        let raw = self.clocks.raw(now);
        let wall = self.clock.steady(now);
        let goes_by = zero(Now { wall, ..now });
        let (own, is_right) = (self.clocks.own, self.clocks.are_right());
        let voice = if is_right { goes_by } else { own };
        // Whoever does not have the board yet has no voice, and believes whom it hears.
        let voice = self.joining.is_done().then_some(voice);
        let others = self.membership.up().len().min(VOICES);
        let few = self.clocks.heard.len() < others.div_ceil(2);
        if voice.is_some() && few && !planted!(BelievesTheFirstClock) {
            return;
        }
        let Some(median) = self.clocks.median(now.mono, voice) else {
            return;
        };
        let is_off = |zero: i64| median.abs_diff(zero) > limits::STAMP_AHEAD_MS_MAX;
        if !is_off(own) && !is_right {
            self.shift_clock(raw, 0, fx);
        } else if is_off(goes_by) {
            let shift = if is_off(own) { median - own } else { 0 };
            self.shift_clock(raw, shift, fx);
        }
    }

    /// From now on our clock is corrected by this much.
    fn shift_clock(&mut self, raw: Now, shift: i64, fx: &mut Effects) {
        let before = std::mem::replace(&mut self.clocks.shift, shift);
        let now = self.clocks.corrected(raw);
        if !planted!(KeepsItsOwnTime) {
            self.say_again_in_time(now, fx);
        }
        if before == shift {
            return;
        }
        let started = self.started.wall.0.saturating_add_signed(shift - before);
        self.started.wall = Wall(started);
        self.joining.look_at_age(now, &self.board);
        let me = self.config.host;
        let reason = self.clock_trouble().unwrap_or_else(|| {
            "this host's clock is right again; it takes tasks and keeps services".to_owned()
        });
        self.tell_host(now, me, self.standing(me), &reason, fx);
        self.all_dirty = true;
        self.publish_host(now, fx);
    }

    /// What is wrong with this host's clock, if anything.
    pub fn clock_trouble(&self) -> Option<String> {
        let apart = apart(-self.clocks.shift);
        (!self.clocks.are_right()).then(|| {
            format!(
                "this host's clock is {apart} that of most others: it goes by theirs, takes no \
                 new tasks and keeps no service until its clock is set right"
            )
        })
    }

    /// Own words that are stamped ahead of time are said again; others' are let go, and come back
    /// by repair if they are good.
    fn say_again_in_time(&mut self, now: Now, fx: &mut Effects) {
        let limit = now.wall.0.saturating_add(limits::STAMP_AHEAD_MS_MAX);
        let ahead = self.board.records();
        let me = self.config.host;
        // What others say of themselves they will say again, if their clocks are as ours was.
        let is_theirs =
            |key: &Key| matches!(key, Key::Host(host) | Key::Task(host, _) if *host != me);
        let ahead = ahead.filter(|record| record.version.stamp.wall.0 > limit);
        let ahead = ahead.filter(|record| !is_theirs(&record.key));
        let ahead: Vec<Arc<Record>> = ahead.cloned().collect();
        self.clock.set(now);
        let stamps = self.board.records().map(|record| record.version.stamp);
        let stamps = stamps.filter(|stamp| stamp.wall.0 <= limit);
        stamps.for_each(|stamp| self.clock.observe(stamp));
        if ahead.is_empty() {
            return;
        }
        let (own, other): (Vec<_>, Vec<_>) = ahead.into_iter().partition(
            |record| matches!(record.key, Key::Host(host) | Key::Task(host, _) if host == me),
        );
        for record in &other {
            self.board.remove(record);
            let without = Record::new(record.key.clone(), record.version, None);
            self.on_change(now, Some(record), &without, fx);
        }
        self.begin_incarnation(now, self.incarnation + 1, fx);
        for record in own {
            if let (Key::Task(..), body) = (&record.key, &record.body) {
                let body: Option<Body> = body.clone();
                self.write(now, record.key.clone(), self.incarnation, body, fx);
            }
        }
        // What a person ordered here is an order all the same.
        for record in &other {
            let is_order = matches!(
                record.key,
                Key::Definition(_)
                    | Key::Label { .. }
                    | Key::ServiceCount(_)
                    | Key::ServiceRevision(_)
                    | Key::ServiceSettings(_)
                    | Key::Run(_)
                    | Key::Schedule(_)
                    | Key::StopOrder(_)
                    | Key::Protection(_)
                    | Key::Cluster(_)
                    | Key::Tag(..)
                    | Key::Directive(_)
            );
            if is_order && record.version.stamp.author == me {
                let (key, epoch) = (record.key.clone(), record.version.epoch);
                let body = match record.body.clone() {
                    // The time at which its tick came by that clock may be still to come.
                    Some(Body::Run(run)) if run.is_of_schedule() => continue,
                    Some(Body::Schedule(schedule)) => Some(Body::Schedule(Schedule {
                        since: now.wall,
                        ..schedule
                    })),
                    body => body,
                };
                self.write(now, key, epoch, body, fx);
            }
        }
        if !other.is_empty() {
            fx.push(Effect::Forget(other));
        }
    }

    /// A record is stamped too far ahead of our clock. It is not taken: following it would drag the
    /// whole cluster's stamps along.
    pub(super) fn on_stamp_ahead(
        &mut self,
        now: Now,
        stamp: Stamp,
        from: Option<HostId>,
        fx: &mut Effects,
    ) {
        let author = stamp.author;
        if !self.is_news_of_clock(now, author) {
            return;
        }
        let seconds = stamp.wall.ms_since(now.wall) / 1_000;
        let reason = format!(
            "its clock is {seconds} s ahead of this host's: what it says is not taken; check the \
             time on both"
        );
        self.tell_host(now, author, self.standing(author), &reason, fx);
        // Who passed it on took it, so it is not the author's clock alone.
        let address = from.and_then(|from| Some((from, self.board.host(from)?.1.address)));
        if let Some(peer) = address {
            self.tell_clock(now, peer, fx);
        }
    }

    fn is_news_of_clock(&mut self, now: Now, host: HostId) -> bool {
        let told = &mut self.clocks.told;
        told.retain(|_, told| now.mono.since(*told) < TOLD_AGAIN);
        if told.contains_key(&host) || told.len() >= CLOCKS_MAX {
            return false;
        }
        told.insert(host, now.mono);
        true
    }
}
