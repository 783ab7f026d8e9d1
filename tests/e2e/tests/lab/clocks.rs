//! An agent's clock is wrong: it takes part all the same, and the counts are held.

use crate::{CALM, COUNT, nothing_moved};
use e2e::{
    lab::fleet::LabFleet,
    skip,
    wait::{secs, wall_nanos},
};
use std::path::Path;

/// Where Debian and its kin have it. All hosts have one kernel, and so one clock: this lies to one
/// process about it.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];

fn one_clock_is_off_by(offset: &str) {
    let Some(library) = LIBRARIES.iter().find(|path| Path::new(path).exists()) else {
        return skip("wrong clocks need the package libfaketime");
    };
    let Some(mut fleet) = LabFleet::up(5, &[]) else {
        return;
    };
    fleet.hosts[1].environment = vec![
        format!("LD_PRELOAD={library}"),
        format!("FAKETIME={offset}"),
        // The clock that only ever goes on is right on every machine.
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    // The others know the time already when it comes.
    fleet.start_agents(&[0, 2, 3, 4]);
    fleet.await_up(4);
    fleet.start_agents(&[1]);
    fleet.await_all();
    fleet.create_service("web", COUNT);
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    let since = fleet.lose(&[3]);
    fleet.await_running("web", COUNT, secs(15));
    println!("clock off by {offset}: {:?}", fleet.last_start_after(since));
    fleet.await_up(4);
    // Whoever is asked: what the one with the wrong clock writes wins over what was before, too.
    for (asked, count) in [(1, COUNT + 2), (0, COUNT)] {
        let change = format!("{count}");
        fleet.hosts[asked].cli_ok(&["service", "scale", "web", &change]);
        fleet.await_agreed("web", count);
    }
    let from = wall_nanos();
    fleet.hosts[1].terminate();
    fleet.start_agents(&[1]);
    fleet.await_up(4);
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    nothing_moved(&fleet, from);
}

#[test]
fn a_clock_that_is_an_hour_ahead_costs_nothing() {
    one_clock_is_off_by("+1h");
}

#[test]
fn a_clock_that_is_a_month_ahead_costs_nothing() {
    one_clock_is_off_by("+30d");
}

/// As a board without a battery comes up; whoever believes it stamps what it writes too early.
#[test]
fn a_clock_that_is_a_month_behind_costs_nothing() {
    one_clock_is_off_by("-30d");
}
