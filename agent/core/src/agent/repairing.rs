//! Repair as an agent does it: what its peers compare is answered, and strangers are met.

use super::Agent;
use crate::{
    cluster::{
        body::Key,
        message::{Message, Via},
        record::Record,
        repair,
    },
    effect::{Effect, Effects, Send},
    ids::HostId,
    limits,
    time::{Now, Span},
};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

/// Between comparisons of boards with one host that is not known, or down.
const GREETED_AGAIN: Span = Span::from_ms(500);

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

    /// A host that we hold for down, or do not know, has spoken: it is told, and boards are
    /// compared.
    pub(super) fn on_stranger(
        &mut self,
        now: Now,
        (from, address): (HostId, SocketAddr),
        fx: &mut Effects,
    ) {
        self.tell_accused(from, address, fx);
        // What it sends then may not be taken, and then it is as strange as before.
        self.greeted
            .retain(|_, at| now.mono.since(*at) < GREETED_AGAIN);
        if self.greeted.contains_key(&from) || self.greeted.len() >= limits::SEEDS_MAX {
            return;
        }
        self.greeted.insert(from, now.mono);
        fx.push(Effect::Send(Send {
            to: address,
            host: Some(from),
            via: Via::Datagram,
            message: Message::Summary {
                root: self.board.root(),
            },
        }));
    }

    /// What is held against a host, for it to refute.
    pub(super) fn tell_accused(&self, from: HostId, address: SocketAddr, fx: &mut Effects) {
        let accused = self.board.is_down(from) || self.board.is_in_doubt(from);
        let verdict = self.board.record(&Key::Verdict(from));
        if let Some(verdict) = verdict.filter(|_| accused) {
            fx.push(Effect::Send(Send {
                to: address,
                host: Some(from),
                via: Via::Datagram,
                message: Message::Records(vec![Arc::clone(verdict)]),
            }));
        }
    }
}
