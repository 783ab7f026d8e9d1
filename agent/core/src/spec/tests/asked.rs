//! What is refused of what a container asks of Docker and the kernel, and of other containers.

use super::{check_definition, web_with};
use expect_test::expect;
use serde_json::json;

#[test]
fn what_is_asked_of_the_kernel_is_checked_like_the_rest() {
    check_definition(
        web_with(json!({
            "memory": 64,
            "memoryReservation": 128,
            "hostname": "web app",
            "user": "",
            "workingDirectory": "app",
            "dnsServers": ["ns.local"],
            "extraHosts": [{"hostname": "db"}, {"hostname": "a:b", "ipAddress": "db"}],
            "dockerLabels": {"": "a", "io.holdfast.task": "1", "team": 7},
            "dockerSecurityOptions": ["no-new-privilege", "apparmor:"],
            "privileged": "yes",
            "ulimits": [
                {"name": "nofiles", "softLimit": -2},
                {"name": "nofile", "softLimit": "64", "hardLimit": 1},
            ],
            "systemControls": [{"namespace": "vm.swappiness", "value": "1", "Value": "1"}],
        })),
        expect![[r#"
            containerDefinitions[0].dockerLabels is "", but must be a label's name, not
                empty and not one of the agent's own (io.holdfast.*, com.amazonaws.ecs.*)
            containerDefinitions[0].dockerLabels is "io.holdfast.task", but must be a
                label's name, not empty and not one of the agent's own (io.holdfast.*,
                com.amazonaws.ecs.*)
            containerDefinitions[0].dockerLabels.team must be a string, but is a number
            containerDefinitions[0].hostname is "web app", but must be a host name of 1
                to 64 letters, digits, hyphens, underscores or dots
            containerDefinitions[0].user is "", but must be a text, not empty, without
                NUL characters
            containerDefinitions[0].workingDirectory is "app", but must be an absolute
                path without control characters
            containerDefinitions[0].dnsServers[0] is "ns.local", but must be an IPv4 or
                IPv6 address
            containerDefinitions[0].extraHosts[0].ipAddress is missing; it must be an
                IPv4 or IPv6 address
            containerDefinitions[0].extraHosts[1].hostname is "a:b", but must be a host
                name of 1 to 253 letters, digits, hyphens, underscores or dots
            containerDefinitions[0].extraHosts[1].ipAddress is "db", but must be an IPv4
                or IPv6 address
            containerDefinitions[0].dockerSecurityOptions[0] is "no-new-privilege", but
                must be "no-new-privileges", "seccomp:unconfined", or apparmor: or label:
                with its value
            containerDefinitions[0].privileged must be true or false, but is a string
            containerDefinitions[0].ulimits[0].softLimit is -2, but must be from -1 to
                2147483647 (-1: no limit)
            containerDefinitions[0].ulimits[0].hardLimit is missing; it must be a whole
                number, -1 for none
            containerDefinitions[0].ulimits[0].name is "nofiles", but must be a limit of
                setrlimit(2) without RLIMIT_, such as "nofile"
            containerDefinitions[0].ulimits[1].softLimit must be a whole number, but is
                a string
            containerDefinitions[0].systemControls[0].namespace is "vm.swappiness", but
                must be a kernel parameter of the container's own: net.*, fs.mqueue.*, or
                one of kernel.msgmax, msgmnb, msgmni, sem, shmall, shmmax, shmmni,
                shm_rmid_forced
            containerDefinitions[0].systemControls[0].Value is not an ECS field; did you
                mean value?
        "#]],
    );
}

#[test]
fn each_of_the_linux_parameters_is_checked() {
    check_definition(
        web_with(json!({
            "linuxParameters": {
                "capabilities": {"add": ["CAP_NET_ADMIN", "net_admin"], "adds": 1},
                "devices": [{"containerPath": "dev", "permissions": ["exec"]}],
                "sharedMemorySize": 0,
                "tmpfs": [{"containerPath": "/", "mountOptions": ["noexec,nodev"]}],
                "maxSwap": -1,
                "swappiness": 101,
                "swapiness": 1,
            },
        })),
        expect![[r#"
            containerDefinitions[0].linuxParameters.capabilities.add[0] is
                "CAP_NET_ADMIN", but must be a capability of Linux without CAP_, such as
                "NET_ADMIN", or "ALL"
            containerDefinitions[0].linuxParameters.capabilities.adds is not an ECS
                field; did you mean add?
            containerDefinitions[0].linuxParameters.devices[0].permissions[0] is "exec",
                but must be "read", "write" or "mknod"
            containerDefinitions[0].linuxParameters.devices[0].hostPath is missing; it
                must be an absolute path without ".." and control characters
            containerDefinitions[0].linuxParameters.devices[0].containerPath is "dev",
                but must be an absolute path without ".." and control characters
            containerDefinitions[0].linuxParameters.sharedMemorySize is 0, but must be
                from 1 to 2147483647 MiB
            containerDefinitions[0].linuxParameters.tmpfs[0].containerPath is "/", but
                must be an absolute path other than /, without "..", ':' and control
                characters
            containerDefinitions[0].linuxParameters.tmpfs[0].size is missing; it must be
                its size in MiB
            containerDefinitions[0].linuxParameters.tmpfs[0].mountOptions[0] is
                "noexec,nodev", but must be an option that tmpfs takes, such as "noexec"
                or "mode=1777"
            containerDefinitions[0].linuxParameters.maxSwap is -1, but must be from 0 to
                2147483647 MiB
            containerDefinitions[0].linuxParameters.swappiness is 101, but must be from
                0 to 100
            containerDefinitions[0].linuxParameters.swapiness is not an ECS field; did
                you mean swappiness?
        "#]],
    );
}

#[test]
fn what_is_asked_of_the_kernel_must_agree() {
    check_definition(
        web_with(json!({
            "memory": 64,
            "memoryReservation": 128,
            "ulimits": [
                {"name": "nofile", "softLimit": 2, "hardLimit": 1},
                {"name": "nofile", "softLimit": -1, "hardLimit": 1},
            ],
            "systemControls": [
                {"namespace": "net.core.somaxconn", "value": "1"},
                {"namespace": "net.core.somaxconn", "value": "2"},
            ],
            "linuxParameters": {"tmpfs": [
                {"containerPath": "/tmp", "size": 1},
                {"containerPath": "/tmp/", "size": 1},
            ]},
        })),
        expect![[r#"
            containerDefinitions[0].linuxParameters.tmpfs[1].containerPath repeats
                "/tmp/", which
                containerDefinitions[0].linuxParameters.tmpfs[0].containerPath has
                already; use each only once
            containerDefinitions[0].memory is 64 MiB, less than the 128 MiB of
                memoryReservation; raise it or reserve less
            containerDefinitions[0].ulimits[0].softLimit is 2, more than the hardLimit
                of 1; make it no more than that
            containerDefinitions[0].ulimits[1].name repeats "nofile", which
                containerDefinitions[0].ulimits[0].name has already; use each only once
            containerDefinitions[0].ulimits[1].softLimit is -1, more than the hardLimit
                of 1; make it no more than that
            containerDefinitions[0].systemControls[1].namespace repeats
                "net.core.somaxconn", which
                containerDefinitions[0].systemControls[0].namespace has already; use each
                only once
        "#]],
    );
    check_definition(
        json!({"family": "web", "containerDefinitions": [{
            "name": "web",
            "image": "nginx",
            "memoryReservation": 64,
            "linuxParameters": {"maxSwap": 1},
        }]}),
        expect![[r#"
            containerDefinitions[0].linuxParameters.maxSwap needs a limit that swap
                comes on top of; set memory, too
        "#]],
    );
}

#[test]
fn a_network_that_has_no_ports_to_map_says_so() {
    let definition = |mode: &str| {
        json!({"family": "web", "networkMode": mode, "containerDefinitions": [{
            "name": "web",
            "image": "nginx",
            "memory": 64,
            "portMappings": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}],
            "systemControls": [
                {"namespace": "net.core.somaxconn", "value": "1"},
                {"namespace": "kernel.sem", "value": "1"},
            ],
        }]})
    };
    check_definition(
        definition("host"),
        expect![[r#"
        containerDefinitions[0].portMappings[0].hostPort must be 80 or left out:
            with networkMode host a port is the host's own
        containerDefinitions[0].systemControls[0].namespace is "net.core.somaxconn",
            which with networkMode host is the host's own; remove it
    "#]],
    );
    check_definition(
        definition("none"),
        expect![[r#"
        containerDefinitions[0].portMappings[0] cannot be mapped: with networkMode
            none there is no network; remove it
        containerDefinitions[0].portMappings[1] cannot be mapped: with networkMode
            none there is no network; remove it
    "#]],
    );
}

#[test]
fn whoever_waits_must_wait_for_something_that_can_be() {
    let container = |name: &str, essential: bool, depends_on: serde_json::Value| {
        json!({
            "name": name, "image": "nginx", "memory": 64, "essential": essential,
            "dependsOn": depends_on,
        })
    };
    let on = |name: &str, condition: &str| json!({"containerName": name, "condition": condition});
    check_definition(
        json!({"family": "web", "containerDefinitions": [
            container("web", true, json!([on("db", "START"), on("dp", "START"), {}])),
            container("db", false, json!([on("web", "HEALTHY"), on("web", "start")])),
        ]}),
        expect![[r#"
            containerDefinitions[0].dependsOn[2].containerName is missing; it must be
                the name of another container
            containerDefinitions[0].dependsOn[2].condition is missing; it must be
                "START", "COMPLETE", "SUCCESS" or "HEALTHY"
            containerDefinitions[1].dependsOn[1].condition is "start", but must be
                "START", "COMPLETE", "SUCCESS" or "HEALTHY"
        "#]],
    );
    check_definition(
        json!({"family": "web", "containerDefinitions": [
            container("web", true, json!([on("db", "START"), on("dp", "START")])),
            container("db", false, json!([on("web", "SUCCESS"), on("web", "START")])),
        ]}),
        expect![[r#"
            containerDefinitions[0].dependsOn[1].containerName is "dp", which is not in
                containerDefinitions; correct it
            containerDefinitions[1].dependsOn[0].containerName waits for the end of
                "web", which is essential, so that its end ends the task; set its
                essential to false
            containerDefinitions[1].dependsOn[1].containerName repeats "web", which
                containerDefinitions[1].dependsOn[0].containerName has already; use each
                only once
            containers wait for one another: web for db for web; remove one dependsOn
        "#]],
    );
    check_definition(
        json!({"family": "web", "containerDefinitions": [
            container("web", true, json!([on("web", "START")])),
        ]}),
        expect![[r#"
            containers wait for one another: web for web; remove one dependsOn
        "#]],
    );
}
