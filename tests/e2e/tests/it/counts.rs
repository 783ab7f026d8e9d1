//! Service counts are held: through kills, scaling and deletion, and never on what is not ours.

use e2e::{
    docker::CLUSTER_LABEL,
    fleet::{Fleet, PATIENCE, definition},
    program::IMAGE,
    wait::{holds, secs, until},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// On a machine that is busy with other tests; the bench measures in peace.
const REPLACED_WITHIN: Duration = secs(5);

#[test]
fn a_count_is_reached_and_spread_over_the_hosts() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    let running = fleet.await_count("web", 3);
    let hosts: BTreeSet<_> = running.iter().map(|container| &container.host).collect();
    assert_eq!(hosts.len(), 3, "one on each host: {running:#?}");
    let all = fleet.containers();
    assert_eq!(all.len(), 3, "none was started in vain: {all:#?}");
}

#[test]
fn a_killed_container_is_replaced() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    let before = fleet.await_count("web", 3);
    let watch = fleet.engine.watch(&fleet.label());
    fleet.engine.kill(&before[1].id);
    let died = watch.expect("die", REPLACED_WITHIN);
    let started = watch.expect("start", REPLACED_WITHIN);
    let took = Duration::from_nanos(started.at_nanos.saturating_sub(died.at_nanos));
    println!("from die to start: {took:?}");
    assert!(took < REPLACED_WITHIN, "{took:?}");
    let after = fleet.await_count("web", 3);
    let kept = after
        .iter()
        .filter(|container| before.contains(container))
        .count();
    assert_eq!(kept, 2, "before: {before:#?}\nafter: {after:#?}");
    let reason = stopped_reason(&fleet, &before[1].task);
    assert!(
        reason.contains("137"),
        "the task says why it ended: {reason:?}"
    );
}

fn stopped_reason(fleet: &Fleet, task: &str) -> String {
    let wanted = json!({"tasks": [task]});
    let told = fleet.hosts[0]
        .ecs("DescribeTasks", &wanted)
        .expect("any agent may be asked");
    let task = &told["tasks"][0];
    assert_eq!(task["lastStatus"], "STOPPED", "{told}");
    let reason = task["stoppedReason"].as_str().unwrap_or_default();
    format!("{reason} {}", task["containers"][0]["exitCode"])
}

#[test]
fn a_container_that_is_removed_by_force_is_replaced() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    fleet.create_service("web", 2);
    let before = fleet.await_count("web", 2);
    let watch = fleet.engine.watch(&fleet.label());
    fleet.engine.remove(&[before[0].id.clone()]);
    watch.expect("start", REPLACED_WITHIN);
    let after = fleet.await_count("web", 2);
    assert!(
        after.contains(&before[1]) && !after.contains(&before[0]),
        "{after:#?}"
    );
}

#[test]
fn a_service_follows_its_desired_count_up_and_down() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    fleet.create_service("web", 1);
    let one = fleet.await_count("web", 1);
    fleet.scale("web", 4);
    let four = fleet.await_count("web", 4);
    assert!(four.contains(&one[0]), "growing stops nothing: {four:#?}");
    fleet.scale("web", 2);
    let two = fleet.await_count("web", 2);
    assert!(
        two.iter().all(|kept| four.contains(kept)),
        "shrinking starts nothing: {two:#?}"
    );
    fleet.scale("web", 0);
    fleet.await_count("web", 0);
}

#[test]
fn a_removed_service_is_gone_and_nothing_else_is_touched() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    let foreign = Foreigners::start(&fleet);
    fleet.create_service("web", 3);
    fleet.create_service("other", 1);
    fleet.await_count("web", 3);
    let other = fleet.await_count("other", 1);
    let removal = json!({"service": "web", "force": true});
    fleet.hosts[1]
        .ecs("DeleteService", &removal)
        .expect("any agent takes it");
    fleet.await_count_gone("web");
    holds("a deleted service stays deleted", secs(2), || {
        match fleet.running("web").len() {
            0 => Ok(()),
            _ => Err(format!("{:#?}", fleet.running("web"))),
        }
    });
    assert_eq!(fleet.await_count("other", 1), other);
    foreign.check(&fleet);
}

trait Gone {
    fn await_count_gone(&self, service: &str);
}

impl Gone for Fleet {
    /// Of a deleted service no agent has a count to tell.
    fn await_count_gone(&self, service: &str) {
        until("no container of it runs", PATIENCE, || {
            match self.running(service) {
                running if running.is_empty() => Ok(()),
                running => Err(format!("{running:#?}")),
            }
        });
    }
}

