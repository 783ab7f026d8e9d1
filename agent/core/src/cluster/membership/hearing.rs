//! What others say, and what follows: answers, alarms, and those who have answers from the accused.

use super::{
    FRESH, Membership, Turn,
    watch::{Vote, Watch},
};
use crate::{
    cluster::{
        body::Standing,
        message::{Alarm, Message, Via},
    },
    effect::{Effect, Send},
    ids::{HostId, Incarnation},
    time::{Mono, Now, Span},
};
use std::net::SocketAddr;

/// An answer clears a suspect after this long at the least, if it has not cleared itself.
const CLEAR_AFTER: Span = Span::from_ms(100);
/// Spreads the observers' clearing, so that one of them does it and the rest see it.
const CLEAR_SPREAD: Span = Span::from_ms(200);

/// The number of a probe says when it was sent, in units of 64 microseconds, so that any answer to
/// any probe tells the round trip.
const NUMBER_UNIT_BITS: u32 = 6;

pub(super) const fn number(now: Mono) -> u32 {
    (now.0 >> NUMBER_UNIT_BITS) as u32
}

impl Membership {
    /// A message came from this host: it may be asked to agree.
    pub fn on_heard(&mut self, now: Now, from: HostId) {
        for watch in self.watched.values_mut() {
            if let Some(alarm) = &mut watch.alarm
                && let Some(witness) = alarm.witnesses.get_mut(&from)
            {
                witness.heard = Some(now.mono);
                witness.asked = 0;
            }
        }
    }

    /// Answers the way it was asked.
    pub fn on_probe(
        &self,
        turn: &mut Turn<'_>,
        (from, to): (HostId, SocketAddr),
        via: Via,
        sequence: u32,
    ) {
        turn.fx.push(Effect::Send(Send {
            to,
            host: Some(from),
            via,
            message: Message::Ack { sequence },
        }));
    }

    /// The host answers us: it is there, hears us, and is heard.
    pub fn on_ack(&mut self, turn: &mut Turn<'_>, from: HostId, via: Via, sequence: u32) {
        let now = turn.now.mono;
        self.on_answer(now, from, via);
        self.doubts.remove(&from);
        if let Some(gone) = self.down.get_mut(&from) {
            gone.answered = Some(now);
        }
        let Some(watch) = self.watched.get_mut(&from) else {
            return;
        };
        if planted!(HoldsAGrudge) && watch.alarm.is_some() {
            return;
        }
        let units = number(now).wrapping_sub(sequence);
        watch
            .round_trip
            .on_sample(Span(u64::from(units) << NUMBER_UNIT_BITS));
        let (paused, incarnation) = (watch.pause(now), watch.incarnation);
        let votes = std::mem::take(&mut watch.votes);
        let was_alarmed = watch.alarm.is_some();
        watch.answered = now;
        watch.is_steady |= watch.probed.is_some() && watch.burst.is_none();
        watch.calm();
        if was_alarmed {
            self.alone_since = now;
        }
        if watch.is_subject && watch.clear_at.is_none() && turn.board.is_in_doubt(from) {
            let spread = Span(self.rng.below(CLEAR_SPREAD.0));
            watch.clear_at = Some(now + CLEAR_AFTER + spread);
        }
        if watch.is_idle() {
            self.watched.remove(&from);
        }
        if was_alarmed
            && paused >= self.timings.suspect_after
            && !self.others_are_silent(turn.now, from)
        {
            self.pauses.on_pause(now, from, paused);
        }
        for voter in votes.into_keys().filter(|voter| *voter != self.me) {
            let message = Message::Alive {
                subject: from,
                incarnation,
            };
            self.send(turn, voter, Via::Datagram, message);
        }
        self.check_again();
    }

    /// Another observer has no answer from the accused. Whether we watch it or not, we ask it
    /// ourselves, at once.
    pub fn on_alarm(&mut self, turn: &mut Turn<'_>, from: HostId, alarm: &Alarm) {
        let now = turn.now.mono;
        let (subject, incarnation) = (alarm.subject, alarm.incarnation);
        let known = turn.board.host(subject).map(|(known, _)| known);
        if subject == self.me || known != Some(incarnation) || turn.board.is_down(subject) {
            return;
        }
        if planted!(TakesAlarmForVerdict) && self.watched.contains_key(&subject) {
            self.find(turn, subject, Standing::Down, vec![from]);
            return;
        }
        let new = || Watch::new(now, incarnation);
        let watch = self.watched.entry(subject).or_insert_with(new);
        let has_answered = watch.is_subject && now.since(watch.answered) < FRESH;
        if has_answered && watch.alarm.is_none() {
            let message = Message::Alive {
                subject,
                incarnation,
            };
            self.send(turn, from, Via::Datagram, message);
            return;
        }
        let vote = Vote {
            at: now,
            since: now - Span::from_ms(u64::from(alarm.silent_ms)),
            patience: Span::from_ms(u64::from(alarm.patience_ms)),
        };
        watch.votes.insert(from, vote);
        if alarm.kernel_answers {
            watch.kernel.told = Some(now);
        }
        if watch.burst.is_none() {
            self.start_burst(now, subject);
        }
    }

    /// Another one has answers from `subject`: whatever we miss, it is not down.
    pub fn on_alive(&mut self, subject: HostId, incarnation: Incarnation) {
        if let Some(watch) = self.watched.get_mut(&subject)
            && incarnation >= watch.incarnation
            && !planted!(JudgesAlone)
        {
            watch.calm();
            if watch.is_idle() {
                self.watched.remove(&subject);
            }
            self.check_again();
        }
    }

    /// What came of a knock: whether the machine's kernel, or one of its tasks, is there.
    /// Where it is, datagrams may be all that does not come through.
    pub fn on_knocked(&mut self, turn: &mut Turn<'_>, host: HostId, answered: bool) {
        if let Some(watch) = self.watched.get_mut(&host)
            && watch.alarm.is_some()
        {
            watch.kernel.on_knocked(turn.now.mono, answered);
            if answered && !planted!(ProbesByDatagramAlone) {
                self.probe_by_stream(turn, host);
            }
        }
    }
}
