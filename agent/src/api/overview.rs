//! The `/v1` answers that ECS has no operation for: status, lists with our own words, events.

use super::{
    definitions,
    error::ApiError,
    hosts,
    introspection::rfc3339,
    request::{Page, Sort, key_of_token, listed},
    service_events::EVENTS_MAX,
    services,
    tasks::{self, Desired, TaskFilter},
    view::{View, seconds},
};
use crate::handle::{DaemonStatus, MetadataStatus};
use holdfast_core::{cluster::body::RuntimeStatus, event::HostStanding};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Answers on one page of a `/v1` list: a page is made between two steps, so it must be quick.
const PAGE_MAX: usize = 500;
/// Of each service of a list, for the same reason.
const EVENTS_LISTED_MAX: usize = 5;

/// The query of a `/v1` request; every key at most once.
pub(crate) type Query = BTreeMap<String, String>;

/// Refuses what a path does not know, so that a misspelt filter does not list everything.
pub(crate) fn check_query(query: &Query, known: &[&str]) -> Result<(), ApiError> {
    match query.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(ApiError::InvalidParameter(format!(
            "{:?} is not a parameter here; the parameters are: {}",
            key.chars().take(64).collect::<String>(),
            known.join(", ")
        ))),
    }
}

pub(crate) fn page(query: &Query) -> Result<Page, ApiError> {
    let after = query
        .get("nextToken")
        .map(|token| key_of_token(token))
        .transpose()?;
    Ok(Page {
        after,
        max: PAGE_MAX,
    })
}

pub(crate) fn services(view: &View<'_>, query: &Query) -> Result<Value, ApiError> {
    check_query(query, &["nextToken"])?;
    let found = view.board.services();
    let found = found.map(|service| (service.settings.name.clone(), service));
    let (found, token) = page(query)?.cut(Sort::Ascending, found);
    let found = found
        .iter()
        .map(|service| services::extended_json(view, service, EVENTS_LISTED_MAX))
        .collect();
    Ok(listed("services", (found, token)))
}

/// Also one that was deleted within the hour, as its status says.
pub(crate) fn service(view: &View<'_>, name: &str) -> Result<Value, ApiError> {
    let name = view.context.service_name(name);
    let name = &*name.unwrap_or_default();
    if let Some(service) = view.board.service_named(name) {
        return Ok(json!({"service": services::extended_json(view, &service, EVENTS_MAX)}));
    }
    match services::gone(view, name) {
        Some(service) => Ok(json!({"service": service})),
        None => Err(services::no_such(view, name)),
    }
}

pub(crate) fn hosts(view: &View<'_>, query: &Query) -> Result<Value, ApiError> {
    check_query(query, &["nextToken"])?;
    let found = view.board.hosts().map(|host| (host.0.to_string(), host));
    let (found, token) = page(query)?.cut(Sort::Ascending, found);
    let found = found
        .into_iter()
        .map(|(id, incarnation, report)| hosts::extended_json(view, id, incarnation, report))
        .collect();
    Ok(listed("hosts", (found, token)))
}

pub(crate) fn host(view: &View<'_>, given: &str) -> Result<Value, ApiError> {
    let id = hosts::find(view, given)?;
    let (incarnation, report) = view
        .board
        .host(id)
        .expect("it was found on the board just now");
    Ok(json!({"host": hosts::extended_json(view, id, incarnation, report)}))
}

/// The tasks of all hosts; `/v1/tasks` is the ECS agent's and lists those of this host.
pub(crate) fn cluster_tasks(view: &View<'_>, query: &Query) -> Result<Value, ApiError> {
    check_query(
        query,
        &["service", "family", "host", "status", "id", "nextToken"],
    )?;
    let desired = match query.get("status").map(String::as_str) {
        None | Some("running") => Some(Desired::Running),
        Some("stopped") => Some(Desired::Stopped),
        Some("all") => None,
        Some(other) => {
            return Err(ApiError::InvalidParameter(format!(
                "status is {:?}, but must be running, stopped or all",
                other.chars().take(64).collect::<String>()
            )));
        }
    };
    let host = query
        .get("host")
        .map(|host| hosts::find(view, host))
        .transpose()?;
    let filter = TaskFilter {
        of_cluster: false,
        service: query.get("service").cloned(),
        family: query.get("family").cloned(),
        host,
        started_by: None,
        desired,
    };
    // The beginning of an id, as people type it.
    let prefix = query.get("id").map_or("", String::as_str);
    let found = tasks::matching(view, &filter)
        .filter(|(_, (_, task, _))| prefix.is_empty() || task.to_string().starts_with(prefix));
    let (found, token) = page(query)?.cut(Sort::Ascending, found);
    let found = found
        .into_iter()
        .map(|(host, task, report)| tasks::extended_json(view, host, task, report))
        .collect();
    Ok(listed("tasks", (found, token)))
}

