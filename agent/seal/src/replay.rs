//! Refuses what came before: a window of counters for each of the last starts of each sender.
//!
//! An earlier start stays heard beside a later one, as both may be running: when a machine is
//! cloned with its state, its clone must hear of it, and must not take the place of the rightful
//! host. It costs that a datagram which someone recorded and kept from us can come late, after its
//! sender has started again: harmless, as what is merged into the board only moves it forward.

use holdfast_core::{ids::HostId, planted};
use std::collections::HashMap;

/// How far behind the newest counter of a sender a late datagram may be.
pub const WINDOW_COUNTERS: u64 = 1_024;
/// At most some 800 bytes for each; a forgotten sender's old datagrams could be replayed.
pub const SENDERS_MAX: usize = 16_384;
/// Starts of one sender that are heard at a time.
const STARTS_MAX: usize = 4;

/// Holds only what authenticated senders have caused, so an outsider can neither fill nor move it.
#[derive(Debug)]
pub struct Replays {
    senders: HashMap<HostId, Sender>,
    senders_max: usize,
    uses: u64,
}

#[derive(Debug, Default)]
struct Sender {
    /// At least one and at most `STARTS_MAX`, in no order.
    windows: Vec<Window>,
    /// The newest start whose window was given up: what is not newer and not kept may be a replay.
    forgotten: Option<u64>,
    used: u64,
}

#[derive(Debug)]
struct Window {
    boot: u64,
    highest: u64,
    /// Bit `counter % WINDOW_COUNTERS`: whether that counter came.
    seen: Box<[u64; WINDOW_COUNTERS as usize / 64]>,
    /// When it last admitted something.
    used: u64,
}

impl Replays {
    pub fn new(senders_max: usize) -> Self {
        Self {
            senders: HashMap::new(),
            senders_max,
            uses: 0,
        }
    }

    /// Whether this is new. Call it once for each datagram, and only when it is authentic.
    ///
    /// A start that is older than all those kept is not new: that process is gone, and so is the
    /// point of what it said.
    pub fn admit(&mut self, sender: HostId, boot: u64, counter: u64) -> bool {
        self.uses += 1;
        if !self.senders.contains_key(&sender) && self.senders.len() >= self.senders_max {
            self.forget_oldest();
        }
        let sender = self.senders.entry(sender).or_default();
        sender.used = self.uses;
        sender.admit(boot, counter) || planted!(TakesReplays)
    }

    /// Forgets the sixteenth that was silent longest, so that the search is rarely done.
    fn forget_oldest(&mut self) {
        let mut used: Vec<u64> = self.senders.values().map(|sender| sender.used).collect();
        let cut = used.len() / 16;
        let (_, &mut oldest_kept, _) = used.select_nth_unstable(cut);
        self.senders.retain(|_, sender| sender.used > oldest_kept);
    }
}

impl Sender {
    fn admit(&mut self, boot: u64, counter: u64) -> bool {
        if let Some(window) = self.windows.iter_mut().find(|window| window.boot == boot) {
            let new = window.admit(counter);
            if new {
                window.used = self.used;
            }
            return new;
        }
        let full = self.windows.len() >= STARTS_MAX;
        let oldest = self.windows.iter().map(|window| window.boot).min();
        if self.forgotten >= Some(boot) || full && oldest > Some(boot) {
            return false;
        }
        if full {
            self.forget_silent();
        }
        self.windows.push(Window::new(boot, counter, self.used));
        true
    }

    /// Gives up the window that was silent longest. Not the oldest: a clone that starts again every
    /// second would soon shut out the rightful host. And never the newest: old starts that someone
    /// recorded could shut out the one that runs.
    fn forget_silent(&mut self) {
        let newest = self.windows.iter().map(|window| window.boot).max();
        let silent = self
            .windows
            .iter()
            .enumerate()
            .filter(|(_, window)| Some(window.boot) != newest)
            .min_by_key(|(_, window)| window.used)
            .map(|(index, _)| index);
        if let Some(index) = silent {
            let given_up = self.windows.swap_remove(index);
            self.forgotten = self.forgotten.max(Some(given_up.boot));
        }
    }
}

impl Window {
    fn new(boot: u64, counter: u64, used: u64) -> Self {
        let mut window = Self {
            boot,
            highest: counter,
            seen: Box::default(),
            used,
        };
        window.set(counter, true);
        window
    }

    fn admit(&mut self, counter: u64) -> bool {
        if counter <= self.highest {
            let late = self.highest - counter >= WINDOW_COUNTERS || self.get(counter);
            if !late {
                self.set(counter, true);
            }
            return !late;
        }
        if counter - self.highest >= WINDOW_COUNTERS {
            self.seen.fill(0);
        } else {
            for skipped in self.highest + 1..counter {
                self.set(skipped, false);
            }
        }
        self.highest = counter;
        self.set(counter, true);
        true
    }

