//! `RunTask`, and what ECS has no word for: runs as a whole.

use super::{
    Plan,
    error::ApiError,
    hosts,
    overview::{Query, check_query, page},
    request::{Request, Sort, listed, missing},
    tags::tagged,
    task_shape::TaskShape,
    view::{View, seconds, set_if},
};
use holdfast_core::{
    agent::{NoOrder, run_order},
    cluster::{
        body::{Slot, TaskReport},
        run::{End, Ended, NAME_PREFIX, Run},
    },
    command::{Command, Outcome, RunOrder},
    event::HostStanding,
    ids::{HostId, ServiceId, SlotIndex, TaskId},
    spec::run::{RunTask, parse_run_task, parse_start_task},
    task::{
        runtime::SlotLabel,
        status::{StopCode, TaskStatus},
    },
};
use serde_json::{Value, json};
use std::borrow::Cow;

const STOP_REASON: &str = "its run was stopped by a user";
const REASON_CHARS_MAX: usize = 255;

pub(crate) fn plan_run(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let wanted = parse_run_task(body).map_err(ApiError::invalid)?;
    let tags = wanted.tags.clone();
    let order = order(view, wanted)?;
    Ok(Plan::write(tagged(Command::RunTask(Box::new(order)), tags)))
}

/// A run of a task on each of the hosts that are there, and take tasks.
pub(crate) fn plan_start(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let (wanted, given) = parse_start_task(body).map_err(ApiError::invalid)?;
    let (mut hosts, mut failures) = (Vec::new(), Vec::new());
    for given in given {
        match host_to_start_on(view, &given)? {
            Ok(host) => hosts.push(host),
            Err(failure) => failures.push(failure),
        }
    }
    let Ok(count @ 1..) = u32::try_from(hosts.len()) else {
        return Ok(Plan::Answer(json!({"tasks": [], "failures": failures})));
    };
    let tags = wanted.tags.clone();
    let order = RunOrder {
        count,
        hosts,
        ..order(view, wanted)?
    };
    Ok(Plan::Write {
        command: tagged(Command::RunTask(Box::new(order)), tags),
        prepared: None,
        failures,
    })
}

/// As ECS refuses one: it is not there, its agent does not answer, or it takes no tasks.
fn host_to_start_on(view: &View<'_>, given: &str) -> Result<Result<HostId, Value>, ApiError> {
    let host = match hosts::find(view, given) {
        Ok(host) => host,
        Err(ApiError::NotFound(_)) => return Ok(Err(missing(given))),
        Err(err) => return Err(err),
    };
    let reason = match view.standing_of(host) {
        HostStanding::Draining | HostStanding::Leaving => "INACTIVE",
        HostStanding::Down | HostStanding::Left | HostStanding::Forgotten => "AGENT",
        HostStanding::Up
        | HostStanding::Suspect
        | HostStanding::Impaired
        | HostStanding::Restarting => return Ok(Ok(host)),
    };
    let arn = view.context.host_arn(host);
    Ok(Err(json!({"arn": arn, "reason": reason})))
}

/// In the cluster that is asked for, also where the request itself does not name it.
fn order(view: &View<'_>, wanted: RunTask) -> Result<RunOrder, ApiError> {
    let wanted = RunTask {
        cluster: Some(view.context.name().to_owned()),
        ..wanted
    };
    run_order((view.board, &view.context.cluster), wanted).map_err(|err| match err {
        NoOrder::NoSuchCluster(_) => ApiError::ClusterNotFound(err.to_string()),
        NoOrder::NoSuchDefinition(_) => ApiError::NoSuchDefinition(err.to_string()),
        NoOrder::Invalid(errors) => ApiError::invalid(errors),
    })
}

/// ECS's answer: the tasks as they were promised, whatever has become of them in this very moment.
pub(crate) fn begun(view: &View<'_>, id: ServiceId) -> Result<Value, ApiError> {
    let run = view.board.run(id).ok_or_else(|| no_such_run(id))?;
    let tasks = (0..).zip(&run.tasks).filter_map(|(index, task)| {
        let report = promised(view, (id, index))?;
        let host = promised_host(view, &report);
        Some(TaskShape::of(view, (host, *task), &report).json())
    });
    let tasks: Vec<Value> = tasks.collect();
    Ok(json!({"tasks": tasks, "failures": []}))
}

pub(crate) fn changed(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::RunStopped(id) => json!({"runId": id.to_string(), "status": "STOPPING"}),
        Outcome::RunRemoved(id) => json!({"runId": id.to_string(), "status": "REMOVED"}),
        other => unreachable!("{other:?} is no change of a run"),
    }
}

pub(crate) fn plan_stop(view: &View<'_>, given: &str, body: &Value) -> Result<Command, ApiError> {
    let known = ["reason"];
    let reason = Request::read(body, &known, &known)?.text("reason")?;
    let reason = reason.map(|reason| reason.chars().take(REASON_CHARS_MAX).collect());
    Ok(Command::StopRun {
        run: find(view, given)?,
        reason: reason.unwrap_or_else(|| STOP_REASON.to_owned()),
    })
}

