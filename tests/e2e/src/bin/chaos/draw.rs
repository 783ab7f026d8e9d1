//! What a round is made of, drawn from the seed.

use e2e::{lab::faults, wait::secs};
use holdfast_core::rng::Rng;
use std::{collections::BTreeSet, fmt, time::Duration};

const LASTS_MAX_MS: u64 = 20_000;
/// A host whose kernel answers is left alone for a minute: a shorter stall moves nothing.
const COUNT_MIN: u64 = 2;
const COUNT_MAX: u64 = 9;

/// Hosts are counted from 0, and shown as the lab calls them, from h1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Power is lost, and comes back.
    Lose(Vec<usize>),
    /// Power is lost, and new machines come in their places.
    Replace(Vec<usize>),
    ShutDown(usize),
    /// As in `1,3|2,4,5`.
    Split(String),
    CutOff(usize),
    OneWay(usize, usize),
    Between(usize, usize),
    NoDatagrams(usize),
    /// Killed, and started again at once.
    KillAgents(Vec<usize>),
    FreezeAgent(usize),
    KillDocker(usize),
    HangDocker(usize),
    Scale(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) faults: Vec<Fault>,
    pub(crate) lasts: Duration,
}

impl Round {
    /// One fault of the network or of hosts, often one of each.
    pub(crate) fn draw(rng: &mut Rng, hosts: usize, wanted: u32) -> Self {
        let mut faults = Vec::new();
        let kinds = rng.below(4);
        if kinds != 0 {
            faults.push(of_hosts(rng, hosts, wanted));
        }
        if kinds <= 1 {
            faults.push(of_network(rng, hosts));
        }
        let lasts = Duration::from_millis(rng.below(LASTS_MAX_MS));
        Self { faults, lasts }
    }

    pub(crate) fn wanted(&self, before: u32) -> u32 {
        let scaled = self.faults.iter().find_map(|fault| match fault {
            Fault::Scale(count) => Some(*count),
            _ => None,
        });
        scaled.unwrap_or(before)
    }

    /// By the promises, nothing starts and nothing stops.
    pub(crate) fn moves_nothing(&self) -> bool {
        self.faults.iter().all(|fault| match fault {
            Fault::OneWay(..)
            | Fault::Between(..)
            | Fault::KillAgents(_)
            | Fault::FreezeAgent(_) => true,
            Fault::HangDocker(_) => self.lasts < secs(10),
            _ => false,
        }) && self.faults.len() == 1
    }

    /// The hosts whose containers end, or of which nobody can tell.
    pub(crate) fn hurt(&self) -> BTreeSet<usize> {
        let hurt = self.faults.iter().flat_map(|fault| match fault {
            Fault::Lose(hosts) | Fault::Replace(hosts) => hosts.clone(),
            Fault::ShutDown(host) | Fault::KillDocker(host) | Fault::HangDocker(host) => {
                vec![*host]
            }
            _ => Vec::new(),
        });
        hurt.collect()
    }
}

fn of_hosts(rng: &mut Rng, hosts: usize, wanted: u32) -> Fault {
    let one = pick(rng, hosts);
    match rng.below(10) {
        0 | 1 => Fault::Lose(vec![one]),
        2 => Fault::Lose(some(rng, hosts, hosts)),
        3 => Fault::Replace(some(rng, hosts, hosts - 1)),
        4 => Fault::ShutDown(one),
        5 => Fault::KillAgents(some(rng, hosts, hosts)),
        6 => Fault::FreezeAgent(one),
        7 => Fault::KillDocker(one),
        8 => Fault::HangDocker(one),
        _ => {
            let counts = (COUNT_MIN..=COUNT_MAX).filter(|count| *count != u64::from(wanted));
            let counts: Vec<u64> = counts.collect();
            let count = counts[pick(rng, counts.len())];
            Fault::Scale(u32::try_from(count).expect("it is small"))
        }
    }
}

