//! ECS's task metadata endpoint and task protection, asked from within the containers' networks.

use e2e::{
    crew,
    docker::Engine,
    fleet::{Fleet, PATIENCE},
    http::{Answer, Request, Server},
    is_root_or_skip, network,
    program::{self, IMAGE},
    wait::until,
};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    process::{Command, Output},
};

/// A fleet whose first host serves the endpoint, at an address that no other fleet uses.
struct Told {
    fleet: Fleet,
    address: SocketAddr,
}

/// A container that runs, as whoever is in it sees the world.
#[derive(Clone, Debug)]
struct Inside {
    id: String,
    pid: u32,
    /// ECS's variables.
    environment: Vec<(String, String)>,
}

impl Told {
    fn start(hosts: u32) -> Option<Self> {
        if !is_root_or_skip("to add an address, and to enter the networks of containers,") {
            return None;
        }
        let mut fleet = Fleet::empty()?;
        let [_, turn, third] = fleet.place.network;
        let address = SocketAddr::from(([169, 254, turn, third + 1], 80));
        for _ in 0..hosts {
            fleet.add();
        }
        fleet.hosts[0].set("metadata", &address.to_string());
        fleet.hosts[0].set("stopped-container-retention-s", "1");
        fleet.start_all();
        Some(Self { fleet, address })
    }

    /// The containers of a family, all of its tasks.
    fn containers(&self, family: &str) -> Vec<Inside> {
        let of_it = format!("-{family}-");
        let running = self.fleet.containers().into_iter();
        let running = running.filter(|c| c.name.contains(&of_it) && !c.name.contains("pause"));
        let inside = running.filter_map(|c| Inside::new(&self.fleet.engine, &c.id));
        inside.filter(|inside| inside.pid != 0).collect()
    }
}

impl Drop for Told {
    /// An agent leaves the address behind, for the next one.
    fn drop(&mut self) {
        let address = format!("{}/32", self.address.ip());
        let removed = Command::new("ip")
            .args(["address", "delete", &address, "dev", "lo"])
            .output();
        if let Err(err) = removed {
            eprintln!("cannot remove {address}: {err}");
        }
    }
}

