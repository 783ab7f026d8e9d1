//! Task definitions as ECS describes them, with the defaults that ECS fills in.

use super::{
    given::{EnvironmentFile, Secret},
    health::HealthCheck,
    linux::{Device, DevicePermission, LinuxParameters, Tmpfs, Ulimit},
    own,
    task_definition::{
        AppProtocol, Architecture, Container, Dependency, HostEntry, LogConfiguration, Mount,
        Namespace, Platform, PortMapping, RestartPolicy, TaskDefinition,
    },
    volume::{DockerVolume, Volume, VolumeSource},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl TaskDefinition {
    /// Clients compare it with what they sent. Parsing it gives this very definition again.
    pub fn to_ecs_json(&self) -> Value {
        let mut value = json!({
            "family": self.family,
            "networkMode": self.network.as_str(),
            "containerDefinitions": all(&self.containers, container),
            "volumes": all(&self.volumes, volume),
        });
        let given = &mut value;
        set(given, "pidMode", self.pid.map(Namespace::as_str));
        set(given, "ipcMode", self.ipc.map(Namespace::as_str));
        set(given, "cpu", self.cpu.map(|units| units.to_string()));
        set(given, "memory", self.memory_mib.map(|mib| mib.to_string()));
        set(given, "runtimePlatform", self.platform.map(platform));
        set(given, "executionRoleArn", self.execution_role.as_ref());
        value
    }
}

fn container(container: &Container) -> Value {
    let environment = container.environment.iter();
    let environment = environment.map(|(name, value)| json!({"name": name, "value": value}));
    let controls = all(
        &container.system_controls,
        |control| json!({"namespace": control.namespace, "value": control.value}),
    );
    let volumes_from = all(
        &container.volumes_from,
        |from| json!({"sourceContainer": from.container, "readOnly": from.read_only}),
    );
    let mut value = json!({
        "name": container.name,
        "image": container.image,
        "cpu": container.cpu,
        "essential": container.essential,
        "environment": environment.collect::<Vec<_>>(),
        "portMappings": all(&container.ports, port),
        "mountPoints": all(&container.mounts, mount),
        "volumesFrom": volumes_from,
        "systemControls": controls,
    });
    // ECS leaves these out where they were not given, and clients take [] for a change.
    let given = &mut value;
    let memory = Some(container.memory_mib).filter(|mib| *mib != 0);
    set(given, "memory", memory);
    set(given, "memoryReservation", container.memory_reservation_mib);
    describe_given(container, given);
    describe_process(container, given);
    describe_rights(container, given);
    describe_life(container, given);
    value
}

/// From where, never what.
fn describe_given(container: &Container, given: &mut Value) {
    let files = all(
        &container.environment_files,
        |file: &EnvironmentFile| json!({"value": file.to_string(), "type": "s3"}),
    );
    list(given, "environmentFiles", &files);
    let secrets = all(
        &container.secrets,
        |secret: &Secret| json!({"name": secret.at.as_str(), "valueFrom": secret.from.to_string()}),
    );
    list(given, "secrets", &secrets);
}

/// What it runs, and what that sees.
fn describe_process(container: &Container, given: &mut Value) {
    let follows = container.follows_tag.then_some("disabled");
    set(given, "versionConsistency", follows);
    list(given, "command", &container.command);
    list(given, "entryPoint", &container.entry_point);
    set(given, "stopTimeout", container.stop_timeout_s);
    set(given, "hostname", container.hostname.as_ref());
    set(given, "user", container.user.as_ref());
    set(
        given,
        "workingDirectory",
        container.working_directory.as_ref(),
    );
    list(given, "dnsServers", &container.dns_servers);
    list(given, "dnsSearchDomains", &container.dns_search_domains);
    list(given, "extraHosts", &all(&container.extra_hosts, entry));
}

/// What it may do, and may use.
fn describe_rights(container: &Container, given: &mut Value) {
    let labels = Some(labels(container)).filter(|labels| !labels.is_empty());
    set(given, "dockerLabels", labels);
    list(given, "dockerSecurityOptions", &container.security_options);
    set(given, "interactive", container.interactive);
    set(given, "pseudoTerminal", container.pseudo_terminal);
    set(given, "readonlyRootFilesystem", container.read_only_root);
    set(given, "privileged", container.privileged);
    set(given, "logConfiguration", container.log.as_ref().map(log));
    list(given, "ulimits", &all(&container.ulimits, ulimit));
    let gpus = Some(container.gpus).filter(|gpus| *gpus != 0);
    let gpus = gpus.map(|gpus| json!([{"type": "GPU", "value": gpus.to_string()}]));
    set(given, "resourceRequirements", gpus);
    let linux = linux(&container.linux);
    set(
        given,
        "linuxParameters",
        Some(linux).filter(|linux| *linux != json!({})),
    );
}

/// When it is started, how it is watched, and what follows from its end.
fn describe_life(container: &Container, given: &mut Value) {
    list(given, "dependsOn", &all(&container.depends_on, dependency));
    set(given, "startTimeout", container.start_timeout_s);
    let health = container.health_check.as_ref();
    set(given, "healthCheck", health.map(health_check));
    set(
        given,
        "restartPolicy",
        container.restart.as_ref().map(restart_policy),
    );
    list(
        given,
        "links",
        &all(&container.links, |link| link.in_words().into()),
    );
}

fn linux(linux: &LinuxParameters) -> Value {
    let mut capabilities = json!({});
    list(&mut capabilities, "add", &linux.capabilities_add);
    list(&mut capabilities, "drop", &linux.capabilities_drop);
    let mut value = json!({});
    let given = &mut value;
    set(
        given,
        "capabilities",
        Some(capabilities).filter(|some| *some != json!({})),
    );
    list(given, "devices", &all(&linux.devices, device));
    set(given, "initProcessEnabled", linux.init);
    set(given, "sharedMemorySize", linux.shared_memory_mib);
    list(given, "tmpfs", &all(&linux.tmpfs, tmpfs));
    set(given, "maxSwap", linux.max_swap_mib);
    set(given, "swappiness", linux.swappiness);
    value
}

/// With those in which Holdfast's own settings are.
fn labels(container: &Container) -> BTreeMap<String, String> {
    let readiness = container.readiness_check.as_ref();
    let delay = container.deregistration_delay_s;
    let own = [
        (
            own::READINESS_CHECK,
            readiness.map(|check| health_check(check).to_string()),
        ),
        (own::STOP_SIGNAL, container.stop_signal.clone()),
        (
            own::DEREGISTRATION_DELAY,
            delay.map(|seconds| seconds.to_string()),
        ),
    ];
    let own = own.into_iter();
    let own = own.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    container.labels.clone().into_iter().chain(own).collect()
}

fn health_check(check: &HealthCheck) -> Value {
    let mut value = json!({
        "command": check.command(),
        "interval": check.interval_s,
        "timeout": check.timeout_s,
        "retries": check.retries,
    });
    set(&mut value, "startPeriod", check.start_period_s);
    value
}

fn restart_policy(policy: &RestartPolicy) -> Value {
    let mut value = json!({"enabled": policy.enabled});
    list(&mut value, "ignoredExitCodes", &policy.ignored_exit_codes);
    set(&mut value, "restartAttemptPeriod", policy.attempt_period_s);
    value
}

fn platform(platform: Platform) -> Value {
    let mut value = json!({});
    let architecture = platform.architecture.map(Architecture::as_str);
    set(&mut value, "cpuArchitecture", architecture);
    set(
        &mut value,
        "operatingSystemFamily",
        platform.says_linux.then_some("LINUX"),
    );
    value
}

fn volume(volume: &Volume) -> Value {
    let mut value = json!({"name": volume.name});
    match &volume.source {
        VolumeSource::Host(path) => value["host"] = json!({"sourcePath": path}),
        VolumeSource::Scratch => value["host"] = json!({}),
        VolumeSource::Docker(docker) => {
            value["dockerVolumeConfiguration"] = docker_volume(docker);
        }
    }
    value
}

fn docker_volume(volume: &DockerVolume) -> Value {
    let mut value = json!({"scope": if volume.is_shared { "shared" } else { "task" }});
    let given = &mut value;
    set(given, "autoprovision", volume.autoprovision);
    set(given, "driver", volume.driver.as_ref());
    let some = |map: &BTreeMap<String, String>| Some(map.clone()).filter(|map| !map.is_empty());
    set(given, "driverOpts", some(&volume.driver_options));
    set(given, "labels", some(&volume.labels));
    value
}

fn port(port: &PortMapping) -> Value {
    let mut value = json!({
        "containerPort": port.container_port,
        "hostPort": port.host_port,
        "protocol": port.protocol.to_string(),
    });
    set(&mut value, "name", port.name.as_ref());
    let spoken = port.app_protocol.map(AppProtocol::as_str);
    set(&mut value, "appProtocol", spoken);
    value
}

fn log(log: &LogConfiguration) -> Value {
    let mut value = json!({"logDriver": log.driver});
    let options = Some(&log.options).filter(|options| !options.is_empty());
    set(&mut value, "options", options);
    value
}

fn mount(mount: &Mount) -> Value {
    json!({
        "sourceVolume": mount.source_volume,
        "containerPath": mount.container_path,
        "readOnly": mount.read_only,
    })
}

fn dependency(dependency: &Dependency) -> Value {
    json!({
        "containerName": dependency.container,
        "condition": dependency.condition.as_str(),
    })
}

fn entry(entry: &HostEntry) -> Value {
    json!({"hostname": entry.hostname, "ipAddress": entry.address})
}

fn ulimit(ulimit: &Ulimit) -> Value {
    json!({"name": ulimit.name, "softLimit": ulimit.soft, "hardLimit": ulimit.hard})
}

fn device(device: &Device) -> Value {
    let permissions = all(&device.permissions, |one: &DevicePermission| {
        one.as_str().into()
    });
    let mut value = json!({"hostPath": device.host_path});
    set(&mut value, "containerPath", device.container_path.as_ref());
    list(&mut value, "permissions", &permissions);
    value
}

fn tmpfs(tmpfs: &Tmpfs) -> Value {
    let mut value = json!({"containerPath": tmpfs.container_path, "size": tmpfs.size_mib});
    list(&mut value, "mountOptions", &tmpfs.options);
    value
}

fn all<T>(items: &[T], to_json: impl Fn(&T) -> Value) -> Vec<Value> {
    items.iter().map(to_json).collect()
}

fn set(object: &mut Value, name: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        object[name] = json!(value);
    }
}

fn list(object: &mut Value, name: &str, items: &[impl Serialize]) {
    set(object, name, Some(items).filter(|items| !items.is_empty()));
}
