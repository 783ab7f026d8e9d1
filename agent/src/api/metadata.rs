//! The answers of ECS's task metadata endpoint: one task, as its own containers may see it.

use super::{
    introspection::{docker_name, rfc3339, volumes},
    view::{View, set_if},
};
use crate::{
    metadata::Secret,
    runtime::facts::{Fact, Place},
};
use holdfast_core::{
    cluster::{
        body::{ContainerReport, ContainerStatus, TaskReport},
        namespace::split,
    },
    ids::TaskId,
    spec::task_definition::{Container, NetworkMode, Protocol, TaskDefinition},
    task::{
        pause::PAUSE,
        status::{Health, TaskStatus},
    },
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// What later versions say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V2,
    V3,
    V4,
}

/// The container that asks, or is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) task: TaskId,
    pub(crate) container: String,
    pub(crate) network: NetworkMode,
    /// Docker's name of the container whose network it has.
    pub(crate) holder: String,
    /// Docker's names of the task's containers, by those of the definition.
    pub(crate) names: BTreeMap<String, String>,
    /// Docker's ids of those that were made, by the same.
    pub(crate) ids: BTreeMap<String, String>,
}

/// By the containers' names.
pub(crate) type Facts = BTreeMap<String, Arc<Fact>>;

impl Version {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "V2",
            Self::V3 => "V3",
            Self::V4 => "V4",
        }
    }
}

/// The container of a task of this host whose path has this id.
pub(crate) fn by_id(view: &View<'_>, secret: &Secret, id: &str) -> Option<Subject> {
    let mut tasks = view.board.tasks_on(view.me);
    tasks.find_map(|(task, report)| {
        let mut containers = report.containers.iter().filter(|_| report.last.is_live());
        let container = containers.find(|c| secret.id_of(task, &c.name) == id)?;
        Some(subject(view, (task, report), &container.name))
    })
}

/// Whoever is at an address; perhaps the one that only holds the network of a task.
pub(crate) fn by_place(view: &View<'_>, place: &Place) -> Option<Subject> {
    let report = view.board.task_at(view.me, place.task)?;
    Some(subject(view, (place.task, report), &place.container))
}

fn subject(view: &View<'_>, (task, report): (TaskId, &TaskReport), container: &str) -> Subject {
    let definition = view.board.definition(report.definition);
    let network = definition.map(|known| known.network).unwrap_or_default();
    let holder = match network {
        NetworkMode::Task => PAUSE,
        NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None => container,
    };
    let named = |name: &str| docker_name(report, name, task);
    let all = report.containers.iter();
    let made = all
        .clone()
        .filter_map(|c| Some((c.name.to_string(), c.runtime_id?.to_string())));
    Subject {
        task,
        container: container.to_owned(),
        network,
        holder: named(holder),
        names: all.map(|c| (c.name.to_string(), named(&c.name))).collect(),
        ids: made.collect(),
    }
}

/// `None` where the task is gone.
pub(crate) fn task(
    view: &View<'_>,
    version: Version,
    subject: &Subject,
    facts: &Facts,
) -> Option<Value> {
    let report = view.board.task_at(view.me, subject.task)?;
    let containers: Vec<_> = report
        .containers
        .iter()
        .map(|c| container_json(view, version, (subject.task, report), c, facts))
        .collect();
    let definition = view.board.definition(report.definition);
    let service = report.slot_name();
    let context = view.context.of(service);
    let mut answer = json!({
        "Cluster": context.name(),
        "TaskARN": context.task_arn(subject.task),
        "Family": report.family,
        "Revision": report.revision.to_string(),
        "DesiredStatus": desired(report),
        "KnownStatus": known(report.last),
        "Containers": containers,
    });
    set_if(&mut answer, "Limits", definition.and_then(limits));
    let ended = report.stopping_at.or(report.stopped_at).map(rfc3339);
    set_if(&mut answer, "ExecutionStoppedAt", ended);
    let (_, host) = view.board.host(view.me).unzip();
    let zone = host.and_then(|host| host.zone.as_deref());
    set_if(&mut answer, "AvailabilityZone", zone);
    if version == Version::V4 {
        answer["LaunchType"] = json!("EC2");
        answer["FaultInjectionEnabled"] = json!(false);
        let service = service.map(|service| split(service).1);
        set_if(&mut answer, "ServiceName", service);
    }
    Some(answer)
}

/// `None` where the task has no such container, or is gone.
pub(crate) fn container(
    view: &View<'_>,
    version: Version,
    subject: &Subject,
    facts: &Facts,
) -> Option<Value> {
    let report = view.board.task_at(view.me, subject.task)?;
    let mut containers = report.containers.iter();
    let asked = containers.find(|c| *c.name == *subject.container)?;
    let of = (subject.task, report);
    Some(container_json(view, version, of, asked, facts))
}

