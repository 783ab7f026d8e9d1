//! What goes wrong in a run: a schedule of timed faults, drawn up-front from the seed and printed.

use holdfast_core::rng::Rng;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: u64,
    pub until: u64,
    pub kind: FaultKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `kill -9` of the agent; its containers run on, and it is started again at the end.
    Crash {
        host: usize,
    },
    /// As `Crash`, after so many effects of some step: between two of the things it asked for.
    CrashInStep {
        host: usize,
        effects: u32,
    },
    /// The agent is asked to end, as for an upgrade.
    Shutdown {
        host: usize,
    },
    /// The machine loses its power, and has it again at the end.
    Reboot {
        host: usize,
    },
    /// The machine is gone for ever; where it returns, it is a new one at the same address.
    HostLoss {
        host: usize,
        returns: bool,
    },
    /// SIGSTOP of the agent, SIGCONT at the end.
    Freeze {
        host: usize,
    },
    Partition {
        side: Vec<usize>,
    },
    /// Nothing that `host` sends arrives.
    Mute {
        host: usize,
    },
    /// Nothing that is sent to `host` arrives.
    Deaf {
        host: usize,
    },
    OneWay {
        from: usize,
        to: usize,
    },
    LinkCut {
        a: usize,
        b: usize,
    },
    Loss {
        ppm: u64,
    },
    Duplicates {
        ppm: u64,
    },
    Slow {
        ms: u64,
    },
    /// The container runtime does not answer; its containers run on.
    DockerHang {
        host: usize,
    },
    /// The container runtime goes down and takes its containers with it.
    DockerRestart {
        host: usize,
    },
    /// Creates and starts fail, events are lost or told twice.
    DockerFlaky {
        host: usize,
        ppm: u64,
    },
    ClockJump {
        host: usize,
        ms: i64,
    },
    /// Containers started meanwhile end by themselves.
    Exits {
        ppm: u64,
    },
    /// Containers made meanwhile do not heed SIGTERM.
    Stubborn {
        ppm: u64,
    },
    /// An operator removes a container by force.
    OperatorRemoves {
        host: usize,
    },
}

const KINDS: u64 = 21;

/// Draws a schedule: each seed switches about half of the kinds on, so that a rare pair of kinds is
/// not drowned by all the others (swarm testing, Groce et al. 2012).
pub fn draw(rng: &mut Rng, hosts: usize, seconds: u64) -> Vec<Fault> {
    let kinds: Vec<u64> = (0..KINDS).filter(|_| rng.below(2) == 0).collect();
    let mut losses_left = hosts / 4;
    let mut faults = Vec::new();
    let Some(_) = kinds.first() else {
        return faults;
    };
    let second = 1_000_000;
    let mut at = 5 * second + rng.below(5 * second);
    while at < seconds * second {
        let kind = kinds[rng.below(kinds.len() as u64) as usize];
        if let Some((kind, lasts)) = draw_one(rng, hosts, kind, &mut losses_left) {
            let until = (at + lasts).min(seconds * second);
            faults.push(Fault { at, until, kind });
        }
        at += rng.below(12 * second);
    }
    faults
}

fn draw_one(
    rng: &mut Rng,
    hosts: usize,
    kind: u64,
    losses_left: &mut usize,
) -> Option<(FaultKind, u64)> {
    use FaultKind as F;
    let host = rng.below(hosts as u64) as usize;
    let other = (host + 1 + rng.below(hosts as u64 - 1) as usize) % hosts;
    let ms = |rng: &mut Rng, least: u64, most: u64| 1_000 * (least + rng.below(most - least));
    Some(match kind {
        0 => (F::Crash { host }, ms(rng, 100, 40_000)),
        1 => {
            let effects = rng.below(6) as u32;
            (F::CrashInStep { host, effects }, ms(rng, 100, 20_000))
        }
        2 => (F::Shutdown { host }, ms(rng, 300, 20_000)),
        3 => (F::Reboot { host }, ms(rng, 5_000, 60_000)),
        4 => {
            let returns = rng.below(2) == 0;
            if !returns {
                *losses_left = losses_left.checked_sub(1)?;
            }
            (F::HostLoss { host, returns }, ms(rng, 5_000, 60_000))
        }
        5 => (F::Freeze { host }, ms(rng, 200, 30_000)),
        6 => {
            let side: Vec<_> = (0..hosts).filter(|_| rng.below(2) == 0).collect();
            (F::Partition { side }, ms(rng, 500, 40_000))
        }
        7 => (F::Partition { side: vec![host] }, ms(rng, 500, 40_000)),
        8 => (F::Mute { host }, ms(rng, 500, 30_000)),
        9 => (F::Deaf { host }, ms(rng, 500, 30_000)),
        10 => (
            F::OneWay {
                from: host,
                to: other,
            },
            ms(rng, 500, 40_000),
        ),
        11 => (F::LinkCut { a: host, b: other }, ms(rng, 500, 40_000)),
        12 => {
            let ppm = 10_000 + rng.below(200_000);
            (F::Loss { ppm }, ms(rng, 2_000, 30_000))
        }
        13 => {
            let ppm = 50_000 + rng.below(300_000);
            (F::Duplicates { ppm }, ms(rng, 2_000, 30_000))
        }
        14 => {
            let slow = 5 + rng.below(500);
            (F::Slow { ms: slow }, ms(rng, 2_000, 20_000))
        }
        15 => (F::DockerHang { host }, ms(rng, 500, 30_000)),
        16 => (F::DockerRestart { host }, ms(rng, 500, 20_000)),
        17 => {
            let ppm = 50_000 + rng.below(400_000);
            (F::DockerFlaky { host, ppm }, ms(rng, 5_000, 40_000))
        }
        18 => {
            let jump = rng.below(200_000) as i64 - 100_000;
            (F::ClockJump { host, ms: jump }, 0)
        }
        19 => {
            let ppm = rng.below(600_000);
            (F::Exits { ppm }, ms(rng, 5_000, 30_000))
        }
        _ if rng.below(2) == 0 => {
            let ppm = rng.below(600_000);
            (F::Stubborn { ppm }, ms(rng, 5_000, 30_000))
        }
        _ => (F::OperatorRemoves { host }, 0),
    })
}

