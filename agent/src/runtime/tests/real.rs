//! The runtime's contract, held against a real Docker Engine.
//!
//! Needs `HOLDFAST_TEST_DOCKER_IMAGE`, an image of `tests/e2e/workload`; skipped, loudly, without.

use super::story::Story;
use crate::runtime::{images::PullBehavior, labels, translate};
use bollard::{models::ContainerCreateBody, query_parameters::StopContainerOptionsBuilder};
use holdfast_core::{
    ids::RuntimeId,
    spec::task_definition::{PortMapping, Protocol},
    task::runtime::{Exit, FailureKind, ObservedStatus, RuntimeEvent},
    time::{Span, Wall},
};
use std::time::{Duration, Instant, SystemTime};

#[tokio::test]
async fn a_container_runs_ends_and_says_how() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let create = story.create(1, "exit 42");
    let id = story.created(&create).await;
    assert_eq!(
        story.created(&create).await,
        id,
        "making it again answers with the same one"
    );
    assert_eq!(story.started(&create, id).await, []);
    let exit = story.exited(&create).await;
    assert_eq!((exit.code, exit.out_of_memory), (Some(42), false));
    assert!(exit.at > Wall(1_600_000_000_000), "{exit:?}");
    story.started(&create, id).await;
    assert_eq!(
        story.exited(&create).await.code,
        Some(42),
        "a task runs once, and isn't run again"
    );
    story.remove(&create, id);
    story.removed(&create).await;
    story.remove(&create, id);
    story.removed(&create).await;
}

#[tokio::test]
async fn a_stop_asks_then_kills_and_is_content_with_what_is_gone() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let (polite, id) = story.running(1, "run").await;
    story.ready(id).await;
    story.stop(&polite, id, Span::from_secs(30));
    assert_eq!(story.exited(&polite).await.code, Some(0));
    story.stop(&polite, id, Span::from_secs(30));
    assert_eq!(story.exited(&polite).await.code, Some(0), "stopped already");

    let (stubborn, id) = story.running(2, "ignore-term").await;
    story.ready(id).await;
    let since = Instant::now();
    story.stop(&stubborn, id, Span::from_secs(1));
    assert_eq!(story.exited(&stubborn).await.code, Some(137));
    assert!(since.elapsed() >= Duration::from_secs(1));

    let never = story.create(3, "exit 0");
    let id = story.created(&never).await;
    story.stop(&never, id, Span::from_secs(1));
    assert_eq!(story.exited(&never).await.code, None, "it never ran");

    story.stop(&never, RuntimeId([0; 32]), Span::from_secs(1));
    assert_eq!(story.exited(&never).await.code, None, "gone");
}

#[tokio::test]
async fn a_container_killed_by_hand_is_told_at_once() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let (create, id) = story.running(1, "run").await;
    story.kill(id).await;
    assert_eq!(story.exited(&create).await.code, Some(137));
    story.remove_by_force(id).await;
    story.removed(&create).await;
}

/// Docker tells of a death before it takes down the network; a start beside that is slow.
#[tokio::test]
async fn a_start_right_after_a_death_waits_until_docker_has_cleared_up() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    if story.skips_podman("its events tell of no networks").await {
        return;
    }
    for round in 0..3 {
        let (old, old_id) = story.running(round * 2, "run").await;
        let new = story.create(round * 2 + 1, "run");
        let new_id = story.created(&new).await;
        let since = SystemTime::now();
        story.stop(&old, old_id, Span::ZERO);
        story.exited(&old).await;
        story.started(&new, new_id).await;
        let told = story.network_events(since).await;
        let order: Vec<(&str, bool)> = told
            .iter()
            .filter(|(_, id)| [old_id, new_id].contains(id))
            .map(|(action, id)| (action.as_str(), *id == new_id))
            .collect();
        assert_eq!(order, [("disconnect", false), ("connect", true)]);
    }
}

#[tokio::test]
async fn a_container_that_needs_too_much_memory_says_so() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mut create = story.create(1, "hoard");
    create.container.memory_mib = 8;
    let id = story.created(&create).await;
    story.start(&create, id);
    let exit = story.exited(&create).await;
    assert_eq!(exit.code, Some(137));
    // A busy Docker 20.10 may learn of it too late for its own inspection, or never.
    let inspected = story.client.inspect_container(&id.to_string(), None).await;
    let state = inspected.expect("it is there").state.unwrap_or_default();
    if state.oom_killed == Some(true) && !exit.out_of_memory {
        assert!(story.exited(&create).await.out_of_memory, "told once more");
    }
}

