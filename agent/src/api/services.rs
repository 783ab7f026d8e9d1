//! The operations on services, and a service's shape.

use super::{
    Plan,
    error::ApiError,
    request::{Request, Sort, listed, missing},
    tags::{tagged, tags},
    tasks::{LAUNCH_TYPE, deployment_id},
    view::{View, seconds, set_if},
};
use holdfast_core::{
    cluster::{
        board::Service,
        body::{Key, TaskReport},
        namespace::{qualified, split},
    },
    command::{Command, ServiceChange},
    ids::{Digest, HostId, ServiceId, SlotIndex, TaskId},
    limits,
    rng::hash_bytes,
    spec::{
        ecs_fields, options::ServiceOptions, parse_create_service, parse_update_service,
        read::Choice,
    },
    task::status::TaskStatus,
    time::Wall,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// ECS's own default for `ListServices`, unlike that of the other lists.
const LIST_MAX_DEFAULT: u32 = 10;

const EVENTS_MAX: usize = 100;

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
    let cluster = wanted.cluster.as_deref();
    let cluster = cluster.map_or(view.context.namespace.as_deref(), |cluster| {
        view.context.namespace_of(cluster)
    });
    let service = qualified(cluster, &wanted.service);
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

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DESCRIBE_SERVICES;
    let request = Request::read(body, known, known)?;
    let wanted = "the names or ARNs of 1 to 10 services";
    let given = request.texts("services", wanted, limits::DESCRIBE_SERVICES_MAX)?;
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for text in &given {
        let name = view.context.service_name(text);
        let found = name.as_deref().and_then(|name| named_json(view, name));
        match found {
            Some(service) => services.push(service),
            None => {
                let arn = name.map_or_else(|| text.clone(), |n| view.context.service_arn(&n));
                failures.push(missing(&arn));
            }
        }
    }
    Ok(json!({"services": services, "failures": failures}))
}

