//! Stories of hosts that fall silent: who is judged, how soon, and who must not be.

use holdfast_core::{agent::Timings, cluster::body::Standing};
use sim::{
    cluster::Cluster,
    liveness::CONVERGE_MAX,
    options::Options,
    run::{Report, watch},
    workload::definition,
};

const SECOND: u64 = 1_000_000;

/// A cluster that holds two tasks a host; then what happens to it; then all is to be well again.
fn story(agents: usize, then: impl FnOnce(&mut Cluster) -> Result<(), String>) -> Report {
    let cluster = Cluster::new(Options::calm(7, agents));
    let result = watch(cluster, Vec::new(), |cluster| {
        cluster.run_until(6 * SECOND)?;
        cluster.register(0, definition("web", 1));
        cluster.create(0, "s0", "web", 2 * agents as u32);
        cluster.converge(CONVERGE_MAX)?;
        then(cluster)?;
        cluster.converge(CONVERGE_MAX)?;
        cluster.quiet(60 * SECOND)
    });
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

/// Nobody was judged down, and nothing was started or stopped for it.
fn nothing_moved(report: &Report, agents: usize) {
    assert_eq!(
        report.stats.judged(Standing::Down),
        0,
        "{:?}",
        report.stats.verdicts
    );
    let moved = (report.stats.starts, report.stats.stops);
    assert_eq!(moved, (2 * agents as u64, 0));
}

/// When each of those who live first had this standing on its board, in order, in microseconds
/// from now; it is an error if some have not within the time.
fn learn(
    cluster: &mut Cluster,
    host: usize,
    standing: Standing,
    within: u64,
) -> Result<Vec<u64>, String> {
    let (began, id) = (cluster.now(), cluster.host(host).id);
    let mut waiting: Vec<usize> = (0..cluster.hosts())
        .filter(|place| *place != host)
        .collect();
    let mut learnt = Vec::new();
    while !waiting.is_empty() {
        let past = cluster.now() - began;
        if past > within {
            return Err(format!("{} do not know it after {past} us", waiting.len()));
        }
        waiting.retain(|place| {
            let board = cluster.agent(*place).map(|agent| agent.board());
            let knows = board.is_none_or(|board| board.judged(id) >= Some(standing));
            if knows {
                learnt.push(past);
            }
            !knows
        });
        cluster.run_for(10_000)?;
    }
    Ok(learnt)
}

#[test]
fn a_killed_agent_moves_nothing_for_a_minute() {
    for seconds in [1, 10, 50] {
        let report = story(5, |cluster| {
            cluster.crash(2);
            cluster.run_for(seconds * SECOND)?;
            cluster.restart(2);
            cluster.run_for(5 * SECOND)
        });
        nothing_moved(&report, 5);
    }
}

#[test]
fn a_frozen_agent_moves_nothing_for_a_minute() {
    for (agents, seconds) in [(5, 1), (5, 10), (5, 58), (40, 10)] {
        let report = story(agents, |cluster| {
            cluster.freeze(2);
            cluster.run_for(seconds * SECOND)?;
            cluster.thaw(2);
            cluster.run_for(5 * SECOND)
        });
        nothing_moved(&report, agents);
        let impaired = report.stats.judged(Standing::Impaired);
        assert!(impaired > 0, "{:?}", report.stats.verdicts);
    }
}

#[test]
fn an_impaired_host_that_is_lost_after_all_is_replaced_in_the_short_time() {
    story(5, |cluster| {
        cluster.freeze(2);
        cluster.run_for(10 * SECOND)?;
        cluster.lose_host(2);
        learn(cluster, 2, Standing::Down, 4 * SECOND).map(drop)
    });
}

#[test]
fn a_lost_host_is_known_to_be_suspect_and_then_down_within_bounds() {
    for agents in [3, 5, 12, 60] {
        story(agents, |cluster| {
            cluster.lose_host(1);
            let suspect = learn(cluster, 1, Standing::Suspect, 2 * SECOND)?;
            let bound = if agents > 20 { 900_000 } else { 1_800_000 };
            expect(
                suspect.iter().all(|us| *us < bound),
                &format!("{suspect:?}"),
            )?;
            learn(cluster, 1, Standing::Down, 3 * SECOND)?;
            let down = cluster.stats.judged(Standing::Down);
            // The judges do not wait for one another, but for chance.
            expect(down <= 3, &format!("{down} verdicts for one loss"))
        });
    }
}

fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// As in consul#5928: it hears nobody, and says so of everybody.
#[test]
fn one_that_sends_and_does_not_hear_evicts_nobody() {
    for agents in [3, 5, 30] {
        let report = story(agents, |cluster| {
            for other in (0..agents).filter(|other| *other != 1) {
                cluster.network().cut(other, 1);
            }
            for _ in 0..200 {
                cluster.run_for(SECOND / 10)?;
                nobody_is_down_but(cluster, 1)?;
            }
            cluster.mend_network();
            cluster.run_for(2 * SECOND)?;
            nobody_is_down_but(cluster, 1)
        });
        let of_others = |judged: &&sim::stats::Judgement| judged.by != 1;
        let down = |judged: &&sim::stats::Judgement| judged.standing == Standing::Down;
        let by_others: Vec<_> = report.stats.verdicts.iter().filter(of_others).collect();
        let hosts: Vec<_> = by_others.into_iter().filter(down).map(|j| j.host).collect();
        assert!(hosts.windows(2).all(|pair| pair[0] == pair[1]), "{hosts:?}");
    }
}

/// On the boards of all but `ill` nobody but `ill` is down.
fn nobody_is_down_but(cluster: &Cluster, ill: usize) -> Result<(), String> {
    for place in (0..cluster.hosts()).filter(|place| *place != ill) {
        let Some(agent) = cluster.agent(place) else {
            continue;
        };
        for other in (0..cluster.hosts()).filter(|other| *other != ill) {
            if agent.board().is_down(cluster.host(other).id) {
                return Err(format!("h{place} holds h{other} for down"));
            }
        }
    }
    Ok(())
}

#[test]
fn one_host_that_loses_most_of_its_packets_evicts_nobody() {
    for agents in [5, 30] {
        story(agents, |cluster| {
            cluster.network().lose_around(1, 800_000);
            for _ in 0..300 {
                cluster.run_for(SECOND / 10)?;
                nobody_is_down_but(cluster, 1)?;
            }
            cluster.mend_network();
            Ok(())
        });
    }
}

/// In a large cluster, whoever hears nobody or next to nobody does not even hold the others for
/// down itself: what it would write as a keeper could reach them.
#[test]
fn one_that_hears_little_of_what_it_should_judges_nobody() {
    let deaf = |cluster: &mut Cluster| {
        for other in (0..30).filter(|other| *other != 1) {
            cluster.network().cut(other, 1);
        }
    };
    let lossy = |cluster: &mut Cluster| cluster.network().lose_around(1, 800_000);
    let troubles: [fn(&mut Cluster); 2] = [deaf, lossy];
    for trouble in troubles {
        let report = story(30, |cluster| {
            trouble(cluster);
            cluster.run_for(40 * SECOND)?;
            cluster.mend_network();
            Ok(())
        });
        let by_it: Vec<_> = report
            .stats
            .down()
            .filter(|judged| judged.by == 1)
            .collect();
        assert!(by_it.is_empty(), "{by_it:?}");
    }
}

/// It may be the last one that is left, and then it is to hold the counts.
#[test]
fn one_that_hears_nobody_for_long_takes_the_others_for_lost() {
    story(20, |cluster| {
        for host in (0..20).filter(|host| *host != 3) {
            cluster.lose_host(host);
        }
        cluster.run_for(75 * SECOND)?;
        let board = cluster.agent(3).map(|agent| agent.board());
        let up = board.map_or(0, |board| {
            board.hosts().filter(|(h, ..)| board.is_up(*h)).count()
        });
        expect(up == 1, &format!("{up} are up by the last one's board"))
    });
}

/// What is promised of `down_after`: nothing that is over sooner is taken for a death.
#[test]
fn a_machine_that_pauses_for_less_than_the_limit_is_not_judged() {
    let limit = Timings::default().down_after.0;
    for agents in [3, 5, 30] {
        let report = story(agents, |cluster| {
            for host in 0..agents {
                cluster.network().lose_around(host, 1_000_000);
                cluster.run_for(limit - 20_000)?;
                cluster.mend_network();
                cluster.run_for(3 * SECOND)?;
            }
            Ok(())
        });
        nothing_moved(&report, agents);
    }
}

#[test]
fn loss_everywhere_evicts_nobody() {
    for agents in [3, 5, 30] {
        let report = story(agents, |cluster| {
            cluster.network().weather.loss_ppm = 200_000;
            cluster.run_for(120 * SECOND)?;
            cluster.mend_network();
            Ok(())
        });
        assert_eq!(report.stats.judged(Standing::Down), 0);
    }
}

#[test]
fn a_cut_between_two_that_both_see_a_third_evicts_nobody() {
    for agents in [3, 30] {
        let report = story(agents, |cluster| {
            cluster.network().cut(0, 1);
            cluster.network().cut(1, 0);
            cluster.run_for(60 * SECOND)?;
            cluster.mend_network();
            Ok(())
        });
        nothing_moved(&report, agents);
        assert_eq!(report.stats.judged(Standing::Suspect), 0);
    }
}

#[test]
fn a_link_that_flaps_each_second_evicts_nobody() {
    let report = story(5, |cluster| {
        for _ in 0..20 {
            cluster.partition(&[3]);
            cluster.run_for(SECOND)?;
            cluster.mend_network();
            cluster.run_for(SECOND)?;
        }
        Ok(())
    });
    nothing_moved(&report, 5);
}

#[test]
fn each_side_of_a_split_judges_the_other_and_they_heal() {
    let sides = [(5, 1), (5, 2), (40, 1), (40, 13), (40, 20)];
    for (agents, cut) in sides {
        story(agents, |cluster| {
            let side: Vec<usize> = (0..cut).collect();
            cluster.partition(&side);
            cluster.run_for(8 * SECOND)?;
            for (here, there) in [(0, agents - 1), (agents - 1, 0)] {
                let board = cluster.agent(here).map(|agent| agent.board());
                let is_down = board.is_some_and(|board| board.is_down(cluster.host(there).id));
                // One of forty is cut off, as far as it can tell, and waits.
                let judges = here != 0 || (agents, cut) != (40, 1);
                expect(
                    is_down == judges,
                    &format!("h{here} of {cut} holds h{there} of {agents} for down: {is_down}"),
                )?;
            }
            cluster.mend_network();
            let healed = cluster.converge(30 * SECOND)?;
            expect(healed < 15 * SECOND, &format!("healed after {healed} us"))
        });
    }
}

#[test]
fn agents_that_stall_now_and_then_evict_nobody_and_are_not_evicted() {
    let report = story(25, |cluster| {
        for round in 0..20 {
            cluster.freeze(round % 25);
            cluster.run_for(2 * SECOND)?;
            cluster.thaw(round % 25);
            cluster.run_for(SECOND)?;
        }
        Ok(())
    });
    nothing_moved(&report, 25);
}

#[test]
fn a_network_that_is_slow_by_a_second_evicts_nobody() {
    for ms in [100, 250, 500] {
        let report = story(5, |cluster| {
            cluster.network().weather.delay_min_us = ms * 1_000;
            cluster.run_for(60 * SECOND)?;
            cluster.mend_network();
            Ok(())
        });
        assert_eq!(report.stats.judged(Standing::Down), 0, "{ms} ms");
    }
}

/// At first the silence is as that of a partition; then answers come as steadily as ever.
#[test]
fn a_network_that_is_slower_than_the_limit_is_borne_once_it_is_known() {
    let cluster = Cluster::new(Options::calm(7, 5));
    let result = watch(cluster, Vec::new(), |cluster| {
        cluster.run_until(6 * SECOND)?;
        cluster.network().weather.delay_min_us = 2_500_000;
        cluster.run_for(60 * SECOND)?;
        let before = cluster.stats.judged(Standing::Down);
        cluster.run_for(60 * SECOND)?;
        let after = cluster.stats.judged(Standing::Down);
        expect(before == after, &format!("{before} verdicts, then {after}"))?;
        cluster.mend_network();
        cluster.converge(CONVERGE_MAX).map(drop)
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn a_host_that_was_judged_is_back_as_soon_as_it_has_spoken() {
    story(30, |cluster| {
        cluster.partition(&[4]);
        cluster.run_for(6 * SECOND)?;
        cluster.mend_network();
        let began = cluster.now();
        let id = cluster.host(4).id;
        let up = |cluster: &Cluster| {
            let others = (0..30).filter(|place| *place != 4);
            let mut agents = others.filter_map(|place| cluster.agent(place));
            agents.all(|agent| agent.board().is_up(id))
        };
        while !up(cluster) {
            cluster.run_for(10_000)?;
        }
        // Somebody probes it within an interval or so; from then on it is a matter of round trips.
        let past = cluster.now() - began;
        expect(past < SECOND, &format!("back after {past} us"))
    });
}
