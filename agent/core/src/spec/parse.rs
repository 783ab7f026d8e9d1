//! Parses `RegisterTaskDefinition`'s input: the only way from JSON to a task definition.

use super::{
    ecs_fields,
    error::{Faults, SpecError, SpecErrors},
    read::{Choice, Fields, NAME, Range, Rule, TEXT},
    task_definition::{Container, Mount, PortMapping, Protocol, TaskDefinition, Volume},
};
use crate::limits;
use serde_json::Value;
use std::collections::BTreeMap;

/// Parses and checks all of it; a definition that comes out of here can be run as it is.
///
/// Fields are read first, all of them, then what they say of one another: a fault in a field
/// would otherwise show up a second time as, say, a volume that nobody declares.
pub fn parse_task_definition(json: &Value) -> Result<TaskDefinition, SpecErrors> {
    let fields = Fields::of_request(json)?;
    let (got, max) = (json.to_string().len(), limits::DEFINITION_BYTES_MAX);
    if got > max {
        return Err(SpecError::TooLarge { got, max }.into());
    }

    let mut faults = Faults::default();
    let family = fields.required("family", NAME.wanted, fields.text("family", &NAME));
    let family = faults.keep(family);
    faults.keep(fields.choice("networkMode", &NETWORK_MODE));
    faults.keep(fields.choices("requiresCompatibilities", &COMPATIBILITY));
    let containers = containers(&fields, &mut faults);
    let volumes = fields.objects("volumes", &mut faults);
    let volumes = volumes.iter().map(|v| volume(v, &mut faults)).collect();
    fields.check(
        &[
            "family",
            "networkMode",
            "requiresCompatibilities",
            "containerDefinitions",
            "volumes",
        ],
        ecs_fields::REGISTER_TASK_DEFINITION,
        &mut faults,
    );

    let definition = TaskDefinition {
        family,
        containers,
        volumes,
    };
    if faults.is_empty() {
        relate(&definition, &mut faults);
    }
    faults.finish(definition)
}

fn containers(fields: &Fields<'_>, faults: &mut Faults) -> Vec<Container> {
    let name = "containerDefinitions";
    let objects = fields.objects(name, faults);
    let (got, max) = (objects.len(), limits::CONTAINERS_PER_TASK_MAX);
    // Not `got`: entries that are not objects have been told of already.
    let none = match fields.get(name) {
        None => true,
        Some(list) => list.as_array().is_some_and(Vec::is_empty),
    };
    if none {
        faults.push(SpecError::Missing {
            path: fields.path(name),
            wanted: "a list of at least one container",
        });
    }
    if got > max {
        let path = fields.path(name);
        faults.push(SpecError::TooMany { path, got, max });
    }
    objects.iter().map(|c| container(c, faults)).collect()
}

fn container(fields: &Fields<'_>, faults: &mut Faults) -> Container {
    let name = fields.required("name", NAME.wanted, fields.text("name", &NAME));
    let image = fields.required("image", IMAGE.wanted, fields.text("image", &IMAGE));
    let wanted = "the container's hard limit in MiB";
    let memory = fields.required("memory", wanted, fields.number("memory", &MEMORY));
    let container = Container {
        name: faults.keep(name),
        image: faults.keep(image),
        command: faults.keep(fields.texts("command", &TEXT)),
        entry_point: faults.keep(fields.texts("entryPoint", &TEXT)),
        environment: environment(fields, faults),
        cpu: faults.keep(fields.number("cpu", &CPU)).unwrap_or(0),
        memory_mib: faults.keep(memory),
        essential: faults.keep(fields.flag("essential")).unwrap_or(true),
        ports: {
            let objects = fields.objects("portMappings", faults);
            objects.iter().map(|p| port(p, faults)).collect()
        },
        mounts: {
            let objects = fields.objects("mountPoints", faults);
            objects.iter().map(|m| mount(m, faults)).collect()
        },
        stop_timeout_s: faults.keep(fields.number("stopTimeout", &STOP_TIMEOUT)),
    };
    fields.check(
        &[
            "name",
            "image",
            "command",
            "entryPoint",
            "environment",
            "cpu",
            "memory",
            "essential",
            "portMappings",
            "mountPoints",
            "stopTimeout",
        ],
        ecs_fields::CONTAINER_DEFINITION,
        faults,
    );
    container
}

