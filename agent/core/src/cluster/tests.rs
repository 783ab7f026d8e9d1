//! What the board's tests share: records of all kinds, generated so that many are about one thing.

mod board;
mod membership;
mod message;
mod outbox;
mod repair;

use super::{
    body::{
        Availability, Body, Capacity, ClusterKey, ContainerReport, ContainerStatus, Directive,
        Electorate, HostReport, HostStatus, Key, KeyInUse, Label, LabelStanding, Pins, Placement,
        Protection, RuntimeStatus, ServiceCount, ServiceRevision, ServiceSettings, Slot, Standing,
        StopOrder, TaskReport, Verdict,
    },
    namespace::Namespace,
    record::{Record, Stamp, Version},
    run::Run,
    schedule::{Overlap, Schedule, Tick, Ticked, Ticks},
    tag::{Subject, Tag},
    values::{ConfigText, Opaque, Sealed, SealedSecret, Setting},
};
use crate::{
    ids::{Digest, HostId, ImageDigest, KeyId, RuntimeId, Secret, ServiceId, TaskId},
    rng::Rng,
    spec::{
        options::{HandOver, ServiceOptions},
        run::RunOptions,
        task_definition::{Protocol, TaskDefinition},
        timetable::{Timetable, UTC},
    },
    task::{
        runtime::{PortBinding, SlotLabel},
        status::{Health, TaskStatus},
    },
    time::Wall,
};
use std::sync::Arc;

const SEEDS: u64 = 200;
const NAMES: [&str; 2] = ["api", "web"];

/// Tells one story with many seeds. The last one printed is the one that failed.
fn with_seeds(story: impl Fn(&mut Rng)) {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        story(&mut Rng::new(seed));
    }
}

fn host_id(number: u64) -> HostId {
    HostId(u128::from(number + 1) << 96)
}

/// Few keys and few versions, so that records meet one another.
fn generated(rng: &mut Rng) -> Arc<Record> {
    let key = generated_key(rng);
    let version = Version {
        epoch: rng.below(2),
        stamp: Stamp {
            wall: Wall(rng.below(4)),
            counter: rng.below(2) as u32,
            author: host_id(rng.below(3)),
        },
    };
    // One version of one record has one body, or it would not be one version.
    let bare = Record::new(key.clone(), version, None);
    let mut rng = Rng::new(bare.hash());
    let body = (rng.below(4) > 0).then(|| generated_body(&key, &mut rng));
    Record::new(key, version, body)
}

fn generated_records(rng: &mut Rng, most: u64) -> Vec<Arc<Record>> {
    (0..rng.below(most + 1)).map(|_| generated(rng)).collect()
}

fn generated_key(rng: &mut Rng) -> Key {
    let service = ServiceId(u128::from(rng.below(4)));
    let host = host_id(rng.below(3));
    let task = TaskId(host.0 | u128::from(rng.below(3)));
    match rng.below(21) {
        0 => Key::Definition(Digest([rng.below(3) as u8; 32])),
        1 => Key::Label {
            family: NAMES[rng.below(2) as usize].to_owned(),
            revision: rng.below(3) as u32,
        },
        2 => Key::ServiceCount(service),
        3 => Key::ServiceRevision(service),
        4 => Key::ServiceSettings(service),
        5 => Key::Host(host),
        6 => Key::Task(host, task),
        7 => Key::StopOrder(task),
        8 => Key::Verdict(host),
        9 => Key::Slot(service, rng.below(3) as u32),
        10 => Key::Directive(host),
        11 => Key::Pins(service),
        // Its id is no service's.
        12 => Key::Run(ServiceId(100 + service.0)),
        13 => Key::Secret(NAMES[rng.below(2) as usize].to_owned()),
        14 => Key::Config(NAMES[rng.below(2) as usize].to_owned()),
        15 => Key::Protection(task),
        16 => Key::Schedule(NAMES[rng.below(2) as usize].to_owned()),
        17 => Key::Ticks(NAMES[rng.below(2) as usize].to_owned()),
        18 => Key::Cluster(NAMES[rng.below(2) as usize].to_owned()),
        19 => Key::Tag(
            generated_subject(rng),
            NAMES[rng.below(2) as usize].to_owned(),
        ),
        _ => Key::Unknown {
            kind: 200,
            key: vec![rng.below(3) as u8],
        },
    }
}

