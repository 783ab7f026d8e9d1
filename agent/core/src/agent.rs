//! The whole agent: routes inputs to its machines and composes what they say; has no rules itself.
//!
//! The machines (membership, board, roster of tasks, ledger, keeper) never call one another.

mod writing;
mod spreading;
mod joining;
mod keys;
mod values;
mod slots;
mod commands;
mod definitions;
mod hosts;
mod leaving;
mod telling;
mod deploying;
mod comparing;
mod repairing;
mod clocks;
mod setting_aside;
mod majority;
mod protecting;
mod asking;
mod pulling;
mod runs;
mod tagging;
mod ticks;
mod amid;
mod picture;

use crate::{
    cluster::{
        board::Board,
        body::{Body, Capacity, HostReport, HostStatus, Key, RuntimeStatus, Verdict},
        clock::Clock,
        keys::KeyReport,
        membership::{Finding, Membership, Turn},
        message::{Message, Via},
        outbox::Outbox,
        record::Record,
        repair,
    },
    effect::{Effect, Effects, Send},
    host::ledger::Ledger,
    ids::{GpuId, HostId, Incarnation, ServiceId, TaskId},
    input::Input,
    rng::{Rng, mix},
    schedule::{
        index::{Index, Touched},
        keeper::Keeper,
        lease::Lease,
    },
    task::{roster::Roster, runtime::RuntimeCommand, status::TaskStatus},
    time::{Mono, Now, Span, Wall},
};
use clocks::Clocks;
use deploying::Progress;
use joining::{Joining, others};
use leaving::Leaving;
use pulling::Pulls;
use serde::{Deserialize, Serialize};
use setting_aside::Quarantine;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use telling::Outward;
use ticks::Clockwork;

pub use crate::timings::Timings;
pub use amid::Amid;
pub use picture::Picture;
pub use runs::{NoOrder, run_order};

/// Between looks for what has become too old to keep.
const HOUSEKEEPING: Span = Span::from_secs(10);

/// How long a machine that has another address than its disk says only reads: what is there under
/// the same identity has to have the time to object.
const OBJECTION: Span = Span::from_secs(2);

/// What an agent is told about itself when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentConfig {
    pub host: HostId,
    /// Greater than that of every earlier start.
    pub incarnation: Incarnation,
    pub cluster: String,
    pub name: String,
    /// Where other agents reach this one.
    pub address: SocketAddr,
    /// First peers to try; `Input::Seeds` replaces them.
    pub seeds: Vec<SocketAddr>,
    /// Whoever knows first peers has not said where they are yet: to be waited for, a while.
    pub seeds_expected: bool,
    pub zone: Option<String>,
    pub attributes: BTreeMap<String, String>,
    pub capacity: Capacity,
    /// Those that `capacity` counts.
    pub gpus: Vec<GpuId>,
    /// The first and the last host port that tasks are given which do not ask for a certain one;
    /// `None`: the container runtime chooses.
    pub dynamic_ports: Option<(u16, u16)>,
    pub fingerprint: u64,
    /// `Input::Keys` replaces it.
    pub keys: KeyReport,
    pub agent_version: String,
    pub timings: Timings,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Agent {
    config: AgentConfig,
    started: Now,
    /// Until when this machine may be a copy of the one that its disk tells of, and does nothing.
    copy_until: Option<Mono>,
    /// When this host first registered, as its own disk has it.
    registered_at: Wall,
    rng: Rng,
    clock: Clock,
    board: Board,
    membership: Membership,
    joining: Joining,
    /// It was away for longer than tombstones are kept, and took a full copy of the board since.
    was_away_long: bool,
    roster: Roster,
    ledger: Ledger,
    keeper: Keeper,
    lease: Lease,
    index: Index,
    incarnation: Incarnation,
    status: HostStatus,
    /// While this host moves its tasks away, to go then.
    leaving: Option<Leaving>,
    /// Tasks of ours whose reports others removed: what was told of them last.
    unsaid: BTreeMap<TaskId, TaskStatus>,
    runtime: RuntimeStatus,
    /// Known while the runtime answers.
    runtime_version: Option<Box<str>>,
    /// What is to be spread when the step ends, or soon after.
    outbox: Outbox,
    /// Changed in this step; remembered when the step ends.
    unsaved: Vec<Arc<Record>>,
    /// What the records that changed in this step can touch.
    dirty: Touched,
    all_dirty: bool,
    /// Copies whose successor was seen to serve, with their service and since when.
    giving_way: BTreeMap<TaskId, (ServiceId, Mono)>,
    /// When the protection of this host's tasks ends.
    protected: BTreeMap<TaskId, Mono>,
    /// Records of keys changed, or it is time to look again.
    keys_dirty: bool,
    next_repair: Mono,
    next_housekeeping: Mono,
    next_compare: Mono,
    events: u64,
    /// Tombstones are kept until then, however old they are.
    bury_from: Mono,
    clocks: Clocks,
    /// Strangers with whom boards were compared, and when.
    greeted: BTreeMap<HostId, Mono>,
    quarantine: Quarantine,
    pulls: Pulls,
    /// When tasks of runs have had their time.
    timeouts: BTreeMap<TaskId, Mono>,
    clockwork: Clockwork,
    outward: Outward,
    progress: Progress,
}

