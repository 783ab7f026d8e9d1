//! Membership: fixed observers probe each host, corroborate one another, and agree that it is down.
//!
//! Each host has K observers, chosen by rendezvous hashing (the idea: Rapid, USENIX ATC'18). A
//! missed
//! probe starts a short burst, a silent burst raises an alarm among the co-observers, and alarms
//! are
//! votes. Whoever still hears the accused says so, which takes the votes back: one bad link, or one
//! host that hardly hears anybody, evicts nobody.

use crate::{
    cluster::{board::Board, body::HostStatus, message::Message},
    effect::{Effect, Effects, Send, Via},
    event::HostStanding,
    ids::{HostId, Incarnation},
    limits,
    rng::{self, Rng},
    time::{Mono, Now, Span},
    timings::Timings,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// A probe is late after this long at the least and at the most; between, after four round trips.
const PROBE_TIMEOUT_MIN: Span = Span::from_ms(150);
const PROBE_TIMEOUT_MAX: Span = Span::from_ms(500);
/// Between the probes of a burst.
const BURST_INTERVAL: Span = Span::from_ms(100);
/// Probes of a burst before the alarm, and again before each repetition of it.
const BURST_PROBES: u8 = 3;
/// A vote counts this long unless it is repeated.
const VOTE_LASTS: Span = Span::from_ms(1_500);
/// Our own alarm must be out so long before we judge, or those who hear the accused cannot say so.
const TESTIMONY: Span = Span::from_ms(200);
/// Heard of so recently, a host needs no probe to be vouched for.
const FRESH: Span = Span::from_ms(200);
/// A wake that comes this late means that we stood still, not that the others fell silent.
const STALL: Span = Span::from_ms(400);

#[derive(Debug)]
pub struct Membership {
    me: HostId,
    timings: Timings,
    rng: Rng,
    peers: BTreeMap<HostId, Peer>,
    /// Peers that are not judged down.
    up: Vec<HostId>,
    down: Vec<HostId>,
    /// Whose observer this host is.
    subjects: Vec<HostId>,
    roster_changed: bool,
    sequence: u32,
    /// Probes sent and not yet answered, and bursts under way; none need no timer.
    waiting: usize,
    next_tick: Mono,
    next_check: Option<Mono>,
    seeds: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    incarnation: Incarnation,
    down: bool,
    restarting: bool,
    /// Last message from it.
    heard: Mono,
    /// Last word of it from one who hears it. Never passed on: hearsay of hearsay would keep a dead
    /// host alive for ever.
    vouched: Mono,
    /// Smoothed round-trip time.
    rtt: Span,
    probe: Option<(u32, Mono)>,
    burst: Option<Burst>,
    suspect: bool,
    /// When our alarm about it was first raised; `None` while it answers.
    alarmed: Option<Mono>,
    votes: BTreeMap<HostId, Mono>,
}

#[derive(Debug)]
struct Burst {
    sent: u8,
    next: Mono,
}

/// What membership has found out, for the agent to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Suspected(HostId),
    Cleared(HostId),
    /// Its observers agree: to be written as a verdict.
    Down {
        host: HostId,
        incarnation: Incarnation,
        votes: Vec<HostId>,
        silent: Span,
    },
}

impl Membership {
    pub fn new(
        me: HostId,
        timings: Timings,
        seeds: Vec<SocketAddr>,
        mut rng: Rng,
        now: Now,
    ) -> Self {
        let phase = Span(rng.below(timings.probe_interval.0.max(1)));
        Self {
            me,
            timings,
            rng,
            peers: BTreeMap::new(),
            up: Vec::new(),
            down: Vec::new(),
            subjects: Vec::new(),
            roster_changed: false,
            sequence: 0,
            waiting: 0,
            next_tick: now.mono + phase,
            next_check: None,
            seeds,
        }
    }

    pub fn deadline(&self) -> Mono {
        self.next_check
            .map_or(self.next_tick, |check| check.min(self.next_tick))
    }

    /// Peers that are not judged down, in order of their ids.
    pub fn up(&self) -> &[HostId] {
        &self.up
    }

    /// Judged down elsewhere, but heard by us since: its refutation is on its way.
    pub fn returning(&self, now: Now) -> BTreeSet<HostId> {
        let within = Span(self.timings.down_after.0 / 4 * 3);
        let heard = |host: &&HostId| now.mono.since(self.peers[*host].heard) < within;
        self.down.iter().filter(heard).copied().collect()
    }

