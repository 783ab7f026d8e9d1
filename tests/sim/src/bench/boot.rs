//! A boot storm: all hosts of a cluster start at once, and none of them has a board yet.

use super::{
    Asked,
    placement::calm,
    sample::{Sample, each, seconds},
};
use crate::{cluster::SECOND, workload::definition};

const SEEDS: u64 = 3;
/// So many hosts are booted once: that alone takes minutes.
const MANY: usize = 1_000;
const KNOWN_MAX: u64 = 60 * SECOND;

#[derive(Clone, Copy, Debug)]
struct Booted {
    /// Until everybody has everybody on its board, and all boards are equal.
    known: u64,
    /// From the creation of a service of half as many, until it runs.
    served: u64,
    kilobytes: u64,
}

pub fn section(asked: &Asked) -> Result<String, String> {
    let mut rows = String::new();
    for &hosts in asked.sizes(&[100, 1_000]) {
        let seeds = asked.seeds(if hosts < MANY { SEEDS } else { 1 });
        let answers = each(&seeds, |&seed| boot(hosts, seed));
        let answers: Vec<Booted> = answers.into_iter().collect::<Result<_, _>>()?;
        let cell = |of: fn(&Booted) -> u64, form: fn(u64) -> String| {
            Sample::of(&answers.iter().map(of).collect::<Vec<_>>()).cell(form)
        };
        rows += &format!(
            "| {hosts} | {} | {} | {} |\n",
            cell(|b| b.known, seconds),
            cell(|b| b.kilobytes, |kilobytes| format!("{kilobytes} kB")),
            cell(|b| b.served, seconds),
        );
    }
    Ok(format!(
        "### All hosts start at once\n\nWithin half a second of one another, with no board, and \
         with three of them as first peers.\n\n| hosts | everybody knows everybody | records sent \
         by each until then | then a service of half as many runs after \
         |\n|---|---|---|---|\n{rows}"
    ))
}

fn boot(hosts: usize, seed: u64) -> Result<Booted, String> {
    let mut cluster = calm(hosts, seed);
    let known = cluster.converge(KNOWN_MAX)?;
    let kilobytes = cluster.stats.record_bytes_sent / hosts as u64 / 1_000;
    cluster.register(0, definition("web", 1));
    cluster.create(0, "s0", "web", hosts as u32 / 2);
    let served = cluster.converge(KNOWN_MAX)?;
    Ok(Booted {
        known,
        served,
        kilobytes,
    })
}
