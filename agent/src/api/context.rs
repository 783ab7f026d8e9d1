//! What ARNs are made of, and how names, ids and ARNs are read back.

use super::error::ApiError;
use holdfast_core::{
    cluster::{
        board::Board,
        namespace::{cluster_of, qualified, split},
    },
    ids::{HostId, TaskId},
    rng::{hash_bytes, mix},
    spec::{
        read::NAME,
        service::{arn_resource, cluster_name},
    },
};
use serde_json::Value;
use std::{borrow::Cow, fmt, str::FromStr};

/// Clusters that a refusal names.
const SHOWN_MAX: usize = 10;

/// Kinds of ARNs of what a service has.
pub(crate) const SERVICE_DEPLOYMENT: &str = "service-deployment";
pub(crate) const SERVICE_REVISION: &str = "service-revision";

/// Region and account are only for ARNs: public detectors parse them. They are made, but not
/// compared: two hosts of one cluster may be configured differently, and the ids decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiContext {
    pub(crate) region: String,
    pub(crate) account: String,
    /// The agents' own.
    pub(crate) cluster: String,
    /// The one that is asked for, where that is another one, which people have made.
    pub(crate) namespace: Option<String>,
    /// Whether one was asked for by name: nothing of another one is meant, then.
    pub(crate) is_named: bool,
}

