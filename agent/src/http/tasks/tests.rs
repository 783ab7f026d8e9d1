//! Two agents that never step, each with its servers, and containers of a real Docker that their
//! boards call the second one's. Skipped, loudly, without `HOLDFAST_TEST_DOCKER_IMAGE`.

mod commands;
mod files;
mod saying;

use super::Reach;
use crate::{
    api::tests::board::{A, B, context, host, record, records, task, task_id},
    gossip::{Transport, TransportConfig, now_wall_ms},
    handle::{DaemonStatus, Handle},
    http::{
        Address, App, Servers, bind_local,
        client::send,
        frames::{Decoder, Kind, Piece},
        tests::{agent_of, directory, drive_agent, refuse, vault},
    },
    recordings::Recordings,
    runtime::{
        Docker,
        tests::{
            Client, clean_up, client, config, connect, docker_image, kill, remove, start_container,
        },
    },
};
use bytes::Bytes;
use expect_test::Expect;
use holdfast_core::{
    cluster::{
        body::{Body, ContainerReport, Key},
        record::Record,
    },
    ids::HostId,
    task::{runtime::RuntimeEvent, status::TaskStatus},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, http::request::Builder};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const TASK: u128 = 77;

/// What one agent serves with.
struct Side {
    socket: Address,
    transport: Option<Transport>,
    app: App,
    _servers: Servers,
    _docker: (Docker, mpsc::Receiver<RuntimeEvent>),
    _workers: JoinSet<()>,
}

/// Alpha, who is asked and has nothing; and beta, who has the task.
struct Pair {
    alpha: Side,
    beta: Side,
    client: Client,
    containers: Vec<String>,
    directory: PathBuf,
}

impl Pair {
    /// With a container for each of these, of a name, the words that it is told and whether it has
    /// a terminal.
    async fn start(containers: &[(&str, &str, bool)]) -> Option<Self> {
        Self::start_with(containers, false).await
    }

    async fn start_with(containers: &[(&str, &str, bool)], denies_exec: bool) -> Option<Self> {
        let image = docker_image()?;
        let (client, directory) = (client(), directory());
        let mut reports = Vec::new();
        let mut ids = Vec::new();
        for (name, words, terminal) in containers {
            let id = start_container(&client, &image, words, *terminal).await;
            reports.push(ContainerReport {
                name: (*name).into(),
                runtime_id: id.parse().ok(),
                ..task(0, TaskStatus::Running).containers[0].clone()
            });
            ids.push(id);
        }
        let (alpha, beta) = (transport(A).await, transport(B).await);
        let mut board = records();
        for (id, name, at) in [
            (A, "alpha", alpha.local_addr()),
            (B, "beta", beta.local_addr()),
        ] {
            let mut report = host(name, 1);
            report.address = at;
            board.push(record(Key::Host(id), 2, Some(Body::Host(report))));
        }
        let mut report = task(0, TaskStatus::Running);
        report.containers = reports.into();
        let key = Key::Task(B, task_id(TASK));
        board.push(record(key, 2, Some(Body::Task(report))));
        let socket = |name: &str| directory.join(format!("{name}.sock"));
        Some(Self {
            alpha: side(A, alpha, &board, socket("alpha"), denies_exec).await,
            beta: side(B, beta, &board, socket("beta"), denies_exec).await,
            client,
            containers: ids,
            directory,
        })
    }

    /// Asked where the task is, and asked by way of another agent: it must be the same.
    fn ways(&self) -> [&Address; 2] {
        [&self.beta.socket, &self.alpha.socket]
    }

