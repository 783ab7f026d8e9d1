//! A container of a task definition as Docker's `POST /containers/create` wants it.

use super::{
    cgroups,
    labels::{labels_to_map, sibling_name},
    volumes,
};
use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, HealthConfig, HostConfig,
    HostConfigLogConfig, PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use holdfast_core::{
    spec::{
        health::HealthCheck,
        linux::{Device, DevicePermission, Tmpfs, Ulimit},
        task_definition::{
            Container, HostEntry, LogConfiguration, Mount, Namespace, NetworkMode, Protocol,
        },
    },
    task::{
        pause::PAUSE,
        runtime::{CreateContainer, Labels},
    },
    time::Span,
};
use std::collections::HashMap;

/// What Linux takes as CPU shares.
const CPU_SHARES_MIN: i64 = 2;
const CPU_SHARES_MAX: i64 = 262_144;
/// At most so much for each container: the engine's own default would fill the disk.
const LOCAL_LOGS: [(&str, &str); 3] =
    [("max-size", "20m"), ("max-file", "5"), ("compress", "true")];
const BYTES_PER_MIB: i64 = 1024 * 1024;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

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
        volumes_from: some(volumes_from(create)),
        links: some(links(create)),
        // Tasks are one-shot: what has ended is replaced by a new task, perhaps elsewhere.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        ..namespaces(create)
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
        stop_signal: container.stop_signal.clone(),
        healthcheck: container.health_check.as_ref().and_then(health_check),
        hostname: container.hostname.clone(),
        user: container.user.clone(),
        working_dir: container.working_directory.clone(),
        open_stdin: container.interactive,
        tty: container.pseudo_terminal,
        host_config: Some(ask_kernel(resources(host, create), container)),
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

/// The network, and whose processes and shared memory it sees.
fn namespaces(create: &CreateContainer) -> HostConfig {
    let (container, shared) = (&create.container, create.shared);
    let of_the_task = || format!("container:{}", sibling_name(&create.labels, PAUSE));
    let is_pause = container.name == PAUSE;
    let network = match shared.network {
        // It needs none of its own where only processes or memory are shared.
        NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None if is_pause => {
            NetworkMode::None.as_str().to_owned()
        }
        NetworkMode::Task if is_pause => NetworkMode::Bridge.as_str().to_owned(),
        NetworkMode::Task => of_the_task(),
        other => other.as_str().to_owned(),
    };
    let other = |namespace: Option<Namespace>| match namespace? {
        Namespace::Task if is_pause => None,
        Namespace::Task => Some(of_the_task()),
        Namespace::Host | Namespace::None => namespace.map(|one| one.as_str().to_owned()),
    };
    let shares_memory = is_pause && shared.ipc == Some(Namespace::Task);
    let mut host = HostConfig {
        network_mode: Some(network),
        pid_mode: other(shared.pid.filter(|_| !is_pause)),
        ipc_mode: match shares_memory {
            true => Some("shareable".to_owned()),
            false => other(shared.ipc.filter(|_| !is_pause)),
        },
        ..HostConfig::default()
    };
    // Whoever joins a network takes it as it is.
    if shared.network != NetworkMode::Task || is_pause {
        host.dns = some(container.dns_servers.clone());
        host.dns_search = some(container.dns_search_domains.clone());
        host.extra_hosts = some(container.extra_hosts.iter().map(host_line).collect());
    }
    host
}

fn links(create: &CreateContainer) -> Vec<String> {
    let links = create.container.links.iter();
    let link = links.map(|link| {
        let alias = link.alias.as_ref().unwrap_or(&link.container);
        let name = sibling_name(&create.labels, &link.container);
        format!("{name}:{alias}")
    });
    link.collect()
}

fn volumes_from(create: &CreateContainer) -> Vec<String> {
    let from = create.container.volumes_from.iter();
    let from = from.map(|from| {
        let name = sibling_name(&create.labels, &from.container);
        let access = if from.read_only { "ro" } else { "rw" };
        format!("{name}:{access}")
    });
    from.collect()
}

