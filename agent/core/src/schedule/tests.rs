//! Scenes for whoever schedules: a board on which hosts, one service and its copies are put.

mod copy;
mod pins;
mod runs;
mod values;
mod place;
mod keeper;
mod unhealthy;
mod protected;
mod stop_first;
mod index;

use crate::{
    cluster::{
        board::{Board, Merge, Service},
        body::{
            Body, Capacity, HostReport, HostStatus, Key, Placement, RuntimeStatus, ServiceCount,
            ServiceRevision, ServiceSettings, Slot, Standing, TaskReport, Verdict,
        },
        record::{Record, Stamp, Version},
    },
    ids::{Digest, Generation, HostId, ServiceId, SlotIndex, TaskId},
    spec::{
        options::{HandOver, ServiceOptions},
        task_definition::{Container, PortMapping, Protocol, TaskDefinition},
    },
    task::{
        runtime::SlotLabel,
        status::{Health, TaskStatus},
    },
    time::Wall,
};
use std::sync::Arc;

const SERVICE: ServiceId = ServiceId(5);

#[derive(Default)]
struct Scene {
    board: Board,
    written: u64,
    /// The record that was taken last, and what it replaced; `None` if it was too old.
    taken: Option<(Option<Arc<Record>>, Arc<Record>)>,
}

fn host_id(number: u64) -> HostId {
    HostId(u128::from(number) << 96)
}

/// The copy of a slot on a host; its generation tells it from others there.
fn task_id(host: u64, generation: Generation) -> TaskId {
    TaskId(host_id(host).0 | u128::from(generation))
}

/// Needs 512 MiB and half a core, and the ports.
fn definition(family: &str, ports: &[u16]) -> TaskDefinition {
    let port = |&host_port: &u16| PortMapping::new(80, host_port, Protocol::Tcp);
    let container = Container {
        name: "main".to_owned(),
        image: "web:1".to_owned(),
        cpu: 512,
        memory_mib: 512,
        essential: true,
        ports: ports.iter().map(port).collect(),
        ..Container::default()
    };
    let (family, containers) = (family.to_owned(), vec![container]);
    TaskDefinition {
        family,
        containers,
        ..TaskDefinition::default()
    }
}

fn revision(definition: Digest, revision: u32) -> ServiceRevision {
    ServiceRevision {
        definition,
        family: "web".to_owned(),
        revision,
        renewals: 0,
    }
}

impl Scene {
    /// Each later write wins over those before it.
    fn put(&mut self, key: Key, epoch: u64, body: Option<Body>) {
        self.written += 1;
        let stamp = Stamp {
            wall: Wall(self.written),
            ..Stamp::default()
        };
        let record = Record::new(key, Version { epoch, stamp }, body);
        self.taken = match self.board.merge(&record) {
            Merge::Taken { replaced } => Some((replaced, record)),
            Merge::Known | Merge::Older { .. } => None,
        };
    }

    fn host(&mut self, number: u64) {
        self.host_with(number, |_| {});
    }

    fn host_with(&mut self, number: u64, change: impl FnOnce(&mut HostReport)) {
        self.host_in(number, 1, change);
    }

    /// In its incarnation of that number.
    fn host_in(&mut self, number: u64, incarnation: u64, change: impl FnOnce(&mut HostReport)) {
        let mut report = HostReport {
            name: format!("h{number}").into(),
            address: "10.0.0.1:7400".parse().expect("it is an address"),
            zone: None,
            attributes: Box::default(),
            capacity: Capacity {
                cpu: 4_096,
                memory_mib: 8_192,
                gpus: 0,
            },
            gpus: Box::default(),
            status: HostStatus::Active,
            caught_up: true,
            runtime: RuntimeStatus::Available {
                version: "28".into(),
            },
            fingerprint: 0,
            keys: Default::default(),
            agent_version: Box::default(),
            registered_at: Wall(0),
            started_at: Wall(0),
        };
        change(&mut report);
        let key = Key::Host(host_id(number));
        self.put(key, incarnation, Some(Body::Host(report)));
    }

    fn down(&mut self, number: u64) {
        let body = Body::Verdict(Verdict {
            standing: Standing::Down,
            votes: vec![],
            silent_ms: 2_000,
        });
        self.put(Key::Verdict(host_id(number)), 1, Some(body));
    }

    /// The service `web`, of this many tasks of this revision.
    fn service(&mut self, desired: u32, number: u32, ports: &[u16]) -> Digest {
        self.service_with(desired, number, ports, ServiceOptions::default())
    }

    fn service_with(
        &mut self,
        desired: u32,
        number: u32,
        ports: &[u16],
        options: ServiceOptions,
    ) -> Digest {
        let definition = definition(&format!("web{number}"), ports);
        let digest = definition.digest();
        self.put(
            Key::Definition(digest),
            0,
            Some(Body::Definition(definition)),
        );
        let settings = ServiceSettings {
            name: "web".to_owned(),
            created_at: Wall(0),
            client_token: String::new(),
            options,
        };
        let revision = revision(digest, number);
        self.put(
            Key::ServiceSettings(SERVICE),
            0,
            Some(Body::ServiceSettings(settings)),
        );
        self.put(
            Key::ServiceRevision(SERVICE),
            0,
            Some(Body::ServiceRevision(revision)),
        );
        let count = ServiceCount { desired };
        self.put(
            Key::ServiceCount(SERVICE),
            0,
            Some(Body::ServiceCount(count)),
        );
        digest
    }

    fn the_service(&self) -> Service<'_> {
        self.board.service(SERVICE).expect("there is a service")
    }

    fn slot(&mut self, index: SlotIndex, generation: Generation, slot: Slot) {
        self.put(
            Key::Slot(SERVICE, index),
            generation,
            Some(Body::Slot(slot)),
        );
    }

    /// The host runs a copy, healthy unless changed.
    fn copy(
        &mut self,
        host: u64,
        label: SlotLabel,
        definition: Digest,
        change: impl FnOnce(&mut TaskReport),
    ) -> TaskId {
        let task = task_id(host, label.generation << 32 | u64::from(label.index));
        let mut report = TaskReport {
            definition,
            family: "web".into(),
            revision: 1,
            renewals: 0,
            values: Box::default(),
            slot: Some(label),
            desired: TaskStatus::Running,
            last: TaskStatus::Running,
            health: Health::Unknown,
            ready: true,
            stop_code: None,
            stopped_reason: Box::default(),
            refused: false,
            replaced: false,
            protected_until: None,
            created_at: Wall(0),
            started_at: Some(Wall(10)),
            stopping_at: None,
            stopped_at: None,
            containers: Box::default(),
        };
        change(&mut report);
        self.put(Key::Task(host_id(host), task), 1, Some(Body::Task(report)));
        task
    }
}

fn label(index: SlotIndex, generation: Generation) -> SlotLabel {
    SlotLabel {
        service: SERVICE,
        service_name: "web".into(),
        index,
        generation,
    }
}

/// Given to the host, start-first, after nobody.
fn slot_on(host: u64, revision: ServiceRevision) -> Slot {
    Slot {
        host: Some(host_id(host)),
        revision,
        adopted: None,
        superseded: Vec::<Placement>::new(),
        order: HandOver::StartFirst,
        failures: 0,
        tried: 0,
        end: None,
        reason: "so it was decided".to_owned(),
    }
}
