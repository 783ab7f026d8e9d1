//! A model of HashiCorp's memberlist with Lifeguard, as serf, Consul and Nomad run it on a LAN.
//!
//! It follows github.com/hashicorp/memberlist: `state.go` (probing, suspicion, refutation, push and
//! pull), `suspicion.go`, `awareness.go`, `queue.go`, `net.go` (messages, piggybacking), and the
//! constants of `DefaultLANConfig` in `config.go`. Left out: joining and leaving (all know one
//! another from the start), and what serf adds on top.

pub mod queue;
pub mod suspicion;
pub mod wire;

mod rumours;
mod probing;

use crate::rivals::{Detector, Finding, Out, Size, Via};
use holdfast_core::rng::Rng;
use probing::{Probe, Relay};
use queue::{Broadcasts, Name};
use std::{collections::BTreeMap, rc::Rc};
use suspicion::Suspicion;
use wire::{Held, Packet, Part, Rumour};

// config.go, DefaultLANConfig. Times are in microseconds.
const PROBE_INTERVAL: u64 = 1_000_000;
const PROBE_TIMEOUT: u64 = 500_000;
const INDIRECT_CHECKS: usize = 3;
const RETRANSMIT_MULT: u32 = 4;
const AWARENESS_MAX_MULTIPLIER: u32 = 8;
const GOSSIP_INTERVAL: u64 = 200_000;
const GOSSIP_HOSTS: usize = 3;
const GOSSIP_TO_THE_DEAD: u64 = 30_000_000;
const PUSH_PULL_INTERVAL: u64 = 30_000_000;
// util.go
const PUSH_PULL_SCALE_THRESHOLD: u32 = 32;

/// One member of a cluster whose hosts all know one another from the start.
#[derive(Debug)]
pub struct Memberlist {
    me: usize,
    rng: Rng,
    /// What is believed of each host, by its number.
    view: Vec<Entry>,
    /// `m.nodes`: in the order of probing; without those that are dead for long.
    order: Vec<u32>,
    probe_index: usize,
    sequence: u32,
    incarnation: u32,
    /// Lifeguard's "local health": grows with each failure that may be our own.
    awareness: u32,
    probe: Option<Probe>,
    next_probe_tick: u64,
    relays: BTreeMap<u32, Relay>,
    suspicions: BTreeMap<usize, Suspicion>,
    queue: Broadcasts,
    gossip_phase: u64,
    /// When the queue has something to gossip: the next multiple of the interval.
    next_gossip: Option<u64>,
    next_push_pull: u64,
    knows_told: bool,
    push_pull_size: Rc<wire::StateSize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Alive,
    Suspect,
    Dead,
    /// Dead for so long that it was taken off the list.
    Reaped,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    standing: Standing,
    incarnation: u32,
    changed: u64,
}

#[derive(Clone, Debug)]
pub enum Message {
    Packet(Packet),
    /// The fallback probe over TCP, and its answer.
    StreamPing(u32),
    StreamAck(u32),
    /// Push and pull: all that one holds of all.
    State {
        held: Rc<[Held]>,
        is_answer: bool,
    },
}

impl Memberlist {
    pub fn new(me: usize, hosts: usize, seed: u64, push_pull_size: Rc<wire::StateSize>) -> Self {
        let mut rng = Rng::new(seed);
        let first = Entry {
            standing: Standing::Alive,
            incarnation: 1,
            changed: 0,
        };
        let mut order: Vec<u32> = (0..hosts as u32).collect();
        shuffle(&mut rng, &mut order);
        let mut member = Self {
            me,
            view: vec![first; hosts],
            order,
            probe_index: 0,
            sequence: 0,
            incarnation: 1,
            awareness: 0,
            probe: None,
            next_probe_tick: rng.below(PROBE_INTERVAL),
            relays: BTreeMap::new(),
            suspicions: BTreeMap::new(),
            queue: Broadcasts::default(),
            gossip_phase: rng.below(GOSSIP_INTERVAL),
            next_gossip: None,
            next_push_pull: 0,
            knows_told: false,
            push_pull_size,
            rng,
        };
        // `pushPullTrigger`: a random stagger first, then the scaled interval each time.
        member.next_push_pull = member.rng.below(PUSH_PULL_INTERVAL) + member.push_pull_after();
        member
    }

    /// How many hosts are on the list: `estNumNodes`.
    fn count(&self) -> u32 {
        self.order.len() as u32
    }

    /// util.go, `pushPullScale`.
    fn push_pull_after(&self) -> u64 {
        if self.count() <= PUSH_PULL_SCALE_THRESHOLD {
            return PUSH_PULL_INTERVAL;
        }
        let doublings =
            f64::from(self.count()).log2() - f64::from(PUSH_PULL_SCALE_THRESHOLD).log2();
        PUSH_PULL_INTERVAL * (doublings.ceil() as u64 + 1)
    }

    /// util.go, `retransmitLimit`.
    fn retransmit_limit(&self) -> u32 {
        RETRANSMIT_MULT * f64::from(self.count() + 1).log10().ceil() as u32
    }

