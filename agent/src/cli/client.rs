//! Talks to one agent, one connection for each request.

use super::failure::Failure;
use crate::{
    api::{Operation, TARGET},
    http::{
        Address,
        client::{self, SendError},
        frames::{Decoder, Kind, Piece},
    },
};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, http::request::Builder,
    upgrade::Upgraded,
};
use serde_json::Value;
use std::{error::Error, time::Duration};
use tokio::time::timeout;

pub(super) use crate::http::client::encode;

/// Longer than the agent takes for anything before it gives up itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// A line that is longer than this is none of the agent's.
const LINE_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Debug)]
pub(super) struct Client {
    address: Address,
}

impl Client {
    pub(super) const fn new(address: Address) -> Self {
        Self { address }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        let request = Request::get(path);
        self.exchange(request, Full::default()).await
    }

    /// All pages of a `/v1` list.
    pub(super) async fn list(&self, path: &str, name: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut next = path.to_owned();
        loop {
            let mut page = self.get(&next).await?;
            if let Some(Value::Array(found)) = page.get_mut(name).map(Value::take) {
                items.extend(found);
            }
            let Some(token) = page.get("nextToken").and_then(Value::as_str) else {
                return Ok(items);
            };
            let joint = if path.contains('?') { '&' } else { '?' };
            next = format!("{path}{joint}nextToken={}", encode(token));
        }
    }

    /// One of ECS's operations.
    pub(super) async fn call(&self, operation: Operation, body: &Value) -> Result<Value, Failure> {
        self.check_writable()?;
        let request = Request::post("/")
            .header("x-amz-target", format!("{TARGET}.{}", operation.as_str()))
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1");
        self.exchange(request, Full::from(body.to_string())).await
    }

    /// A change that takes as long as it takes: its answer is waited for.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.check_writable()?;
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        let (status, body) = self.answered(request, Full::from(body.to_string())).await?;
        self.read(status, &body)
    }

    /// A change that ECS has no operation for.
    pub(super) async fn write(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        self.check_writable()?;
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        self.exchange(request, Full::from(body.to_string())).await
    }

    fn check_writable(&self) -> Result<(), Failure> {
        match self.address {
            Address::Unix(_) => Ok(()),
            Address::Tcp(_) => Err(Failure::Refused(format!(
                "{} is read-only; leave --socket out, on the host itself, to reach its unix socket",
                self.address
            ))),
        }
    }

    /// A stream of events.
    pub(super) async fn open(&self, path: &str) -> Result<EventStream, Failure> {
        self.opened(Request::get(path), Full::default()).await
    }

    /// A change that is told as it comes along.
    pub(super) async fn open_post(&self, path: &str, body: &Value) -> Result<EventStream, Failure> {
        self.check_writable()?;
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.opened(request, Full::from(body.to_string())).await
    }

    /// As soon as the answer's head is there.
    async fn opened(&self, request: Builder, body: Full<Bytes>) -> Result<EventStream, Failure> {
        let request = request.header(header::ACCEPT, "text/event-stream");
        let response = self.send(request, body).await?;
        let response = self.accepted(response, StatusCode::OK).await?;
        Ok(EventStream {
            body: response.into_body(),
            buffer: Vec::new(),
            last_id: None,
        })
    }

    /// A stream of frames.
    pub(super) async fn frames(&self, path: &str) -> Result<Frames, Failure> {
        self.check_writable()?;
        let response = self
            .send(Request::get(path), Full::<Bytes>::default())
            .await?;
        let response = self.accepted(response, StatusCode::OK).await?;
        Ok(Frames {
            is_terminal: response.headers().contains_key("holdfast-terminal"),
            body: response.into_body(),
            decoder: Decoder::default(),
            fault: None,
        })
    }

    /// A connection that carries frames both ways.
    pub(super) async fn upgrade(&self, path: &str, body: &Value) -> Result<Upgraded, Failure> {
        self.check_writable()?;
        let request = Request::post(path)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "holdfast-frames")
            .header(header::CONTENT_TYPE, "application/json");
        let response = self
            .send(request, Full::<Bytes>::from(body.to_string()))
            .await?;
        let switched = StatusCode::SWITCHING_PROTOCOLS;
        let response = self.accepted(response, switched).await?;
        let upgraded = hyper::upgrade::on(response).await;
        upgraded.map_err(|err| self.unreachable(&err))
    }

    /// Sends a body of unknown length, which takes as long as it takes.
    pub(super) async fn put(&self, path: &str, body: Body) -> Result<Value, Failure> {
        self.check_writable()?;
        let request = Request::put(path).header(header::CONTENT_TYPE, "application/x-tar");
        let response = self.send(request, body).await?;
        let response = self.accepted(response, StatusCode::OK).await?;
        let body = response.into_body().collect().await;
        let body = body.map_err(|err| self.unreachable(&err))?.to_bytes();
        self.read(StatusCode::OK, &body)
    }

    /// `None` where what is asked for is not there, though the task is.
    pub(super) async fn found(&self, path: &str) -> Result<Option<Value>, Failure> {
        self.check_writable()?;
        let asked = self.answered(Request::get(path), Full::default());
        let (status, body) = asked.await?;
        match status {
            StatusCode::NOT_FOUND if is_missing_file(&body) => Ok(None),
            status => self.read(status, &body).map(Some),
        }
    }

    /// The agent's sentence, where it answers otherwise.
    async fn accepted(
        &self,
        response: Response<Incoming>,
        wanted: StatusCode,
    ) -> Result<Response<Incoming>, Failure> {
        let status = response.status();
        if status == wanted {
            return Ok(response);
        }
        let body = response.into_body().collect().await;
        let body = body.map_err(|err| self.unreachable(&err))?.to_bytes();
        Err(refusal(status, &body))
    }

    async fn exchange(&self, request: Builder, body: Full<Bytes>) -> Result<Value, Failure> {
        let answered = timeout(ANSWER_TIMEOUT, self.answered(request, body)).await;
        let (status, body) = answered.unwrap_or_else(|_| {
            Err(self.unreachable(&format!(
                "it has not answered within {} s",
                ANSWER_TIMEOUT.as_secs()
            )))
        })?;
        self.read(status, &body)
    }

    async fn answered(
        &self,
        request: Builder,
        body: Full<Bytes>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let response = self.send(request, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await;
        Ok((
            status,
            body.map_err(|err| self.unreachable(&err))?.to_bytes(),
        ))
    }

    fn read(&self, status: StatusCode, body: &[u8]) -> Result<Value, Failure> {
        if !status.is_success() {
            return Err(refusal(status, body));
        }
        serde_json::from_slice(body).map_err(|err| {
            Failure::Refused(format!(
                "{} did not answer as an agent does: {err}",
                self.address
            ))
        })
    }

    async fn send<B>(&self, request: Builder, body: B) -> Result<Response<Incoming>, Failure>
    where
        B: hyper::body::Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let sent = client::send(&self.address, request, body).await;
        sent.map_err(|err| match err {
            SendError::Request(_) => Failure::Usage(err.to_string()),
            other => self.unreachable(&other),
        })
    }

    pub(super) fn unreachable(&self, why: &impl ToString) -> Failure {
        Failure::Unreachable {
            address: self.address.clone(),
            why: why.to_string(),
        }
    }
}

