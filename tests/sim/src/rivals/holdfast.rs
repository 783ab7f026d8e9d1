//! Holdfast itself: the very `Agent` of the daemon on each host, its messages and their bytes.

mod containers;
mod mesh;
pub mod crowd;

use crate::{
    network::Network,
    rivals::{Detector, Finding, Out, Size, Via as Way},
    runtime::VERSION,
    workload::definition,
};
use containers::Containers;
use holdfast_core::{
    agent::{Agent, AgentConfig, Amid, Timings},
    cluster::{
        board::Board,
        body::{Body, Capacity, HostReport, HostStatus, Key, RuntimeStatus},
        message::{Message, Via},
        record::{Record, Stamp, Version},
    },
    command::{Command, CommandId},
    effect::{self, Effect, Effects},
    event::{Happening, HostStanding},
    ids::{Digest, HostId},
    input::Input,
    rng::{Rng, mix},
    time::{Mono, Now, Wall},
};
use mesh::{Mesh, Peer};
use std::{collections::BTreeMap, net::SocketAddr, rc::Rc, sync::Arc};

const CLUSTER: &str = "sim";

const WALL_AT_START_MS: u64 = 1_800_000_000_000;
/// The daemon's envelope (agent/src/gossip/seal.rs): clear part, destination, tag.
const DATAGRAM_SEAL_BYTES: usize = 51 + 16 + 16;
/// Around a frame on a stream (agent/src/gossip/stream.rs), and around each chunk of it.
const FRAME_BYTES: usize = 4 + 16;
const CHUNK_BYTES: usize = 2 + 16;
const CHUNK_PLAIN_MAX: usize = 65_535 - 16;

/// One agent, which lacks nothing but a disk.
#[derive(Debug)]
pub struct HoldfastHost {
    place: usize,
    agent: Agent,
    containers: Containers,
    roster: Rc<Roster>,
    mesh: Rc<Mesh>,
    effects: Effects,
    told: Digest,
}

/// Who is where.
#[derive(Debug)]
struct Roster {
    ids: Vec<HostId>,
    places: BTreeMap<HostId, usize>,
}

/// The agents of a cluster that has found itself long ago.
pub fn cluster(hosts: usize, seed: u64, timings: &Timings) -> Vec<HoldfastHost> {
    let mut rng = Rng::new(seed);
    let configs = configs(hosts, &mut rng, timings);
    let amid = Amid::of(Board::from_records(configs.iter().map(report)));
    let everybody = configs.iter().map(|config| config.host).zip(0..);
    let mesh = Mesh::of(everybody.collect(), hosts);
    agents(configs, &amid, mesh, &mut rng)
}

fn configs(hosts: usize, rng: &mut Rng, timings: &Timings) -> Vec<AgentConfig> {
    let mut id = || HostId(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()));
    (0..hosts)
        .map(|place| config(place, id(), timings))
        .collect()
}

fn agents(configs: Vec<AgentConfig>, amid: &Amid, mesh: Mesh, rng: &mut Rng) -> Vec<HoldfastHost> {
    let ids: Vec<HostId> = configs.iter().map(|config| config.host).collect();
    let places = ids.iter().copied().zip(0..).collect();
    let (roster, mesh) = (Rc::new(Roster { ids, places }), Rc::new(mesh));
    let told = definition("told", 1).digest();
    let agent = |(place, config): (usize, AgentConfig)| HoldfastHost {
        place,
        containers: Containers::new(CLUSTER, config.host, rng.next_u64()),
        agent: amid.agent(config, rng.next_u64(), at(0)),
        roster: Rc::clone(&roster),
        mesh: Rc::clone(&mesh),
        effects: Effects::new(),
        told,
    };
    configs.into_iter().enumerate().map(agent).collect()
}

fn config(place: usize, host: HostId, timings: &Timings) -> AgentConfig {
    AgentConfig {
        host,
        incarnation: 1,
        cluster: CLUSTER.to_owned(),
        name: format!("h{place}"),
        address: Network::first_address(place),
        seeds: Vec::new(),
        seeds_expected: false,
        dynamic_ports: None,
        zone: Some(format!("z{}", place % 3)),
        attributes: BTreeMap::new(),
        capacity: Capacity {
            cpu: 4_096,
            memory_mib: 4_096,
            gpus: 0,
        },
        gpus: Vec::new(),
        fingerprint: mix(place as u64),
        keys: Default::default(),
        agent_version: "sim".to_owned(),
        timings: timings.clone(),
    }
}

