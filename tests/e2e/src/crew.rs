//! The agents of one cluster, wherever they run: what they are asked and told together.

use crate::{docker::Container, fleet::PATIENCE, host::Host, program::IMAGE, wait::until};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const LOG_LINES_SHOWN: usize = 25;

/// The hosts whose agents run.
pub fn running(hosts: &mut [Host]) -> Vec<&Host> {
    let running = hosts
        .iter_mut()
        .filter_map(|host| host.is_running().then_some(&*host));
    running.collect()
}

/// The first host whose agent runs.
#[track_caller]
pub fn any(hosts: &mut [Host]) -> &Host {
    running(hosts).first().expect("no agent runs")
}

/// Waits until each of these sees exactly so many hosts UP and may deploy.
#[track_caller]
pub fn await_up(agents: &[&Host], count: usize) {
    until(
        &format!("{count} hosts up in the eyes of each"),
        PATIENCE,
        || {
            for host in agents {
                let status = host.look("/v1/status");
                let up = status["hosts"]["UP"].as_u64();
                if up != Some(count as u64) || status["caughtUp"] != json!(true) {
                    return Err(format!("{}: {status}", host.name));
                }
            }
            Ok(())
        },
    );
}

/// Waits until each of these knows that each of `count` hosts can run containers: before that, a
/// keeper places what it can where it can.
#[track_caller]
pub fn await_engines(agents: &[&Host], count: usize) {
    until("Docker answers everybody", PATIENCE, || {
        for host in agents {
            let told = host.look("/v1/hosts");
            let hosts = told["hosts"].as_array().map_or(&[][..], Vec::as_slice);
            let ready = |host: &Value| host["holdfast"]["docker"]["available"] == json!(true);
            if hosts.len() != count || !hosts.iter().all(ready) {
                return Err(format!("{}: {told}", host.name));
            }
        }
        Ok(())
    });
}

/// Registers a definition of one quiet container, named after its family, and creates a service of
/// the same name.
#[track_caller]
pub fn create_service(host: &Host, name: &str, count: u32) {
    create_service_of(host, &definition(name), name, count, &json!([]));
}

/// As `create_service`, with a tag that says how the service is held, and a second for a container
/// to stop.
#[track_caller]
pub fn create_service_held(host: &Host, name: &str, count: u32, key: &str, value: &str) {
    let mut definition = definition(name);
    definition["containerDefinitions"][0]["stopTimeout"] = json!(1);
    let tags = json!([{"key": key, "value": value}]);
    create_service_of(host, &definition, name, count, &tags);
}

/// Registers this definition, and creates a service of this name with these tags, which is to run
/// the definition of the same family.
#[track_caller]
pub fn create_service_of(host: &Host, definition: &Value, name: &str, count: u32, tags: &Value) {
    host.ecs("RegisterTaskDefinition", definition)
        .expect("it is a good definition");
    let service = json!({
        "serviceName": name,
        "taskDefinition": name,
        "desiredCount": count,
        "tags": tags,
    });
    host.ecs("CreateService", &service)
        .expect("it is a good service");
}

/// Registers this definition as a further revision, and has the service move to it.
#[track_caller]
pub fn update_service(host: &Host, definition: &Value, name: &str) {
    host.ecs("RegisterTaskDefinition", definition)
        .expect("it is a good definition");
    let change = json!({"service": name, "taskDefinition": definition["family"]});
    host.ecs("UpdateService", &change)
        .expect("the service is there");
}

/// Waits until `service why` says this of it.
#[track_caller]
pub fn await_why(host: &Host, service: &str, says: &str) {
    until(&format!("{service} says why"), PATIENCE, || {
        let why = host.cli_ok(&["service", "why", service]);
        match why.contains(says) {
            true => Ok(()),
            false => Err(why),
        }
    });
}

#[track_caller]
pub fn delete_service(host: &Host, name: &str) {
    host.ecs("DeleteService", &json!({"service": name, "force": true}))
        .expect("the service is there");
}

/// As ECS describes the tasks of a family that are to be RUNNING, or STOPPED.
#[track_caller]
pub fn tasks_of(host: &Host, family: &str, desired: &str) -> Vec<Value> {
    let wanted = json!({"family": family, "desiredStatus": desired});
    let listed = host.ecs("ListTasks", &wanted);
    let tasks = listed.expect("any agent may be asked")["taskArns"].clone();
    if tasks.as_array().is_none_or(Vec::is_empty) {
        return Vec::new();
    }
    let told = host.ecs("DescribeTasks", &json!({"tasks": tasks}));
    let told = told.expect("they were listed")["tasks"].clone();
    told.as_array().cloned().unwrap_or_default()
}

/// Its container of that name.
pub fn container_of<'a>(task: &'a Value, name: &str) -> &'a Value {
    let containers = task["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let found = containers
        .iter()
        .find(|container| container["name"] == name);
    found.unwrap_or(&Value::Null)
}

#[track_caller]
pub fn scale(host: &Host, name: &str, count: u32) {
    let change = json!({"service": name, "desiredCount": count});
    host.ecs("UpdateService", &change)
        .expect("the service is there");
}

/// Whether these are exactly one container for each slot; what they are where not.
pub fn fills(running: &[Container], count: u32) -> Result<(), String> {
    let slots: BTreeSet<_> = running
        .iter()
        .filter_map(|container| container.slot)
        .collect();
    if running.len() == count as usize && slots.into_iter().eq(0..count) {
        return Ok(());
    }
    let seen = running
        .iter()
        .map(|c| format!("slot {:?} on {}", c.slot, c.host));
    Err(seen.collect::<Vec<_>>().join(", "))
}

/// Whether each of these says that so many run and none is pending; what one says where not.
pub fn say_so(agents: &[&Host], service: &str, count: u32) -> Result<(), String> {
    for host in agents {
        let told = &host.look(&format!("/v1/services/{service}"))["service"];
        let counts = (told["runningCount"].as_u64(), told["pendingCount"].as_u64());
        if counts != (Some(u64::from(count)), Some(0)) {
            return Err(format!("{} says {counts:?} of {told}", host.name));
        }
    }
    Ok(())
}

pub fn tell_last_words(hosts: &[Host]) {
    for host in hosts {
        let log = host.log();
        let lines: Vec<_> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        eprintln!("--- the last words of {} ({})", host.name, host.address);
        eprintln!("{}", shown.join("\n"));
    }
}

/// A definition of one container that runs until it is told to stop.
pub fn definition(family: &str) -> Value {
    json!({
        "family": family,
        "containerDefinitions": [{"name": "main", "image": IMAGE, "memory": 16}],
    })
}
