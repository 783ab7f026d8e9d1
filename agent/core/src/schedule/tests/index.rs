//! The index, kept up record by record, is what a reading of the whole board would give.

use super::{SERVICE, Scene, definition, host_id, label, revision, slot_on};
use crate::{
    cluster::body::{
        Availability, Body, Directive, HostStatus, Key, RuntimeStatus, ServiceCount,
        ServiceSettings, Standing, Verdict,
    },
    rng::{self, Rng},
    schedule::index::Index,
    spec::options::ServiceOptions,
    task::status::TaskStatus,
    time::Wall,
};

/// Writes something at random; whatever it was, most of it is about the same few things.
fn disturb(scene: &mut Scene, rng: &mut Rng) {
    let host = rng.below(4) + 1;
    let (index, generation) = (rng.below(3) as u32, rng.below(4) + 1);
    let web = [definition("web1", &[80]), definition("web2", &[])];
    let number = rng.below(2) as usize;
    let digest = web[number].digest();
    let (key, epoch, body) = match rng.below(9) {
        0 => return disturb_host(scene, rng, host),
        1 => {
            let standing = [Standing::Suspect, Standing::Down][rng.below(2) as usize];
            let body = Body::Verdict(Verdict {
                standing,
                votes: vec![],
                silent_ms: 2_000,
            });
            (Key::Verdict(host_id(host)), rng.below(3) + 1, Some(body))
        }
        2 => {
            let availability = match rng.below(2) {
                0 => Availability::Active,
                _ => Availability::Drain,
            };
            let body = Body::Directive(Directive { availability });
            (Key::Directive(host_id(host)), 0, Some(body))
        }
        3 => {
            let desired = rng.below(4) as u32;
            let body = Body::ServiceCount(ServiceCount { desired });
            (Key::ServiceCount(SERVICE), 0, Some(body))
        }
        4 => {
            let mut slot = slot_on(host, revision(digest, 1));
            if rng.below(4) == 0 {
                slot.host = None;
            }
            return scene.slot(index, generation, slot);
        }
        5 => {
            let (name, created_at) = ("web".to_owned(), Wall(0));
            let settings = ServiceSettings {
                name,
                created_at,
                client_token: String::new(),
                options: ServiceOptions::default(),
            };
            let gone = rng.below(8) == 0;
            let body = (!gone).then_some(Body::ServiceSettings(settings));
            (Key::ServiceSettings(SERVICE), 0, body)
        }
        6 => {
            let body = Body::Definition(web[number].clone());
            (Key::Definition(digest), 0, Some(body))
        }
        7 if rng.below(4) == 0 => {
            let body = Body::ServiceRevision(revision(digest, 1));
            (Key::ServiceRevision(SERVICE), 0, Some(body))
        }
        _ => {
            let last = [
                TaskStatus::Pending,
                TaskStatus::Running,
                TaskStatus::Stopped,
            ];
            let last = last[rng.below(3) as usize];
            scene.copy(host, label(index, generation), digest, |r| r.last = last);
            return;
        }
    };
    scene.put(key, epoch, body);
}

fn disturb_host(scene: &mut Scene, rng: &mut Rng, host: u64) {
    let (restarting, able) = (rng.below(4) == 0, rng.below(3) > 0);
    let zone = (rng.below(2) == 0).then(|| "a".into());
    scene.host_in(host, rng.below(3) + 1, |report| {
        report.zone = zone;
        report.caught_up = able;
        if restarting {
            report.status = HostStatus::Restarting;
        }
        if !able {
            let reason = "gone".into();
            report.runtime = RuntimeStatus::Unavailable { reason };
        }
    });
}

#[test]
fn an_index_that_follows_the_board_is_the_index_of_the_board() {
    for seed in 0..60 {
        let mut rng = Rng::new(rng::mix(seed));
        let (mut scene, mut index) = (Scene::default(), Index::default());
        for step in 0..80 {
            disturb(&mut scene, &mut rng);
            let Some((old, new)) = scene.taken.take() else {
                continue;
            };
            index.on_record(&scene.board, old.as_deref(), &new);
            let anew = Index::of(&scene.board).shown();
            assert_eq!(
                index.shown(),
                anew,
                "seed {seed}, step {step}: {:?}",
                new.key
            );
        }
    }
}

/// What a change has touched, as `service` or as slot numbers.
fn touched(scene: &mut Scene, index: &mut Index) -> (bool, Vec<u32>) {
    let (old, new) = scene.taken.take().expect("it was taken");
    let touched = index.on_record(&scene.board, old.as_deref(), &new);
    let slots = touched.slots.into_iter().map(|(_, index)| index);
    (touched.services.contains(&SERVICE), slots.collect())
}

#[test]
fn a_change_touches_the_slots_that_it_is_about() {
    let mut scene = Scene::default();
    (1..=3).for_each(|host| scene.host(host));
    let web = scene.service(3, 1, &[]);
    for (slot, host) in [(0, 1), (1, 2), (2, 1)] {
        scene.slot(slot, 1, slot_on(host, revision(web, 1)));
        scene.copy(host, label(slot, 1), web, |_| {});
    }
    let mut index = Index::of(&scene.board);
    let keeper = index.keeper_of(SERVICE).expect("there are hosts");
    scene.copy(2, label(1, 1), web, |report| {
        report.last = TaskStatus::Stopped
    });
    assert_eq!(touched(&mut scene, &mut index), (false, vec![1]));
    scene.host_with(1, |report| report.agent_version = "2".into());
    assert_eq!(touched(&mut scene, &mut index), (false, vec![]));
    scene.down(1);
    let was_keeper = keeper == host_id(1);
    assert_eq!(touched(&mut scene, &mut index), (was_keeper, vec![0, 2]));
    let mut nowhere = slot_on(1, revision(web, 1));
    nowhere.host = None;
    scene.slot(2, 2, nowhere);
    assert_eq!(touched(&mut scene, &mut index), (false, vec![2]));
    scene.host(4);
    let now_keeper = index.keeper_of(SERVICE);
    let (whole, slots) = touched(&mut scene, &mut index);
    assert_eq!(slots, [2], "capacity grew");
    assert_eq!(whole, index.keeper_of(SERVICE) != now_keeper);
}
