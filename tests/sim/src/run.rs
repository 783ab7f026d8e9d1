//! One seed, one run: faults and orders, healing, convergence, quiet.

use crate::{
    cluster::{Cluster, SECOND},
    faults,
    liveness::{CONVERGE_MAX, QUIET},
    options::Options,
    planted::Planted,
    stats::Stats,
    workload,
};
use holdfast_core::rng::Rng;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

#[derive(Debug)]
pub struct Report {
    pub hash: u64,
    pub stats: Stats,
    pub virtual_us: u64,
}

#[derive(Debug)]
pub struct Failure {
    pub what: String,
    pub at: u64,
    pub hash: u64,
    pub plan: Vec<String>,
    pub lines: Vec<String>,
    pub repeat: String,
}

/// Draws a run from the seed and plays it whole.
pub fn run(options: Options) -> Result<Report, Box<Failure>> {
    let mut rng = Rng::new(options.seed);
    let faults = if options.calm {
        Vec::new()
    } else {
        faults::draw(&mut rng, options.agents, options.seconds)
    };
    let orders = workload::draw(&mut rng, options.agents, options.seconds);
    let plan = faults.iter().map(ToString::to_string).collect();
    let mut cluster = Cluster::new(options);
    cluster.schedule(faults, orders);
    watch(cluster, plan, play)
}

fn play(cluster: &mut Cluster) -> Result<(), String> {
    cluster.run_until(cluster.options.seconds * SECOND)?;
    cluster.heal();
    cluster.converge(CONVERGE_MAX)?;
    if cluster.options.planted == Some(Planted::Resurrect) {
        for service in ["s0", "s1", "s2"] {
            cluster.delete(0, service);
        }
        cluster.converge(CONVERGE_MAX)?;
    }
    cluster.strike();
    cluster.quiet(QUIET)
}

/// Plays a story on a cluster; turns a failed check or a panic into a failure with its trace.
pub fn watch(
    mut cluster: Cluster,
    plan: Vec<String>,
    story: impl FnOnce(&mut Cluster) -> Result<(), String>,
) -> Result<Report, Box<Failure>> {
    let result = catch_unwind(AssertUnwindSafe(|| story(&mut cluster)));
    let what = match result {
        Ok(Ok(())) => {
            return Ok(Report {
                hash: cluster.trace.hash(),
                stats: cluster.stats,
                virtual_us: cluster.now,
            });
        }
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panicked: {}", text.unwrap_or("without a word"))
        }
    };
    Err(Box::new(Failure {
        what,
        at: cluster.now,
        hash: cluster.trace.hash(),
        plan,
        lines: cluster.trace.last_lines().map(str::to_owned).collect(),
        repeat: cluster.options.repeat(),
    }))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.plan {
            writeln!(f, "fault  {line}")?;
        }
        for line in self.lines.iter().skip(self.lines.len().saturating_sub(60)) {
            writeln!(f, "{line}")?;
        }
        let (seconds, micros) = (self.at / SECOND, self.at % SECOND);
        writeln!(f, "FAILED at {seconds}.{micros:06}: {}", self.what)?;
        write!(f, "repeat: {}", self.repeat)
    }
}
