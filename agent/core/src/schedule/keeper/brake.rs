//! The brake: where a great part of the cluster is lost at once, it is more likely to come back
//! than to be gone, and what is left must not be buried under all that was lost.

use crate::{
    ids::{HostId, ServiceId, SlotIndex},
    time::{Mono, Span},
    timings::BrakeSettings,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Brake {
    settings: BrakeSettings,
    losses: BTreeMap<HostId, Mono>,
    braking: Option<Braking>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Braking {
    /// The latest loss, or the latest slot that asked: the brake is let go when both are over.
    last: Mono,
    /// When each slot that has asked may be replaced, one after the other.
    turns: BTreeMap<(ServiceId, SlotIndex), Mono>,
    next_turn: Mono,
}

impl Brake {
    pub(super) fn new(settings: BrakeSettings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// One of `roster` hosts, all that are expected to be there, was lost.
    pub(super) fn on_loss(&mut self, now: Mono, host: HostId, roster: u32) {
        let within = self.settings.within;
        self.losses.retain(|_, at| now.since(*at) < within);
        self.losses.insert(host, now);
        let lost = u32::try_from(self.losses.len()).unwrap_or(u32::MAX);
        let many = u64::from(lost) * 100 > u64::from(self.settings.percent) * u64::from(roster);
        if !many || roster < self.settings.hosts_min {
            return;
        }
        let braking = self.braking.get_or_insert(Braking {
            last: now,
            turns: BTreeMap::new(),
            next_turn: now + self.settings.wait,
        });
        braking.last = now;
    }

    pub(super) fn on_return(&mut self, host: HostId) {
        self.losses.remove(&host);
    }

    /// Whether this slot waits to be replaced: until when, and why.
    pub(super) fn hold(
        &mut self,
        now: Mono,
        slot: (ServiceId, SlotIndex),
    ) -> Option<(Mono, String)> {
        if planted!(NeverBrakes) {
            return None;
        }
        let settings = self.settings;
        let braking = self.braking.as_mut()?;
        if now.since(braking.last) >= settings.within {
            self.braking = None;
            return None;
        }
        braking.last = now;
        let pause = Span(1_000_000 / settings.slots_per_second.max(1));
        let turn = *braking.turns.entry(slot).or_insert_with(|| {
            // Nothing is saved up: a second after a pause has no more turns than any other.
            let turn = braking.next_turn.max(now);
            braking.next_turn = turn + pause;
            turn
        });
        if now >= turn {
            braking.turns.remove(&slot);
            return None;
        }
        let why = format!(
            "over {} % of the hosts were lost within {} s, so replacing them waits for {} s and \
             then goes on slowly",
            settings.percent,
            settings.within.as_ms() / 1_000,
            settings.wait.as_ms() / 1_000
        );
        Some((turn, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Mono {
        Mono(ms * 1_000)
    }

    fn lose(brake: &mut Brake, hosts: u64, roster: u32) {
        for host in 0..hosts {
            brake.on_loss(at(host), HostId(u128::from(host)), roster);
        }
    }

    /// When each of so many slots may be replaced, if all ask at 100 ms and again at their turns.
    fn turns(brake: &mut Brake, slots: SlotIndex) -> Vec<u64> {
        let turn = |index| {
            let held = brake.hold(at(100), (ServiceId(1), index));
            held.map_or(100, |(until, _)| until.0 / 1_000)
        };
        (0..slots).map(turn).collect()
    }

    #[test]
    fn a_few_losses_are_made_good_at_once() {
        let mut brake = Brake::new(BrakeSettings::default());
        lose(&mut brake, 8, 20);
        assert_eq!(turns(&mut brake, 3), [100, 100, 100]);
        lose(&mut brake, 10, 11);
        assert_eq!(turns(&mut brake, 3), [100, 100, 100], "too few hosts");
    }

    #[test]
    fn many_losses_wait_and_are_then_made_good_one_by_one() {
        let mut brake = Brake::new(BrakeSettings::default());
        lose(&mut brake, 5, 12);
        assert_eq!(turns(&mut brake, 4), [10_004, 10_024, 10_044, 10_064]);
        assert_eq!(turns(&mut brake, 4), [10_004, 10_024, 10_044, 10_064]);
        assert_eq!(brake.hold(at(10_030), (ServiceId(1), 1)), None, "its turn");
        assert!(brake.hold(at(10_030), (ServiceId(1), 2)).is_some());
        assert_eq!(brake.hold(at(40_030), (ServiceId(1), 3)), None, "long over");
        assert_eq!(brake.hold(at(40_030), (ServiceId(2), 0)), None);
    }

    #[test]
    fn losses_over_a_long_time_do_not_count_together() {
        let mut brake = Brake::new(BrakeSettings::default());
        for host in 0..8 {
            brake.on_loss(at(host * 10_000), HostId(u128::from(host)), 12);
        }
        assert_eq!(turns(&mut brake, 1), [100]);
    }
}
