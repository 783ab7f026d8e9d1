//! `$ECS_AGENT_URI/task-protection/v1/state`: a task keeps itself from being stopped for a while.

use super::{Endpoint, answer};
use crate::{
    api::{error::ApiError, protection, view::View},
    http::{caller::Caller, ecs::confirmed},
};
use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{Method, StatusCode},
    response::Response,
};
use holdfast_core::{
    command::{Command, Outcome},
    ids::TaskId,
    limits,
};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const BODY_BYTES_MAX: usize = 4 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
const INVALID: &str = "InvalidParameterException";

/// As ECS's agent reads it: nothing else may be in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(rename = "ProtectionEnabled", alias = "protectionEnabled")]
    enabled: Option<bool>,
    #[serde(rename = "ExpiresInMinutes", alias = "expiresInMinutes")]
    minutes: Option<i64>,
}

/// What ECS's agent calls an error: a status, ECS's name of it, and what is wrong.
struct Refused(StatusCode, &'static str, String);

pub(super) async fn answer(
    endpoint: &Endpoint,
    id: &str,
    caller: Caller,
    request: Request,
) -> Response {
    let subject = endpoint.subject(id, caller).await;
    let Some(task) = subject.map(|subject| subject.task) else {
        let why = "Failed to find a task for the request".to_owned();
        let refused = Refused(StatusCode::NOT_FOUND, "ResourceNotFoundException", why);
        return told(refused, None);
    };
    let done = match *request.method() {
        Method::GET | Method::HEAD => get(endpoint, task).await,
        Method::PUT => put(endpoint, task, request).await,
        _ => {
            let why = "only GET and PUT are answered here".to_owned();
            Err(Refused(StatusCode::METHOD_NOT_ALLOWED, INVALID, why))
        }
    };
    match done {
        Ok(value) => answer::json(StatusCode::OK, &value),
        Err(refused) => {
            let arn = answer::look(&endpoint.app, move |view, _| protection::arn(view, task));
            told(refused, arn.await.ok())
        }
    }
}

async fn get(endpoint: &Endpoint, task: TaskId) -> Result<Value, Refused> {
    look(endpoint, move |view| match protection::of(view, task) {
        Ok(until) => protection::told(view, task, until),
        Err(why) => protection::told_failure(view, task, why),
    })
    .await
}

async fn put(endpoint: &Endpoint, task: TaskId, request: Request) -> Result<Value, Refused> {
    let minutes = minutes(&body_of(request).await?)?;
    let tasks = vec![task];
    let outcome = confirmed(&endpoint.app, Command::ProtectTasks { tasks, minutes }).await;
    let Outcome::ProtectionOrdered { until, failed, .. } = outcome.map_err(server)? else {
        let why = "the agent did something else".to_owned();
        return Err(server(ApiError::Server(why)));
    };
    look(endpoint, move |view| match failed.first() {
        None => protection::told(view, task, until),
        Some((_, why)) => protection::told_failure(view, task, *why),
    })
    .await
}

/// For how long; `None`: not any more.
fn minutes(body: &[u8]) -> Result<Option<u32>, Refused> {
    let invalid = |why: String| Refused(StatusCode::BAD_REQUEST, INVALID, why);
    let asked: Asked = serde_json::from_slice(body).map_err(|err| {
        invalid(format!(
            "UpdateTaskProtection: failed to decode request: {err}"
        ))
    })?;
    let Some(enabled) = asked.enabled else {
        let why = "Invalid request: does not contain 'ProtectionEnabled' field";
        return Err(invalid(why.to_owned()));
    };
    let default = i64::from(limits::PROTECTION_MINUTES_DEFAULT);
    let minutes = u32::try_from(asked.minutes.unwrap_or(default)).unwrap_or(0);
    if enabled && !(1..=limits::PROTECTION_MINUTES_MAX).contains(&minutes) {
        let max = limits::PROTECTION_MINUTES_MAX;
        let why = format!("ExpiresInMinutes must be a whole number from 1 to {max}");
        return Err(invalid(why));
    }
    Ok(enabled.then_some(minutes))
}

async fn body_of(request: Request) -> Result<Bytes, Refused> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let read = timeout(BODY_TIMEOUT, Limited::<Body>::collect(body)).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(_)) | Err(_) => {
            let why = format!(
                "UpdateTaskProtection: failed to decode request: its body is longer than \
                 {BODY_BYTES_MAX} bytes, or did not come"
            );
            Err(Refused(StatusCode::BAD_REQUEST, INVALID, why))
        }
    }
}

async fn look(
    endpoint: &Endpoint,
    read: impl FnOnce(&View<'_>) -> Value + Send + 'static,
) -> Result<Value, Refused> {
    let looked = answer::look(&endpoint.app, move |view, _| read(view)).await;
    looked.map_err(server)
}

fn server(err: ApiError) -> Refused {
    let why = err.to_string();
    Refused(StatusCode::INTERNAL_SERVER_ERROR, "ServerException", why)
}

fn told(Refused(status, code, why): Refused, arn: Option<String>) -> Response {
    let mut error = json!({"Code": code, "Message": why});
    if let Some(arn) = arn {
        error["Arn"] = json!(arn);
    }
    answer::json(status, &json!({"error": error}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Option<u32>, String> {
        minutes(body.as_bytes()).map_err(|Refused(status, code, why)| {
            assert_eq!(status, StatusCode::BAD_REQUEST);
            format!("{code}: {why}")
        })
    }

    #[test]
    fn what_a_task_asks_for_is_read_as_ecs_does() {
        assert_eq!(read(r#"{"ProtectionEnabled":true}"#), Ok(Some(120)));
        let asked = r#"{"ProtectionEnabled":true,"ExpiresInMinutes":60}"#;
        assert_eq!(read(asked), Ok(Some(60)));
        assert_eq!(read(r#"{"ProtectionEnabled":false}"#), Ok(None));
        for bad in [
            "",
            "{}",
            r#"{"ProtectionEnabled":"yes"}"#,
            r#"{"ProtectionEnabled":true,"Minutes":60}"#,
            r#"{"ProtectionEnabled":true,"ExpiresInMinutes":0}"#,
            r#"{"ProtectionEnabled":true,"ExpiresInMinutes":2881}"#,
            r#"{"ProtectionEnabled":true,"ExpiresInMinutes":-9223372036854775808}"#,
        ] {
            let why = read(bad).expect_err(bad);
            assert!(why.starts_with(INVALID), "{why}");
        }
    }
}
