//! Two boards that repair one another: equal in a round or few, and only what differs travels.

use super::{generated_records, host_id, with_seeds};
use crate::{
    cluster::{
        board::{Board, Merge},
        body::{Body, Key, StopOrder},
        message::{Message, Via},
        record::{Record, Stamp, Version},
        repair::{self, answer_branches, answer_summary, bounded, compare, pack, way},
    },
    ids::TaskId,
    limits,
    time::Wall,
};
use std::{collections::VecDeque, sync::Arc};

/// What one round of repair, begun by the first board, cost.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cost {
    messages: usize,
    records: usize,
    bytes: usize,
}

fn answer(board: &mut Board, message: Message, cost: &mut Cost) -> Vec<Message> {
    match message {
        Message::Summary { root } => answer_summary(board, root),
        Message::Branches(theirs) => answer_branches(board, &theirs),
        Message::Holdings { prefixes, held } => {
            let difference = compare(board, &prefixes, &held);
            let fetch = (!difference.lacking.is_empty()).then_some(difference.lacking);
            let fetch = fetch.map(Message::Fetch);
            fetch.into_iter().chain(pack(difference.newer)).collect()
        }
        Message::Fetch(hashes) => {
            let found = hashes.iter().filter_map(|hash| board.by_key_hash(*hash));
            pack(bounded(found))
        }
        Message::Records(records) => {
            for record in records {
                cost.records += 1;
                let merged = board.merge(&record);
                assert!(matches!(merged, Merge::Taken { .. }), "in vain: {record:?}");
            }
            Vec::new()
        }
        other => panic!("{other:?} is no word of repair"),
    }
}

fn round(boards: &mut [Board; 2]) -> Cost {
    let mut cost = Cost::default();
    let root = boards[0].root();
    let mut queue = VecDeque::from([(1, Message::Summary { root })]);
    while let Some((to, message)) = queue.pop_front() {
        cost.messages += 1;
        let bytes = message.encode();
        cost.bytes += bytes.len();
        if way(&message) == Via::Datagram {
            assert!(
                bytes.len() <= limits::DATAGRAM_MESSAGE_BYTES_MAX,
                "{message:?}"
            );
        }
        assert!(
            bytes.len() <= limits::FRAME_BYTES_MAX,
            "{} bytes",
            bytes.len()
        );
        let message = Message::decode(&bytes).expect("it is a message");
        let answers = answer(&mut boards[to], message, &mut cost);
        queue.extend(answers.into_iter().map(|answer| (1 - to, answer)));
    }
    cost
}

#[test]
fn one_round_makes_two_boards_equal_and_moves_only_what_differs() {
    with_seeds(|rng| {
        let common = generated_records(rng, 60);
        let mut boards = [(); 2].map(|()| {
            let mut board = Board::default();
            for record in common.iter().chain(&generated_records(rng, 20)) {
                board.merge(record);
            }
            board
        });
        let keys = |one: &Board, other: &Board| -> usize {
            let lacks = |r: &&Arc<Record>| {
                other
                    .record(&r.key)
                    .is_none_or(|theirs| theirs.version < r.version)
            };
            one.records().filter(lacks).count()
        };
        let differing = keys(&boards[0], &boards[1]) + keys(&boards[1], &boards[0]);
        assert_eq!(round(&mut boards).records, differing);
        assert_eq!(boards[0].root(), boards[1].root());
        assert_eq!(boards[0].len(), boards[1].len());
        let in_sync = round(&mut boards);
        assert_eq!((in_sync.messages, in_sync.records), (1, 0));
        assert!(in_sync.bytes < 20, "one small datagram: {in_sync:?}");
    });
}

fn order(number: u64) -> Arc<Record> {
    let (wall, counter, author) = (Wall(1), 0, host_id(0));
    let version = Version {
        epoch: 0,
        stamp: Stamp {
            wall,
            counter,
            author,
        },
    };
    let body = Body::StopOrder(StopOrder {
        reason: "because ".repeat(20),
    });
    Record::new(
        Key::StopOrder(TaskId(u128::from(number))),
        version,
        Some(body),
    )
}

