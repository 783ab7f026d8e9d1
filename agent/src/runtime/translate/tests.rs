//! What each field of a definition becomes in Docker's words.

use super::*;
use crate::runtime::tests::{asked::demanding, create, labels, slot};
use expect_test::{Expect, expect};
use holdfast_core::{
    spec::{
        health::{NetProbe, Probe},
        task_definition::{Link, PortMapping, TaskDefinition, VolumesFrom},
        volume::{DockerVolume, Volume, VolumeSource},
    },
    task::{
        pause::pause,
        runtime::{Labels, Shared},
    },
};

fn check(create: &CreateContainer, expected: Expect) {
    let text = match translate(create, Span::from_secs(30)) {
        Ok(mut body) => {
            let mut labels = body.labels.take().expect("ours are always there");
            labels.retain(|name, _| !create.container.labels.contains_key(name));
            assert_eq!(labels, labels_to_map(&create.labels));
            let value = serde_json::to_value(&body).expect("a body always encodes");
            serde_json::to_string_pretty(&value).expect("a value always encodes")
        }
        Err(err) => err.to_string(),
    };
    expected.assert_eq(&text);
}

fn mapping(container_port: u16, host_port: u16, protocol: Protocol) -> PortMapping {
    PortMapping::new(container_port, host_port, protocol)
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

#[test]
fn gpus_are_asked_of_nvidias_driver_by_their_ids() {
    let mut create = create("cuda:1");
    create.gpus = ["GPU-8f6d4c1e", "1"]
        .map(|id| id.parse().expect("it is an id"))
        .into();
    // Those of the whole task.
    create.labels.gpus = ["GPU-8f6d4c1e", "1", "2"]
        .map(|id| id.parse().expect("so is this"))
        .into();
    check(
        &create,
        expect![[r#"
        {
          "HostConfig": {
            "AutoRemove": false,
            "DeviceRequests": [
              {
                "Capabilities": [
                  [
                    "gpu"
                  ]
                ],
                "DeviceIDs": [
                  "GPU-8f6d4c1e",
                  "1"
                ],
                "Driver": "nvidia"
              }
            ],
            "NetworkMode": "bridge",
            "RestartPolicy": {
              "Name": "no"
            }
          },
          "Image": "cuda:1",
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
        shared: least.shared,
        volumes: vec![Volume {
            name: "data".to_owned(),
            source: VolumeSource::Host("/srv/data".to_owned()),
        }],
        gpus: least.gpus,
        given: least.given,
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
fn what_is_asked_of_the_kernel_arrives() {
    check(
        &demanding(create("web:1")),
        expect![[r#"
            {
              "HostConfig": {
                "AutoRemove": false,
                "CapAdd": [
                  "NET_ADMIN"
                ],
                "CapDrop": [
                  "ALL"
                ],
                "Devices": [
                  {
                    "CgroupPermissions": "r",
                    "PathInContainer": "/dev/naught",
                    "PathOnHost": "/dev/zero"
                  }
                ],
                "Dns": [
                  "10.0.0.2"
                ],
                "DnsSearch": [
                  "corp.local"
                ],
                "ExtraHosts": [
                  "db:10.0.0.9"
                ],
                "Init": false,
                "Memory": 67108864,
                "MemoryReservation": 33554432,
                "MemorySwap": 83886080,
                "MemorySwappiness": 10,
                "NetworkMode": "bridge",
                "Privileged": false,
                "ReadonlyRootfs": true,
                "RestartPolicy": {
                  "Name": "no"
                },
                "SecurityOpt": [
                  "no-new-privileges",
                  "seccomp=unconfined"
                ],
                "ShmSize": 8388608,
                "Sysctls": {
                  "net.ipv4.ip_forward": "0"
                },
                "Tmpfs": {
                  "/scratch": "size=4m,noexec,mode=1777"
                },
                "Ulimits": [
                  {
                    "Hard": 1024,
                    "Name": "nofile",
                    "Soft": 512
                  }
                ]
              },
              "Hostname": "web.local",
              "Image": "web:1",
              "OpenStdin": true,
              "StopTimeout": 30,
              "Tty": true,
              "User": "1000:1000",
              "WorkingDir": "/work"
            }"#]],
    );
}

#[test]
fn a_label_of_the_definition_stands_beside_ours() {
    let body = translate(&demanding(create("web:1")), Span::ZERO).expect("it has no mounts");
    let labels = body.labels.expect("ours are always there");
    assert_eq!(labels.get("team").map(String::as_str), Some("web"));
}

#[test]
fn a_device_is_where_it_is_on_the_host_with_all_rights_unless_said_otherwise() {
    let fuse = device(&Device {
        host_path: "/dev/fuse".to_owned(),
        container_path: None,
        permissions: vec![],
    });
    assert_eq!(fuse.path_in_container.as_deref(), Some("/dev/fuse"));
    assert_eq!(fuse.cgroup_permissions.as_deref(), Some("rwm"));
}

#[test]
fn in_the_hosts_network_no_port_is_mapped() {
    let mut create = full();
    create.shared.network = NetworkMode::Host;
    let body = translate(&create, Span::ZERO).expect("its volume is there");
    assert_eq!(body.exposed_ports, None);
    let host = body.host_config.expect("it is always set");
    assert_eq!(host.port_bindings, None);
    assert_eq!(host.network_mode.as_deref(), Some("host"));
}

/// The host part and the health check alone.
fn check_host(create: &CreateContainer, expected: Expect) {
    let body = translate(create, Span::ZERO).expect("all is there that it needs");
    let host = serde_json::to_value(&body.host_config).expect("it always encodes");
    let health = serde_json::to_value(&body.healthcheck).expect("it always encodes");
    let text = format!(
        "{}\n{}\n{}",
        body.stop_signal.unwrap_or_default(),
        serde_json::to_string_pretty(&health).expect("it always encodes"),
        serde_json::to_string_pretty(&host).expect("it always encodes")
    );
    expected.assert_eq(&text);
}

#[test]
fn what_a_task_shares_is_held_by_its_pause_container() {
    let mut create = create("web:1");
    create.shared = Shared {
        network: NetworkMode::Task,
        pid: Some(Namespace::Task),
        ipc: Some(Namespace::Task),
        cpu: Some(256),
        memory_mib: None,
    };
    create.container.ports = vec![mapping(80, 8_080, Protocol::Tcp)];
    create.container.dns_servers = vec!["10.0.0.2".to_owned()];
    check_host(
        &create,
        expect![[r#"

        null
        {
          "AutoRemove": false,
          "CgroupParent": "/holdfast/00000007000000000000000000000001",
          "IpcMode": "container:holdfast-shop-3-task.pause-00000007000000000000000000000001",
          "NetworkMode": "container:holdfast-shop-3-task.pause-00000007000000000000000000000001",
          "PidMode": "container:holdfast-shop-3-task.pause-00000007000000000000000000000001",
          "RestartPolicy": {
            "Name": "no"
          }
        }"#]],
    );
    let definition = TaskDefinition {
        network: NetworkMode::Task,
        containers: vec![create.container],
        ..TaskDefinition::default()
    };
    create.container = pause(&definition).expect("its network is shared");
    create.labels.container = PAUSE.to_owned();
    check_host(
        &create,
        expect![[r#"

        null
        {
          "AutoRemove": false,
          "CgroupParent": "/holdfast/00000007000000000000000000000001",
          "Dns": [
            "10.0.0.2"
          ],
          "IpcMode": "shareable",
          "NetworkMode": "bridge",
          "PortBindings": {
            "80/tcp": [
              {
                "HostPort": "8080"
              }
            ]
          },
          "RestartPolicy": {
            "Name": "no"
          }
        }"#]],
    );
}

/// A volume of the task's own, one with a driver's settings, and one that all tasks share.
fn mount_each_kind(create: &mut CreateContainer) {
    for (name, source) in [
        ("own", VolumeSource::Scratch),
        ("ours", VolumeSource::Docker(DockerVolume::default())),
        (
            "all",
            VolumeSource::Docker(DockerVolume {
                is_shared: true,
                ..DockerVolume::default()
            }),
        ),
    ] {
        create.volumes.push(Volume {
            name: name.to_owned(),
            source,
        });
        create.container.mounts.push(Mount {
            source_volume: name.to_owned(),
            container_path: format!("/{name}"),
            read_only: false,
        });
    }
}

#[test]
fn what_a_container_takes_from_others_and_how_it_is_checked_arrives() {
    let mut create = create("web:1");
    create.shared.pid = Some(Namespace::Host);
    create.shared.ipc = Some(Namespace::None);
    create.container.links = vec![
        Link {
            container: "db".to_owned(),
            alias: Some("store".to_owned()),
        },
        Link {
            container: "cache".to_owned(),
            alias: None,
        },
    ];
    create.container.volumes_from = vec![VolumesFrom {
        container: "data".to_owned(),
        read_only: true,
    }];
    create.container.stop_signal = Some("SIGQUIT".to_owned());
    create.container.health_check = Some(HealthCheck {
        probe: Probe::Command {
            shell: true,
            words: vec!["curl -f http://localhost".to_owned()],
        },
        interval_s: 5,
        timeout_s: 2,
        retries: 4,
        start_period_s: Some(60),
    });
    mount_each_kind(&mut create);
    check_host(
        &create,
        expect![[r#"
            SIGQUIT
            {
              "Interval": 5000000000,
              "Retries": 4,
              "StartPeriod": 60000000000,
              "Test": [
                "CMD-SHELL",
                "curl -f http://localhost"
              ],
              "Timeout": 2000000000
            }
            {
              "AutoRemove": false,
              "Binds": [
                "holdfast-shop-own-00000007000000000000000000000001:/own:rw",
                "holdfast-shop-ours-00000007000000000000000000000001:/ours:rw",
                "all:/all:rw"
              ],
              "IpcMode": "none",
              "Links": [
                "holdfast-shop-3-db-00000007000000000000000000000001:store",
                "holdfast-shop-3-cache-00000007000000000000000000000001:cache"
              ],
              "NetworkMode": "bridge",
              "PidMode": "host",
              "RestartPolicy": {
                "Name": "no"
              },
              "VolumesFrom": [
                "holdfast-shop-3-data-00000007000000000000000000000001:ro"
              ]
            }"#]],
    );
}

#[test]
fn what_the_agent_checks_itself_docker_does_not() {
    let mut create = create("web:1");
    create.container.health_check = Some(HealthCheck {
        probe: Probe::Net(NetProbe {
            port: 80,
            path: None,
        }),
        interval_s: 5,
        timeout_s: 2,
        retries: 4,
        start_period_s: None,
    });
    let body = translate(&create, Span::ZERO).expect("it can be said");
    let test = body.healthcheck.and_then(|check| check.test);
    assert_eq!(test, Some(vec!["NONE".to_owned()]));
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
        source: VolumeSource::Host("/a:b".to_owned()),
    });
    check(
        &create,
        expect![[
            r#"the path "/a:b" has a colon, which Docker takes for a separator; use another"#
        ]],
    );
}
