//! `POST /`: the Amazon ECS API, JSON 1.1.

use super::{App, answer, caller::Caller};
use crate::api::{self, Operation, Plan, Reach, definitions, error::ApiError};
use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use holdfast_core::{
    command::{Command, Outcome},
    limits,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// A change has to reach the disk.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
const KIND: &str = "application/x-amz-json-1.1";

pub(super) fn routes() -> Router<App> {
    Router::new().route("/", post(operation))
}

async fn operation(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    match carry_out(&app, caller, request).await {
        Ok(value) => answer::typed(StatusCode::OK, KIND, &value),
        Err(err) => answer::typed(answer::status_of(&err), KIND, &err.json()),
    }
}

async fn carry_out(app: &App, caller: Caller, request: Request) -> Result<Value, ApiError> {
    let operation = operation_of(request.headers())?;
    if operation.reach() == Reach::Write {
        caller.check_may_deploy(app, operation.as_str()).await?;
    }
    let body = body_of(request).await?;
    let plan = answer::look(app, move |view, _| api::plan(view, operation, &body)).await??;
    match plan {
        Plan::Answer(mut value) => {
            let secret = operation == Operation::DescribeTaskDefinition;
            if secret && !caller.may_deploy(app).await {
                definitions::redact(&mut value);
            }
            Ok(value)
        }
        Plan::Write { command, prepared } => write(app, command, prepared).await,
    }
}

async fn write(app: &App, command: Command, prepared: Option<Value>) -> Result<Value, ApiError> {
    let outcome = confirmed(app, command).await?;
    match prepared {
        Some(value) => Ok(value),
        None => answer::look(app, move |view, _| api::answer(view, &outcome)).await?,
    }
}

/// Has a command carried out: an outcome says that the change is on disk.
pub(super) async fn confirmed(app: &App, command: Command) -> Result<Outcome, ApiError> {
    let answered = timeout(COMMAND_TIMEOUT, app.handle.command(command)).await;
    let outcome = answered.map_err(|_| {
        ApiError::Server(format!(
            "the agent has not confirmed the change within {} s, so it may or may not have been \
             made; look before you try again",
            COMMAND_TIMEOUT.as_secs()
        ))
    })???;
    Ok(outcome)
}

fn operation_of(headers: &HeaderMap) -> Result<Operation, ApiError> {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    let target = target.ok_or_else(|| {
        ApiError::UnknownOperation(format!(
            "the header X-Amz-Target is missing; it must be {}.<Operation>",
            api::TARGET
        ))
    })?;
    Operation::of_target(target)
}

/// An empty body is an empty request, as every client's `ListServices` may be.
pub(super) async fn body_of(request: Request) -> Result<Value, ApiError> {
    let too_large = || {
        ApiError::RequestTooLarge(format!(
            "the request is longer than {} bytes; send a smaller one",
            limits::REQUEST_BYTES_MAX
        ))
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits::REQUEST_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let limited = Limited::new(request.into_body(), limits::REQUEST_BYTES_MAX);
    let read = timeout(BODY_TIMEOUT, Limited::<Body>::collect(limited)).await;
    let bytes: Bytes = match read {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(err)) if err.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(err)) => return Err(unreadable(&format!("the body broke off: {err}"))),
        Err(_) => return Err(unreadable("the body did not come within 10 s")),
    };
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(&bytes).map_err(|err| unreadable(&format!("it is not JSON: {err}")))
}

fn unreadable(why: &str) -> ApiError {
    ApiError::Serialization(format!("cannot read the request: {why}"))
}
