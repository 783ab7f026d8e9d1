//! Agents come and go: killed, restarted, frozen, robbed of their state, lost with their host.

use e2e::{
    docker::Container,
    fleet::{Fleet, PATIENCE},
    wait::{holds, secs, until, wall_nanos},
};
use nix::sys::signal::Signal;
use serde_json::json;
use std::{fs, time::Duration};

/// What the design promises is 2 s for the verdict; the rest is for a machine busy with tests.
const RESTORED_WITHIN: Duration = secs(8);
/// Longer than any verdict takes.
const LONGER_THAN_DOWN: Duration = secs(4);

/// The containers and when each was started: a container that was restarted is another.
fn lives(fleet: &Fleet, containers: &[Container]) -> Vec<(String, String)> {
    let life = |c: &Container| (c.id.clone(), fleet.engine.started_at(&c.id));
    containers.iter().map(life).collect()
}

#[test]
fn a_killed_agent_adopts_its_containers_when_it_is_back() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    let before = fleet.await_count("web", 3);
    let lived = lives(&fleet, &before);
    let watch = fleet.engine.watch(&fleet.label());
    fleet.hosts[1].kill();
    fleet.start_all();
    let after = fleet.await_count("web", 3);
    assert_eq!(lives(&fleet, &after), lived);
    stays(&mut fleet, secs(2));
    assert_eq!(watch.drain(), [], "no container started or ended");
}

/// The count stays what it is, for so long.
fn stays(fleet: &mut Fleet, during: Duration) {
    let before = fleet.running("web");
    holds("nothing starts and nothing stops", during, || {
        let now = fleet.running("web");
        if now == before {
            Ok(())
        } else {
            Err(format!("{now:#?}"))
        }
    });
}

#[test]
fn an_agent_without_its_state_file_adopts_from_the_labels() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    let lived = lives(&fleet, &fleet.running("web"));
    let before = fleet.await_count("web", 3);
    let lived = if lived.len() == 3 {
        lived
    } else {
        lives(&fleet, &before)
    };
    let watch = fleet.engine.watch(&fleet.label());
    let host = &mut fleet.hosts[2];
    host.kill();
    fs::remove_file(host.state_dir().join("holdfast.redb")).expect("the store is there");
    fleet.start_all();
    let after = fleet.await_count("web", 3);
    assert_eq!(lives(&fleet, &after), lived);
    stays(&mut fleet, secs(2));
    assert_eq!(watch.drain(), [], "no container started or ended");
}

#[test]
fn a_lone_agent_without_its_state_file_stops_nothing() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    fleet.create_service("web", 2);
    let before = fleet.await_count("web", 2);
    let watch = fleet.engine.watch(&fleet.label());
    fleet.hosts[0].kill();
    fs::remove_file(fleet.hosts[0].state_dir().join("holdfast.redb")).expect("it is there");
    fleet.start_all();
    // Nobody is left who knows the service, and what runs healthily is not stopped for that.
    holds("its containers run", LONGER_THAN_DOWN, || {
        let now = fleet.running("web");
        if now == before {
            Ok(())
        } else {
            Err(format!("{now:#?}"))
        }
    });
    assert_eq!(watch.drain(), [], "no container started or ended");
}

#[test]
fn a_lost_host_is_replaced_by_the_others() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    fleet.await_count("web", 3);
    let watch = fleet.engine.watch(&fleet.label());
    let from = wall_nanos();
    fleet.lose_host(1);
    let started = watch.expect("start", RESTORED_WITHIN);
    let took = Duration::from_nanos(started.at_nanos.saturating_sub(from));
    println!("from loss to start: {took:?}");
    assert!(took < RESTORED_WITHIN, "{took:?}");
    let after = fleet.await_count("web", 3);
    let lost = fleet.hosts[1].id();
    assert!(
        after.iter().all(|container| container.host != lost),
        "{after:#?}"
    );
    let down = until("the others call it down", PATIENCE, || {
        let status = fleet.hosts[0].look("/v1/status")["hosts"].clone();
        (status["DOWN"] == json!(1))
            .then_some(status.clone())
            .ok_or(status.to_string())
    });
    assert_eq!(down["UP"], json!(2), "{down}");
}

