//! The fate of a copy, case by case: what the slot says, what the copy is, and what becomes of it.

use super::{SERVICE, Scene, host_id, label, revision, slot_on, task_id};
use crate::{
    cluster::body::{Key, Placement, RuntimeStatus, Slot},
    ids::{Digest, TaskId},
    schedule::copy::{Fate, fate},
    spec::options::HandOver,
    task::status::{Health, TaskStatus},
};

/// Host 1 runs our copy, of slot 0 at generation 3; host 2 is another one.
const MINE: u64 = 3;

fn us() -> TaskId {
    task_id(1, MINE << 32)
}

fn scene() -> Scene {
    let mut scene = Scene::default();
    scene.host(1);
    scene.host(2);
    let digest = scene.service(1, 1, &[]);
    scene.copy(1, label(0, MINE), digest, |_| {});
    scene
}

fn slot(host: u64) -> Slot {
    slot_on(host, revision(Digest::default(), 1))
}

/// To host 2, with our copy to serve until it does.
fn successor() -> Slot {
    let superseded = vec![Placement {
        host: host_id(1),
        task: us(),
    }];
    Slot {
        superseded,
        ..slot(2)
    }
}

fn check(case: &str, arrange: impl FnOnce(&mut Scene), expected: &str) {
    let mut scene = scene();
    arrange(&mut scene);
    let told = match fate(&scene.board, (host_id(1), us()), &label(0, MINE)) {
        Fate::Serve => "serve".to_owned(),
        Fate::TakeOver(generation) => format!("take over {generation}"),
        Fate::Replaced => "replaced".to_owned(),
        Fate::Stop { reason } => format!("stop: {reason}"),
        Fate::GiveWay { reason } => format!("give way: {reason}"),
    };
    assert_eq!(told, expected, "{case}");
}

#[test]
fn a_copy_serves_while_nothing_says_otherwise() {
    let serves = |case, arrange: fn(&mut Scene)| check(case, arrange, "serve");
    serves("no slot is known", |_| {});
    serves("the slot names it", |s| s.slot(0, MINE, slot(1)));
    serves("the slot is of an earlier generation", |s| {
        s.slot(0, 2, slot(2))
    });
    serves("the slot has adopted it before", |s| {
        let adopted = Some(us());
        s.slot(0, MINE, Slot { adopted, ..slot(1) });
    });
    serves("the service is not known here", |s| {
        s.board = Scene::default().board;
        s.host(1);
    });
}

#[test]
fn a_copy_stops_when_its_service_has_no_place_for_it() {
    let gone = "stop: (service web) was deleted";
    check(
        "deleted",
        |s| s.put(Key::ServiceSettings(SERVICE), 1, None),
        gone,
    );
    check(
        "scaled down",
        |s| {
            s.service(0, 1, &[]);
        },
        "stop: (service web) was scaled to 0",
    );
}

#[test]
fn a_copy_that_was_replaced_without_being_asked_runs_on_and_says_so() {
    let replaced = |case, arrange: fn(&mut Scene)| check(case, arrange, "replaced");
    replaced("to another host", |s| s.slot(0, 4, slot(2)));
    replaced("to another host, at the same generation", |s| {
        s.slot(0, MINE, slot(2))
    });
    replaced("to another task of its host", |s| {
        let adopted = Some(task_id(1, 99));
        s.slot(0, MINE, Slot { adopted, ..slot(1) });
    });
    replaced("to a new task of its host", |s| s.slot(0, 4, slot(1)));
    replaced("to nobody", |s| {
        s.slot(
            0,
            4,
            Slot {
                host: None,
                ..slot(1)
            },
        )
    });
}

#[test]
fn a_copy_takes_over_the_generation_that_adopts_it() {
    check(
        "adopted",
        |s| {
            let adopted = Some(us());
            s.slot(0, 9, Slot { adopted, ..slot(1) });
        },
        "take over 9",
    );
}

