//! Many tasks on one host: how soon a new agent knows them, and what they cost it.

use crate::{
    lone::Lone,
    trials::{Row, Trials, Unit},
};
use e2e::{
    usage::{TICKS_PER_SECOND, cpu_ticks, resident_mib},
    wait::{pass, secs},
};
use std::time::Duration;

const ADOPTED: usize = 50;
const ADOPTED_MS_MAX: f64 = 300.0;
const RUNNING: usize = 200;
/// What the starts stirred up has to settle.
const SETTLED: Duration = secs(10);
/// Two full comparisons with what runs.
const WATCHED: Duration = secs(60);
const MEMORY_MIB_MAX: f64 = 30.0;
const CPU_PERCENT_MAX: f64 = 1.0;

/// The agent is killed and started again, which none of its containers is to notice.
pub(crate) fn adopted(trials: usize) -> Option<Vec<Row>> {
    let mut lone = Lone::up()?;
    lone.start(ADOPTED);
    lone.await_running(ADOPTED);
    let (mut taken, mut lost) = <(Trials, Trials)>::default();
    for trial in 0..trials {
        let before = lone.runs();
        lone.kill_agent();
        taken.push(lone.adopt(ADOPTED));
        pass(SETTLED);
        lost.push_count(before.symmetric_difference(&lone.runs()).count());
        eprintln!(
            "  {trial}: {:.0} ms, {} started or ended",
            taken.last(),
            lost.last()
        );
    }
    let what = "agent killed and started, 50 tasks → all adopted";
    Some(vec![
        Row::new(what, "Holdfast", Unit::Milliseconds, taken).aims_at(ADOPTED_MS_MAX, "≤ 300 ms"),
        Row::new(
            "… containers started or ended",
            "Holdfast",
            Unit::Times,
            lost,
        )
        .aims_at(0.0, "0"),
    ])
}

/// Each trial has a host of its own.
pub(crate) fn running(trials: usize) -> Option<Vec<Row>> {
    let (mut memory, mut cpu) = <(Trials, Trials)>::default();
    for trial in 0..trials {
        let mut lone = Lone::up()?;
        lone.start(RUNNING);
        lone.await_running(RUNNING);
        pass(SETTLED);
        let agent = lone.agent().pid();
        let before = cpu_ticks(agent);
        pass(WATCHED);
        let used = (cpu_ticks(agent) - before) / TICKS_PER_SECOND;
        cpu.push(used / WATCHED.as_secs_f64() * 100.0);
        memory.push(resident_mib(agent));
        eprintln!("  {trial}: {:.1} MiB, {:.2} %", memory.last(), cpu.last());
    }
    let row = |what, unit, trials| Row::new(what, "Holdfast", unit, trials);
    let memory = row(
        "200 tasks on a host: memory of the agent",
        Unit::Mebibytes,
        memory,
    );
    let cpu = row("… its CPU, of one core", Unit::Percent, cpu);
    Some(vec![
        memory.aims_at(MEMORY_MIB_MAX, "≤ 30 MiB"),
        cpu.aims_at(CPU_PERCENT_MAX, "≤ 1 %"),
    ])
}
