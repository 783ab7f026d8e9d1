//! Docker's event stream: containers that died, were killed for memory, or were removed.

use super::{
    docker::{Shared, lock},
    failure::CallError,
    labels::ours,
    ledger::Ledger,
    list::filters,
    operations, timestamp,
};
use bollard::{
    Docker as Client, errors::Error as DockerError, models::EventMessage,
    query_parameters::EventsOptions,
};
use futures_util::StreamExt;
use holdfast_core::{
    ids::RuntimeId,
    task::{
        runtime::{Exit, Labels, RuntimeEvent},
        status::Health,
    },
    time::Wall,
};
use std::{collections::HashMap, time::Instant};
use tracing::{debug, warn};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_MS: u64 = 1_000_000;

/// How far the event stream was seen, in nanoseconds since 1970. It outlives connections, so that
/// the next one repeats what this one may have missed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor(u64);

impl Cursor {
    pub(crate) fn now() -> Self {
        Self(timestamp::now().0 * NANOS_PER_MS)
    }

    fn advance(&mut self, message: &EventMessage) {
        let nanos = message
            .time_nano
            .and_then(|nanos| u64::try_from(nanos).ok());
        self.0 = self.0.max(nanos.unwrap_or(0));
    }

    fn since(self) -> String {
        format!(
            "{}.{:09}",
            self.0 / NANOS_PER_SECOND,
            self.0 % NANOS_PER_SECOND
        )
    }
}

/// Follows the stream until it ends; says why it did.
pub(crate) async fn follow(shared: &Shared, client: &Client, cursor: &mut Cursor) -> String {
    let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let options = EventsOptions {
        since: Some(cursor.since()),
        until: None,
        filters: Some(HashMap::from([
            ("type".to_owned(), list(&["container"])),
            // Podman selects by its own words, whatever it then tells.
            (
                "event".to_owned(),
                list(&["die", "died", "oom", "destroy", "remove", "health_status"]),
            ),
            ("label".to_owned(), filters(shared)),
        ])),
    };
    let mut messages = client.events(Some(options));
    loop {
        match messages.next().await {
            Some(Ok(message)) => {
                cursor.advance(&message);
                on_message(shared, message).await;
            }
            Some(Err(err)) => {
                // Each next stream would tell it anew. What it said, and what came since, is found
                // by the comparison with which a connection begins.
                if matches!(
                    err,
                    DockerError::JsonDataError { .. } | DockerError::JsonSerdeError { .. }
                ) {
                    *cursor = Cursor::now();
                }
                let reason = CallError::Docker(err).text();
                return format!("Docker's event stream broke: {reason}");
            }
            None => return "Docker closed its event stream".to_owned(),
        }
    }
}

async fn on_message(shared: &Shared, message: EventMessage) {
    let Some((id, attributes)) = message
        .actor
        .and_then(|actor| Some((actor.id?, actor.attributes?)))
    else {
        return;
    };
    let name = attributes
        .get("name")
        .map(String::as_str)
        .unwrap_or_default();
    let labels = match ours(&shared.config, &attributes, name) {
        Ok(labels) => labels,
        Err(why) => {
            debug!(%id, %why, "An event has our labels and isn't ours; ignored.");
            return;
        }
    };
    let runtime_id: RuntimeId = match id.parse() {
        Ok(runtime_id) => runtime_id,
        Err(why) => {
            warn!(%why, "A container of ours can't be told by its id; its event is ignored.");
            return;
        }
    };
    match message.action.as_deref() {
        Some("oom") => on_out_of_memory(shared, runtime_id, labels).await,
        Some("die" | "died") => {
            let code = attributes
                .get("exitCode")
                .and_then(|code| code.parse().ok());
            let nanos = message
                .time_nano
                .and_then(|nanos| u64::try_from(nanos).ok());
            let at = nanos.map_or_else(timestamp::now, |nanos| Wall(nanos / NANOS_PER_MS));
            on_die(shared, runtime_id, labels, code, at).await;
        }
        Some(action) if action.starts_with("health_status") => {
            // Docker says it in the action, Podman in an attribute.
            let said = action.strip_prefix("health_status: ");
            let said = said.or_else(|| attributes.get("health_status").map(String::as_str));
            let (health, detail) = match said {
                Some("healthy") => (Health::Healthy, String::new()),
                Some("unhealthy") => (
                    Health::Unhealthy,
                    operations::failed_check(shared, runtime_id).await,
                ),
                Some(_) | None => return,
            };
            on_health(shared, (runtime_id, labels), health, detail).await;
        }
        // Half made, as on a full disk: the failure of the creation says why, and nothing is gone
        // that was there.
        Some("destroy" | "remove") if shared.ledger().status(runtime_id).is_none() => {
            shared.ledger().on_gone(runtime_id);
        }
        Some("destroy" | "remove") => {
            let Labels {
                task, container, ..
            } = labels;
            let event = |ledger: &mut Ledger| {
                ledger.on_gone(runtime_id);
                RuntimeEvent::Removed { task, container }
            };
            shared.tell(event).await;
        }
        _ => {}
    }
}

async fn on_health(
    shared: &Shared,
    (runtime_id, labels): (RuntimeId, Labels),
    health: Health,
    detail: String,
) {
    if !shared.ledger().on_health(runtime_id, health) {
        return;
    }
    let Labels {
        task, container, ..
    } = labels;
    let event = RuntimeEvent::Health {
        task,
        container,
        health,
        detail,
    };
    shared.tell(|_| event).await;
}

/// Docker tells of the killer before the death or, on a busy host, some 100 ms after it (and its
/// inspection is wrong for good, then): the exit is told once more. Waiting for it on each exit
/// would delay all replacements.
async fn on_out_of_memory(shared: &Shared, runtime_id: RuntimeId, labels: Labels) {
    let corrected = shared.ledger().on_out_of_memory(runtime_id, &labels);
    if let Some(exit) = corrected {
        let Labels {
            task, container, ..
        } = labels;
        shared
            .tell(|_| RuntimeEvent::Exited {
                task,
                container,
                exit,
            })
            .await;
    }
}

/// Straight from the event: an inspection would only delay the replacement.
async fn on_die(
    shared: &Shared,
    runtime_id: RuntimeId,
    labels: Labels,
    code: Option<i32>,
    at: Wall,
) {
    *lock(&shared.died) = Some((runtime_id, Instant::now()));
    // It may be run again, with another one.
    lock(&shared.addresses).remove(&runtime_id);
    let event = |ledger: &mut Ledger| {
        // A container of an earlier agent isn't known before the first comparison, which must
        // not take back what is told here.
        ledger.on_created(runtime_id, &labels);
        let out_of_memory = ledger.is_out_of_memory(runtime_id);
        let exit = Exit {
            code,
            out_of_memory,
            at,
        };
        let exit = ledger.on_exited(runtime_id, &exit)?;
        let Labels {
            task, container, ..
        } = labels;
        Some(RuntimeEvent::Exited {
            task,
            container,
            exit,
        })
    };
    shared.tell_if(event).await;
}
