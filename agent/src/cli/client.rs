//! Talks to one agent, one connection for each request.

use super::failure::Failure;
use crate::{
    api::{Operation, TARGET},
    http::{
        Address,
        client::{self, SendError},
    },
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, http::request::Builder,
};
use serde_json::Value;
use std::{fmt::Write as _, time::Duration};
use tokio::time::timeout;

/// Longer than the agent takes for anything before it gives up itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

#[derive(Debug)]
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

    /// The answer to a request as soon as its head is there, for streams.
    pub(super) async fn open(&self, path: &str) -> Result<Response<Incoming>, Failure> {
        let request = Request::get(path).header(header::ACCEPT, "text/event-stream");
        let response = self.send(request, Full::default()).await?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
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

    async fn send(
        &self,
        request: Builder,
        body: Full<Bytes>,
    ) -> Result<Response<Incoming>, Failure> {
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

/// The agent's own sentence, which says what to do.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    Failure::Refused(match value.get("message").and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None => format!("the agent answered {status}"),
    })
}

/// For one segment of a path or one value of a query.
pub(super) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => write!(encoded, "%{byte:02X}").expect("a string takes all"),
        }
        encoded
    })
}
