//! Tests of the store: what survives, what is refused, what a full disk leaves.

use super::*;
use crate::test_dir::TestDir;
use holdfast_core::rng::Rng;
use std::{process::Command, time::Instant};

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn puts(pairs: &[(&str, &str)]) -> Entries {
    let pairs = pairs.iter().map(|(key, value)| (bytes(key), bytes(value)));
    pairs.collect()
}

fn reopen(path: &Path) -> Entries {
    Store::open(path, 1).unwrap().1
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_committed_is_found_again_in_order() {
    let dir = TestDir::new("store");
    let path = dir.join("holdfast.redb");
    let (mut store, entries) = Store::open(&path, 1).unwrap();
    assert!(entries.is_empty());
    let first = puts(&[("b", "2"), ("a", "1"), ("c", "3")]);
    store.commit(&first, &[], Durable::Now).unwrap();
    store
        .commit(
            &puts(&[("b", "two")]),
            &[bytes("c"), bytes("absent")],
            Durable::Now,
        )
        .unwrap();
    drop(store);
    assert_eq!(reopen(&path), puts(&[("a", "1"), ("b", "two")]));
}

#[test]
fn deferred_writes_go_along_with_the_next_durable_one_and_are_lost_without() {
    let dir = TestDir::new("store");
    let path = dir.join("holdfast.redb");
    let (mut store, _) = Store::open(&path, 1).unwrap();
    store
        .commit(&puts(&[("a", "1"), ("b", "1")]), &[], Durable::Later)
        .unwrap();
    store
        .commit(&puts(&[("a", "2")]), &[bytes("b")], Durable::Later)
        .unwrap();
    store
        .commit(&puts(&[("c", "3")]), &[], Durable::Now)
        .unwrap();
    store
        .commit(&puts(&[("a", "lost")]), &[], Durable::Later)
        .unwrap();
    drop(store);
    assert_eq!(reopen(&path), puts(&[("a", "2"), ("c", "3")]));
    let (mut store, _) = Store::open(&path, 1).unwrap();
    store
        .commit(&puts(&[("a", "kept")]), &[bytes("c")], Durable::Later)
        .unwrap();
    store.flush().unwrap();
    drop(store);
    assert_eq!(reopen(&path), puts(&[("a", "kept")]));
}

#[test]
fn deferred_writes_have_a_limit() {
    let dir = TestDir::new("store");
    let path = dir.join("holdfast.redb");
    let (mut store, _) = Store::open(&path, 1).unwrap();
    let large = "x".repeat(DEFERRED_BYTES_MAX / 2);
    for key in ["a", "b"] {
        store
            .commit(&puts(&[(key, &large)]), &[], Durable::Later)
            .unwrap();
    }
    assert!(
        store.deferred.is_empty(),
        "the second one exceeds the limit"
    );
    drop(store);
    assert_eq!(reopen(&path).len(), 2);
}

#[test]
fn each_life_has_a_higher_number_whatever_the_clock_says() {
    let dir = TestDir::new("store");
    let path = dir.join("holdfast.redb");
    let (mut store, _) = Store::open(&path, 1).unwrap();
    assert_eq!(store.next_incarnation(1_000).unwrap(), 1_000);
    drop(store);
    let (mut store, _) = Store::open(&path, 1).unwrap();
    assert_eq!(store.next_incarnation(1_000).unwrap(), 1_001);
    assert_eq!(store.next_incarnation(3).unwrap(), 1_002);
    assert_eq!(store.next_incarnation(5_000).unwrap(), 5_000);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = TestDir::new("store");
    let path = dir.join("holdfast.redb");
    let (mut store, _) = Store::open(&path, 1).unwrap();
    store
        .write(|transaction, _| {
            transaction
                .open_table(META)?
                .insert(FORMAT_KEY, FORMAT + 1)?;
            Ok(())
        })
        .unwrap();
    drop(store);
    let text = Store::open(&path, 1).unwrap_err().to_string();
    assert!(text.contains("has format 2, of a newer holdfast"), "{text}");
    assert_eq!(names(&dir), ["holdfast.redb"]);
}

#[test]
fn a_store_that_is_open_elsewhere_is_refused_and_left_alone() {
    let dir = TestDir::new("store");
    let path = dir.join("holdfast.redb");
    let (_store, _) = Store::open(&path, 1).unwrap();
    assert!(matches!(
        Store::open(&path, 1),
        Err(StoreError::InUse { .. })
    ));
    assert_eq!(names(&dir), ["holdfast.redb"]);
}

#[test]
fn a_path_that_cannot_be_written_is_no_damage() {
    let dir = TestDir::new("store");
    let path = dir.join("holdfast.redb");
    fs::create_dir(&path).unwrap();
    assert!(matches!(
        Store::open(&path, 1),
        Err(StoreError::Disk { .. })
    ));
    let path = dir.join("absent/holdfast.redb");
    let err = Store::open(&path, 1).unwrap_err();
    assert!(
        err.to_string()
            .contains("absent/holdfast.redb: check its owner"),
        "{err}"
    );
    assert_eq!(names(&dir), ["holdfast.redb"]);
}

fn sample_entries() -> Entries {
    (0..300)
        .map(|i| (bytes(&format!("key {i:04}")), vec![7; 100]))
        .collect()
}

/// A store of some pages, closed well, as bytes.
fn sample(dir: &Path) -> Vec<u8> {
    let path = dir.join("sample.redb");
    let (mut store, _) = Store::open(&path, 1).unwrap();
    store.commit(&sample_entries(), &[], Durable::Now).unwrap();
    drop(store);
    let content = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    content
}

#[test]
fn a_damaged_store_is_put_aside_whole_and_a_fresh_one_started() {
    let dir = TestDir::new("store");
    let good = sample(&dir);
    let path = dir.join("holdfast.redb");
    let mut garbage = good.clone();
    garbage[..4096].fill(0xaa);
    let damaged = [
        &good[..good.len() / 2],
        &good[..100],
        &garbage,
        b"not a database",
    ];
    for (i, content) in damaged.into_iter().enumerate() {
        fs::write(&path, content).unwrap();
        let (mut store, entries) = Store::open(&path, 500).unwrap();
        assert!(entries.is_empty(), "case {i}");
        store
            .commit(&puts(&[("a", "1")]), &[], Durable::Now)
            .unwrap();
        drop(store);
        assert_eq!(reopen(&path), puts(&[("a", "1")]), "case {i}");
        let aside = dir.join(format!("holdfast.redb.corrupt-{}", 500 + i));
        let kept = fs::read(&aside).unwrap();
        assert!(kept.starts_with(content), "case {i}");
    }
}

/// Whatever byte changes: the agent starts, with all that was there or with nothing.
#[test]
fn damage_anywhere_never_keeps_the_agent_from_starting() {
    let dir = TestDir::new("store");
    let good = sample(&dir);
    let path = dir.join("holdfast.redb");
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut content = good.clone();
        let at = rng.next_u64() as usize % content.len();
        let end = content.len().min(at + 1 + rng.next_u64() as usize % 64);
        content[at..end]
            .iter_mut()
            .for_each(|b| *b ^= rng.next_u64() as u8 | 1);
        fs::write(&path, &content).unwrap();
        let (mut store, entries) = Store::open(&path, seed).unwrap();
        assert!(
            entries.is_empty() || entries == sample_entries(),
            "seed {seed}"
        );
        store
            .commit(&puts(&[("a", "1")]), &[], Durable::Now)
            .unwrap();
        drop(store);
        assert_eq!(reopen(&path).len(), entries.len() + 1, "seed {seed}");
    }
}

