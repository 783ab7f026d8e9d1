//! Placement at scale, what single faults cost in starts and stops, and how soon all is well again.

use super::{
    Asked,
    sample::{Sample, each, seconds},
};
use crate::{
    cluster::{Cluster, SECOND},
    liveness::CONVERGE_MAX,
    options::Options,
    run::run,
    trace::TraceMode,
    workload::definition,
};
use holdfast_core::ids::HostId;

const TASKS_PER_HOST: usize = 10;
const TASKS_PER_SERVICE: usize = 500;
/// How often one looks whether all are placed.
const LOOK: u64 = 10_000;
const PLACED_MAX: u64 = 300 * SECOND;

/// Ten tasks for each host at once; then a third of the hosts is lost in one moment.
pub fn section(asked: &Asked) -> Result<String, String> {
    let mut rows = String::new();
    for &hosts in asked.sizes(&[100]) {
        let seeds: Vec<u64> = asked.seeds.clone().take(3).collect();
        let answers = each(&seeds, |&seed| place(hosts, seed));
        let answers: Vec<[Placed; 2]> = answers.into_iter().collect::<Result<_, _>>()?;
        for (number, what) in [(0, "all at once"), (1, "a third of the hosts lost")] {
            let cell = |of: fn(&Placed) -> u64, form: fn(u64) -> String| {
                let numbers = answers.iter().map(|placed| of(&placed[number]));
                Sample::of(&numbers.collect::<Vec<_>>()).cell(form)
            };
            let plain = |number: u64| number.to_string();
            rows += &format!(
                "| {hosts} | {what} | {} | {} | {} | {} | {} |\n",
                cell(|p| p.tasks, plain),
                cell(|p| p.placed, seconds),
                cell(|p| p.tasks * SECOND / p.placed.max(1), plain),
                cell(|p| p.running, seconds),
                cell(|p| p.in_vain, plain),
            );
        }
    }
    Ok(format!(
        "### Placement\n\n| hosts | what | tasks | all placed, by the board of another host | \
         placements a second | all running | starts in vain |\n|---|---|---|---|---|---|---|\n\
         {rows}\nThe time includes that a lost host must be found out first, with `down_after` at \
         its 1 s.\n"
    ))
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    tasks: u64,
    placed: u64,
    running: u64,
    in_vain: u64,
}

fn calm(hosts: usize, seed: u64) -> Cluster {
    let mut options = Options::calm(seed, hosts);
    options.codec = false;
    options.trace = TraceMode::Off;
    Cluster::new(options)
}

fn place(hosts: usize, seed: u64) -> Result<[Placed; 2], String> {
    let mut cluster = calm(hosts, seed);
    cluster.run_until(10 * SECOND)?;
    cluster.register(0, definition("web", 1));
    cluster.run_for(2 * SECOND)?;
    let tasks = hosts * TASKS_PER_HOST;
    let services = tasks.div_ceil(TASKS_PER_SERVICE);
    for number in 0..services {
        let desired = TASKS_PER_SERVICE.min(tasks - number * TASKS_PER_SERVICE);
        cluster.create(number % hosts, &format!("s{number}"), "web", desired as u32);
    }
    let began = cluster.now();
    let first = await_all(&mut cluster, &[], (began, tasks, tasks))?;
    // One zone of the three.
    let lost: Vec<usize> = (0..hosts).filter(|place| place % 3 == 0).collect();
    let tasks_lost = lost.iter().map(|&place| cluster.running_on(place)).sum();
    let ids: Vec<HostId> = lost.iter().map(|&place| cluster.host(place).id).collect();
    for place in lost {
        cluster.lose_host(place);
    }
    let began = cluster.now();
    let second = await_all(&mut cluster, &ids, (began, tasks, tasks_lost))?;
    Ok([first, second])
}

/// Runs until every slot is on a host that is not lost, and all tasks run.
fn await_all(
    cluster: &mut Cluster,
    lost: &[HostId],
    (began, tasks, needed): (u64, usize, usize),
) -> Result<Placed, String> {
    let starts = cluster.stats.starts;
    let mut placed = None;
    while cluster.running() < tasks || placed.is_none() {
        if cluster.now() > began + PLACED_MAX {
            let running = cluster.running();
            return Err(format!("only {running} of {tasks} tasks run after 300 s"));
        }
        cluster.run_for(LOOK)?;
        if placed.is_none() && slots_placed(cluster, lost) == tasks {
            placed = Some(cluster.now() - began);
        }
    }
    let running = cluster.now() - began;
    // What was started in vain shows a little later.
    cluster.run_for(10 * SECOND)?;
    Ok(Placed {
        tasks: needed as u64,
        placed: placed.unwrap_or(running),
        running,
        in_vain: (cluster.stats.starts - starts).saturating_sub(needed as u64),
    })
}

/// By the board of the second host, which is in no zone that is lost.
fn slots_placed(cluster: &Cluster, lost: &[HostId]) -> usize {
    let Some(agent) = cluster.agent(1) else {
        return 0;
    };
    let slots = agent.board().all_slots();
    let lives = slots.filter(|(_, _, _, slot)| slot.host.is_some_and(|host| !lost.contains(&host)));
    lives.count()
}

