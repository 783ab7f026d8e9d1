//! Schedules: which runs are to begin when, and what became of each time that came.

use super::{
    error::ApiError,
    overview::{Query, check_query, page},
    request::{Request, Sort, listed},
    runs,
    view::{View, seconds, set_if},
};
use holdfast_core::{
    agent::{NoOrder, run_order},
    cluster::{
        body::Key,
        schedule::{Overlap, Schedule, Tick, Ticked, keeper_id},
    },
    command::{Command, Outcome, Refusal},
    limits,
    spec::{
        SpecError, SpecErrors,
        error::Faults,
        read::{Choice, Fields, Range, RefError, Rule},
        run::parse_run_task,
        timetable::{Timetable, UTC},
    },
    time::Wall,
};
use serde_json::{Value, json};

/// A record of it must be small enough to travel, whatever it repeats.
const RUN_BYTES_MAX: usize = 16 * 1024;
/// As EventBridge Scheduler has it.
const EXPRESSION_BYTES_MAX: usize = 256;
/// Of each schedule in a list the last tick is told, so that a page of them is made quickly.
const TICKS_LISTED: usize = 1;

const FIELDS: [&str; 6] = [
    "expression",
    "timezone",
    "overlap",
    "deadlineSeconds",
    "enabled",
    "run",
];

const NAME: Rule = Rule {
    wanted: "1 to 64 letters, digits, hyphens, underscores or dots",
    holds: |name| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        (1..=limits::SCHEDULE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
    },
};

const EXPRESSION: Rule = Rule {
    wanted: "at most 256 characters long",
    holds: |text| text.len() <= EXPRESSION_BYTES_MAX,
};

const EXPRESSION_WANTED: &str =
    "\"rate(5 minutes)\", \"cron(0 3 * * ? *)\", \"at(2026-12-24T18:00:00)\" or the like";

const OVERLAP: Choice = Choice {
    served: &["allow", "forbid", "replace"],
    refused: &[],
    wanted: "\"allow\", \"forbid\" or \"replace\"",
};

const DEADLINE: Range = Range {
    min: 1,
    max: limits::TICK_DEADLINE_S_MAX as i64,
    unit: " seconds",
};

const RUN_WANTED: &str = "the input of RunTask that each tick is to run";

/// What of a run's input is the schedule's own to say, and why.
const NOT_OF_A_RUN: [(&str, &str); 2] = [
    (
        "clientToken",
        "cannot be given: each tick begins a run of its own, and only once; remove it",
    ),
    (
        "startedBy",
        "cannot be given: of the runs of a schedule it is schedule/ and its name; remove it",
    ),
];

/// Everything but what is to run.
struct Settings {
    timetable: Timetable,
    overlap: Overlap,
    deadline_s: u32,
    enabled: bool,
}

pub(crate) fn schedules(view: &View<'_>, query: &Query) -> Result<Value, ApiError> {
    check_query(query, &["nextToken"])?;
    let found = view.board.schedules();
    let found = found.map(|(name, schedule)| (name.to_owned(), (name, schedule)));
    let (found, token) = page(query)?.cut(Sort::Ascending, found);
    let found = found.into_iter();
    let found = found.map(|(name, schedule)| schedule_json(view, name, schedule, TICKS_LISTED));
    Ok(listed("schedules", (found.collect(), token)))
}

pub(crate) fn schedule(view: &View<'_>, name: &str) -> Result<Value, ApiError> {
    let known = view.board.schedule(name).ok_or_else(|| no_such(name))?;
    let told = schedule_json(view, name, known, limits::TICKS_KEPT_MAX);
    Ok(json!({"schedule": told}))
}

