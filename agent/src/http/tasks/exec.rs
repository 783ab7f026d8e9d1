//! `POST /v1/tasks/{task}/exec`: runs a command in a container, over a connection that becomes
//! frames both ways.

use super::{
    App, Asked, FRAMES,
    audit::Deed,
    refused,
    relay::{Copied, copy_frames},
    respond,
};
use crate::{
    api::error::ApiError,
    http::{
        ecs,
        frames::{Decoder, Kind, frame, head},
    },
    runtime::containers::{Containers, ExecWanted},
};
use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use hyper::upgrade::{OnUpgrade, Upgraded, on};
use hyper_util::rt::TokioIo;
use std::io;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, split},
    sync::OwnedSemaphorePermit,
};

pub(super) const UPGRADE: &str = "holdfast-frames";
/// What is read of a command's output at once.
const READ_BYTES: usize = 32 * 1_024;
const WORDS_MAX: usize = 1_024;

pub(super) async fn exec(
    State(app): State<App>,
    Path(task): Path<String>,
    request: Request,
) -> Response {
    respond(carry_out(app, task, request).await)
}

async fn carry_out(app: App, task: String, mut request: Request) -> Result<Response, ApiError> {
    let upgrade = on(&mut request);
    if request.headers().get(header::UPGRADE) != Some(&HeaderValue::from_static(UPGRADE)) {
        return Err(ApiError::InvalidParameter(format!(
            "the connection must become frames: send `Connection: Upgrade` and `Upgrade: {UPGRADE}`"
        )));
    }
    let asked = Asked::read(app, task, request, &["container"]).await?;
    match asked.place.is_here {
        true => run_here(asked, upgrade).await,
        false => run_there(asked, upgrade).await,
    }
}

async fn run_here(mut asked: Asked, upgrade: OnUpgrade) -> Result<Response, ApiError> {
    asked.check_allowed("commands in its containers")?;
    let (found, id) = asked.only()?;
    let body = std::mem::replace(&mut asked.request, Request::new(Body::empty()));
    let body = ecs::body_of(body).await?;
    let wanted: ExecWanted = serde_json::from_value(body).map_err(|err| {
        ApiError::InvalidParameter(format!("cannot read what is to be run: {err}"))
    })?;
    if wanted.command.is_empty() || wanted.command.len() > WORDS_MAX {
        return Err(ApiError::InvalidParameter(format!(
            "command must be the 1 to {WORDS_MAX} words of a command"
        )));
    }
    let containers = asked.containers().clone();
    let exec = containers.prepare_exec(&id, &wanted).await;
    let exec = exec.map_err(refused)?;
    let words = wanted.command.join(" ");
    let deed = Deed::begin(&asked.who, "exec", &asked.place, &found.name, words);
    let docker = match containers.start_exec(&exec, &wanted).await {
        Ok(docker) => docker,
        Err(err) => {
            let err = refused(err);
            deed.end(&err.to_string());
            return Err(err);
        }
    };
    let session = Session {
        containers,
        exec,
        wanted,
        permit: asked.permit,
    };
    let closing = asked.app.closing.clone();
    tokio::spawn(async move {
        let outcome = closing
            .run_until_cancelled(session.run(upgrade, docker))
            .await;
        deed.end(&outcome.unwrap_or_else(|| "cut off, as the agent ends".to_owned()));
    });
    Ok(switching())
}

fn switching() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(UPGRADE));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAMES));
    response
}

/// A command that runs here.
struct Session {
    containers: Containers,
    exec: String,
    wanted: ExecWanted,
    permit: OwnedSemaphorePermit,
}

impl Session {
    /// In words, what became of it.
    async fn run(self, upgrade: OnUpgrade, docker: Upgraded) -> String {
        let client = match upgrade.await {
            Ok(client) => TokioIo::new(client),
            Err(err) => return format!("the connection broke before it began: {err}"),
        };
        let (from_client, mut to_client) = split(client);
        let (from_docker, to_docker) = split(TokioIo::new(docker));
        // It may have been started with another size than it was asked for.
        if let Some(size) = self.wanted.size.filter(|_| self.wanted.terminal) {
            self.containers.resize_exec(&self.exec, size).await;
        }
        let copied = tokio::select! {
            gone = self.take_input(from_client, to_docker) => {
                return format!("{gone}; the command may run on");
            }
            copied = self.give_output(from_docker, &mut to_client) => copied,
        };
        let (word, outcome) = match copied {
            Ok(Copied::Whole | Copied::Over) => self.exit().await,
            Ok(Copied::Cut) | Err(_) => return "the connection broke; it may run on".to_owned(),
        };
        // Whoever does not hear it has hung up.
        if to_client.write_all(&word).await.is_ok() {
            to_client.shutdown().await.ok();
        }
        drop(self.permit);
        outcome
    }

