//! A board made by hand, for the tests of the answers and of the servers.

use crate::api::{self, Operation, Plan, context::ApiContext, error::ApiError, view::View};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{
            Body, Capacity, ContainerReport, ContainerStatus, HostReport, HostStatus, Key, Label,
            LabelStanding, RuntimeStatus, ServiceCount, ServiceRevision, ServiceSettings, Slot,
            Standing, TaskReport, Verdict,
        },
        record::{Record, Stamp, Version},
    },
    event::HostStanding,
    ids::{Digest, GpuId, HostId, ServiceId, TaskId},
    spec::{
        options::{HandOver, ServiceOptions},
        parse_task_definition,
        task_definition::Protocol,
    },
    task::{
        runtime::{PortBinding, SlotLabel},
        status::{Health, TaskStatus},
    },
    time::Wall,
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) const A: HostId = HostId(0xaaaa_aaaa << 96);
pub(crate) const B: HostId = HostId(0xbbbb_bbbb << 96);
pub(crate) const WEB: ServiceId = ServiceId(0x5e << 120);
/// 2026-11-23T00:00:00.500Z
pub(crate) const T0: Wall = Wall(1_795_392_000_500);

pub(crate) fn context() -> ApiContext {
    ApiContext {
        region: "eu-central-1".to_owned(),
        account: "000000000000".to_owned(),
        cluster: "shop".to_owned(),
        namespace: None,
        is_named: false,
    }
}

pub(crate) fn record(key: Key, epoch: u64, body: Option<Body>) -> Arc<Record> {
    let stamp = Stamp {
        wall: Wall(T0.0 + epoch),
        counter: 0,
        author: A,
    };
    Record::new(key, Version { epoch, stamp }, body)
}

pub(crate) fn task_id(number: u128) -> TaskId {
    TaskId((0xaaaa_aaaa << 96) | number)
}

pub(crate) fn host(name: &str, last: u8) -> HostReport {
    HostReport {
        name: name.into(),
        address: ([10, 0, 0, last], 7_946).into(),
        zone: Some("eu-central-1a".into()),
        attributes: Box::new([("disk".to_owned(), "ssd".to_owned())]),
        capacity: Capacity {
            cpu: 2_048,
            memory_mib: 4_096,
            gpus: 0,
        },
        gpus: Box::default(),
        status: HostStatus::Active,
        caught_up: true,
        runtime: RuntimeStatus::Available {
            version: "28.0.1".into(),
        },
        fingerprint: 7,
        keys: Default::default(),
        agent_version: "0.1.0".into(),
        registered_at: T0,
        started_at: T0,
    }
}

pub(crate) fn definition() -> Value {
    json!({
        "family": "web",
        "containerDefinitions": [{
            "name": "nginx",
            "image": "nginx:1.27",
            "cpu": 256,
            "memory": 128,
            "portMappings": [{"containerPort": 80, "hostPort": 8080}],
            "environment": [{"name": "TOKEN", "value": "secret"}],
        }],
    })
}

pub(crate) fn digest() -> Digest {
    parse_task_definition(&definition()).unwrap().digest()
}

pub(crate) fn revision() -> ServiceRevision {
    ServiceRevision {
        definition: digest(),
        family: "web".to_owned(),
        revision: 1,
        renewals: 0,
    }
}

/// The service is to be `web:2` from now on, which is of [`NEWER`].
pub(crate) fn deploy_newer(board: &mut Board) {
    let newer = ServiceRevision {
        definition: NEWER,
        revision: 2,
        ..revision()
    };
    let key = Key::ServiceRevision(WEB);
    put(board, key, 4, Body::ServiceRevision(newer));
}

pub(crate) const NEWER: Digest = Digest([7; 32]);

pub(crate) fn task(slot: u32, last: TaskStatus) -> TaskReport {
    TaskReport {
        definition: digest(),
        family: "web".into(),
        revision: 1,
        renewals: 0,
        values: Box::default(),
        slot: Some(SlotLabel {
            service: WEB,
            service_name: "web".into(),
            index: slot,
            generation: 1,
        }),
        desired: TaskStatus::Running,
        last,
        health: Health::Unknown,
        ready: true,
        stop_code: None,
        stopped_reason: Box::default(),
        refused: false,
        replaced: false,
        protected_until: None,
        created_at: T0,
        started_at: (last >= TaskStatus::Running).then_some(Wall(T0.0 + 1_000)),
        stopping_at: None,
        stopped_at: None,
        containers: Box::new([ContainerReport {
            name: "nginx".into(),
            runtime_id: format!("{slot:x}c0ffee0123456789{:047}", 0).parse().ok(),
            status: match last {
                TaskStatus::Running => ContainerStatus::Running,
                TaskStatus::Stopped => ContainerStatus::Stopped,
                _ => ContainerStatus::Pending,
            },
            exit_code: None,
            reason: Box::default(),
            ports: Box::new([PortBinding {
                container_port: 80,
                host_port: 8_080,
                protocol: Protocol::Tcp,
            }]),
            health: Health::Unknown,
            restarts: 0,
            image: None,
            gpus: Box::default(),
        }]),
    }
}

