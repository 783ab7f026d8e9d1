//! Probing: a round of probes each interval; bursts, alarms and knocks where one is not answered.

use super::{
    Membership, Turn,
    hearing::number,
    watch::{Burst, Raised, Vote, Watch, Witness},
};
use crate::{
    cluster::{
        body::{ContainerReport, Standing},
        message::{Alarm, Message, Via},
    },
    effect::{Effect, Send},
    ids::HostId,
    limits,
    spec::task_definition::Protocol,
    task::status::TaskStatus,
    time::{Mono, Now, Span},
};
use std::net::SocketAddr;

/// Between the probes of a burst at the most; where answers come sooner, so do the probes.
const BURST_INTERVAL_MAX: Span = Span::from_ms(100);
/// Between probes of one that has been silent for long.
const SLOW_INTERVAL: Span = Span::from_ms(300);
const SLOW_AFTER: Span = Span::from_secs(3);
/// Probes of a burst before the alarm, and again before each repetition of it.
const BURST_PROBES: u32 = 3;
/// A wake that comes this late means that we stood still, not that the others fell silent.
const STALL: Span = Span::from_ms(400);
/// Ticks after a stall before we vote again: the second one ends the first whole round.
pub(super) const ROUNDS_TO_VOTE: u32 = 2;
/// A co-observer that was heard of so lately need not be asked if it is there.
const WITNESS_FRESH: Span = Span::from_ms(500);
/// A knock whose outcome is not told by then is forgotten.
const KNOCK_LOST: Span = Span::from_secs(3);
/// Between looks for first peers while somebody is down.
const SEED_INTERVAL: Span = Span::from_secs(5);

impl Membership {
    pub fn on_wake(&mut self, turn: &mut Turn<'_>) {
        if turn.now.mono >= self.next_tick {
            self.on_tick(turn);
        }
        if self.next_check.is_some_and(|check| turn.now.mono >= check) {
            self.on_check(turn);
        }
    }

    /// To be called first in every step: if this process stood still, the silence was its own.
    pub fn on_time(&mut self, now: Now) {
        if now.mono.since(self.deadline()) < STALL {
            return;
        }
        for watch in self.watched.values_mut() {
            watch.answered = now.mono;
            watch.calm();
        }
        self.watched.retain(|_, watch| !watch.is_idle());
        self.alone_since = now.mono;
        self.rounds = 0;
        self.next_tick = self.next_tick.max(now.mono);
        self.check_again();
    }

    fn interval(&self) -> Span {
        let interval = self.timings.probe_interval;
        if self.rings.up().len() > limits::OBSERVERS {
            among_many(interval)
        } else {
            interval
        }
    }

    fn on_tick(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        self.next_tick = now + self.interval();
        self.rounds = self.rounds.saturating_add(1);
        self.forget_streams(now);
        // First, as whoever has just judged all of its subjects hears no more for having none.
        if std::mem::take(&mut self.changed) {
            self.choose_subjects(turn);
        }
        if self.hears_enough(None) {
            self.alone_since = now;
        }
        let calm = |(host, watch): (&HostId, &Watch)| {
            (watch.is_subject && watch.burst.is_none()).then_some(*host)
        };
        let subjects: Vec<HostId> = self.watched.iter().filter_map(calm).collect();
        for subject in subjects {
            self.probe(turn, subject);
        }
        // Now and then one that is down, so that a healed partition is noticed from either side.
        if let Some(index) = self.rng.index(self.down.len())
            && !planted!(NeverProbesTheDown)
            && let Some(host) = self.down.keys().nth(index).copied()
        {
            let sequence = number(now);
            self.send(turn, host, Via::Datagram, Message::Probe { sequence });
        }
        self.probe_seeds(turn);
    }

    /// With nobody up, all first peers are asked; with somebody down, one that is at no address
    /// that we know: those who are down may all be at new addresses.
    fn probe_seeds(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let message = Message::Probe {
            sequence: number(now),
        };
        let mut ask = |to: SocketAddr| {
            turn.fx.push(Effect::Send(Send {
                to,
                host: None,
                via: Via::Datagram,
                message: message.clone(),
            }));
        };
        if self.rings.up().is_empty() {
            self.seeds.iter().copied().for_each(ask);
        } else if !self.down.is_empty()
            && now >= self.next_seed
            && !self.seeds.is_empty()
            && !planted!(NeverProbesTheDown)
        {
            self.next_seed = now + SEED_INTERVAL;
            let up = |address| {
                let mut hosts = turn.board.hosts();
                hosts.any(|(host, _, report)| {
                    report.address == address && !self.down.contains_key(&host)
                })
            };
            let strange: Vec<_> = self.seeds.iter().copied().filter(|s| !up(*s)).collect();
            if let Some(index) = self.rng.index(strange.len()) {
                ask(strange[index]);
            }
        }
    }

