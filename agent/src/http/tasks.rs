//! `/v1/tasks/{task}/…`: logs, commands, files, use and processes of the containers of a task.
//!
//! Served on the unix socket, and to peers through tunnels. The agent that is asked finds the
//! task's host on the board: it serves what is its own, and passes on the rest to the agent there,
//! whose answer it hands back. A peer that asks has checked who asks it, and says so.

mod archive;
mod audit;
mod exec;
mod logs;
mod relay;
mod stats;
#[cfg(test)]
mod tests;

use super::{App, answer, caller::Caller, client, connection::Streaming};
use crate::{
    api::{
        error::ApiError,
        overview::{self, Query},
        reach::{self, Found, Place},
    },
    gossip::{Fate, Tunnels},
    runtime::containers::{AskError, Containers},
};
use audit::Who;
use axum::{
    Router,
    body::Body,
    extract::{Query as Parsed, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use hyper::body::Incoming;
use relay::{Broken, Relay};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// Streams of logs, commands and copies at the same time, of people here and of peers.
pub(super) const TASK_STREAMS_MAX: usize = 96;
/// What a stream of frames is called.
const FRAMES: &str = "application/vnd.holdfast.frames";

/// How this agent reaches containers: its own, and those of its peers.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub(crate) containers: Containers,
    pub(crate) tunnels: Tunnels,
    /// Nobody runs commands in this host's containers, nor copies files.
    pub(crate) denies_exec: bool,
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/tasks/{task}/logs", get(logs::logs))
        .route("/v1/tasks/{task}/exec", post(exec::exec))
        .route(
            "/v1/tasks/{task}/archive",
            get(archive::read).put(archive::write),
        )
        .route("/v1/tasks/{task}/stat", get(archive::stat))
        .route("/v1/tasks/{task}/stats", get(stats::stats))
        .route("/v1/tasks/{task}/top", get(stats::top))
}

/// A request whose task was found, from somebody who may ask.
struct Asked {
    app: App,
    who: Who,
    place: Place,
    query: Query,
    request: Request,
    /// Held for as long as the answer takes.
    permit: OwnedSemaphorePermit,
}

impl Asked {
    async fn read(
        app: App,
        task: String,
        request: Request,
        known: &[&str],
    ) -> Result<Self, ApiError> {
        let caller = request.extensions().get::<Caller>().copied();
        let caller = caller.expect("every connection says who is at its other end");
        let who = Who::of(&app, caller, request.headers()).await?;
        let parsed = Parsed::<Query>::try_from_uri(request.uri());
        let Parsed(query) = parsed
            .map_err(|err| ApiError::InvalidParameter(format!("cannot read the query: {err}")))?;
        overview::check_query(&query, known)?;
        let permit = Arc::clone(&app.task_streams).try_acquire_owned();
        let permit = permit.map_err(|_| {
            ApiError::Server(format!(
                "{TASK_STREAMS_MAX} streams of logs, commands and copies are open on this agent, \
                 which is the most; close some, or ask another agent"
            ))
        })?;
        let container = query.get("container").cloned();
        let placed = answer::look(&app, move |view, _| {
            reach::place(view, &task, container.as_deref())
        });
        let place = placed.await??;
        if !place.is_here && matches!(caller, Caller::Peer(_)) {
            return Err(ApiError::NotFound(format!(
                "task {} is not on this host, but on {}",
                place.task, place.host_name
            )));
        }
        if let Some(streaming) = request.extensions().get::<Streaming>() {
            streaming.begin_endless();
        }
        Ok(Self {
            app,
            who,
            place,
            query,
            request,
            permit,
        })
    }

    fn containers(&self) -> &Containers {
        &self.app.reach.containers
    }

    /// The one container that is meant, as Docker knows it.
    fn only(&self) -> Result<(Found, String), ApiError> {
        let found = reach::only(&self.place)?.clone();
        let id = found.runtime_id.to_string();
        Ok((found, id))
    }

    fn check_allowed(&self, what: &str) -> Result<(), ApiError> {
        match self.app.reach.denies_exec {
            false => Ok(()),
            true => Err(ApiError::AccessDenied(format!(
                "host {} refuses {what} (its setting exec is \"deny\")",
                self.place.host_name
            ))),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.query.get(name).map(String::as_str) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiError::InvalidParameter(format!(
                "{name} must be true or false"
            ))),
        }
    }

    /// Asks the agent of the task's host the same. Its answer comes with what tells how the way
    /// there ended.
    async fn pass_on(self, what: &str) -> Result<Answered, ApiError> {
        let Place {
            task,
            host,
            ref host_name,
            address,
            ..
        } = self.place;
        let tunnel = self.app.reach.tunnels.open(address, host).await;
        let tunnel = tunnel
            .map_err(|err| ApiError::Server(format!("host {host_name} cannot be asked: {err}")))?;
        let fate = tunnel.fate();
        let query = self.request.uri().query().unwrap_or_default();
        // By the whole id: what begins it here may begin two there.
        let uri = format!("/v1/tasks/{task}/{what}?{query}");
        let (parts, body) = self.request.into_parts();
        let mut passed = Request::new(body);
        *passed.method_mut() = parts.method;
        *passed.uri_mut() = uri
            .parse()
            .expect("a path of ours and a query that was one");
        let kept = [header::CONTENT_TYPE, header::CONNECTION, header::UPGRADE];
        *passed.headers_mut() = kept_of(&parts.headers, &kept);
        let headers = passed.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("agent"));
        headers.insert(audit::CALLER, self.who.header());
        let lost = Loss {
            host_name: host_name.clone(),
            fate,
        };
        let answer = client::exchange(tunnel, passed).await;
        let answer = answer.map_err(|err| {
            let why = lost
                .why()
                .unwrap_or_else(|| format!("{}: {err}", lost.broke()));
            ApiError::Server(why)
        })?;
        Ok(Answered {
            answer,
            lost,
            permit: self.permit,
            closing: self.app.closing,
        })
    }
}

