//! Hosts are lost while somebody on another one follows a log or waits for a command there.

use crate::COUNT;
use e2e::{
    crew::create_service_of,
    fleet::definition,
    host::text_of,
    lab::fleet::LabFleet,
    wait::{secs, until},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Output},
    time::{Duration, Instant},
};

/// A lost peer is known after 3 s of silence; the rest is for a machine that has other work.
const TOLD_WITHIN: Duration = secs(6);

/// A task on the second host.
#[track_caller]
fn task_there(fleet: &LabFleet) -> String {
    let there = &fleet.hosts[1].name;
    until("a task runs there", secs(30), || {
        let tasks = fleet.hosts[0].cli_ok(&["task", "ls", "--host", there, "-o", "json"]);
        let tasks: Value = serde_json::from_str(&tasks).expect("it is JSON");
        let mut running = tasks.as_array().into_iter().flatten();
        let found = running.find(|task| task["lastStatus"] == "RUNNING");
        let id = found.and_then(|task| task["holdfast"]["taskId"].as_str());
        id.map(str::to_owned).ok_or_else(|| tasks.to_string())
    })
}

#[track_caller]
fn first_line(child: &mut Child) {
    let mut line = String::new();
    let out = child.stdout.as_mut().expect("it is piped");
    BufReader::new(out)
        .read_line(&mut line)
        .expect("it is text");
    assert!(line.contains("line "), "{line:?}");
}

#[track_caller]
fn told(child: Child, since: Instant, says: &str) -> Output {
    let ended = child.wait_with_output().expect("it ends");
    let took = since.elapsed();
    let why = text_of(&ended.stderr);
    println!("told after {took:?}: {why}");
    assert!(took <= TOLD_WITHIN, "it took {took:?}");
    assert_eq!(ended.status.code(), Some(1), "{why}");
    assert!(why.contains("was lost: ") && why.contains(says), "{why}");
    ended
}

#[test]
fn whoever_follows_a_log_or_runs_a_command_is_told_that_the_host_was_lost() {
    let Some(mut fleet) = LabFleet::up(3, &[]) else {
        return;
    };
    fleet.start_all();
    let mut body = definition("web");
    body["containerDefinitions"][0]["command"] = json!(["talk", "100"]);
    create_service_of(&fleet.hosts[0], &body, "web", COUNT, &json!([]));
    fleet.await_agreed("web", COUNT);
    let task = task_there(&fleet);
    let near = &fleet.hosts[0];
    let mut log = near.cli_begun(&["task", "logs", "--follow", &task]);
    first_line(&mut log);
    let mut talking = near.cli_begun(&["task", "exec", &task, "/workload", "talk", "100"]);
    first_line(&mut talking);
    // One over which nothing goes.
    let silent = near.cli_begun(&["task", "exec", &task, "/workload", "ignore-term"]);
    until("the silent command runs", secs(10), || {
        let processes = near.cli_ok(&["task", "top", &task]);
        match processes.contains("ignore-term") {
            true => Ok(()),
            false => Err(processes),
        }
    });
    let since = Instant::now();
    fleet.lose(&[1]);
    told(log, since, "; the log ends here");
    told(talking, since, "; the command may run on");
    told(silent, since, "; the command may run on");
}

#[test]
fn whoever_follows_a_log_over_a_link_that_breaks_is_told_so() {
    let Some(mut fleet) = LabFleet::up(3, &[]) else {
        return;
    };
    fleet.start_all();
    let mut body = definition("web");
    body["containerDefinitions"][0]["command"] = json!(["talk", "100"]);
    create_service_of(&fleet.hosts[0], &body, "web", COUNT, &json!([]));
    fleet.await_agreed("web", COUNT);
    let task = task_there(&fleet);
    let mut log = fleet.hosts[0].cli_begun(&["task", "logs", "--follow", &task]);
    first_line(&mut log);
    let since = Instant::now();
    fleet.cut_between(0, 1);
    told(log, since, "has said nothing for 3 s; the log ends here");
    fleet.heal();
    // The link is back, and so is the log.
    let since = Instant::now();
    until("the log is there again", secs(30), || {
        let read = fleet.hosts[0].cli(&["task", "logs", &task, "--tail", "1"]);
        match read.status.success() {
            true => Ok(()),
            false => Err(format!("{:?}: {}", since.elapsed(), text_of(&read.stderr))),
        }
    });
}
