//! What each field of a definition becomes in Docker's words.

use super::*;
use crate::runtime::tests::{asked::demanding, create, labels, slot};
use expect_test::{Expect, expect};
use holdfast_core::{spec::task_definition::PortMapping, task::runtime::Labels};

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
        network: NetworkMode::Bridge,
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
    create.network = NetworkMode::Host;
    let body = translate(&create, Span::ZERO).expect("its volume is there");
    assert_eq!(body.exposed_ports, None);
    let host = body.host_config.expect("it is always set");
    assert_eq!(host.port_bindings, None);
    assert_eq!(host.network_mode.as_deref(), Some("host"));
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
