//! Placement at scale: ten tasks for each host at once, then a third of the hosts is lost.

use super::{
    Asked,
    sample::{Sample, each, seconds},
};
use crate::{
    cluster::SECOND,
    rivals::holdfast::crowd::{Crowd, LOST_ZONE, Told, ZONES},
};
use holdfast_core::agent::Timings;

const TASKS_PER_HOST: usize = 10;
const TASKS_PER_SERVICE: usize = 5_000;
const SERVICES_MIN: usize = 4;
/// How often one looks whether all are placed.
const LOOK: u64 = 10_000;
const PLACED_MAX: u64 = 300 * SECOND;
const SEEDS: u64 = 3;
/// So many hosts are placed on once: that alone takes many minutes.
const MANY: usize = 3_000;

/// What is asked of a crowd, and what came of it.
#[derive(Clone, Copy, Debug)]
struct Placed {
    tasks: u64,
    /// Until the first host that was given a slot had asked for a container.
    begun: u64,
    /// Until 99 % of them had.
    most: u64,
    /// Until all had.
    placed: u64,
    running: u64,
    in_vain: u64,
}

impl Placed {
    /// Placements a second, at the least, as one looks each 10 ms.
    fn rate(&self) -> u64 {
        let took = self.most - self.begun + LOOK;
        self.tasks * 99 / 100 * SECOND / took
    }
}

pub fn section(asked: &Asked) -> Result<String, String> {
    let usual = [
        (300, Told::Everybody),
        (300, Told::Some),
        (10_000, Told::Some),
    ];
    let sizes = match asked.hosts {
        Some([hosts]) => vec![(hosts, Told::Some)],
        None => usual.to_vec(),
    };
    let mut rows = String::new();
    for (hosts, told) in sizes {
        let seeds = asked.seeds(if hosts < MANY { SEEDS } else { 1 });
        let answers = each(&seeds, |&seed| place(hosts, told, seed));
        let answers: Vec<[Placed; 2]> = answers.into_iter().collect::<Result<_, _>>()?;
        for (number, what) in [(0, "all at once"), (1, "a third of the hosts lost")] {
            let placed: Vec<Placed> = answers.iter().map(|both| both[number]).collect();
            rows += &row(hosts, told, what, &placed);
        }
    }
    Ok(format!(
        "### Placement\n\n| hosts | in full | what | tasks | the first is taken up | 99 % | all | \
         placements a second, from the first to 99 % | all running | starts in vain \
         |\n|---|---|---|---|---|---|---|---|---|---|\n{rows}\nTaken up: the host of the slot has \
         asked its runtime for the container, 0.2 to 0.4 s before that runs. All times are from \
         the order,\nor from the loss, which must be found out first: host by host, within the \
         second that passes between two probes.\n"
    ))
}

fn row(hosts: usize, told: Told, what: &str, placed: &[Placed]) -> String {
    let cell = |of: fn(&Placed) -> u64, form: fn(u64) -> String| {
        Sample::of(&placed.iter().map(of).collect::<Vec<_>>()).cell(form)
    };
    let plain = |number: u64| number.to_string();
    let told = match told {
        Told::Everybody => "all",
        Told::Some => "some",
    };
    format!(
        "| {hosts} | {told} | {what} | {} | {} | {} | {} | {} | {} | {} |\n",
        cell(|p| p.tasks, plain),
        cell(|p| p.begun, seconds),
        cell(|p| p.most, seconds),
        cell(|p| p.placed, seconds),
        cell(Placed::rate, plain),
        cell(|p| p.running, seconds),
        cell(|p| p.in_vain, plain),
    )
}

fn place(hosts: usize, told: Told, seed: u64) -> Result<[Placed; 2], String> {
    let tasks = hosts * TASKS_PER_HOST;
    let services = tasks.div_ceil(TASKS_PER_SERVICE).max(SERVICES_MIN);
    let timings = Timings::default();
    let mut crowd = Crowd::found(hosts, services, told, (seed, &timings));
    crowd.arena.run_until(10 * SECOND);
    for (number, service) in crowd.services.iter().enumerate() {
        let desired = tasks / services + usize::from(number < tasks % services);
        crowd.arena.with(number % hosts, |host, now, out| {
            host.scale(now, service, desired as u32, out);
        });
    }
    let first = await_all(&mut crowd, tasks as u64, tasks)?;
    let lost: Vec<usize> = (0..hosts)
        .filter(|host| host % ZONES == LOST_ZONE)
        .collect();
    for host in lost {
        crowd.arena.crash(host);
    }
    let left = crowd.running();
    let second = await_all(&mut crowd, (tasks - left) as u64, tasks)?;
    Ok([first, second])
}

/// Runs until so many more containers were asked for, and so many run in all.
fn await_all(crowd: &mut Crowd, needed: u64, tasks: usize) -> Result<Placed, String> {
    let (began, before) = (crowd.arena.now, crowd.wanted());
    let [mut begun, mut most, mut placed] = [None; 3];
    let mut running = crowd.running();
    while running < tasks || placed.is_none() {
        let now = crowd.arena.now;
        if now > began + PLACED_MAX {
            return Err(format!("only {running} of {tasks} tasks run after 300 s"));
        }
        crowd.arena.run_until(now + LOOK);
        let (taken_up, passed) = (crowd.wanted() - before, crowd.arena.now - began);
        for (at, share) in [
            (&mut begun, 1),
            (&mut most, needed * 99 / 100),
            (&mut placed, needed),
        ] {
            if taken_up >= share {
                at.get_or_insert(passed);
            }
        }
        running = crowd.running();
    }
    let running = crowd.arena.now - began;
    // What was started in vain shows a little later.
    crowd.arena.run_until(crowd.arena.now + 10 * SECOND);
    Ok(Placed {
        tasks: needed,
        begun: begun.unwrap_or(running),
        most: most.unwrap_or(running),
        placed: placed.unwrap_or(running),
        running,
        in_vain: (crowd.wanted() - before).saturating_sub(needed),
    })
}
