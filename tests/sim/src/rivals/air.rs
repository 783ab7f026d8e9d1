//! The network that all detectors share: delay, loss everywhere or at one host, cut directions.

use holdfast_core::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// One way, uniform between these, but for the tail.
const DELAY_US: (u64, u64) = (200, 500);
const TAIL_PPM: u64 = 10_000;
const TAIL_US: u64 = 5_000;
/// Linux sends a SYN again after a second, then after twice as long each time (RFC 6298).
const SYN_AGAIN_US: u64 = 1_000_000;
/// The least that Linux waits for an acknowledgement of data before it sends them again.
const DATA_AGAIN_US: u64 = 200_000;
/// A connection that is not there by then is given up, as memberlist's `TCPTimeout` of 10 s.
const STREAM_MAX_US: u64 = 10_000_000;

/// Delay and loss in parts per million, drawn from a seed.
#[derive(Debug)]
pub struct Air {
    rng: Rng,
    /// Of every packet, whoever sends it.
    pub loss_ppm: u64,
    /// Of every packet to or from these hosts, on top.
    pub host_loss_ppm: BTreeMap<usize, u64>,
    /// Directions in which nothing passes.
    pub cuts: BTreeSet<(usize, usize)>,
    /// Hosts that hear nothing, though they are heard.
    pub deaf: BTreeSet<usize>,
}

impl Air {
    pub const fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            loss_ppm: 0,
            host_loss_ppm: BTreeMap::new(),
            cuts: BTreeSet::new(),
            deaf: BTreeSet::new(),
        }
    }

    /// How long a datagram takes; `None` if it is lost.
    pub fn datagram(&mut self, from: usize, to: usize) -> Option<u64> {
        (self.is_open(from, to) && !self.loses(from, to)).then(|| self.delay())
    }

    /// How long it takes to connect and to bring the first message across. Whether the process at
    /// the other end runs does not matter for it: its kernel answers.
    pub fn dial(&mut self, from: usize, to: usize) -> Option<u64> {
        if !self.is_open(from, to) || !self.is_open(to, from) {
            return None;
        }
        let (mut took, mut again) = (2 * self.delay(), SYN_AGAIN_US);
        while self.loses(from, to) || self.loses(to, from) {
            took += again;
            again *= 2;
            if took > STREAM_MAX_US {
                return None;
            }
        }
        self.stream_data(from, to, took)
    }

    /// How long a message takes on a connection that is there.
    pub fn answer(&mut self, from: usize, to: usize) -> Option<u64> {
        if !self.is_open(from, to) || !self.is_open(to, from) {
            return None;
        }
        self.stream_data(from, to, 0)
    }

    fn stream_data(&mut self, from: usize, to: usize, before: u64) -> Option<u64> {
        let (mut took, mut again) = (before + self.delay(), DATA_AGAIN_US);
        while self.loses(from, to) {
            took += again;
            again *= 2;
            if took > STREAM_MAX_US {
                return None;
            }
        }
        Some(took)
    }

    fn delay(&mut self) -> u64 {
        if self.rng.chance_ppm(TAIL_PPM) {
            return TAIL_US;
        }
        DELAY_US.0 + self.rng.below(DELAY_US.1 - DELAY_US.0 + 1)
    }

    fn is_open(&self, from: usize, to: usize) -> bool {
        !self.cuts.contains(&(from, to)) && !self.deaf.contains(&to)
    }

    fn loses(&mut self, from: usize, to: usize) -> bool {
        let rates = [from, to].map(|host| self.host_loss_ppm.get(&host).copied().unwrap_or(0));
        let [at_sender, at_receiver] = rates;
        [self.loss_ppm, at_sender, at_receiver]
            .into_iter()
            .any(|ppm| ppm > 0 && self.rng.chance_ppm(ppm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lossy_host_loses_both_ways_and_others_do_not() {
        let mut air = Air::new(1);
        air.host_loss_ppm.insert(3, 800_000);
        let mut passed = |from, to| {
            (0..1_000)
                .filter(|_| air.datagram(from, to).is_some())
                .count()
        };
        assert!((150..250).contains(&passed(3, 1)));
        assert!((150..250).contains(&passed(1, 3)));
        assert_eq!(passed(1, 2), 1_000);
    }

    #[test]
    fn one_datagram_in_a_hundred_takes_five_milliseconds() {
        let mut air = Air::new(1);
        let delays: Vec<u64> = (0..10_000).filter_map(|_| air.datagram(0, 1)).collect();
        let tail = delays.iter().filter(|delay| **delay == TAIL_US).count();
        assert!((70..130).contains(&tail), "{tail}");
        assert!(
            delays
                .iter()
                .all(|d| (200..=500).contains(d) || *d == TAIL_US)
        );
    }

    #[test]
    fn a_cut_direction_stops_its_datagrams_and_all_streams() {
        let mut air = Air::new(1);
        air.cuts.insert((0, 1));
        assert_eq!(air.datagram(0, 1), None);
        assert!(air.datagram(1, 0).is_some());
        assert_eq!((air.dial(0, 1), air.dial(1, 0)), (None, None));
        air.deaf.insert(5);
        assert_eq!(air.datagram(2, 5), None);
        assert!(air.datagram(5, 2).is_some());
    }
}
