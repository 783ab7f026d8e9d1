//! The driver: sole owner of the `Agent`, the one caller of `step`, who carries out effects.

use crate::{
    directory::Refresher,
    discovery::Discovery,
    disk::Disk,
    gossip::{self, KeyStore, Knocks, Received, Transport},
    handle::{Call, Handle, Pace},
    http::Servers,
    journal::JournalFile,
    outbound::Outbound,
    recordings::Recordings,
    runtime::Docker,
    systemd,
    vault::Vault,
};
use holdfast_core::{
    agent::{Agent, AgentConfig},
    cluster::{
        board::Board,
        body::RuntimeStatus,
        keys::KeyOrders,
        message::{Message, Via},
        record::Record,
    },
    command::{CommandId, Outcome, Refusal},
    effect::{Effect, Effects, Send},
    event::{Event, Happening, HostStanding, LossFate},
    ids::HostId,
    input::Input,
    recording::{Bounds, Cause, Recorder},
    task::{runtime::RuntimeEvent, status::TaskStatus},
    time::{Mono, Now, Wall},
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep, sleep_until},
};
use tracing::{debug, error, info, warn};

/// How often the transport's counters and the status line are made new.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// For peers to be told that the agent stops, before it does.
const FAREWELL: Duration = Duration::from_millis(50);

/// What the driver carries effects out with.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) transport: Transport,
    pub(crate) docker: Docker,
    pub(crate) knocks: Knocks,
    pub(crate) disk: Disk,
    pub(crate) journal: JournalFile,
    pub(crate) handle: Handle,
    pub(crate) servers: Servers,
    pub(crate) discovery: Discovery,
    /// Ends with the driver.
    pub(crate) directory: Refresher,
    pub(crate) recordings: Recordings,
    /// `None` on an agent without a key, which talks on loopback alone.
    pub(crate) keys: Option<KeyStore>,
    /// `None` where events are to go nowhere.
    pub(crate) outbound: Option<Outbound>,
    pub(crate) vault: Vault,
}

pub(crate) struct Driver {
    agent: Agent,
    recorder: Recorder,
    fx: Effects,
    started: Instant,
    ports: Ports,
    replies: BTreeMap<CommandId, oneshot::Sender<Result<Outcome, Refusal>>>,
    commands: u64,
    pace: Pace,
    ready: bool,
    /// The core's next step: it follows from what it asked for last.
    follows: Option<Input>,
    /// The agent has left the cluster.
    left: bool,
}

/// How an agent came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was stopped; its tasks go on, and it is expected back.
    Stopped,
    /// It left the cluster, and is not to be started again by itself.
    Left,
}

enum Next {
    Step(Input),
    Read(Box<dyn FnOnce(&Agent) + std::marker::Send>),
    Record(Wall, oneshot::Sender<Vec<u8>>),
    Status,
    Alive,
    Stop,
    Nothing,
}

impl Driver {
    pub(crate) fn start(
        config: AgentConfig,
        saved: Vec<Arc<Record>>,
        mut ports: Ports,
    ) -> Result<Self, getrandom::Error> {
        let seed = getrandom::u64()?;
        let started = Instant::now();
        let mut fx = Effects::new();
        let blame = ports.journal.blame().clone();
        let (held, saved): (Vec<_>, Vec<_>) = saved.into_iter().partition(|r| blame.holds(r));
        let saved = Board::from_records(saved);
        let agent = Agent::resume(config, saved, seed, now(started), &mut fx);
        let recorder = Recorder::new(&agent, Bounds::default());
        ports.journal.end();
        let follows = (!blame.is_empty()).then_some(Input::Blamed { blame, held });
        let replies = BTreeMap::new();
        Ok(Self {
            agent,
            recorder,
            fx,
            started,
            ports,
            replies,
            commands: 0,
            pace: Pace::default(),
            ready: false,
            left: false,
            follows,
        })
    }

