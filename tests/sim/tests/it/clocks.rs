//! Clocks that are wrong by an hour, or jump: boards still converge, and nobody is dragged along.

use sim::{cluster::Cluster, liveness::CONVERGE_MAX, options::Options, workload::definition};

const SECOND: u64 = 1_000_000;
const HOUR_MS: i64 = 3_600_000;

fn cluster_of(agents: usize, copies: u32) -> Cluster {
    let mut cluster = Cluster::new(Options::calm(11, agents));
    cluster.run_until(6 * SECOND).expect("every check holds");
    cluster.register(0, definition("web", 1));
    cluster.create(0, "s0", "web", copies);
    cluster.converge(CONVERGE_MAX).expect("it converges");
    cluster
}

#[test]
fn boards_converge_when_the_clock_of_who_writes_jumps_back_an_hour() {
    let mut cluster = cluster_of(4, 4);
    for (round, desired) in [8, 3, 6].into_iter().enumerate() {
        cluster.set_clock(round, -HOUR_MS);
        cluster.scale(round, "s0", desired);
        cluster.run_for(3 * SECOND).expect("every check holds");
        cluster.converge(CONVERGE_MAX).expect("it converges");
        assert_eq!(cluster.running(), desired as usize);
    }
}

#[test]
fn a_host_whose_clock_jumps_an_hour_ahead_does_not_drag_the_others_along() {
    let mut cluster = cluster_of(4, 4);
    cluster.set_clock(3, HOUR_MS);
    cluster.scale(3, "s0", 7);
    cluster.run_for(5 * SECOND).expect("every check holds");
    cluster.scale(0, "s0", 5);
    cluster.run_for(5 * SECOND).expect("every check holds");
    let latest = |place: usize| {
        let board = cluster.agent(place).expect("it runs").board();
        let stamps = board.records().map(|record| record.version.stamp.wall);
        stamps.max().expect("there are records")
    };
    for place in 0..3 {
        let wall = cluster.host(place).wall(cluster.now());
        assert!(
            latest(place).0 < wall.0 + 300_000,
            "h{place} was dragged along"
        );
        let board = cluster.agent(place).expect("it runs").board();
        let desired = board.service_named("s0").map(|service| service.desired);
        assert_eq!(desired, Some(5), "h{place}");
    }
}
