//! How a service is held: what people may choose for it beside its count and its definition.

use super::read::RefError;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceOptions {
    pub replace_after: ReplaceAfter,
    pub partition: PartitionPolicy,
    /// Whether slots move to hosts that joined, to be spread evenly again.
    pub rebalance: bool,
    /// How a slot that is well moves: to another definition, or off to another host.
    pub hand_over: HandOver,
    /// Seconds from a task's start within which nobody minds that it is unhealthy.
    pub health_grace_s: u32,
}

/// How long a host must have been silent before its slots go to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplaceAfter {
    /// As soon as its observers agree that it is down.
    #[default]
    Down,
    SilentMs(u32),
    /// Only when it leaves or is forgotten.
    Never,
}

/// What becomes of the slots of hosts that cannot be reached, but may run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionPolicy {
    /// Each side holds the full count; on healing only the true surplus goes.
    #[default]
    Fill,
    /// Nothing that is merely out of reach is replaced.
    Hold,
    /// Only a side with more than half of the electors replaces; on any other, copies stop when
    /// their lease is over, before that side may replace them.
    Majority,
}

/// What becomes first when a slot moves. (The words are those of Swarm's `--update-order`.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandOver {
    /// The old copy serves until the new one does: for a moment there are two.
    #[default]
    StartFirst,
    /// The new copy is not begun before the old one has stopped: never two, for a moment none.
    StopFirst,
}

/// What is to change; whatever is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionsChange {
    pub replace_after: Option<ReplaceAfter>,
    pub partition: Option<PartitionPolicy>,
    pub rebalance: Option<bool>,
    pub hand_over: Option<HandOver>,
    pub health_grace_s: Option<u32>,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            replace_after: ReplaceAfter::default(),
            partition: PartitionPolicy::default(),
            rebalance: true,
            hand_over: HandOver::default(),
            health_grace_s: 0,
        }
    }
}

impl OptionsChange {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn of(self, before: ServiceOptions) -> ServiceOptions {
        ServiceOptions {
            replace_after: self.replace_after.unwrap_or(before.replace_after),
            partition: self.partition.unwrap_or(before.partition),
            rebalance: self.rebalance.unwrap_or(before.rebalance),
            hand_over: self.hand_over.unwrap_or(before.hand_over),
            health_grace_s: self.health_grace_s.unwrap_or(before.health_grace_s),
        }
    }
}

const REPLACE_AFTER_WANTED: &str =
    "\"down\", \"never\", or a time from 600ms to 24h such as \"15s\" or \"5m\"";

const PARTITION_WANTED: &str = "\"fill\", \"hold\" or \"majority\"";

const HAND_OVER_WANTED: &str = "\"start-first\" or \"stop-first\"";

impl FromStr for ReplaceAfter {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        let bad = || RefError {
            got: super::error::shown(text),
            wanted: REPLACE_AFTER_WANTED,
        };
        match text {
            "down" => return Ok(Self::Down),
            "never" => return Ok(Self::Never),
            _ => {}
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_ms: u32 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        let ms = number
            .parse()
            .ok()
            .and_then(|n: u32| n.checked_mul(unit_ms));
        let allowed = limits::REPLACE_AFTER_MS_MIN..=limits::REPLACE_AFTER_MS_MAX;
        let ms = ms.filter(|ms| allowed.contains(ms));
        ms.map(Self::SilentMs).ok_or_else(bad)
    }
}

impl fmt::Display for ReplaceAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("down"),
            Self::Never => f.write_str("never"),
            Self::SilentMs(ms) if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            Self::SilentMs(ms) if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            Self::SilentMs(ms) if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            Self::SilentMs(ms) => write!(f, "{ms}ms"),
        }
    }
}

impl FromStr for PartitionPolicy {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        match text {
            "fill" => Ok(Self::Fill),
            "hold" => Ok(Self::Hold),
            "majority" => Ok(Self::Majority),
            _ => Err(RefError {
                got: super::error::shown(text),
                wanted: PARTITION_WANTED,
            }),
        }
    }
}

impl fmt::Display for PartitionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fill => "fill",
            Self::Hold => "hold",
            Self::Majority => "majority",
        })
    }
}

impl FromStr for HandOver {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        match text {
            "start-first" => Ok(Self::StartFirst),
            "stop-first" => Ok(Self::StopFirst),
            _ => Err(RefError {
                got: super::error::shown(text),
                wanted: HAND_OVER_WANTED,
            }),
        }
    }
}

impl fmt::Display for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartFirst => "start-first",
            Self::StopFirst => "stop-first",
        })
    }
}

/// The tags that stand for options which ECS has no word for.
pub const REPLACE_AFTER_TAG: &str = "holdfast:replace-after";
pub const PARTITION_TAG: &str = "holdfast:partition";
pub const HAND_OVER_TAG: &str = "holdfast:hand-over";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_silence_reads_back_as_it_was_written_and_nothing_else_does() {
        for good in ["down", "never", "600ms", "1500ms", "15s", "5m", "24h"] {
            let read: ReplaceAfter = good.parse().expect("it is one");
            assert_eq!(read.to_string(), good);
        }
        for bad in [
            "",
            "5",
            "ms",
            "599ms",
            "25h",
            "-1s",
            "1.5s",
            "+5s",
            "5 s",
            "99999999999h",
        ] {
            let err = bad.parse::<ReplaceAfter>().expect_err(bad);
            assert!(err.to_string().contains("600ms to 24h"), "{err}");
        }
        for good in ["fill", "hold", "majority"] {
            let read: PartitionPolicy = good.parse().expect("it is one");
            assert_eq!(read.to_string(), good);
        }
        for good in ["start-first", "stop-first"] {
            let read: HandOver = good.parse().expect("it is one");
            assert_eq!(read.to_string(), good);
        }
        assert!("stop".parse::<HandOver>().is_err());
        assert!("Hold".parse::<PartitionPolicy>().is_err());
    }
}
