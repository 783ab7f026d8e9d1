//! What the network loses, delays, repeats and cuts.

use super::{Case, Told, churn, expect, hold, moved, rest, runs};
use crate::{
    cluster::{Cluster, SECOND},
    planted::Planted::Core,
    workload::definition,
};
use holdfast_core::planted::Bug;

pub(super) const CASES: &[Case] = &[
    Case {
        number: 18,
        name: "30 % of datagrams lost",
        agents: 8,
        story: loss,
        bug: Core(Bug::NeverRepairs),
        caught_by: "has another board",
    },
    Case {
        number: 19,
        name: "one-way link",
        agents: 5,
        story: one_way,
        bug: Core(Bug::JudgesAlone),
        caught_by: "was judged down",
    },
    Case {
        number: 20,
        name: "a host that hardly hears must not evict others",
        agents: 6,
        story: semi_detached,
        bug: Core(Bug::TakesAlarmForVerdict),
        caught_by: "was judged down",
    },
    Case {
        number: 20,
        name: "a host that hears nobody must not judge others",
        agents: 20,
        story: deaf,
        bug: Core(Bug::JudgesThoughDeaf),
        caught_by: "h3, which hears nobody, judged",
    },
    Case {
        number: 21,
        name: "split in halves, healed",
        agents: 6,
        story: halves,
        bug: Core(Bug::NeverProbesTheDown),
        caught_by: "",
    },
    Case {
        number: 21,
        name: "split in halves, healed: one copy of each slot goes on",
        agents: 6,
        story: halves,
        bug: Core(Bug::NeverReconciles),
        caught_by: "",
    },
    Case {
        number: 21,
        name: "one cut off from all others, healed",
        agents: 5,
        story: one_cut_off,
        bug: Core(Bug::CountsTheAbsent),
        caught_by: "run instead of",
    },
    Case {
        number: 22,
        name: "two do not reach each other, all others do",
        agents: 6,
        story: partial,
        bug: Core(Bug::TellsOnlyItsOwn),
        caught_by: "has not heard",
    },
    Case {
        number: 23,
        name: "links flicker, too shortly for a suspicion",
        agents: 5,
        story: flickers,
        bug: Core(Bug::HoldsAGrudge),
        caught_by: "was accused",
    },
    Case {
        number: 23,
        name: "links flap, a second each way",
        agents: 5,
        story: flaps,
        bug: Core(Bug::JudgesUnasked),
        caught_by: "h2 was judged down",
    },
    Case {
        number: 23,
        name: "machines pause for less than the limit",
        agents: 5,
        story: short_pauses,
        bug: Core(Bug::CountsFromTheLastAnswer),
        caught_by: "judged",
    },
    Case {
        number: 24,
        name: "late, twice and out of order",
        agents: 6,
        story: out_of_order,
        bug: Core(Bug::LastWordWins),
        caught_by: "",
    },
    Case {
        number: 25,
        name: "datagrams blocked, streams fine: who is there is found by stream",
        agents: 5,
        story: datagrams_blocked,
        bug: Core(Bug::ProbesByDatagramAlone),
        caught_by: "runs 2 times on one side",
    },
    Case {
        number: 25,
        name: "datagrams blocked, streams fine: and told by stream what changes",
        agents: 5,
        story: datagrams_blocked,
        bug: Core(Bug::KeepsToDatagrams),
        caught_by: "still pending",
    },
    Case {
        number: 25,
        name: "large datagrams blocked, small ones fine",
        agents: 5,
        story: large_datagrams_blocked,
        bug: Core(Bug::RepairsByDatagram),
        caught_by: "still pending",
    },
];

/// Nobody was judged down, but by and about `except`.
fn nobody_judged(cluster: &Cluster, except: Option<usize>) -> Told {
    let excepted = except.map(|host| cluster.host(host).id);
    let mut judged = cluster.stats.down();
    let wrong = judged.find(|verdict| Some(verdict.by) != except && Some(verdict.host) != excepted);
    expect(wrong.is_none(), || {
        let host = cluster
            .hosts
            .iter()
            .find(|h| Some(h.id) == wrong.map(|verdict| verdict.host));
        format!("h{} was judged down", host.map_or(0, |host| host.place))
    })
}

fn loss(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 8)?;
    cluster.network.weather.loss_ppm = 300_000;
    let before = churn(&cluster.stats);
    for round in 0..8 {
        cluster.scale(round % 8, "s0", 9 + round as u32);
        cluster.run_for(5 * SECOND)?;
    }
    // While it goes on losing.
    cluster.converge(60 * SECOND)?;
    nobody_judged(cluster, None)?;
    moved(cluster, before, (8, 0))?;
    cluster.mend_network();
    rest(cluster, 16)
}

fn one_way(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    cluster.network.cut(1, 2);
    cluster.run_for(60 * SECOND)?;
    nobody_judged(cluster, None)?;
    cluster.mend_network();
    cluster.run_for(5 * SECOND)?;
    moved(cluster, before, (0, 0))?;
    rest(cluster, 10)
}

