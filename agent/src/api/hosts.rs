//! The operations on hosts, which ECS calls container instances, and a host's shape.

use super::{
    error::ApiError,
    request::{PAGE_MAX, Request, Sort, listed, missing},
    tasks::host_json,
    view::{View, seconds, set_if},
};
use holdfast_core::{
    cluster::body::{Capacity, HostReport, HostStatus, RuntimeStatus},
    event::HostStanding,
    ids::{HostId, Incarnation},
    limits,
    spec::{ecs_fields, read::Choice},
    task::status::TaskStatus,
};
use serde_json::{Value, json};

const STATUS: Choice = Choice {
    served: &[
        "ACTIVE",
        "DRAINING",
        "REGISTERING",
        "DEREGISTERING",
        "REGISTRATION_FAILED",
    ],
    refused: &[],
    wanted: "\"ACTIVE\" or \"DRAINING\"",
};

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DESCRIBE_CONTAINER_INSTANCES;
    let request = Request::read(view.context, body, known, known)?;
    let wanted = "the ids or ARNs of 1 to 100 container instances";
    // ECS has one limit for both.
    let given = request.texts("containerInstances", wanted, limits::DESCRIBE_TASKS_MAX)?;
    let (mut hosts, mut failures) = (Vec::new(), Vec::new());
    for text in &given {
        let id = view.context.host_id(text)?;
        match id.and_then(|id| view.board.host(id).map(|found| (id, found))) {
            Some((id, (incarnation, report))) => {
                hosts.push(container_instance_json(view, id, incarnation, report));
            }
            None => {
                let arn = id.map_or_else(|| text.clone(), |id| view.context.host_arn(id));
                failures.push(missing(&arn));
            }
        }
    }
    Ok(json!({"containerInstances": hosts, "failures": failures}))
}

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let served = ["cluster", "nextToken", "maxResults", "status"];
    let known = ecs_fields::LIST_CONTAINER_INSTANCES;
    let request = Request::read(view.context, body, &served, known)?;
    let page = request.page(PAGE_MAX)?;
    let active = request
        .choice("status", &STATUS)?
        .is_none_or(|status| status == "ACTIVE");
    let hosts = view.board.hosts().filter(|_| active);
    let arns = hosts.map(|(id, ..)| (id.to_string(), json!(view.context.host_arn(id))));
    Ok(listed(
        "containerInstanceArns",
        page.cut(Sort::Ascending, arns),
    ))
}

/// A host as ECS describes a container instance. It has no state for a host that is lost, only
/// `agentConnected`.
pub(crate) fn container_instance_json(
    view: &View<'_>,
    id: HostId,
    incarnation: Incarnation,
    report: &HostReport,
) -> Value {
    let connected = matches!(
        view.standing_of(id),
        HostStanding::Up | HostStanding::Suspect
    );
    let (running, pending) = tasks_on(view, id);
    let mut attributes: Vec<_> = report
        .attributes
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    if let Some(zone) = &report.zone {
        attributes.push(json!({"name": "ecs.availability-zone", "value": zone}));
    }
    let mut versions = json!({"agentVersion": report.agent_version});
    if let RuntimeStatus::Available { version } = &report.runtime {
        versions["dockerVersion"] = json!(format!("DockerVersion: {version}"));
    }
    json!({
        "containerInstanceArn": view.context.host_arn(id),
        // ECS clients show it to people; for a host that isn't EC2's, its name says most.
        "ec2InstanceId": report.name,
        "version": incarnation,
        "versionInfo": versions,
        "registeredResources": resources(report.capacity),
        "remainingResources": resources(Capacity {
            cpu: report.capacity.cpu.saturating_sub(report.used.cpu),
            memory_mib: report.capacity.memory_mib.saturating_sub(report.used.memory_mib),
        }),
        "status": "ACTIVE",
        "agentConnected": connected,
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "attributes": attributes,
        "attachments": [],
        "registeredAt": seconds(report.registered_at),
        "tags": [],
    })
}

/// What ECS has no word for, under a key of our own: only `/v1` answers have it.
pub(crate) fn extended_json(
    view: &View<'_>,
    id: HostId,
    incarnation: Incarnation,
    report: &HostReport,
) -> Value {
    let mut host = container_instance_json(view, id, incarnation, report);
    let mut ours = host_json(view, id);
    ours["incarnation"] = json!(incarnation);
    ours["gossipAddress"] = json!(report.address.to_string());
    ours["caughtUp"] = json!(report.caught_up);
    ours["restarting"] = json!(report.status == HostStatus::Restarting);
    ours["docker"] = runtime_json(&report.runtime);
    ours["me"] = json!(id == view.me);
    set_if(&mut ours, "zone", report.zone.clone());
    host["holdfast"] = ours;
    host
}

pub(crate) fn runtime_json(runtime: &RuntimeStatus) -> Value {
    match runtime {
        RuntimeStatus::Available { version } => json!({"available": true, "version": version}),
        RuntimeStatus::Unavailable { reason } => json!({"available": false, "reason": reason}),
    }
}

fn resources(capacity: Capacity) -> Value {
    let integer =
        |name: &str, value: u32| json!({"name": name, "type": "INTEGER", "integerValue": value});
    json!([
        integer("CPU", capacity.cpu),
        integer("MEMORY", capacity.memory_mib)
    ])
}

fn tasks_on(view: &View<'_>, host: HostId) -> (u32, u32) {
    let (mut running, mut pending) = (0, 0);
    for (_, report) in view.board.tasks_on(host) {
        match report.last {
            TaskStatus::Running => running += 1,
            status if status < TaskStatus::Running => pending += 1,
            _ => {}
        }
    }
    (running, pending)
}

/// The host of that id, name, or beginning of an id, if it is the only one.
pub(crate) fn find(view: &View<'_>, given: &str) -> Result<HostId, ApiError> {
    let shown: String = given.chars().take(300).collect();
    let matching = |exact: bool| {
        view.board.hosts().filter(move |(id, _, report)| {
            report.name == given || (!exact && id.to_string().starts_with(given))
        })
    };
    if let Ok(Some(id)) = view.context.host_id(given) {
        return match view.board.host(id) {
            Some(_) => Ok(id),
            None => Err(ApiError::NotFound(no_such(&shown))),
        };
    }
    let exact = matching(true).count() > 0;
    let mut found = matching(exact).map(|(id, ..)| id);
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(ApiError::NotFound(no_such(&shown))),
        (Some(a), Some(b)) => Err(ApiError::InvalidParameter(format!(
            "{shown:?} is more than one host, {a} and {b} among them; give more of the id"
        ))),
    }
}

fn no_such(shown: &str) -> String {
    format!("there is no host {shown:?}; `holdfast host ls` lists them")
}
