//! Which tasks may be used, as a board made by hand has it.

use super::*;
use crate::api::tests::board::{A, B, WEB, board, condemn, put, record, task, task_id};
use expect_test::{Expect, expect};
use holdfast_core::{
    cluster::body::{Body, HostStatus, Key, Standing, Verdict},
    spec::parse_task_definition,
};
use serde_json::json;

/// Both hosts have a task that is ready.
fn two() -> Board {
    let mut board = board();
    put(
        &mut board,
        Key::Task(B, task_id(2)),
        2,
        Body::Task(task(1, TaskStatus::Running)),
    );
    board
}

fn listed(directory: &Directory) -> String {
    let tasks = directory.tasks().map(|(usable, report)| {
        let ports = usable.ports.iter().map(|port| {
            let name = port.name.as_deref().unwrap_or("-");
            let (number, protocol) = (port.container_port, port.protocol);
            format!(
                " {}:{number}/{protocol} ({name}) at {}",
                port.container, port.host_port
            )
        });
        let ports: String = ports.collect();
        format!(
            "{} of {} on {}{ports}\n",
            &usable.task.to_string()[31..],
            report.family,
            usable.address
        )
    });
    tasks.collect()
}

fn check(change: impl FnOnce(&mut Board), expected: Expect) {
    let mut board = two();
    let before = Directory::of(board.clone(), &Directory::default());
    change(&mut board);
    expected.assert_eq(&listed(&Directory::of(board, &before)));
}

fn judge(board: &mut Board, host: HostId, standing: Standing, epoch: u64) {
    let verdict = Verdict {
        standing,
        votes: vec![A],
        silent_ms: 600,
    };
    put(board, Key::Verdict(host), epoch, Body::Verdict(verdict));
}

fn say(board: &mut Board, change: impl FnOnce(&mut TaskReport)) {
    let mut report = task(1, TaskStatus::Running);
    change(&mut report);
    put(board, Key::Task(B, task_id(2)), 3, Body::Task(report));
}

#[test]
fn what_is_ready_may_be_used() {
    check(
        |_| {},
        expect![[r#"
            1 of web on 10.0.0.1 nginx:80/tcp (-) at 8080
            2 of web on 10.0.0.2 nginx:80/tcp (-) at 8080
        "#]],
    );
}

#[test]
fn what_is_not_ready_or_about_to_stop_may_not() {
    let alone = || {
        expect![[r#"
            1 of web on 10.0.0.1 nginx:80/tcp (-) at 8080
        "#]]
    };
    check(|board| say(board, |report| report.ready = false), alone());
    let leaving = |report: &mut TaskReport| report.last = TaskStatus::Deactivating;
    check(|board| say(board, leaving), alone());
    let begins = |report: &mut TaskReport| report.last = TaskStatus::Activating;
    check(|board| say(board, begins), alone());
}

#[test]
fn hosts_whose_machines_do_not_answer_are_left_out() {
    let alone = || {
        expect![[r#"
            1 of web on 10.0.0.1 nginx:80/tcp (-) at 8080
        "#]]
    };
    let both = || {
        expect![[r#"
            1 of web on 10.0.0.1 nginx:80/tcp (-) at 8080
            2 of web on 10.0.0.2 nginx:80/tcp (-) at 8080
        "#]]
    };
    check(|board| judge(board, B, Standing::Suspect, 1), alone());
    check(|board| condemn(board, B), alone());
    // Its agent hangs, and its tasks run on.
    check(|board| judge(board, B, Standing::Impaired, 1), both());
    check(|board| judge(board, B, Standing::Cleared, 1), both());
    let status = |status| {
        move |board: &mut Board| {
            let mut report = board.host(B).unwrap().1.clone();
            report.status = status;
            put(board, Key::Host(B), 2, Body::Host(report));
        }
    };
    check(status(HostStatus::Left), alone());
    check(status(HostStatus::Restarting), both());
    check(status(HostStatus::Leaving), both());
    check(
        |board| drop(board.merge(&record(Key::Host(B), 2, None))),
        alone(),
    );
}

/// The agent of B has been started again, and has said nothing of its tasks yet.
fn begin_anew(board: &mut Board) {
    let report = board.host(B).unwrap().1.clone();
    put(board, Key::Host(B), 9, Body::Host(report));
}

/// After a start an agent says its tasks anew once it has compared them with Docker's.
#[test]
fn an_agents_restart_takes_none_of_its_tasks_away_and_its_hosts_loss_does() {
    let mut board = two();
    let before = Directory::of(board.clone(), &Directory::default());
    begin_anew(&mut board);
    let known = Directory::of(board.clone(), &before);
    assert_eq!(known.tasks().count(), 2);
    // Whoever has not seen it ready before does not take its word from before.
    let unknown = Directory::of(board, &Directory::default());
    assert_eq!(unknown.tasks().count(), 1);

    let mut board = two();
    judge(&mut board, B, Standing::Suspect, 1);
    let lost = Directory::of(board.clone(), &before);
    begin_anew(&mut board);
    let back = Directory::of(board, &lost);
    assert_eq!(back.tasks().count(), 1);
}

fn define(board: &mut Board, network: &str) {
    let definition = json!({
        "family": "duo",
        "networkMode": network,
        "containerDefinitions": [
            {"name": "side", "image": "i", "memory": 8, "portMappings": [
                {"containerPort": 9000, "protocol": "udp"}]},
            {"name": "app", "image": "i", "memory": 8, "portMappings": [
                {"containerPort": 8080, "name": "http"}]},
        ],
    });
    let definition = parse_task_definition(&definition).unwrap();
    let digest = definition.digest();
    put(
        board,
        Key::Definition(digest),
        0,
        Body::Definition(definition),
    );
    say(board, |report| {
        report.definition = digest;
        report.family = "duo".into();
        report.slot.as_mut().unwrap().service = WEB;
    });
}

/// Docker tells of no ports there.
#[test]
fn in_the_hosts_network_a_containers_ports_are_the_hosts() {
    check(
        |board| define(board, "host"),
        expect![[r#"
            1 of web on 10.0.0.1 nginx:80/tcp (-) at 8080
            2 of duo on 10.0.0.2 side:9000/udp (-) at 9000 app:8080/tcp (http) at 8080
        "#]],
    );
}

#[test]
fn a_port_that_was_not_mapped_cannot_be_reached() {
    check(
        |board| define(board, "bridge"),
        expect![[r#"
            1 of web on 10.0.0.1 nginx:80/tcp (-) at 8080
            2 of duo on 10.0.0.2
        "#]],
    );
}

#[test]
fn before_its_definition_has_come_a_tasks_ports_have_no_names() {
    check(
        |board| say(board, |report| report.definition = Default::default()),
        expect![[r#"
            1 of web on 10.0.0.1 nginx:80/tcp (-) at 8080
            2 of web on 10.0.0.2 nginx:80/tcp (-) at 8080
        "#]],
    );
}