/// One fault, in a cluster where all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Single {
    HostLost,
    PowerLost,
    AgentKilled,
    AgentRestarted,
    AgentFrozen,
    ContainerKilled,
    DockerHangs,
}

const SINGLES: [(Single, &str); 7] = [
    (Single::HostLost, "a host is lost"),
    (Single::PowerLost, "a host loses power for 20 s"),
    (
        Single::AgentKilled,
        "an agent is killed, and back after 3 s",
    ),
    (Single::AgentRestarted, "an agent restarts within 5 s"),
    (Single::AgentFrozen, "an agent stands still for 10 s"),
    (Single::ContainerKilled, "a container is killed"),
    (Single::DockerHangs, "Docker hangs for 10 s"),
];

/// Starts and stops beyond what each single fault needs.
pub fn churn(asked: &Asked) -> Result<String, String> {
    let hosts = asked.sizes(&[10])[0];
    let mut rows = String::new();
    for (single, name) in SINGLES {
        let seeds: Vec<u64> = asked.seeds.clone().collect();
        let answers = each(&seeds, |&seed| one_fault(hosts, seed, single));
        let answers: Vec<Churn> = answers.into_iter().collect::<Result<_, _>>()?;
        let sum = |of: fn(&Churn) -> u64| answers.iter().map(of).sum::<u64>();
        let (needed, starts, stops) = (sum(|c| c.needed), sum(|c| c.starts), sum(|c| c.stops));
        let over = (starts + stops).saturating_sub(needed);
        rows += &format!("| {name} | {needed} | {starts} | {stops} | {over} |\n");
    }
    let count = asked.seeds.end - asked.seeds.start;
    Ok(format!(
        "### What a single fault costs\n\n{hosts} hosts with a service of twice as many, {count} \
         seeds together.\n\n| fault | starts needed | starts | stops | over the minimum \
         |\n|---|---|---|---|---|\n{rows}"
    ))
}

#[derive(Clone, Copy, Debug)]
struct Churn {
    needed: u64,
    starts: u64,
    stops: u64,
}

fn one_fault(hosts: usize, seed: u64, single: Single) -> Result<Churn, String> {
    let mut cluster = calm(hosts, seed);
    cluster.run_until(5 * SECOND)?;
    cluster.register(0, definition("web", 1));
    cluster.create(0, "s0", "web", 2 * hosts as u32);
    cluster.converge(CONVERGE_MAX)?;
    cluster.run_for(seed % 10 * SECOND / 10)?;
    let place = 1 + seed as usize % (hosts - 1);
    let on_it = cluster.running_on(place) as u64;
    let (starts, stops) = (cluster.stats.starts, cluster.stats.stops);
    let needed = match single {
        Single::HostLost => {
            cluster.lose_host(place);
            on_it
        }
        Single::PowerLost => {
            cluster.power_off(place);
            cluster.run_for(20 * SECOND)?;
            cluster.power_on(place);
            on_it
        }
        Single::AgentKilled => {
            cluster.crash(place);
            cluster.run_for(3 * SECOND)?;
            cluster.restart(place);
            0
        }
        Single::AgentRestarted => {
            cluster.shut_down(place);
            cluster.run_for(5 * SECOND)?;
            cluster.restart(place);
            0
        }
        Single::AgentFrozen => {
            cluster.freeze(place);
            cluster.run_for(10 * SECOND)?;
            cluster.thaw(place);
            0
        }
        Single::ContainerKilled => u64::from(cluster.kill_container(place)),
        Single::DockerHangs => {
            cluster.docker_down(place);
            cluster.run_for(10 * SECOND)?;
            cluster.docker_up(place);
            0
        }
    };
    cluster.converge(CONVERGE_MAX)?;
    cluster.run_for(60 * SECOND)?;
    Ok(Churn {
        needed,
        starts: cluster.stats.starts - starts,
        stops: cluster.stats.stops - stops,
    })
}

/// From the last fault of a whole drawn run until all is well.
pub fn convergence(asked: &Asked) -> Result<String, String> {
    let hosts = asked.sizes(&[100])[0];
    let seeds: Vec<u64> = asked.seeds.clone().collect();
    let answers = each(&seeds, |&seed| {
        let mut options = Options::new(seed, hosts);
        options.codec = false;
        options.trace = TraceMode::Off;
        run(options).map(|report| report.stats.converged_us.unwrap_or(0))
    });
    let failed: Vec<u64> = (seeds.iter().zip(&answers))
        .filter_map(|(seed, answer)| answer.is_err().then_some(*seed))
        .collect();
    let mut took: Vec<u64> = answers.into_iter().flatten().collect();
    took.sort_unstable();
    let p99 = took.get(took.len().saturating_sub(1) * 99 / 100).copied();
    let failed = if failed.is_empty() {
        "none".to_owned()
    } else {
        format!("seeds {failed:?}")
    };
    Ok(format!(
        "### All well again after the last fault\n\n| hosts | seeds | not well in time | median \
         (least to most) | 99 % within |\n|---|---|---|---|---|\n| {hosts} | {} | {failed} | {} | \
         {} |\n",
        seeds.len(),
        Sample::of(&took).cell(seconds),
        seconds(p99.unwrap_or(0)),
    ))
}
