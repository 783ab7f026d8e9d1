//! The full comparison: every container of this agent, whatever its status.

use super::{
    docker::{Shared, asked},
    failure::CallError,
    labels::{self, ours},
    observe, timestamp,
};
use bollard::{
    Docker as Client,
    models::{ContainerSummary, ContainerSummaryStateEnum as State, PortSummaryTypeEnum},
    query_parameters::{InspectContainerOptions, ListContainersOptions},
};
use futures_util::{StreamExt, stream};
use holdfast_core::{
    ids::RuntimeId,
    spec::task_definition::Protocol,
    task::{
        runtime::{Exit, Observed, ObservedStatus, PortBinding},
        status::Health,
    },
    time::Wall,
};
use std::{collections::HashMap, time::Duration};
use tracing::{debug, warn};

/// Inspections at once, of containers that we didn't know.
const INSPECTIONS_MAX: usize = 8;
/// One container that Docker cannot answer for must not hold up the comparison of all others.
const INSPECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that has our labels. Bring it up to the present with
/// [`Ledger::end_comparison`](super::ledger::Ledger::end_comparison) before it is told.
pub(crate) async fn list(shared: &Shared, client: &Client) -> Result<Vec<Observed>, CallError> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(HashMap::from([("label".to_owned(), filters(shared))])),
        ..ListContainersOptions::default()
    };
    let list = || client.list_containers(Some(options.clone()));
    let summaries = asked(shared.config.call_timeout, list).await?;
    let in_use = summaries.iter().filter_map(|one| one.image_id.as_deref());
    shared.images.notes.on_seen(in_use, timestamp::now());
    let observed: Vec<_> = stream::iter(summaries)
        .map(|summary| observe(shared, client, summary))
        .buffer_unordered(INSPECTIONS_MAX)
        .collect()
        .await;
    Ok(observed.into_iter().flatten().collect())
}

/// The labels that Docker itself selects by, here and for events.
pub(crate) fn filters(shared: &Shared) -> Vec<String> {
    let (cluster, host) = (&shared.config.cluster, shared.config.host);
    vec![
        format!("{}={cluster}", labels::CLUSTER),
        format!("{}={host}", labels::HOST),
    ]
}

async fn observe(shared: &Shared, client: &Client, summary: ContainerSummary) -> Option<Observed> {
    let id = summary.id.as_deref()?;
    let none = HashMap::new();
    let name = summary
        .names
        .iter()
        .flatten()
        .next()
        .map(String::as_str)
        .unwrap_or_default();
    let labels = match ours(
        &shared.config,
        summary.labels.as_ref().unwrap_or(&none),
        name,
    ) {
        Ok(labels) => labels,
        Err(why) => {
            debug!(%id, %why, "A container has our labels and isn't ours; left alone.");
            return None;
        }
    };
    let runtime_id: RuntimeId = match id.parse() {
        Ok(runtime_id) => runtime_id,
        Err(why) => {
            warn!(%why, "A container of ours can't be told by its id; left alone.");
            return None;
        }
    };
    let known = shared.ledger().status(runtime_id).cloned();
    let status = match (coarse(&summary), known) {
        (Coarse::Created, _) => ObservedStatus::Created,
        // Known with all that there is to know: nothing of it changes any more.
        (
            Coarse::Running,
            Some(ObservedStatus::Running {
                since,
                ports,
                health: known_health,
            }),
        ) => {
            ObservedStatus::Running {
                since,
                ports,
                // Podman's list does not say.
                health: health(&summary).unwrap_or(known_health),
            }
        }
        (Coarse::Exited, Some(ObservedStatus::Exited(exit))) if exit.code.is_some() => {
            ObservedStatus::Exited(exit)
        }
        (Coarse::Running | Coarse::Exited, _) => inspect(client, id, &summary).await?,
    };
    Some(Observed {
        runtime_id,
        labels,
        status,
    })
}

/// `None` where the container went away since it was listed.
async fn inspect(client: &Client, id: &str, summary: &ContainerSummary) -> Option<ObservedStatus> {
    let inspect = || client.inspect_container(id, None::<InspectContainerOptions>);
    let now = timestamp::now();
    match asked(INSPECTION_TIMEOUT, inspect).await {
        Ok(inspected) => Some(observe::status(&inspected, now)),
        Err(err) if err.is_not_found() => None,
        Err(err) => {
            let reason = err.text();
            debug!(
                id,
                reason, "Cannot inspect a container; its summary has to do."
            );
            Some(from_summary(summary, now))
        }
    }
}

enum Coarse {
    Created,
    Running,
    Exited,
}

fn coarse(summary: &ContainerSummary) -> Coarse {
    match summary.state {
        Some(State::CREATED) => Coarse::Created,
        Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING) => {
            Coarse::Running
        }
        Some(State::EXITED | State::DEAD | State::REMOVING) => Coarse::Exited,
        // Unheard of: the inspection will tell.
        Some(State::EMPTY) | None => Coarse::Running,
    }
}

fn from_summary(summary: &ContainerSummary, now: Wall) -> ObservedStatus {
    match coarse(summary) {
        Coarse::Created => ObservedStatus::Created,
        Coarse::Running => ObservedStatus::Running {
            since: created(summary).unwrap_or(now),
            ports: ports(summary),
            health: health(summary).unwrap_or_default(),
        },
        Coarse::Exited => ObservedStatus::Exited(Exit {
            code: summary.status.as_deref().and_then(exit_code),
            out_of_memory: false,
            at: now,
        }),
    }
}

fn created(summary: &ContainerSummary) -> Option<Wall> {
    let seconds = u64::try_from(summary.created?).ok()?;
    Some(Wall(seconds.saturating_mul(1_000)))
}

/// From "Up 3 minutes (healthy)".
fn health(summary: &ContainerSummary) -> Option<Health> {
    let status = summary.status.as_deref().unwrap_or_default();
    match status.split_once('(')?.1 {
        "healthy)" => Some(Health::Healthy),
        "unhealthy)" => Some(Health::Unhealthy),
        "health: starting)" => Some(Health::Unknown),
        _ => None,
    }
}

/// From "Exited (137) 3 minutes ago".
fn exit_code(status: &str) -> Option<i32> {
    status.split_once('(')?.1.split_once(')')?.0.parse().ok()
}

fn ports(summary: &ContainerSummary) -> Vec<PortBinding> {
    let ports = summary.ports.iter().flatten().filter_map(|port| {
        let protocol = match port.typ? {
            PortSummaryTypeEnum::TCP => Protocol::Tcp,
            PortSummaryTypeEnum::UDP => Protocol::Udp,
            PortSummaryTypeEnum::SCTP | PortSummaryTypeEnum::EMPTY => return None,
        };
        let host_port = port.public_port.filter(|port| *port != 0)?;
        let bound = PortBinding {
            container_port: port.private_port,
            host_port,
            protocol,
        };
        Some((port.ip.as_deref(), bound))
    });
    observe::each_once(ports.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_read_from_what_docker_shows() {
        assert_eq!(exit_code("Exited (137) 3 minutes ago"), Some(137));
        assert_eq!(exit_code("Up 3 minutes (Paused)"), None);
        assert_eq!(exit_code("Dead"), None);
    }
}
