//! The fault cases: a story for each, and a planted bug that the story must catch.
//!
//! The first forty numbers are those of the list of faults that the design started from. A case is
//! proven when its story passes as the core is, and fails with its bug, by a check and not by luck.

mod host;
mod docker;
mod network;
mod majority;
mod membership;
mod reconcile;
mod runs;
mod ticks;
mod writers;
mod abuse;

use crate::{
    cluster::{Cluster, SECOND},
    liveness::{BALANCE_MAX, CONVERGE_MAX},
    options::Options,
    planted::Planted,
    run::{self, Failure, Report, watch},
    stats::Stats,
    workload::definition,
};
use std::ops::Range;

/// What the whole table is about.
pub const CASES_MAX: u32 = 49;

/// One fault case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub number: u32,
    pub name: &'static str,
    pub agents: usize,
    pub story: fn(&mut Cluster) -> Result<(), String>,
    pub bug: Planted,
    /// A part of what the check says that catches the bug.
    pub caught_by: &'static str,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What went wrong without the bug, if anything did.
    pub broken: Option<String>,
    /// After how many seeds the bug was caught, and what the check said.
    pub caught: Option<(u64, String)>,
    /// What else was said against the bug, where that was not what was meant.
    pub otherwise: Option<String>,
}

impl Verdict {
    pub const fn is_proven(&self) -> bool {
        self.broken.is_none() && self.caught.is_some()
    }
}

/// All cases in order of their numbers; some numbers have several.
pub fn cases() -> Vec<Case> {
    let groups = [
        host::CASES,
        docker::CASES,
        network::CASES,
        majority::CASES,
        membership::CASES,
        reconcile::CASES,
        abuse::CASES,
        runs::CASES,
        ticks::CASES,
        writers::CASES,
    ];
    let mut all = groups.concat();
    all.sort_by_key(|case| case.number);
    all
}

impl Case {
    /// Plays the story as it is, then with the bug, seed after seed until some check says so.
    pub fn prove(&self, seeds: Range<u64>) -> Verdict {
        let well = seeds.clone().take(2);
        let broken = well.filter_map(|seed| self.play(seed, None).err()).next();
        let mut verdict = Verdict {
            broken: broken.map(|failure| failure.to_string()),
            caught: None,
            otherwise: None,
        };
        for seed in seeds.clone() {
            let Err(failure) = self.play(seed, Some(self.bug)) else {
                continue;
            };
            if failure.what.contains(self.caught_by) {
                verdict.caught = Some((seed - seeds.start + 1, failure.what));
                break;
            }
            verdict.otherwise = Some(failure.what);
        }
        verdict
    }

    /// Plays the story once.
    pub fn play(&self, seed: u64, planted: Option<Planted>) -> Result<Report, Box<Failure>> {
        let options = Options {
            planted,
            ..Options::calm(seed, self.agents)
        };
        watch(Cluster::new(options), Vec::new(), self.story)
    }
}

/// Whether some check catches a bug at the simulator's boundary, in whole runs.
pub fn caught_at_boundary(planted: Planted, by: &str, seeds: Range<u64>) -> Option<(u64, String)> {
    let mut failures = seeds.clone().filter_map(|seed| {
        let mut options = Options::calm(seed, 5);
        options.planted = Some(planted);
        options.recorded = planted == Planted::OffTheRecord;
        let failure = run::run(options).err()?;
        Some((seed - seeds.start + 1, failure.what))
    });
    failures.find(|(_, what)| what.contains(by))
}

// What stories are made of.

type Told = Result<(), String>;

/// Agents that hold `copies` of the service `s0` of this family, at rest.
fn hold(cluster: &mut Cluster, family: &str, copies: u32) -> Told {
    cluster.run_until(6 * SECOND)?;
    cluster.register(0, definition(family, 1));
    cluster.create(0, "s0", family, copies);
    cluster.converge(30 * SECOND)?;
    runs(cluster, copies as usize)
}

fn expect(holds: bool, what: impl FnOnce() -> String) -> Told {
    if holds { Ok(()) } else { Err(what()) }
}

fn runs(cluster: &Cluster, wanted: usize) -> Told {
    let found = cluster.running();
    expect(found == wanted, || {
        format!("{found} run instead of {wanted}")
    })
}

/// All must be well soon, and stay so; then so many run.
fn rest(cluster: &mut Cluster, wanted: usize) -> Told {
    cluster.converge(CONVERGE_MAX)?;
    cluster.balance(BALANCE_MAX)?;
    runs(cluster, wanted)?;
    cluster.strike();
    cluster.quiet(90 * SECOND)
}

/// Starts and stops so far.
const fn churn(stats: &Stats) -> (u64, u64) {
    (stats.starts, stats.stops)
}

/// Since then there were exactly so many starts and stops.
fn moved(cluster: &Cluster, since: (u64, u64), wanted: (u64, u64)) -> Told {
    let now = churn(&cluster.stats);
    let found = (now.0 - since.0, now.1 - since.1);
    expect(found == wanted, || {
        format!(
            "{} starts and {} stops instead of {} and {}",
            found.0, found.1, wanted.0, wanted.1
        )
    })
}
