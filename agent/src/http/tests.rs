//! The servers over real sockets, with a driver that answers from an agent that never steps.

mod discovery;
mod images;
mod keys;
mod readers;
mod schedules;
mod values;

use super::{
    Address, App, BindError, Servers, answer, bind_introspection, bind_local,
    caller::Caller,
    client::{SendError, send},
    serve_introspection,
};
use crate::{
    api::tests::{
        board::{A, T0, context, records},
        events::event,
    },
    gossip::{ClusterKey, Keyring},
    handle::{Call, DaemonStatus, Handle},
    recordings::Recordings,
    runtime::images::{Images, PullBehavior},
    vault::Vault,
};
use bytes::Bytes;
use expect_test::{ExpectFile, expect_file};
use holdfast_core::{
    agent::{Agent, AgentConfig},
    cluster::{board::Board, body::Capacity, record::Record},
    command::{Command, Outcome, Refusal},
    effect::Effects,
    event::{Happening, HostChange, HostStanding},
    ids::HostId,
    limits,
    recording::{Bounds, Cause, Recorder, Recording},
    time::Now,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, http::request::Builder};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    task::JoinSet,
};

/// Both servers of one agent; all of it ends with this.
struct Served {
    directory: PathBuf,
    socket: Address,
    loopback: Address,
    app: App,
    handle: Handle,
    /// Serve as long as they are held.
    _servers: Servers,
    workers: JoinSet<()>,
}

