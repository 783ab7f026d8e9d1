//! What a rival costs on each host while nothing happens: memory and CPU.

use crate::{
    raw::Spread,
    rival::{HOSTS, Rival, await_living},
    swarm::Tuning,
    trials::{Row, Trials, Unit},
};
use e2e::{
    fleet::PATIENCE,
    lab::fleet::LabFleet,
    skip,
    wait::{pass, secs, until},
};
use std::{process::Command, time::Duration};

const COUNT: usize = 20;
/// What the start stirred up has to settle.
const SETTLED: Duration = secs(10);
const WATCHED: Duration = secs(20);
const MEMORY: &str = "idle: resident memory added on each host";
const ITSELF: &str = "… of which the agent itself";
const CPU: &str = "idle: CPU added on each host, of one core";
const SERF: &str = "serf";
const MEMORY_MIB_MAX: f64 = 16.0;
const CPU_PERCENT_MAX: f64 = 0.5;

/// What the programs of a host use.
#[derive(Clone, Copy, Debug)]
struct Usage {
    mib: f64,
    percent: f64,
}

/// What was added, host by host.
#[derive(Debug, Default)]
struct Added {
    memory: Trials,
    cpu: Trials,
}

/// A trial is a host, so that each run of five counts as five.
pub(crate) fn idle(trials: usize) -> Option<Vec<Row>> {
    let swarm = Rival::Swarm(Tuning::AsItComes);
    let (mut ours, mut swarms, mut serfs) = <(Added, Added, Added)>::default();
    let (mut agents, mut serf_agents) = <(Trials, Trials)>::default();
    for run in 0..trials.div_ceil(usize::from(HOSTS)) {
        for (rival, added) in [(swarm, &mut swarms), (Rival::Holdfast, &mut ours)] {
            let mut fleet = LabFleet::up(HOSTS, &[])?;
            let before = with_docker_alone(&fleet);
            rival.join(&mut fleet);
            rival.create(&mut fleet, "web", COUNT);
            added.note(&before, &watched(&fleet));
            eprintln!("  {run}: {}: {added:?}", rival.name());
            if rival == Rival::Holdfast {
                let each = fleet.hosts.iter();
                agents.extend(each.map(|host| e2e::usage::resident_mib(host.pid())));
            }
        }
        if has_serf() {
            let fleet = LabFleet::up(HOSTS, &[])?;
            let before = with_docker_alone(&fleet);
            let containers = Spread::start(&fleet, COUNT / usize::from(HOSTS));
            start_serfs(&fleet);
            serfs.note(&before, &watched(&fleet));
            serf_agents.extend((0..usize::from(HOSTS)).filter_map(|host| {
                let serf = fleet.ground(host).process(SERF)?;
                e2e::usage::resident_mib_of(serf.pid)
            }));
            eprintln!("  {run}: serf: {serfs:?}");
            drop(containers);
        }
    }
    let row = |what, who: &str, unit, trials| Row::new(what, who, unit, trials);
    let mut rows = vec![
        row(MEMORY, "Holdfast", Unit::Mebibytes, ours.memory).aims_at(MEMORY_MIB_MAX, "≤ 16 MiB"),
        row(ITSELF, "Holdfast", Unit::Mebibytes, agents),
        row(CPU, "Holdfast", Unit::Percent, ours.cpu).aims_at(CPU_PERCENT_MAX, "≤ 0.5 %"),
        row(MEMORY, "Swarm", Unit::Mebibytes, swarms.memory),
        row(CPU, "Swarm", Unit::Percent, swarms.cpu),
    ];
    if has_serf() {
        rows.extend([
            row(MEMORY, SERF, Unit::Mebibytes, serfs.memory),
            row(ITSELF, SERF, Unit::Mebibytes, serf_agents),
            row(CPU, SERF, Unit::Percent, serfs.cpu),
        ]);
    } else {
        skip("serf is not installed: it has no rows");
    }
    Some(rows)
}

impl Added {
    fn note(&mut self, before: &[Usage], after: &[Usage]) {
        let both = || before.iter().zip(after);
        self.memory
            .extend(both().map(|(before, after)| after.mib - before.mib));
        self.cpu
            .extend(both().map(|(before, after)| after.percent - before.percent));
    }
}

/// As many containers as a rival will have, of nobody. They are the second ones, as a rival's will
/// be: a Docker that has made and removed some keeps memory.
fn with_docker_alone(fleet: &LabFleet) -> Vec<Usage> {
    let on_each = COUNT / usize::from(HOSTS);
    drop(Spread::start(fleet, on_each));
    let containers = Spread::start(fleet, on_each);
    let usage = watched(fleet);
    drop(containers);
    await_living(fleet, 0);
    usage
}

/// Of each host, over a while in which nobody asks anything.
fn watched(fleet: &LabFleet) -> Vec<Usage> {
    pass(SETTLED);
    let hosts = 0..fleet.hosts.len();
    let cpu = || hosts.clone().map(|host| fleet.ground(host).cpu_used());
    let before: Vec<Duration> = cpu().collect();
    pass(WATCHED);
    let used = cpu().zip(&before).map(|(after, before)| after - *before);
    let used: Vec<Duration> = used.collect();
    let both = hosts.zip(used).map(|(host, used)| Usage {
        mib: fleet.ground(host).resident_mib(),
        percent: used.as_secs_f64() / WATCHED.as_secs_f64() * 100.0,
    });
    both.collect()
}

pub(crate) fn has_serf() -> bool {
    Command::new(SERF).arg("version").output().is_ok()
}

/// On each host, joined to the first; returns when all know all.
pub(crate) fn start_serfs(fleet: &LabFleet) {
    let first = fleet.ground(0).address();
    for index in 0..fleet.hosts.len() {
        let ground = fleet.ground(index);
        let (name, bind) = (format!("-node={}", ground.name()), ground.address());
        let (bind, join) = (format!("-bind={bind}"), format!("-retry-join={first}"));
        let words = [SERF, "agent", &name, &bind, &join].map(str::to_owned);
        let started = ground.spawn(SERF, &words);
        started.unwrap_or_else(|why| panic!("{why}"));
    }
    until("all serfs know all", PATIENCE, || {
        for index in 0..fleet.hosts.len() {
            let words = [SERF, "members"].map(str::to_owned);
            let asked = fleet.ground(index).command(&words)?.output();
            let asked = asked.map_err(|err| err.to_string())?;
            let told = e2e::host::text_of(&asked.stdout);
            if told.lines().filter(|line| line.contains("alive")).count() != fleet.hosts.len() {
                return Err(told);
            }
        }
        Ok(())
    });
}
