//! `/v1/tasks/{task}/archive`: files of a container as a tar archive, out of it and into it.

use super::{
    App, Asked,
    audit::Deed,
    framed, refused,
    relay::{self, Broken, Relay},
    respond,
};
use crate::{api::error::ApiError, http::answer};
use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
};
use serde_json::json;

const PATH_BYTES_MAX: usize = 4_096;

/// The archive comes in frames, so that it can end with a word on why it is not whole.
pub(super) async fn read(
    State(app): State<App>,
    Path(task): Path<String>,
    request: Request,
) -> Response {
    respond(carry_out_read(app, task, request).await)
}

async fn carry_out_read(app: App, task: String, request: Request) -> Result<Response, ApiError> {
    let asked = Asked::read(app, task, request, &["container", "path"]).await?;
    let path = path(&asked)?;
    if !asked.place.is_here {
        return Ok(asked
            .pass_on("archive")
            .await?
            .framed("the copy is not whole"));
    }
    asked.check_allowed("copies of its containers' files")?;
    let (found, id) = asked.only()?;
    let body = asked.containers().read_archive(&id, &path).await;
    let body = body.map_err(refused)?;
    let deed = Deed::begin(&asked.who, "copy out", &asked.place, &found.name, path);
    let host_name = asked.place.host_name.clone();
    let why = move |broken: Broken<'_>| match broken {
        Broken::Source(err) => format!("Docker broke it off ({err}); the copy is not whole"),
        Broken::Stopping => {
            format!("the agent of host {host_name} is stopping; the copy is not whole")
        }
    };
    let (source, closing) = ((body.into(), relay::Form::Bare), asked.app.closing.clone());
    let relay = Relay::new(source, why, asked.permit, closing).recorded_as(deed);
    Ok(framed(relay.into_body()))
}

/// Unpacked into a directory that is there.
pub(super) async fn write(
    State(app): State<App>,
    Path(task): Path<String>,
    request: Request,
) -> Response {
    respond(carry_out_write(app, task, request).await)
}

async fn carry_out_write(app: App, task: String, request: Request) -> Result<Response, ApiError> {
    let mut asked = Asked::read(app, task, request, &["container", "path"]).await?;
    let path = path(&asked)?;
    if !asked.place.is_here {
        return Ok(asked.pass_on("archive").await?.plain());
    }
    asked.check_allowed("copies of files into its containers")?;
    let (found, id) = asked.only()?;
    let archive = std::mem::replace(&mut asked.request, Request::new(Body::empty()));
    let deed = Deed::begin(
        &asked.who,
        "copy in",
        &asked.place,
        &found.name,
        path.clone(),
    );
    let written = asked
        .containers()
        .write_archive(&id, &path, archive.into_body());
    match written.await {
        Ok(()) => {
            deed.end("unpacked");
            Ok(answer::json(StatusCode::OK, &json!({"unpacked": true})))
        }
        Err(err) => {
            let err = refused(err);
            deed.end(&err.to_string());
            Err(err)
        }
    }
}

/// `GET /v1/tasks/{task}/stat`: what is at a path.
pub(super) async fn stat(
    State(app): State<App>,
    Path(task): Path<String>,
    request: Request,
) -> Response {
    respond(carry_out_stat(app, task, request).await)
}

async fn carry_out_stat(app: App, task: String, request: Request) -> Result<Response, ApiError> {
    let asked = Asked::read(app, task, request, &["container", "path"]).await?;
    let path = path(&asked)?;
    if !asked.place.is_here {
        return Ok(asked.pass_on("stat").await?.plain());
    }
    asked.check_allowed("looks at its containers' files")?;
    let (found, id) = asked.only()?;
    match asked.containers().stat(&id, &path).await {
        Ok(Some(stat)) => Ok(answer::json(StatusCode::OK, &stat)),
        Ok(None) => {
            let text = format!("there is no {path} in container {}", found.name);
            let mut body = ApiError::NotFound(text).json();
            // Told from a task that is not there.
            body["missing"] = json!("path");
            Ok(answer::json(StatusCode::NOT_FOUND, &body))
        }
        Err(err) => Err(refused(err)),
    }
}

fn path(asked: &Asked) -> Result<String, ApiError> {
    match asked.query.get("path") {
        Some(path) if (1..=PATH_BYTES_MAX).contains(&path.len()) => Ok(path.clone()),
        _ => Err(ApiError::InvalidParameter(format!(
            "path must be that of a file or directory in the container, of at most \
             {PATH_BYTES_MAX} bytes"
        ))),
    }
}
