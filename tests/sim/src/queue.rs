//! What happens next: one queue of events in order of time, and the deadlines of the agents.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Events by time; those of one instant in the order in which they were pushed.
///
/// The heap moves small entries only; the events themselves, which hold messages, stay put.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
    pushed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: u64,
    number: u64,
    place: u32,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            pushed: 0,
        }
    }
}

impl<E> Queue<E> {
    pub fn push(&mut self, at: u64, event: E) {
        let place = match self.free.pop() {
            Some(place) => {
                self.events[place as usize] = Some(event);
                place
            }
            None => {
                self.events.push(Some(event));
                u32::try_from(self.events.len() - 1).expect("fewer than 2^32 events at once")
            }
        };
        self.pushed += 1;
        self.heap.push(Reverse(Entry {
            at,
            number: self.pushed,
            place,
        }));
    }

    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    pub fn pop(&mut self) -> Option<(u64, E)> {
        let Reverse(entry) = self.heap.pop()?;
        self.free.push(entry.place);
        let event = self.events[entry.place as usize].take();
        Some((entry.at, event.expect("an entry owns its event")))
    }
}

/// The earliest of many deadlines, each of which changes often: a tree of minima, so that a moved
/// deadline costs a walk to the root and leaves nothing stale in a queue.
#[derive(Debug)]
pub struct Deadlines {
    leaves: usize,
    tree: Vec<u64>,
}

impl Deadlines {
    pub fn new(hosts: usize) -> Self {
        let leaves = hosts.next_power_of_two();
        Self {
            leaves,
            tree: vec![u64::MAX; 2 * leaves],
        }
    }

    pub fn set(&mut self, host: usize, at: Option<u64>) {
        let at = at.unwrap_or(u64::MAX);
        let mut place = self.leaves + host;
        if self.tree[place] == at {
            return;
        }
        self.tree[place] = at;
        while place > 1 {
            let least = self.tree[place].min(self.tree[place ^ 1]);
            place /= 2;
            if self.tree[place] == least {
                return;
            }
            self.tree[place] = least;
        }
    }

    pub fn earliest(&self) -> Option<(u64, usize)> {
        let at = self.tree[1];
        if at == u64::MAX {
            return None;
        }
        let mut place = 1;
        while place < self.leaves {
            place *= 2;
            if self.tree[place] != at {
                place += 1;
            }
        }
        Some((at, place - self.leaves))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_order_of_arrival() {
        let mut queue = Queue::default();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.push(at, name);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).map(|e| e.1).collect();
        assert_eq!(order, "abcd");
    }

    #[test]
    fn the_earliest_deadline_is_found_whichever_moves() {
        let mut deadlines = Deadlines::new(5);
        assert_eq!(deadlines.earliest(), None);
        deadlines.set(3, Some(30));
        deadlines.set(4, Some(40));
        assert_eq!(deadlines.earliest(), Some((30, 3)));
        deadlines.set(3, Some(50));
        assert_eq!(deadlines.earliest(), Some((40, 4)));
        deadlines.set(4, None);
        assert_eq!(deadlines.earliest(), Some((50, 3)));
        deadlines.set(0, Some(50));
        assert_eq!(deadlines.earliest(), Some((50, 0)));
    }
}
