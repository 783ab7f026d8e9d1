//! `POST /`: the Amazon ECS API, JSON 1.1.

use super::{App, access::Signer, answer, caller::Caller, home};
use crate::api::{self, Operation, Plan, Reach, definitions, error::ApiError};
use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use holdfast_core::{
    command::{Command, Outcome},
    limits,
    spec::service::DefinitionRef,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};
use tracing::info;

const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// A change has to reach the disk.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// What was made at another agent is here long before that.
const HEARSAY_MAX: Duration = Duration::from_millis(100);
const HEARSAY_PAUSE: Duration = Duration::from_millis(5);
const ABOUT_CHARS_MAX: usize = 300;
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

/// Somebody who may have the operation carried out.
#[derive(Debug)]
enum Asker {
    Caller(Caller),
    Signer(Signer),
}

impl Asker {
    async fn may_deploy(&self, app: &App) -> bool {
        match self {
            Self::Caller(caller) => caller.may_deploy(app).await,
            Self::Signer(signer) => signer.role.may(Reach::Write),
        }
    }

    async fn name(&self) -> String {
        match self {
            Self::Caller(caller) => caller.name().await,
            Self::Signer(signer) => format!("key {}", signer.key_id),
        }
    }
}

async fn carry_out(app: &App, caller: Caller, request: Request) -> Result<Value, ApiError> {
    let (parts, body) = request.into_parts();
    let (asker, operation, bytes) = match caller {
        Caller::Signer => {
            let bytes = bytes_of(&parts.headers, body).await?;
            let (signer, operation) = signed(app, &parts, &bytes)?;
            (Asker::Signer(signer), operation, bytes)
        }
        // It has checked who asks it, and has it on record.
        Caller::Peer(_) => {
            let operation = operation_of(&parts.headers)?;
            let body = value_of(&bytes_of(&parts.headers, body).await?)?;
            return match definition_operation(operation, &body) {
                Some(_) => done_here(app, operation, &Arc::new(body)).await,
                None => Err(ApiError::AccessDenied(format!(
                    "agents do not ask each other for {}",
                    operation.as_str()
                ))),
            };
        }
        _ => {
            let operation = operation_of(&parts.headers)?;
            if operation.reach() != Reach::Read {
                caller.check_may_deploy(app, operation.as_str()).await?;
            }
            let bytes = bytes_of(&parts.headers, body).await?;
            (Asker::Caller(caller), operation, bytes)
        }
    };
    let body = Arc::new(value_of(&bytes)?);
    let mut done = match home::ask(app, operation, (&bytes, &body)).await? {
        Some(done) => done,
        None => heard(app, operation, &body).await,
    };
    if operation.reach() != Reach::Read {
        record(operation, &asker, about(&body), &done).await;
    }
    if let Ok(value) = &mut done
        && operation == Operation::DescribeTaskDefinition
        && !asker.may_deploy(app).await
    {
        definitions::redact(value);
    }
    done
}

/// Does it; if what it is about is not known here, again for a moment, as what was just made at
/// another agent is on its way: ECS's waiters give up at once on what is MISSING.
async fn heard(app: &App, operation: Operation, body: &Arc<Value>) -> Result<Value, ApiError> {
    let begun = Instant::now();
    loop {
        let done = done_here(app, operation, body).await;
        let lacks = match &done {
            // To do again what was done in part would be another change.
            Ok(_) if operation.reach() != Reach::Read => false,
            Ok(answer) => {
                let failures = answer["failures"].as_array();
                failures.is_some_and(|failures| failures.iter().any(is_missing))
            }
            Err(err) => err.may_be_on_its_way(),
        };
        if !lacks || begun.elapsed() >= HEARSAY_MAX {
            return done;
        }
        sleep(HEARSAY_PAUSE).await;
    }
}

fn is_missing(failure: &Value) -> bool {
    failure["reason"] == "MISSING"
}

async fn done_here(app: &App, operation: Operation, body: &Arc<Value>) -> Result<Value, ApiError> {
    let given = Arc::clone(body);
    let plan = answer::look(app, move |view, _| api::plan(view, operation, &given)).await??;
    match plan {
        Plan::Answer(value) => Ok(value),
        Plan::Write { command, prepared } => write(app, command, prepared).await,
    }
}