fn generated_subject(rng: &mut Rng) -> Subject {
    let host = host_id(rng.below(3));
    match rng.below(6) {
        0 => Subject::Service(ServiceId(u128::from(rng.below(4)))),
        1 => Subject::Definition(Digest([rng.below(3) as u8; 32]), rng.below(3) as u32),
        2 => Subject::Task(TaskId(host.0 | u128::from(rng.below(3)))),
        3 => Subject::Cluster(NAMES[rng.below(2) as usize].to_owned()),
        4 => Subject::Host(host),
        _ => Subject::Attributes(host),
    }
}

const STANDINGS: [LabelStanding; 3] = [
    LabelStanding::Active,
    LabelStanding::Inactive(Wall(9)),
    LabelStanding::Deleted(Wall(9)),
];

fn generated_body(key: &Key, rng: &mut Rng) -> Body {
    let name = NAMES[rng.below(2) as usize].to_owned();
    let definition = Digest([rng.below(3) as u8; 32]);
    match key {
        Key::Definition(_) => Body::Definition(TaskDefinition {
            family: name,
            ..TaskDefinition::default()
        }),
        Key::Label { .. } => Body::Label(Label {
            definition,
            registered_at: Wall(rng.below(9)),
            standing: STANDINGS[rng.below(3) as usize],
        }),
        Key::ServiceCount(_) => Body::ServiceCount(ServiceCount {
            desired: rng.below(9) as u32,
        }),
        Key::ServiceRevision(_) => Body::ServiceRevision(revision(definition, &name)),
        Key::ServiceSettings(_) => Body::ServiceSettings(ServiceSettings {
            name,
            created_at: Wall(rng.below(3)),
            client_token: String::new(),
            options: ServiceOptions::default(),
        }),
        Key::Pins(_) => Body::Pins(Pins {
            definition,
            renewals: rng.below(2) as u32,
            images: [(name.into(), ImageDigest([rng.below(3) as u8; 32]))].into(),
        }),
        Key::Run(id) => Body::Run(run_of(rng, *id, revision(definition, &name))),
        Key::Host(_) => Body::Host(host_report(&name)),
        Key::Task(..) => Body::Task(task_report(rng)),
        Key::StopOrder(_) => Body::StopOrder(StopOrder { reason: name }),
        Key::Protection(_) => Body::Protection(Protection {
            until: (rng.below(2) == 0).then_some(Wall(rng.below(9))),
        }),
        Key::Verdict(_) => Body::Verdict(Verdict {
            standing: [Standing::Suspect, Standing::Down][rng.below(2) as usize],
            votes: vec![host_id(rng.below(3))],
            silent_ms: rng.below(5_000),
        }),
        Key::Slot(..) => Body::Slot(slot(rng, revision(definition, &name), name)),
        Key::Directive(_) => Body::Directive(Directive {
            availability: Availability::Drain,
        }),
        Key::Electorate => Body::Electorate(Electorate {
            hosts: vec![host_id(rng.below(3))],
            before: Vec::new(),
        }),
        Key::ClusterKey(_) => Body::ClusterKey(ClusterKey {
            secret: Secret([rng.below(3) as u8; 32]),
        }),
        Key::KeyInUse => Body::KeyInUse(KeyInUse {
            key: KeyId([rng.below(3) as u8; 4]),
        }),
        other => generated_word(other, rng, name),
    }
}

/// What people said of something by its name.
fn generated_word(key: &Key, rng: &mut Rng, name: String) -> Body {
    match key {
        Key::Secret(_) => Body::Secret(sealed_secret(rng)),
        Key::Config(_) => Body::Config(ConfigText {
            text: Opaque::from(name.into_bytes()),
            set: setting(rng),
        }),
        Key::Cluster(_) => Body::Cluster(Namespace {
            created_at: Wall(rng.below(9)),
        }),
        Key::Tag(..) => Body::Tag(Tag {
            value: name,
            over: (rng.below(2) == 0).then(Stamp::default),
        }),
        Key::Schedule(_) => Body::Schedule(schedule(rng, name)),
        Key::Ticks(_) => Body::Ticks(Ticks {
            through: Wall(rng.below(9)),
            last: vec![Tick {
                at: Wall(rng.below(9)),
                what: Ticked::Begun(ServiceId(u128::from(rng.below(9)))),
            }],
        }),
        Key::Unknown { .. } => Body::Unknown(vec![rng.below(256) as u8; 3]),
        other => unreachable!("{other} is no word of people"),
    }
}

