//! What is typed to reach into containers, and how it is shown.

use super::super::{
    args::TaskCommand,
    copy::{End, end},
    stats,
};
use super::{Cli, Command};
use clap::Parser as _;
use expect_test::{expect, expect_file};
use serde_json::json;

fn parsed(line: &str) -> TaskCommand {
    let words = line.split_whitespace();
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Task(command)) => command,
        other => panic!("{line}: {other:?}"),
    }
}

/// As hands that know docker, kubectl or nomad type it.
#[test]
fn a_command_begins_after_the_task_or_after_two_hyphens() {
    for line in [
        "holdfast task exec -it 3f2a sh -c ls",
        "holdfast task exec -i -t 3f2a -- sh -c ls",
        "holdfast task exec 3f2a -t -i sh -c ls",
        "holdfast task exec --interactive --tty 3f2a -- sh -c ls",
    ] {
        let TaskCommand::Exec(args) = parsed(line) else {
            panic!("{line}")
        };
        let typed = (args.task.as_str(), args.interactive, args.tty);
        assert_eq!(typed, ("3f2a", true, true), "{line}");
        assert_eq!(args.command, ["sh", "-c", "ls"], "{line}");
    }
    let line = "holdfast task exec -u 0:0 -w /srv -e A=1 -e B=2 3f2a --container web env";
    let TaskCommand::Exec(args) = parsed(line) else {
        panic!("{line}")
    };
    assert_eq!(args.environment, ["A=1", "B=2"]);
    assert_eq!(args.container.as_deref(), Some("web"));
    for line in [
        "holdfast task exec 3f2a",
        "holdfast task logs",
        "holdfast task logs 3f2a --service web",
        "holdfast task cp 3f2a:/a",
    ] {
        assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
    let TaskCommand::Logs(_) = parsed("holdfast task logs -f -t -n 5 --since 10m 3f2a") else {
        panic!("they are logs")
    };
}

#[test]
fn an_end_of_a_copy_is_here_or_in_a_container_or_an_archive() {
    let there = |container: Option<&str>, path: &str| End::Container {
        task: "3f2a".to_owned(),
        container: container.map(str::to_owned),
        path: path.to_owned(),
    };
    assert_eq!(end("3f2a:/etc/a"), there(None, "/etc/a"));
    assert_eq!(end("3f2a:web:/etc/a"), there(Some("web"), "/etc/a"));
    assert_eq!(end("3f2a:/a:b"), there(None, "/a:b"));
    assert_eq!(end("3f2a:"), there(None, "/"));
    assert_eq!(end("-"), End::Archive);
    for here in ["a", "./a:b", "/a:b", "../a:b", "a/b:c"] {
        assert_eq!(end(here), End::Here(here.into()), "{here}");
    }
}

#[test]
fn what_tasks_use_reads_as_docker_shows_it() {
    let rows = [
        json!({
            "taskId": "3f2a9c01d4e5f60718293a4b5c6d7e8f", "container": "web", "service": "shop",
            "host": "alpha", "cpuPercent": 12.345, "memoryBytes": 5_505_024,
            "memoryLimitBytes": 134_217_728, "networkReceivedBytes": 900,
            "networkSentBytes": 2_048, "diskReadBytes": 0, "diskWrittenBytes": 3_221_225_472_u64,
            "processes": 3,
        }),
        json!({"taskId": "77", "container": "ended", "service": null, "host": "beta"}),
    ];
    expect_file!["stats.txt"].assert_eq(&stats::stats_text(&rows));
    let top = json!({"containers": [
        {"container": "web", "titles": ["PID", "CMD"], "processes": [["1", "nginx"]]},
        {"container": "side", "titles": ["PID", "CMD"], "processes": []},
    ]});
    expect![[r#"
        web:
        PID   CMD
        1     nginx

        side:
        PID   CMD"#]]
    .assert_eq(&stats::top_text(&top));
}
