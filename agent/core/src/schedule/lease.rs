//! Whether this host is on a side that has a majority, by the answers of the hosts that count.
//!
//! An answer tells that its host was on our side when we called it. While more than half of them
//! were so within the lease, copies under `majority` go on here; while they were a moment ago, new
//! ones may start and a keeper may replace. A keeper waits with what is lost until the lease there
//! must be over and the copies gone, so that at most one of them runs.

use crate::{
    ids::HostId,
    limits,
    time::{Mono, Span},
};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

/// Between two calls to those that count.
const CALL_INTERVAL: Span = Span::from_ms(1_500);
/// Whoever starts or replaces a copy has had the answers to one of the last two calls.
const RECENT: Span = Span::from_ms(3_200);
/// How long the last call before the end may take to be answered: an agent that stood still for
/// longer than the lease asks once more before it stops what runs well.
const ANSWER_TAKES: Span = Span::from_ms(500);
/// From the order to stop to the signal, and from the last signal to the end.
const STOP_MARGIN: Span = Span::from_secs(3);
/// Two monotonic clocks may differ by one part in so many.
const DRIFT: u64 = 100;
/// Calls that may still be answered.
const CALLS_OPEN_MAX: usize = 8;

/// What the answers come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Too few have answered lately; what runs may go on for now.
    #[default]
    Unproven,
    /// More than half were on our side a moment ago.
    Majority,
    /// That is too long ago: what runs here must stop.
    Expired,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Lease {
    /// Since when this host takes part; `None` while nothing under `majority` concerns it.
    since: Option<Mono>,
    /// When those were called that have answered.
    answered: BTreeMap<HostId, Mono>,
    calls: VecDeque<Mono>,
    /// The list by which they were called last.
    called_by: u64,
    /// The latest time that was proven, by the list as it was then.
    held_from: Mono,
    standing: Standing,
    /// When it may come to something else without a further answer.
    changes_at: Option<Mono>,
    /// Since when there was a majority by one and the same list, and which.
    steady: Option<(u64, Mono)>,
}

/// How long a keeper waits for a host that it holds for down, until a copy that takes so long to
/// stop must be gone there.
pub fn released_after(stop_takes: Span) -> Span {
    if planted!(ReplacesWithinTheLease) {
        return Span::ZERO;
    }
    let theirs = limits::MAJORITY_LEASE.0 + ANSWER_TAKES.0 + stop_takes.0;
    Span(theirs + theirs / DRIFT + STOP_MARGIN.0)
}

impl Lease {
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    pub fn set_concerned(&mut self, now: Mono, is_concerned: bool) {
        match (self.since, is_concerned) {
            (None, true) => (self.since, self.held_from) = (Some(now), now),
            (Some(_), false) => *self = Self::default(),
            _ => {}
        }
    }

    pub fn deadline(&self) -> Option<Mono> {
        let next_call = self.calls.back().map(|last| *last + CALL_INTERVAL);
        [next_call, self.changes_at].into_iter().flatten().min()
    }

    /// Whether those that count as of this change of the list are to be called now; then they are.
    pub fn calls(&mut self, now: Mono, change: u64) -> bool {
        let last = self.calls.back();
        let is_due = last.is_none_or(|last| now.since(*last) >= CALL_INTERVAL);
        let is_due = is_due || change != self.called_by;
        if self.since.is_none() || !is_due {
            return false;
        }
        self.called_by = change;
        self.calls.push_back(now);
        if self.calls.len() > CALLS_OPEN_MAX {
            self.calls.pop_front();
        }
        true
    }

    /// A host was on our side when we called at `at`.
    pub fn on_present(&mut self, from: HostId, at: Mono) {
        if self.calls.contains(&at) {
            let answered = self.answered.entry(from).or_insert(at);
            *answered = at.max(*answered);
        }
    }

