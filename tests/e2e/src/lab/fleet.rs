//! A cluster in the lab: an agent on each host, and what its Dockers and the kernel say of it.

mod view;

pub use view::{Happened, Moves};

use super::{
    Lab,
    faults::{self, Fault, Way},
    host::{self as ground, Loss},
    proxy::{Proxy, Rule},
};
use crate::{
    crew,
    fleet::PATIENCE,
    host::Host,
    program, skip,
    wait::{until, wall_nanos},
};
use nix::sys::signal::Signal;
use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    process::Command,
    thread,
};

/// One at a time on a machine.
const NAME: &str = "labtest";

/// The hosts of a lab of its own with their agents; ends with this value.
///
/// Hosts are counted from 0 here, as `hosts` is; the lab's names begin with h1.
#[derive(Debug)]
pub struct LabFleet {
    pub hosts: Vec<Host>,
    proxies: Vec<Proxy>,
    lab: Lab,
    begun_nanos: u64,
    /// What was done to it, when.
    history: Vec<(u64, String)>,
    _turn: File,
}

impl LabFleet {
    /// So many hosts whose agents all see each other; `None`, loudly, where there can be no lab.
    pub fn start(count: u8) -> Option<Self> {
        let mut fleet = Self::up(count, &[])?;
        fleet.start_all();
        Some(fleet)
    }

    /// So many hosts whose agents are not started, with more arguments for dockerd.
    pub fn up(count: u8, dockerd_arguments: &[&str]) -> Option<Self> {
        let lab = match Lab::named(NAME) {
            Ok(lab) => lab,
            Err(why) => {
                skip(&format!("the lab: {why}"));
                return None;
            }
        };
        program::holdfast();
        let turn = lab.turn().unwrap_or_else(|why| panic!("{why}"));
        let arguments: Vec<String> = dockerd_arguments
            .iter()
            .map(|word| (*word).into())
            .collect();
        let up = lab.down().and_then(|()| lab.up(count, &arguments));
        let mut fleet = Self {
            hosts: Vec::new(),
            proxies: Vec::new(),
            lab,
            begun_nanos: wall_nanos(),
            history: Vec::new(),
            _turn: turn,
        };
        if let Err(why) = up {
            panic!("{why}");
        }
        fleet.make_key();
        for number in 1..=count {
            fleet.add(number, count);
        }
        Some(fleet)
    }

    /// Starts all agents, and waits until they see each other and all Dockers.
    #[track_caller]
    pub fn start_all(&mut self) {
        self.start_agents(&(0..self.hosts.len()).collect::<Vec<_>>());
        self.await_all();
    }

    /// From its next start on, each agent finds Docker behind a proxy that can meddle.
    pub fn put_proxies(&mut self) {
        for host in &mut self.hosts {
            let ground = host
                .ground
                .as_ref()
                .expect("all hosts of this fleet are the lab's");
            let (socket, engine) = (host.dir.join("proxy.sock"), ground.docker_socket());
            let proxy = Proxy::start(&socket, &engine);
            let proxy = proxy.unwrap_or_else(|err| panic!("{}: {err}", socket.display()));
            host.set("docker-socket", &socket.display().to_string());
            self.proxies.push(proxy);
        }
    }

    /// Lets the proxy of this host's Docker meddle by this rule from now on.
    pub fn meddle(&mut self, index: usize, rule: Rule) {
        self.note(&format!("Docker of {}: {rule:?}", self.hosts[index].name));
        self.proxies[index].meddle(rule);
    }

    /// How many requests or events the present rule of this host's proxy has met.
    pub fn met(&self, index: usize) -> usize {
        self.proxies[index].met()
    }

    /// Ends the meddling; how many requests or events it met.
    pub fn behave(&mut self, index: usize) -> usize {
        let met = self.proxies[index].behave();
        self.note(&format!(
            "Docker of {} behaves; met: {met}",
            self.hosts[index].name
        ));
        met
    }

