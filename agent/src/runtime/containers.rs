//! What people ask of single containers: their logs, commands in them, their files, what they use.
//!
//! Docker is asked here without bollard, which takes apart by itself what Docker streams: it takes
//! the output of a terminal for frames where it begins like one, and keeps a line until it ends,
//! however long, so that a container could fill the agent's memory.

use super::docker::Shared;
use crate::http::client::{self, Driven, encode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header,
    http::request::Builder,
    upgrade::{self, Upgraded},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};

/// Of what Docker says of one container, and of why it refuses.
const ANSWER_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Docker may still say that a command runs when its output has ended.
const EXIT_WAIT_MAX: Duration = Duration::from_secs(2);
const JSON: &str = "application/json";
const EXIT_PAUSE: Duration = Duration::from_millis(5);

/// Containers as the servers see them. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Containers(pub(in crate::runtime) Arc<Shared>);

/// Why Docker did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error("Docker is unavailable on the task's host")]
    Unavailable,
    #[error("Docker has not answered within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the connection to Docker broke: {0}")]
    Broken(String),
    #[error("{text}")]
    Refused { status: u16, text: String },
}

/// Which of a container's logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogsWanted {
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    /// Seconds since 1970, with a fraction.
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    /// `None`: all lines.
    pub(crate) tail: Option<u64>,
}

/// A command to be run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ExecWanted {
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) interactive: bool,
    #[serde(default)]
    pub(crate) terminal: bool,
    pub(crate) user: Option<String>,
    pub(crate) working_directory: Option<String>,
    /// As `NAME=VALUE`.
    #[serde(default)]
    pub(crate) environment: Vec<String>,
    /// Rows and columns.
    pub(crate) size: Option<[u16; 2]>,
}

/// What is asked before a container's logs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// What it says comes without frames.
    pub(crate) terminal: bool,
}

impl Containers {
    pub(crate) async fn shape(&self, container: &str) -> Result<Shape, AskError> {
        let path = format!("/containers/{}/json", encode(container));
        let inspected = self.value(Request::get(path), Full::default()).await?;
        let terminal = inspected.pointer("/Config/Tty") == Some(&Value::Bool(true));
        Ok(Shape { terminal })
    }

    /// In Docker's frames, unless the container has a terminal.
    pub(crate) async fn logs(
        &self,
        container: &str,
        wanted: &LogsWanted,
    ) -> Result<Driven, AskError> {
        let tail = wanted
            .tail
            .map_or_else(|| "all".to_owned(), |n| n.to_string());
        let mut path = format!(
            "/containers/{}/logs?stdout=true&stderr=true&follow={}&timestamps={}&tail={tail}",
            encode(container),
            wanted.follow,
            wanted.timestamps,
        );
        for (name, value) in [("since", &wanted.since), ("until", &wanted.until)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        let limit = self.0.config.call_timeout;
        let asked = async {
            let (stream, request) = self
                .dialed(Request::get(path), Full::<Bytes>::default())
                .await?;
            let answer = client::exchange_here(stream, request).await;
            checked(answer.map_err(|err| AskError::Broken(err.to_string()))?).await
        };
        let answer = timeout(limit, asked).await;
        Ok(answer.map_err(|_| AskError::TimedOut(limit))??.into_body())
    }

    /// Prepares a command; its id.
    pub(crate) async fn prepare_exec(
        &self,
        container: &str,
        wanted: &ExecWanted,
    ) -> Result<String, AskError> {
        let body = json!({
            "AttachStdin": wanted.interactive,
            "AttachStdout": true,
            "AttachStderr": true,
            "Tty": wanted.terminal,
            "ConsoleSize": wanted.size,
            "Cmd": wanted.command,
            "Env": wanted.environment,
            "User": wanted.user.clone().unwrap_or_default(),
            "WorkingDir": wanted.working_directory.clone().unwrap_or_default(),
        });
        let path = format!("/containers/{}/exec", encode(container));
        let request = Request::post(path).header(header::CONTENT_TYPE, JSON);
        let made = self.value(request, json_body(&body)).await?;
        match made["Id"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => Err(AskError::Broken(
                "it made a command without an id".to_owned(),
            )),
        }
    }

    /// Starts it. What goes in and comes out goes through the connection.
    pub(crate) async fn start_exec(
        &self,
        exec: &str,
        wanted: &ExecWanted,
    ) -> Result<Upgraded, AskError> {
        let body = json!({
            "Detach": false,
            "Tty": wanted.terminal,
            "ConsoleSize": wanted.size.filter(|_| wanted.terminal),
        });
        let request = Request::post(format!("/exec/{}/start", encode(exec)))
            .header(header::CONTENT_TYPE, JSON)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "tcp");
        let answer = self.ask(request, json_body(&body)).await?;
        let upgraded = upgrade::on(answer).await;
        upgraded.map_err(|err| AskError::Broken(err.to_string()))
    }

    pub(crate) async fn resize_exec(&self, exec: &str, [rows, columns]: [u16; 2]) {
        let path = format!("/exec/{}/resize?h={rows}&w={columns}", encode(exec));
        // It may have ended, or not begun yet; the next change of size is told again.
        self.ask(Request::post(path), Full::default()).await.ok();
    }

    /// The exit code of a command whose output has ended; `None` where it runs on all the same.
    pub(crate) async fn exit_of_exec(&self, exec: &str) -> Result<Option<i32>, AskError> {
        let path = format!("/exec/{}/json", encode(exec));
        let since = Instant::now();
        loop {
            let inspected = self.value(Request::get(&path), Full::default()).await?;
            if inspected["Running"] != Value::Bool(true) {
                let code = inspected["ExitCode"].as_i64().unwrap_or(-1);
                return Ok(Some(i32::try_from(code).unwrap_or(-1)));
            }
            if since.elapsed() > EXIT_WAIT_MAX {
                return Ok(None);
            }
            sleep(EXIT_PAUSE).await;
        }
    }

