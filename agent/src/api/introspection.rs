//! The answers of the ECS agent's introspection endpoint, of this host's tasks alone.

use super::{tasks::container_status, view::View};
use holdfast_core::{
    cluster::body::{ContainerReport, TaskReport},
    ids::TaskId,
    task::status::{Health, TaskStatus},
    time::Wall,
};
use serde_json::{Value, json};

/// Docker's short form of an id, which log shippers take from file names.
const SHORT_ID: usize = 12;

/// Why there is no one task to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTask {
    /// The ECS agent answers 404 and an empty task.
    Unknown,
    /// The ECS agent answers 400.
    Ambiguous,
}

pub(crate) fn metadata(view: &View<'_>, agent_version: &str) -> Value {
    json!({
        "Cluster": view.context.cluster,
        "ContainerInstanceArn": view.context.host_arn(view.me),
        "Version": format!("Holdfast Agent - v{agent_version}"),
    })
}

pub(crate) fn tasks(view: &View<'_>) -> Value {
    let tasks = view.board.tasks_on(view.me);
    let tasks: Vec<_> = tasks.map(|(id, report)| task(view, id, report)).collect();
    json!({"Tasks": tasks})
}

pub(crate) fn task_by_arn(view: &View<'_>, arn: &str) -> Result<Value, NoTask> {
    let id = view
        .context
        .task_id(arn)
        .ok()
        .flatten()
        .ok_or(NoTask::Unknown)?;
    let report = view.board.task_at(view.me, id).ok_or(NoTask::Unknown)?;
    Ok(task(view, id, report))
}

pub(crate) fn task_by_docker_id(view: &View<'_>, docker_id: &str) -> Result<Value, NoTask> {
    let short = docker_id.len() <= SHORT_ID;
    let is = |container: &ContainerReport| {
        container.runtime_id.is_some_and(|id| match short {
            true => !docker_id.is_empty() && id.short().starts_with(docker_id),
            false => id.to_string() == docker_id,
        })
    };
    let mut found = view
        .board
        .tasks_on(view.me)
        .filter(|(_, report)| report.containers.iter().any(is));
    match (found.next(), found.next()) {
        (Some((id, report)), None) => Ok(task(view, id, report)),
        (None, _) => Err(NoTask::Unknown),
        (Some(_), Some(_)) => Err(NoTask::Ambiguous),
    }
}

/// What the ECS agent answers along with 404.
pub(crate) fn empty_task() -> Value {
    json!({"Arn": "", "KnownStatus": "", "Family": "", "Version": "", "Containers": null})
}

fn task(view: &View<'_>, id: TaskId, report: &TaskReport) -> Value {
    let slot = report.slot_name();
    let containers: Vec<_> = report
        .containers
        .iter()
        .map(|c| container(view, id, report, c))
        .collect();
    json!({
        "Arn": view.context.of(slot).task_arn(id),
        "DesiredStatus": agent_status(report.desired),
        "KnownStatus": agent_status(report.last),
        "Family": report.family,
        "Version": report.revision.to_string(),
        "Containers": containers,
    })
}

fn container(
    view: &View<'_>,
    task: TaskId,
    report: &TaskReport,
    container: &ContainerReport,
) -> Value {
    let ports: Vec<_> = container
        .ports
        .iter()
        .map(|port| {
            json!({
                "ContainerPort": port.container_port,
                "Protocol": port.protocol.to_string(),
                "HostPort": port.host_port,
            })
        })
        .collect();
    let defined = view.defined(report, &container.name);
    let mut answer = json!({
        "DockerId": container.runtime_id.map_or_else(String::new, |id| id.to_string()),
        "DockerName": docker_name(report, &container.name, task),
        "Name": container.name,
        // Empty as long as the definition has not come.
        "Image": defined.map_or("", |c| &c.image),
        "ImageID": "",
        "CreatedAt": rfc3339(report.created_at),
        "KnownStatus": container_status(container.status),
        "RestartCount": container.restarts,
    });
    if container.health != Health::Unknown {
        answer["Health"] = json!({"status": container.health.as_str()});
    }
    if let Some(started) = report.started_at {
        answer["StartedAt"] = json!(rfc3339(started));
    }
    if !ports.is_empty() {
        answer["Ports"] = json!(ports);
    }
    let volumes = volumes(view, (task, report), container);
    if !volumes.is_empty() {
        answer["Volumes"] = json!(volumes);
    }
    answer
}

/// As the runtime's worker names it.
pub(crate) fn docker_name(report: &TaskReport, container: &str, task: TaskId) -> String {
    let (family, revision) = (&report.family, report.revision);
    format!("holdfast-{family}-{revision}-{container}-{task}")
}

pub(crate) fn volumes(
    view: &View<'_>,
    (task, report): (TaskId, &TaskReport),
    container: &ContainerReport,
) -> Vec<Value> {
    let Some(definition) = view.board.definition(report.definition) else {
        return Vec::new();
    };
    let defined = definition
        .containers
        .iter()
        .filter(|c| *c.name == *container.name);
    defined
        .flat_map(|c| &c.mounts)
        .filter_map(|mount| {
            let volume = definition
                .volumes
                .iter()
                .find(|v| v.name == mount.source_volume)?;
            let source = volume.source_of(&report.family, task);
            Some(json!({"Source": source, "Destination": mount.container_path}))
        })
        .collect()
}

/// The ECS agent's clients know these three only.
fn agent_status(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => "PENDING",
        TaskStatus::Running
        | TaskStatus::Deactivating
        | TaskStatus::Stopping
        | TaskStatus::Deprovisioning => "RUNNING",
        TaskStatus::Stopped => "STOPPED",
    }
}

/// `2026-11-23T00:40:00.123Z`, in the Gregorian calendar (Hinnant's `civil_from_days`).
pub(crate) fn rfc3339(wall: Wall) -> String {
    let (ms, seconds) = (wall.0 % 1_000, wall.0 / 1_000);
    let (second, days) = (seconds % 86_400, seconds / 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_calendar_has_them() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_764_000_000_123, "2025-11-24T16:00:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(rfc3339(Wall(ms)), text);
        }
    }
}
