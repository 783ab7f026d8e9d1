//! ECS's task metadata endpoint: tells each container of its own task, and nobody of anything else.
//!
//! The id in the path is the secret of one container. Whoever shows it must also be where that
//! container is; who is not is answered like one whose id is none.

mod door;
mod protection;

use super::{App, answer, caller::Caller, connection, guard};
use crate::{
    api::metadata::{self, Facts as OfTask, Subject, Version},
    disk::chain,
    handle::MetadataStatus,
    metadata::{AddressError, MetadataPaths, Pace, have},
    runtime::facts::Facts,
};
use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};
use door::MetadataDoor;
use futures_util::future::join_all;
use holdfast_core::spec::task_definition::NetworkMode;
use serde_json::{Map, Value, json};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Between two tries to have the address and its port.
const TRY_AGAIN_FIRST: Duration = Duration::from_secs(1);
const TRY_AGAIN_MAX: Duration = Duration::from_secs(60);
/// ECS's agent limits requests with a library that says this.
const TOO_OFTEN: &str = "You have reached maximum request limit.";

#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    app: App,
    paths: MetadataPaths,
    facts: Facts,
    pace: Arc<Mutex<Pace>>,
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(
        "cannot listen on {address}: check that nothing else does, and that this machine has it"
    )]
    Listen {
        address: SocketAddr,
        #[source]
        err: io::Error,
    },
}

/// There is nothing for this caller: an HTTP status, and why.
struct Nothing(StatusCode, String);

impl Endpoint {
    pub(super) fn new(app: App, paths: MetadataPaths, facts: Facts) -> Self {
        Self {
            app,
            paths,
            facts,
            pace: Arc::default(),
        }
    }

    /// Serves until `closing`. While the address or the port cannot be had, the agent goes on
    /// without, says so, and tries again.
    pub(super) async fn serve(self, closing: CancellationToken) {
        let opening = closing.run_until_cancelled(self.open());
        let Some(listener) = opening.await else {
            return;
        };
        let router = guard::harden(Router::new().fallback(reply)).with_state(self);
        connection::serve(MetadataDoor::new(listener), router, closing).await;
    }

    async fn open(&self) -> TcpListener {
        let address = self.paths.address;
        let (mut pause, mut told) = (TRY_AGAIN_FIRST, None);
        loop {
            let trouble = match open(address).await {
                Ok(listener) => {
                    self.tell(None);
                    info!(%address, "Containers may ask what they are.");
                    return listener;
                }
                Err(err) => chain(&err),
            };
            if told.as_ref() != Some(&trouble) {
                warn!(
                    reason = trouble,
                    "The metadata endpoint is not served; trying again."
                );
            }
            self.tell(Some(trouble.clone()));
            told = Some(trouble);
            sleep(pause).await;
            pause = (pause * 2).min(TRY_AGAIN_MAX);
        }
    }

    fn tell(&self, trouble: Option<String>) {
        let address = self.paths.address;
        let status = MetadataStatus { address, trouble };
        self.app
            .handle
            .update_status(|all| all.metadata = Some(status));
    }

    fn admits(&self, from: IpAddr) -> bool {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.admits(Instant::now(), from)
    }

