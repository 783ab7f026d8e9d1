//! The container that holds what the containers of a task share, and does nothing else.

use crate::spec::task_definition::{Container, Namespace, NetworkMode, TaskDefinition};

/// No container of a definition can have this name: it has a dot.
pub const PAUSE: &str = "task.pause";

pub fn has_pause(definition: &TaskDefinition) -> bool {
    definition.network == NetworkMode::Task
        || definition.pid == Some(Namespace::Task)
        || definition.ipc == Some(Namespace::Task)
}

/// The container runtime has an image of its own for it. What belongs to the network is set on
/// whoever holds the network.
pub fn pause(definition: &TaskDefinition) -> Option<Container> {
    if !has_pause(definition) {
        return None;
    }
    let mut pause = Container {
        name: PAUSE.to_owned(),
        essential: true,
        ..Container::default()
    };
    if definition.network == NetworkMode::Task {
        for container in &definition.containers {
            pause.ports.extend(container.ports.iter().cloned());
            add(&mut pause.dns_servers, &container.dns_servers);
            add(&mut pause.dns_search_domains, &container.dns_search_domains);
            add(&mut pause.extra_hosts, &container.extra_hosts);
        }
    }
    Some(pause)
}

fn add<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) {
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}
