//! Which cluster a request is about: for keys that may not have all of them.

use super::{
    Operation,
    context::{ApiContext, SERVICE_DEPLOYMENT, SERVICE_REVISION},
};
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
        | Operation::ListServiceDeployments
        | Operation::UpdateCluster
        | Operation::UpdateClusterSettings
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
        Operation::DescribeServiceDeployments => of_first(context, body, "serviceDeploymentArns"),
        Operation::DescribeServiceRevisions => of_first(context, body, "serviceRevisionArns"),
        Operation::DeleteAccountSetting
        | Operation::DeleteTaskDefinitions
        | Operation::DeregisterTaskDefinition
        | Operation::DescribeClusters
        | Operation::DescribeTaskDefinition
        | Operation::ListAccountSettings
        | Operation::ListClusters
        | Operation::ListTaskDefinitionFamilies
        | Operation::ListTaskDefinitions
        | Operation::PutAccountSetting
        | Operation::PutAccountSettingDefault
        | Operation::RegisterTaskDefinition => About::Shared,
    }
}

/// What the first of several ARNs is of: the others of other clusters are MISSING.
fn of_first(context: &ApiContext, body: &Value, field: &str) -> About {
    of_resource(context, body[field][0].as_str().unwrap_or_default())
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
    let inside = ["service", "task", SERVICE_DEPLOYMENT, SERVICE_REVISION]
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