#[tokio::test]
async fn ports_are_told_and_a_port_in_use_is_permanent() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mapping = |host_port| PortMapping::new(80, host_port, Protocol::Tcp);
    let mut first = story.create(1, "run");
    first.container.ports = vec![mapping(0)];
    let id = story.created(&first).await;
    let ports = story.started(&first, id).await;
    // Docker 20.10 may choose another one for IPv6, which is not told.
    let [port] = ports[..] else {
        panic!("{ports:?}")
    };
    assert_eq!((port.container_port, port.protocol), (80, Protocol::Tcp));
    assert_eq!(
        story.started(&first, id).await,
        ports,
        "starting again tells the same"
    );

    let mut second = story.create(2, "run");
    second.container.ports = vec![mapping(port.host_port)];
    let id = story.created(&second).await;
    story.start(&second, id);
    let failed = |event| match event {
        RuntimeEvent::StartFailed { failure, .. } => Ok(failure),
        other => Err(other),
    };
    let failure = story.until("StartFailed", failed).await;
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure:?}");
    assert!(
        failure.reason.starts_with("CannotStartContainerError: "),
        "{failure:?}"
    );
    // The first by Docker, the second by Podman and by Docker of another's port.
    let said = ["port is already allocated", "address already in use"];
    assert!(
        said.iter().any(|words| failure.reason.contains(words)),
        "{failure:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_made_says_why_for_good() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let mut missing = story.create(1, "exit 0");
    missing.container.image = "holdfast-no-such-image:none".to_owned();
    let failure = story.create_failed(&missing).await;
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (
            FailureKind::Permanent,
            "CannotPullContainerError: no such image: holdfast-no-such-image:none; \
             pulling is switched off on this host"
        )
    );

    let mut no_command = story.create(2, "run");
    no_command.container.entry_point = vec!["/no/such/command".to_owned()];
    let id = story.created(&no_command).await;
    story.start(&no_command, id);
    let failed = |event| match event {
        RuntimeEvent::StartFailed { failure, .. } => Ok(failure),
        other => Err(other),
    };
    let failure = story.until("StartFailed", failed).await;
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure:?}");
}

#[tokio::test]
async fn a_pull_that_fails_is_told_in_ecs_words() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    story.config.images.behavior = PullBehavior::PreferCached;
    story.restart().await;
    let mut missing = story.create(1, "exit 0");
    // Port 1 of this very host: no registry, and no network is needed to find that out.
    missing.container.image = "localhost:1/holdfast/none:none".to_owned();
    let failure = story.create_failed(&missing).await;
    assert!(
        failure.reason.starts_with("CannotPullContainerError: "),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_foreign_container_is_never_touched() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let create = story.create(1, "exit 0");
    let name = labels::container_name(&create.labels);
    let foreign = story.foreign(&name).await;
    let failure = story.create_failed(&create).await;
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure:?}");
    assert!(
        failure.reason.contains(&foreign.short()),
        "it names the foreign one: {failure:?}"
    );
    assert_eq!(story.listed().await, []);

    story.remove(&create, foreign);
    let failed = |event| match event {
        RuntimeEvent::RemoveFailed { failure, .. } => Ok(failure),
        other => Err(other),
    };
    let failure = story.until("RemoveFailed", failed).await;
    assert!(failure.reason.contains("is left alone"), "{failure:?}");
    story
        .client
        .inspect_container(&foreign.to_string(), None)
        .await
        .expect("it is still there");
}

#[tokio::test]
async fn a_restarted_agent_finds_all_its_containers() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let created = story.create(1, "exit 0");
    story.created(&created).await;
    let (running, _) = story.running(2, "ignore-term").await;
    let (exited, _) = story.running(3, "exit 5").await;
    story.exited(&exited).await;
    let before = story.listed().await;

    story.restart().await;
    let mut after = story.listed().await;
    after.sort_by_key(|observed| observed.labels.task);
    let labels: Vec<_> = after.iter().map(|observed| &observed.labels).collect();
    assert_eq!(labels, [&created.labels, &running.labels, &exited.labels]);
    assert_eq!(after[0].status, ObservedStatus::Created);
    assert!(
        matches!(after[1].status, ObservedStatus::Running { .. }),
        "{after:?}"
    );
    assert!(
        matches!(
            after[2].status,
            ObservedStatus::Exited(Exit { code: Some(5), .. })
        ),
        "{after:?}"
    );
    assert_eq!(before.len(), after.len());

    let id = after[1].runtime_id;
    story.stop(&running, id, Span::ZERO);
    assert_eq!(
        story.exited(&running).await.code,
        Some(137),
        "what was found can be stopped"
    );
}

#[tokio::test]
async fn starting_costs_little_more_than_the_raw_calls() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    const ROUNDS: u128 = 10;
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let create = story.create(round, "run");
        let since = Instant::now();
        let id = story.created(&create).await;
        story.started(&create, id).await;
        ours.push(since.elapsed());
        story.stop(&create, id, Span::ZERO);
        story.exited(&create).await;

        let body = translate::translate(&create, Span::ZERO).expect("it has no mounts");
        let body = ContainerCreateBody {
            labels: None,
            ..body
        };
        let since = Instant::now();
        let made = story.client.create_container(None, body).await;
        let id = made.expect("Docker makes a container").id;
        story.foreign.push(id.clone());
        story
            .client
            .start_container(&id, None)
            .await
            .expect("it starts");
        raw.push(since.elapsed());
        // Stopped in the same way, so that both begin in the same calm.
        let now = StopContainerOptionsBuilder::new().t(0).build();
        let stopped = story.client.stop_container(&id, Some(now)).await;
        stopped.expect("it runs");
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    // Printed, not judged: a time on a loaded machine is luck.
    eprintln!(
        "create + start: ours {:?}, raw {:?}",
        median(&mut ours),
        median(&mut raw)
    );
}
