//! The keeper: the same plan from the same board, pauses after failures, and a pace of hand-overs.

use super::{SERVICE, Scene, host_id, label, revision, slot_on};
use crate::{
    cluster::body::{Placement, TaskReport},
    ids::Generation,
    schedule::{
        index::Index,
        keeper::{Decision, Keeper, Scope, Sight},
    },
    spec::options::HandOver,
    task::status::{Health, StopCode, TaskStatus},
    time::{Mono, Now, Span, Wall},
};
use std::collections::BTreeSet;

pub(super) fn at(ms: u64) -> Now {
    let mono = Mono(0) + Span::from_ms(ms);
    Now {
        mono,
        wall: Wall(ms),
    }
}

pub(super) fn plan(keeper: &mut Keeper, scene: &Scene, ms: u64) -> Vec<Decision> {
    let (mut index, returning) = (Index::of(&scene.board), BTreeSet::new());
    let sight = Sight {
        board: &scene.board,
        index: &mut index,
        returning: &returning,
        is_majority: true,
    };
    keeper.plan(at(ms), sight, scene.the_service(), &Scope::Whole)
}

pub(super) fn write(scene: &mut Scene, decisions: &[Decision]) {
    for decision in decisions {
        scene.slot(decision.index, decision.generation, decision.slot.clone());
    }
}

/// Three hosts, and a service of this many tasks.
pub(super) fn scene(desired: u32) -> Scene {
    let mut scene = Scene::default();
    for host in 1..=3 {
        scene.host(host);
    }
    scene.service(desired, 1, &[]);
    scene
}

/// As [`scene`], and each slot is served.
fn serving(desired: u32) -> Scene {
    let mut scene = scene(desired);
    let decisions = plan(&mut Keeper::default(), &scene, 0);
    write(&mut scene, &decisions);
    take_up(&mut scene, &decisions);
    scene
}

/// The hosts named run what they were given.
pub(super) fn take_up(scene: &mut Scene, decisions: &[Decision]) {
    for decision in decisions {
        let host = decision.slot.host.expect("there is room");
        let label = label(decision.index, decision.generation);
        let definition = decision.slot.revision.definition;
        scene.copy((host.0 >> 96) as u64, label, definition, |_| {});
    }
}

#[test]
fn two_keepers_with_one_board_decide_alike_and_what_is_written_needs_no_more() {
    let mut scene = scene(8);
    let one = plan(&mut Keeper::default(), &scene, 0);
    let other = plan(&mut Keeper::default(), &scene, 1_700);
    assert_eq!(one, other);
    assert_eq!(one.len(), 8);
    for host in 1..=3 {
        let given = one
            .iter()
            .filter(|d| d.slot.host == Some(host_id(host)))
            .count();
        assert!((2..=3).contains(&given), "{given} of 8 to host {host}");
    }
    let mut keeper = Keeper::default();
    write(&mut scene, &one);
    assert_eq!(plan(&mut keeper, &scene, 0), []);
    take_up(&mut scene, &one);
    assert_eq!(plan(&mut keeper, &scene, 100_000), []);
}

#[test]
fn the_slots_of_a_lost_host_go_to_the_others_and_no_others_move() {
    let mut scene = serving(9);
    scene.down(2);
    let decisions = plan(&mut Keeper::default(), &scene, 20_000);
    let lost: Vec<_> = scene
        .board
        .slots(SERVICE)
        .filter(|(_, _, slot)| slot.host == Some(host_id(2)))
        .map(|(index, ..)| index)
        .collect();
    assert_eq!(decisions.iter().map(|d| d.index).collect::<Vec<_>>(), lost);
    for decision in decisions {
        assert_ne!(decision.slot.host, Some(host_id(2)));
        assert_eq!((decision.generation, decision.slot.failures), (2, 0));
        assert_eq!(decision.slot.reason, "host h2 is down");
    }
}

/// Two sides of a split may write the same generation for the same host, of two definitions: the
/// later record holds, and the host started what the earlier one said.
#[test]
fn a_copy_of_another_definition_is_replaced_whatever_its_slot_says() {
    let mut scene = Scene::default();
    (1..=2).for_each(|host| scene.host(host));
    let old = scene.service(1, 1, &[]);
    let new = scene.service(1, 2, &[]);
    scene.slot(0, 2, slot_on(1, revision(new, 2)));
    let task = scene.copy(1, label(0, 2), old, |_| {});
    let decisions = plan(&mut Keeper::default(), &scene, 1_000);
    let [decision] = &decisions[..] else {
        panic!("{decisions:?}");
    };
    let host = host_id(1);
    assert_eq!(decision.slot.superseded, [Placement { host, task }]);
    let reason = "(service web) moves from web:1 to web:2";
    assert_eq!(decision.slot.reason, reason);
}

