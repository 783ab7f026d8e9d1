//! Orders that meet other orders, failures, or too little room.

use super::{Case, Told, expect, hold, rest};
use crate::{
    cluster::{Cluster, SECOND},
    planted::Planted::Core,
    workload::definition,
};
use holdfast_core::{
    cluster::body::Availability,
    planted::Bug,
    spec::{
        options::{HandOver, OptionsChange},
        task_definition::TaskDefinition,
    },
};

pub(super) const CASES: &[Case] = &[
    Case {
        number: 33,
        name: "both sides of a split are given orders",
        agents: 6,
        story: orders_on_both_sides,
        bug: Core(Bug::KeepsItsOwnWord),
        caught_by: "",
    },
    Case {
        number: 34,
        name: "deleted while it is being created",
        agents: 4,
        story: deleted_meanwhile,
        bug: Core(Bug::StartsWhatWasStopped),
        caught_by: "",
    },
    Case {
        number: 35,
        name: "no room",
        agents: 4,
        story: no_room,
        bug: Core(Bug::LooksAgainAtOnce),
        caught_by: "woken for ever",
    },
    Case {
        number: 36,
        name: "several keepers fill the same hosts at once",
        agents: 6,
        story: many_keepers,
        bug: Core(Bug::NeverRefuses),
        caught_by: "promise",
    },
    Case {
        number: 37,
        name: "a host is drained in the middle of an update",
        agents: 4,
        story: drained_in_a_rollout,
        bug: Core(Bug::LeavesTasksWhereTheyDrain),
        caught_by: "are left on the drained host",
    },
    Case {
        number: 37,
        name: "a service that stops first is updated, and a host of it is drained",
        agents: 4,
        story: stops_first,
        bug: Core(Bug::BeginsBeforeTheEnd),
        caught_by: "ran twice at one time",
    },
];

/// It takes longer to stop than to start.
fn stops_first(cluster: &mut Cluster) -> Told {
    for host in &mut cluster.hosts {
        host.runtime.manners.term_us = (2 * SECOND, 3 * SECOND);
    }
    hold(cluster, "web", 6)?;
    let options = OptionsChange {
        hand_over: Some(HandOver::StopFirst),
        ..OptionsChange::default()
    };
    cluster.choose(0, "s0", options);
    cluster.run_for(SECOND)?;
    let began = cluster.now();
    cluster.register(1, definition("web", 2));
    cluster.update(1, "s0", "web");
    cluster.run_for(SECOND / 2)?;
    cluster.direct(3, 2, Availability::Drain);
    cluster.run_for(10 * SECOND)?;
    cluster.converge(60 * SECOND)?;
    let twice = cluster.runs_twice_since(began);
    expect(twice.is_none(), || {
        format!("{} ran twice at one time", twice.unwrap_or_default())
    })?;
    let left = cluster.running_on(2);
    expect(left == 0, || {
        format!("{left} tasks are left on the drained host")
    })?;
    rest(cluster, 6)
}

/// A definition that takes a good part of a host.
fn large(family: &str, memory_mib: u32) -> TaskDefinition {
    let mut definition = definition(family, 1);
    definition.containers[0].memory_mib = memory_mib;
    definition
}

fn orders_on_both_sides(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 6)?;
    cluster.partition(&[0, 1, 2]);
    cluster.run_for(5 * SECOND)?;
    cluster.scale(0, "s0", 9);
    cluster.run_for(5 * SECOND)?;
    cluster.register(1, definition("web", 2));
    cluster.update(1, "s0", "web");
    cluster.register(4, definition("web", 3));
    cluster.run_for(5 * SECOND)?;
    cluster.scale(5, "s0", 4);
    cluster.run_for(5 * SECOND)?;
    cluster.mend_network();
    rest(cluster, 4)
}

fn deleted_meanwhile(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 4)?;
    for round in 0..20 {
        let name = format!("t{round}");
        cluster.create(round % 4, &name, "web", 8);
        cluster.run_for(3_000 + 4_000 * round as u64)?;
        cluster.delete(round % 4, &name);
        cluster.run_for(SECOND)?;
    }
    cluster.create(0, "t", "web", 6);
    cluster.run_for(20_000)?;
    cluster.power_off(2);
    cluster.scale(0, "t", 3);
    cluster.run_for(10 * SECOND)?;
    cluster.power_on(2);
    rest(cluster, 7)
}

fn no_room(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 4)?;
    cluster.register(0, large("pair", 1_800));
    cluster.create(0, "s1", "pair", 20);
    cluster.run_for(30 * SECOND)?;
    cluster.converge(60 * SECOND)?;
    cluster.scale(1, "s1", 5);
    cluster.run_for(SECOND)?;
    rest(cluster, 9)
}

fn many_keepers(cluster: &mut Cluster) -> Told {
    cluster.run_until(6 * SECOND)?;
    cluster.register(0, large("web", 2_200));
    cluster.run_for(SECOND)?;
    for service in 0..10 {
        cluster.create(service % 6, &format!("s{service}"), "web", 1);
    }
    cluster.run_for(10 * SECOND)?;
    cluster.converge(120 * SECOND)?;
    for service in 5..10 {
        cluster.delete(service % 6, &format!("s{service}"));
    }
    cluster.run_for(SECOND)?;
    rest(cluster, 5)
}

fn drained_in_a_rollout(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 8)?;
    cluster.register(0, definition("pair", 1));
    cluster.create(0, "s1", "pair", 4);
    cluster.run_for(SECOND)?;
    cluster.converge(30 * SECOND)?;
    cluster.register(1, definition("web", 2));
    cluster.update(1, "s0", "web");
    cluster.run_for(SECOND / 2)?;
    cluster.direct(3, 2, Availability::Drain);
    cluster.run_for(10 * SECOND)?;
    cluster.converge(60 * SECOND)?;
    let left = cluster.running_on(2);
    expect(left == 0, || {
        format!("{left} tasks are left on the drained host")
    })?;
    rest(cluster, 12)
}