    /// Runs until SIGTERM or SIGINT, or until the agent has left; an error says why it must not go
    /// on.
    pub(crate) async fn run(
        mut self,
        mut received: mpsc::Receiver<Received>,
        mut happened: mpsc::Receiver<RuntimeEvent>,
        mut knocked: mpsc::Receiver<Input>,
        mut calls: mpsc::Receiver<Call>,
    ) -> Result<Ending, String> {
        let listen = |kind| signal(kind).map_err(|err| format!("cannot listen to signals: {err}"));
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut status = interval(STATUS_INTERVAL);
        status.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut alive = interval(systemd::watchdog_interval().unwrap_or(STATUS_INTERVAL));
        alive.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.carry_out().await?;
        if let Some(blamed) = self.follows.take() {
            self.step(blamed).await?;
        }
        while !self.left {
            let deadline = self.agent.deadline();
            let wake = deadline.map(|at| self.started + Duration::from_micros(at.0));
            let wake = wake.unwrap_or_else(|| Instant::now() + STATUS_INTERVAL);
            let next = tokio::select! {
                Some(received) = received.recv() => self.on_received(received),
                Some(event) = happened.recv() => Next::Step(Input::Runtime(event)),
                seeds = self.ports.discovery.changed() => Next::Step(Input::Seeds(seeds)),
                Some(outcome) = knocked.recv() => Next::Step(outcome),
                Some(call) = calls.recv() => self.on_call(call),
                () = sleep_until(wake.into()) => Next::Step(Input::Wake),
                _ = alive.tick() => Next::Alive,
                _ = status.tick() => Next::Status,
                _ = terminate.recv() => Next::Stop,
                _ = interrupt.recv() => Next::Stop,
            };
            match next {
                Next::Step(input) => self.step(input).await?,
                Next::Read(read) => read(&self.agent),
                Next::Record(at, reply) => {
                    // Whoever asked may have hung up.
                    let file = self.recorder.save(&self.agent, Cause::Asked, at);
                    reply.send(file).ok();
                }
                Next::Status => self.update_status(),
                Next::Alive => systemd::alive(),
                Next::Nothing => {}
                Next::Stop => break,
            }
        }
        if !self.left {
            info!("Asked to stop.");
            self.step(Input::Shutdown).await?;
        }
        Ok(self.end(calls).await)
    }

    /// Answers whoever waits for an answer, of which some have yet to look at the agent.
    async fn end(self, mut calls: mpsc::Receiver<Call>) -> Ending {
        // Whoever waits for a command that has had no reply is told that the agent stops.
        drop(self.replies);
        drop(self.ports.directory);
        let closed = async { tokio::join!(self.ports.servers.close(), sleep(FAREWELL)) };
        tokio::pin!(closed);
        loop {
            tokio::select! {
                _ = &mut closed => break,
                Some(call) = calls.recv() => match call {
                    Call::Read(read) => read(&self.agent),
                    Call::Command { reply, .. } => drop(reply),
                    Call::Record { reply, .. } => drop(reply),
                }
            }
        }
        if let Some(outbound) = self.ports.outbound {
            outbound.close(self.left).await;
        }
        self.ports.disk.close().await;
        match self.left {
            true => Ending::Left,
            false => Ending::Stopped,
        }
    }

    #[cfg(test)]
    pub(crate) const fn handle(&self) -> &Handle {
        &self.ports.handle
    }

    async fn step(&mut self, input: Input) -> Result<(), String> {
        let mut next = Some(input);
        while let Some(input) = next {
            self.ports.journal.begin(&input);
            self.advance(input);
            self.ports.journal.end();
            self.carry_out().await?;
            next = self.follows.take();
        }
        self.ports.discovery.note_alone(self.agent.is_alone());
        let (root, is_caught_up) = (self.agent.board().root(), self.agent.is_caught_up());
        self.ports.handle.note_board(root, is_caught_up);
        if !self.ready && self.agent.is_caught_up() {
            self.ready = true;
            self.update_status();
            systemd::ready("Caught up with the cluster.");
            info!(
                hosts = self.agent.board().hosts().count(),
                "Caught up with the cluster."
            );
        }
        Ok(())
    }

