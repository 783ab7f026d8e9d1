//! What the parts of a definition say of one another.

use crate::spec::{
    error::{Faults, SpecError, quoted, shown},
    given::SecretPlace,
    health::HealthCheck,
    own,
    task_definition::{Condition, Container, NetworkMode, PortMapping, Protocol, TaskDefinition},
};
use std::collections::{BTreeMap, BTreeSet};

/// Checks the parts against one another, and fills in what follows from them.
pub(super) fn relate(definition: &mut TaskDefinition, faults: &mut Faults) {
    let mut volumes = Seen::default();
    for (i, volume) in definition.volumes.iter().enumerate() {
        let (name, path) = (&volume.name, format!("volumes[{i}].name"));
        faults.keep(volumes.see(name.clone(), format!("{name:?}"), path));
    }
    let (network, in_all) = (definition.network, definition.memory_mib);
    let mut names = Seen::default();
    let mut host_ports = Seen::default();
    for (i, container) in definition.containers.iter_mut().enumerate() {
        let at = format!("containerDefinitions[{i}]");
        let name = &container.name;
        faults.keep(names.see(name.clone(), format!("{name:?}"), format!("{at}.name")));
        for (j, port) in container.ports.iter_mut().enumerate() {
            let at = format!("{at}.portMappings[{j}]");
            let field = settle_port(port, network, &at, faults);
            see_host_port(port, format!("{at}.{field}"), &mut host_ports, faults);
        }
        relate_paths(container, &at, &volumes, faults);
        relate_memory(container, in_all, &at, faults);
        relate_network(container, network, &at, faults);
        relate_kernel(container, network, &at, faults);
    }
    if network == NetworkMode::Task {
        relate_loopback(&definition.containers, faults);
    }
    relate_order(&definition.containers, faults);
    if !definition.containers.iter().any(|c| c.essential) {
        faults.push(SpecError::NoEssential);
    }
}

/// In the host's network a port is the host's own. Answers which field says the host's port.
fn settle_port(
    port: &mut PortMapping,
    network: NetworkMode,
    at: &str,
    faults: &mut Faults,
) -> &'static str {
    let (path, container_port) = (format!("{at}.hostPort"), port.container_port);
    match network {
        NetworkMode::Bridge | NetworkMode::Task => {}
        NetworkMode::Host if port.host_port == 0 => {
            port.host_port = container_port;
            return "containerPort";
        }
        NetworkMode::Host if port.host_port == container_port => {}
        NetworkMode::Host => faults.push(SpecError::OtherHostPort {
            path,
            port: container_port,
        }),
        NetworkMode::None => faults.push(SpecError::NothingToMap {
            path: at.to_owned(),
        }),
    }
    "hostPort"
}

fn see_host_port(
    port: &PortMapping,
    path: String,
    seen: &mut Seen<(Protocol, u16)>,
    faults: &mut Faults,
) {
    let (protocol, number) = (port.protocol, port.host_port);
    if number != 0 {
        faults.keep(seen.see((protocol, number), format!("{protocol} {number}"), path));
    }
}

/// Mounts are of volumes that are there, and nothing is mounted over something else.
fn relate_paths(container: &Container, at: &str, volumes: &Seen<String>, faults: &mut Faults) {
    let mut mounted = Seen::default();
    let mut see = |path: &String, at: String| {
        let place = path.trim_end_matches('/').to_owned();
        mounted.see(place, quoted(path), format!("{at}.containerPath"))
    };
    for (j, mount) in container.mounts.iter().enumerate() {
        let at = format!("{at}.mountPoints[{j}]");
        if !volumes.has(&mount.source_volume) {
            faults.push(SpecError::UndeclaredVolume {
                path: format!("{at}.sourceVolume"),
                volume: mount.source_volume.clone(),
            });
        }
        faults.keep(see(&mount.container_path, at));
    }
    for (j, tmpfs) in container.linux.tmpfs.iter().enumerate() {
        let at = format!("{at}.linuxParameters.tmpfs[{j}]");
        faults.keep(see(&tmpfs.container_path, at));
    }
    let mut variables = Seen::default();
    for name in container.environment.keys() {
        let at = format!("{at}.environment");
        faults.keep(variables.see(name.clone(), quoted(name), at));
    }
    for (j, secret) in container.secrets.iter().enumerate() {
        let (name, at) = (secret.at.as_str(), format!("{at}.secrets[{j}].name"));
        let seen = match secret.at {
            SecretPlace::Variable(_) => &mut variables,
            SecretPlace::File(_) => &mut mounted,
        };
        faults.keep(seen.see(name.to_owned(), quoted(name), at));
    }
}