    /// Weighs the answers of `electors`, which count as of this change of the list; says whether
    /// they come to something else than before.
    pub fn weigh(
        &mut self,
        now: Mono,
        me: HostId,
        change: u64,
        electors: &[Vec<HostId>; 2],
    ) -> bool {
        if self.since.is_none() {
            return false;
        }
        let before = self.standing;
        let [hosts, earlier] = electors;
        let mut proven = self.proven_at(now, me, hosts);
        if !earlier.is_empty() {
            proven = proven.min(self.proven_at(now, me, earlier));
        }
        let is_recent = proven.is_some_and(|at| now.since(at) < RECENT);
        // Whoever counts since a moment ago had no time to answer: what was proven stays so.
        self.held_from = self.held_from.max(proven.unwrap_or_default());
        let ends_at = self.held_from + limits::MAJORITY_LEASE;
        let last = self.calls.back().copied().unwrap_or_default();
        let late =
            |call: &Mono| *call + CALL_INTERVAL >= ends_at && now.since(*call) >= ANSWER_TAKES;
        (self.standing, self.changes_at) = if is_recent || planted!(CountsAsMajorityAlone) {
            (
                Standing::Majority,
                proven.map(|at| at + RECENT).filter(|at| *at > now),
            )
        } else if now < ends_at {
            (Standing::Unproven, Some(ends_at))
        } else if self.calls.iter().any(late) && !planted!(HoldsBeyondTheLease) {
            (Standing::Expired, None)
        } else {
            (
                Standing::Unproven,
                Some(last + ANSWER_TAKES).filter(|at| *at > now),
            )
        };
        self.steady = match self.steady {
            _ if self.standing != Standing::Majority => None,
            Some((of, since)) if of == change => Some((of, since)),
            _ => Some((change, now)),
        };
        self.standing != before
    }

    /// There has been a majority by the list as it is for so long that everybody on this side must
    /// know it.
    pub fn is_steady(&self, now: Mono) -> bool {
        let since = self.steady.map(|(_, since)| since);
        since.is_some_and(|since| now.since(since) >= limits::ELECTORS_STEADY)
    }

