//! What ARNs are made of, and how names, ids and ARNs are read back.

use super::error::ApiError;
use holdfast_core::{
    ids::{HostId, TaskId},
    rng::{hash_bytes, mix},
    spec::service::arn_resource,
};
use std::str::FromStr;

/// Kinds of ARNs of what a service has.
pub(crate) const SERVICE_DEPLOYMENT: &str = "service-deployment";
pub(crate) const SERVICE_REVISION: &str = "service-revision";

/// Region and account are only for ARNs: public detectors parse them. They are made, but not
/// compared: two hosts of one cluster may be configured differently, and the ids decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiContext {
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) cluster: String,
}

impl ApiContext {
    pub(crate) fn cluster_arn(&self) -> String {
        self.cluster_arn_of(&self.cluster)
    }

    pub(crate) fn cluster_arn_of(&self, name: &str) -> String {
        self.arn(&format!("cluster/{name}"))
    }

    pub(crate) fn service_arn(&self, name: &str) -> String {
        self.arn(&format!("service/{}/{name}", self.cluster))
    }

    pub(crate) fn task_arn(&self, task: TaskId) -> String {
        self.arn(&format!("task/{}/{task}", self.cluster))
    }

    pub(crate) fn definition_arn(&self, family: &str, revision: u32) -> String {
        self.arn(&format!("task-definition/{family}:{revision}"))
    }

    pub(crate) fn host_arn(&self, host: HostId) -> String {
        self.arn(&format!("container-instance/{}/{host}", self.cluster))
    }

    /// Of a service's deployment, by its number.
    pub(crate) fn service_deployment_arn(&self, service: &str, number: &str) -> String {
        self.arn(&format!(
            "{SERVICE_DEPLOYMENT}/{}/{service}/{number}",
            self.cluster
        ))
    }

    /// Of what a deployment of a service deploys, by the deployment's number.
    pub(crate) fn service_revision_arn(&self, service: &str, number: &str) -> String {
        self.arn(&format!(
            "{SERVICE_REVISION}/{}/{service}/{number}",
            self.cluster
        ))
    }

    /// Derived from task and name, so that every agent answers the same.
    pub(crate) fn container_arn(&self, task: TaskId, name: &str) -> String {
        let high = mix(task.word() ^ hash_bytes(name.as_bytes()));
        let hex = format!("{high:016x}{:016x}", mix(high ^ 1));
        let uuid = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ]
        .join("-");
        self.arn(&format!("container/{}/{task}/{uuid}", self.cluster))
    }

    /// Whoever owns the account.
    pub(crate) fn root_arn(&self) -> String {
        format!("arn:aws:iam::{}:root", self.account)
    }

    fn arn(&self, resource: &str) -> String {
        format!("arn:aws:ecs:{}:{}:{resource}", self.region, self.account)
    }

    /// A cluster that is named must be ours; one that isn't named is.
    pub(crate) fn check_cluster(&self, named: Option<&str>) -> Result<(), ApiError> {
        match named {
            Some(named) if named != self.cluster => Err(ApiError::ClusterNotFound(format!(
                "this agent is of the cluster {:?}, not of {named:?}; leave the cluster out, or \
                 ask an agent of that one",
                self.cluster
            ))),
            _ => Ok(()),
        }
    }

    /// The id or name behind an ARN of that kind, in ECS's long or short form, or the text itself.
    /// `None` where it is an ARN of something else or of another cluster.
    fn resource<'a>(&self, kind: &str, given: &'a str) -> Option<&'a str> {
        if !given.starts_with("arn:") {
            return Some(given);
        }
        let resource = arn_resource(given, kind)?;
        match resource.split_once('/') {
            None => Some(resource),
            Some((cluster, rest)) => (cluster == self.cluster).then_some(rest),
        }
    }

    pub(crate) fn service_name<'a>(&self, given: &'a str) -> Option<&'a str> {
        self.resource("service", given)
    }

    /// The service's name and the number in an ARN of such a kind.
    pub(crate) fn service_part<'a>(
        &self,
        kind: &str,
        given: &'a str,
    ) -> Option<(&'a str, &'a str)> {
        self.resource(kind, given)?.split_once('/')
    }

    pub(crate) fn task_id(&self, given: &str) -> Result<Option<TaskId>, ApiError> {
        self.id("task", given)
    }

    pub(crate) fn host_id(&self, given: &str) -> Result<Option<HostId>, ApiError> {
        self.id("container-instance", given)
    }

    fn id<T: FromStr>(&self, kind: &str, given: &str) -> Result<Option<T>, ApiError> {
        let Some(id) = self.resource(kind, given) else {
            return Ok(None);
        };
        id.parse().map(Some).map_err(|_| {
            let shown: String = given.chars().take(120).collect();
            ApiError::InvalidParameter(format!(
                "{shown:?} is not a {kind} id: give its 32 hexadecimal digits or its ARN"
            ))
        })
    }
}
