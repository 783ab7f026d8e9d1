//! The operations on clusters: that of the agents, and those that people make over its hosts.

use super::{
    Plan,
    error::ApiError,
    request::{PAGE_MAX, Request, Sort, listed, missing},
    settings,
    tags::{self, tagged},
    view::View,
};
use crate::gossip::now_wall_ms;
use holdfast_core::{
    cluster::{
        body::Key,
        namespace::{RESERVED, cluster_of},
        tag::Subject,
    },
    command::Command,
    limits,
    spec::{ecs_fields, read::Choice, service::cluster_name, tags::parse_tags},
    task::status::TaskStatus,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

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

/// What there is of tasks in a cluster.
#[derive(Clone, Copy, Debug, Default)]
struct Tasks {
    running: u32,
    pending: u32,
}

/// ECS answers with the cluster where there is one of that name already; so do we.
pub(crate) fn plan_create(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let served = &["clusterName", "tags", "settings"];
    let request = Request::read(body, served, ecs_fields::CREATE_CLUSTER)?;
    settings::check_all(&request.objects("settings")?)?;
    let tags = parse_tags(body).map_err(ApiError::invalid)?;
    let name = request.text("clusterName")?;
    let name = name.map(|name| cluster_name(&name)).transpose();
    let name = name.map_err(|err| ApiError::InvalidParameter(format!("clusterName {err}")))?;
    let name = name.unwrap_or_else(|| view.context.cluster.clone());
    if RESERVED.contains(&&*name) {
        return Err(ApiError::InvalidParameter(format!(
            "clusterName is {name:?}, which is what runs or schedules are called; use another name"
        )));
    }
    let command = match name == view.context.cluster {
        // It is there for as long as its agents are.
        true if tags.is_empty() => {
            return Ok(Plan::Answer(
                json!({"cluster": cluster_json(view, &name, false)}),
            ));
        }
        true => Command::Tag(vec![tags::tagging(Subject::Cluster(name), tags)]),
        false => tagged(Command::MakeCluster(name), tags),
    };
    Ok(Plan::write(command))
}

/// The agents' own is refused as ECS does while there are container instances: they are it.
pub(crate) fn plan_delete(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let known = ecs_fields::DELETE_CLUSTER;
    let request = Request::read(body, known, known)?;
    request.required("cluster", "a cluster's name or its ARN")?;
    let Some(name) = view.context.namespace.clone() else {
        return Err(ApiError::ClusterContainsContainerInstances(format!(
            "The Cluster cannot be deleted while Container Instances are active or draining: the \
             cluster {:?} is there for as long as its agents are",
            view.context.cluster
        )));
    };
    let mut answer = cluster_json(view, &name, false);
    answer["status"] = json!("INACTIVE");
    Ok(Plan::prepared(
        Command::DeleteCluster(name),
        json!({"cluster": answer}),
    ))
}

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::LIST_CLUSTERS;
    let request = Request::read(body, known, known)?;
    let mut names = view.board.clusters();
    names.insert(&view.context.cluster);
    let all = names.into_iter().map(|name| {
        let arn = view.context.cluster_arn_of(name);
        (name.to_owned(), json!(arn))
    });
    let page = request.page(PAGE_MAX)?;
    Ok(listed("clusterArns", page.cut(Sort::Ascending, all)))
}

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DESCRIBE_CLUSTERS;
    let request = Request::read_including(body, (known, known), &INCLUDE)?;
    let with_statistics = request.includes("STATISTICS", &INCLUDE)?;
    let given = request.texts_if_any("clusters", "up to 100 names or ARNs", DESCRIBED_MAX)?;
    let given = given.unwrap_or_else(|| vec![view.context.cluster.clone()]);
    let mut names: Vec<String> = Vec::new();
    for given in given {
        let name = cluster_name(&given);
        let name = name.map_err(|err| ApiError::InvalidParameter(format!("clusters {err}")))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let tasks = tasks_by_cluster(view);
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let is_there = name == view.context.cluster || view.board.has_cluster(&name);
        if is_there {
            clusters.push(told(view, &name, with_statistics, &tasks));
        } else if was_deleted(view, &name) {
            let mut cluster = told(view, &name, with_statistics, &tasks);
            cluster["status"] = json!("INACTIVE");
            clusters.push(cluster);
        } else {
            failures.push(missing(&view.context.cluster_arn_of(&name)));
        }
    }
    Ok(json!({"clusters": clusters, "failures": failures}))
}

/// Within the hour: as long as services that were deleted are told of.
fn was_deleted(view: &View<'_>, name: &str) -> bool {
    let record = view.board.record(&Key::Cluster(name.to_owned()));
    let deleted = record.filter(|record| record.body.is_none());
    deleted.is_some_and(|record| {
        let age_ms = now_wall_ms().saturating_sub(record.version.stamp.wall.0);
        age_ms <= limits::STOPPED_TASK_KEPT_MS
    })
}

/// One that is there, as ECS describes it.
pub(crate) fn cluster_json(view: &View<'_>, name: &str, with_statistics: bool) -> Value {
    told(view, name, with_statistics, &tasks_by_cluster(view))
}

/// By namespace; under `None` those of the agents' own cluster.
fn tasks_by_cluster<'v>(view: &View<'v>) -> BTreeMap<Option<&'v str>, Tasks> {
    let mut clusters: BTreeMap<_, Tasks> = BTreeMap::new();
    for (host, _, report) in view.board.tasks() {
        if report.last > TaskStatus::Running || view.is_down(host) {
            continue;
        }
        let namespace = report.slot_name().and_then(cluster_of);
        let tasks = clusters.entry(namespace).or_default();
        match report.last == TaskStatus::Running {
            true => tasks.running += 1,
            false => tasks.pending += 1,
        }
    }
    clusters
}

fn told(
    view: &View<'_>,
    name: &str,
    with_statistics: bool,
    tasks: &BTreeMap<Option<&str>, Tasks>,
) -> Value {
    let namespace = view.context.namespace_of(name);
    let Tasks { running, pending } = tasks.get(&namespace).copied().unwrap_or_default();
    let statistics = match with_statistics {
        true => json!([
            {"name": "runningEC2TasksCount", "value": running.to_string()},
            {"name": "pendingEC2TasksCount", "value": pending.to_string()},
        ]),
        false => json!([]),
    };
    json!({
        "clusterArn": view.context.cluster_arn_of(name),
        "clusterName": name,
        "status": "ACTIVE",
        // All clusters have the same hosts.
        "registeredContainerInstancesCount": view.board.hosts().count(),
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "activeServicesCount": view.board.services_in(namespace).count(),
        "statistics": statistics,
        "tags": tags::of(view, &Subject::Cluster(name.to_owned())),
        "settings": [{"name": "containerInsights", "value": "disabled"}],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    })
}
