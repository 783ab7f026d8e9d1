//! What each peer and each task record costs an agent in memory, counted at the allocator.

use holdfast_core::{
    agent::{Agent, AgentConfig, Timings},
    cluster::{
        board::Board,
        body::{
            Body, Capacity, ContainerReport, ContainerStatus, HostReport, HostStatus, Key,
            RuntimeStatus, ServiceRevision, TaskReport,
        },
        keys::KeyReport,
        record::{Record, Stamp, Version},
    },
    effect::Effects,
    ids::{Digest, HostId, ImageDigest, KeyId, RuntimeId, ServiceId, TaskId},
    rng::Rng,
    task::{
        runtime::SlotLabel,
        status::{Health, TaskStatus},
    },
    time::{Mono, Now, Wall},
};
use peak_alloc::PeakAlloc;
use std::{collections::BTreeMap, net::SocketAddr, process::ExitCode, sync::Arc};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const PEER_BYTES_MAX: usize = 1_024;
/// Of one container, with the 32 bytes of its image's digest.
const TASK_BYTES_MAX: usize = 640;
/// A task record in the two copies of the agent that a recorder holds.
const RECORDED_BYTES_MAX: usize = 32;
const PEERS: u64 = 2_000;
const TASKS: u64 = 40_000;
const NOW: Now = Now {
    mono: Mono(0),
    wall: Wall(1_800_000_000_000),
};

fn main() -> ExitCode {
    let hosts = |count: u64| (1..=count).map(host).collect::<Vec<_>>();
    let (few, many) = (agent_with(&hosts(100)), agent_with(&hosts(100 + PEERS)));
    let peer = (many - few) / PEERS as usize;
    let tasks = |count: u64| {
        let mut rng = Rng::new(1);
        let hosts = hosts(100).into_iter();
        let tasks = (0..count).map(|number| task(number, &mut rng));
        hosts.chain(tasks).collect::<Vec<_>>()
    };
    let (few, many) = (agent_with(&tasks(0)), agent_with(&tasks(TASKS)));
    let task = (many - few) / TASKS as usize;
    println!("each peer         {peer:>6} bytes, at most {PEER_BYTES_MAX}");
    println!("each task record  {task:>6} bytes, at most {TASK_BYTES_MAX}");
    let copies = copies_of(&tasks(TASKS)) / TASKS as usize;
    println!("each in a recorder {copies:>5} bytes, at most {RECORDED_BYTES_MAX}");
    println!(
        "record {} bytes, body {}, task report {}, host report {}",
        size_of::<Record>(),
        size_of::<Option<Body>>(),
        size_of::<TaskReport>(),
        size_of::<HostReport>()
    );
    let is_small = peer <= PEER_BYTES_MAX && task <= TASK_BYTES_MAX;
    if is_small && copies <= RECORDED_BYTES_MAX {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The bytes of an agent that read these from its disk.
fn agent_with(records: &[Arc<Record>]) -> usize {
    let before = ALLOCATED.current_usage();
    let agent = resumed(records);
    let used = ALLOCATED.current_usage() - before;
    drop(agent);
    used
}

/// The bytes of two copies of it.
fn copies_of(records: &[Arc<Record>]) -> usize {
    let agent = resumed(records);
    let before = ALLOCATED.current_usage();
    let copies = [agent.clone(), agent.clone()];
    let used = ALLOCATED.current_usage() - before;
    drop(copies);
    used
}

fn resumed(records: &[Arc<Record>]) -> Agent {
    let encoded: Vec<Vec<u8>> = records.iter().map(|record| record.encode()).collect();
    let config = AgentConfig {
        host: HostId(u128::MAX),
        incarnation: 1,
        cluster: "memory".to_owned(),
        name: "me".to_owned(),
        address: address(0),
        seeds: Vec::new(),
        seeds_expected: false,
        dynamic_ports: None,
        zone: None,
        attributes: BTreeMap::new(),
        capacity: Capacity::default(),
        gpus: Vec::new(),
        fingerprint: 0,
        keys: KeyReport::default(),
        agent_version: String::new(),
        timings: Timings::default(),
    };
    let read = |bytes: &Vec<u8>| Record::decode(bytes).expect("it was encoded");
    let board = Board::from_records(encoded.iter().map(read));
    let mut fx = Effects::new();
    let agent = Agent::resume(config, board, 1, NOW, &mut fx);
    fx.drain().for_each(drop);
    agent
}

fn address(number: u64) -> SocketAddr {
    let [.., a, b] = number.to_be_bytes();
    SocketAddr::from(([10, 0, a, b], 7_946))
}

fn host_id(number: u64) -> HostId {
    let mut rng = Rng::new(number);
    HostId(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
}

fn version(author: HostId) -> Version {
    let stamp = Stamp {
        wall: NOW.wall,
        counter: 0,
        author,
    };
    Version { epoch: 1, stamp }
}

fn host(number: u64) -> Arc<Record> {
    let id = host_id(number);
    let report = HostReport {
        name: format!("ip-10-0-{}-{}", number / 256, number % 256).into(),
        address: address(number),
        zone: Some("eu-central-1a".into()),
        attributes: Box::new([("instance-type".to_owned(), "m7g.large".to_owned())]),
        capacity: Capacity::default(),
        gpus: Box::default(),
        status: HostStatus::Active,
        caught_up: true,
        runtime: RuntimeStatus::Available {
            version: "28.5.1".into(),
        },
        fingerprint: number,
        keys: KeyReport {
            held: vec![KeyId([1; 4])],
            in_use: Some(KeyId([1; 4])),
        },
        agent_version: "0.1.0".into(),
        registered_at: NOW.wall,
        started_at: NOW.wall,
    };
    Record::new(Key::Host(id), version(id), Some(Body::Host(report)))
}

fn task(number: u64, rng: &mut Rng) -> Arc<Record> {
    let host = host_id(1 + number % 100);
    let revision = ServiceRevision {
        definition: Digest([7; 32]),
        family: "web-frontend".to_owned(),
        revision: 12,
        renewals: 0,
    };
    let slot = SlotLabel {
        service: ServiceId(u128::from(number % 50)),
        service_name: "web-frontend".into(),
        index: number as u32 / 50,
        generation: 1,
    };
    let mut report = TaskReport::begin(revision, Some(slot), NOW.wall);
    (report.last, report.health) = (TaskStatus::Running, Health::Healthy);
    report.started_at = Some(NOW.wall);
    report.containers = Box::new([ContainerReport {
        name: "web".into(),
        runtime_id: Some(RuntimeId([0xc0; 32])),
        status: ContainerStatus::Running,
        exit_code: None,
        reason: Box::default(),
        ports: Box::default(),
        health: Health::Healthy,
        restarts: 0,
        image: Some(ImageDigest([7; 32])),
        gpus: Box::default(),
    }]);
    let key = Key::Task(host, TaskId::mint(host, rng));
    Record::new(key, version(host), Some(Body::Task(report)))
}
