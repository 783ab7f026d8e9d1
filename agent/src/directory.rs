//! Who may be used, and where: the tasks that are ready on hosts that answer, with their ports.

mod refresh;

pub(crate) use refresh::Refresher;

use holdfast_core::{
    cluster::{
        board::Board,
        body::{HostReport, TaskReport},
    },
    ids::{HostId, TaskId},
    spec::task_definition::{NetworkMode, PortMapping, Protocol, TaskDefinition},
    task::status::TaskStatus,
};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// What one board says of that. It is made beside the agent's loop, which goes on meanwhile, and
/// whoever looks something up reads this and asks nobody.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) board: Board,
    /// In the order of hosts and tasks.
    tasks: Vec<Usable>,
    ids: BTreeSet<TaskId>,
}

/// A task that may be used.
#[derive(Debug)]
pub(crate) struct Usable {
    pub(crate) host: HostId,
    pub(crate) task: TaskId,
    pub(crate) address: IpAddr,
    /// As its definition lists them, container by container.
    pub(crate) ports: Box<[UsablePort]>,
}

/// One of its ports, as others reach it.
#[derive(Debug)]
pub(crate) struct UsablePort {
    pub(crate) container: Arc<str>,
    pub(crate) container_port: u16,
    pub(crate) host_port: u16,
    pub(crate) protocol: Protocol,
    /// What its definition calls it.
    pub(crate) name: Option<Arc<str>>,
}

impl Directory {
    /// `before` is the one made last. A task that was in it stays for as long as its host was never
    /// out of sight, though an agent that was started again has not confirmed it yet: it runs on.
    pub(crate) fn of(board: Board, before: &Self) -> Self {
        let mut tasks = Vec::new();
        for (host, _, report) in board.hosts().filter(|(host, ..)| is_used(&board, *host)) {
            let ready = board.tasks_on(host).filter(|(task, report)| {
                let known = before.ids.contains(task) || board.is_fresh(host, *task);
                report.last == TaskStatus::Running && report.ready && known
            });
            tasks.extend(ready.map(|(task, said)| usable(&board, (host, report), task, said)));
        }
        let ids = tasks.iter().map(|one| one.task).collect();
        Self { board, tasks, ids }
    }

    pub(crate) fn tasks(&self) -> impl Iterator<Item = (&Usable, &TaskReport)> {
        self.tasks.iter().map(|one| {
            let report = self.board.task_at(one.host, one.task);
            (one, report.expect("it was made of this board"))
        })
    }
}

/// Its machine answers. Whether its agent does is nothing to who uses its tasks.
pub(crate) fn is_used(board: &Board, host: HostId) -> bool {
    board.is_up(host) && !board.is_suspect(host)
}

fn usable(
    board: &Board,
    (host, report): (HostId, &HostReport),
    task: TaskId,
    said: &TaskReport,
) -> Usable {
    let ports = match board.definition(said.definition) {
        Some(definition) => defined_ports(definition, said),
        None => reported_ports(said),
    };
    Usable {
        host,
        task,
        address: report.address.ip(),
        ports,
    }
}

fn defined_ports(definition: &TaskDefinition, said: &TaskReport) -> Box<[UsablePort]> {
    let all = definition.containers.iter();
    let found = all.flat_map(|container| {
        let reported = said
            .containers
            .iter()
            .find(|one| *one.name == container.name);
        let name: Arc<str> = container.name.as_str().into();
        container.ports.iter().filter_map(move |mapping| {
            let host_port = match definition.network {
                // There it is the host's own.
                NetworkMode::Host => mapping.container_port,
                _ => {
                    reported?
                        .ports
                        .iter()
                        .find(|one| one.is_of(mapping))?
                        .host_port
                }
            };
            Some(UsablePort::new(&name, mapping, host_port))
        })
    });
    found.collect()
}

/// Its definition has not come yet: the ports have no names.
fn reported_ports(said: &TaskReport) -> Box<[UsablePort]> {
    let all = said.containers.iter();
    let found = all.flat_map(|container| {
        let name: Arc<str> = container.name.as_ref().into();
        container.ports.iter().map(move |port| {
            let mapping = PortMapping::new(port.container_port, port.host_port, port.protocol);
            UsablePort::new(&name, &mapping, port.host_port)
        })
    });
    found.collect()
}

impl UsablePort {
    fn new(container: &Arc<str>, mapping: &PortMapping, host_port: u16) -> Self {
        Self {
            container: Arc::clone(container),
            container_port: mapping.container_port,
            host_port,
            protocol: mapping.protocol,
            name: mapping.name.as_deref().map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests;
