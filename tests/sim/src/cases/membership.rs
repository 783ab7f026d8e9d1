//! Who is there: many at once, strange numbers, clocks, and others on the same machine.

use super::{Case, Told, churn, expect, hold, moved, rest, runs};
use crate::{
    cluster::{Cluster, SECOND},
    planted::Planted::Core,
    workload::definition,
};
use holdfast_core::{
    cluster::{
        body::{Body, Key, Standing, Verdict},
        message::Message,
        record::{Record, Stamp, Version},
    },
    ids::{Digest, TaskId},
    planted::Bug,
    task::{
        runtime::{Labels, Observed, ObservedStatus},
        status::Health,
    },
    time::Wall,
};

pub(super) const CASES: &[Case] = &[
    Case {
        number: 26,
        name: "all hosts get new addresses",
        agents: 5,
        story: new_addresses,
        bug: Core(Bug::IgnoresNewAddresses),
        caught_by: "",
    },
    Case {
        number: 27,
        name: "many start at once",
        agents: 120,
        story: boot_storm,
        bug: Core(Bug::WaitsForABoard),
        caught_by: "0 run instead of 60",
    },
    Case {
        number: 28,
        name: "a third of the hosts dies, then most of the rest",
        agents: 12,
        story: zones_die,
        bug: Core(Bug::NeverBrakes),
        caught_by: "were replaced at once",
    },
    Case {
        number: 29,
        name: "a host is back after the end of the tombstones",
        agents: 4,
        story: back_late,
        bug: Core(Bug::BelievesAnOldDisk),
        caught_by: "is known again",
    },
    Case {
        number: 29,
        name: "a host is back late, with containers of what was deleted",
        agents: 4,
        story: back_late,
        bug: Core(Bug::ServesWhatNobodyKnows),
        caught_by: "for nobody",
    },
    Case {
        number: 30,
        name: "numbers at the end of their range",
        agents: 4,
        story: greatest_numbers,
        bug: Core(Bug::BelievesAnyEpoch),
        caught_by: "",
    },
    Case {
        number: 31,
        name: "clocks go back",
        agents: 4,
        story: clock_back,
        bug: Core(Bug::FollowsTheWallClock),
        caught_by: "",
    },
    Case {
        number: 31,
        name: "a machine is suspended and resumed",
        agents: 3,
        story: suspended,
        bug: Core(Bug::DoesNotRefute),
        caught_by: "",
    },
    Case {
        number: 31,
        name: "a clock is an hour ahead, and is set right",
        agents: 5,
        story: clock_ahead,
        bug: Core(Bug::FollowsItsOwnClock),
        caught_by: "is not told of its clock",
    },
    Case {
        number: 31,
        name: "clocks are an hour ahead and an hour behind from the start",
        agents: 5,
        story: wrong_from_the_start,
        bug: Core(Bug::KeepsItsOwnTime),
        caught_by: "",
    },
    Case {
        number: 31,
        name: "one of those that start at once is a month behind",
        agents: 5,
        story: a_month_behind,
        bug: Core(Bug::BelievesTheFirstClock),
        caught_by: "is not told of its clock",
    },
    Case {
        number: 32,
        name: "two clusters on one machine",
        agents: 3,
        story: another_cluster,
        bug: Core(Bug::TakesAnothersContainers),
        caught_by: "",
    },
];

fn new_addresses(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    (0..5).for_each(|host| cluster.crash(host));
    (0..5).for_each(|host| cluster.readdress(host));
    // Where the others are becomes known after the agents have started.
    (0..5).for_each(|host| cluster.restart(host));
    cluster.run_for(SECOND)?;
    cluster.discover();
    cluster.run_for(20 * SECOND)?;
    cluster.converge(30 * SECOND)?;
    moved(cluster, before, (0, 0))?;
    rest(cluster, 10)
}

fn boot_storm(cluster: &mut Cluster) -> Told {
    cluster.run_until(3 * SECOND)?;
    cluster.register(0, definition("web", 1));
    cluster.create(0, "s0", "web", 60);
    let took = cluster.converge(30 * SECOND)?;
    expect(took < 5 * SECOND, || format!("placed after {took} us"))?;
    // Measured: 0.36 to 0.54 MB for each host.
    let bytes = cluster.stats.bytes_sent / cluster.hosts() as u64;
    expect(bytes < 1_000_000, || format!("{bytes} bytes for each host"))?;
    runs(cluster, 60)
}

