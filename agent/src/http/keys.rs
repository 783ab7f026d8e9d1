//! `/v1/keys` on the unix socket: who may deploy may install, use and remove cluster keys.

use super::{App, answer, caller::Caller, ecs};
use crate::api::{error::ApiError, keys};
use axum::{
    Extension, Router,
    extract::{Path, Request, State},
    response::Response,
    routing::{delete, post},
};
use holdfast_core::command::Command;
use serde_json::Value;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/keys", post(install))
        .route("/v1/keys/{key}/use", post(put_to_use))
        .route("/v1/keys/{key}", delete(remove))
}

type Who = Extension<Caller>;

async fn install(State(app): State<App>, caller: Who, request: Request) -> Response {
    carry_out(&app, caller, request, keys::plan_install).await
}

async fn put_to_use(
    State(app): State<App>,
    caller: Who,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    let plan = |body: &Value| keys::plan_use(&key, body);
    carry_out(&app, caller, request, plan).await
}

async fn remove(
    State(app): State<App>,
    caller: Who,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    let plan = |body: &Value| keys::plan_remove(&key, body);
    carry_out(&app, caller, request, plan).await
}

async fn carry_out(
    app: &App,
    Extension(caller): Who,
    request: Request,
    plan: impl FnOnce(&Value) -> Result<Command, ApiError>,
) -> Response {
    let done = async {
        caller
            .check_may_deploy(app, "a change of the cluster's keys")
            .await?;
        let body = ecs::body_of(request).await?;
        let outcome = ecs::confirmed(app, plan(&body)?).await?;
        Ok(keys::changed(&outcome))
    };
    answer::reply(done.await)
}
