//! Containers that share: one network for a task, with its pause container, and volumes.

use e2e::{
    crew,
    docker::{Container, Engine},
    fleet::{Fleet, PATIENCE},
    http::Server,
    program::IMAGE,
    wait::until,
};
use serde_json::{Value, json};

const PAUSE_LABEL: &str = "io.holdfast.pause";

/// `server` answers on a port of the task; once it does, `asker` asks it, and then runs on.
fn definition() -> Value {
    let container = |name: &str, command: &[&str]| {
        json!({
            "name": name, "image": IMAGE, "memory": 16, "command": command, "stopTimeout": 1,
            "environment": [{"name": "PORT", "value": "8080"}],
            "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch"}],
        })
    };
    let mut server = container("server", &["run"]);
    server["healthCheck"] = json!({"command": ["HTTP", "8080", "/health"], "interval": 1});
    server["portMappings"] = json!([{"containerPort": 8080}]);
    let mut asker = container("asker", &["check", "/health"]);
    asker["essential"] = json!(false);
    asker["dependsOn"] = json!([{"containerName": "server", "condition": "HEALTHY"}]);
    json!({
        "family": "shared", "networkMode": "task", "containerDefinitions": [asker, server],
        "volumes": [{"name": "scratch"}],
    })
}

/// A fleet of one that runs it once, and forgets what ended soon.
fn shared() -> Option<Fleet> {
    let mut fleet = Fleet::empty()?;
    fleet.add().set("stopped-container-retention-s", "1");
    fleet.start_all();
    crew::create_service_of(fleet.any(), &definition(), "shared", 1, &json!([]));
    Some(fleet)
}

/// Waits until `asker` has had its answer; the task that is to run.
#[track_caller]
fn await_answered(fleet: &mut Fleet) -> Value {
    let host = fleet.any();
    until("asker has asked", PATIENCE, || {
        let mut tasks = crew::tasks_of(host, "shared", "RUNNING");
        let Some(task) = tasks.pop().filter(|_| tasks.is_empty()) else {
            return Err(json!(tasks).to_string());
        };
        match crew::container_of(&task, "asker")["lastStatus"] == "STOPPED" {
            true => Ok(task),
            false => Err(task.to_string()),
        }
    })
}

/// What runs of the task beside the containers of its definition.
#[track_caller]
fn pause_of(fleet: &Fleet, task: &Value) -> Container {
    let arn = task["taskArn"].as_str().expect("it has one");
    let others: Vec<_> = fleet
        .containers()
        .into_iter()
        .filter(|container| arn.ends_with(&container.task))
        .filter(|container| {
            ["server", "asker"]
                .iter()
                .all(|name| !is_named(container, name))
        })
        .collect();
    assert_eq!(others.len(), 1, "{others:#?}");
    others.into_iter().next().expect("there is one")
}

fn is_named(container: &Container, name: &str) -> bool {
    container.name.contains(&format!("-{name}-"))
}

#[test]
fn containers_of_a_task_meet_on_localhost() {
    let Some(mut fleet) = shared() else {
        return;
    };
    let task = await_answered(&mut fleet);
    assert_eq!(task["lastStatus"], "RUNNING", "{task}");
    assert_eq!(crew::container_of(&task, "asker")["exitCode"], 0, "{task}");
    let server = crew::container_of(&task, "server");
    let bindings = &server["networkBindings"];
    assert_eq!(bindings.as_array().map(Vec::len), Some(1), "{bindings}");
    let port = &bindings[0]["hostPort"];
    let address = format!("127.0.0.1:{port}").parse();
    let answer = Server::Tcp(address.expect("it has a port")).get("/health");
    assert_eq!(answer.expect("it answers").status, 200);

    // Nobody who lists containers need know of the one that holds the network.
    let names = |listed: &Value, key: &str| {
        let listed = listed.as_array().cloned().unwrap_or_default();
        let names = listed.iter().filter_map(|one| one[key].as_str());
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&task["containers"], "name"), ["asker", "server"]);
    let host = fleet.any();
    let told = host.look("/v1/tasks");
    let told = &told["Tasks"][0]["Containers"];
    assert_eq!(names(told, "Name"), ["asker", "server"]);
    let arn = task["taskArn"].as_str().expect("it has one");
    let shown = host.cli_ok(&["task", "show", arn]);
    assert!(
        shown.contains("server") && !shown.contains("pause"),
        "{shown}"
    );
    let pause = pause_of(&fleet, &task);
    assert!(pause.is_running(), "{pause:#?}");
}

#[test]
fn a_task_whose_pause_container_dies_is_replaced() {
    let Some(mut fleet) = shared() else {
        return;
    };
    let task = await_answered(&mut fleet);
    let pause = pause_of(&fleet, &task);
    fleet.engine.kill(&pause.id);
    let host = fleet.any();
    let arn = task["taskArn"].clone();
    let stopped = until("the task has ended", PATIENCE, || {
        let told = host.ecs("DescribeTasks", &json!({"tasks": [arn]}));
        let told = told.expect("it is known")["tasks"][0].clone();
        match told["lastStatus"] == "STOPPED" {
            true => Ok(told),
            false => Err(told.to_string()),
        }
    });
    assert_eq!(stopped["stopCode"], "EssentialContainerExited", "{stopped}");
    let reason = stopped["stoppedReason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("pause") && reason.contains("137"),
        "{reason}"
    );
    let next = await_answered(&mut fleet);
    assert_ne!(next["taskArn"], task["taskArn"]);
    assert_eq!(crew::container_of(&next, "asker")["exitCode"], 0, "{next}");
}

#[test]
fn nothing_is_left_of_a_task_but_the_pause_image() {
    let Some(mut fleet) = shared() else {
        return;
    };
    let task = await_answered(&mut fleet);
    let volumes = fleet.engine.volumes(&fleet.label());
    assert_eq!(volumes.len(), 1, "{volumes:#?}");
    let all = fleet.containers();
    for name in ["server", "asker"] {
        let of_it = all.iter().find(|container| is_named(container, name));
        let id = &of_it.expect("it was made").id;
        assert_eq!(mounted(&fleet.engine, id, "/scratch"), volumes[0].name);
    }
    crew::delete_service(fleet.any(), "shared");
    until("all of it is gone", PATIENCE, || {
        let containers = fleet.containers();
        let volumes = fleet.engine.volumes(&fleet.label());
        match containers.is_empty() && volumes.is_empty() {
            true => Ok(()),
            false => Err(format!("{containers:#?} {volumes:#?}")),
        }
    });
    let images = fleet.engine.images(PAUSE_LABEL);
    assert!(!images.is_empty(), "the next task need not load it");
    let arn = json!({"tasks": [task["taskArn"]]});
    let told = fleet.any().ecs("DescribeTasks", &arn);
    let told = told.expect("it is known for a while");
    assert_eq!(told["tasks"][0]["lastStatus"], "STOPPED", "{told}");
}

/// The volume that is mounted there.
fn mounted(engine: &Engine, id: &str, path: &str) -> String {
    let inspected = engine.inspect(id);
    let mounts = inspected["Mounts"].as_array().cloned().unwrap_or_default();
    let mut mounts = mounts.iter();
    let found = mounts.find(|mount| mount["Destination"] == path);
    let found = found.unwrap_or_else(|| panic!("nothing at {path}: {inspected}"));
    assert_eq!(found["Type"], "volume", "{found}");
    found["Name"].as_str().unwrap_or_default().to_owned()
}
