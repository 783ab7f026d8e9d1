//! Under the policy `majority` a slot runs on one side of a split at most, from its first moment.

use crate::cluster::{Cluster, SECOND};
use holdfast_core::{
    cluster::board::Board, ids::ServiceId, limits, spec::options::PartitionPolicy,
};
use std::collections::{BTreeMap, BTreeSet};

/// What was so for so long is known to everybody, and nothing from before it is under way.
const AT_REST: u64 = 20 * SECOND;
/// After any change, by then all leases of before are over and all that had to stop has stopped.
const RELEASED: u64 = limits::MAJORITY_LEASE.0 + 35 * SECOND;

/// What the invariant has to know of the past.
#[derive(Debug, Default)]
pub struct Calm {
    /// How often something was upset.
    disturbances: u64,
    /// What that was when all was last whole and at rest.
    at_rest: Option<u64>,
    /// Since when every agent has had the service under the policy.
    since: BTreeMap<ServiceId, u64>,
}

impl Calm {
    pub const fn on_disturbance(&mut self) {
        self.disturbances += 1;
    }

    /// Nothing has happened since all was at rest, or one thing.
    fn is_first_disturbance(&self) -> bool {
        self.at_rest
            .is_some_and(|then| then + 1 >= self.disturbances)
    }
}

impl Cluster {
    /// Each second.
    pub(crate) fn watch_majority(&mut self) {
        let is_whole = self.faults_on == 0 && self.network.sides().iter().all(|side| *side == 0);
        let acting = self.hosts.iter().all(|host| host.lost || host.is_acting());
        if is_whole && acting && self.checks.disturbed_at + AT_REST < self.now {
            self.checks.calm.at_rest = Some(self.checks.calm.disturbances);
        }
        let boards: Vec<&Board> = (0..self.hosts.len())
            .filter_map(|h| self.board(h))
            .collect();
        let policy = |board: &Board, service| {
            let service = board.service(service)?;
            Some(service.settings.options.partition == PartitionPolicy::Majority)
        };
        let known = boards.iter().flat_map(|board| board.services());
        let known: BTreeSet<ServiceId> = known.map(|service| service.id).collect();
        let everywhere = |service: &ServiceId| {
            boards
                .iter()
                .all(|board| policy(board, *service) != Some(false))
        };
        let chosen: BTreeSet<_> = known.into_iter().filter(everywhere).collect();
        let now = self.now;
        let since = &mut self.checks.calm.since;
        since.retain(|service, _| chosen.contains(service));
        for service in chosen {
            since.entry(service).or_insert(now);
        }
    }

    /// A copy may start on one side only when none runs on another any more.
    pub(crate) fn check_exclusive(&mut self, service: ServiceId, index: u32) {
        let since = self.checks.calm.since.get(&service);
        let is_chosen = since.is_some_and(|since| since + AT_REST < self.now);
        let is_released = self.checks.disturbed_at + RELEASED < self.now;
        let is_clean = self.faults_on == 0 && self.network.is_cleanly_split();
        if !is_chosen || !is_clean || !(is_released || self.checks.calm.is_first_disturbance()) {
            return;
        }
        let sides = self.network.sides();
        let copies = self.checks.copies_of(service, index).iter();
        let up = copies.filter(|c| c.down_at.is_none() && self.hosts[c.place].is_acting());
        let places: Vec<usize> = up.map(|copy| copy.place).collect();
        let on: BTreeSet<usize> = places.iter().map(|place| sides[*place]).collect();
        if on.len() > 1 {
            self.explain_slot(service, index);
            self.fail(format!(
                "slot {index} of service {service} runs on {} sides at once, on the hosts \
                 {places:?}: its service is to run on one",
                on.len()
            ));
        }
    }

    /// The host may be, or have been a moment ago, without a majority of those that count.
    pub(crate) fn is_without_majority(&self, place: usize, service: ServiceId) -> bool {
        let Some(board) = self.board(place) else {
            return false;
        };
        let chosen = board.service(service);
        if chosen.is_none_or(|s| s.settings.options.partition != PartitionPolicy::Majority) {
            return false;
        }
        let unclear = self.faults_on > 0
            || !self.network.is_cleanly_split()
            || self.checks.disturbed_at + limits::MAJORITY_LEASE.0 + 5 * SECOND > self.now;
        let sides = self.network.sides();
        let [electors, _] = board.electors();
        let near = self.hosts.iter().filter(|host| {
            electors.contains(&host.id) && host.is_acting() && sides[host.place] == sides[place]
        });
        unclear || near.count() * 2 <= electors.len()
    }

    /// How many messages a second calling those that count may cost a host.
    pub(crate) fn roll_call_bound(&self) -> u64 {
        let boards = (0..self.hosts.len()).filter_map(|place| self.board(place));
        let chosen = boards.filter(|board| {
            let mut services = board.services();
            services.any(|s| s.settings.options.partition == PartitionPolicy::Majority)
        });
        let electors = chosen.map(|board| board.electors()[0].len()).max();
        2 * electors.unwrap_or(0) as u64
    }
}
