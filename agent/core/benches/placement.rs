//! How long a keeper's decisions take among ten thousand hosts: `cargo bench -p holdfast-core`.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock; the core that it measures does not"
)]

use holdfast_core::{
    cluster::{
        board::Board,
        body::{
            Body, Capacity, HostReport, HostStatus, Key, RuntimeStatus, ServiceCount,
            ServiceRevision, ServiceSettings, Slot, Standing, TaskReport, Verdict,
        },
        record::{Record, Stamp, Version},
    },
    ids::{Digest, HostId, ServiceId, SlotIndex, TaskId},
    rng::mix,
    schedule::{
        index::Index,
        keeper::{Keeper, Scope, Sight},
    },
    spec::{
        options::{HandOver, ServiceOptions},
        task_definition::{Container, TaskDefinition},
    },
    task::{runtime::SlotLabel, status::TaskStatus},
    time::{Mono, Now, Wall},
};
use std::{collections::BTreeSet, time::Instant};

const HOSTS: u64 = 10_000;
/// Services of 5,000 tasks that run already: ten tasks on each host.
const SERVICES: u64 = 20;
const COPIES: u32 = 5_000;
const ZONES: u64 = 3;
const MEASURED: ServiceId = ServiceId(1 << 100);
const OTHER: ServiceId = ServiceId(2 << 100);

struct Scene {
    board: Board,
    index: Index,
    written: u64,
}

fn main() {
    let mut scene = Scene::crowded();
    println!(
        "{HOSTS} hosts in {ZONES} zones, {} tasks",
        SERVICES * u64::from(COPIES)
    );
    scene.service(MEASURED, COPIES, definition(64));
    let one = Scope::Slots(BTreeSet::from([0]));
    report("one placement", 1_000, 1, |_| scene.plan(&one, 1));
    report("plan of 5,000 slots", 10, 5_000, |_| {
        scene.plan(&Scope::Whole, COPIES)
    });

    // All but one slot run, on the half of the hosts that has less to do than the other: the order
    // of loads leads to all of these first.
    scene.service(OTHER, 2 * COPIES, definition(64));
    for number in u64::from(COPIES)..HOSTS {
        scene.serve(OTHER, number as u32 - COPIES, host(number));
        scene.serve(OTHER, number as u32, host(number));
    }
    for index in 1..COPIES {
        scene.serve(MEASURED, index, host(u64::from(index)));
    }
    report(
        "one placement, 4,999 copies on the emptiest hosts",
        200,
        1,
        |_| scene.plan(&one, 1),
    );
    report("plan of 5,000 slots that are well", 10, 5_000, |_| {
        scene.plan(&Scope::Whole, 1)
    });

    scene.service(MEASURED, COPIES, definition(1 << 20));
    report("one refusal, with its reasons", 200, 1, |_| {
        scene.plan(&one, 1)
    });
    report("news of one lost host", 200, 1, |round| {
        scene.lose(host(round))
    });
}

/// Runs `what` so often, and says how long it took for each of its `parts`.
fn report(name: &str, times: u64, parts: u64, mut what: impl FnMut(u64)) {
    let mut nanos: Vec<u64> = (0..times)
        .map(|round| {
            let began = Instant::now();
            what(round);
            began.elapsed().as_nanos() as u64 / parts
        })
        .collect();
    nanos.sort_unstable();
    let at = |part: usize| nanos[(nanos.len() - 1) * part / 100];
    let micros = |nanos: u64| format!("{}.{:02}", nanos / 1_000, nanos % 1_000 / 10);
    println!(
        "{name:<52} median {:>8} us, from {} to {} in nine of ten, at most {}",
        micros(at(50)),
        micros(at(5)),
        micros(at(95)),
        micros(at(100)),
    );
}

const fn host(number: u64) -> HostId {
    HostId((mix(number + 1) as u128) << 64)
}

fn definition(memory_mib: u32) -> TaskDefinition {
    let container = Container {
        name: "main".to_owned(),
        image: "web:1".to_owned(),
        cpu: 64,
        memory_mib,
        essential: true,
        ..Container::default()
    };
    TaskDefinition {
        family: "web".to_owned(),
        containers: vec![container],
        ..TaskDefinition::default()
    }
}

