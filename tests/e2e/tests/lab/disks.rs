//! Disks are full, the agent's or Docker's: nothing that runs is touched, and the count is held.

use crate::{CALM, COUNT, calm_fleet};
use e2e::{
    lab::fleet::LabFleet,
    wait::{secs, until},
};
use std::time::Duration;

const STATE: &str = "/var/lib/holdfast";
/// A failed start is tried elsewhere, with pauses that grow.
const MADE_GOOD_WITHIN: Duration = secs(60);

/// The agent can keep nothing, and another host is lost meanwhile.
#[test]
fn an_agent_whose_disk_is_full_keeps_its_tasks_and_takes_part() {
    let Some(mut fleet) = LabFleet::up(5, &[]) else {
        return;
    };
    fleet.shrink(1, STATE, 4);
    fleet.start_all();
    fleet.create_service("web", COUNT);
    fleet.await_agreed("web", COUNT);
    fleet.fill(1, STATE);
    for number in 0..40 {
        // So much is to be written that no free page of the store can take it.
        fleet.create_service(&format!("filler-{number}"), 0);
    }
    until("the agent says that its disk is full", secs(30), || {
        let log = fleet.hosts[1].log();
        let told = log.contains("no space left for");
        told.then_some(()).ok_or(log)
    });
    fleet.stays(CALM);
    fleet.lose(&[4]);
    fleet.await_running("web", COUNT, MADE_GOOD_WITHIN);
    fleet.unfill(1, STATE);
    fleet.await_up(4);
    fleet.scale("web", COUNT + 4);
    fleet.await_agreed("web", COUNT + 4);
    fleet.stays(CALM);
}

/// Docker cannot make a container there: its share runs elsewhere, and it is used again after.
#[test]
fn a_docker_whose_disk_is_full_loses_nothing_and_the_others_run_the_count() {
    let Some(mut fleet) = calm_fleet(&[]) else {
        return;
    };
    let data = fleet.put_docker_on_small_disk(1, 64);
    fleet.await_running("web", COUNT, MADE_GOOD_WITHIN);
    fleet.await_all();
    fleet.await_agreed("web", COUNT);
    fleet.fill(1, &data);
    fleet.stays(CALM);
    fleet.scale("web", 2 * COUNT);
    fleet.await_running("web", 2 * COUNT, MADE_GOOD_WITHIN);
    fleet.unfill(1, &data);
    fleet.await_agreed("web", 2 * COUNT);
    fleet.stays(CALM);
}