    pub fn address(&self, host: HostId) -> Option<SocketAddr> {
        self.peers.get(&host).map(|peer| peer.address)
    }

    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.peers.values().map(|peer| peer.address)
    }

    pub fn standing(&self, host: HostId) -> Option<HostStanding> {
        self.peers.get(&host).map(|peer| match peer {
            Peer { down: true, .. } => HostStanding::Down,
            Peer {
                suspect: true,
                restarting: false,
                ..
            } => HostStanding::Suspect,
            Peer {
                restarting: true, ..
            } => HostStanding::Restarting,
            _ => HostStanding::Up,
        })
    }

    /// Takes over what the board says of a host; to be called whenever its report or verdict
    /// changed.
    pub fn on_board(&mut self, now: Now, board: &Board, host: HostId) {
        if host == self.me {
            return;
        }
        let Some((incarnation, report)) = board.host(host) else {
            self.roster_changed |= self.peers.remove(&host).is_some();
            self.list();
            return;
        };
        let down = board.is_down(host);
        let fresh = Peer {
            address: report.address,
            incarnation,
            down: true,
            restarting: false,
            heard: now.mono,
            vouched: now.mono,
            rtt: Span::ZERO,
            probe: None,
            burst: None,
            suspect: false,
            alarmed: None,
            votes: BTreeMap::new(),
        };
        let known = self.peers.contains_key(&host);
        let peer = self.peers.entry(host).or_insert(fresh);
        if known && peer.incarnation < incarnation {
            // Its own word of its new life is as good as an answer.
            peer.heard = now.mono;
        }
        peer.address = report.address;
        peer.incarnation = incarnation;
        peer.restarting = report.status == HostStatus::Restarting;
        if !known || peer.down != down {
            peer.down = down;
            peer.calm();
            peer.suspect = false;
            if !down {
                peer.heard = now.mono;
            }
            self.roster_changed = true;
            self.list();
        }
    }

    fn list(&mut self) {
        let with = |down| move |(id, peer): (&HostId, &Peer)| (peer.down == down).then_some(*id);
        self.up = self.peers.iter().filter_map(with(false)).collect();
        self.down = self.peers.iter().filter_map(with(true)).collect();
    }
}

// Hearing.
impl Membership {
    /// Any authenticated message from a host shows that it is there. Says whether the host is
    /// known.
    pub fn on_heard(
        &mut self,
        now: Now,
        from: HostId,
        fx: &mut Effects,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&from) else {
            return false;
        };
        peer.heard = now.mono;
        if !peer.votes.is_empty() {
            let (votes, incarnation) = (std::mem::take(&mut peer.votes), peer.incarnation);
            for voter in votes.into_keys().filter(|voter| *voter != self.me) {
                self.send(
                    voter,
                    Message::Alive {
                        subject: from,
                        incarnation,
                    },
                    fx,
                );
            }
        }
        self.clear(from, findings);
        true
    }

    pub fn on_probe(&mut self, from: HostId, to: SocketAddr, sequence: u32, fx: &mut Effects) {
        let message = Message::Ack { sequence };
        fx.push(Effect::Send(Send {
            to,
            host: Some(from),
            via: Via::Datagram,
            message,
        }));
    }

    pub fn on_ack(&mut self, now: Now, from: HostId, sequence: u32) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if let Some((sent, at)) = peer.probe
            && sent == sequence
        {
            let sample = now.mono.since(at).0;
            peer.rtt = Span(if peer.rtt.0 == 0 {
                sample
            } else {
                (peer.rtt.0 * 7 + sample) / 8
            });
        }
    }

    /// A co-observer hears nothing from `subject`.
    pub fn on_alarm(
        &mut self,
        now: Now,
        from: HostId,
        (subject, incarnation): (HostId, Incarnation),
        fx: &mut Effects,
        findings: &mut Vec<Finding>,
    ) {
        let Some(peer) = self.peers.get_mut(&subject) else {
            return;
        };
        if peer.down || incarnation != peer.incarnation {
            return;
        }
        if now.mono.since(peer.heard) < FRESH {
            self.send(
                from,
                Message::Alive {
                    subject,
                    incarnation,
                },
                fx,
            );
            return;
        }
        peer.votes.insert(from, now.mono);
        if peer.burst.is_none() {
            self.start_burst(now, subject);
        }
        self.judge(now, subject, findings);
    }

    /// Another one hears `subject`: whatever we miss, it is not down.
    pub fn on_alive(&mut self, now: Now, subject: HostId, incarnation: Incarnation) {
        if let Some(peer) = self.peers.get_mut(&subject)
            && incarnation >= peer.incarnation
        {
            peer.vouched = now.mono;
            peer.alarmed = None;
            peer.votes.clear();
        }
    }

    fn clear(&mut self, host: HostId, findings: &mut Vec<Finding>) {
        let Some(peer) = self.peers.get_mut(&host) else {
            return;
        };
        let waited = usize::from(peer.probe.is_some()) + usize::from(peer.burst.is_some());
        peer.calm();
        if std::mem::take(&mut peer.suspect) {
            findings.push(Finding::Cleared(host));
        }
        self.waiting = self.waiting.saturating_sub(waited);
        if self.waiting == 0 {
            self.next_check = None;
        }
    }
}