fn schedule(rng: &mut Rng, run: String) -> Schedule {
    Schedule {
        timetable: Timetable::new("rate(1 minute)", UTC).expect("it is written here"),
        run,
        overlap: Overlap::ALL[rng.below(3) as usize],
        deadline_s: rng.below(9) as u32,
        enabled: rng.below(2) == 0,
        created_at: Wall(rng.below(9)),
        since: Wall(rng.below(9)),
    }
}

fn run_of(rng: &mut Rng, id: ServiceId, revision: ServiceRevision) -> Run {
    let overridden = TaskDefinition {
        family: revision.family.clone(),
        ..TaskDefinition::default()
    };
    let overridden = (rng.below(2) == 0).then(|| Box::new(overridden));
    Run {
        settings: ServiceSettings {
            name: "run/1".to_owned(),
            created_at: Wall(rng.below(3)),
            client_token: String::new(),
            options: ServiceOptions::default(),
        },
        revision,
        overridden,
        tasks: (0..rng.below(3))
            .map(|low| TaskId(id.0 << 32 | u128::from(low)))
            .collect(),
        options: RunOptions::default(),
        group: String::new(),
        started_by: String::new(),
        overrides: String::new(),
        hosts: (0..rng.below(2)).map(host_id).collect(),
    }
}

fn slot(rng: &mut Rng, revision: ServiceRevision, reason: String) -> Slot {
    Slot {
        host: (rng.below(2) == 0).then(|| host_id(rng.below(3))),
        revision,
        adopted: None,
        superseded: vec![Placement {
            host: host_id(rng.below(3)),
            task: TaskId(7),
        }],
        order: HandOver::StartFirst,
        failures: rng.below(3) as u32,
        tried: 0,
        end: None,
        reason,
    }
}

fn sealed_secret(rng: &mut Rng) -> SealedSecret {
    SealedSecret {
        sealed: Sealed {
            key: KeyId([rng.below(3) as u8; 4]),
            bytes: Opaque::from(vec![rng.below(256) as u8; 40]),
        },
        size: 0,
        set: setting(rng),
    }
}

fn setting(rng: &mut Rng) -> Setting {
    Setting {
        number: rng.below(3) as u32,
        by: "ann".into(),
        valid_since: rng.below(9),
    }
}

fn revision(definition: Digest, family: &str) -> ServiceRevision {
    ServiceRevision {
        definition,
        family: family.to_owned(),
        revision: 1,
        renewals: 0,
    }
}

fn host_report(name: &str) -> HostReport {
    HostReport {
        name: name.into(),
        address: "10.0.0.1:7400".parse().expect("it is an address"),
        zone: Some("a".into()),
        attributes: Box::new([("disk".to_owned(), "ssd".to_owned())]),
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
        fingerprint: 7,
        keys: Default::default(),
        agent_version: "0.1.0".into(),
        registered_at: Wall(1),
        started_at: Wall(1),
    }
}

fn task_report(rng: &mut Rng) -> TaskReport {
    let slot = SlotLabel {
        service: ServiceId(u128::from(rng.below(4))),
        service_name: "web".into(),
        index: rng.below(3) as u32,
        generation: rng.below(3),
    };
    TaskReport {
        definition: Digest([1; 32]),
        family: "web".into(),
        revision: 1,
        renewals: 0,
        values: Box::default(),
        slot: (rng.below(4) > 0).then_some(slot),
        desired: TaskStatus::Running,
        last: TaskStatus::Running,
        health: Health::Unknown,
        ready: true,
        stop_code: None,
        stopped_reason: Box::default(),
        refused: false,
        replaced: rng.below(2) == 0,
        protected_until: (rng.below(4) == 0).then_some(Wall(9)),
        created_at: Wall(1),
        started_at: Some(Wall(2)),
        stopping_at: None,
        stopped_at: None,
        containers: Box::new([ContainerReport {
            name: "nginx".into(),
            runtime_id: Some(RuntimeId([0xc0; 32])),
            status: ContainerStatus::Running,
            exit_code: Some(137),
            reason: "said".into(),
            ports: Box::new([PortBinding {
                container_port: 80,
                host_port: 8_080,
                protocol: Protocol::Tcp,
            }]),
            health: Health::Healthy,
            restarts: 3,
            image: None,
            gpus: Box::default(),
        }]),
    }
}
