//! A whole agent, told what others say: what it takes, keeps and passes on, and what it refuses.

mod definitions;
mod hosts;
mod joining;
mod outward;
mod protecting;
mod pulling;
mod services;
mod spreading;
mod tagging;
mod ticks;
mod values;

use super::{Agent, AgentConfig, Timings};
use crate::{
    cluster::{
        board::Board,
        body::{
            Body, Capacity, HostReport, HostStatus, Key, RuntimeStatus, Standing, StopOrder,
            Verdict,
        },
        message::{Message, Via},
        record::{Record, Stamp, Version},
    },
    command::{Command, CommandId, Outcome, Refusal},
    effect::{Effect, Effects},
    event::Happening,
    ids::{HostId, TaskId},
    input::Input,
    limits,
    time::{Mono, Now, Span, Wall},
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

const ME: HostId = HostId(1 << 96);
const PEER: HostId = HostId(2 << 96);
const OTHER: HostId = HostId(3 << 96);
const NOW: Now = Now {
    mono: Mono(60_000_000),
    wall: Wall(1_700_000_000_000),
};

fn address(host: HostId) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, (host.0 >> 96) as u8], 7_400))
}

fn version(wall: Wall) -> Version {
    let stamp = Stamp {
        wall,
        counter: 0,
        author: OTHER,
    };
    Version { epoch: 1, stamp }
}

fn host(host: HostId) -> Arc<Record> {
    let report = HostReport {
        name: "peer".into(),
        address: address(host),
        zone: None,
        attributes: Box::default(),
        capacity: Capacity::default(),
        gpus: Box::default(),
        status: HostStatus::Active,
        caught_up: true,
        runtime: RuntimeStatus::Available {
            version: "28".into(),
        },
        fingerprint: 2,
        keys: Default::default(),
        agent_version: Box::default(),
        registered_at: NOW.wall,
        started_at: NOW.wall,
    };
    Record::new(Key::Host(host), version(NOW.wall), Some(Body::Host(report)))
}

fn order(wall: Wall) -> Arc<Record> {
    let reason = "by hand".to_owned();
    let body = Body::StopOrder(StopOrder { reason });
    let version = Version {
        epoch: 0,
        ..version(wall)
    };
    Record::new(Key::StopOrder(TaskId(7)), version, Some(body))
}

fn config() -> AgentConfig {
    AgentConfig {
        host: ME,
        incarnation: 1,
        cluster: "test".to_owned(),
        name: "me".to_owned(),
        address: address(ME),
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
    }
}

/// An agent that has started alone, and then heard of two peers.
fn agent() -> Agent {
    let mut fx = Effects::new();
    let mut agent = Agent::resume(config(), Board::default(), 1, NOW, &mut fx);
    fx.drain().for_each(drop);
    tell(&mut agent, vec![host(PEER), host(OTHER)]);
    agent
}

fn command(agent: &mut Agent, command: Command) -> Result<Outcome, Refusal> {
    let mut fx = Effects::new();
    let id = CommandId(1);
    agent.step(NOW, Input::Command { id, command }, &mut fx);
    let told = fx.drain().find_map(|effect| match effect {
        Effect::Reply { result, .. } => Some(result),
        _ => None,
    });
    told.expect("it is answered")
}

fn tell(agent: &mut Agent, records: Vec<Arc<Record>>) -> Vec<Effect> {
    tell_at(NOW, agent, records)
}

fn tell_at(now: Now, agent: &mut Agent, records: Vec<Arc<Record>>) -> Vec<Effect> {
    let mut fx = Effects::new();
    let message = Message::Records(records);
    let (from, address) = (PEER, address(PEER));
    agent.step(
        now,
        Input::Message {
            from,
            address,
            via: Via::Datagram,
            message,
        },
        &mut fx,
    );
    fx.drain().collect()
}

/// What the agent does when it is woken so much later.
fn wait(agent: &mut Agent, span: Span) -> Vec<Effect> {
    let mut fx = Effects::new();
    let mono = NOW.mono + span;
    agent.step(Now { mono, ..NOW }, Input::Wake, &mut fx);
    fx.drain().collect()
}

/// Whom the record was sent on to, and whether it went to the disk.
fn passed_on(effects: &[Effect], record: &Arc<Record>) -> (Vec<HostId>, bool) {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(send) => match &send.message {
            Message::Records(records) if records.contains(record) => send.host,
            _ => None,
        },
        _ => None,
    });
    let saved = effects.iter().any(|effect| match effect {
        Effect::Persist(records) | Effect::Remember(records) => records.contains(record),
        _ => false,
    });
    (sent.collect(), saved)
}