    /// The one place where the core is advanced, on the record.
    pub(crate) fn advance(&mut self, input: Input) {
        let (now, begun) = (now(self.started), Instant::now());
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            self.recorder
                .step(&mut self.agent, now, input, &mut self.fx);
        }));
        if let Err(panic) = stepped {
            self.save_panic(Cause::Panicked(Cause::said(&*panic)), now.wall);
            resume_unwind(panic);
        }
        self.pace.note(begun.elapsed());
    }

    /// The agent is lost, and its tasks are not: it is started again, and adopts them.
    fn save_panic(&self, cause: Cause, at: Wall) {
        let bytes = self.recorder.save(&self.agent, cause.clone(), at);
        match self.ports.recordings.save(&cause, at, &bytes) {
            Ok(path) => error!(
                path = %path.display(),
                "The agent has a bug and ends; what it was told is recorded."
            ),
            Err(err) => error!(%err, "The agent has a bug and ends; nothing could be recorded."),
        }
    }

    fn on_received(&self, received: Received) -> Next {
        let me = self.agent.config().host;
        if received.to != HostId::default() && received.to != me {
            let (from, to) = (received.address, received.to);
            debug!(%from, %to, "Dropped a message for another host.");
            return Next::Nothing;
        }
        match Message::decode(&received.payload) {
            Ok(message) => {
                let (from, address) = (received.from, received.address);
                let via = match received.via {
                    gossip::Via::Datagram => Via::Datagram,
                    gossip::Via::Stream => Via::Stream,
                };
                Next::Step(Input::Message {
                    from,
                    address,
                    via,
                    message,
                })
            }
            Err(err) => {
                debug!(from = %received.address, %err, "Dropped a message that cannot be read.");
                Next::Nothing
            }
        }
    }

    fn on_call(&mut self, call: Call) -> Next {
        match call {
            Call::Read(read) => Next::Read(read),
            Call::Record { at, reply } => Next::Record(at, reply),
            Call::Command { command, reply } => {
                self.commands += 1;
                let id = CommandId(self.commands);
                self.replies.insert(id, reply);
                Next::Step(Input::Command { id, command })
            }
        }
    }

    /// Carries out the effects of one step, in order. Behind a barrier that failed nothing leaves
    /// this host, and whoever waits for a reply is told so.
    async fn carry_out(&mut self) -> Result<(), String> {
        let effects: Vec<Effect> = self.fx.drain().collect();
        self.tell_outside(&effects);
        let (mut unsaved, mut trying) = (None, false);
        for effect in effects {
            match effect {
                Effect::Persist(records) => unsaved = self.persist(&records).await.err(),
                Effect::Remember(records) => self.ports.disk.remember(&records).await,
                Effect::Forget(records) => self.ports.disk.forget(&records).await,
                Effect::Runtime(command) => self.ports.docker.carry_out(command),
                Effect::Emit(event) => self.emit(event),
                // It was told outside, before all else.
                Effect::Retell(_) => {}
                Effect::Keys(orders) => self.change_keys(&orders),
                Effect::Reseal(orders) => {
                    let resealed = self.ports.vault.reseal(orders);
                    // Whoever else follows goes first; these are asked for again.
                    self.follows.get_or_insert(Input::Resealed(resealed));
                }
                Effect::Try(hashes) => {
                    self.ports.journal.on_trial(hashes);
                    trying = true;
                }
                Effect::Acquit(hashes) => self.ports.journal.acquit(&hashes),
                Effect::Knock { host, addresses } => self.ports.knocks.knock(host, addresses),
                Effect::Send(send) if unsaved.is_none() => self.send(send),
                Effect::Send(_) => {}
                Effect::Reply { id, result } => {
                    let result = match unsaved.clone() {
                        Some(reason) => Err(Refusal::NotSaved { reason }),
                        None => result,
                    };
                    if let Some(reply) = self.replies.remove(&id) {
                        // Whoever asked may have hung up; the change stands.
                        reply.send(result).ok();
                    }
                }
                Effect::Left => self.left = true,
                Effect::Fatal { reason } => return Err(reason),
            }
        }
        if trying {
            // Keys that changed in the same step are asked for again.
            self.follows = Some(Input::Tried);
        }
        Ok(())
    }

    /// Before anything of the step is on the disk: what is not told when the agent is killed is
    /// found out anew then, and told.
    fn tell_outside(&mut self, effects: &[Effect]) {
        if let Some(outbound) = &mut self.ports.outbound {
            let told = effects.iter().filter_map(|effect| match effect {
                Effect::Emit(event) | Effect::Retell(event) => Some(event),
                _ => None,
            });
            outbound.tell(&self.agent, told.filter(|event| event.ours));
        }
    }

    async fn persist(&mut self, records: &[Arc<Record>]) -> Result<(), String> {
        if let Some(outbound) = &mut self.ports.outbound {
            outbound.pass().await;
        }
        self.ports.disk.persist(records).await
    }

    /// The core hears in a step of its own what became of its orders.
    fn change_keys(&mut self, orders: &KeyOrders) {
        let Some(keys) = &mut self.ports.keys else {
            return;
        };
        match keys.apply(orders) {
            Ok(false) => {}
            Ok(true) => {
                self.ports.transport.set_keyring(keys.ring());
                self.ports.vault.set_keyring(keys.ring());
                let report = keys.report();
                let (held, sealing) = (&report.held, &report.in_use);
                info!(?held, ?sealing, "The cluster's keys have changed.");
                self.follows = Some(Input::Keys(report));
            }
            Err(err) => warn!(%err, "Cannot save the cluster's keys; trying again."),
        }
    }

    fn send(&self, send: Send) {
        let via = match send.via {
            Via::Datagram => gossip::Via::Datagram,
            Via::Stream => gossip::Via::Stream,
        };
        let host = send.host.unwrap_or_default();
        let sent = self
            .ports
            .transport
            .send(send.to, host, via, send.message.encode());
        if let Err(err) = sent {
            warn!(to = %send.to, %err, "Could not send a message of our own.");
        }
    }

    fn emit(&self, event: Event) {
        log(&event);
        self.ports.handle.events().push(event);
    }

    fn update_status(&self) {
        let counters = serde_json::to_value(self.ports.transport.counters()).unwrap_or_default();
        let disk = self.ports.disk.trouble();
        let docker = self.agent.me().1.map(|report| report.runtime.clone());
        let set_aside = self.agent.set_aside().map(|record| record.key.to_string());
        let set_aside = set_aside.collect();
        let clock = self.agent.clock_trouble();
        let events = self.ports.outbound.as_ref().map(Outbound::status);
        if self.ready {
            systemd::status(&self.status_line(docker.as_ref(), disk.as_deref()));
        }
        self.ports.handle.update_status(|status| {
            status.transport = counters;
            status.pace = self.pace;
            status.disk = disk;
            status.set_aside = set_aside;
            status.clock = clock;
            status.events = events.unwrap_or_default();
        });
    }

    /// For `systemctl status`: what is there, and what is wrong.
    fn status_line(&self, docker: Option<&RuntimeStatus>, disk: Option<&str>) -> String {
        let (board, me) = (self.agent.board(), self.agent.config().host);
        let hosts = board
            .hosts()
            .filter(|(host, ..)| !board.is_down(*host))
            .count();
        let running = |(_, report): &(_, &holdfast_core::cluster::body::TaskReport)| {
            report.last == TaskStatus::Running
        };
        let tasks = board.tasks_on(me).filter(running).count();
        let mut line = format!("{hosts} hosts up, {tasks} tasks running here");
        if let Some(RuntimeStatus::Unavailable { reason }) = docker {
            line = format!("{line}; Docker: {reason}");
        }
        if let Some(reason) = disk {
            line = format!("{line}; disk: {reason}");
        }
        if let Some(reason) = self.agent.clock_trouble() {
            line = format!("{line}; {reason}");
        }
        line
    }
}

