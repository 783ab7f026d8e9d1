//! `GET`: the ECS agent's introspection paths, and ours for what ECS has no word for.

use super::{App, answer, stream, values};
use crate::api::{
    error::ApiError,
    images,
    introspection::{self, NoTask},
    keys,
    overview::{self, Query},
    runs, schedules,
    view::View,
    why,
};
use axum::{
    Router,
    extract::{Path, Query as Parsed, State, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
    routing::get,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// What `GET /` lists, in the ECS agent's form.
const PATHS: &[&str] = &[
    "/v1/metadata",
    "/v1/tasks",
    "/v1/status",
    "/v1/hosts",
    "/v1/hosts/<host>",
    "/v1/services",
    "/v1/services/<name>",
    "/v1/services/<name>/why",
    "/v1/services/<name>/rebalance",
    "/v1/cluster-tasks",
    "/v1/runs",
    "/v1/runs/<run>",
    "/v1/schedules",
    "/v1/schedules/<name>",
    "/v1/task-definitions",
    "/v1/keys",
    "/v1/configs",
    "/v1/configs/<name>",
    "/v1/images",
    "/v1/discovery/prometheus",
    "/v1/discovery/traefik",
    "/v1/events",
    "/healthz",
    "/readyz",
];

/// A load balancer or systemd must learn quickly that the loop stands still.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) type Asked = Result<Parsed<Query>, QueryRejection>;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/",
            get(async || found(json!({"AvailableCommands": PATHS}))),
        )
        .route("/v1/metadata", get(metadata))
        .route("/v1/tasks", get(tasks))
        .route("/v1/status", get(status))
        .route("/v1/hosts", get(hosts))
        .route("/v1/hosts/{host}", get(host))
        .route("/v1/services", get(services))
        .route("/v1/services/{name}", get(service))
        .route("/v1/services/{name}/why", get(service_why))
        .route("/v1/services/{name}/rebalance", get(service_rebalance))
        .route("/v1/cluster-tasks", get(cluster_tasks))
        .route("/v1/runs", get(runs))
        .route("/v1/runs/{run}", get(run))
        .route("/v1/schedules", get(schedules))
        .route("/v1/schedules/{name}", get(schedule))
        .route("/v1/task-definitions", get(definitions))
        .route("/v1/keys", get(keys))
        .route("/v1/images", get(images))
        .route("/v1/events", get(stream::events))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .merge(values::open_routes())
}

async fn metadata(State(app): State<App>) -> Response {
    let made = answer::look(&app, |view, daemon| {
        introspection::metadata(view, &daemon.agent_version)
    });
    answer::reply(made.await)
}

async fn tasks(State(app): State<App>, asked: Asked) -> Response {
    let query = match query(asked, &["taskarn", "dockerid"]) {
        Ok(query) => query,
        Err(err) => return answer::error(&err),
    };
    let (arn, docker_id) = (
        query.get("taskarn").cloned(),
        query.get("dockerid").cloned(),
    );
    let one = match (arn, docker_id) {
        (None, None) => {
            return answer::told(&app, |view| Ok(introspection::tasks(view))).await;
        }
        (Some(_), Some(_)) => Ok(Err(NoTask::Ambiguous)),
        (Some(arn), None) => {
            answer::look(&app, move |view, _| introspection::task_by_arn(view, &arn)).await
        }
        (None, Some(id)) => {
            answer::look(&app, move |view, _| {
                introspection::task_by_docker_id(view, &id)
            })
            .await
        }
    };
    match one {
        Ok(Ok(task)) => found(task),
        Ok(Err(none)) => {
            let status = match none {
                NoTask::Unknown => StatusCode::NOT_FOUND,
                NoTask::Ambiguous => StatusCode::BAD_REQUEST,
            };
            answer::json(status, &introspection::empty_task())
        }
        Err(err) => answer::error(&err),
    }
}

async fn status(State(app): State<App>) -> Response {
    answer::reply(answer::look(&app, overview::status).await)
}

async fn hosts(State(app): State<App>, asked: Asked) -> Response {
    queried(&app, asked, overview::hosts).await
}

async fn host(State(app): State<App>, Path(host): Path<String>) -> Response {
    answer::told(&app, move |view| overview::host(view, &host)).await
}

async fn services(State(app): State<App>, asked: Asked) -> Response {
    queried(&app, asked, overview::services).await
}

async fn service(State(app): State<App>, Path(name): Path<String>) -> Response {
    answer::told(&app, move |view| overview::service(view, &name)).await
}

async fn service_why(State(app): State<App>, Path(name): Path<String>) -> Response {
    answer::told(&app, move |view| why::why(view, &name)).await
}

async fn service_rebalance(State(app): State<App>, Path(name): Path<String>) -> Response {
    answer::told(&app, move |view| why::rebalance(view, &name)).await
}

async fn cluster_tasks(State(app): State<App>, asked: Asked) -> Response {
    queried(&app, asked, overview::cluster_tasks).await
}

async fn runs(State(app): State<App>, asked: Asked) -> Response {
    queried(&app, asked, runs::runs).await
}

async fn run(State(app): State<App>, Path(run): Path<String>) -> Response {
    answer::told(&app, move |view| runs::run(view, &run)).await
}

async fn schedules(State(app): State<App>, asked: Asked) -> Response {
    queried(&app, asked, schedules::schedules).await
}

async fn schedule(State(app): State<App>, Path(name): Path<String>) -> Response {
    answer::told(&app, move |view| schedules::schedule(view, &name)).await
}

async fn definitions(State(app): State<App>, asked: Asked) -> Response {
    queried(&app, asked, overview::definitions).await
}

async fn keys(State(app): State<App>) -> Response {
    answer::reply(answer::look(&app, |view, _| keys::keys(view)).await)
}

async fn images(State(app): State<App>, asked: Asked) -> Response {
    let listed = match query(asked, &[]) {
        Ok(_) => app.images.list().await.map_err(ApiError::Server),
        Err(err) => Err(err),
    };
    answer::reply(listed.map(|listed| images::images(&listed)))
}

async fn alive(State(app): State<App>) -> Response {
    match timeout(ALIVE_TIMEOUT, app.handle.read(|_| ())).await {
        Ok(Ok(())) => found(json!({"alive": true})),
        Ok(Err(stopping)) => answer::error(&stopping.into()),
        Err(_) => answer::error(&ApiError::Server(
            "the agent's loop has not answered within 1 s".to_owned(),
        )),
    }
}

async fn ready(State(app): State<App>) -> Response {
    match answer::look(&app, overview::readiness).await {
        Ok((true, value)) => found(value),
        Ok((false, value)) => answer::json(StatusCode::SERVICE_UNAVAILABLE, &value),
        Err(err) => answer::error(&err),
    }
}

async fn queried(
    app: &App,
    asked: Asked,
    make: impl FnOnce(&View<'_>, &Query) -> Result<Value, ApiError> + Send + 'static,
) -> Response {
    match parsed(asked) {
        Ok(query) => answer::told(app, move |view| make(view, &query)).await,
        Err(err) => answer::error(&err),
    }
}

pub(super) fn query(asked: Asked, known: &[&str]) -> Result<Query, ApiError> {
    let query = parsed(asked)?;
    overview::check_query(&query, known)?;
    Ok(query)
}

fn parsed(asked: Asked) -> Result<Query, ApiError> {
    match asked {
        Ok(Parsed(query)) => Ok(query),
        Err(err) => Err(ApiError::InvalidParameter(format!(
            "cannot read the query: {err}"
        ))),
    }
}

fn found(value: Value) -> Response {
    answer::json(StatusCode::OK, &value)
}
