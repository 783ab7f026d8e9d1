//! Stories of hosts that come and go on purpose: drained, leaving, forgotten, reaped, back again.

use holdfast_core::{cluster::body::Availability, time::Span};
use sim::{
    cluster::Cluster,
    liveness::CONVERGE_MAX,
    options::Options,
    run::{Report, watch},
    workload::definition,
};

const SECOND: u64 = 1_000_000;

/// A cluster that holds ten copies of `s0` on five hosts, which forget others after so long.
fn story(
    reap_after: Option<Span>,
    then: impl FnOnce(&mut Cluster) -> Result<(), String>,
) -> Report {
    let mut cluster = Cluster::new(Options::calm(11, 5));
    cluster.set_timings(|timings| timings.reap_after = reap_after);
    let result = watch(cluster, Vec::new(), |cluster| {
        cluster.run_until(6 * SECOND)?;
        cluster.register(0, definition("web", 1));
        cluster.create(0, "s0", "web", 10);
        cluster.converge(CONVERGE_MAX)?;
        then(cluster)?;
        // Hosts that came back are given their share, bit by bit.
        cluster.run_for(60 * SECOND)?;
        cluster.quiet(120 * SECOND)
    });
    match result {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// On how many hosts' boards the host is.
fn known_by(cluster: &Cluster, host: usize) -> usize {
    let id = cluster.host(host).id;
    let agents = (0..cluster.hosts()).filter_map(|place| cluster.agent(place));
    agents
        .filter(|agent| agent.board().host(id).is_some())
        .count()
}

#[test]
fn a_host_that_must_go_stops_what_nobody_takes_over() {
    let report = story(None, |cluster| {
        for host in 0..4 {
            cluster.lose_host(host);
        }
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        expect(
            cluster.running_on(4) == 10,
            "the last host does not run all",
        )?;
        cluster.leave(4, 60, false);
        cluster.run_for(5 * SECOND)?;
        expect(cluster.running_on(4) == 10, "the last host left unforced")?;
        cluster.leave(4, 60, true);
        cluster.run_for(40 * SECOND)?;
        expect(cluster.agent(4).is_none(), "it has not gone")?;
        cluster.come_back(4);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        expect(cluster.running_on(4) == 10, "the last host is not back")
    });
    assert_eq!(report.stats.stops, 10);
}

#[test]
fn a_host_that_was_forgotten_is_gone_from_every_board_and_registers_anew_when_it_is_back() {
    story(None, |cluster| {
        cluster.power_off(2);
        cluster.run_for(10 * SECOND)?;
        expect(known_by(cluster, 2) == 4, "it is not known any more")?;
        cluster.forget(0, 2, false);
        cluster.run_for(5 * SECOND)?;
        expect(known_by(cluster, 2) == 0, "it is still known")?;
        cluster.come_back(2);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        expect(known_by(cluster, 2) == 5, "it is not known by all")
    });
}

#[test]
fn a_host_that_was_forgotten_while_it_was_cut_off_comes_back_with_its_tasks() {
    story(None, |cluster| {
        cluster.partition(&[3]);
        cluster.run_for(20 * SECOND)?;
        cluster.forget(1, 3, false);
        cluster.run_for(20 * SECOND)?;
        expect(known_by(cluster, 3) == 1, "others still know it")?;
        cluster.mend_network();
        cluster.run_for(10 * SECOND)?;
        let took = cluster.converge(CONVERGE_MAX)?;
        expect(took < 10 * SECOND, &format!("settled after {took} us"))?;
        expect(known_by(cluster, 3) == 5, "it is not known by all")
    });
}

#[test]
fn two_sides_that_forgot_each_other_find_together_again() {
    story(Some(Span::from_secs(60)), |cluster| {
        cluster.partition(&[0, 1]);
        cluster.run_for(100 * SECOND)?;
        expect(known_by(cluster, 0) == 2, "one side still knows the other")?;
        expect(known_by(cluster, 4) == 3, "one side still knows the other")?;
        cluster.mend_network();
        cluster.run_for(10 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        expect(known_by(cluster, 0) == 5, "it is not known by all")
    });
}

#[test]
fn a_host_that_is_up_is_forgotten_by_force_only_and_is_back_at_once() {
    story(None, |cluster| {
        cluster.forget(0, 2, false);
        cluster.run_for(SECOND)?;
        let before = cluster
            .agent(0)
            .and_then(|a| a.board().host(cluster.host(2).id));
        let before = before.map(|(incarnation, _)| incarnation);
        expect(before == Some(1), "it was forgotten without force")?;
        cluster.forget(0, 2, true);
        cluster.run_for(5 * SECOND)?;
        let after = cluster
            .agent(0)
            .and_then(|a| a.board().host(cluster.host(2).id));
        let after = after.map(|(incarnation, _)| incarnation);
        expect(after > before, "it did not register anew")?;
        cluster.converge(CONVERGE_MAX)?;
        Ok(())
    });
}

#[test]
fn a_host_that_has_been_down_for_long_is_forgotten_and_one_that_comes_back_in_time_is_not() {
    story(Some(Span::from_secs(120)), |cluster| {
        cluster.lose_host(4);
        cluster.power_off(1);
        cluster.run_for(60 * SECOND)?;
        cluster.power_on(1);
        cluster.run_for(20 * SECOND)?;
        expect(known_by(cluster, 4) == 4, "it was forgotten too early")?;
        cluster.run_for(70 * SECOND)?;
        expect(known_by(cluster, 4) == 0, "it is still known")?;
        expect(known_by(cluster, 1) == 4, "it was forgotten, and is there")
    });
}

#[test]
fn a_drained_host_that_is_forgotten_takes_tasks_when_it_is_back() {
    story(None, |cluster| {
        cluster.direct(0, 2, Availability::Drain);
        cluster.power_off(2);
        cluster.run_for(10 * SECOND)?;
        cluster.forget(0, 2, false);
        cluster.run_for(2 * SECOND)?;
        cluster.come_back(2);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        let board = cluster.agent(0).map(holdfast_core::agent::Agent::board);
        let leaves = board.is_some_and(|board| board.is_leaving(cluster.host(2).id));
        expect(!leaves, "it is still to be drained")
    });
}

#[test]
fn a_drained_host_becomes_empty_with_no_moment_below_the_count() {
    let report = story(None, |cluster| {
        cluster.direct(0, 2, Availability::Drain);
        cluster.run_for(20 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        expect(cluster.running_on(2) == 0, "it is not empty")?;
        expect(cluster.running() == 10, "not ten run")?;
        cluster.direct(4, 2, Availability::Active);
        // Else two hosts may take themselves for the keeper, and one has not heard of it yet.
        cluster.run_for(SECOND)?;
        cluster.scale(1, "s0", 15);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        expect(cluster.running_on(2) > 0, "it takes no tasks again")
    });
    let short = report.stats.restored_us.len();
    assert_eq!(short, 2, "short when it was created and when it was scaled");
    assert_eq!(report.stats.starts - report.stats.stops, 15);
}

#[test]
fn a_host_that_leaves_moves_its_tasks_first_and_can_come_back() {
    let report = story(None, |cluster| {
        cluster.leave(3, 60, false);
        cluster.run_for(30 * SECOND)?;
        expect(cluster.agent(3).is_none(), "it has not gone")?;
        cluster.converge(CONVERGE_MAX)?;
        expect(cluster.running() == 10, "not ten run")?;
        cluster.come_back(3);
        cluster.run_for(5 * SECOND)?;
        cluster.converge(CONVERGE_MAX)?;
        Ok(())
    });
    assert_eq!(report.stats.restored_us.len(), 1, "short only at first");
}

#[test]
fn the_keeper_itself_leaves_and_the_next_one_goes_on() {
    let report = story(None, |cluster| {
        let agent = cluster.agent(0);
        let service = agent.and_then(|a| a.board().service_named("s0").map(|s| s.id));
        let keeper = agent
            .zip(service)
            .and_then(|(a, service)| a.keeper_of(service));
        let place = (0..5).find(|place| Some(cluster.host(*place).id) == keeper);
        let place = place.ok_or("nobody keeps the service")?;
        cluster.leave(place, 60, false);
        cluster.run_for(30 * SECOND)?;
        expect(cluster.agent(place).is_none(), "it has not gone")?;
        cluster.converge(CONVERGE_MAX)?;
        expect(cluster.running() == 10, "not ten run")
    });
    assert_eq!(report.stats.restored_us.len(), 1, "short only at first");
}

#[test]
fn a_drain_that_fits_nowhere_else_stops_nothing() {
    let report = story(None, |cluster| {
        cluster.register(0, definition("edge", 1));
        // One fixed port on each host: no other has room.
        cluster.create(0, "s1", "edge", 5);
        cluster.converge(CONVERGE_MAX)?;
        cluster.direct(0, 1, Availability::Drain);
        cluster.run_for(60 * SECOND)?;
        expect(cluster.running_on(1) == 1, "it runs nothing, or too much")?;
        expect(cluster.running() == 15, "not fifteen run")
    });
    assert_eq!(report.stats.restored_us.len(), 2, "short only at first");
}
