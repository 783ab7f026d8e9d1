//! The operations on services, and a service's shape.

use super::{
    Plan,
    deployments::{Deployments, configuration},
    error::ApiError,
    remembered::{service_written, written},
    request::{Request, Sort, listed, missing},
    service_events::{EVENTS_MAX, History},
    tags::{tagged, tags},
    tasks::LAUNCH_TYPE,
    view::{View, seconds, set_if},
};
use holdfast_core::{
    cluster::{
        board::{Service, TaskSaid},
        namespace::{qualified, split},
    },
    command::{Command, ServiceChange},
    ids::{ServiceId, SlotIndex},
    limits,
    spec::{
        ecs_fields, options::ServiceOptions, parse_create_service, parse_update_service,
        read::Choice,
    },
    task::status::TaskStatus,
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use std::sync::Arc;

/// ECS's own default for `ListServices`, unlike that of the other lists.
const LIST_MAX_DEFAULT: u32 = 10;

const STRATEGY: Choice = Choice {
    served: &["REPLICA", "DAEMON"],
    refused: &[],
    wanted: "\"REPLICA\"",
};

pub(crate) fn plan_create(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let wanted = parse_create_service(body).map_err(ApiError::invalid)?;
    let command = Command::CreateService {
        name: qualified(view.context.namespace.as_deref(), &wanted.service_name),
        definition: wanted.definition,
        desired: wanted.desired_count,
        options: wanted.options,
        client_token: wanted.client_token.unwrap_or_default(),
    };
    Ok(Plan::write(tagged(command, wanted.tags)))
}

pub(crate) fn plan_update(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let wanted = parse_update_service(body).map_err(ApiError::invalid)?;
    let given = match &wanted.cluster {
        Some(cluster) => format!("{cluster}/{}", wanted.service),
        None => wanted.service.clone(),
    };
    let service = view.context.service_name(&given);
    let service = service.ok_or_else(|| no_such(view, &given))?;
    find_active(view, &service)?;
    let command = Command::UpdateService {
        service,
        change: ServiceChange {
            desired: wanted.desired_count,
            definition: wanted.definition,
            renew: wanted.renew,
            options: wanted.options,
        },
    };
    Ok(Plan::write(command))
}

pub(crate) fn plan_delete(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let known = ecs_fields::DELETE_SERVICE;
    let request = Request::read(body, known, known)?;
    let given = request.required("service", "a service's name or its ARN")?;
    let force = request.flag("force")?;
    let name = view
        .context
        .service_name(&given)
        .ok_or_else(|| no_such(view, &given))?;
    let service = find_active(view, &name)?;
    // Once it is deleted, the board no longer has what the answer tells.
    let mut answer = service_json(view, &service);
    answer["status"] = json!("DRAINING");
    answer["desiredCount"] = json!(0);
    Ok(Plan::prepared(
        Command::DeleteService {
            service: name,
            force,
        },
        json!({"service": answer}),
    ))
}

pub(crate) fn find_active<'v>(view: &'v View<'_>, name: &str) -> Result<Service<'v>, ApiError> {
    match view.board.service_named(name) {
        Some(service) => Ok(service),
        None if gone(view, name).is_some() => Err(ApiError::ServiceNotActive(format!(
            "the service {name:?} was deleted; create it again with `service create`"
        ))),
        None => Err(no_such(view, name)),
    }
}

pub(crate) fn no_such(view: &View<'_>, name: &str) -> ApiError {
    ApiError::ServiceNotFound(format!(
        "there is no service {:?} in the cluster {:?}; `holdfast service ls` lists them",
        name.chars().take(300).collect::<String>(),
        view.context.name()
    ))
}

/// DescribeServices' answer.
#[derive(Serialize)]
struct Described<'s> {
    failures: Vec<Value>,
    services: Vec<&'s RawValue>,
}

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let known = ecs_fields::DESCRIBE_SERVICES;
    let request = Request::read(body, known, known)?;
    let wanted = "the names or ARNs of 1 to 10 services";
    let given = request.texts("services", wanted, limits::DESCRIBE_SERVICES_MAX)?;
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for text in &given {
        let name = view.context.service_name(text);
        let found = name.as_deref().and_then(|name| named_written(view, name));
        match found {
            Some(service) => services.push(service),
            None => {
                let arn = name.map_or_else(|| text.clone(), |n| view.context.service_arn(&n));
                failures.push(missing(&arn));
            }
        }
    }
    let lacks = !failures.is_empty();
    let services = services.iter().map(|service| &**service).collect();
    let described = Described { failures, services };
    Ok(Plan::Written {
        json: serde_json::to_vec(&described).expect("it can be written down"),
        lacks,
        tells_secrets: false,
    })
}

/// The service of that name, alive or deleted within the hour.
fn named_written(view: &View<'_>, name: &str) -> Option<Arc<RawValue>> {
    match view.board.service_named(name) {
        Some(service) => Some(service_written(view, &service)),
        None => gone(view, name).map(|gone| written(&gone)),
    }
}

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let served = [
        "cluster",
        "nextToken",
        "maxResults",
        "launchType",
        "schedulingStrategy",
    ];
    let request = Request::read(body, &served, ecs_fields::LIST_SERVICES)?;
    let page = request.page(LIST_MAX_DEFAULT)?;
    let launched = request.choice("launchType", &LAUNCH_TYPE)?;
    let strategy = request.choice("schedulingStrategy", &STRATEGY)?;
    let ours = launched.is_none_or(|launched| launched == "EC2")
        && strategy.is_none_or(|strategy| strategy == "REPLICA");
    let services = view.board.services_in(view.context.namespace.as_deref());
    let arns = services.filter(|_| ours).map(|service| {
        let name = service.settings.name.clone();
        let arn = json!(view.context.service_arn(&name));
        (name, arn)
    });
    Ok(listed("serviceArns", page.cut(Sort::Ascending, arns)))
}

