//! `/v1/runs` on the unix socket: who may deploy may stop runs and have them forgotten.

use super::{App, answer, caller::Caller, ecs};
use crate::api::{error::ApiError, runs, view::View};
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
        .route("/v1/runs/{run}/stop", post(stop))
        .route("/v1/runs/{run}", delete(remove))
}

type Who = Extension<Caller>;
type Plan = fn(&View<'_>, &str, &Value) -> Result<Command, ApiError>;

async fn stop(
    State(app): State<App>,
    caller: Who,
    Path(run): Path<String>,
    request: Request,
) -> Response {
    carry_out(&app, caller, (run, runs::plan_stop), request).await
}

async fn remove(
    State(app): State<App>,
    caller: Who,
    Path(run): Path<String>,
    request: Request,
) -> Response {
    carry_out(&app, caller, (run, runs::plan_remove), request).await
}

async fn carry_out(
    app: &App,
    Extension(caller): Who,
    (run, plan): (String, Plan),
    request: Request,
) -> Response {
    let done = async {
        caller.check_may_deploy(app, "a change of a run").await?;
        let body = ecs::body_of(request).await?;
        let command = answer::look(app, move |view, _| plan(view, &run, &body)).await??;
        Ok::<_, ApiError>(runs::changed(&ecs::confirmed(app, command).await?))
    };
    answer::reply(done.await)
}