impl Agent {
    /// Starts from what the disk held (nothing at first boot); asks for its first effects.
    pub fn resume(
        config: AgentConfig,
        saved: Board,
        seed: u64,
        now: Now,
        fx: &mut Effects,
    ) -> Self {
        let joining = Joining::new(now, &saved);
        let index = Index::of(&saved);
        let mut agent = Self::new(config, (saved, index), joining, seed, now);
        agent.publish_host(now, fx);
        agent.look_for_peers(now, fx);
        agent.settle(now, fx);
        agent
    }

    fn new(
        config: AgentConfig,
        (board, index): (Board, Index),
        joining: Joining,
        seed: u64,
        now: Now,
    ) -> Self {
        let mut rng = Rng::new(seed);
        let (me, timings) = (config.host, config.timings.clone());
        let seeds = others(config.address, &config.seeds);
        let (probing, zone) = (Rng::new(rng.next_u64()), config.zone.as_deref());
        let repair_phase = Span(rng.below(timings.repair_interval.0.max(1)));
        let mut agent = Self {
            started: now,
            copy_until: None,
            registered_at: now.wall,
            clock: Clock::new(me),
            board,
            membership: Membership::new(me, zone, timings.clone(), seeds, probing, now),
            joining,
            was_away_long: false,
            roster: Roster::new(&config.cluster, me, timings.clone()),
            ledger: Ledger::new(
                (config.capacity, config.gpus.clone()),
                config.dynamic_ports,
                mix(me.word() ^ config.incarnation),
            ),
            keeper: Keeper::new(&timings),
            lease: Lease::default(),
            index,
            incarnation: config.incarnation,
            status: HostStatus::Active,
            leaving: None,
            unsaid: BTreeMap::new(),
            runtime: RuntimeStatus::Unavailable {
                reason: "not asked yet".into(),
            },
            runtime_version: None,
            outbox: Outbox::default(),
            unsaved: Vec::new(),
            dirty: Touched::default(),
            all_dirty: true,
            giving_way: BTreeMap::new(),
            protected: BTreeMap::new(),
            keys_dirty: true,
            next_repair: now.mono + repair_phase,
            next_housekeeping: now.mono + HOUSEKEEPING,
            next_compare: now.mono + timings.compare_interval,
            events: 0,
            bury_from: now.mono,
            clocks: Clocks::new(now),
            greeted: BTreeMap::new(),
            quarantine: Quarantine::default(),
            pulls: Pulls::default(),
            timeouts: BTreeMap::new(),
            clockwork: Clockwork::default(),
            outward: Outward::default(),
            progress: Progress::default(),
            rng,
            config,
        };
        agent.restore(now);
        agent
    }

    /// Goes on from where the board left off: later than all on it, and with the tasks that ran
    /// here.
    fn restore(&mut self, now: Now) {
        let me = self.config.host;
        for record in self.board.records() {
            self.clock.observe(record.version.stamp);
        }
        // Also the tombstone of a host that was forgotten.
        if let Some(said) = self.board.record(&Key::Host(me)) {
            self.incarnation = self.incarnation.max(said.version.epoch + 1);
        }
        if let Some((_, report)) = self.board.host(me) {
            self.registered_at = report.registered_at;
            if report.address != self.config.address {
                self.copy_until = Some(now.mono + OBJECTION);
            }
        }
        let hosts: Vec<HostId> = self.board.hosts().map(|(host, ..)| host).collect();
        for host in hosts {
            self.membership.on_board(now, &self.board, host);
        }
        self.note_all_schedules(now);
        // Also those that have stopped: their containers may still be there.
        let mine = self.board.tasks_on(me);
        let mine: Vec<_> = mine.map(|(task, report)| (task, report.clone())).collect();
        for (task, report) in mine {
            let definition = self.board.definition(report.definition).cloned();
            let is_live = report.last.is_live();
            self.roster.remember(task, report, definition);
            self.recall_protection(now, task);
            if let Some(known) = self.roster.get(task).filter(|_| is_live) {
                self.ledger.adopt(task, known.needs());
            }
        }
    }