/// What this host has said of itself; word for word, or it would say it again.
fn report(config: &AgentConfig) -> Arc<Record> {
    let wall = at(0).wall;
    let report = HostReport {
        name: config.name.as_str().into(),
        address: config.address,
        zone: config.zone.as_deref().map(Box::from),
        attributes: config.attributes.clone().into_iter().collect(),
        capacity: config.capacity,
        gpus: Box::default(),
        status: HostStatus::Active,
        caught_up: true,
        runtime: RuntimeStatus::Available {
            version: VERSION.into(),
        },
        fingerprint: config.fingerprint,
        keys: Default::default(),
        agent_version: config.agent_version.as_str().into(),
        registered_at: wall,
        started_at: wall,
    };
    let version = Version {
        epoch: config.incarnation,
        stamp: Stamp {
            wall,
            counter: 0,
            author: config.host,
        },
    };
    Record::new(Key::Host(config.host), version, Some(Body::Host(report)))
}

const fn at(now: u64) -> Now {
    Now {
        mono: Mono(now),
        wall: Wall(WALL_AT_START_MS + now / 1_000),
    }
}

/// A message, and the way that it takes.
pub type Sent = (Via, Message);

impl HoldfastHost {
    pub const fn agent(&self) -> &Agent {
        &self.agent
    }

    fn step(&mut self, now: u64, input: Input, out: &mut Out<Sent>) {
        let mut effects = std::mem::take(&mut self.effects);
        self.agent.step(at(now), input, &mut effects);
        for effect in effects.drain() {
            match effect {
                Effect::Send(send) => self.send(send, out),
                Effect::Emit(told) => self.note(&told.what, out),
                Effect::Runtime(command) => self.containers.on_command(now, command),
                Effect::Knock { host, .. } => {
                    out.knocks.extend(self.roster.places.get(&host).copied());
                }
                Effect::Fatal { reason } => panic!("an agent gave up: {reason}"),
                // What is to be saved is safe at once.
                _ => {}
            }
        }
        self.effects = effects;
    }

    fn send(&mut self, send: effect::Send, out: &mut Out<Sent>) {
        let Some(to) = place(send.to).filter(|to| *to < self.roster.ids.len()) else {
            return;
        };
        if self.mesh.is_whole() {
            deliver(to, send.via, send.message, out);
            return;
        }
        let [from, to] = [self.place, to].map(|place| Peer {
            place,
            id: self.roster.ids[place],
        });
        let board = self.agent.board();
        for (to, message) in self.mesh.route(board, from, to, send.message) {
            deliver(to, send.via, message, out);
        }
    }

    fn note(&self, what: &Happening, out: &mut Out<Sent>) {
        let Happening::Host(change) = what else {
            return;
        };
        let Some(&subject) = self.roster.places.get(&change.host) else {
            return;
        };
        let of_itself = change.host == self.agent.config().host;
        match change.now {
            HostStanding::Down if !of_itself => out.findings.push(Finding::Down(subject)),
            HostStanding::Up if !of_itself => out.findings.push(Finding::Up(subject)),
            _ => {}
        }
    }
}

impl Detector for HoldfastHost {
    type Message = Sent;

    fn on_message(&mut self, now: u64, from: usize, sent: Sent, out: &mut Out<Sent>) {
        let address = Network::first_address(from);
        let from = self.roster.ids[from];
        let (via, message) = sent;
        let input = Input::Message {
            from,
            address,
            via,
            message,
        };
        self.step(now, input, out);
    }

    fn on_wake(&mut self, now: u64, out: &mut Out<Sent>) {
        while let Some(event) = self.containers.next(now, at(now).wall) {
            self.step(now, Input::Runtime(event), out);
        }
        if self.agent.deadline().is_some_and(|at| at.0 <= now) {
            self.step(now, Input::Wake, out);
        }
    }

    fn on_knocked(&mut self, now: u64, host: usize, answered: bool, out: &mut Out<Sent>) {
        let host = self.roster.ids[host];
        self.step(now, Input::Knocked { host, answered }, out);
    }

    fn deadline(&self) -> Option<u64> {
        let agent = self.agent.deadline().map(|at| at.0);
        agent.into_iter().chain(self.containers.deadline()).min()
    }

    fn tell(&mut self, now: u64, out: &mut Out<Sent>) {
        let command = Command::RegisterTaskDefinition(definition("told", 1));
        let id = CommandId(1);
        self.step(now, Input::Command { id, command }, out);
    }

    fn knows(&self) -> bool {
        self.agent.board().definition(self.told).is_some()
    }
}

fn deliver(to: usize, via: Via, message: Message, out: &mut Out<Sent>) {
    let bare = message.encode().len();
    let (way, seal) = match via {
        Via::Datagram => (Way::Datagram, DATAGRAM_SEAL_BYTES),
        Via::Stream => {
            let chunks = (bare + FRAME_BYTES).div_ceil(CHUNK_PLAIN_MAX);
            (Way::Dial, FRAME_BYTES + chunks * CHUNK_BYTES)
        }
    };
    out.send(to, way, Size { bare, seal }, (via, message));
}

fn place(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let [_, a, b, c] = address.ip().octets();
    (u32::from_be_bytes([0, a, b, c]) as usize).checked_sub(1)
}
