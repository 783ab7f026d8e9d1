//! Schedules: what is drawn of them, and that a tick is one run, whoever begins it.

use crate::{
    checks::Checks,
    cluster::{Cluster, SECOND},
    host::WALL_AT_START_MS,
    workload::{Order, TimedOrder, definition},
};
use holdfast_core::{
    cluster::{
        body::{Body, Key},
        record::Record,
        schedule::{Overlap, Schedule, Ticked},
    },
    command::Command,
    ids::ServiceId,
    rng::Rng,
    spec::{
        run::{OnLost, RunOptions},
        timetable::{Timetable, UTC},
    },
    time::{Span, Wall},
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// So long a tick may wait for a keeper that was lost, or stood still, to be replaced.
const TICKED_WITHIN_MS: u64 = 5_000;

/// The runs that ticks have begun, by schedule and time.
pub type Begun = BTreeMap<(String, Wall), ServiceId>;

/// What a schedule is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurring {
    pub expression: String,
    pub family: String,
    pub count: u32,
    pub options: RunOptions,
    pub overlap: Overlap,
}

impl Recurring {
    pub fn command(&self, name: &str) -> Command {
        let options = self.options;
        let mut tags = vec![
            ("retries", options.retries.to_string()),
            ("on-lost", options.on_lost.to_string()),
            ("remove", options.remove.to_string()),
        ];
        tags.extend(options.timeout_s.map(|s| ("timeout", format!("{s}s"))));
        let tags = tags.iter();
        let tags =
            tags.map(|(key, value)| format!(r#"{{"key":"holdfast:{key}","value":"{value}"}}"#));
        let tags: Vec<String> = tags.collect();
        let run = format!(
            r#"{{"taskDefinition":"{}","count":{},"tags":[{}]}}"#,
            self.family,
            self.count,
            tags.join(",")
        );
        let timetable = Timetable::new(&self.expression, UTC).expect("it is written here");
        Command::SetSchedule {
            name: name.to_owned(),
            schedule: Schedule {
                timetable,
                run,
                overlap: self.overlap,
                deadline_s: 3_600,
                enabled: true,
                created_at: Wall::default(),
                since: Wall::default(),
            },
        }
    }
}

/// Schedules with a tick each, in about a third of the seeds; from a seed of their own, as runs.
pub fn draw(rng: &mut Rng, hosts: usize, seconds: u64) -> Vec<TimedOrder> {
    let mut orders = Vec::new();
    if rng.below(3) != 0 {
        return orders;
    }
    let mut order = |rng: &mut Rng, at, order| {
        let host = rng.below(hosts as u64) as usize;
        orders.push(TimedOrder { at, host, order });
    };
    for family in ["once", "fails"] {
        order(rng, 4 * SECOND, Order::Register(definition(family, 1)));
    }
    let mut at = 12 + rng.below(10);
    while at < seconds {
        let family = ["once", "fails"][rng.below(2) as usize].to_owned();
        let tick = (at + 1 + rng.below(20)).min(seconds);
        let time = Timestamp::from_millisecond((WALL_AT_START_MS + tick * 1_000) as i64);
        let time = time.expect("no run is that long");
        let recurring = Recurring {
            expression: format!("at({})", time.strftime("%Y-%m-%dT%H:%M:%S")),
            family,
            count: 1 + rng.below(2) as u32,
            options: RunOptions {
                retries: rng.below(2) as u32,
                timeout_s: None,
                on_lost: [OnLost::Report, OnLost::Rerun][rng.below(2) as usize],
                remove: false,
            },
            overlap: Overlap::Allow,
        };
        let name = format!("tick-{tick}");
        order(rng, at * SECOND, Order::Schedule { name, recurring });
        at += rng.below(20);
    }
    orders
}

impl Checks {
    /// Whoever keeps a schedule, a tick is one run.
    pub(crate) fn on_ticks(&mut self, place: usize, record: &Record) -> Result<(), String> {
        let (Key::Ticks(name), Some(Body::Ticks(ticks))) = (&record.key, &record.body) else {
            return Ok(());
        };
        for tick in &ticks.last {
            let Ticked::Begun(run) = tick.what else {
                continue;
            };
            let key = (name.clone(), tick.at);
            let known = *self.begun.entry(key).or_insert(run);
            if known != run {
                return Err(format!(
                    "h{place}: the tick of {name} is run as {run}, and as {known}"
                ));
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// Sets a schedule at one agent.
    pub fn set_schedule(&mut self, place: usize, name: &str, recurring: &Recurring) {
        self.ask(place, recurring.command(name));
    }

    /// A tick that should have been dealt with.
    pub(crate) fn pending_ticks(&self, place: usize) -> Option<String> {
        let board = self.board(place)?;
        let now = self.hosts[place].wall(self.now);
        let mut names = board.schedules().map(|(name, _)| name);
        names.find_map(|name| {
            let due = board.next_tick(name)?;
            let is_late = now.ms_since(due) > TICKED_WITHIN_MS;
            let late = Span::from_ms(now.ms_since(due));
            is_late.then(|| format!("the tick of schedule {name} is due since {late}"))
        })
    }
}
