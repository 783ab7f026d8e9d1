//! What people see: the tables, the progress, the help, and the exit codes.

mod reach;
mod schedules;

use super::{
    Cli, Command, args::ServiceCommand, client::encode, events, failure::Failure, hosts, images,
    leave, services, task_definitions, tasks, values, wait,
};
use crate::{
    api::{
        Operation, overview,
        tests::board::{A, B, T0, board, condemn, equip, with_view},
        why,
    },
    handle::DaemonStatus,
    http::Address,
};
use clap::{CommandFactory as _, Parser as _};
use expect_test::{expect, expect_file};
use holdfast_core::cluster::board::Board;
use serde_json::{Value, json};

/// A little after everything on the board has happened.
const NOW: f64 = T0.0 as f64 / 1_000.0 + 200.0;

fn list(board: &Board, name: &str) -> Vec<Value> {
    let query = Default::default();
    let answer = with_view(board, |view| match name {
        "services" => overview::services(view, &query),
        "tasks" => overview::cluster_tasks(view, &query),
        "hosts" => overview::hosts(view, &query),
        _ => overview::definitions(view, &query),
    });
    answer.unwrap()[name].as_array().unwrap().clone()
}

#[test]
fn lists_read_like_those_of_docker() {
    let board = board();
    let shown = [
        services::list_text(&list(&board, "services")),
        tasks::list_text(&list(&board, "tasks"), NOW),
        hosts::list_text(&list(&board, "hosts"), NOW),
        task_definitions::list_text(&list(&board, "taskDefinitions"), NOW),
    ];
    expect_file!["tests/lists.txt"].assert_eq(&shown.join("\n\n"));
}

#[test]
fn a_task_says_what_its_containers_wait_for_until_it_has_stopped() {
    let task = |status: &str, stopped: &str| {
        json!({"lastStatus": status, "stoppedReason": stopped,
            "containers": [{"reason": ""}, {"reason": "pulls web:1: 34 of 120 MiB"}]})
    };
    let tasks = [
        task("PENDING", ""),
        task("STOPPED", "by hand"),
        task("STOPPED", ""),
    ];
    let text = tasks::list_text(&tasks, NOW);
    let ends: Vec<_> = text.lines().map(str::trim_end).collect();
    assert!(ends[1].ends_with("pulls web:1: 34 of 120 MiB"), "{text}");
    assert!(
        ends[2].ends_with("by hand") && ends[3].ends_with("STOPPED"),
        "{text}"
    );
}

