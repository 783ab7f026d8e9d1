//! Lifecycle events as a receiver outside of the cluster gets them.

use e2e::{
    crew,
    fleet::{Fleet, PATIENCE},
    host::Host,
    receiver::{Receiver, is_signed},
    wait::{secs, until},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
};

const SECRET: &str = "a secret that only this test has";

fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_of_task(event: &Value) -> bool {
    text(event, "/detail-type") == "ECS Task State Change"
}

/// By the end of its ARN.
fn task_of(event: &Value) -> String {
    let arn = text(event, "/detail/taskArn");
    arn.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Each event once, in the order of its first coming, and how often others came.
fn once(events: &[Value]) -> (Vec<Value>, usize) {
    let mut ids = BTreeSet::new();
    let first = events
        .iter()
        .filter(|event| ids.insert(text(event, "/id").to_owned()));
    let first: Vec<Value> = first.cloned().collect();
    let repeats = events.len() - first.len();
    (first, repeats)
}

/// What became of each task, in the order in which it was told.
fn statuses(events: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut statuses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for event in events.iter().filter(|event| is_of_task(event)) {
        let task = task_of(event);
        let version = event["detail"]["version"].as_u64().expect("it counts up");
        let before = versions.insert(task.clone(), version);
        assert!(before < Some(version), "{before:?} before {event:#}");
        let status = text(event, "/detail/lastStatus").to_owned();
        statuses.entry(task).or_default().push(status);
    }
    statuses
}

fn sink(host: &Host) -> Value {
    host.look("/v1/status")["events"]["sinks"][0].clone()
}

fn await_empty(host: &Host) {
    until("all events are delivered", secs(90), || {
        let sink = sink(host);
        match sink["pending"].as_u64() == Some(0) && sink["lastError"].is_null() {
            true => Ok(()),
            false => Err(format!("{sink:#}")),
        }
    });
}

/// Where all hosts post to, signed.
fn listen(fleet: &mut Fleet, hosts: usize, status: u16) -> Receiver {
    let receiver = Receiver::start(status);
    let secret = fleet.place.dir.join("webhook.secret");
    fs::write(&secret, format!("{SECRET}\n")).expect("the directory is ours");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("it is ours");
    for _ in 0..hosts {
        let host = fleet.add();
        host.set("event-webhook", &receiver.url());
        host.set("event-webhook-secret-file", &secret.display().to_string());
        // A lost agent is a lost host here: they share a machine, which answers.
        host.set("impaired-grace-s", "0");
    }
    receiver
}

#[test]
fn no_event_is_lost_while_the_receiver_is_down_and_the_agent_is_killed() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    let receiver = listen(&mut fleet, 1, 503);
    fleet.start_all();
    fleet.create_service("web", 3);
    fleet.await_count("web", 3);
    until("it was tried in vain", PATIENCE, || {
        match receiver.refused() {
            0 | 1 => Err("not twice".to_owned()),
            _ => Ok(()),
        }
    });
    let host = &fleet.hosts[0];
    until("what waits is shown, and why", PATIENCE, || {
        let sink = sink(host);
        let pending = sink["pending"].as_u64().unwrap_or(0);
        let error = text(&sink, "/lastError").to_owned();
        // Two of each task at least.
        match pending >= 6 && error.contains("503") {
            true => Ok(()),
            false => Err(format!("{sink:#}")),
        }
    });
    let shown = host.cli_ok(&["status"]);
    assert!(
        shown.contains("webhook: ") && shown.contains("wait: it answered 503"),
        "{shown}"
    );

    fleet.hosts[0].kill();
    assert_eq!(
        receiver.events(),
        Vec::<Value>::new(),
        "nothing was taken so far"
    );
    fleet.start_all();
    fleet.scale("web", 2);
    fleet.await_count("web", 2);
    receiver.answer(200);
    await_empty(&fleet.hosts[0]);

    check_told(&receiver);
}

/// All that happened in the life of three tasks of which one was stopped.
fn check_told(receiver: &Receiver) {
    for post in receiver.posts() {
        assert_eq!(is_signed(SECRET, &post), Ok(()));
    }
    let (events, _) = once(&receiver.events());
    let statuses = statuses(&events);
    assert_eq!(statuses.len(), 3, "{statuses:#?}");
    let stopped = statuses
        .values()
        .filter(|told| told.iter().any(|s| s == "STOPPED"));
    assert_eq!(stopped.count(), 1);
    for told in statuses.values() {
        assert_eq!(
            told.iter().filter(|s| *s == "RUNNING").count(),
            1,
            "{told:?}"
        );
    }
    let named = |name: &str| {
        let named = events
            .iter()
            .filter(|event| text(event, "/detail/eventName") == name);
        named.count()
    };
    assert_eq!(named("SERVICE_DEPLOYMENT_IN_PROGRESS"), 1);
    assert_eq!(named("SERVICE_DEPLOYMENT_COMPLETED"), 1);
    assert!(named("SERVICE_STEADY_STATE") >= 1);
    // What nobody tells of is not told: the log has no gap either.
    assert!(
        !events
            .iter()
            .any(|event| text(event, "/source") != "aws.ecs")
    );
}

