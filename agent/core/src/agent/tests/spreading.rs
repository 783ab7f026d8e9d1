//! Who is told of a loss without fail, as one agent that agreed on it sends it.

use super::{ME, NOW, OTHER, PEER, agent, host, tell, tell_at, version, wait};
use crate::{
    agent::Agent,
    cluster::{
        body::{
            Body, Key, ServiceCount, ServiceRevision, ServiceSettings, Slot, Standing, Verdict,
        },
        message::Message,
        record::{Record, Version},
    },
    effect::{Effect, Effects},
    ids::{HostId, ServiceId},
    input::Input,
    spec::{
        options::{HandOver, ServiceOptions},
        task_definition::TaskDefinition,
    },
    task::runtime::RuntimeEvent,
    time::{Now, Span, Wall},
};
use std::sync::Arc;

const HOSTS: u128 = 30;

fn service(id: ServiceId) -> Arc<Record> {
    let body = Body::ServiceSettings(ServiceSettings {
        name: format!("s{}", id.0 >> 96),
        created_at: NOW.wall,
        client_token: String::new(),
        options: ServiceOptions::default(),
    });
    let version = Version {
        epoch: 0,
        ..version(NOW.wall)
    };
    Record::new(Key::ServiceSettings(id), version, Some(body))
}

fn down(host: HostId, voters: &[HostId]) -> Arc<Record> {
    let body = Body::Verdict(Verdict {
        standing: Standing::Down,
        votes: voters.to_vec(),
        silent_ms: 1_000,
    });
    Record::new(Key::Verdict(host), version(NOW.wall), Some(body))
}

/// An agent among many, with a service of which it knows.
fn among_many(id: ServiceId) -> Agent {
    let mut agent = agent();
    let others = (2..=HOSTS).map(|number| host(HostId(number << 96)));
    tell(&mut agent, others.chain([service(id)]).collect());
    agent
}

/// What was sent to this host.
fn told(effects: &[Effect], to: HostId) -> Vec<Key> {
    let records = effects.iter().filter_map(|effect| match effect {
        Effect::Send(sent) if sent.host == Some(to) => match &sent.message {
            Message::Records(records) => Some(records),
            _ => None,
        },
        _ => None,
    });
    records.flatten().map(|record| record.key.clone()).collect()
}

/// The keeper and the one after it are lost. The loss of the second was known before that of the
/// first, so nobody told its heir of it: whoever has agreed on it does when it knows of both.
#[test]
fn whoever_found_the_second_in_line_down_tells_the_third_of_both() {
    let mut tried = 0;
    for number in 1..=40 {
        let id = ServiceId(number << 96);
        let mut agent = among_many(id);
        let first = agent.keeper_of(id).expect("there are hosts");
        let everybody: Vec<HostId> = (2..=HOSTS).map(|number| HostId(number << 96)).collect();
        tell(&mut agent, vec![down(first, &everybody)]);
        let second = agent.keeper_of(id).expect("there are hosts");
        // Anew, and the other way round.
        let mut agent = among_many(id);
        let left = everybody.into_iter();
        let others: Vec<HostId> = left.filter(|h| ![first, second].contains(h)).collect();
        tell(
            &mut agent,
            vec![down(second, &[&[ME], &others[..]].concat())],
        );
        let effects = tell(&mut agent, vec![down(first, &others)]);
        let third = agent.keeper_of(id).expect("there are hosts");
        let are_down = [first, second].map(|host| agent.board().is_down(host));
        // Of those that it observes itself it is not so easily persuaded.
        if are_down != [true; 2] || third == ME || [first, second].contains(&ME) {
            continue;
        }
        tried += 1;
        let told = told(&effects, third);
        for lost in [first, second] {
            assert!(told.contains(&Key::Verdict(lost)), "{lost}: {told:?}");
        }
    }
    assert!(tried >= 3, "{tried} services told something");
}

