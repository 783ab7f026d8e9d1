//! What is kept of one watched host: when it last answered, what is under way, and who votes.

use crate::{
    ids::{HostId, Incarnation},
    time::{Mono, Span},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A probe is late after this long at the least and at the most.
const PATIENCE_MIN: Span = Span::from_ms(50);
const PATIENCE_MAX: Span = Span::from_secs(1);
/// The longest round trip is taken for no shorter than this.
const LONGEST_MIN: Span = Span::from_ms(10);
/// Before the first answer was timed.
const PATIENCE_FIRST: Span = Span::from_ms(200);
/// Between two knocks at a machine that answered the first, and at one that did not.
const KNOCK_AGAIN: Span = Span::from_secs(1);
const KNOCK_AGAIN_SOON: Span = Span::from_ms(200);
/// A machine that has not answered for so long does not answer lately.
const KNOCK_OVERDUE: Span = Span::from_ms(1_500);
/// Word that a kernel answers another observer counts this long unless it is repeated.
const TOLD_LASTS: Span = Span::from_ms(1_500);
/// A later answer tells nothing of the way.
const ROUND_TRIP_MAX: Span = Span::from_secs(30);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Watch {
    pub(super) incarnation: Incarnation,
    /// We are its observer; else it is watched because of somebody's alarm.
    pub(super) is_subject: bool,
    /// Its last answer to us: that we hear it is not enough, it must hear us, too.
    pub(super) answered: Mono,
    /// Its last answer that came by datagram.
    pub(super) by_datagram: Option<Mono>,
    pub(super) kernel: Kernel,
    pub(super) round_trip: RoundTrip,
    /// When the oldest probe was sent that is not answered. The word of one who has an answer ends
    /// it, too, and is never passed on: hearsay of hearsay would keep a dead host alive for ever.
    pub(super) probed: Option<Mono>,
    /// When the latest probe was sent.
    pub(super) sent: Mono,
    /// It answered the first probe of the last round: so the way between us is good.
    pub(super) is_steady: bool,
    pub(super) burst: Option<Burst>,
    pub(super) alarm: Option<Raised>,
    pub(super) votes: BTreeMap<HostId, Vote>,
    /// It answers again: when to say so, unless it has said so itself by then.
    pub(super) clear_at: Option<Mono>,
}

/// Probes in quick succession, and when the next one is due.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Burst {
    pub(super) sent: u32,
    pub(super) next: Mono,
}

/// Our own alarm, and what its other observers did since.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Raised {
    pub(super) since: Mono,
    /// We are one of its observers, so we may judge.
    pub(super) ours: bool,
    pub(super) witnesses: BTreeMap<HostId, Witness>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Witness {
    pub(super) heard: Option<Mono>,
    /// How often it was asked in a row without a word from it.
    pub(super) asked: u8,
}

/// "It answers none of the probes that I send since then."
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Vote {
    pub(super) at: Mono,
    pub(super) since: Mono,
    pub(super) patience: Span,
}

/// What the machine says when its agent says nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Kernel {
    /// Its last answer to us.
    pub(super) own: Option<Mono>,
    /// When another observer last told that it answers him. Never passed on, either.
    pub(super) told: Option<Mono>,
    /// Our knocks without an answer since the last one with.
    pub(super) silent: u8,
    /// When a knock began whose outcome is not known.
    pub(super) knocking: Option<Mono>,
    pub(super) next: Mono,
}

/// Smoothed time from a probe to its answer, and how much it varies, as TCP has it (RFC 6298).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct RoundTrip {
    mean: Option<Span>,
    deviation: Span,
}

