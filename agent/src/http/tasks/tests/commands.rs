//! Commands in containers.

use super::*;
use crate::http::{frames::frame, tasks::exec::UPGRADE};
use expect_test::expect;
use hyper::{header, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A command that was started.
struct Run {
    io: TokioIo<Upgraded>,
    decoder: Decoder,
    pieces: Vec<Piece>,
}

async fn begin(to: &Address, rest: &str, body: Value) -> Response<Incoming> {
    let request = Request::post(path(rest))
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, UPGRADE);
    let body = Full::<Bytes>::from(body.to_string());
    let answer = timeout(PATIENCE, send(to, request, body)).await;
    answer.expect("it answers in time").expect("it answers")
}

impl Run {
    async fn start(to: &Address, body: Value) -> Self {
        let answer = begin(to, "exec", body).await;
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        let upgraded = hyper::upgrade::on(answer).await.expect("it becomes frames");
        Self {
            io: TokioIo::new(upgraded),
            decoder: Decoder::default(),
            pieces: Vec::new(),
        }
    }

    async fn send(&mut self, kind: Kind, bytes: &[u8]) {
        let sent = self.io.write_all(&frame(kind, bytes)).await;
        sent.expect("it is taken");
    }

    /// Whether more has come.
    async fn more(&mut self) -> bool {
        let mut bytes = [0; 4_096];
        let read = timeout(PATIENCE, self.io.read(&mut bytes)).await;
        let len = read.expect("more, or the end, comes in time").unwrap_or(0);
        self.decoder.feed(&bytes[..len]);
        while let Some(piece) = self.decoder.next().expect("it is made of frames") {
            self.pieces.push(piece);
        }
        len > 0
    }

    fn text(&self, kind: Kind) -> String {
        let pieces = self.pieces.iter().filter(|piece| piece.kind == kind);
        let bytes = pieces.flat_map(|piece| piece.bytes.to_vec()).collect();
        String::from_utf8(bytes).expect("it is text")
    }

    async fn until(&mut self, what: &str) {
        while !self.text(Kind::Stdout).contains(what) {
            assert!(self.more().await, "never {what}: {:?}", self.pieces);
        }
    }

    /// What it said, and its exit code.
    async fn end(mut self) -> (String, String, Option<i32>) {
        while self.more().await {}
        let fault = self.text(Kind::Fault);
        assert_eq!(fault, "");
        let code = self.pieces.last().filter(|piece| piece.kind == Kind::Exit);
        let code = code.and_then(|piece| piece.bytes.first_chunk::<4>());
        let code = code.map(|code| i32::from_be_bytes(*code));
        (self.text(Kind::Stdout), self.text(Kind::Stderr), code)
    }
}

