//! Protection of tasks as their own host holds it: over a restart, and however often it is asked.

use super::{ME, NOW, address, config, version};
use crate::{
    agent::Agent,
    cluster::{
        board::Board,
        body::{Body, Key, Protection, ServiceRevision, TaskReport},
        record::{Record, Version},
    },
    command::{Command, CommandId, Outcome},
    effect::{Effect, Effects},
    ids::{Digest, ServiceId, TaskId},
    input::Input,
    task::{runtime::SlotLabel, status::TaskStatus},
    time::{Mono, Now, Span, Wall},
};

const TASK: TaskId = TaskId(7);
const LATER: Now = Now {
    mono: Mono(NOW.mono.0 + 10_000_000),
    wall: Wall(NOW.wall.0 + 10_000),
};

/// A task of a service that runs here, by what the disk has of it.
fn running() -> Board {
    let revision = ServiceRevision {
        definition: Digest([1; 32]),
        family: "web".to_owned(),
        revision: 1,
        renewals: 0,
    };
    let label = SlotLabel {
        service: ServiceId(1),
        service_name: "web".into(),
        index: 0,
        generation: 1,
    };
    let mut report = TaskReport::begin(revision, Some(label), NOW.wall);
    report.last = TaskStatus::Running;
    let mut board = Board::default();
    let key = Key::Task(ME, TASK);
    board.merge(&Record::new(
        key,
        version(NOW.wall),
        Some(Body::Task(report)),
    ));
    board
}

fn resume(board: Board) -> Agent {
    let mut fx = Effects::new();
    let agent = Agent::resume(config(), board, 1, NOW, &mut fx);
    fx.drain().for_each(drop);
    assert_eq!(agent.config().address, address(ME));
    agent
}

#[test]
fn what_was_ordered_is_known_after_a_restart() {
    let mut board = running();
    let version = Version {
        epoch: 0,
        ..version(NOW.wall)
    };
    let until = Some(Wall(NOW.wall.0 + 60_000));
    let order = Body::Protection(Protection { until });
    board.merge(&Record::new(Key::Protection(TASK), version, Some(order)));
    assert!(resume(board).is_protected(TASK));
    assert!(!resume(running()).is_protected(TASK));
}

/// A container may ask as often as it likes, and nobody else is to hear of it each time.
#[test]
fn who_asks_for_what_stands_already_changes_nothing() {
    let mut agent = resume(running());
    let mut step = |now: Now, input| {
        let mut fx = Effects::new();
        agent.step(now, input, &mut fx);
        fx.drain().collect::<Vec<_>>()
    };
    step(LATER, Input::Wake);
    let mut order = |after_ms: u64| {
        let now = Now {
            mono: LATER.mono + Span::from_ms(after_ms),
            wall: Wall(LATER.wall.0 + after_ms),
        };
        let command = Command::ProtectTasks {
            tasks: vec![TASK],
            minutes: Some(10),
        };
        let id = CommandId(1);
        let effects = step(now, Input::Command { id, command });
        let is_written = effects.iter().any(|effect| match effect {
            Effect::Persist(records) => {
                let mut keys = records.iter().map(|record| &record.key);
                keys.any(|key| *key == Key::Protection(TASK))
            }
            _ => false,
        });
        let until = effects.iter().find_map(|effect| match effect {
            Effect::Reply {
                result: Ok(Outcome::ProtectionOrdered { until, .. }),
                ..
            } => *until,
            _ => None,
        });
        (is_written, until.expect("it is answered"))
    };
    let (is_written, until) = order(0);
    assert!(is_written);
    assert_eq!(
        order(500),
        (false, until),
        "what stands is what is answered"
    );
    let (is_written, later) = order(1_500);
    assert!(is_written);
    assert_eq!(later.ms_since(until), 1_500);
}
