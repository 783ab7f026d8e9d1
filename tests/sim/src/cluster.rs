//! The simulated cluster: hosts, one queue of events, virtual time; steps one agent at a time.

use crate::{
    apply::Delivery,
    checks::{Checks, Site},
    enemy::Enemy,
    faults::Fault,
    host::{Frozen, Host},
    network::Network,
    options::Options,
    planted::Planted,
    queue::{Deadlines, Queue},
    runtime::{Chore, VERSION},
    stats::Stats,
    trace::{Trace, event_text, message_word},
    workload::TimedOrder,
};
use holdfast_core::{
    agent::{Agent, Timings},
    cluster::{board::Board, record::Record},
    effect::{Effect, Effects},
    ids::{Digest, HostId, ServiceId, SlotIndex},
    input::Input,
    planted::Poisoned,
    recording::Bounds,
    rng::Rng,
    spec::task_definition::TaskDefinition,
    task::runtime::{RuntimeCommand, RuntimeEvent},
};
use std::{
    cell::Cell,
    collections::BTreeMap,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

pub(crate) const SEEDS: usize = 3;
pub(crate) const SECOND: u64 = 1_000_000;
/// So little that recordings begin anew amid everything.
const RECORDED: Bounds = Bounds {
    bytes: 128 * 1024,
    steps: 300,
};

#[derive(Debug)]
pub struct Cluster {
    pub options: Options,
    pub(crate) now: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    /// What the agents are told of where first peers are.
    pub(crate) seeds: Vec<SocketAddr>,
    pub(crate) queue: Queue<Event>,
    pub(crate) deadlines: Deadlines,
    pub(crate) checks: Checks,
    pub trace: Trace,
    pub stats: Stats,
    pub(crate) rng: Rng,
    pub(crate) definitions: BTreeMap<Digest, TaskDefinition>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) orders: Vec<TimedOrder>,
    /// Rates that hold for all runtimes while a fault is on.
    pub(crate) exits_ppm: u64,
    pub(crate) stubborn_ppm: u64,
    pub(crate) faults_on: u32,
    pub(crate) healed: bool,
    /// When the planted bug struck, if it is one that strikes once.
    pub(crate) struck: bool,
    pub(crate) enemy: Option<Box<Enemy>>,
    pub(crate) failure: Option<String>,
    /// The slot that was looked at when something was found pending.
    pub(crate) pending_slot: Cell<Option<(ServiceId, SlotIndex)>>,
    effects: Effects,
}

#[derive(Debug)]
pub(crate) enum Event {
    Deliver(Delivery),
    Chore {
        host: usize,
        boot: u32,
        chore: Box<Chore>,
    },
    Tell {
        host: usize,
        boot: u32,
        event: Box<RuntimeEvent>,
    },
    Start {
        host: usize,
        boot: u32,
    },
    Knocked {
        host: usize,
        boot: u32,
        knocked: HostId,
        answered: bool,
    },
    FaultBegins(usize),
    FaultEnds(usize),
    Order(usize),
    /// The driver has done something of its own that it was asked for.
    Driver {
        host: usize,
        boot: u32,
        input: Box<Input>,
    },
    Sweep,
}

impl Cluster {
    /// A cluster whose agents all start within half a second.
    pub fn new(options: Options) -> Self {
        assert!(options.agents > 0, "a cluster has at least one agent");
        let mut rng = Rng::new(options.seed ^ 0x51_4d00);
        let hosts: Vec<_> = (0..options.agents)
            .map(|place| Host::new(place, &mut rng))
            .collect();
        let network = Network::new(options.agents, rng.next_u64());
        let mut cluster = Self {
            now: 0,
            seeds: first_addresses(&network, options.agents),
            network,
            queue: Queue::default(),
            deadlines: Deadlines::new(options.agents),
            checks: Checks::new(options.agents),
            trace: Trace::new(options.trace),
            stats: Stats::new(options.agents),
            rng,
            definitions: BTreeMap::new(),
            faults: Vec::new(),
            orders: Vec::new(),
            exits_ppm: 0,
            stubborn_ppm: 0,
            faults_on: 0,
            healed: false,
            struck: false,
            enemy: None,
            failure: None,
            pending_slot: Cell::new(None),
            effects: Effects::new(),
            hosts,
            options,
        };
        for host in 0..cluster.hosts.len() {
            cluster.hosts[host].skew_ms = cluster.rng.below(4_000) as i64 - 2_000;
            let at = cluster.rng.below(500_000);
            cluster.queue.push(at, Event::Start { host, boot: 0 });
        }
        cluster.queue.push(SECOND, Event::Sweep);
        cluster
    }