#[test]
fn a_stamp_from_the_future_is_refused_and_one_just_before_it_is_taken() {
    let mut agent = agent();
    let limit = NOW.wall.0 + limits::STAMP_AHEAD_MS_MAX;
    let future = order(Wall(limit + 1));
    let root = agent.board().root();
    let effects = tell(&mut agent, vec![future.clone()]);
    assert_eq!(passed_on(&effects, &future), (vec![], false));
    assert_eq!(agent.board().root(), root, "the board is as before");
    assert_eq!(
        clock_events(&effects),
        [(OTHER, true)],
        "people are told, and who sent it"
    );
    let again = tell(&mut agent, vec![future.clone()]);
    assert_eq!(clock_events(&again), [], "not for every record");

    let just = order(Wall(limit));
    let (_, saved) = passed_on(&tell(&mut agent, vec![just.clone()]), &just);
    assert!(saved);
    assert_eq!(agent.board().record(&just.key), Some(&just));
}

/// Of whose clock people were told, and whether a peer was, too.
fn clock_events(effects: &[Effect]) -> Vec<(HostId, bool)> {
    let is_told = |effect: &Effect| match effect {
        Effect::Send(send) => matches!(send.message, Message::Clock { .. }),
        _ => false,
    };
    let peer_is_told = effects.iter().any(is_told);
    let events = effects.iter().filter_map(|effect| match effect {
        Effect::Emit(event) => match &event.what {
            Happening::Host(change) if change.reason.contains("clock") => {
                Some((change.host, peer_is_told))
            }
            _ => None,
        },
        _ => None,
    });
    events.collect()
}

#[test]
fn a_clock_that_differs_from_most_is_told_of_followed_and_left_when_it_is_right_again() {
    let mut agent = agent();
    let mut hear = |now: Now, from: HostId, wall: Wall| {
        let mut fx = Effects::new();
        let (address, message) = (address(from), Message::Clock { wall });
        let input = Input::Message {
            from,
            address,
            via: Via::Datagram,
            message,
        };
        agent.step(now, input, &mut fx);
        let told = clock_events(&fx.drain().collect::<Vec<_>>());
        let caught_up = agent.me().1.map(|report| report.caught_up);
        (told, agent.clock_trouble().is_some(), caught_up)
    };
    let right = Wall(NOW.wall.0 - 3_600_000);
    hear(NOW, OTHER, right);
    let (_, is_wrong, caught_up) = hear(NOW, PEER, right);
    assert_eq!((is_wrong, caught_up), (true, Some(false)));
    // It is set right.
    let mended = Now { wall: right, ..NOW };
    let (told, is_wrong, _) = hear(mended, PEER, right);
    assert_eq!((told, is_wrong), (vec![(ME, false)], false));
    // One that is behind alone is the one that is wrong.
    hear(mended, OTHER, right);
    let (told, is_wrong, _) = hear(mended, PEER, Wall(right.0 - 3_600_000));
    // It was answered a moment ago.
    assert_eq!((told, is_wrong), (vec![(PEER, false)], false));
}

#[test]
fn a_record_of_a_later_kind_is_kept_saved_and_passed_on_as_it_came() {
    let mut agent = agent();
    let author = PEER;
    let stamp = Stamp {
        wall: NOW.wall,
        counter: 9,
        author,
    };
    let wire = (200_u8, [1_u8, 2].as_slice(), Version { epoch: 1, stamp });
    let body = (Some([0xff_u8; 9].as_slice()), [0xaa_u8; 64].as_slice());
    let bytes = postcard::to_allocvec(&(wire, body)).expect("it encodes");
    let record = Record::decode(&bytes).expect("it is a record");
    let mut effects = tell(&mut agent, vec![record.clone()]);
    effects.extend(wait(&mut agent, Span::from_ms(10)));
    assert_eq!(
        passed_on(&effects, &record),
        (vec![OTHER], true),
        "not to whom it came from"
    );
    let kept = agent.board().record(&record.key).expect("it is kept");
    assert_eq!(kept.encode(), bytes);
}

#[test]
fn what_is_told_twice_is_passed_on_once() {
    let mut agent = agent();
    // Its author and its teller know it already.
    let record = {
        let stamp = Stamp {
            wall: NOW.wall,
            counter: 0,
            author: PEER,
        };
        let reason = "by hand".to_owned();
        let body = Some(Body::StopOrder(StopOrder { reason }));
        Record::new(Key::StopOrder(TaskId(8)), Version { epoch: 0, stamp }, body)
    };
    let first = tell(&mut agent, vec![record.clone()]);
    assert_eq!(passed_on(&first, &record), (vec![OTHER], true));
    let second = tell(&mut agent, vec![record.clone()]);
    assert_eq!(passed_on(&second, &record), (vec![], false));
}

#[test]
fn what_it_writes_after_reading_is_later_than_what_it_read() {
    let mut agent = agent();
    let ahead = order(Wall(NOW.wall.0 + limits::STAMP_AHEAD_MS_MAX));
    tell(&mut agent, vec![ahead.clone()]);
    let mut fx = Effects::new();
    agent.step(NOW, Input::Shutdown, &mut fx);
    fx.drain().for_each(drop);
    let own = agent
        .board()
        .record(&Key::Host(ME))
        .expect("it says of itself");
    assert!(own.version.stamp > ahead.version.stamp);
}

