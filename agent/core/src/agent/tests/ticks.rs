//! Schedules as one agent keeps them: on time, late, missed, overlapping, paused and removed.

use super::{config, host, version};
use crate::{
    agent::Agent,
    cluster::{
        board::Board,
        body::{Body, Key},
        message::{Message, Via},
        record::{Record, Version},
        schedule::{Overlap, Schedule, Tick, Ticked, Ticks, keeper_id, run_of_tick, task_of_run},
    },
    command::{Command, CommandId, Outcome, Refusal},
    effect::{Effect, Effects},
    ids::HostId,
    input::Input,
    limits,
    spec::{
        task_definition::{Container, TaskDefinition},
        timetable::{Timetable, UTC},
    },
    time::{Now, Span, Wall},
};

const MINUTE_MS: u64 = 60_000;

/// An agent that is alone, and the time there.
struct Alone {
    agent: Agent,
    now: Now,
    /// When the schedule was set.
    since: Wall,
}

impl Alone {
    /// With the definition `job` and a schedule of it each minute.
    fn new(change: impl FnOnce(&mut Schedule)) -> Self {
        let mut fx = Effects::new();
        let agent = Agent::resume(config(), Board::default(), 1, super::NOW, &mut fx);
        fx.drain().for_each(drop);
        let mut alone = Self {
            agent,
            now: super::NOW,
            since: super::NOW.wall,
        };
        alone.wait(10_000);
        let definition = TaskDefinition {
            family: "job".to_owned(),
            containers: vec![Container {
                name: "main".to_owned(),
                image: "job:1".to_owned(),
                memory_mib: 16,
                essential: true,
                ..Container::default()
            }],
            ..TaskDefinition::default()
        };
        alone.must(Command::RegisterTaskDefinition(definition));
        let mut schedule = Schedule {
            timetable: Timetable::new("rate(1 minute)", UTC).expect("it is one"),
            run: r#"{"taskDefinition": "job"}"#.to_owned(),
            overlap: Overlap::Allow,
            deadline_s: 3_600,
            enabled: true,
            created_at: Wall::default(),
            since: Wall::default(),
        };
        change(&mut schedule);
        alone.since = alone.now.wall;
        alone.must(Command::SetSchedule {
            name: "s".to_owned(),
            schedule,
        });
        alone
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut fx = Effects::new();
        self.agent.step(self.now, input, &mut fx);
        fx.drain().collect()
    }

    fn order(&mut self, command: Command) -> Result<Outcome, Refusal> {
        let id = CommandId(1);
        let effects = self.step(Input::Command { id, command });
        let told = effects.into_iter().find_map(|effect| match effect {
            Effect::Reply { result, .. } => Some(result),
            _ => None,
        });
        told.expect("it is answered")
    }

    fn must(&mut self, command: Command) {
        self.order(command).expect("nothing is wrong with it");
    }

    /// Time goes by without a wake, as for who stands still.
    fn stand_still(&mut self, ms: u64) {
        self.now.mono = self.now.mono + Span::from_ms(ms);
        self.now.wall = Wall(self.now.wall.0 + ms);
    }

    /// It is woken when it wants to be.
    fn wait(&mut self, ms: u64) {
        let until = self.now.mono + Span::from_ms(ms);
        while let Some(next) = self.agent.deadline().filter(|next| *next <= until) {
            // The clocks go in whole milliseconds.
            self.stand_still(next.since(self.now.mono).as_ms().max(1));
            self.step(Input::Wake);
        }
        self.stand_still(until.since(self.now.mono).as_ms());
        self.step(Input::Wake);
    }

    /// What became of the ticks, with the minutes after the schedule was set.
    fn ticks(&self) -> Vec<(u64, &Ticked)> {
        let known = self.agent.board().ticks("s").into_iter();
        let all = known.flat_map(|ticks| &ticks.last);
        all.map(|tick| (tick.at.ms_since(self.since) / MINUTE_MS, &tick.what))
            .collect()
    }

