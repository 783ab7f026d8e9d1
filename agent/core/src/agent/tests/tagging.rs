//! Tags, clusters, and what those are told whose word did not hold, as one agent carries it out.

use super::{NOW, PEER, agent, command, tell, wait};
use crate::{
    agent::Agent,
    cluster::{
        body::{Body, Key, Label, LabelStanding, ServiceSettings},
        record::{Record, Stamp, Version},
        tag::{Subject, Tag, Tagging},
    },
    command::{Command, Outcome, Refusal, RunOrder},
    effect::Effect,
    event::Happening,
    ids::{Digest, ServiceId},
    limits,
    spec::{
        options::ServiceOptions,
        run::RunOptions,
        service::DefinitionRef,
        task_definition::{Container, TaskDefinition},
    },
    time::{Span, Wall},
};
use expect_test::expect_file;
use std::sync::Arc;

fn definition() -> TaskDefinition {
    TaskDefinition {
        family: "web".to_owned(),
        containers: vec![Container::default()],
        ..TaskDefinition::default()
    }
}

fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    tags.iter().map(owned).collect()
}

fn tagged(agent: &mut Agent, made: Command, tags: &[(&str, &str)]) -> Outcome {
    let made = Command::Tagged {
        command: Box::new(made),
        set: pairs(tags),
        unset: Vec::new(),
    };
    command(agent, made).expect("it is made")
}

fn create(name: &str) -> Command {
    Command::CreateService {
        name: name.to_owned(),
        definition: DefinitionRef {
            family: "web".to_owned(),
            revision: None,
        },
        desired: 0,
        options: ServiceOptions::default(),
        client_token: String::new(),
    }
}

fn set(agent: &mut Agent, subject: &Subject, tags: &[(&str, &str)]) -> Result<Outcome, Refusal> {
    let change = Tagging {
        subject: subject.clone(),
        set: pairs(tags),
        unset: Vec::new(),
    };
    command(agent, Command::Tag(vec![change]))
}

fn of(agent: &Agent, subject: &Subject) -> String {
    let tags = agent.board().tags(subject);
    let tags: Vec<_> = tags
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    tags.join(" ")
}

/// Another host's word, later or earlier than all that we have written meanwhile.
fn said(key: Key, body: Body, (epoch, counter): (u64, u32)) -> Arc<Record> {
    let stamp = Stamp {
        wall: NOW.wall,
        counter,
        author: PEER,
    };
    Record::new(key, Version { epoch, stamp }, Some(body))
}

fn clashes(effects: &[Effect]) -> Vec<String> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Emit(event) => match &event.what {
            Happening::Clash(clash) => Some(format!("{}: {}", clash.about, clash.reason)),
            _ => None,
        },
        _ => None,
    });
    told.collect()
}

#[test]
fn what_is_made_has_its_tags_at_once_and_loses_them_with_its_end() {
    let mut agent = agent();
    let registered = tagged(
        &mut agent,
        Command::RegisterTaskDefinition(definition()),
        &[("team", "red")],
    );
    let digest = definition().digest();
    assert!(matches!(
        registered,
        Outcome::Registered { revision: 1, .. }
    ));
    assert_eq!(of(&agent, &Subject::Definition(digest, 1)), "team=red");
    let created = tagged(&mut agent, create("web"), &[("env", "test"), ("a", "b")]);
    let Outcome::Created(id) = created else {
        panic!("{created:?}");
    };
    let service = Subject::Service(id);
    assert_eq!(of(&agent, &service), "a=b env=test");
    let change = Tagging {
        subject: service.clone(),
        set: pairs(&[("env", "live")]),
        unset: vec!["a".to_owned(), "never there".to_owned()],
    };
    command(&mut agent, Command::Tag(vec![change])).expect("it is taken");
    assert_eq!(of(&agent, &service), "env=live");
    let delete = Command::DeleteService {
        service: "web".to_owned(),
        force: true,
    };
    command(&mut agent, delete).expect("it is deleted");
    wait(&mut agent, Span::from_secs(120));
    assert_eq!(of(&agent, &service), "");
}

#[test]
fn nothing_has_more_tags_than_it_may() {
    let mut agent = agent();
    let subject = Subject::Host(agent.config().host);
    let names: Vec<String> = (0..=limits::TAGS_MAX).map(|n| format!("t{n:02}")).collect();
    let tags: Vec<_> = names.iter().map(|name| (&**name, "x")).collect();
    set(&mut agent, &subject, &tags[1..]).expect("so many may be");
    let refused = set(&mut agent, &subject, &tags[..1]).expect_err("one more may not");
    assert!(matches!(refused, Refusal::Limit { .. }), "{refused:?}");
    // What is there already may be changed.
    set(&mut agent, &subject, &[("t01", "y")]).expect("it is no more");
}

