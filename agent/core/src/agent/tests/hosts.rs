//! What people order of hosts, as one agent carries it out.

use super::{ME, NOW, OTHER, PEER, agent, config, tell, version};
use crate::{
    agent::{Agent, AgentConfig, Picture},
    cluster::{
        board::Board,
        body::{Availability, Body, HostStatus, Key, Standing, Verdict},
        record::{Record, Version},
    },
    command::{Command, CommandId, Outcome, Refusal},
    effect::{Effect, Effects},
    event::{Happening, HostStanding},
    ids::{HostId, ServiceId, TaskId},
    input::Input,
    spec::{
        privilege::{DENIED, PRIVILEGE_ATTRIBUTE},
        task_definition::{Namespace, TaskDefinition},
    },
    time::Wall,
};
use expect_test::expect_file;
use std::sync::Arc;

/// Orders it, and tells everything that the agent asks for then.
fn order(agent: &mut Agent, command: Command) -> Vec<Effect> {
    let mut fx = Effects::new();
    let id = CommandId(1);
    agent.step(NOW, Input::Command { id, command }, &mut fx);
    fx.drain().collect()
}

fn answer(effects: &[Effect]) -> Option<Result<Outcome, Refusal>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Reply { result, .. } => Some(result.clone()),
        _ => None,
    })
}

fn standings(effects: &[Effect]) -> Vec<(HostId, HostStanding)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Emit(event) => match &event.what {
            Happening::Host(change) => Some((change.host, change.now)),
            _ => None,
        },
        _ => None,
    });
    told.collect()
}

fn drain(host: HostId) -> Command {
    Command::DirectHosts {
        hosts: vec![host],
        availability: Availability::Drain,
    }
}

fn forget(host: HostId, force: bool) -> Command {
    Command::ForgetHost { host, force }
}

fn leave(force: bool) -> Command {
    let within = None;
    Command::Leave { within, force }
}

/// What its observers say of it, from which nothing follows.
fn cleared(host: HostId) -> Arc<Record> {
    let body = Body::Verdict(Verdict {
        standing: Standing::Cleared,
        votes: vec![],
        silent_ms: 0,
    });
    Record::new(Key::Verdict(host), version(NOW.wall), Some(body))
}

/// The goodbye of a host.
fn goodbye(host: HostId) -> Arc<Record> {
    let said = super::host(host);
    let mut body = said.body.clone();
    if let Some(Body::Host(report)) = &mut body {
        report.status = HostStatus::Left;
    }
    Record::new(said.key.clone(), at(1, 1), body)
}

/// So many milliseconds later.
fn at(epoch: u64, ms: u64) -> Version {
    Version {
        epoch,
        ..version(Wall(NOW.wall.0 + ms))
    }
}

fn tombstone_of_me(epoch: u64) -> Arc<Record> {
    let version = Version {
        epoch,
        ..version(NOW.wall)
    };
    Record::new(Key::Host(ME), version, None)
}

/// Whoever looks on while the agent goes on sees one moment of it.
#[test]
fn a_picture_is_of_one_moment() {
    let mut agent = agent();
    let service = ServiceId(1);
    let before = agent.picture();
    let sight = |picture: &Picture| {
        let keeper = picture.keeper_of(service);
        (picture.standing(PEER), keeper, picture.board().root())
    };
    let seen = sight(&before);
    assert_eq!(
        seen,
        (
            agent.standing(PEER),
            agent.keeper_of(service),
            agent.board().root()
        )
    );
    order(&mut agent, drain(PEER));
    order(&mut agent, drain(ME));
    assert_eq!(sight(&before), seen);
    let after = sight(&agent.picture());
    assert_eq!(after.0, HostStanding::Draining);
    assert_eq!(after.1, agent.keeper_of(service));
    assert_ne!(after.2, seen.2);
}

#[test]
fn a_drained_host_is_told_of_once_and_stands_so_until_it_is_activated() {
    let mut agent = agent();
    let effects = order(&mut agent, drain(PEER));
    assert_eq!(standings(&effects), [(PEER, HostStanding::Draining)]);
    assert_eq!(agent.standing(PEER), HostStanding::Draining);
    assert!(agent.board().is_leaving(PEER) && agent.board().is_up(PEER));
    let again = order(&mut agent, drain(PEER));
    assert_eq!(answer(&again), Some(Ok(Outcome::Directed(vec![PEER]))));
    assert_eq!(standings(&again), []);
    let activate = Command::DirectHosts {
        hosts: vec![PEER],
        availability: Availability::Active,
    };
    let effects = order(&mut agent, activate);
    assert_eq!(standings(&effects), [(PEER, HostStanding::Up)]);
    assert!(!agent.board().is_leaving(PEER));
}

#[test]
fn of_several_hosts_all_are_drained_or_none() {
    let mut agent = agent();
    let stranger = HostId(9);
    let both = Command::DirectHosts {
        hosts: vec![PEER, stranger],
        availability: Availability::Drain,
    };
    let refused = Some(Err(Refusal::NoSuchHost(stranger)));
    assert_eq!(answer(&order(&mut agent, both)), refused);
    assert!(!agent.board().is_leaving(PEER));
}

