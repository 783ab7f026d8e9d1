//! Events of a real engine that are lost, doubled, repeated or garbled by a proxy.

use super::{proxy::Fault, story::Story};
use holdfast_core::task::runtime::{Exit, Observed, ObservedStatus, RuntimeEvent};
use std::sync::{Arc, Mutex};

/// Loses all events of these kinds.
fn without(kinds: &'static [&'static str]) -> Fault {
    Fault::Events(Box::new(|event| {
        let is_meant = |kind: &&str| event.contains(&format!("{kind:?}"));
        match kinds.iter().any(is_meant) {
            true => vec![],
            false => vec![event.to_owned()],
        }
    }))
}

/// Lists, and counts what was told until the list came: exits and removals.
async fn listed_after(story: &mut Story) -> (Vec<Observed>, usize, usize) {
    story.list();
    let (mut exits, mut removals) = (0, 0);
    loop {
        let next = story.until("anything", Ok).await;
        match next {
            RuntimeEvent::Listed(listed) => return (listed, exits, removals),
            RuntimeEvent::Exited { .. } => exits += 1,
            RuntimeEvent::Removed { .. } => removals += 1,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_lost_death_and_a_lost_removal_are_found_by_the_next_comparison() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let (_, id) = story.running(1, "run").await;
    assert_eq!(story.listed().await.len(), 1);
    let no_death = proxy.arm(&["/events?"], without(&["die"]));
    story.kill(id).await;
    no_death.met(1).await;
    let (listed, exits, removals) = listed_after(&mut story).await;
    assert!(
        matches!(
            &listed[..],
            [Observed {
                status: ObservedStatus::Exited(Exit {
                    code: Some(137),
                    ..
                }),
                ..
            }]
        ),
        "{listed:?}"
    );
    no_death.lift();
    let no_removal = proxy.arm(&["/events?"], without(&["destroy", "remove"]));
    story.remove_by_force(id).await;
    no_removal.met(1).await;
    assert_eq!(listed_after(&mut story).await, (vec![], 0, 0));
    assert_eq!((exits, removals), (0, 0));
}

#[tokio::test]
async fn an_event_that_is_told_twice_changes_nothing_more() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let twice = |event: &str| vec![event.to_owned(); 2];
    let doubled = proxy.arm(&["/events?"], Fault::Events(Box::new(twice)));
    let mut create = story.create(1, "hoard");
    create.container.memory_mib = 8;
    let id = story.created(&create).await;
    story.start(&create, id);
    let first = story.exited(&create).await;
    assert_eq!(first.code, Some(137));
    assert_eq!(story.exited(&create).await.code, Some(137));
    let (listed, _, _) = listed_after(&mut story).await;
    assert_eq!(listed.len(), 1);
    story.remove(&create, id);
    story.removed(&create).await;
    doubled.met(2).await;
    let (listed, _, _) = listed_after(&mut story).await;
    assert_eq!(listed, []);
}

/// As a stream does that begins again at an earlier time.
#[tokio::test]
async fn events_of_long_ago_change_nothing() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let all = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&all);
    let again = proxy.arm(
        &["/events?"],
        Fault::Events(Box::new(move |event| {
            let mut seen = seen.lock().expect("nobody panics with it");
            seen.push(event.to_owned());
            seen.clone()
        })),
    );
    let (first, first_id) = story.running(1, "exit 3").await;
    story.exited(&first).await;
    story.remove(&first, first_id);
    story.removed(&first).await;
    let (second, second_id) = story.running(2, "exit 4").await;
    story.exited(&second).await;
    again.met(2).await;
    let (listed, _, _) = listed_after(&mut story).await;
    let ids: Vec<_> = listed.iter().map(|one| one.runtime_id).collect();
    assert_eq!(ids, [second_id], "what is gone stays gone: {listed:?}");
    assert!(matches!(
        listed[0].status,
        ObservedStatus::Exited(Exit { code: Some(4), .. })
    ));
}

#[tokio::test]
async fn what_happens_while_the_stream_is_cut_is_told_when_it_goes_on() {
    let Some((mut story, mut proxy)) = Story::behind_proxy().await else {
        return;
    };
    let (first, first_id) = story.running(1, "run").await;
    let (second, second_id) = story.running(2, "run").await;
    proxy.go_away().await;
    story.kill(first_id).await;
    story.remove_by_force(second_id).await;
    story.unavailable().await;
    proxy.come_back();
    story.available().await;
    // Nobody has asked for a comparison.
    assert_eq!(story.exited(&first).await.code, Some(137));
    story.removed(&second).await;

    let (third, third_id) = story.running(3, "run").await;
    proxy.cut_events();
    assert_eq!(story.unavailable().await, "Docker closed its event stream");
    story.kill(third_id).await;
    assert_eq!(story.exited(&third).await.code, Some(137));
}

/// Docker tells it anew whenever it is asked for what came since.
#[tokio::test]
async fn an_event_that_cannot_be_read_does_not_keep_the_engine_away() {
    let Some((mut story, proxy)) = Story::behind_proxy().await else {
        return;
    };
    let (_, odd) = story.running(1, "run").await;
    let (create, id) = story.running(2, "run").await;
    let id_of_odd = odd.to_string();
    let garble = move |event: &str| match event.contains(&id_of_odd) {
        true => vec![r#"{"Type":"container","Action":["die"]}"#.to_owned()],
        false => vec![event.to_owned()],
    };
    let garbled = proxy.arm(&["/events?"], Fault::Events(Box::new(garble)));
    story.kill(odd).await;
    garbled.met(1).await;
    let reason = story.unavailable().await;
    assert!(
        reason.starts_with("Docker's event stream broke: "),
        "{reason}"
    );
    story.available().await;
    story.kill(id).await;
    assert_eq!(story.exited(&create).await.code, Some(137));
    let listed = story.listed().await;
    let ended = |one: &Observed| matches!(one.status, ObservedStatus::Exited(_));
    assert!(listed.len() == 2 && listed.iter().all(ended), "{listed:?}");
}
