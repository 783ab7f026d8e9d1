//! Patience with those that pause: a host that stood still before is waited for longer.
//!
//! Any detector that acts after T is wrong about every pause of a whole machine longer than T. So
//! T grows with what was seen of this machine lately.

use crate::{
    ids::HostId,
    time::{Mono, Span},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A pause is forgotten after this long.
const REMEMBERED: Span = Span::from_secs(600);
/// No host is waited for longer than this because of its pauses.
const PATIENCE_MAX: Span = Span::from_secs(15);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pauses(BTreeMap<HostId, Pause>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pause {
    longest: Span,
    at: Mono,
    times: u32,
}

impl Pauses {
    /// The host was silent for so long, and then there again as it had been.
    pub(super) fn on_pause(&mut self, now: Mono, host: HostId, lasted: Span) {
        self.0.retain(|_, pause| now.since(pause.at) < REMEMBERED);
        let pause = self.0.entry(host).or_insert(Pause {
            longest: lasted,
            at: now,
            times: 0,
        });
        pause.longest = pause.longest.max(lasted);
        pause.at = now;
        pause.times = pause.times.saturating_add(1);
    }

    /// How long the host's silence is borne beyond any setting: one and a half times its longest
    /// pause, if it paused more than once. One pause is an accident.
    pub(super) fn patience(&self, now: Mono, host: HostId) -> Span {
        let pause = self.0.get(&host);
        let often = |pause: &&Pause| pause.times > 1 && now.since(pause.at) < REMEMBERED;
        pause.filter(often).map_or(Span::ZERO, |pause| {
            Span(pause.longest.0.saturating_mul(3) / 2).min(PATIENCE_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HostId = HostId(7);

    #[test]
    fn who_pauses_often_is_borne_with_for_a_while_and_up_to_a_limit() {
        let mut pauses = Pauses::default();
        let at = |secs| Mono(0) + Span::from_secs(secs);
        pauses.on_pause(at(0), HOST, Span::from_secs(4));
        assert_eq!(pauses.patience(at(0), HOST), Span::ZERO);
        pauses.on_pause(at(10), HOST, Span::from_secs(2));
        assert_eq!(pauses.patience(at(10), HOST), Span::from_secs(6));
        pauses.on_pause(at(20), HOST, Span::from_secs(40));
        assert_eq!(pauses.patience(at(20), HOST), Span::from_secs(15));
        assert_eq!(pauses.patience(at(619), HOST), Span::from_secs(15));
        assert_eq!(pauses.patience(at(620), HOST), Span::ZERO);
        assert_eq!(pauses.patience(at(20), HostId(8)), Span::ZERO);
    }
}
