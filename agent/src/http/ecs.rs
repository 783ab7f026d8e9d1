//! `POST /`: the Amazon ECS API, JSON 1.1.

use super::{App, access::Signer, answer, caller::Caller, hearing::Hearing, home};
use crate::api::{self, Operation, Plan, Reach, definitions, error::ApiError, scope, view::View};
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
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{spawn, time::timeout};
use tracing::info;

const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// A change has to reach the disk.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// What was made at another agent is here long before that.
const HEARSAY_MAX: Duration = Duration::from_millis(100);
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
        Ok(line) => answer::lined(StatusCode::OK, KIND, line),
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

/// A request as it is to be carried out.
#[derive(Clone, Debug)]
struct Call {
    operation: Operation,
    body: Arc<Value>,
    /// The one cluster that whoever asks is to stay in.
    only: Option<String>,
}

impl Call {
    fn of(operation: Operation, body: Value) -> Self {
        Self {
            operation,
            body: Arc::new(body),
            only: None,
        }
    }

    fn plan(&self, view: &View<'_>) -> Result<Plan, ApiError> {
        // A cluster that is about to be made cannot be asked in.
        let only = self.only.as_ref();
        let context = match only.filter(|_| self.operation != Operation::CreateCluster) {
            Some(only) => &view.context.scoped(view.board, &json!(only))?,
            None => view.context,
        };
        api::plan(&view.within(context), self.operation, &self.body)
    }
}