/// How many of a service's tasks are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) running: u32,
    pub(crate) pending: u32,
}

impl Counts {
    /// What truly runs or is about to, on hosts that are there: a duplicate is counted too.
    pub(crate) fn count(&mut self, view: &View<'_>, said: TaskSaid<'_>) {
        if !view.is_confirmed_of(said.host, said.life) {
            return;
        }
        match said.report.last {
            TaskStatus::Running => self.running += 1,
            TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => {
                self.pending += 1;
            }
            TaskStatus::Deactivating
            | TaskStatus::Stopping
            | TaskStatus::Deprovisioning
            | TaskStatus::Stopped => {}
        }
    }
}

pub(crate) fn counts(view: &View<'_>, service: ServiceId) -> Counts {
    let mut counts = Counts::default();
    for said in view.board.tasks_said_of(service) {
        counts.count(view, said);
    }
    counts
}

/// A service as ECS describes it.
pub(crate) fn service_json(view: &View<'_>, service: &Service<'_>) -> Value {
    with_events(view, service, EVENTS_MAX)
}

fn with_events(view: &View<'_>, service: &Service<'_>, events_max: usize) -> Value {
    let name = &service.settings.name;
    let context = &*view.context.of(Some(name));
    let revision = service.revision;
    let mut deployments = Deployments::of(*service);
    let mut history = History::of(service.id, split(name).1, events_max);
    for said in view.board.tasks_said_of(service.id) {
        deployments.note(view, said);
        history.note(view, said);
    }
    let counts = deployments.counts();
    let options = service.settings.options;
    json!({
        "serviceArn": context.service_arn(name),
        "serviceName": split(name).1,
        "clusterArn": context.cluster_arn(),
        "status": "ACTIVE",
        "desiredCount": service.desired,
        "runningCount": counts.running,
        "pendingCount": counts.pending,
        "launchType": "EC2",
        "schedulingStrategy": "REPLICA",
        "deploymentController": {"type": "ECS"},
        "deploymentConfiguration": configuration(),
        "taskDefinition": context.definition_arn(&revision.family, revision.revision),
        "deployments": deployments.json(view),
        "currentServiceDeployment": deployments.current(view),
        "currentServiceRevisions": deployments.revisions(view),
        "events": history.with(view, &deployments),
        "createdAt": seconds(service.settings.created_at),
        "loadBalancers": [],
        "serviceRegistries": [],
        "placementConstraints": [],
        "placementStrategy": [],
        "healthCheckGracePeriodSeconds": options.health_grace_s,
        "enableECSManagedTags": false,
        "propagateTags": "NONE",
        "enableExecuteCommand": false,
        "availabilityZoneRebalancing": rebalancing(options),
        "tags": tags(view, service),
    })
}

const fn rebalancing(options: ServiceOptions) -> &'static str {
    if options.rebalance {
        "ENABLED"
    } else {
        "DISABLED"
    }
}

/// A deleted service as its tasks remember it: they stay on the board for an hour after they
/// stopped, and ECS's waiters give up at once on what is MISSING.
pub(crate) fn gone(view: &View<'_>, name: &str) -> Option<Value> {
    let (service, last) = view
        .board
        .tasks()
        .filter_map(|(_, _, report)| report.slot.as_ref().map(|slot| (slot, report)))
        .filter(|(slot, _)| *slot.service_name == *name && view.board.is_service_gone(slot.service))
        .map(|(slot, report)| (slot.service, report))
        .max_by_key(|(_, report)| report.created_at)?;
    let (mut counts, mut live) = (Counts::default(), false);
    let mut history = History::of(service, split(name).1, EVENTS_MAX);
    for said in view.board.tasks_said_of(service) {
        live |= said.report.last.is_live() && !view.is_down(said.host);
        counts.count(view, said);
        history.note(view, said);
    }
    let context = &*view.context.of(Some(name));
    Some(json!({
        "serviceArn": context.service_arn(name),
        "serviceName": split(name).1,
        "clusterArn": context.cluster_arn(),
        "status": if live { "DRAINING" } else { "INACTIVE" },
        "desiredCount": 0,
        "runningCount": counts.running,
        "pendingCount": counts.pending,
        "launchType": "EC2",
        "schedulingStrategy": "REPLICA",
        "taskDefinition": context.definition_arn(&last.family, last.revision),
        "deployments": [],
        "events": history.json(),
        "loadBalancers": [],
        "serviceRegistries": [],
        "placementConstraints": [],
        "placementStrategy": [],
    }))
}

/// What ECS has no word for, under a key of our own: only `/v1` answers have it.
pub(crate) fn extended_json(view: &View<'_>, service: &Service<'_>, events_max: usize) -> Value {
    let mut answer = with_events(view, service, events_max);
    let unplaced: Vec<SlotIndex> = view
        .board
        .slots(service.id)
        .filter(|(index, _, slot)| *index < service.desired && slot.host.is_none())
        .map(|(index, ..)| index)
        .collect();
    let options = service.settings.options;
    let mut ours = json!({
        "serviceId": service.id.to_string(),
        "name": service.settings.name,
        "unplacedSlots": unplaced,
        "replaceAfter": options.replace_after.to_string(),
        "partition": options.partition.to_string(),
    });
    let keeper = (view.keeper)(service.id).map(|keeper| super::tasks::host_json(view, keeper));
    set_if(&mut ours, "keeper", keeper);
    answer["holdfast"] = ours;
    answer
}
