//! What is taken for a task definition, and as what.

use super::{check_definition, web_with};
use crate::spec::{ecs_fields, parse_task_definition};
use expect_test::expect;
use serde_json::{Value, json};

#[test]
fn three_fields_make_a_container_and_ecs_fills_in_the_rest() {
    check_definition(
        web_with(json!({})),
        expect![[r#"
            TaskDefinition {
                family: "web",
                network: Bridge,
                containers: [
                    Container {
                        name: "web",
                        image: "nginx",
                        cpu: 0,
                        memory_mib: 128,
                        essential: true,
                        linux: LinuxParameters {
                        },
                    },
                ],
            }
        "#]],
    );
}

#[test]
fn a_definition_exported_from_aws_is_told_of_ecs_own_additions() {
    check_definition(
        exported(),
        expect![[r#"
            compatibilities is part of ECS's answers, not of its requests; remove it
            registeredAt is part of ECS's answers, not of its requests; remove it
            registeredBy is part of ECS's answers, not of its requests; remove it
            requiresAttributes is part of ECS's answers, not of its requests; remove it
            revision is part of ECS's answers, not of its requests; remove it
            status is part of ECS's answers, not of its requests; remove it
            taskDefinitionArn is part of ECS's answers, not of its requests; remove it
        "#]],
    );
}

#[test]
fn a_definition_exported_from_aws_is_taken_without_ecs_own_additions() {
    check_definition(
        without_additions(exported()),
        expect![[r#"
            TaskDefinition {
                family: "shop",
                network: Bridge,
                containers: [
                    Container {
                        name: "web",
                        image: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop:1.4.2",
                        command: [
                            "serve",
                        ],
                        environment: {
                            "EXTRA": "",
                            "STAGE": "production",
                        },
                        cpu: 256,
                        memory_mib: 512,
                        essential: true,
                        ports: [
                            PortMapping {
                                container_port: 8080,
                                host_port: 0,
                                protocol: Tcp,
                            },
                        ],
                        mounts: [
                            Mount {
                                source_volume: "uploads",
                                container_path: "/var/uploads",
                                read_only: false,
                            },
                        ],
                        privileged: Some(
                            false,
                        ),
                        linux: LinuxParameters {
                        },
                    },
                    Container {
                        name: "statsd",
                        image: "statsd/statsd:v0.10.2",
                        cpu: 0,
                        memory_mib: 64,
                        essential: false,
                        ports: [
                            PortMapping {
                                container_port: 8125,
                                host_port: 8125,
                                protocol: Udp,
                            },
                        ],
                        linux: LinuxParameters {
                        },
                    },
                ],
                volumes: [
                    Volume {
                        name: "uploads",
                        source: Host(
                            "/srv/uploads",
                        ),
                    },
                ],
            }
        "#]],
    );
}

#[test]
fn what_asks_for_nothing_is_let_through() {
    let quiet = json!({
        "disableNetworking": false, "healthCheck": null, "links": [], "logConfiguration": {},
        "command": null, "cpu": null, "dnsServers": [], "dockerLabels": {}, "linuxParameters": {},
    });
    assert_eq!(
        parse_task_definition(&web_with(quiet)),
        parse_task_definition(&web_with(json!({})))
    );
    check_definition(
        web_with(json!({"disableNetworking": "", "links": ""})),
        expect![[r#"
            containerDefinitions[0].links must be a list of strings, but is a string
            containerDefinitions[0].disableNetworking is an ECS field that Holdfast does
                not serve yet; remove it to send this request
        "#]],
    );
}

fn without_additions(mut exported: Value) -> Value {
    let fields = exported.as_object_mut().expect("a definition is an object");
    fields.retain(|name, _| !ecs_fields::ANSWERED.contains(&name.as_str()));
    exported
}

/// What `aws ecs describe-task-definition --query taskDefinition` writes.
fn exported() -> Value {
    serde_json::from_str(include_str!("exported.json")).expect("the file is JSON")
}
