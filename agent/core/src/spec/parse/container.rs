//! Parses one container of a task definition.

use super::{
    linux,
    relate::Seen,
    rules::{
        ADDRESS, CONDITION, CONTAINER_PORT, CPU, DIRECTORY, HOST_NAME, HOST_PORT, IMAGE, LABEL,
        MEMORY, OWN_NAME, PATH, PROTOCOL, SECURITY_OPTION, SOME_TEXT, START_TIMEOUT, STOP_TIMEOUT,
        VARIABLE,
    },
};
use crate::spec::{
    ecs_fields,
    error::Faults,
    read::{Fields, NAME, TEXT},
    task_definition::{Condition, Container, Dependency, HostEntry, Mount, PortMapping, Protocol},
};
use std::collections::BTreeMap;

/// All that is served of [`ecs_fields::CONTAINER_DEFINITION`].
const SERVED: &[&str] = &[
    "name",
    "image",
    "command",
    "entryPoint",
    "environment",
    "cpu",
    "memory",
    "memoryReservation",
    "essential",
    "portMappings",
    "mountPoints",
    "stopTimeout",
    "hostname",
    "user",
    "workingDirectory",
    "dnsServers",
    "dnsSearchDomains",
    "extraHosts",
    "dockerLabels",
    "dockerSecurityOptions",
    "interactive",
    "pseudoTerminal",
    "readonlyRootFilesystem",
    "privileged",
    "ulimits",
    "systemControls",
    "linuxParameters",
    "dependsOn",
    "startTimeout",
];

pub(super) fn container(fields: &Fields<'_>, faults: &mut Faults) -> Container {
    let container = Container {
        name: faults.keep(fields.required_text("name", &NAME)),
        image: faults.keep(fields.required_text("image", &IMAGE)),
        command: faults.keep(fields.texts("command", &TEXT)),
        entry_point: faults.keep(fields.texts("entryPoint", &TEXT)),
        environment: environment(fields, faults),
        cpu: faults.keep(fields.number("cpu", &CPU)).unwrap_or(0),
        memory_mib: memory(fields, faults),
        memory_reservation_mib: faults.keep(fields.number("memoryReservation", &MEMORY)),
        essential: faults.keep(fields.flag("essential")).unwrap_or(true),
        ports: fields.each("portMappings", port, faults),
        mounts: fields.each("mountPoints", mount, faults),
        stop_timeout_s: faults.keep(fields.number("stopTimeout", &STOP_TIMEOUT)),
        hostname: faults.keep(fields.text("hostname", &OWN_NAME)),
        user: faults.keep(fields.text("user", &SOME_TEXT)),
        working_directory: faults.keep(fields.text("workingDirectory", &DIRECTORY)),
        dns_servers: faults.keep(fields.texts("dnsServers", &ADDRESS)),
        dns_search_domains: faults.keep(fields.texts("dnsSearchDomains", &SOME_TEXT)),
        extra_hosts: fields.each("extraHosts", extra_host, faults),
        labels: fields.texts_by_name("dockerLabels", &LABEL, faults),
        security_options: faults.keep(fields.texts("dockerSecurityOptions", &SECURITY_OPTION)),
        interactive: faults.keep(fields.flag("interactive")),
        pseudo_terminal: faults.keep(fields.flag("pseudoTerminal")),
        read_only_root: faults.keep(fields.flag("readonlyRootFilesystem")),
        privileged: faults.keep(fields.flag("privileged")),
        ulimits: fields.each("ulimits", linux::ulimit, faults),
        system_controls: fields.each("systemControls", linux::system_control, faults),
        linux: linux::parameters(fields, faults),
        depends_on: fields.each("dependsOn", dependency, faults),
        start_timeout_s: faults.keep(fields.number("startTimeout", &START_TIMEOUT)),
    };
    fields.check(SERVED, ecs_fields::CONTAINER_DEFINITION, faults);
    container
}

