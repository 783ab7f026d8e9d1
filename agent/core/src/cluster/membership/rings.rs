//! Who observes whom: K rings, each of which orders the hosts by a hash of its own.
//!
//! On each ring a host is observed by the one behind it (the idea: Rapid, USENIX ATC'18). So a host
//! that joins costs O(K), and one that goes costs a look at all only where it was a neighbour. The
//! last ring crosses zones: there the observer is the first one behind that is in another zone, so
//! that a zone which is cut off is not left to judge itself.

use crate::{
    ids::HostId,
    limits::{CROSSING_MAX, OBSERVERS},
    rng::{hash_bytes, mix},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A zone by its hash: equal names are all that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Zone(u16);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rings {
    me: HostId,
    zone: Zone,
    /// The others that are not down, in order of their ids, and the zones of the same ones.
    up: Vec<HostId>,
    zones: Vec<Zone>,
    /// How many are in each zone, this host among them.
    census: BTreeMap<Zone, u32>,
    rings: Vec<Ring>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ring {
    number: u64,
    /// Those right before us, nearest first.
    before: Near,
    /// One of them has gone: who comes in its place must be looked for.
    torn: bool,
}

/// The hosts nearest to a place on a ring, nearest first, up to a number.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Near {
    most: usize,
    hosts: Vec<(u64, HostId, Zone)>,
}

impl Zone {
    /// Hosts that name no zone are in one together.
    pub(super) fn of(name: Option<&str>) -> Self {
        Self(hash_bytes(name.unwrap_or_default().as_bytes()) as u16)
    }
}

impl Rings {
    pub(super) fn new(me: HostId, zone: Zone) -> Self {
        let ring = |number| {
            let most = if number == OBSERVERS - 1 {
                CROSSING_MAX
            } else {
                1
            };
            let (before, number) = (Near::new(most), number as u64);
            Ring {
                number,
                before,
                torn: false,
            }
        };
        Self {
            me,
            zone,
            up: Vec::new(),
            zones: Vec::new(),
            census: BTreeMap::from([(zone, 1)]),
            rings: (0..OBSERVERS).map(ring).collect(),
        }
    }

    pub(super) fn up(&self) -> &[HostId] {
        &self.up
    }

    /// Whether that was news.
    pub(super) fn join(&mut self, host: HostId, zone: Zone) -> bool {
        match self.up.binary_search(&host) {
            Ok(place) if self.zones[place] == zone => return false,
            Ok(_) => {
                self.leave(host);
                self.join(host, zone);
                return true;
            }
            Err(place) => {
                self.up.insert(place, host);
                self.zones.insert(place, zone);
            }
        }
        *self.census.entry(zone).or_default() += 1;
        for ring in &mut self.rings {
            let distance = ring.place(self.me).wrapping_sub(ring.place(host));
            ring.before.insert(distance, host, zone);
        }
        true
    }

    /// Whether that was news.
    pub(super) fn leave(&mut self, host: HostId) -> bool {
        let Ok(place) = self.up.binary_search(&host) else {
            return false;
        };
        self.up.remove(place);
        let zone = self.zones.remove(place);
        if let Some(count) = self.census.get_mut(&zone) {
            *count -= 1;
            if *count == 0 {
                self.census.remove(&zone);
            }
        }
        for ring in &mut self.rings {
            ring.torn |= ring.before.remove(host);
        }
        true
    }

    /// Whose observer this host is, in order of their ids.
    pub(super) fn subjects(&mut self) -> Vec<HostId> {
        if self.up.len() <= OBSERVERS {
            return self.up.clone();
        }
        let crosses = self.census.len() > 1;
        let mut subjects = Vec::new();
        for (number, ring) in self.rings.iter_mut().enumerate() {
            if std::mem::take(&mut ring.torn) {
                ring.before.hosts.clear();
                let place = ring.place(self.me);
                for (host, zone) in self.up.iter().zip(&self.zones) {
                    let distance = place.wrapping_sub(ring.place(*host));
                    ring.before.insert(distance, *host, *zone);
                }
            }
            let before = &ring.before.hosts;
            if crosses && number == OBSERVERS - 1 {
                // The nearest and all that follow it in its zone, if that is another than ours:
                // each of them has only its own zone between itself and us.
                let theirs = before.first().map(|(_, _, zone)| *zone);
                let theirs = theirs.filter(|zone| *zone != self.zone);
                let run = before
                    .iter()
                    .take_while(|(_, _, zone)| Some(*zone) == theirs);
                subjects.extend(run.map(|(_, host, _)| *host));
            } else {
                subjects.extend(before.first().map(|(_, host, _)| *host));
            }
        }
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    }

    /// The observers of a host that is up, in order of their ids; O(K * N).
    pub(super) fn observers(&self, subject: HostId) -> Vec<HostId> {
        let everyone = self.up.iter().zip(&self.zones).map(|(h, z)| (*h, *z));
        let everyone = everyone.chain([(self.me, self.zone)]);
        let others = everyone.filter(|(host, _)| *host != subject);
        let mut observers: Vec<HostId> = if self.up.len() <= OBSERVERS {
            others.map(|(host, _)| host).collect()
        } else {
            let zone = match self.up.binary_search(&subject) {
                Ok(place) => self.zones[place],
                Err(_) => self.zone,
            };
            let on_ring = |ring: &Ring| {
                let mut behind = Near::new(ring.before.most);
                let place = ring.place(subject);
                for (host, zone) in others.clone() {
                    behind.insert(ring.place(host).wrapping_sub(place), host, zone);
                }
                let crosses = ring.before.most > 1 && self.census.len() > 1;
                let mut behind = behind.hosts.into_iter();
                behind
                    .find(|(_, _, theirs)| !crosses || *theirs != zone)
                    .map(|(_, host, _)| host)
            };
            self.rings.iter().filter_map(on_ring).collect()
        };
        observers.sort_unstable();
        observers.dedup();
        observers
    }
}

impl Ring {
    const fn place(&self, host: HostId) -> u64 {
        mix(mix(self.number) ^ host.word())
    }
}

impl Near {
    const fn new(most: usize) -> Self {
        Self {
            most,
            hosts: Vec::new(),
        }
    }

    fn insert(&mut self, distance: u64, host: HostId, zone: Zone) {
        let full = self.hosts.len() == self.most;
        if full && self.hosts.last().is_some_and(|last| last.0 < distance) {
            return;
        }
        let place = self.hosts.partition_point(|there| there.0 < distance);
        self.hosts.insert(place, (distance, host, zone));
        self.hosts.truncate(self.most);
    }

    fn remove(&mut self, host: HostId) -> bool {
        let before = self.hosts.len();
        self.hosts.retain(|(_, there, _)| *there != host);
        self.hosts.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn hosts(number: u64) -> Vec<HostId> {
        let mut rng = Rng::new(number);
        let mut draw = || HostId(u128::from(rng.next_u64()) << 64);
        (0..number).map(|_| draw()).collect()
    }

    fn zone(place: usize) -> Zone {
        Zone((place % 3) as u16)
    }

    /// The same cluster as each of its hosts sees it.
    fn views(hosts: &[HostId], zone: impl Fn(usize) -> Zone) -> Vec<Rings> {
        let view = |(me, host): (usize, &HostId)| {
            let mut rings = Rings::new(*host, zone(me));
            for (place, other) in hosts.iter().enumerate().filter(|(place, _)| *place != me) {
                rings.join(*other, zone(place));
            }
            rings
        };
        hosts.iter().enumerate().map(view).collect()
    }

    /// Whoever a host takes for an observer of another one takes that one for its subject.
    fn check(views: &mut [Rings]) {
        let subjects: BTreeMap<HostId, Vec<HostId>> = views
            .iter_mut()
            .map(|view| (view.me, view.subjects()))
            .collect();
        for subject in views[0].up().to_vec() {
            let observers = views[0].observers(subject);
            let theirs = subjects
                .iter()
                .filter(|(_, subjects)| subjects.contains(&subject));
            let theirs: Vec<HostId> = theirs.map(|(host, _)| *host).collect();
            assert_eq!(observers, theirs, "of {subject:?}");
        }
    }

    #[test]
    fn observers_and_subjects_are_the_same_seen_from_both_ends() {
        for number in [2, 5, 11, 12, 13, 40, 200] {
            check(&mut views(&hosts(number), zone));
            check(&mut views(&hosts(number), |_| Zone(0)));
        }
    }

    #[test]
    fn few_hosts_all_observe_one_another_and_many_have_ten_observers_each_or_nearly() {
        let mut few = views(&hosts(11), zone);
        assert!(few.iter_mut().all(|view| view.subjects().len() == 10));
        let many = views(&hosts(1_000), zone);
        let of = |subject: &HostId| many[0].observers(*subject).len();
        let counts: Vec<usize> = many[0].up().iter().map(of).collect();
        assert!(counts.iter().all(|count| (7..=10).contains(count)));
        assert!(counts.iter().sum::<usize>() > 990 * 9, "{counts:?}");
    }

    #[test]
    fn every_host_has_an_observer_in_another_zone() {
        let all = hosts(300);
        let view = &views(&all, zone)[0];
        for (place, subject) in all.iter().enumerate().skip(1) {
            let elsewhere = |observer: &HostId| {
                let there = all.iter().position(|host| host == observer);
                there.is_some_and(|there| zone(there) != zone(place))
            };
            assert!(view.observers(*subject).iter().any(elsewhere));
        }
    }

    #[test]
    fn a_loss_changes_only_what_the_lost_one_was_neighbour_of() {
        let all = hosts(100);
        let mut views = views(&all, zone);
        let before: Vec<_> = views.iter_mut().map(Rings::subjects).collect();
        let lost = views.remove(7).me;
        let mut changed = 0;
        for view in &mut views {
            assert!(view.leave(lost) && !view.leave(lost));
            let place = all.iter().position(|host| *host == view.me).expect("ours");
            changed += usize::from(view.subjects() != before[place]);
        }
        assert!(changed <= 12, "{changed}");
        check(&mut views);
        for view in &mut views {
            assert!(view.join(lost, zone(7)) && !view.join(lost, zone(7)));
            let place = all.iter().position(|host| *host == view.me).expect("ours");
            assert_eq!(view.subjects(), before[place]);
        }
    }
}
