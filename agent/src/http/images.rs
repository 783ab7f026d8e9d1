//! `POST /v1/images/pull`: has hosts pull images, and streams what becomes of that.

use super::{App, answer, caller::Caller, connection::Streaming, ecs, stream::KEEP_ALIVE};
use crate::api::{
    error::ApiError,
    images::{self, Wanted},
};
use axum::{
    Extension, Router,
    extract::{Request, State},
    response::{
        IntoResponse as _, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use holdfast_core::command::Command;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::sleep,
};

/// Images on hosts that one request has pulled at a time, so that neither the agent nor a registry
/// has to do with all of a large cluster at once.
const AT_ONCE_MAX: usize = 256;
/// Between two words on how far the pulls have come.
const TOLD_EACH: Duration = Duration::from_secs(1);
/// What was told and not read yet; whoever reads no more holds up nobody else.
const UNREAD_MAX: usize = 16;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/v1/images/pull", post(pull))
}

async fn pull(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Extension(streaming): Extension<Streaming>,
    request: Request,
) -> Response {
    let begun = match begin(&app, caller, request).await {
        Ok(begun) => begun,
        Err(err) => return answer::error(&err),
    };
    streaming.begin();
    let told = stream::unfold(begun, async |(mut told, permit)| {
        let one = told.recv().await?;
        let event = Event::default().data(one.to_string());
        Some((Ok::<_, Infallible>(event), (told, permit)))
    });
    Sse::new(told)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

async fn begin(
    app: &App,
    caller: Caller,
    request: Request,
) -> Result<(mpsc::Receiver<Value>, OwnedSemaphorePermit), ApiError> {
    caller.check_may_pull(app).await?;
    let body = ecs::body_of(request).await?;
    let wanted = answer::look(app, move |view, _| images::plan_pull(view, &body)).await??;
    let permit = Arc::clone(&app.streams).try_acquire_owned();
    let permit = permit.map_err(|_| {
        let text = "too many streams are open on this agent; close one, or try again later";
        ApiError::Server(text.to_owned())
    })?;
    let (tell, told) = mpsc::channel(UNREAD_MAX);
    tokio::spawn(carry_out(app.clone(), wanted, tell));
    Ok((told, permit))
}

/// Has each of them pulled. If nobody reads any more what is told, nobody waits any more; what was
/// begun goes on.
async fn carry_out(app: App, wanted: Vec<Wanted>, tell: mpsc::Sender<Value>) {
    tell.send(images::begun(&wanted)).await.ok();
    let open = Mutex::default();
    let each = stream::iter(wanted).for_each_concurrent(AT_ONCE_MAX, |wanted| {
        let (app, open, tell) = (&app, &open, &tell);
        async move {
            lock(open).insert(wanted.clone());
            let command = Command::PullImage {
                host: wanted.host,
                image: wanted.image.clone(),
            };
            let outcome = app.handle.command(command).await;
            lock(open).remove(&wanted);
            let outcome = outcome.map_err(ApiError::from);
            let outcome = outcome.and_then(|outcome| outcome.map_err(ApiError::from));
            tell.send(images::ended(&wanted, &outcome)).await.ok();
        }
    });
    tokio::select! {
        () = each => {}
        never = keep_telling(&app, &open, &tell) => match never {},
        () = tell.closed() => {}
    }
}

async fn keep_telling(
    app: &App,
    open: &Mutex<BTreeSet<Wanted>>,
    tell: &mpsc::Sender<Value>,
) -> Infallible {
    let mut last: BTreeMap<Wanted, String> = BTreeMap::new();
    loop {
        sleep(TOLD_EACH).await;
        let asked = lock(open).clone();
        let looked = app.handle.read(move |agent| {
            let progress = asked.into_iter().filter_map(|wanted| {
                let progress = agent.pull_progress(wanted.host, &wanted.image)?;
                let progress = progress.to_owned();
                (!progress.is_empty()).then_some((wanted, progress))
            });
            progress.collect::<BTreeMap<_, _>>()
        });
        let Ok(now) = looked.await else {
            // The agent stops, which ends the rest, too.
            return pending().await;
        };
        for (wanted, progress) in &now {
            if last.get(wanted) != Some(progress) {
                tell.send(images::progress(wanted, progress)).await.ok();
            }
        }
        last = now;
    }
}

fn lock(open: &Mutex<BTreeSet<Wanted>>) -> std::sync::MutexGuard<'_, BTreeSet<Wanted>> {
    // A set is whole between any two of its calls.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
