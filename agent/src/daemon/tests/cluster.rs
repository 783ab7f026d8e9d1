//! A small cluster of agents that a test starts, kills and asks.

use super::*;
use crate::test_dir::TestDir;
use holdfast_core::agent::Agent;
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Cluster {
    dir: TestDir,
    hosts: Vec<Host>,
}

#[derive(Default)]
struct Host {
    running: Option<(Handle, JoinHandle<Result<Ending, DaemonError>>)>,
    address: Option<SocketAddr>,
    starts: u32,
}

impl Cluster {
    pub(super) fn new(hosts: usize) -> Self {
        let dir = TestDir::new("cluster");
        fs::write(dir.join("peers"), "").unwrap();
        let hosts = (0..hosts).map(|_| Host::default()).collect();
        Self { dir, hosts }
    }

    /// The file is written by `give_key`; without it a host has no key.
    fn key_file(&self, number: usize) -> Option<String> {
        let path = self.dir.join(format!("key-{number}"));
        path.exists().then(|| path.display().to_string())
    }

    /// Puts a key into the key file of a host, which counts from its next start.
    pub(super) fn give_key(&self, number: usize, key: &gossip::ClusterKey) {
        let path = self.dir.join(format!("key-{number}"));
        fs::write(&path, key.to_text()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(super) fn handle(&self, number: usize) -> &Handle {
        &self.hosts[number].running.as_ref().expect("it runs").0
    }

    pub(super) fn state_dir(&self, number: usize) -> PathBuf {
        self.dir.join(format!("state-{number}"))
    }

    fn config(&self, number: usize) -> Config {
        // An agent that was killed here leaves its servers behind, with their sockets.
        let starts = self.hosts[number].starts;
        let text = |path: PathBuf| Some(path.display().to_string());
        let flags = Flags {
            config: Some(self.dir.join("none.toml")),
            name: Some(format!("h{number}")),
            bind: Some("127.0.0.1:0".to_owned()),
            key_file: self.key_file(number),
            peers: Some(format!("file:{}", self.dir.join("peers").display())),
            state_dir: text(self.state_dir(number)),
            api_socket: text(self.dir.join(format!("{number}-{starts}.sock"))),
            introspection: Some("off".to_owned()),
            dns: Some("off".to_owned()),
            docker_socket: text(self.dir.join("no-docker.sock")),
            // One kernel serves all, and would vouch for an agent that was killed.
            impaired_grace_s: Some("5".to_owned()),
            ..Flags::default()
        };
        fs::write(self.dir.join("none.toml"), "").unwrap();
        let facts = HostFacts::read().unwrap();
        let raw = RawConfig::gather(&flags, std::iter::empty(), &facts).unwrap();
        Config::try_from(raw).unwrap()
    }

    /// Starts an agent on the state that it left, at a new port.
    pub(super) async fn start(&mut self, number: usize) {
        let (started, state) = self.prepare(number).await;
        let handle = started.driver.handle().clone();
        let running = tokio::spawn(async move {
            let ended = started.run().await;
            drop(state);
            ended
        });
        let address = handle.read(|agent| agent.config().address).await.unwrap();
        self.hosts[number] = Host {
            running: Some((handle, running)),
            address: Some(address),
            starts: self.hosts[number].starts + 1,
        };
    }

    /// An agent that has not taken its first step.
    pub(super) async fn prepare(&self, number: usize) -> (Started, StateDir) {
        let config = self.config(number);
        let state = StateDir::open(&config.state_dir).unwrap();
        let path = state.path().join("holdfast.redb");
        let (store, entries) = until("the store is free", async || {
            Store::open(&path, gossip::now_wall_ms()).ok()
        })
        .await;
        let host = (HostId((number as u128 + 1) << 96), number as u64 + 1);
        let started = start(config, host, store, entries).await.unwrap();
        (started, state)
    }

    /// As `kill -9` would: nothing is said, and nothing more is written.
    pub(super) async fn kill(&mut self, number: usize) {
        let (_, running) = self.hosts[number].running.take().expect("it runs");
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.hosts.iter().filter_map(|host| host.address).collect()
    }

    /// Puts where the agents are now into the file that all of them watch.
    pub(super) fn list_peers(&self) {
        let lines: String = self
            .addresses()
            .iter()
            .map(|address| format!("{address}\n"))
            .collect();
        fs::write(self.dir.join("new-peers"), lines).unwrap();
        fs::rename(self.dir.join("new-peers"), self.dir.join("peers")).unwrap();
    }

    /// What each agent that runs says, in order.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&Agent) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        let mut answers = Vec::new();
        for (handle, _) in self.hosts.iter().filter_map(|host| host.running.as_ref()) {
            answers.push(handle.read(question.clone()).await.unwrap());
        }
        answers
    }

    /// Waits until every agent that runs sees exactly so many hosts in this standing.
    pub(super) async fn until_all_see(&self, count: usize, standing: HostStanding) {
        let sees = move |agent: &Agent| {
            let hosts = agent.board().hosts();
            let in_standing = hosts.filter(|(host, ..)| agent.standing(*host) == standing);
            agent.is_caught_up() && in_standing.count() == count
        };
        let what = format!("all see {count} hosts {}", standing.as_str());
        until(&what, async || {
            let answers = self.ask(sees).await;
            answers.iter().all(|seen| *seen).then_some(())
        })
        .await;
    }
}

/// Asks again and again until there is an answer.
pub(super) async fn until<T>(what: &str, answer: impl AsyncFn() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    loop {
        match timeout(PATIENCE, answer()).await {
            Ok(Some(answer)) => return answer,
            Ok(None) if Instant::now() < until => {}
            Ok(None) | Err(_) => panic!("never: {what}"),
        }
        look.tick().await;
    }
}
