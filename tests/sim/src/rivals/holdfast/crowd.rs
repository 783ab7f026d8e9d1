//! A crowd of hosts with services that have no tasks yet; of very many hosts, only some in full.

use super::{HoldfastHost, Sent, agents, at, configs, mesh::Mesh, report};
use crate::{
    orders::latest,
    rivals::{Out, air::Air, arena::Arena},
    runtime::VERSION,
    workload::definition,
};
use holdfast_core::{
    agent::{AgentConfig, Amid, Timings},
    cluster::board::Board,
    command::{Command, CommandId, ServiceChange},
    effect::Effects,
    ids::{HostId, ServiceId},
    input::Input,
    rng::Rng,
    schedule::index::Index,
    spec::options::ServiceOptions,
    task::runtime::RuntimeEvent,
};
use std::collections::BTreeSet;

/// Hosts are in three zones, by their number; this one is to be lost.
pub const ZONES: usize = 3;
pub const LOST_ZONE: usize = 0;
/// Hosts in full beside those that keep services.
const BYSTANDERS: usize = 8;

/// Who is told everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Everybody,
    /// Those that keep services, now or when a zone is lost, and a few more.
    Some,
}

#[derive(Debug)]
pub struct Crowd {
    pub arena: Arena<HoldfastHost>,
    pub services: Vec<String>,
}

impl Crowd {
    pub fn found(
        hosts: usize,
        services: usize,
        told: Told,
        (seed, timings): (u64, &Timings),
    ) -> Self {
        let mut rng = Rng::new(seed);
        let configs = configs(hosts, &mut rng, timings);
        let services: Vec<String> = (0..services).map(|number| format!("s{number}")).collect();
        let board = with_services(&configs, &services);
        let in_full = match told {
            Told::Everybody => (0..hosts).collect(),
            Told::Some => in_full(&configs, &board),
        };
        let ids = in_full.iter().map(|place| (configs[*place].host, *place));
        let mesh = Mesh::of(ids.collect(), hosts);
        let agents = agents(configs, &Amid::of(board), mesh, &mut rng);
        let mut arena = Arena::new(agents, Air::new(seed ^ 0xA17));
        (0..hosts).for_each(|host| arena.with(host, HoldfastHost::connect));
        Self { arena, services }
    }

    /// Containers that hosts have asked for so far.
    pub fn wanted(&self) -> u64 {
        let hosts = 0..self.arena.hosts();
        hosts.map(|host| self.arena.detector(host).wanted()).sum()
    }

    /// Containers that run on hosts that are not lost.
    pub fn running(&self) -> usize {
        let there = (0..self.arena.hosts()).filter(|host| self.arena.is_running(*host));
        there.map(|host| self.arena.detector(host).running()).sum()
    }
}

/// What is on the boards when one host was asked for these services.
fn with_services(configs: &[AgentConfig], names: &[String]) -> Board {
    let board = Board::from_records(configs.iter().map(report));
    let mut agent = Amid::of(board).agent(configs[0].clone(), 1, at(0));
    let register = Command::RegisterTaskDefinition(definition("web", 1));
    let create = names.iter().map(|name| Command::CreateService {
        name: name.clone(),
        definition: latest("web"),
        desired: 0,
        options: ServiceOptions::default(),
        client_token: String::new(),
    });
    for command in [register].into_iter().chain(create) {
        let (id, mut effects) = (CommandId(1), Effects::new());
        agent.step(at(0), Input::Command { id, command }, &mut effects);
        effects.drain().for_each(drop);
    }
    agent.board().clone()
}

/// The keepers of all services, before and after the zone is lost, and some others.
fn in_full(configs: &[AgentConfig], board: &Board) -> Vec<usize> {
    let places = configs.iter().enumerate();
    let survivors = places.filter(|(place, _)| place % ZONES != LOST_ZONE);
    let survivors = Board::from_records(survivors.map(|(_, config)| report(config)));
    let services: Vec<ServiceId> = board.services().map(|service| service.id).collect();
    let keepers = [board, &survivors].map(Index::of);
    let keepers = services
        .iter()
        .flat_map(|id| keepers.each_ref().map(|index| index.keeper_of(*id)));
    let keepers: BTreeSet<HostId> = keepers.flatten().collect();
    let (keep, do_not): (Vec<usize>, Vec<usize>) =
        (0..configs.len()).partition(|place| keepers.contains(&configs[*place].host));
    let mut in_full: Vec<usize> = keep;
    in_full.extend(do_not.into_iter().take(BYSTANDERS));
    in_full
}

impl HoldfastHost {
    /// Its runtime answers, and is compared with what it knows.
    fn connect(&mut self, now: u64, out: &mut Out<Sent>) {
        let version = VERSION.to_owned();
        let event = RuntimeEvent::Available { version };
        self.step(now, Input::Runtime(event), out);
    }

    pub fn scale(&mut self, now: u64, service: &str, desired: u32, out: &mut Out<Sent>) {
        let command = Command::UpdateService {
            service: service.to_owned(),
            change: ServiceChange {
                desired: Some(desired),
                ..ServiceChange::default()
            },
        };
        let id = CommandId(1);
        self.step(now, Input::Command { id, command }, out);
    }

    /// Containers that it has asked for so far.
    pub const fn wanted(&self) -> u64 {
        self.containers.wanted
    }

    pub fn running(&self) -> usize {
        self.containers.running()
    }
}
