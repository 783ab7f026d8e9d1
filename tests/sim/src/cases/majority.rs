//! Splits under the policy `majority`: one side serves, and nothing runs on two.

use super::{Case, Told, expect, hold, rest, runs};
use crate::{
    cluster::{Cluster, SECOND},
    planted::Planted::Core,
};
use holdfast_core::{
    planted::Bug,
    spec::options::{OptionsChange, PartitionPolicy},
};

pub(super) const CASES: &[Case] = &[
    Case {
        number: 21,
        name: "split, under majority: who is lost is given its lease",
        agents: 5,
        story: split_and_healed,
        bug: Core(Bug::ReplacesWithinTheLease),
        caught_by: "sides at once",
    },
    Case {
        number: 21,
        name: "split, under majority: the minority stops",
        agents: 5,
        story: split_and_healed,
        bug: Core(Bug::HoldsBeyondTheLease),
        caught_by: "sides at once",
    },
    Case {
        number: 21,
        name: "split, under majority: the minority replaces nothing",
        agents: 5,
        story: split_and_healed,
        bug: Core(Bug::CountsAsMajorityAlone),
        caught_by: "sides at once",
    },
];

fn choose_majority(cluster: &mut Cluster) -> Told {
    let options = OptionsChange {
        partition: Some(PartitionPolicy::Majority),
        ..OptionsChange::default()
    };
    cluster.choose(0, "s0", options);
    cluster.run_for(60 * SECOND)
}

/// Two of five hosts are cut off: their copies stop, and then the others take them over.
fn split_and_healed(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 5)?;
    choose_majority(cluster)?;
    cluster.partition(&[0, 1]);
    cluster.run_for(8 * SECOND)?;
    runs(cluster, 5)?;
    cluster.run_for(52 * SECOND)?;
    let left = cluster.running_on(0) + cluster.running_on(1);
    expect(left == 0, || format!("{left} run on in the minority"))?;
    runs(cluster, 5)?;
    cluster.mend_network();
    cluster.run_for(5 * SECOND)?;
    rest(cluster, 5)
}