    /// The last frame, and the same in words.
    async fn exit(&self) -> (bytes::Bytes, String) {
        let fault = |text: String| (frame(Kind::Fault, text.as_bytes()), text);
        match self.containers.exit_of_exec(&self.exec).await {
            Ok(Some(code)) => {
                let word = frame(Kind::Exit, &code.to_be_bytes());
                (word, format!("exit code {code}"))
            }
            Ok(None) => fault("the command has closed its output and runs on".to_owned()),
            Err(err) => fault(format!("its exit code is not known: {err}")),
        }
    }

    /// Until the client is gone, or says what cannot be understood.
    async fn take_input(
        &self,
        mut from_client: impl AsyncRead + Unpin,
        mut to_docker: impl AsyncWrite + Unpin,
    ) -> &'static str {
        let (mut decoder, mut bytes) = (Decoder::default(), vec![0; READ_BYTES]);
        loop {
            match from_client.read(&mut bytes).await {
                Ok(0) | Err(_) => return "whoever ran it hung up",
                Ok(len) => decoder.feed(&bytes[..len]),
            }
            loop {
                let piece = match decoder.next() {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break,
                    Err(_) => return "what came was not made of frames",
                };
                match piece.kind {
                    // It may have closed its input, and still has something to say.
                    Kind::Stdin => drop(to_docker.write_all(&piece.bytes).await),
                    Kind::StdinEnd => drop(to_docker.shutdown().await),
                    Kind::Size => {
                        if let [a, b, c, d] = piece.bytes[..] {
                            let size = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
                            self.containers.resize_exec(&self.exec, size).await;
                        }
                    }
                    Kind::Stdout | Kind::Stderr | Kind::Fault | Kind::Exit => {
                        return "what came was not for a command";
                    }
                }
            }
        }
    }

    /// Docker frames the output, unless it is that of a terminal.
    async fn give_output(
        &self,
        mut from_docker: impl AsyncRead + Unpin,
        to_client: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<Copied> {
        if !self.wanted.terminal {
            return copy_frames(&mut from_docker, to_client).await;
        }
        const HEAD: usize = 8;
        let mut bytes = vec![0; HEAD + READ_BYTES];
        loop {
            let len = match from_docker.read(&mut bytes[HEAD..]).await {
                // So it looks where a terminal is hung up.
                Ok(0) | Err(_) => return Ok(Copied::Whole),
                Ok(len) => len,
            };
            bytes[..HEAD].copy_from_slice(&head(Kind::Stdout, len));
            to_client.write_all(&bytes[..HEAD + len]).await?;
        }
    }
}

async fn run_there(asked: Asked, upgrade: OnUpgrade) -> Result<Response, ApiError> {
    let closing = asked.app.closing.clone();
    let answered = asked.pass_on("exec").await?;
    if answered.answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answered.plain());
    }
    let there = on(answered.answer).await;
    let (lost, permit) = (answered.lost, answered.permit);
    let there = there.map_err(|_| ApiError::Server(lost.said()))?;
    tokio::spawn(async move {
        let relayed = async {
            let Ok(client) = upgrade.await else { return };
            let (mut from_client, mut to_client) = split(TokioIo::new(client));
            let (mut from_there, mut to_there) = split(TokioIo::new(there));
            let back = async {
                let copied = copy_frames(&mut from_there, &mut to_client).await;
                if matches!(copied, Ok(Copied::Whole)) {
                    let why = lost.said();
                    let why = format!("{why}; the command may run on");
                    let fault = frame(Kind::Fault, why.as_bytes());
                    to_client.write_all(&fault).await.ok();
                }
                to_client.shutdown().await.ok();
            };
            tokio::select! {
                () = back => {}
                // The client is gone, and with it whoever could be told anything.
                _ = copy(&mut from_client, &mut to_there) => {}
            }
        };
        closing.run_until_cancelled(relayed).await;
        drop(permit);
    });
    Ok(switching())
}
