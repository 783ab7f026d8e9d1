//! What an enemy or a broken peer sends.

use super::{Case, Told, expect, hold, rest};
use crate::{cluster::Cluster, planted::Planted::Core};
use holdfast_core::{
    cluster::{
        hash_tree::{FAN, Prefix},
        message::Message,
    },
    limits,
    planted::Bug,
};

pub(super) const CASES: &[Case] = &[Case {
    number: 39,
    name: "garbage, cut short, over the limits",
    agents: 3,
    story: garbage,
    bug: Core(Bug::ReadsAnyLength),
    caught_by: "was read",
}];

/// Every reader is total: whatever the bytes, it says no, or reads something within the limits.
fn garbage(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 3)?;
    let board = cluster.agent(0).map(holdfast_core::agent::Agent::board);
    let records = board.map(|board| board.records().cloned().collect());
    let good = Message::Records(records.unwrap_or_default()).encode();
    for _ in 0..2_000 {
        let mut bytes = good.clone();
        for _ in 0..=cluster.rng.below(8) {
            let place = cluster.rng.below(bytes.len() as u64) as usize;
            bytes[place] = cluster.rng.next_u64() as u8;
        }
        let left = cluster.rng.below(bytes.len() as u64 + 1) as usize;
        bytes.truncate(left);
        if let Ok(message) = Message::decode(&bytes) {
            cluster.tell(1, 0, message);
        }
    }
    let many = limits::BRANCHES_MAX + 1;
    for message in [
        Message::Branches(vec![(Prefix::ROOT, [1; FAN]); many]),
        Message::Fetch(vec![1; 2 * limits::HOLDINGS_MAX + 1]),
        Message::Records(vec![]),
    ] {
        let is_long = !matches!(message, Message::Records(_));
        let read = Message::decode(&message.encode());
        expect(read.is_err() == is_long, || {
            "a list over its limit was read".to_owned()
        })?;
    }
    rest(cluster, 3)
}
