//! What the container runtime does, fails to do, or does not tell.

use super::{Case, Told, churn, expect, hold, moved, rest};
use crate::{
    cluster::{Cluster, SECOND},
    manners::Manners,
    planted::Planted::Core,
    workload::definition,
};
use holdfast_core::planted::Bug;

pub(super) const CASES: &[Case] = &[
    Case {
        number: 9,
        name: "Docker hangs",
        agents: 4,
        story: hangs,
        bug: Core(Bug::MovesFromAHungRuntime),
        caught_by: "",
    },
    Case {
        number: 10,
        name: "Docker restarts, with and without its containers",
        agents: 4,
        story: restarts,
        bug: Core(Bug::StaysOutOfService),
        caught_by: "does not run",
    },
    Case {
        number: 11,
        name: "an event is lost",
        agents: 4,
        story: event_lost,
        bug: Core(Bug::NeverCompares),
        caught_by: "does not run",
    },
    Case {
        number: 12,
        name: "create and start done, answer lost",
        agents: 4,
        story: answer_lost,
        bug: Core(Bug::TrustsOnlyAnswers),
        caught_by: "",
    },
    Case {
        number: 13,
        name: "stop fails, process cannot be killed",
        agents: 4,
        story: unkillable,
        bug: Core(Bug::TakesAFailedStopForTheEnd),
        caught_by: "STOPPED while",
    },
    Case {
        number: 14,
        name: "image missing on one host, pull slow on another",
        agents: 5,
        story: image_missing,
        bug: Core(Bug::TriesTheSameHostForEver),
        caught_by: "does not run",
    },
    Case {
        number: 14,
        name: "a tag leads to other bytes on each host",
        agents: 5,
        story: tag_drifts,
        bug: Core(Bug::MakesByTag),
        caught_by: "runs other bytes than",
    },
    Case {
        number: 15,
        name: "port taken by others, an operator removes",
        agents: 5,
        story: operator,
        bug: Core(Bug::IgnoresRemovals),
        caught_by: "does not run",
    },
    Case {
        number: 16,
        name: "crash loop",
        agents: 4,
        story: crash_loop,
        bug: Core(Bug::NeverBacksOff),
        caught_by: "starts of what crashes",
    },
    Case {
        number: 17,
        name: "an essential container exits",
        agents: 4,
        story: essential_exit,
        bug: Core(Bug::IgnoresTheEssential),
        caught_by: "",
    },
    Case {
        number: 17,
        name: "containers wait for one another",
        agents: 4,
        story: in_their_order,
        bug: Core(Bug::StartsOutOfOrder),
        caught_by: "before what it depends on",
    },
    Case {
        number: 17,
        name: "containers end one after the other",
        agents: 4,
        story: in_reverse_order,
        bug: Core(Bug::StopsOutOfOrder),
        caught_by: "depends on it",
    },
    Case {
        number: 17,
        name: "a container is run again in its task",
        agents: 4,
        story: run_again,
        bug: Core(Bug::RunsAgainUnasked),
        caught_by: "its policy does not say",
    },
    Case {
        number: 17,
        name: "a new revision takes long to be ready",
        agents: 4,
        story: slow_to_be_ready,
        bug: Core(Bug::ReadyBeforeItsChecks),
        caught_by: "which is healthy and the only copy",
    },
    Case {
        number: 17,
        name: "tasks become unhealthy",
        agents: 4,
        story: sick,
        bug: Core(Bug::KeepsTheUnhealthy),
        caught_by: "does not run",
    },
];

fn hangs(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 8)?;
    let before = churn(&cluster.stats);
    cluster.docker_down(1);
    cluster.run_for(60 * SECOND)?;
    moved(cluster, before, (0, 0))?;
    cluster.docker_up(1);
    cluster.run_for(3 * SECOND)?;
    cluster.converge(30 * SECOND)?;
    moved(cluster, before, (0, 0))?;
    rest(cluster, 8)
}

fn restarts(cluster: &mut Cluster) -> Told {
    hold(cluster, "edge", 4)?;
    let before = churn(&cluster.stats);
    cluster.docker_down(1);
    cluster.run_for(4 * SECOND)?;
    cluster.docker_up(1);
    cluster.run_for(4 * SECOND)?;
    moved(cluster, before, (0, 0))?;
    cluster.docker_down(2);
    cluster.end_containers(2);
    cluster.run_for(4 * SECOND)?;
    cluster.docker_up(2);
    cluster.run_for(4 * SECOND)?;
    rest(cluster, 4)
}

fn event_lost(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 8)?;
    cluster.kill_unheard(2);
    cluster.run_for(5 * SECOND)?;
    rest(cluster, 8)
}

fn answer_lost(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 4)?;
    cluster.hosts[1].runtime.manners.loses_answers = true;
    cluster.scale(0, "s0", 8);
    cluster.run_for(5 * SECOND)?;
    cluster.hosts[1].runtime.manners.loses_answers = false;
    rest(cluster, 8)
}

fn unkillable(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 8)?;
    for host in 0..4 {
        cluster.hosts[host].runtime.manners.unkillable = true;
    }
    cluster.scale(0, "s0", 2);
    cluster.run_for(20 * SECOND)?;
    for host in 0..4 {
        cluster.hosts[host].runtime.manners.unkillable = false;
    }
    rest(cluster, 2)
}

