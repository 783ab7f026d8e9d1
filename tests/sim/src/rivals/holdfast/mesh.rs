//! Who has the whole board in a crowd that is too large for all to have it.
//!
//! Ten thousand boards with a hundred thousand tasks are five billion records, which no one machine
//! merges within the hour. So only some hosts, *in full*, are told everything, all keepers among
//! them; the others, each a real agent too, are told of what concerns them, and what they would be
//! told beside that goes to the next host in full, in the order of ids, that its sender holds for
//! well. So each host in full is told and passes on as much as it would if all were: how often a
//! record comes to a host does not depend on how many there are, and by the order nobody is left
//! out. Of a comparison with one of the others, what comes of it is told: what it wrote itself, and
//! which hosts in full are lost.

use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key},
        message::Message,
        record::Record,
        repair,
    },
    ids::HostId,
};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug)]
pub(super) struct Mesh {
    in_full: BTreeMap<HostId, usize>,
    hosts: usize,
}

/// One host as the mesh knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) place: usize,
    pub(super) id: HostId,
}

/// Where a message goes, in parts.
pub(super) type Routed = Vec<(usize, Message)>;

impl Mesh {
    /// Of so many hosts, these are told everything.
    pub(super) const fn of(in_full: BTreeMap<HostId, usize>, hosts: usize) -> Self {
        Self { in_full, hosts }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.in_full.len() == self.hosts
    }

    pub(super) fn is_in_full(&self, host: HostId) -> bool {
        self.in_full.contains_key(&host)
    }

    pub(super) fn route(&self, board: &Board, from: Peer, to: Peer, message: Message) -> Routed {
        let target_is_in_full = self.is_in_full(to.id);
        let instead = || self.next(board, from.id, to.id);
        match message {
            Message::Records(records) if !target_is_in_full => {
                let (theirs, rest): (Vec<_>, Vec<_>) = records
                    .into_iter()
                    .partition(|record| self.concerns(record, to.id));
                let parts = [(Some(to.place), theirs), (instead(), rest)];
                let parts = parts.into_iter().filter(|(_, part)| !part.is_empty());
                parts
                    .filter_map(|(to, part)| Some((to?, Message::Records(part))))
                    .collect()
            }
            // Comparing whole boards makes sense only between hosts that are told everything.
            Message::Summary { .. } if !self.is_in_full(from.id) => {
                let Some(to) = instead() else {
                    return Vec::new();
                };
                let own = board.tasks_on(from.id);
                let own = own.filter_map(|(task, _)| board.record(&Key::Task(from.id, task)));
                let own = repair::pack(own.cloned().collect()).into_iter();
                own.chain([message]).map(|message| (to, message)).collect()
            }
            Message::Branches(_) if !target_is_in_full => {
                let keys = self.in_full.keys().map(|host| Key::Verdict(*host));
                let verdicts = keys.filter_map(|key| board.record(&key).cloned());
                let verdicts = repair::pack(verdicts.collect()).into_iter();
                verdicts.map(|message| (to.place, message)).collect()
            }
            Message::Summary { .. } if !target_is_in_full => {
                instead().map(|to| (to, message)).into_iter().collect()
            }
            _ => vec![(to.place, message)],
        }
    }

    /// The next host in full from this id on that the board holds for well; none, if that is the
    /// sender.
    fn next(&self, board: &Board, sender: HostId, from: HostId) -> Option<usize> {
        let after = self.in_full.range(from..).chain(self.in_full.range(..from));
        let well = |host: HostId| board.is_up(host) && !board.is_suspect(host);
        let mut up = after.filter(|(host, _)| well(**host));
        let (host, place) = up.next()?;
        (*host != sender).then_some(*place)
    }

    /// What a host has to know to do its part: not what runs elsewhere, nor who else is down.
    fn concerns(&self, record: &Arc<Record>, host: HostId) -> bool {
        match (&record.key, &record.body) {
            (Key::Slot(..), Some(Body::Slot(slot))) => {
                slot.host == Some(host) || slot.superseded.iter().any(|at| at.host == host)
            }
            (Key::Verdict(subject), Some(Body::Verdict(verdict))) => {
                *subject == host || verdict.votes.contains(&host) || self.is_in_full(*subject)
            }
            (Key::Task(on, _) | Key::Host(on), _) => *on == host,
            _ => true,
        }
    }
}
