//! Containers with a `restartPolicy` are run again in their task, which goes on.

use e2e::{
    crew,
    fleet::{Fleet, PATIENCE},
    host::Host,
    program::IMAGE,
    wait::until,
};
use serde_json::{Value, json};

/// `keeper` runs on, `crasher` ends again and again, `preparer` once and for all.
fn definition() -> Value {
    let container = |name: &str, words: &str, essential: bool| {
        json!({
            "name": name, "image": IMAGE, "memory": 16, "essential": essential,
            "command": words.split(' ').collect::<Vec<_>>(),
        })
    };
    let policy = json!({"enabled": true, "restartAttemptPeriod": 0, "ignoredExitCodes": [3]});
    let mut crasher = container("crasher", "exit 1 after 500", true);
    let mut preparer = container("preparer", "exit 3 after 500", false);
    crasher["restartPolicy"] = policy.clone();
    preparer["restartPolicy"] = policy;
    let keeper = container("keeper", "run", true);
    json!({"family": "stubborn", "containerDefinitions": [keeper, crasher, preparer]})
}

/// How often the ECS agent's clients are told that the container was run again.
fn restarts(host: &Host, name: &str) -> u64 {
    let told = host.look("/v1/tasks");
    let containers = told["Tasks"][0]["Containers"].as_array().cloned();
    let mut containers = containers.unwrap_or_default().into_iter();
    let found = containers.find(|container| container["Name"] == name);
    let found = found.unwrap_or_default();
    found["RestartCount"].as_u64().unwrap_or_default()
}

#[track_caller]
fn await_restarts(host: &Host, name: &str, count: u64) {
    until("it is run again", PATIENCE, || {
        let times = restarts(host, name);
        match times >= count {
            true => Ok(()),
            false => Err(format!("it was {times} times")),
        }
    });
}

#[test]
fn a_container_is_run_again_in_its_task_whatever_becomes_of_the_agent() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let host = fleet.any();
    crew::create_service_of(host, &definition(), "stubborn", 1, &json!([]));
    await_restarts(host, "crasher", 2);
    let task = crew::tasks_of(host, "stubborn", "RUNNING").remove(0);
    assert_eq!(task["lastStatus"], "RUNNING", "{task}");
    let id = |task: &Value, name: &str| {
        let id = crew::container_of(task, name)["runtimeId"].clone();
        id.as_str().expect("it was made").to_owned()
    };
    let names = ["keeper", "crasher", "preparer"];
    let before = names.map(|name| id(&task, name));
    let keeper_started = fleet.engine.started_at(&before[0]);
    let preparer_started = fleet.engine.started_at(&before[2]);

    // It ends while nobody sees it, too.
    let watch = fleet.engine.watch(&fleet.label());
    watch.expect("start", PATIENCE);
    fleet.hosts[0].kill();
    let ended = watch.expect("die", PATIENCE);
    assert_eq!(ended.id, before[1]);
    fleet.start_all();
    let host = &fleet.hosts[0];
    await_restarts(host, "crasher", 4);
    let tasks = crew::tasks_of(host, "stubborn", "RUNNING");
    assert_eq!(tasks.len(), 1, "{tasks:#?}");
    let now = &tasks[0];
    assert_eq!(now["taskArn"], task["taskArn"]);
    assert_eq!(names.map(|name| id(now, name)), before);
    assert_eq!(fleet.engine.started_at(&before[0]), keeper_started);
    assert_eq!(fleet.containers().len(), 3, "none was made anew");

    // An exit code that is ignored is an end.
    let preparer = crew::container_of(now, "preparer");
    assert_eq!(preparer["lastStatus"], "STOPPED", "{now}");
    assert_eq!(preparer["exitCode"], 3, "{now}");
    assert_eq!(restarts(host, "preparer"), 0);
    assert_eq!(fleet.engine.started_at(&before[2]), preparer_started);

    let task = now["taskArn"].as_str().expect("it has one");
    let shown = host.cli_ok(&["task", "show", task]);
    let lines: Vec<_> = shown.lines().filter(|l| l.contains("crasher")).collect();
    let times = restarts(host, "crasher");
    let column = |word: &str| lines[0].split_whitespace().any(|part| part == word);
    let shown_times = column(&times.to_string()) || column(&(times - 1).to_string());
    assert!(shown.contains("RESTARTS") && shown_times, "{shown}");
}