#[test]
fn one_record_among_a_hundred_thousand_costs_two_kilobytes_to_find() {
    let mut one = Board::from_records((0..100_000).map(order));
    let other = one.clone();
    for number in [3, 70_000, 100_001] {
        let before = one.clone();
        let wall = Wall(2);
        let stamp = Stamp {
            wall,
            ..Stamp::default()
        };
        let key = Key::StopOrder(TaskId(number));
        one.merge(&Record::new(key, Version { epoch: 0, stamp }, None));
        for mut boards in [[one.clone(), before.clone()], [before, one.clone()]] {
            let cost = round(&mut boards);
            assert_eq!(boards[0].root(), boards[1].root());
            assert_eq!(cost.records, 1);
            assert!(cost.bytes < 2_000 && cost.messages <= 8, "{cost:?}");
        }
    }
    assert_eq!(other.len(), 100_000);
}

#[test]
fn boards_too_different_for_one_round_are_equal_after_a_few_of_bounded_cost() {
    let count = 40_000;
    let mut boards = [Board::default(), Board::default()];
    for number in 0..count {
        let record = order(number);
        // One holds the even, the other those that three divides: some are held by neither.
        if number % 2 == 0 {
            boards[0].merge(&record);
        }
        if number % 3 == 0 {
            boards[1].merge(&record);
        }
    }
    let mut rounds = 0;
    while boards[0].root() != boards[1].root() {
        rounds += 1;
        assert!(rounds <= 6, "not equal after {rounds} rounds");
        let cost = round(&mut boards);
        assert!(cost.bytes < 6 * limits::REPAIR_BYTES_MAX, "{cost:?}");
    }
    assert!(rounds > 1, "it was too much for one");
    let held = (0..count).filter(|n| n % 2 == 0 || n % 3 == 0).count();
    assert_eq!([boards[0].len(), boards[1].len()], [held; 2]);
}

#[test]
fn whoever_lacks_everything_gets_it_round_by_round() {
    let mut boards = [
        Board::default(),
        Board::from_records((0..20_000).map(order)),
    ];
    let mut rounds = 0;
    while boards[0].len() < boards[1].len() {
        let before = boards[0].len();
        round(&mut boards);
        assert!(boards[0].len() > before, "nothing came in round {rounds}");
        rounds += 1;
    }
    assert!((2..12).contains(&rounds), "{rounds} rounds");
    assert_eq!(boards[0].root(), boards[1].root());
}

#[test]
fn packing_loses_nothing_keeps_the_order_and_fills_no_message_over_its_room() {
    with_seeds(|rng| {
        let records: Vec<_> = (0..rng.below(300)).map(order).collect();
        let rooms = [limits::DATAGRAM_MESSAGE_BYTES_MAX, limits::PAGE_BYTES_MAX];
        for room in rooms {
            let chunks = repair::chunks(records.clone(), room);
            assert_eq!(chunks.concat(), records);
            for chunk in chunks {
                assert!(!chunk.is_empty());
                assert!(Message::Records(chunk).encode().len() <= room);
            }
        }
    });
}

#[test]
fn pages_one_after_the_other_are_the_whole_board_and_none_is_over_its_room() {
    let board = Board::from_records((0..5_000).map(order));
    let (mut after, mut taken, mut pages) = (None, Vec::new(), 0);
    loop {
        let message = repair::page(&board, after.as_ref());
        assert!(message.encode().len() <= limits::PAGE_BYTES_MAX);
        let Message::Page { records, last } = message else {
            panic!("it is a page");
        };
        pages += 1;
        after = records.last().map(|record| record.key.clone());
        taken.extend(records);
        if last {
            break;
        }
    }
    assert!(pages > 2, "{pages} pages");
    assert!(board.records().eq(taken.iter()));
    let past = repair::page(&board, after.as_ref());
    let none = Message::Page {
        records: Vec::new(),
        last: true,
    };
    assert_eq!(past, none);
}
