//! What Docker says of one container, in the core's words.

use super::timestamp;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as State, NetworkSettings,
};
use holdfast_core::{
    spec::task_definition::Protocol,
    task::runtime::{Exit, ObservedStatus, PortBinding},
    time::Wall,
};

/// `now` stands in for the times that Docker doesn't have.
pub(crate) fn status(inspected: &ContainerInspectResponse, now: Wall) -> ObservedStatus {
    let Some(state) = &inspected.state else {
        return ObservedStatus::Created;
    };
    match state.status {
        Some(State::CREATED) => ObservedStatus::Created,
        Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING) => {
            running(inspected, state, now)
        }
        Some(State::EXITED | State::DEAD | State::REMOVING) => {
            ObservedStatus::Exited(exit(state, now))
        }
        Some(State::EMPTY) | None if state.running == Some(true) => running(inspected, state, now),
        Some(State::EMPTY) | None => ObservedStatus::Exited(exit(state, now)),
    }
}

/// When the container was last started; `now` where Docker doesn't say.
pub(crate) fn started_at(inspected: &ContainerInspectResponse, now: Wall) -> Wall {
    let state = inspected.state.as_ref();
    state
        .and_then(|state| time(&state.started_at))
        .unwrap_or(now)
}

/// The container's published ports, sorted, each once (Docker lists IPv4 and IPv6 apart).
pub(crate) fn ports(settings: Option<&NetworkSettings>) -> Vec<PortBinding> {
    let map = settings.and_then(|settings| settings.ports.as_ref());
    let mut ports = Vec::new();
    for (port, bindings) in map.into_iter().flatten() {
        let Some((container_port, protocol)) = port_and_protocol(port) else {
            continue;
        };
        for binding in bindings.iter().flatten() {
            let host_port = binding
                .host_port
                .as_deref()
                .and_then(|port| port.parse().ok());
            if let Some(host_port) = host_port.filter(|port| *port != 0) {
                ports.push(PortBinding {
                    container_port,
                    host_port,
                    protocol,
                });
            }
        }
    }
    sort(&mut ports);
    ports
}

pub(crate) fn sort(ports: &mut Vec<PortBinding>) {
    ports.sort_unstable_by_key(|port| (port.container_port, port.protocol, port.host_port));
    ports.dedup();
}

fn running(
    inspected: &ContainerInspectResponse,
    state: &ContainerState,
    now: Wall,
) -> ObservedStatus {
    ObservedStatus::Running {
        since: time(&state.started_at).unwrap_or(now),
        ports: ports(inspected.network_settings.as_ref()),
    }
}

fn exit(state: &ContainerState, now: Wall) -> Exit {
    Exit {
        code: state.exit_code.and_then(|code| i32::try_from(code).ok()),
        out_of_memory: state.oom_killed == Some(true),
        at: time(&state.finished_at).unwrap_or(now),
    }
}

fn time(text: &Option<String>) -> Option<Wall> {
    text.as_deref().and_then(timestamp::parse)
}

fn port_and_protocol(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, protocol))
}
