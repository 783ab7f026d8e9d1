//! Events in the shapes in which Amazon ECS sends them to EventBridge, and in our own; filters.

use super::{
    context::ApiContext,
    error::ApiError,
    hosts,
    introspection::rfc3339,
    overview::Query,
    tasks,
    view::{View, set_if},
};
use holdfast_core::{
    cluster::{body::TaskReport, run::NAME_PREFIX},
    event::{
        Deployment, Event, Happening, HostChange, HostStanding, LossFate, ServiceChange,
        ServiceNews, TaskChange, TaskLoss,
    },
    ids::{HostId, ServiceId, SlotIndex, TaskId},
    task::status::{StopCode, TaskStatus},
    time::Wall,
};
use serde_json::{Map, Value, json};

/// Where events say that they come from: tools that know ECS's look for it.
const SOURCE: &str = "aws.ecs";

/// What a gap in a sink's events is told as.
pub(crate) const DROPPED: &str = "Holdfast Events Dropped";

/// What is told to whom whose word did not hold.
const CLASH: &str = "Holdfast Concurrent Change";

/// Of events that ECS has none for.
const OWN_SOURCE: &str = "holdfast";

/// ECS's word for a task that ended with its instance. None of our own tasks says it of itself.
const TERMINATION_NOTICE: &str = "TerminationNotice";

/// In which words events are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Plain,
    Ecs,
}

/// Which events are wanted; everything absent matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventFilter {
    pub(crate) format: Format,
    service: Option<String>,
    /// The beginning of an id, as people type it.
    task: Option<String>,
    host: Option<HostId>,
    kind: Option<String>,
}

/// What a filter of events is read from.
pub(crate) const FILTERS: [&str; 5] = ["format", "service", "task", "host", "kind"];

const KINDS: [&str; 5] = ["task", "host", "service", "deployment", "clash"];

impl EventFilter {
    pub(crate) fn read(view: &View<'_>, query: &Query) -> Result<Self, ApiError> {
        let context = view.context;
        let format = match query.get("format").map(String::as_str) {
            None | Some("plain") => Format::Plain,
            Some("ecs") => Format::Ecs,
            Some(_) => {
                let text = "format must be plain or ecs".to_owned();
                return Err(ApiError::InvalidParameter(text));
            }
        };
        let kind = query.get("kind").cloned();
        if kind
            .as_ref()
            .is_some_and(|kind| !KINDS.contains(&kind.as_str()))
        {
            let text = format!("kind must be one of {}", KINDS.join(", "));
            return Err(ApiError::InvalidParameter(text));
        }
        let last = |given: &String| given.rsplit('/').next().unwrap_or_default().to_owned();
        let service = query.get("service");
        // One that was forgotten is known by its whole id.
        let host = query.get("host").map(|given| match given.parse() {
            Ok(host) => Ok(host),
            Err(_) => hosts::find(view, given),
        });
        Ok(Self {
            format,
            service: service.map(|given| context.service_name(given).unwrap_or_default()),
            task: query.get("task").map(last),
            host: host.transpose()?,
            kind,
        })
    }

    pub(crate) fn matches(&self, event: &Event) -> bool {
        let of_task = |task: TaskId| {
            let wanted = self.task.as_ref();
            wanted.is_none_or(|wanted| task.to_string().starts_with(wanted))
        };
        let of_service =
            |name: Option<&str>| self.service.is_none() || self.service.as_deref() == name;
        let of_host = |host: HostId| self.host.is_none_or(|wanted| wanted == host);
        let of_kind = |kind: &str| self.kind.as_deref().is_none_or(|wanted| wanted == kind);
        match &event.what {
            Happening::Task(TaskChange {
                task,
                host,
                service,
                ..
            })
            | Happening::Loss(TaskLoss {
                task,
                host,
                service,
                ..
            }) => {
                of_kind("task")
                    && of_task(*task)
                    && of_service(service.as_ref().map(|(_, name, _)| name.as_str()))
                    && of_host(*host)
            }
            Happening::Host(change) => {
                of_kind("host")
                    && of_host(change.host)
                    && self.task.is_none()
                    && self.service.is_none()
            }
            Happening::Clash(_) => {
                of_kind("clash")
                    && self.service.is_none()
                    && self.task.is_none()
                    && self.host.is_none()
            }
            Happening::Service(change) => {
                let deploys = deployment_of(change).is_some();
                (of_kind("service") || (deploys && of_kind("deployment")))
                    && of_service(Some(&change.name))
                    && self.task.is_none()
                    && self.host.is_none()
            }
        }
    }
}

const fn deployment_of(change: &ServiceChange) -> Option<(Deployment, bool)> {
    match change.news {
        ServiceNews::Deploys(deployment) => Some((deployment, false)),
        ServiceNews::Deployed(deployment) => Some((deployment, true)),
        _ => None,
    }
}

/// The name of the service or run that an event is about.
fn slot_of(what: &Happening) -> Option<&str> {
    match what {
        Happening::Task(TaskChange { service, .. }) | Happening::Loss(TaskLoss { service, .. }) => {
            service.as_ref().map(|(_, name, _)| name.as_str())
        }
        Happening::Service(change) => Some(&change.name),
        Happening::Host(_) | Happening::Clash(_) => None,
    }
}