fn zones_die(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 24)?;
    let before = churn(&cluster.stats);
    (0..12).step_by(3).for_each(|host| cluster.lose_host(host));
    cluster.run_for(8 * SECOND)?;
    runs(cluster, 24)?;
    moved(cluster, before, (8, 0))?;
    cluster.run_for(60 * SECOND)?;
    for host in [1, 2, 4, 7, 10] {
        cluster.lose_host(host);
    }
    cluster.run_for(8 * SECOND)?;
    expect(cluster.running() < 24, || {
        "all that five of twelve had were replaced at once".to_owned()
    })?;
    rest(cluster, 24)
}

fn back_late(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 4)?;
    cluster.register(0, definition("pair", 1));
    cluster.create(0, "s1", "pair", 8);
    cluster.run_for(SECOND)?;
    cluster.converge(30 * SECOND)?;
    // Its containers run on.
    cluster.crash(3);
    cluster.run_for(70 * SECOND)?;
    cluster.delete(0, "s1");
    cluster.run_for(10 * SECOND)?;
    // The host is forgotten, then its own tombstone is buried, and that of the service.
    for _ in 0..3 {
        cluster.pass_hours(80);
        cluster.run_for(60 * SECOND)?;
    }
    let board = cluster.agent(0).map(holdfast_core::agent::Agent::board);
    let is_told = board.is_some_and(|board| {
        let mut buried = board.records().filter(|record| record.body.is_none());
        buried.any(|record| matches!(record.key, Key::ServiceSettings(_) | Key::Host(_)))
    });
    expect(!is_told, || "its tombstone is there yet".to_owned())?;
    let running = cluster.running_on(3);
    expect(running > 0, || {
        "nothing runs there to be stopped".to_owned()
    })?;
    cluster.restart(3);
    cluster.run_for(30 * SECOND)?;
    for host in 0..4 {
        let board = cluster.agent(host).map(holdfast_core::agent::Agent::board);
        let known = board.is_some_and(|board| board.service_named("s1").is_some());
        expect(!known, || {
            format!("s1, which was deleted, is known again to h{host}")
        })?;
    }
    rest(cluster, 4)
}

fn greatest_numbers(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 8)?;
    let before = churn(&cluster.stats);
    let victim = cluster.host(2).id;
    let stamp = Stamp {
        wall: Wall(cluster.host(1).wall(cluster.now()).0),
        counter: u32::MAX,
        author: cluster.host(1).id,
    };
    let board = cluster.agent(2).map(holdfast_core::agent::Agent::board);
    let (keys, bodies): (Vec<Key>, Vec<Option<Body>>) = board
        .into_iter()
        .flat_map(holdfast_core::cluster::board::Board::records)
        .filter(|record| matches!(record.key, Key::Slot(..) | Key::Task(..) | Key::Host(_)))
        .map(|record| (record.key.clone(), record.body.clone()))
        .unzip();
    let verdict = Body::Verdict(Verdict {
        standing: Standing::Down,
        votes: Vec::new(),
        silent_ms: u64::MAX,
    });
    let forged = keys.into_iter().zip(bodies);
    for (key, body) in forged.chain([(Key::Verdict(victim), Some(verdict))]) {
        let version = Version {
            epoch: u64::MAX,
            stamp,
        };
        let record = Record::new(key, version, body);
        for to in [0, 2, 3] {
            cluster.tell(1, to, Message::Records(vec![record.clone()]));
        }
    }
    cluster.run_for(20 * SECOND)?;
    cluster.converge(30 * SECOND)?;
    moved(cluster, before, (0, 0))?;
    rest(cluster, 8)
}

fn clock_back(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 4)?;
    for host in [1, 2] {
        cluster.hosts[host].skew_ms = -200_000;
        cluster.scale(host, "s0", 4 + host as u32);
        cluster.run_for(5 * SECOND)?;
        cluster.kill_container(host);
        cluster.run_for(5 * SECOND)?;
    }
    rest(cluster, 6)
}

const HOUR_MS: i64 = 3_600_000;

/// It is told of on the host itself, which keeps no service meanwhile, or it is not.
fn clock_is_wrong(cluster: &Cluster, host: usize, wrong: bool) -> Told {
    let trouble = cluster.agent(host).and_then(|agent| agent.clock_trouble());
    expect(trouble.is_some() == wrong, || {
        format!("h{host} is not told of its clock as it is: {trouble:?}")
    })?;
    let keeps = cluster
        .agent(host)
        .and_then(|agent| agent.me().1.map(|me| me.caught_up));
    expect(keeps == Some(!wrong), || {
        format!("h{host} decides while its clock is wrong, or not while it is right: {keeps:?}")
    })
}

