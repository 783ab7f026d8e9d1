//! Hosts that come back after days: what was deleted meanwhile stays deleted.

use sim::{cluster::Cluster, liveness::CONVERGE_MAX, options::Options, workload::definition};

const SECOND: u64 = 1_000_000;

/// Three hosts run a service; the last one ends, then the service is deleted.
fn deleted_behind_its_back() -> Result<Cluster, String> {
    let mut cluster = Cluster::new(Options::calm(7, 3));
    cluster.run_until(6 * SECOND)?;
    cluster.register(0, definition("web", 1));
    cluster.create(0, "s0", "web", 6);
    cluster.converge(CONVERGE_MAX)?;
    cluster.crash(2);
    cluster.delete(0, "s0");
    cluster.run_for(5 * SECOND)?;
    Ok(cluster)
}

fn stays_away(cluster: &mut Cluster) -> Result<(), String> {
    cluster.run_for(20 * SECOND)?;
    cluster.converge(CONVERGE_MAX)?;
    assert_eq!(cluster.running(), 0);
    for place in 0..3 {
        let board = cluster.agent(place).expect("it runs").board();
        assert!(board.service_named("s0").is_none(), "h{place} has it");
    }
    cluster.quiet(120 * SECOND)
}

#[test]
fn after_a_loss_of_power_everywhere_for_days_a_deleted_service_does_not_come_back() {
    let mut cluster = deleted_behind_its_back().expect("it runs");
    cluster.crash(0);
    cluster.crash(1);
    cluster.pass_hours(73);
    for place in [2, 1, 0] {
        cluster.restart(place);
    }
    stays_away(&mut cluster).expect("it stays away");
}
