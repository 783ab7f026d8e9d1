//! A cluster of agents on this machine, each of which owns its own containers on the one engine.

use crate::{
    docker::{CLUSTER_LABEL, Container, Engine},
    host::Host,
    place::Place,
    program::{self, IMAGE},
    silence::Silence,
    skip,
    wait::{secs, until},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt as _,
    process::Command,
    thread,
    time::Duration,
};

/// How long anything that needs a few containers to start may take on a slow machine.
pub const PATIENCE: Duration = secs(30);
const LOG_LINES_SHOWN: usize = 25;

/// A cluster with a key and a name of its own; ends with this value.
#[derive(Debug)]
pub struct Fleet {
    pub engine: Engine,
    pub hosts: Vec<Host>,
    pub place: Place,
    silence: Silence,
}

impl Fleet {
    /// So many agents that all see each other; `None`, loudly, where there is no Docker.
    pub fn start(count: usize) -> Option<Self> {
        let mut fleet = Self::empty()?;
        for _ in 0..count {
            fleet.add();
        }
        fleet.start_all();
        Some(fleet)
    }

    /// A cluster without hosts; `None`, loudly, where there is no Docker.
    pub fn empty() -> Option<Self> {
        let engine = match Engine::find() {
            Ok(engine) => engine,
            Err(why) => {
                skip(&why);
                return None;
            }
        };
        program::make_image();
        program::holdfast();
        let place = Place::take(&engine);
        let fleet = Self {
            engine,
            hosts: Vec::new(),
            silence: Silence::new(&place.name),
            place,
        };
        fleet.new_key("key");
        Some(fleet)
    }