#[test]
fn a_verdict_of_the_last_incarnation_does_not_end_the_agent() {
    let mut agent = agent();
    let stamp = Stamp {
        wall: NOW.wall,
        counter: 0,
        author: PEER,
    };
    let body = Body::Verdict(Verdict {
        standing: Standing::Down,
        votes: vec![],
        silent_ms: 0,
    });
    let version = Version {
        epoch: u64::MAX,
        stamp,
    };
    tell(
        &mut agent,
        vec![Record::new(Key::Verdict(ME), version, Some(body))],
    );
}
#[test]
fn one_small_question_is_not_answered_with_a_flood() {
    let mut agent = agent();
    let record = order(NOW.wall);
    tell(&mut agent, vec![record.clone()]);
    let mut fx = Effects::new();
    let asked = Message::Fetch(vec![record.key_hash; 100_000]);
    let message = Message::decode(&asked.encode());
    let Ok(message) = message else { return };
    let (from, address) = (PEER, address(PEER));
    agent.step(
        NOW,
        Input::Message {
            from,
            address,
            via: Via::Datagram,
            message,
        },
        &mut fx,
    );
    let sent: usize = fx
        .drain()
        .map(|e| match e {
            Effect::Send(s) => match s.message {
                Message::Records(r) => r.len(),
                _ => 0,
            },
            _ => 0,
        })
        .sum();
    assert_eq!(sent, 1);
}
#[test]
fn a_tombstone_too_old_to_keep_is_not_taken_and_passed_on_again() {
    let mut agent = agent();
    let stamp = Stamp {
        wall: Wall(NOW.wall.0 - limits::TOMBSTONE_MS - 1),
        counter: 0,
        author: PEER,
    };
    let record = Record::new(Key::StopOrder(TaskId(8)), Version { epoch: 0, stamp }, None);
    let first = tell(&mut agent, vec![record.clone()]);
    assert_eq!(passed_on(&first, &record), (vec![], false));
}
#[test]
fn a_body_with_a_later_versions_field_is_passed_on_whole() {
    let mut bytes = crate::cluster::body::Body::StopOrder(StopOrder {
        reason: "x".to_owned(),
    })
    .to_wire();
    bytes.push(42);
    let (kind, key) = Key::StopOrder(TaskId(1)).to_wire();
    let wire =
        postcard::to_allocvec(&(kind, &key, version(NOW.wall), Some(bytes), Vec::<u8>::new()))
            .unwrap();
    assert_eq!(
        Record::decode(&wire).map_or(wire.clone(), |r| r.encode()),
        wire
    );
}
#[test]
fn a_task_belongs_to_whichever_host_reports_it_in_any_order() {
    let mut board = crate::cluster::board::Board::default();
    let mut scratch = agent();
    drop(tell(&mut scratch, vec![]));
    let report = crate::cluster::body::TaskReport {
        definition: crate::ids::Digest([1; 32]),
        family: Box::default(),
        revision: 1,
        renewals: 0,
        values: Box::default(),
        slot: None,
        desired: crate::task::status::TaskStatus::Running,
        last: crate::task::status::TaskStatus::Running,
        health: Default::default(),
        ready: true,
        stop_code: None,
        stopped_reason: Box::default(),
        refused: false,
        replaced: false,
        protected_until: None,
        created_at: Wall(1),
        started_at: None,
        stopping_at: None,
        stopped_at: None,
        containers: Box::default(),
    };
    for host in [PEER, OTHER] {
        board.merge(&Record::new(
            Key::Task(host, TaskId(7)),
            version(Wall(1)),
            Some(Body::Task(report.clone())),
        ));
    }
    board.merge(&Record::new(
        Key::Task(PEER, TaskId(7)),
        version(Wall(2)),
        None,
    ));
    assert!(board.task(TaskId(7)).is_some());
}
#[test]
fn an_adopted_task_is_not_called_stopped_while_its_container_runs() {
    use crate::task::{
        machine::{Owner, Task},
        status::{StopCode, TaskStatus},
    };
    let report = crate::cluster::body::TaskReport {
        definition: crate::ids::Digest([1; 32]),
        family: Box::default(),
        revision: 1,
        renewals: 0,
        values: Box::default(),
        slot: None,
        desired: TaskStatus::Running,
        last: TaskStatus::Provisioning,
        health: Default::default(),
        ready: true,
        stop_code: None,
        stopped_reason: Box::default(),
        refused: false,
        replaced: false,
        protected_until: None,
        created_at: Wall(1),
        started_at: None,
        stopping_at: None,
        stopped_at: None,
        containers: Box::default(),
    };
    let owner = Owner {
        cluster: "test".into(),
        host: ME,
    };
    let mut task = Task::remembered(TaskId(7), report, None, owner, &Timings::default());
    task.stop(
        NOW,
        StopCode::ServiceSchedulerInitiated,
        "deleted",
        &mut Effects::new(),
    );
    assert_ne!(task.report.last, TaskStatus::Stopped);
}
