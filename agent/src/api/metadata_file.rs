//! ECS's container metadata file: what it says before its container is made, and once that runs.

use super::{
    context::ApiContext,
    metadata::{networks, some},
    view::set_if,
};
use crate::runtime::facts::Fact;
use holdfast_core::{
    ids::RuntimeId,
    task::runtime::{Labels, PortBinding},
};
use serde_json::{Value, json};
use std::net::IpAddr;

/// What an engine that names no address means.
const ANY_ADDRESS: &str = "0.0.0.0";

/// What all files of a host say alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileHost {
    pub(crate) context: ApiContext,
    pub(crate) zone: Option<String>,
    /// Where the other hosts reach it.
    pub(crate) address: IpAddr,
}

/// Without a status, by which readers know that there is more to come.
pub(crate) fn first(host: &FileHost, labels: &Labels, docker_name: &str, image: &str) -> Value {
    let slot = labels.slot.as_ref().map(|slot| &*slot.service_name);
    let context = host.context.of(slot);
    let mut file = json!({
        "Cluster": context.name(),
        "ContainerInstanceARN": context.host_arn(labels.host),
        "TaskARN": context.task_arn(labels.task),
        "TaskDefinitionFamily": labels.family,
        "TaskDefinitionRevision": labels.revision.to_string(),
        "ContainerName": labels.container,
        // As Docker's own answers have it, and so ECS's file.
        "DockerContainerName": format!("/{docker_name}"),
        "ImageName": image,
    });
    set_if(&mut file, "AvailabilityZone", host.zone.as_deref());
    let address = Some(host.address).filter(|ip| ip.is_ipv4() && !ip.is_loopback());
    let address = address.map(|ip| ip.to_string());
    set_if(&mut file, "HostPrivateIPv4Address", address);
    file
}

/// The container runs, and Docker knows the rest. `bound`: with the addresses of this host.
pub(crate) fn complete(
    file: &mut Value,
    id: RuntimeId,
    fact: &Fact,
    mut bound: Vec<(Option<&str>, PortBinding)>,
) {
    file["ContainerID"] = json!(id.to_string());
    file["ImageID"] = json!(fact.image_id);
    bound.sort_unstable_by_key(|(ip, port)| (port.container_port, port.protocol, *ip));
    let ports = bound.into_iter().map(|(ip, port)| {
        json!({
            "ContainerPort": port.container_port,
            "HostPort": port.host_port,
            "BindIp": ip.filter(|ip| !ip.is_empty()).unwrap_or(ANY_ADDRESS),
            "Protocol": port.protocol.to_string(),
        })
    });
    set_if(file, "PortMappings", some(ports.collect()));
    set_if(file, "Networks", some(networks(fact)));
    file["MetadataFileStatus"] = json!("READY");
}
