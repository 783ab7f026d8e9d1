//! Ticks of schedules: each is run once by the hosts that hear of one another, whoever keeps it.
//!
//! A run is called after its tick, so that two hosts that both take themselves for the keeper begin
//! one and the same. Whoever finds a tick late may have stood still while another host ran it: it
//! listens to its peers before it acts. In a split, each side runs the ticks.

use super::{Agent, runs::run_order, telling::TICK};
use crate::{
    cluster::{
        body::{Body, Key},
        record::Record,
        run::{Run, title},
        schedule::{
            Overlap, SCHEDULE_PREFIX, Schedule, Tick, Ticked, Ticks, keeper_id, run_of_tick,
            task_of_run,
        },
    },
    command::{Outcome, Refusal},
    effect::Effects,
    event::{EventId, ServiceNews},
    ids::ServiceId,
    limits,
    spec::run::parse_run_task,
    time::{Mono, Now, Span, Wall},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Who finds a tick later than this may not be the first to find it.
const LATE_MS: u64 = 200;
/// What others did meanwhile is heard within this time.
const HEARD_WITHIN: Span = Span::from_secs(1);
/// Whoever does not keep a schedule looks again whether its keeper has run a tick.
const LOOK_AGAIN: Span = Span::from_secs(1);

/// When the schedules are to be looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Clockwork(BTreeMap<String, Due>);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Due {
    at: Wall,
    look_at: Mono,
    /// Since when this host knows that it may be late.
    listens_since: Option<Mono>,
}

impl Clockwork {
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.0.values().map(|due| due.look_at).min()
    }
}

impl Agent {
    /// What stays as it is is not begun anew: neither a rate, nor what is due and was not run yet.
    pub(super) fn set_schedule(
        &mut self,
        now: Now,
        (name, schedule): (String, Schedule),
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let Some(known) = self.board.schedule(&name) else {
            if self.board.schedules().count() >= limits::SCHEDULES_MAX {
                return Err(Refusal::Limit {
                    what: "the number of schedules",
                    max: limits::SCHEDULES_MAX as u64,
                });
            }
            let (created_at, since) = (now.wall, now.wall);
            let schedule = Schedule {
                created_at,
                since,
                ..schedule
            };
            self.write_schedule(now, &name, Some(schedule), fx);
            return Ok(Outcome::ScheduleSet { name, is_new: true });
        };
        let goes_on = known.enabled == schedule.enabled
            && known.timetable == schedule.timetable
            && self.board.dealt_with(&name) <= Some(now.wall);
        let schedule = Schedule {
            created_at: known.created_at,
            since: if goes_on { known.since } else { now.wall },
            ..schedule
        };
        if schedule != *known {
            self.write_schedule(now, &name, Some(schedule), fx);
        }
        let is_new = false;
        Ok(Outcome::ScheduleSet { name, is_new })
    }

    pub(super) fn switch_schedule(
        &mut self,
        now: Now,
        (name, enabled): (String, bool),
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let Some(known) = self.board.schedule(&name) else {
            return Err(Refusal::NoSuchSchedule(name));
        };
        let schedule = Schedule {
            enabled,
            ..known.clone()
        };
        self.set_schedule(now, (name, schedule), fx)
    }

    /// What it has begun runs on.
    pub(super) fn remove_schedule(
        &mut self,
        now: Now,
        name: String,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if self.board.schedule(&name).is_none() {
            return Err(Refusal::NoSuchSchedule(name));
        }
        self.write_schedule(now, &name, None, fx);
        Ok(Outcome::ScheduleRemoved(name))
    }

    fn write_schedule(
        &mut self,
        now: Now,
        name: &str,
        schedule: Option<Schedule>,
        fx: &mut Effects,
    ) {
        self.take_back_ticks(now, name, fx);
        let key = Key::Schedule(name.to_owned());
        let epoch = self.board.next_epoch(&key);
        self.write(now, key, epoch, schedule.map(Body::Schedule), fx);
    }

    /// A clock that was ahead may have dealt with what is still to come.
    fn take_back_ticks(&mut self, now: Now, name: &str, fx: &mut Effects) {
        let ahead = self.board.ticks(name);
        let ahead = ahead.filter(|ticks| ticks.through > now.wall);
        if let Some(ticks) = ahead.cloned() {
            let through = now.wall;
            self.write_ticks(now, name, Some(Ticks { through, ..ticks }), fx);
        }
    }

    fn write_ticks(&mut self, now: Now, name: &str, ticks: Option<Ticks>, fx: &mut Effects) {
        let key = Key::Ticks(name.to_owned());
        let epoch = self.board.next_epoch(&key);
        self.write(now, key, epoch, ticks.map(Body::Ticks), fx);
    }

    /// A schedule, or what is known of its ticks, has changed.
    pub(super) fn note_schedule(&mut self, now: Now, name: &str) {
        let Some(at) = self.board.next_tick(name) else {
            self.clockwork.0.remove(name);
            return;
        };
        let known = self.clockwork.0.get(name).filter(|due| due.at == at);
        let due = Due {
            at,
            look_at: now.mono + Span::from_ms(at.ms_since(now.wall)),
            listens_since: known.and_then(|due| due.listens_since),
        };
        self.clockwork.0.insert(name.to_owned(), due);
    }

