//! A cluster of agents on this machine, each of which owns its own containers on the one engine.

use crate::{
    crew,
    docker::{CLUSTER_LABEL, Container, Engine},
    host::Host,
    place::Place,
    program,
    silence::Silence,
    skip,
    wait::{secs, until},
};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt as _,
    process::Command,
    thread,
    time::Duration,
};

pub use crate::crew::definition;

/// How long anything that needs a few containers to start may take on a slow machine.
pub const PATIENCE: Duration = secs(30);

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
        // Hosts that share an engine, and so its ports, must not choose the same ones.
        host.set("dynamic-ports", "docker");
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
        let count = self.hosts.len();
        crew::await_engines(&crew::running(&mut self.hosts), count);
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
        crew::await_up(&crew::running(&mut self.hosts), count);
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
        crew::any(&mut self.hosts)
    }

    /// Registers a definition of one quiet container, named after its family, and creates a
    /// service of the same name.
    #[track_caller]
    pub fn create_service(&mut self, name: &str, count: u32) {
        crew::create_service(self.any(), name, count);
    }

    #[track_caller]
    pub fn scale(&mut self, name: &str, count: u32) {
        crew::scale(self.any(), name, count);
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
        let agents: Vec<_> = agents.into_iter().map(|index| &self.hosts[index]).collect();
        until(&format!("{count} of {service}"), PATIENCE, || {
            let running = self.running(service);
            crew::fills(&running, count)?;
            crew::say_so(&agents, service, count)?;
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
        crew::tell_last_words(&self.hosts);
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
        let volumes = self.engine.volumes(&self.label());
        self.engine.remove_volumes(volumes);
    }
}