pub(crate) fn definitions(view: &View<'_>, query: &Query) -> Result<Value, ApiError> {
    check_query(query, &["family", "nextToken"])?;
    let family = query.get("family");
    let labels = view.board.labels();
    let wanted = labels.filter(|(name, ..)| family.is_none_or(|family| family == name));
    let found = definitions::told(view, wanted)
        .map(|label| (format!("{}\0{:010}", label.0, label.1), label));
    let mut found: Vec<_> = found.collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (found, token) = page(query)?.cut(Sort::Ascending, found.into_iter());
    let found = found
        .into_iter()
        .map(|(family, revision, label)| {
            json!({
                "taskDefinitionArn": view.context.definition_arn(family, revision),
                "status": definitions::status(label),
                "family": family,
                "revision": revision,
                "digest": label.definition.to_string(),
                "registeredAt": seconds(label.registered_at),
            })
        })
        .collect();
    Ok(listed("taskDefinitions", (found, token)))
}

/// The whole of what one agent knows of itself and of its cluster, in numbers.
pub(crate) fn status(view: &View<'_>, daemon: &DaemonStatus) -> Value {
    let mut standings: BTreeMap<&str, u32> = BTreeMap::new();
    for standing in [
        HostStanding::Up,
        HostStanding::Suspect,
        HostStanding::Impaired,
        HostStanding::Down,
        HostStanding::Restarting,
        HostStanding::Draining,
        HostStanding::Leaving,
        HostStanding::Left,
    ] {
        standings.insert(standing.as_str(), 0);
    }
    for (host, ..) in view.board.hosts() {
        *standings
            .entry(view.standing_of(host).as_str())
            .or_default() += 1;
    }
    let mut statuses: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut on_down_hosts, mut unconfirmed) = (0_u32, 0_u32);
    for (host, task, report) in view.board.tasks() {
        let live = report.last.is_live();
        if live && view.is_down(host) {
            on_down_hosts += 1;
        } else if live && !view.is_confirmed(host, task) {
            unconfirmed += 1;
        } else {
            *statuses.entry(report.last.as_str()).or_default() += 1;
        }
    }
    let wanted = view
        .board
        .services()
        .fold(0_u64, |sum, s| sum + u64::from(s.desired));
    json!({
        "cluster": view.context.cluster,
        "host": tasks::host_json(view, view.me),
        "version": daemon.agent_version,
        "startedAt": rfc3339(daemon.started_at),
        "caughtUp": view.caught_up,
        "docker": docker(view),
        "hosts": standings,
        "services": {"count": view.board.services().count(), "tasksDesired": wanted},
        "tasks": {"byStatus": statuses, "onDownHosts": on_down_hosts, "unconfirmed": unconfirmed},
        "board": {
            "records": view.board.len(),
            "root": format!("{:016x}", view.board.root()),
        },
        "steps": daemon.pace.json(),
        "transport": daemon.transport,
        "disk": daemon.disk,
        "setAside": daemon.set_aside,
        "clock": daemon.clock,
        "dns": daemon.dns,
        "events": daemon.events,
        "metadata": daemon.metadata.as_ref().map(metadata),
    })
}

fn metadata(status: &MetadataStatus) -> Value {
    json!({"address": status.address.to_string(), "trouble": status.trouble})
}

fn docker(view: &View<'_>) -> Value {
    let report = view.board.host(view.me).map(|(_, report)| &report.runtime);
    let unknown = RuntimeStatus::Unavailable {
        reason: "not asked yet".into(),
    };
    hosts::runtime_json(report.unwrap_or(&unknown))
}

/// Whether this agent can take part, and what it still lacks.
pub(crate) fn readiness(view: &View<'_>, daemon: &DaemonStatus) -> (bool, Value) {
    let mut missing = Vec::new();
    if !view.caught_up {
        missing.push("it has not read the board from a peer yet".to_owned());
    }
    let docker = docker(view);
    if docker["available"] != json!(true) {
        let reason = docker["reason"].as_str().unwrap_or_default();
        missing.push(format!("Docker does not answer: {reason}"));
    }
    if let Some(reason) = &daemon.disk {
        missing.push(format!("it cannot save: {reason}"));
    }
    missing.extend(daemon.clock.clone());
    let ready = missing.is_empty();
    (ready, json!({"ready": ready, "missing": missing}))
}
