//! Virtual hours of a faulted cluster, seed after seed, on all cores; any failure ends it.

use crate::{
    options::Options,
    run::{Failure, run},
    trace::TraceMode,
    work::work,
};

/// For how long faults come in one run.
pub const RUN_SECONDS: u64 = 1_800;

/// What so many hours gave.
#[derive(Debug)]
pub struct Soaked {
    /// Hours under faults; the healing and the quiet after each run are not counted.
    pub hours: u64,
    pub runs: u64,
    pub starts: u64,
    pub failures: Vec<Box<Failure>>,
}

/// At least so many virtual hours of clusters of `agents`, from this seed on.
pub fn soak(hours: u64, agents: usize, from: u64) -> Soaked {
    let runs = (hours * 3_600).div_ceil(RUN_SECONDS);
    let seeds: Vec<u64> = (from..from + runs).collect();
    let done = work(&seeds, |seed| {
        let mut options = Options::new(*seed, agents);
        options.seconds = RUN_SECONDS;
        options.codec = false;
        options.trace = TraceMode::Off;
        run(options)
    });
    let mut soaked = Soaked {
        hours: runs * RUN_SECONDS / 3_600,
        runs,
        starts: 0,
        failures: Vec::new(),
    };
    for (_, result) in done {
        match result {
            Ok(report) => soaked.starts += report.stats.starts,
            Err(failure) => soaked.failures.push(failure),
        }
    }
    soaked
}
