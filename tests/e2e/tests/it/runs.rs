//! Tasks that run once: to their end, again, for their time, and with their host.

use e2e::{
    fleet::{Fleet, PATIENCE},
    host::Host,
    program::IMAGE,
    wait::until,
};
use serde_json::{Value, json};

fn register(host: &Host, family: &str, words: &[&str]) {
    let definition = json!({"family": family, "containerDefinitions": [{
        "name": "main", "image": IMAGE, "memory": 16, "stopTimeout": 1, "command": words,
    }]});
    host.ecs("RegisterTaskDefinition", &definition)
        .expect("it is a good definition");
}

fn run_of(host: &Host, id: &str) -> Value {
    host.look(&format!("/v1/runs/{id}"))["run"].clone()
}

/// The exit code of a command, and what it said.
fn cli(host: &Host, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = host.cli(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[track_caller]
fn await_status(host: &Host, id: &str, status: &str) -> Value {
    until(&format!("the run is {status}"), PATIENCE, || {
        let run = run_of(host, id);
        match run["status"] == status {
            true => Ok(()),
            false => Err(run.to_string()),
        }
    });
    run_of(host, id)
}

#[test]
fn a_run_ends_as_its_container_does_and_any_agent_says_so() {
    let Some(fleet) = Fleet::start(2) else {
        return;
    };
    let (one, other) = (&fleet.hosts[0], &fleet.hosts[1]);
    register(one, "job", &["exit", "0", "after", "300"]);
    let began = one.ecs(
        "RunTask",
        &json!({"taskDefinition": "job", "count": 2,
        "startedBy": "tester"}),
    );
    let began = began.expect("it is a good run");
    assert_eq!(began["failures"], json!([]));
    let tasks = began["tasks"].as_array().cloned().unwrap_or_default();
    assert_eq!(tasks.len(), 2, "{began}");
    assert_eq!(tasks[0]["lastStatus"], "PROVISIONING", "{began}");
    // Their ids are known to the other one, too, as soon as the run is, whether they began or not.
    let arns: Vec<Value> = tasks.iter().map(|task| task["taskArn"].clone()).collect();
    until("the other agent knows both", PATIENCE, || {
        let told = other.ecs("DescribeTasks", &json!({"tasks": arns}));
        let told = told.expect("any agent may be asked");
        let stopped = told["tasks"].as_array().map_or(&[][..], Vec::as_slice);
        let ended = |task: &&Value| task["lastStatus"] == "STOPPED";
        match stopped.iter().filter(ended).count() {
            2 => Ok(()),
            _ => Err(told.to_string()),
        }
    });
    let told = other
        .ecs("DescribeTasks", &json!({"tasks": arns}))
        .expect("as before");
    for task in told["tasks"].as_array().expect("there are two") {
        assert_eq!(task["stopCode"], "EssentialContainerExited", "{task}");
        assert_eq!(task["containers"][0]["exitCode"], 0, "{task}");
        assert_eq!(
            (&task["group"], &task["startedBy"]),
            (&json!("family:job"), &json!("tester")),
            "{task}"
        );
    }
    let listed = other.ecs(
        "ListTasks",
        &json!({"startedBy": "tester",
        "desiredStatus": "STOPPED"}),
    );
    let listed = listed.expect("any agent may be asked")["taskArns"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
}

#[test]
fn the_command_line_ends_as_the_container_did() {
    let Some(fleet) = Fleet::start(2) else {
        return;
    };
    let (one, other) = (&fleet.hosts[0], &fleet.hosts[1]);
    register(one, "job", &["exit", "0", "after", "300"]);
    // What is changed holds for this run alone.
    let done = cli(one, &["run", "job", "--wait"]);
    assert_eq!(done.0, Some(0), "{done:?}");
    let failing = ["run", "job", "--wait", "--retries", "1", "--", "exit", "7"];
    let failed = cli(other, &failing);
    assert_eq!(failed.0, Some(7), "{failed:?}");
    let id = failed.1.as_str();
    let run = run_of(other, id);
    assert_eq!(
        (&run["status"], &run["slots"][0]["attempts"]),
        (&json!("FAILED"), &json!(2))
    );
    let shown = other.cli_ok(&["runs", "show", id]);
    assert!(shown.contains("main exited with 7"), "{shown}");
    let listed = one.cli_ok(&["runs", "ls"]);
    assert!(
        listed.contains("SUCCEEDED") && listed.contains("FAILED"),
        "{listed}"
    );
    let rm = cli(one, &["run", "job", "--wait", "--rm"]);
    assert_eq!(rm.0, Some(0), "{rm:?}");
    let gone = cli(one, &["runs", "show", &rm.1]);
    assert_eq!(gone.0, Some(1), "{gone:?}");
}

#[test]
fn a_run_has_its_time_can_be_stopped_and_is_lost_with_its_host() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    let host = &fleet.hosts[0];
    register(host, "endless", &["run"]);
    let late = cli(host, &["run", "endless", "--wait", "--timeout", "1s"]);
    assert_eq!(late.0, Some(1), "{late:?}");
    assert!(late.2.contains("TIMED_OUT"), "{late:?}");
    let id = cli(host, &["run", "endless", "--count", "2"]).1;
    await_status(host, &id, "RUNNING");
    host.cli_ok(&["runs", "stop", &id, "--reason", "wrong version"]);
    let run = await_status(host, &id, "STOPPED");
    assert!(
        run["slots"][0]["reason"]
            .to_string()
            .contains("wrong version"),
        "{run}"
    );

    // One task on each host, and one host is lost: its task is reported, and begun nowhere else.
    let id = cli(host, &["run", "endless", "--count", "2", "--retries", "3"]).1;
    until("both run", PATIENCE, || {
        let run = run_of(host, &id);
        let slots = run["slots"].as_array().cloned().unwrap_or_default();
        match slots.iter().all(|slot| slot["status"] == "RUNNING") {
            true => Ok(()),
            false => Err(run.to_string()),
        }
    });
    fleet.lose_host(1);
    let name = json!(fleet.hosts[1].name);
    let host = &fleet.hosts[0];
    until("one slot is lost", PATIENCE, || {
        let run = run_of(host, &id);
        let slots = run["slots"].as_array().cloned().unwrap_or_default();
        let is_lost = |slot: &Value| slot["status"] == "LOST" && slot["host"] == name;
        match slots.iter().any(is_lost) {
            true => Ok(()),
            false => Err(run.to_string()),
        }
    });
    let run = run_of(host, &id);
    assert_eq!(run["status"], "RUNNING", "{run}");
    assert!(run.to_string().contains("is down"), "{run}");
    let running = || {
        fleet
            .containers()
            .iter()
            .filter(|c| c.state == "running")
            .count()
    };
    assert_eq!(running(), 1, "it is begun nowhere else");
    host.cli_ok(&["runs", "rm", &id, "--force"]);
    until("the other task is stopped", PATIENCE, || match running() {
        0 => Ok(()),
        left => Err(format!("{left} run")),
    });
}
