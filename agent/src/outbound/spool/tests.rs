//! The spool against a disk: order, bounds, gaps, and what a kill leaves.

use super::*;
use crate::{api::tests::board::context, test_dir::TestDir};
use expect_test::expect;
use std::sync::Arc;

const NAMES: [&str; 2] = ["webhook", "journal"];
const ROOMY: u64 = 64 * 1_024 * 1_024;

fn open(directory: &TestDir, bytes_max: u64) -> Spool {
    let path = directory.join("events.redb");
    let ours = (Arc::new(context()), HostId(7));
    Spool::open(&path, NAMES.to_vec(), bytes_max, ours, Wall(0)).unwrap()
}

fn entry(number: u64) -> Entry {
    let json = format!("{{\"n\":{number}}}").into_bytes();
    Entry {
        at: Wall(number * 1_000),
        json,
    }
}

/// Numbers of events, and what stands for those that are missing.
fn shown(batch: &[Kept]) -> String {
    let shown = batch.iter().map(|kept| {
        let event: serde_json::Value = serde_json::from_slice(&kept.json).unwrap();
        match event["detail"]["dropped"].as_u64() {
            Some(count) => format!("({count} dropped)"),
            None => event["n"].to_string(),
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

async fn drain(reader: &mut Reader, sink: usize, last: u64) -> Vec<String> {
    let mut taken = Vec::new();
    loop {
        let batch = reader.next(sink, 100).await.unwrap();
        taken.extend(batch.iter().map(|kept| shown(std::slice::from_ref(kept))));
        reader.done(sink, batch.last().unwrap().key).await;
        if taken.last() == Some(&last.to_string()) {
            return taken;
        }
    }
}

#[tokio::test]
async fn events_are_taken_in_order_and_stay_until_they_are_done() {
    let directory = TestDir::new("spool");
    let mut spool = open(&directory, ROOMY);
    spool.append((1..=5).map(entry).collect());
    let mut reader = spool.reader();
    let first = reader.next(0, 3).await.unwrap();
    assert_eq!(shown(&first), "1 2 3");
    assert_eq!(
        shown(&reader.next(0, 3).await.unwrap()),
        "1 2 3",
        "nobody has taken them"
    );
    reader.done(0, first[1].key).await;
    assert_eq!(shown(&reader.next(0, 9).await.unwrap()), "3 4 5");
    assert_eq!(
        shown(&reader.next(1, 9).await.unwrap()),
        "1 2 3 4 5",
        "another sink"
    );
    assert_eq!((spool.spooled(0).waiting, spool.spooled(1).waiting), (3, 5));
    // Whoever waits is woken by what comes.
    reader.done(0, u64::MAX).await;
    let waiting = tokio::spawn(async move { shown(&reader.next(0, 9).await.unwrap()) });
    tokio::task::yield_now().await;
    spool.append(vec![entry(6)]);
    assert_eq!(waiting.await.unwrap(), "6");
}

#[tokio::test]
async fn what_was_passed_is_there_after_a_kill_and_keys_go_on() {
    let directory = TestDir::new("spool");
    let mut spool = open(&directory, ROOMY);
    spool.append((1..=3).map(entry).collect());
    spool.pass().await;
    let mut reader = spool.reader();
    let batch = reader.next(0, 2).await.unwrap();
    reader.done(0, batch[1].key).await;
    // What a kill leaves of the file: it is not closed, and is copied as it is.
    let killed = TestDir::new("spool");
    std::fs::copy(directory.join("events.redb"), killed.join("events.redb")).unwrap();
    let mut spool = open(&killed, ROOMY);
    spool.append(vec![entry(4)]);
    let mut reader = spool.reader();
    let batch = reader.next(0, 9).await.unwrap();
    assert_eq!(shown(&batch), "3 4");
    assert!(batch[0].key < batch[1].key);
    assert_eq!(shown(&reader.next(1, 9).await.unwrap()), "1 2 3 4");
}

#[tokio::test]
async fn a_full_spool_drops_the_oldest_and_says_so_in_their_place() {
    let directory = TestDir::new("spool");
    let mut spool = open(&directory, 2_000);
    for number in 1..=100 {
        spool.append(vec![entry(number)]);
    }
    spool.pass().await;
    let spooled = spool.spooled(0);
    assert!(spooled.bytes <= 2_000 + 100, "{spooled:?}");
    assert_eq!(
        spooled.dropped + spooled.waiting - 1,
        100,
        "the gap is one that waits"
    );
    let mut reader = spool.reader();
    let taken = drain(&mut reader, 0, 100).await;
    assert_eq!(taken[0], format!("({} dropped)", spooled.dropped));
    let kept: Vec<String> = (spooled.dropped + 1..=100).map(|n| n.to_string()).collect();
    assert_eq!(taken[1..], kept, "nothing else is missing");
}

#[tokio::test]
async fn what_was_dropped_while_it_was_on_its_way_is_not_told_as_missing() {
    let directory = TestDir::new("spool");
    let mut spool = open(&directory, 2_000);
    spool.append((1..=10).map(entry).collect());
    let mut reader = spool.reader();
    let on_its_way = reader.next(0, 10).await.unwrap();
    spool.append((11..=60).map(entry).collect());
    spool.pass().await;
    let dropped = spool.spooled(0).dropped;
    assert!(dropped > 10);
    reader.done(0, on_its_way[9].key).await;
    assert_eq!(spool.spooled(0).dropped, dropped - 10);
    let batch = reader.next(0, 1).await.unwrap();
    assert_eq!(shown(&batch), format!("({} dropped)", dropped - 10));
    let gap = String::from_utf8(batch[0].json.clone()).unwrap();
    assert!(gap.contains("event_spool_mib"), "{gap}");
    reader.done(0, batch[0].key).await;
    assert_eq!(
        shown(&reader.next(0, 1).await.unwrap()),
        (dropped + 1).to_string()
    );
}

#[tokio::test]
async fn what_there_is_no_room_for_in_memory_is_told_as_a_gap() {
    let directory = TestDir::new("spool");
    let mut spool = open(&directory, ROOMY);
    spool.room_kib = Arc::new(Semaphore::new(1));
    let held = Arc::clone(&spool.room_kib).try_acquire_owned().unwrap();
    spool.append((1..=3).map(entry).collect());
    spool.append(vec![entry(4)]);
    drop(held);
    spool.append(vec![entry(5)]);
    let mut reader = spool.reader();
    assert_eq!(drain(&mut reader, 1, 5).await, ["(4 dropped)", "5"]);
}

#[tokio::test]
async fn a_damaged_file_is_put_aside() {
    let directory = TestDir::new("spool");
    std::fs::write(directory.join("events.redb"), [7; 8_192]).unwrap();
    let mut spool = open(&directory, ROOMY);
    spool.append(vec![entry(1)]);
    assert_eq!(shown(&spool.reader().next(0, 9).await.unwrap()), "1");
    let names = std::fs::read_dir(directory.join("")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    expect![[r#"["events.redb", "events.redb.corrupt-0"]"#]].assert_eq(&format!("{names:?}"));
}