/// A service of one, whose slot is given to this host.
fn given(id: ServiceId) -> Vec<Arc<Record>> {
    let definition = TaskDefinition {
        family: "web".to_owned(),
        ..TaskDefinition::default()
    };
    let revision = ServiceRevision {
        definition: definition.digest(),
        family: "web".to_owned(),
        revision: 1,
        renewals: 0,
    };
    let slot = Slot {
        host: Some(ME),
        revision: revision.clone(),
        adopted: None,
        superseded: Vec::new(),
        order: HandOver::StartFirst,
        failures: 0,
        tried: 0,
        end: None,
        reason: "so it was decided".to_owned(),
    };
    let by_epoch = |epoch, key, body| {
        let version = Version {
            epoch,
            ..version(NOW.wall)
        };
        Record::new(key, version, Some(body))
    };
    let digest = revision.definition;
    vec![
        by_epoch(0, Key::Definition(digest), Body::Definition(definition)),
        by_epoch(0, Key::ServiceRevision(id), Body::ServiceRevision(revision)),
        by_epoch(
            0,
            Key::ServiceCount(id),
            Body::ServiceCount(ServiceCount { desired: 1 }),
        ),
        by_epoch(1, Key::Slot(id, 0), Body::Slot(slot)),
    ]
}

/// Its container runtime answers, and runs nothing yet.
fn begin(agent: &mut Agent) {
    let version = "28".to_owned();
    for event in [
        RuntimeEvent::Available { version },
        RuntimeEvent::Listed(Vec::new()),
    ] {
        agent.step(NOW, Input::Runtime(event), &mut Effects::new());
    }
}

fn has_report(effects: &[Effect], to: HostId) -> bool {
    let mut told = told(effects, to).into_iter();
    told.any(|key| matches!(key, Key::Task(..)))
}

/// Where many hosts are lost at once, whoever is given a slot may not know yet who keeps it.
#[test]
fn what_becomes_of_a_slot_is_told_to_whoever_gave_it_out_and_to_the_keeper() {
    let id = (1..).map(|number| ServiceId(number << 96));
    let mut id = id.filter(|id| {
        let keeper = among_many(*id).keeper_of(*id);
        ![ME, OTHER, PEER].map(Some).contains(&keeper)
    });
    let id = id.next().expect("most are kept by others");
    let mut agent = among_many(id);
    begin(&mut agent);
    let effects = tell(&mut agent, given(id));
    let keeper = agent.keeper_of(id).expect("there are hosts");
    assert!(has_report(&effects, keeper), "{effects:#?}");
    assert!(has_report(&effects, OTHER), "the author: {effects:#?}");
}

/// Whoever keeps the service now may not have heard of it, however long ago it was said.
#[test]
fn whoever_is_told_of_its_slot_again_says_what_became_of_it() {
    let id = ServiceId(1 << 96);
    let mut agent = among_many(id);
    begin(&mut agent);
    let records = given(id);
    let slot = records.last().expect("it is the slot").clone();
    tell(&mut agent, records);
    // It comes from several sides at first.
    assert!(!has_report(&tell(&mut agent, vec![slot.clone()]), PEER));
    let later = Now {
        mono: NOW.mono + Span::from_secs(2),
        wall: Wall(NOW.wall.0 + 2_000),
    };
    let effects = tell_at(later, &mut agent, vec![slot]);
    assert!(has_report(&effects, PEER), "{effects:#?}");
}

#[test]
fn a_host_that_says_nothing_of_its_slot_is_told_of_it_again() {
    let mut ids = (1..).map(|number| ServiceId(number << 96));
    let id = ids.find(|id| among_many(*id).keeper_of(*id) == Some(ME));
    let id = id.expect("it keeps some");
    let mut agent = among_many(id);
    begin(&mut agent);
    let mut records = given(id);
    records.pop();
    tell(&mut agent, records);
    let (_, slot) = agent.board().slot(id, 0).expect("it was placed");
    let holder = slot.host.filter(|host| *host != ME);
    let holder = holder.expect("on some other host");
    let again = |effects: &[Effect]| told(effects, holder).contains(&Key::Slot(id, 0));
    assert!(!again(&wait(&mut agent, Span::from_ms(900))));
    assert!(again(&wait(&mut agent, Span::from_secs(3))));
}