fn image_missing(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 5)?;
    cluster.hosts[1].runtime.manners.no_images = true;
    cluster.hosts[2].runtime.manners.create_us = (40_000_000, 40_000_000);
    cluster.register(0, definition("pair", 1));
    cluster.create(0, "s1", "pair", 8);
    cluster.converge(120 * SECOND)?;
    expect(cluster.running_on(1) == 1, || {
        "one without its image runs".to_owned()
    })?;
    cluster.hosts[2].runtime.manners.create_us = Manners::GOOD.create_us;
    cluster.hosts[1].runtime.manners.no_images = false;
    cluster.delete(0, "s1");
    cluster.run_for(SECOND)?;
    rest(cluster, 5)
}

/// Also where hosts are lost, and where the deployment is renewed: then all may become others.
fn tag_drifts(cluster: &mut Cluster) -> Told {
    hold(cluster, "drifting", 8)?;
    cluster.crash(1);
    cluster.lose_host(2);
    cluster.run_for(10 * SECOND)?;
    cluster.restart(1);
    cluster.converge(60 * SECOND)?;
    let before = churn(&cluster.stats).0;
    cluster.renew(0, "s0");
    rest(cluster, 8)?;
    // A quarter at a time: those that begin beside the first one may find other bytes.
    let starts = churn(&cluster.stats).0 - before;
    expect((8..=8 + 2).contains(&starts), || {
        format!("{starts} starts to renew 8 tasks")
    })
}

fn operator(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 5)?;
    cluster.hosts[2].runtime.manners.ports_taken = vec![8_080];
    cluster.register(0, definition("edge", 1));
    cluster.create(0, "s1", "edge", 4);
    cluster.run_for(SECOND)?;
    cluster.converge(60 * SECOND)?;
    for host in [0, 3, 4] {
        cluster.operator_removes(host);
        cluster.vanish(host);
        cluster.run_for(2 * SECOND)?;
    }
    cluster.converge(60 * SECOND)?;
    cluster.hosts[2].runtime.manners.ports_taken.clear();
    rest(cluster, 9)
}

fn crash_loop(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 4)?;
    for host in 0..4 {
        cluster.hosts[host].runtime.manners.crashes_after_us = Some(100_000);
    }
    let before = churn(&cluster.stats);
    cluster.register(0, definition("pair", 1));
    cluster.create(0, "s1", "pair", 2);
    cluster.run_for(120 * SECOND)?;
    let starts = churn(&cluster.stats).0 - before.0;
    // Two slots of two containers: at once, then after 0, 1, 2, 4, 8, 16, 32 and 64 s.
    expect(starts <= 2 * 2 * 10, || {
        format!("{starts} starts of what crashes at once, in two minutes")
    })?;
    for host in 0..4 {
        cluster.hosts[host].runtime.manners.crashes_after_us = None;
    }
    rest(cluster, 6)
}

/// Also across a restart of the agent in the middle, and where Docker's answers are lost.
fn in_their_order(cluster: &mut Cluster) -> Told {
    hold(cluster, "chain", 4)?;
    cluster.hosts[1].runtime.manners.loses_answers = true;
    cluster.scale(0, "s0", 8);
    cluster.run_for(SECOND / 2)?;
    cluster.crash(2);
    cluster.run_for(SECOND)?;
    cluster.restart(2);
    cluster.run_for(5 * SECOND)?;
    cluster.hosts[1].runtime.manners.loses_answers = false;
    rest(cluster, 8)
}

fn in_reverse_order(cluster: &mut Cluster) -> Told {
    hold(cluster, "chain", 8)?;
    cluster.scale(0, "s0", 2);
    cluster.run_for(5 * SECOND)?;
    rest(cluster, 2)
}

fn essential_exit(cluster: &mut Cluster) -> Told {
    hold(cluster, "pair", 8)?;
    expect(cluster.kill_container(1), || {
        "nothing runs on h1".to_owned()
    })?;
    cluster.run_for(2 * SECOND)?;
    rest(cluster, 8)
}

/// Also one whose agent is away meanwhile.
fn run_again(cluster: &mut Cluster) -> Told {
    hold(cluster, "again", 8)?;
    let before = churn(&cluster.stats);
    for host in [1, 2, 1, 2] {
        cluster.kill_one(host, "again");
        cluster.run_for(10 * SECOND)?;
    }
    cluster.crash(3);
    cluster.kill_one(3, "again");
    cluster.run_for(SECOND)?;
    cluster.restart(3);
    cluster.run_for(10 * SECOND)?;
    moved(cluster, before, (5, 0))?;
    // What is not to run again ends its task.
    cluster.kill_one(1, "main");
    rest(cluster, 8)
}

fn slow_to_be_ready(cluster: &mut Cluster) -> Told {
    hold(cluster, "checked", 4)?;
    for host in 0..4 {
        cluster.hosts[host].runtime.manners.warm_us = (3_000_000, 6_000_000);
    }
    cluster.register(0, definition("checked", 2));
    cluster.update(0, "s0", "checked");
    cluster.run_for(SECOND)?;
    rest(cluster, 4)
}

fn sick(cluster: &mut Cluster) -> Told {
    hold(cluster, "checked", 6)?;
    cluster.sicken(1);
    cluster.run_for(5 * SECOND)?;
    cluster.sicken(2);
    cluster.run_for(20 * SECOND)?;
    rest(cluster, 6)
}
