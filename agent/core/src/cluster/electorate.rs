//! Which hosts count where a side must have more than half: the last roster that was at rest.
//!
//! The list is a record, changed by a keeper on a side that has a majority by the list as it is. A
//! change takes two steps (Raft's joint consensus, without its log): at first more than half of the
//! old list and of the new one is needed, and only when that has been so for a while, and everybody
//! must have heard of it, the new one alone. Whoever left or was forgotten does not count.

use crate::{
    cluster::{
        board::Board,
        body::{Body, Electorate, HostStatus, Key},
    },
    ids::HostId,
    limits, rng,
};
use std::cmp::Reverse;

/// Among more hosts than count, those with the highest scores for this word do.
const SCORED_FOR: u64 = 0x656c_6563_746f_7273;

impl Board {
    /// Which hosts count, and how often that was changed.
    pub fn electorate(&self) -> Option<(u64, &Electorate)> {
        let record = self.record(&Key::Electorate)?;
        match &record.body {
            Some(Body::Electorate(electorate)) => Some((record.version.epoch, electorate)),
            _ => None,
        }
    }

    /// The hosts that count, without those that left or were forgotten: now, and before a change
    /// that is under way.
    pub fn electors(&self) -> [Vec<HostId>; 2] {
        let Some((_, electorate)) = self.electorate() else {
            return [Vec::new(), Vec::new()];
        };
        [&electorate.hosts, &electorate.before].map(|hosts| {
            let hosts = hosts.iter().copied();
            hosts.filter(|host| self.is_expected(*host)).collect()
        })
    }

    /// The next step from the list as it is: none, where it is as it should be.
    pub fn next_electorate(&self) -> Option<Electorate> {
        let Some((_, electorate)) = self.electorate() else {
            let known = self.hosts().map(|(host, ..)| host);
            let hosts = first(known.filter(|host| self.is_expected(*host)).collect());
            return Some(Electorate {
                hosts,
                before: Vec::new(),
            });
        };
        let [mut hosts, before] = self.electors();
        if before.is_empty() {
            let counted = hosts.len();
            let known = self.hosts();
            let new = known.filter(|(host, _, report)| {
                report.caught_up && self.is_up(*host) && !electorate.hosts.contains(host)
            });
            let mut new = first(new.map(|(host, ..)| host).collect());
            new.truncate(limits::ELECTORS_MAX.saturating_sub(counted));
            let up = |hosts: &[HostId]| hosts.iter().filter(|host| self.is_up(**host)).count();
            hosts.extend(new);
            if hosts == electorate.hosts || up(&hosts) * 2 <= hosts.len() {
                return None;
            }
            return Some(Electorate {
                hosts,
                before: electorate.hosts.clone(),
            });
        }
        Some(Electorate {
            hosts,
            before: Vec::new(),
        })
    }

    fn is_expected(&self, host: HostId) -> bool {
        self.status(host)
            .is_some_and(|status| status != HostStatus::Left)
    }
}

/// As many as may count.
fn first(mut hosts: Vec<HostId>) -> Vec<HostId> {
    hosts.sort_by_key(|host| Reverse((rng::score(SCORED_FOR, host.word()), *host)));
    hosts.truncate(limits::ELECTORS_MAX);
    hosts
}