impl Inside {
    /// Docker lists what it is only making, and does not know it yet when asked.
    fn new(engine: &Engine, id: &str) -> Option<Self> {
        let inspected = engine.look_at(id).ok()?;
        let variables = inspected["Config"]["Env"].as_array().cloned();
        let variables = variables.unwrap_or_default();
        let variables = variables
            .iter()
            .filter_map(|one| one.as_str()?.split_once('='));
        let environment = variables
            .filter(|(name, _)| name.starts_with("ECS_"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Self {
            id: id.to_owned(),
            pid: u32::try_from(inspected["State"]["Pid"].as_u64()?).ok()?,
            environment: environment.collect(),
        })
    }

    /// Where one of ECS's variables leads.
    #[track_caller]
    fn path(&self, variable: &str) -> String {
        let mut variables = self.environment.iter();
        let found = variables.find(|(name, _)| name == variable);
        let (_, url) = found.unwrap_or_else(|| panic!("no {variable}: {self:?}"));
        let rest = url.strip_prefix("http://").expect("it is a URL");
        let (_, path) = rest.split_once('/').expect("it has a path");
        format!("/{path}")
    }

    /// Asks as the container would: from its network.
    #[track_caller]
    fn ask(&self, told: &Told, method: &str, path: &str, body: &str) -> Answer {
        let request = Request {
            method,
            path,
            headers: &[],
            body: body.as_bytes(),
        };
        let answer = network::within(self.pid, || Server::Tcp(told.address).call(&request));
        answer.unwrap_or_else(|err| panic!("{method} {path}: {err}"))
    }

    #[track_caller]
    fn get(&self, told: &Told, variable: &str, rest: &str) -> Value {
        let path = format!("{}{rest}", self.path(variable));
        let answer = self.ask(told, "GET", &path, "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Runs a program of this machine in the container's network, with its variables.
    fn run(&self, words: &[&str]) -> Output {
        let pid = self.pid.to_string();
        let ran = Command::new("nsenter")
            .args(["--target", &pid, "--net", "--"])
            .args(words)
            .envs(self.environment.iter().cloned())
            .output();
        ran.unwrap_or_else(|err| panic!("nsenter {words:?}: {err}"))
    }
}

const V4: &str = "ECS_CONTAINER_METADATA_URI_V4";
const V3: &str = "ECS_CONTAINER_METADATA_URI";

fn definition(family: &str, network: &str) -> Value {
    json!({
        "family": family, "networkMode": network, "cpu": "256", "memory": "64",
        "containerDefinitions": [{
            "name": "main", "image": IMAGE, "memory": 16, "command": ["run"], "stopTimeout": 1,
            "logConfiguration": {"logDriver": "json-file", "options": {"max-size": "1m"}},
        }],
    })
}

#[track_caller]
fn run_one(told: &mut Told, family: &str, network: &str) -> Inside {
    let host = told.fleet.any();
    crew::create_service_of(host, &definition(family, network), family, 1, &json!([]));
    until(&format!("{family} runs"), PATIENCE, || {
        let tasks = crew::tasks_of(told.fleet.any(), family, "RUNNING");
        let runs = tasks.iter().any(|task| task["lastStatus"] == "RUNNING");
        // Not counting the one that holds its network.
        match (told.containers(family).pop(), runs) {
            (Some(inside), true) => Ok(inside),
            (found, _) => Err(format!("{found:?} {tasks:?}")),
        }
    })
}

#[test]
fn each_container_reads_its_own_task_and_nobody_elses() {
    let Some(mut told) = Told::start(1) else {
        return;
    };
    let modes = ["bridge", "task", "host"];
    let all = modes.map(|mode| run_one(&mut told, &format!("in-{mode}"), mode));
    for (mode, inside) in modes.iter().zip(&all) {
        let container = inside.get(&told, V4, "");
        assert_eq!(container["DockerId"], json!(inside.id), "{container}");
        assert_eq!(container["KnownStatus"], "RUNNING");
        assert_eq!(container["LogDriver"], "json-file");
        let task = inside.get(&told, V4, "/task");
        assert_eq!(task["Family"], json!(format!("in-{mode}")), "{task}");
        assert_eq!(task["LaunchType"], "EC2");
        assert_eq!(task["Limits"], json!({"CPU": 0.25, "Memory": 64}));
        assert_eq!(task["Containers"][0], container);
        assert_eq!(inside.get(&told, V4, "/taskWithTags"), task);
        let older = inside.get(&told, V3, "/task");
        assert_eq!(
            (&older["TaskARN"], &older["LaunchType"]),
            (&task["TaskARN"], &Value::Null)
        );
        let stats = inside.get(&told, V4, "/task/stats");
        let used = &stats[&inside.id]["memory_stats"]["usage"];
        assert!(used.as_u64().is_some_and(|bytes| bytes > 0), "{stats}");
        assert!(inside.get(&told, V4, "/stats")["cpu_stats"].is_object());
        let by_address = inside.ask(&told, "GET", "/v2/metadata", "");
        match *mode {
            "host" => assert_eq!(by_address.status, 400),
            _ => assert_eq!(by_address.json()["TaskARN"], task["TaskARN"]),
        }
    }
    let path = all[0].path(V4);
    for other in &all[1..] {
        let answer = other.ask(&told, "GET", &path, "");
        assert_eq!(answer.status, 404, "it is no other's: {}", answer.text());
    }
    let server = Server::Tcp(told.address);
    let stranger = server.get(&path).expect("it is answered");
    assert_eq!(stranger.status, 404, "nor the machine's");
    let nobody = all[0].ask(&told, "GET", "/v4/0123", "");
    assert_eq!(nobody.status, 404);

    told.fleet.hosts[0].kill();
    told.fleet.start_all();
    assert_eq!(
        all[0].get(&told, V4, "")["DockerId"],
        json!(all[0].id),
        "the paths are the same"
    );
    let status = told.fleet.any().look("/v1/status");
    let metadata = json!({"address": told.address.to_string(), "trouble": null});
    assert_eq!(status["metadata"], metadata);
}

#[test]
fn an_address_that_cannot_be_had_stops_nothing() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    let host = fleet.add();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    host.set("metadata", &address);
    fleet.start_all();
    fleet.create_service("web", 1);
    fleet.await_count("web", 1);
    let status = |fleet: &mut Fleet| fleet.any().look("/v1/status")["metadata"].clone();
    let told = status(&mut fleet);
    let trouble = told["trouble"].as_str().unwrap_or_default();
    assert!(trouble.contains(&address), "{told}");
    drop(taken);
    until("it is tried again", PATIENCE, || {
        let told = status(&mut fleet);
        match told["trouble"] == Value::Null {
            true => Ok(()),
            false => Err(told.to_string()),
        }
    });
}

#[test]
fn a_container_has_a_file_that_says_what_it_is_until_it_is_removed() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    let host = fleet.add();
    host.set("metadata-file", "true");
    host.set("stopped-container-retention-s", "1");
    fleet.start_all();
    fleet.create_service("web", 1);
    let container = fleet.await_count("web", 1).remove(0);
    let task = fleet.hosts[0].state_dir().join("metadata");
    let task = task.join(&container.task);
    let directory = task.join("main");
    let file = until("its file is complete", PATIENCE, || {
        let text = fs::read_to_string(directory.join("ecs-container-metadata.json"));
        let text = text.map_err(|err| err.to_string())?;
        let file: Value = serde_json::from_str(&text).map_err(|err| err.to_string())?;
        match file["MetadataFileStatus"] == "READY" {
            true => Ok(file),
            false => Err(text),
        }
    });
    assert_eq!(file["ContainerID"], json!(container.id), "{file}");
    assert_eq!(file["TaskDefinitionFamily"], "web");
    let name = format!("/{}", container.name.trim_start_matches('/'));
    assert_eq!(file["DockerContainerName"], json!(name));
    let inspected = fleet.engine.inspect(&container.id);
    let mounts = inspected["Mounts"].as_array().cloned().unwrap_or_default();
    let source = json!(directory.display().to_string());
    let mount = mounts.iter().find(|mount| mount["Source"] == source);
    let mount = mount.unwrap_or_else(|| panic!("no {source}: {mounts:#?}"));
    assert_eq!(mount["RW"], json!(false));
    let inside = mount["Destination"].as_str().unwrap_or_default();
    assert!(inside.starts_with("/opt/ecs/metadata/"), "{mount}");
    let variable = format!("ECS_CONTAINER_METADATA_FILE={inside}/ecs-container-metadata.json");
    let environment = inspected["Config"]["Env"].as_array().cloned();
    let environment = environment.unwrap_or_default();
    assert!(environment.contains(&json!(variable)), "{environment:?}");
    crew::delete_service(fleet.any(), "web");
    until("its directory is gone", PATIENCE, || match task.exists() {
        true => Err(task.display().to_string()),
        false => Ok(()),
    });
}

#[test]
fn public_clients_find_what_they_look_for() {
    let Some(mut told) = Told::start(1) else {
        return;
    };
    let Some(python) = program::ecs_clients() else {
        return;
    };
    let python = python.to_string_lossy();
    let otel =
        "from opentelemetry.sdk.extension.aws.resource.ecs import AwsEcsResourceDetector as D
print(D(raise_on_error=True).detect().attributes['aws.ecs.task.arn'])";
    let newrelic = "from newrelic.common.utilization import ECSUtilization as U
print(U.detect()['ecsDockerId'])";
    for mode in ["bridge", "task", "host"] {
        let inside = run_one(&mut told, &format!("in-{mode}"), mode);
        let task = inside.get(&told, V4, "/task")["TaskARN"].clone();
        for (client, expected) in [(otel, task.as_str()), (newrelic, Some(inside.id.as_str()))] {
            let ran = inside.run(&[&python, "-c", client]);
            let (out, err) = (&ran.stdout, String::from_utf8_lossy(&ran.stderr));
            let out = String::from_utf8_lossy(out);
            assert_eq!(Some(out.trim()), expected, "{mode}: {err}");
        }
    }
}

#[test]
fn a_task_protects_itself_from_a_smaller_count() {
    let Some(mut told) = Told::start(1) else {
        return;
    };
    let host = told.fleet.any();
    crew::create_service_of(
        host,
        &definition("worker", "bridge"),
        "worker",
        2,
        &json!([]),
    );
    told.fleet.await_count("worker", 2);
    let inside = told.containers("worker").remove(0);
    let path = format!("{}/task-protection/v1/state", inside.path("ECS_AGENT_URI"));
    let first = inside.ask(&told, "GET", &path, "").json();
    assert_eq!(
        first["protection"]["ProtectionEnabled"],
        json!(false),
        "{first}"
    );
    let asked = r#"{"ProtectionEnabled":true,"ExpiresInMinutes":60}"#;
    let done = inside.ask(&told, "PUT", &path, asked);
    assert_eq!(done.status, 200, "{}", done.text());
    let done = done.json();
    assert_eq!(
        done["protection"]["ProtectionEnabled"],
        json!(true),
        "{done}"
    );
    let again = inside.ask(&told, "GET", &path, "").json();
    assert_eq!(again, done);
    let bad = inside.ask(
        &told,
        "PUT",
        &path,
        r#"{"ProtectionEnabled":true,"ExpiresInMinutes":0}"#,
    );
    assert_eq!(bad.status, 400);
    let code = &bad.json()["error"]["Code"];
    assert_eq!(*code, "InvalidParameterException");

    crew::scale(told.fleet.any(), "worker", 0);
    until("the other one has stopped", PATIENCE, || {
        let left = told.containers("worker");
        match left.len() == 1 && left[0].id == inside.id {
            true => Ok(()),
            false => Err(format!("{left:#?}")),
        }
    });
    let arn = json!({"tasks": [done["protection"]["TaskArn"]]});
    let shown = told.fleet.any().ecs("GetTaskProtection", &arn);
    let shown = shown.expect("it is a task");
    assert_eq!(
        shown["protectedTasks"][0]["protectionEnabled"],
        json!(true),
        "{shown}"
    );
    let undone = inside.ask(&told, "PUT", &path, r#"{"ProtectionEnabled":false}"#);
    assert_eq!(undone.json()["protection"]["ExpirationDate"], Value::Null);
    until("it stops", PATIENCE, || match told.containers("worker") {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:#?}")),
    });
}

#[test]
fn a_rollout_goes_on_with_the_others() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    let mut first = definition("web", "bridge");
    crew::create_service_of(fleet.any(), &first, "web", 4, &json!([]));
    let running = fleet.await_count("web", 4);
    let kept = running[0].task.clone();
    // Whoever is asked: it is the business of the task's host.
    let [one, other] = [0, 1].map(|number| &fleet.hosts[number]);
    let elsewhere = if one.id() == running[0].host {
        other
    } else {
        one
    };
    elsewhere.cli_ok(&["task", "protect", &kept, "--minutes", "60"]);
    first["containerDefinitions"][0]["environment"] = json!([{"name": "A", "value": "2"}]);
    crew::update_service(fleet.any(), &first, "web");
    let of = |fleet: &Fleet, revision: &str| {
        let name = format!("-web-{revision}-");
        let running = fleet.running("web").into_iter();
        running
            .filter(|c| c.name.contains(&name))
            .collect::<Vec<_>>()
    };
    until("three have moved on", PATIENCE, || {
        match (of(&fleet, "1"), of(&fleet, "2")) {
            (old, new) if old.len() == 1 && new.len() == 3 && old[0].task == kept => Ok(()),
            (old, new) => Err(format!("{old:#?} {new:#?}")),
        }
    });
    crew::await_why(fleet.any(), "web", "protected from being stopped");
    elsewhere_unprotects(&fleet, &kept);
    until("the last one moves on", PATIENCE, || {
        match of(&fleet, "1") {
            old if old.is_empty() => Ok(()),
            old => Err(format!("{old:#?}")),
        }
    });
    fleet.await_count("web", 4);
}

fn elsewhere_unprotects(fleet: &Fleet, task: &str) {
    fleet.hosts[1].cli_ok(&["task", "unprotect", task]);
}
