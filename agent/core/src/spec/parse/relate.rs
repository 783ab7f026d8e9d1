//! What the parts of a definition say of one another.

use crate::spec::{
    error::{Faults, SpecError},
    task_definition::{Condition, Container, NetworkMode, PortMapping, Protocol, TaskDefinition},
};
use std::collections::BTreeMap;

/// Checks the parts against one another, and fills in what follows from them.
pub(super) fn relate(definition: &mut TaskDefinition, faults: &mut Faults) {
    let mut volumes = Seen::default();
    for (i, volume) in definition.volumes.iter().enumerate() {
        let (name, path) = (&volume.name, format!("volumes[{i}].name"));
        faults.keep(volumes.see(name.clone(), format!("{name:?}"), path));
    }
    let network = definition.network;
    let mut names = Seen::default();
    let mut host_ports = Seen::default();
    for (i, container) in definition.containers.iter_mut().enumerate() {
        let at = format!("containerDefinitions[{i}]");
        let name = &container.name;
        faults.keep(names.see(name.clone(), format!("{name:?}"), format!("{at}.name")));
        for (j, port) in container.ports.iter_mut().enumerate() {
            let at = format!("{at}.portMappings[{j}]");
            settle_port(port, network, &at, faults);
            see_host_port(port, &at, &mut host_ports, faults);
        }
        relate_paths(container, &at, &volumes, faults);
        relate_memory(container, &at, faults);
        relate_kernel(container, network, &at, faults);
    }
    relate_order(&definition.containers, faults);
    if !definition.containers.iter().any(|c| c.essential) {
        faults.push(SpecError::NoEssential);
    }
}

/// In the host's network a port is the host's own.
fn settle_port(port: &mut PortMapping, network: NetworkMode, at: &str, faults: &mut Faults) {
    let (path, container_port) = (format!("{at}.hostPort"), port.container_port);
    match network {
        NetworkMode::Bridge => {}
        NetworkMode::Host if port.host_port == 0 => port.host_port = container_port,
        NetworkMode::Host if port.host_port == container_port => {}
        NetworkMode::Host => faults.push(SpecError::OtherHostPort {
            path,
            port: container_port,
        }),
        NetworkMode::None => faults.push(SpecError::NothingToMap {
            path: at.to_owned(),
        }),
    }
}

fn see_host_port(
    port: &PortMapping,
    at: &str,
    seen: &mut Seen<(Protocol, u16)>,
    faults: &mut Faults,
) {
    let (protocol, number) = (port.protocol, port.host_port);
    if number != 0 {
        let (shown, path) = (format!("{protocol} {number}"), format!("{at}.hostPort"));
        faults.keep(seen.see((protocol, number), shown, path));
    }
}

/// Mounts are of volumes that are there, and nothing is mounted over something else.
fn relate_paths(container: &Container, at: &str, volumes: &Seen<String>, faults: &mut Faults) {
    let mut mounted = Seen::default();
    let mut see = |path: &String, at: String| {
        let place = path.trim_end_matches('/').to_owned();
        mounted.see(place, format!("{path:?}"), format!("{at}.containerPath"))
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
}

fn relate_memory(container: &Container, at: &str, faults: &mut Faults) {
    let limit = container.memory_mib;
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
            let (path, got) = (path.clone(), name.clone());
            faults.push(SpecError::HostsOwn { path, got });
        }
        faults.keep(controls.see(name.clone(), format!("{name:?}"), path));
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
                (Some(_), _) => {}
            }
            faults.keep(awaited.see(name.clone(), format!("{name:?}"), path));
        }
    }
    if let Some(circle) = circle(containers) {
        faults.push(SpecError::Circle { circle });
    }
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
