//! How fast core and simulator are: agent-seconds of virtual time for a second of a core.

use crate::{
    cluster::{Cluster, SECOND},
    liveness::CONVERGE_MAX,
    options::Options,
    stats::median,
    trace::TraceMode,
    workload::definition,
};
use std::time::Instant;

const AGENTS: usize = 20;
const RUNS: u64 = 5;

/// What one run of the benchmark gave.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    pub agent_seconds_per_second: u64,
    pub steps_per_second: u64,
}

/// Twenty agents that hold a service of twenty for `seconds` of virtual time; the last numbers are
/// those of the run in the middle.
pub fn bench(seconds: u64) -> Result<Vec<Speed>, String> {
    (0..RUNS).map(|seed| bench_once(seed, seconds)).collect()
}

fn bench_once(seed: u64, seconds: u64) -> Result<Speed, String> {
    let mut options = Options::calm(seed, AGENTS);
    options.codec = false;
    options.trace = TraceMode::Off;
    let mut cluster = Cluster::new(options);
    cluster.run_until(5 * SECOND)?;
    cluster.register(0, definition("web", 1));
    cluster.create(0, "s0", "web", AGENTS as u32);
    cluster.converge(CONVERGE_MAX)?;
    let steps = cluster.stats.steps;
    let began = Instant::now();
    cluster.run_for(seconds * SECOND)?;
    let micros = (began.elapsed().as_micros() as u64).max(1);
    Ok(Speed {
        agent_seconds_per_second: AGENTS as u64 * seconds * 1_000_000 / micros,
        steps_per_second: (cluster.stats.steps - steps) * 1_000_000 / micros,
    })
}

/// The report in columns.
pub fn print(speeds: &[Speed]) {
    for speed in speeds {
        let Speed {
            agent_seconds_per_second,
            steps_per_second,
        } = speed;
        println!("{agent_seconds_per_second:>10} agent-s/s  {steps_per_second:>10} steps/s");
    }
    let all: Vec<_> = speeds.iter().map(|s| s.agent_seconds_per_second).collect();
    let (least, most) = (all.iter().min(), all.iter().max());
    println!(
        "{:>10} agent-s/s in the median, from {} to {}",
        median(&all),
        least.copied().unwrap_or(0),
        most.copied().unwrap_or(0)
    );
}
