//! The algebra of the board: merging in any order gives the same, and its indexes say the same.

use super::{generated, generated_records, with_seeds};
use crate::{
    cluster::{
        board::{Board, Merge, Trace},
        body::{Body, Key},
        hash_tree::{FAN, HashTree, Prefix},
        record::{Record, Stamp, Version},
    },
    ids::{HostId, ServiceId, SlotIndex, TaskId},
    limits,
    rng::Rng,
    time::Wall,
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

fn board(records: &[Arc<Record>]) -> Board {
    let mut board = Board::default();
    merge_all(&mut board, records);
    board
}

fn merge_all(board: &mut Board, records: &[Arc<Record>]) {
    for record in records {
        board.merge(record);
    }
}

/// What `one` says and what `other` says.
fn union(one: &Board, other: &Board) -> Board {
    let mut union = one.clone();
    other.records().for_each(|record| {
        union.merge(record);
    });
    union
}

/// All that a board holds, and all by which boards are compared.
fn contents(board: &Board) -> (Vec<Vec<u8>>, u64, [u64; FAN]) {
    let records = board.records().map(|record| record.encode()).collect();
    (records, board.root(), board.tree().kids(Prefix::ROOT))
}

#[test]
fn merging_is_commutative_associative_and_idempotent() {
    with_seeds(|rng| {
        let [a, b, c] = [(); 3].map(|()| board(&generated_records(rng, 60)));
        let all = contents(&union(&a, &union(&b, &c)));
        assert_eq!(contents(&union(&union(&a, &b), &c)), all, "(a b) c");
        assert_eq!(contents(&union(&c, &union(&b, &a))), all, "c (b a)");
        assert_eq!(
            contents(&union(&b, &union(&a, &b))),
            contents(&union(&a, &b))
        );
        let mut again = a.clone();
        for record in a.records() {
            assert!(matches!(again.merge(record), Merge::Known), "{record:?}");
        }
        assert_eq!(contents(&again), contents(&a));
    });
}

#[test]
fn the_higher_version_is_kept_and_the_other_is_told_so() {
    with_seeds(|rng| {
        let mut board = Board::default();
        for record in generated_records(rng, 60) {
            let ours = board.record(&record.key).cloned();
            let higher = ours.as_ref().is_none_or(|o| o.version < record.version);
            match board.merge(&record) {
                Merge::Taken { replaced } => {
                    assert!(higher, "{record:?} over {ours:?}");
                    assert_eq!(replaced, ours);
                }
                Merge::Known => assert_eq!(ours.map(|ours| ours.version), Some(record.version)),
                Merge::Older { ours: kept } => {
                    assert!(kept.version > record.version);
                    assert_eq!(Some(kept), ours);
                }
            }
            assert_eq!(
                board.by_key_hash(record.key_hash),
                board.record(&record.key)
            );
        }
    });
}

#[test]
fn hashes_are_equal_where_contents_are_and_nowhere_else() {
    with_seeds(|rng| {
        let records = generated_records(rng, 40);
        let one = board(&records);
        let mut other = one.clone();
        // One more record, or a later version of one, or nothing new.
        other.merge(&generated(rng));
        let same = contents(&one).0 == contents(&other).0;
        assert_eq!(one.root() == other.root(), same);
        for prefix in every_prefix(2) {
            let below = |board: &Board| -> Vec<_> {
                let records = board.tree().records(prefix);
                records.map(|r| (r.key_hash, r.encode())).collect()
            };
            let hashes = [&one, &other].map(|board| board.tree().kids(prefix));
            let same = below(&one) == below(&other);
            assert_eq!(hashes[0] == hashes[1], same, "{prefix:?}");
        }
    });
}

/// All prefixes of at most so many digits.
fn every_prefix(digits: u32) -> Vec<Prefix> {
    let (mut all, mut last) = (vec![Prefix::ROOT], vec![Prefix::ROOT]);
    for _ in 0..digits {
        let kids = |prefix: Prefix| (0..FAN).map(move |digit| prefix.kid(digit));
        last = last.into_iter().flat_map(kids).flatten().collect();
        all.extend(&last);
    }
    all
}

/// Records enough for branches, made and taken away again, against a plain list.
#[test]
fn the_hash_tree_says_what_a_look_at_every_record_says_whatever_its_shape() {
    let mut rng = Rng::new(1);
    let mut tree = HashTree::default();
    let mut records: Vec<Arc<Record>> = Vec::new();
    for round in 0..4_000_u64 {
        let shrinks = round >= 2_000 && rng.below(4) > 0;
        if let Some(place) = rng.index(records.len()).filter(|_| shrinks) {
            tree.remove(&records.swap_remove(place));
        } else {
            let task = TaskId(u128::from(round));
            let record = Record::new(Key::StopOrder(task), Version::default(), None);
            tree.insert(&record);
            records.push(record);
        }
        if round % 250 == 0 {
            records.sort_unstable_by_key(|record| record.key_hash);
            check_tree(&tree, &records);
        }
    }
    assert!(records.len() < 1_500, "the tree has shrunk, too");
}

fn check_tree(tree: &HashTree, records: &[Arc<Record>]) {
    let xor = |records: &mut dyn Iterator<Item = &Arc<Record>>| {
        records.fold(0, |sum, record| sum ^ record.hash())
    };
    assert_eq!(tree.root(), xor(&mut records.iter()));
    for prefix in every_prefix(2) {
        let number = u64::from(prefix);
        let free = number.leading_zeros() + 1;
        let is_below = |r: &&Arc<Record>| {
            free == 64 || r.key_hash >> free == number & !(1 << (63 - number.leading_zeros()))
        };
        let below: Vec<_> = records.iter().filter(is_below).collect();
        assert_eq!(tree.count(prefix), below.len(), "{prefix:?}");
        assert!(tree.records(prefix).eq(below.iter().copied()), "{prefix:?}");
        for (digit, hash) in tree.kids(prefix).into_iter().enumerate() {
            let kid = prefix.kid(digit).expect("there are fifteen digits");
            assert_eq!(hash, xor(&mut tree.records(kid)), "{kid:?}");
        }
    }
    for record in records {
        assert_eq!(tree.get(record.key_hash), Some(record));
    }
    assert_eq!(tree.get(7), None);
}

#[test]
fn a_clone_stays_as_it_was_while_the_board_goes_on() {
    with_seeds(|rng| {
        let mut board = board(&generated_records(rng, 150));
        let (clone, before) = (board.clone(), contents(&board));
        merge_all(&mut board, &generated_records(rng, 150));
        board.bury(Wall(u64::MAX));
        assert_eq!(contents(&clone), before);
        check_indexes(&clone);
        check_indexes(&board);
    });
}

#[test]
fn when_all_is_deleted_and_buried_nothing_is_left_not_even_in_the_hashes() {
    with_seeds(|rng| {
        let mut board = board(&generated_records(rng, 60));
        let keys: Vec<Key> = board.records().map(|record| record.key.clone()).collect();
        let wall = Wall(1_000);
        let version = Version {
            epoch: 9,
            stamp: Stamp {
                wall,
                counter: 0,
                author: HostId(1),
            },
        };
        for key in keys.iter().cloned() {
            board.merge(&Record::new(key, version, None));
        }
        assert_eq!(board.len(), keys.len());
        assert!(
            board.bury(Wall(wall.0 + limits::TOMBSTONE_MS)).is_empty(),
            "too soon"
        );
        let buried = board.bury(Wall(wall.0 + limits::TOMBSTONE_MS + 1));
        assert_eq!(buried.len(), keys.len());
        assert_eq!(contents(&board), (vec![], 0, [0; FAN]));
        check_indexes(&board);
    });
}

#[test]
fn what_lives_is_never_buried_nor_the_tombstone_of_a_service_with_slots() {
    with_seeds(|rng| {
        let mut board = board(&generated_records(rng, 60));
        let live = |board: &Board| board.records().filter(|r| r.body.is_some()).count();
        let before = live(&board);
        board.bury(Wall(u64::MAX));
        assert_eq!(live(&board), before);
        for record in board.records().filter(|record| record.body.is_none()) {
            let kept = match record.key {
                Key::ServiceSettings(service) => board.slots(service).next().is_some(),
                _ => false,
            };
            assert!(kept, "{:?} was not buried", record.key);
        }
        check_indexes(&board);
    });
}

#[test]
fn the_indexes_say_what_a_look_at_every_record_says() {
    with_seeds(|rng| {
        let mut board = Board::default();
        for record in generated_records(rng, 150) {
            board.merge(&record);
        }
        check_indexes(&board);
    });
}

/// Every index against a look at every record.
fn check_indexes(board: &Board) {
    let live = || {
        board
            .records()
            .filter_map(|r| Some((&r.key, r.body.as_ref()?)))
    };
    for service in (0..4).map(ServiceId) {
        let copies = |index: SlotIndex| {
            live().filter_map(move |(key, body)| match (key, body) {
                (Key::Task(host, task), Body::Task(report)) => {
                    let of = report.slot.as_ref().map(|slot| (slot.service, slot.index));
                    (of == Some((service, index))).then_some((*host, *task, report))
                }
                _ => None,
            })
        };
        for index in 0..3 {
            assert!(board.copies(service, index).eq(copies(index)), "{index}");
        }
        let scanned = (0..3).flat_map(copies);
        assert!(board.tasks_of(service).eq(scanned), "tasks of {service:?}");
    }
    let scanned = live().filter(|(key, _)| matches!(key, Key::Task(..)));
    assert_eq!(board.tasks().count(), scanned.count());
    for (host, task, report) in board.tasks() {
        assert_eq!(board.task(task), Some((host, report)));
    }
    check_gone_tasks(board);
    check_services(board);
    check_runs(board);
}

fn check_runs(board: &Board) {
    let record = |id| board.record(&Key::Run(id));
    for id in (100..104).map(ServiceId) {
        let run = record(id).and_then(|record| match &record.body {
            Some(Body::Run(run)) => Some(run),
            _ => None,
        });
        assert_eq!(board.run(id), run);
        assert_eq!(
            board.is_service_gone(id),
            record(id).is_some() && run.is_none()
        );
        let count = run.map(|run| run.tasks.len() as u32);
        assert_eq!(board.service(id).map(|service| service.desired), count);
        for low in 0..3 {
            let slot = run.filter(|run| low < run.tasks.len());
            let slot = slot.map(|_| (id, low as SlotIndex));
            let task = TaskId(id.0 << 32 | low as u128);
            assert_eq!(board.run_of_task(task), slot);
        }
        let changed = run.filter(|run| run.overridden.is_some());
        if let Some(run) = changed {
            assert!(board.definition(run.revision.definition).is_some());
        }
    }
    let live = board.records().filter(|record| record.body.is_some());
    let live = live.filter(|record| matches!(record.key, Key::Run(_)));
    assert_eq!(board.runs().count(), live.count());
}

fn check_gone_tasks(board: &Board) {
    for record in board.records().filter(|record| record.body.is_none()) {
        if let Key::Task(host, task) = record.key {
            assert_eq!(board.task(task), None);
            assert_eq!(board.task_at(host, task), None);
        }
    }
    assert_eq!(board.task(TaskId(u128::MAX)), None);
}

fn check_services(board: &Board) {
    let mut named: BTreeMap<&str, Vec<(Wall, ServiceId)>> = BTreeMap::new();
    for record in board.records() {
        if let (Key::ServiceSettings(id), Some(Body::ServiceSettings(settings))) =
            (&record.key, &record.body)
        {
            let ids = named.entry(&settings.name).or_default();
            ids.push((settings.created_at, *id));
        }
    }
    named.values_mut().for_each(|ids| ids.sort_unstable());
    let shadowed: Vec<_> = named
        .values()
        .flat_map(|ids| &ids[1..])
        .map(|(_, id)| *id)
        .collect();
    assert_eq!(board.shadowed_services().collect::<Vec<_>>(), shadowed);
    for id in (0..4).map(ServiceId) {
        let first = named.values().any(|ids| ids[0].1 == id);
        let has = |key| {
            board
                .record(&key)
                .is_some_and(|record| record.body.is_some())
        };
        let whole = first && has(Key::ServiceCount(id)) && has(Key::ServiceRevision(id));
        assert_eq!(board.service(id).is_some(), whole, "{id:?}");
        let known = board.record(&Key::ServiceSettings(id)).is_some();
        assert_eq!(board.is_service_gone(id), known && !first, "{id:?}");
    }
    for service in board.services() {
        assert_eq!(named[service.settings.name.as_str()][0].1, service.id);
        let by_name = board.service_named(&service.settings.name);
        assert_eq!(by_name.map(|found| found.id), Some(service.id));
    }
}

#[test]
fn a_family_knows_the_last_number_that_it_has_given() {
    with_seeds(|rng: &mut Rng| {
        let board = board(&generated_records(rng, 150));
        for family in super::NAMES {
            let scanned = board.records().filter_map(|record| match &record.key {
                Key::Label {
                    family: of,
                    revision,
                } if of == family => record.body.is_some().then_some(*revision),
                _ => None,
            });
            assert_eq!(board.last_revision(family), scanned.max());
        }
        assert!(
            board
                .labels()
                .all(|(family, revision, label)| { board.label(family, revision) == Some(label) })
        );
    });
}

/// The record is of this one service, and is nothing to the others.
fn is_of(record: &Record, service: ServiceId) -> bool {
    match (&record.key, &record.body) {
        (Key::Task(..), Some(Body::Task(report))) => {
            let slot = report.slot.as_ref();
            slot.is_some_and(|slot| slot.service == service)
        }
        (key, _) => {
            [
                Key::ServiceCount(service),
                Key::ServiceRevision(service),
                Key::ServiceSettings(service),
                Key::Pins(service),
                Key::Run(service),
            ]
            .contains(key)
                || matches!(key, Key::Slot(of, _) if *of == service)
        }
    }
}

/// No record is another one in the other board but those of other services.
fn agree_on(one: &Board, other: &Board, others: &[ServiceId]) -> bool {
    let same = |record: &Arc<Record>| {
        let theirs = other.record(&record.key);
        theirs.is_some_and(|theirs| theirs.encode() == record.encode())
    };
    one.records()
        .all(|record| same(record) || others.iter().any(|other| is_of(record, *other)))
}

#[test]
fn equal_traces_say_that_nothing_was_written_of_a_service() {
    let services: Vec<_> = (0..4).chain(100..104).map(ServiceId).collect();
    let equal = Cell::new(0);
    with_seeds(|rng| {
        let mut board = Board::default();
        let mut seen: Vec<(Board, Vec<Trace>)> = Vec::new();
        for _ in 0..40 {
            let chosen = rng.below(4 * board.len() as u64 + 4) as usize;
            let chosen = board.records().nth(chosen).cloned();
            match chosen {
                Some(record) => board.remove(&record),
                None => drop(board.merge(&generated(rng))),
            }
            for (before, traces) in &seen {
                let kept = services.iter().zip(traces);
                for (service, _) in kept.filter(|(id, trace)| board.trace(**id) == **trace) {
                    equal.set(equal.get() + 1);
                    let others = services.iter().filter(|other| *other != service);
                    let others: Vec<_> = others.copied().collect();
                    assert!(agree_on(before, &board, &others), "{service}");
                    assert!(agree_on(&board, before, &others), "{service}");
                }
            }
            let traces = services.iter().map(|id| board.trace(*id)).collect();
            seen.push((board.clone(), traces));
        }
    });
    assert!(equal.get() > 1_000, "{}", equal.get());
}

#[test]
fn services_with_slots_are_those_of_all_slots() {
    with_seeds(|rng| {
        let board = board(&generated_records(rng, 60));
        let of_slots: BTreeSet<_> = board.all_slots().map(|(service, ..)| service).collect();
        let found: Vec<_> = board.services_with_slots().collect();
        assert_eq!(found, Vec::from_iter(of_slots));
    });
}
