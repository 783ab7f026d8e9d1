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
    time::{Mono, Span},
};

/// A vote counts this long unless it is repeated.
const VOTE_LASTS: Span = Span::from_ms(1_500);
/// Our own alarm must be out so long before we judge, or those who have answers cannot say so.
const TESTIMONY: Span = Span::from_ms(200);
/// Asked so often, and not heard of for so long, a co-observer is cut off itself.
const ASKED_ENOUGH: u8 = 4;
const CUT_OFF: Span = Span::from_ms(700);

/// Who of a host's observers can be asked, and who of them votes against it.
struct Poll {
    counted: usize,
    votes: Vec<HostId>,
    /// The latest answer that any voter had.
    answered: Mono,
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
        if !poll.is_decided() && !planted!(JudgesAlone) {
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
    /// The clock is the judge's own silence, which may have begun up to one interval before the
    /// host fell silent; so no voter may have had an answer in the second half of that time.
    fn standing_of(
        &self,
        now: Mono,
        watch: &Watch,
        poll: &Poll,
        restarts: bool,
    ) -> Option<Standing> {
        let agreed = now.since(poll.answered);
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
        if (has_passed(stillness, down_after) && !impaired) || silence >= grace {
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

    fn poll(&self, now: Mono, board: &Board, watch: &Watch, raised: &Raised) -> Poll {
        let vote = |host: &HostId| {
            let vote = watch.votes.get(host);
            vote.filter(|vote| now.since(vote.at) < VOTE_LASTS)
        };
        let mut poll = Poll {
            counted: 0,
            votes: Vec::new(),
            answered: Mono(0),
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
                poll.answered = poll.answered.max(vote.answered);
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