fn schedule_json(view: &View<'_>, name: &str, schedule: &Schedule, ticks_max: usize) -> Value {
    let ticks = view.board.ticks(name);
    let ticks = ticks.iter().flat_map(|ticks| ticks.last.iter().rev());
    let ticks = ticks.take(ticks_max).map(|tick| tick_json(view, tick));
    let run: Value = serde_json::from_str(&schedule.run).unwrap_or_default();
    let mut answer = json!({
        "name": name,
        "expression": schedule.timetable.expression(),
        "timezone": schedule.timetable.zone(),
        "state": if schedule.enabled { "ENABLED" } else { "DISABLED" },
        "overlap": schedule.overlap.as_str(),
        "deadlineSeconds": schedule.deadline_s,
        "createdAt": seconds(schedule.created_at),
        "updatedAt": seconds(set_at(view, name)),
        "run": run,
        "ticks": ticks.collect::<Vec<_>>(),
    });
    set_if(
        &mut answer,
        "nextTick",
        view.board.next_tick(name).map(seconds),
    );
    let keeper = (view.keeper)(keeper_id(name));
    set_if(
        &mut answer,
        "keeper",
        keeper.map(|host| view.host_name(host)),
    );
    answer
}

/// When it was last written, by the clock of the host where that was.
fn set_at(view: &View<'_>, name: &str) -> Wall {
    let record = view.board.record(&Key::Schedule(name.to_owned()));
    record.map_or(Wall::default(), |record| record.version.stamp.wall)
}

fn tick_json(view: &View<'_>, tick: &Tick) -> Value {
    let (outcome, run, reason) = match &tick.what {
        Ticked::Begun(run) => ("BEGUN", Some(*run), None),
        Ticked::Forbidden(run) => (
            "FORBIDDEN",
            Some(*run),
            Some("that run of an earlier tick went on"),
        ),
        Ticked::Missed => ("MISSED", None, Some("no host was there in time")),
        Ticked::Failed(why) => ("FAILED", None, Some(why.as_str())),
    };
    let mut answer = json!({"at": seconds(tick.at), "outcome": outcome});
    set_if(&mut answer, "runId", run.map(|run| run.to_string()));
    let status = run.and_then(|run| runs::status_of(view, run));
    set_if(&mut answer, "runStatus", status);
    set_if(&mut answer, "reason", reason);
    answer
}

/// Whatever is wrong with it is told at once.
pub(crate) fn plan_set(
    view: &View<'_>,
    now: Wall,
    name: &str,
    body: &Value,
) -> Result<Command, ApiError> {
    let fields = Fields::of_request(body).map_err(ApiError::invalid)?;
    let settings = settings(&fields, name, now).map_err(|faults| vec![faults.to_string()]);
    let run = run_input(view, &fields);
    match (settings, run) {
        (Ok(settings), Ok(run)) => Ok(Command::SetSchedule {
            name: name.to_owned(),
            schedule: Schedule {
                timetable: settings.timetable,
                run,
                overlap: settings.overlap,
                deadline_s: settings.deadline_s,
                enabled: settings.enabled,
                created_at: now,
                since: now,
            },
        }),
        (settings, run) => {
            let faults = [settings.err(), run.err()].into_iter().flatten();
            let faults: Vec<String> = faults.flatten().collect();
            Err(ApiError::InvalidParameter(faults.join("\n")))
        }
    }
}

fn settings(fields: &Fields<'_>, name: &str, now: Wall) -> Result<Settings, SpecErrors> {
    let mut faults = Faults::default();
    if !(NAME.holds)(name) {
        faults.push(SpecError::Malformed {
            path: "name".to_owned(),
            got: name.chars().take(limits::SCHEDULE_NAME_BYTES_MAX).collect(),
            wanted: NAME.wanted,
        });
    }
    fields.check(&FIELDS, &FIELDS, &mut faults);
    let given = fields.text("expression", &EXPRESSION);
    let table =
        given.and_then(|_| fields.reference("expression", |text| Timetable::new(text, UTC)));
    let table = fields.required("expression", EXPRESSION_WANTED, table);
    let table = faults.keep(table.map(Some));
    let zone = faults.keep(fields.reference("timezone", zone));
    let zone = zone.as_deref().unwrap_or(UTC);
    let timetable = table.and_then(|table| {
        let table = Timetable::new(table.expression(), zone);
        let table = table.and_then(|table| table.that_comes(now));
        let table = table.map_err(|err| SpecError::Malformed {
            path: fields.path("expression"),
            got: err.got,
            wanted: err.wanted,
        });
        faults.keep(table.map(Some))
    });
    let overlap = faults.keep(fields.choice("overlap", &OVERLAP));
    let deadline_s = faults.keep(fields.number("deadlineSeconds", &DEADLINE));
    let enabled = faults.keep(fields.flag("enabled"));
    faults.finish(())?;
    Ok(Settings {
        timetable: timetable.expect("one that was not read is a fault"),
        overlap: overlap.map_or_else(Overlap::default, |overlap| {
            overlap.parse().expect("it is one of those that there are")
        }),
        deadline_s: deadline_s.unwrap_or(limits::TICK_DEADLINE_S_DEFAULT),
        enabled: enabled.unwrap_or(true),
    })
}

