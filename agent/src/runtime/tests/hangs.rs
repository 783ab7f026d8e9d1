//! Calls that a real engine does not answer, or not in time, by the doing of a proxy.

use super::{
    proxy::{Armed, Fault, Proxy},
    story::Story,
};
use crate::runtime::labels::container_name;
use expect_test::expect;
use holdfast_core::{
    ids::RuntimeId,
    task::runtime::{CreateContainer, ObservedStatus},
    time::Span,
};
use std::{num::NonZero, thread::available_parallelism};

fn creation(of: &CreateContainer) -> String {
    format!("/containers/create?name={}", container_name(&of.labels))
}

fn call(of: RuntimeId, call: &str) -> String {
    format!("/containers/{of}{call}")
}

/// A create, a start, a stop and a removal that hang, each of another container.
async fn hang(story: &mut Story, proxy: &Proxy) -> [Armed; 4] {
    let unmade = story.create(1, "run");
    let created = story.create(2, "run");
    let created_id = story.created(&created).await;
    let (running, running_id) = story.running(3, "run").await;
    let (ended, ended_id) = story.running(4, "exit 0").await;
    story.exited(&ended).await;
    let hold = |method: &str, path: &str| proxy.arm(&[method, path], Fault::Hold);
    let held = [
        hold("POST /", &creation(&unmade)),
        hold("POST /", &call(created_id, "/start")),
        hold("POST /", &call(running_id, "/stop")),
        hold("DELETE /", &call(ended_id, "?")),
    ];
    story.make(&unmade);
    story.start(&created, created_id);
    story.stop(&running, running_id, Span::ZERO);
    story.remove(&ended, ended_id);
    for armed in &held {
        armed.met(1).await;
    }
    held
}

#[tokio::test]
async fn each_call_that_hangs_is_told_as_its_own_failure() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let held = hang(&mut story, &proxy).await;
    let failures = story.failures(4).await;
    let short = |failure: &String| failure.replace("Transient DockerTimeoutError: could not ", "");
    let failures: Vec<_> = failures.iter().map(short).collect();
    expect![[r#"
        create the container: no answer from Docker within 4 s
        remove the container: no answer from Docker within 2 s
        start the container: no answer from Docker within 4 s
        stop the container: no answer from Docker within 10 s"#]]
    .assert_eq(&failures.join("\n"));
    // Nor is one of them in the way of those who come when it hangs no longer.
    for armed in &held {
        armed.lift();
        armed.over(1).await;
    }
    let late = story.listed().await;
    let statuses: Vec<_> = late.iter().map(|one| word(&one.status)).collect();
    assert_eq!(statuses.len(), 3, "what was asked was done late: {late:?}");
    let made = story.create(1, "run");
    let id = story.created(&made).await;
    assert!(
        late.iter().any(|one| one.runtime_id == id),
        "asked for again, it is the one that was made late"
    );
}

fn word(status: &ObservedStatus) -> &'static str {
    match status {
        ObservedStatus::Created => "created",
        ObservedStatus::Running { .. } => "running",
        ObservedStatus::Exited(_) => "exited",
    }
}

/// They hang for two minutes here, far longer than the test waits.
#[tokio::test]
async fn calls_that_hang_hold_up_no_other_task() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let _held = hang(&mut story, &proxy).await;
    story.config.call_timeout = super::PATIENCE;
    story.restart().await;
    let _stuck = proxy.arm(&["POST /", "/create?name=holdfast-stuck"], Fault::Hold);
    let turns = available_parallelism().map_or(1, NonZero::get) * 2;
    for number in 0..turns * 30 {
        let mut stuck = story.create(100 + number as u128, "run");
        stuck.labels.family = "stuck".to_owned();
        story.make(&stuck);
    }
    let (create, id) = story.running(10, "run").await;
    story.stop(&create, id, Span::ZERO);
    story.exited(&create).await;
    story.remove(&create, id);
    story.removed(&create).await;
    story.listed().await;
}

/// An agent that was just started knows of no container whose it is, and asks.
#[tokio::test]
async fn an_inspection_that_hangs_fails_what_needs_it_and_no_comparison() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let (create, id) = story.running(1, "run").await;
    story.restart().await;
    let held = proxy.arm(&["GET /", &call(id, "/json")], Fault::Hold);
    story.start(&create, id);
    story.stop(&create, id, Span::ZERO);
    story.remove(&create, id);
    held.met(3).await;
    let reason = "Transient DockerTimeoutError: could not inspect the container: \
                  no answer from Docker within 2 s";
    assert_eq!(story.failures(3).await, [reason; 3]);
    let listed = story.listed().await;
    assert!(
        matches!(&listed[..], [one] if word(&one.status) == "running"),
        "by what the list itself says: {listed:?}"
    );
}

#[tokio::test]
async fn a_comparison_that_hangs_is_made_again() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    story.running(1, "run").await;
    let held = proxy.arm(&["GET /", "/containers/json?"], Fault::Hold);
    story.list();
    held.met(2).await;
    held.lift();
    assert_eq!(story.listed().await.len(), 1);
}

#[tokio::test]
async fn an_engine_that_accepts_and_does_not_answer_is_unavailable() {
    let Some((mut story, mut proxy)) = Story::behind_proxy().await else {
        return;
    };
    let held = proxy.arm(&["GET /version"], Fault::Hold);
    proxy.go_away().await;
    story.unavailable().await;
    proxy.come_back();
    held.met(1).await;
    let mut reason = story.unavailable().await;
    if reason.contains("refused") || reason.contains("no such socket") {
        reason = story.unavailable().await;
    }
    assert!(
        reason.ends_with(": no answer from Docker within 5 s"),
        "{reason}"
    );
    held.lift();
    story.available().await;
}