#[test]
fn a_host_that_was_lost_and_comes_back_is_a_host_again() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    fleet.await_count("web", 3);
    fleet.lose_host(2);
    until("a replacement", RESTORED_WITHIN, || {
        match fleet.running("web").len() {
            3 => Ok(()),
            other => Err(format!("{other} run")),
        }
    });
    let before = fleet.await_count("web", 3);
    fleet.start_all();
    assert_eq!(
        fleet.await_count("web", 3),
        before,
        "its return moves nothing"
    );
    fleet.scale("web", 6);
    let back = fleet.hosts[2].id();
    let six = fleet.await_count("web", 6);
    assert!(
        six.iter().any(|container| container.host == back),
        "it is used: {six:#?}"
    );
}

#[test]
fn all_but_one_host_may_be_lost() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    fleet.await_count("web", 3);
    fleet.lose_host(0);
    fleet.lose_host(1);
    let after = fleet.await_count("web", 3);
    let last = fleet.hosts[2].id();
    assert!(
        after.iter().all(|container| container.host == last),
        "{after:#?}"
    );
}

#[test]
fn a_stopped_agent_leaves_its_tasks_and_nothing_moves() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    let before = fleet.await_count("web", 3);
    let watch = fleet.engine.watch(&fleet.label());
    let status = fleet.hosts[0].stop();
    assert!(status.success(), "SIGTERM is a clean end: {status}");
    stays(&mut fleet, LONGER_THAN_DOWN);
    fleet.start_all();
    assert_eq!(fleet.await_count("web", 3), before);
    assert_eq!(watch.drain(), [], "no container started or ended");
}

#[test]
fn an_agent_that_is_frozen_on_a_living_machine_moves_nothing() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    let before = fleet.await_count("web", 3);
    let watch = fleet.engine.watch(&fleet.label());
    fleet.hosts[1].signal(Signal::SIGSTOP);
    // Its kernel goes on answering in its place.
    holds("the count", 3 * LONGER_THAN_DOWN, || {
        match fleet.running("web").len() {
            3 => Ok(()),
            other => Err(format!("{other} run")),
        }
    });
    fleet.hosts[1].signal(Signal::SIGCONT);
    fleet.await_up(3);
    assert_eq!(fleet.await_count("web", 3), before);
    assert_eq!(watch.drain(), [], "no container started or ended");
}

#[test]
fn an_agent_that_was_frozen_until_it_was_replaced_ends_with_one_copy_for_each_slot() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    for _ in 0..3 {
        // Then an agent that is silent is down, whatever its machine says.
        fleet.add().set("impaired-grace-s", "0");
    }
    fleet.start_all();
    fleet.create_service("web", 3);
    fleet.await_count("web", 3);
    fleet.hosts[1].signal(Signal::SIGSTOP);
    until("its copy is replaced", RESTORED_WITHIN, || {
        match fleet.running("web").len() {
            4 => Ok(()),
            other => Err(format!("{other} run")),
        }
    });
    fleet.hosts[1].signal(Signal::SIGCONT);
    fleet.await_up(3);
    fleet.await_count("web", 3);
    stays(&mut fleet, secs(2));
}

#[test]
fn all_agents_may_be_killed_at_once() {
    let Some(mut fleet) = Fleet::start(3) else {
        return;
    };
    fleet.create_service("web", 3);
    let before = fleet.await_count("web", 3);
    let watch = fleet.engine.watch(&fleet.label());
    fleet.hosts.iter_mut().for_each(e2e::host::Host::kill);
    fleet.start_all();
    assert_eq!(fleet.await_count("web", 3), before);
    stays(&mut fleet, secs(2));
    assert_eq!(watch.drain(), [], "no container started or ended");
}
