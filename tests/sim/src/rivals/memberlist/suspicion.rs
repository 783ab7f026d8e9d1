//! Lifeguard's suspicion timer (suspicion.go): long at first, shorter with each confirmation.

use std::collections::BTreeSet;

// config.go, DefaultLANConfig.
const SUSPICION_MULT: u32 = 4;
const SUSPICION_MAX_TIMEOUT_MULT: u64 = 6;
const PROBE_INTERVAL_MS: u64 = 1_000;

/// Somebody does not answer; unless it says otherwise, it is dead when the time is up.
#[derive(Debug)]
pub(crate) struct Suspicion {
    start: u64,
    pub(crate) until: u64,
    /// Confirmations that bring the timer to its minimum.
    wanted: u32,
    got: u32,
    min: u64,
    max: u64,
    confirmed_by: BTreeSet<u32>,
}

impl Suspicion {
    /// state.go, `suspectNode`: how many confirmations, and both ends of the timer.
    pub(crate) fn new(now: u64, from: u32, hosts: u32) -> Self {
        let wanted = SUSPICION_MULT - 2;
        let wanted = if hosts < 2 + wanted { 0 } else { wanted };
        let min = timeout(hosts);
        let max = SUSPICION_MAX_TIMEOUT_MULT * min;
        Self {
            start: now,
            until: now + if wanted == 0 { min } else { max },
            wanted,
            got: 0,
            min,
            max,
            confirmed_by: BTreeSet::from([from]),
        }
    }

    /// `Confirm`: says whether that was news, to be passed on.
    pub(crate) fn confirm(&mut self, from: u32) -> bool {
        if self.got >= self.wanted || !self.confirmed_by.insert(from) {
            return false;
        }
        self.got += 1;
        let part = f64::from(self.got + 1).ln() / f64::from(self.wanted + 1).ln();
        let (min, max) = (self.min as f64 / 1e6, self.max as f64 / 1e6);
        let millis = (1_000.0 * (max - part * (max - min))).floor() as u64;
        self.until = self.start + (millis * 1_000).max(self.min);
        true
    }
}

/// util.go, `suspicionTimeout`, in microseconds.
fn timeout(hosts: u32) -> u64 {
    let scale = f64::from(hosts.max(1)).log10().max(1.0);
    u64::from(SUSPICION_MULT) * (scale * 1_000.0) as u64 * PROBE_INTERVAL_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_is_that_of_the_source_for_known_sizes() {
        // suspicion_test.go and util_test.go have the same numbers for the LAN's multiplier.
        assert_eq!(
            [10, 100, 1_000, 10_000].map(timeout),
            [4, 8, 12, 16].map(|s| s * 1_000_000)
        );
    }

    #[test]
    fn two_confirmations_bring_it_to_its_minimum_and_no_more_count() {
        let mut suspicion = Suspicion::new(0, 1, 1_000);
        assert_eq!(suspicion.until, 72_000_000);
        assert!(!suspicion.confirm(1), "its first accuser again");
        assert!(suspicion.confirm(2));
        assert_eq!(suspicion.until, 34_144_000);
        assert!(suspicion.confirm(3));
        assert_eq!(suspicion.until, 12_000_000);
        assert!(!suspicion.confirm(4));
    }
}