fn zone(name: &str) -> Result<String, RefError> {
    let any = "rate(1 day)";
    Ok(Timetable::new(any, name)?.zone().to_owned())
}

/// What is to be run, as text; or the faults in it.
fn run_input(view: &View<'_>, fields: &Fields<'_>) -> Result<String, Vec<String>> {
    let input = fields.required("run", RUN_WANTED, fields.object("run"));
    let input = input.map_err(|fault| vec![fault.to_string()])?;
    let own = NOT_OF_A_RUN.iter();
    let own = own.filter(|(name, _)| input.get(name).is_some());
    let mut faults: Vec<String> = own
        .map(|(name, why)| format!("{} {why}", input.path(name)))
        .collect();
    let given = fields.get("run").expect("an object was just read from it");
    let run = given.to_string();
    let (got, max) = (run.len(), RUN_BYTES_MAX);
    let checked = match got > max {
        true => Err(SpecError::TooLarge { got, max }.to_string()),
        false => check_run(view, given),
    };
    if let Err(found) = checked {
        faults.extend(found.lines().map(|fault| format!("run: {fault}")));
    }
    match faults.is_empty() {
        true => Ok(run),
        false => Err(faults),
    }
}

/// Whether it could begin now.
fn check_run(view: &View<'_>, given: &Value) -> Result<(), String> {
    let wanted = parse_run_task(given).map_err(|err| err.to_string())?;
    let order =
        run_order((view.board, &view.context.cluster), wanted).map_err(|err| err.to_string())?;
    match view.board.resolve(&order.definition) {
        Some(found) if view.board.is_active(&found) => Ok(()),
        Some(_) => Err(Refusal::DefinitionInactive(order.definition.to_string()).to_string()),
        None => Err(NoOrder::NoSuchDefinition(order.definition).to_string()),
    }
}

pub(crate) fn plan_enable(_: &View<'_>, name: &str, body: &Value) -> Result<Command, ApiError> {
    plan_switch(name, true, body)
}

pub(crate) fn plan_disable(_: &View<'_>, name: &str, body: &Value) -> Result<Command, ApiError> {
    plan_switch(name, false, body)
}

fn plan_switch(name: &str, enabled: bool, body: &Value) -> Result<Command, ApiError> {
    Request::read(body, &[], &[])?;
    let name = name.to_owned();
    Ok(Command::SwitchSchedule { name, enabled })
}

pub(crate) fn plan_remove(_: &View<'_>, name: &str, body: &Value) -> Result<Command, ApiError> {
    Request::read(body, &[], &[])?;
    Ok(Command::RemoveSchedule(name.to_owned()))
}

/// What a command did.
pub(crate) fn changed(view: &View<'_>, outcome: &Outcome) -> Result<Value, ApiError> {
    match outcome {
        Outcome::ScheduleSet { name, is_new } => {
            let mut answer = schedule(view, name)?;
            set_if(&mut answer, "created", is_new.then_some(true));
            Ok(answer)
        }
        Outcome::ScheduleRemoved(name) => Ok(json!({"name": name, "status": "REMOVED"})),
        other => unreachable!("{other:?} is no change of a schedule"),
    }
}

fn no_such(name: &str) -> ApiError {
    Refusal::NoSuchSchedule(name.chars().take(limits::SCHEDULE_NAME_BYTES_MAX).collect()).into()
}
