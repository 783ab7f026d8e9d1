//! Who keeps which service: of the eligible hosts the one with the highest rendezvous score.
//!
//! Every agent computes it from its own board. When one host comes or goes, only the services whose
//! keeper it was, or becomes, are looked at again.

use crate::{
    ids::{HostId, ServiceId},
    rng,
};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How fit a host is to keep services: one that is about to leave only if there is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fitness {
    LastResort,
    Eligible,
}

/// A candidate for one service; the greatest is its keeper.
type Candidate = (Fitness, u64, HostId);

/// A clone costs nothing and shares all that is equal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Keepers {
    hosts: OrdMap<HostId, Fitness>,
    services: OrdMap<ServiceId, Option<Candidate>>,
}

impl Keepers {
    /// The keeper of a service, known here or not.
    pub fn of(&self, service: ServiceId) -> Option<HostId> {
        let known = self.services.get(&service).copied();
        known
            .unwrap_or_else(|| self.best(service, |_| true))
            .map(|(_, _, host)| host)
    }

    /// The one who would keep a service if only these hosts were there.
    pub fn among(&self, service: ServiceId, is_there: impl Fn(HostId) -> bool) -> Option<HostId> {
        self.best(service, is_there).map(|(_, _, host)| host)
    }

    /// The services that this host would keep were it there, each with the host that keeps it.
    pub fn heirs_of(&self, gone: HostId) -> impl Iterator<Item = (ServiceId, HostId)> {
        self.services.iter().filter_map(move |(service, keeper)| {
            let (_, _, heir) = (*keeper)?;
            self.outranks(*service, gone).then_some((*service, heir))
        })
    }

    /// Whether this host would keep the service instead of the one that does.
    pub fn outranks(&self, service: ServiceId, host: HostId) -> bool {
        let keeper = self.services.get(&service).copied().flatten();
        keeper.is_some_and(|keeper| candidate(service, host, Fitness::Eligible) > keeper)
    }

    pub fn add_service(&mut self, service: ServiceId) {
        if !self.services.contains_key(&service) {
            let keeper = self.best(service, |_| true);
            self.services.insert(service, keeper);
        }
    }

    pub fn remove_service(&mut self, service: ServiceId) {
        self.services.remove(&service);
    }

    /// A host came, went, or changed its fitness; `changed` gets the services that have another
    /// keeper now.
    pub fn set_host(
        &mut self,
        host: HostId,
        fitness: Option<Fitness>,
        changed: &mut BTreeSet<ServiceId>,
    ) {
        let before = match fitness {
            Some(fitness) => self.hosts.insert(host, fitness),
            None => self.hosts.remove(&host),
        };
        if before == fitness {
            return;
        }
        let called = |keeper: &Option<Candidate>| keeper.map(|(_, _, keeper)| keeper);
        let others = self.services.iter().filter_map(|(service, was)| {
            let now = if called(was) == Some(host) {
                self.best(*service, |_| true)
            } else {
                let new = fitness.map(|fitness| candidate(*service, host, fitness));
                (*was).max(new)
            };
            (now != *was).then_some((*service, now))
        });
        for (service, now) in others.collect::<Vec<_>>() {
            let was = self.services.insert(service, now);
            if was.as_ref().and_then(called) != called(&now) {
                changed.insert(service);
            }
        }
    }

    fn best(&self, service: ServiceId, is_there: impl Fn(HostId) -> bool) -> Option<Candidate> {
        let there = self.hosts.iter().filter(|(host, _)| is_there(**host));
        let candidates = there.map(|(host, fitness)| candidate(service, *host, *fitness));
        candidates.max()
    }
}

const fn candidate(service: ServiceId, host: HostId, fitness: Fitness) -> Candidate {
    let score = rng::score(service.word(), host.word());
    (fitness, score, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is lost, the heir of each service that it kept is the one that keeps it then.
    #[test]
    fn heirs_are_those_who_keep_after_a_loss() {
        let hosts: Vec<HostId> = (1..=12).map(|n| HostId(n << 96)).collect();
        let mut keepers = Keepers::default();
        let mut changed = BTreeSet::new();
        for host in &hosts {
            keepers.set_host(*host, Some(Fitness::Eligible), &mut changed);
        }
        (1..=40).for_each(|n| keepers.add_service(ServiceId(n << 96)));
        let mut inherited = 0;
        for gone in hosts {
            let mut without = keepers.clone();
            let mut changed = BTreeSet::new();
            without.set_host(gone, None, &mut changed);
            let heirs: Vec<_> = without.heirs_of(gone).collect();
            let expected = changed
                .into_iter()
                .filter_map(|s| Some((s, without.of(s)?)));
            assert_eq!(heirs, expected.collect::<Vec<_>>());
            inherited += heirs.len();
        }
        assert_eq!(inherited, 40, "each service has one keeper to lose");
    }
}