    fn make_key(&self) {
        let made = Command::new(program::holdfast())
            .args(["key", "new"])
            .output();
        let made = made.expect("holdfast can be run");
        assert!(made.status.success(), "key new: {made:?}");
        let path = self.lab.dir.join("key");
        fs::write(&path, made.stdout).expect("the directory is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    }

    fn add(&mut self, number: u8, count: u8) {
        let mut host = Host::in_lab(self.lab.host(number));
        host.set("cluster", &self.lab.name);
        host.set("key-file", &self.lab.dir.join("key").display().to_string());
        host.set("docker-socket", "/run/docker.sock");
        let port = host.address.port();
        let others = (1..=count).filter(|other| *other != number);
        let peers = others.map(|other| format!("{}:{port}", self.lab.host(other).address()));
        host.set("peers", &peers.collect::<Vec<_>>().join(","));
        self.hosts.push(host);
    }

    /// Waits until all agents that run see all hosts, each with its Docker.
    #[track_caller]
    pub fn await_all(&mut self) {
        let count = self.hosts.len();
        let agents = crew::running(&mut self.hosts);
        crew::await_up(&agents, count);
        crew::await_engines(&agents, count);
    }

    /// Waits until all agents that run see so many hosts.
    #[track_caller]
    pub fn await_up(&mut self, count: usize) {
        crew::await_up(&crew::running(&mut self.hosts), count);
    }

    /// Writes down what the test does, for the history of a failure.
    pub fn note(&mut self, what: &str) {
        self.history.push((wall_nanos(), what.to_owned()));
    }

    pub fn ground(&self, index: usize) -> &ground::Host {
        let ground = self.hosts[index].ground.as_ref();
        ground.expect("all hosts of this fleet are the lab's")
    }

    fn names(&self, indexes: &[usize]) -> String {
        let names = indexes.iter().map(|index| self.hosts[*index].name.clone());
        names.collect::<Vec<_>>().join(", ")
    }

    fn numbers(&self, indexes: &[usize]) -> Vec<u8> {
        indexes
            .iter()
            .map(|index| self.ground(*index).number)
            .collect()
    }

    /// These lose power at once; since when the last of them is silent.
    pub fn lose(&mut self, indexes: &[usize]) -> u64 {
        let lost = self.lab.kill(&self.numbers(indexes));
        let lost = lost.unwrap_or_else(|why| panic!("{why}"));
        let since = lost.iter().map(|loss: &Loss| loss.silent_nanos).max();
        let since = since.expect("somebody was lost");
        self.history
            .push((since, format!("{} lost power", self.names(indexes))));
        since
    }

    /// These are shut down in order, first what runs on them, then they.
    pub fn shut_down(&mut self, indexes: &[usize]) {
        self.note(&format!("shutting down {}", self.names(indexes)));
        let off = self.lab.stop(&self.numbers(indexes));
        off.unwrap_or_else(|why| panic!("{why}"));
        self.note("off");
    }

    /// All processes of a host stall and its network is dead: a virtual machine that is paused.
    pub fn pause(&mut self, index: usize) {
        self.cut_off(index);
        self.ground(index)
            .freeze()
            .unwrap_or_else(|why| panic!("{why}"));
    }

    /// The paused host goes on, and every fault of the network is healed.
    pub fn resume(&mut self, index: usize) {
        self.ground(index)
            .thaw()
            .unwrap_or_else(|why| panic!("{why}"));
        self.heal();
    }

    /// From now on this directory of a host is a file system of so many MiB, until it loses power.
    pub fn shrink(&mut self, index: usize, path: &str, mib: u32) {
        let size = format!("size={mib}m,mode=0700");
        let make = format!("mkdir -p {path} && mount -t tmpfs -o {size} tmpfs {path}");
        self.ground_does(index, &make, "a small file system can be mounted");
        self.note(&format!(
            "{path} of {} has {mib} MiB",
            self.hosts[index].name
        ));
    }

    /// Leaves no byte free in a directory that was shrunk.
    pub fn fill(&mut self, index: usize, path: &str) {
        let fill = format!("cat /dev/zero >{path}/ballast 2>/dev/null; test -s {path}/ballast");
        self.ground_does(index, &fill, "a file system can be filled");
        self.note(&format!("{path} of {} is full", self.hosts[index].name));
    }

    pub fn unfill(&mut self, index: usize, path: &str) {
        self.ground_does(index, &format!("rm {path}/ballast"), "it was filled");
        self.note(&format!(
            "{path} of {} has room again",
            self.hosts[index].name
        ));
    }

    fn ground_does(&self, index: usize, script: &str, why: &str) {
        let words = ["sh", "-c", script].map(str::to_owned);
        let command = self.ground(index).command(&words);
        let status = command.map(|mut command| command.status());
        let done = matches!(&status, Ok(Ok(status)) if status.success());
        assert!(done, "{why}: {script}: {status:?}");
    }

    /// Ends Docker of this host in order, and starts it again on a disk of so many MiB; where its
    /// data are.
    pub fn put_docker_on_small_disk(&mut self, index: usize, mib: u32) -> String {
        self.stop_docker(index);
        let data = self.ground(index).docker_data().display().to_string();
        self.shrink(index, &data, mib);
        self.start_docker(index);
        let archive = fs::read(program::image_archive()).expect("it was made");
        let loaded = self.ground(index).engine().load(&archive);
        loaded.unwrap_or_else(|why| panic!("{why}"));
        data
    }

    /// SIGTERM to Docker; returns when it has ended.
    pub fn stop_docker(&mut self, index: usize) {
        self.signal_docker(index, Signal::SIGTERM);
        let ground = self.ground(index).clone();
        until("dockerd has ended", PATIENCE, || {
            match ground.process("dockerd") {
                None => Ok(()),
                Some(dockerd) => Err(format!("process {} lives", dockerd.pid)),
            }
        });
    }

    /// Turns hosts on again, with the disks that they had, and starts their agents.
    pub fn boot(&mut self, indexes: &[usize]) {
        self.power_on(indexes);
        self.start_agents(indexes);
    }

    /// Turns hosts on again, with the disks that they had; their agents stay off.
    pub fn power_on(&mut self, indexes: &[usize]) {
        self.note(&format!("booting {}", self.names(indexes)));
        let booted = self.lab.boot(&self.numbers(indexes));
        booted.unwrap_or_else(|why| panic!("{why}"));
    }

    /// New machines in the places of these, with agents that were never started before.
    pub fn boot_fresh(&mut self, indexes: &[usize]) {
        self.note(&format!("new machines as {}", self.names(indexes)));
        let booted = self.lab.boot_fresh(&self.numbers(indexes));
        booted.unwrap_or_else(|why| panic!("{why}"));
        self.start_agents(indexes);
    }

    /// Starts agents that do not run; waits for nothing.
    pub fn start_agents(&mut self, indexes: &[usize]) {
        indexes.iter().for_each(|index| self.hosts[*index].start());
        self.note(&format!("started the agents of {}", self.names(indexes)));
    }

    pub fn signal_agent(&mut self, index: usize, signal: Signal) {
        self.hosts[index].signal(signal);
        self.note(&format!(
            "{signal} to the agent of {}",
            self.hosts[index].name
        ));
    }

    pub fn signal_docker(&mut self, index: usize, signal: Signal) {
        let ground = self.ground(index).clone();
        ground
            .signal("dockerd", signal)
            .unwrap_or_else(|why| panic!("{why}"));
        if signal == Signal::SIGKILL {
            until("dockerd is gone", PATIENCE, || {
                match ground.process("dockerd") {
                    None => Ok(()),
                    Some(dockerd) => Err(format!("process {} lives", dockerd.pid)),
                }
            });
        }
        self.note(&format!("{signal} to dockerd of {}", ground.name()));
    }

    /// Starts Docker again where it has ended; returns when it answers.
    pub fn start_docker(&mut self, index: usize) {
        self.note(&format!("starting dockerd of {}", self.hosts[index].name));
        let started = self
            .ground(index)
            .start_dockerd(&self.lab.dockerd_arguments());
        started.unwrap_or_else(|why| panic!("{why}"));
        self.note("it answers");
    }

    /// Splits the network, as in `1|2,3,4,5`, which are the lab's numbers: h1, h2 and so on.
    pub fn partition(&mut self, sides: &str) {
        let cuts = faults::partition(sides).unwrap_or_else(|why| panic!("{why}"));
        self.set_faults(&format!("split {sides}"), cuts);
    }

    /// Nothing goes to or from this host any more.
    pub fn cut_off(&mut self, index: usize) {
        let cuts = Way::between(self.ground(index).number, None).map(Fault::Cut);
        self.set_faults(
            &format!("{} is cut off", self.hosts[index].name),
            cuts.to_vec(),
        );
    }

    /// Nothing goes from the one to the other; the way back is open.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        let (a, b) = (self.ground(from).number, self.ground(to).number);
        let way = Way {
            from: Some(a),
            to: Some(b),
        };
        self.set_faults(&format!("cut from h{a} to h{b}"), vec![Fault::Cut(way)]);
    }

    /// Nothing goes between these two; everybody else reaches both.
    pub fn cut_between(&mut self, one: usize, other: usize) {
        let (a, b) = (self.ground(one).number, self.ground(other).number);
        let cuts = Way::between(a, Some(b)).map(Fault::Cut);
        self.set_faults(&format!("cut between h{a} and h{b}"), cuts.to_vec());
    }

    /// No datagram goes to or from these hosts; TCP goes through.
    pub fn block_udp(&mut self, indexes: &[usize]) {
        let numbers = self.numbers(indexes).into_iter();
        let ways = numbers.flat_map(|number| Way::between(number, None));
        let what = format!("no datagrams to or from {}", self.names(indexes));
        self.set_faults(&what, ways.map(Fault::Udp).collect());
    }

    pub fn heal(&mut self) -> u64 {
        self.set_faults("healed", Vec::new());
        wall_nanos()
    }

    fn set_faults(&mut self, what: &str, wanted: Vec<Fault>) {
        let set = self.lab.set_faults(|faults| *faults = wanted);
        set.unwrap_or_else(|why| panic!("{why}"));
        self.note(what);
    }

    /// A service of one quiet container each, asked of the first agent that runs.
    #[track_caller]
    pub fn create_service(&mut self, name: &str, count: u32) {
        crew::create_service(crew::any(&mut self.hosts), name, count);
        self.note(&format!("created {name} with {count}"));
    }

    /// The same, held as a tag says, as in `holdfast:partition`, `hold`.
    #[track_caller]
    pub fn create_service_held(&mut self, name: &str, count: u32, key: &str, value: &str) {
        crew::create_service_held(crew::any(&mut self.hosts), name, count, key, value);
        self.note(&format!("created {name} with {count}, {key} = {value}"));
    }

    #[track_caller]
    pub fn scale(&mut self, name: &str, count: u32) {
        crew::scale(crew::any(&mut self.hosts), name, count);
        self.note(&format!("scaled {name} to {count}"));
    }

    /// The hosts that have power.
    fn on(&self) -> Vec<usize> {
        let all = 0..self.hosts.len();
        all.filter(|index| self.ground(*index).is_on()).collect()
    }
}

impl Drop for LabFleet {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell_of_failure();
        }
        // Nothing that is frozen or stopped can stand in the way of its end.
        if let Err(why) = self.lab.down() {
            eprintln!("the lab is not gone: {why}");
        }
    }
}