/// As where two clusters meet: the service comes first, and what its slots are after it.
#[test]
fn slots_of_a_service_that_is_not_new_are_waited_for() {
    let mut scene = Scene::default();
    (1..=2).for_each(|host| scene.host(host));
    scene.service(1, 1, &[]);
    let mut keeper = Keeper::default();
    assert_eq!(plan(&mut keeper, &scene, 5_000), []);
    assert_eq!(keeper.deadline(), Some(at(6_000).mono));
    assert!(!keeper.on_wake(at(6_000)).is_empty());
    assert_eq!(plan(&mut keeper, &scene, 6_000).len(), 1);
    assert_eq!(
        plan(&mut Keeper::default(), &scene, 1_000).len(),
        1,
        "a new one"
    );
}

#[test]
fn of_two_copies_that_wait_for_a_successor_one_is_enough() {
    let mut scene = Scene::default();
    (1..=2).for_each(|host| scene.host(host));
    let web = scene.service(1, 1, &[8080]);
    let older = scene.copy(1, label(0, 1), web, |_| {});
    let newer = scene.copy(2, label(0, 2), web, |report| {
        report.started_at = Some(Wall(20));
    });
    let at = |host, task| Placement {
        host: host_id(host),
        task,
    };
    let mut slot = slot_on(1, revision(web, 1));
    slot.host = None;
    slot.superseded = vec![at(1, older), at(2, newer)];
    scene.slot(0, 3, slot);
    let decisions = plan(&mut Keeper::default(), &scene, 1_000);
    let [decision] = &decisions[..] else {
        panic!("{decisions:?}");
    };
    assert_eq!(decision.slot.adopted, Some(older));
    assert_eq!(decision.slot.superseded, [at(2, newer)]);
}

/// How long after its failure a slot that failed so often before is handed over, if its task ran
/// for so long; and its failures from then on.
fn pause_ms(failures_before: u32, ran_ms: u64) -> (u64, u32) {
    let mut scene = scene(1);
    let web = scene.the_service().revision.definition;
    let mut slot = slot_on(1, revision(web, 1));
    slot.failures = failures_before;
    scene.slot(0, 1, slot);
    scene.copy(1, label(0, 1), web, |report| {
        (report.last, report.desired) = (TaskStatus::Stopped, TaskStatus::Stopped);
        report.stop_code = Some(StopCode::EssentialContainerExited);
        report.started_at = Some(Wall(10));
        report.stopped_at = Some(Wall(10 + ran_ms));
    });
    let (mut keeper, start) = (Keeper::default(), 100_000);
    let mut ms = start;
    loop {
        let decisions = plan(&mut keeper, &scene, ms);
        if let [decision] = &decisions[..] {
            return (ms - start, decision.slot.failures);
        }
        ms = keeper.deadline().expect("it comes back to it").0 / 1_000;
        assert!(!keeper.on_wake(at(ms)).is_empty());
    }
}

#[test]
fn the_first_failure_is_made_good_at_once_and_later_ones_ever_more_slowly() {
    let pauses: Vec<u64> = (0..12)
        .map(|before| pause_ms(before, 0).0 / 1_000)
        .collect();
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert!((0..12).all(|before| pause_ms(before, 0).1 == before + 1));
}

#[test]
fn a_task_that_crashes_a_while_after_it_began_is_slowed_down_too() {
    let (mut failures, mut pauses) = (0, Vec::new());
    for _ in 0..8 {
        let (pause, after) = pause_ms(failures, 12_000);
        failures = after;
        pauses.push(pause / 1_000);
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64]);
    // One that runs for longer each time is no crash loop.
    assert_eq!(pause_ms(1, 20_000), (0, 1));
    assert_eq!(pause_ms(4, 159_000), (8_000, 5));
    assert_eq!(pause_ms(4, 160_000), (0, 1));
    assert_eq!(pause_ms(50, 600_000), (0, 1));
}

#[test]
fn hasty_hand_overs_are_slowed_down_and_none_is_forgotten() {
    let mut scene = scene(1);
    let web = scene.the_service().revision.definition;
    let (mut keeper, mut ms, mut generation) = (Keeper::default(), 100_000, 1);
    let mut times = Vec::new();
    while times.len() < 8 {
        // Somebody gives the slot to a host that is down, again and again.
        scene.slot(0, generation, slot_on(2, revision(web, 1)));
        scene.down(2);
        let decisions = plan(&mut keeper, &scene, ms);
        if let [decision] = &decisions[..] {
            times.push(ms - 100_000);
            generation = decision.generation + 1;
        } else {
            ms = keeper.deadline().expect("it comes back to it").0 / 1_000;
            keeper.on_wake(at(ms));
        }
    }
    assert_eq!(times, [0, 0, 0, 400, 1_200, 2_800, 6_000, 12_400]);
}

