//! Doubting: what a host demands of a verdict that others wrote before it takes it onto its board.
//!
//! Whoever hears nobody, while others hear him, finds everybody down. So a verdict is taken at once
//! only if it does no harm, or if we find the same, or if enough of those who are up say so; else
//! the accused is told, thrice. If it answers, the verdict is dropped, and it refutes it itself; so
//! that all come to the same. If it does not, the verdict is taken.

use super::{Finding, Membership, Turn, hearing::number};
use crate::{
    cluster::{
        body::{Body, Key, Standing, Verdict},
        message::{Message, Via},
        record::Record,
    },
    ids::HostId,
    limits,
    time::{Mono, Span},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Voters that must be up, in our view, for a verdict on a host that we do not observe.
const VOTERS_MIN: usize = 3;
const VOTERS_OF_SUSPECT_MIN: usize = 1;
/// A verdict written longer ago than this, by its stamp, is no news: much may have happened since.
const NEWS_MS: u64 = 5_000;
const ASK_INTERVAL: Span = Span::from_ms(100);
const ASK_TIMES: u8 = 3;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Doubt {
    pub(super) record: Arc<Record>,
    pub(super) next: Mono,
    asked: u8,
}

impl Membership {
    /// Whether a record that came from elsewhere is to be taken now. A verdict that is not is
    /// doubted: it is believed later, or was wrong.
    pub fn weigh(&mut self, turn: &mut Turn<'_>, record: &Arc<Record>) -> bool {
        let (Key::Verdict(host), Some(Body::Verdict(verdict))) = (&record.key, &record.body) else {
            return true;
        };
        let (host, now) = (*host, turn.now.mono);
        if self.is_harmless(turn, host, record, verdict) || self.agrees(turn, host, record, verdict)
        {
            return true;
        }
        if let Some(doubt) = self.doubts.get_mut(&host) {
            if doubt.record.version < record.version {
                doubt.record = Arc::clone(record);
            }
        } else if self.doubts.len() < limits::DOUBTS_MAX {
            // Beyond the limit, comparing boards will bring it again.
            let doubt = Doubt {
                record: Arc::clone(record),
                next: now,
                asked: 0,
            };
            self.doubts.insert(host, doubt);
            self.ask(turn, host);
        }
        false
    }

    /// Nothing follows from it here, or what follows is for the accused to say.
    fn is_harmless(&self, turn: &Turn<'_>, host: HostId, record: &Record, new: &Verdict) -> bool {
        let Some((incarnation, _)) = turn.board.host(host) else {
            return true;
        };
        host == self.me
            || incarnation > record.version.epoch
            || new.standing == Standing::Cleared
            || turn.board.judged(host) >= Some(new.standing)
    }

    fn agrees(&self, turn: &Turn<'_>, host: HostId, record: &Record, verdict: &Verdict) -> bool {
        if let Some(watch) = self.watched.get(&host).filter(|watch| watch.is_subject) {
            return watch.alarm.is_some() && self.hears_enough(Some(host));
        }
        let mut voters = verdict.votes.clone();
        voters.sort_unstable();
        voters.dedup();
        let counts = |voter: &&HostId| {
            **voter != host && turn.board.is_up(**voter) && !turn.board.is_in_doubt(**voter)
        };
        let voters = voters.iter().filter(counts).count();
        // Where many are lost at once few are left to vote. A suspect was asked before it came onto
        // our board as one, or accused by enough: who then finds it down need not be doubted again.
        let wanted = if turn.board.is_suspect(host) {
            VOTERS_OF_SUSPECT_MIN
        } else {
            VOTERS_MIN
        };
        let written = record.version.stamp.wall.0;
        voters >= wanted && turn.now.wall.0.abs_diff(written) < NEWS_MS
    }

    /// Somebody found it down, and we have not taken that over yet.
    pub fn is_accused(&self, host: HostId) -> bool {
        self.doubts.contains_key(&host)
    }

    /// Goes on asking those who are accused, and believes it of those who do not answer.
    pub(super) fn ask_accused(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let due = self.doubts.iter().filter(|(_, doubt)| now >= doubt.next);
        let due: Vec<(HostId, u8)> = due.map(|(host, doubt)| (*host, doubt.asked)).collect();
        for (host, asked) in due {
            if asked < ASK_TIMES {
                self.ask(turn, host);
            } else if let Some(doubt) = self.doubts.remove(&host) {
                turn.findings.push(Finding::Believed(doubt.record));
            }
        }
    }

    /// The verdict, so that the accused can refute it; and a probe, if it has already.
    fn ask(&mut self, turn: &mut Turn<'_>, host: HostId) {
        let now = turn.now.mono;
        let Some(doubt) = self.doubts.get_mut(&host) else {
            return;
        };
        doubt.asked += 1;
        doubt.next = now + ASK_INTERVAL;
        let (next, record) = (doubt.next, Arc::clone(&doubt.record));
        self.send(turn, host, Via::Datagram, Message::Records(vec![record]));
        let sequence = number(now);
        self.send(turn, host, Via::Datagram, Message::Probe { sequence });
        self.check_by(next);
    }
}