    /// The tick so many minutes after the schedule was set.
    fn tick(&self, minute: u64) -> Wall {
        Wall(self.since.0 + minute * MINUTE_MS)
    }

    fn begun(&self, minute: u64) -> Ticked {
        Ticked::Begun(run_of_tick("s", self.tick(minute)))
    }

    fn hears(&mut self, record: std::sync::Arc<Record>) {
        let from = HostId(2 << 96);
        let address = super::address(from);
        self.step(Input::Message {
            from,
            address,
            via: Via::Stream,
            message: Message::Records(vec![record]),
        });
    }
}

fn remove() -> Command {
    Command::RemoveSchedule("s".to_owned())
}

fn switch(enabled: bool) -> Command {
    let name = "s".to_owned();
    Command::SwitchSchedule { name, enabled }
}

#[test]
fn a_tick_is_a_run_called_after_it() {
    let mut alone = Alone::new(|_| {});
    alone.wait(MINUTE_MS - 1_000);
    assert_eq!(alone.ticks(), []);
    alone.wait(2_000);
    assert_eq!(alone.ticks(), [(1, &alone.begun(1))]);
    let id = run_of_tick("s", alone.tick(1));
    let run = alone.agent.board().run(id).expect("it was begun");
    assert_eq!(run.started_by, "schedule/s");
    assert_eq!(run.settings.created_at, alone.tick(1));
    assert_eq!(run.tasks, [task_of_run(id, 0)]);
    assert_eq!(run.revision.family, "job");
    alone.wait(2 * MINUTE_MS);
    let expected = [1, 2, 3].map(|minute| (minute, alone.begun(minute)));
    assert_eq!(
        alone.ticks(),
        expected.each_ref().map(|(at, what)| (*at, what))
    );
}

#[test]
fn who_may_have_stood_still_listens_before_it_runs_a_tick() {
    let mut alone = Alone::new(|_| {});
    alone.stand_still(MINUTE_MS + 500);
    alone.step(Input::Wake);
    assert_eq!(alone.ticks(), [], "somebody else may have run it");
    alone.wait(1_100);
    assert_eq!(alone.ticks(), [(1, &alone.begun(1))], "nobody has");
}

#[test]
fn who_hears_that_a_tick_was_run_does_not_run_it() {
    let mut alone = Alone::new(|_| {});
    alone.stand_still(MINUTE_MS + 500);
    alone.step(Input::Wake);
    let (at, what) = (alone.tick(1), Ticked::Failed("by another".to_owned()));
    let ticks = Ticks {
        through: at,
        last: vec![Tick { at, what }],
    };
    let version = Version {
        epoch: 1,
        ..version(alone.now.wall)
    };
    let key = Key::Ticks("s".to_owned());
    alone.hears(Record::new(key, version, Some(Body::Ticks(ticks))));
    alone.wait(10_000);
    let by_another = Ticked::Failed("by another".to_owned());
    assert_eq!(alone.ticks(), [(1, &by_another)]);
    assert_eq!(alone.agent.board().runs().count(), 0);
}

/// While the host that keeps it is there, no other runs a tick; when it is gone, one does.
#[test]
fn the_heir_of_a_keeper_runs_its_ticks() {
    let mut alone = Alone::new(|_| {});
    let keeper = (2..100).map(|n| HostId(n << 96)).find(|peer| {
        let mut other = alone.agent.clone();
        let mut fx = Effects::new();
        let message = Message::Records(vec![host(*peer)]);
        let input = Input::Message {
            from: *peer,
            address: super::address(*peer),
            via: Via::Stream,
            message,
        };
        other.step(alone.now, input, &mut fx);
        other.keeper_of(keeper_id("s")) == Some(*peer)
    });
    let keeper = keeper.expect("of a hundred hosts one outranks it");
    alone.hears(host(keeper));
    alone.stand_still(MINUTE_MS);
    alone.step(Input::Wake);
    assert_eq!(alone.ticks(), [], "it is not its own to run");
    // Nothing is heard of it, so it is down before long.
    alone.wait(10_000);
    assert_eq!(alone.ticks(), [(1, &alone.begun(1))]);
}

