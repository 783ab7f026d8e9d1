//! Slots of runs: what ends them, what is tried again, and what is lost or called off.

use super::{
    SERVICE, Scene, definition, host_id,
    keeper::{plan, take_up, write},
    label, revision,
};
use crate::{
    cluster::{
        body::{Body, Key, ServiceSettings, StopOrder, TaskReport},
        run::{Ended, Run, title},
    },
    ids::{HostId, TaskId},
    schedule::{
        copy::{Fate, fate},
        keeper::{Decision, Keeper},
    },
    spec::{
        options::ServiceOptions,
        run::{OnLost, RunOptions},
    },
    task::status::{StopCode, TaskStatus},
    time::Wall,
};
use expect_test::expect;

/// Three hosts, and a run of one task, on a host that was chosen or on any.
fn asked(options: RunOptions, hosts: Vec<HostId>) -> Scene {
    let mut scene = Scene::default();
    for host in 1..=3 {
        scene.host(host);
    }
    let definition = definition("job", &[]);
    let digest = definition.digest();
    let body = Body::Definition(definition);
    scene.put(Key::Definition(digest), 0, Some(body));
    let run = Run {
        settings: ServiceSettings {
            name: Run::name(None, SERVICE),
            created_at: Wall(0),
            client_token: String::new(),
            options: ServiceOptions::default(),
        },
        revision: revision(digest, 1),
        overridden: None,
        tasks: vec![TaskId(77)],
        options,
        group: String::new(),
        started_by: String::new(),
        overrides: String::new(),
        hosts,
    };
    scene.put(Key::Run(SERVICE), 0, Some(Body::Run(run)));
    scene
}

/// The run has begun.
fn begun(options: RunOptions) -> (Scene, Keeper, Decision) {
    let mut scene = asked(options, Vec::new());
    let mut keeper = Keeper::default();
    let decisions = plan(&mut keeper, &scene, 0);
    let [first] = &decisions[..] else {
        panic!("one slot is given out: {decisions:#?}");
    };
    write(&mut scene, &decisions);
    take_up(&mut scene, &decisions);
    (scene, keeper, first.clone())
}

/// Its task is reported again, as changed.
fn say(scene: &mut Scene, decision: &Decision, change: impl FnOnce(&mut TaskReport)) {
    let host = decision.slot.host.expect("it was given to one");
    let label = label(0, decision.generation);
    let definition = decision.slot.revision.definition;
    scene.copy((host.0 >> 96) as u64, label, definition, change);
}

fn stopped(code: StopCode, ran_ms: u64) -> impl FnOnce(&mut TaskReport) {
    move |report| {
        (report.desired, report.last) = (TaskStatus::Stopped, TaskStatus::Stopped);
        report.stop_code = Some(code);
        report.stopping_at = Some(Wall(10 + ran_ms));
        report.stopped_at = Some(Wall(20 + ran_ms));
        report.stopped_reason = "so it was".into();
    }
}

/// What the keeper decides next, in one line; it is written.
fn next(scene: &mut Scene, keeper: &mut Keeper, ms: u64) -> String {
    let decisions = plan(keeper, scene, ms);
    write(scene, &decisions);
    let told = decisions.iter().map(|decision| {
        let slot = &decision.slot;
        let end = slot.end.as_ref().map_or("open", |end| end.how.as_str());
        let (generation, tried) = (decision.generation, slot.tried);
        format!("g{generation} tried {tried} {end}: {}", slot.reason)
    });
    told.collect::<Vec<_>>().join("\n")
}

fn gone_to(scene: &Scene) -> Option<u64> {
    let (_, slot) = scene.board.slot(SERVICE, 0)?;
    slot.host.map(|host| (host.0 >> 96) as u64)
}

const RETRIED: RunOptions = RunOptions {
    retries: 1,
    timeout_s: Some(60),
    on_lost: OnLost::Report,
    remove: false,
};

#[test]
fn what_has_ended_well_is_not_begun_again_whatever_becomes_of_its_report() {
    let (mut scene, mut keeper, first) = begun(RETRIED);
    say(
        &mut scene,
        &first,
        stopped(StopCode::EssentialContainerExited, 500),
    );
    expect!["g1 tried 0 SUCCEEDED: its task stopped: so it was"].assert_eq(&next(
        &mut scene,
        &mut keeper,
        1_000,
    ));
    assert_eq!(scene.board.run_ended_at(SERVICE), Some(Wall(520)));
    let task = super::task_id(gone_to(&scene).expect("it names a host"), 1 << 32);
    let key = Key::Task(first.slot.host.expect("it has one"), task);
    assert!(scene.board.record(&key).is_some());
    scene.put(key, 1, None);
    assert_eq!(next(&mut scene, &mut Keeper::default(), 100_000), "");
}

#[test]
fn what_fails_is_tried_as_often_as_was_asked_for() {
    let (mut scene, mut keeper, first) = begun(RETRIED);
    say(&mut scene, &first, stopped(StopCode::TaskFailedToStart, 0));
    expect!["g2 tried 1 open: its task stopped: so it was"].assert_eq(&next(
        &mut scene,
        &mut keeper,
        1_000,
    ));
    let again = Decision {
        generation: 2,
        slot: scene.board.slot(SERVICE, 0).expect("it is there").1.clone(),
        ..first
    };
    say(&mut scene, &again, stopped(StopCode::TaskFailedToStart, 0));
    expect!["g2 tried 1 FAILED: its task stopped: so it was"].assert_eq(&next(
        &mut scene,
        &mut keeper,
        2_000,
    ));
    assert_eq!(next(&mut scene, &mut Keeper::default(), 100_000), "");
}