pub(crate) fn slot(host: Option<HostId>, reason: &str) -> Slot {
    Slot {
        host,
        revision: revision(),
        adopted: None,
        superseded: Vec::new(),
        order: HandOver::StartFirst,
        failures: 0,
        tried: 0,
        end: None,
        reason: reason.to_owned(),
    }
}

/// Two hosts; the service `web` of three: one runs on A, one is pending on B, one has no host.
pub(crate) fn records() -> Vec<Arc<Record>> {
    let label = Key::Label {
        family: "web".to_owned(),
        revision: 1,
    };
    let definition = parse_task_definition(&definition()).unwrap();
    let settings = ServiceSettings {
        name: "web".to_owned(),
        created_at: T0,
        client_token: String::new(),
        options: ServiceOptions::default(),
    };
    let waits = "no host can run it: of 2 hosts 2 refused by port (8080/tcp is taken)";
    [
        (Key::Host(A), 1, Body::Host(host("alpha", 1))),
        (Key::Host(B), 1, Body::Host(host("beta", 2))),
        (Key::Definition(digest()), 0, Body::Definition(definition)),
        (
            label,
            0,
            Body::Label(Label {
                definition: digest(),
                registered_at: T0,
                standing: LabelStanding::Active,
            }),
        ),
        (
            Key::ServiceSettings(WEB),
            0,
            Body::ServiceSettings(settings),
        ),
        (
            Key::ServiceCount(WEB),
            0,
            Body::ServiceCount(ServiceCount { desired: 3 }),
        ),
        (
            Key::ServiceRevision(WEB),
            0,
            Body::ServiceRevision(revision()),
        ),
        (
            Key::Slot(WEB, 0),
            1,
            Body::Slot(slot(Some(A), "spread: fewest tasks")),
        ),
        (
            Key::Slot(WEB, 1),
            1,
            Body::Slot(slot(Some(B), "spread: fewest tasks")),
        ),
        (Key::Slot(WEB, 2), 1, Body::Slot(slot(None, waits))),
        (
            Key::Task(A, task_id(1)),
            1,
            Body::Task(task(0, TaskStatus::Running)),
        ),
        (
            Key::Task(B, task_id(2)),
            1,
            Body::Task(task(1, TaskStatus::Pending)),
        ),
    ]
    .into_iter()
    .map(|(key, epoch, body)| record(key, epoch, Some(body)))
    .collect()
}

pub(crate) fn board() -> Board {
    let mut board = Board::default();
    records().iter().for_each(|record| {
        board.merge(record);
    });
    board
}

pub(crate) fn put(board: &mut Board, key: Key, epoch: u64, body: Body) {
    board.merge(&record(key, epoch, Some(body)));
}

pub(crate) fn condemn(board: &mut Board, host: HostId) {
    let verdict = Verdict {
        standing: Standing::Down,
        votes: vec![A],
        silent_ms: 2_000,
    };
    put(board, Key::Verdict(host), 1, Body::Verdict(verdict));
}

/// A has two GPUs, and its task has one of them.
pub(crate) fn equip(board: &mut Board) {
    let gpus = ["GPU-a", "GPU-b"].map(|id| id.parse::<GpuId>().unwrap());
    let mut report = host("alpha", 1);
    report.capacity.gpus = 2;
    report.gpus = gpus.clone().into();
    put(board, Key::Host(A), 2, Body::Host(report));
    let mut task = task(0, TaskStatus::Running);
    task.containers[0].gpus = [gpus[0].clone()].into();
    put(board, Key::Task(A, task_id(1)), 2, Body::Task(task));
}

/// Its agent has been started again, and has said nothing of its tasks yet.
pub(crate) fn begin_anew(board: &mut Board, host: HostId) {
    let (incarnation, report) = board.host(host).unwrap();
    let report = Body::Host(report.clone());
    put(board, Key::Host(host), incarnation + 1, report);
}

pub(crate) fn bury_service(board: &mut Board) {
    for key in [
        Key::ServiceSettings(WEB),
        Key::ServiceCount(WEB),
        Key::ServiceRevision(WEB),
    ] {
        board.merge(&record(key, 1, None));
    }
}

pub(crate) fn with_view<T>(board: &Board, look: impl FnOnce(&View<'_>) -> T) -> T {
    let context = context();
    let view = View {
        board,
        context: &context,
        me: A,
        caught_up: true,
        standing: &|_| HostStanding::Up,
        keeper: &|_| Some(A),
        better_placed: &|_| None,
        seen: &Default::default(),
        remembered: &Default::default(),
    };
    look(&view)
}

/// What a request is answered, or what command it becomes, as text.
pub(crate) fn call(board: &Board, operation: Operation, body: &Value) -> String {
    match with_view(board, |view| api::plan(view, operation, body)) {
        Ok(Plan::Answer(value)) => pretty(&value),
        Ok(Plan::Written { json, .. }) => pretty(&serde_json::from_slice(&json).unwrap()),
        Ok(Plan::Write {
            command,
            prepared,
            failures,
        }) => {
            let mut told = format!("{command:#?}");
            let parts = [prepared, (!failures.is_empty()).then(|| json!(failures))];
            for value in parts.into_iter().flatten() {
                told += &format!("\n{}", pretty(&value));
            }
            told
        }
        Err(err) => error_text(&err),
    }
}

pub(crate) fn error_text(err: &ApiError) -> String {
    format!("{}: {err}", err.kind())
}

pub(crate) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}