#[test]
fn of_ticks_that_nobody_ran_the_last_one_is_run_if_it_is_not_too_late() {
    let mut alone = Alone::new(|schedule| schedule.deadline_s = 90);
    alone.stand_still(5 * MINUTE_MS + 30_000);
    alone.wait(2_000);
    let begun = alone.begun(5);
    assert_eq!(alone.ticks(), [(1, &Ticked::Missed), (5, &begun)]);
    assert_eq!(alone.agent.board().next_tick("s"), Some(alone.tick(6)));
}

#[test]
fn a_tick_that_is_older_than_its_deadline_is_missed() {
    // The second before the minute after it is set.
    let mut alone = Alone::new(|schedule| {
        schedule.deadline_s = 60;
        schedule.timetable = Timetable::new("at(2023-11-14T22:15:00)", UTC).expect("it is one");
    });
    alone.stand_still(10 * MINUTE_MS);
    alone.wait(2_000);
    let what: Vec<_> = alone.ticks().into_iter().map(|(_, what)| what).collect();
    assert_eq!(what, [&Ticked::Missed]);
    assert_eq!(alone.agent.board().runs().count(), 0);
    assert_eq!(alone.agent.board().next_tick("s"), None);
}

#[test]
fn an_earlier_run_that_goes_on_forbids_the_next_or_is_stopped() {
    let mut alone = Alone::new(|schedule| schedule.overlap = Overlap::Forbid);
    alone.wait(2 * MINUTE_MS + 1_000);
    let first = run_of_tick("s", alone.tick(1));
    let begun = alone.begun(1);
    assert_eq!(alone.ticks(), [(1, &begun), (2, &Ticked::Forbidden(first))]);

    let mut alone = Alone::new(|schedule| schedule.overlap = Overlap::Replace);
    alone.wait(2 * MINUTE_MS + 1_000);
    let (begun, second) = (alone.begun(1), alone.begun(2));
    assert_eq!(alone.ticks(), [(1, &begun), (2, &second)]);
    let first = run_of_tick("s", alone.tick(1));
    let order = alone.agent.board().stop_order(task_of_run(first, 0));
    let order = order.expect("it is to stop");
    assert_eq!(order, "(schedule s) replaces it by a new run");
}

#[test]
fn what_cannot_be_begun_says_why() {
    let mut alone = Alone::new(|schedule| {
        schedule.run = r#"{"taskDefinition": "none"}"#.to_owned();
    });
    alone.wait(MINUTE_MS + 1_000);
    let why = "there is no task definition none; `holdfast task-definition ls` lists them";
    assert_eq!(alone.ticks(), [(1, &Ticked::Failed(why.to_owned()))]);
}

#[test]
fn a_schedule_that_pauses_makes_up_for_nothing() {
    let mut alone = Alone::new(|_| {});
    alone.must(switch(false));
    alone.wait(3 * MINUTE_MS);
    assert_eq!(alone.ticks(), []);
    alone.must(switch(true));
    alone.wait(MINUTE_MS - 1_000);
    assert_eq!(alone.ticks(), []);
    alone.wait(2_000);
    assert_eq!(alone.ticks().len(), 1);
}

#[test]
fn nothing_is_left_of_a_schedule_that_was_removed_but_its_runs() {
    let mut alone = Alone::new(|_| {});
    alone.wait(MINUTE_MS + 1_000);
    alone.must(remove());
    alone.wait(2 * MINUTE_MS);
    assert_eq!(alone.ticks(), []);
    assert_eq!(alone.agent.board().runs().count(), 1);
    let refused = alone.order(remove());
    assert_eq!(refused, Err(Refusal::NoSuchSchedule("s".to_owned())));
    let refused = alone.order(switch(true));
    assert_eq!(refused, Err(Refusal::NoSuchSchedule("s".to_owned())));
}

