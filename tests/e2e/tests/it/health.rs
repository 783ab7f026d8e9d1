//! Health and readiness: what is checked, what a rollout waits for, and what is replaced.

use e2e::{
    crew,
    docker::{Container, Event},
    fleet::{Fleet, PATIENCE},
    host::Host,
    http::Server,
    wait::{holds, secs, until, wall_nanos},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

const READINESS_LABEL: &str = "io.holdfast.readiness-check";
const DELAY_LABEL: &str = "io.holdfast.deregistration-delay";
/// Longer than a successor runs before its predecessor goes.
const LONGER_THAN_A_HAND_OVER: Duration = secs(3);

/// A container that serves, and is checked so each second; two failures are one too many.
fn definition(family: &str, command: &Value) -> Value {
    let mut definition = crew::definition(family);
    let main = &mut definition["containerDefinitions"][0];
    main["environment"] = json!([{"name": "PORT", "value": "8080"}]);
    // What is frozen does not hear SIGTERM.
    main["stopTimeout"] = json!(1);
    main["healthCheck"] = json!({"command": command, "interval": 1, "timeout": 1, "retries": 2});
    definition
}

/// Asked by the agent from outside, and by Docker with a program of the container's own.
fn both_kinds() -> [(&'static str, Value); 2] {
    [
        ("outside", json!(["HTTP", "8080", "/health"])),
        ("inside", json!(["CMD", "/workload", "check", "/health"])),
    ]
}

/// Waits until so many tasks of the family are RUNNING and HEALTHY, and no more of them is to run.
#[track_caller]
fn await_healthy(host: &Host, family: &str, count: usize) -> Vec<Value> {
    until("all are healthy", PATIENCE, || {
        let tasks = crew::tasks_of(host, family, "RUNNING");
        let well = |task: &&Value| {
            task["lastStatus"] == "RUNNING"
                && task["healthStatus"] == "HEALTHY"
                && crew::container_of(task, "main")["healthStatus"] == "HEALTHY"
        };
        match tasks.len() == count && tasks.iter().filter(well).count() == count {
            true => Ok(tasks),
            false => Err(json!(tasks).to_string()),
        }
    })
}

fn ids(containers: &[Container]) -> BTreeSet<&str> {
    containers.iter().map(|c| c.id.as_str()).collect()
}

#[test]
fn what_passes_its_checks_is_healthy_in_every_list() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    for (family, check) in both_kinds() {
        let wanted = definition(family, &check);
        crew::create_service_of(fleet.any(), &wanted, family, 2, &json!([]));
    }
    for (family, _) in both_kinds() {
        // Any agent says so of the tasks of all.
        for host in &fleet.hosts {
            await_healthy(host, family, 2);
            let shown = host.cli_ok(&["task", "ls", "--service", family]);
            let healthy = shown.lines().filter(|line| line.contains("HEALTHY"));
            assert_eq!(healthy.count(), 2, "{shown}");
        }
        let running = fleet.await_count(family, 2);
        let hosts: BTreeSet<_> = running.iter().map(|container| &container.host).collect();
        assert_eq!(hosts.len(), 2, "{running:#?}");
    }
}

/// A service of two, of which one has a successor that is healthy and never ready.
struct Stuck {
    fleet: Fleet,
    /// What each of its revisions has.
    good: Value,
    before: Vec<Container>,
    /// The Docker id of the successor's container.
    never_ready: String,
}

fn stuck_rollout() -> Option<Stuck> {
    let mut fleet = Fleet::start(2)?;
    let good = definition("web", &json!(["HTTP", "8080", "/health"]));
    crew::create_service_of(fleet.any(), &good, "web", 2, &json!([]));
    let before = fleet.await_count("web", 2);
    await_healthy(fleet.any(), "web", 2);
    let mut bad = good.clone();
    let readiness = json!({"command": ["HTTP", "8080", "/nowhere"], "interval": 1});
    bad["containerDefinitions"][0]["dockerLabels"] =
        json!({READINESS_LABEL: readiness.to_string()});
    let host = fleet.any();
    crew::update_service(host, &bad, "web");
    let successor = until("a healthy successor", PATIENCE, || {
        let tasks = crew::tasks_of(host, "web", "RUNNING");
        let mut new = tasks.iter().filter(|task| is_of(task, 2));
        let healthy = new.find(|task| task["healthStatus"] == "HEALTHY");
        healthy.cloned().ok_or_else(|| json!(tasks).to_string())
    });
    let id = crew::container_of(&successor, "main")["runtimeId"].clone();
    Some(Stuck {
        fleet,
        good,
        before,
        never_ready: id.as_str().expect("it was made").to_owned(),
    })
}

#[test]
fn a_rollout_waits_for_what_is_not_ready_and_another_one_ends_it() {
    let Some(stuck) = stuck_rollout() else { return };
    let Stuck {
        mut fleet, before, ..
    } = stuck;
    let asked = &fleet.hosts[0];
    let says = ["not ready: GET /nowhere", "404", " to move to web:2"];
    let why = until("the service says why", PATIENCE, || {
        let why = asked.cli_ok(&["service", "why", "web"]);
        match says.iter().all(|words| why.contains(words)) {
            true => Ok(why),
            false => Err(why),
        }
    });
    println!("{why}");
    holds("all that ran runs", LONGER_THAN_A_HAND_OVER, || {
        let running = fleet.running("web");
        match running.len() == 3 && ids(&before).is_subset(&ids(&running)) {
            true => Ok(()),
            false => Err(format!("{running:#?}")),
        }
    });

    let mut better = stuck.good;
    better["containerDefinitions"][0]["dockerLabels"] = json!({"version": "3"});
    let watch = fleet.engine.watch(&fleet.label());
    crew::update_service(fleet.any(), &better, "web");
    let asked = &fleet.hosts[0];
    until("all are of the last revision", PATIENCE, || {
        let tasks = crew::tasks_of(asked, "web", "RUNNING");
        match tasks.len() == 2 && tasks.iter().all(|task| is_of(task, 3)) {
            true => Ok(()),
            false => Err(json!(tasks).to_string()),
        }
    });
    let after = fleet.await_count("web", 2);
    let started = |event: &Event| event.action == "start";
    let told = watch.drain();
    assert_eq!(told.iter().filter(|event| started(event)).count(), 2);
    assert!(told.first().is_some_and(|event| event.action == "create"));
    assert!(ids(&after).is_disjoint(&ids(&before)), "{after:#?}");
}

#[test]
fn a_rollout_that_is_taken_back_leaves_what_ran_before() {
    let Some(mut stuck) = stuck_rollout() else {
        return;
    };
    let fleet = &mut stuck.fleet;
    let watch = fleet.engine.watch(&fleet.label());
    let back = ["service", "update", "web", "--task-definition", "web:1"];
    fleet.any().cli_ok(&back);
    let died = watch.expect("die", PATIENCE);
    assert_eq!(died.id, stuck.never_ready);
    assert_eq!(fleet.await_count("web", 2), stuck.before);
    let told = watch.drain();
    let moved = ["create", "start", "die"];
    let moved = told.iter().filter(|e| moved.contains(&e.action.as_str()));
    assert_eq!(moved.count(), 0, "{told:#?}");
}

fn is_of(task: &Value, revision: u32) -> bool {
    let arn = task["taskDefinitionArn"].as_str().unwrap_or_default();
    arn.ends_with(&format!(":{revision}"))
}

#[test]
fn what_fails_its_checks_is_replaced_and_says_so() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    for (family, check) in both_kinds() {
        let wanted = definition(family, &check);
        crew::create_service_of(fleet.any(), &wanted, family, 1, &json!([]));
    }
    for (family, _) in both_kinds() {
        let host = fleet.any();
        let task = await_healthy(host, family, 1).remove(0);
        let first = fleet.await_count(family, 1).remove(0);
        let watch = fleet.engine.watch(&fleet.label());
        // It takes connections still, by its kernel, and answers none.
        fleet.engine.signal(&first.id, "SIGSTOP");
        let started = watch.next(PATIENCE, |event| event.action == "start");
        let started = started.expect("another one is started");
        let died = watch.next(PATIENCE, |event| event.action == "die");
        let died = died.expect("the frozen one is stopped");
        assert_eq!(died.id, first.id);
        assert!(started.at_nanos < died.at_nanos, "another one runs first");
        await_healthy(fleet.any(), family, 1);
        let second = fleet.await_count(family, 1).remove(0);
        assert_eq!(second.id, started.id);

        let host = fleet.any();
        let asked = json!({"tasks": [task["taskArn"]]});
        let told = host.ecs("DescribeTasks", &asked).expect("it is known");
        let reason = &told["tasks"][0]["stoppedReason"];
        let says = "failed container health checks (main: ";
        assert!(
            reason.as_str().is_some_and(|reason| reason.contains(says)),
            "{told}"
        );
        println!("{family}: {reason}");
        let events = host.cli_ok(&["events"]);
        assert!(events.contains(says), "{events}");
    }
}

