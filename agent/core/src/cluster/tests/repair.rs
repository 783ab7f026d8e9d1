//! Two boards that repair one another: equal in a round or few, and only what differs travels.

use super::{generated_records, host_id, with_seeds};
use crate::{
    cluster::{
        board::{Board, Merge},
        body::{Body, Key, StopOrder},
        message::Message,
        record::{Record, Stamp, Version},
        repair::{self, answer_buckets, answer_summary, compare, fits_datagram, pack},
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
}

fn answer(board: &mut Board, message: Message, cost: &mut Cost) -> Vec<Message> {
    match message {
        Message::Summary { root } => answer_summary(board, root).into_iter().collect(),
        Message::Buckets(theirs) => answer_buckets(board, &theirs).into_iter().collect(),
        Message::Holdings { buckets, held } => {
            assert!(held.len() <= limits::HOLDINGS_MAX);
            let difference = compare(board, &buckets, &held);
            let fetch = (!difference.lacking.is_empty()).then_some(difference.lacking);
            let fetch = fetch.map(Message::Fetch);
            fetch.into_iter().chain(pack(difference.newer)).collect()
        }
        Message::Fetch(hashes) => {
            let found = hashes.iter().filter_map(|hash| board.by_key_hash(*hash));
            pack(found.cloned().collect())
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
        if fits_datagram(&message) {
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
        let in_sync = Cost {
            messages: 1,
            records: 0,
        };
        assert_eq!(
            round(&mut boards),
            in_sync,
            "in sync it costs one small datagram"
        );
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
fn boards_too_large_to_compare_at_once_are_equal_after_a_few_rounds() {
    let count = limits::HOLDINGS_MAX as u64 * 2;
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
        assert!(rounds <= 4, "not equal after {rounds} rounds");
        round(&mut boards);
    }
    let held = (0..count).filter(|n| n % 2 == 0 || n % 3 == 0).count();
    assert_eq!([boards[0].len(), boards[1].len()], [held; 2]);
}

#[test]
fn a_peer_of_another_number_of_buckets_is_not_answered() {
    let mut board = Board::default();
    board.merge(&order(1));
    assert_eq!(answer_buckets(&board, &[0; limits::BUCKETS - 1]), None);
    assert!(answer_buckets(&board, &[0; limits::BUCKETS]).is_some());
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