pub(crate) fn plan_remove(view: &View<'_>, given: &str, body: &Value) -> Result<Command, ApiError> {
    let known = ["force"];
    let force = Request::read(body, &known, &known)?.flag("force")?;
    let run = find(view, given)?;
    Ok(Command::RemoveRun { run, force })
}

pub(crate) fn runs(view: &View<'_>, query: &Query) -> Result<Value, ApiError> {
    check_query(query, &["family", "nextToken"])?;
    let family = query.get("family");
    let found = view.board.runs();
    let found = found.filter(|(_, run)| family.is_none_or(|f| *f == run.revision.family));
    // The newest first.
    let found =
        found.map(|(id, run)| (format!("{:020}{id}", run.settings.created_at.0), (id, run)));
    let mut found: Vec<_> = found.collect();
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    let (found, token) = page(query)?.cut(Sort::Descending, found.into_iter());
    let found = found.into_iter().map(|(id, run)| run_json(view, id, run));
    Ok(listed("runs", (found.collect(), token)))
}

pub(crate) fn run(view: &View<'_>, given: &str) -> Result<Value, ApiError> {
    let id = find(view, given)?;
    let run = view.board.run(id).ok_or_else(|| no_such_run(id))?;
    Ok(json!({"run": run_json(view, id, run)}))
}

/// The one run whose id starts so, or that promised this task.
fn find(view: &View<'_>, given: &str) -> Result<ServiceId, ApiError> {
    let promised = given
        .parse()
        .ok()
        .and_then(|task| view.board.run_of_task(task));
    if let Some((run, _)) = promised {
        return Ok(run);
    }
    let mut found = view.board.runs().map(|(id, _)| id);
    let starts = |id: &ServiceId| !given.is_empty() && id.to_string().starts_with(given);
    match (found.find(starts), found.find(starts)) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(ApiError::InvalidParameter(format!(
            "several runs have an id that starts with {given}; give more of it"
        ))),
        (None, _) => Err(no_such_run(given)),
    }
}

fn no_such_run(given: impl std::fmt::Display) -> ApiError {
    let given: String = given.to_string().chars().take(64).collect();
    ApiError::InvalidParameter(format!(
        "there is no run {given}; `holdfast runs ls` lists those of the last hour"
    ))
}

fn run_json(view: &View<'_>, id: ServiceId, run: &Run) -> Value {
    let (revision, options) = (&run.revision, &run.options);
    let slots: Vec<Value> = (0..)
        .zip(&run.tasks)
        .map(|(index, first)| slot_json(view, (id, index), *first))
        .collect();
    let ended_at = view.board.run_ended_at(id);
    let mut answer = json!({
        "runId": id.to_string(),
        "taskDefinitionArn": view.context.definition_arn(&revision.family, revision.revision),
        "count": run.tasks.len(),
        "group": group(run),
        "status": status(&slots, ended_at.is_some()),
        "createdAt": seconds(run.settings.created_at),
        "retries": options.retries,
        "onLost": options.on_lost.to_string(),
        "remove": options.remove,
        "slots": slots,
    });
    let started_by = Some(run.started_by.as_str()).filter(|by| !by.is_empty());
    set_if(&mut answer, "startedBy", started_by);
    set_if(&mut answer, "timeoutSeconds", options.timeout_s);
    set_if(&mut answer, "endedAt", ended_at.map(seconds));
    if let Ok(overrides) = serde_json::from_str::<Value>(&run.overrides) {
        answer["overrides"] = overrides;
    }
    answer
}

/// How a run stands, or has ended, while the board has it.
pub(crate) fn status_of(view: &View<'_>, id: ServiceId) -> Option<Value> {
    let run = view.board.run(id)?;
    Some(run_json(view, id, run)["status"].take())
}

/// Of all slots: how it ended, the first that ended badly before the others.
fn status(slots: &[Value], has_ended: bool) -> Value {
    let is = |wanted: &'static str| move |slot: &&Value| slot["status"] == wanted;
    if !has_ended {
        let runs = slots.iter().any(|slot| is("RUNNING")(&slot));
        return json!(if runs { "RUNNING" } else { "PENDING" });
    }
    let bad = slots.iter().find(|slot| !is("SUCCEEDED")(slot));
    bad.map_or_else(|| json!("SUCCEEDED"), |slot| slot["status"].clone())
}