    /// Of an agent that starts.
    pub(super) fn note_all_schedules(&mut self, now: Now) {
        let names = self.board.schedules().map(|(name, _)| name.to_owned());
        let names: Vec<String> = names.collect();
        for name in names {
            self.note_schedule(now, &name);
        }
    }

    /// To be called now and then, as the clock may have been set: each tick is due when it is due
    /// by the clock as it is now.
    pub(super) fn time_ticks(&mut self, now: Now) {
        for due in self.clockwork.0.values_mut() {
            due.look_at = now.mono + Span::from_ms(due.at.ms_since(now.wall));
        }
    }

    pub(super) fn on_ticks(&mut self, now: Now, fx: &mut Effects) {
        let due = self.clockwork.0.iter();
        let due = due.filter(|(_, due)| now.mono >= due.look_at);
        let due: Vec<(String, Due)> = due.map(|(name, due)| (name.clone(), *due)).collect();
        for (name, due) in due {
            if now.wall < due.at {
                self.note_schedule(now, &name);
                continue;
            }
            if let Some(due) = self.not_yet(now, &name, due) {
                self.clockwork.0.insert(name, due);
                continue;
            }
            self.run_ticks(now, &name, due.at, fx);
            // Whoever could not write down what became of it does not try without end.
            if let Some(again) = self.clockwork.0.get_mut(&name)
                && again.at == due.at
            {
                again.look_at = now.mono + LOOK_AGAIN;
            }
        }
    }

    /// Why a tick that has come is not this host's to run, or not now: when to look again.
    fn not_yet(&self, now: Now, name: &str, due: Due) -> Option<Due> {
        // Of a machine that is there and whose agent says nothing, nothing is moved for a while; a
        // tick does not wait for it.
        let speaks = |host| !self.board.is_impaired(host);
        let keeper = self.index.keeper_among(keeper_id(name), speaks);
        if keeper != Some(self.config.host) || !self.joining.is_done() {
            return Some(Due {
                look_at: now.mono + LOOK_AGAIN,
                listens_since: None,
                ..due
            });
        }
        let is_late = now.wall.ms_since(due.at) > LATE_MS && !planted!(TicksWithoutListening);
        let since = due.listens_since.unwrap_or(now.mono);
        let listens_until = since + HEARD_WITHIN;
        (is_late && now.mono < listens_until).then_some(Due {
            look_at: listens_until,
            listens_since: Some(since),
            ..due
        })
    }

    /// Runs the last tick that has come, if it is not too late for it, and says what became of all.
    fn run_ticks(&mut self, now: Now, name: &str, first: Wall, fx: &mut Effects) {
        let Some(schedule) = self.board.schedule(name).cloned() else {
            return;
        };
        let Some(times) = schedule.timetable.times(schedule.since) else {
            return;
        };
        let in_time_ms = match planted!(DropsLateTicks) {
            true => LATE_MS,
            false => schedule.deadline().as_ms(),
        };
        let oldest = Wall(now.wall.0.saturating_sub(in_time_ms));
        let mut last = (first >= oldest).then_some(first);
        let mut after = first.max(Wall(oldest.0.saturating_sub(1)));
        while let Some(tick) = times.next(after).filter(|tick| *tick <= now.wall) {
            (last, after) = (Some(tick), tick);
        }
        let mut ticks = self.board.ticks(name).cloned().unwrap_or_default();
        if last != Some(first) {
            let what = Ticked::Missed;
            ticks.last.push(Tick { at: first, what });
        }
        if let Some(at) = last {
            let what = self.run_tick(now, (name, &schedule), at, fx);
            ticks.last.push(Tick { at, what });
        }
        let spare = ticks.last.len().saturating_sub(limits::TICKS_KEPT_MAX);
        ticks.last.drain(..spare);
        ticks.through = last.unwrap_or(oldest);
        self.write_ticks(now, name, Some(ticks), fx);
    }

    fn run_tick(
        &mut self,
        now: Now,
        (name, schedule): (&str, &Schedule),
        at: Wall,
        fx: &mut Effects,
    ) -> Ticked {
        let run = if planted!(NamesRunsAnew) {
            ServiceId::mint(self.config.host, &mut self.rng)
        } else {
            run_of_tick(name, at)
        };
        // It has been begun already, by whoever kept the schedule then, and may have ended.
        if self.board.record(&Key::Run(run)).is_some() {
            return Ticked::Begun(run);
        }
        let going_on = self.board.runs_of_schedule(name);
        if let (Overlap::Forbid, Some(earlier)) = (schedule.overlap, going_on.last())
            && !planted!(LetsRunsOverlap)
        {
            return Ticked::Forbidden(*earlier);
        }
        let planned = match going_on.len() >= limits::RUNS_OF_SCHEDULE_MAX {
            true => Err(format!("{} of its runs go on", going_on.len())),
            false => self.plan_of_tick((name, schedule), (run, at)),
        };
        let body = match planned {
            Ok(body) => body,
            Err(why) => return Ticked::Failed(why),
        };
        if schedule.overlap == Overlap::Replace {
            let reason = format!("(schedule {name}) replaces it by a new run");
            for earlier in going_on {
                // It is on the board: it was just found there.
                if let Err(refusal) = self.stop_run(now, earlier, &reason, fx) {
                    return Ticked::Failed(refusal.to_string());
                }
            }
        }
        self.write(now, Key::Run(run), 0, Some(Body::Run(body)), fx);
        Ticked::Begun(run)
    }

