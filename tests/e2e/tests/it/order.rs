//! Containers of a task that wait for one another start, and stop, in their order.

use e2e::{
    crew,
    docker::Event,
    fleet::{Fleet, PATIENCE},
    program::IMAGE,
    wait::until,
};
use serde_json::{Value, json};

/// `web` waits for `log` to run and for `migrate` to have succeeded; it is the first in the list.
fn definition(migrate: &str) -> Value {
    let container = |name: &str, words: &str, essential: bool| {
        json!({
            "name": name, "image": IMAGE, "memory": 16, "essential": essential,
            "command": words.split(' ').collect::<Vec<_>>(),
        })
    };
    let mut web = container("web", "run", true);
    web["dependsOn"] = json!([
        {"containerName": "log", "condition": "START"},
        {"containerName": "migrate", "condition": "SUCCESS"},
    ]);
    let others = [
        container("log", "run", false),
        container("migrate", migrate, false),
    ];
    json!({"family": "shop", "containerDefinitions": [web, others[0], others[1]]})
}

/// Where in all that Docker told this happened to the container of that name.
fn place(told: &[Event], action: &str, name: &str) -> Option<usize> {
    let marked = format!("-{name}-");
    let is_it = |event: &Event| event.action == action && event.name.contains(&marked);
    told.iter().position(is_it)
}

#[track_caller]
fn in_order(told: &[Event], order: &[(&str, &str)]) {
    let places = order.iter().map(|(action, name)| place(told, action, name));
    let places: Option<Vec<usize>> = places.collect();
    let places = places.unwrap_or_else(|| panic!("not all of {order:?} in {told:#?}"));
    assert!(places.is_sorted(), "{order:?} in {told:#?}");
}

#[test]
fn containers_start_when_their_turn_comes_and_stop_in_reverse() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let watch = fleet.engine.watch(&fleet.label());
    let host = fleet.any();
    crew::create_service_of(host, &definition("exit 0 after 300"), "shop", 1, &json!([]));
    let mut told = Vec::new();
    until("web is started", PATIENCE, || {
        told.extend(watch.drain());
        place(&told, "start", "web").ok_or_else(|| "it is not".to_owned())
    });
    in_order(&told, &[("start", "log"), ("start", "web")]);
    in_order(
        &told,
        &[("start", "migrate"), ("die", "migrate"), ("start", "web")],
    );
    until("the task is RUNNING", PATIENCE, || {
        let asked = json!({"services": ["shop"]});
        let service = host.ecs("DescribeServices", &asked).expect("it is there");
        match service["services"][0]["runningCount"].as_u64() {
            Some(1) => Ok(()),
            _ => Err(service.to_string()),
        }
    });
    host.ecs("DeleteService", &json!({"service": "shop", "force": true}))
        .expect("it is there");
    until("both have ended", PATIENCE, || {
        told.extend(watch.drain());
        place(&told, "die", "log").ok_or_else(|| "they have not".to_owned())
    });
    in_order(&told, &[("die", "web"), ("kill", "log"), ("die", "log")]);
}

#[test]
fn a_task_whose_preparation_fails_says_who_waited_for_what() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let watch = fleet.engine.watch(&fleet.label());
    let host = fleet.any();
    crew::create_service_of(host, &definition("exit 3"), "shop", 1, &json!([]));
    let stopped = until("a task has ended", PATIENCE, || {
        let listed = host.ecs("ListTasks", &json!({"desiredStatus": "STOPPED"}));
        let listed = listed.expect("any agent may be asked");
        let tasks = &listed["taskArns"];
        if tasks.as_array().is_none_or(Vec::is_empty) {
            return Err(listed.to_string());
        }
        let told = host.ecs("DescribeTasks", &json!({"tasks": [tasks[0]]}));
        Ok(told.expect("it was listed")["tasks"][0].clone())
    });
    assert_eq!(stopped["stopCode"], "TaskFailedToStart", "{stopped}");
    assert_eq!(
        stopped["stoppedReason"],
        "TaskDependencyError: web waits for migrate to succeed, which exited with 3"
    );
    assert_eq!(place(&watch.drain(), "start", "web"), None);
}
