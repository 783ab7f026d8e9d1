//! `POST /v1/recordings`: writes what the agent was told of late into a file on its host.

use super::{App, answer, caller::Caller};
use crate::{api::error::ApiError, gossip::now_wall_ms, recordings::Recordings};
use axum::{Extension, Router, extract::State, response::Response, routing::post};
use holdfast_core::{
    recording::{Cause, Header},
    time::Wall,
};
use serde_json::{Value, json};
use std::{io, path::PathBuf};
use tokio::task::spawn_blocking;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/v1/recordings", post(record))
}

async fn record(State(app): State<App>, Extension(caller): Extension<Caller>) -> Response {
    answer::reply(carry_out(&app, caller).await)
}

/// The file stays on the host, where only its owner reads it; the answer says where it is.
async fn carry_out(app: &App, caller: Caller) -> Result<Value, ApiError> {
    caller.check_may_record(app).await?;
    let _one = app.recording.lock().await;
    let at = Wall(now_wall_ms());
    let bytes = app.handle.record(at).await?;
    let recordings: Recordings = app.recordings.clone();
    let written = spawn_blocking(move || -> io::Result<(PathBuf, Vec<u8>)> {
        Ok((recordings.save(&Cause::Asked, at, &bytes)?, bytes))
    });
    let failed = |why: String| ApiError::Server(format!("cannot write the recording: {why}"));
    let written = written.await.map_err(|err| failed(err.to_string()))?;
    let (path, bytes) = written.map_err(|err| failed(err.to_string()))?;
    let header = Header::read(&bytes).map_err(|err| failed(err.to_string()))?;
    Ok(json!({
        "path": path,
        "bytes": bytes.len(),
        "firstStep": header.first + 1,
        "steps": header.steps,
        "core": header.core,
    }))
}
