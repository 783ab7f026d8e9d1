//! Task protection: the two operations of ECS, and what its agent answers to a task itself.

use super::{
    Plan,
    error::ApiError,
    introspection::rfc3339,
    request::Request,
    tasks::meant,
    view::{View, seconds, set_if},
};
use crate::gossip::now_wall_ms;
use holdfast_core::{
    cluster::body::TaskReport,
    command::{Command, NotProtected},
    ids::TaskId,
    limits,
    spec::{ecs_fields, read::Range},
    time::Wall,
};
use serde_json::{Value, json};

const MINUTES: Range = Range {
    min: 1,
    max: limits::PROTECTION_MINUTES_MAX as i64,
    unit: " minutes",
};
const WANTED: &str = "the ids or ARNs of tasks";

pub(crate) fn plan_update(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let known = ecs_fields::UPDATE_TASK_PROTECTION;
    let request = Request::read(body, known, known)?;
    let tasks = tasks(view, &request, limits::PROTECT_TASKS_MAX)?;
    let minutes = request.number("expiresInMinutes", &MINUTES)?;
    let minutes = minutes.unwrap_or(limits::PROTECTION_MINUTES_DEFAULT);
    if body["protectionEnabled"].is_null() {
        let why = "protectionEnabled is missing; it must be true or false";
        return Err(ApiError::InvalidParameter(why.to_owned()));
    }
    let minutes = request.flag("protectionEnabled")?.then_some(minutes);
    Ok(Plan::write(Command::ProtectTasks { tasks, minutes }))
}

pub(crate) fn ordered(
    view: &View<'_>,
    until: Option<Wall>,
    tasks: &[TaskId],
    failed: &[(TaskId, NotProtected)],
) -> Value {
    let tasks = tasks.iter().map(|task| protected(view, *task, until));
    let failed = failed.iter().map(|(task, why)| failure(view, *task, *why));
    json!({
        "protectedTasks": tasks.collect::<Vec<_>>(),
        "failures": failed.collect::<Vec<_>>(),
    })
}

pub(crate) fn get(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::GET_TASK_PROTECTION;
    let request = Request::read(body, known, known)?;
    let (mut tasks_found, mut failures) = (Vec::new(), Vec::new());
    for task in tasks(view, &request, limits::DESCRIBE_TASKS_MAX)? {
        match of(view, task) {
            Ok(until) => tasks_found.push(protected(view, task, until)),
            Err(why) => failures.push(failure(view, task, why)),
        }
    }
    Ok(json!({"protectedTasks": tasks_found, "failures": failures}))
}

/// Until when the task is protected, if it may be at all.
pub(crate) fn of(view: &View<'_>, task: TaskId) -> Result<Option<Wall>, NotProtected> {
    let (_, report) = view.board.task(task).ok_or(NotProtected::Unknown)?;
    match &report.slot {
        None => Err(NotProtected::OfNoService),
        Some(label) if view.board.run(label.service).is_some() => Err(NotProtected::OfNoService),
        Some(_) if !report.last.is_live() => Err(NotProtected::Ending),
        Some(_) => Ok(until(view, task, report)),
    }
}

/// What was ordered last counts from the moment that it is on the board, before the host says it.
pub(crate) fn until(view: &View<'_>, task: TaskId, report: &TaskReport) -> Option<Wall> {
    let ordered = view.board.protection(task);
    let until = ordered.map_or(report.protected_until, |order| order.until);
    until.filter(|until| report.last.is_live() && until.0 > now_wall_ms())
}

/// As the ECS agent tells a task of itself.
pub(crate) fn told(view: &View<'_>, task: TaskId, until: Option<Wall>) -> Value {
    json!({"protection": {
        "ExpirationDate": until.map(rfc3339),
        "ProtectionEnabled": until.is_some(),
        "TaskArn": arn(view, task),
    }})
}

pub(crate) fn told_failure(view: &View<'_>, task: TaskId, why: NotProtected) -> Value {
    let (reason, detail) = words(why);
    json!({"failure": {
        "Arn": arn(view, task),
        "Detail": detail,
        "Reason": reason,
    }})
}

fn tasks(view: &View<'_>, request: &Request<'_>, max: usize) -> Result<Vec<TaskId>, ApiError> {
    let given = request.texts("tasks", WANTED, max)?;
    let task = |text: &String| {
        meant(view, text)?.ok_or_else(|| {
            let cluster = view.context.name();
            ApiError::InvalidParameter(format!("{text} is not a task of the cluster {cluster:?}"))
        })
    };
    given.iter().map(task).collect()
}

pub(crate) fn arn(view: &View<'_>, task: TaskId) -> String {
    let known = view.board.task(task);
    let slot = known.and_then(|(_, report)| report.slot_name());
    view.context.of(slot).task_arn(task)
}

fn protected(view: &View<'_>, task: TaskId, until: Option<Wall>) -> Value {
    let mut answer = json!({
        "taskArn": arn(view, task),
        "protectionEnabled": until.is_some(),
    });
    set_if(&mut answer, "expirationDate", until.map(seconds));
    answer
}

fn failure(view: &View<'_>, task: TaskId, why: NotProtected) -> Value {
    let (reason, detail) = words(why);
    json!({"arn": arn(view, task), "reason": reason, "detail": detail})
}

/// ECS's word, and what it means here.
const fn words(why: NotProtected) -> (&'static str, &'static str) {
    match why {
        NotProtected::Unknown => ("MISSING", "there is no such task"),
        NotProtected::OfNoService => (
            "TASK_NOT_VALID",
            "it is of no service, so only people's orders end it",
        ),
        NotProtected::Ending => ("TASK_NOT_VALID", "it has ended, or is about to"),
    }
}