/// What the agent of the task's host answered.
struct Answered {
    answer: Response<Incoming>,
    lost: Loss,
    permit: OwnedSemaphorePermit,
    closing: CancellationToken,
}

impl Answered {
    /// As it is; where it breaks off, so does ours.
    fn plain(self) -> Response {
        let Self { answer, permit, .. } = self;
        let (parts, body) = answer.into_parts();
        let mut response = Response::new(relay::plain(body, permit));
        *response.status_mut() = parts.status;
        *response.headers_mut() = kept_of(&parts.headers, &[header::CONTENT_TYPE]);
        response
    }

    /// A stream of frames; where it breaks off, its last one says why.
    fn framed(self, what: &str) -> Response {
        if self.answer.status() != StatusCode::OK {
            return self.plain();
        }
        let Self {
            answer,
            lost,
            permit,
            closing,
        } = self;
        let (parts, body) = answer.into_parts();
        let what = what.to_owned();
        let why = move |broken: Broken<'_>| match broken {
            Broken::Source(_) => format!("{}; {what}", lost.said()),
            Broken::Stopping => format!("this host's agent is stopping; {what}"),
        };
        let source = (body.into(), relay::Form::Framed);
        let relay = Relay::new(source, why, permit, closing);
        let mut response = framed(relay.into_body());
        let terminal = HeaderName::from_static(logs::TERMINAL);
        response
            .headers_mut()
            .extend(kept_of(&parts.headers, &[terminal]));
        response
    }
}

/// How a host that went away is spoken of.
struct Loss {
    host_name: String,
    fate: Fate,
}

impl Loss {
    fn why(&self) -> Option<String> {
        let lost = self.fate.get()?;
        Some(format!("host {} was lost: {lost}", self.host_name))
    }

    fn said(&self) -> String {
        self.why().unwrap_or_else(|| self.broke())
    }

    fn broke(&self) -> String {
        format!("the agent of host {} ended or broke it off", self.host_name)
    }
}

fn framed(body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(FRAMES);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn kept_of(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let kept = names.iter().filter_map(|name| {
        let value = headers.get(name)?.clone();
        Some((name.clone(), value))
    });
    kept.collect()
}

fn respond(made: Result<Response, ApiError>) -> Response {
    made.unwrap_or_else(|err| answer::error(&err))
}

/// In our words where they help, and else in Docker's.
fn refused(err: AskError) -> ApiError {
    match err {
        AskError::Refused { status: 404, text } if text.contains("No such container") => {
            ApiError::NotFound(
                "its container is gone; stopped ones stay for stopped_container_retention_s"
                    .to_owned(),
            )
        }
        AskError::Refused { status: 404, text } => ApiError::NotFound(text),
        AskError::Refused {
            status: 400..500,
            text,
        } => ApiError::InvalidParameter(text),
        AskError::Refused { text, .. } => ApiError::Server(text),
        other => ApiError::Server(other.to_string()),
    }
}
