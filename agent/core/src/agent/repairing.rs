//! Repair as an agent does it: what its peers compare is answered from its board.

use super::Agent;
use crate::{
    cluster::{message::Message, record::Record, repair},
    effect::{Effect, Effects, Send},
    ids::HostId,
};
use std::{collections::BTreeSet, net::SocketAddr};

impl Agent {
    /// One step of a repair: boards are compared by hashes, and what differs is sent or asked for.
    pub(super) fn on_comparison(
        &self,
        from: HostId,
        address: SocketAddr,
        message: &Message,
        fx: &mut Effects,
    ) {
        let own = |record: &Record| record.version.stamp.author == self.config.host;
        let mut reply = |message: Message| {
            let (to, host, via) = (address, Some(from), repair::way_to_compare(&message));
            fx.push(Effect::Send(Send {
                to,
                host,
                via,
                message,
            }));
        };
        match message {
            Message::Summary { root } => {
                repair::answer_summary(&self.board, *root)
                    .into_iter()
                    .for_each(reply);
            }
            Message::Branches(theirs) => {
                repair::answer_branches(&self.board, theirs)
                    .into_iter()
                    .for_each(reply);
            }
            Message::Holdings { prefixes, held } => {
                let mut difference = repair::compare(&self.board, prefixes, held);
                difference
                    .newer
                    .retain(|record| own(record) || !planted!(TellsOnlyItsOwn));
                if !difference.lacking.is_empty() {
                    reply(Message::Fetch(difference.lacking));
                }
                repair::pack(difference.newer).into_iter().for_each(reply);
            }
            Message::Fetch(hashes) => {
                // As a set: asking a hundred times for one record brings it once.
                let wanted: BTreeSet<u64> = hashes.iter().copied().collect();
                let found = wanted
                    .into_iter()
                    .filter_map(|hash| self.board.by_key_hash(hash))
                    .filter(|record| own(record) || !planted!(TellsOnlyItsOwn));
                repair::pack(repair::bounded(found))
                    .into_iter()
                    .for_each(reply);
            }
            _ => {}
        }
    }
}
