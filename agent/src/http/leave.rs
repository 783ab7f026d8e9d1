//! `POST /v1/leave`: has this host leave the cluster, and answers when it has, or why it has not.

use super::{App, answer, caller::Caller, connection::Streaming, ecs};
use crate::api::{self, error::ApiError, hosts};
use axum::{
    Extension, Router,
    extract::{Request, State},
    response::Response,
    routing::post,
};
use serde_json::Value;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/v1/leave", post(leave))
}

async fn leave(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Extension(streaming): Extension<Streaming>,
    request: Request,
) -> Response {
    // The answer takes as long as moving the tasks does.
    streaming.begin();
    answer::reply(carry_out(&app, caller, request).await)
}

/// Without a time-out of its own: the agent answers by the time that it was given, or ends.
async fn carry_out(app: &App, caller: Caller, request: Request) -> Result<Value, ApiError> {
    caller.check_may_deploy(app, "leaving").await?;
    let body = ecs::body_of(request).await?;
    let command = hosts::plan_leave(&body)?;
    let outcome = app.handle.command(command).await??;
    answer::look(app, move |view, _| api::answer(view, &outcome)).await?
}
