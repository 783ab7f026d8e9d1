//! What happens to a machine, to its agent, or to what the agent has on its disk.

use super::{Case, Told, churn, expect, hold, moved, rest, runs};
use crate::{
    cluster::{Cluster, SECOND},
    planted::Planted::Core,
};
use holdfast_core::{
    cluster::{
        body::{Body, Key},
        message::Message,
        record::{Record, Stamp, Version},
    },
    planted::Bug,
    time::Wall,
};

pub(super) const CASES: &[Case] = &[
    Case {
        number: 1,
        name: "power loss",
        agents: 5,
        story: power_loss,
        bug: Core(Bug::AnswersBeforeDisk),
        caught_by: "before it was on its disk",
    },
    Case {
        number: 2,
        name: "agent killed, host fine",
        agents: 5,
        story: agent_killed,
        bug: Core(Bug::ForgetsItsTasks),
        caught_by: "",
    },
    Case {
        number: 2,
        name: "agents killed, hosts fine, whose tasks have GPUs",
        agents: 4,
        story: killed_with_gpus,
        bug: Core(Bug::ForgetsItsGpus),
        caught_by: "twice",
    },
    Case {
        number: 3,
        name: "agent frozen for 1, 10 and 45 s",
        agents: 5,
        story: frozen,
        bug: Core(Bug::TakesAFrozenAgentForDead),
        caught_by: "starts and",
    },
    Case {
        number: 4,
        name: "agent crashes between two effects",
        agents: 4,
        story: killed_in_steps,
        bug: Core(Bug::LeavesStrangersRunning),
        caught_by: "for nobody",
    },
    Case {
        number: 5,
        name: "reboot: same identity, containers exited",
        agents: 4,
        story: reboot,
        bug: Core(Bug::TakesExitedForRunning),
        caught_by: "does not run",
    },
    Case {
        number: 6,
        name: "two machines with one identity",
        agents: 4,
        story: twin,
        bug: Core(Bug::ToleratesATwin),
        caught_by: "",
    },
    Case {
        number: 7,
        name: "state file lost",
        agents: 4,
        story: disk_lost,
        bug: Core(Bug::IgnoresItsPast),
        caught_by: "",
    },
    Case {
        number: 8,
        name: "records of a later version",
        agents: 4,
        story: later_version,
        bug: Core(Bug::DropsTheUnknown),
        caught_by: "lacks the record",
    },
];

fn power_loss(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 5)?;
    cluster.scale(1, "s0", 8);
    (0..5).for_each(|host| cluster.power_off(host));
    cluster.run_for(2 * SECOND)?;
    (0..5).for_each(|host| cluster.power_on(host));
    rest(cluster, 8)
}

fn agent_killed(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    cluster.crash(1);
    cluster.run_for(SECOND)?;
    cluster.restart(1);
    cluster.run_for(5 * SECOND)?;
    cluster.converge(30 * SECOND)?;
    moved(cluster, before, (0, 0))?;
    rest(cluster, 10)
}

/// Two GPUs on each of four hosts: what runs keeps its own, whatever the agents remember of it.
fn killed_with_gpus(cluster: &mut Cluster) -> Told {
    for host in 0..4 {
        cluster.crash(host);
        cluster.hosts[host].capacity.gpus = 2;
        cluster.restart(host);
    }
    hold(cluster, "gpu", 5)?;
    let before = churn(&cluster.stats);
    for host in 0..4 {
        cluster.crash(host);
        if host == 1 {
            cluster.wipe_disk(host);
        }
        cluster.run_for(SECOND)?;
        cluster.restart(host);
        cluster.run_for(5 * SECOND)?;
    }
    cluster.converge(30 * SECOND)?;
    moved(cluster, before, (0, 0))?;
    cluster.scale(0, "s0", 9);
    cluster.run_for(20 * SECOND)?;
    runs(cluster, 8)?;
    cluster.scale(0, "s0", 8);
    rest(cluster, 8)
}

fn frozen(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    for seconds in [1, 10, 45] {
        cluster.freeze(2);
        cluster.run_for(seconds * SECOND)?;
        moved(cluster, before, (0, 0))?;
        cluster.thaw(2);
        cluster.run_for(10 * SECOND)?;
    }
    moved(cluster, before, (0, 0))?;
    rest(cluster, 10)
}

fn killed_in_steps(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 4)?;
    // First in whatever step has so many effects, then in those that ask for a container.
    for round in 0..24 {
        let (effects, creating) = (round % 12, round >= 12);
        let until = cluster.now() + 2 * SECOND;
        for host in 0..4 {
            cluster.hosts[host].killed_after = Some((effects, until));
            cluster.hosts[host].killed_creating = creating;
        }
        cluster.scale(effects as usize % 4, "s0", 8 - 4 * (effects % 2));
        cluster.run_for(4 * SECOND)?;
        (0..4).for_each(|host| {
            cluster.hosts[host].killed_after = None;
            cluster.restart(host);
        });
        cluster.run_for(4 * SECOND)?;
    }
    cluster.scale(0, "s0", 6);
    rest(cluster, 6)
}

fn reboot(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 8)?;
    cluster.power_off(1);
    cluster.run_for(SECOND)?;
    cluster.power_on(1);
    rest(cluster, 8)
}

fn twin(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 6)?;
    cluster.start_twin(3, 1);
    cluster.run_for(20 * SECOND)?;
    let why = cluster.host(3).gave_up.clone();
    expect(why.is_some_and(|why| why.contains("cloned")), || {
        "the clone did not give up".to_owned()
    })?;
    cluster.replace_host(3);
    rest(cluster, 6)
}

fn disk_lost(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 8)?;
    cluster.crash(2);
    cluster.restart(2);
    cluster.run_for(5 * SECOND)?;
    let before = churn(&cluster.stats);
    cluster.crash(2);
    cluster.wipe_disk(2);
    cluster.run_for(SECOND)?;
    cluster.restart(2);
    cluster.run_for(5 * SECOND)?;
    cluster.converge(30 * SECOND)?;
    moved(cluster, before, (0, 0))?;
    cluster.scale(2, "s0", 12);
    rest(cluster, 12)
}

fn later_version(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 4)?;
    let (kind, key) = (200, vec![1, 2, 3]);
    let key = Key::Unknown { kind, key };
    let stamp = Stamp {
        wall: Wall(cluster.host(1).wall(cluster.now()).0),
        counter: 1,
        author: cluster.host(1).id,
    };
    let version = Version { epoch: 9, stamp };
    let record = Record::new(key.clone(), version, Some(Body::Unknown(vec![7; 40])));
    cluster.tell(1, 2, Message::Records(vec![record.clone()]));
    cluster.run_for(5 * SECOND)?;
    cluster.crash(2);
    cluster.run_for(SECOND)?;
    cluster.restart(2);
    cluster.lose_host(3);
    cluster.run_for(5 * SECOND)?;
    cluster.replace_host(3);
    cluster.converge(60 * SECOND)?;
    for host in 0..4 {
        let board = cluster.agent(host).map(holdfast_core::agent::Agent::board);
        let there = board.and_then(|board| board.record(&key));
        expect(there == Some(&record), || {
            format!("h{host} lacks the record that it does not know")
        })?;
    }
    rest(cluster, 4)
}