fn semi_detached(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 12)?;
    cluster.network.lose_around(3, 800_000);
    cluster.run_for(60 * SECOND)?;
    nobody_judged(cluster, Some(3))?;
    cluster.mend_network();
    cluster.run_for(5 * SECOND)?;
    rest(cluster, 12)
}

fn deaf(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 20)?;
    for other in (0..20).filter(|other| *other != 3) {
        cluster.network.cut(other, 3);
    }
    cluster.run_for(30 * SECOND)?;
    nobody_judged(cluster, Some(3))?;
    let by_it = cluster.stats.down().filter(|judged| judged.by == 3).count();
    expect(by_it == 0, || {
        format!("h3, which hears nobody, judged {by_it} hosts down")
    })?;
    cluster.mend_network();
    cluster.run_for(5 * SECOND)?;
    rest(cluster, 20)
}

fn short_pauses(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    for host in 0..5 {
        cluster.network.lose_around(host, 1_000_000);
        cluster.run_for(950_000)?;
        cluster.mend_network();
        cluster.run_for(3 * SECOND)?;
    }
    nobody_judged(cluster, None)?;
    moved(cluster, before, (0, 0))?;
    rest(cluster, 10)
}

fn halves(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 12)?;
    let before = churn(&cluster.stats);
    cluster.partition(&[0, 1, 2]);
    cluster.run_for(20 * SECOND)?;
    runs(cluster, 24)?;
    cluster.mend_network();
    cluster.converge(30 * SECOND)?;
    moved(cluster, before, (12, 12))?;
    rest(cluster, 12)
}

fn one_cut_off(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    cluster.partition(&[4]);
    cluster.run_for(20 * SECOND)?;
    runs(cluster, 20)?;
    cluster.mend_network();
    cluster.converge(30 * SECOND)?;
    moved(cluster, before, (10, 10))?;
    rest(cluster, 10)
}

fn partial(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 6)?;
    let before = churn(&cluster.stats);
    cluster.network.cut(0, 1);
    cluster.network.cut(1, 0);
    cluster.run_for(20 * SECOND)?;
    cluster.register(0, definition("pair", 1));
    cluster.create(0, "s1", "pair", 6);
    cluster.run_for(5 * SECOND)?;
    let board = cluster.agent(1).map(holdfast_core::agent::Agent::board);
    let heard = board.is_some_and(|board| board.service_named("s1").is_some());
    expect(heard, || {
        "h1 has not heard what h0 wrote while they are cut".to_owned()
    })?;
    nobody_judged(cluster, None)?;
    moved(cluster, before, (12, 0))?;
    cluster.mend_network();
    rest(cluster, 12)
}

fn flaps(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    for _ in 0..30 {
        cluster.partition(&[2]);
        cluster.run_for(SECOND)?;
        cluster.mend_network();
        cluster.run_for(SECOND)?;
    }
    nobody_judged(cluster, None)?;
    moved(cluster, before, (0, 0))?;
    rest(cluster, 10)
}

fn flickers(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    for _ in 0..30 {
        cluster.partition(&[2]);
        cluster.run_for(SECOND / 2)?;
        cluster.mend_network();
        cluster.run_for(SECOND)?;
        if let Some(accused) = cluster.stats.verdicts.first() {
            return Err(format!("h2 was accused: {accused:?}"));
        }
    }
    rest(cluster, 10)
}

fn out_of_order(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 6)?;
    cluster.network.weather.reorder_ppm = 500_000;
    cluster.network.weather.reorder_us = 5_000_000;
    cluster.network.weather.duplicate_ppm = 300_000;
    for round in 0..10 {
        cluster.scale(round % 6, "s0", [12, 3, 9, 6, 12][round % 5]);
        cluster.run_for(4 * SECOND)?;
    }
    cluster.mend_network();
    cluster.scale(0, "s0", 7);
    rest(cluster, 7)
}

fn datagrams_blocked(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    cluster.network.lose_large_around(2, 0);
    cluster.run_for(90 * SECOND)?;
    nobody_judged(cluster, None)?;
    moved(cluster, before, (0, 0))?;
    // What is asked of the one behind the firewall, and what it is told.
    cluster.scale(2, "s0", 15);
    cluster.converge(5 * SECOND)?;
    cluster.scale(1, "s0", 20);
    cluster.converge(5 * SECOND)?;
    nobody_judged(cluster, None)?;
    moved(cluster, before, (10, 0))?;
    cluster.mend_network();
    cluster.run_for(70 * SECOND)?;
    moved(cluster, before, (10, 0))?;
    rest(cluster, 20)
}

/// Nothing larger than a small message comes through to one host.
fn large_datagrams_blocked(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    cluster.network.lose_large_around(2, 420);
    cluster.scale(2, "s0", 20);
    cluster.converge(15 * SECOND)?;
    cluster.scale(1, "s0", 30);
    cluster.converge(15 * SECOND)?;
    nobody_judged(cluster, None)?;
    moved(cluster, before, (20, 0))?;
    rest(cluster, 30)
}
