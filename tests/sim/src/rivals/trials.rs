//! What is tried on each detector: a host that dies, all kinds of trouble, idleness, one change.

use crate::{
    cluster::SECOND,
    rivals::{
        Detector,
        air::Air,
        arena::{Arena, Frozen, Verdict},
        foca::FocaHost,
        holdfast,
        memberlist::{Memberlist, wire::StateSize},
    },
};
use holdfast_core::{agent::Timings, rng::Rng, time::Span};
use std::{cmp::Reverse, collections::BinaryHeap, rc::Rc};

/// Before anything is measured, the hosts go their way for so long.
const WARM_UP: u64 = 10 * SECOND;
/// Nobody needs longer than this to notice a dead host.
const DETECTION_MAX: u64 = 150 * SECOND;
const SPREADING_MAX: u64 = 60 * SECOND;

/// Who is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// With this `down_after`.
    Holdfast {
        down_after_ms: u64,
    },
    Memberlist,
    Foca,
}

impl Who {
    pub const DEFAULT: Self = Self::Holdfast {
        down_after_ms: 1_000,
    };
    pub const QUICK: Self = Self::Holdfast { down_after_ms: 600 };
    pub const ALL: [Self; 4] = [Self::DEFAULT, Self::QUICK, Self::Memberlist, Self::Foca];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Holdfast { down_after_ms: 600 } => "Holdfast, down after 0.6 s",
            Self::Holdfast { .. } => "Holdfast, down after 1 s (default)",
            Self::Memberlist => "memberlist (model)",
            Self::Foca => "foca",
        }
    }
}

/// One story that is played with any detector.
pub trait Trial {
    type Answer;

    fn run<D: Detector>(&self, arena: Arena<D>, rng: Rng) -> Self::Answer;

    /// Plays it with one of them. The network's and the story's dice are those of the seed,
    /// whoever is tried.
    fn play(&self, who: Who, hosts: usize, seed: u64) -> Self::Answer {
        let (air, rng) = (Air::new(seed ^ 0xA17), Rng::new(seed ^ 0x570));
        match who {
            Who::Holdfast { down_after_ms } => {
                let timings = Timings {
                    down_after: Span::from_ms(down_after_ms),
                    ..Timings::default()
                };
                self.run(
                    Arena::new(holdfast::cluster(hosts, seed, &timings), air),
                    rng,
                )
            }
            Who::Memberlist => {
                let size = Rc::new(StateSize::sample(hosts));
                let member = |(place, seed)| Memberlist::new(place, hosts, seed, Rc::clone(&size));
                self.run(
                    Arena::new(seeded(hosts, seed).map(member).collect(), air),
                    rng,
                )
            }
            Who::Foca => {
                let member = |(place, seed)| FocaHost::new(place, hosts, seed);
                self.run(
                    Arena::new(seeded(hosts, seed).map(member).collect(), air),
                    rng,
                )
            }
        }
    }
}

fn seeded(hosts: usize, seed: u64) -> impl Iterator<Item = (usize, u64)> {
    let mut rng = Rng::new(seed);
    (0..hosts).map(move |place| (place, rng.next_u64()))
}

/// Hosts die, one after the other, while this much is lost.
#[derive(Clone, Copy, Debug)]
pub struct Detection {
    pub loss_ppm: u64,
    pub crashes: usize,
}

/// How long it took from a host's death until the first one and until 99 % of the others held it
/// for down.
#[derive(Clone, Copy, Debug)]
pub struct Detected {
    pub first: u64,
    pub known: u64,
}

impl Trial for Detection {
    /// What was not known in time counts as the longest.
    type Answer = Vec<Detected>;

    fn run<D: Detector>(&self, mut arena: Arena<D>, mut rng: Rng) -> Vec<Detected> {
        arena.air.loss_ppm = self.loss_ppm;
        arena.run_until(WARM_UP);
        let mut detected = Vec::new();
        for _ in 0..self.crashes {
            arena.run_until(arena.now + rng.below(SECOND));
            let mut subject = rng.below(arena.hosts() as u64) as usize;
            while !arena.is_running(subject) {
                subject = rng.below(arena.hosts() as u64) as usize;
            }
            let died = arena.now;
            arena.crash(subject);
            arena.run_while(died + DETECTION_MAX, |books| {
                books.known_down[subject].is_none()
            });
            let since = |at: Option<u64>| at.map_or(DETECTION_MAX, |at| at - died);
            detected.push(Detected {
                first: since(arena.books.first_down[subject]),
                known: since(arena.books.known_down[subject]),
            });
            arena.run_until(arena.now + 2 * SECOND);
        }
        detected
    }
}

/// Nobody dies, but something is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Falsehood {
    pub trouble: Trouble,
    pub seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Of all datagrams.
    Loss { ppm: u64 },
    /// One host loses this much, in both directions.
    LossyHost { ppm: u64 },
    /// Nothing passes from one host to one other.
    OneWayLink,
    /// One host is heard by all and hears nobody.
    DeafHost,
    /// This share of the hosts stands still, each for so long about every 10 s.
    Stalls {
        share_ppm: u64,
        millis: u64,
        what: Frozen,
    },
}

