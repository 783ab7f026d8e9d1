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
        let seeds = others(me, &self.config.seeds);
        let known: BTreeSet<SocketAddr> = self.board.hosts().map(|(.., r)| r.address).collect();
        let known: Vec<_> = known
            .into_iter()
            .filter(|peer| *peer != me && !seeds.contains(peer))
            .collect();
        let nobody = known.is_empty() && seeds.is_empty() && !self.config.seeds_expected;
        if nobody || waited >= self.config.timings.alone_after {
            self.joined(now, fx);
            return;
        }
        // Some of each: of those that the disk remembers all may have new addresses by now.
        let few = known.len() + seeds.len() <= limits::FANOUT_SEEDS;
        let asked = [seeds, known].map(|mut peers| {
            let count = if few {
                peers.len()
            } else {
                limits::CATCH_UP_PEERS
            };
            let drawn = (0..count).filter_map(|_| {
                let index = self.rng.index(peers.len())?;
                Some(peers.swap_remove(index))
            });
            drawn.collect::<Vec<_>>()
        });
        for to in asked.into_iter().flatten() {
            let message = Message::CatchUp;
            fx.push(Effect::Send(Send {
                to,
                host: None,
                via: Via::Stream,
                message,
            }));
        }
    }

    /// First peers were found, or have moved; a starting agent asks them at once.
    pub(super) fn on_seeds(&mut self, now: Now, mut seeds: Vec<SocketAddr>, fx: &mut Effects) {
        seeds.truncate(limits::SEEDS_MAX);
        self.membership
            .set_seeds(others(self.config.address, &seeds));
        self.config.seeds = seeds;
        if let Joining::Seeking { ask_at, .. } = &mut self.joining {
            *ask_at = now.mono;
        }
        self.look_for_peers(now, fx);
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

/// First peers often are all hosts, so this one is among them.
pub(super) fn others(me: SocketAddr, seeds: &[SocketAddr]) -> Vec<SocketAddr> {
    seeds.iter().copied().filter(|seed| *seed != me).collect()
}