#[test]
fn a_cluster_goes_only_when_nothing_is_in_it() {
    let mut agent = agent();
    command(&mut agent, Command::RegisterTaskDefinition(definition())).expect("it is taken");
    let make = || Command::MakeCluster("staging".to_owned());
    let delete = || Command::DeleteCluster("staging".to_owned());
    let refused = command(&mut agent, delete());
    assert_eq!(refused, Err(Refusal::NoSuchCluster("staging".to_owned())));
    tagged(&mut agent, make(), &[("team", "red")]);
    command(&mut agent, make()).expect("to make it again is harmless");
    command(&mut agent, create("staging/web")).expect("it is created");
    command(&mut agent, create("web")).expect("another cluster's is another one");
    let named = |name: Option<&str>| {
        let services = agent.board().services_in(name);
        services
            .map(|one| one.settings.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(named(Some("staging")), ["staging/web"]);
    assert_eq!(named(None), ["web"]);
    let refused = command(&mut agent, delete()).expect_err("a service is in it");
    assert!(matches!(
        refused,
        Refusal::ClusterHasServices { services: 1, .. }
    ));
    let gone = Command::DeleteService {
        service: "staging/web".to_owned(),
        force: true,
    };
    command(&mut agent, gone).expect("it is deleted");
    command(&mut agent, delete()).expect("nothing is in it");
    assert_eq!(of(&agent, &Subject::Cluster("staging".to_owned())), "");
    assert!(!agent.board().has_cluster("staging"));
}

#[test]
fn whoever_is_overruled_by_one_that_did_not_know_is_told() {
    let mut agent = agent();
    let subject = Subject::Cluster("shop".to_owned());
    set(&mut agent, &subject, &[("team", "red")]).expect("it is taken");
    let key = || Key::Tag(subject.clone(), "team".to_owned());
    let ours = agent
        .board()
        .record(&key())
        .expect("it is there")
        .version
        .stamp;
    let theirs = |value: &str, over, counter| {
        let value = value.to_owned();
        said(key(), Body::Tag(Tag { value, over }), (0, counter))
    };
    let told = clashes(&tell(&mut agent, vec![theirs("blue", None, 1_000)]));
    expect_file!["clash_of_tags.txt"].assert_eq(&told.join("\n"));
    // Who knew what he replaced, or says the same, is no cause for talk.
    set(&mut agent, &subject, &[("team", "red")]).expect("it is taken");
    let again = agent
        .board()
        .record(&key())
        .expect("it is there")
        .version
        .stamp;
    assert!(again > ours);
    let knew = theirs("green", Some(again), 2_000);
    assert_eq!(clashes(&tell(&mut agent, vec![knew])), [""; 0]);
    set(&mut agent, &subject, &[("team", "red")]).expect("it is taken");
    let same = theirs("red", None, 3_000);
    assert_eq!(clashes(&tell(&mut agent, vec![same])), [""; 0]);
}

/// Another definition was given the number of `web:1` a second before.
fn another_takes_the_number() -> Arc<Record> {
    let label = Label {
        definition: Digest([7; 32]),
        registered_at: Wall(NOW.wall.0 - 1_000),
        standing: LabelStanding::Active,
    };
    let key = Key::Label {
        family: "web".to_owned(),
        revision: 1,
    };
    let epoch = u64::MAX - label.registered_at.0;
    said(key, Body::Label(label), (epoch, 0))
}

#[test]
fn a_definition_that_gets_another_number_keeps_its_tags_and_its_owner_is_told() {
    let mut agent = agent();
    let digest = definition().digest();
    let register = Command::RegisterTaskDefinition(definition());
    tagged(&mut agent, register, &[("team", "red")]);
    let told = clashes(&tell(&mut agent, vec![another_takes_the_number()]));
    expect_file!["clash_of_numbers.txt"].assert_eq(&told.join("\n"));
    assert_eq!(of(&agent, &Subject::Definition(digest, 2)), "team=red");
    assert_eq!(of(&agent, &Subject::Definition(digest, 1)), "");
    assert_eq!(of(&agent, &Subject::Definition(Digest([7; 32]), 1)), "");
}

#[test]
fn whoever_created_a_service_under_a_name_that_was_taken_is_told() {
    let mut agent = agent();
    command(&mut agent, Command::RegisterTaskDefinition(definition())).expect("it is taken");
    command(&mut agent, create("web")).expect("it is created");
    let earlier = ServiceSettings {
        name: "web".to_owned(),
        created_at: Wall(NOW.wall.0 - 1_000),
        client_token: String::new(),
        options: ServiceOptions::default(),
    };
    let later = ServiceSettings {
        created_at: Wall(NOW.wall.0 + 1_000),
        ..earlier.clone()
    };
    let theirs = |id, settings| {
        let key = Key::ServiceSettings(ServiceId(id));
        vec![said(key, Body::ServiceSettings(settings), (0, 1_000))]
    };
    // It is the other one that yields.
    assert_eq!(clashes(&tell(&mut agent, theirs(8, later))), [""; 0]);
    let told = clashes(&tell(&mut agent, theirs(9, earlier)));
    expect_file!["clash_of_names.txt"].assert_eq(&told.join("\n"));
}

#[test]
fn the_same_token_in_two_clusters_begins_two_runs() {
    let mut agent = agent();
    command(&mut agent, Command::RegisterTaskDefinition(definition())).expect("it is taken");
    let mut run = |cluster: Option<&str>| {
        let order = RunOrder {
            definition: DefinitionRef {
                family: "web".to_owned(),
                revision: None,
            },
            overridden: None,
            overrides: String::new(),
            count: 1,
            options: RunOptions::default(),
            group: String::new(),
            started_by: String::new(),
            cluster: cluster.map(str::to_owned),
            hosts: Vec::new(),
            client_token: "once".to_owned(),
        };
        match command(&mut agent, Command::RunTask(Box::new(order))) {
            Ok(Outcome::RunBegun(id)) => id,
            other => panic!("{other:?}"),
        }
    };
    let (own, staged) = (run(None), run(Some("staging")));
    assert_ne!(own, staged);
    assert_eq!((run(None), run(Some("staging"))), (own, staged));
}

#[test]
fn who_says_the_same_again_in_other_words_has_not_been_deaf() {
    let mut agent = agent();
    let subject = Subject::Host(agent.config().host);
    set(&mut agent, &subject, &[("team", "red")]).expect("it is taken");
    let key = || Key::Tag(subject.clone(), "team".to_owned());
    let ours = agent
        .board()
        .record(&key())
        .expect("it is there")
        .version
        .stamp;
    // Of two words of another host that knew ours, only the later one comes.
    let value = "green".to_owned();
    let between = Stamp {
        counter: ours.counter + 1,
        author: PEER,
        ..ours
    };
    for over in [ours, between] {
        let body = Body::Tag(Tag {
            value: value.clone(),
            over: Some(over),
        });
        let told = tell(&mut agent, vec![said(key(), body, (0, 1_000))]);
        assert_eq!(clashes(&told), [""; 0]);
    }
    // Our own words, one after the other, still say what we knew of the other's.
    set(&mut agent, &subject, &[("team", "blue")]).expect("it is taken");
    let theirs = agent.board().record(&key()).map(|record| &record.body);
    let Some(Some(Body::Tag(first))) = theirs else {
        panic!("{theirs:?}");
    };
    let over = first.over;
    set(&mut agent, &subject, &[("team", "white")]).expect("it is taken");
    let again = agent.board().record(&key()).map(|record| &record.body);
    assert!(
        matches!(again, Some(Some(Body::Tag(second))) if second.over == over),
        "{again:?}"
    );
}

#[test]
fn what_is_there_already_keeps_its_tags_when_it_is_made_again() {
    let mut agent = agent();
    let make = || Command::MakeCluster("staging".to_owned());
    tagged(&mut agent, make(), &[("team", "red")]);
    tagged(&mut agent, make(), &[("team", "blue"), ("a", "b")]);
    assert_eq!(
        of(&agent, &Subject::Cluster("staging".to_owned())),
        "team=red"
    );
}

#[test]
fn a_tag_that_comes_late_goes_after_its_definition() {
    let mut agent = agent();
    let digest = definition().digest();
    command(&mut agent, Command::RegisterTaskDefinition(definition())).expect("it is taken");
    tell(&mut agent, vec![another_takes_the_number()]);
    let tag = Body::Tag(Tag {
        value: "red".to_owned(),
        over: None,
    });
    let on = |number| Subject::Definition(digest, number);
    let late = said(Key::Tag(on(1), "team".to_owned()), tag, (0, 1_000));
    tell(&mut agent, vec![late]);
    assert_eq!(of(&agent, &on(2)), "team=red");
    assert_eq!(of(&agent, &on(1)), "");
}
