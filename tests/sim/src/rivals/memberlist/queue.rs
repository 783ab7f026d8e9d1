//! memberlist's `TransmitLimitedQueue` (queue.go): what was sent least often goes first.

use super::wire::{self, Rumour};
use std::{cmp::Reverse, collections::BTreeMap};

/// What a later broadcast of the same name replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Host(usize),
    /// Our own refutation goes by our address, which is nobody's name (state.go, `refute`).
    Own,
    Told,
}

/// Few transmits first; of as many, the longest message, then the latest.
type Place = (u32, Reverse<usize>, Reverse<u64>);

#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    waiting: BTreeMap<Place, (Name, Rumour)>,
    by_name: BTreeMap<Name, Place>,
    pushed: u64,
}

impl Broadcasts {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, name: Name, rumour: Rumour) {
        if let Some(place) = self.by_name.remove(&name) {
            self.waiting.remove(&place);
        }
        self.pushed += 1;
        let place = (0, Reverse(rumour.bytes()), Reverse(self.pushed));
        self.add(place, name, rumour);
    }

    fn add(&mut self, place: Place, name: Name, rumour: Rumour) {
        self.by_name.insert(name, place);
        self.waiting.insert(place, (name, rumour));
    }

    /// `GetBroadcasts`: fills a packet that has this much room.
    pub(crate) fn take(&mut self, room: usize, transmits_max: u32) -> Vec<Rumour> {
        let (mut taken, mut again) = (Vec::new(), Vec::new());
        let (Some((first, _)), Some((last, _))) = (
            self.waiting.first_key_value(),
            self.waiting.last_key_value(),
        ) else {
            return taken;
        };
        let (mut transmits, most, mut used) = (first.0, last.0, 0);
        while transmits <= most {
            let free = room.saturating_sub(used + wire::COMPOUND_PART_BYTES);
            if free == 0 {
                break;
            }
            let from = (transmits, Reverse(free), Reverse(u64::MAX));
            let to = (transmits + 1, Reverse(usize::MAX), Reverse(u64::MAX));
            let Some((&place, &(name, rumour))) = self.waiting.range(from..to).next() else {
                transmits += 1;
                continue;
            };
            self.waiting.remove(&place);
            self.by_name.remove(&name);
            used += wire::COMPOUND_PART_BYTES + rumour.bytes();
            taken.push(rumour);
            if transmits + 1 < transmits_max {
                again.push(((transmits + 1, place.1, place.2), name, rumour));
            }
        }
        for (place, name, rumour) in again {
            self.add(place, name, rumour);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(host: u32, from: u32) -> Rumour {
        Rumour::Suspect {
            host,
            incarnation: 1,
            from,
        }
    }

    #[test]
    fn each_rumour_goes_out_as_often_as_the_limit_says() {
        let mut queue = Broadcasts::default();
        queue.push(Name::Host(1), suspect(1, 0));
        let times = (0..20).filter(|_| !queue.take(1_400, 8).is_empty()).count();
        assert_eq!(times, 8);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_later_word_of_a_host_replaces_the_earlier_and_fresh_ones_go_first() {
        let mut queue = Broadcasts::default();
        queue.push(Name::Host(1), suspect(1, 0));
        queue.push(Name::Host(1), suspect(1, 7));
        assert_eq!(queue.take(1_400, 8), [suspect(1, 7)]);
        queue.push(Name::Host(2), suspect(2, 0));
        let one = suspect(2, 0).bytes() + wire::COMPOUND_PART_BYTES;
        assert_eq!(queue.take(one + 1, 8), [suspect(2, 0)]);
    }
}
