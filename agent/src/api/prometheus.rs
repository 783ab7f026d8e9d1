//! Prometheus' HTTP service discovery: a target for each TCP port of each task that may be used.

use super::context::ApiContext;
use crate::directory::{Directory, Usable, UsablePort};
use holdfast_core::{
    cluster::{body::TaskReport, namespace::split},
    spec::task_definition::Protocol,
};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;

const PREFIX: &str = "__meta_holdfast_";

/// Those of one service, or all. A service that is not there has none: it may come.
pub(crate) fn targets(directory: &Directory, context: &ApiContext, service: Option<&str>) -> Value {
    let wanted = |report: &TaskReport| service.is_none() || report.slot_name() == service;
    let tasks = directory.tasks().filter(|(_, report)| wanted(report));
    let targets = tasks.flat_map(|(usable, report)| {
        let ports = usable.ports.iter();
        let ports = ports.filter(|port| port.protocol == Protocol::Tcp);
        ports.map(move |port| {
            let address = SocketAddr::new(usable.address, port.host_port);
            let labels = labels(directory, context, (usable, report), port);
            json!({"targets": [address.to_string()], "labels": labels})
        })
    });
    targets.collect()
}

/// What may be read off it in `relabel_configs`. All is text there.
fn labels(
    directory: &Directory,
    context: &ApiContext,
    (usable, report): (&Usable, &TaskReport),
    port: &UsablePort,
) -> Map<String, Value> {
    let mut labels = Map::new();
    let mut label = |name: &str, value: &str| {
        labels.insert(format!("{PREFIX}{name}"), json!(value));
    };
    let name = report.slot_name();
    label("cluster", context.of(name).name());
    if let Some(slot) = &report.slot {
        label("service", split(&slot.service_name).1);
        label("slot", &slot.index.to_string());
    }
    label("family", &report.family);
    label("revision", &report.revision.to_string());
    label("task_id", &usable.task.to_string());
    label("health", report.health.as_str());
    label("container", &port.container);
    label("container_port", &port.container_port.to_string());
    if let Some(name) = &port.name {
        label("port_name", name);
    }
    label("host_id", &usable.host.to_string());
    label("host_address", &usable.address.to_string());
    if let Some((_, host)) = directory.board.host(usable.host) {
        label("host", &host.name);
        label("zone", host.zone.as_deref().unwrap_or_default());
        for (name, value) in &host.attributes {
            label(&format!("host_attribute_{}", sanitised(name)), value);
        }
    }
    let definition = directory.board.definition(report.definition);
    let container = definition.and_then(|definition| definition.container(&port.container));
    for (name, value) in container
        .into_iter()
        .flat_map(|container| &container.labels)
    {
        label(&format!("container_label_{}", sanitised(name)), value);
    }
    labels
}

/// As Prometheus does it with the labels of Docker's containers.
fn sanitised(name: &str) -> String {
    let allowed = |c: char| match c.is_ascii_alphanumeric() {
        true => c,
        false => '_',
    };
    name.chars().map(allowed).collect()
}
