//! Answers of a real engine that are lost, refused or garbled by a proxy, and an engine that goes.

use super::{proxy::Fault, story::Story};
use expect_test::expect;
use holdfast_core::{
    spec::task_definition::{PortMapping, Protocol},
    task::runtime::{FailureKind, RuntimeEvent},
    time::Span,
};
use std::net::TcpListener;

/// One container's life, in which the engine does all that is asked and its answers are lost to
/// such a fault: none of it counts as failed, and none of it is done twice.
async fn check_life(fault: fn() -> Fault) {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let create = story.create(1, "run");
    let arm = |parts: &[&str]| proxy.arm(parts, fault());
    let calls = [
        arm(&["POST /", "/containers/create?"]),
        arm(&["POST /", "/start"]),
        arm(&["POST /", "/stop"]),
        arm(&["DELETE /"]),
    ];
    let id = story.created(&create).await;
    assert_eq!(story.listed().await.len(), 1);
    story.started(&create, id).await;
    story.stop(&create, id, Span::ZERO);
    calls[2].over(1).await;
    assert!(story.exited(&create).await.code.is_some());
    story.remove(&create, id);
    calls[3].over(1).await;
    story.removed(&create).await;
    // What is told of the stop and the removal may come after the event stream told the same.
    story.stop(&create, id, Span::ZERO);
    story.exited(&create).await;
    assert_eq!(story.listed().await, []);
    for call in &calls {
        call.met(1).await;
    }
}

#[tokio::test]
async fn what_was_done_counts_as_done_though_the_answer_is_lost() {
    check_life(|| Fault::LoseReply).await;
}

#[tokio::test]
async fn what_was_done_counts_as_done_though_the_answer_is_garbled() {
    check_life(|| Fault::Alter(|_| r#"{"Id":5,"#.to_owned())).await;
}

/// It ran and ended before anybody could say so; asked again, Docker would run it a second time.
#[tokio::test]
async fn a_start_whose_answer_and_end_are_lost_is_not_made_again() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let create = story.create(1, "exit 7");
    let id = story.created(&create).await;
    let _no_end = proxy.arm(&["/events?"], Fault::Events(Box::new(|_| vec![])));
    let start = proxy.arm(&["POST /", "/start"], Fault::LoseReply);
    let look = proxy.arm(&["GET /", &format!("/{id}/json")], Fault::Hold);
    story.start(&create, id);
    look.met(1).await;
    story.ended(id).await;
    look.lift();
    let started = |event| match event {
        RuntimeEvent::Started { .. } => Ok(()),
        other => Err(other),
    };
    story.until("Started", started).await;
    assert_eq!(story.exited(&create).await.code, Some(7));
    start.lift();
    story.started(&create, id).await;
    assert_eq!(story.exited(&create).await.code, Some(7));
    start.met(1).await;
}

#[tokio::test]
async fn an_engine_that_refuses_is_asked_again_by_whoever_likes() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let unmade = story.create(1, "run");
    let (running, id) = story.running(2, "run").await;
    let busy = || Fault::Refuse(503, "");
    let calls = [
        proxy.arm(&["POST /", "/containers/create?"], busy()),
        proxy.arm(&["POST /", "/start"], busy()),
        proxy.arm(&["POST /", "/stop"], busy()),
        proxy.arm(&["DELETE /"], busy()),
        proxy.arm(&["GET /", "/containers/json?"], busy()),
    ];
    story.make(&unmade);
    story.stop(&running, id, Span::ZERO);
    story.remove(&running, id);
    expect![[r#"
        Transient CannotCreateContainerError: Docker answered with status 503 and no reason
        Transient CannotRemoveContainerError: Docker answered with status 503 and no reason
        Transient CannotStopContainerError: Docker answered with status 503 and no reason"#]]
    .assert_eq(&story.failures(3).await.join("\n"));
    story.list();
    calls[4].met(1).await;
    for call in &calls {
        call.lift();
    }
    assert_eq!(story.listed().await.len(), 1);
    story.stop(&running, id, Span::ZERO);
    story.exited(&running).await;
}

/// In the words of Docker 20.10 for a process that no signal ends.
#[tokio::test]
async fn what_docker_cannot_kill_is_not_called_stopped() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let (create, id) = story.running(1, "run").await;
    let refusal = "cannot stop container: web: tried to kill container, but did not receive an \
                   exit event";
    let stop = proxy.arm(&["POST /", "/stop"], Fault::Refuse(500, refusal));
    for _ in 0..2 {
        story.stop(&create, id, Span::ZERO);
        assert_eq!(
            story.failures(1).await,
            [format!("Transient CannotStopContainerError: {refusal}")]
        );
    }
    stop.lift();
    story.stop(&create, id, Span::ZERO);
    story.exited(&create).await;
}

/// In the words of Docker 20.10. What fills a disk may be gone in a moment; if not, the core has
/// tried for three seconds and goes elsewhere.
#[tokio::test]
async fn a_full_disk_says_what_to_do() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let refusal = "mkdir /var/lib/docker/overlay2/5e-init: no space left on device";
    let creation = proxy.arm(&["POST /", "/create?"], Fault::Refuse(500, refusal));
    let create = story.create(1, "run");
    let failure = story.create_failed(&create).await;
    assert_eq!(failure.kind, FailureKind::Transient);
    assert_eq!(
        failure.reason,
        "CannotCreateContainerError: mkdir /var/lib/docker/overlay2/5e-init: no space left on \
         device; free some where Docker keeps its data (see `docker system df`)"
    );
    creation.lift();
    story.created(&create).await;
}

