//! Repair: two boards find out what differs by comparing hashes, and only that travels.
//!
//! One asks with its root; where roots differ the other answers with its bucket hashes; the first
//! lists what it holds in the buckets that differ; the other sends what is newer and fetches what
//! it lacks. In sync it costs one small datagram.

use crate::{
    cluster::{
        board::Board,
        message::Message,
        record::{Record, Version},
    },
    limits,
};
use std::{collections::BTreeMap, sync::Arc};

/// What the answer to a list of holdings is: records to send, and key hashes to ask for.
#[derive(Debug, Default)]
pub struct Difference {
    pub newer: Vec<Arc<Record>>,
    pub lacking: Vec<u64>,
}

/// Answers a peer's root: nothing where the boards are equal.
pub fn answer_summary(board: &Board, root: u64) -> Option<Message> {
    (root != board.root()).then(|| Message::Buckets(board.bucket_hashes()))
}

/// Answers a peer's bucket hashes with what we hold in the buckets that differ, as many of them as
/// fit; the next round takes the rest.
pub fn answer_buckets(board: &Board, theirs: &[u64]) -> Option<Message> {
    let ours = board.bucket_hashes();
    if theirs.len() != ours.len() {
        return None;
    }
    let (mut buckets, mut held) = (Vec::new(), Vec::new());
    for number in (0..ours.len()).filter(|&number| ours[number] != theirs[number]) {
        let before = held.len();
        held.extend(
            board
                .bucket(number)
                .map(|(hash, record)| (hash, record.version)),
        );
        if held.len() > limits::HOLDINGS_MAX && before > 0 {
            held.truncate(before);
            break;
        }
        buckets.push(u8::try_from(number).expect("there are at most 256 buckets"));
    }
    (!buckets.is_empty()).then_some(Message::Holdings { buckets, held })
}

/// Compares what a peer holds in some buckets with what we hold in them.
pub fn compare(board: &Board, buckets: &[u8], held: &[(u64, Version)]) -> Difference {
    let theirs: BTreeMap<u64, Version> = held.iter().copied().collect();
    let mut difference = Difference::default();
    for (hash, record) in buckets
        .iter()
        .flat_map(|&number| board.bucket(usize::from(number)))
    {
        if theirs
            .get(&hash)
            .is_none_or(|version| *version < record.version)
        {
            difference.newer.push(Arc::clone(record));
        }
    }
    for (&hash, &version) in &theirs {
        if board
            .by_key_hash(hash)
            .is_none_or(|record| record.version < version)
        {
            difference.lacking.push(hash);
        }
    }
    difference
}

/// Cuts records into messages: datagrams where they are few, pages for a stream where they are
/// many.
pub fn pack(records: Vec<Arc<Record>>) -> Vec<Message> {
    let total: usize = records.iter().map(|record| record.bytes as usize + 2).sum();
    let room = if total <= 8 * limits::DATAGRAM_MESSAGE_BYTES_MAX {
        limits::DATAGRAM_MESSAGE_BYTES_MAX
    } else {
        limits::PAGE_BYTES_MAX
    };
    chunks(records, room)
        .into_iter()
        .map(Message::Records)
        .collect()
}

/// Cuts records into runs of at most `room` bytes each; a larger record stands alone.
pub fn chunks(records: Vec<Arc<Record>>, room: usize) -> Vec<Vec<Arc<Record>>> {
    // Version byte, message tag and count.
    const OVERHEAD: usize = 8;
    let (mut chunks, mut chunk, mut filled) = (Vec::new(), Vec::new(), OVERHEAD);
    for record in records {
        // Each record travels behind its length, of at most three bytes.
        let bytes = record.bytes as usize + 3;
        let full = filled + bytes > room || chunk.len() == limits::RECORDS_PER_MESSAGE_MAX;
        if full && !chunk.is_empty() {
            chunks.push(std::mem::take(&mut chunk));
            filled = OVERHEAD;
        }
        filled += bytes;
        chunk.push(record);
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

/// Whether the message fits into a datagram; cheap, and never wrong in the dangerous direction.
pub fn fits_datagram(message: &Message) -> bool {
    let bytes = match message {
        Message::Probe { .. }
        | Message::Ack { .. }
        | Message::Alarm { .. }
        | Message::Alive { .. }
        | Message::Summary { .. } => return true,
        // Whole boards want an answer that is not lost on the way.
        Message::CatchUp | Message::Blank | Message::Page { .. } => return false,
        Message::Records(records) => records.iter().map(|r| r.bytes as usize + 3).sum(),
        Message::Buckets(hashes) => hashes.len() * 10,
        Message::Holdings { buckets, held } => buckets.len() * 2 + held.len() * 54,
        Message::Fetch(hashes) => hashes.len() * 10,
    };
    bytes + 8 <= limits::DATAGRAM_MESSAGE_BYTES_MAX
}
