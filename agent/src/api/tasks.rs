//! The operations on tasks, and a task's shape.

use super::{
    Plan,
    error::ApiError,
    protection,
    request::{PAGE_MAX, Request, Sort, listed, missing},
    runs,
    task_shape::{self, TaskShape},
    view::{View, seconds, set_if},
};
use holdfast_core::{
    cluster::{
        body::{ContainerStatus, TaskReport},
        namespace::cluster_of,
    },
    command::{Command, Refusal},
    ids::{Digest, HostId, ServiceId, TaskId},
    limits,
    rng::mix,
    spec::{ecs_fields, read::Choice, service::arn_resource},
    task::status::TaskStatus,
    time::Wall,
};
use serde::Serialize;
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

/// DescribeTasks' answer.
#[derive(Serialize)]
struct Described<'s> {
    failures: Vec<Value>,
    tasks: Vec<TaskShape<'s>>,
}

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let known = ecs_fields::DESCRIBE_TASKS;
    let request = Request::read(body, known, known)?;
    let wanted = "the ids or ARNs of 1 to 100 tasks";
    let given = request.texts("tasks", wanted, limits::DESCRIBE_TASKS_MAX)?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for text in &given {
        let id = meant(view, text)?;
        match id.and_then(|id| Some((id, runs::named(view, id)?))) {
            Some(task) => found.push(task),
            None => {
                let arn = id.map_or_else(|| text.clone(), |id| view.context.task_arn(id));
                failures.push(missing(&arn));
            }
        }
    }
    let lacks = !failures.is_empty();
    let tasks = found.iter().map(|(id, (host, report))| {
        let of = (*host, *id);
        TaskShape::of(view, of, report)
    });
    let tasks: Vec<_> = tasks.collect();
    let tells_secrets = tasks.iter().any(TaskShape::tells_secrets);
    let described = Described { failures, tasks };
    Ok(Plan::Written {
        json: serde_json::to_vec(&described).expect("it can be written down"),
        lacks,
        tells_secrets,
    })
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
        return Some(report.slot_name().and_then(cluster_of));
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
        let service = report.slot_name();
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

fn started_by(view: &View<'_>, report: &TaskReport) -> Option<String> {
    task_shape::started_by(runs::of(view, report), report)
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
    let report = runs::as_told(view, report);
    TaskShape::of(view, (Some(host), id), &report).json()
}

pub(crate) const fn container_status(status: ContainerStatus) -> &'static str {
    match status {
        ContainerStatus::Pending => "PENDING",
        ContainerStatus::Running => "RUNNING",
        ContainerStatus::Stopped => "STOPPED",
    }
}

pub(crate) fn desired_of(view: &View<'_>, task: TaskId, report: &TaskReport) -> Desired {
    let wanted = report.desired < TaskStatus::Deactivating && report.last.is_live();
    if wanted && view.board.stop_order(task).is_none() {
        return Desired::Running;
    }
    Desired::Stopped
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