fn container_json(
    view: &View<'_>,
    version: Version,
    (task, report): (TaskId, &TaskReport),
    container: &ContainerReport,
    facts: &Facts,
) -> Value {
    let nothing = Arc::default();
    let fact: &Fact = facts.get(&*container.name).unwrap_or(&nothing);
    let defined = view.defined(report, &container.name);
    let mut labels = fact.labels.clone();
    let slot = report.slot_name();
    let context = &*view.context.of(slot);
    let arn = context.task_arn(task);
    labels.insert("com.amazonaws.ecs.task-arn".to_owned(), arn);
    let mut answer = json!({
        "DockerId": container.runtime_id.map_or_else(String::new, |id| id.to_string()),
        "Name": container.name,
        "DockerName": docker_name(report, &container.name, task),
        "Image": defined.map_or("", |c| &c.image),
        "ImageID": fact.image_id,
        "Labels": labels,
        "DesiredStatus": desired(report),
        "KnownStatus": container_status(container),
        "Limits": {
            "CPU": defined.map_or(0, |c| c.cpu),
            "Memory": defined.map_or(0, |c| c.memory_mib),
        },
        "Type": "NORMAL",
    });
    set_if(&mut answer, "ExitCode", container.exit_code);
    let created = fact.created_at.as_deref();
    set_if(&mut answer, "CreatedAt", created);
    set_if(&mut answer, "StartedAt", fact.started_at.as_deref());
    // Of one that was run again, it is the end before.
    let ended = fact.finished_at.as_deref();
    let ended = ended.filter(|_| container.status == ContainerStatus::Stopped);
    set_if(&mut answer, "FinishedAt", ended);
    set_if(&mut answer, "Ports", some(ports(view, report, container)));
    set_if(&mut answer, "Networks", some(networks(fact)));
    let mounted = volumes(view, (task, report), container);
    set_if(&mut answer, "Volumes", some(mounted));
    let is_checked = defined.is_some_and(|c| c.health_check.is_some());
    let health = is_checked.then(|| health(container, fact));
    set_if(&mut answer, "Health", health);
    if version == Version::V4 {
        let arn = context.container_arn(task, &container.name);
        answer["ContainerARN"] = json!(arn);
        let log = defined.and_then(|c| c.log.as_ref());
        set_if(&mut answer, "LogDriver", log.map(|log| log.driver.as_str()));
        let options = log.filter(|log| !log.options.is_empty());
        set_if(
            &mut answer,
            "LogOptions",
            options.map(|log| json!(log.options)),
        );
        let is_restarted = |c: &&Container| c.restart.as_ref().is_some_and(|r| r.enabled);
        let restarts = defined.filter(is_restarted).map(|_| container.restarts);
        set_if(&mut answer, "RestartCount", restarts);
    }
    answer
}

/// Of the whole task, as far as its definition has any: vCPUs and MiB.
fn limits(definition: &TaskDefinition) -> Option<Value> {
    let mut limits = Map::new();
    if let Some(units) = definition.cpu {
        let vcpus = match units % 1024 {
            0 => json!(units / 1024),
            _ => json!(f64::from(units) / 1024.0),
        };
        limits.insert("CPU".to_owned(), vcpus);
    }
    if let Some(mib) = definition.memory_mib {
        limits.insert("Memory".to_owned(), json!(mib));
    }
    (!limits.is_empty()).then_some(Value::Object(limits))
}

/// Those of the definition; a host's port where one is known.
fn ports(view: &View<'_>, report: &TaskReport, container: &ContainerReport) -> Vec<Value> {
    let defined = view.defined(report, &container.name);
    let defined = defined.into_iter().flat_map(|c| &c.ports);
    let port = |port: &holdfast_core::spec::task_definition::PortMapping| {
        let protocol = match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let mut answer = json!({"ContainerPort": port.container_port, "Protocol": protocol});
        let bound = container.ports.iter().find(|bound| bound.is_of(port));
        set_if(&mut answer, "HostPort", bound.map(|bound| bound.host_port));
        answer
    };
    defined.map(port).collect()
}

pub(super) fn networks(fact: &Fact) -> Vec<Value> {
    let network = |network: &crate::runtime::facts::Network| {
        let mut answer = json!({"NetworkMode": network.name});
        let address = network.address.map(|address| json!([address]));
        set_if(&mut answer, "IPv4Addresses", address);
        answer
    };
    fact.networks.iter().map(network).collect()
}

/// The last look's output only where Docker itself looks.
fn health(container: &ContainerReport, fact: &Fact) -> Value {
    let status = match container.health {
        Health::Healthy | Health::Unhealthy => container.health.as_str(),
        Health::Unknown => "UNKNOWN",
    };
    let mut answer = json!({"status": status});
    if let Some(check) = &fact.check {
        set_if(&mut answer, "statusSince", check.ended_at.as_deref());
        set_if(&mut answer, "exitCode", check.exit_code);
        set_if(&mut answer, "output", Some(check.output.as_str()));
    }
    answer
}

pub(super) fn some(list: Vec<Value>) -> Option<Value> {
    (!list.is_empty()).then_some(Value::Array(list))
}

fn desired(report: &TaskReport) -> &'static str {
    match report.desired {
        TaskStatus::Stopped => "STOPPED",
        _ => "RUNNING",
    }
}

/// The ECS agent's own statuses, of which it has fewer than ECS.
fn known(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Provisioning => "NONE",
        TaskStatus::Pending | TaskStatus::Activating => "CREATED",
        TaskStatus::Running
        | TaskStatus::Deactivating
        | TaskStatus::Stopping
        | TaskStatus::Deprovisioning => "RUNNING",
        TaskStatus::Stopped => "STOPPED",
    }
}

fn container_status(container: &ContainerReport) -> &'static str {
    match (container.status, container.runtime_id) {
        (ContainerStatus::Pending, None) => "NONE",
        (ContainerStatus::Pending, Some(_)) => "CREATED",
        (ContainerStatus::Running, _) => "RUNNING",
        (ContainerStatus::Stopped, _) => "STOPPED",
    }
}
