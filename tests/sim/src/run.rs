//! One seed, one run: faults and orders, healing, convergence, quiet.

use crate::{
    cluster::{Cluster, SECOND},
    faults::{self, Fault},
    liveness::{BALANCE_MAX, CONVERGE_MAX, QUIET},
    options::Options,
    planted::Planted,
    stats::Stats,
    ticks, values,
    workload::{self, TimedOrder},
};
use holdfast_core::{planted, recording::Cause, rng::Rng};
use std::{
    collections::BTreeSet,
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
    let (faults, orders) = drawn(&options);
    let faults = kept(faults, options.only_faults.as_deref());
    let orders = kept(orders, options.only_orders.as_deref());
    let kinds: BTreeSet<_> = faults.iter().map(|(_, fault)| fault.kind.word()).collect();
    let kinds: Vec<_> = kinds.into_iter().collect();
    let listed = faults
        .iter()
        .map(|(number, fault)| format!("{number:>3} {fault}"));
    let plan = [format!("    of the kinds: {}", kinds.join(", "))];
    let plan = plan.into_iter().chain(listed).collect();
    let mut cluster = Cluster::new(options);
    let bare = |(_, fault)| fault;
    cluster.schedule(
        faults.into_iter().map(bare).collect(),
        orders.into_iter().map(|(_, order)| order).collect(),
    );
    watch(cluster, plan, play)
}

/// Makes the seed that runs are drawn from another one than the others.
const RUNS: u64 = 0x72_75_6e_73;
const TICKS: u64 = 0x74_69_63_6b;

/// The faults and the orders that the seed stands for.
pub fn drawn(options: &Options) -> (Vec<Fault>, Vec<TimedOrder>) {
    let mut rng = Rng::new(options.seed);
    let faults = if options.calm {
        Vec::new()
    } else {
        faults::draw(&mut rng, options.agents, options.seconds)
    };
    let mut orders = workload::draw(&mut rng, options.agents, options.seconds);
    if options.choices {
        let mut rng = Rng::new(!options.seed);
        let choices = workload::draw_choices(&mut rng, options.agents, options.seconds);
        orders.extend(choices);
        orders.extend(values::draw(&mut rng, options.agents, options.seconds));
    }
    let mut rng = Rng::new(options.seed.rotate_left(32) ^ RUNS);
    orders.extend(workload::draw_runs(
        &mut rng,
        options.agents,
        options.seconds,
    ));
    let mut rng = Rng::new(options.seed.rotate_left(16) ^ TICKS);
    orders.extend(ticks::draw(&mut rng, options.agents, options.seconds));
    (faults, orders)
}

/// Those with these numbers, each with its number; all, where none are given.
fn kept<T>(all: Vec<T>, only: Option<&[usize]>) -> Vec<(usize, T)> {
    let wanted = |number: &usize| only.is_none_or(|only| only.contains(number));
    let all = all.into_iter().enumerate();
    all.filter(|(number, _)| wanted(number)).collect()
}

fn play(cluster: &mut Cluster) -> Result<(), String> {
    cluster.run_until(cluster.options.seconds * SECOND)?;
    cluster.heal();
    if cluster.options.choices {
        // Long enough for everybody to know what was asked for on the sides of a split.
        cluster.run_for(10 * SECOND)?;
        cluster.give_up_the_lost();
    }
    cluster.converge(CONVERGE_MAX)?;
    cluster.balance(BALANCE_MAX)?;
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
    let bug = cluster.options.planted.and_then(Planted::in_core);
    let result = planted::with(bug, || {
        catch_unwind(AssertUnwindSafe(|| story(&mut cluster)))
    });
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
            format!("panicked: {}", Cause::said(&*panic))
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