/// An event in ECS's shape; `None` where ECS has none for it.
pub(crate) fn ecs_json(view: &View<'_>, event: &Event) -> Option<Value> {
    let context = &*view.context.of(slot_of(&event.what));
    let (kind, resource, detail) = match &event.what {
        Happening::Task(change) => (
            "ECS Task State Change",
            context.task_arn(change.task),
            task_detail(view, change),
        ),
        Happening::Loss(loss) => (
            "ECS Task State Change",
            context.task_arn(loss.task),
            loss_detail(view, loss),
        ),
        Happening::Host(change) => (
            "ECS Container Instance State Change",
            context.host_arn(change.host),
            host_detail(view, change, event.at),
        ),
        Happening::Service(change) => {
            let (kind, detail) = service_detail(context, change, event.at)?;
            (kind, context.service_arn(&change.name), detail)
        }
        Happening::Clash(clash) => (
            CLASH,
            context.cluster_arn(),
            json!({"about": clash.about, "reason": clash.reason}),
        ),
    };
    let id = event.id.to_string();
    let source = match event.what {
        Happening::Clash(_) => OWN_SOURCE,
        _ => SOURCE,
    };
    Some(envelope(
        context,
        (&id, source, kind),
        event.at,
        (resource, detail),
    ))
}

/// That events are missing, in the place where they would have been.
pub(crate) fn dropped_json(
    context: &ApiContext,
    (id, dropped): (&str, u64),
    (from, to): (Wall, Wall),
) -> Value {
    let detail = json!({
        "dropped": dropped,
        "from": rfc3339(from),
        "to": rfc3339(to),
        "reason": format!(
            "{dropped} events from {} to {} were dropped, since they could not be delivered and \
             the spool was full (event_spool_mib)",
            rfc3339(from),
            rfc3339(to)
        ),
    });
    let resource = context.cluster_arn();
    envelope(context, (id, OWN_SOURCE, DROPPED), to, (resource, detail))
}

fn envelope(
    context: &ApiContext,
    (id, source, kind): (&str, &str, &str),
    at: Wall,
    (resource, detail): (String, Value),
) -> Value {
    // EventBridge tells the time to the second.
    let time = rfc3339(Wall(at.0 / 1_000 * 1_000)).replace(".000Z", "Z");
    json!({
        "version": "0",
        "id": id,
        "detail-type": kind,
        "source": source,
        "account": context.account,
        "time": time,
        "region": context.region,
        "resources": [resource],
        "detail": detail,
    })
}

fn task_detail(view: &View<'_>, change: &TaskChange) -> Value {
    let said = change.said.record().version.stamp.wall;
    let (host, task) = (change.host, change.task);
    reported(view, (host, task), change.said.report(), (change.to, said))
}

/// What DescribeTasks says of the task, with the times as text, as ECS has them in events.
fn reported(
    view: &View<'_>,
    (host, task): (HostId, TaskId),
    report: &TaskReport,
    (last, said): (TaskStatus, Wall),
) -> Value {
    let mut detail = tasks::task_json(view, host, task, report);
    for (name, at) in [
        ("createdAt", Some(report.created_at)),
        ("startedAt", report.started_at),
        ("stoppingAt", report.stopping_at),
        ("stoppedAt", report.stopped_at),
        ("updatedAt", Some(said)),
    ] {
        set_if(&mut detail, name, at.map(rfc3339));
    }
    detail["version"] = json!(tasks::version(report, last, said));
    detail
}

/// As ECS tells of the tasks of an instance that was terminated: STOPPED, as far as is known.
fn loss_detail(view: &View<'_>, loss: &TaskLoss) -> Value {
    let (host, task, report) = (loss.host, loss.task, loss.said.report());
    if loss.fate == LossFate::Found {
        return reported(view, (host, task), report, (loss.last, loss.since));
    }
    let mut detail = reported(
        view,
        (host, task),
        report,
        (TaskStatus::Stopped, loss.since),
    );
    let name = view.host_name(host);
    let how = loss
        .reason
        .strip_prefix("its host ")
        .unwrap_or(&loss.reason);
    let reason = format!("Host {name} {how}");
    detail["connectivity"] = json!("DISCONNECTED");
    detail["desiredStatus"] = json!("STOPPED");
    detail["lastStatus"] = json!("STOPPED");
    detail["stopCode"] = json!(TERMINATION_NOTICE);
    detail["stoppedReason"] = json!(reason);
    detail["stoppedAt"] = json!(rfc3339(loss.since));
    for container in detail["containers"].as_array_mut().into_iter().flatten() {
        container["lastStatus"] = json!("STOPPED");
    }
    detail
}

