//! `/v1/events`: server-sent events that a reader resumes where it was cut off.

use super::{
    App, answer,
    connection::Streaming,
    v1::{Asked, query},
};
use crate::{
    api::{error::ApiError, overview::event_json},
    handle::{Delivery, EventLog, Place},
};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse as _, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::stream;
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc, time::Duration};

/// So that whoever is in between does not take the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams what is kept and then what comes; with `follow=false` what is kept, as one answer.
pub(super) async fn events(
    State(app): State<App>,
    Extension(streaming): Extension<Streaming>,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    let (place, follow) = match wanted(&headers, asked) {
        Ok(wanted) => wanted,
        Err(err) => return answer::error(&err),
    };
    let log = app.handle.events_shared();
    if !follow {
        return answer::json(StatusCode::OK, &kept(&log, place));
    }
    let Ok(permit) = Arc::clone(&app.streams).try_acquire_owned() else {
        let text = "too many streams of events are open on this agent; close one, or ask another";
        return answer::error(&ApiError::Server(text.to_owned()));
    };
    streaming.begin();
    let deliveries = stream::unfold((log, place, permit), async |(log, place, permit)| {
        let (delivery, place) = log.next(place).await;
        Some((Ok::<_, Infallible>(sse(&delivery)), (log, place, permit)))
    });
    Sse::new(deliveries)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

/// `Last-Event-ID` goes first: a browser that reconnects sends it along with the first address.
fn wanted(headers: &HeaderMap, asked: Asked) -> Result<(Place, bool), ApiError> {
    let query = query(asked, &["after", "follow"])?;
    let follow = match query.get("follow").map(String::as_str) {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => {
            let text = "follow must be true or false".to_owned();
            return Err(ApiError::InvalidParameter(text));
        }
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = match last.or(query.get("after").map(String::as_str)) {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            ApiError::InvalidParameter(
                "after (or Last-Event-ID) must be the sequence of an event: a whole number"
                    .to_owned(),
            )
        })?),
    };
    Ok((Place::after(after), follow))
}

fn kept(log: &EventLog, mut place: Place) -> Value {
    let (mut events, mut missed) = (Vec::new(), 0);
    let mut restarted = false;
    // What comes in the meantime is not waited for.
    let latest = log.latest();
    while let Some((delivery, next)) = log.take(place) {
        place = next;
        match delivery {
            Delivery::Missed(count) => missed += count,
            Delivery::Restarted => restarted = true,
            Delivery::Event(event) => {
                let last = Some(event.sequence) >= latest;
                events.push(event_json(&event));
                if last {
                    break;
                }
            }
        }
    }
    json!({"events": events, "missed": missed, "restarted": restarted})
}

fn sse(delivery: &Delivery) -> Event {
    match delivery {
        Delivery::Event(event) => {
            let value = event_json(event);
            let kind = value["kind"].as_str().unwrap_or("event").to_owned();
            Event::default()
                .id(event.sequence.to_string())
                .event(kind)
                .data(value.to_string())
        }
        Delivery::Missed(count) => {
            let value = json!({"kind": "missed", "missed": count});
            Event::default().event("missed").data(value.to_string())
        }
        Delivery::Restarted => {
            let value = json!({"kind": "restarted"});
            Event::default().event("restarted").data(value.to_string())
        }
    }
}