/// The service of that name, alive or deleted within the hour.
pub(crate) fn named_json(view: &View<'_>, name: &str) -> Option<Value> {
    match view.board.service_named(name) {
        Some(service) => Some(service_json(view, &service)),
        None => gone(view, name),
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
    fn count(&mut self, view: &View<'_>, (host, task, report): (HostId, TaskId, &TaskReport)) {
        if !view.is_confirmed(host, task) {
            return;
        }
        match report.last {
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
    for (host, task, report) in view.board.tasks_of(service) {
        counts.count(view, (host, task, report));
    }
    counts
}

/// A service as ECS describes it.
pub(crate) fn service_json(view: &View<'_>, service: &Service<'_>) -> Value {
    let name = &service.settings.name;
    let context = &*view.context.of(Some(name));
    let revision = service.revision;
    let counts = counts(view, service.id);
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
        "deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100},
        "taskDefinition": context.definition_arn(&revision.family, revision.revision),
        "deployments": deployments(view, service),
        "events": events(view, service),
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

/// The PRIMARY one, and an ACTIVE one for each other definition that still has tasks: ECS's
/// waiters take a service for stable when there is exactly one.
fn deployments(view: &View<'_>, service: &Service<'_>) -> Vec<Value> {
    let mut others: BTreeMap<(Digest, u32), (&TaskReport, Counts)> = BTreeMap::new();
    let (mut primary, mut behind) = (Counts::default(), false);
    for (host, task, report) in view.board.tasks_of(service.id) {
        if service.is_deployed(report) {
            behind |= report.last.is_live() && service.is_behind(report);
            primary.count(view, (host, task, report));
        } else if report.last.is_live() && !view.is_down(host) {
            let (_, counts) = others
                .entry((report.definition, report.renewals))
                .or_insert((report, Counts::default()));
            counts.count(view, (host, task, report));
        }
    }
    let done = others.is_empty() && primary.running == service.desired && !behind;
    let mut deployments = vec![primary_json(view, service, primary, done)];
    deployments.extend(others.into_iter().map(|(deployment, (report, counts))| {
        json!({
            "id": deployment_id(service.id, deployment),
            "status": "ACTIVE",
            "taskDefinition": view.context.definition_arn(&report.family, report.revision),
            "desiredCount": 0,
            "runningCount": counts.running,
            "pendingCount": counts.pending,
            "failedTasks": 0,
            "createdAt": seconds(report.created_at),
            "updatedAt": seconds(report.created_at),
            "launchType": "EC2",
        })
    }));
    deployments
}

fn primary_json(view: &View<'_>, service: &Service<'_>, counts: Counts, done: bool) -> Value {
    let revision = service.revision;
    let slots = view
        .board
        .slots(service.id)
        .filter(|(index, ..)| *index < service.desired);
    let failed = slots.fold(0_u32, |sum, (_, _, slot)| sum.saturating_add(slot.failures));
    let created =
        written_at(view, &Key::ServiceRevision(service.id)).unwrap_or(service.settings.created_at);
    let changed = written_at(view, &Key::ServiceCount(service.id)).unwrap_or(created);
    let id = deployment_id(service.id, (revision.definition, revision.renewals));
    let (rollout, reason) = match done {
        true => ("COMPLETED", format!("ECS deployment {id} completed.")),
        false => ("IN_PROGRESS", format!("ECS deployment {id} in progress.")),
    };
    json!({
        "id": id,
        "status": "PRIMARY",
        "taskDefinition": view.context.definition_arn(&revision.family, revision.revision),
        "desiredCount": service.desired,
        "runningCount": counts.running,
        "pendingCount": counts.pending,
        "failedTasks": failed,
        "createdAt": seconds(created),
        "updatedAt": seconds(created.max(changed)),
        "launchType": "EC2",
        "rolloutState": rollout,
        "rolloutStateReason": reason,
    })
}

/// Why slots have no host, in ECS's words; slots that share a reason share an event.
fn events(view: &View<'_>, service: &Service<'_>) -> Vec<Value> {
    let mut reasons: BTreeMap<&str, (u32, Wall)> = BTreeMap::new();
    for (index, _, slot) in view.board.slots(service.id) {
        if slot.host.is_some() || index >= service.desired {
            continue;
        }
        let at = written_at(view, &Key::Slot(service.id, index)).unwrap_or_default();
        let (slots, latest) = reasons.entry(&slot.reason).or_default();
        *slots += 1;
        *latest = at.max(*latest);
    }
    let mut events: Vec<_> = reasons.into_iter().collect();
    events.sort_by_key(|(_, (_, at))| std::cmp::Reverse(*at));
    let name = split(&service.settings.name).1;
    events
        .into_iter()
        .take(EVENTS_MAX)
        .map(|(reason, (slots, at))| {
            let tasks = match slots {
                1 => "a task".to_owned(),
                many => format!("{many} tasks"),
            };
            let id = hash_bytes(format!("{} {reason} {}", service.id, at.0).as_bytes());
            json!({
                "id": format!("{id:016x}"),
                "createdAt": seconds(at),
                "message":
                    format!("(service {name}) was unable to place {tasks} because {reason}"),
            })
        })
        .collect()
}

fn written_at(view: &View<'_>, key: &Key) -> Option<Wall> {
    view.board
        .record(key)
        .map(|record| record.version.stamp.wall)
}

/// A deleted service as its tasks remember it: they stay on the board for an hour after they
/// stopped, and ECS's waiters give up at once on what is MISSING.
fn gone(view: &View<'_>, name: &str) -> Option<Value> {
    let (service, last) = view
        .board
        .tasks()
        .filter_map(|(_, _, report)| report.slot.as_ref().map(|slot| (slot, report)))
        .filter(|(slot, _)| *slot.service_name == *name && view.board.is_service_gone(slot.service))
        .map(|(slot, report)| (slot.service, report))
        .max_by_key(|(_, report)| report.created_at)?;
    let counts = counts(view, service);
    let live = view
        .board
        .tasks_of(service)
        .any(|(host, _, report)| report.last.is_live() && !view.is_down(host));
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
        "events": [],
        "loadBalancers": [],
        "serviceRegistries": [],
        "placementConstraints": [],
        "placementStrategy": [],
    }))
}

/// What ECS has no word for, under a key of our own: only `/v1` answers have it.
pub(crate) fn extended_json(view: &View<'_>, service: &Service<'_>) -> Value {
    let mut answer = service_json(view, service);
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
