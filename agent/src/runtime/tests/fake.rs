//! The runtime on a Docker that is absent, too old, lost or hung.

use super::{PATIENCE, config, connect, create, labels, unavailable, until};
use crate::runtime::{
    Docker, DockerConfig,
    images::PullBehavior,
    labels::{container_name, labels_to_map},
};
use holdfast_core::task::runtime::{FailureKind, RuntimeCommand, RuntimeEvent, RuntimeFailure};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    sync::mpsc,
    time::timeout,
};

/// Answers what is in the table and hangs on everything else, as well as after a whole response.
async fn serve(path: &Path, answers: &'static [(&'static str, &'static str)]) {
    let listener = UnixListener::bind(path).expect("the path is free");
    tokio::spawn(async move {
        let mut hung = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut question = vec![0; 4_096];
            let read = stream.read(&mut question).await.unwrap_or(0);
            let question = String::from_utf8_lossy(&question[..read]).into_owned();
            let line = question.lines().next().unwrap_or_default();
            match answers.iter().find(|(part, _)| line.contains(part)) {
                Some((_, response)) if response.starts_with("HTTP/1.1 ") => {
                    let response = response.as_bytes();
                    stream.write_all(response).await.unwrap_or_default();
                    hung.push(stream);
                }
                Some((_, body)) => {
                    let reply = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(reply.as_bytes()).await.unwrap_or_default();
                }
                None => hung.push(stream),
            }
        }
    });
}

struct Socket(PathBuf);

impl Socket {
    fn new(name: &str) -> Self {
        Self(env::temp_dir().join(format!("holdfast-{name}-{}.sock", process::id())))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap_or_default();
    }
}

async fn create_failed(events: &mut mpsc::Receiver<RuntimeEvent>) -> RuntimeFailure {
    let failed = |event| match event {
        RuntimeEvent::CreateFailed { failure, .. } => Ok(failure),
        other => Err(other),
    };
    until(events, "CreateFailed", failed).await
}