fn clock_ahead(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    cluster.set_clock(3, HOUR_MS);
    cluster.run_for(60 * SECOND)?;
    clock_is_wrong(cluster, 3, true)?;
    moved(cluster, before, (0, 0))?;
    // What it says of its tasks is believed all the same, and so is what it is ordered.
    cluster.kill_container(3);
    cluster.scale(3, "s0", 12);
    cluster.run_for(5 * SECOND)?;
    cluster.converge(30 * SECOND)?;
    runs(cluster, 12)?;
    cluster.set_clock(3, 0);
    cluster.run_for(60 * SECOND)?;
    (0..5).try_for_each(|host| clock_is_wrong(cluster, host, false))?;
    cluster.scale(3, "s0", 8);
    rest(cluster, 8)
}

fn a_month_behind(cluster: &mut Cluster) -> Told {
    cluster.set_clock(4, -30 * 24 * HOUR_MS);
    cluster.run_until(10 * SECOND)?;
    (0..4).try_for_each(|host| clock_is_wrong(cluster, host, false))?;
    hold(cluster, "web", 10)?;
    clock_is_wrong(cluster, 4, true)?;
    (0..4).try_for_each(|host| clock_is_wrong(cluster, host, false))?;
    cluster.set_clock(4, 0);
    cluster.run_for(60 * SECOND)?;
    (0..5).try_for_each(|host| clock_is_wrong(cluster, host, false))?;
    rest(cluster, 10)
}

fn wrong_from_the_start(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    for (host, ahead) in [(2, HOUR_MS), (4, -HOUR_MS)] {
        cluster.power_off(host);
        cluster.set_clock(host, ahead);
    }
    cluster.run_for(20 * SECOND)?;
    [2, 4].into_iter().for_each(|host| cluster.power_on(host));
    cluster.run_for(30 * SECOND)?;
    cluster.scale(0, "s0", 14);
    cluster.run_for(30 * SECOND)?;
    for host in 0..5 {
        clock_is_wrong(cluster, host, matches!(host, 2 | 4))?;
    }
    cluster.converge(30 * SECOND)?;
    runs(cluster, 14)?;
    [2, 4]
        .into_iter()
        .for_each(|host| cluster.set_clock(host, 0));
    cluster.run_for(60 * SECOND)?;
    (0..5).try_for_each(|host| clock_is_wrong(cluster, host, false))?;
    rest(cluster, 14)
}

fn suspended(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 6)?;
    for host in 0..3 {
        // The whole machine: its kernel does not answer either.
        cluster.freeze(host);
        cluster.network.lose_around(host, 1_000_000);
        cluster.run_for(10 * SECOND)?;
        let before = cluster.stats.down().count();
        cluster.mend_network();
        cluster.wake_up(host);
        cluster.run_for(10 * SECOND)?;
        let mut later = cluster.stats.down().skip(before);
        let judged = later.any(|verdict| verdict.by == host);
        expect(!judged, || {
            format!("h{host} woke up and judged others down")
        })?;
    }
    rest(cluster, 6)
}

fn another_cluster(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 3)?;
    for host in 0..3 {
        let labels = Labels {
            cluster: "another".to_owned(),
            host: cluster.host(host).id,
            task: TaskId(77 + host as u128),
            container: "main".to_owned(),
            essential: true,
            definition: Digest([9; 32]),
            family: "theirs".to_owned(),
            revision: 1,
            renewals: 0,
            slot: None,
            gpus: Box::default(),
        };
        let runtime = &mut cluster.hosts[host].runtime;
        let runtime_id = runtime.foreign()[0];
        let status = ObservedStatus::Running {
            since: Wall(1),
            ports: Vec::new(),
            health: Health::Unknown,
        };
        runtime.manners.strangers.push(Observed {
            runtime_id,
            labels,
            status,
        });
    }
    cluster.run_for(70 * SECOND)?;
    for host in 0..3 {
        let board = cluster.agent(host).map(holdfast_core::agent::Agent::board);
        let told = board.is_some_and(|board| board.tasks().any(|(.., r)| &*r.family == "theirs"));
        expect(!told, || {
            format!("h{host} speaks of another cluster's task")
        })?;
    }
    rest(cluster, 3)
}
