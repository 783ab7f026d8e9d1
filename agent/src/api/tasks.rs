//! The operations on tasks, and a task's shape.

use super::{
    Plan,
    context::ApiContext,
    error::ApiError,
    protection,
    request::{PAGE_MAX, Request, Sort, listed, missing},
    runs, tags,
    view::{View, seconds, set_if},
};
use holdfast_core::{
    cluster::{
        body::{ContainerReport, ContainerStatus, Key, TaskReport},
        namespace::{cluster_of, split},
        run::NAME_PREFIX,
    },
    command::{Command, Refusal},
    ids::{Digest, HostId, ServiceId, TaskId},
    limits,
    rng::mix,
    spec::{ecs_fields, read::Choice, service::arn_resource, task_definition::TaskDefinition},
    task::status::{StopCode, TaskStatus},
    time::Wall,
};
use serde_json::{Value, json};

const DESIRED_STATUS: Choice = Choice {
    served: &["RUNNING", "STOPPED", "PENDING"],
    refused: &[],
    wanted: "\"RUNNING\" or \"STOPPED\"",
};

pub(crate) const LAUNCH_TYPE: Choice = Choice {
    served: &["EC2", "EXTERNAL", "FARGATE"],
    refused: &["MANAGED_INSTANCES"],
    wanted: "\"EC2\"",
};

const STOP_REASON: &str = "Task stopped by user";

pub(crate) fn plan_stop(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let known = ecs_fields::STOP_TASK;
    let request = Request::read(body, known, known)?;
    let given = request.required("task", "a task's id or its ARN")?;
    let mut reason = request
        .text("reason")?
        .unwrap_or_else(|| STOP_REASON.to_owned());
    // ECS cuts it too, and a character must not be cut in two.
    while reason.len() > limits::REASON_BYTES_MAX {
        reason.pop();
    }
    let task = meant(view, &given)?.ok_or_else(|| {
        ApiError::InvalidParameter(format!(
            "The referenced task was not found: {given} is not a task of the cluster {:?}",
            view.context.name()
        ))
    })?;
    Ok(Plan::write(Command::StopTask { task, reason }))
}

pub(crate) fn stop_ordered(view: &View<'_>, task: TaskId) -> Result<Value, ApiError> {
    let task = runs::named_json(view, task).ok_or(Refusal::NoSuchTask(task))?;
    Ok(json!({"task": task}))
}

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DESCRIBE_TASKS;
    let request = Request::read(body, known, known)?;
    let wanted = "the ids or ARNs of 1 to 100 tasks";
    let given = request.texts("tasks", wanted, limits::DESCRIBE_TASKS_MAX)?;
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for text in &given {
        let id = meant(view, text)?;
        match id.and_then(|id| runs::named_json(view, id)) {
            Some(task) => tasks.push(task),
            None => {
                let arn = id.map_or_else(|| text.clone(), |id| view.context.task_arn(id));
                failures.push(missing(&arn));
            }
        }
    }
    Ok(json!({"tasks": tasks, "failures": failures}))
}

/// The task that is meant by an id or an ARN: one of the cluster that is asked for, or that the ARN
/// tells; or one that is not known.
pub(crate) fn meant(view: &View<'_>, given: &str) -> Result<Option<TaskId>, ApiError> {
    let Some(task) = view.context.task_id(given)? else {
        return Ok(None);
    };
    let told = arn_resource(given, "task").and_then(|resource| resource.split_once('/'));
    let told = told.map(|(cluster, _)| view.context.namespace_of(cluster));
    let asked = view
        .context
        .is_named
        .then_some(view.context.namespace.as_deref());
    let is_meant = match cluster_of_task(view, task) {
        Some(is) => [told, asked]
            .into_iter()
            .flatten()
            .all(|wanted| wanted == is),
        None => true,
    };
    Ok(Some(task).filter(|_| is_meant))
}

/// The namespace of a task that is known.
fn cluster_of_task<'v>(view: &View<'v>, task: TaskId) -> Option<Option<&'v str>> {
    if let Some((_, report)) = view.board.task(task) {
        let slot = report.slot.as_ref();
        return Some(slot.and_then(|slot| cluster_of(&slot.service_name)));
    }
    let (run, _) = view.board.run_of_task(task)?;
    Some(cluster_of(&view.board.run(run)?.settings.name))
}

