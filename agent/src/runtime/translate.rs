//! A container of a task definition as Docker's `POST /containers/create` wants it.

use super::labels::labels_to_map;
use bollard::models::{ContainerCreateBody, HostConfig, PortBinding, PortMap};
use bollard::models::{RestartPolicy, RestartPolicyNameEnum};
use holdfast_core::{
    spec::task_definition::{Mount, Protocol, Volume},
    task::runtime::CreateContainer,
    time::Span,
};

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
    let binds = container
        .mounts
        .iter()
        .map(|mount| bind(mount, &create.volumes));
    let stop_timeout_s = match container.stop_timeout_s {
        Some(seconds) => i64::from(seconds),
        None => grace_seconds(stop_grace_default),
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
        exposed_ports: some(
            port_bindings(create)
                .into_iter()
                .map(|(port, _)| port)
                .collect(),
        ),
        labels: Some(labels_to_map(&create.labels)),
        stop_timeout: Some(stop_timeout_s),
        host_config: Some(HostConfig {
            cpu_shares: (container.cpu != 0)
                .then(|| i64::from(container.cpu).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)),
            memory: (container.memory_mib != 0)
                .then(|| i64::from(container.memory_mib) * BYTES_PER_MIB),
            binds: some(binds.collect::<Result<_, _>>()?),
            port_bindings: Some(PortMap::from_iter(port_bindings(create)))
                .filter(|map| !map.is_empty()),
            network_mode: Some("bridge".to_owned()),
            // Tasks are one-shot: what has ended is replaced by a new task, perhaps elsewhere.
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            auto_remove: Some(false),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}

/// Whole seconds, rounded up: that is how Docker takes a grace.
pub(crate) fn grace_seconds(grace: Span) -> i64 {
    i64::try_from(grace.0.div_ceil(1_000_000)).unwrap_or(i64::MAX)
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

/// In the definition's order. One container port may have several host ports.
fn port_bindings(create: &CreateContainer) -> Vec<(String, Option<Vec<PortBinding>>)> {
    let mut bindings: Vec<(String, Option<Vec<PortBinding>>)> = Vec::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::tests::{create, labels, slot};
    use expect_test::{Expect, expect};
    use holdfast_core::spec::task_definition::{Container, PortMapping};
    use holdfast_core::task::runtime::Labels;

    fn check(create: &CreateContainer, expected: Expect) {
        let text = match translate(create, Span::from_secs(30)) {
            Ok(mut body) => {
                assert_eq!(body.labels.take(), Some(labels_to_map(&create.labels)));
                let value = serde_json::to_value(&body).expect("a body always encodes");
                serde_json::to_string_pretty(&value).expect("a value always encodes")
            }
            Err(err) => err.to_string(),
        };
        expected.assert_eq(&text);
    }

    fn mapping(container_port: u16, host_port: u16, protocol: Protocol) -> PortMapping {
        PortMapping {
            container_port,
            host_port,
            protocol,
        }
    }

    #[test]
    fn the_least_container_leaves_everything_to_the_image() {
        check(
            &create("web:1"),
            expect![[r#"
                {
                  "HostConfig": {
                    "AutoRemove": false,
                    "NetworkMode": "bridge",
                    "RestartPolicy": {
                      "Name": "no"
                    }
                  },
                  "Image": "web:1",
                  "StopTimeout": 30
                }"#]],
        );
    }

    fn full() -> CreateContainer {
        let least = create("web:1");
        CreateContainer {
            labels: Labels {
                slot: Some(slot()),
                ..labels()
            },
            container: Container {
                command: vec!["-c".to_owned(), "run".to_owned()],
                entry_point: vec!["/bin/sh".to_owned()],
                environment: [("B", "2"), ("A", "x=y")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                cpu: 1,
                memory_mib: 64,
                ports: vec![
                    mapping(80, 8080, Protocol::Tcp),
                    mapping(80, 8081, Protocol::Tcp),
                    mapping(53, 0, Protocol::Udp),
                ],
                mounts: vec![
                    Mount {
                        source_volume: "data".to_owned(),
                        container_path: "/data".to_owned(),
                        read_only: false,
                    },
                    Mount {
                        source_volume: "data".to_owned(),
                        container_path: "/data-ro".to_owned(),
                        read_only: true,
                    },
                ],
                stop_timeout_s: Some(5),
                ..least.container
            },
            volumes: vec![Volume {
                name: "data".to_owned(),
                host_path: "/srv/data".to_owned(),
            }],
        }
    }

    #[test]
    fn everything_that_a_definition_can_say_arrives() {
        check(
            &full(),
            expect![[r#"
                {
                  "Cmd": [
                    "-c",
                    "run"
                  ],
                  "Entrypoint": [
                    "/bin/sh"
                  ],
                  "Env": [
                    "A=x=y",
                    "B=2"
                  ],
                  "ExposedPorts": {
                    "53/udp": {},
                    "80/tcp": {}
                  },
                  "HostConfig": {
                    "AutoRemove": false,
                    "Binds": [
                      "/srv/data:/data:rw",
                      "/srv/data:/data-ro:ro"
                    ],
                    "CpuShares": 2,
                    "Memory": 67108864,
                    "NetworkMode": "bridge",
                    "PortBindings": {
                      "53/udp": [
                        {
                          "HostPort": ""
                        }
                      ],
                      "80/tcp": [
                        {
                          "HostPort": "8080"
                        },
                        {
                          "HostPort": "8081"
                        }
                      ]
                    },
                    "RestartPolicy": {
                      "Name": "no"
                    }
                  },
                  "Image": "web:1",
                  "StopTimeout": 5
                }"#]],
        );
    }

    #[test]
    fn shares_are_clamped_to_what_linux_takes() {
        for (cpu, shares) in [
            (0, None),
            (1, Some(2)),
            (512, Some(512)),
            (500_000, Some(262_144)),
        ] {
            let mut create = create("web:1");
            create.container.cpu = cpu;
            let body = translate(&create, Span::ZERO).expect("it has no mounts");
            assert_eq!(
                body.host_config.expect("it is always set").cpu_shares,
                shares
            );
        }
    }

    #[test]
    fn what_docker_cannot_say_is_refused_with_a_reason() {
        let mut create = create("web:1");
        create.container.mounts.push(Mount {
            source_volume: "data".to_owned(),
            container_path: "/data".to_owned(),
            read_only: false,
        });
        check(
            &create,
            expect![[
                r#"the mount at /data is of volume "data", which the task definition does not have"#
            ]],
        );
        create.volumes.push(Volume {
            name: "data".to_owned(),
            host_path: "/a:b".to_owned(),
        });
        check(
            &create,
            expect![[
                r#"the path "/a:b" has a colon, which Docker takes for a separator; use another"#
            ]],
        );
    }
}
