//! One host of a fleet: an agent's process, its directory, and ways to talk to it and to hurt it.

use crate::{
    http::{Answer, Request, Server},
    lab::{host as lab, process::Process},
    program, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

const GOSSIP_PORT: u16 = 17_946;
const INTROSPECTION_PORT: u16 = 17_678;
const STATE_IN_LAB: &str = "/var/lib/holdfast";
const AGENT_IN_LAB: &str = "agent";
/// Longer than an agent thinks about anything; one that is frozen answers nothing.
const LOOK_WITHIN: Duration = wait::secs(10);
const TARGET: &str = "AmazonEC2ContainerServiceV20141113";

/// A host whose agent may run or not.
#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub dir: PathBuf,
    pub address: SocketAddr,
    pub introspection: SocketAddr,
    /// Flags of `holdfast agent` with their values; a later one replaces an earlier one.
    pub settings: Vec<(String, String)>,
    /// Environment of its agent in the lab, as in `FAKETIME=+1h`.
    pub environment: Vec<String>,
    /// The lab's host that it is; without one it is a part of this machine.
    pub ground: Option<lab::Host>,
    agent: Option<Agent>,
}

/// The process of an agent that was started.
#[derive(Debug)]
enum Agent {
    Ours(Child),
    /// The child of a lab host's first process.
    Theirs(Process),
}

/// An operation's refusal, as the API put it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub kind: String,
    pub message: String,
}

impl Host {
    /// A part of this machine, with this loopback address.
    pub fn new(name: String, dir: PathBuf, ip: IpAddr) -> Self {
        fs::create_dir(&dir).unwrap_or_else(|err| panic!("create {}: {err}", dir.display()));
        let state = dir.join("state");
        Self::with(name, dir, ip, None, &state)
    }

    /// A host of the lab, whose agent has its state in the host's own `/var`.
    pub fn in_lab(ground: lab::Host) -> Self {
        let (name, dir, ip) = (ground.name(), ground.dir(), ground.address().into());
        Self::with(name, dir, ip, Some(ground), Path::new(STATE_IN_LAB))
    }

    fn with(
        name: String,
        dir: PathBuf,
        ip: IpAddr,
        ground: Option<lab::Host>,
        state: &Path,
    ) -> Self {
        let address = SocketAddr::new(ip, GOSSIP_PORT);
        let mut host = Self {
            address,
            introspection: SocketAddr::new(ip, INTROSPECTION_PORT),
            settings: Vec::new(),
            environment: Vec::new(),
            ground,
            agent: None,
            name,
            dir,
        };
        host.set("name", &host.name.clone());
        host.set("bind", &address.to_string());
        host.set("state-dir", &state.display().to_string());
        host.set("api-socket", &host.socket().display().to_string());
        host.set("introspection", "off");
        host.set("dns", "off");
        // Agents that share a machine would share its address.
        host.set("metadata", "off");
        host.set("log-format", "text");
        host.set("secret-mounts", "/dev/shm/holdfast-e2e");
        // What the machine has does not matter: the tests say what there is.
        host.set("cpu", "4096");
        host.set("memory-mib", "1024");
        host
    }

    pub fn set(&mut self, flag: &str, value: &str) {
        self.settings.retain(|(known, _)| known != flag);
        self.settings.push((flag.to_owned(), value.to_owned()));
    }

