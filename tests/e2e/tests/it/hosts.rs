//! Hosts go on purpose: drained, leaving, forgotten; and come back.

use e2e::{
    docker::Watch,
    fleet::{Fleet, PATIENCE},
    host::text_of,
    wait::until,
};
use serde_json::json;

/// Where each slot of `web` runs, by the indexes of the hosts.
fn places(fleet: &Fleet) -> Vec<usize> {
    let running = fleet.running("web");
    running.iter().map(|c| fleet.index_of(&c.host)).collect()
}

/// That since the watch began with so many, there was no moment in which fewer ran.
#[track_caller]
fn never_fewer(watch: &Watch, began_with: usize) {
    let events = watch.drain();
    let (mut running, mut fewest) = (began_with, began_with);
    for event in &events {
        match event.action.as_str() {
            "start" => running += 1,
            "die" => running -= 1,
            _ => {}
        }
        fewest = fewest.min(running);
    }
    assert_eq!(fewest, began_with, "{events:?}");
}

#[test]
fn a_drained_host_becomes_empty_with_no_moment_below_the_count_and_takes_tasks_again() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    fleet.await_count("web", 3);
    let watch = fleet.engine.watch(&fleet.label());
    let name = fleet.hosts[1].name.clone();
    fleet.hosts[0].cli_ok(&["host", "drain", &name, "--wait", "--timeout", "60"]);
    fleet.await_count("web", 3);
    assert!(!places(&fleet).contains(&1), "{:?}", places(&fleet));
    never_fewer(&watch, 3);
    let listed = fleet.hosts[2].cli_ok(&["host", "ls"]);
    assert!(listed.contains("DRAINING"), "{listed}");
    fleet.hosts[2].cli_ok(&["host", "activate", &name]);
    fleet.scale("web", 6);
    fleet.await_count("web", 6);
    assert!(places(&fleet).contains(&1), "{:?}", places(&fleet));
}

#[test]
fn a_host_that_leaves_moves_its_tasks_first_and_is_back_when_it_is_started() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    fleet.await_count("web", 3);
    let watch = fleet.engine.watch(&fleet.label());
    let said = fleet.hosts[2].cli_ok(&["leave"]);
    assert!(said.contains("has left the cluster"), "{said}");
    assert_eq!(fleet.hosts[2].ended().code(), Some(5));
    let left = fleet.hosts[0].look(&format!("/v1/hosts/{}", fleet.hosts[2].id()));
    assert_eq!(
        left["host"]["holdfast"]["standing"],
        json!("LEFT"),
        "{left}"
    );
    fleet.await_count("web", 3);
    assert!(!places(&fleet).contains(&2), "{:?}", places(&fleet));
    never_fewer(&watch, 3);
    fleet.start_all();
}

#[test]
fn the_last_host_does_not_leave_unless_it_must() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    fleet.create_service("web", 2);
    fleet.await_count("web", 2);
    let refused = fleet.hosts[0].cli(&["leave"]);
    assert_eq!(refused.status.code(), Some(1));
    let why = text_of(&refused.stderr);
    assert!(why.contains("no other host is up"), "{why}");
    fleet.hosts[0].cli_ok(&["leave", "--force"]);
    assert_eq!(fleet.hosts[0].ended().code(), Some(5));
    fleet.await_count("web", 0);
    fleet.start_all();
    fleet.await_count("web", 2);
}

#[test]
fn a_lost_host_is_forgotten_and_one_that_is_up_is_not() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    let (up, gone) = (fleet.hosts[1].name.clone(), fleet.hosts[2].name.clone());
    let refused = fleet.hosts[0].cli(&["host", "forget", &up]);
    assert_eq!(refused.status.code(), Some(1));
    let why = text_of(&refused.stderr);
    assert!(why.contains("is up"), "{why}");
    fleet.lose_host(2);
    until("it is down", PATIENCE, || {
        let told = fleet.hosts[0].look(&format!("/v1/hosts/{gone}"));
        match told["host"]["holdfast"]["standing"].as_str() {
            Some("DOWN") => Ok(()),
            _ => Err(told.to_string()),
        }
    });
    fleet.hosts[0].cli_ok(&["host", "forget", &gone]);
    until("nobody lists it", PATIENCE, || {
        let told = fleet.hosts[1].look("/v1/hosts");
        let count = told["hosts"].as_array().map_or(0, Vec::len);
        if count == 2 {
            Ok(())
        } else {
            Err(told.to_string())
        }
    });
    // It was not dead after all.
    fleet.start_all();
}