fn await_not_connected(receiver: &Receiver, lost: &str) {
    until("its agent is told not connected", PATIENCE, || {
        let events = receiver.events();
        let told = events.iter().any(|event| {
            text(event, "/detail-type") == "ECS Container Instance State Change"
                && text(event, "/detail/containerInstanceArn").ends_with(lost)
                && event["detail"]["agentConnected"] == Value::Bool(false)
        });
        if told {
            Ok(())
        } else {
            Err("nobody told it".to_owned())
        }
    });
}

#[test]
fn a_lost_host_is_told_of_once_by_the_other_and_again_when_it_is_back() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    let receiver = listen(&mut fleet, 2, 200);
    fleet.start_all();
    fleet.create_service("web", 2);
    fleet.await_count("web", 2);
    let (lost, left) = (fleet.hosts[1].id(), fleet.hosts[0].id());
    let tasks = crew::tasks_of(&fleet.hosts[0], "web", "RUNNING");
    let on = |host: &str| -> Vec<String> {
        let here = tasks
            .iter()
            .filter(|task| text(task, "/containerInstanceArn").ends_with(host));
        here.map(|task| text(task, "/taskArn").to_owned()).collect()
    };
    let (gone, stays) = (on(&lost), on(&left));
    assert_eq!((gone.len(), stays.len()), (1, 1), "one on each: {tasks:#?}");
    fleet.hosts[1].kill();
    let of_gone = |events: &[Value], status: &str| -> Vec<Value> {
        let told = events.iter().filter(|event| {
            text(event, "/detail/taskArn") == gone[0] && text(event, "/detail/lastStatus") == status
        });
        told.cloned().collect()
    };
    until("its task is told STOPPED", PATIENCE, || {
        match of_gone(&receiver.events(), "STOPPED").as_slice() {
            [] => Err("nobody told it".to_owned()),
            [one] if text(one, "/detail/stopCode") == "TerminationNotice" => Ok(()),
            told => Err(format!("{told:#?}")),
        }
    });
    await_not_connected(&receiver, &lost);
    let last = |told: &[Value]| {
        told.iter()
            .filter_map(|e| e["detail"]["version"].as_u64())
            .max()
    };
    let before = last(&of_gone(&receiver.events(), "STOPPED"));

    fleet.start_all();
    until(
        "it is told that its task is there after all, or has ended since",
        PATIENCE,
        || {
            let events = receiver.events();
            let told = [of_gone(&events, "RUNNING"), of_gone(&events, "STOPPED")].concat();
            match last(&told) > before {
                true => Ok(()),
                false => Err(format!("{before:?}: {told:#?}")),
            }
        },
    );
    fleet.await_count("web", 2);
    await_empty(&fleet.hosts[0]);
    await_empty(&fleet.hosts[1]);
}

#[test]
fn events_are_filtered_and_shown_in_ecs_shapes_on_any_host() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    fleet.create_service("web", 2);
    fleet.create_service("other", 1);
    fleet.await_count("web", 2);
    fleet.await_count("other", 1);
    let host = &fleet.hosts[0];
    let path = "/v1/events?follow=false&format=ecs&service=web&kind=task";
    until("both have told that they run", PATIENCE, || {
        let kept = host.look(path);
        let events = kept["events"].as_array().cloned().unwrap_or_default();
        let runs = events
            .iter()
            .filter(|e| text(e, "/detail/lastStatus") == "RUNNING");
        match runs.count() {
            2 if events.iter().all(is_of_task) => Ok(()),
            _ => Err(format!("{kept:#}")),
        }
    });
    let shown = host.cli_ok(&["events", "--service", "web", "--kind", "deployment"]);
    assert!(shown.contains("service web: is to run web:1"), "{shown}");
    assert!(!shown.contains("other"), "{shown}");
    let name = fleet.hosts[1].name.clone();
    let shown = fleet.hosts[0].cli_ok(&["events", "--host", &name, "--kind", "host"]);
    assert!(shown.contains(&format!("host {name} is UP")), "{shown}");
    assert!(!shown.contains("host host-1 "), "{shown}");
}
