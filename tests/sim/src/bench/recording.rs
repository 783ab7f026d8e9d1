//! What it costs an agent to record: time and bytes a step, a copy of the agent, a file.

use super::{Asked, sample::Sample};
use crate::{
    cluster::{Cluster, SECOND},
    liveness::CONVERGE_MAX,
    options::Options,
    trace::TraceMode,
    workload::definition,
};
use holdfast_core::{
    agent::Agent,
    effect::Effects,
    recording::{Bounds, Cause, Recorder, Recording, Step},
    time::Wall,
};
use std::time::Instant;

const RUNS: usize = 9;
/// Segments that are never full: the copies are measured by themselves.
const ENDLESS: Bounds = Bounds {
    bytes: usize::MAX,
    steps: usize::MAX,
};

/// What one agent of a cluster went through, again with a recorder and without.
pub fn section(asked: &Asked) -> Result<String, String> {
    let mut rows = String::new();
    for &hosts in asked.sizes(&[5, 100]) {
        for (what, copies) in [("idle", 0), ("ten tasks a host are deployed", 10)] {
            let (recorder, agent) = lived(hosts, copies)?;
            let file = recorder.save(&agent, Cause::Asked, Wall(0));
            let recording = Recording::read(&file).map_err(|err| err.to_string())?;
            let steps = recording.steps.len() as u64;
            let plain = median(|| replay(&recording.steps, &recording.agent, None));
            let taped = median(|| {
                let recorder = Recorder::new(&recording.agent, ENDLESS);
                replay(&recording.steps, &recording.agent, Some(recorder))
            });
            let copy = median(|| timed(|| drop(agent.clone())));
            let save = median(|| timed(|| drop(recorder.save(&agent, Cause::Asked, Wall(0)))));
            rows += &format!(
                "| {hosts} | {what} | {steps} | {} ns | {} ns | {} | {} µs | {} µs | {} KiB |\n",
                plain / steps,
                taped.saturating_sub(plain) / steps,
                recorder.held().bytes as u64 / steps,
                copy / 1_000,
                save / 1_000,
                file.len() / 1_024,
            );
        }
    }
    Ok(format!(
        "### What recording costs\n\n| hosts | an agent's 30 s | steps | a step | recording it | \
         bytes a step | a copy of the agent, for each 16,384 steps or 1 MiB | a file | its size \
         |\n|---|---|---|---|---|---|---|---|---|\n{rows}"
    ))
}

/// Half a minute of the second host.
fn lived(hosts: usize, copies: usize) -> Result<(Recorder, Agent), String> {
    let mut options = Options::calm(1, hosts);
    options.codec = false;
    options.trace = TraceMode::Off;
    let mut cluster = Cluster::new(options);
    cluster.run_until(10 * SECOND)?;
    cluster.register(0, definition("web", 1));
    cluster.run_for(SECOND)?;
    cluster.record(1, ENDLESS);
    if copies > 0 {
        cluster.create(0, "s0", "web", (hosts * copies) as u32);
        cluster.converge(CONVERGE_MAX)?;
    }
    cluster.run_for(30 * SECOND)?;
    let recorder = cluster.host(1).recorder.clone();
    let agent = cluster.agent(1).cloned();
    recorder.zip(agent).ok_or_else(|| "h1 is gone".to_owned())
}

/// Nanoseconds for all steps.
fn replay(steps: &[Step], agent: &Agent, mut recorder: Option<Recorder>) -> u64 {
    let (mut agent, mut fx) = (agent.clone(), Effects::new());
    let inputs: Vec<_> = steps.iter().map(|step| step.input.clone()).collect();
    timed(|| {
        for (step, input) in steps.iter().zip(inputs) {
            match &mut recorder {
                Some(recorder) => recorder.step(&mut agent, step.now, input, &mut fx),
                None => agent.step(step.now, input, &mut fx),
            }
            fx.drain().for_each(drop);
        }
    })
}

fn timed(work: impl FnOnce()) -> u64 {
    let began = Instant::now();
    work();
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn median(once: impl FnMut() -> u64) -> u64 {
    let all: Vec<u64> = std::iter::repeat_with(once).take(RUNS).collect();
    Sample::of(&all).median
}