fn environment(fields: &Fields<'_>, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let mut seen = Seen::default();
    for pair in fields.objects("environment", faults) {
        let name = pair.required("name", VARIABLE.wanted, pair.text("name", &VARIABLE));
        let name = faults.keep(name.map(Some));
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
    let path = fields.text("containerPath", &PATH);
    let path = fields.required("containerPath", PATH.wanted, path);
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

fn volume(fields: &Fields<'_>, faults: &mut Faults) -> Volume {
    let name = fields.required("name", NAME.wanted, fields.text("name", &NAME));
    let name = faults.keep(name);
    let wanted = "an object with the sourcePath on the host";
    let host = fields.required("host", wanted, fields.object("host"));
    let host_path = match host {
        Ok(host) => {
            let path = host.text("sourcePath", &PATH);
            let path = faults.keep(host.required("sourcePath", PATH.wanted, path));
            host.check(&["sourcePath"], ecs_fields::HOST_VOLUME_PROPERTIES, faults);
            path
        }
        Err(fault) => {
            faults.push(fault);
            String::new()
        }
    };
    fields.check(&["name", "host"], ecs_fields::VOLUME, faults);
    Volume { name, host_path }
}

/// Checks what the parts of a definition say of one another.
fn relate(definition: &TaskDefinition, faults: &mut Faults) {
    let mut volumes = Seen::default();
    for (i, volume) in definition.volumes.iter().enumerate() {
        let (name, path) = (&volume.name, format!("volumes[{i}].name"));
        faults.keep(volumes.see(name.clone(), format!("{name:?}"), path));
    }
    let mut names = Seen::default();
    let mut host_ports = Seen::default();
    for (i, container) in definition.containers.iter().enumerate() {
        let at = format!("containerDefinitions[{i}]");
        let name = &container.name;
        faults.keep(names.see(name.clone(), format!("{name:?}"), format!("{at}.name")));
        for (j, port) in container.ports.iter().enumerate() {
            let (protocol, number) = (port.protocol, port.host_port);
            if number != 0 {
                let path = format!("{at}.portMappings[{j}].hostPort");
                let shown = format!("{protocol} {number}");
                faults.keep(host_ports.see((protocol, number), shown, path));
            }
        }
        let mut mounted = Seen::default();
        for (j, mount) in container.mounts.iter().enumerate() {
            let at = format!("{at}.mountPoints[{j}]");
            if !volumes.0.contains_key(&mount.source_volume) {
                faults.push(SpecError::UndeclaredVolume {
                    path: format!("{at}.sourceVolume"),
                    volume: mount.source_volume.clone(),
                });
            }
            let path = &mount.container_path;
            let place = path.trim_end_matches('/').to_owned();
            faults.keep(mounted.see(place, format!("{path:?}"), format!("{at}.containerPath")));
        }
    }
    if !definition.containers.iter().any(|c| c.essential) {
        faults.push(SpecError::NoEssential);
    }
}

/// What must not repeat, and where each was first.
struct Seen<K>(BTreeMap<K, String>);

impl<K: Ord> Seen<K> {
    fn see(&mut self, key: K, value: String, path: String) -> Result<(), SpecError> {
        if let Some(first) = self.0.get(&key) {
            let first = first.clone();
            return Err(SpecError::Duplicate { path, first, value });
        }
        self.0.insert(key, path);
        Ok(())
    }
}

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// ECS's integers have 32 bits and a sign.
const INTEGER_MAX: u32 = i32::MAX as u32;

const CPU: Range = Range {
    min: 0,
    max: INTEGER_MAX,
    unit: " CPU units",
};

/// No container engine starts anything in less than 4 MiB.
const MEMORY: Range = Range {
    min: 4,
    max: INTEGER_MAX,
    unit: " MiB",
};

const CONTAINER_PORT: Range = Range {
    min: 1,
    max: u16::MAX as u32,
    unit: "",
};

const HOST_PORT: Range = Range {
    min: 0,
    max: u16::MAX as u32,
    unit: " (0: any free port)",
};

const STOP_TIMEOUT: Range = Range {
    min: 0,
    max: (limits::STOP_TIMEOUT_MAX.as_ms() / 1_000) as u32,
    unit: " seconds",
};

const NETWORK_MODE: Choice = Choice {
    served: &["bridge"],
    refused: &["host", "awsvpc", "none"],
    wanted: "\"bridge\", in which tasks are reached on ports of their host",
};

const COMPATIBILITY: Choice = Choice {
    served: &["EC2", "EXTERNAL"],
    refused: &["FARGATE", "MANAGED_INSTANCES"],
    wanted: "\"EC2\" or \"EXTERNAL\": tasks run on your own hosts",
};

const PROTOCOL: Choice = Choice {
    served: &["tcp", "udp"],
    refused: &[],
    wanted: "\"tcp\" or \"udp\"",
};

const IMAGE: Rule = Rule {
    wanted: "an image name of 1 to 255 letters, digits or -_:./#@",
    holds: |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_:./#@".contains(&b);
        (1..=255).contains(&text.len()) && text.bytes().all(allowed)
    },
};

const VARIABLE: Rule = Rule {
    wanted: "a variable's name, not empty, without '=' and NUL characters",
    holds: |text| !text.is_empty() && !text.contains(['=', '\0']),
};

/// `..` would lead out of what a host's policy allows, and a colon would end the path in the
/// engine's own notation of mounts.
const PATH: Rule = Rule {
    wanted: "an absolute path other than /, without \"..\", ':' and control characters",
    holds: |text| {
        text.starts_with('/')
            && text.bytes().any(|b| b != b'/')
            && !text.contains(|c: char| c == ':' || c.is_control())
            && !text.split('/').any(|part| part == "..")
    },
};