#[tokio::test]
async fn a_command_ends_with_its_own_exit_code_and_runs_as_and_where_it_is_told() {
    let Some(pair) = Pair::start(&[("web", "run", false)]).await else {
        return;
    };
    for way in pair.ways() {
        for code in [0, 1, 7, 255] {
            let command = ["/workload", "exit", &code.to_string()].map(str::to_owned);
            let run = Run::start(way, json!({"command": command})).await;
            assert_eq!(run.end().await, (String::new(), String::new(), Some(code)));
        }
        let run = Run::start(
            way,
            json!({
                "command": ["/workload", "tell"],
                "user": "1234:99",
                "workingDirectory": "/proc",
                "environment": ["WORD=two words"],
            }),
        );
        let (out, err, code) = run.await.end().await;
        expect![[r#"
            directory: /proc
            user: 1234
            terminal: false
            word: two words
        "#]]
        .assert_eq(&out);
        assert_eq!((err.as_str(), code), ("told\n", Some(0)));
    }
}

#[tokio::test]
async fn what_is_typed_goes_in_and_its_end_ends_the_command() {
    let Some(pair) = Pair::start(&[("web", "run", false)]).await else {
        return;
    };
    for way in pair.ways() {
        let body = json!({"command": ["/workload", "cat"], "interactive": true});
        let mut run = Run::start(way, body).await;
        run.send(Kind::Stdin, b"a first line\n").await;
        run.until("a first line").await;
        let much = "all of it ".repeat(60_000);
        let mut sent = 0;
        // Both ways at once: neither may fill up.
        for part in much.as_bytes().chunks(20_000) {
            run.send(Kind::Stdin, part).await;
            sent += part.len();
            while run.text(Kind::Stdout).len() < sent {
                assert!(run.more().await);
            }
        }
        run.send(Kind::StdinEnd, b"").await;
        let (out, _, code) = run.end().await;
        assert_eq!(code, Some(0));
        assert_eq!(out, format!("a first line\n{much}"));
    }
}

#[tokio::test]
async fn a_terminal_has_a_size_and_gets_another_one_and_keys_go_through() {
    let Some(pair) = Pair::start(&[("web", "run", false)]).await else {
        return;
    };
    for way in pair.ways() {
        let body = json!({
            "command": ["/workload", "size"],
            "interactive": true,
            "terminal": true,
            "size": [24, 80],
        });
        let mut run = Run::start(way, body).await;
        // Docker 20.10 sizes a terminal only once its command runs.
        while !run.text(Kind::Stdout).contains("size: 24 x 80") {
            run.send(Kind::Size, &[0, 24, 0, 80]).await;
            run.send(Kind::Stdin, b"\r").await;
            assert!(run.more().await);
        }
        run.send(Kind::Size, &[0, 50, 1, 44]).await;
        while !run.text(Kind::Stdout).contains("size: 50 x 300") {
            run.send(Kind::Stdin, b"\r").await;
            assert!(run.more().await);
        }
        // Ctrl-C: the terminal makes a signal of it, by which the command ends.
        run.send(Kind::Stdin, &[3]).await;
        let (_, _, code) = run.end().await;
        assert_eq!(code, Some(130));
    }
}

/// What a terminal says may begin like a frame of Docker's, which must not be taken for one.
#[tokio::test]
async fn what_looks_like_a_frame_of_a_terminal_is_what_it_says() {
    let Some(pair) = Pair::start(&[("web", "run", false)]).await else {
        return;
    };
    for way in pair.ways() {
        let body = json!({
            "command": ["/workload", "cat"],
            "interactive": true,
            "terminal": true,
        });
        let mut run = Run::start(way, body).await;
        run.send(Kind::Stdin, b"\x01\x02 odd\r").await;
        run.until("odd").await;
        // Ctrl-D.
        run.send(Kind::Stdin, &[4]).await;
        let (_, _, code) = run.end().await;
        assert_eq!(code, Some(0));
    }
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let Some(pair) = Pair::start(&[("web", "run", false)]).await else {
        return;
    };
    for way in pair.ways() {
        let plain = ask(way, Request::post(path("exec"))).await;
        let body = plain.into_body().collect().await.expect("it has a body");
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        assert!(text.contains("the connection must become frames"), "{text}");
        let empty = begin(way, "exec", json!({"command": []})).await;
        refused(
            empty,
            400,
            expect!["command must be the 1 to 1024 words of a command"],
        )
        .await;
        let odd = begin(way, "exec", json!({"command": ["a"], "detach": true})).await;
        assert_eq!(odd.status(), StatusCode::BAD_REQUEST);
    }
    kill(&pair.client, &pair.containers[0]).await;
    for way in pair.ways() {
        let ended = begin(way, "exec", json!({"command": ["/workload", "tell"]})).await;
        assert_eq!(ended.status(), StatusCode::BAD_REQUEST);
        let body = ended.into_body().collect().await.expect("it has a body");
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        assert!(text.contains("is not running"), "{text}");
    }
}

#[tokio::test]
async fn a_host_that_denies_commands_refuses_them_whoever_asks_and_shows_its_logs() {
    let Some(pair) = Pair::start_with(&[("web", "run", false)], true).await else {
        return;
    };
    for way in pair.ways() {
        let denied = begin(way, "exec", json!({"command": ["/workload", "tell"]})).await;
        let expected = expect![[r#"
            host beta refuses commands in its containers (its setting exec is "deny")"#]];
        refused(denied, 403, expected).await;
        let denied = get(way, &path("archive?path=/")).await;
        let expected = expect![[r#"
            host beta refuses copies of its containers' files (its setting exec is "deny")"#]];
        refused(denied, 403, expected).await;
        read(way, &path("logs")).await;
    }
}

#[tokio::test]
async fn whoever_runs_a_command_is_told_that_the_host_was_lost() {
    let Some(mut pair) = Pair::start(&[("web", "run", false)]).await else {
        return;
    };
    let body = json!({"command": ["/workload", "talk", "20"]});
    let mut run = Run::start(&pair.alpha.socket, body).await;
    run.until("line 3").await;
    drop(pair.beta.transport.take());
    while run.more().await {}
    expect!["host beta was lost: the connection to its agent broke; the command may run on"]
        .assert_eq(&run.text(Kind::Fault));
}
