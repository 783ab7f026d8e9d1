//! Schedules on the board: runs that begin again and again, and what became of each tick.

use crate::{
    cluster::{
        board::Board,
        body::{Body, Key},
    },
    ids::{ServiceId, SlotIndex, TaskId},
    rng::{hash_bytes, mix},
    spec::timetable::Timetable,
    time::{Span, Wall},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What is to run when. The epoch of its record is when it was set: earlier ticks are none of its.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub timetable: Timetable,
    /// The `RunTask` input of each of its runs, as JSON; its definition is looked up at the tick.
    pub run: String,
    pub overlap: Overlap,
    /// Seconds after which a tick that nobody could run in time is not run any more.
    pub deadline_s: u32,
    pub enabled: bool,
    pub created_at: Wall,
}

/// What a tick does while a run of an earlier one goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    /// Both run.
    #[default]
    Allow,
    /// Nothing is begun.
    Forbid,
    /// The earlier one is stopped.
    Replace,
}

/// What became of a schedule's ticks up to the epoch of the record, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticks {
    pub last: Vec<Tick>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    pub at: Wall,
    pub what: Ticked,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ticked {
    Begun(ServiceId),
    /// This run of an earlier tick went on.
    Forbidden(ServiceId),
    /// Nobody was there in time; nor for those between it and the next one that is told of.
    Missed,
    /// It could not be begun.
    Failed(String),
}

/// A schedule's name where a service has its own, and the `startedBy` of its runs, begin so.
pub const SCHEDULE_PREFIX: &str = "schedule/";

impl Schedule {
    pub fn deadline(&self) -> Span {
        Span::from_secs(u64::from(self.deadline_s))
    }
}

/// Who of the hosts keeps a schedule is found as for a service; it has a name for its id.
pub fn keeper_id(name: &str) -> ServiceId {
    id_of(name, 0)
}

/// What the run of a tick is called: the same whoever begins it, so that two hosts that both take
/// themselves for its keeper begin one run.
pub fn run_of_tick(name: &str, at: Wall) -> ServiceId {
    id_of(name, at.0)
}

/// As [`run_of_tick`] of a run's tasks.
pub fn task_of_run(run: ServiceId, index: SlotIndex) -> TaskId {
    let halves = [(run.0 >> 64) as u64, run.0 as u64];
    TaskId(derived(halves, u64::from(index) + 1))
}

fn id_of(name: &str, number: u64) -> ServiceId {
    let hash = hash_bytes(name.as_bytes());
    ServiceId(derived([hash, mix(hash ^ name.len() as u64)], number))
}

fn derived([first, second]: [u64; 2], number: u64) -> u128 {
    let high = mix(first ^ mix(number));
    let low = mix(high ^ mix(second));
    u128::from(high) << 64 | u128::from(low)
}

impl Board {
    /// A schedule, and when it was set.
    pub fn schedule(&self, name: &str) -> Option<(Wall, &Schedule)> {
        let record = self.record(&Key::Schedule(name.to_owned()))?;
        match &record.body {
            Some(Body::Schedule(schedule)) => Some((Wall(record.version.epoch), schedule)),
            _ => None,
        }
    }

    /// In order of their names.
    pub fn schedules(&self) -> impl Iterator<Item = (&str, Wall, &Schedule)> {
        let range = Key::Schedule(String::new())..Key::Ticks(String::new());
        self.range(range)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Schedule(name), Some(Body::Schedule(schedule))) => {
                    Some((name.as_str(), Wall(record.version.epoch), schedule))
                }
                _ => None,
            })
    }

    /// What became of its ticks, and until when they are dealt with.
    pub fn ticks(&self, name: &str) -> Option<(Wall, &Ticks)> {
        let record = self.record(&Key::Ticks(name.to_owned()))?;
        match &record.body {
            Some(Body::Ticks(ticks)) => Some((Wall(record.version.epoch), ticks)),
            _ => None,
        }
    }

    /// Of which schedules ticks are known, and until when they are dealt with.
    pub fn all_ticks(&self) -> impl Iterator<Item = (&str, Wall)> {
        let range = Key::Ticks(String::new())..Key::Secret(String::new());
        self.range(range)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Ticks(name), Some(_)) => Some((name.as_str(), Wall(record.version.epoch))),
                _ => None,
            })
    }

    /// The first tick that is not dealt with.
    pub fn next_tick(&self, name: &str) -> Option<Wall> {
        let (since, schedule) = self.schedule(name).filter(|(_, one)| one.enabled)?;
        let through = self.ticks(name).map_or(since, |(through, _)| through);
        schedule.timetable.next(through.max(since), since)
    }

    /// Runs that ticks have begun and that have not ended, the newest last.
    pub fn runs_of_schedule(&self, name: &str) -> impl Iterator<Item = ServiceId> {
        let known = self.ticks(name).into_iter();
        let begun = known.flat_map(|(_, ticks)| &ticks.last);
        let begun = begun.filter_map(|tick| match tick.what {
            Ticked::Begun(run) => Some(run),
            _ => None,
        });
        begun.filter(|run| self.run(*run).is_some() && self.run_ended_at(*run).is_none())
    }
}

impl Overlap {
    pub const ALL: [Self; 3] = [Self::Allow, Self::Forbid, Self::Replace];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Forbid => "forbid",
            Self::Replace => "replace",
        }
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Overlap {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or(())
    }
}
