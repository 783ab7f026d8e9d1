//! How memberlist probes (state.go, `probe` and `probeNode`; net.go, `handleIndirectPing`).

use super::{
    INDIRECT_CHECKS, Memberlist, Message, PROBE_INTERVAL, PROBE_TIMEOUT, Standing, shuffle,
    wire::{self, Packet, Part, Rumour},
};
use crate::rivals::{Out, Via};

/// The one probe that is under way.
#[derive(Debug)]
pub(crate) struct Probe {
    target: usize,
    incarnation: u32,
    sequence: u32,
    sent: u64,
    /// Grows with the awareness: who doubts itself gives others more time.
    interval: u64,
    /// Others were asked, and the stream is being tried.
    is_indirect: bool,
    nacks_expected: i32,
    nacks: i32,
    stream_answered: bool,
}

/// Somebody's probe that we make for it.
#[derive(Debug)]
pub(crate) struct Relay {
    origin: usize,
    sequence: u32,
    pub(crate) until: u64,
}

impl Memberlist {
    pub(super) fn probing_deadline(&self) -> u64 {
        match &self.probe {
            Some(probe) if probe.is_indirect => probe.sent + probe.interval,
            Some(probe) => probe.sent + PROBE_TIMEOUT.min(probe.interval),
            None => self.next_probe_tick,
        }
    }

    pub(super) fn on_probing(&mut self, now: u64, out: &mut Out<Message>) {
        if let Some(probe) = &self.probe {
            if !probe.is_indirect && now >= probe.sent + PROBE_TIMEOUT {
                self.go_indirect(now, out);
            } else if probe.is_indirect && now >= probe.sent + probe.interval {
                self.fail_probe(now, out);
            }
        }
        if self.probe.is_none() && now >= self.next_probe_tick {
            // The ticker holds one tick for who is late, and drops the others.
            let late = (now - self.next_probe_tick) / PROBE_INTERVAL;
            self.next_probe_tick += (late + 1) * PROBE_INTERVAL;
            if let Some(target) = self.next_target(now) {
                self.start_probe(now, target, out);
            }
        }
    }

    /// Round robin in an order that is shuffled anew each time, so that nobody waits for long.
    fn next_target(&mut self, now: u64) -> Option<usize> {
        let mut looked_at = 0;
        while looked_at < self.order.len() {
            if self.probe_index >= self.order.len() {
                self.reset_order(now);
                looked_at += 1;
                continue;
            }
            let host = self.order[self.probe_index] as usize;
            self.probe_index += 1;
            if host != self.me && self.view[host].standing != Standing::Dead {
                return Some(host);
            }
            looked_at += 1;
        }
        None
    }

    /// `resetNodes`: lets go of those that are dead for long, and shuffles.
    fn reset_order(&mut self, now: u64) {
        self.probe_index = 0;
        let view = &mut self.view;
        self.order.retain(|&host| {
            let entry = &mut view[host as usize];
            let gone =
                entry.standing == Standing::Dead && now - entry.changed > super::GOSSIP_TO_THE_DEAD;
            if gone {
                entry.standing = Standing::Reaped;
                entry.incarnation = 0;
            }
            !gone
        });
        shuffle(&mut self.rng, &mut self.order);
    }

    fn start_probe(&mut self, now: u64, target: usize, out: &mut Out<Message>) {
        let entry = self.view[target];
        let sequence = self.number();
        self.probe = Some(Probe {
            target,
            incarnation: entry.incarnation,
            sequence,
            sent: now,
            interval: PROBE_INTERVAL * (u64::from(self.awareness) + 1),
            is_indirect: false,
            nacks_expected: 0,
            nacks: 0,
            stream_answered: false,
        });
        let ping = Part::Ping { sequence };
        if entry.standing == Standing::Alive {
            self.send(target, ping, out);
            return;
        }
        // Lifeguard's buddy system: who is suspected is told so at once.
        let suspect = Rumour::Suspect {
            host: target as u32,
            incarnation: entry.incarnation,
            from: self.me as u32,
        };
        let packet = Packet::new(Some(ping), vec![suspect]);
        self.send_packet(target, packet, wire::CRC_BYTES, out);
    }

    fn go_indirect(&mut self, now: u64, out: &mut Out<Message>) {
        let Some(probe) = &self.probe else {
            return;
        };
        let (target, sequence) = (probe.target, probe.sequence);
        let fits =
            |host: usize, entry: &super::Entry| host != target && entry.standing == Standing::Alive;
        let peers = self.random_hosts(INDIRECT_CHECKS, fits);
        let expected = peers.len() as i32;
        for peer in peers {
            let target = target as u32;
            self.send(peer, Part::IndirectPing { sequence, target }, out);
        }
        let size = wire::stream_size(wire::ping_bytes(sequence));
        out.send(target, Via::Dial, size, Message::StreamPing(sequence));
        if let Some(probe) = &mut self.probe {
            probe.is_indirect = true;
            probe.nacks_expected = expected;
            debug_assert!(now >= probe.sent + PROBE_TIMEOUT);
        }
    }

    fn fail_probe(&mut self, now: u64, out: &mut Out<Message>) {
        let Some(probe) = self.probe.take() else {
            return;
        };
        if probe.stream_answered {
            self.change_awareness(-1);
            return;
        }
        // Who was asked and cannot reach it either says so; who says nothing was not heard by us.
        let delta = match probe.nacks_expected {
            0 => 1,
            expected => (expected - probe.nacks).max(0),
        };
        self.change_awareness(delta);
        let (host, incarnation) = (probe.target as u32, probe.incarnation);
        let from = self.me as u32;
        self.suspect(now, (host, incarnation), from, out);
    }

    pub(super) fn on_part(&mut self, now: u64, from: usize, part: Part, out: &mut Out<Message>) {
        match part {
            Part::Ping { sequence } => self.send(from, Part::Ack { sequence }, out),
            Part::Ack { sequence } => self.on_ack(sequence, out),
            Part::Nack { sequence } => {
                if let Some(probe) = self.probe.as_mut().filter(|p| p.sequence == sequence) {
                    probe.nacks += 1;
                }
            }
            Part::IndirectPing { sequence, target } => {
                let number = self.number();
                let relay = Relay {
                    origin: from,
                    sequence,
                    until: now + PROBE_TIMEOUT,
                };
                self.relays.insert(number, relay);
                self.send(target as usize, Part::Ping { sequence: number }, out);
            }
        }
    }

    fn on_ack(&mut self, sequence: u32, out: &mut Out<Message>) {
        if self
            .probe
            .as_ref()
            .is_some_and(|probe| probe.sequence == sequence)
        {
            self.probe = None;
            self.change_awareness(-1);
        } else if let Some(relay) = self.relays.remove(&sequence) {
            let sequence = relay.sequence;
            self.send(relay.origin, Part::Ack { sequence }, out);
        }
    }

    /// Looked at only when the probe's time is up, as the source does.
    pub(super) fn on_stream_ack(&mut self, sequence: u32) {
        if let Some(probe) = self.probe.as_mut().filter(|p| p.sequence == sequence) {
            probe.stream_answered = true;
        }
    }

    pub(super) fn on_relays(&mut self, now: u64, out: &mut Out<Message>) {
        let over = |(number, relay): (&u32, &Relay)| (now >= relay.until).then_some(*number);
        let over: Vec<u32> = self.relays.iter().filter_map(over).collect();
        for number in over {
            if let Some(relay) = self.relays.remove(&number) {
                let sequence = relay.sequence;
                self.send(relay.origin, Part::Nack { sequence }, out);
            }
        }
    }

    const fn number(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }
}
