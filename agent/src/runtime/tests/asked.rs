//! What a definition may ask of a container, asked of a real Docker Engine: it takes all of it.

use super::story::Story;
use bollard::{models::ContainerInspectResponse, query_parameters::InspectContainerOptions};
use holdfast_core::{
    spec::{
        linux::{Device, DevicePermission, LinuxParameters, SystemControl, Tmpfs, Ulimit},
        task_definition::{Container, HostEntry, NetworkMode},
    },
    task::runtime::CreateContainer,
};
use serde_json::json;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Without an init process, which needs a program that not each Docker brings along.
pub(crate) fn demanding(base: CreateContainer) -> CreateContainer {
    let linux = LinuxParameters {
        capabilities_add: texts(&["NET_ADMIN"]),
        capabilities_drop: texts(&["ALL"]),
        devices: vec![Device {
            host_path: "/dev/zero".to_owned(),
            container_path: Some("/dev/naught".to_owned()),
            permissions: vec![DevicePermission::Read],
        }],
        init: Some(false),
        shared_memory_mib: Some(8),
        tmpfs: vec![Tmpfs {
            container_path: "/scratch".to_owned(),
            size_mib: 4,
            options: texts(&["noexec", "mode=1777"]),
        }],
        max_swap_mib: Some(16),
        swappiness: Some(10),
    };
    let container = Container {
        memory_mib: 64,
        memory_reservation_mib: Some(32),
        hostname: Some("web.local".to_owned()),
        user: Some("1000:1000".to_owned()),
        working_directory: Some("/work".to_owned()),
        dns_servers: texts(&["10.0.0.2"]),
        dns_search_domains: texts(&["corp.local"]),
        extra_hosts: vec![HostEntry {
            hostname: "db".to_owned(),
            address: "10.0.0.9".to_owned(),
        }],
        labels: [("team".to_owned(), "web".to_owned())].into(),
        security_options: texts(&["no-new-privileges", "seccomp:unconfined"]),
        interactive: Some(true),
        pseudo_terminal: Some(true),
        read_only_root: Some(true),
        privileged: Some(false),
        ulimits: vec![Ulimit {
            name: "nofile".to_owned(),
            soft: 512,
            hard: 1_024,
        }],
        system_controls: vec![SystemControl {
            namespace: "net.ipv4.ip_forward".to_owned(),
            value: "0".to_owned(),
        }],
        linux,
        ..base.container
    };
    CreateContainer { container, ..base }
}

async fn inspected(story: &Story, create: &CreateContainer) -> ContainerInspectResponse {
    let name = crate::runtime::labels::container_name(&create.labels);
    let found = story
        .client
        .inspect_container(&name, None::<InspectContainerOptions>);
    found.await.expect("it was made")
}

#[tokio::test]
async fn docker_takes_all_that_a_definition_can_ask_for() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mut create = demanding(story.create(1, "run"));
    // Else Podman sets this one to the highest there is, which not every root may do.
    create.container.ulimits.push(Ulimit {
        name: "nproc".to_owned(),
        soft: 256,
        hard: 512,
    });
    let id = story.created(&create).await;
    story.started(&create, id).await;
    let found = serde_json::to_value(inspected(&story, &create).await).expect("it is JSON");
    let host = |name: &str| found["HostConfig"][name].clone();
    assert_eq!(found["State"]["Running"], json!(true));
    assert_eq!(found["Config"]["Hostname"], json!("web.local"));
    assert_eq!(found["Config"]["User"], json!("1000:1000"));
    assert_eq!(found["Config"]["WorkingDir"], json!("/work"));
    assert_eq!(found["Config"]["Tty"], json!(true));
    assert_eq!(found["Config"]["Labels"]["team"], json!("web"));
    assert_eq!(host("MemoryReservation"), json!(32 * 1_024 * 1_024));
    assert_eq!(host("ReadonlyRootfs"), json!(true));
    assert_eq!(host("ExtraHosts"), json!(["db:10.0.0.9"]));
    // Podman adds its own options, and more of them.
    let tmpfs = host("Tmpfs")["/scratch"].as_str().map(str::to_owned);
    assert!(
        tmpfs.is_some_and(|options| options.starts_with("size=4m,noexec,mode=1777")),
        "{found}"
    );
    assert_eq!(host("ShmSize"), json!(8 * 1_024 * 1_024));
    let why = "it does not tell a device's permissions, and names each capability that was dropped";
    if story.skips_podman(why).await {
        return;
    }
    assert_eq!(host("Devices")[0]["CgroupPermissions"], json!("r"));
    assert_eq!(host("CapDrop"), json!(["ALL"]));
}

#[tokio::test]
async fn a_container_may_have_the_hosts_network_or_none() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    for (task, network) in [(1, NetworkMode::Host), (2, NetworkMode::None)] {
        let mut create = story.create(task, "run");
        create.shared.network = network;
        let id = story.created(&create).await;
        assert_eq!(story.started(&create, id).await, []);
        let found = inspected(&story, &create).await;
        let host = found.host_config.and_then(|host| host.network_mode);
        assert_eq!(host.as_deref(), Some(network.as_str()));
    }
}