    /// One advance: takes notice of `input` and pushes what is to be done about it.
    ///
    /// # Panics
    /// If the effects of the step before were not drained.
    pub fn step(&mut self, now: Now, input: Input, fx: &mut Effects) {
        assert!(
            fx.is_empty(),
            "the effects of the last step were not drained"
        );
        let now = self.by_most_clocks(now, fx);
        self.membership.on_time(now);
        match input {
            Input::Wake => self.on_wake(now, fx),
            Input::Message {
                from,
                address,
                via,
                message,
            } => {
                self.on_message(now, (from, address, via), message, fx);
            }
            Input::Runtime(event) => self.on_runtime(now, event, fx),
            Input::Knocked { host, answered } => self.attend(now, fx, |membership, turn| {
                membership.on_knocked(turn, host, answered);
            }),
            Input::Command { id, command } => self.on_command(now, id, command, fx),
            Input::Keys(report) => self.on_keys(now, report, fx),
            Input::Resealed(resealed) => self.on_resealed(now, resealed, fx),
            Input::Seeds(seeds) => self.on_seeds(now, seeds, fx),
            Input::Blamed { blame, held } => self.on_blame(now, blame, &held, fx),
            Input::Tried => self.on_tried(now, fx),
            Input::Shutdown => {
                if planted!(PanicsAtTheEnd) {
                    panic!("a planted bug");
                }
                self.status = HostStatus::Restarting;
                self.leaving = None;
                self.publish_host(now, fx);
            }
        }
        self.settle(now, fx);
        self.go_on_leaving(now, fx);
        self.membership.choose_ways(fx);
    }

    /// When the agent wants to be woken. Pulled after each step; nothing needs to be cancelled.
    pub fn deadline(&self) -> Option<Mono> {
        let always = self
            .membership
            .deadline()
            .min(self.next_repair)
            .min(self.next_housekeeping)
            .min(self.next_compare);
        [
            self.joining.deadline(),
            self.roster.deadline(),
            self.keeper.deadline(),
            self.lease.deadline(),
            self.outbox.deadline(),
            self.quarantine.deadline(),
            self.pulls.deadline(),
            self.giving_way_deadline(),
            self.next_timeout(),
            self.clockwork.deadline(),
            self.protection_deadline(),
            self.leaving.as_ref().map(Leaving::deadline),
        ]
        .into_iter()
        .flatten()
        .chain([always])
        .min()
    }

    fn on_wake(&mut self, now: Now, fx: &mut Effects) {
        self.attend(now, fx, Membership::on_wake);
        self.go_on_trying(now, fx);
        self.ask_for_pulls(now, fx);
        self.look_for_peers(now, fx);
        self.roster.on_wake(now, fx);
        self.on_timeouts(now, fx);
        self.on_ticks(now, fx);
        self.dirty.absorb(self.keeper.on_wake(now));
        self.on_giving_way_wake(now);
        self.on_protection_wake(now);
        if now.mono >= self.next_repair {
            self.next_repair = now.mono + self.config.timings.repair_interval;
            self.ask_again(now, fx);
            let up = self.membership.up();
            let repairs = !planted!(NeverRepairs) && !self.joining.is_stale();
            let peer = self.rng.index(up.len()).map(|index| up[index]);
            if let Some(peer) = peer.filter(|_| repairs) {
                let message = Message::Summary {
                    root: self.board.root(),
                };
                self.send_to(peer, message, fx);
            }
        }
        if now.mono >= self.next_compare {
            self.next_compare = now.mono + self.config.timings.compare_interval;
            if self.runtime_version.is_some() && !planted!(NeverCompares) {
                fx.push(Effect::Runtime(RuntimeCommand::List));
            }
        }
        if now.mono >= self.next_housekeeping {
            self.next_housekeeping = now.mono + HOUSEKEEPING;
            self.keep_house(now, fx);
        }
    }

