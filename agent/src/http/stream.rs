//! `/v1/events`: server-sent events that a reader resumes where it was cut off.

use super::{
    App, answer,
    connection::Streaming,
    v1::{Asked, query},
};
use crate::{
    api::{
        error::ApiError,
        events::{EventFilter, FILTERS, Format, ecs_json, event_json},
        overview::Query,
        view::View,
    },
    handle::{Delivery, Place, Stopping},
};
use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse as _, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::stream;
use holdfast_core::event::Event as Told;
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::OwnedSemaphorePermit;

/// So that whoever is in between does not take the stream for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After so many events that a filter leaves out, a reader is told where it is: else it would
/// resume so far back that nothing of it is kept.
const LEFT_OUT_MAX: u32 = 64;

/// Where a reader is, and what it wants.
struct Reader {
    app: App,
    place: Place,
    filter: EventFilter,
    left_out: u32,
    _permit: OwnedSemaphorePermit,
}

/// Streams what is kept and then what comes; with `follow=false` what is kept, as one answer.
pub(super) async fn events(
    State(app): State<App>,
    Extension(streaming): Extension<Streaming>,
    headers: HeaderMap,
    asked: Asked,
) -> Response {
    let wanted = match wanted(&headers, asked) {
        Ok((place, follow, query)) => {
            let filter = filter(&app, query).await;
            filter.map(|filter| (place, follow, filter))
        }
        Err(err) => Err(err),
    };
    let (place, follow, filter) = match wanted {
        Ok(wanted) => wanted,
        Err(err) => return answer::error(&err),
    };
    if !follow {
        return answer::reply(kept(&app, place, &filter).await);
    }
    let Ok(permit) = Arc::clone(&app.streams).try_acquire_owned() else {
        let text = "too many streams of events are open on this agent; close one, or ask another";
        return answer::error(&ApiError::Server(text.to_owned()));
    };
    streaming.begin();
    let reader = Reader {
        app,
        place,
        filter,
        left_out: 0,
        _permit: permit,
    };
    let deliveries = stream::unfold(reader, async |mut reader| {
        let event = reader.next().await.ok()?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    Sse::new(deliveries)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

/// `Last-Event-ID` goes first: a browser that reconnects sends it along with the first address.
fn wanted(headers: &HeaderMap, asked: Asked) -> Result<(Place, bool, Query), ApiError> {
    let known: Vec<&str> = ["after", "follow"].into_iter().chain(FILTERS).collect();
    let query = query(asked, &known)?;
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
    Ok((Place::after(after), follow, query))
}

/// Names are looked up once: what they meant when the reader asked, they mean to the end.
async fn filter(app: &App, query: Query) -> Result<EventFilter, ApiError> {
    if !query.keys().any(|key| FILTERS.contains(&key.as_str())) {
        return Ok(EventFilter::default());
    }
    answer::look(app, move |view, _| EventFilter::read(view, &query)).await?
}

async fn kept(app: &App, mut place: Place, filter: &EventFilter) -> Result<Value, ApiError> {
    let (mut events, mut missed) = (Vec::new(), 0);
    let mut restarted = false;
    let log = app.handle.events_shared();
    // What comes in the meantime is not waited for.
    let latest = log.latest();
    while let Some((delivery, next)) = log.take(place) {
        place = next;
        match delivery {
            Delivery::Missed(count) => missed += count,
            Delivery::Restarted => restarted = true,
            Delivery::Event(event) => {
                let last = Some(event.sequence) >= latest;
                if filter.matches(&event) {
                    events.push(event);
                }
                if last {
                    break;
                }
            }
        }
    }
    let events = match filter.format {
        Format::Plain => events.iter().map(|event| event_json(event)).collect(),
        Format::Ecs => {
            let shown = answer::look(app, move |view, _| {
                let shown = events.iter().filter_map(|event| ecs_json(view, event));
                shown.collect::<Vec<_>>()
            });
            shown.await?
        }
    };
    Ok(json!({"events": events, "missed": missed, "restarted": restarted, "latest": latest}))
}

impl Reader {
    /// The next event that is wanted, or word of where the reader is.
    async fn next(&mut self) -> Result<Event, Stopping> {
        let log = self.app.handle.events_shared();
        loop {
            let (delivery, place) = log.next(self.place).await;
            self.place = place;
            let event = match delivery {
                Delivery::Event(event) => event,
                Delivery::Missed(count) => {
                    let value = json!({"kind": "missed", "missed": count});
                    return Ok(Event::default().event("missed").data(value.to_string()));
                }
                Delivery::Restarted => {
                    let value = json!({"kind": "restarted"});
                    return Ok(Event::default().event("restarted").data(value.to_string()));
                }
            };
            let id = Event::default().id(event.sequence.to_string());
            if self.filter.matches(&event)
                && let Some((kind, value)) = self.shown(event).await?
            {
                self.left_out = 0;
                return Ok(id.event(kind).data(value.to_string()));
            }
            self.left_out += 1;
            if self.left_out == LEFT_OUT_MAX {
                self.left_out = 0;
                return Ok(id);
            }
        }
    }

    async fn shown(&self, event: Arc<Told>) -> Result<Option<(String, Value)>, Stopping> {
        if self.filter.format == Format::Plain {
            let value = event_json(&event);
            let kind = value["kind"].as_str().unwrap_or("event").to_owned();
            return Ok(Some((kind, value)));
        }
        let context = Arc::clone(&self.app.context);
        // So short that it is not worth a thread.
        let picture = self.app.handle.picture().await?;
        let value = View::look(&picture, (&context, &self.app.remembered), |view| {
            ecs_json(view, &event)
        });
        Ok(value.map(|value| ("ecs".to_owned(), value)))
    }
}