#[test]
fn no_more_ticks_are_remembered_than_the_limit_says() {
    let mut alone = Alone::new(|schedule| schedule.overlap = Overlap::Forbid);
    let minutes = limits::TICKS_KEPT_MAX as u64 + 3;
    alone.wait(minutes * MINUTE_MS + 1_000);
    let ticks = alone.ticks();
    assert_eq!(ticks.len(), limits::TICKS_KEPT_MAX);
    assert_eq!(ticks.last().map(|(minute, _)| *minute), Some(minutes));
    let first = run_of_tick("s", alone.tick(1));
    assert_eq!(
        ticks[0].1,
        &Ticked::Forbidden(first),
        "its tick is forgotten, and it is not"
    );
    assert_eq!(alone.agent.board().runs().count(), 1);
}

/// A machine whose clock was a day ahead when it started: what was said then silences nothing.
#[test]
fn ticks_of_a_clock_that_was_ahead_are_taken_back() {
    const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
    let mut alone = Alone::new(|_| {});
    alone.stand_still(DAY_MS);
    alone.wait(5_000);
    assert_eq!(
        alone.ticks().last().map(|(minute, _)| *minute),
        Some(24 * 60)
    );
    alone.now.wall = Wall(alone.now.wall.0 - DAY_MS);
    // The next look around the house sees it.
    alone.wait(15_000);
    alone.since = alone.now.wall;
    alone.wait(MINUTE_MS + 1_000);
    assert_eq!(alone.ticks().last().map(|(minute, _)| *minute), Some(0));
    assert!(alone.agent.board().dealt_with("s") <= Some(alone.now.wall));
}

#[test]
fn what_is_set_as_it_was_is_not_begun_anew() {
    let mut alone = Alone::new(|_| {});
    let schedule = alone.agent.board().schedule("s").cloned();
    let schedule = schedule.expect("it was set");
    alone.wait(MINUTE_MS / 2);
    let set = |schedule: &Schedule| Command::SetSchedule {
        name: "s".to_owned(),
        schedule: schedule.clone(),
    };
    alone.must(set(&schedule));
    let changed = Schedule {
        overlap: Overlap::Replace,
        ..schedule
    };
    alone.must(set(&changed));
    alone.wait(MINUTE_MS / 2 + 1_000);
    assert_eq!(alone.ticks(), [(1, &alone.begun(1))]);
}

#[test]
fn a_schedule_whose_runs_never_end_leaves_room_for_others() {
    let mut alone = Alone::new(|_| {});
    let most = limits::RUNS_OF_SCHEDULE_MAX as u64;
    alone.wait((most + 2) * MINUTE_MS + 1_000);
    assert_eq!(
        alone.agent.board().runs().count(),
        limits::RUNS_OF_SCHEDULE_MAX
    );
    let failed = Ticked::Failed(format!("{most} of its runs go on"));
    assert_eq!(alone.ticks().last(), Some(&(most + 2, &failed)));
}

/// What runs is not given up for what cannot.
#[test]
fn nothing_is_replaced_by_what_cannot_begin() {
    let mut alone = Alone::new(|schedule| schedule.overlap = Overlap::Replace);
    alone.wait(MINUTE_MS + 1_000);
    let schedule = alone.agent.board().schedule("s").cloned();
    let schedule = Schedule {
        run: r#"{"taskDefinition": "none"}"#.to_owned(),
        ..schedule.expect("it was set")
    };
    alone.must(Command::SetSchedule {
        name: "s".to_owned(),
        schedule,
    });
    alone.wait(MINUTE_MS);
    assert!(matches!(alone.ticks()[1], (2, Ticked::Failed(_))));
    let first = run_of_tick("s", alone.tick(1));
    assert_eq!(alone.agent.board().stop_order(task_of_run(first, 0)), None);
}