#[test]
fn a_refusal_is_no_try() {
    let (mut scene, mut keeper, first) = begun(RunOptions::default());
    say(&mut scene, &first, |report| {
        stopped(StopCode::TaskFailedToStart, 0)(report);
        report.refused = true;
    });
    expect!["g2 tried 0 open: its task stopped: so it was"].assert_eq(&next(
        &mut scene,
        &mut keeper,
        1_000,
    ));
}

#[test]
fn whoever_stops_it_or_lets_its_time_pass_is_told_apart() {
    let (mut scene, mut keeper, first) = begun(RETRIED);
    say(&mut scene, &first, stopped(StopCode::UserInitiated, 500));
    expect!["g1 tried 0 STOPPED: its task stopped: so it was"].assert_eq(&next(
        &mut scene,
        &mut keeper,
        1_000,
    ));
    let (mut scene, mut keeper, first) = begun(RETRIED);
    let overtime = scene.board.run(SERVICE).and_then(Run::overtime);
    let overtime = overtime.expect("its time is limited");
    // Whatever its host's clock has shown meanwhile.
    say(&mut scene, &first, |report| {
        stopped(StopCode::UserInitiated, 10)(report);
        report.stopped_reason = format!("{overtime}; main exited with 143").into();
    });
    let ruled = next(&mut scene, &mut keeper, 61_000);
    assert!(
        ruled.starts_with("g2 tried 1 open: its task stopped: "),
        "{ruled}"
    );
}

#[test]
fn what_is_lost_is_reported_until_it_is_back_or_is_begun_elsewhere_where_asked() {
    let (mut scene, mut keeper, first) = begun(RETRIED);
    let host = gone_to(&scene).expect("it names a host");
    scene.down(host);
    let lost = format!("g1 tried 0 LOST: host h{host} is down");
    assert_eq!(next(&mut scene, &mut keeper, 20_000), lost);
    assert_eq!(next(&mut scene, &mut keeper, 40_000), "");
    // It was not dead, and its task runs on.
    scene.host_in(host, 2, |_| {});
    let label = label(0, 1);
    let digest = first.slot.revision.definition;
    let task = scene.copy(host, label.clone(), digest, |_| {});
    let body = scene.board.task_at(host_id(host), task).cloned();
    scene.put(Key::Task(host_id(host), task), 2, body.map(Body::Task));
    expect!["g1 tried 0 open: its host is back, and its task runs on"].assert_eq(&next(
        &mut scene,
        &mut keeper,
        60_000,
    ));
    assert_eq!(
        fate(&scene.board, (host_id(host), task), &label),
        Fate::Serve
    );

    let rerun = RunOptions {
        on_lost: OnLost::Rerun,
        ..RETRIED
    };
    let (mut scene, mut keeper, _) = begun(rerun);
    let host = gone_to(&scene).expect("it names a host");
    scene.down(host);
    let again = format!("g2 tried 0 open: host h{host} is down");
    assert_eq!(next(&mut scene, &mut keeper, 20_000), again);
    assert_ne!(gone_to(&scene), Some(host));
}

#[test]
fn a_task_is_neither_moved_nor_replaced_and_can_be_called_off_before_it_begins() {
    let (mut scene, mut keeper, first) = begun(RETRIED);
    say(&mut scene, &first, |report| {
        report.health = crate::task::status::Health::Unhealthy;
    });
    let host = gone_to(&scene).expect("it names a host");
    scene.host_with(host, |report| {
        report.status = crate::cluster::body::HostStatus::Leaving;
    });
    assert_eq!(next(&mut scene, &mut keeper, 100_000), "");

    let (mut scene, mut keeper, first) = begun(RETRIED);
    let host = first.slot.host.expect("it was given to one");
    let task = super::task_id((host.0 >> 96) as u64, 1 << 32);
    scene.put(Key::Task(host, task), 1, None);
    let order = StopOrder {
        reason: "enough".to_owned(),
    };
    let order = Some(Body::StopOrder(order));
    scene.put(Key::StopOrder(TaskId(77)), 0, order);
    assert_eq!(scene.board.unused_name(SERVICE, 0), None);
    expect!["g1 tried 0 STOPPED: it was called off before it began"].assert_eq(&next(
        &mut scene,
        &mut keeper,
        1_000,
    ));
    let (_, slot) = scene.board.slot(SERVICE, 0).expect("it is there");
    assert_eq!(slot.end.as_ref().map(|end| end.how), Some(Ended::Stopped));
}

#[test]
fn a_run_is_called_one() {
    assert_eq!(title(&Run::name(None, SERVICE)), "(run 0000000000000000)");
    assert_eq!(title("web"), "(service web)");
}

#[test]
fn a_task_for_a_chosen_host_goes_nowhere_else_and_ends_with_that_host() {
    let mut scene = asked(RETRIED, vec![host_id(3)]);
    let mut keeper = Keeper::default();
    assert_eq!(plan(&mut keeper, &scene, 0)[0].slot.host, Some(host_id(3)));
    let mut scene_without = asked(RETRIED, vec![host_id(9)]);
    let mut keeper = Keeper::default();
    let waits = next(&mut scene_without, &mut keeper, 0);
    assert!(
        waits.contains("open: no host can run it: the one that was chosen"),
        "{waits}"
    );
    scene_without.put(Key::Host(host_id(9)), 9, None);
    let ended = next(&mut scene_without, &mut keeper, 6_000);
    assert!(
        ended.ends_with("LOST: the host that was chosen for it has gone"),
        "{ended}"
    );
    // Also where nothing was decided before.
    scene.put(Key::Host(host_id(3)), 9, None);
    let ended = next(&mut scene, &mut Keeper::default(), 0);
    assert!(
        ended.ends_with("LOST: the host that was chosen for it has gone"),
        "{ended}"
    );
}
