//! The operations on clusters. There is one, that of the agents; ECS's clients ask for it anyway.

use super::{
    error::ApiError,
    request::{PAGE_MAX, Request, Sort, listed, missing},
    view::View,
};
use holdfast_core::{
    cluster::body::TaskReport,
    spec::{ecs_fields, read::Choice, service::cluster_name},
    task::status::TaskStatus,
};
use serde_json::{Value, json};

/// As in ECS, in one call.
const DESCRIBED_MAX: usize = 100;

const INCLUDE: Choice = Choice {
    served: &[
        "ATTACHMENTS",
        "CONFIGURATIONS",
        "SETTINGS",
        "STATISTICS",
        "TAGS",
    ],
    refused: &[],
    wanted: "\"ATTACHMENTS\", \"CONFIGURATIONS\", \"SETTINGS\", \"STATISTICS\" or \"TAGS\"",
};

/// ECS answers with the cluster that there is already; so do we, since ours always is.
pub(crate) fn create(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let served = &["clusterName"];
    let request = Request::read(view.context, body, served, ecs_fields::CREATE_CLUSTER)?;
    match request.text("clusterName")? {
        Some(name) if name != view.context.cluster => Err(ApiError::InvalidParameter(format!(
            "clusterName is {:?}, but the agents are one cluster, {:?}, and make no others: use \
             that name, or start hosts with `cluster` set to the other one",
            name.chars().take(300).collect::<String>(),
            view.context.cluster
        ))),
        _ => Ok(json!({"cluster": cluster_json(view, false)})),
    }
}

/// As ECS refuses it while there are container instances: ours are the cluster.
pub(crate) fn delete(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DELETE_CLUSTER;
    let request = Request::read(view.context, body, known, known)?;
    request.required("cluster", "a cluster's name or its ARN")?;
    Err(ApiError::ClusterContainsContainerInstances(format!(
        "The Cluster cannot be deleted while Container Instances are active or draining: the \
         cluster {:?} is there for as long as its agents are",
        view.context.cluster
    )))
}

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::LIST_CLUSTERS;
    let request = Request::read(view.context, body, known, known)?;
    let arn = json!(view.context.cluster_arn());
    let all = [(view.context.cluster.clone(), arn)].into_iter();
    let page = request.page(PAGE_MAX)?;
    Ok(listed("clusterArns", page.cut(Sort::Ascending, all)))
}

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DESCRIBE_CLUSTERS;
    let request = Request::read_including(view.context, body, (known, known), &INCLUDE)?;
    let with_statistics = request.includes("STATISTICS", &INCLUDE)?;
    let names = request.texts_if_any("clusters", "up to 100 names or ARNs", DESCRIBED_MAX)?;
    let names = names.unwrap_or_else(|| vec![view.context.cluster.clone()]);
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for given in names {
        let name = cluster_name(&given);
        let name = name.map_err(|err| ApiError::InvalidParameter(format!("clusters {err}")))?;
        match name == view.context.cluster {
            true if clusters.is_empty() => clusters.push(cluster_json(view, with_statistics)),
            true => {}
            false => failures.push(missing(&view.context.cluster_arn_of(&name))),
        }
    }
    Ok(json!({"clusters": clusters, "failures": failures}))
}

pub(crate) fn cluster_json(view: &View<'_>, with_statistics: bool) -> Value {
    let is = |wanted: fn(&TaskReport) -> bool| {
        let tasks = view.board.tasks();
        let tasks = tasks.filter(|(host, _, report)| wanted(report) && !view.is_down(*host));
        tasks.count()
    };
    let running = is(|report| report.last == TaskStatus::Running);
    let pending = is(|report| report.last < TaskStatus::Running);
    let statistics = match with_statistics {
        true => json!([
            {"name": "runningEC2TasksCount", "value": running.to_string()},
            {"name": "pendingEC2TasksCount", "value": pending.to_string()},
        ]),
        false => json!([]),
    };
    json!({
        "clusterArn": view.context.cluster_arn(),
        "clusterName": view.context.cluster,
        "status": "ACTIVE",
        "registeredContainerInstancesCount": view.board.hosts().count(),
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "activeServicesCount": view.board.services().count(),
        "statistics": statistics,
        "tags": [],
        "settings": [{"name": "containerInsights", "value": "disabled"}],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    })
}
