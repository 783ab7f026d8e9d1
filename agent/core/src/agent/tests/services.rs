//! What people order of services, as one agent carries it out.

use super::{NOW, agent};
use crate::{
    agent::Agent,
    cluster::{body::Key, record::Version},
    command::{Command, CommandId, Outcome, ServiceChange},
    effect::{Effect, Effects},
    input::Input,
    spec::{
        options::{OptionsChange, ServiceOptions},
        service::DefinitionRef,
        task_definition::{Container, TaskDefinition},
    },
};

fn order(agent: &mut Agent, command: Command) -> Outcome {
    let mut fx = Effects::new();
    let id = CommandId(1);
    agent.step(NOW, Input::Command { id, command }, &mut fx);
    let told = fx.drain().find_map(|effect| match effect {
        Effect::Reply { result, .. } => Some(result),
        _ => None,
    });
    told.expect("it is answered").expect("it is carried out")
}

fn web(revision: Option<u32>) -> DefinitionRef {
    DefinitionRef {
        family: "web".to_owned(),
        revision,
    }
}

/// The version of the service's revision after the change, and how often it was renewed.
fn change(agent: &mut Agent, change: ServiceChange) -> (Version, u32) {
    let service = "web".to_owned();
    order(agent, Command::UpdateService { service, change });
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
    order(&mut agent, Command::RegisterTaskDefinition(definition));
    let create = Command::CreateService {
        name: "web".to_owned(),
        definition: web(None),
        desired: 1,
        options: ServiceOptions::default(),
        client_token: String::new(),
    };
    order(&mut agent, create);
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