// Probing.
impl Membership {
    pub fn on_wake(&mut self, now: Now, fx: &mut Effects, findings: &mut Vec<Finding>) {
        if now.mono >= self.next_tick {
            self.on_tick(now, fx);
        }
        if self.next_check.is_some_and(|check| now.mono >= check) {
            self.on_check(now, fx, findings);
        }
    }

    /// To be called first in every step: if this process stood still, the silence was its own.
    pub fn on_time(&mut self, now: Now) {
        if now.mono.since(self.deadline()) < STALL {
            return;
        }
        for peer in self.peers.values_mut() {
            peer.heard = now.mono;
            peer.calm();
            peer.votes.clear();
        }
        self.waiting = 0;
        self.next_check = None;
        self.next_tick = self.next_tick.max(now.mono);
    }

    fn on_tick(&mut self, now: Now, fx: &mut Effects) {
        self.next_tick = now.mono + self.timings.probe_interval;
        if std::mem::take(&mut self.roster_changed) {
            self.choose_subjects();
        }
        // Whoever was heard in this round has shown that it is there.
        let recently = Span(self.timings.probe_interval.0 / 4 * 3);
        for number in 0..self.subjects.len() {
            let subject = self.subjects[number];
            let peer = &self.peers[&subject];
            if peer.burst.is_none() && now.mono.since(peer.heard) >= recently {
                self.probe(now, subject, fx);
            }
        }
        // Now and then one that is down, so that a healed partition is noticed from either side.
        if let Some(index) = self.rng.index(self.down.len()) {
            let host = self.down[index];
            let message = Message::Probe {
                sequence: self.number(),
            };
            self.send(host, message, fx);
        }
        if self.up.is_empty() {
            let message = Message::Probe {
                sequence: self.number(),
            };
            for &to in &self.seeds {
                let message = message.clone();
                fx.push(Effect::Send(Send {
                    to,
                    host: None,
                    via: Via::Datagram,
                    message,
                }));
            }
        }
    }

    fn on_check(&mut self, now: Now, fx: &mut Effects, findings: &mut Vec<Finding>) {
        self.next_check = None;
        let hosts: Vec<HostId> = self.peers.keys().copied().collect();
        for host in hosts {
            let peer = &self.peers[&host];
            if let Some((_, sent)) = peer.probe
                && peer.burst.is_none()
            {
                let late = sent + peer.patience();
                if now.mono >= late {
                    self.start_burst(now, host);
                } else {
                    self.check_by(late);
                }
            }
            let Some(burst) = &self.peers[&host].burst else {
                continue;
            };
            if now.mono >= burst.next {
                self.go_on(now, host, fx, findings);
            } else {
                let next = burst.next;
                self.check_by(next);
            }
        }
    }

    fn start_burst(&mut self, now: Now, host: HostId) {
        let peer = self
            .peers
            .get_mut(&host)
            .expect("bursts are started on known peers");
        peer.burst = Some(Burst {
            sent: 0,
            next: now.mono,
        });
        self.waiting += 1;
        self.check_by(now.mono);
    }

    /// One more probe of a burst or, after three, the alarm and what follows from it.
    fn go_on(&mut self, now: Now, host: HostId, fx: &mut Effects, findings: &mut Vec<Finding>) {
        let suspect_after = self.timings.suspect_after;
        let peer = self
            .peers
            .get_mut(&host)
            .expect("bursts run on known peers");
        let burst = peer.burst.as_mut().expect("the caller saw it");
        burst.next = now.mono + BURST_INTERVAL;
        burst.sent += 1;
        let next = burst.next;
        if burst.sent > BURST_PROBES {
            burst.sent = 1;
            if !peer.suspect && peer.silence(now) >= suspect_after {
                peer.suspect = true;
                findings.push(Finding::Suspected(host));
            }
            peer.alarmed.get_or_insert(now.mono);
            peer.votes.insert(self.me, now.mono);
            let incarnation = peer.incarnation;
            for observer in self.observers(host) {
                if observer != self.me {
                    self.send(
                        observer,
                        Message::Alarm {
                            subject: host,
                            incarnation,
                        },
                        fx,
                    );
                }
            }
            self.judge(now, host, findings);
        }
        self.probe(now, host, fx);
        self.check_by(next);
    }

