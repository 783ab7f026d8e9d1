//! How long the agent waits for what.

use crate::{limits::OBSERVERS, time::Span};
use serde::{Deserialize, Serialize};

/// All have defaults that suit a local network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timings {
    pub probe_interval: Span,
    /// How long a host answers no probe before it is suspect, and before it is down.
    pub suspect_after: Span,
    pub down_after: Span,
    pub restart_grace: Span,
    /// How long an agent may be silent whose machine answers, before it counts as down.
    pub impaired_grace: Span,
    /// How long a starting agent looks for a peer before it goes on alone.
    pub alone_after: Span,
    pub repair_interval: Span,
    /// Between full comparisons of the tasks with what runs, which make lost events good.
    pub compare_interval: Span,
    /// How long stopped containers stay on the host, for their logs.
    pub container_retention: Span,
    /// Between SIGTERM and SIGKILL where the definition does not say.
    pub stop_timeout: Span,
    /// How long a host that leaves waits for its tasks to be taken over, where nothing else is
    /// said.
    pub leave_timeout: Span,
    /// How long a host is down before it is forgotten; `None`: never.
    pub reap_after: Option<Span>,
    pub brake: BrakeSettings,
}

/// When a keeper takes it that many hosts that were lost at once come back, and how it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrakeSettings {
    /// Lost hosts in a hundred, above which replacing waits; 100 is never.
    pub percent: u32,
    /// Losses within this time count together.
    pub within: Span,
    pub wait: Span,
    /// Then each keeper replaces so many slots a second.
    pub slots_per_second: u64,
    /// In smaller clusters there is no brake: there everybody observes everybody, so each host has
    /// seen for itself that the others are gone, and of few hosts 40 % are soon lost.
    pub hosts_min: u32,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            probe_interval: Span::from_secs(1),
            suspect_after: Span::from_ms(600),
            down_after: Span::from_secs(1),
            restart_grace: Span::from_secs(30),
            impaired_grace: Span::from_secs(60),
            alone_after: Span::from_secs(3),
            repair_interval: Span::from_secs(1),
            compare_interval: Span::from_secs(30),
            container_retention: Span::from_secs(600),
            stop_timeout: Span::from_secs(30),
            leave_timeout: Span::from_secs(60),
            reap_after: Some(Span::from_secs(72 * 3_600)),
            brake: BrakeSettings::default(),
        }
    }
}

impl Default for BrakeSettings {
    fn default() -> Self {
        Self {
            percent: 40,
            within: Span::from_secs(30),
            wait: Span::from_secs(10),
            slots_per_second: 50,
            hosts_min: OBSERVERS as u32 + 2,
        }
    }
}