    /// Until a container has said so many lines.
    async fn until_said(&self, name: &str, lines: usize) {
        let started = Instant::now();
        loop {
            let told = read(&self.beta.socket, &path(&format!("logs?container={name}"))).await;
            let said = told.text(Kind::Stdout) + &told.text(Kind::Stderr);
            if said.lines().count() >= lines {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "it has said only {said}");
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let (client, containers) = (self.client.clone(), std::mem::take(&mut self.containers));
        clean_up(
            "containers",
            async move { remove(&client, containers).await },
        );
        fs::remove_dir_all(&self.directory).ok();
    }
}

async fn transport(host: HostId) -> Transport {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = TransportConfig {
        bind: anywhere,
        advertise: anywhere,
        cluster: "shop".to_owned(),
        keyring: None,
        host,
        boot: now_wall_ms(),
        now_wall_ms,
    };
    let bound = Transport::bind(config, mpsc::channel(1).0).await;
    bound.expect("a port of loopback is free")
}

async fn side(
    host: HostId,
    mut transport: Transport,
    board: &[Arc<Record>],
    socket: PathBuf,
    denies_exec: bool,
) -> Side {
    let (handle, calls) = Handle::new(DaemonStatus::default());
    let (docker, events) = connect(&config()).await;
    let reach = Reach {
        containers: docker.containers(),
        tunnels: transport.tunnels(),
        denies_exec,
    };
    let recordings = Recordings::new(socket.parent().expect("it is in a directory"));
    let app = App::new(
        handle,
        context(),
        "no-such-group",
        recordings,
        docker.images(),
        vault(),
    );
    let app = app.reaching(reach);
    let listener = bind_local(&socket).await.expect("the socket is made");
    let mut servers = Servers::start(&app, listener, None);
    servers.serve_peers(&app, transport.take_incoming().expect("nobody took it"));
    let mut workers = JoinSet::new();
    workers.spawn(drive_agent(agent_of(host, board.to_vec()), calls, refuse));
    Side {
        socket: Address::Unix(socket),
        transport: Some(transport),
        app,
        _servers: servers,
        _docker: (docker, events),
        _workers: workers,
    }
}

fn path(rest: &str) -> String {
    format!("/v1/tasks/{}/{rest}", task_id(TASK))
}

async fn get(to: &Address, path: &str) -> Response<Incoming> {
    ask(to, Request::get(path)).await
}

async fn ask(to: &Address, request: Builder) -> Response<Incoming> {
    let answer = timeout(PATIENCE, send(to, request, Full::<Bytes>::default())).await;
    answer.expect("it answers in time").expect("it answers")
}

/// The sentence of a refusal, with what differs from run to run left out.
async fn refused(answer: Response<Incoming>, status: u16, expected: Expect) {
    assert_eq!(answer.status().as_u16(), status);
    let body = answer.into_body().collect().await.expect("it has a body");
    let value: Value = serde_json::from_slice(&body.to_bytes()).expect("it is JSON");
    expected.assert_eq(value["message"].as_str().expect("it says why"));
}

async fn value(to: &Address, path: &str) -> Value {
    let answer = get(to, path).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await.expect("it has a body");
    serde_json::from_slice(&body.to_bytes()).expect("it is JSON")
}

/// A stream of frames, as far as it has come.
struct Told {
    body: Incoming,
    decoder: Decoder,
    is_terminal: bool,
    pieces: Vec<Piece>,
    broke: bool,
}

impl Told {
    async fn open(to: &Address, path: &str) -> Self {
        let answer = get(to, path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        Self {
            is_terminal: answer.headers().contains_key("holdfast-terminal"),
            body: answer.into_body(),
            decoder: Decoder::default(),
            pieces: Vec::new(),
            broke: false,
        }
    }

    /// Whether more has come.
    async fn more(&mut self) -> bool {
        let frame = timeout(PATIENCE, self.body.frame()).await;
        let frame = match frame.expect("more, or the end, comes in time") {
            None => return false,
            Some(Err(_)) => {
                self.broke = true;
                return false;
            }
            Some(Ok(frame)) => frame,
        };
        self.decoder.feed(&frame.into_data().unwrap_or_default());
        while let Some(piece) = self.decoder.next().expect("it is made of frames") {
            self.pieces.push(piece);
        }
        true
    }

    fn bytes(&self, kind: Kind) -> Vec<u8> {
        let pieces = self.pieces.iter().filter(|piece| piece.kind == kind);
        pieces.flat_map(|piece| piece.bytes.to_vec()).collect()
    }

    fn text(&self, kind: Kind) -> String {
        String::from_utf8(self.bytes(kind)).expect("it is text")
    }
}

/// All of it, to its end.
async fn read(to: &Address, path: &str) -> Told {
    let mut told = Told::open(to, path).await;
    while told.more().await {}
    assert!(!told.broke, "it broke off");
    told
}