#[test]
fn an_older_definition_is_rolled_a_quarter_at_a_time() {
    let mut scene = serving(8);
    let new = scene.service(8, 2, &[]);
    let (mut keeper, mut ms, mut rounds) = (Keeper::default(), 100_000, 0);
    loop {
        let decisions = plan(&mut keeper, &scene, ms);
        if decisions.is_empty() {
            break;
        }
        assert_eq!(decisions.len(), 2, "a quarter of 8");
        for decision in &decisions {
            assert_eq!(decision.slot.revision.definition, new);
            assert_eq!(
                decision.slot.superseded.len(),
                1,
                "the old copy serves until then"
            );
            assert_eq!(
                decision.slot.reason,
                "(service web) moves from web:1 to web:2"
            );
        }
        write(&mut scene, &decisions);
        assert_eq!(
            plan(&mut keeper, &scene, ms),
            [],
            "no more while these are under way"
        );
        take_up(&mut scene, &decisions);
        assert_eq!(
            plan(&mut keeper, &scene, ms),
            [],
            "nor while the old ones are there"
        );
        end_superseded(&mut scene, &decisions, new);
        (ms, rounds) = (ms + 1_000, rounds + 1);
    }
    assert_eq!(rounds, 4);
    let moved = scene
        .board
        .slots(SERVICE)
        .filter(|(.., s)| s.revision.definition == new);
    assert_eq!(moved.count(), 8);
}

fn end_superseded(scene: &mut Scene, decisions: &[Decision], new: crate::ids::Digest) {
    for decision in decisions {
        for old in &decision.slot.superseded {
            let before: Generation = decision.generation - 1;
            let host = (old.host.0 >> 96) as u64;
            let ended = scene.copy(host, label(decision.index, before), new, |report| {
                (report.last, report.desired) = (TaskStatus::Stopped, TaskStatus::Stopped);
            });
            assert_eq!(ended, old.task);
        }
    }
}

/// A service of two, of which one slot has begun to move to a revision with a copy as told.
fn half_moved(scene: &mut Scene, keeper: &mut Keeper, change: fn(&mut TaskReport)) -> Decision {
    let bad = scene.service(2, 2, &[]);
    let mut begun = plan(keeper, scene, 20_000);
    assert_eq!(begun.len(), 1, "one of two at a time");
    write(scene, &begun);
    let decision = begun.remove(0);
    let host = decision.slot.host.expect("there is room");
    let label = label(decision.index, decision.generation);
    scene.copy((host.0 >> 96) as u64, label, bad, change);
    decision
}

/// It held up each further update, and so its own replacement.
#[test]
fn what_never_is_ready_gives_its_slot_to_the_next_definition() {
    let (mut scene, mut keeper) = (serving(2), Keeper::default());
    let begun = half_moved(&mut scene, &mut keeper, |report| report.ready = false);
    assert_eq!(plan(&mut keeper, &scene, 40_000), [], "it is waited for");
    let good = scene.service(2, 3, &[]);
    let next = plan(&mut keeper, &scene, 60_000);
    let [next] = &next[..] else {
        panic!("{next:?}");
    };
    assert_eq!(next.slot.revision.definition, good);
    assert_eq!(next.index, begun.index);
    assert_eq!(next.slot.superseded.len(), 2, "{next:?}");
    assert_eq!(next.slot.superseded[1], begun.slot.superseded[0]);
    write(&mut scene, std::slice::from_ref(next));
    assert_eq!(plan(&mut keeper, &scene, 60_000), [], "one at a time");
}

/// Its predecessor was stopped to make room for another one of those that are not well.
#[test]
fn no_predecessor_that_is_well_makes_room_for_what_is_unhealthy() {
    let mut scene = Scene::default();
    // Room for three copies, of which one is a successor.
    scene.host_with(1, |report| report.capacity.memory_mib = 3 * 512);
    scene.service(2, 1, &[]);
    let first = plan(&mut Keeper::default(), &scene, 0);
    write(&mut scene, &first);
    take_up(&mut scene, &first);
    let mut keeper = Keeper::default();
    let begun = half_moved(&mut scene, &mut keeper, |report| {
        (report.health, report.ready) = (Health::Unhealthy, false);
    });
    let said = plan(&mut keeper, &scene, 40_000);
    let [said] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(said.generation, begun.generation, "nothing changes hands");
    assert_eq!(said.slot.superseded, begun.slot.superseded);
    assert_eq!(said.slot.order, HandOver::StartFirst);
    let reason = "waits to be replaced, since its task failed container health checks: no host \
                  can run it: of 1 host 1 refused by memory (needs 512 MiB, most free 0)";
    assert_eq!(said.slot.reason, reason);
}

#[test]
fn what_fits_nowhere_says_so_once_and_is_looked_at_again() {
    let mut scene = Scene::default();
    scene.host_with(1, |report| report.capacity.memory_mib = 300);
    scene.service(1, 1, &[]);
    let mut keeper = Keeper::default();
    let decisions = plan(&mut keeper, &scene, 0);
    let reason = "no host can run it: of 1 host 1 refused by memory (needs 512 MiB, most free 300)";
    assert_eq!(decisions[0].slot.host, None);
    assert_eq!(decisions[0].slot.reason, reason);
    write(&mut scene, &decisions);
    assert_eq!(plan(&mut keeper, &scene, 1), []);
    assert_eq!(keeper.deadline(), Some(at(5_000).mono));
    scene.host(2);
    let decisions = plan(&mut keeper, &scene, 5_000);
    assert_eq!(decisions[0].slot.host, Some(host_id(2)));
}
