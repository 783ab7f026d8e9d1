//! The disk of an agent that knows many tasks on many hosts, of which there is only what it says.

use holdfast_core::{
    cluster::{
        body::{
            Body, Capacity, ContainerReport, ContainerStatus, HostReport, HostStatus, Key, Pins,
            RuntimeStatus, ServiceCount, ServiceRevision, ServiceSettings, Slot, TaskReport,
        },
        record::{Record, Stamp, Version},
    },
    ids::{HostId, ImageDigest, RuntimeId, ServiceId, SlotIndex, TaskId},
    rng::mix,
    spec::{
        options::{HandOver, ServiceOptions},
        task_definition::{Container, PortMapping, Protocol, TaskDefinition},
    },
    task::{
        runtime::{PortBinding, SlotLabel},
        status::{Health, TaskStatus},
    },
    time::Wall,
};
use redb::{Database, TableDefinition};
use std::{net::SocketAddr, path::Path, sync::Arc};

const HOSTS: u64 = 20;
const CONTAINER: &str = "main";
const IMAGE: ImageDigest = ImageDigest([7; 32]);
/// All was said so long ago: nothing is new, and nothing is old.
const AGE_MS: u64 = 60_000;

// As in the agent's own store.
const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;

/// Services of so many tasks each, all of which run, spread over the hosts.
pub(crate) struct BigBoard {
    pub(crate) services: u64,
    pub(crate) copies: u32,
    said: Wall,
    definition: TaskDefinition,
}

impl BigBoard {
    pub(crate) fn new(services: u64, copies: u32, now_ms: u64) -> Self {
        let container = Container {
            name: CONTAINER.to_owned(),
            image: "web:1".to_owned(),
            cpu: 64,
            memory_mib: 64,
            essential: true,
            ports: vec![PortMapping::new(8_080, 0, Protocol::Tcp)],
            ..Container::default()
        };
        let definition = TaskDefinition {
            family: "web".to_owned(),
            containers: vec![container],
            ..TaskDefinition::default()
        };
        Self {
            services,
            copies,
            said: Wall(now_ms - AGE_MS),
            definition,
        }
    }

    pub(crate) const fn tasks(&self) -> u64 {
        self.services * self.copies as u64
    }

    pub(crate) fn name(service: u64) -> String {
        format!("web-{service}")
    }

    pub(crate) fn task_id(service: u64, index: SlotIndex) -> TaskId {
        let number = service << 32 | u64::from(index);
        TaskId(u128::from(mix(number + 1)) << 64 | u128::from(number))
    }

    /// Puts it where an agent finds it that starts there.
    pub(crate) fn store(&self, state_dir: &Path) {
        let written: Result<(), redb::Error> = (|| {
            let database = Database::create(state_dir.join("holdfast.redb"))?;
            let transaction = database.begin_write()?;
            transaction.open_table(META)?.insert("format", FORMAT)?;
            let mut entries = transaction.open_table(ENTRIES)?;
            for record in self.records() {
                let (kind, key) = record.key.to_wire();
                let key: Vec<u8> = std::iter::once(kind).chain(key).collect();
                entries.insert(key.as_slice(), record.encode().as_slice())?;
            }
            drop(entries);
            Ok(transaction.commit()?)
        })();
        written.unwrap_or_else(|err| panic!("{}: {err}", state_dir.display()));
    }

    fn records(&self) -> Vec<Arc<Record>> {
        let digest = self.definition.digest();
        let body = Body::Definition(self.definition.clone());
        let mut records = vec![self.record(Key::Definition(digest), 0, host(1), body)];
        records.extend((1..=HOSTS).map(|number| self.host(number)));
        for service in 0..self.services {
            records.extend(self.service(service));
            let all = 0..self.copies;
            records.extend(
                all.flat_map(|index| [self.slot(service, index), self.task(service, index)]),
            );
        }
        records
    }

    fn record(&self, key: Key, epoch: u64, author: HostId, body: Body) -> Arc<Record> {
        let stamp = Stamp {
            wall: self.said,
            counter: 0,
            author,
        };
        Record::new(key, Version { epoch, stamp }, Some(body))
    }