impl Served {
    async fn start(answer: fn(Command) -> Result<Outcome, Refusal>) -> Self {
        let directory = directory();
        let path = directory.join("api.sock");
        let (handle, calls) = Handle::new(DaemonStatus {
            agent_version: "0.1.0".to_owned(),
            started_at: T0,
            ..DaemonStatus::default()
        });
        let recordings = Recordings::new(&directory);
        let app = App::new(
            handle.clone(),
            context(),
            "no-such-group",
            recordings,
            images(),
            vault(),
        );
        let local = bind_local(&path).await.unwrap();
        let tcp = bind_introspection(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let loopback = Address::Tcp(tcp.local_addr().unwrap());
        let mut workers = JoinSet::new();
        workers.spawn(drive(calls, answer));
        Self {
            _servers: Servers::start(&app, local, Some(tcp)),
            directory,
            socket: Address::Unix(path),
            loopback,
            app,
            handle,
            workers,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.workers.abort_all();
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// There is no Docker here.
fn images() -> Images {
    Images::without_docker(PullBehavior::PreferCached)
}

/// With a key that anybody could have.
pub(super) fn vault() -> Vault {
    let ring = Keyring {
        primary: ClusterKey::known_to_everyone("test"),
        others: vec![],
    };
    Vault::new("test", Some(ring))
}

pub(super) fn directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("holdfast-http-{}-{number}", process::id()));
    fs::create_dir(&path).unwrap();
    path
}

async fn drive(calls: mpsc::Receiver<Call>, answer: fn(Command) -> Result<Outcome, Refusal>) {
    drive_agent(agent(), calls, answer).await;
}

pub(super) async fn drive_agent(
    agent: Agent,
    mut calls: mpsc::Receiver<Call>,
    answer: fn(Command) -> Result<Outcome, Refusal>,
) {
    while let Some(call) = calls.recv().await {
        match call {
            Call::Read(read) => read(&agent),
            Call::Record { at, reply } => {
                let recorder = Recorder::new(&agent, Bounds::default());
                reply
                    .send(recorder.save(&agent, Cause::Asked, at))
                    .unwrap_or(());
            }
            Call::Command { command, reply } => reply.send(answer(command)).unwrap_or(()),
        }
    }
}

fn agent() -> Agent {
    agent_of(A, records())
}

/// One that has this board and never steps.
pub(super) fn agent_of(host: HostId, records: Vec<Arc<Record>>) -> Agent {
    let config = AgentConfig {
        host,
        incarnation: 1,
        cluster: "shop".to_owned(),
        name: if host == A { "alpha" } else { "beta" }.to_owned(),
        address: ([10, 0, 0, 1], 7_946).into(),
        seeds: Vec::new(),
        seeds_expected: false,
        dynamic_ports: None,
        zone: None,
        attributes: BTreeMap::new(),
        capacity: Capacity::default(),
        gpus: Vec::new(),
        fingerprint: 7,
        keys: Default::default(),
        agent_version: "0.1.0".to_owned(),
        timings: Default::default(),
    };
    Agent::resume(
        config,
        Board::from_records(records),
        1,
        Now::default(),
        &mut Effects::default(),
    )
}

pub(super) fn refuse(_: Command) -> Result<Outcome, Refusal> {
    Err(Refusal::ServiceExists("web".to_owned()))
}

async fn told(to: &Address, request: Builder, body: Full<Bytes>) -> (StatusCode, Value) {
    let response = send(to, request, body).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn get(to: &Address, path: &str) -> (StatusCode, Value) {
    told(to, Request::get(path), Full::<Bytes>::default()).await
}

fn operation(name: &str) -> Builder {
    let target = format!("AmazonEC2ContainerServiceV20141113.{name}");
    Request::post("/").header("x-amz-target", target)
}

fn shown((status, value): &(StatusCode, Value)) -> String {
    format!("{}\n{value:#}", status.as_u16())
}

fn check(answer: &(StatusCode, Value), expected: ExpectFile) {
    expected.assert_eq(&shown(answer));
}

#[tokio::test]
async fn both_servers_answer_what_the_driver_reads() {
    let served = Served::start(refuse).await;
    for to in [&served.socket, &served.loopback] {
        let (status, metadata) = get(to, "/v1/metadata").await;
        assert_eq!(
            (status.as_u16(), &metadata["Cluster"]),
            (200, &json!("shop"))
        );
        check(&get(to, "/healthz").await, expect_file!["tests/alive.txt"]);
        assert_eq!(
            get(to, "/v1/status").await.1["host"]["id"],
            json!(A.to_string())
        );
        let (status, none) = get(to, "/v1/tasks?dockerid=ffffffffffff").await;
        assert_eq!((status.as_u16(), &none["Arn"]), (404, &json!("")));
        let both = get(to, "/v1/tasks?dockerid=ff&taskarn=x").await;
        assert_eq!(both.0.as_u16(), 400);
        assert_eq!(
            get(to, "/").await.1["AvailableCommands"][0],
            json!("/v1/metadata")
        );
        let head = told(to, Request::head("/v1/metadata"), Full::<Bytes>::default()).await;
        assert_eq!(head, (StatusCode::OK, Value::Null));
        check(
            &get(to, "/v1/nothing").await,
            expect_file!["tests/no_such_path.txt"],
        );
        check(
            &get(to, "/v1/cluster-tasks?servise=web").await,
            expect_file!["tests/unknown_parameter.txt"],
        );
    }
}

#[tokio::test]
async fn the_socket_serves_ecs_operations() {
    let served = Served::start(refuse).await;
    let (status, listed) = told(
        &served.socket,
        operation("ListServices"),
        Full::<Bytes>::default(),
    )
    .await;
    assert!(
        status.is_success() && listed["serviceArns"].is_array(),
        "{listed}"
    );
    let body = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 1});
    let body = Full::from(body.to_string());
    let refused = told(&served.socket, operation("CreateService"), body).await;
    check(&refused, expect_file!["tests/refused.txt"]);
    let garbled = told(&served.socket, operation("ListTasks"), Full::from("{")).await;
    check(&garbled, expect_file!["tests/garbled.txt"]);
    let bare = told(&served.socket, Request::post("/"), Full::<Bytes>::default()).await;
    check(&bare, expect_file!["tests/no_target.txt"]);
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused_announced_or_not() {
    let served = Served::start(refuse).await;
    let long = "x".repeat(limits::REQUEST_BYTES_MAX + 1);
    let answer = told(&served.socket, operation("ListTasks"), Full::from(long)).await;
    check(&answer, expect_file!["tests/too_long.txt"]);
    let Address::Unix(path) = &served.socket else {
        unreachable!("it is a unix socket");
    };
    let mut stream = UnixStream::connect(path).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\
                x-amz-target: AmazonEC2ContainerServiceV20141113.ListTasks\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 65_536, "x".repeat(65_536));
    for _ in 0..9 {
        // The server may hang up before it was sent everything.
        stream.write_all(chunk.as_bytes()).await.ok();
    }
    let mut answer = vec![0; 64];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn over_tcp_nothing_is_written_and_no_web_page_reads() {
    let served = Served::start(refuse).await;
    let to = &served.loopback;
    let posted = told(to, operation("ListServices"), Full::<Bytes>::default()).await;
    check(&posted, expect_file!["tests/read_only.txt"]);
    let from_page = Request::get("/v1/status").header("origin", "http://localhost:51678");
    check(
        &told(to, from_page, Full::<Bytes>::default()).await,
        expect_file!["tests/web_page.txt"],
    );
    let cross = Request::get("/v1/status").header("sec-fetch-site", "cross-site");
    assert_eq!(
        told(to, cross, Full::<Bytes>::default()).await.0.as_u16(),
        403
    );
    let rebound = Request::get("http://evil.example/v1/status");
    check(
        &told(to, rebound, Full::<Bytes>::default()).await,
        expect_file!["tests/rebound.txt"],
    );
    let response = send(to, Request::get("/v1/status"), Full::<Bytes>::default())
        .await
        .unwrap();
    let headers = response.headers();
    assert_eq!(headers.get("access-control-allow-origin"), None);
    assert_eq!(headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn only_those_who_may_deploy_may_write() {
    let served = Served::start(refuse).await;
    let stranger = Caller::Local {
        uid: 4_000_000_000,
        gid: 4_000_000_000,
    };
    let root = Caller::Local { uid: 0, gid: 0 };
    assert_eq!(root.check_may_deploy(&served.app, "StopTask").await, Ok(()));
    let refused = stranger.check_may_deploy(&served.app, "StopTask").await;
    expect_file!["tests/stranger.txt"].assert_eq(&refused.unwrap_err().to_string());
    assert!(!Caller::Loopback.may_deploy(&served.app).await);
}

#[tokio::test]
async fn events_are_streamed_and_resumed() {
    let served = Served::start(refuse).await;
    for sequence in 1..=3 {
        served.handle.events().push(event(
            sequence,
            Happening::Host(HostChange {
                host: A,
                name: "alpha".to_owned(),
                now: HostStanding::Up,
                since: T0,
                reason: "joined".to_owned(),
            }),
        ));
    }
    let (_, kept) = get(&served.loopback, "/v1/events?follow=false&after=1").await;
    assert_eq!(kept["events"].as_array().unwrap().len(), 2);
    // A browser that reconnects sends the first address again: the header goes first.
    let request = Request::get("/v1/events?after=0").header("last-event-id", "2");
    let response = send(&served.loopback, request, Full::<Bytes>::default())
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let frame = response.into_body().frame().await.unwrap().unwrap();
    let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    expect_file!["tests/event.txt"].assert_eq(&text);
    check(
        &get(&served.loopback, "/v1/events?after=x").await,
        expect_file!["tests/bad_after.txt"],
    );
}

#[tokio::test]
async fn a_filtered_stream_says_how_far_it_has_come_and_gives_ecs_shapes() {
    let served = Served::start(refuse).await;
    for sequence in 1..=70 {
        let change = HostChange {
            host: A,
            name: "alpha".to_owned(),
            now: HostStanding::Up,
            since: T0,
            reason: "joined".to_owned(),
        };
        let told = event(sequence, Happening::Host(change));
        served.handle.events().push(told);
    }
    let request = Request::get("/v1/events?kind=task");
    let response = send(&served.loopback, request, Full::<Bytes>::default()).await;
    let frame = response.unwrap().into_body().frame().await;
    let frame = frame.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&frame[..], b"id: 64\n\n", "it resumes from there");
    let path = "/v1/events?follow=false&format=ecs&kind=host&after=68";
    let (_, kept) = get(&served.loopback, path).await;
    let times = kept["events"].as_array().unwrap();
    let times: Vec<_> = times.iter().map(|event| &event["detail-type"]).collect();
    assert_eq!(times, ["ECS Container Instance State Change"; 2]);
    assert_eq!(kept["latest"], 70);
    let request = Request::get("/v1/events?format=ecs&after=69");
    let response = send(&served.loopback, request, Full::<Bytes>::default()).await;
    let frame = response.unwrap().into_body().frame().await;
    let frame = frame.unwrap().unwrap().into_data().unwrap();
    assert!(
        frame.starts_with(b"id: 70\nevent: ecs\ndata: {\"account\""),
        "{frame:?}"
    );
}

#[tokio::test]
async fn a_recording_is_written_for_whoever_may_deploy_and_for_its_owner_alone() {
    let served = Served::start(|_| unreachable!("nothing is changed")).await;
    let record = || Request::post("/v1/recordings");
    let (status, told_of) = told(&served.socket, record(), Full::<Bytes>::default()).await;
    assert_eq!(status, StatusCode::OK, "{told_of}");
    let path = Path::new(told_of["path"].as_str().unwrap());
    assert!(path.starts_with(served.directory.join("recordings")));
    let file = fs::read(path).unwrap();
    assert_eq!(told_of["bytes"], file.len());
    let recording = Recording::read(&file).unwrap();
    assert_eq!(told_of["steps"], recording.steps.len());
    assert_eq!(
        fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // Over TCP nobody is anybody.
    let (status, _) = told(&served.loopback, record(), Full::<Bytes>::default()).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    // It says why if it cannot.
    fs::remove_dir_all(served.directory.join("recordings")).unwrap();
    fs::write(served.directory.join("recordings"), "").unwrap();
    let (status, refused) = told(&served.socket, record(), Full::<Bytes>::default()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let why = refused["message"].as_str().unwrap();
    assert!(why.contains("cannot write the recording"), "{why}");
}

#[tokio::test]
async fn when_the_driver_ends_every_answer_says_so() {
    let (handle, calls) = Handle::new(DaemonStatus::default());
    drop(calls);
    let recordings = Recordings::new(Path::new("/nowhere"));
    let app = App::new(handle, context(), "holdfast", recordings, images(), vault());
    let tcp = bind_introspection(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let to = Address::Tcp(tcp.local_addr().unwrap());
    let mut workers = JoinSet::new();
    workers.spawn(serve_introspection(tcp, app));
    check(
        &get(&to, "/healthz").await,
        expect_file!["tests/stopping.txt"],
    );
}

#[tokio::test]
async fn what_was_asked_before_the_servers_close_is_answered() {
    let directory = directory();
    let (handle, mut calls) = Handle::new(DaemonStatus::default());
    let recordings = Recordings::new(&directory);
    let app = App::new(handle, context(), "holdfast", recordings, images(), vault());
    let tcp = bind_introspection(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let address = tcp.local_addr().unwrap();
    let local = bind_local(&directory.join("api.sock")).await.unwrap();
    let servers = Servers::start(&app, local, Some(tcp));
    let asked = tokio::spawn(async move { get(&Address::Tcp(address), "/v1/status").await });
    let Some(Call::Read(read)) = calls.recv().await else {
        panic!("a status is a read");
    };
    let closed = tokio::spawn(servers.close());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    read(&agent());
    assert_eq!(asked.await.unwrap().0, StatusCode::OK);
    closed.await.unwrap();
    fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn a_socket_left_behind_is_taken_over_and_nothing_else_is() {
    let directory = directory();
    let path = directory.join("api.sock");
    let left_behind = bind_local(&path).await.unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o666
    );
    let taken = bind_local(&path).await;
    assert!(matches!(taken, Err(BindError::Taken { .. })), "{taken:?}");
    drop(left_behind);
    let refused = send(
        &Address::Unix(path.clone()),
        Request::get("/"),
        Full::<Bytes>::default(),
    )
    .await;
    assert!(matches!(refused, Err(SendError::Connect(_))), "{refused:?}");
    bind_local(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    let file = bind_local(&path).await;
    assert!(
        matches!(file, Err(BindError::NotASocket { .. })),
        "{file:?}"
    );
    let open = bind_introspection(([0, 0, 0, 0], 0).into()).await;
    assert!(
        matches!(open, Err(BindError::NotLoopback { .. })),
        "{open:?}"
    );
    fs::remove_dir_all(&directory).unwrap();
}