    /// Since when it is so long ago that more than half of these were on our side.
    fn proven_at(&self, now: Mono, me: HostId, hosts: &[HostId]) -> Option<Mono> {
        let called = |host: &HostId| {
            if *host == me {
                Some(now)
            } else {
                self.answered.get(host).copied()
            }
        };
        let mut times: Vec<Mono> = hosts.iter().filter_map(called).collect();
        times.sort_unstable_by_key(|at| Reverse(*at));
        times.get(hosts.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: HostId = HostId(1);

    const fn at(ms: u64) -> Mono {
        Mono(ms * 1_000)
    }

    fn hosts(ids: &[u128]) -> Vec<HostId> {
        ids.iter().copied().map(HostId).collect()
    }

    /// Wakes whenever it is due until then; those that are there answer within 10 ms. When it came
    /// to something else, and to what.
    fn run(
        lease: &mut Lease,
        ms: std::ops::Range<u64>,
        there: &[u128],
        electors: &[Vec<HostId>; 2],
    ) -> Vec<(u64, Standing)> {
        let mut told = Vec::new();
        for ms in ms.step_by(10) {
            let due = lease.deadline().is_none_or(|due| due <= at(ms));
            if due && lease.calls(at(ms), 1) {
                let present = there.iter().copied().map(HostId);
                present.for_each(|host| lease.on_present(host, at(ms)));
            }
            if lease.weigh(at(ms), ME, 1, electors) {
                told.push((ms, lease.standing()));
            }
        }
        told
    }

    fn concerned() -> Lease {
        let mut lease = Lease::default();
        lease.set_concerned(at(0), true);
        lease
    }

    #[test]
    fn a_majority_holds_and_a_minority_stops_when_its_lease_is_over() {
        let electors = [hosts(&[1, 2, 3, 4, 5]), Vec::new()];
        let mut lease = concerned();
        let told = run(&mut lease, 0..20_000, &[4, 5], &electors);
        assert_eq!(told, [(0, Standing::Majority)]);
        assert!(lease.is_steady(at(20_000)));
        let told = run(&mut lease, 20_000..60_000, &[5], &electors);
        let [(unproven, Standing::Unproven), (expired, Standing::Expired)] = told[..] else {
            panic!("{told:?}");
        };
        assert!((21_700..=23_200).contains(&unproven), "{unproven}");
        let last_call = 19_500;
        let lease_ms = limits::MAJORITY_LEASE.as_ms();
        assert!(
            (lease_ms..=lease_ms + 500).contains(&(expired - last_call)),
            "{expired}"
        );
        assert!(!lease.is_steady(at(60_000)));
        let told = run(&mut lease, 60_000..70_000, &[2, 5], &electors);
        assert_eq!(
            told.last().map(|(_, standing)| *standing),
            Some(Standing::Majority)
        );
    }

    #[test]
    fn half_is_no_majority_and_the_only_one_is() {
        let mut lease = concerned();
        let told = run(&mut lease, 0..30_000, &[], &[hosts(&[1, 2]), Vec::new()]);
        assert_eq!(
            told.last().map(|(_, standing)| *standing),
            Some(Standing::Expired)
        );
        let mut lease = concerned();
        let told = run(&mut lease, 0..30_000, &[], &[hosts(&[1]), Vec::new()]);
        assert_eq!(told, [(0, Standing::Majority)]);
    }

    #[test]
    fn while_the_list_changes_more_than_half_of_both_is_needed() {
        let electors = [hosts(&[1, 6, 7, 8, 9, 2, 3, 4, 5]), hosts(&[1, 2, 3, 4, 5])];
        let mut lease = concerned();
        let told = run(&mut lease, 0..5_000, &[6, 7, 8, 9], &electors);
        assert_eq!(told, []);
        let told = run(&mut lease, 5_000..9_000, &[2, 3, 6, 7], &electors);
        assert_eq!(told.len(), 1);
    }

    /// New hosts came to count, had answered nobody yet, and so everything stopped.
    #[test]
    fn a_change_of_the_list_stops_nothing() {
        let mut lease = concerned();
        let before = hosts(&[1, 2, 3]);
        run(
            &mut lease,
            0..60_000,
            &[2, 3],
            &[before.clone(), Vec::new()],
        );
        let electors = [hosts(&[1, 2, 3, 4, 5, 6, 7]), before];
        assert!(lease.weigh(at(60_000), ME, 2, &electors));
        assert_eq!(lease.standing(), Standing::Unproven);
        assert!(lease.calls(at(60_000), 2), "they are called at once");
        for host in [3, 4, 5] {
            lease.on_present(HostId(host), at(60_000));
        }
        assert!(lease.weigh(at(60_010), ME, 2, &electors));
        assert_eq!(lease.standing(), Standing::Majority);
    }

    #[test]
    fn whoever_stood_still_asks_once_more_before_it_stops_anything() {
        let electors = [hosts(&[1, 2, 3]), Vec::new()];
        let mut lease = concerned();
        run(&mut lease, 0..5_000, &[2, 3], &electors);
        assert!(
            !lease.weigh(at(90_000), ME, 1, &electors) || lease.standing() != Standing::Expired
        );
        let told = run(&mut lease, 90_000..95_000, &[2, 3], &electors);
        assert!(
            told.iter()
                .all(|(_, standing)| *standing != Standing::Expired),
            "{told:?}"
        );
        let told = run(&mut lease, 190_000..195_000, &[], &electors);
        assert!(told.contains(&(190_500, Standing::Expired)), "{told:?}");
    }

    #[test]
    fn an_answer_to_a_call_that_was_not_made_proves_nothing() {
        let electors = [hosts(&[1, 2, 3]), Vec::new()];
        let mut lease = concerned();
        assert!(lease.calls(at(0), 1));
        lease.on_present(HostId(2), at(700));
        assert!(!lease.weigh(at(10), ME, 1, &electors));
        lease.on_present(HostId(2), at(0));
        assert!(lease.weigh(at(20), ME, 1, &electors));
    }
}
