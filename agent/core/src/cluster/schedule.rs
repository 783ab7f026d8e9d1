//! Schedules on the board: runs that begin again and again, and what became of each tick.

use crate::{
    cluster::{
        board::Board,
        body::{Body, Key},
        run::Run,
    },
    ids::{ServiceId, SlotIndex, TaskId},
    rng::{hash_bytes, mix},
    spec::timetable::Timetable,
    time::{Span, Wall},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What is to run when.
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
    /// When it was last said when it is to run: earlier ticks are none of its.
    pub since: Wall,
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

/// What became of a schedule's ticks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticks {
    /// Until when all are dealt with.
    pub through: Wall,
    /// The newest last.
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
    pub fn schedule(&self, name: &str) -> Option<&Schedule> {
        match &self.record(&Key::Schedule(name.to_owned()))?.body {
            Some(Body::Schedule(schedule)) => Some(schedule),
            _ => None,
        }
    }

    /// In order of their names.
    pub fn schedules(&self) -> impl Iterator<Item = (&str, &Schedule)> {
        let range = Key::Schedule(String::new())..Key::Ticks(String::new());
        self.range(range)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Schedule(name), Some(Body::Schedule(schedule))) => {
                    Some((name.as_str(), schedule))
                }
                _ => None,
            })
    }

    pub fn ticks(&self, name: &str) -> Option<&Ticks> {
        match &self.record(&Key::Ticks(name.to_owned()))?.body {
            Some(Body::Ticks(ticks)) => Some(ticks),
            _ => None,
        }
    }

    /// The names of schedules of which ticks are known.
    pub fn all_ticks(&self) -> impl Iterator<Item = &str> {
        let range = Key::Ticks(String::new())..Key::Secret(String::new());
        self.range(range)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Ticks(name), Some(_)) => Some(name.as_str()),
                _ => None,
            })
    }

    /// Until when a schedule's ticks are dealt with, or none of its.
    pub fn dealt_with(&self, name: &str) -> Option<Wall> {
        let (since, ticks) = (self.schedule(name)?.since, self.ticks(name));
        Some(ticks.map_or(since, |ticks| ticks.through.max(since)))
    }

    /// The first tick that is not dealt with.
    pub fn next_tick(&self, name: &str) -> Option<Wall> {
        let schedule = self.schedule(name).filter(|one| one.enabled)?;
        let times = schedule.timetable.times(schedule.since)?;
        times.next(self.dealt_with(name)?)
    }

    /// Runs that ticks of this schedule have begun and that have not ended, the newest last;
    /// whatever is known of those ticks.
    pub fn runs_of_schedule(&self, name: &str) -> Vec<ServiceId> {
        let is_of_it = |(id, run): &(ServiceId, &Run)| {
            let by = run.started_by.strip_prefix(SCHEDULE_PREFIX);
            // Whoever else says so has not the name.
            by == Some(name) && *id == run_of_tick(name, run.settings.created_at)
        };
        let runs = self.runs().filter(is_of_it);
        let runs = runs.filter(|(id, _)| self.run_ended_at(*id).is_none());
        let mut runs: Vec<_> = runs
            .map(|(id, run)| (run.settings.created_at, id))
            .collect();
        runs.sort_unstable();
        runs.into_iter().map(|(_, id)| id).collect()
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
