//! `/v1/schedules` on the unix socket: who may deploy may set, switch and remove schedules.

use super::{App, answer, caller::Caller, ecs};
use crate::{
    api::{error::ApiError, schedules, view::View},
    gossip::now_wall_ms,
};
use axum::{
    Extension, Router,
    extract::{Path, Request, State},
    response::Response,
    routing::{delete, post, put},
};
use holdfast_core::{command::Command, time::Wall};
use serde_json::Value;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/schedules/{name}", put(set))
        .route("/v1/schedules/{name}", delete(remove))
        .route("/v1/schedules/{name}/enable", post(enable))
        .route("/v1/schedules/{name}/disable", post(disable))
}

type Who = Extension<Caller>;
type Plan = fn(&View<'_>, &str, &Value) -> Result<Command, ApiError>;

async fn set(
    State(app): State<App>,
    caller: Who,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let plan: Plan = |view, name, body| {
        let now = Wall(now_wall_ms());
        schedules::plan_set(view, now, name, body)
    };
    carry_out(&app, caller, (name, plan), request).await
}

async fn remove(
    State(app): State<App>,
    caller: Who,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    carry_out(&app, caller, (name, schedules::plan_remove), request).await
}

async fn enable(
    State(app): State<App>,
    caller: Who,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    carry_out(&app, caller, (name, schedules::plan_enable), request).await
}

async fn disable(
    State(app): State<App>,
    caller: Who,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    carry_out(&app, caller, (name, schedules::plan_disable), request).await
}

async fn carry_out(
    app: &App,
    Extension(caller): Who,
    (name, plan): (String, Plan),
    request: Request,
) -> Response {
    let done = async {
        caller
            .check_may_deploy(app, "a change of a schedule")
            .await?;
        let body = ecs::body_of(request).await?;
        let command = answer::look(app, move |view, _| plan(view, &name, &body)).await??;
        let outcome = ecs::confirmed(app, command).await?;
        answer::look(app, move |view, _| schedules::changed(view, &outcome)).await?
    };
    answer::reply(done.await)
}