    fn choose_subjects(&mut self, turn: &Turn<'_>) {
        let now = turn.now.mono;
        let subjects = self.rings.subjects();
        for (host, watch) in &mut self.watched {
            watch.is_subject = subjects.binary_search(host).is_ok();
        }
        for subject in subjects {
            let Some((incarnation, _)) = turn.board.host(subject) else {
                continue;
            };
            let new = || Watch::new(now, incarnation);
            let watch = self.watched.entry(subject).or_insert_with(new);
            watch.is_subject = true;
        }
        self.watched.retain(|_, watch| !watch.is_idle());
    }

    fn on_check(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let due = |(host, watch): (&HostId, &Watch)| {
            watch.due().is_some_and(|at| now >= at).then_some(*host)
        };
        let due: Vec<HostId> = self.watched.iter().filter_map(due).collect();
        for host in due {
            self.clear(turn, host);
            let watch = &self.watched[&host];
            match (&watch.burst, watch.probed) {
                (None, Some(sent)) if now >= sent + watch.round_trip.patience() => {
                    self.start_burst(now, host);
                    self.go_on(turn, host);
                }
                (Some(burst), _) if now >= burst.next => self.go_on(turn, host),
                _ => {}
            }
        }
        self.ask_accused(turn);
        self.watched.retain(|_, watch| !watch.is_idle());
        self.check_again();
    }

    /// Says that a suspect answers again, if nobody has.
    fn clear(&mut self, turn: &mut Turn<'_>, host: HostId) {
        let watch = self.watch(host);
        if watch.clear_at.is_some_and(|at| turn.now.mono >= at) {
            watch.clear_at = None;
            if watch.alarm.is_none() && turn.board.is_in_doubt(host) {
                self.find(turn, host, Standing::Cleared, Vec::new());
            }
        }
    }

    pub(super) fn start_burst(&mut self, now: Mono, host: HostId) {
        let burst = Burst { sent: 0, next: now };
        let watch = self.watch(host);
        watch.burst = Some(burst);
        watch.is_steady = false;
        self.check_by(now);
    }

    /// One more probe of a burst and, after three, the alarm and what follows from it.
    fn go_on(&mut self, turn: &mut Turn<'_>, host: HostId) {
        let now = turn.now.mono;
        let jitter = self.rng.next_u64();
        let (suspect_after, down_after) = (self.timings.suspect_after, self.timings.down_after);
        let watch = self.watch(host);
        let is_old = |raised: &Raised| now.since(raised.since) >= SLOW_AFTER;
        let interval = if watch.alarm.as_ref().is_some_and(is_old) {
            SLOW_INTERVAL
        } else {
            watch.round_trip.patience().min(BURST_INTERVAL_MAX)
        };
        let to_judge_at = watch.to_judge_at(now, suspect_after, down_after);
        let Some(burst) = &mut watch.burst else {
            return;
        };
        let sent = burst.sent;
        burst.sent = sent.saturating_add(1);
        // Not all observers at one time: the first that judges spares the others their verdicts.
        burst.next = now + interval + Span(jitter % (interval.0 / 2 + 1));
        if let Some(at) = to_judge_at {
            burst.next = burst.next.min(at);
        }
        if sent >= BURST_PROBES {
            if sent.is_multiple_of(BURST_PROBES) {
                self.raise(turn, host);
            }
            self.knock(turn, host);
            self.judge(turn, host);
        }
        self.probe(turn, host);
    }

    fn probe(&mut self, turn: &mut Turn<'_>, host: HostId) {
        let now = turn.now.mono;
        let watch = self.watch(host);
        watch.probed.get_or_insert(now);
        watch.sent = now;
        let due = watch.due();
        let sequence = number(now);
        self.send(turn, host, Via::Datagram, Message::Probe { sequence });
        if self.is_by_stream(host) {
            self.probe_by_stream(turn, host);
        }
        due.into_iter().for_each(|at| self.check_by(at));
    }

