//! How fast core and simulator are: agent-seconds of virtual time for a second of a core.

use crate::{
    bench::{Asked, sample::Sample},
    cluster::{Cluster, SECOND},
    liveness::CONVERGE_MAX,
    options::Options,
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

/// The part of the page.
pub fn section(asked: &Asked) -> Result<String, String> {
    let speeds = bench(asked.seconds)?;
    let all: Vec<u64> = speeds.iter().map(|s| s.agent_seconds_per_second).collect();
    let steps: Vec<u64> = speeds.iter().map(|s| s.steps_per_second).collect();
    Ok(format!(
        "### Speed of core and simulator\n\n| {AGENTS} idle agents, {RUNS} runs of {} s | median | \
         least | most |\n|---|---|---|---|\n| agent-seconds a second of one core | {} |\n\
         | steps a second | {} |\n",
        asked.seconds,
        Sample::of(&all).columns(|value| value.to_string()),
        Sample::of(&steps).columns(|value| value.to_string()),
    ))
}