fn slot_json(view: &View<'_>, (id, index): (ServiceId, SlotIndex), first: TaskId) -> Value {
    let slot = view.board.slot(id, index).map(|(_, slot)| slot);
    let mut reports: Vec<_> = view.board.copies(id, index).collect();
    reports.retain(|(_, _, report)| !report.refused);
    reports.sort_by_key(|(_, _, report)| report.slot.as_ref().map(|label| label.generation));
    let last = reports.last();
    // Those whose reports are gone are counted by the keeper alone.
    let counted = slot.map_or(0, |slot| slot.tried as usize + 1);
    let mut answer = json!({
        "slot": index,
        "status": last.map_or("PROVISIONING", |(_, _, report)| report.last.as_str()),
        "taskId": last.map_or(first, |(_, task, _)| *task).to_string(),
        "attempts": last.map_or(0, |_| reports.len().max(counted)),
    });
    let host = last.map(|(host, ..)| *host);
    let host = host.or_else(|| slot.and_then(|slot| slot.host));
    set_if(&mut answer, "host", host.map(|host| view.host_name(host)));
    if let Some(slot) = slot {
        answer["reason"] = json!(slot.reason);
    }
    if let Some(end) = slot.and_then(|slot| slot.end.as_ref()) {
        answer["status"] = json!(end.how.as_str());
        answer["endedAt"] = seconds(end.at);
        set_if(&mut answer, "exitCode", end.exit_code);
    }
    answer
}

/// The run that a task is of.
pub(crate) fn of<'v>(view: &View<'v>, report: &TaskReport) -> Option<&'v Run> {
    view.board.run(report.slot.as_ref()?.service)
}

/// ECS's `group`.
pub(crate) fn group(run: &Run) -> String {
    match run.group.as_str() {
        "" => format!("family:{}", run.revision.family),
        group => group.to_owned(),
    }
}

/// A task by its id, whether its host has said anything of it yet or not, as it is told; of one
/// that is promised, the host that is to begin it, as far as there is one.
pub(crate) fn named<'v>(
    view: &View<'v>,
    task: TaskId,
) -> Option<(Option<HostId>, Cow<'v, TaskReport>)> {
    if let Some((host, report)) = view.board.task(task) {
        return Some((Some(host), as_told(view, report)));
    }
    let (id, index) = view.board.run_of_task(task)?;
    let report = promised(view, (id, index))?;
    Some((promised_host(view, &report), Cow::Owned(report)))
}

pub(crate) fn named_json(view: &View<'_>, task: TaskId) -> Option<Value> {
    let (host, report) = named(view, task)?;
    Some(TaskShape::of(view, (host, task), &report).json())
}

fn promised_host(view: &View<'_>, report: &TaskReport) -> Option<HostId> {
    let label = report.slot.as_ref()?;
    let (_, slot) = view.board.slot(label.service, label.index)?;
    slot.host
}

/// Tasks that runs have promised and no host has begun.
pub(crate) fn all_promised<'v>(
    view: &'v View<'_>,
) -> impl Iterator<Item = (TaskId, TaskReport)> + 'v {
    let slots = view.board.runs().flat_map(|(id, run)| {
        let tasks = (0..).zip(run.tasks.clone());
        tasks.map(move |(index, task)| (id, index, task))
    });
    slots
        .filter(|(.., task)| view.board.task(*task).is_none())
        .filter_map(|(id, index, task)| Some((task, promised(view, (id, index))?)))
}

fn promised(view: &View<'_>, (id, index): (ServiceId, SlotIndex)) -> Option<TaskReport> {
    let run = view.board.run(id)?;
    let slot = view.board.slot(id, index);
    let label = SlotLabel {
        service: id,
        service_name: run.settings.name.as_str().into(),
        index,
        generation: slot.map_or(0, |(generation, _)| generation),
    };
    let created_at = run.settings.created_at;
    let mut report = TaskReport::begin(run.revision.clone(), Some(label), created_at);
    if let Some((_, slot)) = slot
        && let Some(end) = &slot.end
    {
        close(&mut report, slot, end);
    }
    Some(report)
}

fn close(report: &mut TaskReport, slot: &Slot, end: &End) {
    (report.desired, report.last) = (TaskStatus::Stopped, TaskStatus::Stopped);
    report.stop_code = Some(match end.how {
        Ended::Stopped | Ended::TimedOut => StopCode::UserInitiated,
        Ended::Lost => StopCode::TerminationNotice,
        Ended::Failed | Ended::Succeeded => StopCode::TaskFailedToStart,
    });
    report.stopped_reason = slot.reason.as_str().into();
    report.stopped_at = Some(end.at);
}

/// What is to be told of a task: of a run's whose host is lost, that it has stopped, though that
/// host could not say so.
pub(crate) fn as_told<'r>(view: &View<'_>, report: &'r TaskReport) -> Cow<'r, TaskReport> {
    let label = report.slot.as_ref().filter(|_| report.last.is_live());
    let label = label.filter(|label| label.service_name.starts_with(NAME_PREFIX));
    let lost = label.and_then(|label| {
        let (generation, slot) = view.board.slot(label.service, label.index)?;
        let end = slot.end.as_ref()?;
        (end.how == Ended::Lost && generation == label.generation).then_some((slot, end))
    });
    match lost {
        Some((slot, end)) => {
            let mut report = report.clone();
            close(&mut report, slot, end);
            Cow::Owned(report)
        }
        None => Cow::Borrowed(report),
    }
}