impl Scene {
    /// Every host has ten tasks.
    fn crowded() -> Self {
        let (board, index) = (Board::default(), Index::default());
        let mut scene = Self {
            board,
            index,
            written: 0,
        };
        for number in 0..HOSTS {
            scene.host(number);
        }
        for service in 0..SERVICES {
            let id = ServiceId(u128::from(mix(service)));
            scene.service(id, COPIES, definition(64));
            for index in 0..COPIES {
                let number = service * u64::from(COPIES) + u64::from(index);
                scene.serve(id, index, host(number % HOSTS));
            }
        }
        scene
    }

    fn put(&mut self, key: Key, epoch: u64, body: Body) {
        self.written += 1;
        let stamp = Stamp {
            wall: Wall(self.written),
            ..Stamp::default()
        };
        let record = Record::new(key, Version { epoch, stamp }, Some(body));
        let old = self.board.record(&record.key).cloned();
        self.board.merge(&record);
        self.index.on_record(&self.board, old.as_deref(), &record);
    }

    fn host(&mut self, number: u64) {
        let report = HostReport {
            name: format!("h{number}").into(),
            address: "10.0.0.1:7946".parse().expect("it is an address"),
            zone: Some(format!("zone-{}", number % ZONES).into()),
            attributes: Box::default(),
            capacity: Capacity {
                cpu: 16_384,
                memory_mib: 65_536,
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
        self.put(Key::Host(host(number)), 1, Body::Host(report));
    }

    fn service(&mut self, id: ServiceId, desired: u32, definition: TaskDefinition) {
        let digest = definition.digest();
        self.put(Key::Definition(digest), 0, Body::Definition(definition));
        let settings = ServiceSettings {
            name: id.to_string(),
            created_at: Wall(0),
            client_token: String::new(),
            options: ServiceOptions::default(),
        };
        self.put(Key::ServiceSettings(id), 0, Body::ServiceSettings(settings));
        self.put(
            Key::ServiceRevision(id),
            0,
            Body::ServiceRevision(revision(digest)),
        );
        let count = ServiceCount { desired };
        self.put(Key::ServiceCount(id), 0, Body::ServiceCount(count));
    }

    /// The slot was given to the host, which runs it.
    fn serve(&mut self, service: ServiceId, index: SlotIndex, host: HostId) {
        let known = self.board.service(service).expect("it was put");
        let definition = known.revision.definition;
        let slot = Slot {
            host: Some(host),
            revision: revision(definition),
            adopted: None,
            superseded: vec![],
            order: HandOver::StartFirst,
            failures: 0,
            tried: 0,
            end: None,
            reason: "first placement".to_owned(),
        };
        self.put(Key::Slot(service, index), 1, Body::Slot(slot));
        let label = SlotLabel {
            service,
            service_name: Box::default(),
            index,
            generation: 1,
        };
        let mut report = TaskReport::begin(revision(definition), Some(label), Wall(1));
        report.last = TaskStatus::Running;
        let task = TaskId(host.0 | u128::from(service.word() as u32) << 32 | u128::from(index));
        self.put(Key::Task(host, task), 1, Body::Task(report));
    }

    fn plan(&mut self, scope: &Scope, expected: u32) {
        let returning = BTreeSet::new();
        let sight = Sight {
            board: &self.board,
            index: &mut self.index,
            returning: &returning,
            is_majority: false,
        };
        let service = self.board.service(MEASURED).expect("it was put");
        let now = Now {
            mono: Mono(60_000_000),
            wall: Wall(60_000),
        };
        let decisions = Keeper::default().plan(now, sight, service, scope);
        assert_eq!(decisions.len(), expected as usize);
    }

    fn lose(&mut self, host: HostId) {
        let (votes, silent_ms) = (vec![], 2_000);
        let verdict = Body::Verdict(Verdict {
            standing: Standing::Down,
            votes,
            silent_ms,
        });
        self.put(Key::Verdict(host), 1, verdict);
    }
}

fn revision(definition: Digest) -> ServiceRevision {
    ServiceRevision {
        definition,
        family: "web".to_owned(),
        revision: 1,
        renewals: 0,
    }
}
