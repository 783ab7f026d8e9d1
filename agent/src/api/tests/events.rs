//! Events in ECS's shapes, field by field as EventBridge documents them, and filters.

use super::board::{A, B, T0, WEB, board, condemn, digest, record, task, task_id, with_view};
use crate::api::events::{EventFilter, Format, dropped_json, ecs_json, event_json};
use expect_test::{ExpectFile, expect, expect_file};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key, TaskReport},
    },
    event::{
        Deployment, Event, EventId, Happening, HostChange, HostStanding, LossFate, Said,
        ServiceChange, ServiceNews, TaskChange, TaskLoss,
    },
    ids::{HostId, ServiceId, SlotIndex},
    task::status::{StopCode, TaskStatus},
    time::Wall,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(crate) fn event(sequence: u64, what: Happening) -> Event {
    Event {
        sequence,
        id: EventId(0x1234_5678_9abc_def0_u128 << 64 | u128::from(sequence)),
        at: Wall(T0.0 + 2_000),
        ours: true,
        what,
    }
}

fn service() -> Option<(ServiceId, String, SlotIndex)> {
    Some((WEB, "web".to_owned(), 0))
}

fn said(report: TaskReport) -> Said {
    Said::new(&record(
        Key::Task(A, task_id(1)),
        2,
        Some(Body::Task(report)),
    ))
}

fn stopped() -> Happening {
    let mut report = task(0, TaskStatus::Stopped);
    report.stop_code = Some(StopCode::EssentialContainerExited);
    report.stopped_reason = "essential container nginx exited with 3".into();
    report.stopped_at = Some(Wall(T0.0 + 2_000));
    report.containers[0].exit_code = Some(3);
    Happening::Task(TaskChange {
        task: task_id(1),
        host: A,
        service: service(),
        from: Some(TaskStatus::Running),
        to: TaskStatus::Stopped,
        stop_code: report.stop_code,
        reason: report.stopped_reason.to_string(),
        said: said(report),
    })
}

fn loss(fate: LossFate) -> Happening {
    Happening::Loss(TaskLoss {
        task: task_id(1),
        host: A,
        service: service(),
        last: TaskStatus::Running,
        fate,
        incarnation: 1,
        since: Wall(T0.0 + 1_500),
        reason: "its host is down: silent for 1020 ms, as 2 of its observers agree".to_owned(),
        said: said(task(0, TaskStatus::Running)),
    })
}

fn host(host: HostId, name: &str, now: HostStanding) -> Happening {
    Happening::Host(HostChange {
        host,
        name: name.to_owned(),
        now,
        since: Wall(T0.0 + 1),
        reason: "silent for 1020 ms, as 2 of its observers agree".to_owned(),
    })
}

fn of_service(news: ServiceNews, text: &str) -> Happening {
    Happening::Service(ServiceChange {
        service: WEB,
        name: "web".to_owned(),
        news,
        text: format!("(service web) {text}"),
    })
}

fn deployment() -> Deployment {
    Deployment {
        definition: digest(),
        renewals: 0,
    }
}

fn shaped(board: &Board, what: Happening) -> Option<Value> {
    with_view(board, |view| ecs_json(view, &event(7, what)))
}

fn check(board: &Board, what: Happening, expected: ExpectFile) -> Value {
    let shaped = shaped(board, what).expect("ECS has a shape for it");
    expected.assert_eq(&format!("{shaped:#}\n"));
    shaped
}

/// The names of what the documentation's example has that is not in ours.
fn lacking(ours: &Value, documented: &[&str]) -> String {
    let names = |value: &Value| -> BTreeSet<String> {
        let object = value.as_object().expect("it is an object");
        object.keys().cloned().collect()
    };
    let (envelope, detail) = (names(ours), names(&ours["detail"]));
    let lacking = documented.iter().filter(|name| !detail.contains(**name));
    let lacking: Vec<_> = lacking.copied().collect();
    // "Events and Event Patterns", EventBridge User Guide: always these.
    let always = [
        "account",
        "detail",
        "detail-type",
        "id",
        "region",
        "resources",
        "source",
        "time",
        "version",
    ];
    assert_eq!(envelope, always.map(str::to_owned).into());
    lacking.join(" ")
}

