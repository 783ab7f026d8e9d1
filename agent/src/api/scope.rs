//! Which cluster a request is about: for keys that may not have all of them.

use super::{Operation, context::ApiContext};
use holdfast_core::spec::service::{arn_resource, cluster_name};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// What is in this one, or the cluster itself.
    Cluster(String),
    /// The hosts, which all clusters have.
    Hosts,
    /// What is of no cluster, as task definitions are.
    Shared,
}

pub(crate) fn about(context: &ApiContext, operation: Operation, body: &Value) -> About {
    let named = |field: &str| {
        let text = body[field].as_str();
        let name = text.and_then(|text| cluster_name(text).ok());
        About::Cluster(name.unwrap_or_else(|| context.cluster.clone()))
    };
    match operation {
        Operation::CreateCluster => named("clusterName"),
        Operation::CreateService
        | Operation::DeleteCluster
        | Operation::DeleteService
        | Operation::DescribeServices
        | Operation::DescribeTasks
        | Operation::GetTaskProtection
        | Operation::ListServices
        | Operation::ListTasks
        | Operation::RunTask
        | Operation::StartTask
        | Operation::StopTask
        | Operation::UpdateService
        | Operation::UpdateTaskProtection => named("cluster"),
        Operation::DeleteAttributes
        | Operation::DeregisterContainerInstance
        | Operation::DescribeContainerInstances
        | Operation::ListAttributes
        | Operation::ListContainerInstances
        | Operation::PutAttributes
        | Operation::UpdateContainerInstancesState => About::Hosts,
        Operation::ListTagsForResource | Operation::TagResource | Operation::UntagResource => {
            of_resource(context, body["resourceArn"].as_str().unwrap_or_default())
        }
        Operation::DeleteTaskDefinitions
        | Operation::DeregisterTaskDefinition
        | Operation::DescribeClusters
        | Operation::DescribeTaskDefinition
        | Operation::ListClusters
        | Operation::ListTaskDefinitionFamilies
        | Operation::ListTaskDefinitions
        | Operation::RegisterTaskDefinition => About::Shared,
    }
}

/// What an ARN is of; a name alone is a service's.
fn of_resource(context: &ApiContext, given: &str) -> About {
    if arn_resource(given, "task-definition").is_some() {
        return About::Shared;
    }
    if arn_resource(given, "container-instance").is_some() {
        return About::Hosts;
    }
    let of_cluster = arn_resource(given, "cluster");
    let inside = ["service", "task"]
        .iter()
        .find_map(|kind| arn_resource(given, kind));
    let inside = inside
        .unwrap_or(given)
        .split_once('/')
        .map(|(cluster, _)| cluster);
    let inside = inside.filter(|_| of_cluster.is_none());
    let cluster = of_cluster.or(inside).unwrap_or(&context.cluster);
    About::Cluster(cluster.to_owned())
}
