//! `/v1/keys` on the unix socket: who may deploy may install, use and remove cluster keys.

use super::{App, answer, caller::Caller, ecs};
use crate::{
    api::{error::ApiError, keys},
    gossip::ClusterKey,
};
use axum::{
    Extension, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
    routing::{delete, post},
};
use holdfast_core::{command::Command, ids::KeyId};
use serde_json::Value;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/keys", post(install))
        .route("/v1/keys/{key}/use", post(put_to_use))
        .route("/v1/keys/{key}", delete(remove))
}

type Who = Extension<Caller>;

async fn install(State(app): State<App>, caller: Who, request: Request) -> Response {
    carry_out(&app, caller, request, |body| {
        let text = body.get("key").and_then(Value::as_str).unwrap_or_default();
        // The reason never repeats the text.
        let key: ClusterKey = text.parse().map_err(|err| refused(&err))?;
        Ok(Command::InstallKey {
            key: key.id(),
            secret: key.secret(),
        })
    })
    .await
}

async fn put_to_use(
    State(app): State<App>,
    caller: Who,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    carry_out(&app, caller, request, |body| {
        Ok(Command::UseKey {
            key: id(&key)?,
            force: force(body),
        })
    })
    .await
}

async fn remove(
    State(app): State<App>,
    caller: Who,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    carry_out(&app, caller, request, |body| {
        Ok(Command::RemoveKey {
            key: id(&key)?,
            force: force(body),
        })
    })
    .await
}

async fn carry_out(
    app: &App,
    Extension(caller): Who,
    request: Request,
    command: impl FnOnce(&Value) -> Result<Command, ApiError>,
) -> Response {
    let done = async {
        caller
            .check_may_deploy(app, "a change of the cluster's keys")
            .await?;
        let body = ecs::body_of(request).await?;
        let outcome = ecs::confirmed(app, command(&body)?).await?;
        Ok(keys::changed(&outcome))
    };
    match done.await {
        Ok(value) => answer::json(StatusCode::OK, &value),
        Err(err) => answer::error(&err),
    }
}

fn id(text: &str) -> Result<KeyId, ApiError> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        refused(&format!(
            "{shown:?} is not the id of a key: ids are 8 hexadecimal digits"
        ))
    })
}

fn force(body: &Value) -> bool {
    body.get("force").and_then(Value::as_bool).unwrap_or(false)
}

fn refused(why: &impl ToString) -> ApiError {
    ApiError::InvalidParameter(why.to_string())
}
