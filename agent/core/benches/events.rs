//! What 5,000 lifecycle events a second cost an agent that hears of them: `cargo bench -p
//! holdfast-core --bench events`.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock; the core that it measures does not"
)]

use holdfast_core::{
    agent::{Agent, AgentConfig, Timings},
    cluster::{
        board::Board,
        body::{
            Body, Capacity, HostReport, HostStatus, Key, RuntimeStatus, ServiceCount,
            ServiceRevision, ServiceSettings, Slot, TaskReport,
        },
        message::{Message, Via},
        record::{Record, Stamp, Version},
    },
    effect::{Effect, Effects},
    ids::{HostId, ServiceId, SlotIndex, TaskId},
    input::Input,
    rng::mix,
    spec::{
        options::{HandOver, ServiceOptions},
        task_definition::{Container, TaskDefinition},
    },
    task::{runtime::SlotLabel, status::TaskStatus},
    time::{Mono, Now, Wall},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

const HOSTS: u64 = 1_000;
const SERVICES: u64 = 20;
const COPIES: u32 = 500;
const EVENTS_PER_SECOND: u64 = 5_000;
/// As many as fit into what is sent to one peer at a time.
const RECORDS: usize = 64;
const START: u64 = 1_700_000_000_000;

fn main() {
    let definition = definition();
    let mut agent = agent(&definition);
    let mut news = Vec::new();
    for last in [
        TaskStatus::Provisioning,
        TaskStatus::Pending,
        TaskStatus::Activating,
        TaskStatus::Running,
        TaskStatus::Stopped,
    ] {
        for service in 0..SERVICES {
            let one = |index| task(&definition, service, index, last);
            news.extend((0..COPIES).map(one));
        }
    }
    let (mut told, mut steps, mut fx) = (0, Vec::new(), Effects::new());
    let pause_us = RECORDS as u64 * 1_000_000 / EVENTS_PER_SECOND;
    let mut at_us = 10_000_000;
    for records in news.chunks(RECORDS) {
        let until = at_us + pause_us;
        // What the agent has to do beside it, as it is woken for it.
        while let Some(wake) = agent.deadline().filter(|wake| wake.0 <= until) {
            at_us = at_us.max(wake.0);
            told += step(&mut agent, at_us, Input::Wake, &mut fx, &mut steps);
        }
        at_us = until;
        let from = host(1);
        let input = Input::Message {
            from,
            address: address(1),
            via: Via::Stream,
            message: Message::Records(records.to_vec()),
        };
        told += step(&mut agent, at_us, input, &mut fx, &mut steps);
    }
    let all: Duration = steps.iter().sum();
    steps.sort_unstable();
    let at = |part: usize| steps[(steps.len() - 1) * part / 1_000];
    println!(
        "{HOSTS} hosts, {} tasks, {told} events in {} steps",
        SERVICES * 500,
        steps.len()
    );
    println!(
        "{:.1} us an event, {:.1} % of a core at {EVENTS_PER_SECOND} a second; a step: median \
         {:?}, 99.9 % within {:?}, at most {:?}",
        all.as_secs_f64() * 1e6 / f64::from(told),
        all.as_secs_f64() * 100.0 * EVENTS_PER_SECOND as f64 / f64::from(told),
        at(500),
        at(999),
        at(1_000),
    );
}

/// How many events it tells.
fn step(
    agent: &mut Agent,
    at_us: u64,
    input: Input,
    fx: &mut Effects,
    steps: &mut Vec<Duration>,
) -> u32 {
    let began = Instant::now();
    agent.step(now(at_us), input, fx);
    steps.push(began.elapsed());
    let events = fx
        .drain()
        .filter(|effect| matches!(effect, Effect::Emit(_)));
    events.count() as u32
}

const fn now(at_us: u64) -> Now {
    Now {
        mono: Mono(at_us),
        wall: Wall(START + at_us / 1_000),
    }
}

const fn host(number: u64) -> HostId {
    HostId((mix(number + 1) as u128) << 64)
}

fn address(number: u64) -> SocketAddr {
    let [.., a, b] = number.to_be_bytes();
    SocketAddr::from(([10, 0, a, b], 7_946))
}

fn definition() -> TaskDefinition {
    let container = Container {
        name: "main".to_owned(),
        image: "web:1".to_owned(),
        cpu: 64,
        memory_mib: 64,
        essential: true,
        ..Container::default()
    };
    TaskDefinition {
        family: "web".to_owned(),
        containers: vec![container],
        ..TaskDefinition::default()
    }
}

fn revision(definition: &TaskDefinition) -> ServiceRevision {
    ServiceRevision {
        definition: definition.digest(),
        family: "web".to_owned(),
        revision: 1,
        renewals: 0,
    }
}

fn record(key: Key, epoch: u64, author: HostId, wall: u64, body: Body) -> Arc<Record> {
    let stamp = Stamp {
        wall: Wall(wall),
        counter: 0,
        author,
    };
    Record::new(key, Version { epoch, stamp }, Some(body))
}

/// An agent that has been there for a while, and knows all hosts and slots.
fn agent(definition: &TaskDefinition) -> Agent {
    let mut records = Vec::new();
    let body = Body::Definition(definition.clone());
    records.push(record(
        Key::Definition(definition.digest()),
        0,
        host(1),
        START,
        body,
    ));
    records.extend((1..HOSTS).map(host_record));
    for service in 0..SERVICES {
        records.extend(service_records(definition, service));
    }
    let config = AgentConfig {
        host: host(0),
        incarnation: START,
        cluster: "bench".to_owned(),
        name: "h0".to_owned(),
        address: address(0),
        seeds: vec![],
        seeds_expected: false,
        dynamic_ports: None,
        zone: None,
        attributes: BTreeMap::new(),
        capacity: Capacity::default(),
        gpus: vec![],
        fingerprint: 1,
        keys: Default::default(),
        agent_version: String::new(),
        timings: Timings::default(),
    };
    let mut fx = Effects::new();
    let mut agent = Agent::resume(config, Board::from_records(records), 1, now(0), &mut fx);
    fx.drain().for_each(drop);
    for second in 1..10 {
        agent.step(now(second * 1_000_000), Input::Wake, &mut fx);
        fx.drain().for_each(drop);
    }
    assert!(agent.is_caught_up());
    agent
}

fn host_record(number: u64) -> Arc<Record> {
    let report = HostReport {
        name: format!("h{number}").into(),
        address: address(number),
        zone: None,
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
        fingerprint: number,
        keys: Default::default(),
        agent_version: Box::default(),
        registered_at: Wall(START),
        started_at: Wall(START),
    };
    let (key, body) = (Key::Host(host(number)), Body::Host(report));
    record(key, START, host(number), START, body)
}

fn service_id(service: u64) -> ServiceId {
    ServiceId(u128::from(mix(service)) << 64)
}

fn host_of(service: u64, index: SlotIndex) -> HostId {
    host(1 + (service * u64::from(COPIES) + u64::from(index)) % (HOSTS - 1))
}

fn service_records(definition: &TaskDefinition, service: u64) -> Vec<Arc<Record>> {
    let (id, revision) = (service_id(service), revision(definition));
    let settings = ServiceSettings {
        name: format!("web-{service}"),
        created_at: Wall(START),
        client_token: String::new(),
        options: ServiceOptions::default(),
    };
    let count = ServiceCount { desired: COPIES };
    let put = |key, epoch, body| record(key, epoch, host(1), START, body);
    let mut records = vec![
        put(Key::ServiceSettings(id), 0, Body::ServiceSettings(settings)),
        put(Key::ServiceCount(id), 0, Body::ServiceCount(count)),
        put(
            Key::ServiceRevision(id),
            0,
            Body::ServiceRevision(revision.clone()),
        ),
    ];
    records.extend((0..COPIES).map(|index| {
        let slot = Slot {
            host: Some(host_of(service, index)),
            revision: revision.clone(),
            adopted: None,
            superseded: vec![],
            order: HandOver::StartFirst,
            failures: 0,
            tried: 0,
            end: None,
            reason: "first placement".to_owned(),
        };
        put(Key::Slot(id, index), 1, Body::Slot(slot))
    }));
    records
}

fn task(
    definition: &TaskDefinition,
    service: u64,
    index: SlotIndex,
    last: TaskStatus,
) -> Arc<Record> {
    let on = host_of(service, index);
    let label = SlotLabel {
        service: service_id(service),
        service_name: format!("web-{service}").into(),
        index,
        generation: 1,
    };
    let mut report = TaskReport::begin(revision(definition), Some(label), Wall(START));
    report.last = last;
    report.ready = last == TaskStatus::Running;
    if last == TaskStatus::Stopped {
        report.desired = last;
        report.stopped_reason = "essential container main exited with 1".into();
        report.stopped_at = Some(Wall(START + 10_000));
    }
    let task = TaskId(on.0 | u128::from(service) << 32 | u128::from(index));
    let wall = START + 1 + last as u64;
    record(Key::Task(on, task), START, on, wall, Body::Task(report))
}