impl ApiContext {
    /// As a request is meant that has this `cluster`. What is no name of one is for whoever reads
    /// the request to refuse.
    pub(crate) fn scoped(&self, board: &Board, cluster: &Value) -> Result<Cow<'_, Self>, ApiError> {
        let name = cluster.as_str().map(cluster_name);
        let Some(Ok(name)) = name else {
            return Ok(Cow::Borrowed(self));
        };
        if name != self.cluster && !board.has_cluster(&name) {
            let others = board.clusters();
            let others: Vec<_> = others.into_iter().take(SHOWN_MAX).collect();
            return Err(ApiError::ClusterNotFound(format!(
                "Cluster not found: there is no cluster {name:?}; the agents are of {:?}, and \
                 people have made: {}",
                self.cluster,
                if others.is_empty() {
                    "none".to_owned()
                } else {
                    others.join(", ")
                }
            )));
        }
        let namespace = (name != self.cluster).then_some(name);
        Ok(Cow::Owned(Self {
            namespace,
            is_named: true,
            ..self.clone()
        }))
    }

    /// In the cluster of what has a slot of this name.
    pub(crate) fn of(&self, slot: Option<&str>) -> Cow<'_, Self> {
        let namespace = slot.and_then(cluster_of);
        match namespace == self.namespace.as_deref() {
            true => Cow::Borrowed(self),
            false => Cow::Owned(Self {
                namespace: namespace.map(str::to_owned),
                ..self.clone()
            }),
        }
    }

    /// The cluster that is asked for.
    pub(crate) fn name(&self) -> &str {
        self.namespace.as_deref().unwrap_or(&self.cluster)
    }

    /// What has a slot of this name is in the cluster that is asked for.
    pub(crate) fn is_of(&self, slot: Option<&str>) -> bool {
        slot.and_then(cluster_of) == self.namespace.as_deref()
    }

    pub(crate) fn cluster_arn(&self) -> String {
        self.cluster_arn_of(self.name())
    }

    pub(crate) fn cluster_arn_of(&self, name: &str) -> String {
        self.arn(format_args!("cluster/{name}"))
    }

    /// Of a service as the board calls it.
    pub(crate) fn service_arn(&self, name: &str) -> String {
        let (cluster, name) = split(name);
        self.arn(format_args!(
            "service/{}/{name}",
            cluster.unwrap_or(&self.cluster)
        ))
    }

    pub(crate) fn task_arn(&self, task: TaskId) -> String {
        self.arn(format_args!("task/{}/{task}", self.name()))
    }

    pub(crate) fn definition_arn(&self, family: &str, revision: u32) -> String {
        self.arn(format_args!("task-definition/{family}:{revision}"))
    }

    pub(crate) fn host_arn(&self, host: HostId) -> String {
        self.arn(format_args!("container-instance/{}/{host}", self.name()))
    }

    /// Of a service's deployment, by its number.
    pub(crate) fn service_deployment_arn(&self, service: &str, number: &str) -> String {
        self.service_part_arn(SERVICE_DEPLOYMENT, service, number)
    }

    /// Of what a deployment of a service deploys, by the deployment's number.
    pub(crate) fn service_revision_arn(&self, service: &str, number: &str) -> String {
        self.service_part_arn(SERVICE_REVISION, service, number)
    }

    fn service_part_arn(&self, kind: &str, service: &str, number: &str) -> String {
        let (cluster, name) = split(service);
        let cluster = cluster.unwrap_or(&self.cluster);
        self.arn(format_args!("{kind}/{cluster}/{name}/{number}"))
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
        self.arn(format_args!("container/{}/{task}/{uuid}", self.name()))
    }

    /// Whoever owns the account.
    pub(crate) fn root_arn(&self) -> String {
        format!("arn:aws:iam::{}:root", self.account)
    }

    fn arn(&self, resource: fmt::Arguments<'_>) -> String {
        format!("arn:aws:ecs:{}:{}:{resource}", self.region, self.account)
    }

    /// What the board calls the service that is given as its name, as `cluster/name`, or by either
    /// form of its ARN. `None` where it cannot be one of the cluster that is asked for.
    pub(crate) fn service_name(&self, given: &str) -> Option<String> {
        let resource = match given.starts_with("arn:") {
            true => arn_resource(given, "service")?,
            false => given,
        };
        match resource.split_once('/') {
            None => Some(qualified(self.namespace.as_deref(), resource)),
            Some((cluster, name)) => self.named_in(cluster, name),
        }
    }

    /// What the board calls it, where something of that cluster may be meant. A name with a slash
    /// would be another cluster's.
    fn named_in(&self, cluster: &str, name: &str) -> Option<String> {
        let is_asked = cluster == self.name() || !self.is_named;
        let is_one = is_asked && (NAME.holds)(name) && (NAME.holds)(cluster);
        is_one.then(|| qualified(self.namespace_of(cluster), name))
    }

    /// What the board calls the service, and the number, in an ARN of such a kind.
    pub(crate) fn service_part<'a>(&self, kind: &str, given: &'a str) -> Option<(String, &'a str)> {
        let (service, number) = arn_resource(given, kind)?.rsplit_once('/')?;
        let (cluster, name) = service.split_once('/')?;
        Some((self.named_in(cluster, name)?, number))
    }

    /// `None` for the agents' own cluster, which names without one are of.
    pub(crate) fn namespace_of<'a>(&self, cluster: &'a str) -> Option<&'a str> {
        (cluster != self.cluster).then_some(cluster)
    }

    /// `None` where it is an ARN of something else or of another cluster.
    pub(crate) fn task_id(&self, given: &str) -> Result<Option<TaskId>, ApiError> {
        let is_asked = |cluster: &str| cluster == self.name() || !self.is_named;
        id("task", given, is_asked)
    }

    /// All clusters have the same hosts.
    pub(crate) fn host_id(&self, given: &str) -> Result<Option<HostId>, ApiError> {
        id("container-instance", given, |_| true)
    }
}

/// The id behind an ARN of that kind, in ECS's long or short form, or the text itself.
fn id<T: FromStr>(
    kind: &str,
    given: &str,
    is_asked: impl Fn(&str) -> bool,
) -> Result<Option<T>, ApiError> {
    let resource = match given.starts_with("arn:") {
        true => arn_resource(given, kind),
        false => Some(given),
    };
    let text = match resource.map(|resource| (resource, resource.split_once('/'))) {
        Some((id, None)) => id,
        Some((_, Some((cluster, id)))) if is_asked(cluster) => id,
        Some(_) | None => return Ok(None),
    };
    text.parse().map(Some).map_err(|_| {
        let shown: String = given.chars().take(120).collect();
        ApiError::InvalidParameter(format!(
            "{shown:?} is not a {kind} id: give its 32 hexadecimal digits or its ARN"
        ))
    })
}