    /// Tells the other observers that we have no answer; asks those of whom nothing is heard if
    /// they are there.
    fn raise(&mut self, turn: &mut Turn<'_>, host: HostId) {
        if self.rounds < ROUNDS_TO_VOTE {
            return;
        }
        let (now, me) = (turn.now.mono, self.me);
        if self.watch(host).alarm.is_none() {
            let observers = self.rings.observers(host);
            let others = observers.iter().filter(|observer| **observer != me);
            let raised = Raised {
                since: now,
                ours: observers.contains(&me),
                witnesses: others.map(|host| (*host, Witness::default())).collect(),
            };
            self.watch(host).alarm = Some(raised);
        }
        let patience = self.pauses.patience(now, host);
        let watch = self.watch(host);
        let silence = watch.silence(now);
        let alarm = Alarm {
            subject: host,
            incarnation: watch.incarnation,
            silent_ms: u32::try_from(silence.as_ms()).unwrap_or(u32::MAX),
            patience_ms: u32::try_from(patience.as_ms()).unwrap_or(u32::MAX),
            kernel_answers: watch.kernel.answers_us(now),
        };
        let vote = Vote {
            at: now,
            since: now - silence,
            patience,
        };
        watch.votes.insert(me, vote);
        let mut told: Vec<(HostId, bool)> = Vec::new();
        let raised = watch.alarm.as_mut().expect("it was raised above");
        for (witness, state) in &mut raised.witnesses {
            let fresh = state.heard.is_some_and(|at| now.since(at) < WITNESS_FRESH);
            state.asked = if fresh {
                0
            } else {
                state.asked.saturating_add(1)
            };
            // At first it is told, and answers in its own time: by a vote, or by its word.
            told.push((*witness, state.asked > 1));
        }
        let voters = watch.votes.keys().filter(|voter| **voter != me);
        let others = voters.filter(|voter| !raised.witnesses.contains_key(*voter));
        told.extend(others.map(|voter| (*voter, false)));
        for (observer, ask) in told {
            if turn.board.is_down(observer) {
                continue;
            }
            self.send(turn, observer, Via::Datagram, Message::Alarm(alarm));
            if ask {
                let sequence = number(now);
                self.send(turn, observer, Via::Datagram, Message::Probe { sequence });
            }
        }
    }

    /// Asks the machine itself, and a task on it: an agent that does not answer may be all that is
    /// wrong.
    fn knock(&mut self, turn: &mut Turn<'_>, host: HostId) {
        let now = turn.now.mono;
        let Some(watch) = self.watched.get_mut(&host) else {
            return;
        };
        let under_way = |at: Mono| now.since(at) < KNOCK_LOST;
        let busy = watch.kernel.knocking.is_some_and(under_way);
        if watch.alarm.is_none() || busy || now < watch.kernel.next {
            return;
        }
        let Some((_, report)) = turn.board.host(host) else {
            return;
        };
        watch.kernel.knocking = Some(now);
        let address = report.address;
        // Where another host is at its address now, that one would answer.
        let mut hosts = turn.board.hosts();
        if hosts.any(|(other, _, theirs)| {
            other != host && theirs.address == address && theirs.started_at > report.started_at
        }) {
            return;
        }
        let tasks = turn.board.tasks_on(host);
        let running = tasks.filter(|(_, report)| report.last == TaskStatus::Running);
        let containers = running.flat_map(|(_, report)| &report.containers);
        let port = containers.filter_map(tcp_port).next();
        let task = port.map(|port| SocketAddr::new(address.ip(), port));
        let addresses = [address].into_iter().chain(task).collect();
        turn.fx.push(Effect::Knock { host, addresses });
    }

    pub(super) fn watch(&mut self, host: HostId) -> &mut Watch {
        self.watched
            .get_mut(&host)
            .expect("only who is watched is probed")
    }
}

/// Where each host has its ten observers, they probe it seven times a second together: that is soon
/// enough for the first miss to come within a fifth of a second, and 20 datagrams a second of 90
/// bytes would be more than an idle host may cost.
pub(super) const fn among_many(interval: Span) -> Span {
    Span(interval.0 / 5 * 7)
}

/// A port of the host that leads to a container that runs.
fn tcp_port(container: &ContainerReport) -> Option<u16> {
    let mut tcp = container
        .ports
        .iter()
        .filter(|port| port.protocol == Protocol::Tcp);
    tcp.next().map(|port| port.host_port)
}
