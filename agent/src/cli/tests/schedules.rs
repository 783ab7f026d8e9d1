//! What is typed of schedules, what is asked of the agent then, and how they are shown.

use super::super::{
    args::{RunArgs, ScheduleCommand, SetArgs},
    client::Client,
    runs, schedules,
};
use super::{Cli, Command};
use crate::{
    api::tests::{
        board::T0,
        schedules::{list, scheduled, show},
    },
    test_dir::TestDir,
};
use clap::Parser as _;
use expect_test::{expect, expect_file};
use serde_json::{Value, json};

/// Half an hour after the last tick on the board.
const NOW: f64 = T0.0 as f64 / 1_000.0 + 5.5 * 3_600.0;

fn typed(words: &[&str]) -> Result<SetArgs, String> {
    let words = ["holdfast", "schedule", "set"].iter().chain(words);
    let cli = Cli::try_parse_from(words).map_err(|err| err.to_string())?;
    match cli.command {
        Command::Schedule(ScheduleCommand::Set(args)) => Ok(*args),
        other => panic!("{other:?}"),
    }
}

/// Nobody is asked where the container is named.
fn await_input<T>(ask: impl AsyncFnOnce(&Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let client = Client::new("/nowhere/holdfast.sock".parse().unwrap());
    runtime.block_on(ask(&client))
}

fn body(words: &[&str]) -> Value {
    let args = typed(words).unwrap();
    let input = await_input(async |client| runs::input(client, &args.input).await);
    schedules::body(&args, input.unwrap())
}

#[test]
fn what_is_typed_becomes_the_agents_own_request() {
    let when = [
        "backup",
        "--cron",
        "0 3 * * ? *",
        "--timezone",
        "Europe/Berlin",
    ];
    let rest = "--overlap forbid --deadline 10m --disabled db:3 --count 2 --container main -e A=1 \
                --cpu 64 --memory 32 --retries 3 --timeout 2h --on-lost rerun --group night --rm \
                -- ./backup --all";
    let all = body(&when.into_iter().chain(rest.split(' ')).collect::<Vec<_>>());
    expect![[r#"
        {
          "deadlineSeconds": 600,
          "enabled": false,
          "expression": "cron(0 3 * * ? *)",
          "overlap": "forbid",
          "run": {
            "count": 2,
            "group": "night",
            "overrides": {
              "containerOverrides": [
                {
                  "command": [
                    "./backup",
                    "--all"
                  ],
                  "environment": [
                    {
                      "name": "A",
                      "value": "1"
                    }
                  ],
                  "name": "main"
                }
              ],
              "cpu": "64",
              "memory": "32"
            },
            "tags": [
              {
                "key": "holdfast:retries",
                "value": "3"
              },
              {
                "key": "holdfast:timeout",
                "value": "2h"
              },
              {
                "key": "holdfast:on-lost",
                "value": "rerun"
              },
              {
                "key": "holdfast:remove",
                "value": "true"
              }
            ],
            "taskDefinition": "db:3"
          },
          "timezone": "Europe/Berlin"
        }"#]]
    .assert_eq(&format!("{all:#}"));
    let least = body(&["a", "--rate", "5 minutes", "web"]);
    let expected = json!({"expression": "rate(5 minutes)", "enabled": true,
        "run": {"taskDefinition": "web"}});
    assert_eq!(least, expected);
}

/// `holdfast run` says what is to run in the same words.
#[test]
fn a_schedule_runs_what_the_same_words_would_run_now() {
    let words = [
        "web:1",
        "--count",
        "2",
        "--container",
        "a",
        "-e",
        "A=1",
        "--rm",
        "--",
        "-t",
    ];
    let scheduled = body(&[&["a", "--rate", "1 day"], words.as_slice()].concat())["run"].take();
    let cli = Cli::try_parse_from(["holdfast", "run"].iter().chain(&words)).unwrap();
    let Command::Run(args) = cli.command else {
        panic!("it is a run");
    };
    let RunArgs { input, .. } = *args;
    let now = await_input(async |client| runs::input(client, &input).await);
    assert_eq!(scheduled, now.unwrap());
}

/// They are not panicked at.
#[test]
fn files_that_hold_no_object_are_refused() {
    let directory = TestDir::new("run-input");
    let path = directory.join("list.json");
    std::fs::write(&path, r#"["main"]"#).unwrap();
    let path = path.to_str().unwrap();
    for (words, expected) in [
        (
            &["--overrides", path, "web"][..],
            "overrides is not a JSON object",
        ),
        (
            &["--cli-input-json", path],
            "list.json is not a JSON object",
        ),
    ] {
        let args = typed(&[&["a", "--rate", "1 day"], words].concat()).unwrap();
        let input = await_input(async |client| runs::input(client, &args.input).await);
        let refused = input.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn an_expression_is_typed_with_its_brackets_or_without() {
    for (words, expected) in [
        (["--cron", "0 3 * * ? *"], "cron(0 3 * * ? *)"),
        (["--cron", "cron(0 3 * * ? *)"], "cron(0 3 * * ? *)"),
        (["--rate", " 1 hour"], "rate(1 hour)"),
        (["--rate", "rate(1 hour)"], "rate(1 hour)"),
        (["--at", "2026-12-24T18:00:00"], "at(2026-12-24T18:00:00)"),
        (
            ["--at", "at(2026-12-24T18:00:00)"],
            "at(2026-12-24T18:00:00)",
        ),
    ] {
        let body = body(&[&["a"], words.as_slice(), &["web"]].concat());
        assert_eq!(body["expression"], expected);
    }
}

#[test]
fn deadlines_are_times() {
    for (given, seconds) in [("90s", 90), ("10m", 600), ("2h", 7_200)] {
        let body = body(&["a", "--rate", "1 day", "--deadline", given, "web"]);
        assert_eq!(body["deadlineSeconds"], seconds, "{given}");
    }
    for given in ["", "10", "m", "1d", "-1m", "4294967295h"] {
        let deadline = format!("--deadline={given}");
        let refused = typed(&["a", "--rate", "1 day", &deadline, "web"]);
        let refused = refused.map(|args| args.deadline).unwrap_err();
        assert!(!refused.is_empty(), "{given}");
    }
}

#[test]
fn hands_find_the_words_they_know() {
    for line in [
        "holdfast schedule ls",
        "holdfast schedules list",
        "holdfast -o json schedule show a",
        "holdfast schedule inspect a",
        "holdfast schedule rm a b",
        "holdfast schedule delete a",
        "holdfast schedule enable a",
        "holdfast schedule disable a",
        "holdfast schedule set a --at 2026-12-24T18:00:00 --cli-input-json run.json",
    ] {
        let parsed = Cli::try_parse_from(line.split(' '));
        assert!(parsed.is_ok(), "{line}: {parsed:?}");
    }
    for line in [
        "holdfast schedule",
        "holdfast schedule show",
        "holdfast schedule rm",
        // Neither when nor what, and two of when.
        "holdfast schedule set a web",
        "holdfast schedule set a --at 2026-12-24T18:00:00",
        "holdfast schedule set a --rate 1 --cron 2 web",
        // What is the schedule's own to say, and what nobody waits for.
        "holdfast schedule set a --rate 1 web --client-token t",
        "holdfast schedule set a --rate 1 web --started-by me",
        "holdfast schedule set a --rate 1 web --wait",
    ] {
        let parsed = Cli::try_parse_from(line.split(' '));
        assert!(parsed.is_err(), "{line}: {parsed:?}");
    }
}

#[test]
fn schedules_are_shown_with_what_is_to_come_and_what_came() {
    let board = scheduled();
    let mut shown = vec![
        schedules::list_text(&list(&board), NOW),
        schedules::show_text(&show(&board, "hourly"), NOW),
        schedules::show_text(&show(&board, "paused"), NOW),
    ];
    for (name, created) in [("hourly", true), ("hourly", false), ("paused", false)] {
        let answer = json!({"schedule": show(&board, name), "created": created});
        shown.push(schedules::set_text(&answer, NOW));
    }
    let over = json!({"schedule": {"name": "once", "state": "ENABLED"}});
    shown.push(schedules::set_text(&over, NOW));
    let late = json!({"schedule": show(&board, "hourly")});
    shown.push(schedules::set_text(&late, NOW + 1_900.0));
    expect_file!["schedules.txt"].assert_eq(&shown.join("\n\n"));
}