    fn probe(&mut self, now: Now, host: HostId, fx: &mut Effects) {
        let sequence = self.number();
        let peer = self.peers.get_mut(&host).expect("probes go to known peers");
        if peer.probe.replace((sequence, now.mono)).is_none() {
            self.waiting += 1;
        }
        let late = now.mono + peer.patience();
        self.send(host, Message::Probe { sequence }, fx);
        self.check_by(late);
    }

    fn check_by(&mut self, at: Mono) {
        self.next_check = Some(self.next_check.map_or(at, |check| check.min(at)));
    }

    fn number(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, host: HostId, message: Message, fx: &mut Effects) {
        if let Some(peer) = self.peers.get(&host) {
            let (to, via) = (peer.address, Via::Datagram);
            fx.push(Effect::Send(Send {
                to,
                host: Some(host),
                via,
                message,
            }));
        }
    }
}

// Judging.
impl Membership {
    fn judge(&mut self, now: Now, host: HostId, findings: &mut Vec<Finding>) {
        let peer = &self.peers[&host];
        let silent = peer.silence(now);
        let allowed = if peer.restarting {
            self.timings.restart_grace.max(self.timings.down_after)
        } else {
            self.timings.down_after
        };
        let heard_out = peer
            .alarmed
            .is_some_and(|at| now.mono.since(at) >= TESTIMONY);
        if peer.down || silent < allowed || !heard_out {
            return;
        }
        let voters: Vec<HostId> = self
            .observers(host)
            .into_iter()
            .filter(|&o| o == self.me || self.peers.get(&o).is_some_and(|p| self.may_vote(now, p)))
            .collect();
        let counts = |o: &HostId| {
            peer.votes
                .get(o)
                .is_some_and(|&v| now.mono.since(v) < VOTE_LASTS)
        };
        let votes: Vec<HostId> = voters.iter().copied().filter(counts).collect();
        if votes.contains(&self.me) && votes.len() >= quorum(voters.len()) {
            let incarnation = peer.incarnation;
            findings.push(Finding::Down {
                host,
                incarnation,
                votes,
                silent,
            });
        }
    }

    /// Cut off itself, an observer cannot be asked to agree; so each side of a partition can judge.
    fn may_vote(&self, now: Now, observer: &Peer) -> bool {
        now.mono.since(observer.heard) < self.timings.down_after
    }

    /// The K hosts that score highest for the subject, of all that are not judged down.
    fn observers(&self, subject: HostId) -> Vec<HostId> {
        let everyone = self.up.iter().copied().chain([self.me]);
        let mut scored: Vec<(u64, HostId)> = everyone
            .filter(|host| *host != subject)
            .map(|host| (rng::score(subject.word(), host.word()), host))
            .collect();
        if scored.len() > limits::OBSERVERS {
            scored.select_nth_unstable_by(limits::OBSERVERS - 1, |a, b| b.cmp(a));
            scored.truncate(limits::OBSERVERS);
        }
        scored.into_iter().map(|(_, host)| host).collect()
    }

    fn choose_subjects(&mut self) {
        let everyone_observes = self.up.len() <= limits::OBSERVERS;
        let mine = |host: &HostId| everyone_observes || self.observers(*host).contains(&self.me);
        self.subjects = self.up.iter().copied().filter(mine).collect();
    }
}

impl Peer {
    fn patience(&self) -> Span {
        Span(self.rtt.0 * 4).clamp(PROBE_TIMEOUT_MIN, PROBE_TIMEOUT_MAX)
    }

    fn silence(&self, now: Now) -> Span {
        now.mono.since(self.heard.max(self.vouched))
    }

    fn calm(&mut self) {
        self.probe = None;
        self.burst = None;
        self.alarmed = None;
    }
}

/// Six in ten, as Rapid's low watermark against its K; at least one.
const fn quorum(voters: usize) -> usize {
    let needed = (voters * 6).div_ceil(10);
    if needed == 0 { 1 } else { needed }
}