    /// What is at a path, in Docker's words: `name`, `size`, `mode` (Go's), `linkTarget`. `None`:
    /// nothing is there.
    pub(crate) async fn stat(
        &self,
        container: &str,
        path: &str,
    ) -> Result<Option<Value>, AskError> {
        let request = Request::builder().method(Method::HEAD);
        let request = request.uri(archive_path(container, path));
        let answer = match self.ask(request, Full::default()).await {
            Err(AskError::Refused { status: 404, .. }) => {
                // The answer to a HEAD cannot say why.
                self.shape(container).await?;
                return Ok(None);
            }
            answer => answer?,
        };
        let told = answer.headers().get("x-docker-container-path-stat");
        let read = told.and_then(|told| {
            let json = STANDARD.decode(told.as_bytes()).ok()?;
            serde_json::from_slice(&json).ok()
        });
        let unread = || AskError::Broken("it does not say what is there".to_owned());
        read.map(Some).ok_or_else(unread)
    }

    /// As a tar archive.
    pub(crate) async fn read_archive(
        &self,
        container: &str,
        path: &str,
    ) -> Result<Incoming, AskError> {
        let request = Request::get(archive_path(container, path));
        Ok(self.ask(request, Full::default()).await?.into_body())
    }

    /// Unpacks a tar archive into a directory; takes as long as the archive takes to come.
    pub(crate) async fn write_archive<B>(
        &self,
        container: &str,
        path: &str,
        archive: B,
    ) -> Result<(), AskError>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let request = Request::put(archive_path(container, path));
        let request = request.header(header::CONTENT_TYPE, "application/x-tar");
        let answer = self.send(request, archive).await?;
        checked(answer).await.map(drop)
    }

    /// One sample, in Docker's words.
    pub(crate) async fn stats(&self, container: &str) -> Result<Value, AskError> {
        let path = format!(
            "/containers/{}/stats?stream=false&one-shot=true",
            encode(container)
        );
        self.value(Request::get(path), Full::default()).await
    }

    /// The processes, in Docker's words: `Titles`, `Processes`.
    pub(crate) async fn processes(
        &self,
        container: &str,
        ps_args: Option<&str>,
    ) -> Result<Value, AskError> {
        let mut path = format!("/containers/{}/top", encode(container));
        if let Some(args) = ps_args {
            path.push_str(&format!("?ps_args={}", encode(args)));
        }
        self.value(Request::get(path), Full::default()).await
    }

    async fn value(&self, request: Builder, body: Full<Bytes>) -> Result<Value, AskError> {
        let answer = self.ask(request, body).await?;
        let limit = self.0.config.call_timeout;
        let read = timeout(
            limit,
            Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect(),
        );
        let read = read.await.map_err(|_| AskError::TimedOut(limit))?;
        let bytes = read.map_err(|err| AskError::Broken(err.to_string()))?;
        serde_json::from_slice(&bytes.to_bytes()).map_err(|err| AskError::Broken(err.to_string()))
    }

    /// The answer, as soon as its head is there, unless it is a refusal.
    async fn ask(
        &self,
        request: Builder,
        body: Full<Bytes>,
    ) -> Result<Response<Incoming>, AskError> {
        let limit = self.0.config.call_timeout;
        let asked = async { checked(self.send(request, body).await?).await };
        let answer = timeout(limit, asked).await;
        answer.map_err(|_| AskError::TimedOut(limit))?
    }

    async fn send<B>(&self, request: Builder, body: B) -> Result<Response<Incoming>, AskError>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (stream, request) = self.dialed(request, body).await?;
        let answer = client::exchange(stream, request).await;
        answer.map_err(|err| AskError::Broken(err.to_string()))
    }

    /// A connection of its own, and the request as it goes over it.
    async fn dialed<B>(
        &self,
        request: Builder,
        body: B,
    ) -> Result<(UnixStream, Request<B>), AskError> {
        let engine = self.0.engine().ok_or(AskError::Unavailable)?;
        let broken = |why: String| AskError::Broken(why);
        let request = request.header(header::HOST, "docker").body(body);
        let mut request = request.map_err(|err| broken(err.to_string()))?;
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let pinned = format!("{}{path}", engine.api).parse();
        *request.uri_mut() = pinned.expect("a path with another before it is one");
        let socket = self.0.config.socket.display().to_string();
        let socket = socket.strip_prefix("unix://").unwrap_or(&socket);
        let stream = UnixStream::connect(socket).await;
        Ok((stream.map_err(|err| broken(err.to_string()))?, request))
    }
}

/// Docker's own sentence, where it refuses.
async fn checked<B>(answer: Response<B>) -> Result<Response<B>, AskError>
where
    B: Body<Error = hyper::Error> + Unpin,
    B::Data: Send,
{
    let status = answer.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = match said["message"].as_str() {
        Some(message) => message.trim().to_owned(),
        None => format!("Docker answered {status}"),
    };
    let status = status.as_u16();
    Err(AskError::Refused { status, text })
}

fn archive_path(container: &str, path: &str) -> String {
    format!(
        "/containers/{}/archive?path={}",
        encode(container),
        encode(path)
    )
}

fn json_body(value: &Value) -> Full<Bytes> {
    Full::from(value.to_string())
}
