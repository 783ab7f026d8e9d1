//! A hash tree over the records of a board: where two boards differ is found level by level.
//!
//! A branch has sixteen kids, one for each next digit of the key hash. Its hash is the XOR of the
//! hashes of all records below it, so it is the same however the tree came about, and the hashes of
//! any prefix can be told even where one board has a branch and the other only a few records.

use crate::cluster::record::Record;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

pub const FAN: usize = 16;
/// A branch is made when there are more records than this below a prefix.
const LEAF_RECORDS_MAX: usize = 32;
const DIGITS: u32 = 16;

/// The first digits of key hashes, up to fifteen; without one it is the whole board.
///
/// As a number: a one, then the digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Prefix(u64);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:#x} is no prefix of key hashes")]
pub struct PrefixError(u64);

impl Prefix {
    pub const ROOT: Self = Self(1);

    const fn depth(self) -> u32 {
        (63 - self.0.leading_zeros()) / 4
    }

    /// The prefix with one more digit; `None` where there are no more to come.
    pub const fn kid(self, digit: usize) -> Option<Self> {
        if self.depth() + 1 < DIGITS {
            Some(Self(self.0 << 4 | digit as u64 & 0xf))
        } else {
            None
        }
    }

    /// The lowest and the highest key hash that begin with these digits.
    const fn span(self) -> (u64, u64) {
        let free = 64 - 4 * self.depth();
        if free == 64 {
            return (0, u64::MAX);
        }
        let low = self.0 << free;
        (low, low | ((1 << free) - 1))
    }
}

impl TryFrom<u64> for Prefix {
    type Error = PrefixError;
    fn try_from(number: u64) -> Result<Self, PrefixError> {
        let is_one = number > 0 && (63 - number.leading_zeros()).is_multiple_of(4);
        if is_one {
            Ok(Self(number))
        } else {
            Err(PrefixError(number))
        }
    }
}

impl From<Prefix> for u64 {
    fn from(prefix: Prefix) -> Self {
        prefix.0
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:x}", self.0);
        write!(f, "Prefix({})", &digits[1..])
    }
}

/// The tree, and each part of it. A clone shares everything that is equal.
#[derive(Clone, Debug, Default)]
pub struct HashTree {
    /// The XOR of the hashes of all records in it.
    hash: u64,
    count: usize,
    content: Content,
}

#[derive(Clone, Debug, Default)]
enum Content {
    #[default]
    Nothing,
    /// In order of key hash, then key.
    Leaf(Arc<Vec<Arc<Record>>>),
    Branch(Arc<[HashTree; FAN]>),
}

