//! What containers of a task share and take from one another, and what is checked of them.

use super::{PATIENCE, config, story::Story};
use crate::runtime::DockerConfig;
use bollard::query_parameters::InspectContainerOptions;
use expect_test::expect;
use holdfast_core::{
    spec::{
        health::{HealthCheck, NetProbe, Probe},
        task_definition::{
            Link, Mount, Namespace, NetworkMode, PortMapping, Protocol, RestartPolicy,
            TaskDefinition, VolumesFrom,
        },
        volume::{DockerVolume, Volume, VolumeSource},
    },
    task::{
        checkup::CheckKind,
        pause::{PAUSE, pause},
        runtime::{CreateContainer, FailureKind, RuntimeCommand, RuntimeEvent},
        status::Health,
    },
    time::Span,
};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};
use tokio::time::timeout;

/// Another container of the same task.
pub(super) fn sibling(base: &CreateContainer, name: &str, words: &[&str]) -> CreateContainer {
    let mut other = base.clone();
    (other.labels.container, other.container.name) = (name.to_owned(), name.to_owned());
    other.container.command = words.iter().map(|word| (*word).to_owned()).collect();
    other
}

fn serving(mut create: CreateContainer, port: u16) -> CreateContainer {
    let environment = &mut create.container.environment;
    environment.insert("PORT".to_owned(), port.to_string());
    create
}

async fn inspected(story: &Story, create: &CreateContainer) -> Value {
    let name = crate::runtime::labels::container_name(&create.labels);
    let options = None::<InspectContainerOptions>;
    let found = story.client.inspect_container(&name, options).await;
    serde_json::to_value(found.expect("it was made")).expect("it is JSON")
}

#[tokio::test]
async fn containers_that_share_a_network_meet_on_localhost() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mut web = serving(story.create(1, "run"), 8_080);
    (web.shared.network, web.shared.pid) = (NetworkMode::Task, Some(Namespace::Task));
    web.shared.ipc = Some(Namespace::Task);
    web.container.ports = vec![PortMapping::new(8_080, 0, Protocol::Tcp)];
    let definition = TaskDefinition {
        network: NetworkMode::Task,
        containers: vec![web.container.clone()],
        ..TaskDefinition::default()
    };
    let mut holder = sibling(&web, PAUSE, &[]);
    holder.container = pause(&definition).expect("the network is shared");
    let id = story.created(&holder).await;
    let ports = story.started(&holder, id).await;
    assert!(!ports.is_empty(), "the holder of the network has the ports");
    let id = story.created(&web).await;
    let ports_of_web = story.started(&web, id).await;
    // Podman tells the holder's ports of each that shares them.
    if !story.is_podman().await {
        assert_eq!(ports_of_web, []);
    }
    story.ready(id).await;

    let check = serving(sibling(&web, "check", &["check", "/health"]), 8_080);
    let id = story.created(&check).await;
    story.started(&check, id).await;
    assert_eq!(story.exited(&check).await.code, Some(0));
    let host = inspected(&story, &check).await["HostConfig"].clone();
    assert_eq!(host["NetworkMode"], host["PidMode"]);
    assert_eq!(host["NetworkMode"], host["IpcMode"]);

    // From outside it is reached where its network is.
    let outcome = story.checked(&web, Some("/health")).await;
    assert_eq!(outcome, Ok(()));
}

#[tokio::test]
async fn a_check_from_outside_needs_nothing_in_the_image() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let web = serving(story.create(1, "run"), 8_080);
    let id = story.created(&web).await;
    story.started(&web, id).await;
    story.ready(id).await;
    assert_eq!(story.checked(&web, None).await, Ok(()));
    assert_eq!(story.checked(&web, Some("/health")).await, Ok(()));
    let missing = story.checked(&web, Some("/nowhere")).await;
    let missing = missing.expect_err("there is no such page");
    assert!(
        missing.contains("GET /nowhere at port 8080 answers 404"),
        "{missing}"
    );

    let silent = story.create(2, "run");
    let id = story.created(&silent).await;
    story.started(&silent, id).await;
    let refused = story
        .checked(&silent, None)
        .await
        .expect_err("nobody listens");
    assert!(
        refused.contains("port 8080: Connection refused"),
        "{refused}"
    );
}

fn every_second(words: &[&str]) -> HealthCheck {
    HealthCheck {
        probe: Probe::Command {
            shell: false,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        },
        interval_s: 1,
        timeout_s: 5,
        retries: 1,
        start_period_s: None,
    }
}

#[tokio::test]
async fn dockers_own_checks_are_told_with_what_they_said() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    if story.skips_podman("systemd runs its checks").await {
        return;
    }
    let health = |event| match event {
        RuntimeEvent::Health { health, detail, .. } => Ok((health, detail)),
        other => Err(other),
    };
    let mut well = serving(story.create(1, "run"), 8_080);
    well.container.health_check = Some(every_second(&["/workload", "check", "/health"]));
    let id = story.created(&well).await;
    story.started(&well, id).await;
    let (found, _) = story.until("Health", health).await;
    assert_eq!(found, Health::Healthy);
    let listed = story.listed().await;
    assert!(
        format!("{listed:?}").contains("health: Healthy"),
        "{listed:?}"
    );

    let mut ill = story.create(2, "run");
    ill.container.health_check = Some(every_second(&["/workload", "exit", "3"]));
    let id = story.created(&ill).await;
    story.started(&ill, id).await;
    let (found, detail) = story.until("Health", health).await;
    assert_eq!(found, Health::Unhealthy);
    assert!(detail.contains("its check exited with 3"), "{detail}");
}

