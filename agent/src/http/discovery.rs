//! `GET /v1/discovery/…`: who may be used, in the words of those who ask for that.

use super::{App, answer, v1::Asked};
use crate::{
    api::{context::ApiContext, error::ApiError, prometheus, traefik},
    directory::Directory,
};
use axum::{Router, extract::State, response::Response, routing::get};
use serde_json::Value;
use std::sync::Arc;
use tokio::task::spawn_blocking;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/discovery/prometheus", get(prometheus))
        .route("/v1/discovery/traefik", get(traefik))
}

async fn prometheus(State(app): State<App>, asked: Asked) -> Response {
    match super::v1::query(asked, &["service"]) {
        Ok(mut query) => {
            let service = query.remove("service");
            made(&app, move |directory, context| {
                prometheus::targets(directory, context, service.as_deref())
            })
            .await
        }
        Err(err) => answer::error(&err),
    }
}

async fn traefik(State(app): State<App>, asked: Asked) -> Response {
    match super::v1::query(asked, &[]) {
        Ok(_) => made(&app, |directory, _| traefik::configuration(directory)).await,
        Err(err) => answer::error(&err),
    }
}

/// All of a large cluster takes a while to write down, for which the agent's loop does not wait.
async fn made(
    app: &App,
    make: impl FnOnce(&Directory, &ApiContext) -> Value + Send + 'static,
) -> Response {
    let Some(directory) = app.handle.directory() else {
        // Whoever asks keeps what it was told last.
        let text = "this agent cannot tell yet: it has not read the board from a peer";
        return answer::error(&ApiError::Server(text.to_owned()));
    };
    let context = Arc::clone(&app.context);
    let made = spawn_blocking(move || make(&directory, &context)).await;
    answer::reply(made.map_err(|err| ApiError::Server(err.to_string())))
}