/// `None` where the agent asks itself; the image's own check is nobody's concern then.
fn health_check(check: &HealthCheck) -> Option<HealthConfig> {
    if check.net().is_some() || !check.is_on() {
        let test = Some(vec!["NONE".to_owned()]);
        return Some(HealthConfig {
            test,
            ..HealthConfig::default()
        });
    }
    let nanos = |seconds: u32| Some(i64::from(seconds) * NANOS_PER_SECOND);
    Some(HealthConfig {
        test: Some(check.command()),
        interval: nanos(check.interval_s),
        timeout: nanos(check.timeout_s),
        retries: Some(i64::from(check.retries)),
        start_period: check.start_period_s.and_then(nanos),
        ..HealthConfig::default()
    })
}

fn resources(host: HostConfig, create: &CreateContainer) -> HostConfig {
    let container = &create.container;
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
        cgroup_parent: cgroups::parent(create),
        device_requests: some(gpus(create)),
        log_config: container.log.as_ref().map(|log| log_config(create, log)),
        ..host
    }
}

/// By their ids: other containers of the host may have the others.
fn gpus(create: &CreateContainer) -> Vec<DeviceRequest> {
    if create.gpus.is_empty() {
        return Vec::new();
    }
    vec![DeviceRequest {
        driver: Some("nvidia".to_owned()),
        device_ids: Some(create.gpus.iter().map(ToString::to_string).collect()),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }]
}

fn log_config(create: &CreateContainer, log: &LogConfiguration) -> HostConfigLogConfig {
    let mut options = log.options.clone();
    // ECS's own setting, which Docker does not know: the stream is named as there.
    if log.driver == "awslogs"
        && let Some(prefix) = options.remove("awslogs-stream-prefix")
    {
        let Labels {
            container, task, ..
        } = &create.labels;
        let stream = format!("{prefix}/{container}/{task}");
        options.entry("awslogs-stream".to_owned()).or_insert(stream);
    }
    HostConfigLogConfig {
        typ: Some(log.driver.clone()),
        config: some_map(options),
    }
}

/// For a container whose definition does not say what becomes of its logs.
pub(crate) fn keep_logs_short(body: &mut ContainerCreateBody) {
    let host = body.host_config.get_or_insert_default();
    host.log_config.get_or_insert_with(|| HostConfigLogConfig {
        typ: Some("local".to_owned()),
        config: some_map(LOCAL_LOGS.map(|(key, value)| (key.to_owned(), value.to_owned()))),
    });
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

pub(crate) fn bytes(mib: u32) -> i64 {
    i64::from(mib) * BYTES_PER_MIB
}

/// Whole seconds, rounded up: that is how Docker takes a grace.
pub(crate) fn grace_seconds(grace: Span) -> i64 {
    i64::try_from(grace.0.div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

fn binds(create: &CreateContainer) -> Result<Vec<String>, TranslateError> {
    let mounts = create.container.mounts.iter();
    mounts.map(|mount| bind(mount, create)).collect()
}

/// As a bind and not as Docker's newer mount: a bind makes a missing directory, as ECS promises.
fn bind(mount: &Mount, create: &CreateContainer) -> Result<String, TranslateError> {
    let mut volumes = create.volumes.iter();
    let volume = volumes.find(|volume| volume.name == mount.source_volume);
    let volume = volume.ok_or_else(|| TranslateError::NoVolume {
        volume: mount.source_volume.clone(),
        path: mount.container_path.clone(),
    })?;
    let source = volumes::source(&create.labels, volume);
    for path in [&source, &mount.container_path] {
        if path.contains(':') {
            return Err(TranslateError::Colon(path.clone()));
        }
    }
    let access = if mount.read_only { "ro" } else { "rw" };
    Ok(format!("{source}:{}:{access}", mount.container_path))
}

/// In the definition's order. One container port may have several host ports. Only who has a
/// network of its own has something to map.
fn port_bindings(create: &CreateContainer) -> Vec<(String, Option<Vec<PortBinding>>)> {
    let mut bindings: Vec<(String, Option<Vec<PortBinding>>)> = Vec::new();
    let has_its_own = match create.shared.network {
        NetworkMode::Bridge => true,
        NetworkMode::Task => create.container.name == PAUSE,
        NetworkMode::Host | NetworkMode::None => false,
    };
    if !has_its_own {
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