async fn record(
    operation: Operation,
    asker: &Asker,
    about: String,
    done: &Result<Value, ApiError>,
) {
    let outcome = match done {
        Ok(_) => "done".to_owned(),
        Err(err) => format!("{}: {err}", err.kind()),
    };
    let who = asker.name().await;
    info!(
        target: "audit",
        what = operation.as_str(),
        who,
        about,
        outcome,
        "Asked for a change."
    );
}

/// The family whose home is to carry an operation out; `None` for any other operation.
pub(super) fn definition_operation(operation: Operation, body: &Value) -> Option<String> {
    let named = match operation {
        Operation::RegisterTaskDefinition => return body["family"].as_str().map(str::to_owned),
        Operation::DeregisterTaskDefinition => &body["taskDefinition"],
        Operation::DeleteTaskDefinitions => &body["taskDefinitions"][0],
        _ => return None,
    };
    let reference: DefinitionRef = named.as_str()?.parse().ok()?;
    Some(reference.family)
}

/// Who asks for what over TCP, if their key may.
fn signed(app: &App, parts: &Parts, body: &[u8]) -> Result<(Signer, Operation), ApiError> {
    let access = app.access.as_ref();
    let access = access.ok_or_else(|| ApiError::Server("nobody has a key here".to_owned()))?;
    let (signer, signature) = access.signer(parts, body)?;
    let operation = operation_of(&parts.headers)?;
    if !signer.role.may(operation.reach()) {
        return Err(ApiError::AccessDenied(format!(
            "the key {} has the role {}, which may not call {}",
            signer.key_id,
            signer.role.as_str(),
            operation.as_str()
        )));
    }
    if operation.reach() != Reach::Read {
        access.take(&signature)?;
    }
    Ok((signer, operation))
}

/// What a request names first, for the record.
fn about(body: &Value) -> String {
    let names = [
        "service",
        "serviceName",
        "task",
        "tasks",
        "taskDefinition",
        "taskDefinitions",
        "family",
        "containerInstance",
        "containerInstances",
        "resourceArn",
        "clusterName",
    ];
    let named = names.iter().find_map(|name| body.get(name));
    let text = match named {
        Some(Value::String(text)) => text.clone(),
        Some(several) => several.to_string(),
        None => String::new(),
    };
    text.chars().take(ABOUT_CHARS_MAX).collect()
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
    let (parts, body) = request.into_parts();
    value_of(&bytes_of(&parts.headers, body).await?)
}

async fn bytes_of(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::RequestTooLarge(format!(
            "the request is longer than {} bytes; send a smaller one",
            limits::REQUEST_BYTES_MAX
        ))
    };
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits::REQUEST_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let limited = Limited::new(body, limits::REQUEST_BYTES_MAX);
    match timeout(BODY_TIMEOUT, Limited::<Body>::collect(limited)).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(err)) if err.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(err)) => Err(unreadable(&format!("the body broke off: {err}"))),
        Err(_) => Err(unreadable("the body did not come within 10 s")),
    }
}

fn value_of(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(bytes).map_err(|err| unreadable(&format!("it is not JSON: {err}")))
}

fn unreadable(why: &str) -> ApiError {
    ApiError::Serialization(format!("cannot read the request: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_changed_where_their_family_is_at_home() {
        let arn = "arn:aws:ecs:eu-central-1:000000000000:task-definition/web:3";
        let family = |operation, body| definition_operation(operation, &body);
        let web = Some("web".to_owned());
        assert_eq!(
            family(Operation::RegisterTaskDefinition, json!({"family": "web"})),
            web
        );
        assert_eq!(
            family(
                Operation::DeregisterTaskDefinition,
                json!({"taskDefinition": arn})
            ),
            web
        );
        let several = json!({"taskDefinitions": ["web:1", "api:2"]});
        assert_eq!(family(Operation::DeleteTaskDefinitions, several), web);
        // What is wrong with it, the agent says that is asked.
        for bad in [
            json!({}),
            json!({"family": 1}),
            json!({"taskDefinitions": []}),
            json!([]),
        ] {
            assert_eq!(family(Operation::RegisterTaskDefinition, bad.clone()), None);
            assert_eq!(family(Operation::DeleteTaskDefinitions, bad), None);
        }
        let create = json!({"family": "web", "taskDefinition": "web"});
        assert_eq!(family(Operation::CreateService, create), None);
    }
}