/// The answer as it is written down.
async fn carry_out(app: &App, caller: Caller, request: Request) -> Result<Vec<u8>, ApiError> {
    let (parts, body) = request.into_parts();
    let (asker, operation, bytes) = match caller {
        Caller::Signer => return carry_out_signed(app, &parts, body).await,
        // It has checked who asks it, and has it on record.
        Caller::Peer(_) => {
            let operation = operation_of(&parts.headers)?;
            let body = value_of(&bytes_of(&parts.headers, body).await?)?;
            return match home::family_of(operation, &body) {
                Some(_) => {
                    let call = Call::of(operation, body);
                    tried(app, &call, Shown::All).await.result
                }
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
    let call = Call::of(operation, value_of(&bytes)?);
    finish(app, asker, (call, bytes)).await
}

async fn carry_out_signed(app: &App, parts: &Parts, body: Body) -> Result<Vec<u8>, ApiError> {
    let (signer, operation, bytes) = signed(app, parts, body).await?;
    let body = value_of(&bytes)?;
    let about = scope::about(&app.context, operation, &body);
    let only = signer.clusters.check(about, operation.reach());
    let only = only.map_err(|what| {
        ApiError::AccessDenied(format!(
            "the key {} is for {} alone, and {} is asked of {what}",
            signer.key_id,
            signer.clusters,
            operation.as_str()
        ))
    });
    let asker = Asker::Signer(signer);
    let mut call = Call::of(operation, body);
    match only {
        Ok(only) => call.only = only,
        Err(err) => {
            record(&call, &asker, Some(&err)).await;
            return Err(err);
        }
    }
    finish(app, asker, (call, bytes)).await
}

async fn finish(
    app: &App,
    asker: Asker,
    (call, bytes): (Call, Bytes),
) -> Result<Vec<u8>, ApiError> {
    if call.operation.reach() == Reach::Read {
        return done(app, &asker, (&call, &bytes)).await;
    }
    // Whoever hangs up meanwhile has not taken it back: it is carried out, and put on record.
    let app = app.clone();
    let doing = spawn(async move { done(&app, &asker, (&call, &bytes)).await });
    doing.await.unwrap_or_else(|_| {
        Err(ApiError::Server(
            "the agent broke it off, so it may or may not have been carried out".to_owned(),
        ))
    })
}

async fn done(
    app: &App,
    asker: &Asker,
    (call, bytes): (&Call, &Bytes),
) -> Result<Vec<u8>, ApiError> {
    let secret = matches!(
        call.operation,
        Operation::DescribeTaskDefinition | Operation::DescribeTasks
    );
    let shown = match secret && !asker.may_deploy(app).await {
        true => Shown::Redacted,
        false => Shown::All,
    };
    let done = match home::ask(app, call.operation, (bytes, &call.body)).await {
        Ok(Some(done)) => done.map(|value| answer::line_of(&value)),
        Ok(None) => heard(app, call, shown).await,
        Err(err) => Err(err),
    };
    if call.operation.reach() != Reach::Read {
        record(call, asker, done.as_ref().err()).await;
    }
    done
}

/// Does it; if what it is about is not known here, again if the board changes within a moment, as
/// what was just made at another agent is on its way: ECS's waiters give up at once on what is
/// MISSING.
async fn heard(app: &App, call: &Call, shown: Shown) -> Result<Vec<u8>, ApiError> {
    let mut hearing = Hearing::new(app, HEARSAY_MAX);
    loop {
        let tried = tried(app, call, shown).await;
        let lacks = match &tried.result {
            Ok(_) => tried.lacks,
            Err(err) => err.may_be_on_its_way(),
        };
        // What was done in part would be another change.
        if tried.is_done || !lacks || !hearing.next().await {
            return tried.result;
        }
    }
}

/// Whether an answer tells what only those may read who may deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    All,
    Redacted,
}

/// One try at an operation.
struct Tried {
    /// The answer as it is written down.
    result: Result<Vec<u8>, ApiError>,
    /// Something that was asked for is not known.
    lacks: bool,
    /// Something was changed, whatever is said of it.
    is_done: bool,
}

/// As [`Plan`], with the answer written down where it was made: it may be long.
enum Planned {
    Answer {
        line: Vec<u8>,
        lacks: bool,
    },
    Write {
        command: Command,
        prepared: Option<Value>,
        failures: Vec<Value>,
    },
}

impl Planned {
    fn of(plan: Plan, shown: Shown) -> Self {
        match plan {
            Plan::Answer(value) => Self::answer(value, shown),
            Plan::Written {
                json,
                tells_secrets: true,
                ..
            } if shown == Shown::Redacted => {
                let value = serde_json::from_slice(&json).expect("we wrote it down");
                Self::answer(value, shown)
            }
            Plan::Written { json, lacks, .. } => Self::Answer {
                line: answer::ended(json),
                lacks,
            },
            Plan::Write {
                command,
                prepared,
                failures,
            } => Self::Write {
                command,
                prepared,
                failures,
            },
        }
    }

    fn answer(mut value: Value, shown: Shown) -> Self {
        if shown == Shown::Redacted {
            definitions::redact(&mut value);
        }
        Self::Answer {
            line: answer::line_of(&value),
            lacks: lacks(&value),
        }
    }
}

fn lacks(answer: &Value) -> bool {
    let failures = answer["failures"].as_array();
    failures.is_some_and(|all| all.iter().any(|failure| failure["reason"] == "MISSING"))
}

async fn tried(app: &App, call: &Call, shown: Shown) -> Tried {
    let given = call.clone();
    let planned = answer::look(app, move |view, _| {
        let plan = given.plan(view)?;
        Ok(Planned::of(plan, shown))
    });
    let undone = |result, lacks| Tried {
        result,
        lacks,
        is_done: false,
    };
    let (command, prepared, failures) = match planned.await.and_then(|plan| plan) {
        Ok(Planned::Answer { line, lacks }) => return undone(Ok(line), lacks),
        Ok(Planned::Write {
            command,
            prepared,
            failures,
        }) => (command, prepared, failures),
        Err(err) => return undone(Err(err), false),
    };
    let outcome = match confirmed(app, command).await {
        Ok(outcome) => outcome,
        Err(err) => return undone(Err(err), false),
    };
    let mut told = match prepared {
        Some(value) => Ok(value),
        None => {
            let told = answer::look(app, move |view, _| api::answer(view, &outcome));
            told.await.and_then(|told| told)
        }
    };
    if let (Ok(value), false) = (&mut told, failures.is_empty()) {
        value["failures"] = json!(failures);
    }
    Tried {
        result: told.map(|value| answer::line_of(&value)),
        lacks: false,
        is_done: true,
    }
}

async fn record(call: &Call, asker: &Asker, err: Option<&ApiError>) {
    let outcome = err.map_or_else(|| "done".to_owned(), |err| format!("{}: {err}", err.kind()));
    let who = asker.name().await;
    info!(
        target: "audit",
        what = call.operation.as_str(),
        who,
        about = about(&call.body),
        outcome,
        "Asked for a change."
    );
}

/// Who asks for what over TCP, if their key may, and the request's body.
async fn signed(
    app: &App,
    parts: &Parts,
    body: Body,
) -> Result<(Signer, Operation, Bytes), ApiError> {
    let access = app.access.as_ref();
    let access = access.ok_or_else(|| ApiError::Server("nobody has a key here".to_owned()))?;
    let claim = access.claim(parts).await?;
    let bytes = bytes_of(&parts.headers, body).await?;
    let signer = claim.check(parts, &bytes)?;
    let operation = operation_of(&parts.headers)?;
    if !signer.role.may(operation.reach()) {
        let err = ApiError::AccessDenied(format!(
            "the key {} has the role {}, which may not call {}",
            signer.key_id,
            signer.role.as_str(),
            operation.as_str()
        ));
        let call = Call::of(operation, Value::Null);
        record(&call, &Asker::Signer(signer), Some(&err)).await;
        return Err(err);
    }
    if operation.reach() != Reach::Read {
        access.take(&claim)?;
    }
    Ok((signer, operation, bytes))
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
