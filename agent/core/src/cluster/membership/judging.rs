//! Judging: when enough of those observers agree that can, and on what.

use super::{
    Finding, Membership, Turn,
    watch::{Raised, Watch},
};
use crate::{
    cluster::{
        board::Board,
        body::{HostStatus, Standing},
    },
    ids::HostId,
    limits,
    time::{Mono, Span},
};

/// A vote counts this long unless it is repeated.
const VOTE_LASTS: Span = Span::from_ms(1_500);
/// Our own alarm must be out so long before we judge, or those who have answers cannot say so.
const TESTIMONY: Span = Span::from_ms(200);
/// Asked so often, and not heard of for so long, a co-observer is cut off itself.
const ASKED_ENOUGH: u8 = 4;
const CUT_OFF: Span = Span::from_ms(700);
/// One in so many of the hosts that we watch must answer at the first call, or our own link is bad.
const HEARS_ENOUGH: u32 = 4;
/// In a small cluster the others may well be lost at once: an observer that hears none of them
/// waits this long; in a larger one, as long as for an agent on a living machine.
const ALONE_AMONG_FEW: Span = Span::from_secs(2);

/// Who of a host's observers can be asked, and who of them votes against it.
struct Poll {
    counted: usize,
    votes: Vec<HostId>,
    /// Since when all voters wait for an answer.
    since: Mono,
    patience: Span,
}

impl Poll {
    fn is_decided(&self) -> bool {
        self.votes.len() >= quorum(self.counted)
    }
}

impl Membership {
    pub(super) fn judge(&mut self, turn: &mut Turn<'_>, host: HostId) {
        let now = turn.now.mono;
        let watch = &self.watched[&host];
        let Some(raised) = &watch.alarm else {
            return;
        };
        if !raised.ours || now.since(raised.since) < TESTIMONY {
            return;
        }
        let poll = self.poll(now, turn.board, watch, raised);
        if !poll.is_decided() && !planted!(JudgesAlone) || !self.may_judge(now, host) {
            return;
        }
        let Some((_, report)) = turn.board.host(host) else {
            return;
        };
        let restarts = report.status == HostStatus::Restarting;
        let Some(standing) = self.standing_of(now, watch, &poll, restarts) else {
            return;
        };
        let before = turn.board.judged(host);
        // Of the two standings between up and down each may follow the other.
        let is_back = (before, standing) == (Some(Standing::Impaired), Standing::Suspect);
        if before < Some(standing) || is_back {
            self.find(turn, host, standing, poll.votes);
        }
    }

    /// What is agreed of it, if anything.
    ///
    /// The clock runs from the first probe of the judge's that was not answered to the last, so
    /// that no shorter pause is taken for a death; each voter waits for at least half of that time.
    fn standing_of(
        &self,
        now: Mono,
        watch: &Watch,
        poll: &Poll,
        restarts: bool,
    ) -> Option<Standing> {
        let agreed = now.since(poll.since);
        let has_passed = |own: Span, limit: Span| own >= limit && agreed >= Span(limit.0 / 2);
        let mut down_after = self.timings.down_after.max(poll.patience);
        if restarts {
            down_after = down_after.max(self.timings.restart_grace);
        }
        let (silence, stillness) = match (watch.silence(now), watch.stillness(now)) {
            (silence, _) if planted!(TakesAFrozenAgentForDead) => (silence, silence),
            both => both,
        };
        let impaired = watch.kernel.is_alive(now) && !planted!(TakesAFrozenAgentForDead);
        let grace = self.timings.impaired_grace.max(down_after);
        let still = stillness.min(watch.asked());
        if (has_passed(still, down_after) && !impaired) || silence >= grace {
            return Some(Standing::Down);
        }
        let suspect_after = self.timings.suspect_after.max(poll.patience);
        if restarts || !has_passed(silence, suspect_after) {
            return None;
        }
        if impaired {
            Some(Standing::Impaired)
        } else {
            has_passed(stillness, suspect_after).then_some(Standing::Suspect)
        }
    }

    /// Whoever hears little of what it should is more likely to be cut off than to have outlived
    /// the others (as Lifeguard's local health): its votes count, but it does not judge. For a
    /// while: it may be the last one, or on the small side of a split.
    fn may_judge(&self, now: Mono, host: HostId) -> bool {
        let bears = if self.rings.up().len() > limits::OBSERVERS {
            self.timings.impaired_grace
        } else {
            ALONE_AMONG_FEW
        };
        self.hears_enough(Some(host))
            || now.since(self.alone_since) >= bears
            || planted!(JudgesThoughDeaf)
    }

    /// At least a quarter of those whom we watch, but for the accused, answer at the first call.
    pub(super) fn hears_enough(&self, accused: Option<HostId>) -> bool {
        let counts =
            |(host, watch): &(&HostId, &Watch)| watch.is_subject && Some(**host) != accused;
        let others = self.watched.iter().filter(counts);
        let (mut steady, mut all) = (0, 0);
        for (_, watch) in others {
            all += 1;
            steady += u32::from(watch.is_steady);
        }
        steady * HEARS_ENOUGH >= all
    }

    fn poll(&self, now: Mono, board: &Board, watch: &Watch, raised: &Raised) -> Poll {
        let vote = |host: &HostId| {
            let vote = watch.votes.get(host);
            vote.filter(|vote| now.since(vote.at) < VOTE_LASTS)
        };
        let mut poll = Poll {
            counted: 0,
            votes: Vec::new(),
            since: Mono(0),
            patience: Span::ZERO,
        };
        let witnesses = raised.witnesses.iter().filter(|(host, witness)| {
            let heard = witness.heard.is_some_and(|at| now.since(at) < CUT_OFF);
            let may = heard || witness.asked < ASKED_ENOUGH || vote(host).is_some();
            planted!(CountsTheAbsent) || board.is_up(**host) && !board.is_in_doubt(**host) && may
        });
        let witnesses = witnesses.map(|(host, _)| *host);
        for observer in witnesses.chain([self.me]) {
            poll.counted += 1;
            if let Some(vote) = vote(&observer) {
                poll.votes.push(observer);
                poll.since = poll.since.max(vote.since);
                poll.patience = poll.patience.max(vote.patience);
            }
        }
        poll
    }

    pub(super) fn find(
        &self,
        turn: &mut Turn<'_>,
        host: HostId,
        standing: Standing,
        votes: Vec<HostId>,
    ) {
        let watch = &self.watched[&host];
        turn.findings.push(Finding::Judged {
            host,
            incarnation: watch.incarnation,
            standing,
            votes,
            silent: watch.silence(turn.now.mono),
        });
    }
}

/// Six in ten, as Rapid's low watermark against its K.
pub(super) const fn quorum(voters: usize) -> usize {
    (voters * 6).div_ceil(10)
}
