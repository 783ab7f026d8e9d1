//! How answers and errors are put into HTTP.

use super::App;
use crate::{
    api::{context::ApiContext, error::ApiError, view::View},
    handle::DaemonStatus,
};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// An agent that takes longer for a look at its own memory is not well.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    typed(status, "application/json", value)
}

/// One line, so that it ends well on a terminal.
pub(super) fn typed(status: StatusCode, kind: &'static str, value: &Value) -> Response {
    let mut response = Response::new(Body::from(format!("{value}\n")));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What was made, or why not.
pub(super) fn reply(made: Result<Value, ApiError>) -> Response {
    match made {
        Ok(value) => json(StatusCode::OK, &value),
        Err(err) => error(&err),
    }
}

/// For `/v1`: HTTP's own words, where ECS's API has 400 for everything.
pub(super) fn error(err: &ApiError) -> Response {
    let status = match err {
        ApiError::NotFound(_) | ApiError::ServiceNotFound(_) => StatusCode::NOT_FOUND,
        ApiError::AccessDenied(_) => StatusCode::FORBIDDEN,
        ApiError::Server(_) => StatusCode::SERVICE_UNAVAILABLE,
        other => status_of(other),
    };
    json(status, &err.json())
}

pub(super) fn status_of(err: &ApiError) -> StatusCode {
    StatusCode::from_u16(err.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) async fn no_such_path(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let text = format!("there is nothing at {path}; `GET /` lists what there is");
    error(&ApiError::NotFound(text))
}

/// Makes an answer from the agent's view between two steps.
pub(super) async fn look<T: Send + 'static>(
    app: &App,
    answer: impl FnOnce(&View<'_>, &DaemonStatus) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let context: Arc<ApiContext> = Arc::clone(&app.context);
    let status = app.handle.status();
    let read = app
        .handle
        .read(move |agent| View::look(agent, &context, |view| answer(view, &status)));
    match timeout(LOOK_TIMEOUT, read).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ApiError::Server(format!(
            "the agent has not answered within {} s; look at its log with `journalctl -u holdfast`",
            LOOK_TIMEOUT.as_secs()
        ))),
    }
}
