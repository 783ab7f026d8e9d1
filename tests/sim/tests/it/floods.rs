//! What spreads, and how: one record among hosts, and a flood of them.

use holdfast_core::event::HostStanding;
use sim::floods::{inject, quiet_cluster, spread_one};

const SECOND: u64 = 1_000_000;

#[test]
fn one_record_is_known_to_a_hundred_hosts_at_once_with_few_messages() {
    for loss_ppm in [0, 10_000] {
        let spreads = spread_one(1, 100, loss_ppm, 10).expect("it spreads");
        for spread in &spreads {
            assert!(spread.known_us <= 300_000, "{loss_ppm}: {spread:?}");
            // Three from each host, and what repair adds.
            assert!(spread.messages <= 350, "{loss_ppm}: {spread:?}");
        }
    }
}

#[test]
fn twenty_thousand_records_changed_at_once_spread_and_nobody_is_judged_for_it() {
    let mut cluster = quiet_cluster(3, 20, 10_000).expect("it starts");
    let mut records = Vec::new();
    for place in 0..20 {
        records.extend(inject(&mut cluster, place, place as u64 * 1_000, 1_000));
    }
    let began = cluster.now();
    let root = |cluster: &sim::cluster::Cluster, place| {
        let agent = cluster.agent(place).expect("it runs");
        agent.board().root()
    };
    let mut sent: Vec<u64> = cluster.stats.sent_by().to_vec();
    while (1..20).any(|place| root(&cluster, place) != root(&cluster, 0)) {
        cluster.run_for(SECOND / 10).expect("every check holds");
        assert!(cluster.now() < began + 30 * SECOND, "not equal after 30 s");
        for (before, now) in sent.iter_mut().zip(cluster.stats.sent_by()) {
            // In a tenth of a second ten flushes of sixteen datagrams to five peers at the most,
            // and some for probes and repair.
            assert!(now - *before < 1_000, "{} messages", now - *before);
            *before = *now;
        }
    }
    let agent = cluster.agent(0).expect("it runs");
    assert!(
        records
            .iter()
            .all(|r| agent.board().record(&r.key).is_some())
    );
    for place in 0..20 {
        let agent = cluster.agent(place).expect("it runs");
        for other in 0..20 {
            let standing = agent.standing(cluster.host(other).id);
            assert_eq!(standing, HostStanding::Up, "h{other} as h{place} sees it");
        }
    }
}