/// What a tree has below a prefix.
enum Below<'a> {
    Records(&'a [Arc<Record>]),
    Tree(&'a HashTree),
}

// Writing.
impl HashTree {
    /// Adds a record of which the tree holds no version.
    pub fn insert(&mut self, record: &Arc<Record>) {
        self.insert_at(0, record);
    }

    fn insert_at(&mut self, depth: u32, record: &Arc<Record>) {
        self.hash ^= record.hash();
        self.count += 1;
        match &mut self.content {
            Content::Nothing => self.content = Content::Leaf(Arc::new(vec![Arc::clone(record)])),
            Content::Leaf(records) => {
                let records = Arc::make_mut(records);
                let place = records.partition_point(|other| order(other) < order(record));
                records.insert(place, Arc::clone(record));
                if records.len() > LEAF_RECORDS_MAX && depth + 1 < DIGITS {
                    let records = std::mem::take(records);
                    self.content = branch(depth, &records);
                }
            }
            Content::Branch(kids) => {
                let kid = digit(record.key_hash, depth);
                Arc::make_mut(kids)[kid].insert_at(depth + 1, record);
            }
        }
    }

    /// Takes away a record that the tree holds, in this version.
    pub fn remove(&mut self, record: &Arc<Record>) {
        self.remove_at(0, record);
    }

    fn remove_at(&mut self, depth: u32, record: &Arc<Record>) {
        self.hash ^= record.hash();
        self.count -= 1;
        match &mut self.content {
            Content::Nothing => unreachable!("only what is in the tree is taken away"),
            Content::Leaf(records) => {
                let records = Arc::make_mut(records);
                let place = records.binary_search_by(|other| order(other).cmp(&order(record)));
                records.remove(place.expect("only what is in the tree is taken away"));
            }
            Content::Branch(kids) => {
                let kid = digit(record.key_hash, depth);
                Arc::make_mut(kids)[kid].remove_at(depth + 1, record);
            }
        }
        if self.count == 0 {
            self.content = Content::Nothing;
        } else if self.count <= LEAF_RECORDS_MAX / 2 && matches!(self.content, Content::Branch(_)) {
            self.content = Content::Leaf(Arc::new(self.records(Prefix::ROOT).cloned().collect()));
        }
    }
}

// Comparing.
impl HashTree {
    /// The XOR of all record hashes: equal boards have equal roots.
    pub const fn root(&self) -> u64 {
        self.hash
    }

    /// The hashes of the sixteen prefixes that are one digit longer.
    pub fn kids(&self, prefix: Prefix) -> [u64; FAN] {
        let mut hashes = [0; FAN];
        let mut add = |records: &[Arc<Record>]| {
            for record in records {
                hashes[digit(record.key_hash, prefix.depth())] ^= record.hash();
            }
        };
        match self.below(prefix) {
            Below::Records(records) => add(records),
            Below::Tree(tree) => match &tree.content {
                Content::Nothing => {}
                Content::Leaf(records) => add(records),
                Content::Branch(kids) => {
                    for (hash, kid) in hashes.iter_mut().zip(kids.iter()) {
                        *hash = kid.hash;
                    }
                }
            },
        }
        hashes
    }

    pub fn count(&self, prefix: Prefix) -> usize {
        match self.below(prefix) {
            Below::Records(records) => records.len(),
            Below::Tree(tree) => tree.count,
        }
    }

    /// The records below a prefix, in order of their key hashes.
    pub fn records(&self, prefix: Prefix) -> Records<'_> {
        match self.below(prefix) {
            Below::Records(records) => Records {
                leaf: records.iter(),
                rest: Vec::new(),
            },
            Below::Tree(tree) => Records {
                leaf: [].iter(),
                rest: vec![tree],
            },
        }
    }

    pub fn get(&self, key_hash: u64) -> Option<&Arc<Record>> {
        let mut tree = self;
        for depth in 0..DIGITS {
            match &tree.content {
                Content::Branch(kids) => tree = &kids[digit(key_hash, depth)],
                Content::Leaf(records) => {
                    let place = records.partition_point(|record| record.key_hash < key_hash);
                    return records
                        .get(place)
                        .filter(|record| record.key_hash == key_hash);
                }
                Content::Nothing => return None,
            }
        }
        None
    }

    fn below(&self, prefix: Prefix) -> Below<'_> {
        let (low, high) = prefix.span();
        let mut tree = self;
        for depth in 0..prefix.depth() {
            match &tree.content {
                Content::Nothing => return Below::Tree(tree),
                Content::Branch(kids) => tree = &kids[digit(low, depth)],
                Content::Leaf(records) => {
                    let from = records.partition_point(|record| record.key_hash < low);
                    let to = records.partition_point(|record| record.key_hash <= high);
                    return Below::Records(&records[from..to]);
                }
            }
        }
        Below::Tree(tree)
    }
}

/// An iterator over records in order of their key hashes.
#[derive(Debug)]
pub struct Records<'a> {
    leaf: std::slice::Iter<'a, Arc<Record>>,
    /// What is still to come, the next one last.
    rest: Vec<&'a HashTree>,
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a Arc<Record>;
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.leaf.next() {
                return Some(record);
            }
            match &self.rest.pop()?.content {
                Content::Nothing => {}
                Content::Leaf(records) => self.leaf = records.iter(),
                Content::Branch(kids) => self.rest.extend(kids.iter().rev()),
            }
        }
    }
}

fn branch(depth: u32, records: &[Arc<Record>]) -> Content {
    let mut kids: [HashTree; FAN] = std::array::from_fn(|_| HashTree::default());
    for record in records {
        kids[digit(record.key_hash, depth)].insert_at(depth + 1, record);
    }
    Content::Branch(Arc::new(kids))
}

/// Two keys may have one hash; the key then tells them apart.
fn order(record: &Record) -> (u64, &crate::cluster::body::Key) {
    (record.key_hash, &record.key)
}

const fn digit(key_hash: u64, depth: u32) -> usize {
    (key_hash >> (60 - 4 * depth) & 0xf) as usize
}
