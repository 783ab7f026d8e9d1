//! What the names of the zone stand for, as one directory has it.

use super::{
    DnsSettings,
    name::{Asked, Domain, port_key, service_key},
};
use crate::directory::{Directory, Usable, UsablePort, is_used};
use hickory_proto::rr::Name;
use holdfast_core::{
    ids::{HostId, TaskId},
    task::status::TaskStatus,
};
use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

/// Looked up in while the next one is being made.
#[derive(Debug)]
pub(crate) struct Zone {
    directory: Arc<Directory>,
    domain: Domain,
    pub(super) apex: Name,
    /// The second in which it was made.
    pub(super) serial: u32,
    server: IpAddr,
    services: BTreeMap<String, Service>,
    /// By `port_key`: what the definition calls the port, its container, or its number there.
    ports: BTreeMap<String, Vec<Target>>,
    hosts: BTreeMap<String, Vec<IpAddr>>,
}

#[derive(Debug, Default)]
struct Service {
    /// Of its tasks, each once.
    addresses: Vec<IpAddr>,
    /// The first port of each of its tasks.
    targets: Vec<Target>,
}

/// Where a port of a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The task's. Made once: most of an answer's time would go into making it.
    pub(super) name: Arc<Name>,
    task: TaskId,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

/// What there is at a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held<'a> {
    pub(super) addresses: Cow<'a, [IpAddr]>,
    pub(super) targets: &'a [Target],
    pub(super) is_apex: bool,
}

impl Zone {
    /// # Panics
    /// If the domain is none, which the settings do not let through.
    pub(crate) fn of(directory: Arc<Directory>, dns: &DnsSettings, serial: u32) -> Self {
        let apex = Name::from_ascii(format!("{}.", dns.domain));
        let mut zone = Self {
            domain: Domain::new(&dns.domain),
            apex: apex.expect("the domain was checked"),
            serial,
            server: dns.server(),
            services: BTreeMap::new(),
            ports: BTreeMap::new(),
            hosts: BTreeMap::new(),
            directory: Arc::clone(&directory),
        };
        zone.add_services(&directory);
        for (usable, report) in directory.tasks() {
            if let Some(slot) = &report.slot {
                zone.add_task(&service_key(&slot.service_name), usable);
            }
        }
        for service in zone.services.values_mut() {
            service.addresses.sort_unstable();
            service.addresses.dedup();
        }
        for (host, _, report) in directory.board.hosts() {
            zone.add_host(
                &report.name,
                is_used(&directory.board, host).then_some(report.address.ip()),
            );
        }
        zone
    }

    /// What is there, with or without a task at the moment.
    fn add_services(&mut self, directory: &Directory) {
        for service in directory.board.services() {
            let name = &*service_key(&service.settings.name);
            self.services.entry(name.to_owned()).or_default();
            // There is something below the name of a cluster.
            if let Some((_, cluster)) = name.split_once('.') {
                self.services.entry(cluster.to_owned()).or_default();
            }
            let definition = directory.board.definition(service.revision.definition);
            let containers = definition.map_or(&[][..], |definition| &definition.containers);
            for container in containers {
                for port in &container.ports {
                    let protocol = port.protocol.to_string();
                    let number = port.container_port.to_string();
                    let called = [
                        Some(container.name.as_str()),
                        port.name.as_deref(),
                        Some(&number),
                    ];
                    for label in called.into_iter().flatten() {
                        self.ports
                            .entry(port_key(label, &protocol, name))
                            .or_default();
                    }
                }
            }
        }
    }

    fn add_task(&mut self, service: &str, usable: &Usable) {
        let held = self.services.entry(service.to_owned()).or_default();
        held.addresses.push(usable.address);
        let id = usable.task.to_string();
        let name = Arc::new(below(&self.apex, &[&id, "task"]));
        let target = |port: &UsablePort| Target {
            name: Arc::clone(&name),
            task: usable.task,
            address: usable.address,
            port: port.host_port,
        };
        held.targets.extend(usable.ports.first().map(target));
        for port in &usable.ports {
            let (number, protocol) = (port.container_port.to_string(), port.protocol.to_string());
            let called = [port.name.as_deref(), Some(&*port.container), Some(&number)];
            for label in called.into_iter().flatten() {
                let targets = self
                    .ports
                    .entry(port_key(label, &protocol, service))
                    .or_default();
                // Of several ports of a container the first has its name.
                if targets.last().is_none_or(|last| last.task != usable.task) {
                    targets.push(target(port));
                }
            }
        }
    }

    /// Where a name has dots, there is something below each of its ends.
    fn add_host(&mut self, name: &str, address: Option<IpAddr>) {
        let name = name.to_ascii_lowercase();
        let ends = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        for end in ends {
            self.hosts.entry(end.to_owned()).or_default();
        }
        self.hosts.entry(name).or_default().extend(address);
    }

    /// What a name asks for; `None` where it is outside the zone.
    pub(super) fn read(&self, name: &Name) -> Option<Asked> {
        self.domain.read(name)
    }

    /// `None`: there is no such name. What holds nothing is there all the same.
    pub(super) fn look_up(&self, asked: &Asked) -> Option<Held<'_>> {
        match asked {
            Asked::Apex => Some(Held {
                is_apex: true,
                ..Held::default()
            }),
            Asked::NameServer => Some(Held::at(self.server)),
            Asked::Branch => Some(Held::default()),
            Asked::Service(name) => self.services.get(name).map(|service| Held {
                addresses: Cow::Borrowed(&service.addresses),
                targets: &service.targets,
                is_apex: false,
            }),
            Asked::ProtocolOf(name) => self.services.get(name).map(|_| Held::default()),
            Asked::Port(key) => self.ports.get(key).map(|targets| Held {
                targets,
                ..Held::default()
            }),
            Asked::Task(id) => self.task(id),
            Asked::Host(name) => self.host(name),
            Asked::Nowhere => None,
        }
    }

    /// Also one that is not ready: who knows its id means this one.
    fn task(&self, id: &str) -> Option<Held<'static>> {
        let board = &self.directory.board;
        let (host, report) = board.task(id.parse().ok()?)?;
        if !report.last.is_live() {
            return None;
        }
        let runs = report.last == TaskStatus::Running && is_used(board, host);
        let address = board.host(host).map(|(_, report)| report.address.ip());
        Some(
            address
                .filter(|_| runs)
                .map_or_else(Held::default, Held::at),
        )
    }

    fn host(&self, name: &str) -> Option<Held<'_>> {
        if let Some(addresses) = self.hosts.get(name) {
            return Some(Held {
                addresses: Cow::Borrowed(addresses),
                ..Held::default()
            });
        }
        let (board, id): (_, HostId) = (&self.directory.board, name.parse().ok()?);
        let address = board.host(id)?.1.address.ip();
        Some(if is_used(board, id) {
            Held::at(address)
        } else {
            Held::default()
        })
    }
}

/// A name in the zone with this apex.
pub(super) fn below(apex: &Name, labels: &[&str]) -> Name {
    let labels = labels.iter().map(|label| label.as_bytes());
    let name = Name::from_labels(labels.chain(apex.iter()));
    name.expect("the domain leaves room for it")
}

impl Held<'static> {
    fn at(address: IpAddr) -> Self {
        Self {
            addresses: Cow::Owned(vec![address]),
            ..Self::default()
        }
    }
}
