//! A task's shape. Whoever describes many tasks writes each down from it: a tree of values in
//! between would take most of the time.

use super::{
    context::ApiContext,
    runs, tags,
    tasks::{Desired, container_status, deployment_id, desired_of, version},
    view::{View, in_seconds},
};
use holdfast_core::{
    cluster::{
        body::{ContainerReport, Key, TaskReport},
        namespace::split,
        run::{NAME_PREFIX, Run},
    },
    ids::{GpuId, HostId, TaskId},
    spec::task_definition::TaskDefinition,
    task::{runtime::PortBinding, status::StopCode},
};
use serde::Serialize;
use serde_json::Value;

/// A task as ECS describes it: its fields in the order of their names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskShape<'s> {
    attachments: [(); 0],
    attributes: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    availability_zone: Option<&'s str>,
    cluster_arn: String,
    connectivity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_instance_arn: Option<String>,
    containers: Vec<ContainerShape<'s>>,
    cpu: String,
    created_at: f64,
    desired_status: &'static str,
    enable_execute_command: bool,
    group: String,
    health_status: &'static str,
    last_status: &'static str,
    launch_type: &'static str,
    memory: String,
    overrides: Overrides<'s>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_reason: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopping_at: Option<f64>,
    tags: Vec<Value>,
    task_arn: String,
    task_definition_arn: String,
    version: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerShape<'s> {
    container_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    gpu_ids: &'s [GpuId],
    health_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_digest: Option<String>,
    last_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_reservation: Option<String>,
    name: &'s str,
    network_bindings: Vec<BindingShape>,
    network_interfaces: [(); 0],
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_id: Option<String>,
    task_arn: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BindingShape {
    #[serde(rename = "bindIP")]
    bind_ip: &'static str,
    container_port: u16,
    host_port: u16,
    protocol: String,
}

/// What a run has changed of its definition.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Overrides<'s> {
    Given(Value),
    #[serde(rename_all = "camelCase")]
    None {
        container_overrides: Vec<Named<'s>>,
    },
}

#[derive(Debug, Serialize)]
struct Named<'s> {
    name: &'s str,
}

impl<'s> TaskShape<'s> {
    /// Of a report as it is told (see [`runs::as_told`]). A task that is promised may have no host
    /// yet.
    pub(crate) fn of(
        view: &'s View<'_>,
        (host, id): (Option<HostId>, TaskId),
        report: &'s TaskReport,
    ) -> Self {
        let slot = report.slot_name();
        let context = &*view.context.of(slot);
        let definition = view.board.definition(report.definition);
        let needs = definition.map(TaskDefinition::needs).unwrap_or_default();
        let run = runs::of(view, report);
        let on = host.unwrap_or_default();
        // A person's order counts from the moment that it is on the board, before its host reports
        // it.
        let ordered = view.board.stop_order(id);
        let code = report
            .stop_code
            .or(ordered.map(|_| StopCode::UserInitiated));
        let reason = Some(&*report.stopped_reason).filter(|reason| !reason.is_empty());
        let containers = report.containers.iter();
        Self {
            attachments: [],
            attributes: [],
            availability_zone: view.board.host(on).and_then(|(_, on)| on.zone.as_deref()),
            cluster_arn: context.cluster_arn(),
            connectivity: match view.is_down(on) {
                true => "DISCONNECTED",
                false => "CONNECTED",
            },
            container_instance_arn: host.map(|host| context.host_arn(host)),
            containers: containers
                .map(|container| ContainerShape::of((context, id), definition, container))
                .collect(),
            cpu: needs.cpu.to_string(),
            created_at: in_seconds(report.created_at),
            desired_status: match desired_of(view, id, report) {
                Desired::Stopped => "STOPPED",
                Desired::Running | Desired::Pending => "RUNNING",
            },
            enable_execute_command: false,
            group: group(run, report),
            health_status: report.health.as_str(),
            last_status: report.last.as_str(),
            launch_type: "EC2",
            memory: needs.memory_mib.to_string(),
            overrides: Overrides::of(run, report),
            started_at: report.started_at.map(in_seconds),
            started_by: started_by(run, report),
            stop_code: code.map(StopCode::as_str),
            stopped_at: report.stopped_at.map(in_seconds),
            stopped_reason: reason.or(ordered),
            stopping_at: report.stopping_at.map(in_seconds),
            tags: tags::of_task(view, id, report),
            task_arn: context.task_arn(id),
            task_definition_arn: context.definition_arn(&report.family, report.revision),
            version: version_on_board(view, on, id, report),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::to_value(self).expect("it can be written down")
    }

    /// It tells what only those may read who may deploy.
    pub(crate) const fn tells_secrets(&self) -> bool {
        matches!(self.overrides, Overrides::Given(_))
    }
}

impl<'s> ContainerShape<'s> {
    fn of(
        (context, task): (&ApiContext, TaskId),
        definition: Option<&'s TaskDefinition>,
        container: &'s ContainerReport,
    ) -> Self {
        let defined = definition.and_then(|definition| definition.container(&container.name));
        let limit = defined.map(|c| c.memory_mib).filter(|mib| *mib != 0);
        let reserved = defined.and_then(|c| c.memory_reservation_mib);
        Self {
            container_arn: context.container_arn(task, &container.name),
            cpu: defined.map(|c| c.cpu.to_string()),
            exit_code: container.exit_code,
            gpu_ids: &container.gpus,
            health_status: container.health.as_str(),
            image: defined.map(|c| c.image.as_str()),
            image_digest: container.image.map(|image| image.to_string()),
            last_status: container_status(container.status),
            memory: limit.map(|mib| mib.to_string()),
            memory_reservation: reserved.map(|mib| mib.to_string()),
            name: &container.name,
            network_bindings: container.ports.iter().map(BindingShape::of).collect(),
            network_interfaces: [],
            reason: &container.reason,
            runtime_id: container.runtime_id.map(|id| id.to_string()),
            task_arn: context.task_arn(task),
        }
    }
}

impl BindingShape {
    fn of(port: &PortBinding) -> Self {
        Self {
            bind_ip: "0.0.0.0",
            container_port: port.container_port,
            host_port: port.host_port,
            protocol: port.protocol.to_string(),
        }
    }
}

impl<'s> Overrides<'s> {
    fn of(run: Option<&Run>, report: &'s TaskReport) -> Self {
        let given = run.and_then(|run| serde_json::from_str(&run.overrides).ok());
        given.map_or_else(
            || Self::None {
                container_overrides: report
                    .containers
                    .iter()
                    .map(|container| Named {
                        name: &container.name,
                    })
                    .collect(),
            },
            Self::Given,
        )
    }
}

fn group(run: Option<&Run>, report: &TaskReport) -> String {
    match (run, &report.slot) {
        (Some(run), _) => runs::group(run),
        (None, Some(slot)) => format!("service:{}", split(&slot.service_name).1),
        (None, None) => format!("family:{}", report.family),
    }
}

/// The deployment that started the task, or what its run was told.
pub(crate) fn started_by(run: Option<&Run>, report: &TaskReport) -> Option<String> {
    let slot = report.slot.as_ref()?;
    if slot.service_name.starts_with(NAME_PREFIX) {
        let by = run.map(|run| run.started_by.clone());
        return by.filter(|by| !by.is_empty());
    }
    let deployment = (report.definition, report.renewals);
    Some(deployment_id(slot.service, deployment))
}

fn version_on_board(view: &View<'_>, host: HostId, id: TaskId, report: &TaskReport) -> u64 {
    let said = view.written_at(&Key::Task(host, id));
    version(report, report.last, said.unwrap_or(report.created_at))
}
