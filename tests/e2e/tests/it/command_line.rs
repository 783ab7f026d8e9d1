//! The command line on a real cluster: what people and scripts get from it.

use e2e::{
    fleet::{Fleet, definition},
    host::{Host, text_of},
    is_root_or_skip,
    program::holdfast,
};
use serde_json::{Value, json};
use std::{
    fs,
    process::{Command, Output},
};

/// Writes a definition where the command line can read it.
fn written(host: &Host, definition: &Value) -> String {
    let path = host.dir.join("definition.json");
    fs::write(&path, definition.to_string()).expect("the directory is ours");
    path.display().to_string()
}

#[track_caller]
fn fails(output: &Output, code: i32, says: &[&str]) {
    let err = text_of(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{err}",
        text_of(&output.stdout)
    );
    let missing: Vec<_> = says.iter().filter(|part| !err.contains(**part)).collect();
    assert!(missing.is_empty(), "{err:?} does not say {missing:?}");
}

#[test]
fn a_service_is_made_watched_and_removed_by_hand() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    let (first, second) = (&fleet.hosts[0], &fleet.hosts[1]);
    let file = written(first, &definition("web"));
    assert!(
        first
            .cli_ok(&["task-definition", "register", &file])
            .contains("web:1")
    );
    let made = [
        "service",
        "create",
        "web",
        "--task-definition",
        "web",
        "--count",
        "3",
        "--wait",
    ];
    let output = first.cli(&made);
    let progress = text_of(&output.stderr);
    assert!(output.status.success(), "{progress}");
    assert!(progress.contains("web: 3/3 running"), "{progress}");
    assert_eq!(fleet.running("web").len(), 3, "--wait waits until they run");

    // Any agent answers for the whole cluster.
    for host in [first, second] {
        let shown = host.cli_ok(&["service", "ls"]);
        assert!(shown.contains("web"), "{shown}");
        let hosts = host.cli_ok(&["host", "ls"]);
        assert!(
            hosts.contains("host-1") && hosts.contains("host-2"),
            "{hosts}"
        );
        let tasks = host.cli_ok(&["task", "ls", "--service", "web", "--output", "json"]);
        let tasks: Value = serde_json::from_str(&tasks).expect("it is JSON");
        let list = tasks.as_array().or_else(|| tasks["tasks"].as_array());
        assert_eq!(list.map(Vec::len), Some(3), "{tasks}");
    }
    second.cli_ok(&["service", "scale", "web", "1", "--wait"]);
    let one = fleet.await_count("web", 1);
    let host = &fleet.hosts[0];
    let shown = host.cli_ok(&["task", "show", &one[0].task[..12]]);
    assert!(shown.contains("RUNNING"), "{shown}");
    host.cli_ok(&["task", "stop", &one[0].task, "--reason", "it leaks"]);
    let next = fleet.await_other(&one[0].id);
    assert_ne!(next, one[0].task);
    let host = &fleet.hosts[0];
    let events = host.cli_ok(&["events"]);
    assert!(events.contains("it leaks"), "{events}");
    host.cli_ok(&["service", "rm", "web", "--force"]);
    assert!(
        !fleet.hosts[1]
            .cli_ok(&["service", "ls", "--output", "json"])
            .contains("\"ACTIVE\"")
    );
}

trait Other {
    fn await_other(&mut self, than: &str) -> String;
}

impl Other for Fleet {
    /// The task of the one container that runs and is not that one.
    fn await_other(&mut self, than: &str) -> String {
        let gone = || match self
            .running("web")
            .iter()
            .any(|container| container.id == than)
        {
            true => Err(format!("{than} runs")),
            false => Ok(()),
        };
        e2e::wait::until("it ends", e2e::fleet::PATIENCE, gone);
        self.await_count("web", 1)[0].task.clone()
    }
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let host = fleet.any();
    fails(&host.cli(&["service", "show", "nobody"]), 1, &["nobody"]);
    fails(&host.cli(&["service", "scale"]), 2, &["Usage"]);
    fails(&host.cli(&["dance"]), 2, &["dance"]);
    let mut nowhere = Command::new(holdfast());
    nowhere
        .arg("status")
        .env("HOLDFAST_SOCKET", host.dir.join("nowhere.sock"));
    let output = nowhere.output().expect("it can be run");
    fails(&output, 3, &["cannot reach an agent at", "nowhere.sock"]);

    let mut huge = definition("huge");
    huge["containerDefinitions"][0]["memory"] = json!(9_000);
    let file = written(host, &huge);
    host.cli_ok(&["task-definition", "register", &file]);
    let wait = [
        "service",
        "create",
        "huge",
        "--task-definition",
        "huge",
        "--count",
        "1",
    ];
    let wait = [&wait[..], &["--wait", "--timeout", "1"]].concat();
    fails(
        &host.cli(&wait),
        4,
        &["huge runs 0 of 1 after 1 s", "memory"],
    );

    let file = written(
        host,
        &json!({"family": "bad", "containerDefinitions": [{"name": "a"}]}),
    );
    let output = host.cli(&["task-definition", "register", &file]);
    fails(&output, 1, &["containerDefinitions[0].image is missing"]);
}

#[test]
fn whoever_is_neither_root_nor_of_the_group_may_read_and_not_write() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    if !is_root_or_skip("asking as another user") {
        return;
    }
    fleet.create_service("web", 1);
    fleet.await_count("web", 1);
    let socket = fleet.hosts[0].socket();
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command
            .arg(holdfast())
            .args(arguments)
            .env("HOLDFAST_SOCKET", &socket);
        command.output().expect("setpriv is part of util-linux")
    };
    let read = as_nobody(&["service", "ls"]);
    assert!(
        read.status.success() && text_of(&read.stdout).contains("web"),
        "{read:?}"
    );
    let says = [
        "only root and the members of the group \"holdfast\"",
        "65534",
    ];
    fails(&as_nobody(&["service", "scale", "web", "5"]), 1, &says);
    fails(&as_nobody(&["service", "rm", "web", "--force"]), 1, &says);
    fleet.await_count("web", 1);
}

#[test]
fn an_agent_does_not_start_on_a_bad_setting_and_says_which() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    let cases: [(&str, &str, &[&str]); 3] = [
        ("bind", "nowhere", &["bind", "nowhere"]),
        ("down-after-ms", "5", &["down_after_ms", "600"]),
        ("key-file", "/nonexistent/key", &["/nonexistent/key"]),
    ];
    for (flag, value, says) in cases {
        let host = fleet.add();
        host.set(flag, value);
        let output = host.command().output().expect("it can be run");
        let said = text_of(&output.stdout) + &text_of(&output.stderr);
        assert!(!output.status.success(), "{flag} {value}: {said}");
        let missing: Vec<_> = says.iter().filter(|part| !said.contains(**part)).collect();
        assert!(missing.is_empty(), "{said:?} does not say {missing:?}");
    }
}