#[test]
fn images_are_shown_with_what_uses_them() {
    let answer = json!({"images": [
        {"id": "sha256:0123456789abcdef", "names": ["web:1", "web:2"], "digests": [],
            "bytes": 1_048_577, "pulledAt": NOW - 90_000.0, "lastUsedAt": NOW - 5.0,
            "usedBy": ["a", "b", "c", "d"], "wasHere": false},
        {"id": "sha256:fedcba9876543210", "names": [], "digests": ["db@sha256:00"],
            "bytes": 10, "pulledAt": NOW - 7.0, "usedBy": [], "wasHere": true},
    ]});
    expect![[r#"
        IMAGE          ID             SIZE    PULLED   LAST USED   USED BY
        web:1, web:2   0123456789ab   2 MiB   25h      5s          a, b, 2 more
        db@sha256:00   fedcba987654   1 KiB   7s"#]]
    .assert_eq(&images::list_text(&answer, NOW));
}

#[test]
fn a_pull_is_told_in_one_line_for_each_host() {
    let host = json!({"id": "0a", "name": "alpha"});
    let told = |kind: &str, more: Value| {
        let mut event = json!({"kind": kind, "image": "web:2", "host": host});
        let more = more.as_object().unwrap().clone();
        event.as_object_mut().unwrap().extend(more);
        images::line(&event)
    };
    let lines = [
        told("progress", json!({"progress": "34 of 120 MiB"})),
        told(
            "pulled",
            json!({"digest": "sha256:00", "wasHere": false, "seconds": 12.34}),
        ),
        told("pulled", json!({"wasHere": true, "seconds": 0.2})),
        told(
            "failed",
            json!({"reason": "it is down; ask again when it is back"}),
        ),
    ];
    expect![[r#"
        alpha: web:2: 34 of 120 MiB
        alpha: web:2: pulled (sha256:00, 12.3 s)
        alpha: web:2: already here (0.2 s)
        alpha: web:2: failed: it is down; ask again when it is back"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn a_list_of_nothing_is_its_header() {
    expect![[r#"NAME   TASK DEFINITION   DESIRED   RUNNING   PENDING   STATUS"#]]
        .assert_eq(&services::list_text(&[]));
}

#[test]
fn what_a_lost_host_said_last_does_not_pass_for_the_truth() {
    let mut board = board();
    condemn(&mut board, A);
    let shown = [
        tasks::list_text(&list(&board, "tasks"), NOW),
        hosts::list_text(&list(&board, "hosts"), NOW),
    ];
    expect_file!["tests/lost_host.txt"].assert_eq(&shown.join("\n\n"));
}

#[test]
fn one_service_one_task_and_the_status_are_shown_whole() {
    let board = board();
    let why = with_view(&board, |view| why::why(view, "web")).unwrap();
    let daemon = DaemonStatus {
        agent_version: "0.1.0".to_owned(),
        started_at: T0,
        ..DaemonStatus::default()
    };
    let mut status = with_view(&board, |view| overview::status(view, &daemon));
    status["board"]["root"] = json!("…");
    let shown = [
        services::show_text(&list(&board, "services")[0], &why),
        tasks::show_text(&list(&board, "tasks")[0], NOW),
        hosts::status_text(&status),
    ];
    expect_file!["tests/shown.txt"].assert_eq(&shown.join("\n\n"));
}

#[test]
fn progress_says_what_it_waits_for() {
    let board = board();
    let mut service = list(&board, "services").remove(0);
    assert!(!wait::is_steady(&service));
    expect_file!["tests/progress.txt"].assert_eq(&wait::line(&service));
    service["desiredCount"] = json!(1);
    assert!(
        !wait::is_steady(&service),
        "they may not run the same bytes yet"
    );
    service["deployments"][0]["rolloutState"] = json!("COMPLETED");
    assert!(wait::is_steady(&service));
}

#[test]
fn a_host_is_shown_with_its_standing_since_when_and_why() {
    let mut board = board();
    condemn(&mut board, B);
    let hosts = list(&board, "hosts");
    let tasks = list(&board, "tasks");
    let shown = [
        hosts::show_text(&json!({"host": hosts[0], "tasks": [tasks[0]]}), NOW),
        hosts::show_text(&json!({"host": hosts[1], "tasks": []}), NOW),
    ];
    expect_file!["tests/host.txt"].assert_eq(&shown.join("\n\n"));
}

#[test]
fn gpus_are_shown_where_there_are_some() {
    let mut board = board();
    equip(&mut board);
    let hosts = list(&board, "hosts");
    let shown = [
        hosts::list_text(&hosts, NOW),
        hosts::show_text(&json!({"host": hosts[0], "tasks": []}), NOW),
        tasks::show_text(&list(&board, "tasks")[0], NOW),
    ];
    expect_file!["tests/gpus.txt"].assert_eq(&shown.join("\n\n"));
}

#[test]
fn a_host_that_is_to_be_empty_says_what_is_left_and_where_to_ask_why() {
    let board = board();
    let mut tasks = list(&board, "tasks");
    let mut shown = vec![wait::left_line("alpha", &tasks)];
    tasks[0]["desiredStatus"] = json!("STOPPED");
    shown.push(wait::left_line("alpha", &tasks));
    shown.push(wait::still_there("alpha", &tasks, 300));
    shown.push(wait::left_line("alpha", &[]));
    shown.push(leave::left_text(&json!({"left": true, "tasksStopped": 0})));
    shown.push(leave::left_text(&json!({"left": true, "tasksStopped": 2})));
    expect_file!["tests/leaving.txt"].assert_eq(&shown.join("\n"));
}

#[test]
fn events_are_sentences() {
    let at = "2026-11-23T00:00:00.500Z";
    let events = [
        json!({"kind": "task", "at": at, "taskId": "aaaaaaaa00000000ffff", "host": "aaaaaaaa00",
            "service": "web", "slot": 2, "from": "PENDING", "to": "RUNNING", "reason": "started"}),
        json!({"kind": "task", "at": at, "taskId": "aaaaaaaa00000000ffff", "host": "aaaaaaaa00",
            "to": "PROVISIONING", "reason": ""}),
        json!({"kind": "host", "at": at, "hostName": "beta", "standing": "DOWN",
            "reason": "3 of 3 observers got no answer for 2 s"}),
        json!({"kind": "service", "at": at, "service": "web", "reason": "scaled from 1 to 3"}),
        json!({"kind": "service", "at": at, "service": "run/3f2a", "reason": "(run 3f2a) ended"}),
        json!({"kind": "service", "at": at, "service": "schedule/nightly",
            "reason": "(schedule nightly) has begun (run 3f2a)"}),
        json!({"kind": "missed", "missed": 12}),
        json!({"kind": "restarted"}),
    ];
    let shown: Vec<_> = events.iter().map(events::text).collect();
    expect_file!["tests/events.txt"].assert_eq(&shown.join("\n"));
}

fn parse(line: &str) -> Result<Cli, String> {
    Cli::try_parse_from(line.split(' ')).map_err(|err| err.to_string())
}

#[test]
fn hands_find_the_words_they_know() {
    Cli::command().debug_assert();
    for line in [
        "holdfast status",
        "holdfast -o json host list",
        "holdfast host drain alpha --wait --timeout 60",
        "holdfast host drain alpha beta",
        "holdfast host activate alpha",
        "holdfast host rm alpha --force",
        "holdfast leave",
        "holdfast leave --force --timeout 300",
        "holdfast td register -",
        "holdfast task-definition ls web",
        "holdfast service create web --task-definition web:1 --count 3 --wait --timeout 60",
        "holdfast service create --cli-input-json web.json",
        "holdfast service delete web --force",
        "holdfast service list --output json",
        "holdfast service why web",
        "holdfast service scale web=3",
        "holdfast task ps --all",
        "holdfast image ls",
        "holdfast image pull web:1 db",
        "holdfast events -f",
        "holdfast key new",
        "holdfast completions bash",
        "holdfast --socket tcp://127.0.0.1:51678 status",
    ] {
        let parsed = parse(line);
        assert!(parsed.is_ok(), "{line}: {parsed:?}");
    }
    for line in [
        "holdfast service create web",
        "holdfast service create web --task-definition web --count 1 --timeout 5",
        "holdfast service rm",
        "holdfast host drain",
        "holdfast image pull",
        "holdfast host drain alpha --timeout 60",
        "holdfast --socket http://localhost status",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
    let rm = parse("holdfast service remove a b -f").unwrap().command;
    let Command::Service(ServiceCommand::Rm { names, force }) = rm else {
        panic!("{rm:?}");
    };
    assert_eq!((names.len(), force), (2, true));
}

#[test]
fn help_documents_the_exit_codes() {
    let help = Cli::command().render_help().to_string();
    expect_file!["tests/help.txt"].assert_eq(&help);
}

#[test]
fn every_command_has_help_and_an_example() {
    fn walk(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} has no help");
        let subcommands: Vec<_> = command.get_subcommands().collect();
        let example = command
            .get_after_help()
            .is_some_and(|h| h.to_string().contains("holdfast"));
        // The daemon's arguments are not ours.
        assert!(
            !subcommands.is_empty() || example || path.ends_with(" agent"),
            "{path}"
        );
        subcommands.iter().for_each(|command| walk(command, &path));
    }
    walk(&Cli::command(), "");
}

#[test]
fn a_count_is_given_once() {
    let scaled = |name: &str, count| services::scaled(name, count).map_err(|f| f.exit_code());
    assert_eq!(scaled("web", Some(3)), Ok(("web".to_owned(), 3)));
    assert_eq!(scaled("web=3", None), Ok(("web".to_owned(), 3)));
    assert_eq!(scaled("web", None), Err(2));
    assert_eq!(scaled("web=3", Some(3)), Err(2));
    assert_eq!(scaled("web=x", None), Err(2));
}

#[test]
fn an_agent_that_is_not_there_is_named_with_what_to_do() {
    let address: Address = "/nowhere/holdfast.sock".parse().unwrap();
    let client = super::Client::new(address);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let failure = runtime.block_on(client.get("/v1/status")).unwrap_err();
    assert_eq!(failure.exit_code(), 3);
    expect_file!["tests/unreachable.txt"].assert_eq(&failure.to_string());
    let read_only = super::Client::new("tcp://localhost:51678".parse().unwrap());
    let body = json!({});
    let stop = read_only.call(Operation::StopTask, &body);
    let failure = runtime.block_on(stop).unwrap_err();
    assert!(matches!(failure, Failure::Refused(_)), "{failure}");
}

#[test]
fn values_are_told_by_all_but_what_they_are() {
    let listed = json!([
        {
            "name": "db", "version": 2, "size": 32,
            "setAt": 40.0, "setBy": "ann", "usedBy": ["api", "web"],
        },
        {
            "name": "tls", "version": 1, "size": 1_704,
            "setAt": 0.0, "setBy": "uid 1000", "usedBy": [],
        },
    ]);
    let listed = listed.as_array().unwrap();
    let mut text = values::list_text(listed, 100.0);
    let mut shown = listed[0].clone();
    shown["sealedWith"] = json!("56fac5b2");
    text += "\n\n";
    text += &values::secret_text(&shown, 100.0);
    for (restarting, left) in [(json!(["web"]), json!([])), (json!([]), json!(["web"]))] {
        let told =
            json!({"name": "db", "version": 2, "restarting": restarting, "notRestarted": left});
        text += &format!("\n\n{}", values::set_text("secret", &told));
    }
    expect_file!["tests/values.txt"].assert_eq(&text);
}

#[test]
fn names_in_paths_are_encoded() {
    assert_eq!(encode("web-1_a"), "web-1_a");
    assert_eq!(encode("a/b ü"), "a%2Fb%20%C3%BC");
}