    fn on_message(
        &mut self,
        now: Now,
        (from, address, via): (HostId, SocketAddr, Via),
        message: Message,
        fx: &mut Effects,
    ) {
        if from == self.config.host {
            // Our own words, or a clone's: its host record will tell, by way of the others.
            return;
        }
        let known = self.board.host(from).is_some();
        self.membership.on_heard(now, from);
        if known {
            self.membership.on_way(now, from, via, &message);
        }
        // Only these begin a conversation: two hosts that each hold the other for down must not go
        // on answering one another's answers.
        let answers_probe = matches!(message, Message::Probe { .. } | Message::Ack { .. });
        let begins = answers_probe
            || matches!(
                message,
                Message::CatchUp { .. } | Message::Records(_) | Message::Call { .. }
            );
        match message {
            Message::Probe { .. }
            | Message::Ack { .. }
            | Message::Alarm(_)
            | Message::Alive { .. } => {
                self.on_observer(now, (from, address, via), &message, fx);
            }
            Message::Records(records) => {
                for record in records {
                    self.take(now, &record, Some(from), fx);
                }
            }
            Message::Summary { .. }
            | Message::Branches(_)
            | Message::Holdings { .. }
            | Message::Fetch(_) => {
                if !self.joining.is_stale() {
                    self.on_comparison(from, address, &message, fx);
                }
            }
            Message::CatchUp { after } => {
                self.on_catch_up(now, (from, address), after.as_ref(), fx);
            }
            Message::Blank => self.on_blank(now, address, fx),
            Message::Behind => self.on_behind(),
            Message::Clock { wall } => self.on_clock(now, (from, address), wall, fx),
            Message::Call { at } => self.on_call(from, address, at, fx),
            Message::Present { at } => self.lease.on_present(from, at),
            Message::Page { records, last } => {
                self.on_page(now, (from, address), records, last, fx);
            }
            Message::Pull { number, image } => {
                self.on_pull(now, (from, address), (number, image), fx);
            }
            Message::Pulling { number, stage } => {
                self.on_pull_stage((from, number), stage, fx);
            }
        }
        if begins && (!known || self.board.is_down(from)) {
            self.on_stranger(now, (from, address), fx);
        } else if answers_probe && self.board.is_in_doubt(from) {
            self.tell_accused(from, address, fx);
        }
    }

    /// What observers say to one another and to those whom they observe.
    fn on_observer(
        &mut self,
        now: Now,
        (from, address, via): (HostId, SocketAddr, Via),
        message: &Message,
        fx: &mut Effects,
    ) {
        self.attend(now, fx, |membership, turn| match message {
            Message::Probe { sequence } => {
                membership.on_probe(turn, (from, address), via, *sequence);
            }
            Message::Ack { sequence } => membership.on_ack(turn, from, via, *sequence),
            Message::Alarm(alarm) => membership.on_alarm(turn, from, alarm),
            Message::Alive {
                subject,
                incarnation,
            } => membership.on_alive(*subject, *incarnation),
            _ => {}
        });
        if let Message::Alarm(alarm) = message {
            // The question is settled; whoever asks has not been told.
            let verdict = self.board.record(&Key::Verdict(alarm.subject));
            let settled = verdict.filter(|verdict| {
                self.board.is_down(alarm.subject) && verdict.version.epoch >= alarm.incarnation
            });
            if let Some(verdict) = settled {
                let message = Message::Records(vec![Arc::clone(verdict)]);
                self.send_to(from, message, fx);
            }
        }
    }

    /// Lets the membership act, and does what follows from what it finds.
    fn attend(
        &mut self,
        now: Now,
        fx: &mut Effects,
        act: impl FnOnce(&mut Membership, &mut Turn<'_>),
    ) {
        let mut findings = Vec::new();
        let mut turn = Turn {
            now,
            board: &self.board,
            fx,
            findings: &mut findings,
        };
        act(&mut self.membership, &mut turn);
        self.on_findings(now, findings, fx);
    }

    fn on_findings(&mut self, now: Now, findings: Vec<Finding>, fx: &mut Effects) {
        for finding in findings {
            match finding {
                Finding::Judged {
                    host,
                    incarnation,
                    standing,
                    votes,
                    silent,
                } => {
                    let body = Body::Verdict(Verdict {
                        standing,
                        votes,
                        silent_ms: silent.as_ms(),
                    });
                    self.write(now, Key::Verdict(host), incarnation, Some(body), fx);
                }
                Finding::Believed(record) => self.merge(now, &record, None, fx),
            }
        }
    }

    fn send_to(&self, host: HostId, message: Message, fx: &mut Effects) {
        if let Some((_, report)) = self.board.host(host) {
            let to = report.address;
            let via = repair::way(&message);
            fx.push(Effect::Send(Send {
                to,
                host: Some(host),
                via,
                message,
            }));
        }
    }
}

/// What others may ask between steps.
impl Agent {
    pub const fn board(&self) -> &Board {
        &self.board
    }

    pub const fn config(&self) -> &AgentConfig {
        &self.config
    }

    pub fn me(&self) -> (HostId, Option<&HostReport>) {
        (
            self.config.host,
            self.board.host(self.config.host).map(|(_, report)| report),
        )
    }

    /// This agent, as a keeper, is not about to move a slot only for balance.
    pub fn is_balanced(&self) -> bool {
        self.keeper.is_balanced()
    }

    /// Who decides for a service, as this agent sees it.
    pub fn keeper_of(&self, service: ServiceId) -> Option<HostId> {
        self.index.keeper_of(service)
    }
}

#[cfg(test)]
mod tests;
