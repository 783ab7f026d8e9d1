//! What people order of services, as one agent carries it out.

use super::{agent, command};
use crate::{
    agent::Agent,
    cluster::{body::Key, record::Version},
    command::{Command, ServiceChange},
    spec::{
        options::{OptionsChange, ServiceOptions},
        service::DefinitionRef,
        task_definition::{Container, TaskDefinition},
    },
};

fn web(revision: Option<u32>) -> DefinitionRef {
    DefinitionRef {
        family: "web".to_owned(),
        revision,
    }
}

/// The version of the service's revision after the change, and how often it was renewed.
fn change(agent: &mut Agent, change: ServiceChange) -> (Version, u32) {
    let service = "web".to_owned();
    let asked = Command::UpdateService { service, change };
    command(agent, asked).expect("it is carried out");
    let board = agent.board();
    let service = board.service_named("web").expect("there is a service");
    let record = board.record(&Key::ServiceRevision(service.id));
    (
        record.expect("it has a revision").version,
        service.revision.renewals,
    )
}

#[test]
fn to_say_again_what_is_so_already_writes_nothing_and_undoes_no_renewal() {
    let mut agent = agent();
    let definition = TaskDefinition {
        family: "web".to_owned(),
        containers: vec![Container::default()],
        ..TaskDefinition::default()
    };
    command(&mut agent, Command::RegisterTaskDefinition(definition)).expect("it is taken");
    let create = Command::CreateService {
        name: "web".to_owned(),
        definition: web(None),
        desired: 1,
        options: ServiceOptions::default(),
        client_token: String::new(),
    };
    command(&mut agent, create).expect("it is taken");
    let renewed = change(
        &mut agent,
        ServiceChange {
            renew: true,
            ..ServiceChange::default()
        },
    );
    assert_eq!(renewed.1, 1);
    let again = ServiceChange {
        definition: Some(web(Some(1))),
        options: OptionsChange::default(),
        ..ServiceChange::default()
    };
    assert_eq!(change(&mut agent, again), renewed);
}
