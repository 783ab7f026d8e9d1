//! The policy `majority` where it is delicate: halves, reboots, and hosts that come and go.

use crate::scenarios::{SECOND, all, expect, story};
use holdfast_core::spec::options::{OptionsChange, PartitionPolicy};
use sim::{cluster::Cluster, liveness::CONVERGE_MAX};

type Told = Result<(), String>;

fn choose_majority(cluster: &mut Cluster) -> Told {
    let options = OptionsChange {
        partition: Some(PartitionPolicy::Majority),
        ..OptionsChange::default()
    };
    cluster.choose(0, "s0", options);
    cluster.run_for(40 * SECOND)
}

fn heal(cluster: &mut Cluster) -> Told {
    cluster.mend_network();
    cluster.run_for(5 * SECOND)?;
    cluster.converge(CONVERGE_MAX).map(|_| ())
}

#[test]
fn of_two_halves_neither_goes_on() {
    story(2, 2, |cluster| {
        choose_majority(cluster)?;
        cluster.partition(&[0]);
        cluster.run_for(15 * SECOND)?;
        all(0)(cluster)?;
        cluster.run_for(60 * SECOND)?;
        all(0)(cluster)?;
        heal(cluster)?;
        all(2)(cluster)
    });
}

#[test]
fn a_host_that_boots_in_a_minority_starts_nothing_there() {
    story(5, 5, |cluster| {
        choose_majority(cluster)?;
        cluster.partition(&[0, 1]);
        cluster.run_for(3 * SECOND)?;
        cluster.power_off(0);
        cluster.run_for(5 * SECOND)?;
        cluster.power_on(0);
        for _ in 0..80 {
            cluster.run_for(SECOND)?;
            expect(cluster.running_on(0) == 0, "it started something")?;
        }
        let there: usize = (2..5).map(|place| cluster.running_on(place)).sum();
        expect(there == 5, "the majority did not take over")?;
        heal(cluster)
    });
}

#[test]
fn an_agent_that_stood_still_for_longer_than_the_lease_stops_nothing() {
    let report = story(5, 5, |cluster| {
        choose_majority(cluster)?;
        cluster.freeze(2);
        cluster.run_for(25 * SECOND)?;
        cluster.thaw(2);
        cluster.run_for(10 * SECOND)?;
        all(5)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (5, 0));
}

#[test]
fn a_lost_host_is_replaced_when_what_ran_there_must_have_stopped() {
    let report = story(5, 5, |cluster| {
        choose_majority(cluster)?;
        cluster.lose_host(2);
        cluster.run_for(42 * SECOND)?;
        all(4)(cluster)?;
        cluster.run_for(8 * SECOND)?;
        all(5)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (6, 0));
}

#[test]
fn hosts_that_join_a_minority_do_not_make_it_a_majority() {
    story(7, 7, |cluster| {
        choose_majority(cluster)?;
        for place in [5, 6] {
            cluster.lose_host(place);
        }
        cluster.run_for(5 * SECOND)?;
        for place in [5, 6] {
            cluster.forget(0, place, false);
        }
        cluster.run_for(60 * SECOND)?;
        all(7)(cluster)?;
        cluster.partition(&[0, 1, 5, 6]);
        for place in [5, 6] {
            cluster.replace_host(place);
        }
        cluster.run_for(60 * SECOND)?;
        let majority: usize = (2..5).map(|place| cluster.running_on(place)).sum();
        expect(majority == 7, "the majority did not take over")?;
        all(7)(cluster)?;
        heal(cluster)?;
        cluster.run_for(40 * SECOND)?;
        let board = cluster.agent(0).expect("it runs").board();
        let [electors, before] = board.electors();
        let settled = (electors.len(), before.len());
        expect(settled == (7, 0), &format!("{settled:?} hosts count"))
    });
}
