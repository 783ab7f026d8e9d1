//! One state of the model: three agents, what is under way between them, and what can come next.

use super::Root;
use crate::{
    disk::Disk,
    host::{CLUSTER, FIRST_KEY},
    runtime::{Chore, FakeRuntime, VERSION},
    workload::definition,
};
use holdfast_core::{
    agent::{Agent, AgentConfig, Timings},
    cluster::{
        board::Board,
        body::{Body, Capacity, Key},
        keys::KeyReport,
        message::{Message, Via},
    },
    command::{Command, CommandId, ServiceChange},
    effect::{Effect, Effects},
    ids::{HostId, ServiceId, SlotIndex, TaskId},
    input::Input,
    rng::mix,
    spec::{options::ServiceOptions, service::DefinitionRef},
    task::{
        runtime::{RuntimeCommand, RuntimeEvent},
        status::TaskStatus,
    },
    time::{Mono, Now, Wall},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt::{self, Write},
    net::SocketAddr,
};

pub(super) const HOSTS: usize = 3;
const WALL_MS: u64 = 1_800_000_000_000;
/// A link holds no more; what is sent then is lost, as by a socket that is full.
const LINK_MESSAGES_MAX: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct World {
    pub now: u64,
    pub machines: Vec<Machine>,
    /// What is on its way, in order, from whom to whom.
    pub links: BTreeMap<(usize, usize), VecDeque<(Via, Message)>>,
    /// The host that nobody reaches.
    pub cut: Option<usize>,
    pub faults_left: u32,
    pub desired: usize,
    /// How we came here.
    path: Vec<Event>,
}

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub id: HostId,
    pub agent: Option<Agent>,
    pub runtime: FakeRuntime,
    asked: VecDeque<RuntimeCommand>,
    /// Machines that it knocks at, and whether their kernels answer.
    knocked: VecDeque<(HostId, bool)>,
    disk: Disk,
    started_at: u64,
    incarnation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The oldest message of the link arrives.
    Deliver(usize, usize),
    /// The oldest call to the host's container runtime is carried out.
    Serve(usize),
    /// What came of the host's oldest knock.
    Knocked(usize),
    /// The earliest timer fires; only when nothing is under way, or something is late.
    Wake,
    Restart(usize),
    Heal,
    Fault(Fault, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9` of the agent.
    Crash,
    /// What is on its way to the host is lost.
    Lose,
    /// Nobody reaches the host, nor it anybody.
    CutOff,
    /// A container of the host ends by itself.
    Exit,
    /// A timer fires before what is under way has come.
    Late,
}

impl Fault {
    pub(super) const ALL: [Self; 5] = [
        Self::Crash,
        Self::Lose,
        Self::CutOff,
        Self::Exit,
        Self::Late,
    ];
}

// How it begins.
impl World {
    pub(super) fn at(root: Root, faults: u32) -> Result<Self, String> {
        let mut world = Self {
            now: 0,
            machines: (0..HOSTS).map(Machine::new).collect(),
            links: BTreeMap::new(),
            cut: None,
            faults_left: 0,
            desired: 2,
            path: Vec::new(),
        };
        (0..HOSTS).try_for_each(|host| world.start(host))?;
        world.pass(8_000_000)?;
        world.order(Command::RegisterTaskDefinition(definition("web", 1)))?;
        world.pass(2_000_000)?;
        world.order(Command::CreateService {
            name: "s0".to_owned(),
            definition: DefinitionRef {
                family: "web".to_owned(),
                revision: None,
            },
            desired: 2,
            client_token: String::new(),
            options: ServiceOptions::default(),
        })?;
        if root != Root::Created {
            world.rest()?;
        }
        if root == Root::Scaled {
            world.desired = 1;
            world.order(Command::UpdateService {
                service: "s0".to_owned(),
                change: ServiceChange {
                    desired: Some(1),
                    ..ServiceChange::default()
                },
            })?;
        }
        world.faults_left = faults;
        world.path.clear();
        Ok(world)
    }

    fn order(&mut self, command: Command) -> Result<(), String> {
        let id = CommandId(self.now);
        self.step(0, Input::Command { id, command })
    }

    fn start(&mut self, host: usize) -> Result<(), String> {
        let seeds = (0..HOSTS).map(address).collect();
        let machine = &mut self.machines[host];
        machine.incarnation += 1;
        machine.started_at = self.now;
        let config = AgentConfig {
            host: machine.id,
            incarnation: machine.incarnation,
            cluster: CLUSTER.to_owned(),
            name: format!("h{host}"),
            address: address(host),
            seeds,
            seeds_expected: false,
            dynamic_ports: None,
            zone: None,
            attributes: BTreeMap::new(),
            capacity: Capacity {
                cpu: 4_096,
                memory_mib: 4_096,
                gpus: 0,
            },
            gpus: Vec::new(),
            fingerprint: host as u64,
            keys: KeyReport {
                held: vec![FIRST_KEY],
                in_use: Some(FIRST_KEY),
            },
            agent_version: "model".to_owned(),
            timings: Timings::default(),
        };
        let saved = Board::from_records(machine.disk.saved());
        let seed = mix(host as u64 ^ self.now);
        let mut fx = Effects::new();
        let now = machine.now(self.now);
        machine.agent = Some(Agent::resume(config, saved, seed, now, &mut fx));
        self.carry_out(host, &mut fx)?;
        let version = VERSION.to_owned();
        self.step(host, Input::Runtime(RuntimeEvent::Available { version }))
    }
}

// What can come next.
impl World {
    pub(super) fn enabled(&self) -> Vec<Event> {
        let mut events = self.under_way();
        if events.is_empty() {
            events.push(Event::Wake);
        }
        let down = (0..HOSTS).filter(|host| self.machines[*host].agent.is_none());
        events.extend(down.map(Event::Restart));
        events.extend(self.cut.map(|_| Event::Heal));
        if self.faults_left > 0 {
            let hosts = 0..HOSTS;
            let all = hosts.flat_map(|host| Fault::ALL.map(|fault| Event::Fault(fault, host)));
            events.extend(all.filter(|event| self.can(*event)));
        }
        events
    }

    pub(super) fn under_way(&self) -> Vec<Event> {
        let waiting = self.links.iter().filter(|(_, link)| !link.is_empty());
        let mut events: Vec<_> = waiting
            .map(|((from, to), _)| Event::Deliver(*from, *to))
            .collect();
        let asked = (0..HOSTS).filter(|host| !self.machines[*host].asked.is_empty());
        events.extend(asked.map(Event::Serve));
        let knocked = (0..HOSTS).filter(|host| !self.machines[*host].knocked.is_empty());
        events.extend(knocked.map(Event::Knocked));
        events
    }

    fn can(&self, event: Event) -> bool {
        let Event::Fault(fault, host) = event else {
            return true;
        };
        let machine = &self.machines[host];
        let on_its_way = self
            .links
            .iter()
            .any(|((_, to), l)| *to == host && !l.is_empty());
        match fault {
            Fault::Crash => machine.agent.is_some(),
            Fault::Lose => on_its_way,
            Fault::CutOff => self.cut.is_none(),
            Fault::Exit => machine.running().next().is_some(),
            // One is enough: it is about the whole world.
            Fault::Late => host == 0 && !self.under_way().is_empty(),
        }
    }

    pub(super) fn act(&mut self, event: Event) -> Result<(), String> {
        self.path.push(event);
        self.happen(event)
            .map_err(|what| format!("{what}, after {:?}", self.path))
    }

    pub(super) fn told(&self) -> String {
        format!("after {:?}", self.path)
    }

    pub(super) fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Deliver(from, to) => self.deliver(from, to),
            Event::Serve(host) => self.serve(host),
            Event::Knocked(host) => match self.machines[host].knocked.pop_front() {
                Some((other, answered)) => {
                    let input = Input::Knocked {
                        host: other,
                        answered,
                    };
                    self.step(host, input)
                }
                None => Ok(()),
            },
            Event::Wake => self.wake(),
            Event::Restart(host) => self.start(host),
            Event::Heal => {
                self.cut = None;
                Ok(())
            }
            Event::Fault(fault, host) => {
                self.faults_left -= 1;
                self.strike(fault, host)
            }
        }
    }

    fn strike(&mut self, fault: Fault, host: usize) -> Result<(), String> {
        let machine = &mut self.machines[host];
        match fault {
            Fault::Crash => {
                machine.agent = None;
                machine.asked.clear();
                machine.knocked.clear();
                machine.disk.crash(self.now);
                self.links.retain(|(_, to), _| *to != host);
            }
            Fault::Lose => self.links.retain(|(_, to), _| *to != host),
            Fault::CutOff => {
                self.cut = Some(host);
                self.links
                    .retain(|(from, to), _| *from != host && *to != host);
            }
            Fault::Exit => {
                let key = machine.running().next();
                let wall = machine.now(self.now).wall;
                let event = key.and_then(|key| machine.runtime.kill(&key, wall));
                if let Some(event) = event {
                    return self.step(host, Input::Runtime(event));
                }
            }
            Fault::Late => return self.wake(),
        }
        Ok(())
    }

    fn deliver(&mut self, from: usize, to: usize) -> Result<(), String> {
        let message = self
            .links
            .get_mut(&(from, to))
            .and_then(VecDeque::pop_front);
        self.links.retain(|_, link| !link.is_empty());
        let Some((via, message)) = message else {
            return Ok(());
        };
        let (from_id, address) = (self.machines[from].id, address(from));
        self.step(
            to,
            Input::Message {
                from: from_id,
                address,
                via,
                message,
            },
        )
    }

    fn serve(&mut self, host: usize) -> Result<(), String> {
        let machine = &mut self.machines[host];
        let Some(command) = machine.asked.pop_front() else {
            return Ok(());
        };
        let wall = machine.now(self.now).wall;
        let done = machine
            .runtime
            .finish(self.now, wall, Chore::Command(command));
        match done.event {
            Some(event) => self.step(host, Input::Runtime(event)),
            None => Ok(()),
        }
    }

    /// Time goes on to the earliest deadline.
    pub(super) fn wake(&mut self) -> Result<(), String> {
        let deadline = |machine: &Machine| {
            let at = machine.agent.as_ref()?.deadline()?;
            Some(at.0 + machine.started_at)
        };
        let all = (0..HOSTS).filter_map(|host| Some((deadline(&self.machines[host])?, host)));
        let Some((at, host)) = all.min() else {
            // All agents are down: a while passes.
            self.now += 1_000_000;
            return Ok(());
        };
        self.now = self.now.max(at);
        self.step(host, Input::Wake)
    }
}

// What agents ask for.
impl World {
    fn step(&mut self, host: usize, input: Input) -> Result<(), String> {
        let machine = &mut self.machines[host];
        let now = machine.now(self.now);
        let Some(agent) = machine.agent.as_mut() else {
            return Ok(());
        };
        let mut fx = Effects::new();
        agent.step(now, input, &mut fx);
        self.carry_out(host, &mut fx)
    }

    fn carry_out(&mut self, host: usize, fx: &mut Effects) -> Result<(), String> {
        for effect in fx.drain() {
            match effect {
                Effect::Send(send) => self.send(host, send),
                Effect::Runtime(command) => {
                    self.check_command(host, &command)?;
                    self.machines[host].asked.push_back(command);
                }
                Effect::Persist(records) => self.machines[host].disk.persist(records),
                Effect::Remember(records) => {
                    for record in &records {
                        self.check_told(host, record)?;
                    }
                    self.machines[host]
                        .disk
                        .remember(self.now, self.now + 1, records);
                }
                Effect::Forget(records) => {
                    self.machines[host]
                        .disk
                        .forget(self.now, self.now + 1, records);
                }
                Effect::Fatal { reason } => return Err(format!("h{host} gave up: {reason}")),
                Effect::Left => return Err(format!("h{host} left, and nobody asked it to")),
                Effect::Reply { result, .. } => {
                    result.map_err(|refusal| format!("h{host} refused: {refusal}"))?;
                }
                // Nobody rotates keys here, or writes what crashes its reader.
                Effect::Emit(_)
                | Effect::Retell(_)
                | Effect::Keys(_)
                | Effect::Reseal(_)
                | Effect::Try(_)
                | Effect::Acquit(_) => {}
                // The machine is there, whatever its agent does; unless one of the two is cut off.
                Effect::Knock { host: other, .. } => {
                    let there = self.machines.iter().position(|m| m.id == other);
                    let open = self.cut.is_none_or(|cut| cut != host && Some(cut) != there);
                    let answers = open && there.is_some();
                    self.machines[host].knocked.push_back((other, answers));
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, from: usize, send: holdfast_core::effect::Send) {
        let to = (0..HOSTS).find(|host| address(*host) == send.to);
        let reached = to.filter(|to| {
            let meant = send.host.is_none_or(|id| id == self.machines[*to].id);
            let open = self.cut.is_none_or(|cut| cut != from && cut != *to);
            meant && open && *to != from && self.machines[*to].agent.is_some()
        });
        if let Some(to) = reached {
            let link = self.links.entry((from, to)).or_default();
            if link.len() < LINK_MESSAGES_MAX {
                link.push_back((send.via, send.message));
            }
        }
    }

    /// No copy that runs is told to stop unless another one of its slot runs, or its slot is no
    /// longer wanted.
    fn check_command(&self, host: usize, command: &RuntimeCommand) -> Result<(), String> {
        let RuntimeCommand::Stop { task, .. } = command else {
            return Ok(());
        };
        let copies = self.copies();
        let Some((slot, _)) = copies.iter().find(|(_, on)| on.contains(&(host, *task))) else {
            return Ok(());
        };
        if copies[slot].len() < 2 && (slot.1 as usize) < self.desired {
            return Err(format!(
                "h{host} stops task {task}, the only copy of slot {}",
                slot.1
            ));
        }
        Ok(())
    }

    /// What a host calls STOPPED does not run.
    fn check_told(
        &self,
        host: usize,
        record: &holdfast_core::cluster::record::Record,
    ) -> Result<(), String> {
        let machine = &self.machines[host];
        if let (Key::Task(on, task), Some(Body::Task(report))) = (&record.key, &record.body)
            && *on == machine.id
            && report.last == TaskStatus::Stopped
            && machine.running().any(|key| key.task == *task)
        {
            return Err(format!("h{host} calls {task} STOPPED while it runs"));
        }
        Ok(())
    }

    /// Which tasks run for each slot, in truth.
    pub(super) fn copies(&self) -> BTreeMap<(ServiceId, SlotIndex), Vec<(usize, TaskId)>> {
        let mut copies: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (host, machine) in self.machines.iter().enumerate() {
            for (key, container) in machine.runtime.containers() {
                let slot = container.make.labels.slot.as_ref();
                if let Some(slot) = slot.filter(|_| container.is_running()) {
                    let slot = copies.entry((slot.service, slot.index)).or_default();
                    slot.push((host, key.task));
                }
            }
        }
        copies
    }

    /// Two states with one fingerprint are taken for one: all but how we came there.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Fingerprint(0);
        let Self {
            now,
            machines,
            links,
            cut,
            faults_left,
            desired,
            path: _,
        } = self;
        write!(
            hash,
            "{now}{machines:?}{links:?}{cut:?}{faults_left}{desired}"
        )
        .expect("hashing does not fail");
        hash.0
    }
}

impl Machine {
    fn new(host: usize) -> Self {
        let id = HostId((host as u128 + 1) << 96 | 7);
        Self {
            id,
            agent: None,
            runtime: FakeRuntime::new(CLUSTER, id, host as u64),
            asked: VecDeque::new(),
            knocked: VecDeque::new(),
            disk: Disk::default(),
            started_at: 0,
            incarnation: 0,
        }
    }

    fn now(&self, now: u64) -> Now {
        Now {
            mono: Mono(now - self.started_at),
            wall: Wall(WALL_MS + now / 1_000),
        }
    }

    fn running(&self) -> impl Iterator<Item = crate::container::ContainerKey> {
        let all = self.runtime.containers();
        all.filter(|(_, container)| container.is_running())
            .map(|(key, _)| key.clone())
    }
}

fn address(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host as u8 + 1], 7_946))
}

/// Hashes what is written to it.
struct Fingerprint(u64);

impl fmt::Write for Fingerprint {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = mix(self.0 ^ u64::from_le_bytes(word)).wrapping_add(chunk.len() as u64);
        }
        Ok(())
    }
}
