//! Docker fails, hangs, answers nothing or tells wrong events: the counts are right all the same.

use crate::{CALM, COUNT};
use e2e::{
    lab::{
        fleet::LabFleet,
        proxy::{Meddling, Rule},
    },
    wait::{holds, secs, until, wall_nanos},
};
use std::time::Duration;

/// How often the agents compare all containers with what Docker has, beside its events.
const COMPARED_EVERY_S: u64 = 4;
/// A failure is tried again, with pauses that grow; a slow machine takes its time.
const MADE_GOOD_WITHIN: Duration = secs(60);

/// Three hosts whose agents see Docker through proxies that behave, and a service.
fn proxied_fleet() -> Option<LabFleet> {
    let mut fleet = LabFleet::up(3, &[])?;
    fleet.put_proxies();
    for host in &mut fleet.hosts {
        host.set("docker-resync-s", &COMPARED_EVERY_S.to_string());
    }
    fleet.start_all();
    fleet.create_service("web", COUNT);
    fleet.await_agreed("web", COUNT);
    Some(fleet)
}

fn rule(meddling: Meddling, line_has: &'static str, times: usize) -> Rule {
    Rule {
        meddling,
        line_has,
        times,
    }
}

/// That no container is there that was made and never started.
#[track_caller]
fn await_no_orphan(fleet: &LabFleet) {
    until("no container is left over", MADE_GOOD_WITHIN, || {
        for index in 0..fleet.hosts.len() {
            let all = fleet.containers_on(index)?;
            if let Some(orphan) = all.iter().find(|container| container.state == "created") {
                return Err(format!("{orphan:?}"));
            }
        }
        Ok(())
    });
}

/// Meddles on one host while twice as many tasks are asked for, and wants them all in the end.
fn grows_in_spite_of(meddled: &Rule) {
    let Some(mut fleet) = proxied_fleet() else {
        return;
    };
    fleet.meddle(0, meddled.clone());
    fleet.scale("web", 2 * COUNT);
    until("the rule is met", MADE_GOOD_WITHIN, || match fleet.met(0) {
        0 => Err("no such request".to_owned()),
        _ => Ok(()),
    });
    fleet.await_running("web", 2 * COUNT, MADE_GOOD_WITHIN);
    fleet.behave(0);
    fleet.await_agreed("web", 2 * COUNT);
    await_no_orphan(&fleet);
    fleet.stays(CALM);
}

#[test]
fn a_container_whose_creation_was_not_answered_is_no_orphan() {
    grows_in_spite_of(&rule(Meddling::LoseAnswer, "/containers/create", 2));
}

#[test]
fn a_container_whose_start_was_not_answered_is_counted() {
    grows_in_spite_of(&rule(Meddling::LoseAnswer, "/start", 2));
}

#[test]
fn a_docker_that_fails_to_start_containers_for_a_while_is_made_good() {
    grows_in_spite_of(&rule(Meddling::Fail, "/start", 3));
}

/// Longer than it takes to be held for unavailable. What it was asked, it does in the end.
#[test]
fn a_docker_that_hangs_while_a_service_grows_is_made_good_when_it_goes_on() {
    let Some(mut fleet) = proxied_fleet() else {
        return;
    };
    fleet.meddle(0, rule(Meddling::Hang, "HTTP", usize::MAX));
    fleet.scale("web", 2 * COUNT);
    holds("no task is lacking that ran", secs(25), || {
        let living: usize = fleet.living().iter().map(Vec::len).sum();
        if living >= COUNT as usize {
            Ok(())
        } else {
            Err(format!("{living} live"))
        }
    });
    assert!(fleet.behave(0) > 0, "nothing was asked of it");
    fleet.await_agreed("web", 2 * COUNT);
    await_no_orphan(&fleet);
    fleet.stays(CALM);
}

#[test]
fn a_container_whose_end_was_not_told_is_replaced() {
    let Some(mut fleet) = proxied_fleet() else {
        return;
    };
    fleet.meddle(0, rule(Meddling::LoseEvents, "/events", usize::MAX));
    let victim = fleet.containers_on(0).expect("Docker answers")[0].clone();
    let from = wall_nanos();
    fleet.ground(0).engine().kill(&victim.id);
    fleet.note("killed a container of h1");
    // It is compared, seen, and replaced.
    let within = secs(COMPARED_EVERY_S) + secs(5);
    fleet.await_running("web", COUNT, within);
    println!(
        "untold end, replaced after {:?}",
        fleet.last_start_after(from)
    );
    assert!(fleet.behave(0) > 0, "no event was lost");
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
}

#[test]
fn events_that_are_told_twice_replace_a_container_once() {
    let Some(mut fleet) = proxied_fleet() else {
        return;
    };
    for index in 0..3 {
        fleet.meddle(index, rule(Meddling::DoubleEvents, "/events", usize::MAX));
    }
    let from = wall_nanos();
    let victim = fleet.containers_on(1).expect("Docker answers")[0].clone();
    fleet.ground(1).engine().kill(&victim.id);
    fleet.note("killed a container of h2");
    until("it is gone", secs(5), || {
        match fleet.living()[1].contains(&victim.id) {
            false => Ok(()),
            true => Err("it lives".to_owned()),
        }
    });
    fleet.await_agreed("web", COUNT);
    fleet.stays(CALM);
    let moves = fleet.moves_since(from);
    assert_eq!(
        (moves.started.len(), moves.ended.len()),
        (1, 1),
        "{moves:#?}"
    );
    assert!(fleet.behave(1) > 0, "no event was doubled");
}