fn host_detail(view: &View<'_>, change: &HostChange, at: Wall) -> Value {
    let context = view.context;
    let mut detail = match view.board.host(change.host) {
        Some((_, report)) => hosts::container_instance_json(view, change.host, report),
        // It was forgotten: the board has no more of it.
        None => json!({
            "containerInstanceArn": context.host_arn(change.host),
            "ec2InstanceId": change.name,
        }),
    };
    let (status, connected) = match change.now {
        HostStanding::Up | HostStanding::Suspect => ("ACTIVE", true),
        HostStanding::Impaired | HostStanding::Down | HostStanding::Restarting => ("ACTIVE", false),
        HostStanding::Draining | HostStanding::Leaving => ("DRAINING", true),
        HostStanding::Left | HostStanding::Forgotten => ("INACTIVE", false),
    };
    detail["clusterArn"] = json!(context.cluster_arn());
    detail["agentConnected"] = json!(connected);
    detail["status"] = json!(status);
    detail["statusReason"] = json!(change.reason);
    if let Some((_, report)) = view.board.host(change.host) {
        detail["registeredAt"] = json!(rfc3339(report.registered_at));
    }
    detail["updatedAt"] = json!(rfc3339(at));
    detail["version"] = json!(change.since.0);
    detail
}

fn service_detail(
    context: &ApiContext,
    change: &ServiceChange,
    at: Wall,
) -> Option<(&'static str, Value)> {
    if let Some((deployment, done)) = deployment_of(change) {
        let deployment = (deployment.definition, deployment.renewals);
        let id = tasks::deployment_id(change.service, deployment);
        let (name, reason) = match done {
            true => (
                "SERVICE_DEPLOYMENT_COMPLETED",
                format!("ECS deployment {id} completed."),
            ),
            false => (
                "SERVICE_DEPLOYMENT_IN_PROGRESS",
                format!("ECS deployment {id} in progress."),
            ),
        };
        let detail = json!({
            "eventType": "INFO",
            "eventName": name,
            "clusterArn": context.cluster_arn(),
            "deploymentId": id,
            "updatedAt": rfc3339(at),
            "reason": reason,
        });
        return Some(("ECS Deployment State Change", detail));
    }
    let (severity, name, reason) = match change.news {
        ServiceNews::Steady => ("INFO", "SERVICE_STEADY_STATE", None),
        // A run is no service of ECS's.
        ServiceNews::NotPlaced if !change.name.starts_with(NAME_PREFIX) => (
            "ERROR",
            "SERVICE_TASK_PLACEMENT_FAILURE",
            Some(change.text.as_str()),
        ),
        _ => return None,
    };
    let mut detail = json!({
        "eventType": severity,
        "eventName": name,
        "clusterArn": context.cluster_arn(),
        "createdAt": rfc3339(at),
    });
    set_if(&mut detail, "reason", reason);
    Some(("ECS Service Action", detail))
}

/// An event in our own words, the cluster's own events that ECS has no word for included.
pub(crate) fn event_json(event: &Event) -> Value {
    let mut answer = match &event.what {
        Happening::Task(change) => task_change_json(change),
        Happening::Loss(loss) => loss_json(loss),
        Happening::Host(change) => json!({
            "kind": "host",
            "host": change.host.to_string(),
            "hostName": change.name,
            "standing": change.now.as_str(),
            "reason": change.reason,
        }),
        Happening::Service(change) => json!({
            "kind": "service",
            "serviceId": change.service.to_string(),
            "service": change.name,
            "reason": change.text,
        }),
        Happening::Clash(clash) => json!({
            "kind": "clash",
            "about": clash.about,
            "reason": clash.reason,
        }),
    };
    answer["sequence"] = json!(event.sequence);
    answer["id"] = json!(event.id.to_string());
    answer["at"] = json!(rfc3339(event.at));
    answer
}

fn task_json(
    (task, host): (TaskId, HostId),
    service: Option<&(ServiceId, String, SlotIndex)>,
    reason: &str,
) -> Value {
    let mut answer = Map::new();
    answer.insert("kind".to_owned(), json!("task"));
    answer.insert("taskId".to_owned(), json!(task.to_string()));
    answer.insert("host".to_owned(), json!(host.to_string()));
    answer.insert("reason".to_owned(), json!(reason));
    let mut answer = Value::Object(answer);
    if let Some((id, name, slot)) = service {
        answer["serviceId"] = json!(id.to_string());
        answer["service"] = json!(name);
        answer["slot"] = json!(slot);
    }
    answer
}

fn task_change_json(change: &TaskChange) -> Value {
    let subject = (change.task, change.host);
    let mut answer = task_json(subject, change.service.as_ref(), &change.reason);
    answer["to"] = json!(change.to.as_str());
    set_if(&mut answer, "from", change.from.map(TaskStatus::as_str));
    set_if(
        &mut answer,
        "stopCode",
        change.stop_code.map(StopCode::as_str),
    );
    answer
}

fn loss_json(loss: &TaskLoss) -> Value {
    let mut answer = task_json((loss.task, loss.host), loss.service.as_ref(), &loss.reason);
    let (from, to) = match loss.fate {
        LossFate::Lost => (loss.last.as_str(), "LOST"),
        LossFate::Found => ("LOST", loss.last.as_str()),
    };
    answer["from"] = json!(from);
    answer["to"] = json!(to);
    answer
}