    /// Nobody answers at its address.
    fn host(&self, number: u64) -> Arc<Record> {
        let last = u8::try_from(number).expect("there are few");
        let report = HostReport {
            name: format!("h{number}").into(),
            address: SocketAddr::from(([127, 103, 0, last], 17_946)),
            zone: Some("a".into()),
            attributes: Box::default(),
            capacity: Capacity {
                cpu: 1 << 20,
                memory_mib: 1 << 20,
                gpus: 0,
            },
            gpus: Box::default(),
            status: HostStatus::Active,
            caught_up: true,
            runtime: RuntimeStatus::Available {
                version: "28".into(),
            },
            fingerprint: number,
            keys: Default::default(),
            agent_version: "0.1.0".into(),
            registered_at: self.said,
            started_at: self.said,
        };
        let id = host(number);
        self.record(Key::Host(id), self.said.0, id, Body::Host(report))
    }

    fn revision(&self) -> ServiceRevision {
        ServiceRevision {
            definition: self.definition.digest(),
            family: self.definition.family.clone(),
            revision: 1,
            renewals: 0,
        }
    }

    fn service(&self, service: u64) -> [Arc<Record>; 4] {
        let id = service_id(service);
        let settings = ServiceSettings {
            name: Self::name(service),
            created_at: self.said,
            client_token: String::new(),
            options: ServiceOptions::default(),
        };
        let pins = Pins {
            definition: self.definition.digest(),
            renewals: 0,
            images: [(CONTAINER.into(), IMAGE)].into(),
        };
        let count = ServiceCount {
            desired: self.copies,
        };
        [
            (Key::ServiceSettings(id), Body::ServiceSettings(settings)),
            (Key::ServiceCount(id), Body::ServiceCount(count)),
            (
                Key::ServiceRevision(id),
                Body::ServiceRevision(self.revision()),
            ),
            (Key::Pins(id), Body::Pins(pins)),
        ]
        .map(|(key, body)| self.record(key, 0, host(1), body))
    }

    fn slot(&self, service: u64, index: SlotIndex) -> Arc<Record> {
        let slot = Slot {
            host: Some(host_of(service, index)),
            revision: self.revision(),
            adopted: None,
            superseded: vec![],
            order: HandOver::StartFirst,
            failures: 0,
            tried: 0,
            end: None,
            reason: "first placement".to_owned(),
        };
        let key = Key::Slot(service_id(service), index);
        self.record(key, 1, host(1), Body::Slot(slot))
    }

    fn task(&self, service: u64, index: SlotIndex) -> Arc<Record> {
        let (on, task) = (host_of(service, index), Self::task_id(service, index));
        let label = SlotLabel {
            service: service_id(service),
            service_name: Self::name(service).into(),
            index,
            generation: 1,
        };
        let port = PortBinding {
            container_port: 8_080,
            host_port: 32_768 + (index % 10_000) as u16,
            protocol: Protocol::Tcp,
        };
        let mut runtime_id = [0; 32];
        runtime_id[..16].copy_from_slice(&task.0.to_be_bytes());
        let container = ContainerReport {
            name: CONTAINER.into(),
            runtime_id: Some(RuntimeId(runtime_id)),
            status: ContainerStatus::Running,
            exit_code: None,
            reason: Box::default(),
            ports: [port].into(),
            health: Health::Unknown,
            restarts: 0,
            image: Some(IMAGE),
            gpus: Box::default(),
        };
        let report = TaskReport {
            last: TaskStatus::Running,
            ready: true,
            started_at: Some(self.said),
            containers: [container].into(),
            ..TaskReport::begin(self.revision(), Some(label), self.said)
        };
        self.record(Key::Task(on, task), self.said.0, on, Body::Task(report))
    }
}

const fn host(number: u64) -> HostId {
    HostId((mix(number) as u128) << 64)
}

const fn service_id(service: u64) -> ServiceId {
    ServiceId((mix(service + 1_000) as u128) << 64)
}

const fn host_of(service: u64, index: SlotIndex) -> HostId {
    host(1 + (service + index as u64) % HOSTS)
}