#[test]
fn a_task_that_stopped_is_told_as_ecs_tells_it() {
    let shaped = check(
        &board(),
        stopped(),
        expect_file!["snapshots/event_task.json"],
    );
    // The example of the Developer Guide, "Amazon ECS task state change events".
    let documented = [
        "attachments",
        "availabilityZone",
        "clusterArn",
        "containers",
        "createdAt",
        "launchType",
        "cpu",
        "memory",
        "desiredStatus",
        "group",
        "lastStatus",
        "overrides",
        "connectivity",
        "connectivityAt",
        "pullStartedAt",
        "startedAt",
        "pullStoppedAt",
        "updatedAt",
        "taskArn",
        "taskDefinitionArn",
        "version",
        "platformVersion",
    ];
    // Fargate has platforms; of the rest a board knows nothing.
    expect![["connectivityAt pullStartedAt pullStoppedAt platformVersion"]]
        .assert_eq(&lacking(&shaped, &documented));
}

#[test]
fn a_task_that_is_lost_with_its_host_is_stopped_and_one_that_is_back_runs_later() {
    let mut board = board();
    condemn(&mut board, A);
    let lost = check(
        &board,
        loss(LossFate::Lost),
        expect_file!["snapshots/event_lost.json"],
    );
    let found = shaped(&board, loss(LossFate::Found)).expect("it is a task's");
    assert_eq!(found["detail"]["lastStatus"], "RUNNING");
    let version = |shaped: &Value| shaped["detail"]["version"].as_u64();
    let Happening::Loss(later) = loss(LossFate::Found) else {
        unreachable!("it is one")
    };
    let later = TaskLoss {
        since: Wall(T0.0 + 1_501),
        ..later
    };
    let later = shaped(&board, Happening::Loss(later)).expect("it is a task's");
    assert!(
        version(&lost) < version(&later),
        "a millisecond later it counts more"
    );
    assert_eq!(version(&found), Some(1_500 * 8 + 4));
}

#[test]
fn hosts_are_told_as_container_instances() {
    let mut board = board();
    condemn(&mut board, B);
    let down = host(B, "beta", HostStanding::Down);
    let shaped = check(&board, down, expect_file!["snapshots/event_host.json"]);
    let documented = [
        "agentConnected",
        "attributes",
        "clusterArn",
        "containerInstanceArn",
        "ec2InstanceId",
        "registeredResources",
        "remainingResources",
        "status",
        "version",
        "versionInfo",
        "updatedAt",
    ];
    expect![[""]].assert_eq(&lacking(&shaped, &documented));
    let gone = host(HostId(0xcc << 120), "gamma", HostStanding::Forgotten);
    check(&board, gone, expect_file!["snapshots/event_forgotten.json"]);
}

#[test]
fn deployments_and_services_are_told_and_what_ecs_has_no_word_for_is_not() {
    let board = board();
    let begins = of_service(ServiceNews::Deploys(deployment()), "is to run web:1");
    let done = of_service(ServiceNews::Deployed(deployment()), "is deployed");
    let steady = of_service(ServiceNews::Steady, "has reached a steady state.");
    let failure = of_service(
        ServiceNews::NotPlaced,
        "was unable to place slot 2: no host",
    );
    let shaped = [begins, done, steady, failure].map(|what| shaped(&board, what).unwrap());
    let text: Vec<_> = shaped.iter().map(|event| format!("{event:#}\n")).collect();
    expect_file!["snapshots/event_service.json"].assert_eq(&text.concat());
    let deployed = [
        "eventType",
        "eventName",
        "deploymentId",
        "updatedAt",
        "reason",
    ];
    assert_eq!(lacking(&shaped[0], &deployed), "");
    let action = ["eventType", "eventName", "clusterArn", "createdAt"];
    assert_eq!(lacking(&shaped[2], &action), "");
    for news in [
        ServiceNews::Created,
        ServiceNews::Deleted,
        ServiceNews::Placed,
        ServiceNews::Schedule,
    ] {
        assert_eq!(self::shaped(&board, of_service(news, "x")), None);
    }
}