#[tokio::test]
async fn an_end_that_is_to_be_made_good_is_made_good_once() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mut create = story.create(1, "exit 3 after 1500");
    create.container.restart = Some(RestartPolicy {
        enabled: true,
        ignored_exit_codes: vec![],
        attempt_period_s: Some(0),
    });
    let id = story.created(&create).await;
    story.started(&create, id).await;
    let first = story.exited(&create).await;
    story.start_after(&create, id, Some(first.at));
    let second = story.later_exit(&create, first.at).await;
    assert_eq!(second.code, Some(3));
    // That one has been made good already.
    story.start_after(&create, id, Some(first.at));
    assert_eq!(story.exited(&create).await.at, second.at);
    assert_eq!(
        inspected(&story, &create).await["State"]["Running"],
        json!(false)
    );
}

#[tokio::test]
async fn what_a_container_wrote_last_can_be_read_when_it_has_ended() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let (create, id) = story.running(1, "run").await;
    story.ready(id).await;
    story.kill(id).await;
    story.exited(&create).await;
    story.docker.carry_out(RuntimeCommand::ReadLog {
        task: create.labels.task,
        container: create.labels.container.clone(),
        runtime_id: id,
    });
    let words = |event| match event {
        RuntimeEvent::LastWords { text, .. } => Ok(text),
        other => Err(other),
    };
    let text = story.until("LastWords", words).await;
    assert!(text.contains("run"), "{text}");
}

#[tokio::test]
async fn volumes_are_there_for_a_task_and_gone_with_it() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mut web = story.create(1, "run");
    // Podman takes a size for a quota of its own directory.
    let options = ["size=1m", "mode=1770"][usize::from(story.is_podman().await)];
    let docker = DockerVolume {
        driver: Some("local".to_owned()),
        driver_options: [("type", "tmpfs"), ("device", "tmpfs"), ("o", options)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        labels: [("team".to_owned(), "web".to_owned())].into(),
        ..DockerVolume::default()
    };
    for (name, source) in [
        ("scratch", VolumeSource::Scratch),
        ("memory", VolumeSource::Docker(docker)),
    ] {
        let name = name.to_owned();
        web.container.mounts.push(Mount {
            source_volume: name.clone(),
            container_path: format!("/{name}"),
            read_only: false,
        });
        web.volumes.push(Volume { name, source });
    }
    let mut other = sibling(&web, "other", &["run"]);
    other.container.mounts.clear();
    other.container.volumes_from = vec![VolumesFrom {
        container: "web".to_owned(),
        read_only: true,
    }];
    let (web_id, other_id) = (story.created(&web).await, story.created(&other).await);
    story.started(&web, web_id).await;
    story.started(&other, other_id).await;
    let mounts = inspected(&story, &other).await["Mounts"].clone();
    assert_eq!(mounts.as_array().map(Vec::len), Some(2), "{mounts}");
    assert_eq!(story.volumes().await.len(), 2);
    for (create, id) in [(&web, web_id), (&other, other_id)] {
        story.stop(create, id, Span::ZERO);
        story.exited(create).await;
        story.remove(create, id);
        story.removed(create).await;
    }
    let none_left = async || story.volumes().await.is_empty();
    story.until_cleared("no volume is left", none_left).await;

    let mut shared = story.create(2, "run");
    shared.container.mounts = web.container.mounts[..1].to_vec();
    shared.volumes = vec![Volume {
        name: "scratch".to_owned(),
        source: VolumeSource::Docker(DockerVolume {
            is_shared: true,
            ..DockerVolume::default()
        }),
    }];
    let failure = story.create_failed(&shared).await;
    assert!(
        failure.reason.contains("there is no volume scratch"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_link_leads_to_the_other_container() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    if story.skips_podman("it has no links, and says so").await {
        return;
    }
    let db = sibling(&story.create(1, "run"), "db", &["run"]);
    let id = story.created(&db).await;
    story.started(&db, id).await;
    let mut web = sibling(&db, "web", &["run"]);
    web.container.links = vec![Link {
        container: "db".to_owned(),
        alias: Some("store".to_owned()),
    }];
    let id = story.created(&web).await;
    story.started(&web, id).await;
    let hosts = inspected(&story, &web).await["HostsPath"].clone();
    let hosts = hosts
        .as_str()
        .and_then(|path| fs::read_to_string(path).ok());
    let hosts = hosts.expect("Docker's files can be read here");
    assert!(hosts.contains("store"), "{hosts}");
}

/// What was in use for a moment longer goes with a comparison. Each is heard: what it has found is
/// told before it clears up, and waits for who listens.
async fn goes(story: &mut Story, group: &str) {
    let gone = async {
        while Path::new(group).exists() {
            story.list();
            story.listed().await;
        }
    };
    let within = timeout(PATIENCE, gone).await;
    assert!(within.is_ok(), "{group} is gone within {PATIENCE:?}");
}

#[tokio::test]
async fn a_task_is_limited_as_a_whole() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("SKIPPED: this looks where control groups of version 1 are");
        return;
    }
    let mut hoard = story.create(1, "hoard");
    (hoard.shared.memory_mib, hoard.shared.cpu) = (Some(32), Some(256));
    let id = story.created(&hoard).await;
    story.started(&hoard, id).await;
    let quota = format!(
        "/sys/fs/cgroup/cpu/holdfast/{}/cpu.cfs_quota_us",
        hoard.labels.task
    );
    assert_eq!(
        fs::read_to_string(quota).expect("it is there").trim(),
        "25000"
    );
    let exit = story.exited(&hoard).await;
    assert_eq!(exit.code, Some(137));
    story.remove(&hoard, id);
    story.removed(&hoard).await;
    let left = format!("/sys/fs/cgroup/memory/holdfast/{}", hoard.labels.task);
    goes(&mut story, &left).await;
}