/// Which tasks are wanted; everything absent matches all.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskFilter {
    /// Only those of the cluster that is asked for.
    pub(crate) of_cluster: bool,
    pub(crate) service: Option<String>,
    pub(crate) family: Option<String>,
    pub(crate) host: Option<HostId>,
    pub(crate) started_by: Option<String>,
    pub(crate) desired: Option<Desired>,
}

/// ECS tells tasks apart by what is wanted of them, not by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Desired {
    Running,
    Stopped,
    /// Matches nothing, as in ECS: it sets no task's desired status to PENDING.
    Pending,
}

impl TaskFilter {
    fn matches(&self, view: &View<'_>, host: HostId, task: TaskId, report: &TaskReport) -> bool {
        let report = &*runs::as_told(view, report);
        let service = report.slot.as_ref().map(|slot| &*slot.service_name);
        if self.of_cluster && !view.context.is_of(service) {
            return false;
        }
        let wanted =
            |wanted: &Option<String>, is: Option<&str>| wanted.is_none() || wanted.as_deref() == is;
        wanted(&self.service, service)
            && wanted(&self.family, Some(&report.family))
            && self.host.is_none_or(|wanted| wanted == host)
            && wanted(&self.started_by, started_by(view, report).as_deref())
            && self
                .desired
                .is_none_or(|desired| desired == desired_of(view, task, report))
    }
}

/// The tasks that match, with keys that order them as the board does.
pub(crate) fn matching<'v>(
    view: &'v View<'_>,
    filter: &'v TaskFilter,
) -> impl Iterator<Item = (String, (HostId, TaskId, &'v TaskReport))> {
    view.board
        .tasks()
        .filter(|(host, task, report)| filter.matches(view, *host, *task, report))
        .map(|(host, task, report)| (format!("{host}{task}"), (host, task, report)))
}

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let served = [
        "cluster",
        "containerInstance",
        "family",
        "nextToken",
        "maxResults",
        "startedBy",
        "serviceName",
        "desiredStatus",
        "launchType",
    ];
    let request = Request::read(body, &served, ecs_fields::LIST_TASKS)?;
    let page = request.page(PAGE_MAX)?;
    let desired = match request.choice("desiredStatus", &DESIRED_STATUS)? {
        Some("STOPPED") => Desired::Stopped,
        Some("PENDING") => Desired::Pending,
        _ => Desired::Running,
    };
    let launched = request.choice("launchType", &LAUNCH_TYPE)?;
    // No service has an empty name, so an ARN of elsewhere matches nothing.
    let ours = |given: String| view.context.service_name(&given).unwrap_or_default();
    let service = request.text("serviceName")?.map(ours);
    let host = match request.text("containerInstance")? {
        None => None,
        Some(given) => Some(view.context.host_id(&given)?.unwrap_or_default()),
    };
    let filter = TaskFilter {
        of_cluster: true,
        service,
        family: request.text("family")?,
        host,
        started_by: request.text("startedBy")?,
        desired: Some(desired),
    };
    let ours = launched.is_none_or(|launched| launched == "EC2");
    // What is promised has no host yet, and comes before all that have one.
    let promised = runs::all_promised(view)
        .filter(|(task, report)| filter.matches(view, HostId::default(), *task, report))
        .map(|(task, _)| (task.to_string(), task));
    let mut promised: Vec<_> = promised.collect();
    promised.sort_unstable();
    let begun = matching(view, &filter).map(|(key, (_, task, _))| (format!("~{key}"), task));
    let tasks = promised.into_iter().chain(begun).filter(|_| ours);
    let arns = tasks.map(|(key, task)| (key, json!(view.context.task_arn(task))));
    Ok(listed("taskArns", page.cut(Sort::Ascending, arns)))
}