#[tokio::test]
async fn a_host_port_that_a_foreign_program_has_is_named() {
    let Some(mut story) = Story::begin().await else {
        return;
    };
    let listener = TcpListener::bind("0.0.0.0:0").expect("some port is free");
    let port = listener.local_addr().expect("it has one").port();
    let mut create = story.create(1, "run");
    create.container.ports = vec![PortMapping::new(80, port, Protocol::Tcp)];
    let id = story.created(&create).await;
    story.start(&create, id);
    let failure = story.failures(1).await.remove(0);
    assert!(
        failure.starts_with("Permanent CannotStartContainerError: "),
        "{failure}"
    );
    assert!(failure.contains(&port.to_string()), "{failure}");
    assert!(
        failure.ends_with(
            "; take another host port, or end what has it (see `docker ps` and `ss -lnp`)"
        ),
        "{failure}"
    );
}

#[tokio::test]
async fn an_engine_that_goes_and_comes_back_fails_what_was_asked_meanwhile() {
    let Some((mut story, mut proxy)) = Story::behind_proxy().await else {
        return;
    };
    let (running, id) = story.running(1, "run").await;
    let (under_way, unmade) = (story.create(2, "run"), story.create(3, "run"));
    let held = proxy.arm(&["POST /", "/containers/create?"], Fault::Hold);
    story.make(&under_way);
    held.met(1).await;
    proxy.go_away().await;
    let reason = story.unavailable().await;
    assert!(reason.contains("event stream"), "{reason}");
    held.lift();
    story.make(&unmade);
    story.start(&running, id);
    story.stop(&running, id, Span::ZERO);
    story.remove(&running, id);
    let failures = story.failures(5).await;
    let unavailable = failures
        .iter()
        .filter(|failure| failure.ends_with("Error: Docker is unavailable"));
    assert_eq!(unavailable.count(), 4, "{failures:?}");
    let transient = failures
        .iter()
        .filter(|failure| failure.starts_with("Transient "));
    assert_eq!(transient.count(), 5, "{failures:?}");
    proxy.come_back();
    story.available().await;
    assert_eq!(story.listed().await.len(), 1);
    story.created(&under_way).await;
    story.stop(&running, id, Span::ZERO);
    story.exited(&running).await;
}

/// Podman's word while it clears up after a container's end, which our client library cannot read.
#[tokio::test]
async fn a_word_that_passes_is_waited_for() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let (create, id) = story.running(1, "exit 7").await;
    story.exited(&create).await;
    story.restart().await;
    let stopped = || Fault::Alter(|body| body.replace(r#":"exited""#, r#":"stopped""#));
    let inspection = proxy.arm(&["GET /", &format!("/{id}/json")], stopped());
    story.start(&create, id);
    inspection.met(2).await;
    inspection.lift();
    assert_eq!(
        story.exited(&create).await.code,
        Some(7),
        "it is not run again"
    );
    let list = proxy.arm(&["GET /", "/containers/json?"], stopped());
    story.list();
    list.met(2).await;
    list.lift();
    assert_eq!(story.listed().await.len(), 1);
}
