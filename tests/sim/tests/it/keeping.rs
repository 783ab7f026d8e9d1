//! What a keeper does with hosts that do not do their part: it goes elsewhere, and does not insist.

use crate::scenarios::{SECOND, all, expect, story};
use holdfast_core::{
    cluster::body::Availability,
    spec::options::{HandOver, OptionsChange, ReplaceAfter},
};
use sim::{
    liveness::{BALANCE_MAX, CONVERGE_MAX},
    workload::definition,
};

/// A slot that was given to a host whose Docker hung waited for as long as that lasted.
#[test]
fn a_slot_that_a_hung_docker_does_not_start_goes_elsewhere() {
    story(5, 5, |cluster| {
        cluster.docker_down(2);
        // Given to it before it is known that its Docker does not answer.
        cluster.scale(0, "s0", 10);
        cluster.run_for(13 * SECOND)?;
        all(10)(cluster)?;
        cluster.docker_up(2);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(10)(cluster)
    });
}

/// A host that can start nothing was tried again, for balance, twice a minute for ever.
#[test]
fn a_host_that_starts_nothing_is_not_tried_for_ever() {
    let report = story(5, 10, |cluster| {
        cluster.direct(0, 2, Availability::Drain);
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        cluster.spoil_docker(2, 1_000_000);
        cluster.direct(0, 2, Availability::Active);
        cluster.balance(BALANCE_MAX)?;
        cluster.run_for(1_200 * SECOND)?;
        expect(cluster.running_on(2) == 0, "it starts something")?;
        cluster.spoil_docker(2, 0);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        all(10)(cluster)
    });
    // Ten at first, two for the drained ones; a try, each after twice the time, costs one more.
    let starts = report.stats.starts;
    assert!(starts <= 12 + 6, "{starts} starts");
}

/// A service that waits for less than the cluster does before a host is down.
#[test]
fn a_suspect_is_replaced_where_the_service_does_not_wait_until_it_is_down() {
    let report = story(5, 10, |cluster| {
        let options = OptionsChange {
            replace_after: Some(ReplaceAfter::SilentMs(800)),
            ..OptionsChange::default()
        };
        cluster.choose(0, "s0", options);
        cluster.run_for(SECOND)?;
        cluster.lose_host(2);
        cluster.run_for(5 * SECOND)?;
        all(10)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (12, 0));
    let restored = report.stats.restored_us.last().copied();
    assert!(
        restored.is_some_and(|us| us < 1_800_000),
        "restored after {restored:?} us"
    );
}

/// No slot goes to a host that does not answer, where there is another one.
#[test]
fn nothing_new_is_given_to_a_suspect() {
    story(5, 5, |cluster| {
        cluster.lose_host(2);
        cluster.run_for(1_500_000)?;
        cluster.scale(0, "s0", 8);
        cluster.run_for(400_000)?;
        let lost = cluster.host(2).id;
        let board = cluster.agent(0).expect("it runs").board();
        let new = board.all_slots().filter(|(_, index, ..)| *index >= 5);
        let given: Vec<_> = new.map(|(.., slot)| slot.host).collect();
        expect(given.len() == 3, &format!("{given:?}"))?;
        expect(!given.contains(&Some(lost)), "it was given to a suspect")?;
        cluster.run_for(10 * SECOND)?;
        all(8)(cluster)
    });
}

/// Each host has one port, which a copy of the service takes: start-first, none could be updated.
#[test]
fn a_service_that_stops_first_is_updated_where_no_successor_can_run_beside_it() {
    let report = story(5, 5, |cluster| {
        let began = cluster.now();
        cluster.register(1, definition("edge", 1));
        cluster.run_for(SECOND)?;
        cluster.create(1, "s1", "edge", 5);
        let options = OptionsChange {
            hand_over: Some(HandOver::StopFirst),
            ..OptionsChange::default()
        };
        cluster.run_for(3 * SECOND)?;
        cluster.choose(2, "s1", options);
        cluster.register(2, definition("edge", 2));
        cluster.run_for(SECOND)?;
        cluster.update(2, "s1", "edge");
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        let twice = cluster.runs_twice_since(began);
        expect(twice.is_none(), &format!("{twice:?} ran twice at one time"))?;
        all(10)(cluster)
    });
    assert_eq!((report.stats.starts, report.stats.stops), (15, 5));
}
