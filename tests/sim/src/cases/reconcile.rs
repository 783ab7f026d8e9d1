//! Orders that meet other orders, failures, or too little room.

use super::{Case, Told, expect, hold, rest, runs};
use crate::{
    cluster::{Cluster, SECOND},
    planted::Planted::Core,
    workload::definition,
};
use holdfast_core::{
    cluster::body::Availability,
    command::Command,
    ids::{KeyId, Secret},
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
        number: 33,
        name: "secrets are set and removed on one side of a split, and sealed anew on the other",
        agents: 6,
        story: secrets_on_both_sides,
        bug: Core(Bug::SealsOverLaterWords),
        caught_by: "has not the last word on",
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
        name: "a host is lost while its service takes up a secret that was set anew",
        agents: 5,
        story: lost_in_a_rotation,
        bug: Core(Bug::KeepsOldValues),
        caught_by: "as it was before it was set anew",
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
        name: "tasks are protected, and their service is scaled in, updated and moved",
        agents: 4,
        story: protected,
        bug: Core(Bug::StopsTheProtected),
        caught_by: "which is protected and healthy",
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

/// The tasks of the first and of the last slot go on until their time is over, and no longer.
fn protected(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 6)?;
    let both = [0, 5].map(|slot| cluster.protect(1, slot, 2));
    let both = both.map(|task| task.expect("each slot is served"));
    let go_on = |cluster: &Cluster, after: &str| {
        let gone = both.iter().find(|task| cluster.place_of(**task).is_none());
        expect(gone.is_none(), || format!("{gone:?} is gone after {after}"))
    };
    cluster.run_for(SECOND)?;
    cluster.scale(0, "s0", 4);
    cluster.run_for(10 * SECOND)?;
    runs(cluster, 5)?;
    go_on(cluster, "a smaller count")?;
    cluster.register(1, definition("web", 2));
    cluster.update(1, "s0", "web");
    cluster.run_for(20 * SECOND)?;
    go_on(cluster, "an update")?;
    let old = cluster.place_of(both[0]).expect("it goes on");
    cluster.direct(3, old, Availability::Drain);
    cluster.run_for(10 * SECOND)?;
    cluster.crash(old);
    cluster.run_for(SECOND)?;
    cluster.restart(old);
    cluster.run_for(10 * SECOND)?;
    go_on(cluster, "a drain, and a new agent")?;
    runs(cluster, 5)?;
    cluster.run_for(70 * SECOND)?;
    cluster.converge(60 * SECOND)?;
    let left = both.iter().find(|task| cluster.place_of(**task).is_some());
    expect(left.is_none(), || format!("{left:?} goes on for ever"))?;
    rest(cluster, 4)
}

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

/// What is sealed anew is no later word than what people say meanwhile.
fn secrets_on_both_sides(cluster: &mut Cluster) -> Told {
    cluster.run_until(6 * SECOND)?;
    cluster.set_secret(0, "db");
    cluster.set_secret(0, "old");
    cluster.set_config(0, "conf");
    hold(cluster, "keyed", 6)?;
    let (key, secret) = (KeyId([2; 4]), Secret([2; 32]));
    cluster.ask(0, Command::InstallKey { key, secret });
    cluster.run_for(3 * SECOND)?;
    cluster.partition(&[0, 1, 2]);
    cluster.run_for(3 * SECOND)?;
    cluster.remove_secret(3, "old");
    cluster.set_secret(4, "db");
    cluster.run_for(SECOND)?;
    let force = true;
    cluster.ask(0, Command::UseKey { key, force });
    cluster.run_for(30 * SECOND)?;
    cluster.mend_network();
    rest(cluster, 6)?;
    let sealed = cluster.agent(0).map(|agent| {
        let mut secrets = agent.board().secrets();
        secrets.all(|(_, _, secret)| secret.sealed.key == key)
    });
    expect(sealed == Some(true), || {
        "a secret is still sealed with the old key".to_owned()
    })
}

fn lost_in_a_rotation(cluster: &mut Cluster) -> Told {
    cluster.run_until(6 * SECOND)?;
    cluster.set_secret(0, "db");
    cluster.set_config(0, "conf");
    hold(cluster, "keyed", 8)?;
    cluster.set_secret(1, "db");
    cluster.run_for(SECOND)?;
    cluster.lose_host(2);
    cluster.run_for(SECOND)?;
    cluster.set_config(3, "conf");
    rest(cluster, 8)
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
