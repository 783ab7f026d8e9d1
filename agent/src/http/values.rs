//! `/v1/secrets` and `/v1/configs`: what the cluster keeps for tasks. Secrets are never read back.

use super::{App, answer, caller::Caller, ecs};
use crate::api::{
    error::ApiError,
    values::{self, Asked},
    view::View,
};
use axum::{
    Extension, Router,
    extract::{Path, Request, State},
    response::Response,
    routing::{delete, get, put},
};
use holdfast_core::spec::given::ValueName;
use serde_json::Value;

/// What only whoever may deploy may ask, or change.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/secrets", get(secrets))
        .route("/v1/secrets/{name}", get(secret))
        .route("/v1/secrets/{name}", put(set_secret))
        .route("/v1/secrets/{name}", delete(remove_secret))
        .route("/v1/configs/{name}", put(set_config))
        .route("/v1/configs/{name}", delete(remove_config))
}

/// What everybody may ask.
pub(super) fn open_routes() -> Router<App> {
    Router::new()
        .route("/v1/configs", get(configs))
        .route("/v1/configs/{name}", get(config))
}

type Who = Extension<Caller>;

async fn secrets(State(app): State<App>, caller: Who) -> Response {
    of_secrets(&app, caller, |view| Ok(values::secrets(view))).await
}

async fn secret(State(app): State<App>, caller: Who, Path(name): Path<String>) -> Response {
    of_secrets(&app, caller, move |view| values::secret(view, &name)).await
}

async fn of_secrets(
    app: &App,
    Extension(caller): Who,
    make: impl FnOnce(&View<'_>) -> Result<Value, ApiError> + Send + 'static,
) -> Response {
    let asked = async {
        caller.check_may_see_secrets(app).await?;
        answer::look(app, move |view, _| make(view)).await?
    };
    answer::reply(asked.await)
}

async fn configs(State(app): State<App>) -> Response {
    answer::reply(answer::look(&app, |view, _| values::configs(view)).await)
}

async fn config(State(app): State<App>, Path(name): Path<String>) -> Response {
    answer::told(&app, move |view| values::config(view, &name)).await
}

async fn set_secret(
    State(app): State<App>,
    caller: Who,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    set(&app, caller, ValueName::Secret(name), request).await
}

async fn set_config(
    State(app): State<App>,
    caller: Who,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    set(&app, caller, ValueName::Config(name), request).await
}

async fn set(app: &App, Extension(caller): Who, name: ValueName, request: Request) -> Response {
    let done = async {
        caller
            .check_may_deploy(app, "a value that it keeps")
            .await?;
        let by = caller.name().await;
        let body = ecs::body_of(request).await?;
        let asked = Asked { name, by };
        let (command, restart) = values::plan_set(&app.vault, asked, &body)?;
        let outcome = ecs::confirmed(app, command).await?;
        Ok(values::set(&outcome, restart))
    };
    answer::reply(done.await)
}

async fn remove_secret(
    State(app): State<App>,
    caller: Who,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    remove(&app, caller, ValueName::Secret(name), request).await
}

async fn remove_config(
    State(app): State<App>,
    caller: Who,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    remove(&app, caller, ValueName::Config(name), request).await
}

async fn remove(app: &App, Extension(caller): Who, name: ValueName, request: Request) -> Response {
    let done = async {
        caller
            .check_may_deploy(app, "a value that it keeps")
            .await?;
        let body = ecs::body_of(request).await?;
        let outcome = ecs::confirmed(app, values::plan_remove(name, &body)?).await?;
        Ok(values::removed(&outcome))
    };
    answer::reply(done.await)
}