    /// Makes a key file in the fleet's directory; its path.
    pub fn new_key(&self, name: &str) -> String {
        let made = Command::new(program::holdfast())
            .args(["key", "new"])
            .output();
        let made = made.expect("holdfast can be run");
        assert!(made.status.success(), "key new: {made:?}");
        let path = self.place.dir.join(name);
        fs::write(&path, made.stdout).expect("the directory is ours");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&path, mode).expect("the file is ours");
        path.display().to_string()
    }

    /// One more host, whose agent is not started.
    pub fn add(&mut self) -> &mut Host {
        let number = u8::try_from(self.hosts.len() + 1).expect("fleets are small");
        let [a, b, c] = self.place.network;
        let ip = IpAddr::V4(Ipv4Addr::new(a, b, c, number));
        let dir = self.place.dir.join(format!("host-{number}"));
        let mut host = Host::new(format!("host-{number}"), dir, ip);
        host.set("cluster", &self.place.name);
        host.set(
            "key-file",
            &self.place.dir.join("key").display().to_string(),
        );
        host.set("docker-socket", &self.engine.socket);
        // Two seeds, so that one of them may be the one that is lost.
        let seeds: Vec<_> = self
            .hosts
            .iter()
            .take(2)
            .map(|seed| seed.address.to_string())
            .collect();
        if !seeds.is_empty() {
            host.set("peers", &seeds.join(","));
        }
        self.hosts.push(host);
        self.hosts.last_mut().expect("it was pushed just now")
    }

    /// Starts the agents that do not run, and waits until all see each other and have their Docker.
    #[track_caller]
    pub fn start_all(&mut self) {
        self.start_agents();
        self.await_engines();
    }

    /// Starts the agents that do not run, and waits until all see each other, with Docker or not.
    #[track_caller]
    pub fn start_agents(&mut self) {
        for index in 0..self.hosts.len() {
            if !self.hosts[index].is_running() {
                self.start_host(index);
            }
        }
        self.await_up(self.hosts.len());
    }

    /// Starts one agent, and ends the silence around its host; waits for nothing.
    pub fn start_host(&mut self, index: usize) {
        self.silence.end(self.hosts[index].address.ip());
        self.hosts[index].start();
    }

    /// Waits until each agent that runs sees exactly so many hosts UP and may deploy.
    #[track_caller]
    pub fn await_up(&mut self, count: usize) {
        let running = self.running_agents();
        until(
            &format!("{count} hosts up in the eyes of each"),
            PATIENCE,
            || {
                for index in &running {
                    let (host, status) =
                        (&self.hosts[*index], self.hosts[*index].look("/v1/status"));
                    let up = status["hosts"]["UP"].as_u64();
                    if up != Some(count as u64) || status["caughtUp"] != json!(true) {
                        return Err(format!("{}: {status}", host.name));
                    }
                }
                Ok(())
            },
        );
    }

    /// Waits until each agent that runs knows that every host can run containers: before that, a
    /// keeper places what it can where it can.
    #[track_caller]
    fn await_engines(&mut self) {
        let running = self.running_agents();
        until("Docker answers everybody", PATIENCE, || {
            for index in &running {
                let told = self.hosts[*index].look("/v1/hosts");
                let hosts = told["hosts"].as_array().map_or(&[][..], Vec::as_slice);
                let ready = |host: &Value| host["holdfast"]["docker"]["available"] == json!(true);
                if hosts.len() != self.hosts.len() || !hosts.iter().all(ready) {
                    return Err(format!("{}: {told}", self.hosts[*index].name));
                }
            }
            Ok(())
        });
    }

    /// The indexes of the hosts whose agents run.
    pub fn running_agents(&mut self) -> Vec<usize> {
        let hosts = self.hosts.iter_mut().enumerate();
        hosts
            .filter_map(|(index, host)| host.is_running().then_some(index))
            .collect()
    }

    /// The first host whose agent runs.
    #[track_caller]
    pub fn any(&mut self) -> &Host {
        let running = self.running_agents();
        &self.hosts[*running.first().expect("no agent runs")]
    }

    /// Registers a definition of one quiet container, named after its family, and creates a
    /// service of the same name.
    #[track_caller]
    pub fn create_service(&mut self, name: &str, count: u32) {
        let host = self.any();
        host.ecs("RegisterTaskDefinition", &definition(name))
            .expect("it is a good definition");
        let service = json!({"serviceName": name, "taskDefinition": name, "desiredCount": count});
        host.ecs("CreateService", &service)
            .expect("it is a good service");
    }

    #[track_caller]
    pub fn scale(&mut self, name: &str, count: u32) {
        let change = json!({"service": name, "desiredCount": count});
        self.any()
            .ecs("UpdateService", &change)
            .expect("the service is there");
    }

    /// All containers of this cluster, whatever their state, as Docker has them.
    pub fn containers(&self) -> Vec<Container> {
        let mut all = self.engine.containers(&self.label());
        all.sort_by(|a, b| (a.slot, &a.id).cmp(&(b.slot, &b.id)));
        all
    }

    /// The running containers of a service, by slot.
    pub fn running(&self, service: &str) -> Vec<Container> {
        let all = self.containers().into_iter();
        all.filter(|container| container.is_running() && container.service == service)
            .collect()
    }

    /// Waits until Docker runs exactly one container for each slot and every agent says so, too.
    #[track_caller]
    pub fn await_count(&mut self, service: &str, count: u32) -> Vec<Container> {
        let agents = self.running_agents();
        until(&format!("{count} of {service}"), PATIENCE, || {
            let running = self.running(service);
            let slots: BTreeSet<_> = running
                .iter()
                .filter_map(|container| container.slot)
                .collect();
            if running.len() != count as usize || !slots.into_iter().eq(0..count) {
                let seen = running
                    .iter()
                    .map(|c| format!("slot {:?} on {}", c.slot, c.host));
                return Err(seen.collect::<Vec<_>>().join(", "));
            }
            for agent in &agents {
                let host = &self.hosts[*agent];
                let told = &host.look(&format!("/v1/services/{service}"))["service"];
                let counts = (told["runningCount"].as_u64(), told["pendingCount"].as_u64());
                if counts != (Some(u64::from(count)), Some(0)) {
                    return Err(format!("{} says {counts:?} of {told}", host.name));
                }
            }
            Ok(running)
        })
    }

    /// Silences a host, kills its agent and removes its containers, as when the machine is gone.
    pub fn lose_host(&mut self, index: usize) {
        let id = self.hosts[index].id();
        self.silence.begin(self.hosts[index].address.ip());
        self.hosts[index].kill();
        let all = self.containers().into_iter();
        let lost = all.filter(|container| container.host == id);
        self.engine
            .remove(&lost.map(|container| container.id).collect::<Vec<_>>());
    }

    /// The host whose containers carry this id.
    #[track_caller]
    pub fn index_of(&self, id: &str) -> usize {
        let found = self.hosts.iter().position(|host| host.id() == id);
        found.unwrap_or_else(|| panic!("no host of this fleet is {id}"))
    }

    pub fn label(&self) -> String {
        format!("{CLUSTER_LABEL}={}", self.place.name)
    }

    fn tell_of_failure(&self) {
        for host in &self.hosts {
            let log = host.log();
            let lines: Vec<_> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("--- the last words of {} ({})", host.name, host.address);
            eprintln!("{}", shown.join("\n"));
        }
        for container in self.containers() {
            let Container {
                name, state, host, ..
            } = container;
            eprintln!("--- container {name} of host {host}: {state}");
        }
        let thread = thread::current();
        if let Some(test) = thread.name().filter(|name| *name != "main") {
            eprintln!("--- to repeat it: cargo test --package e2e -- --exact {test}");
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell_of_failure();
        }
        self.hosts.iter_mut().for_each(Host::kill);
        let left: Vec<_> = self
            .containers()
            .into_iter()
            .map(|container| container.id)
            .collect();
        self.engine.remove(&left);
    }
}

/// A definition of one container that runs until it is told to stop.
pub fn definition(family: &str) -> Value {
    json!({
        "family": family,
        "containerDefinitions": [{"name": "main", "image": IMAGE, "memory": 16}],
    })
}
