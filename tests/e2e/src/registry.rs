//! A registry of a test's own (Debian's `docker-registry`), with images that nobody else has.

use crate::{docker::Engine, fleet::Fleet, program::IMAGE, skip, wait::secs};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

/// Ends with this value, and so do the images that were made for it.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    engine: Engine,
    /// A host and a port.
    address: String,
    /// The ids of images.
    made: Vec<String>,
}

/// Hosts and a registry, in the order in which they end: containers use the registry's images.
#[derive(Debug)]
pub struct Stage {
    pub fleet: Fleet,
    pub registry: Registry,
}

impl Stage {
    /// With so many hosts; `None`, loudly, where something is missing.
    pub fn set(hosts: usize) -> Option<Self> {
        let fleet = Fleet::start(hosts)?;
        let registry = Registry::start(&fleet.engine, &fleet.place.dir)?;
        Some(Self { fleet, registry })
    }
}

impl Registry {
    /// With its files in this directory; `None`, loudly, where there is no such program.
    fn start(engine: &Engine, dir: &Path) -> Option<Self> {
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n",
            dir.display()
        );
        let path = dir.join("registry.yml");
        fs::write(&path, config).expect("the directory is ours");
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            skip("docker-registry is not installed; run packaging/prerequisites.sh");
            return None;
        };
        let address = address_of(&mut child);
        Some(Self {
            child,
            engine: engine.clone(),
            address,
            made: vec![],
        })
    }

    /// Makes an image that is like no other and runs as the tests' own does, and pushes it; it is
    /// not on the engine then. Its name.
    pub fn push(&mut self, name: &str) -> String {
        let full = format!("{}/{name}", self.address);
        let id = self.engine.vary_image(IMAGE, &full);
        self.made.push(id.clone());
        self.engine.push(&full);
        self.engine.remove_image(&id);
        full
    }

    /// It takes connections from now on, and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("ids of processes are small");
        kill(Pid::from_raw(id), signal).expect("it has not been waited for");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("it is our child");
        for id in &self.made {
            self.engine.remove_image(id);
        }
    }
}

/// From what it logs when it listens.
fn address_of(child: &mut Child) -> String {
    let stderr = BufReader::new(child.stderr.take().expect("it was piped"));
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        // To its end: it would wait for whoever reads.
        for line in stderr.lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address = rest.split('"').next().unwrap_or(rest);
                tell.send(address.to_owned()).unwrap_or_default();
            }
        }
    });
    let address = told.recv_timeout(secs(30));
    address.expect("the registry listens")
}
