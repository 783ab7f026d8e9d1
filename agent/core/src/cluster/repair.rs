//! Repair: two boards find out what differs by comparing hashes, and only that travels.
//!
//! One asks with its root. Where roots differ the other answers with the hashes one level below,
//! and so they descend in turn to the prefixes that differ, until few records are left below one:
//! these are listed with their versions. Whoever reads the list sends what is newer and fetches
//! what it lacks. In sync it costs one small datagram, else a few for each record that differs.
//! What is too much for one round is left to the next.

use crate::{
    cluster::{
        board::Board,
        body::Key,
        hash_tree::{FAN, Prefix},
        message::{Message, Via},
        record::{Record, Version},
    },
    limits,
};
use std::{collections::BTreeMap, sync::Arc};

/// So few records below a prefix are listed, not compared further; they fit into a datagram that
/// any path lets through.
const LISTED_MAX: usize = 6;
/// Of the messages with nothing in them that could grow.
const SMALL_BYTES_MAX: usize = 48;

/// What the answer to a list of holdings is: records to send, and key hashes to ask for.
#[derive(Debug, Default)]
pub struct Difference {
    pub newer: Vec<Arc<Record>>,
    pub lacking: Vec<u64>,
}

/// What one step of the descent is about to say.
#[derive(Debug, Default)]
struct Descent {
    branches: Vec<(Prefix, [u64; FAN])>,
    listed: Vec<Prefix>,
    held: Vec<(u64, Version)>,
}

impl Descent {
    /// Says that there is no room for more.
    fn add(&mut self, board: &Board, prefix: Prefix) -> bool {
        let tree = board.tree();
        let count = tree.count(prefix);
        if count > LISTED_MAX && prefix.kid(0).is_some() {
            self.branches.push((prefix, tree.kids(prefix)));
        } else {
            self.listed.push(prefix);
            let held = tree.records(prefix).map(|r| (r.key_hash, r.version));
            self.held.extend(held.take(limits::HOLDINGS_MAX));
        }
        self.branches.len() >= limits::BRANCHES_MAX
            || self.listed.len() >= limits::BRANCHES_MAX * FAN
            || self.held.len() >= limits::HOLDINGS_MAX
    }

    fn messages(self) -> Vec<Message> {
        let mut messages = Vec::new();
        if !self.branches.is_empty() {
            messages.push(Message::Branches(self.branches));
        }
        if !self.listed.is_empty() {
            messages.push(Message::Holdings {
                prefixes: self.listed,
                held: self.held,
            });
        }
        messages
    }
}

/// Answers a peer's root: nothing where the boards are equal.
pub fn answer_summary(board: &Board, root: u64) -> Vec<Message> {
    let mut descent = Descent::default();
    if root != board.root() {
        descent.add(board, Prefix::ROOT);
    }
    descent.messages()
}

/// Answers a peer's hashes below some prefixes with what we have below those that differ.
pub fn answer_branches(board: &Board, theirs: &[(Prefix, [u64; FAN])]) -> Vec<Message> {
    let mut descent = Descent::default();
    // Not always from the first one on: where much differs, nothing is to wait for all before it.
    let start = usize::try_from(board.root() % (theirs.len() as u64).max(1)).unwrap_or(0);
    let (last, first) = theirs.split_at(start);
    for (prefix, theirs) in first.iter().chain(last) {
        let ours = board.tree().kids(*prefix);
        let differing = (0..FAN).filter(|&digit| ours[digit] != theirs[digit]);
        let mut kids = differing.filter_map(|digit| prefix.kid(digit));
        if kids.any(|kid| descent.add(board, kid)) {
            break;
        }
    }
    descent.messages()
}

/// Compares what a peer holds below some prefixes with what we hold there; as much as is sent in
/// one round.
pub fn compare(board: &Board, prefixes: &[Prefix], held: &[(u64, Version)]) -> Difference {
    let theirs: BTreeMap<u64, Version> = held.iter().copied().collect();
    let ours = prefixes
        .iter()
        .flat_map(|&prefix| board.tree().records(prefix));
    let newer = ours.filter(|record| {
        let theirs = theirs.get(&record.key_hash);
        theirs.is_none_or(|version| *version < record.version)
    });
    let lacks = |(&hash, &version): (&u64, &Version)| {
        let ours = board.by_key_hash(hash);
        ours.is_none_or(|record| record.version < version)
            .then_some(hash)
    };
    Difference {
        newer: bounded(newer),
        lacking: theirs.iter().filter_map(lacks).collect(),
    }
}

/// As many records as one round may cost the network.
pub fn bounded<'a>(records: impl Iterator<Item = &'a Arc<Record>>) -> Vec<Arc<Record>> {
    let mut bytes = 0;
    records
        .take_while(|record| {
            bytes += record.bytes as usize;
            bytes <= limits::REPAIR_BYTES_MAX
        })
        .cloned()
        .collect()
}

/// One page of the board, for a host that has all up to a key.
pub fn page(board: &Board, after: Option<&Key>) -> Message {
    // Version byte, message tag, count and whether it is the last.
    let mut filled = 16;
    let mut rest = board.records_after(after).peekable();
    let mut records = Vec::new();
    while let Some(record) = rest.peek() {
        // Each record travels behind its length, of at most three bytes.
        filled += record.bytes as usize + 3;
        let full =
            filled > limits::PAGE_BYTES_MAX || records.len() == limits::RECORDS_PER_MESSAGE_MAX;
        if full && !records.is_empty() {
            break;
        }
        records.extend(rest.next().cloned());
    }
    let last = rest.peek().is_none();
    Message::Page { records, last }
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

/// By datagram, if nothing is known against it, goes what is small and whose loss is made good.
pub fn way(message: &Message) -> Via {
    way_of_up_to(message, limits::DATAGRAM_MESSAGE_BYTES_MAX)
}

/// The same for what boards say to one another when they are compared. That is how everything lost
/// is made good, so it keeps to what any path lets through.
pub fn way_to_compare(message: &Message) -> Via {
    if planted!(RepairsByDatagram) {
        return way(message);
    }
    way_of_up_to(message, limits::SURE_MESSAGE_BYTES_MAX)
}

fn way_of_up_to(message: &Message, bytes_max: usize) -> Via {
    match size(message) {
        Some(bytes) if bytes + 8 <= bytes_max => Via::Datagram,
        _ => Via::Stream,
    }
}

/// At least as many bytes as it has; none of what goes by stream whatever its size.
fn size(message: &Message) -> Option<usize> {
    let bytes = match message {
        Message::Probe { .. }
        | Message::Ack { .. }
        | Message::Alarm { .. }
        | Message::Alive { .. }
        | Message::Clock { .. }
        | Message::Call { .. }
        | Message::Present { .. }
        | Message::Summary { .. } => SMALL_BYTES_MAX,
        // Whole boards want an answer that is not lost on the way.
        Message::CatchUp { .. } | Message::Blank | Message::Behind | Message::Page { .. } => {
            return None;
        }
        Message::Records(records) => records.iter().map(|r| r.bytes as usize + 3).sum(),
        Message::Branches(branches) => branches.len() * (10 + FAN * 10),
        Message::Holdings { prefixes, held } => prefixes.len() * 10 + held.len() * 54,
        Message::Fetch(hashes) => hashes.len() * 10,
        Message::Pull { image, .. } => SMALL_BYTES_MAX + image.as_str().len(),
        Message::Pulling { stage, .. } => SMALL_BYTES_MAX + stage.text().0.len(),
    };
    Some(bytes)
}