    /// util.go, `kRandomNodes`: tries at most three times as often as there are hosts.
    fn random_hosts(&mut self, count: usize, fits: impl Fn(usize, &Entry) -> bool) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(count);
        for _ in 0..3 * self.order.len() {
            if chosen.len() == count {
                break;
            }
            let place = self.rng.below(self.order.len() as u64) as usize;
            let host = self.order[place] as usize;
            if host != self.me && fits(host, &self.view[host]) && !chosen.contains(&host) {
                chosen.push(host);
            }
        }
        chosen
    }

    /// net.go, `sendMsg`: what there is to gossip rides along.
    fn send(&mut self, to: usize, part: Part, out: &mut Out<Message>) {
        let room = wire::room_beside(part.bytes());
        let limit = self.retransmit_limit();
        let rumours = self.queue.take(room, limit);
        self.send_packet(to, Packet::new(Some(part), rumours), 0, out);
    }

    fn send_packet(&self, to: usize, packet: Packet, extra: usize, out: &mut Out<Message>) {
        let size = Size {
            bare: packet.bytes() + extra,
            seal: wire::SEAL_BYTES,
        };
        out.send(to, Via::Datagram, size, Message::Packet(packet));
    }

    /// state.go, `gossip`.
    fn gossip(&mut self, now: u64, out: &mut Out<Message>) {
        let recent = |entry: &Entry| now - entry.changed <= GOSSIP_TO_THE_DEAD;
        let targets = self.random_hosts(GOSSIP_HOSTS, |_, entry| match entry.standing {
            Standing::Alive | Standing::Suspect => true,
            Standing::Dead => recent(entry),
            Standing::Reaped => false,
        });
        for to in targets {
            let limit = self.retransmit_limit();
            let rumours = self.queue.take(wire::room_beside(0), limit);
            if rumours.is_empty() {
                break;
            }
            self.send_packet(to, Packet::new(None, rumours), wire::CRC_BYTES, out);
        }
        self.next_gossip = (!self.queue.is_empty()).then_some(now + GOSSIP_INTERVAL);
    }

    fn broadcast(&mut self, now: u64, name: Name, rumour: Rumour) {
        self.queue.push(name, rumour);
        // The ticker runs all the time; with nothing to say it does nothing.
        let ticks = (now.saturating_sub(self.gossip_phase)) / GOSSIP_INTERVAL + 1;
        let next = self.gossip_phase + ticks * GOSSIP_INTERVAL;
        self.next_gossip.get_or_insert(next);
    }

    /// state.go, `pushPull`.
    fn push_pull(&mut self, now: u64, out: &mut Out<Message>) {
        self.next_push_pull = now + self.push_pull_after();
        let alive = |_: usize, entry: &Entry| entry.standing == Standing::Alive;
        if let Some(&to) = self.random_hosts(1, alive).first() {
            self.send_state(to, false, out);
        }
    }

    fn send_state(&self, to: usize, is_answer: bool, out: &mut Out<Message>) {
        let hosts = self.order.iter().map(|&host| {
            let entry = self.view[host as usize];
            Held {
                host,
                incarnation: entry.incarnation,
                standing: entry.standing,
            }
        });
        let held: Rc<[Held]> = hosts.collect();
        let size = self.push_pull_size.of(held.len());
        let via = if is_answer { Via::Answer } else { Via::Dial };
        out.send(to, via, size, Message::State { held, is_answer });
    }

    fn change_awareness(&mut self, delta: i32) {
        let most = AWARENESS_MAX_MULTIPLIER - 1;
        self.awareness = self.awareness.saturating_add_signed(delta).min(most);
    }

    fn believe(&mut self, now: u64, host: usize, standing: Standing, out: &mut Out<Message>) {
        let entry = &mut self.view[host];
        let was_dead = matches!(entry.standing, Standing::Dead | Standing::Reaped);
        if entry.standing != standing {
            entry.standing = standing;
            entry.changed = now;
        }
        match standing {
            Standing::Dead => out.findings.push(Finding::Down(host)),
            Standing::Alive if was_dead => out.findings.push(Finding::Up(host)),
            _ => {}
        }
    }

    fn on_packet(&mut self, now: u64, from: usize, packet: Packet, out: &mut Out<Message>) {
        if let Some(part) = packet.part {
            self.on_part(now, from, part, out);
        }
        for &rumour in packet.rumours.iter() {
            self.on_rumour(now, rumour, out);
        }
    }
}

impl Detector for Memberlist {
    type Message = Message;

    fn on_message(&mut self, now: u64, from: usize, message: Message, out: &mut Out<Message>) {
        match message {
            Message::Packet(packet) => self.on_packet(now, from, packet, out),
            Message::StreamPing(sequence) => {
                let size = wire::stream_size(wire::ack_bytes(sequence));
                out.send(from, Via::Answer, size, Message::StreamAck(sequence));
            }
            Message::StreamAck(sequence) => self.on_stream_ack(sequence),
            Message::State { held, is_answer } => {
                if !is_answer {
                    self.send_state(from, true, out);
                }
                self.merge(now, &held, out);
            }
        }
    }

    fn on_wake(&mut self, now: u64, out: &mut Out<Message>) {
        self.on_suspicions(now, out);
        self.on_relays(now, out);
        self.on_probing(now, out);
        if self.next_gossip.is_some_and(|at| now >= at) {
            self.gossip(now, out);
        }
        if now >= self.next_push_pull {
            self.push_pull(now, out);
        }
    }

    fn deadline(&self) -> Option<u64> {
        let suspicions = self.suspicions.values().map(|suspicion| suspicion.until);
        let relays = self.relays.values().map(|relay| relay.until);
        let always = [self.probing_deadline(), self.next_push_pull];
        let others = suspicions.chain(relays).chain(self.next_gossip);
        others.chain(always).min()
    }

    fn tell(&mut self, now: u64, _: &mut Out<Message>) {
        self.knows_told = true;
        self.broadcast(now, Name::Told, Rumour::Told);
    }

    fn knows(&self) -> bool {
        self.knows_told
    }
}

/// Fisher and Yates, as `shuffleNodes`.
fn shuffle(rng: &mut Rng, order: &mut [u32]) {
    for place in (1..order.len()).rev() {
        order.swap(place, rng.below(place as u64 + 1) as usize);
    }
}
