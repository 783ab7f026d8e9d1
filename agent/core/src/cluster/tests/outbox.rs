//! The outbox in a flood: a budget for each interval, news before backlog, a turn for everything.

use crate::{
    cluster::{
        body::Key,
        outbox::Outbox,
        record::{Record, Stamp, Version},
    },
    ids::{HostId, ServiceId, TaskId},
    limits,
    time::{Mono, Wall},
};
use std::{collections::BTreeSet, sync::Arc};

fn record(key: Key, wall: u64) -> Arc<Record> {
    let stamp = Stamp {
        wall: Wall(wall),
        ..Stamp::default()
    };
    Record::new(key, Version { epoch: 0, stamp }, None)
}

fn task(number: u128) -> Arc<Record> {
    record(Key::Task(HostId(1), TaskId(number)), 1)
}

fn verdict(number: u128) -> Arc<Record> {
    record(Key::Verdict(HostId(number)), 1)
}

fn flush(outbox: &mut Outbox, now: Mono) -> Vec<Key> {
    let taken = outbox.flush(now);
    let bytes: usize = taken.iter().map(|c| c.record.bytes as usize).sum();
    assert!(bytes <= limits::SPREAD_BYTES_MAX, "{bytes} bytes");
    taken.into_iter().map(|c| c.record.key.clone()).collect()
}

#[test]
fn what_comes_into_a_quiet_outbox_leaves_at_once_and_what_follows_leaves_together() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.deadline(), None);
    outbox.push(&task(1), None);
    assert_eq!(flush(&mut outbox, Mono(5)).len(), 1);
    outbox.push(&task(2), None);
    outbox.push(&task(3), None);
    assert_eq!(flush(&mut outbox, Mono(6)).len(), 0);
    outbox.push(&verdict(1), None);
    assert_eq!(flush(&mut outbox, Mono(7)), [verdict(1).key.clone()]);
    let due = outbox.deadline().expect("two wait");
    assert_eq!(flush(&mut outbox, due).len(), 2);
    assert_eq!(outbox.deadline(), None);
}

#[test]
fn a_later_version_takes_the_place_of_the_one_that_waits() {
    let mut outbox = Outbox::default();
    for wall in 1..100 {
        outbox.push(&record(task(1).key.clone(), wall), None);
    }
    let taken = outbox.flush(Mono(0));
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].record.version.stamp.wall, Wall(99));
}

#[test]
fn in_a_flood_of_a_hundred_thousand_news_is_not_held_up_and_everything_has_its_turn() {
    let mut outbox = Outbox::default();
    let flood = 100_000;
    for number in 0..flood {
        outbox.push(&task(number), None);
    }
    let (mut now, mut told) = (Mono(0), BTreeSet::new());
    let mut news = 0;
    while let Some(due) = outbox.deadline() {
        now = now.max(due);
        // Something new and something urgent each time: both are in the very next flush.
        if news < 500 {
            news += 1;
            outbox.push(&task(flood + news), None);
            outbox.push(&verdict(news), None);
            let taken = flush(&mut outbox, now);
            assert!(taken.contains(&task(flood + news).key));
            assert!(taken.contains(&verdict(news).key));
            told.extend(taken);
        } else {
            told.extend(flush(&mut outbox, now));
        }
    }
    assert_eq!(told.len() as u128, flood + 2 * news);
}

#[test]
fn a_flood_of_slots_does_not_starve_the_rest() {
    let mut outbox = Outbox::default();
    for number in 0..10_000 {
        outbox.push(&verdict(number), None);
    }
    outbox.push(&task(1), None);
    assert!(flush(&mut outbox, Mono(0)).contains(&task(1).key));
    // Within the interval there is no more to spend, however often it is asked.
    let more = (1..1_000).flat_map(|at| outbox.flush(Mono(at)));
    let more: usize = more.map(|change| change.record.bytes as usize).sum();
    assert!(more <= limits::SPREAD_BYTES_MAX / 4, "{more} bytes more");
}

#[test]
fn what_is_over_the_limit_is_the_oldest_of_the_rest() {
    let mut outbox = Outbox::default();
    outbox.push(&verdict(0), None);
    let over = limits::OUTBOX_RECORDS_MAX as u128 + 10;
    for number in 0..over {
        outbox.push(&task(number), None);
    }
    let (mut now, mut told) = (Mono(0), BTreeSet::new());
    while let Some(due) = outbox.deadline() {
        now = now.max(due);
        told.extend(flush(&mut outbox, now));
    }
    assert_eq!(told.len(), limits::OUTBOX_RECORDS_MAX);
    assert!(told.contains(&verdict(0).key) && !told.contains(&task(0).key));
}

#[test]
fn slots_do_not_hold_up_what_is_said_of_hosts_and_have_their_share_all_the_same() {
    let mut outbox = Outbox::default();
    let slot = |number: u32| record(Key::Slot(ServiceId(1), number), 1);
    for number in 0..10_000 {
        outbox.push(&slot(number), None);
    }
    for number in 0..10_000 {
        outbox.push(&verdict(number), None);
    }
    let taken = flush(&mut outbox, Mono(0));
    let verdicts = taken.iter().filter(|key| matches!(key, Key::Verdict(_)));
    let verdicts = verdicts.count();
    let share = verdicts * 100 / taken.len();
    assert!((65..85).contains(&share), "{verdicts} of {}", taken.len());
}
