//! Task definitions as ECS describes them, with the defaults that ECS fills in.

use super::{
    linux::{Device, DevicePermission, LinuxParameters, Tmpfs, Ulimit},
    task_definition::{
        Container, Dependency, HostEntry, Mount, PortMapping, TaskDefinition, Volume,
    },
};
use serde::Serialize;
use serde_json::{Value, json};

impl TaskDefinition {
    /// Clients compare it with what they sent. Parsing it gives this very definition again.
    pub fn to_ecs_json(&self) -> Value {
        json!({
            "family": self.family,
            "networkMode": self.network.as_str(),
            "containerDefinitions": all(&self.containers, container),
            "volumes": all(&self.volumes, volume),
        })
    }
}

fn container(container: &Container) -> Value {
    let environment = container.environment.iter();
    let environment = environment.map(|(name, value)| json!({"name": name, "value": value}));
    let controls = all(
        &container.system_controls,
        |control| json!({"namespace": control.namespace, "value": control.value}),
    );
    let mut value = json!({
        "name": container.name,
        "image": container.image,
        "cpu": container.cpu,
        "essential": container.essential,
        "environment": environment.collect::<Vec<_>>(),
        "portMappings": all(&container.ports, port),
        "mountPoints": all(&container.mounts, mount),
        "volumesFrom": [],
        "systemControls": controls,
    });
    // ECS leaves these out where they were not given, and clients take [] for a change.
    let given = &mut value;
    let memory = Some(container.memory_mib).filter(|mib| *mib != 0);
    set(given, "memory", memory);
    set(given, "memoryReservation", container.memory_reservation_mib);
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
    let labels = Some(&container.labels).filter(|labels| !labels.is_empty());
    set(given, "dockerLabels", labels);
    list(given, "dockerSecurityOptions", &container.security_options);
    set(given, "interactive", container.interactive);
    set(given, "pseudoTerminal", container.pseudo_terminal);
    set(given, "readonlyRootFilesystem", container.read_only_root);
    set(given, "privileged", container.privileged);
    list(given, "dependsOn", &all(&container.depends_on, dependency));
    set(given, "startTimeout", container.start_timeout_s);
    list(given, "ulimits", &all(&container.ulimits, ulimit));
    let linux = linux(&container.linux);
    set(
        given,
        "linuxParameters",
        Some(linux).filter(|linux| *linux != json!({})),
    );
    value
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

fn volume(volume: &Volume) -> Value {
    json!({"name": volume.name, "host": {"sourcePath": volume.host_path}})
}

fn port(port: &PortMapping) -> Value {
    json!({
        "containerPort": port.container_port,
        "hostPort": port.host_port,
        "protocol": port.protocol.to_string(),
    })
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