#[test]
fn an_unhealthy_copy_gives_way_to_whoever_runs() {
    check(
        "its successor is not ready yet",
        |s| {
            s.slot(0, 4, successor());
            s.copy(1, label(0, MINE), Digest::default(), |r| {
                (r.health, r.ready) = (Health::Unhealthy, false)
            });
            s.copy(2, label(0, 4), Digest::default(), |r| r.ready = false);
        },
        "give way: so it was decided",
    );
}

/// Else those of revisions that never become ready would pile up.
#[test]
fn a_copy_that_is_not_ready_gives_way_to_whoever_runs_where_another_one_serves() {
    let arrange = |scene: &mut Scene, is_the_other_ready: bool| {
        let digest = Digest::default();
        let other = scene.copy(1, label(0, 2), digest, |r| r.ready = is_the_other_ready);
        let mut slot = successor();
        slot.superseded.push(Placement {
            host: host_id(1),
            task: other,
        });
        scene.slot(0, 4, slot);
        scene.copy(1, label(0, MINE), digest, |r| r.ready = false);
        scene.copy(2, label(0, 4), digest, |r| r.ready = false);
    };
    let gives_way = "give way: so it was decided";
    check("another one serves", |s| arrange(s, true), gives_way);
    check("none does", |s| arrange(s, false), "serve");
}

#[test]
fn a_superseded_copy_serves_until_its_successor_is_vouched_for() {
    let serves = |case, arrange: fn(&mut Scene)| check(case, arrange, "serve");
    serves("no word of the successor", |s| s.slot(0, 4, successor()));
    serves("it is only starting", |s| {
        s.slot(0, 4, successor());
        s.copy(2, label(0, 4), Digest::default(), |r| {
            r.last = TaskStatus::Activating
        });
    });
    serves("it is unhealthy", |s| {
        s.slot(0, 4, successor());
        s.copy(2, label(0, 4), Digest::default(), |r| {
            (r.health, r.ready) = (Health::Unhealthy, false)
        });
    });
    serves("it is told to stop", |s| {
        s.slot(0, 4, successor());
        s.copy(2, label(0, 4), Digest::default(), |r| {
            r.desired = TaskStatus::Stopped
        });
    });
    serves("it runs at an earlier generation", |s| {
        s.slot(0, 4, successor());
        s.copy(2, label(0, 2), Digest::default(), |_| {});
    });
    serves("it serves another slot", |s| {
        s.slot(0, 4, successor());
        s.copy(2, label(1, 4), Digest::default(), |_| {});
    });
    serves("it runs on a host that the slot does not name", |s| {
        s.host(3);
        s.slot(0, 4, successor());
        s.copy(3, label(0, 4), Digest::default(), |_| {});
    });
    serves("its host is down", |s| {
        s.slot(0, 4, successor());
        s.copy(2, label(0, 4), Digest::default(), |_| {});
        s.down(2);
    });
    serves("its host's container runtime does not answer", |s| {
        s.slot(0, 4, successor());
        s.copy(2, label(0, 4), Digest::default(), |_| {});
        let reason = "gone".into();
        s.host_with(2, |host| {
            host.runtime = RuntimeStatus::Unavailable { reason }
        });
    });
}

#[test]
fn a_superseded_copy_gives_way_to_a_successor_that_serves() {
    let reason = "give way: so it was decided";
    check(
        "it runs",
        |s| {
            s.slot(0, 4, successor());
            s.copy(2, label(0, 4), Digest::default(), |_| {});
        },
        reason,
    );
    check(
        "it runs at a later generation",
        |s| {
            s.slot(0, 4, successor());
            s.copy(2, label(0, 6), Digest::default(), |_| {});
        },
        reason,
    );
}

#[test]
fn a_stop_first_order_does_not_wait() {
    check(
        "stop-first",
        |s| {
            let order = HandOver::StopFirst;
            s.slot(
                0,
                4,
                Slot {
                    order,
                    ..successor()
                },
            );
        },
        "stop: so it was decided",
    );
}
