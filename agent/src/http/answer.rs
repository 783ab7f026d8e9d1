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

const JSON: &str = "application/json";

pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    typed(status, JSON, value)
}

pub(super) fn typed(status: StatusCode, kind: &'static str, value: &Value) -> Response {
    lined(status, kind, line_of(value))
}

pub(super) fn line_of(value: &Value) -> Vec<u8> {
    ended(serde_json::to_vec(value).expect("a value can be written down"))
}

/// One line, so that it ends well on a terminal.
pub(super) fn ended(mut json: Vec<u8>) -> Vec<u8> {
    json.push(b'\n');
    json
}

pub(super) fn lined(status: StatusCode, kind: &'static str, line: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(line));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// As `look`, and writes down in the same turn what was made: it may be long.
pub(super) async fn told(
    app: &App,
    make: impl FnOnce(&View<'_>) -> Result<Value, ApiError> + Send + 'static,
) -> Response {
    let told = look(app, move |view, _| reply(make(view))).await;
    told.unwrap_or_else(|err| error(&err))
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

/// Makes an answer from what the agent sees between two steps, while it goes on: to describe ten
/// thousand tasks takes longer than it may be held up.
pub(super) async fn look<T: Send + 'static>(
    app: &App,
    answer: impl FnOnce(&View<'_>, &DaemonStatus) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let context: Arc<ApiContext> = Arc::clone(&app.context);
    let remembered = Arc::clone(&app.remembered);
    let made = async {
        let turn = app.readers.turn().await;
        let (picture, status) = (app.handle.picture().await?, app.handle.status());
        let look = move || {
            let by = (&*context, &*remembered);
            View::look(&picture, by, |view| answer(view, &status))
        };
        turn.spend(look).await
    };
    match timeout(LOOK_TIMEOUT, made).await {
        Ok(answer) => answer,
        Err(_) => Err(ApiError::Server(format!(
            "the agent has not answered within {} s; look at its log with `journalctl -u holdfast`",
            LOOK_TIMEOUT.as_secs()
        ))),
    }
}
