//! Containers of a task that wait for one another start, and stop, in their order.

use e2e::{
    crew,
    docker::Event,
    fleet::{Fleet, PATIENCE},
    host::Host,
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

/// Of what fails there is always a next task under way, which would be made after its fleet's end.
#[track_caller]
fn end(host: &Host, family: &str) {
    crew::delete_service(host, family);
    until("nothing of it is under way", PATIENCE, || {
        let running = crew::tasks_of(host, family, "RUNNING");
        let stopped = crew::tasks_of(host, family, "STOPPED");
        let all = running.iter().chain(&stopped);
        match all.clone().all(|task| task["lastStatus"] == "STOPPED") {
            true => Ok(()),
            false => Err(json!(all.collect::<Vec<_>>()).to_string()),
        }
    });
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
    end(host, "shop");
}

/// `db` is asked from outside and `app` by Docker; each waits for the health of the one before.
fn chain(db_check: &str) -> Value {
    let container = |name: &str, check: &Value| {
        json!({
            "name": name, "image": IMAGE, "memory": 16, "stopTimeout": 1,
            "environment": [{"name": "PORT", "value": "8080"}],
            "healthCheck": {"command": check, "interval": 1, "timeout": 1, "retries": 2},
        })
    };
    let after = |name: &str| json!([{"containerName": name, "condition": "HEALTHY"}]);
    let db = container("db", &json!(["HTTP", "8080", db_check]));
    let mut app = container("app", &json!(["CMD", "/workload", "check"]));
    app["dependsOn"] = after("db");
    let mut front = container("front", &json!(["TCP", "8080"]));
    front["dependsOn"] = after("app");
    json!({"family": "chain", "containerDefinitions": [front, app, db]})
}

#[test]
fn containers_wait_for_one_anothers_health() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let watch = fleet.engine.watch(&fleet.label());
    let host = fleet.any();
    crew::create_service_of(host, &chain("/health"), "chain", 1, &json!([]));
    let task = until("the task is well", PATIENCE, || {
        let task = crew::tasks_of(host, "chain", "RUNNING").pop();
        let task = task.unwrap_or_default();
        match task["lastStatus"] == "RUNNING" && task["healthStatus"] == "HEALTHY" {
            true => Ok(task),
            false => Err(task.to_string()),
        }
    });
    assert_eq!(
        crew::container_of(&task, "front")["healthStatus"],
        "HEALTHY"
    );
    let order = [
        ("start", "db"),
        ("start", "app"),
        ("health_status: healthy", "app"),
        ("start", "front"),
    ];
    in_order(&watch.drain(), &order);
}

#[test]
fn a_task_that_waits_for_health_in_vain_says_who_failed_which_check() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let watch = fleet.engine.watch(&fleet.label());
    let host = fleet.any();
    crew::create_service_of(host, &chain("/nowhere"), "chain", 1, &json!([]));
    until("it says what it waits for", PATIENCE, || {
        let tasks = crew::tasks_of(host, "chain", "RUNNING");
        let waits = tasks
            .iter()
            .any(|task| crew::container_of(task, "app")["reason"] == "waits for db to be healthy");
        if waits {
            Ok(())
        } else {
            Err(json!(tasks).to_string())
        }
    });
    let stopped = until("a task has ended", PATIENCE, || {
        let stopped = crew::tasks_of(host, "chain", "STOPPED");
        stopped
            .first()
            .cloned()
            .ok_or_else(|| "none has".to_owned())
    });
    assert_eq!(stopped["stopCode"], "TaskFailedToStart", "{stopped}");
    assert_eq!(
        stopped["stoppedReason"],
        "TaskDependencyError: app waits for db to be healthy, which is not: GET /nowhere at port \
         8080 answers 404 Not Found"
    );
    assert_eq!(place(&watch.drain(), "start", "app"), None);
    end(host, "chain");
}
