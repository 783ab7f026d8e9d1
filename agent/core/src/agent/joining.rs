//! Joining: a starting agent takes a full copy of the board from a peer before it decides anything.
//!
//! A host that was away for long would else bring back what was deleted meanwhile. With no peer in
//! sight it goes on alone after a while, from its own disk.

use super::Agent;
use crate::{
    cluster::{message::Message, record::Record},
    effect::{Effect, Effects, Send, Via},
    ids::HostId,
    limits,
    task::runtime::RuntimeCommand,
    time::{Mono, Now, Span},
};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

/// Between questions to peers that have not answered.
const ASK_AGAIN: Span = Span::from_ms(500);

#[derive(Debug)]
pub(super) enum Joining {
    Seeking {
        since: Mono,
        ask_at: Mono,
        /// At the first start there is nothing on the disk, so nothing that could be out of date.
        first_start: bool,
        /// Who said that this is their first start, too.
        blank: BTreeSet<SocketAddr>,
    },
    Done,
}

impl Joining {
    pub(super) const fn new(now: Now, first_start: bool) -> Self {
        let (since, ask_at) = (now.mono, now.mono);
        Self::Seeking {
            since,
            ask_at,
            first_start,
            blank: BTreeSet::new(),
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    pub(super) const fn deadline(&self) -> Option<Mono> {
        match self {
            Self::Seeking { ask_at, .. } => Some(*ask_at),
            Self::Done => None,
        }
    }
}

impl Agent {
    /// Asks a few peers for the board; gives up asking, not joining, after a while.
    pub(super) fn look_for_peers(&mut self, now: Now, fx: &mut Effects) {
        let Joining::Seeking { since, ask_at, .. } = &mut self.joining else {
            return;
        };
        if now.mono < *ask_at {
            return;
        }
        *ask_at = now.mono + ASK_AGAIN;
        let waited = now.mono.since(*since);
        let me = self.config.address;
        let known: BTreeSet<SocketAddr> = self.membership.addresses().collect();
        let mut peers: Vec<SocketAddr> =
            known.into_iter().chain(self.config.seeds.clone()).collect();
        peers.retain(|peer| *peer != me);
        if peers.is_empty() || waited >= self.config.timings.alone_after {
            self.joined(now, fx);
            return;
        }
        let ask = if peers.len() <= limits::FANOUT_SEEDS {
            peers.len()
        } else {
            limits::CATCH_UP_PEERS
        };
        for _ in 0..ask {
            let Some(index) = self.rng.index(peers.len()) else {
                break;
            };
            let to = peers.swap_remove(index);
            let message = Message::CatchUp;
            fx.push(Effect::Send(Send {
                to,
                host: None,
                via: Via::Stream,
                message,
            }));
        }
    }

    /// A peer asks for the whole board. One that has not got it itself only says what it can.
    pub(super) fn on_catch_up(&mut self, from: HostId, to: SocketAddr, fx: &mut Effects) {
        let (host, via) = (Some(from), Via::Stream);
        if let Joining::Seeking { first_start, .. } = self.joining {
            let root = self.board.root();
            let message = if first_start {
                Message::Blank
            } else {
                Message::Summary { root }
            };
            fx.push(Effect::Send(Send {
                to,
                host,
                via,
                message,
            }));
            return;
        }
        for message in self.pages() {
            fx.push(Effect::Send(Send {
                to,
                host,
                via,
                message,
            }));
        }
    }

    /// Where all first peers start for the first time, as we do, there is no board to wait for.
    pub(super) fn on_blank(&mut self, now: Now, from: SocketAddr, fx: &mut Effects) {
        let Joining::Seeking {
            first_start: true,
            blank,
            ..
        } = &mut self.joining
        else {
            return;
        };
        blank.insert(from);
        let me = self.config.address;
        if self
            .config
            .seeds
            .iter()
            .all(|seed| *seed == me || blank.contains(seed))
        {
            self.joined(now, fx);
        }
    }

    pub(super) fn on_page(
        &mut self,
        now: Now,
        from: HostId,
        records: Vec<Arc<Record>>,
        last: bool,
        fx: &mut Effects,
    ) {
        for record in records {
            self.take(now, &record, Some(from), fx);
        }
        if last && !self.joining.is_done() {
            self.joined(now, fx);
        }
    }

    fn joined(&mut self, now: Now, fx: &mut Effects) {
        self.joining = Joining::Done;
        if self.runtime_version.is_some() {
            fx.push(Effect::Runtime(RuntimeCommand::List));
        }
        self.all_dirty = true;
        self.publish_host(now, fx);
    }
}