    fn plan_of_tick(
        &self,
        (name, schedule): (&str, &Schedule),
        (run, at): (ServiceId, Wall),
    ) -> Result<Run, String> {
        let input: Value = serde_json::from_str(&schedule.run).map_err(|err| err.to_string())?;
        let wanted = parse_run_task(&input).map_err(|err| err.to_string())?;
        let mut order = run_order((&self.board, &self.config.cluster), wanted)
            .map_err(|err| err.to_string())?;
        order.started_by = format!("{SCHEDULE_PREFIX}{name}");
        // What was begun twice elsewhere would not be one run any more.
        order.client_token = String::new();
        let tasks = (0..order.count).map(|index| task_of_run(run, index));
        let planned = self.planned_run(order, (run, at), tasks.collect());
        planned.map_err(|refusal| refusal.to_string())
    }

    /// People are told what became of the ticks that were not dealt with before.
    pub(super) fn tell_ticks(
        &mut self,
        now: Now,
        name: &str,
        (before, new, ticks): (Option<&Body>, &Record, &Ticks),
        fx: &mut Effects,
    ) {
        let through = match before {
            Some(Body::Ticks(before)) => before.through,
            _ => Wall::default(),
        };
        for tick in ticks.last.iter().filter(|tick| tick.at > through) {
            let text = match &tick.what {
                Ticked::Begun(run) => format!("has begun {}", title(&Run::name(None, *run))),
                Ticked::Forbidden(run) => {
                    let goes_on = title(&Run::name(None, *run));
                    format!("has begun nothing: {goes_on} goes on, and may not overlap")
                }
                Ticked::Missed => "has missed a tick: no host was there in time".to_owned(),
                Ticked::Failed(why) => format!("could not begin a run: {why}"),
            };
            let of = (keeper_id(name), format!("{SCHEDULE_PREFIX}{name}"));
            let id = EventId::of(TICK, &[new.key_hash, tick.at.0]);
            self.tell_service(now, id, of, (ServiceNews::Schedule, text), fx);
        }
    }

    pub(super) fn tell_schedule(
        &mut self,
        now: Now,
        name: &str,
        (before, new): (Option<&Body>, &Record),
        fx: &mut Effects,
    ) {
        let text = match (before, &new.body) {
            (Some(Body::Schedule(before)), Some(Body::Schedule(after)))
                if before.enabled != after.enabled =>
            {
                let does = if after.enabled { "goes on" } else { "pauses" };
                does.to_owned()
            }
            (_, Some(Body::Schedule(schedule))) => {
                let table = &schedule.timetable;
                format!("is to run by {}, {}", table.expression(), table.zone())
            }
            (Some(Body::Schedule(_)), None) => "was removed".to_owned(),
            _ => return,
        };
        let of = (keeper_id(name), format!("{SCHEDULE_PREFIX}{name}"));
        let id = EventId::of(TICK, &[new.key_hash, new.version.epoch]);
        self.tell_service(now, id, of, (ServiceNews::Schedule, text), fx);
    }

    /// To be called now and then: what is known of the ticks of schedules that were removed goes,
    /// and what was said by a clock that was far ahead.
    pub(super) fn clear_up_ticks(&mut self, now: Now, fx: &mut Effects) {
        let me = self.config.host;
        let latest = Wall(now.wall.0 + limits::STAMP_AHEAD_MS_MAX);
        let ahead = self.board.schedules().filter(|(name, _)| {
            self.board.dealt_with(name) > Some(latest)
                && self.index.keeper_of(keeper_id(name)) == Some(me)
        });
        let ahead: Vec<(String, Schedule)> = ahead
            .map(|(name, schedule)| (name.to_owned(), schedule.clone()))
            .collect();
        for (name, schedule) in ahead {
            let since = schedule.since.min(now.wall);
            self.write_schedule(now, &name, Some(Schedule { since, ..schedule }), fx);
        }
        let is_removed = |name: &str| self.board.is_buried(&Key::Schedule(name.to_owned()));
        let known = self
            .board
            .all_ticks()
            .filter(|name| is_removed(name) && self.index.keeper_of(keeper_id(name)) == Some(me));
        let over: Vec<String> = known.map(str::to_owned).collect();
        for name in over {
            self.write_ticks(now, &name, None, fx);
        }
    }
}
