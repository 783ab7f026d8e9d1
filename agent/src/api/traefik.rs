//! Traefik's HTTP provider: its dynamic configuration, from the services and their Docker labels.

use super::view::set_if;
use crate::directory::Directory;
use holdfast_core::{
    cluster::board::Service,
    ids::ServiceId,
    spec::task_definition::{AppProtocol, Container, PortMapping, Protocol},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// Servers by service, container and the container's port.
type Servers = BTreeMap<(ServiceId, String, u16), Vec<SocketAddr>>;

/// A Traefik service for each TCP port of each service, and a router for each that the labels name.
///
/// Where two services name a router alike, the one whose name comes first has it.
pub(crate) fn configuration(directory: &Directory) -> Value {
    let servers = servers(directory);
    let mut found = Found::default();
    for service in directory.board.services() {
        let Some(definition) = directory.board.definition(service.revision.definition) else {
            continue;
        };
        for container in &definition.containers {
            found.add(&service, container, &servers);
        }
    }
    // Traefik takes no empty sections.
    let mut http = Map::new();
    for (name, section) in [("routers", found.routers), ("services", found.services)] {
        if !section.is_empty() {
            http.insert(name.to_owned(), Value::Object(section));
        }
    }
    match http.is_empty() {
        true => json!({}),
        false => json!({"http": http}),
    }
}

fn servers(directory: &Directory) -> Servers {
    let mut servers = Servers::new();
    for (usable, report) in directory.tasks() {
        let Some(slot) = &report.slot else {
            continue;
        };
        for port in usable
            .ports
            .iter()
            .filter(|port| port.protocol == Protocol::Tcp)
        {
            let key = (
                slot.service,
                port.container.to_string(),
                port.container_port,
            );
            let address = SocketAddr::new(usable.address, port.host_port);
            servers.entry(key).or_default().push(address);
        }
    }
    servers
}

#[derive(Default)]
struct Found {
    routers: Map<String, Value>,
    services: Map<String, Value>,
}

/// The labels of a container that begin with `traefik.`, without that, in lower case but for the
/// names that people choose, as in `http.routers.NAME.rule`.
struct Labels(BTreeMap<String, String>);

impl Found {
    fn add(&mut self, service: &Service<'_>, container: &Container, servers: &Servers) {
        let labels = Labels::of(container);
        let tcp = |port: &&PortMapping| port.protocol == Protocol::Tcp;
        let ports: Vec<&PortMapping> = container.ports.iter().filter(tcp).collect();
        let Some(first) = ports.first() else {
            return;
        };
        // No service has a dot in its name.
        let name = service.settings.name.replace('/', ".");
        let own = |port: u16| format!("{name}-{}-{port}", container.name);
        let addresses = |port: u16| {
            let key = (service.id, container.name.clone(), port);
            servers.get(&key).map_or(&[][..], Vec::as_slice)
        };
        for mapping in &ports {
            let port = mapping.container_port;
            let made = balancer(addresses(port), scheme(mapping), None);
            self.services.insert(own(port), made);
        }
        if labels.text("enable") == Some("false") {
            return;
        }
        let named = labels.names("http.services.");
        for name in &named {
            let setting =
                |key: &str| labels.text(&format!("http.services.{name}.loadbalancer.{key}"));
            let wanted = setting("server.port").and_then(|port| port.parse().ok());
            let mapping = ports
                .iter()
                .find(|port| Some(port.container_port) == wanted);
            let mapping = mapping.unwrap_or(first);
            let scheme = setting("server.scheme").unwrap_or(scheme(mapping));
            let pass = setting("passhostheader").map(|word| word == "true");
            let made = balancer(addresses(mapping.container_port), scheme, pass);
            self.services.entry(name.clone()).or_insert(made);
        }
        let only = named.first().filter(|_| named.len() == 1).cloned();
        let default = only.unwrap_or_else(|| own(first.container_port));
        for name in labels.names("http.routers.") {
            if let Some(router) = labels.router(&name, &default) {
                self.routers.entry(name).or_insert(router);
            }
        }
    }
}

/// As the definition says what is spoken there; Traefik's word for HTTP/2 in clear is h2c.
fn scheme(mapping: &PortMapping) -> &'static str {
    match mapping.app_protocol {
        Some(AppProtocol::Http2 | AppProtocol::Grpc) => "h2c",
        Some(AppProtocol::Http) | None => "http",
    }
}

fn balancer(addresses: &[SocketAddr], scheme: &str, pass_host_header: Option<bool>) -> Value {
    let urls = addresses
        .iter()
        .map(|at| json!({"url": format!("{scheme}://{at}")}));
    let mut balancer = json!({"servers": urls.collect::<Value>()});
    set_if(&mut balancer, "passHostHeader", pass_host_header);
    json!({"loadBalancer": balancer})
}

impl Labels {
    fn of(container: &Container) -> Self {
        let ours = container.labels.iter().filter_map(|(key, value)| {
            let mut parts = key.split('.').map(str::to_owned).collect::<Vec<_>>();
            for (at, part) in parts.iter_mut().enumerate() {
                if at != 3 {
                    part.make_ascii_lowercase();
                }
            }
            let key = parts.join(".");
            Some((key.strip_prefix("traefik.")?.to_owned(), value.clone()))
        });
        Self(ours.collect())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// What stands behind `prefix`, up to the next dot.
    fn names(&self, prefix: &str) -> BTreeSet<String> {
        let rest = self.0.keys().filter_map(|key| key.strip_prefix(prefix));
        let names = rest.filter_map(|rest| rest.split_once('.'));
        names.map(|(name, _)| name.to_owned()).collect()
    }

    /// `None` without a rule: there is nothing to route by.
    fn router(&self, name: &str, default: &str) -> Option<Value> {
        let setting = |key: &str| self.text(&format!("http.routers.{name}.{key}"));
        let list = |key: &str| {
            let words = setting(key)?.split(',').map(str::trim);
            Some(words.map(str::to_owned).collect::<Vec<_>>())
        };
        let mut router = json!({
            "rule": setting("rule")?,
            "service": setting("service").unwrap_or(default),
        });
        set_if(&mut router, "entryPoints", list("entrypoints"));
        set_if(&mut router, "middlewares", list("middlewares"));
        let priority = setting("priority").and_then(|number| number.parse::<i64>().ok());
        set_if(&mut router, "priority", priority);
        let mut tls = json!({});
        set_if(&mut tls, "certResolver", setting("tls.certresolver"));
        set_if(&mut tls, "options", setting("tls.options"));
        if setting("tls") == Some("true") || tls != json!({}) {
            router["tls"] = tls;
        }
        Some(router)
    }
}
