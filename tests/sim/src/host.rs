//! One simulated machine: an agent that may be there or not, a disk, containers, a skewed clock.

use crate::{disk::Disk, runtime::FakeRuntime};
use holdfast_core::{
    agent::{Agent, AgentConfig, Timings},
    cluster::{
        body::{Capacity, Key},
        keys::KeyReport,
        quarantine::Journal,
    },
    ids::{GpuId, HostId, Incarnation, KeyId},
    input::Input,
    recording::Recorder,
    rng::Rng,
    time::{Mono, Now, Wall},
};
use std::{collections::BTreeMap, net::SocketAddr};

/// What all hosts have when the cluster begins.
pub const FIRST_KEY: KeyId = KeyId([1; 4]);
pub const CLUSTER: &str = "sim";
pub const WALL_AT_START_MS: u64 = 1_800_000_000_000;
/// What a frozen agent's socket holds before it drops datagrams.
const SOCKET_INPUTS_MAX: usize = 2_000;

#[derive(Debug)]
pub struct Host {
    pub place: usize,
    pub id: HostId,
    pub capacity: Capacity,
    pub agent: Option<Agent>,
    /// Keeps what the agent is told, in a run that is to be recorded.
    pub recorder: Option<Recorder>,
    /// How many agents were started or ended here; tells what was meant for an earlier one.
    pub boot: u32,
    /// When the agent started: zero of its monotonic clock.
    pub started_at: u64,
    pub incarnation: Incarnation,
    pub disk: Disk,
    pub runtime: FakeRuntime,
    pub skew_ms: i64,
    pub frozen: Option<Frozen>,
    /// The last freeze: from when to when.
    pub thawed: Option<(u64, u64)>,
    /// The machine is there and has power.
    pub powered: bool,
    /// The machine is gone and will not be back.
    pub lost: bool,
    /// The agent is killed after so many effects of a step that has more.
    pub killed_after: Option<(u32, u64)>,
    /// Only in a step that asks for a container.
    pub killed_creating: bool,
    pub faulty_calls_ppm: u64,
    /// It was told to go in any case, and may stop what nobody has taken over by then.
    pub leave_by: Option<u64>,
    pub timings: Timings,
    /// As they stand in the state directory.
    pub keys: KeyReport,
    /// Tells machines apart that have one identity.
    pub fingerprint: u64,
    /// It was started from a copy of another one's disk, and is to give up.
    pub is_twin: bool,
    /// What its driver keeps through a crash.
    pub journal: Journal,
    /// The core has asked for a trial, which is its next step.
    pub is_trying: bool,
    /// How often its agent died of what it read.
    pub poisoned: u32,
    /// Why its agent ended by itself.
    pub gave_up: Option<String>,
}

#[derive(Debug)]
pub struct Frozen {
    pub since: u64,
    pub inputs: Vec<Input>,
}

impl Host {
    pub fn new(place: usize, rng: &mut Rng) -> Self {
        let id = HostId(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()));
        Self {
            place,
            id,
            capacity: Capacity {
                cpu: 4_096,
                memory_mib: 4_096,
                gpus: 0,
            },
            agent: None,
            recorder: None,
            boot: 0,
            started_at: 0,
            incarnation: 0,
            disk: Disk::default(),
            runtime: FakeRuntime::new(CLUSTER, id, rng.next_u64()),
            skew_ms: 0,
            frozen: None,
            thawed: None,
            powered: true,
            lost: false,
            killed_after: None,
            killed_creating: false,
            faulty_calls_ppm: 0,
            leave_by: None,
            timings: Timings::default(),
            keys: KeyReport {
                held: vec![FIRST_KEY],
                in_use: Some(FIRST_KEY),
            },
            fingerprint: id.word(),
            is_twin: false,
            journal: Journal::default(),
            is_trying: false,
            poisoned: 0,
            gave_up: None,
        }
    }

    pub const fn now(&self, now: u64) -> Now {
        Now {
            mono: Mono(now - self.started_at),
            wall: self.wall(now),
        }
    }

    pub const fn wall(&self, now: u64) -> Wall {
        Wall((WALL_AT_START_MS + now / 1_000).saturating_add_signed(self.skew_ms))
    }

    /// An agent is there and takes part.
    pub const fn is_acting(&self) -> bool {
        self.agent.is_some() && self.frozen.is_none()
    }

    pub fn config(&mut self, address: SocketAddr, seeds: Vec<SocketAddr>) -> AgentConfig {
        // What an agent raised its incarnation to by itself is on its disk.
        let own = |key: &Key| match key {
            Key::Host(host) | Key::Task(host, _) => *host == self.id,
            _ => false,
        };
        let records = self.disk.records().filter(|record| own(&record.key));
        let highest = records.map(|record| record.version.epoch).max();
        self.incarnation = self.incarnation.max(highest.unwrap_or(0)) + 1;
        AgentConfig {
            host: self.id,
            incarnation: self.incarnation,
            cluster: CLUSTER.to_owned(),
            name: format!("h{}", self.place),
            address,
            seeds,
            seeds_expected: false,
            dynamic_ports: Some((61_000, 65_535)),
            zone: Some(format!("z{}", self.place % 3)),
            attributes: BTreeMap::new(),
            capacity: self.capacity,
            gpus: self.gpus(),
            fingerprint: self.fingerprint,
            keys: self.keys.clone(),
            agent_version: "sim".to_owned(),
            timings: self.timings.clone(),
        }
    }

    /// By their indexes.
    pub fn gpus(&self) -> Vec<GpuId> {
        let ids = (0..self.capacity.gpus).map(|index| index.to_string().parse());
        ids.collect::<Result<_, _>>().expect("an index is an id")
    }

    /// An input for an agent that is frozen waits in its socket.
    pub fn queue(&mut self, input: Input) {
        if let Some(frozen) = &mut self.frozen {
            let full = frozen.inputs.len() >= SOCKET_INPUTS_MAX;
            if !full || !matches!(input, Input::Message { .. }) {
                frozen.inputs.push(input);
            }
        }
    }
}