impl Watch {
    pub(super) fn new(now: Mono, incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            is_subject: false,
            answered: now,
            by_datagram: None,
            kernel: Kernel::default(),
            round_trip: RoundTrip::default(),
            probed: None,
            sent: now,
            is_steady: false,
            burst: None,
            alarm: None,
            votes: BTreeMap::new(),
            clear_at: None,
        }
    }

    /// Since the first probe that its agent left unanswered. The time before it does not count, so
    /// that a pause which is over sooner than a limit never looks as long as the limit.
    pub(super) fn silence(&self, now: Mono) -> Span {
        let since = if planted!(CountsFromTheLastAnswer) {
            Some(self.answered)
        } else {
            self.probed
        };
        since.map_or(Span::ZERO, |since| now.since(since))
    }

    /// From the first probe that was left unanswered to the latest. After that one it may answer
    /// again, and nobody would know.
    pub(super) fn asked(&self) -> Span {
        if planted!(JudgesUnasked) {
            return Span(u64::MAX);
        }
        self.silence(self.sent)
    }

    /// When there may be something to judge next: of a death, once the probe that goes out at the
    /// end of the limit has had its time.
    pub(super) fn to_judge_at(
        &self,
        now: Mono,
        suspect_after: Span,
        down_after: Span,
    ) -> Option<Mono> {
        let since = self.probed?;
        let ends = since + down_after;
        let is_last = now >= ends && self.asked() < down_after;
        let answer_due = is_last.then(|| now + self.round_trip.longest());
        let all = [Some(since + suspect_after), Some(ends), answer_due];
        all.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// As [`Self::silence`], where an answer of its kernel counts as well.
    pub(super) fn stillness(&self, now: Mono) -> Span {
        self.silence(now).min(self.kernel.silence(now))
    }

    /// How long it stood still that answers now, as far as it can be told.
    pub(super) fn pause(&self, now: Mono) -> Span {
        now.since(self.answered).min(self.kernel.silence(now))
    }

    /// Nothing is wrong, as far as we know.
    pub(super) fn calm(&mut self) {
        self.probed = None;
        self.burst = None;
        self.alarm = None;
        self.votes.clear();
        self.kernel = Kernel::default();
    }

    /// A watch that was taken up for an alarm ends with it.
    pub(super) const fn is_idle(&self) -> bool {
        !self.is_subject && self.probed.is_none() && self.burst.is_none() && self.clear_at.is_none()
    }

    /// When something is to be done next.
    pub(super) fn due(&self) -> Option<Mono> {
        let late = match (&self.burst, self.probed) {
            (Some(burst), _) => Some(burst.next),
            (None, Some(sent)) => Some(sent + self.round_trip.patience()),
            (None, None) => None,
        };
        [late, self.clear_at].into_iter().flatten().min()
    }
}

impl Kernel {
    pub(super) fn on_knocked(&mut self, now: Mono, answered: bool) {
        self.knocking = None;
        if answered {
            (self.own, self.silent) = (Some(now), 0);
            self.next = now + KNOCK_AGAIN;
        } else {
            self.silent = self.silent.saturating_add(1);
            self.next = now + KNOCK_AGAIN_SOON;
        }
    }

    fn silence(&self, now: Mono) -> Span {
        now.since(self.own.max(self.told).unwrap_or_default())
    }

    /// It answered us, not only others, and is not overdue.
    pub(super) fn answers_us(&self, now: Mono) -> bool {
        let lately = |at: Mono| now.since(at) < KNOCK_OVERDUE;
        self.silent == 0 && self.own.is_some_and(lately)
    }

    /// It answered since its agent fell silent: us, and since then at most one knock went without;
    /// or another one just now.
    pub(super) fn is_alive(&self, now: Mono) -> bool {
        let lately = |at: Mono| now.since(at) < TOLD_LASTS;
        (self.own.is_some() && self.silent < 2) || self.told.is_some_and(lately)
    }
}

impl RoundTrip {
    pub(super) fn on_sample(&mut self, sample: Span) {
        if sample > ROUND_TRIP_MAX {
            return;
        }
        match &mut self.mean {
            None => (self.mean, self.deviation) = (Some(sample), Span(sample.0 / 2)),
            Some(mean) => {
                let off = mean.0.abs_diff(sample.0);
                self.deviation = Span((self.deviation.0 * 3 + off) / 4);
                *mean = Span((mean.0 * 7 + sample.0) / 8);
            }
        }
    }

    pub(super) fn patience(&self) -> Span {
        self.longest().max(PATIENCE_MIN)
    }

    /// The answer to a probe comes within this, as far as round trips tell.
    pub(super) fn longest(&self) -> Span {
        self.mean.map_or(PATIENCE_FIRST, |mean| {
            Span(mean.0 + 4 * self.deviation.0).clamp(LONGEST_MIN, PATIENCE_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_the_round_trips_and_their_spread() {
        let mut trips = RoundTrip::default();
        assert_eq!(trips.patience(), PATIENCE_FIRST);
        (0..50).for_each(|_| trips.on_sample(Span(400)));
        assert_eq!(trips.patience(), PATIENCE_MIN);
        (0..50).for_each(|_| trips.on_sample(Span::from_ms(200)));
        let steady = trips.patience();
        assert!(steady < Span::from_ms(220), "{steady}");
        (0..50).for_each(|n| trips.on_sample(Span::from_ms(100 + n % 2 * 200)));
        assert!(trips.patience() > Span::from_ms(500));
        (0..50).for_each(|_| trips.on_sample(Span::from_secs(9)));
        assert_eq!(trips.patience(), PATIENCE_MAX);
        trips.on_sample(Span(u64::MAX));
        assert_eq!(trips.patience(), PATIENCE_MAX);
    }
}
