//! The operations on hosts, which ECS calls container instances, and a host's shape.

use super::{
    Plan, attributes,
    error::ApiError,
    request::{PAGE_MAX, Request, Sort, listed, missing},
    tags,
    tasks::host_json,
    view::{View, seconds, set_if},
};
use holdfast_core::{
    cluster::{
        body::{
            Availability, Body, Capacity, HostReport, HostStatus, Key, RuntimeStatus, Standing,
        },
        tag::Subject,
    },
    command::Command,
    event::HostStanding,
    ids::{GpuId, HostId, Incarnation},
    limits,
    spec::{
        ecs_fields,
        read::{Choice, Range},
    },
    task::status::TaskStatus,
    time::{Span, Wall},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

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

const WANTED_STATUS: Choice = Choice {
    served: &["ACTIVE", "DRAINING"],
    refused: &[],
    wanted: "\"ACTIVE\" or \"DRAINING\"",
};

const LEAVE_SECONDS: Range = Range {
    min: 1,
    max: 3_600,
    unit: " seconds",
};

/// Drains hosts, or has them take tasks again.
pub(crate) fn plan_state(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let known = ecs_fields::UPDATE_CONTAINER_INSTANCES_STATE;
    let request = Request::read(body, known, known)?;
    let wanted = "the ids, ARNs or names of 1 to 10 container instances";
    let given = request.texts("containerInstances", wanted, limits::UPDATE_HOSTS_MAX)?;
    let availability = match request.choice("status", &WANTED_STATUS)? {
        Some("DRAINING") => Availability::Drain,
        Some(_) => Availability::Active,
        None => {
            return Err(ApiError::InvalidParameter(
                "status is missing; it must be \"ACTIVE\" or \"DRAINING\"".to_owned(),
            ));
        }
    };
    let (mut hosts, mut failures) = (Vec::new(), Vec::new());
    for text in &given {
        match find(view, text) {
            Ok(host) if hosts.contains(&host) => {}
            Ok(host) => hosts.push(host),
            Err(ApiError::NotFound(_)) => failures.push(missing(text)),
            Err(other) => return Err(other),
        }
    }
    if hosts.is_empty() {
        return Ok(Plan::Answer(
            json!({"containerInstances": [], "failures": failures}),
        ));
    }
    let mut prepared = directed(view, &hosts);
    let status = match availability {
        Availability::Drain => "DRAINING",
        Availability::Active => "ACTIVE",
    };
    for host in prepared["containerInstances"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        host["status"] = json!(status);
    }
    prepared["failures"] = json!(failures);
    Ok(Plan::prepared(
        Command::DirectHosts {
            hosts,
            availability,
        },
        prepared,
    ))
}

/// Hosts as they are now.
pub(crate) fn directed(view: &View<'_>, hosts: &[HostId]) -> Value {
    let known = hosts.iter().filter_map(|id| {
        let (_, report) = view.board.host(*id)?;
        Some(container_instance_json(view, *id, report))
    });
    let known: Vec<_> = known.collect();
    json!({"containerInstances": known, "failures": []})
}

/// Forgets a host.
pub(crate) fn plan_deregister(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let known = ecs_fields::DEREGISTER_CONTAINER_INSTANCE;
    let request = Request::read(body, known, known)?;
    let wanted = "the id, ARN or name of a container instance";
    let given = request.required("containerInstance", wanted)?;
    let force = request.flag("force")?;
    let host = find(view, &given).map_err(|err| match err {
        ApiError::NotFound(text) => ApiError::InvalidParameter(text),
        other => other,
    })?;
    let (_, report) = view.board.host(host).expect("it was found just now");
    let mut answer = container_instance_json(view, host, report);
    answer["status"] = json!("INACTIVE");
    answer["agentConnected"] = json!(false);
    Ok(Plan::prepared(
        Command::ForgetHost { host, force },
        json!({"containerInstance": answer}),
    ))
}

/// This host is to leave: ECS has no word for it.
pub(crate) fn plan_leave(body: &Value) -> Result<Command, ApiError> {
    let known = ["force", "timeoutSeconds"];
    let request = Request::read(body, &known, &known)?;
    let seconds = request.number("timeoutSeconds", &LEAVE_SECONDS)?;
    Ok(Command::Leave {
        within: seconds.map(|seconds| Span::from_secs(seconds.into())),
        force: request.flag("force")?,
    })
}

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DESCRIBE_CONTAINER_INSTANCES;
    let request = Request::read(body, known, known)?;
    let wanted = "the ids or ARNs of 1 to 100 container instances";
    // ECS has one limit for both.
    let given = request.texts("containerInstances", wanted, limits::DESCRIBE_TASKS_MAX)?;
    let (mut hosts, mut failures) = (Vec::new(), Vec::new());
    for text in &given {
        let id = view.context.host_id(text)?;
        match id.and_then(|id| view.board.host(id).map(|found| (id, found))) {
            Some((id, (_, report))) => {
                hosts.push(container_instance_json(view, id, report));
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
    let request = Request::read(body, &served, known)?;
    let page = request.page(PAGE_MAX)?;
    let wanted = request.choice("status", &STATUS)?;
    let hosts = view
        .board
        .hosts()
        .filter(|(host, ..)| wanted.is_none_or(|wanted| wanted == status(view, *host)));
    let arns = hosts.map(|(id, ..)| (id.to_string(), json!(view.context.host_arn(id))));
    Ok(listed(
        "containerInstanceArns",
        page.cut(Sort::Ascending, arns),
    ))
}

/// As ECS has it: whether the host is given tasks.
fn status(view: &View<'_>, host: HostId) -> &'static str {
    match view.board.is_leaving(host) {
        true => "DRAINING",
        false => "ACTIVE",
    }
}

/// A host as ECS describes a container instance. It has no state for a host that is lost, only
/// `agentConnected`.
pub(crate) fn container_instance_json(view: &View<'_>, id: HostId, report: &HostReport) -> Value {
    let connected = matches!(
        view.standing_of(id),
        HostStanding::Up | HostStanding::Suspect | HostStanding::Draining | HostStanding::Leaving
    );
    let (running, pending) = tasks_on(view, id);
    let (left, gpus) = (
        report.capacity.less(promised(view, id)),
        gpus_held(view, id),
    );
    let attributes = attributes::of(view, id, report).into_iter();
    let attributes = attributes.map(|(name, value)| match value.is_empty() {
        true => json!({"name": name}),
        false => json!({"name": name, "value": value}),
    });
    let attributes: Vec<Value> = attributes.collect();
    let mut versions = json!({"agentVersion": report.agent_version});
    if let RuntimeStatus::Available { version } = &report.runtime {
        versions["dockerVersion"] = json!(format!("DockerVersion: {version}"));
    }
    json!({
        "containerInstanceArn": view.context.host_arn(id),
        // ECS clients show it to people; for a host that isn't EC2's, its name says most.
        "ec2InstanceId": report.name,
        // It grows with each change, as in ECS, though not by one.
        "version": view.board.said_of(id).0,
        "versionInfo": versions,
        "registeredResources": resources(report.capacity, report, |_| true),
        "remainingResources": resources(left, report, |gpu| !gpus.contains(gpu)),
        "status": status(view, id),
        "agentConnected": connected,
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "attributes": attributes,
        "attachments": [],
        "registeredAt": seconds(report.registered_at),
        "tags": tags::of(view, &Subject::Host(id)),
    })
}

/// What the host has promised to its tasks, as far as their definitions have come.
fn promised(view: &View<'_>, host: HostId) -> Capacity {
    let live = view.board.tasks_on(host);
    let live = live.filter(|(_, report)| report.last.is_live());
    let needs = live.filter_map(|(_, report)| view.board.definition(report.definition));
    needs.fold(Capacity::default(), |sum, definition| {
        let needs = definition.needs();
        Capacity {
            cpu: sum.cpu.saturating_add(needs.cpu),
            memory_mib: sum.memory_mib.saturating_add(needs.memory_mib),
            gpus: 0,
        }
    })
}

/// Those that the host's tasks have.
fn gpus_held<'a>(view: &View<'a>, host: HostId) -> BTreeSet<&'a GpuId> {
    let live = view.board.tasks_on(host);
    let live = live.filter(|(_, report)| report.last.is_live());
    let containers = live.flat_map(|(_, report)| &report.containers);
    containers.flat_map(|container| &container.gpus).collect()
}

/// What ECS has no word for, under a key of our own: only `/v1` answers have it.
pub(crate) fn extended_json(
    view: &View<'_>,
    id: HostId,
    incarnation: Incarnation,
    report: &HostReport,
) -> Value {
    let mut host = container_instance_json(view, id, report);
    let mut ours = host_json(view, id);
    ours["incarnation"] = json!(incarnation);
    ours["gossipAddress"] = json!(report.address.to_string());
    ours["caughtUp"] = json!(report.caught_up);
    ours["restarting"] = json!(report.status == HostStatus::Restarting);
    ours["docker"] = runtime_json(&report.runtime);
    ours["me"] = json!(id == view.me);
    set_if(&mut ours, "zone", report.zone.as_deref());
    let (since, reason) = how_come(view, id, report);
    ours["reason"] = json!(reason);
    set_if(&mut ours, "since", since.map(seconds));
    host["holdfast"] = ours;
    host
}

/// Since when the host stands as it does, and why, as far as the board tells.
fn how_come(view: &View<'_>, id: HostId, report: &HostReport) -> (Option<Wall>, String) {
    let told = |key: &Key| {
        let record = view.board.record(key)?;
        Some((record.version.stamp.wall, record.body.as_ref()))
    };
    let own_word = || told(&Key::Host(id)).map(|(at, _)| at);
    match view.standing_of(id) {
        HostStanding::Up => (Some(report.started_at), "its agent runs".to_owned()),
        HostStanding::Restarting => {
            let reason = "its agent stopped, and is expected back";
            (own_word(), reason.to_owned())
        }
        HostStanding::Leaving => {
            let reason = "it moves its tasks away, to go";
            (own_word(), reason.to_owned())
        }
        HostStanding::Left => (own_word(), "it has gone, by its own word".to_owned()),
        HostStanding::Draining => {
            let at = told(&Key::Directive(id)).map(|(at, _)| at);
            (at, "it was ordered to be empty".to_owned())
        }
        HostStanding::Suspect
        | HostStanding::Impaired
        | HostStanding::Down
        | HostStanding::Forgotten => match told(&Key::Verdict(id)) {
            Some((at, Some(Body::Verdict(verdict)))) => {
                let (votes, silent) = (verdict.votes.len(), verdict.silent_ms);
                let agreed = format!("silent for {silent} ms, as {votes} of its observers agree");
                let reason = match verdict.standing {
                    Standing::Impaired => format!("its agent is {agreed}; its machine answers"),
                    Standing::Cleared | Standing::Suspect | Standing::Down => agreed,
                };
                (Some(at), reason)
            }
            _ => (None, "this agent has not heard of it".to_owned()),
        },
    }
}

pub(crate) fn runtime_json(runtime: &RuntimeStatus) -> Value {
    match runtime {
        RuntimeStatus::Available { version } => json!({"available": true, "version": version}),
        RuntimeStatus::Unavailable { reason } => json!({"available": false, "reason": reason}),
    }
}

/// Of GPUs, which are told by name, those that count.
fn resources(capacity: Capacity, report: &HostReport, counts: impl Fn(&GpuId) -> bool) -> Value {
    let integer =
        |name: &str, value: u32| json!({"name": name, "type": "INTEGER", "integerValue": value});
    let mut resources = vec![
        integer("CPU", capacity.cpu),
        integer("MEMORY", capacity.memory_mib),
    ];
    if !report.gpus.is_empty() {
        let ids: Vec<_> = report.gpus.iter().filter(|gpu| counts(gpu)).collect();
        resources.push(json!({"name": "GPU", "type": "STRINGSET", "stringSetValue": ids}));
    }
    json!(resources)
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
            *report.name == *given || (!exact && id.to_string().starts_with(given))
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
