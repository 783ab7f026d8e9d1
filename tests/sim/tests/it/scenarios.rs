//! Stories with names: what a cluster is to do when one thing happens to it.

use holdfast_core::{
    cluster::body::Availability,
    spec::options::{OptionsChange, PartitionPolicy, ReplaceAfter},
};
use sim::{
    cluster::Cluster,
    liveness::{BALANCE_MAX, CONVERGE_MAX},
    options::Options,
    run::{Report, watch},
    workload::definition,
};

pub(super) const SECOND: u64 = 1_000_000;

/// A cluster that holds `copies` of `s0`, quietly.
pub(super) fn story(
    agents: usize,
    copies: u32,
    then: impl FnOnce(&mut Cluster) -> Result<(), String>,
) -> Report {
    let result = watch(
        Cluster::new(Options::calm(7, agents)),
        Vec::new(),
        |cluster| {
            cluster.run_until(6 * SECOND)?;
            cluster.register(0, definition("web", 1));
            cluster.create(0, "s0", "web", copies);
            let took = cluster.converge(CONVERGE_MAX)?;
            expect(took < 2 * SECOND, &format!("deployed after {took} us"))?;
            then(cluster)?;
            cluster.balance(BALANCE_MAX)?;
            cluster.quiet(120 * SECOND)
        },
    );
    match result {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

pub(super) fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

pub(super) fn all(running: usize) -> impl Fn(&Cluster) -> Result<(), String> {
    move |cluster| {
        let found = cluster.running();
        expect(
            found == running,
            &format!("{found} run instead of {running}"),
        )
    }
}

#[test]
fn a_service_is_deployed_evenly() {
    let report = story(5, 10, |cluster| {
        all(10)(cluster)?;
        (0..5).try_for_each(|host| expect(cluster.running_on(host) == 2, "uneven"))
    });
    assert_eq!((report.stats.starts, report.stats.stops), (10, 0));
}

#[test]
fn a_lost_host_is_made_good_within_three_seconds() {
    let report = story(5, 10, |cluster| {
        cluster.lose_host(2);
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(10)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (12, 0));
    let restored = report.stats.restored_us.last().copied();
    assert!(restored.is_some_and(|us| us < 3_500_000), "{restored:?}");
}

#[test]
fn an_agent_that_crashes_and_comes_back_restarts_no_container() {
    let report = story(5, 10, |cluster| {
        cluster.crash(1);
        cluster.run_for(SECOND)?;
        cluster.restart(1);
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(10)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (10, 0));
}

#[test]
fn an_agent_that_announces_its_restart_is_waited_for() {
    let report = story(5, 10, |cluster| {
        cluster.shut_down(1);
        cluster.run_for(20 * SECOND)?;
        cluster.restart(1);
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(10)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (10, 0));
}

#[test]
fn a_killed_container_is_replaced_within_half_a_second() {
    let report = story(5, 10, |cluster| {
        cluster.run_for(61 * SECOND)?;
        expect(cluster.kill_container(3), "nothing runs on h3")?;
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(10)(cluster)
    });
    let restored = report.stats.restored_us.last().copied();
    assert!(restored.is_some_and(|us| us < 500_000), "{restored:?}");
}

#[test]
fn both_sides_of_a_partition_fill_and_only_the_surplus_goes_afterwards() {
    let report = story(5, 10, |cluster| {
        cluster.partition(&[0, 1]);
        cluster.run_for(20 * SECOND)?;
        all(20)(cluster)?;
        cluster.mend_network();
        let took = cluster.converge(CONVERGE_MAX)?;
        expect(
            took <= 3 * SECOND,
            &format!("exactly 10 again after {took} us"),
        )?;
        all(10)(cluster)
    });
    assert_eq!(report.stats.stops, 10);
}

#[test]
fn two_hosts_make_each_other_good() {
    story(2, 4, |cluster| {
        cluster.lose_host(0);
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(4)(cluster)
    });
}

#[test]
fn all_but_one_host_lost_restores_the_count_on_the_last() {
    story(4, 8, |cluster| {
        [0, 1, 3]
            .into_iter()
            .for_each(|host| cluster.lose_host(host));
        cluster.run_for(20 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        expect(cluster.running_on(2) == 8, "the last host does not run all")
    });
}

#[test]
fn scaling_starts_and_stops_the_difference() {
    let report = story(3, 3, |cluster| {
        cluster.scale(1, "s0", 9);
        cluster.run_for(3 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(9)(cluster)?;
        cluster.scale(2, "s0", 2);
        cluster.run_for(3 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(2)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (9, 7));
}

#[test]
fn an_update_moves_every_slot_and_never_falls_short() {
    let report = story(4, 8, |cluster| {
        cluster.register(1, definition("web", 2));
        cluster.update(1, "s0", "web");
        cluster.converge(CONVERGE_MAX)?;
        all(8)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (16, 8));
    assert_eq!(report.stats.restored_us.len(), 1, "short only at first");
}

#[test]
fn a_deleted_service_ends_and_stays_away() {
    story(3, 6, |cluster| {
        cluster.crash(2);
        cluster.delete(0, "s0");
        cluster.run_for(5 * SECOND)?;
        cluster.restart(2);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(0)(cluster)
    });
}

#[test]
fn docker_that_hangs_for_a_while_loses_nothing() {
    let report = story(3, 6, |cluster| {
        cluster.docker_down(1);
        cluster.run_for(20 * SECOND)?;
        cluster.docker_up(1);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(6)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (6, 0));
}

/// It was known only by the second comparison, half a minute after Docker was back, and vouched for
/// until then, so that a predecessor could stop for a copy that was gone.
#[test]
fn what_is_removed_while_docker_hangs_is_known_soon_after_it_is_back() {
    story(3, 6, |cluster| {
        cluster.docker_down(1);
        cluster.run_for(2 * SECOND)?;
        cluster.vanish(1);
        cluster.run_for(2 * SECOND)?;
        cluster.docker_up(1);
        cluster.run_for(3 * SECOND)?;
        all(6)(cluster)
    });
}

#[test]
fn docker_that_goes_down_with_its_containers_is_made_good() {
    story(3, 6, |cluster| {
        cluster.docker_down(1);
        cluster.end_containers(1);
        cluster.run_for(20 * SECOND)?;
        cluster.docker_up(1);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(6)(cluster)
    });
}

#[test]
fn a_service_without_room_says_why_and_is_placed_when_there_is_some() {
    story(3, 3, |cluster| {
        cluster.register(0, definition("edge", 1));
        cluster.create(0, "s1", "edge", 4);
        cluster.run_for(5 * SECOND)?;
        // One fixed port on each of three hosts: the fourth copy has to wait, and says so.
        cluster.converge(CONVERGE_MAX)?;
        all(6)(cluster)
    });
}

/// All agents end, and start again with new addresses.
fn move_all(cluster: &mut Cluster) {
    (0..cluster.hosts()).for_each(|host| cluster.crash(host));
    (0..cluster.hosts()).for_each(|host| cluster.readdress(host));
}

#[test]
fn a_cluster_whose_hosts_all_got_new_addresses_finds_itself_again() {
    for agents in [3, 5, 12] {
        let report = story(agents, 10, |cluster| {
            move_all(cluster);
            cluster.discover();
            (0..agents).for_each(|host| cluster.restart(host));
            cluster.run_for(15 * SECOND)?;
            cluster.converge(CONVERGE_MAX)?;
            all(10)(cluster)
        });
        assert_eq!(
            (report.stats.starts, report.stats.stops),
            (10, 0),
            "{agents}"
        );
    }
}

#[test]
fn new_addresses_that_become_known_only_later_join_the_hosts_that_went_on_alone() {
    story(5, 10, |cluster| {
        move_all(cluster);
        // Nobody knows where anybody is: for the checks, each host is a side of its own.
        (0..5).for_each(|host| cluster.partition(&[host]));
        (0..5).for_each(|host| cluster.restart(host));
        cluster.run_for(20 * SECOND)?;
        all(50)(cluster)?;
        cluster.mend_network();
        cluster.run_for(SECOND)?;
        all(50)(cluster)?;
        cluster.discover();
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(10)(cluster)
    });
}

#[test]
fn a_frozen_agent_with_healthy_tasks_causes_no_loss() {
    story(5, 10, |cluster| {
        cluster.freeze(2);
        cluster.run_for(30 * SECOND)?;
        cluster.thaw(2);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(10)(cluster)
    });
}

#[test]
fn a_drained_host_hands_its_slots_over_and_none_falls_short() {
    let report = story(5, 10, |cluster| {
        cluster.direct(0, 2, Availability::Drain);
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        expect(cluster.running_on(2) == 0, "h2 is drained")?;
        all(10)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (12, 2));
    assert_eq!(report.stats.restored_us.len(), 1, "short only at first");
}

#[test]
fn a_host_that_is_taken_back_gets_its_share_and_then_nothing_moves() {
    let report = story(5, 10, |cluster| {
        cluster.direct(0, 2, Availability::Drain);
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        cluster.direct(1, 2, Availability::Active);
        cluster.run_for(20 * SECOND)?;
        expect(cluster.running_on(2) == 0, "moved before it was calm")?;
        cluster.balance(BALANCE_MAX)?;
        (0..5).try_for_each(|host| expect(cluster.running_on(host) == 2, "uneven"))?;
        cluster.quiet(600 * SECOND)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (14, 4));
    assert_eq!(report.stats.restored_us.len(), 1, "short only at first");
}

#[test]
fn a_service_that_is_not_to_be_rebalanced_stays_where_it_is() {
    let report = story(5, 10, |cluster| {
        let rebalance = Some(false);
        let options = OptionsChange {
            rebalance,
            ..OptionsChange::default()
        };
        cluster.choose(3, "s0", options);
        cluster.direct(0, 2, Availability::Drain);
        cluster.run_for(10 * SECOND)?;
        cluster.direct(0, 2, Availability::Active);
        cluster.balance(BALANCE_MAX)?;
        expect(cluster.running_on(2) == 0, "it was rebalanced")
    });
    assert_eq!((report.stats.starts, report.stats.stops), (12, 2));
}

#[test]
fn what_is_to_be_held_is_not_replaced_while_its_host_is_out_of_reach() {
    let report = story(5, 10, |cluster| {
        let partition = Some(PartitionPolicy::Hold);
        let options = OptionsChange {
            partition,
            ..OptionsChange::default()
        };
        cluster.choose(0, "s0", options);
        cluster.run_for(SECOND)?;
        cluster.partition(&[0, 1]);
        cluster.run_for(60 * SECOND)?;
        all(10)(cluster)?;
        cluster.mend_network();
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(10)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (10, 0));
}

#[test]
fn a_lost_host_is_replaced_after_as_long_a_silence_as_its_service_wants() {
    let report = story(5, 10, |cluster| {
        let replace_after = Some(ReplaceAfter::SilentMs(15_000));
        let options = OptionsChange {
            replace_after,
            ..OptionsChange::default()
        };
        cluster.choose(0, "s0", options);
        cluster.run_for(SECOND)?;
        cluster.lose_host(2);
        cluster.run_for(14 * SECOND)?;
        all(8)(cluster)?;
        cluster.run_for(4 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(10)(cluster)
    });
    let restored = report.stats.restored_us.last().copied();
    // Its last word may have been a second before it was lost.
    let expected = 14 * SECOND..17 * SECOND;
    assert!(
        restored.is_some_and(|us| expected.contains(&us)),
        "{restored:?}"
    );
}

#[test]
fn most_of_a_cluster_that_comes_back_within_ten_seconds_is_not_replaced() {
    let report = story(12, 24, |cluster| {
        (0..7).for_each(|host| cluster.freeze(host));
        cluster.run_for(8 * SECOND)?;
        (0..7).for_each(|host| cluster.thaw(host));
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(24)(cluster)
    });
    let (starts, stops) = (report.stats.starts, report.stats.stops);
    // The first verdicts come before there are enough of them for the brake.
    assert!(
        starts <= 24 + 8 && stops == starts - 24,
        "{starts} starts, {stops} stops"
    );
}