#[tokio::test]
async fn a_docker_that_is_not_there_is_awaited() {
    let socket = Socket::new("late");
    let config = DockerConfig {
        socket: socket.0.clone(),
        ..config()
    };
    let (sender, mut events) = mpsc::channel(8);
    let _docker = Docker::start(config, sender);
    let reason = unavailable(&mut events).await;
    assert!(reason.starts_with("cannot reach Docker at /"), "{reason}");
    assert!(
        reason.ends_with(": no such socket; is Docker running?"),
        "{reason}"
    );
    serve(
        &socket.0,
        &[("/version", r#"{"Version":"27.0","ApiVersion":"1.46"}"#)],
    )
    .await;
    let event = timeout(PATIENCE, events.recv()).await.expect("in time");
    assert_eq!(
        event,
        Some(RuntimeEvent::Available {
            version: "27.0".to_owned()
        })
    );
}

#[tokio::test]
async fn a_docker_that_refuses_or_is_too_old_says_so() {
    let socket = Socket::new("refusing");
    drop(UnixListener::bind(&socket.0).expect("the path is free"));
    let config = DockerConfig {
        socket: socket.0.clone(),
        ..config()
    };
    let (sender, mut events) = mpsc::channel(8);
    let _docker = Docker::start(config, sender);
    let reason = unavailable(&mut events).await;
    assert!(reason.ends_with(": connection refused"), "{reason}");
    fs::remove_file(&socket.0).expect("it is there");
    serve(
        &socket.0,
        &[("/version", r#"{"Version":"19.03","ApiVersion":"1.40"}"#)],
    )
    .await;
    let mut reason = unavailable(&mut events).await;
    if reason.contains("no such socket") {
        reason = unavailable(&mut events).await;
    }
    assert_eq!(
        reason,
        "Docker Engine 19.03 (API 1.40) is too old: Holdfast needs 20.10 (API 1.41) or newer"
    );
}

#[tokio::test]
async fn a_hung_docker_times_out_and_holds_up_nothing_else() {
    let socket = Socket::new("hung");
    serve(
        &socket.0,
        &[
            ("/version", r#"{"Version":"27.0","ApiVersion":"1.46"}"#),
            ("/containers/json", "[]"),
        ],
    )
    .await;
    let config = DockerConfig {
        socket: socket.0.clone(),
        call_timeout: Duration::from_millis(300),
        ..config()
    };
    let (docker, mut events) = connect(&config).await;
    for _ in 0..100 {
        docker.carry_out(RuntimeCommand::Create(Box::new(create("web:1"))));
    }
    docker.carry_out(RuntimeCommand::List);
    let listed = |event| match event {
        RuntimeEvent::Listed(observed) => Ok(observed),
        other => Err(other),
    };
    assert_eq!(until(&mut events, "Listed", listed).await, []);
    let failure = create_failed(&mut events).await;
    assert_eq!(failure.kind, FailureKind::Transient);
    assert_eq!(
        failure.reason,
        "DockerTimeoutError: could not create the container: no answer from Docker within 0.6 s"
    );
}

#[tokio::test]
async fn an_id_that_docker_would_not_give_is_refused_by_name() {
    let socket = Socket::new("odd");
    serve(
        &socket.0,
        &[
            ("/version", r#"{"Version":"27.0","ApiVersion":"1.46"}"#),
            ("/containers/json", "[]"),
            ("/containers/create", r#"{"Id":"web-1","Warnings":[]}"#),
        ],
    )
    .await;
    let config = DockerConfig {
        socket: socket.0.clone(),
        ..config()
    };
    let (docker, mut events) = connect(&config).await;
    docker.carry_out(RuntimeCommand::Create(Box::new(create("web:1"))));
    let failure = create_failed(&mut events).await;
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert_eq!(
        failure.reason,
        "CannotCreateContainerError: Docker answered what cannot be understood: \
         \"web-1\" is not a container's id: these are 64 hexadecimal digits"
    );
}

#[tokio::test]
async fn a_connection_that_is_lost_is_made_again() {
    let socket = Socket::new("lost");
    serve(
        &socket.0,
        &[
            ("/version", r#"{"Version":"27.0","ApiVersion":"1.46"}"#),
            ("/v1.46/events?since=", ""),
        ],
    )
    .await;
    let config = DockerConfig {
        socket: socket.0.clone(),
        ..config()
    };
    let (_docker, mut events) = connect(&config).await;
    let reason = unavailable(&mut events).await;
    assert_eq!(reason, "Docker closed its event stream");
    let event = timeout(PATIENCE, events.recv()).await.expect("in time");
    assert_eq!(
        event,
        Some(RuntimeEvent::Available {
            version: "27.0".to_owned()
        })
    );
}

/// A container that Docker gave up while it made it, and one that was there and ended.
#[tokio::test]
async fn what_was_never_made_is_not_called_gone() {
    let socket = Socket::new("half-made");
    let mut attributes = labels_to_map(&labels());
    attributes.insert("name".to_owned(), container_name(&labels()));
    attributes.insert("exitCode".to_owned(), "1".to_owned());
    let told = |action: &str, id: char| {
        let id = id.to_string().repeat(64);
        let actor = serde_json::json!({ "ID": id, "Attributes": attributes });
        serde_json::json!({ "Type": "container", "Action": action, "Actor": actor }).to_string()
    };
    let stream = [told("destroy", 'a'), told("die", 'b')].join("\n");
    let answers = [
        ("/version", r#"{"Version":"27.0","ApiVersion":"1.46"}"#),
        ("/v1.46/events?since=", &*stream.leak()),
    ];
    serve(&socket.0, Vec::from(answers).leak()).await;
    let config = DockerConfig {
        socket: socket.0.clone(),
        ..config()
    };
    let (_docker, mut events) = connect(&config).await;
    let of_a_container = |event| match event {
        RuntimeEvent::Exited { .. } | RuntimeEvent::Removed { .. } => Ok(event),
        other => Err(other),
    };
    let first = until(&mut events, "an end", of_a_container).await;
    assert!(matches!(first, RuntimeEvent::Exited { .. }), "{first:?}");
}

#[tokio::test]
async fn how_far_a_pull_has_come_is_told_once_for_each_container_that_waits() {
    let socket = Socket::new("pulling");
    serve(
        &socket.0,
        &[
            ("/version", r#"{"Version":"27.0","ApiVersion":"1.46"}"#),
            ("/images/json", "[]"),
            (
                "/containers/create",
                "HTTP/1.1 404 Not Found\r\nContent-Length: 34\r\n\r\n\
                 {\"message\":\"No such image: web:1\"}",
            ),
            (
                "/images/create",
                "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"Downloading\",\"id\":\"a\",\
                 \"progressDetail\":{\"current\":35651584,\"total\":125829120}}\r\n",
            ),
        ],
    )
    .await;
    let mut config = DockerConfig {
        socket: socket.0.clone(),
        progress_timeout: Duration::from_secs(4),
        ..config()
    };
    config.images.behavior = PullBehavior::PreferCached;
    let (docker, mut events) = connect(&config).await;
    let mut other = create("web:1");
    other.labels.container = "other".to_owned();
    // The core asks again where a comparison misses what it asked for.
    for create in [create("web:1"), other, create("web:1")] {
        docker.carry_out(RuntimeCommand::Create(Box::new(create)));
    }
    let mut told = Vec::new();
    let mut failures = Vec::new();
    while failures.len() < 3 {
        match timeout(PATIENCE, events.recv()).await.expect("in time") {
            Some(RuntimeEvent::Pulling {
                container,
                progress,
                ..
            }) => told.push((container, progress)),
            Some(RuntimeEvent::CreateFailed { failure, .. }) => failures.push(failure.reason),
            other => panic!("{other:?}"),
        }
    }
    let words = "pulls web:1: 34 of 120 MiB".to_owned();
    assert_eq!(
        told,
        [
            ("other".to_owned(), words.clone()),
            ("web".to_owned(), words)
        ]
    );
    assert!(
        failures[0].starts_with("CannotPullContainerError: no progress in pulling web:1 for 4 s"),
        "{failures:?}"
    );
}