#[test]
fn forgetting_leaves_nothing_of_a_host_but_what_is_up_is_not_forgotten_lightly() {
    let mut agent = agent();
    let refused = answer(&order(&mut agent, forget(PEER, false)));
    assert!(
        matches!(refused, Some(Err(Refusal::HostIsUp { .. }))),
        "{refused:?}"
    );
    order(&mut agent, drain(PEER));
    tell(&mut agent, vec![cleared(PEER), goodbye(PEER)]);
    let effects = order(&mut agent, forget(PEER, false));
    assert_eq!(answer(&effects), Some(Ok(Outcome::Forgotten(PEER))));
    assert_eq!(standings(&effects), [(PEER, HostStanding::Forgotten)]);
    for key in [Key::Host(PEER), Key::Verdict(PEER), Key::Directive(PEER)] {
        let record = agent.board().record(&key).expect("a tombstone is kept");
        assert_eq!(record.body, None, "{key:?}");
    }
    assert!(!agent.board().is_up(PEER));
    let unknown = answer(&order(&mut agent, forget(PEER, false)));
    assert_eq!(unknown, Some(Err(Refusal::NoSuchHost(PEER))));
    let itself = answer(&order(&mut agent, forget(ME, true)));
    assert_eq!(itself, Some(Err(Refusal::ForgetsItself)));
}

#[test]
fn a_host_that_learns_that_it_was_forgotten_begins_a_later_life() {
    let mut agent = agent();
    tell(&mut agent, vec![tombstone_of_me(7)]);
    let (incarnation, report) = agent.board().host(ME).expect("it registered anew");
    assert_eq!((incarnation, report.status), (8, HostStatus::Active));
    // An order that is older than the present life changes nothing.
    tell(&mut agent, vec![tombstone_of_me(2)]);
    assert_eq!(agent.board().host(ME).map(|(life, _)| life), Some(8));
}

#[test]
fn a_host_without_tasks_leaves_at_once_and_says_so_last() {
    let mut agent = agent();
    let effects = order(&mut agent, leave(false));
    assert_eq!(answer(&effects), Some(Ok(Outcome::Left { stopped: 0 })));
    let said = agent.board().status(ME);
    assert_eq!(said, Some(HostStatus::Left));
    assert!(agent.board().is_down(ME));
    assert!(matches!(effects.last(), Some(Effect::Left)));
    let told = |effect: &Effect| match effect {
        Effect::Send(send) => send.host,
        _ => None,
    };
    let told: Vec<HostId> = effects.iter().filter_map(told).collect();
    assert!(told.contains(&PEER) && told.contains(&OTHER), "{told:?}");
}

#[test]
fn a_host_that_left_is_down_by_its_own_word_until_its_next_life() {
    let mut agent = agent();
    let effects = tell(&mut agent, vec![goodbye(PEER)]);
    assert_eq!(standings(&effects), [(PEER, HostStanding::Left)]);
    assert!(agent.board().is_down(PEER));
    assert_eq!(agent.standing(PEER), HostStanding::Left);
    let back = super::host(PEER);
    tell(
        &mut agent,
        vec![Record::new(back.key.clone(), at(2, 2), back.body.clone())],
    );
    assert_eq!(agent.standing(PEER), HostStanding::Up);
}

#[test]
fn refusals_about_hosts_say_what_to_do_instead() {
    let refusals = [
        Refusal::NoSuchHost(PEER),
        Refusal::HostIsUp {
            name: "alpha".to_owned(),
            tasks: 3,
        },
        Refusal::ForgetsItself,
        Refusal::LastHost { tasks: 3 },
        Refusal::NotTakenOver {
            tasks: 1,
            seconds: 60,
            why: "slot 2 of web: no host can run it: of 2 hosts 2 refused by memory".to_owned(),
        },
    ];
    let told: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    expect_file!["refusals.txt"].assert_eq(&told.join("\n"));
}

#[test]
fn a_host_that_allows_no_privilege_has_the_last_word() {
    let root = TaskDefinition {
        pid: Some(Namespace::Host),
        ..TaskDefinition::default()
    };
    let mut config = config();
    let accepted = |config: &AgentConfig, definition: &TaskDefinition| {
        let (config, mut fx) = (config.clone(), Effects::new());
        let mut agent = Agent::resume(config, Board::default(), 1, NOW, &mut fx);
        agent.accept(TaskId(1), definition.clone())
    };
    assert!(accepted(&config, &root).is_ok());
    let denied = (PRIVILEGE_ATTRIBUTE.to_owned(), DENIED.to_owned());
    config.attributes.extend([denied]);
    assert!(accepted(&config, &TaskDefinition::default()).is_ok());
    let why = accepted(&config, &root).expect_err("it would be root");
    assert_eq!(
        why,
        "POLICY: pidMode is host, and its host allows nothing that is root there (its agent's \
         setting privileged)"
    );
}
