//! Parses one container of a task definition.

use super::{
    given, health, linux,
    relate::Seen,
    rules::{
        ADDRESS, APP_PROTOCOL, ATTEMPT_PERIOD, CONDITION, CONSISTENCY, CONTAINER_PORT, CPU,
        DIRECTORY, EXIT_CODE, GPUS, HOST_NAME, HOST_PORT, IMAGE, LABEL, LINK, LOG_DRIVER, MEMORY,
        OWN_NAME, PATH, PROTOCOL, RESOURCE_TYPE, SECURITY_OPTION, SOME_TEXT, START_TIMEOUT,
        STOP_TIMEOUT, VARIABLE,
    },
    volume::volumes_from,
};
use crate::spec::{
    ecs_fields,
    error::{Faults, quoted},
    read::{Fields, NAME, TEXT, number_in_text},
    task_definition::{
        AppProtocol, Condition, Container, Dependency, HostEntry, Link, LogConfiguration, Mount,
        PortMapping, Protocol, RestartPolicy,
    },
};
use std::collections::BTreeMap;

/// All that is served of [`ecs_fields::CONTAINER_DEFINITION`].
const SERVED: &[&str] = &[
    "name",
    "image",
    "command",
    "entryPoint",
    "environment",
    "environmentFiles",
    "secrets",
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
    "healthCheck",
    "restartPolicy",
    "links",
    "volumesFrom",
    "logConfiguration",
    "versionConsistency",
    "resourceRequirements",
];

pub(super) fn container(
    fields: &Fields<'_>,
    task_has_memory: bool,
    faults: &mut Faults,
) -> Container {
    let mut labels = fields.texts_by_name("dockerLabels", &LABEL, faults);
    let own = health::own(fields, &mut labels, faults);
    let container = Container {
        name: faults.keep(fields.required_text("name", &NAME)),
        image: faults.keep(fields.required_text("image", &IMAGE)),
        follows_tag: faults.keep(fields.choice("versionConsistency", &CONSISTENCY))
            == Some("disabled"),
        command: faults.keep(fields.texts("command", &TEXT)),
        entry_point: faults.keep(fields.texts("entryPoint", &TEXT)),
        environment: environment(fields, faults),
        environment_files: given::environment_files(fields, faults),
        secrets: given::secrets(fields, faults),
        cpu: faults.keep(fields.number("cpu", &CPU)).unwrap_or(0),
        memory_mib: memory(fields, task_has_memory, faults),
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
        labels,
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
        health_check: health::health_check(fields, faults),
        readiness_check: own.readiness_check,
        restart: restart_policy(fields, faults),
        links: faults
            .keep(fields.texts("links", &LINK))
            .iter()
            .map(|text| link(text))
            .collect(),
        volumes_from: fields.each("volumesFrom", volumes_from, faults),
        log: log_configuration(fields, faults),
        stop_signal: own.stop_signal,
        deregistration_delay_s: own.deregistration_delay_s,
        gpus: gpus(fields, faults),
    };
    fields.check(SERVED, ecs_fields::CONTAINER_DEFINITION, faults);
    container
}

/// Each type once; and of types there is one.
fn gpus(container: &Fields<'_>, faults: &mut Faults) -> u32 {
    let (mut gpus, mut seen) = (0, Seen::default());
    for fields in container.objects("resourceRequirements", faults) {
        let kind = fields.choice("type", &RESOURCE_TYPE);
        let kind = faults.keep(fields.required("type", RESOURCE_TYPE.wanted, kind));
        let wanted = "a number of GPUs, as a text: \"1\"";
        let value = fields.required("value", wanted, fields.text("value", &TEXT));
        let value = faults.keep(value.map(Some));
        // What something else has for its value says nothing here.
        if let Some(value) = value.filter(|_| !kind.is_empty()) {
            let at = |name| fields.path(name);
            gpus = faults.keep(number_in_text(at("value"), &value, &GPUS));
            faults.keep(seen.see(kind, quoted(kind), at("type")));
        }
        fields.check(&["type", "value"], ecs_fields::RESOURCE_REQUIREMENT, faults);
    }
    gpus
}

fn link(text: &str) -> Link {
    let (container, alias) = match text.split_once(':') {
        Some((container, alias)) => (container, Some(alias.to_owned())),
        None => (text, None),
    };
    Link {
        container: container.to_owned(),
        alias,
    }
}

fn log_configuration(container: &Fields<'_>, faults: &mut Faults) -> Option<LogConfiguration> {
    let fields = faults.keep(container.object("logConfiguration"))?;
    // As exported files have it.
    if fields.is_empty() {
        return None;
    }
    let driver = fields.choice("logDriver", &LOG_DRIVER);
    let driver = fields.required("logDriver", LOG_DRIVER.wanted, driver);
    let log = LogConfiguration {
        driver: faults.keep(driver).to_owned(),
        options: fields.texts_by_name("options", &SOME_TEXT, faults),
    };
    fields.check(
        &["logDriver", "options"],
        ecs_fields::LOG_CONFIGURATION,
        faults,
    );
    Some(log)
}

fn restart_policy(container: &Fields<'_>, faults: &mut Faults) -> Option<RestartPolicy> {
    let fields = faults.keep(container.object("restartPolicy"))?;
    let enabled = fields.required("enabled", "true or false", fields.flag("enabled"));
    let codes = faults.keep(fields.integers("ignoredExitCodes", &EXIT_CODE));
    let policy = RestartPolicy {
        enabled: faults.keep(enabled),
        ignored_exit_codes: codes
            .into_iter()
            .map(|code| i32::try_from(code).expect("read within the range of exit codes"))
            .collect(),
        attempt_period_s: faults.keep(fields.number("restartAttemptPeriod", &ATTEMPT_PERIOD)),
    };
    fields.check(
        &["enabled", "ignoredExitCodes", "restartAttemptPeriod"],
        ecs_fields::RESTART_POLICY,
        faults,
    );
    Some(policy)
}

/// The hard limit; 0 where there is only a reservation, or a limit for the whole task.
fn memory(fields: &Fields<'_>, task_has_memory: bool, faults: &mut Faults) -> u32 {
    let read = fields.number("memory", &MEMORY);
    if task_has_memory || fields.get("memoryReservation").is_some() {
        return faults.keep(read).unwrap_or(0);
    }
    let wanted = "the container's hard limit in MiB, unless it has a memoryReservation or the task \
                  has memory";
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
            faults.keep(seen.see(name.clone(), quoted(&name), pair.path("name")));
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
    let app_protocol = faults.keep(fields.choice("appProtocol", &APP_PROTOCOL));
    let mapping = PortMapping {
        container_port,
        host_port: port_number(host_port),
        protocol,
        name: faults.keep(fields.text("name", &NAME)),
        app_protocol: app_protocol.map(|word| match word {
            "http2" => AppProtocol::Http2,
            "grpc" => AppProtocol::Grpc,
            _ => AppProtocol::Http,
        }),
    };
    fields.check(
        &[
            "containerPort",
            "hostPort",
            "protocol",
            "name",
            "appProtocol",
        ],
        ecs_fields::PORT_MAPPING,
        faults,
    );
    mapping
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
            "HEALTHY" => Condition::Healthy,
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
