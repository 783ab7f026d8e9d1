//! Where a container of a task is, for whoever wants to read its logs or run something in it.

use super::{error::ApiError, view::View};
use holdfast_core::{
    cluster::body::{ContainerReport, TaskReport},
    ids::{HostId, RuntimeId, TaskId},
    task::pause::PAUSE,
};
use std::net::SocketAddr;

/// As much of an id as people must type at the least.
const ID_DIGITS_MIN: usize = 4;

/// One container, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) task: TaskId,
    pub(crate) host: HostId,
    pub(crate) host_name: String,
    pub(crate) address: SocketAddr,
    /// It is this agent's own.
    pub(crate) is_here: bool,
    /// The one that is meant, or all of the task where none is named.
    pub(crate) containers: Vec<Found>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) runtime_id: RuntimeId,
}

/// Finds a task by its id, the beginning of its id or its ARN; and one of its containers, if named.
pub(crate) fn place(
    view: &View<'_>,
    given: &str,
    container: Option<&str>,
) -> Result<Place, ApiError> {
    let task = find(view, given)?;
    let (host, report) = view.board.task(task).ok_or_else(|| no_such(given))?;
    let host_name = view.host_name(host);
    let is_here = host == view.me;
    if !is_here && view.is_down(host) {
        return Err(ApiError::Server(format!(
            "host {host_name} is down, and with it whatever task {task} has there; \
             `holdfast task ls` shows what runs elsewhere"
        )));
    }
    let address = match view.board.host(host) {
        Some((_, report)) => report.address,
        None => {
            return Err(ApiError::Server(format!(
                "the host of task {task} is not on the board yet; try again"
            )));
        }
    };
    Ok(Place {
        task,
        host,
        host_name,
        address,
        is_here,
        containers: containers(task, report, container)?,
    })
}

/// The one container that is meant, where only one can be.
pub(crate) fn only(place: &Place) -> Result<&Found, ApiError> {
    match &place.containers[..] {
        [one] => Ok(one),
        several => Err(ApiError::InvalidParameter(format!(
            "task {} has several containers; say which one is meant: {}",
            place.task,
            names(several.iter().map(|one| one.name.as_str()))
        ))),
    }
}

fn find(view: &View<'_>, given: &str) -> Result<TaskId, ApiError> {
    if let Ok(Some(task)) = view.context.task_id(given) {
        return Ok(task);
    }
    let beginning = given.to_ascii_lowercase();
    let hex = beginning.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex || beginning.len() < ID_DIGITS_MIN {
        let shown: String = given.chars().take(120).collect();
        return Err(ApiError::InvalidParameter(format!(
            "{shown:?} is not a task id: give at least {ID_DIGITS_MIN} of its 32 hexadecimal \
             digits, or its ARN"
        )));
    }
    let matching = view.board.tasks();
    let mut matching = matching.filter(|(_, task, _)| task.to_string().starts_with(&beginning));
    match (matching.next(), matching.next()) {
        (Some((_, task, _)), None) => Ok(task),
        (None, _) => Err(no_such(given)),
        (Some(_), Some(_)) => Err(ApiError::InvalidParameter(format!(
            "several tasks have an id that starts with {beginning}; give more of it"
        ))),
    }
}

fn no_such(given: &str) -> ApiError {
    let shown: String = given.chars().take(120).collect();
    ApiError::NotFound(format!(
        "there is no task {shown}; `holdfast task ls --all` lists them"
    ))
}

fn containers(
    task: TaskId,
    report: &TaskReport,
    wanted: Option<&str>,
) -> Result<Vec<Found>, ApiError> {
    let ours = || report.containers.iter().filter(|one| *one.name != *PAUSE);
    if let Some(wanted) = wanted
        && !ours().any(|one| *one.name == *wanted)
    {
        let wanted: String = wanted.chars().take(120).collect();
        return Err(ApiError::NotFound(format!(
            "task {task} has no container {wanted:?}; it has: {}",
            names(ours().map(|one| &*one.name))
        )));
    }
    let meant = ours().filter(|one| wanted.is_none_or(|wanted| *one.name == *wanted));
    let made = |one: &ContainerReport| {
        let runtime_id = one.runtime_id?;
        let name = one.name.to_string();
        Some(Found { name, runtime_id })
    };
    let found: Vec<_> = meant.filter_map(made).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let reasons = ours().map(|one| &*one.reason);
    let reasons = reasons.chain([&*report.stopped_reason]);
    let reason = reasons.into_iter().find(|reason| !reason.is_empty());
    let reason = reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    Err(ApiError::NotFound(format!(
        "nothing of task {task} has been made (it is {}){reason}",
        report.last.as_str()
    )))
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