    /// As this machine sees it.
    pub fn state_dir(&self) -> PathBuf {
        match &self.ground {
            Some(ground) => ground.own_file(STATE_IN_LAB),
            None => self.dir.join("state"),
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("api.sock")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    /// Everything that its agents have said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The id that its identity file has.
    pub fn id(&self) -> String {
        let text = fs::read_to_string(self.state_dir().join("host-id"));
        let text = text.unwrap_or_else(|err| panic!("{} has no identity yet: {err}", self.name));
        let id = text.lines().find_map(|line| line.strip_prefix("host = "));
        id.expect("an identity has a host")
            .trim_matches('"')
            .to_owned()
    }

    /// The command that starts its agent.
    pub fn command(&self) -> Command {
        let mut command = Command::new(program::holdfast());
        command.arg("agent");
        for (flag, value) in &self.settings {
            command.arg(format!("--{flag}")).arg(value);
        }
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.to_string_lossy().starts_with("HOLDFAST_")) {
            command.env_remove(name);
        }
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    /// Starts its agent; does not wait for anything.
    pub fn start(&mut self) {
        assert!(
            !self.is_running(),
            "the agent of {} runs already",
            self.name
        );
        let mut command = self.command();
        if let Some(ground) = &self.ground {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            let words = words.map(|word| word.to_string_lossy().into_owned());
            let before = std::iter::once("env".to_owned()).chain(self.environment.clone());
            let words: Vec<_> = before.chain(words).collect();
            let agent = ground.spawn(AGENT_IN_LAB, &words);
            self.agent = Some(Agent::Theirs(agent.unwrap_or_else(|why| panic!("{why}"))));
            return;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.unwrap_or_else(|err| panic!("{}: {err}", self.log_path().display()));
        let both = log.try_clone().expect("a file can be cloned");
        let agent = command.stdout(both).stderr(log).spawn();
        self.agent = Some(Agent::Ours(
            agent.unwrap_or_else(|err| panic!("{command:?}: {err}")),
        ));
    }

    pub fn is_running(&mut self) -> bool {
        match &mut self.agent {
            Some(Agent::Ours(agent)) => agent.try_wait().expect("it is our child").is_none(),
            Some(Agent::Theirs(agent)) => agent.is_alive(),
            None => false,
        }
    }

    pub fn pid(&self) -> u32 {
        match self.agent.as_ref().expect("its agent was started") {
            Agent::Ours(agent) => agent.id(),
            Agent::Theirs(agent) => agent.pid,
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a pid is small");
        kill(Pid::from_raw(pid), signal).unwrap_or_else(|err| panic!("{signal}: {err}"));
    }

    /// `kill -9`; returns when the process is gone. Without an agent nothing happens.
    pub fn kill(&mut self) {
        match self.agent.take() {
            Some(Agent::Ours(mut agent)) => {
                // It may have ended by itself.
                agent.kill().ok();
                agent.wait().ok();
            }
            Some(Agent::Theirs(agent)) => {
                // With its host, perhaps.
                agent.signal(Signal::SIGKILL).ok();
                wait::until("the agent is gone", wait::secs(20), || {
                    match agent.is_alive() {
                        false => Ok(()),
                        true => Err(format!("process {} lives", agent.pid)),
                    }
                });
            }
            None => {}
        }
    }

    /// SIGTERM; how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// SIGTERM; returns when it has ended, however it did.
    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
        self.gone();
    }

    /// Waits until its agent has ended by itself, however it did.
    #[track_caller]
    pub fn gone(&mut self) {
        wait::until("the agent ends", wait::secs(20), || {
            match self.is_running() {
                false => Ok(()),
                true => Err("it runs".to_owned()),
            }
        });
        self.agent = None;
    }

    /// Waits until its agent has ended by itself. Of a lab's host nobody can tell how it did.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let Some(Agent::Ours(agent)) = &mut self.agent else {
            panic!("the agent of {} is no child of ours", self.name);
        };
        // It stays ours until it has ended, so that it is killed where it does not.
        let status = wait::until("the agent ends", wait::secs(20), || {
            let status = agent.try_wait().expect("it is our child");
            status.ok_or_else(|| "it runs".to_owned())
        });
        self.agent = None;
        status
    }

    fn server(&self) -> Server {
        Server::Unix(self.socket())
    }

    /// `GET` on its socket.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.server().get(path)
    }

    /// The JSON at a path; `null` where nothing answers or the answer is an error.
    pub fn look(&self, path: &str) -> Value {
        match self.server().get_within(path, LOOK_WITHIN) {
            Ok(answer) if answer.status == 200 => answer.json(),
            _ => Value::Null,
        }
    }

    pub fn request(&self, request: &Request<'_>) -> io::Result<Answer> {
        self.server().call(request)
    }

    /// One operation of the ECS API.
    pub fn ecs(&self, operation: &str, body: &Value) -> Result<Value, Refusal> {
        let target = format!("{TARGET}.{operation}");
        let body = body.to_string();
        let answer = self.request(&Request {
            method: "POST",
            path: "/",
            headers: &[
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", &target),
            ],
            body: body.as_bytes(),
        });
        let answer = answer.unwrap_or_else(|err| panic!("{operation} at {}: {err}", self.name));
        let value = answer.json();
        if answer.status == 200 {
            return Ok(value);
        }
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        Err(Refusal {
            status: answer.status,
            kind: text("__type"),
            message: text("message"),
        })
    }

    /// The command line as a person on this host would use it.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let begun = self.cli_begun(arguments).wait_with_output();
        begun.unwrap_or_else(|err| panic!("holdfast {arguments:?}: {err}"))
    }

    /// As `cli`, for a command that something happens to meanwhile.
    pub fn cli_begun(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(program::holdfast());
        command
            .args(arguments)
            .env("HOLDFAST_SOCKET", self.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
            .spawn()
            .unwrap_or_else(|err| panic!("{command:?}: {err}"))
    }

    /// As `cli`, for a command that must succeed; what it printed.
    #[track_caller]
    pub fn cli_ok(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let (out, err) = (text_of(&output.stdout), text_of(&output.stderr));
        let code = output.status.code();
        assert!(
            output.status.success(),
            "holdfast {arguments:?}: {code:?}\n{out}{err}"
        );
        out
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
