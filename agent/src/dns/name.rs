//! What a name in the zone asks for.

use hickory_proto::rr::Name;
use holdfast_core::cluster::namespace::split;

/// A name without its domain, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The domain itself.
    Apex,
    NameServer,
    /// `service`, `task` or `host`: there is something below it, and nothing at it.
    Branch,
    Service(String),
    /// `_tcp.web.service`: as [`Asked::Branch`], where there is such a service.
    ProtocolOf(String),
    /// `_http._tcp.web.service` as `http.tcp.web`, `_http._tcp.web.staging.service` likewise.
    Port(String),
    /// The first label before `task`.
    Task(String),
    /// All before `host`: names of hosts have dots.
    Host(String),
    Nowhere,
}

/// A domain, as names are compared with it.
#[derive(Clone, Debug)]
pub(super) struct Domain {
    /// Lower case, the last one first.
    labels: Vec<Vec<u8>>,
}

impl Domain {
    pub(super) fn new(domain: &str) -> Self {
        let labels = domain.split('.').rev();
        Self {
            labels: labels.map(|label| label.as_bytes().to_vec()).collect(),
        }
    }

    /// `None` where the name is outside the domain.
    pub(super) fn read(&self, name: &Name) -> Option<Asked> {
        let mut labels = name.iter().rev();
        for own in &self.labels {
            if !labels.next()?.eq_ignore_ascii_case(own) {
                return None;
            }
        }
        let labels: Vec<&[u8]> = labels.rev().collect();
        Some(relative(&labels).map_or(Asked::Nowhere, |name| read(&name)))
    }
}

/// With dots between. `None` where a label has what no name here has, be it a dot.
fn relative(labels: &[&[u8]]) -> Option<String> {
    let mut name = String::new();
    for label in labels {
        if !name.is_empty() {
            name.push('.');
        }
        for &byte in *label {
            if !byte.is_ascii_alphanumeric() && !b"-_".contains(&byte) {
                return None;
            }
            name.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    Some(name)
}

fn read(name: &str) -> Asked {
    let (before, branch) = match name.rsplit_once('.') {
        Some((before, branch)) => (before, branch),
        None => ("", name),
    };
    match (branch, before) {
        ("", _) => Asked::Apex,
        ("ns", "") => Asked::NameServer,
        ("service" | "task" | "host", "") => Asked::Branch,
        ("service", before) => read_service(before),
        ("task", id) if !id.contains('.') => Asked::Task(id.to_owned()),
        ("host", host) => Asked::Host(host.to_owned()),
        _ => Asked::Nowhere,
    }
}

/// RFC 2782: `_port._protocol.service`. A service outside of the agents' own cluster is
/// `service.cluster`.
fn read_service(before: &str) -> Asked {
    let labels: Vec<&str> = before.split('.').collect();
    let protocol = |label: &str| match label {
        "_tcp" => Some("tcp"),
        "_udp" => Some("udp"),
        _ => None,
    };
    let is_service = |labels: &[&str]| (1..=2).contains(&labels.len());
    match &labels[..] {
        [label, service @ ..] if protocol(label).is_some() && is_service(service) => {
            Asked::ProtocolOf(service.join("."))
        }
        [port, label, service @ ..] if is_service(service) => {
            match (port.strip_prefix('_'), protocol(label)) {
                (Some(port), Some(protocol)) => {
                    Asked::Port(port_key(port, protocol, &service.join(".")))
                }
                _ => Asked::Nowhere,
            }
        }
        service if is_service(service) => Asked::Service(before.to_owned()),
        _ => Asked::Nowhere,
    }
}

/// What a service is called here that the board calls so.
pub(super) fn service_key(name: &str) -> String {
    let key = match split(name) {
        (Some(cluster), name) => format!("{name}.{cluster}"),
        (None, name) => name.to_owned(),
    };
    key.to_ascii_lowercase()
}

/// How a port of a service is looked up. Neither port nor protocol has a dot of its own.
pub(super) fn port_key(port: &str, protocol: &str, service: &str) -> String {
    let mut key = format!("{port}.{protocol}.{service}");
    key.make_ascii_lowercase();
    key
}
