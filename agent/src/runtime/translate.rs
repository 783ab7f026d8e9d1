//! A container of a task definition as Docker's `POST /containers/create` wants it.

use super::labels::labels_to_map;
use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, PortBinding, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};
use holdfast_core::{
    spec::{
        linux::{Device, DevicePermission, Tmpfs, Ulimit},
        task_definition::{Container, HostEntry, Mount, NetworkMode, Protocol, Volume},
    },
    task::runtime::CreateContainer,
    time::Span,
};
use std::collections::HashMap;

/// What Linux takes as CPU shares.
const CPU_SHARES_MIN: i64 = 2;
const CPU_SHARES_MAX: i64 = 262_144;
const BYTES_PER_MIB: i64 = 1024 * 1024;

/// Why a definition cannot be said in Docker's words; no second try will change it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TranslateError {
    #[error("the mount at {path} is of volume {volume:?}, which the task definition does not have")]
    NoVolume { volume: String, path: String },
    #[error("the path {0:?} has a colon, which Docker takes for a separator; use another")]
    Colon(String),
}

pub(crate) fn translate(
    create: &CreateContainer,
    stop_grace_default: Span,
) -> Result<ContainerCreateBody, TranslateError> {
    let container = &create.container;
    let environment = container.environment.iter();
    let stop_timeout_s = match container.stop_timeout_s {
        Some(seconds) => i64::from(seconds),
        None => grace_seconds(stop_grace_default),
    };
    let ports = port_bindings(create);
    let exposed = ports.iter().map(|(port, _)| port.clone()).collect();
    let host = HostConfig {
        binds: some(binds(create)?),
        port_bindings: some_map(ports),
        network_mode: Some(create.network.as_str().to_owned()),
        // Tasks are one-shot: what has ended is replaced by a new task, perhaps elsewhere.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        dns: some(container.dns_servers.clone()),
        dns_search: some(container.dns_search_domains.clone()),
        extra_hosts: some(container.extra_hosts.iter().map(host_line).collect()),
        ..HostConfig::default()
    };
    Ok(ContainerCreateBody {
        image: Some(container.image.clone()),
        cmd: some(container.command.clone()),
        entrypoint: some(container.entry_point.clone()),
        env: some(
            environment
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
        ),
        exposed_ports: some(exposed),
        labels: Some(labels(create)),
        stop_timeout: Some(stop_timeout_s),
        hostname: container.hostname.clone(),
        user: container.user.clone(),
        working_dir: container.working_directory.clone(),
        open_stdin: container.interactive,
        tty: container.pseudo_terminal,
        host_config: Some(ask_kernel(resources(host, container), container)),
        ..ContainerCreateBody::default()
    })
}

/// Those of the definition and ours, which it cannot have.
fn labels(create: &CreateContainer) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = create.container.labels.clone().into_iter().collect();
    labels.extend(labels_to_map(&create.labels));
    labels
}

fn host_line(entry: &HostEntry) -> String {
    format!("{}:{}", entry.hostname, entry.address)
}

fn resources(host: HostConfig, container: &Container) -> HostConfig {
    let limit = (container.memory_mib != 0).then(|| bytes(container.memory_mib));
    let linux = &container.linux;
    HostConfig {
        cpu_shares: (container.cpu != 0)
            .then(|| i64::from(container.cpu).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)),
        memory: limit,
        memory_reservation: container.memory_reservation_mib.map(bytes),
        // Docker counts memory and swap together.
        memory_swap: linux
            .max_swap_mib
            .map(|swap| limit.unwrap_or(0) + bytes(swap)),
        memory_swappiness: linux
            .swappiness
            .filter(|_| linux.max_swap_mib.is_some())
            .map(i64::from),
        shm_size: linux.shared_memory_mib.map(bytes),
        ulimits: some(container.ulimits.iter().map(ulimit).collect()),
        ..host
    }
}