impl FaultKind {
    /// The kind in a word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::CrashInStep { .. } => "crash in a step",
            Self::Shutdown { .. } => "shutdown",
            Self::Reboot { .. } => "reboot",
            Self::HostLoss { .. } => "host loss",
            Self::Freeze { .. } => "freeze",
            Self::Partition { .. } => "partition",
            Self::Mute { .. } => "mute",
            Self::Deaf { .. } => "deaf",
            Self::OneWay { .. } => "one way",
            Self::LinkCut { .. } => "link cut",
            Self::Loss { .. } => "loss",
            Self::Duplicates { .. } => "duplicates",
            Self::Slow { .. } => "slow",
            Self::DockerHang { .. } => "docker hang",
            Self::DockerRestart { .. } => "docker restart",
            Self::DockerFlaky { .. } => "docker flaky",
            Self::ClockJump { .. } => "clock jump",
            Self::Exits { .. } => "exits",
            Self::Stubborn { .. } => "stubborn",
            Self::OperatorRemoves { .. } => "operator",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash { host } => write!(f, "agent of h{host} killed"),
            Self::CrashInStep { host, effects } => {
                write!(
                    f,
                    "agent of h{host} killed in a step, after {effects} effects"
                )
            }
            Self::Shutdown { host } => write!(f, "agent of h{host} asked to end"),
            Self::Reboot { host } => write!(f, "h{host} loses its power"),
            Self::HostLoss { host, returns } => {
                let then = if *returns {
                    ", a new machine takes its place"
                } else {
                    ""
                };
                write!(f, "h{host} is lost{then}")
            }
            Self::Freeze { host } => write!(f, "agent of h{host} frozen"),
            Self::Partition { side } => write!(f, "cut off from the others: {side:?}"),
            Self::Mute { host } => write!(f, "h{host} is not heard"),
            Self::Deaf { host } => write!(f, "h{host} hears nothing"),
            Self::OneWay { from, to } => write!(f, "h{to} does not hear h{from}"),
            Self::LinkCut { a, b } => write!(f, "no link between h{a} and h{b}"),
            Self::Loss { ppm } => write!(f, "{} % of datagrams lost", ppm / 10_000),
            Self::Duplicates { ppm } => write!(f, "{} % of datagrams twice", ppm / 10_000),
            Self::Slow { ms } => write!(f, "a third of datagrams up to {ms} ms late"),
            Self::DockerHang { host } => write!(f, "Docker of h{host} hangs"),
            Self::DockerRestart { host } => write!(f, "Docker of h{host} goes down"),
            Self::DockerFlaky { host, ppm } => {
                write!(f, "Docker of h{host} fails {} % of calls", ppm / 10_000)
            }
            Self::ClockJump { host, ms } => write!(f, "wall clock of h{host} jumps to {ms} ms"),
            Self::Exits { ppm } => write!(f, "{} % of new containers end soon", ppm / 10_000),
            Self::Stubborn { ppm } => write!(f, "{} % ignore SIGTERM", ppm / 10_000),
            Self::OperatorRemoves { host } => write!(f, "an operator removes one on h{host}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.at / 1_000, self.until / 1_000);
        write!(
            f,
            "{:>5}.{:03} to {:>5}.{:03}  {}",
            from / 1_000,
            from % 1_000,
            to / 1_000,
            to % 1_000,
            self.kind
        )
    }
}