    async fn answer(
        &self,
        method: &Method,
        parts: &[&str],
        caller: Caller,
    ) -> Result<Value, Nothing> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let why = "only GET is answered here".to_owned();
            return Err(Nothing(StatusCode::METHOD_NOT_ALLOWED, why));
        }
        match *parts {
            ["v2", ref rest @ ..] => self.by_address(rest, caller).await,
            [version @ ("v3" | "v4"), id, ref rest @ ..] => {
                let version = match version {
                    "v3" => Version::V3,
                    _ => Version::V4,
                };
                self.by_id(version, id, rest, caller).await
            }
            _ => Err(no_such_path()),
        }
    }

    async fn by_id(
        &self,
        version: Version,
        id: &str,
        rest: &[&str],
        caller: Caller,
    ) -> Result<Value, Nothing> {
        let what = match rest {
            [] => "container metadata",
            ["task" | "taskWithTags"] => "task metadata",
            ["stats"] => "container stats",
            ["task", "stats"] => "task stats",
            _ => return Err(no_such_path()),
        };
        let name = version.as_str();
        let unknown = || {
            let why = format!("{name} {what} handler: unable to get container ID from request");
            Nothing(missing(version), why)
        };
        let subject = self.subject(id, caller).await.ok_or_else(unknown)?;
        let found = match rest {
            [] => self.container(version, &subject).await?,
            ["stats"] => self.stats_of(&subject, &subject.container).await,
            ["task", "stats"] => Some(self.task_stats(&subject).await),
            _ => self.task(version, &subject).await?,
        };
        found.ok_or_else(|| {
            let why = format!("{name} {what} handler: failed to get {what}");
            Nothing(StatusCode::INTERNAL_SERVER_ERROR, why)
        })
    }

    /// Version 2: whoever asks is known by its address alone.
    async fn by_address(&self, rest: &[&str], caller: Caller) -> Result<Value, Nothing> {
        let unknown = || {
            let why = "Unable to get task arn from request: no task is at this address";
            Nothing(missing(Version::V2), why.to_owned())
        };
        let Caller::Container { from, .. } = caller else {
            return Err(unknown());
        };
        let place = self.facts.at(from).await.ok_or_else(unknown)?;
        let found = self.look(move |view| metadata::by_place(view, &place));
        let mut subject = found.await?.ok_or_else(unknown)?;
        if let [_, id] = rest {
            let its = subject.ids.iter().find(|(_, its)| its == id);
            let (name, _) = its.ok_or_else(unknown)?;
            subject.container = name.clone();
        }
        let found = match rest {
            ["metadata" | "metadataWithTags"] => self.task(Version::V2, &subject).await?,
            ["metadata", _] => self.container(Version::V2, &subject).await?,
            ["stats"] => Some(self.task_stats(&subject).await),
            ["stats", _] => self.stats_of(&subject, &subject.container).await,
            _ => return Err(no_such_path()),
        };
        found.ok_or_else(unknown)
    }

    /// The container that has the id, if it is the one that asks.
    async fn subject(&self, id: &str, caller: Caller) -> Option<Subject> {
        let (id, secret) = (id.to_owned(), self.paths.secret().clone());
        let found = self.look(move |view| metadata::by_id(view, &secret, &id));
        let subject = found.await.ok()??;
        self.is_from(&subject, caller).await.then_some(subject)
    }

    async fn is_from(&self, subject: &Subject, caller: Caller) -> bool {
        let Caller::Container { from, to } = caller else {
            return false;
        };
        match subject.network {
            // What the machine sends to an address of its own comes from that one.
            NetworkMode::Host => from == to || from.is_loopback(),
            NetworkMode::None => false,
            NetworkMode::Bridge | NetworkMode::Task => {
                let holder = self.facts.of(&subject.holder).await;
                let has = |fact: &crate::runtime::facts::Fact| {
                    let mut networks = fact.networks.iter();
                    networks.any(|network| network.address == Some(from))
                };
                holder.is_some_and(|fact| has(&fact))
            }
        }
    }

    async fn container(
        &self,
        version: Version,
        subject: &Subject,
    ) -> Result<Option<Value>, Nothing> {
        let of = subject.container.clone();
        let facts = self.facts_of(subject, |name| *name == of).await;
        let subject = subject.clone();
        self.look(move |view| metadata::container(view, version, &subject, &facts))
            .await
    }

    async fn task(&self, version: Version, subject: &Subject) -> Result<Option<Value>, Nothing> {
        let facts = self.facts_of(subject, |_| true).await;
        let subject = subject.clone();
        self.look(move |view| metadata::task(view, version, &subject, &facts))
            .await
    }

    /// Of those containers of the task. Who joins a network is in the one of its holder.
    async fn facts_of(&self, subject: &Subject, wanted: impl Fn(&String) -> bool) -> OfTask {
        let wanted = subject.names.iter().filter(|(name, _)| wanted(name));
        let asked = wanted.map(async |(name, docker_name)| {
            let fact = self.facts.of(docker_name).await?;
            Some((name.clone(), fact))
        });
        let mut facts: OfTask = join_all(asked).await.into_iter().flatten().collect();
        if subject.network == NetworkMode::Task
            && let Some(holder) = self.facts.of(&subject.holder).await
        {
            for fact in facts.values_mut() {
                Arc::make_mut(fact).networks = holder.networks.clone();
            }
        }
        facts
    }

    async fn task_stats(&self, subject: &Subject) -> Value {
        let asked = subject.ids.iter().map(async |(name, id)| {
            let stats = self.stats_of(subject, name).await;
            (id.clone(), stats.unwrap_or(Value::Null))
        });
        Value::Object(join_all(asked).await.into_iter().collect::<Map<_, _>>())
    }

    async fn stats_of(&self, subject: &Subject, name: &str) -> Option<Value> {
        let own = self.facts.stats(subject.names.get(name)?);
        if subject.network != NetworkMode::Task {
            return own.await;
        }
        let (own, holder) = tokio::join!(own, self.facts.stats(&subject.holder));
        let (mut stats, holder) = (own?, holder?);
        for field in ["networks", "network_rate_stats"] {
            if let Some(value) = holder.get(field) {
                stats[field] = value.clone();
            }
        }
        Some(stats)
    }

    async fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&crate::api::view::View<'_>) -> T + Send + 'static,
    ) -> Result<T, Nothing> {
        let looked = answer::look(&self.app, move |view, _| read(view)).await;
        looked.map_err(|err| Nothing(StatusCode::SERVICE_UNAVAILABLE, err.to_string()))
    }
}

async fn open(address: SocketAddr) -> Result<TcpListener, OpenError> {
    have(address.ip())?;
    let bound = TcpListener::bind(address).await;
    bound.map_err(|err| OpenError::Listen { address, err })
}

async fn reply(
    State(endpoint): State<Endpoint>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let Caller::Container { from, .. } = caller else {
        return answer::json(StatusCode::FORBIDDEN, &json!("not from here"));
    };
    if !endpoint.admits(from) {
        let mut response = Response::new(Body::from(TOO_OFTEN));
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        return response;
    }
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if let ["api", id, "task-protection", "v1", "state"] = *parts {
        return protection::answer(&endpoint, id, caller, request).await;
    }
    match endpoint.answer(request.method(), &parts, caller).await {
        Ok(value) => answer::json(StatusCode::OK, &value),
        Err(Nothing(status, why)) => answer::json(status, &json!(why)),
    }
}

/// As each version of ECS's agent has it.
const fn missing(version: Version) -> StatusCode {
    match version {
        Version::V2 | Version::V3 => StatusCode::BAD_REQUEST,
        Version::V4 => StatusCode::NOT_FOUND,
    }
}

fn no_such_path() -> Nothing {
    let why = "404 page not found".to_owned();
    Nothing(StatusCode::NOT_FOUND, why)
}
