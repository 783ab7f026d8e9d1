//! Many seeds, one seed twice, and one big cluster.

use sim::{
    cluster::Cluster,
    liveness::{BALANCE_MAX, CONVERGE_MAX},
    options::Options,
    run::{run, watch},
    workload::definition,
};
use std::thread;

const SECOND: u64 = 1_000_000;

/// The number of agents is drawn from the seed: 5 to 20.
const fn agents(seed: u64) -> usize {
    5 + (seed % 16) as usize
}

#[test]
fn two_hundred_seeds() {
    let check = |seed: u64| {
        let mut options = Options::new(seed, agents(seed));
        options.choices = seed % 2 == 1;
        run(options)
            .err()
            .map(|failure| format!("seed {seed}:\n{failure}"))
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                (0..100)
                    .filter_map(|n| check(2 * n + half))
                    .collect::<Vec<_>>()
            })
        });
        let join = |half: thread::ScopedJoinHandle<'_, Vec<String>>| half.join();
        halves
            .into_iter()
            .flat_map(|half| join(half).expect("failures are caught"))
            .collect()
    });
    if let Some(first) = failures.first() {
        panic!("{} of 200 seeds failed; the first: {first}", failures.len());
    }
}

#[test]
fn one_seed_gives_one_run() {
    for seed in [1, 2, 3] {
        let hash = || match run(Options::new(seed, 7)) {
            Ok(report) => report.hash,
            Err(failure) => failure.hash,
        };
        let (first, second) = (hash(), hash());
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first, 0, "seed {seed}");
    }
}

#[test]
fn two_hundred_agents_lose_hosts_and_some_are_cut_off() {
    let mut options = Options::calm(200, 200);
    options.codec = false;
    let result = watch(Cluster::new(options), Vec::new(), |cluster| {
        cluster.run_until(10 * SECOND)?;
        cluster.register(0, definition("web", 1));
        cluster.create(0, "s0", "web", 40);
        cluster.converge(CONVERGE_MAX)?;
        cluster.lose_host(17);
        cluster.lose_host(99);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        cluster.partition(&(0..20).collect::<Vec<_>>());
        cluster.run_for(10 * SECOND)?;
        cluster.mend_network();
        cluster.converge(CONVERGE_MAX)?;
        cluster.balance(BALANCE_MAX)?;
        cluster.quiet(30 * SECOND)
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
