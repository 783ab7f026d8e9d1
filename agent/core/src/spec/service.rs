//! Services as meant: the valid form of ECS's `CreateService` and `UpdateService` input.

use super::{
    deployment, ecs_fields,
    error::{Faults, SpecError, SpecErrors, shown},
    options::{OptionsChange, ServiceOptions},
    read::{Choice, Fields, NAME, Range, RefError, Rule, is_name},
    tags::{TagMeaning, read_tags},
};
use crate::limits;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fmt, str::FromStr};

/// "Keep that many copies of this running", under a new name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateService {
    pub service_name: String,
    pub definition: DefinitionRef,
    pub desired_count: u32,
    /// The cluster's name, also where its ARN was given; the agent's own where absent.
    pub cluster: Option<String>,
    /// The same token twice means the same request twice.
    pub client_token: Option<String>,
    pub options: ServiceOptions,
    /// But for those that stand for options.
    pub tags: Vec<(String, String)>,
}

/// What is to change; whatever is absent stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateService {
    /// The service's name, also where its ARN was given.
    pub service: String,
    pub desired_count: Option<u32>,
    pub definition: Option<DefinitionRef>,
    /// ECS's `forceNewDeployment`.
    pub renew: bool,
    pub options: OptionsChange,
    /// The cluster's name, from `cluster` or from the service's ARN; the agent's own where absent.
    pub cluster: Option<String>,
}

/// A task definition as people refer to it: `family`, `family:revision`, or an ARN of either.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DefinitionRef {
    pub family: String,
    /// The family's latest where absent.
    pub revision: Option<u32>,
}

/// A service as people refer to it: by name, as `cluster/name`, or by either form of ARN that ECS
/// has used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceRef {
    pub name: String,
    /// A name alone and the shorter ARN do not tell.
    pub cluster: Option<String>,
}

pub fn parse_create_service(json: &Value) -> Result<CreateService, SpecErrors> {
    let fields = Fields::of_request(json)?;
    let mut faults = Faults::default();
    let name = fields.required(
        "serviceName",
        NAME.wanted,
        fields.text("serviceName", &NAME),
    );
    let name = faults.keep(name);
    let definition = fields.reference("taskDefinition", DefinitionRef::from_str);
    let definition = fields.required("taskDefinition", DEFINITION_WANTED, definition);
    let definition = faults.keep(definition.map(Some));
    let count = fields.number("desiredCount", &COUNT);
    let count = fields.required("desiredCount", "the number of tasks to keep running", count);
    let desired_count = faults.keep(count);
    let cluster = faults.keep(fields.reference("cluster", cluster_name));
    let client_token = faults.keep(fields.text("clientToken", &CLIENT_TOKEN));
    let tags = read_tags(&fields, TagMeaning::OptionsOfService, &mut faults);
    let options = OptionsChange {
        rebalance: faults.keep(rebalance(&fields)),
        health_grace_s: faults.keep(fields.number(HEALTH_GRACE, &GRACE)),
        ..tags.options
    };
    faults.keep(fields.choice("schedulingStrategy", &SCHEDULING_STRATEGY));
    faults.keep(fields.choice("launchType", &LAUNCH_TYPE));
    check(
        &fields,
        &[
            "serviceName",
            "taskDefinition",
            "desiredCount",
            "cluster",
            "clientToken",
            "schedulingStrategy",
            "launchType",
            "availabilityZoneRebalancing",
            HEALTH_GRACE,
            "tags",
        ],
        ecs_fields::CREATE_SERVICE,
        &mut faults,
    );
    faults.finish(())?;
    Ok(CreateService {
        service_name: name,
        definition: definition.expect("a definition that was not read is a fault"),
        desired_count,
        cluster,
        client_token,
        options: options.of(ServiceOptions::default()),
        tags: tags.own,
    })
}

pub fn parse_update_service(json: &Value) -> Result<UpdateService, SpecErrors> {
    let fields = Fields::of_request(json)?;
    let mut faults = Faults::default();
    let service = fields.reference("service", ServiceRef::from_str);
    let service = fields.required("service", SERVICE_WANTED, service);
    let service = faults.keep(service.map(Some));
    let desired_count = faults.keep(fields.number("desiredCount", &COUNT));
    let definition = faults.keep(fields.reference("taskDefinition", DefinitionRef::from_str));
    let cluster = faults.keep(fields.reference("cluster", cluster_name));
    let renew = faults.keep(fields.flag("forceNewDeployment"));
    let options = OptionsChange {
        rebalance: faults.keep(rebalance(&fields)),
        health_grace_s: faults.keep(fields.number(HEALTH_GRACE, &GRACE)),
        ..OptionsChange::default()
    };
    check(
        &fields,
        &[
            "service",
            "desiredCount",
            "taskDefinition",
            "cluster",
            "availabilityZoneRebalancing",
            HEALTH_GRACE,
            "forceNewDeployment",
        ],
        ecs_fields::UPDATE_SERVICE,
        &mut faults,
    );
    faults.finish(())?;
    let service = service.expect("a service that was not read is a fault");
    let cluster = service.cluster_beside(cluster)?;
    Ok(UpdateService {
        service: service.name,
        desired_count,
        definition,
        renew: renew.unwrap_or(false),
        options,
        cluster,
    })
}

