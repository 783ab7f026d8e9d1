//! Parses what is checked of a container, and what it asks of Holdfast beyond ECS, as labels.

use super::rules::{CHECK_INTERVAL, CHECK_RETRIES, CHECK_START, CHECK_TIMEOUT, DELAY, SIGNAL};
use crate::spec::{
    ecs_fields,
    error::{Faults, SpecError, shown},
    health::{HealthCheck, NetProbe, Probe},
    own,
    read::{Fields, TEXT, join_foreign, matching, number_in_text},
};
use serde_json::Value;
use std::collections::BTreeMap;

const COMMAND_WANTED: &str = "[\"CMD\", a program, …], [\"CMD-SHELL\", a line for the shell], \
                              [\"TCP\", a port], [\"HTTP\", a port, a path] or [\"NONE\"]";
const READINESS_WANTED: &str = "an object of JSON such as {\"command\": [\"HTTP\", \"8080\", \
                                \"/ready\"]}, with \"HTTP\" or \"TCP\"";

/// What labels of Holdfast's own say of a container.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) readiness_check: Option<HealthCheck>,
    pub(super) stop_signal: Option<String>,
    pub(super) deregistration_delay_s: Option<u32>,
}

/// Takes them out of the container's labels.
pub(super) fn own(
    container: &Fields<'_>,
    labels: &mut BTreeMap<String, String>,
    faults: &mut Faults,
) -> Own {
    let mut take = |name| {
        let path = join_foreign(&container.path("dockerLabels"), name);
        labels.remove(name).map(|text| (path, text))
    };
    let (readiness, signal) = (take(own::READINESS_CHECK), take(own::STOP_SIGNAL));
    let delay = take(own::DEREGISTRATION_DELAY);
    Own {
        readiness_check: readiness.and_then(|(path, text)| readiness_check(path, &text, faults)),
        stop_signal: signal.map(|(path, text)| faults.keep(matching(path, &text, &SIGNAL))),
        deregistration_delay_s: delay
            .map(|(path, text)| faults.keep(number_in_text(path, &text, &DELAY))),
    }
}

fn readiness_check(path: String, text: &str, faults: &mut Faults) -> Option<HealthCheck> {
    let malformed = |path: String| SpecError::Malformed {
        path,
        got: shown(text),
        wanted: READINESS_WANTED,
    };
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        faults.push(malformed(path));
        return None;
    };
    let fields = faults.keep(Fields::at(path.clone(), &value).map(Some))?;
    let check = check(&fields, faults)?;
    if check.net().is_none() {
        faults.push(malformed(path));
    }
    Some(check)
}

pub(super) fn health_check(container: &Fields<'_>, faults: &mut Faults) -> Option<HealthCheck> {
    let fields = faults.keep(container.object("healthCheck"))?;
    // As exported files have it.
    if fields.is_empty() {
        return None;
    }
    check(&fields, faults)
}

fn check(fields: &Fields<'_>, faults: &mut Faults) -> Option<HealthCheck> {
    let words = faults.keep(fields.texts("command", &TEXT));
    let path = fields.path("command");
    let probe = probe(&words).ok_or_else(|| match fields.get("command") {
        None => SpecError::Missing {
            path,
            wanted: COMMAND_WANTED,
        },
        Some(_) => SpecError::Malformed {
            path,
            got: shown(&words.join(" ")),
            wanted: COMMAND_WANTED,
        },
    });
    let mut number = |name, range, default| {
        let number = faults.keep(fields.number(name, range));
        number.unwrap_or(default)
    };
    let interval_s = number("interval", &CHECK_INTERVAL, HealthCheck::INTERVAL_S);
    let timeout_s = number("timeout", &CHECK_TIMEOUT, HealthCheck::TIMEOUT_S);
    let retries = number("retries", &CHECK_RETRIES, HealthCheck::RETRIES);
    let start_period_s = faults.keep(fields.number("startPeriod", &CHECK_START));
    fields.check(
        &["command", "interval", "timeout", "retries", "startPeriod"],
        ecs_fields::HEALTH_CHECK,
        faults,
    );
    let check = probe.map(|probe| HealthCheck {
        probe,
        interval_s,
        timeout_s,
        retries,
        start_period_s,
    });
    faults.keep(check.map(Some))
}

fn probe(words: &[String]) -> Option<Probe> {
    let (first, rest) = words.split_first()?;
    let port = |text: &String| text.parse().ok().filter(|port: &u16| *port != 0);
    Some(match (first.as_str(), rest) {
        ("NONE", []) => Probe::None,
        ("CMD", [_, ..]) => Probe::Command {
            shell: false,
            words: rest.to_vec(),
        },
        ("CMD-SHELL", [_, ..]) => Probe::Command {
            shell: true,
            words: rest.to_vec(),
        },
        ("TCP", [at]) => Probe::Net(NetProbe {
            port: port(at)?,
            path: None,
        }),
        ("HTTP", [at, path]) if is_path(path) => Probe::Net(NetProbe {
            port: port(at)?,
            path: Some(path.clone()),
        }),
        _ => return None,
    })
}

/// What can stand in the first line of a request.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}