#[test]
fn a_task_that_is_to_stop_is_out_of_use_for_a_while_and_serves_on() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let mut wanted = definition("web", &json!(["TCP", "8080"]));
    let main = &mut wanted["containerDefinitions"][0];
    main["dockerLabels"] = json!({DELAY_LABEL: "2"});
    main["portMappings"] = json!([{"containerPort": 8080}]);
    crew::create_service_of(fleet.any(), &wanted, "web", 2, &json!([]));
    let before = fleet.await_count("web", 2);
    await_healthy(fleet.any(), "web", 2);
    let watch = fleet.engine.watch(&fleet.label());
    let from = wall_nanos();
    fleet.scale("web", 1);
    let host = fleet.any();
    let leaving = until("one is out of use", secs(2), || {
        let tasks = crew::tasks_of(host, "web", "STOPPED");
        let mut leaving = tasks.iter();
        let leaving = leaving.find(|task| task["lastStatus"] == "DEACTIVATING");
        leaving.cloned().ok_or_else(|| json!(tasks).to_string())
    });
    assert_eq!(leaving["stopCode"], "ServiceSchedulerInitiated");
    let main = crew::container_of(&leaving, "main");
    assert_eq!(main["lastStatus"], "RUNNING", "{leaving}");
    let port = &main["networkBindings"][0]["hostPort"];
    let address = format!("127.0.0.1:{port}").parse();
    let answer = Server::Tcp(address.expect("it has a port")).get("/health");
    assert_eq!(answer.expect("it serves on").status, 200);
    let signal = watch.expect("kill", PATIENCE);
    let waited = Duration::from_nanos(signal.at_nanos.saturating_sub(from));
    println!("from the order to the signal: {waited:?}");
    assert!(waited >= secs(2), "{waited:?}");
    assert_eq!(main["runtimeId"], json!(signal.id));
    let after = fleet.await_count("web", 1);
    assert!(before.contains(&after[0]), "{after:#?}");
}