fn ask_kernel(host: HostConfig, container: &Container) -> HostConfig {
    let linux = &container.linux;
    let tmpfs = linux.tmpfs.iter().map(tmpfs);
    let controls = container.system_controls.iter();
    let controls = controls.map(|control| (control.namespace.clone(), control.value.clone()));
    HostConfig {
        privileged: container.privileged,
        readonly_rootfs: container.read_only_root,
        security_opt: some(
            container
                .security_options
                .iter()
                .map(|one| security(one))
                .collect(),
        ),
        cap_add: some(linux.capabilities_add.clone()),
        cap_drop: some(linux.capabilities_drop.clone()),
        devices: some(linux.devices.iter().map(device).collect()),
        init: linux.init,
        tmpfs: some_map(tmpfs),
        sysctls: some_map(controls),
        ..host
    }
}

fn ulimit(ulimit: &Ulimit) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(ulimit.name.clone()),
        soft: Some(ulimit.soft),
        hard: Some(ulimit.hard),
    }
}

fn device(device: &Device) -> DeviceMapping {
    let letter = |permission: &DevicePermission| match permission {
        DevicePermission::Read => 'r',
        DevicePermission::Write => 'w',
        DevicePermission::Mknod => 'm',
    };
    let permissions: String = device.permissions.iter().map(letter).collect();
    let inside = device.container_path.as_ref();
    DeviceMapping {
        path_on_host: Some(device.host_path.clone()),
        path_in_container: Some(inside.unwrap_or(&device.host_path).clone()),
        cgroup_permissions: Some(match permissions.is_empty() {
            true => "rwm".to_owned(),
            false => permissions,
        }),
    }
}

fn tmpfs(tmpfs: &Tmpfs) -> (String, String) {
    let mut options = vec![format!("size={}m", tmpfs.size_mib)];
    options.extend(tmpfs.options.iter().cloned());
    (tmpfs.container_path.clone(), options.join(","))
}

/// ECS writes a colon where Docker wants an equals sign.
fn security(option: &str) -> String {
    match option.split_once(':') {
        Some((kind, value)) => format!("{kind}={value}"),
        None => option.to_owned(),
    }
}

fn bytes(mib: u32) -> i64 {
    i64::from(mib) * BYTES_PER_MIB
}

/// Whole seconds, rounded up: that is how Docker takes a grace.
pub(crate) fn grace_seconds(grace: Span) -> i64 {
    i64::try_from(grace.0.div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

fn binds(create: &CreateContainer) -> Result<Vec<String>, TranslateError> {
    let mounts = create.container.mounts.iter();
    mounts.map(|mount| bind(mount, &create.volumes)).collect()
}

/// As a bind and not as Docker's newer mount: a bind makes a missing directory, as ECS promises.
fn bind(mount: &Mount, volumes: &[Volume]) -> Result<String, TranslateError> {
    let volume = volumes
        .iter()
        .find(|volume| volume.name == mount.source_volume);
    let volume = volume.ok_or_else(|| TranslateError::NoVolume {
        volume: mount.source_volume.clone(),
        path: mount.container_path.clone(),
    })?;
    for path in [&volume.host_path, &mount.container_path] {
        if path.contains(':') {
            return Err(TranslateError::Colon(path.clone()));
        }
    }
    let access = if mount.read_only { "ro" } else { "rw" };
    Ok(format!(
        "{}:{}:{access}",
        volume.host_path, mount.container_path
    ))
}

/// In the definition's order. One container port may have several host ports; in the host's
/// network there is nothing to map.
fn port_bindings(create: &CreateContainer) -> Vec<(String, Option<Vec<PortBinding>>)> {
    let mut bindings: Vec<(String, Option<Vec<PortBinding>>)> = Vec::new();
    if create.network != NetworkMode::Bridge {
        return bindings;
    }
    for mapping in &create.container.ports {
        let protocol = match mapping.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let port = format!("{}/{protocol}", mapping.container_port);
        let host_port = match mapping.host_port {
            0 => String::new(), // Docker chooses.
            fixed => fixed.to_string(),
        };
        let binding = PortBinding {
            host_ip: None,
            host_port: Some(host_port),
        };
        match bindings.iter_mut().find(|(known, _)| *known == port) {
            Some((_, Some(known))) => known.push(binding),
            _ => bindings.push((port, Some(vec![binding]))),
        }
    }
    bindings
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn some_map<T>(entries: impl IntoIterator<Item = (String, T)>) -> Option<HashMap<String, T>> {
    Some(HashMap::from_iter(entries)).filter(|map| !map.is_empty())
}

#[cfg(test)]
mod tests;