fn relate_memory(container: &Container, in_all: Option<u32>, at: &str, faults: &mut Faults) {
    let limit = container.memory_mib;
    if let Some(in_all) =
        in_all.filter(|in_all| container.memory_reserved_mib().max(limit) > *in_all)
    {
        let path = format!("{at}.memory");
        faults.push(SpecError::MoreThanTheTask { path, in_all });
    }
    if let Some(reserved) = container.memory_reservation_mib
        && limit != 0
        && limit < reserved
    {
        faults.push(SpecError::LessThanReserved {
            path: format!("{at}.memory"),
            got: limit,
            reserved,
        });
    }
    if container.linux.max_swap_mib.is_some() && limit == 0 {
        let path = format!("{at}.linuxParameters.maxSwap");
        faults.push(SpecError::SwapWithoutLimit { path });
    }
}

/// What can be done depends on the network that it is in.
fn relate_network(container: &Container, network: NetworkMode, at: &str, faults: &mut Faults) {
    let is_elsewhere = |path: String| SpecError::OfAnotherNetwork {
        path,
        mode: network.as_str(),
    };
    if network != NetworkMode::Bridge && !container.links.is_empty() {
        faults.push(is_elsewhere(format!("{at}.links")));
    }
    if network == NetworkMode::Task && container.hostname.is_some() {
        faults.push(is_elsewhere(format!("{at}.hostname")));
    }
    if network != NetworkMode::None {
        return;
    }
    for (name, check) in [
        ("healthCheck".to_owned(), &container.health_check),
        (
            format!("dockerLabels.{}", own::READINESS_CHECK),
            &container.readiness_check,
        ),
    ] {
        if check.as_ref().is_some_and(|check| check.net().is_some()) {
            faults.push(is_elsewhere(format!("{at}.{name}")));
        }
    }
}

/// What shares one network listens on each port once.
fn relate_loopback(containers: &[Container], faults: &mut Faults) {
    let mut seen = Seen::default();
    for (i, container) in containers.iter().enumerate() {
        let own = container
            .ports
            .iter()
            .map(|port| (port.protocol, port.container_port));
        // One port of a container may be mapped to several of the host.
        for (protocol, port) in own.collect::<BTreeSet<_>>() {
            let path = format!("containerDefinitions[{i}].portMappings");
            let shown = format!("{protocol} {port} in the task's network");
            faults.keep(seen.see((protocol, port), shown, path));
        }
    }
}

fn relate_kernel(container: &Container, network: NetworkMode, at: &str, faults: &mut Faults) {
    let mut limits = Seen::default();
    for (j, ulimit) in container.ulimits.iter().enumerate() {
        let at = format!("{at}.ulimits[{j}]");
        let (name, soft, hard) = (&ulimit.name, ulimit.soft, ulimit.hard);
        faults.keep(limits.see(name.clone(), format!("{name:?}"), format!("{at}.name")));
        // -1 is no limit.
        if hard >= 0 && (soft > hard || soft < 0) {
            let path = format!("{at}.softLimit");
            faults.push(SpecError::SoftAboveHard { path, soft, hard });
        }
    }
    let mut controls = Seen::default();
    for (j, control) in container.system_controls.iter().enumerate() {
        let path = format!("{at}.systemControls[{j}].namespace");
        let name = &control.namespace;
        if network == NetworkMode::Host && name.starts_with("net.") {
            let (path, got) = (path.clone(), shown(name));
            faults.push(SpecError::HostsOwn { path, got });
        }
        faults.keep(controls.see(name.clone(), quoted(name), path));
    }
}

