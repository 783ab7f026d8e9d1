//! Logs, and what containers use.

use super::*;
use expect_test::expect;

#[tokio::test]
async fn a_log_is_read_here_and_there_with_and_without_a_terminal() {
    let containers = [("web", "say 40 60", false), ("tty", "say 40 60", true)];
    let Some(pair) = Pair::start(&containers).await else {
        return;
    };
    for name in ["web", "tty"] {
        pair.until_said(name, 40).await;
    }
    for way in pair.ways() {
        let told = read(way, &path("logs?container=web")).await;
        let (out, err) = (told.text(Kind::Stdout), told.text(Kind::Stderr));
        assert_eq!((out.lines().count(), err.lines().count()), (36, 4));
        assert!(
            out.starts_with("00000000 ....") && err.ends_with("..\n"),
            "{out}"
        );
        assert!(!told.is_terminal);

        let last = read(way, &path("logs?container=web&tail=3")).await;
        assert_eq!(
            (last.text(Kind::Stdout) + &last.text(Kind::Stderr))
                .lines()
                .count(),
            3
        );
        let none = read(way, &path("logs?container=web&until=2020-01-01T00:00:00Z")).await;
        assert_eq!(none.pieces, []);
        let all = read(way, &path("logs?container=web&since=1h&timestamps=true")).await;
        let all = all.text(Kind::Stderr);
        assert!(
            all.starts_with("20") && all.contains("Z 00000009 "),
            "{all}"
        );

        let told = read(way, &path("logs?container=tty")).await;
        assert!(told.is_terminal);
        let out = told.text(Kind::Stdout);
        assert_eq!(
            (out.lines().count(), told.text(Kind::Stderr)),
            (40, String::new())
        );
    }
}

#[tokio::test]
async fn a_log_is_followed_until_its_container_ends_and_is_there_afterwards() {
    let Some(pair) = Pair::start(&[("web", "talk 20", false)]).await else {
        return;
    };
    let mut ways = Vec::new();
    for way in pair.ways() {
        ways.push(Told::open(way, &path("logs?follow=true")).await);
    }
    for told in &mut ways {
        while told.text(Kind::Stdout).lines().count() < 5 {
            assert!(told.more().await, "it goes on");
        }
    }
    kill(&pair.client, &pair.containers[0]).await;
    for told in &mut ways {
        while told.more().await {}
        assert!(!told.broke);
        assert_eq!(told.text(Kind::Fault), "");
    }
    for way in pair.ways() {
        let told = read(way, &path("logs?tail=2")).await;
        assert_eq!(told.text(Kind::Stdout).lines().count(), 2);
    }
    remove(&pair.client, pair.containers.clone()).await;
    for way in pair.ways() {
        let gone =
            expect!["its container is gone; stopped ones stay for stopped_container_retention_s"];
        refused(get(way, &path("logs")).await, 404, gone).await;
    }
}

#[tokio::test]
async fn whoever_follows_is_told_in_one_sentence_that_the_host_was_lost() {
    let Some(mut pair) = Pair::start(&[("web", "talk 20", false)]).await else {
        return;
    };
    let mut told = Told::open(&pair.alpha.socket, &path("logs?follow=true")).await;
    while told.text(Kind::Stdout).lines().count() < 3 {
        assert!(told.more().await, "it goes on");
    }
    drop(pair.beta.transport.take());
    while told.more().await {}
    assert!(!told.broke);
    expect!["host beta was lost: the connection to its agent broke; the log ends here"]
        .assert_eq(&told.text(Kind::Fault));
    let again = get(&pair.alpha.socket, &path("logs")).await;
    assert_eq!(again.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_stream_at_docker_too() {
    let Some(pair) = Pair::start(&[("web", "talk 20", false)]).await else {
        return;
    };
    for way in pair.ways() {
        let most = super::super::TASK_STREAMS_MAX;
        for _ in 0..2 * most {
            let mut told = Told::open(way, &path("logs?follow=true")).await;
            assert!(told.more().await);
            drop(told);
            let started = Instant::now();
            let sides = [&pair.alpha, &pair.beta];
            while sides
                .iter()
                .any(|side| side.app.task_streams.available_permits() < most)
            {
                assert!(started.elapsed() < PATIENCE, "a permit is not given back");
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_says_why() {
    let containers = [("web", "run", false), ("side", "run", false)];
    let Some(pair) = Pair::start(&containers).await else {
        return;
    };
    let way = &pair.alpha.socket;
    let task = task_id(TASK).to_string();
    let several = get(way, &path("logs")).await;
    let which = "task aaaaaaaa00000000000000000000004d has several containers; say which one is \
                 meant: web, side";
    let body = several.into_body().collect().await.expect("it has a body");
    assert!(String::from_utf8_lossy(&body.to_bytes()).contains(which));
    let none = expect![[r#"
        task aaaaaaaa00000000000000000000004d has no container "db"; it has: web, side"#]];
    refused(get(way, &path("logs?container=db")).await, 404, none).await;
    let unknown = expect!["there is no task ffff; `holdfast task ls --all` lists them"];
    refused(get(way, "/v1/tasks/ffff/logs").await, 404, unknown).await;
    let odd = expect![[
        r#""web" is not a task id: give at least 4 of its 32 hexadecimal digits, or its ARN"#
    ]];
    refused(get(way, "/v1/tasks/web/logs").await, 400, odd).await;
    let odd = get(way, &path("logs?container=web&since=yesterday")).await;
    assert_eq!(odd.status(), StatusCode::BAD_REQUEST);
    let body = odd.into_body().collect().await.expect("it has a body");
    let why = "since is \\\"yesterday\\\", but must be how long ago (90s, 10m, 1h30m, 2d)";
    assert!(String::from_utf8_lossy(&body.to_bytes()).contains(why));
    // By the beginning of its id as well.
    let short = format!("/v1/tasks/{}/logs?container=web", &task[..31]);
    assert_eq!(get(way, &short).await.status(), StatusCode::OK);
    let whole = read(way, &path("logs?container=web")).await;
    assert_eq!(whole.text(Kind::Fault), "");
}

#[tokio::test]
async fn what_containers_use_is_told_and_their_processes() {
    let containers = [("web", "run", false), ("side", "talk 1000", false)];
    let Some(pair) = Pair::start(&containers).await else {
        return;
    };
    for way in pair.ways() {
        let stats = value(way, &path("stats")).await;
        for (at, name) in ["web", "side"].into_iter().enumerate() {
            let one = &stats["containers"][at];
            assert_eq!(one["container"], name);
            assert!(one["memoryBytes"].as_u64() > Some(0), "{one}");
            assert!(one["cpuNanoseconds"].as_u64() > Some(0), "{one}");
        }
        let top = value(way, &path("top?container=side")).await;
        let [one] = &top["containers"].as_array().expect("it is a list")[..] else {
            panic!("{top}")
        };
        assert!(one["processes"].to_string().contains("talk 1000"), "{top}");
    }
}
