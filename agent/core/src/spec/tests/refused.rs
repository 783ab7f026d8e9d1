//! What is refused in a task definition, and in which words.

use super::{check_definition, transcript, web_with};
use crate::{
    limits,
    spec::{ecs_fields, parse_task_definition, refuse::check_fields},
};
use expect_test::expect;
use serde_json::json;

#[test]
fn what_is_missing_is_said_with_what_it_must_be() {
    check_definition(
        json!({}),
        expect![[r#"
            family is missing; it must be 1 to 255 letters, digits, hyphens or
                underscores
            containerDefinitions is missing; it must be a list of at least one container
        "#]],
    );
    check_definition(
        json!({"family": "a", "containerDefinitions": []}),
        expect![[r#"
            containerDefinitions is missing; it must be a list of at least one container
        "#]],
    );
    check_definition(
        json!({
            "family": null,
            "containerDefinitions": [{
                "environment": [{}],
                "portMappings": [{}],
                "mountPoints": [{}],
            }],
            "volumes": [{}, {"name": "data", "host": {}}],
        }),
        expect![[r#"
            family is missing; it must be 1 to 255 letters, digits, hyphens or
                underscores
            containerDefinitions[0].name is missing; it must be 1 to 255 letters,
                digits, hyphens or underscores
            containerDefinitions[0].image is missing; it must be an image name of 1 to
                255 letters, digits or -_:./#@
            containerDefinitions[0].environment[0].name is missing; it must be a
                variable's name, not empty, without '=' and NUL characters
            containerDefinitions[0].environment[0].value is missing; it must be a text
                ("" for an empty one)
            containerDefinitions[0].memory is missing; it must be the container's hard
                limit in MiB, unless it has a memoryReservation or the task has memory
            containerDefinitions[0].portMappings[0].containerPort is missing; it must be
                the port that the container listens on
            containerDefinitions[0].mountPoints[0].sourceVolume is missing; it must be
                the name of a volume
            containerDefinitions[0].mountPoints[0].containerPath is missing; it must be
                an absolute path other than /, without "..", ':' and control characters
            volumes[0].name is missing; it must be 1 to 255 letters, digits, hyphens or
                underscores
        "#]],
    );
}

#[test]
fn a_wrong_type_is_said_with_both_types() {
    check_definition(
        json!("web"),
        expect![[r#"
            the request must be an object, but is a string
        "#]],
    );
    check_definition(
        json!({
            "family": 7,
            "networkMode": [],
            "requiresCompatibilities": "EC2",
            "containerDefinitions": [
                "nginx",
                {
                    "name": {},
                    "image": ["nginx"],
                    "command": "nginx -g",
                    "entryPoint": ["sh", 1],
                    "environment": {"A": "b"},
                    "cpu": 0.5,
                    "memory": "128",
                    "essential": "true",
                    "portMappings": [80],
                    "mountPoints": [{"sourceVolume": 1, "containerPath": 2, "readOnly": 0}],
                    "stopTimeout": false,
                },
            ],
            "volumes": [{"name": "data", "host": "/srv"}],
        }),
        expect![[r#"
            family must be a string, but is a number
            networkMode must be a string, but is a list
            requiresCompatibilities must be a list of strings, but is a string
            containerDefinitions[0] must be an object, but is a string
            containerDefinitions[1].name must be a string, but is an object
            containerDefinitions[1].image must be a string, but is a list
            containerDefinitions[1].command must be a list of strings, but is a string
            containerDefinitions[1].entryPoint[1] must be a string, but is a number
            containerDefinitions[1].environment must be a list of objects, but is an
                object
            containerDefinitions[1].cpu must be a whole number, but is a number with a
                fraction or an exponent
            containerDefinitions[1].memory must be a whole number, but is a string
            containerDefinitions[1].essential must be true or false, but is a string
            containerDefinitions[1].portMappings[0] must be an object, but is a number
            containerDefinitions[1].mountPoints[0].sourceVolume must be a string, but is
                a number
            containerDefinitions[1].mountPoints[0].containerPath must be a string, but
                is a number
            containerDefinitions[1].mountPoints[0].readOnly must be true or false, but
                is a number
            containerDefinitions[1].stopTimeout must be a whole number, but is a boolean
            volumes[0].host must be an object, but is a string
        "#]],
    );
}

#[test]
fn a_number_out_of_its_range_is_said_with_the_range() {
    check_definition(
        web_with(json!({
            "cpu": -1,
            "memory": 3,
            "stopTimeout": 121,
            "portMappings": [
                {"containerPort": 0, "hostPort": 65536},
                {"containerPort": 18_446_744_073_709_551_615_u64, "hostPort": -1},
            ],
        })),
        expect![[r#"
            containerDefinitions[0].cpu is -1, but must be from 0 to 2147483647 CPU
                units
            containerDefinitions[0].memory is 3, but must be from 6 to 2147483647 MiB
            containerDefinitions[0].portMappings[0].containerPort is 0, but must be from
                1 to 65535
            containerDefinitions[0].portMappings[0].hostPort is 65536, but must be from
                0 to 65535 (0: any free port)
            containerDefinitions[0].portMappings[1].containerPort is
                18446744073709551615, but must be from 1 to 65535
            containerDefinitions[0].portMappings[1].hostPort is -1, but must be from 0
                to 65535 (0: any free port)
            containerDefinitions[0].stopTimeout is 121, but must be from 0 to 120
                seconds
        "#]],
    );
}

#[test]
fn gpus_are_asked_for_once_and_by_a_number_in_a_text() {
    check_definition(
        web_with(json!({"resourceRequirements": [
            {"type": "GPU", "value": "1"},
            {"type": "GPU", "value": "2"},
        ]})),
        expect![[r#"
            containerDefinitions[0].resourceRequirements[1].type repeats "GPU", which
                containerDefinitions[0].resourceRequirements[0].type has already; use
                each only once
        "#]],
    );
    check_definition(
        web_with(json!({"resourceRequirements": [
            {"type": "InferenceAccelerator", "value": "device_1"},
            {"type": "TPU", "value": "0"},
            {"type": "GPU", "value": 1},
            {"value": "65", "count": "1"},
            {"type": "GPU"},
        ]})),
        expect![[r#"
            containerDefinitions[0].resourceRequirements[0].type is
                "InferenceAccelerator", which Holdfast does not serve yet; it must be
                "GPU": inference accelerators are AWS's own
            containerDefinitions[0].resourceRequirements[1].type is "TPU", but must be
                "GPU": inference accelerators are AWS's own
            containerDefinitions[0].resourceRequirements[2].value must be a string, but
                is a number
            containerDefinitions[0].resourceRequirements[3].type is missing; it must be
                "GPU": inference accelerators are AWS's own
            containerDefinitions[0].resourceRequirements[3].count is not an ECS field;
                remove it
            containerDefinitions[0].resourceRequirements[4].value is missing; it must be
                a number of GPUs, as a text: "1"
        "#]],
    );
    for value in ["0", "65", "-1", "1.5", "one", ""] {
        let asked = json!({"resourceRequirements": [{"type": "GPU", "value": value}]});
        let refused = parse_task_definition(&web_with(asked)).expect_err("it is no number of GPUs");
        let refused = refused.to_string();
        let says = format!("value is {value:?}, but must be from 1 to 64 GPUs, as a text");
        assert!(refused.contains(&says), "{refused}");
    }
}

#[test]
fn a_malformed_text_is_said_with_its_rule() {
    check_definition(
        json!({
            "family": "web app",
            "networkMode": "brigde",
            "requiresCompatibilities": ["EC3"],
            "containerDefinitions": [{
                "name": "",
                "image": "nginx; rm -rf /",
                "memory": 128,
                "command": ["a\0b"],
                "environment": [{"name": "A=B", "value": ""}, {"name": "", "value": "\0"}],
                "portMappings": [{"containerPort": 80, "protocol": "sctp"}],
                "mountPoints": [{"sourceVolume": "a/b", "containerPath": "data"}],
            }],
            "volumes": [
                {"name": "n".repeat(256), "host": {"sourcePath": "/srv/../etc"}},
                {"name": "b", "host": {"sourcePath": "//"}},
                {"name": "c", "host": {"sourcePath": "/srv:/etc"}},
            ],
        }),
        expect![[r#"
            family is "web app", but must be 1 to 255 letters, digits, hyphens or
                underscores
            networkMode is "brigde", but must be "bridge", in which tasks are reached on
                ports of their host, "task", in which its containers meet on localhost,
                too, "host" or "none"
            requiresCompatibilities[0] is "EC3", but must be "EC2" or "EXTERNAL": tasks
                run on your own hosts
            containerDefinitions[0].name is "", but must be 1 to 255 letters, digits,
                hyphens or underscores
            containerDefinitions[0].image is "nginx; rm -rf /", but must be an image
                name of 1 to 255 letters, digits or -_:./#@
            containerDefinitions[0].command[0] is "a\0b", but must be a text without NUL
                characters
            containerDefinitions[0].environment[0].name is "A=B", but must be a
                variable's name, not empty, without '=' and NUL characters
            containerDefinitions[0].environment[1].name is "", but must be a variable's
                name, not empty, without '=' and NUL characters
            containerDefinitions[0].environment[1].value is "\0", but must be a text
                without NUL characters
            containerDefinitions[0].portMappings[0].protocol is "sctp", but must be
                "tcp" or "udp"
            containerDefinitions[0].mountPoints[0].sourceVolume is "a/b", but must be 1
                to 255 letters, digits, hyphens or underscores
            containerDefinitions[0].mountPoints[0].containerPath is "data", but must be
                an absolute path other than /, without "..", ':' and control characters
            volumes[0].name is
                "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…",
                but must be 1 to 255 letters, digits, hyphens or underscores
            volumes[0].host.sourcePath is "/srv/../etc", but must be an absolute path
                without "..", ':' and control characters
            volumes[1].host.sourcePath is "//", but must be an absolute path without
                "..", ':' and control characters
            volumes[2].host.sourcePath is "/srv:/etc", but must be an absolute path
                without "..", ':' and control characters
        "#]],
    );
}

#[test]
fn what_holdfast_does_not_serve_is_refused_by_name() {
    check_definition(
        json!({
            "family": "web",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["EC2", "FARGATE"],
            "cpu": "256",
            "taskRoleArn": "arn:aws:iam::1:role/web",
            "containerDefinitions": [{
                "name": "web",
                "image": "nginx",
                "memory": 128,
                "disableNetworking": true,
                "healthCheck": {"command": ["CMD", "true"]},
                "portMappings": [{"containerPort": 80, "appProtocol": "http"}],
            }],
            "volumes": [{"name": "efs", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
        }),
        expect![[r#"
            networkMode is "awsvpc", which Holdfast does not serve yet; it must be
                "bridge", in which tasks are reached on ports of their host, "task", in
                which its containers meet on localhost, too, "host" or "none"
            requiresCompatibilities[1] is "FARGATE", which Holdfast does not serve yet;
                it must be "EC2" or "EXTERNAL": tasks run on your own hosts
            containerDefinitions[0].disableNetworking is an ECS field that Holdfast does
                not serve yet; remove it to send this request
            volumes[0].efsVolumeConfiguration is an ECS field that Holdfast does not
                serve yet; remove it to send this request
            taskRoleArn is an ECS field that Holdfast does not serve yet; remove it to
                send this request
        "#]],
    );
}

#[test]
fn an_unknown_field_is_named_with_the_nearest_known_one() {
    check_definition(
        json!({
            "familly": "web",
            "family": "web",
            "colour": "red",
            "two\nlines": 1,
            "n".repeat(100): 1,
            "containerDefinitions": [{
                "name": "web",
                "image": "nginx",
                "memory": 128,
                "Memory": 128,
                "mem": 1,
                "healtcheck": null,
                "environment": [{"name": "A", "vlaue": "b", "value": "b"}],
                "portMappings": [{"containerPort": 80, "hostport": 80}],
                "mountPoints": [
                    {"sourceVolume": "data", "containerPath": "/d", "readonly": true}
                ],
            }],
            "volumes": [{"name": "data", "host": {"sourcepath": "/srv", "sourcePath": "/srv"}}],
        }),
        expect![[r#"
            containerDefinitions[0].environment[0].vlaue is not an ECS field; did you
                mean value?
            containerDefinitions[0].portMappings[0].hostport is not an ECS field; did
                you mean hostPort?
            containerDefinitions[0].mountPoints[0].readonly is not an ECS field; did you
                mean readOnly?
            containerDefinitions[0].Memory is not an ECS field; did you mean memory?
            containerDefinitions[0].healtcheck is not an ECS field; did you mean
                healthCheck?
            containerDefinitions[0].mem is not an ECS field; remove it
            volumes[0].host.sourcepath is not an ECS field; did you mean sourcePath?
            colour is not an ECS field; remove it
            familly is not an ECS field; did you mean family?
            nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn… is not
                an ECS field; remove it
            two\nlines is not an ECS field; remove it
        "#]],
    );
}

#[test]
fn the_parts_of_a_definition_must_agree() {
    let web = json!({
        "name": "web", "image": "nginx", "memory": 128, "essential": false,
        "portMappings": [
            {"containerPort": 80, "hostPort": 8080},
            {"containerPort": 80},
            {"containerPort": 80},
            {"containerPort": 80, "hostPort": 8080, "protocol": "udp"},
        ],
        "mountPoints": [
            {"sourceVolume": "data", "containerPath": "/d"},
            {"sourceVolume": "date", "containerPath": "/d/"},
        ],
    });
    let volume = json!({"name": "data", "host": {"sourcePath": "/srv"}});
    check_definition(
        json!({
            "family": "web",
            "containerDefinitions": [web, web],
            "volumes": [volume, volume],
        }),
        expect![[r#"
            volumes[1].name repeats "data", which volumes[0].name has already; use each
                only once
            containerDefinitions[0].mountPoints[1].sourceVolume is "date", which volumes
                does not declare; declare it there or correct it
            containerDefinitions[0].mountPoints[1].containerPath repeats "/d/", which
                containerDefinitions[0].mountPoints[0].containerPath has already; use
                each only once
            containerDefinitions[1].name repeats "web", which
                containerDefinitions[0].name has already; use each only once
            containerDefinitions[1].portMappings[0].hostPort repeats tcp 8080, which
                containerDefinitions[0].portMappings[0].hostPort has already; use each
                only once
            containerDefinitions[1].portMappings[3].hostPort repeats udp 8080, which
                containerDefinitions[0].portMappings[3].hostPort has already; use each
                only once
            containerDefinitions[1].mountPoints[1].sourceVolume is "date", which volumes
                does not declare; declare it there or correct it
            containerDefinitions[1].mountPoints[1].containerPath repeats "/d/", which
                containerDefinitions[1].mountPoints[0].containerPath has already; use
                each only once
            containerDefinitions has no essential container; set essential to true on at
                least one
        "#]],
    );
    check_definition(
        web_with(json!({"environment": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "1"},
            {"name": "A", "value": "2"},
        ]})),
        expect![[r#"
            containerDefinitions[0].environment[2].name repeats "A", which
                containerDefinitions[0].environment[0].name has already; use each only
                once
        "#]],
    );
}

/// An answer repeated what repeats in full: a name of 60,000 letters twice over.
#[test]
fn what_repeats_is_shown_in_part() {
    let (name, path) = ("N".repeat(500), format!("/{}", "p".repeat(500)));
    check_definition(
        web_with(json!({"environment": [
            {"name": name, "value": "1"},
            {"name": name, "value": "2"},
        ]})),
        expect![[r#"
            containerDefinitions[0].environment[1].name repeats
                "NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNN…",
                which containerDefinitions[0].environment[0].name has already; use each
                only once
        "#]],
    );
    let control = json!({"namespace": format!("net.{name}"), "value": "1"});
    let mut host = web_with(json!({
        "mountPoints": [{"sourceVolume": "data", "containerPath": path}],
        "systemControls": [control, control],
        "linuxParameters": {"tmpfs": [{"containerPath": path, "size": 1}]},
    }));
    host["networkMode"] = json!("host");
    host["volumes"] = json!([{"name": "data", "host": {"sourcePath": "/srv"}}]);
    check_definition(
        host,
        expect![[r#"
        containerDefinitions[0].linuxParameters.tmpfs[0].containerPath repeats
            "/ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp…",
            which containerDefinitions[0].mountPoints[0].containerPath has already;
            use each only once
        containerDefinitions[0].systemControls[0].namespace is
            "net.NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNN…",
            which with networkMode host is the host's own; remove it
        containerDefinitions[0].systemControls[1].namespace is
            "net.NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNN…",
            which with networkMode host is the host's own; remove it
        containerDefinitions[0].systemControls[1].namespace repeats
            "net.NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNN…",
            which containerDefinitions[0].systemControls[0].namespace has already;
            use each only once
    "#]],
    );
}

/// It named a hostPort that the definition did not have.
#[test]
fn a_port_that_is_the_hosts_own_is_named_as_it_was_given() {
    let ports = json!([
        {"containerPort": 80},
        {"containerPort": 80},
        {"containerPort": 80, "hostPort": 80},
    ]);
    let mut host = web_with(json!({"portMappings": ports}));
    host["networkMode"] = json!("host");
    check_definition(
        host,
        expect![[r#"
        containerDefinitions[0].portMappings[1].containerPort repeats tcp 80, which
            containerDefinitions[0].portMappings[0].containerPort has already; use
            each only once
        containerDefinitions[0].portMappings[2].hostPort repeats tcp 80, which
            containerDefinitions[0].portMappings[0].containerPort has already; use
            each only once
    "#]],
    );
}

#[test]
fn too_much_is_refused_and_too_many_faults_are_counted() {
    let web = json!({"name": "web", "image": "nginx", "memory": 128});
    check_definition(
        json!({"family": "web", "containerDefinitions": vec![web; 11]}),
        expect![[r#"
            containerDefinitions has 11 entries, but at most 10 are allowed; remove some
        "#]],
    );
    let long = "x".repeat(limits::DEFINITION_BYTES_MAX);
    check_definition(
        web_with(json!({"command": [long]})),
        expect![[r#"
            the request has 65636 bytes, but at most 65536 are allowed; make it smaller
        "#]],
    );
    check_definition(
        json!({"family": "web", "containerDefinitions": vec![json!({}); 8]}),
        expect![[r#"
            containerDefinitions[0].name is missing; it must be 1 to 255 letters,
                digits, hyphens or underscores
            containerDefinitions[0].image is missing; it must be an image name of 1 to
                255 letters, digits or -_:./#@
            containerDefinitions[0].memory is missing; it must be the container's hard
                limit in MiB, unless it has a memoryReservation or the task has memory
            containerDefinitions[1].name is missing; it must be 1 to 255 letters,
                digits, hyphens or underscores
            containerDefinitions[1].image is missing; it must be an image name of 1 to
                255 letters, digits or -_:./#@
            containerDefinitions[1].memory is missing; it must be the container's hard
                limit in MiB, unless it has a memoryReservation or the task has memory
            containerDefinitions[2].name is missing; it must be 1 to 255 letters,
                digits, hyphens or underscores
            containerDefinitions[2].image is missing; it must be an image name of 1 to
                255 letters, digits or -_:./#@
            containerDefinitions[2].memory is missing; it must be the container's hard
                limit in MiB, unless it has a memoryReservation or the task has memory
            containerDefinitions[3].name is missing; it must be 1 to 255 letters,
                digits, hyphens or underscores
            containerDefinitions[3].image is missing; it must be an image name of 1 to
                255 letters, digits or -_:./#@
            containerDefinitions[3].memory is missing; it must be the container's hard
                limit in MiB, unless it has a memoryReservation or the task has memory
            containerDefinitions[4].name is missing; it must be 1 to 255 letters,
                digits, hyphens or underscores
            containerDefinitions[4].image is missing; it must be an image name of 1 to
                255 letters, digits or -_:./#@
            containerDefinitions[4].memory is missing; it must be the container's hard
                limit in MiB, unless it has a memoryReservation or the task has memory
            containerDefinitions[5].name is missing; it must be 1 to 255 letters,
                digits, hyphens or underscores
            containerDefinitions[5].image is missing; it must be an image name of 1 to
                255 letters, digits or -_:./#@
            containerDefinitions[5].memory is missing; it must be the container's hard
                limit in MiB, unless it has a memoryReservation or the task has memory
            containerDefinitions[6].name is missing; it must be 1 to 255 letters,
                digits, hyphens or underscores
            containerDefinitions[6].image is missing; it must be an image name of 1 to
                255 letters, digits or -_:./#@
            and 4 more
        "#]],
    );
}

#[test]
fn other_operations_refuse_their_fields_alike() {
    let request = json!({"tasks": ["1"], "include": ["TAGS"], "clutser": "lab"});
    let fields = request.as_object().expect("a request is an object");
    let served = ["tasks", "cluster"];
    let checked = check_fields("", fields, &served, ecs_fields::DESCRIBE_TASKS);
    expect![[r#"
        clutser is not an ECS field; did you mean cluster?
        include is an ECS field that Holdfast does not serve yet; remove it to send
            this request
    "#]]
    .assert_eq(&transcript(checked));
}