/// Frames as they come.
#[derive(Debug)]
pub(super) struct Frames {
    /// They come from a terminal: a line may go over several.
    pub(super) is_terminal: bool,
    body: Incoming,
    decoder: Decoder,
    /// It came right behind what was given out last.
    fault: Option<Failure>,
}

impl Frames {
    /// What came together, as a list that is not empty; `None` at the end. A fault is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Piece>>, Failure> {
        let broken = |why: String| Failure::Refused(format!("the agent broke it off: {why}"));
        loop {
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            let Some(frame) = self.body.frame().await else {
                return match self.decoder.is_between() {
                    true => Ok(None),
                    false => Err(broken("the end is missing".to_owned())),
                };
            };
            let frame = frame.map_err(|err| broken(err.to_string()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.decoder.feed(&data);
            let mut pieces = Vec::new();
            while let Some(piece) = self.decoder.next().map_err(|err| broken(err.to_string()))? {
                match piece.kind {
                    Kind::Fault => self.fault = Some(fault(&piece)),
                    _ => pieces.push(piece),
                }
            }
            if !pieces.is_empty() {
                return Ok(Some(pieces));
            }
        }
    }
}

/// The sentence that came instead of more.
pub(super) fn fault(piece: &Piece) -> Failure {
    Failure::Refused(String::from_utf8_lossy(&piece.bytes).into_owned())
}

/// Server-sent events as the agent sends them: each has one line of data, in JSON.
#[derive(Debug)]
pub(super) struct EventStream {
    body: Incoming,
    buffer: Vec<u8>,
    /// Where the stream is by now: from here on it is resumed.
    last_id: Option<u64>,
}

impl EventStream {
    pub(super) const fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// `None` at the end, also where it is broken off.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                self.last_id = id_of(&line).or(self.last_id);
                if let Some(event) = event_of(&line) {
                    return Some(event);
                }
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

fn id_of(line: &[u8]) -> Option<u64> {
    let id = line.strip_prefix(b"id: ")?.trim_ascii_end();
    str::from_utf8(id).ok()?.parse().ok()
}

/// Their names and ids are in the data, too.
fn event_of(line: &[u8]) -> Option<Value> {
    serde_json::from_slice(line.strip_prefix(b"data: ")?).ok()
}

fn is_missing_file(body: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    value["missing"] == "path"
}

/// The agent's own sentence, which says what to do.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    Failure::Refused(match value.get("message").and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None => format!("the agent answered {status}"),
    })
}
