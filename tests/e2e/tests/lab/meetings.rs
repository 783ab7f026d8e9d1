//! Hosts leave and come back, and clusters that grew up apart meet: one cluster, all counts exact.

use crate::{CALM, COUNT, calm_fleet, nothing_moved};
use e2e::{
    crew,
    lab::{faults, fleet::LabFleet},
    wait::{secs, wall_nanos},
};

/// The same name and key, split before the first agent was started; each with a service of its own.
#[test]
fn two_clusters_that_meet_are_one_and_restart_nothing() {
    let Some(mut fleet) = LabFleet::up(4, &[]) else {
        return;
    };
    let (left, right) = ([0, 1], [2, 3]);
    fleet.partition(&faults::sides(&[&left, &right]));
    fleet.start_agents(&[0, 1, 2, 3]);
    for (side, name) in [(left, "ours"), (right, "theirs")] {
        let agents: Vec<_> = side.iter().map(|index| &fleet.hosts[*index]).collect();
        crew::await_up(&agents, 2);
        crew::await_engines(&agents, 2);
        crew::create_service(agents[0], name, 3);
        fleet.await_running_on(&side, name, 3, secs(20));
    }
    let from = wall_nanos();
    fleet.heal();
    fleet.await_all();
    fleet.await_agreed("ours", 3);
    fleet.await_agreed("theirs", 3);
    fleet.stays(CALM);
    nothing_moved(&fleet, from);
}

#[test]
fn a_host_that_leaves_hands_over_its_tasks_first_and_comes_back() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    // Never fewer, as each is started elsewhere before it ends here.
    let agent = fleet.hosts[2].pid();
    fleet.hosts[2].cli_ok(&["leave"]);
    fleet.note("h3 left");
    fleet.settles(COUNT as usize, secs(20));
    assert_eq!(fleet.living_on(&[2]), 0, "it has none left");
    fleet.hosts[2].gone();
    fleet.start_agents(&[2]);
    assert_ne!(fleet.hosts[2].pid(), agent);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.scale("web", COUNT + 4);
    fleet.await_agreed("web", COUNT + 4);
    assert!(fleet.living_on(&[2]) > 0, "it is used again");
    fleet.stays(CALM);
}

/// A and B do not reach each other, and both see C, which is all that there is.
#[test]
fn two_hosts_that_only_a_third_one_sees_keep_their_tasks() {
    let Some(mut fleet) = LabFleet::start(3) else {
        return;
    };
    fleet.create_service("web", COUNT);
    fleet.await_agreed("web", COUNT);
    fleet.cut_between(0, 1);
    fleet.stays(secs(10));
    fleet.heal();
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}