/// False verdicts: each time that somebody was the first to hold a living host for down.
#[derive(Clone, Copy, Debug, Default)]
pub struct False {
    /// Of hosts with which nothing was wrong.
    pub healthy: u64,
    /// Of the hosts that the trouble was about.
    pub troubled: u64,
}

impl Trial for Falsehood {
    type Answer = False;

    fn run<D: Detector>(&self, mut arena: Arena<D>, mut rng: Rng) -> False {
        arena.run_until(WARM_UP);
        arena.books.start();
        let hosts = arena.hosts() as u64;
        let mut pick = || rng.below(hosts) as usize;
        let (one, other) = (pick(), pick());
        let until = arena.now + self.seconds * SECOND;
        let mut troubled = vec![one];
        match self.trouble {
            Trouble::Loss { ppm } => {
                arena.air.loss_ppm = ppm;
                troubled.clear();
            }
            Trouble::LossyHost { ppm } => {
                arena.air.host_loss_ppm.insert(one, ppm);
            }
            Trouble::OneWayLink => {
                arena.air.cuts.insert((one, other));
                troubled.clear();
            }
            Trouble::DeafHost => {
                arena.air.deaf.insert(one);
            }
            Trouble::Stalls {
                share_ppm,
                millis,
                what,
            } => {
                let count = (hosts * share_ppm / 1_000_000).max(1);
                troubled = (0..count).map(|_| pick()).collect();
                let hosts = (&troubled[..], what);
                stall(&mut arena, &mut rng, hosts, (millis * 1_000, until));
            }
        }
        arena.run_until(until);
        let verdicts = arena
            .books
            .verdicts
            .iter()
            .filter(|verdict| verdict.is_false);
        let about = |verdict: &&Verdict| troubled.contains(&verdict.subject);
        let (about_them, others): (Vec<&Verdict>, Vec<&Verdict>) = verdicts.partition(about);
        False {
            healthy: others.len() as u64,
            troubled: about_them.len() as u64,
        }
    }
}

/// Each of the hosts stands still for `micros`, then runs for 5 to 15 s, and so on.
fn stall<D: Detector>(
    arena: &mut Arena<D>,
    rng: &mut Rng,
    (hosts, what): (&[usize], Frozen),
    (micros, until): (u64, u64),
) {
    let mut runs_for = || 5 * SECOND + rng.below(10 * SECOND);
    let mut due = BinaryHeap::new();
    for &host in hosts {
        due.push(Reverse((arena.now + runs_for(), host, true)));
    }
    while let Some(Reverse((at, host, freezes))) = due.pop() {
        if at > until {
            break;
        }
        arena.run_until(at);
        if freezes {
            arena.freeze(host, what);
            due.push(Reverse((at + micros, host, false)));
        } else {
            arena.thaw(host);
            due.push(Reverse((at + runs_for(), host, true)));
        }
    }
}

/// Nothing happens.
#[derive(Clone, Copy, Debug)]
pub struct Idleness {
    /// Long enough for what is done seldom: memberlist pushes and pulls each 300 s at 10,000 hosts.
    pub seconds: u64,
}

/// For each host and second, on the average.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    pub messages: f64,
    pub bytes_bare: f64,
    pub bytes_sealed: f64,
}

impl Trial for Idleness {
    type Answer = Idle;

    fn run<D: Detector>(&self, mut arena: Arena<D>, _: Rng) -> Idle {
        arena.run_until(WARM_UP);
        arena.books.start();
        arena.run_until(WARM_UP + self.seconds * SECOND);
        let each = |total: u64| total as f64 / arena.hosts() as f64 / self.seconds as f64;
        Idle {
            messages: each(arena.books.messages),
            bytes_bare: each(arena.books.bytes_bare),
            bytes_sealed: each(arena.books.bytes_sealed),
        }
    }
}

/// One host changes one record, while this much is lost.
#[derive(Clone, Copy, Debug)]
pub struct Spreading {
    pub loss_ppm: u64,
}

/// How long until 99 % of all hosts knew it, and how many messages were sent meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub known: u64,
    pub messages: u64,
}

impl Trial for Spreading {
    type Answer = Spread;

    fn run<D: Detector>(&self, mut arena: Arena<D>, mut rng: Rng) -> Spread {
        arena.air.loss_ppm = self.loss_ppm;
        arena.run_until(WARM_UP + rng.below(SECOND));
        arena.books.start();
        let began = arena.now;
        arena.tell(rng.below(arena.hosts() as u64) as usize);
        let enough = (arena.hosts() * 99).div_ceil(100);
        while arena.knowing() < enough && arena.now < began + SPREADING_MAX {
            // Nobody asks more often than each millisecond who knows it.
            arena.run_until(arena.now + 1_000);
        }
        Spread {
            known: arena.now - began,
            messages: arena.books.messages,
        }
    }
}

#[cfg(test)]
mod tests;