/// Who waits for whom makes sense, and ends.
fn relate_order(containers: &[Container], faults: &mut Faults) {
    for (i, container) in containers.iter().enumerate() {
        let mut awaited = Seen::default();
        for (j, dependency) in container.depends_on.iter().enumerate() {
            let path = format!("containerDefinitions[{i}].dependsOn[{j}].containerName");
            let name = &dependency.container;
            let other = containers.iter().find(|c| c.name == *name);
            match (other, dependency.condition) {
                (None, _) => faults.push(SpecError::UndeclaredContainer {
                    path: path.clone(),
                    container: name.clone(),
                }),
                (Some(other), Condition::Complete | Condition::Success) if other.essential => {
                    faults.push(SpecError::AwaitsTheEssential {
                        path: path.clone(),
                        container: name.clone(),
                    });
                }
                (Some(other), Condition::Healthy)
                    if !other.health_check.as_ref().is_some_and(HealthCheck::is_on) =>
                {
                    let (path, container) = (path.clone(), name.clone());
                    faults.push(SpecError::NotChecked { path, container });
                }
                (Some(_), _) => {}
            }
            faults.keep(awaited.see(name.clone(), format!("{name:?}"), path));
        }
    }
    for (i, container) in containers.iter().enumerate() {
        for (kind, name) in taken_from(container) {
            if !containers.iter().any(|c| c.name == *name) {
                let (path, container) = (format!("containerDefinitions[{i}].{kind}"), name.clone());
                faults.push(SpecError::UndeclaredContainer { path, container });
            }
        }
    }
    if let Some(circle) = circle(containers) {
        faults.push(SpecError::Circle { circle });
    }
}

fn taken_from(container: &Container) -> impl Iterator<Item = (String, &String)> {
    let links = container.links.iter().enumerate();
    let links = links.map(|(j, link)| (format!("links[{j}]"), &link.container));
    let volumes = container.volumes_from.iter().enumerate();
    let at = |j| format!("volumesFrom[{j}].sourceContainer");
    links.chain(volumes.map(move |(j, from)| (at(j), &from.container)))
}

/// Containers each of which waits for the next, the last one for the first.
fn circle(containers: &[Container]) -> Option<String> {
    let mut left: Vec<&Container> = containers.iter().collect();
    // Whoever waits for nobody who is left can start, until nobody is left or a circle.
    while let Some(free) = left
        .iter()
        .position(|one| !left.iter().any(|other| one.waits_for(&other.name)))
    {
        left.swap_remove(free);
    }
    let mut walk: Vec<&Container> = vec![left.first()?];
    loop {
        let last = walk.last().expect("it has a first one");
        let next = left.iter().find(|other| last.waits_for(&other.name));
        let next = next.expect("whoever is left waits for one of them");
        let begun = walk.iter().position(|one| one.name == next.name);
        walk.push(next);
        if let Some(begun) = begun {
            let names: Vec<&str> = walk[begun..].iter().map(|c| c.name.as_str()).collect();
            return Some(names.join(" for "));
        }
    }
}

/// What must not repeat, and where each was first.
pub(super) struct Seen<K>(BTreeMap<K, String>);

impl<K: Ord> Seen<K> {
    pub(super) fn see(&mut self, key: K, value: String, path: String) -> Result<(), SpecError> {
        if let Some(first) = self.0.get(&key) {
            let first = first.clone();
            return Err(SpecError::Duplicate { path, first, value });
        }
        self.0.insert(key, path);
        Ok(())
    }

    fn has(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }
}

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}