/// A task as ECS describes it.
pub(crate) fn task_json(view: &View<'_>, host: HostId, id: TaskId, report: &TaskReport) -> Value {
    let report = &*runs::as_told(view, report);
    let slot = report.slot.as_ref().map(|slot| &*slot.service_name);
    let context = &*view.context.of(slot);
    let definition = view.board.definition(report.definition);
    let needs = definition.map(TaskDefinition::needs).unwrap_or_default();
    let stopping = desired_of(view, id, report) == Desired::Stopped;
    let names = report.containers.iter().map(|c| json!({"name": c.name}));
    let no_overrides = json!({"containerOverrides": names.collect::<Vec<_>>()});
    let containers: Vec<_> = report
        .containers
        .iter()
        .map(|container| container_json(view, (context, id), report, container))
        .collect();
    let mut task = json!({
        "attachments": [],
        "attributes": [],
        "clusterArn": context.cluster_arn(),
        "connectivity": if view.is_down(host) { "DISCONNECTED" } else { "CONNECTED" },
        "containerInstanceArn": context.host_arn(host),
        "containers": containers,
        "cpu": needs.cpu.to_string(),
        "createdAt": seconds(report.created_at),
        "desiredStatus": if stopping { "STOPPED" } else { "RUNNING" },
        "enableExecuteCommand": false,
        "group": group(view, report),
        "healthStatus": report.health.as_str(),
        "lastStatus": report.last.as_str(),
        "launchType": "EC2",
        "memory": needs.memory_mib.to_string(),
        "overrides": runs::overrides(view, report).unwrap_or(no_overrides),
        "tags": tags::of_task(view, id, report),
        "taskArn": context.task_arn(id),
        "taskDefinitionArn": context.definition_arn(&report.family, report.revision),
        "version": version_on_board(view, host, id, report),
    });
    let (_, on) = view.board.host(host).unzip();
    let zone = on.and_then(|on| on.zone.as_deref());
    set_if(&mut task, "availabilityZone", zone);
    set_if(&mut task, "startedBy", started_by(view, report));
    set_if(&mut task, "startedAt", report.started_at.map(seconds));
    set_if(&mut task, "stoppingAt", report.stopping_at.map(seconds));
    set_if(&mut task, "stoppedAt", report.stopped_at.map(seconds));
    // A person's order counts from the moment that it is on the board, before its host reports it.
    let ordered = view.board.stop_order(id);
    let code = report
        .stop_code
        .or(ordered.map(|_| StopCode::UserInitiated));
    set_if(&mut task, "stopCode", code.map(StopCode::as_str));
    let reason = Some(&*report.stopped_reason).filter(|reason| !reason.is_empty());
    set_if(&mut task, "stoppedReason", reason.or(ordered));
    task
}

fn container_json(
    view: &View<'_>,
    (context, task): (&ApiContext, TaskId),
    report: &TaskReport,
    container: &ContainerReport,
) -> Value {
    let bindings: Vec<_> = container
        .ports
        .iter()
        .map(|port| {
            json!({
                "bindIP": "0.0.0.0",
                "containerPort": port.container_port,
                "hostPort": port.host_port,
                "protocol": port.protocol.to_string(),
            })
        })
        .collect();
    let mut answer = json!({
        "containerArn": context.container_arn(task, &container.name),
        "taskArn": context.task_arn(task),
        "name": container.name,
        "lastStatus": container_status(container.status),
        "healthStatus": container.health.as_str(),
        "networkBindings": bindings,
        "networkInterfaces": [],
    });
    let defined = view.defined(report, &container.name);
    set_if(&mut answer, "image", defined.map(|c| c.image.as_str()));
    let digest = container.image.map(|image| image.to_string());
    set_if(&mut answer, "imageDigest", digest);
    set_if(&mut answer, "cpu", defined.map(|c| c.cpu.to_string()));
    let limit = defined.map(|c| c.memory_mib).filter(|mib| *mib != 0);
    set_if(&mut answer, "memory", limit.map(|mib| mib.to_string()));
    let reserved = defined.and_then(|c| c.memory_reservation_mib);
    let reserved = reserved.map(|mib| mib.to_string());
    set_if(&mut answer, "memoryReservation", reserved);
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let runtime_id = container.runtime_id.map(|id| id.to_string());
    set_if(&mut answer, "runtimeId", runtime_id);
    let gpus = Some(&container.gpus).filter(|gpus| !gpus.is_empty());
    set_if(&mut answer, "gpuIds", gpus.map(|gpus| json!(gpus)));
    set_if(&mut answer, "exitCode", container.exit_code);
    set_if(&mut answer, "reason", text(&container.reason));
    answer
}