fn now(started: Instant) -> Now {
    let mono = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    Now {
        mono: Mono(mono),
        wall: Wall(gossip::now_wall_ms()),
    }
}

/// What an operator would tell a colleague.
fn log(event: &Event) {
    match &event.what {
        Happening::Task(change) => {
            let service = change.service.as_ref().map(|(_, name, _)| name.as_str());
            let (task, host, reason) = (change.task, change.host, change.reason.as_str());
            match change.to {
                TaskStatus::Running | TaskStatus::Stopped => {
                    info!(%task, %host, service, status = %change.to, reason, "Task changed.");
                }
                _ => debug!(%task, %host, service, status = %change.to, "Task changed."),
            }
        }
        Happening::Host(change) => {
            let (host, name, reason) = (change.host, &change.name, &change.reason);
            let standing = change.now.as_str();
            if change.now == HostStanding::Down {
                warn!(%host, name, standing, reason, "Host changed.");
            } else {
                info!(%host, name, standing, reason, "Host changed.");
            }
        }
        Happening::Loss(loss) => {
            let service = loss.service.as_ref().map(|(_, name, _)| name.as_str());
            let (task, host, reason) = (loss.task, loss.host, loss.reason.as_str());
            match loss.fate {
                LossFate::Lost => info!(%task, %host, service, reason, "Task lost."),
                LossFate::Found => info!(%task, %host, service, reason, "Task found again."),
            }
        }
        Happening::Clash(clash) => warn!(about = clash.about, "{}", clash.reason),
        Happening::Service(change) => info!(service = change.name, "{}", change.text),
    }
}