    pub const fn now(&self) -> u64 {
        self.now
    }

    pub fn agent(&self, host: usize) -> Option<&Agent> {
        self.hosts[host].agent.as_ref()
    }

    pub fn host(&self, host: usize) -> &Host {
        &self.hosts[host]
    }

    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Other waits than the usual, for agents that start from now on.
    pub fn set_timings(&mut self, set: impl Fn(&mut Timings)) {
        self.hosts
            .iter_mut()
            .for_each(|host| set(&mut host.timings));
    }

    /// Puts a schedule of faults and orders on the queue.
    pub fn schedule(&mut self, faults: Vec<Fault>, orders: Vec<TimedOrder>) {
        for (number, fault) in faults.iter().enumerate() {
            self.queue.push(fault.at, Event::FaultBegins(number));
            self.queue
                .push(fault.until.max(fault.at + 1), Event::FaultEnds(number));
        }
        for (number, order) in orders.iter().enumerate() {
            self.queue.push(order.at, Event::Order(number));
        }
        (self.faults, self.orders) = (faults, orders);
    }

    /// Advances virtual time to `until`, or to the first failed check.
    pub fn run_until(&mut self, until: u64) -> Result<(), String> {
        loop {
            if let Some(failure) = &self.failure {
                return Err(failure.clone());
            }
            let event_at = self.queue.next_at().unwrap_or(u64::MAX);
            let wake = self.deadlines.earliest();
            match wake {
                Some((at, host)) if at < event_at => {
                    if at > until {
                        break;
                    }
                    self.advance(at);
                    self.wake(host);
                }
                _ => {
                    if event_at > until {
                        break;
                    }
                    self.advance(event_at);
                    if let Some((_, event)) = self.queue.pop() {
                        self.handle(event);
                    }
                }
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    pub fn run_for(&mut self, micros: u64) -> Result<(), String> {
        self.run_until(self.now + micros)
    }

    /// The first failure counts; what follows it is its consequence.
    pub(crate) fn fail(&mut self, what: String) {
        if self.failure.is_none() {
            self.trace
                .line(self.now, None, format_args!("FAILED: {what}"));
            self.failure = Some(what);
        }
    }

    fn advance(&mut self, to: u64) {
        if to > self.now {
            self.now = to;
            self.stats.moments += 1;
        }
    }

    fn wake(&mut self, host: usize) {
        if let Err(what) = self.checks.on_wake(host, self.now) {
            self.fail(what);
            return;
        }
        self.step(host, Input::Wake);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver(delivery) => self.deliver(delivery),
            Event::Chore { host, boot, chore } => self.finish_chore(host, boot, *chore),
            Event::Tell { host, boot, event } => {
                if self.hosts[host].boot == boot {
                    self.step_runtime(host, *event);
                }
            }
            Event::Start { host, boot } => {
                if self.hosts[host].boot == boot {
                    self.start_agent(host);
                }
            }
            Event::Knocked {
                host,
                boot,
                knocked,
                answered,
            } => {
                if self.hosts[host].boot == boot {
                    let input = Input::Knocked {
                        host: knocked,
                        answered,
                    };
                    self.step(host, input);
                }
            }
            Event::FaultBegins(number) => self.begin_fault(number),
            Event::FaultEnds(number) => self.end_fault(number),
            Event::Order(number) => self.give_order(number),
            Event::Driver { host, boot, input } => {
                if self.hosts[host].boot == boot {
                    self.step(host, *input);
                }
            }
            Event::Sweep => {
                self.queue.push(self.now + SECOND, Event::Sweep);
                self.check_sweep();
                self.check_recordings();
            }
        }
    }

    fn deliver(&mut self, mut delivery: Delivery) {
        let to = delivery.to_place;
        let host = &self.hosts[to];
        let is_stranger = delivery.meant.is_some_and(|meant| meant != host.id);
        if host.agent.is_none() || (is_stranger && delivery.addressed == to) {
            return;
        }
        let current = (host.boot, self.network.breaks(delivery.from_place, to));
        if delivery.connection.is_some_and(|then| then != current) {
            return;
        }
        if let Some(sealed) = delivery.sealed.take() {
            let Some((from, message)) = self.opened(to, &sealed) else {
                return;
            };
            (delivery.from, delivery.message) = (from, message);
            self.overheard(to, sealed);
        } else if delivery
            .sealed_with
            .is_some_and(|key| !host.keys.held.contains(&key))
        {
            return;
        }
        if delivery.addressed != to {
            self.fail(format!(
                "h{to} was handed a message for h{}",
                delivery.addressed
            ));
        }
        self.stats.delivered += 1;
        let input = Input::Message {
            from: delivery.from,
            address: self.network.address(delivery.from_place),
            via: delivery.via(),
            message: delivery.message,
        };
        self.step(to, input);
    }

    pub(crate) fn step_runtime(&mut self, host: usize, event: RuntimeEvent) {
        if self.trace.is_on() {
            let text = event_text(&event);
            self.trace
                .line(self.now, Some(host), format_args!("docker: {text}"));
        }
        self.checks.on_runtime_event(host, &event);
        self.step(host, Input::Runtime(event));
    }

    /// One step of one agent, and all that it asks for.
    pub(crate) fn step(&mut self, place: usize, input: Input) {
        let host = &mut self.hosts[place];
        if host.frozen.is_some() {
            host.queue(input);
            return;
        }
        let now = host.now(self.now);
        let Some(agent) = host.agent.as_mut() else {
            return;
        };
        let word = match &input {
            Input::Wake => 1,
            Input::Message { from, message, .. } => from.word() ^ message_word(message),
            Input::Runtime(_) => 2,
            Input::Command { id, .. } => 3 << 32 | id.0,
            Input::Shutdown => 4,
            Input::Keys(report) => 7 ^ (report.held.len() as u64) << 8,
            Input::Seeds(seeds) => 6 ^ (seeds.len() as u64) << 8,
            Input::Blamed { held, .. } => 8 ^ (held.len() as u64) << 8,
            Input::Tried => 9,
            Input::Resealed(secrets) => 10 ^ (secrets.len() as u64) << 8,
            Input::Knocked { host, answered } => 5 ^ host.word() ^ u64::from(*answered) << 60,
        };
        self.trace.mix(self.now, place, word);
        self.stats.steps += 1;
        assert!(
            self.effects.is_empty(),
            "the effects of a step were drained before the next"
        );
        let mut effects = std::mem::take(&mut self.effects);
        let missed = self.options.planted == Some(Planted::OffTheRecord)
            && self.stats.steps.is_multiple_of(1_000);
        host.journal.begin(input.reads());
        let recorder = host.recorder.as_mut().filter(|_| !missed);
        let stepped = survives(|| match recorder {
            Some(recorder) => recorder.step(agent, now, input, &mut effects),
            None => agent.step(now, input, &mut effects),
        });
        if stepped.is_none() {
            self.die_of_poison(place);
            return;
        }
        self.hosts[place].journal.end();
        self.drain(place, &mut effects);
        self.effects = effects;
        if std::mem::take(&mut self.hosts[place].is_trying) {
            self.step(place, Input::Tried);
        }
    }

    /// As systemd does, it starts the agent again.
    fn die_of_poison(&mut self, place: usize) {
        self.hosts[place].poisoned += 1;
        self.trace.line(
            self.now,
            Some(place),
            format_args!("agent dies of what it reads"),
        );
        self.crash(place);
        self.restart_at(place, self.now + SECOND);
    }

    fn drain(&mut self, place: usize, effects: &mut Effects) {
        let effects: Vec<Effect> = effects.drain().collect();
        let creates = |effect| matches!(effect, &Effect::Runtime(RuntimeCommand::Create(_)));
        let is_spared = self.hosts[place].killed_creating && !effects.iter().any(creates);
        let killed_after = self.hosts[place].killed_after.filter(|_| !is_spared);
        let mut number = 0;
        for effect in effects {
            if killed_after.is_some_and(|(after, _)| number > after) {
                continue;
            }
            number += 1;
            self.apply(place, effect);
        }
        if self.hosts[place].gave_up.is_some() {
            self.crash(place);
            return;
        }
        if let Some((after, until)) = killed_after
            && number > after
        {
            self.hosts[place].killed_after = None;
            self.crash(place);
            self.restart_at(place, until);
            return;
        }
        self.pull_deadline(place);
    }

    pub(crate) fn pull_deadline(&mut self, place: usize) {
        let host = &self.hosts[place];
        let at = match &host.agent {
            Some(agent) if host.frozen.is_none() => agent.deadline(),
            _ => None,
        };
        let mut at = at.map(|mono| (mono.0.saturating_add(host.started_at)).max(self.now));
        if self.options.planted == Some(Planted::Spin) && place == 0 && self.now > 30 * SECOND {
            at = at.map(|_| self.now);
        }
        self.deadlines.set(place, at);
    }

    pub(crate) fn start_agent(&mut self, place: usize) {
        let address = self.network.address(place);
        let others = self.seeds.iter().filter(|seed| **seed != address);
        let seeds = others.copied().take(SEEDS).collect();
        let host = &mut self.hosts[place];
        if host.agent.is_some() || !host.powered {
            return;
        }
        host.boot += 1;
        host.started_at = self.now;
        let config = host.config(address, seeds);
        let mut saved = host.disk.saved();
        if self.options.codec {
            let pass = |record: &std::sync::Arc<Record>| Record::decode(&record.encode());
            saved = saved
                .iter()
                .map(|record| pass(record).expect("a saved record reads back"))
                .collect();
        }
        let journal = &mut host.journal;
        journal.take_up(saved.iter().map(|record| record.hash()));
        let blame = journal.blame.clone();
        let (held, saved): (Vec<_>, Vec<_>) = saved.into_iter().partition(|r| blame.holds(r));
        let (now, boot) = (host.now(self.now), host.boot);
        let event = if host.runtime.answers() {
            let version = VERSION.to_owned();
            RuntimeEvent::Available { version }
        } else {
            let reason = "no answer".to_owned();
            RuntimeEvent::Unavailable { reason }
        };
        let text = format_args!("agent starts, incarnation {}", config.incarnation);
        self.trace.line(self.now, Some(place), text);
        let mut effects = std::mem::take(&mut self.effects);
        let seed = self.rng.next_u64();
        let resumed = survives(|| {
            let saved = Board::from_records(saved);
            Agent::resume(config, saved, seed, now, &mut effects)
        });
        let Some(agent) = resumed else {
            self.die_of_poison(place);
            return;
        };
        self.hosts[place].journal.end();
        self.hosts[place].agent = Some(agent);
        if self.options.recorded {
            self.record(place, RECORDED);
        }
        let site = Site::new(&self.hosts[place]);
        self.checks.on_start(site);
        self.drain(place, &mut effects);
        self.effects = effects;
        if !blame.is_empty() {
            self.step(place, Input::Blamed { blame, held });
        }
        let at = self.now + 5_000 + self.rng.below(15_000);
        self.tell_at(at, (place, boot), event);
    }

    /// The agent of that boot is told so at that time, if it still runs then.
    pub(crate) fn tell_at(&mut self, at: u64, (host, boot): (usize, u32), event: RuntimeEvent) {
        let event = Box::new(event);
        self.queue.push(at, Event::Tell { host, boot, event });
    }

    /// Docker is done with it at that time; the agent of that boot asked for it.
    pub(crate) fn chore_at(&mut self, at: u64, (host, boot): (usize, u32), chore: Chore) {
        let chore = Box::new(chore);
        self.queue.push(at, Event::Chore { host, boot, chore });
    }

    pub(crate) fn restart_at(&mut self, host: usize, at: u64) {
        let boot = self.hosts[host].boot;
        self.queue
            .push(at.max(self.now + 1), Event::Start { host, boot });
    }

    /// `kill -9` of the agent: its disk and its containers stay.
    pub fn crash(&mut self, place: usize) {
        let host = &mut self.hosts[place];
        if host.agent.take().is_none() {
            return;
        }
        host.boot += 1;
        host.frozen = None;
        host.disk.crash(self.now);
        self.deadlines.set(place, None);
        self.checks.on_end(Site::new(&self.hosts[place]));
        self.disturb();
        self.trace
            .line(self.now, Some(place), format_args!("agent ends"));
    }

    pub fn restart(&mut self, place: usize) {
        self.disturb();
        self.start_agent(place);
    }

    pub fn freeze(&mut self, place: usize) {
        let host = &mut self.hosts[place];
        if host.is_acting() {
            host.frozen = Some(Frozen {
                since: self.now,
                inputs: Vec::new(),
            });
            self.deadlines.set(place, None);
            self.disturb();
        }
    }

    pub fn thaw(&mut self, place: usize) {
        let Some(frozen) = self.hosts[place].frozen.take() else {
            return;
        };
        self.hosts[place].thawed = Some((frozen.since, self.now));
        self.disturb();
        self.pull_deadline(place);
        for input in frozen.inputs {
            self.step(place, input);
        }
    }

    /// Whatever changed may upset the counts for a while.
    pub(crate) const fn disturb(&mut self) {
        self.checks.disturbed_at = self.now;
        self.checks.calm.on_disturbance();
    }
}

/// What the core made of a step, unless it died of something that was poisoned.
fn survives<R>(step: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(made) => Some(made),
        Err(death) if death.is::<Poisoned>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// One more than an agent is told, so that the first ones are told as many without themselves.
pub(crate) fn first_addresses(network: &Network, hosts: usize) -> Vec<SocketAddr> {
    let first = 0..hosts.min(SEEDS + 1);
    first.map(|place| network.address(place)).collect()
}