pub(crate) const fn container_status(status: ContainerStatus) -> &'static str {
    match status {
        ContainerStatus::Pending => "PENDING",
        ContainerStatus::Running => "RUNNING",
        ContainerStatus::Stopped => "STOPPED",
    }
}

fn desired_of(view: &View<'_>, task: TaskId, report: &TaskReport) -> Desired {
    let wanted = report.desired < TaskStatus::Deactivating && report.last.is_live();
    if wanted && view.board.stop_order(task).is_none() {
        return Desired::Running;
    }
    Desired::Stopped
}

fn group(view: &View<'_>, report: &TaskReport) -> String {
    match &report.slot {
        Some(_) if let Some(run) = runs::of(view, report) => runs::group(run),
        Some(slot) => format!("service:{}", split(&slot.service_name).1),
        None => format!("family:{}", report.family),
    }
}

/// The deployment that started the task, or what its run was told.
fn started_by(view: &View<'_>, report: &TaskReport) -> Option<String> {
    let slot = report.slot.as_ref()?;
    if slot.service_name.starts_with(NAME_PREFIX) {
        let by = runs::of(view, report).map(|run| run.started_by.clone());
        return by.filter(|by| !by.is_empty());
    }
    let deployment = (report.definition, report.renewals);
    Some(deployment_id(slot.service, deployment))
}

/// As ECS calls the deployment where it is one of a service's.
pub(crate) fn deployment_id(service: ServiceId, deployment: (Digest, u32)) -> String {
    format!("ecs-svc/{}", deployment_number(service, deployment))
}

/// Derived, so that every agent gives the deployment the same one.
pub(crate) fn deployment_number(
    service: ServiceId,
    (definition, renewals): (Digest, u32),
) -> String {
    let digest = definition.0.iter().fold(u64::from(renewals), |word, byte| {
        mix(word ^ u64::from(*byte))
    });
    format!("{:019}", mix(service.word() ^ digest) >> 1)
}

/// Grows with each change of a task, as in ECS, though not by one: clients compare the numbers to
/// find the later of two answers, or of two events. `said` is when what is answered was written.
pub(crate) fn version(report: &TaskReport, last: TaskStatus, said: Wall) -> u64 {
    let age_ms = said.ms_since(report.created_at);
    age_ms * STATUSES + last as u64 + 1
}

fn version_on_board(view: &View<'_>, host: HostId, id: TaskId, report: &TaskReport) -> u64 {
    let record = view.board.record(&Key::Task(host, id));
    let said = record.map_or(report.created_at, |record| record.version.stamp.wall);
    version(report, report.last, said)
}

/// What a task can be, from PROVISIONING to STOPPED.
const STATUSES: u64 = 8;

/// What ECS has no word for, under a key of our own: only `/v1` answers have it.
pub(crate) fn extended_json(
    view: &View<'_>,
    host: HostId,
    id: TaskId,
    report: &TaskReport,
) -> Value {
    let mut task = task_json(view, host, id, report);
    let mut ours = json!({
        "taskId": id.to_string(),
        "host": host_json(view, host),
        "confirmed": !report.last.is_live() || view.is_confirmed(host, id),
        "refused": report.refused,
        "replaced": report.replaced,
    });
    let until = protection::until(view, id, report).map(seconds);
    set_if(&mut ours, "protectedUntil", until);
    for container in &report.containers {
        ours["restarts"][&*container.name] = json!(container.restarts);
    }
    if let Some(slot) = &report.slot {
        ours["serviceId"] = json!(slot.service.to_string());
        ours["serviceName"] = json!(slot.service_name);
        ours["slot"] = json!(slot.index);
        ours["generation"] = json!(slot.generation);
    }
    task["holdfast"] = ours;
    task
}

/// A host in a few words, wherever something else is on it.
pub(crate) fn host_json(view: &View<'_>, host: HostId) -> Value {
    let mut answer = json!({
        "id": host.to_string(),
        "name": view.host_name(host),
        "standing": view.standing_of(host).as_str(),
    });
    let address = view
        .board
        .host(host)
        .map(|(_, report)| report.address.ip().to_string());
    set_if(&mut answer, "address", address);
    answer
}