/// A file system of two MiB, gone with the test.
struct SmallDisk(TestDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = TestDir::new("full");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "holdfast-test"])
            .arg(&*dir)
            .status();
        match mounted {
            Ok(status) if status.success() => Some(Self(dir)),
            other => {
                eprintln!("SKIPPED: a full disk needs root and mount(8): {other:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&*self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "cannot unmount"
        );
    }
}

#[test]
fn a_full_disk_refuses_the_commit_whole_and_the_next_one_after_cleaning_up_succeeds() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let path = disk.0.join("holdfast.redb");
    let (mut store, _) = Store::open(&path, 1).unwrap();
    store
        .commit(&puts(&[("a", "1")]), &[], Durable::Now)
        .unwrap();
    store
        .commit(&puts(&[("b", "deferred")]), &[], Durable::Later)
        .unwrap();
    let too_much: Entries = (0..4_000)
        .map(|i: u32| (i.to_be_bytes().into(), vec![1; 1_000]))
        .collect();
    let err = store.commit(&too_much, &[], Durable::Now).unwrap_err();
    assert!(matches!(err, StoreError::Full { .. }), "{err:?}");
    assert!(err.to_string().starts_with("no space left for "), "{err}");
    store
        .commit(&puts(&[("c", "3")]), &[], Durable::Now)
        .unwrap();
    drop(store);
    assert_eq!(
        reopen(&path),
        puts(&[("a", "1"), ("b", "deferred"), ("c", "3")])
    );
}

#[test]
fn an_agent_restarts_on_a_full_disk_and_still_has_what_it_had() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let path = disk.0.join("holdfast.redb");
    let (mut store, _) = Store::open(&path, 1).unwrap();
    store
        .commit(&puts(&[("a", "1")]), &[], Durable::Now)
        .unwrap();
    drop(store);
    let filler = disk.0.join("filler");
    fs::write(&filler, vec![0; 4 << 20]).unwrap_err();
    let (mut store, entries) = Store::open(&path, 1).unwrap();
    assert_eq!(entries, puts(&[("a", "1")]));
    let large = vec![(bytes("b"), vec![1; 1 << 20])];
    let err = store.commit(&large, &[], Durable::Now).unwrap_err();
    assert!(matches!(err, StoreError::Full { .. }), "{err:?}");
    fs::remove_file(filler).unwrap();
    store
        .commit(&puts(&[("b", "2")]), &[], Durable::Now)
        .unwrap();
    drop(store);
    assert_eq!(reopen(&path), puts(&[("a", "1"), ("b", "2")]));
    assert_eq!(names(&disk.0), ["holdfast.redb"]);
}

/// Prints what commits cost: `cargo test -p holdfast store_costs -- --nocapture`.
#[test]
fn store_costs() {
    let dir = TestDir::new("store");
    let path = dir.join("holdfast.redb");
    let (mut store, _) = Store::open(&path, 1).unwrap();
    for (durable, count) in [(Durable::Now, 50), (Durable::Later, 1_000)] {
        let start = Instant::now();
        for i in 0..count {
            let put = vec![(bytes(&format!("key {i}")), vec![7; 300])];
            store.commit(&put, &[], durable).unwrap();
        }
        println!(
            "{durable:?}: {:?} for each of {count} commits",
            start.elapsed() / count
        );
    }
    let many: Entries = (0..20_000u32)
        .map(|i| (i.to_be_bytes().into(), vec![7; 300]))
        .collect();
    let start = Instant::now();
    store.commit(&many, &[], Durable::Now).unwrap();
    println!("20,000 entries in one commit: {:?}", start.elapsed());
    drop(store);
    let start = Instant::now();
    assert_eq!(reopen(&path).len(), 21_050 - 50);
    println!("opened and loaded in {:?}", start.elapsed());
    println!("file of {} kiB", fs::metadata(&path).unwrap().len() / 1_024);
}
