//! Where the numbers of task definitions come from: each family has a home, the same for all agents
//! that see the same hosts, so that two who ask two agents at once do not get the same number.
//!
//! Where the home does not answer, whoever was asked gives the number: of two that are given on two
//! sides of a partition one is changed, once both sides hear of each other.

use super::{App, answer, client, hearing::Hearing};
use crate::api::{Operation, TARGET, definitions, error::ApiError};
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use holdfast_core::{cluster::board::Board, ids::HostId, limits};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::time::timeout;
use tracing::debug;

/// For the way there, and until the change is on the home's disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Until this agent has heard of it, too, so that whoever asked may go on with it here.
const HERE_WITHIN: Duration = Duration::from_secs(1);

/// What the home of the family in the request answers; `None` where this agent is to do it.
pub(super) async fn ask(
    app: &App,
    operation: Operation,
    (bytes, body): (&Bytes, &Value),
) -> Result<Option<Result<Value, ApiError>>, ApiError> {
    let Some(family) = family_of(operation, body) else {
        return Ok(None);
    };
    let home = answer::look(app, move |view, _| definitions::home_of(view, &family)).await?;
    let Some((host, address)) = home else {
        return Ok(None);
    };
    let asked = timeout(
        ANSWER_TIMEOUT,
        exchange(app, (host, address), operation, bytes),
    );
    let why = match asked.await {
        Ok(Ok((StatusCode::OK, answer))) => {
            heard_of(app, &answer).await?;
            return Ok(Some(Ok(answer)));
        }
        Ok(Ok((status, answer))) => match ApiError::of_json(&answer) {
            Some(refused) => return Ok(Some(Err(refused))),
            None => format!("it answered {status}"),
        },
        Ok(Err(why)) => why,
        Err(_) => format!("it has not answered within {} s", ANSWER_TIMEOUT.as_secs()),
    };
    debug!(%host, why, "The home of a family could not be asked; the number is given here.");
    Ok(None)
}

/// The family whose home is to carry an operation out; `None` for any but a registration.
pub(super) fn family_of(operation: Operation, body: &Value) -> Option<String> {
    match operation {
        Operation::RegisterTaskDefinition => body["family"].as_str().map(str::to_owned),
        _ => None,
    }
}

async fn heard_of(app: &App, answer: &Value) -> Result<(), ApiError> {
    let told = &answer["taskDefinition"];
    let revision = told["revision"]
        .as_u64()
        .and_then(|n| u32::try_from(n).ok());
    let (Some(family), Some(revision)) = (told["family"].as_str(), revision) else {
        return Ok(());
    };
    let mut hearing = Hearing::new(app, HERE_WITHIN);
    loop {
        let family = family.to_owned();
        let known = move |board: &Board| board.label(&family, revision).is_some();
        if answer::look(app, move |view, _| known(view.board)).await? || !hearing.next().await {
            return Ok(());
        }
    }
}

async fn exchange(
    app: &App,
    (host, address): (HostId, SocketAddr),
    operation: Operation,
    body: &Bytes,
) -> Result<(StatusCode, Value), String> {
    let tunnel = app.reach.tunnels.open(address, host).await;
    let tunnel = tunnel.map_err(|err| err.to_string())?;
    let request = Request::post("/")
        .header(header::HOST, "agent")
        .header("x-amz-target", format!("{TARGET}.{}", operation.as_str()))
        .body(Full::new(body.clone()));
    let request = request.map_err(|err| err.to_string())?;
    let answer = client::exchange(tunnel, request).await;
    let answer = answer.map_err(|err| err.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), limits::REQUEST_BYTES_MAX);
    let bytes = body.collect().await.map_err(|err| err.to_string())?;
    let answer = serde_json::from_slice(&bytes.to_bytes());
    Ok((status, answer.map_err(|err| err.to_string())?))
}