/// The hard limit; 0 where there is only a reservation.
fn memory(fields: &Fields<'_>, faults: &mut Faults) -> u32 {
    let read = fields.number("memory", &MEMORY);
    if fields.get("memoryReservation").is_some() {
        return faults.keep(read).unwrap_or(0);
    }
    let wanted = "the container's hard limit in MiB, unless there is a memoryReservation";
    faults.keep(fields.required("memory", wanted, read))
}

fn environment(fields: &Fields<'_>, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let mut seen = Seen::default();
    for pair in fields.objects("environment", faults) {
        let name = faults.keep(pair.required_text("name", &VARIABLE).map(Some));
        let wanted = "a text (\"\" for an empty one)";
        let value = faults.keep(pair.required("value", wanted, pair.text("value", &TEXT)));
        pair.check(&["name", "value"], ecs_fields::KEY_VALUE_PAIR, faults);
        if let Some(name) = name {
            faults.keep(seen.see(name.clone(), format!("{name:?}"), pair.path("name")));
            environment.insert(name, value);
        }
    }
    environment
}

fn port(fields: &Fields<'_>, faults: &mut Faults) -> PortMapping {
    let wanted = "the port that the container listens on";
    let container_port = fields.number("containerPort", &CONTAINER_PORT);
    let container_port = fields.required("containerPort", wanted, container_port);
    let container_port = port_number(faults.keep(container_port));
    let host_port = faults
        .keep(fields.number("hostPort", &HOST_PORT))
        .unwrap_or(0);
    let protocol = match faults.keep(fields.choice("protocol", &PROTOCOL)) {
        Some("udp") => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    fields.check(
        &["containerPort", "hostPort", "protocol"],
        ecs_fields::PORT_MAPPING,
        faults,
    );
    PortMapping {
        container_port,
        host_port: port_number(host_port),
        protocol,
    }
}

fn port_number(number: u32) -> u16 {
    u16::try_from(number).expect("read within the range of ports")
}

fn mount(fields: &Fields<'_>, faults: &mut Faults) -> Mount {
    let source = fields.text("sourceVolume", &NAME);
    let source = fields.required("sourceVolume", "the name of a volume", source);
    let path = fields.required_text("containerPath", &PATH);
    let mount = Mount {
        source_volume: faults.keep(source),
        container_path: faults.keep(path),
        read_only: faults.keep(fields.flag("readOnly")).unwrap_or(false),
    };
    fields.check(
        &["sourceVolume", "containerPath", "readOnly"],
        ecs_fields::MOUNT_POINT,
        faults,
    );
    mount
}

fn dependency(fields: &Fields<'_>, faults: &mut Faults) -> Dependency {
    let name = fields.text("containerName", &NAME);
    let name = fields.required("containerName", "the name of another container", name);
    let condition = fields.choice("condition", &CONDITION);
    let condition = fields.required("condition", CONDITION.wanted, condition);
    let dependency = Dependency {
        container: faults.keep(name),
        condition: match faults.keep(condition) {
            "COMPLETE" => Condition::Complete,
            "SUCCESS" => Condition::Success,
            _ => Condition::Start,
        },
    };
    fields.check(
        &["containerName", "condition"],
        ecs_fields::CONTAINER_DEPENDENCY,
        faults,
    );
    dependency
}

fn extra_host(fields: &Fields<'_>, faults: &mut Faults) -> HostEntry {
    let entry = HostEntry {
        hostname: faults.keep(fields.required_text("hostname", &HOST_NAME)),
        address: faults.keep(fields.required_text("ipAddress", &ADDRESS)),
    };
    fields.check(&["hostname", "ipAddress"], ecs_fields::HOST_ENTRY, faults);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_served_is_ecs_own() {
        for name in SERVED {
            assert!(ecs_fields::CONTAINER_DEFINITION.contains(name), "{name}");
        }
    }
}