    fn get(&self, counter: u64) -> bool {
        let bit = counter % WINDOW_COUNTERS;
        self.seen[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    fn set(&mut self, counter: u64, value: bool) {
        let bit = counter % WINDOW_COUNTERS;
        let word = &mut self.seen[(bit / 64) as usize];
        *word = *word & !(1 << (bit % 64)) | u64::from(value) << (bit % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::rng::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn a_window_admits_what_a_full_memory_of_the_last_1024_counters_admits() {
        let (mut replays, mut rng) = (Replays::new(4), Rng::new(3));
        let (mut seen, mut highest) = (BTreeSet::new(), 0u64);
        for _ in 0..100_000 {
            let ahead = if rng.chance_ppm(1_000) { 5_000 } else { 100 };
            let counter = (highest + rng.below(ahead)).saturating_sub(rng.below(1_500));
            let expected = counter + WINDOW_COUNTERS > highest && seen.insert(counter);
            assert_eq!(
                replays.admit(HostId(1), 7, counter),
                expected,
                "{counter} at {highest}"
            );
            highest = highest.max(counter);
        }
    }

    #[test]
    fn the_ends_of_the_counter_are_no_trouble() {
        let mut replays = Replays::new(4);
        assert!(replays.admit(HostId(1), 0, 0));
        assert!(!replays.admit(HostId(1), 0, 0));
        assert!(replays.admit(HostId(1), 0, u64::MAX));
        assert!(replays.admit(HostId(1), 0, u64::MAX - 1023));
        assert!(!replays.admit(HostId(1), 0, u64::MAX - 1024));
        assert!(!replays.admit(HostId(1), 0, u64::MAX));
    }

    /// A later start of one identity shut out the earlier, so that a clone took the place of the
    /// rightful host and never heard of it.
    #[test]
    fn two_starts_of_one_sender_are_both_heard_and_each_has_its_window() {
        let mut replays = Replays::new(4);
        assert!(replays.admit(HostId(1), 10, 900));
        assert!(replays.admit(HostId(1), 11, 1));
        assert!(replays.admit(HostId(1), 10, 901));
        assert!(!replays.admit(HostId(1), 10, 900));
        assert!(!replays.admit(HostId(1), 11, 1));
        assert!(replays.admit(HostId(1), 11, 900));
        assert!(replays.admit(HostId(2), 10, 900));
    }

    #[test]
    fn starts_older_than_those_kept_and_those_forgotten_are_not_heard_again() {
        let mut replays = Replays::new(4);
        for boot in 10..14 {
            assert!(replays.admit(HostId(1), boot, 1));
        }
        assert!(!replays.admit(HostId(1), 9, 1), "older than all");
        assert!(replays.admit(HostId(1), 14, 1));
        assert!(!replays.admit(HostId(1), 10, 2), "forgotten");
        for boot in 11..15 {
            assert!(replays.admit(HostId(1), boot, 2), "{boot}");
            assert!(!replays.admit(HostId(1), boot, 2), "{boot}");
        }
    }

    #[test]
    fn a_clone_that_starts_again_and_again_does_not_shut_out_who_goes_on_speaking() {
        let mut replays = Replays::new(4);
        for boot in 100..200 {
            assert!(replays.admit(HostId(1), 10, boot));
            assert!(replays.admit(HostId(1), boot, 1));
            assert!(!replays.admit(HostId(1), boot, 1));
            assert!(replays.senders[&HostId(1)].windows.len() <= STARTS_MAX);
        }
        for boot in 100..196 {
            assert!(!replays.admit(HostId(1), boot, 2), "{boot} was forgotten");
        }
    }

    #[test]
    fn recorded_old_starts_do_not_shut_out_the_newest() {
        let mut replays = Replays::new(4);
        assert!(replays.admit(HostId(1), 100, 1));
        for boot in 0..100 {
            replays.admit(HostId(1), boot, 1);
        }
        assert!(replays.admit(HostId(1), 100, 2));
        assert!(replays.admit(HostId(1), 101, 1));
    }

    #[test]
    fn the_sender_that_was_silent_longest_is_forgotten_first() {
        let mut replays = Replays::new(32);
        for sender in 0..32 {
            assert!(replays.admit(HostId(sender), 1, 1));
        }
        assert!(replays.admit(HostId(0), 1, 2));
        for sender in 32..1_000 {
            assert!(replays.admit(HostId(sender), 1, 1));
            assert!(replays.senders.len() <= 32);
            assert!(!replays.admit(HostId(0), 1, 2));
        }
    }
}