/// Containers that no agent may touch; removed with this value.
struct Foreigners {
    ids: Vec<String>,
    engine: e2e::docker::Engine,
}

impl Foreigners {
    fn start(fleet: &Fleet) -> Self {
        let host = fleet.hosts[0].id();
        let mut other_cluster = labels(&format!("{}-of-others", fleet.place.name), &host);
        other_cluster["io.holdfast.service-name"] = json!("web");
        // As `docker run` of an image that somebody made of one of our containers.
        let copy = labels(&fleet.place.name, &host);
        let mut foreign = Self {
            ids: Vec::new(),
            engine: fleet.engine.clone(),
        };
        for labels in [json!({"io.holdfast.test": "1"}), other_cluster, copy] {
            let id = fleet
                .engine
                .create(&json!({"Image": IMAGE, "Labels": labels}));
            foreign.ids.push(id.clone());
            fleet.engine.start(&id);
        }
        foreign
    }

    fn check(&self, fleet: &Fleet) {
        for id in &self.ids {
            let state = &fleet.engine.inspect(id)["State"];
            assert_eq!(state["Status"], "running", "a foreign container: {state}");
        }
    }
}

impl Drop for Foreigners {
    fn drop(&mut self) {
        self.engine.remove(&self.ids);
    }
}

fn labels(cluster: &str, host: &str) -> Value {
    let mut labels = json!({
        "io.holdfast.host": host,
        "io.holdfast.task": "0123456789abcdef0123456789abcdef",
        "io.holdfast.definition": "00".repeat(32),
        "io.holdfast.family": "web",
        "io.holdfast.revision": "1",
        "io.holdfast.container": "main",
        "io.holdfast.essential": "true",
    });
    labels[CLUSTER_LABEL] = json!(cluster);
    labels
}

#[test]
fn a_service_that_fits_nowhere_says_why_and_does_not_spin() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    let mut huge = definition("huge");
    huge["containerDefinitions"][0]["memory"] = json!(2_000);
    let host = &fleet.hosts[0];
    host.ecs("RegisterTaskDefinition", &huge)
        .expect("it is a good definition");
    let service = json!({"serviceName": "huge", "taskDefinition": "huge", "desiredCount": 2});
    host.ecs("CreateService", &service)
        .expect("it may fit later");
    // Until both agents have found their Docker, the reason is that they have not.
    for host in &fleet.hosts {
        until("the service says why", PATIENCE, || {
            let told = host.look("/v1/services/huge");
            let message = told["service"]["events"][0]["message"].clone();
            let parts = [
                "unable to place",
                "memory",
                "of 2 hosts 2 refused",
                "2000 MiB",
                "1024",
            ];
            match message.as_str() {
                Some(text) if parts.iter().all(|part| text.contains(part)) => Ok(()),
                _ => Err(told.to_string()),
            }
        });
    }
    let records = |fleet: &Fleet| fleet.hosts[0].look("/v1/status")["board"]["records"].as_u64();
    let before = records(&fleet);
    holds("nothing is tried in vain", secs(3), || {
        let tasks = fleet.hosts[0].look("/v1/cluster-tasks?status=all")["tasks"].clone();
        let now = records(&fleet);
        match (tasks.as_array().map(Vec::len), now == before) {
            (Some(0), true) => Ok(()),
            _ => Err(format!("records {before:?} -> {now:?}, tasks {tasks}")),
        }
    });
    // A host that is large enough ends the wait.
    fleet.add().set("memory-mib", "4096");
    fleet.start_all();
    fleet.await_count("huge", 2);
}

#[test]
fn a_task_that_always_fails_is_tried_ever_more_slowly() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    let mut failing = definition("failing");
    failing["containerDefinitions"][0]["command"] = json!(["fail"]);
    let host = &fleet.hosts[0];
    host.ecs("RegisterTaskDefinition", &failing)
        .expect("it is a good definition");
    let service = json!({"serviceName": "failing", "taskDefinition": "failing", "desiredCount": 1});
    host.ecs("CreateService", &service)
        .expect("nobody knows yet that it fails");
    let why = |fleet: &Fleet| fleet.hosts[0].look("/v1/services/failing/why");
    until("the third failure", PATIENCE, || {
        let slot = why(&fleet)["slots"][0].clone();
        (slot["failures"].as_u64() >= Some(3))
            .then_some(())
            .ok_or_else(|| slot.to_string())
    });
    let tries = |fleet: &Fleet| fleet.containers().len();
    let before = tries(&fleet);
    holds("the tries get rare", secs(3), || {
        match tries(&fleet) - before {
            0..=3 => Ok(()),
            more => Err(format!("{more} tries more")),
        }
    });
    fleet.scale("failing", 0);
}