#[test]
fn a_gap_says_how_many_events_of_when_are_missing() {
    let gap = with_view(&board(), |view| {
        dropped_json(view.context, ("0-1", 12), (T0, Wall(T0.0 + 60_000)))
    });
    expect_file!["snapshots/event_dropped.json"].assert_eq(&format!("{gap:#}\n"));
}

#[test]
fn plain_events_say_that_a_task_is_lost_and_found() {
    let told = [loss(LossFate::Lost), loss(LossFate::Found), stopped()];
    let told = told.map(|what| event_json(&event(3, what)).to_string());
    expect_file!["snapshots/event_plain.txt"].assert_eq(&told.join("\n"));
}

/// In our own words, and found by its name; ECS has no schedules.
#[test]
fn what_a_schedule_does_is_told_as_of_its_own() {
    let board = board();
    let begun = Happening::Service(ServiceChange {
        service: WEB,
        name: "schedule/nightly".to_owned(),
        news: ServiceNews::Schedule,
        text: "(schedule nightly) has begun (run 3f2a)".to_owned(),
    });
    assert_eq!(shaped(&board, begun.clone()), None);
    let event = event(3, begun);
    let told = event_json(&event);
    assert_eq!(
        (&told["kind"], &told["service"]),
        (&json!("service"), &json!("schedule/nightly"))
    );
    for (query, expected) in [
        ("service=schedule/nightly", true),
        ("service=nightly", false),
    ] {
        let filter = read(&board, query).expect("it is a good one");
        assert_eq!(filter.matches(&event), expected, "{query}");
    }
}

fn read(board: &Board, query: &str) -> Result<EventFilter, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let pairs = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    with_view(board, |view| EventFilter::read(view, &pairs)).map_err(|err| err.to_string())
}

#[test]
fn filters_choose_by_service_task_host_and_kind() {
    let board = board();
    let events = [
        stopped(),
        loss(LossFate::Lost),
        host(A, "alpha", HostStanding::Up),
        host(B, "beta", HostStanding::Up),
        of_service(ServiceNews::Created, "was created"),
        of_service(ServiceNews::Deploys(deployment()), "is to run web:1"),
    ];
    let events: Vec<_> = (1..).zip(events).map(|(n, what)| event(n, what)).collect();
    let mut lines = Vec::new();
    for query in [
        "",
        "service=web",
        "service=other",
        "task=aaaa",
        "task=bbbb",
        "host=alpha",
        "host=beta",
        "kind=task",
        "kind=host",
        "kind=service",
        "kind=deployment",
        "service=web&kind=task",
        "host=alpha&kind=host",
        "host=gamma",
        "kind=thing",
        "format=xml",
        "service=arn:aws:ecs:eu-central-1:000000000000:service/shop/web&kind=deployment",
    ] {
        let chosen = match read(&board, query) {
            Ok(filter) => {
                let chosen = events.iter().filter(|event| filter.matches(event));
                let chosen: Vec<_> = chosen.map(|event| event.sequence.to_string()).collect();
                chosen.join(" ")
            }
            Err(err) => err,
        };
        lines.push(format!("{query:24} {chosen}"));
    }
    expect_file!["snapshots/event_filters.txt"].assert_eq(&lines.join("\n"));
    assert_eq!(
        read(&board, "format=ecs").map(|filter| filter.format),
        Ok(Format::Ecs)
    );
}