fn of_network(rng: &mut Rng, hosts: usize) -> Fault {
    let one = pick(rng, hosts);
    let other = (one + 1 + pick(rng, hosts - 1)) % hosts;
    match rng.below(6) {
        0 | 1 => {
            let left = some(rng, hosts, hosts - 1);
            let right: Vec<usize> = (0..hosts).filter(|host| !left.contains(host)).collect();
            Fault::Split(faults::sides(&[&left, &right]))
        }
        2 => Fault::CutOff(one),
        3 => Fault::OneWay(one, other),
        4 => Fault::Between(one, other),
        _ => Fault::NoDatagrams(one),
    }
}

fn pick(rng: &mut Rng, count: usize) -> usize {
    rng.index(count).expect("there is something to choose from")
}

/// At least one and at most so many of the hosts.
fn some(rng: &mut Rng, hosts: usize, at_most: usize) -> Vec<usize> {
    let count = 1 + pick(rng, at_most);
    let mut left: Vec<usize> = (0..hosts).collect();
    let mut chosen: Vec<usize> = (0..count)
        .map(|_| left.swap_remove(pick(rng, left.len())))
        .collect();
    chosen.sort_unstable();
    chosen
}

fn named(hosts: &[usize]) -> String {
    let names = hosts.iter().map(|host| format!("h{}", host + 1));
    names.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |host: &usize| named(&[*host]);
        match self {
            Self::Lose(hosts) => write!(f, "{} without power", named(hosts)),
            Self::Replace(hosts) => write!(f, "{} replaced by new machines", named(hosts)),
            Self::ShutDown(host) => write!(f, "{} shut down", one(host)),
            Self::Split(sides) => write!(f, "split {sides}"),
            Self::CutOff(host) => write!(f, "{} cut off", one(host)),
            Self::OneWay(from, to) => write!(f, "no packet from {} to {}", one(from), one(to)),
            Self::Between(a, b) => write!(f, "no link between {} and {}", one(a), one(b)),
            Self::NoDatagrams(host) => write!(f, "no datagrams to or from {}", one(host)),
            Self::KillAgents(hosts) => write!(f, "agents of {} killed", named(hosts)),
            Self::FreezeAgent(host) => write!(f, "agent of {} frozen", one(host)),
            Self::KillDocker(host) => write!(f, "Docker of {} killed", one(host)),
            Self::HangDocker(host) => write!(f, "Docker of {} hangs", one(host)),
            Self::Scale(count) => write!(f, "scaled to {count}"),
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        let seconds = self.lasts.as_secs_f64();
        write!(f, "{} for {seconds:.1} s", faults.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_rounds_and_all_kinds_come() {
        let rounds = |seed| {
            let mut rng = Rng::new(seed);
            (0..400)
                .map(|_| Round::draw(&mut rng, 5, 6).to_string())
                .collect::<Vec<_>>()
        };
        let drawn = rounds(7);
        assert_eq!(drawn, rounds(7));
        assert_ne!(drawn, rounds(8));
        for kind in [
            "without power",
            "new machines",
            "shut down",
            "split",
            "cut off",
            "no packet",
            "no link",
            "no datagrams",
            "killed",
            "frozen",
            "hangs",
            "scaled",
        ] {
            assert!(drawn.iter().any(|round| round.contains(kind)), "{kind}");
        }
    }

    #[test]
    fn both_sides_of_a_split_have_hosts_and_some_host_always_stays() {
        let mut rng = Rng::new(1);
        for _ in 0..1_000 {
            for fault in Round::draw(&mut rng, 5, 6).faults {
                match fault {
                    Fault::Split(sides) => {
                        assert!(sides.split('|').all(|side| !side.is_empty()), "{sides}");
                    }
                    Fault::Replace(hosts) => assert!(hosts.len() < 5),
                    Fault::Scale(count) => assert_ne!(count, 6),
                    _ => {}
                }
            }
        }
    }
}
