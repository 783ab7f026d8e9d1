//! What Docker says of one container, in the core's words.

use super::timestamp;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as State, HealthStatusEnum,
    NetworkSettings,
};
use holdfast_core::{
    spec::task_definition::Protocol,
    task::{
        runtime::{Exit, ObservedStatus, PortBinding},
        status::Health,
    },
    time::Wall,
};

/// Of what a check wrote; the reason that it stands in travels to all hosts.
const CHECK_SAID_CHARS_MAX: usize = 200;

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

pub(crate) fn is_paused(inspected: &ContainerInspectResponse) -> bool {
    let state = inspected.state.as_ref();
    state.is_some_and(|state| state.paused == Some(true))
}

/// When the container was last started; `now` where Docker doesn't say.
pub(crate) fn started_at(inspected: &ContainerInspectResponse, now: Wall) -> Wall {
    let state = inspected.state.as_ref();
    state
        .and_then(|state| time(&state.started_at))
        .unwrap_or(now)
}

/// The container's published ports.
pub(crate) fn ports(settings: Option<&NetworkSettings>) -> Vec<PortBinding> {
    each_once(bindings(settings))
}

/// Each with the host's address that it is published at, in no order.
pub(crate) fn bindings(settings: Option<&NetworkSettings>) -> Vec<(Option<&str>, PortBinding)> {
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
                let bound = PortBinding {
                    container_port,
                    host_port,
                    protocol,
                };
                ports.push((binding.host_ip.as_deref(), bound));
            }
        }
    }
    ports
}

/// Sorted. Docker tells IPv4 and IPv6 apart, with the host's address; of a port that it chose
/// itself, IPv6 may have another one, at which nobody is reached who comes by IPv4.
pub(crate) fn each_once(told: Vec<(Option<&str>, PortBinding)>) -> Vec<PortBinding> {
    let key = |port: &PortBinding| (port.container_port, port.protocol);
    let is_ipv6 = |ip: &Option<&str>| ip.is_some_and(|ip| ip.contains(':'));
    let (ipv6, ipv4): (Vec<_>, Vec<_>) = told.into_iter().partition(|(ip, _)| is_ipv6(ip));
    let mut ports: Vec<_> = ipv4.into_iter().map(|(_, port)| port).collect();
    let only_ipv6 = ipv6.into_iter().map(|(_, port)| port);
    let only_ipv6 = only_ipv6.filter(|port| ports.iter().all(|known| key(known) != key(port)));
    let only_ipv6: Vec<_> = only_ipv6.collect();
    ports.extend(only_ipv6);
    ports.sort_unstable_by_key(|port| (key(port), port.host_port));
    ports.dedup();
    ports
}

fn running(
    inspected: &ContainerInspectResponse,
    state: &ContainerState,
    now: Wall,
) -> ObservedStatus {
    ObservedStatus::Running {
        since: time(&state.started_at).unwrap_or(now),
        ports: ports(inspected.network_settings.as_ref()),
        health: health(state),
    }
}

fn health(state: &ContainerState) -> Health {
    let status = state.health.as_ref().and_then(|health| health.status);
    match status {
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        Some(HealthStatusEnum::STARTING | HealthStatusEnum::NONE | HealthStatusEnum::EMPTY)
        | None => Health::Unknown,
    }
}

/// What the last check said that failed, in one line and not all of it.
pub(crate) fn failed_check(inspected: &ContainerInspectResponse) -> String {
    let health = inspected
        .state
        .as_ref()
        .and_then(|state| state.health.as_ref());
    let results = health.and_then(|health| health.log.as_ref());
    let mut latest_first = results.into_iter().flatten().rev();
    let failed = latest_first.find(|result| result.exit_code != Some(0));
    let Some(failed) = failed else {
        return String::new();
    };
    let output = failed.output.as_deref().unwrap_or_default();
    let words: Vec<&str> = output.split_whitespace().collect();
    let words = words.join(" ");
    // Nothing that a terminal would act upon.
    let plain = words.chars().filter(|c| !c.is_control());
    let said: String = plain.take(CHECK_SAID_CHARS_MAX).collect();
    match failed.exit_code {
        Some(code) if said.is_empty() => format!("its check exited with {code}"),
        Some(code) => format!("its check exited with {code}: {said}"),
        None => said,
    }
}

fn exit(state: &ContainerState, now: Wall) -> Exit {
    let at = time(&state.finished_at).unwrap_or(now);
    Exit {
        code: state.exit_code.and_then(|code| i32::try_from(code).ok()),
        out_of_memory: state.oom_killed == Some(true),
        // Podman takes the end from a file's time, which is coarse: one that is up to 4 ms before
        // the start is not of an earlier run.
        at: at.max(time(&state.started_at).unwrap_or(at)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_not_before_its_start() {
        let time = |rest: &str| Some(format!("2026-11-28T07:28:50.{rest}Z"));
        let inspected = ContainerInspectResponse {
            state: Some(ContainerState {
                status: Some(State::EXITED),
                started_at: time("779789815"),
                finished_at: time("779585914"),
                exit_code: Some(7),
                ..ContainerState::default()
            }),
            ..ContainerInspectResponse::default()
        };
        let ObservedStatus::Exited(exit) = status(&inspected, Wall(0)) else {
            panic!("it has exited");
        };
        assert_eq!(exit.at, started_at(&inspected, Wall(0)));
        assert_eq!(exit.code, Some(7));
    }

    #[test]
    fn a_port_that_only_ipv6_has_is_told_where_there_is_no_other() {
        let port = |host_port| PortBinding {
            container_port: 80,
            host_port,
            protocol: Protocol::Tcp,
        };
        let (v4, v6) = (Some("0.0.0.0"), Some("::"));
        assert_eq!(each_once(vec![(v6, port(7)), (v4, port(8))]), [port(8)]);
        assert_eq!(each_once(vec![(v4, port(8)), (v6, port(8))]), [port(8)]);
        assert_eq!(each_once(vec![(v6, port(7))]), [port(7)]);
        let both = [port(8), port(9)];
        assert_eq!(each_once(vec![(None, both[1]), (v4, both[0])]), both);
    }
}
