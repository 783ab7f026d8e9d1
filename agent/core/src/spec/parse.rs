//! Parses `RegisterTaskDefinition`'s input: the only way from JSON to a task definition.

mod container;
mod given;
mod health;
mod linux;
mod relate;
mod rules;
mod task;
mod volume;

use super::{
    ecs_fields,
    error::{Faults, SpecError, SpecErrors},
    read::{Fields, NAME},
    task_definition::{Container, NetworkMode, TaskDefinition},
};
use crate::limits;
use container::container;
use relate::relate;
use rules::{COMPATIBILITY, NETWORK_MODE, SOME_TEXT};
use serde_json::Value;

/// Parses and checks all of it; a definition that comes out of here can be run as it is.
///
/// Fields are read first, all of them, then what they say of one another: a fault in a field
/// would otherwise show up a second time as, say, a volume that nobody declares.
pub fn parse_task_definition(json: &Value) -> Result<TaskDefinition, SpecErrors> {
    let fields = Fields::of_request(json)?;
    let (got, max) = (json.to_string().len(), limits::DEFINITION_BYTES_MAX);
    if got > max {
        return Err(SpecError::TooLarge { got, max }.into());
    }

    let mut faults = Faults::default();
    let family = fields.required_text("family", &NAME);
    let family = faults.keep(family);
    let network = match faults.keep(fields.choice("networkMode", &NETWORK_MODE)) {
        Some("host") => NetworkMode::Host,
        Some("none") => NetworkMode::None,
        Some("task") => NetworkMode::Task,
        _ => NetworkMode::Bridge,
    };
    faults.keep(fields.choices("requiresCompatibilities", &COMPATIBILITY));
    let mut definition = TaskDefinition {
        family,
        network,
        pid: task::pid(&fields, &mut faults),
        ipc: task::ipc(&fields, &mut faults),
        cpu: task::cpu(&fields, &mut faults),
        memory_mib: task::memory(&fields, &mut faults),
        platform: task::platform(&fields, &mut faults),
        execution_role: faults.keep(fields.text("executionRoleArn", &SOME_TEXT)),
        containers: containers(&fields, &mut faults),
        volumes: fields.each("volumes", volume::volume, &mut faults),
    };
    fields.check(
        &[
            "family",
            "networkMode",
            "pidMode",
            "ipcMode",
            "cpu",
            "memory",
            "runtimePlatform",
            "executionRoleArn",
            "requiresCompatibilities",
            "containerDefinitions",
            "volumes",
            // They are no part of what is run: whoever registers it reads them.
            "tags",
        ],
        ecs_fields::REGISTER_TASK_DEFINITION,
        &mut faults,
    );

    if faults.is_empty() {
        relate(&mut definition, &mut faults);
    }
    faults.finish(definition)
}

fn containers(fields: &Fields<'_>, faults: &mut Faults) -> Vec<Container> {
    let name = "containerDefinitions";
    let objects = fields.objects(name, faults);
    let (got, max) = (objects.len(), limits::CONTAINERS_PER_TASK_MAX);
    // Not `got`: entries that are not objects have been told of already.
    let none = match fields.get(name) {
        None => true,
        Some(list) => list.as_array().is_some_and(Vec::is_empty),
    };
    if none {
        faults.push(SpecError::Missing {
            path: fields.path(name),
            wanted: "a list of at least one container",
        });
    }
    if got > max {
        let path = fields.path(name);
        faults.push(SpecError::TooMany { path, got, max });
    }
    let task_has_memory = fields.get("memory").is_some();
    let parse = |one| container(one, task_has_memory, faults);
    objects.iter().map(parse).collect()
}
