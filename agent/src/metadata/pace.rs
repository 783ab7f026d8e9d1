//! How often each address may ask: as often as ECS's agent allows. And all of them together.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// `ECS_TASK_METADATA_RPS_LIMIT`: for long, and at once after a rest.
const EACH: Rate = Rate {
    requests_per_second: 40,
    burst_requests_max: 60,
};
/// What the agent has time for beside its own work.
const ALL: Rate = Rate {
    requests_per_second: 400,
    burst_requests_max: 600,
};
/// Addresses that are remembered. There are more only where somebody makes them up, which TCP does
/// not let strangers do.
const ADDRESSES_MAX: usize = 4_096;

struct Rate {
    requests_per_second: u32,
    burst_requests_max: u32,
}

/// Until when what was asked already is paid for.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    by_address: BTreeMap<IpAddr, Instant>,
    by_all: Option<Instant>,
}

impl Rate {
    /// When one more is paid for; `None` if it is one too many.
    fn charge(&self, now: Instant, paid_at: Option<Instant>) -> Option<Instant> {
        let each = Duration::from_secs(1) / self.requests_per_second;
        let next = paid_at.unwrap_or(now).max(now) + each;
        (next <= now + each * self.burst_requests_max).then_some(next)
    }
}

impl Pace {
    /// Whether `address` may ask once more; then that counts.
    pub(crate) fn admits(&mut self, now: Instant, address: IpAddr) -> bool {
        let known = self.by_address.get(&address).copied();
        if known.is_none() && self.by_address.len() >= ADDRESSES_MAX {
            self.by_address.retain(|_, paid_at| *paid_at > now);
            if self.by_address.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let (Some(of_it), Some(of_all)) = (EACH.charge(now, known), ALL.charge(now, self.by_all))
        else {
            return false;
        };
        self.by_address.insert(address, of_it);
        self.by_all = Some(of_all);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn sixty_at_once_and_then_forty_a_second() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let asked = |pace: &mut Pace, at, times: u32| {
            let admitted = (0..times).filter(|_| pace.admits(at, address(1)));
            admitted.count()
        };
        assert_eq!(asked(&mut pace, begin, 100), 60);
        assert!(pace.admits(begin, address(2)), "another is not held up");
        let later = begin + Duration::from_secs(1);
        assert_eq!(asked(&mut pace, later, 100), 40);
        let much_later = later + Duration::from_secs(60);
        assert_eq!(asked(&mut pace, much_later, 100), 60);
    }

    #[test]
    fn all_together_leave_the_agent_time() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let many = (0..1_000).filter(|number| pace.admits(begin, address(*number)));
        assert_eq!(many.count(), 600);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let begin = Instant::now();
        let many = u32::try_from(ADDRESSES_MAX).expect("it is small");
        let known = (0..many).map(|number| (address(number), begin + Duration::from_secs(1)));
        let mut pace = Pace {
            by_address: known.collect(),
            by_all: None,
        };
        assert!(!pace.admits(begin, address(many)));
        assert!(pace.admits(begin + Duration::from_secs(1), address(many)));
        assert_eq!(pace.by_address.len(), 1);
    }
}