#[tokio::test]
async fn a_task_has_no_more_processes_than_its_host_allows() {
    let limited = DockerConfig {
        task_pids_limit: Some(100),
        ..config()
    };
    let Some(mut story) = Story::with(limited).await else {
        return;
    };
    let alone = story.create(1, "run");
    let id = story.created(&alone).await;
    story.started(&alone, id).await;
    let host = inspected(&story, &alone).await["HostConfig"].clone();
    assert_eq!(host["PidsLimit"], json!(100));

    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("SKIPPED: this looks where control groups of version 1 are");
        return;
    }
    let mut web = story.create(2, "run");
    web.shared.memory_mib = Some(32);
    let other = sibling(&web, "other", &["run"]);
    let ids = [story.created(&web).await, story.created(&other).await];
    let both = [(&web, ids[0]), (&other, ids[1])];
    for (create, id) in both {
        story.started(create, id).await;
    }
    let group = format!("/sys/fs/cgroup/pids/holdfast/{}", web.labels.task);
    let read = |file: &str| fs::read_to_string(format!("{group}/{file}")).expect("it is there");
    assert_eq!(read("pids.max").trim(), "100");
    let running: u32 = read("pids.current").trim().parse().expect("it is a number");
    assert!(running >= 2, "both containers count there, not {running}");
    // The limit is that of the group, not of each.
    let host = inspected(&story, &web).await["HostConfig"].clone();
    assert_ne!(host["PidsLimit"], json!(100));
    for (create, id) in both {
        story.stop(create, id, Span::ZERO);
        story.exited(create).await;
        story.remove(create, id);
        story.removed(create).await;
    }
    goes(&mut story, &group).await;
}

#[tokio::test]
async fn a_gpu_that_docker_cannot_give_is_refused_with_what_to_do() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mut create = story.create(1, "run");
    create.gpus = ["GPU-8f6d4c1e".parse().expect("it is an id")].into();
    if story.is_podman().await {
        let failure = story.create_failed(&create).await;
        assert_eq!(failure.kind, FailureKind::Permanent);
        return assert!(
            failure.reason.contains("Podman leaves out GPUs"),
            "{failure:?}"
        );
    }
    let info = story.client.info().await.expect("the engine answers");
    if info
        .runtimes
        .is_some_and(|runtimes| runtimes.contains_key("nvidia"))
    {
        eprintln!("SKIPPED: this Docker has NVIDIA's container toolkit");
        return;
    }
    let id = story.created(&create).await;
    story.start(&create, id);
    let failures = story.failures(1).await;
    expect![[
        "Permanent CannotStartContainerError: could not select device driver \"nvidia\" with \
         capabilities: [[gpu]]; install NVIDIA's container toolkit on this host and restart \
         Docker, or set `gpus` of its agent to \"off\""
    ]]
    .assert_eq(&failures[0]);
}

impl Story {
    /// What comes of asking port 8080 of the container.
    async fn checked(
        &mut self,
        create: &CreateContainer,
        path: Option<&str>,
    ) -> Result<(), String> {
        let name = crate::runtime::labels::container_name(&create.labels);
        let options = None::<InspectContainerOptions>;
        let found = self.client.inspect_container(&name, options).await;
        let id = found.expect("it was made").id.unwrap_or_default();
        self.docker.carry_out(RuntimeCommand::Check {
            task: create.labels.task,
            container: create.labels.container.clone(),
            runtime_id: id.parse().expect("Docker's ids are ids"),
            kind: CheckKind::Liveness,
            probe: NetProbe {
                port: 8_080,
                path: path.map(str::to_owned),
            },
            timeout: Span::from_secs(PATIENCE.min(Duration::from_secs(10)).as_secs()),
        });
        let checked = |event| match event {
            RuntimeEvent::Checked { outcome, .. } => Ok(outcome),
            other => Err(other),
        };
        self.until("Checked", checked).await
    }
}