fn check(fields: &Fields<'_>, served: &[&str], known: &[&str], faults: &mut Faults) {
    deployment::check(fields, faults);
    fields.check(&[served, &deployment::FIELDS].concat(), known, faults);
}

fn rebalance(fields: &Fields<'_>) -> Result<Option<bool>, SpecError> {
    let chosen = fields.choice("availabilityZoneRebalancing", &REBALANCING)?;
    Ok(chosen.map(|chosen| chosen == "ENABLED"))
}

impl ServiceRef {
    /// The cluster meant by a request with this `service` and that `cluster`, which must agree.
    pub fn cluster_beside(&self, cluster: Option<String>) -> Result<Option<String>, SpecError> {
        match (self.cluster.clone(), cluster) {
            (Some(named), Some(cluster)) if named != cluster => {
                Err(SpecError::OtherCluster { named, cluster })
            }
            (named, cluster) => Ok(cluster.or(named)),
        }
    }
}

impl FromStr for ServiceRef {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        let resource = arn_resource(text, "service").unwrap_or(text);
        let (cluster, name) = match resource.split_once('/') {
            Some((cluster, name)) => (Some(cluster), name),
            None => (None, resource),
        };
        if !is_name(name) || cluster.is_some_and(|cluster| !is_name(cluster)) {
            return Err(RefError {
                got: shown(text),
                wanted: SERVICE_WANTED,
            });
        }
        Ok(Self {
            name: name.to_owned(),
            cluster: cluster.map(str::to_owned),
        })
    }
}

impl FromStr for DefinitionRef {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        let bad = || RefError {
            got: shown(text),
            wanted: DEFINITION_WANTED,
        };
        let label = arn_resource(text, "task-definition").unwrap_or(text);
        let (family, revision) = match label.split_once(':') {
            Some((family, revision)) => {
                // One way to write each revision: neither +7 nor 07.
                let digits = revision.bytes().all(|b| b.is_ascii_digit());
                let plain = digits && !revision.starts_with('0');
                let revision = revision.parse().ok().filter(|_| plain);
                (family, Some(revision.ok_or_else(bad)?))
            }
            None => (label, None),
        };
        if !is_name(family) {
            return Err(bad());
        }
        Ok(Self {
            family: family.to_owned(),
            revision,
        })
    }
}

impl fmt::Display for DefinitionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision {
            Some(revision) => write!(f, "{}:{revision}", self.family),
            None => f.write_str(&self.family),
        }
    }
}

/// The name of a cluster that is given by name or ARN.
pub fn cluster_name(text: &str) -> Result<String, RefError> {
    let name = arn_resource(text, "cluster").unwrap_or(text);
    if is_name(name) {
        return Ok(name.to_owned());
    }
    Err(RefError {
        got: shown(text),
        wanted: "a cluster's name or its ARN",
    })
}

/// What follows `<kind>/` in an ECS ARN; `None` where the text is not an ARN of that kind.
pub fn arn_resource<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let mut parts = text.splitn(6, ':');
    let (arn, _partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (_region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    if arn != "arn" || service != "ecs" {
        return None;
    }
    resource.strip_prefix(kind)?.strip_prefix('/')
}

pub(super) const DEFINITION_WANTED: &str =
    "a family, family:revision or the ARN of a task definition";

const SERVICE_WANTED: &str = "a service's name or its ARN";

const COUNT: Range = Range {
    min: 0,
    max: limits::DESIRED_COUNT_MAX as i64,
    unit: " tasks",
};

const HEALTH_GRACE: &str = "healthCheckGracePeriodSeconds";

const GRACE: Range = Range {
    min: 0,
    max: i32::MAX as i64,
    unit: " seconds",
};

pub(super) const CLIENT_TOKEN: Rule = Rule {
    wanted: "1 to 36 printable ASCII characters without spaces",
    holds: |text| (1..=36).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()),
};

const SCHEDULING_STRATEGY: Choice = Choice {
    served: &["REPLICA"],
    refused: &["DAEMON"],
    wanted: "\"REPLICA\": desiredCount tasks, wherever there is room",
};

const REBALANCING: Choice = Choice {
    served: &["ENABLED", "DISABLED"],
    refused: &[],
    wanted: "\"ENABLED\" or \"DISABLED\"",
};

pub(super) const LAUNCH_TYPE: Choice = Choice {
    served: &["EC2", "EXTERNAL"],
    refused: &["FARGATE", "MANAGED_INSTANCES"],
    wanted: "\"EC2\" or \"EXTERNAL\": tasks run on your own hosts",
};
