//! Task definitions that people take back, as one agent carries it out.

use super::{NOW, PEER, agent, command, tell};
use crate::{
    agent::Agent,
    cluster::{
        body::{Body, Key, Label, LabelStanding},
        record::{Record, Stamp, Version},
    },
    command::{Command, NotRetired, Outcome, Refusal, ServiceChange},
    ids::Digest,
    spec::{
        options::ServiceOptions,
        service::DefinitionRef,
        task_definition::{Container, TaskDefinition},
    },
    time::Wall,
};
use std::sync::Arc;

fn web(revision: Option<u32>) -> DefinitionRef {
    let family = "web".to_owned();
    DefinitionRef { family, revision }
}

fn register(agent: &mut Agent) -> u32 {
    let definition = TaskDefinition {
        family: "web".to_owned(),
        containers: vec![Container::default()],
        ..TaskDefinition::default()
    };
    match command(agent, Command::RegisterTaskDefinition(definition)) {
        Ok(Outcome::Registered { revision, .. }) => revision,
        other => panic!("{other:?}"),
    }
}

fn retire(agent: &mut Agent, revision: u32, delete: bool) -> Result<(), NotRetired> {
    let definitions = vec![web(Some(revision))];
    let asked = Command::RetireDefinitions {
        definitions,
        delete,
    };
    match command(agent, asked) {
        Ok(Outcome::Retired { failed, .. }) => failed.first().map_or(Ok(()), |(_, why)| Err(*why)),
        other => panic!("{other:?}"),
    }
}

/// What a peer says of `web:1`, which it registered then.
fn label(registered: Wall, label: Label) -> Arc<Record> {
    let key = Key::Label {
        family: "web".to_owned(),
        revision: 1,
    };
    let version = Version {
        epoch: u64::MAX - registered.0,
        // Later than all that we have written meanwhile.
        stamp: Stamp {
            wall: NOW.wall,
            counter: 1_000,
            author: PEER,
        },
    };
    Record::new(key, version, Some(Body::Label(label)))
}

fn create(agent: &mut Agent, name: &str, definition: DefinitionRef) -> Result<Outcome, Refusal> {
    let asked = Command::CreateService {
        name: name.to_owned(),
        definition,
        desired: 1,
        options: ServiceOptions::default(),
        client_token: String::new(),
    };
    command(agent, asked)
}

#[test]
fn nothing_new_is_made_of_what_was_deregistered_and_what_there_is_goes_on() {
    let mut agent = agent();
    assert_eq!((register(&mut agent), register(&mut agent)), (1, 2));
    create(&mut agent, "old", web(Some(2))).expect("it is active");
    assert_eq!(retire(&mut agent, 2, false), Ok(()));
    // The family means the one that is left.
    create(&mut agent, "new", web(None)).expect("one is active");
    let service = agent.board().service_named("new").expect("there is one");
    assert_eq!(service.revision.revision, 1);
    let inactive = Refusal::DefinitionInactive("web:2".to_owned());
    assert_eq!(create(&mut agent, "late", web(Some(2))), Err(inactive));
    let change = |definition| Command::UpdateService {
        service: "old".to_owned(),
        change: ServiceChange {
            desired: Some(3),
            definition,
            ..ServiceChange::default()
        },
    };
    command(&mut agent, change(Some(web(Some(2))))).expect("it stays what it is");
    command(&mut agent, change(Some(web(Some(1))))).expect("it becomes what is active");
    let refused = command(&mut agent, change(Some(web(Some(2)))));
    assert!(matches!(refused, Err(Refusal::DefinitionInactive(_))));
    // A number is given once, whatever becomes of it.
    assert_eq!(retire(&mut agent, 2, true), Ok(()));
    assert_eq!(register(&mut agent), 3);
}

#[test]
fn only_what_was_deregistered_is_deleted_and_to_say_it_again_writes_nothing() {
    let mut agent = agent();
    register(&mut agent);
    assert_eq!(retire(&mut agent, 1, true), Err(NotRetired::Active));
    assert_eq!(retire(&mut agent, 9, true), Err(NotRetired::Unknown));
    let version = |agent: &Agent| {
        let key = Key::Label {
            family: "web".to_owned(),
            revision: 1,
        };
        agent.board().record(&key).expect("it is there").version
    };
    for delete in [false, true] {
        assert_eq!(retire(&mut agent, 1, delete), Ok(()));
        let once = version(&agent);
        assert_eq!(retire(&mut agent, 1, delete), Ok(()));
        assert_eq!(version(&agent), once);
    }
    // What was deleted does not come back by half.
    assert_eq!(retire(&mut agent, 1, false), Ok(()));
    let label = agent.board().label("web", 1).expect("it is there");
    assert_eq!(label.standing, LabelStanding::Deleted(NOW.wall));
}

/// Two sides of a partition gave the same number, and the later one was deregistered on its side.
#[test]
fn what_gets_another_number_keeps_its_standing() {
    let mut agent = agent();
    assert_eq!(register(&mut agent), 1);
    assert_eq!(retire(&mut agent, 1, false), Ok(()));
    let earlier = Wall(NOW.wall.0 - 1);
    let theirs = Label {
        definition: Digest([9; 32]),
        registered_at: earlier,
        standing: LabelStanding::Active,
    };
    tell(&mut agent, vec![label(earlier, theirs.clone())]);
    let board = agent.board();
    assert_eq!(board.label("web", 1), Some(&theirs));
    let moved = board.label("web", 2).expect("ours has the next number");
    assert_eq!(moved.standing, LabelStanding::Inactive(NOW.wall));
    let latest = board.resolve(&web(None)).expect("theirs is active");
    assert_eq!(latest.revision, 1);
}

#[test]
fn what_was_taken_back_stays_so_where_others_had_registered_the_same_before() {
    let mut agent = agent();
    assert_eq!(register(&mut agent), 1);
    let ours = agent.board().label("web", 1).expect("it is there").clone();
    assert_eq!(retire(&mut agent, 1, false), Ok(()));
    let earlier = Wall(NOW.wall.0 - 1);
    let mut theirs = Label {
        registered_at: earlier,
        ..ours
    };
    for (rises_to, standing) in [
        (LabelStanding::Inactive(NOW.wall), LabelStanding::Active),
        (
            LabelStanding::Deleted(NOW.wall),
            LabelStanding::Inactive(NOW.wall),
        ),
    ] {
        theirs.standing = standing;
        tell(&mut agent, vec![label(earlier, theirs.clone())]);
        let stands = agent.board().label("web", 1).expect("it is there");
        assert_eq!((stands.registered_at, stands.standing), (earlier, rises_to));
        assert_eq!(agent.board().last_revision("web"), Some(1));
        assert_eq!(retire(&mut agent, 1, true), Ok(()));
    }
}
