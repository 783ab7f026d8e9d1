//! What an agent sees at one moment, for whoever looks at it while the agent goes on.

use super::Agent;
use crate::{
    cluster::board::Board,
    event::HostStanding,
    ids::{HostId, ServiceId},
    schedule::{
        index::Index,
        keeper::{Move, better},
        keepers::Keepers,
    },
    time::Wall,
};

/// It costs nothing to make, and shares with the agent all that has not changed since.
#[derive(Clone, Debug)]
pub struct Picture {
    board: Board,
    keepers: Keepers,
    me: HostId,
    is_caught_up: bool,
}

impl Agent {
    pub fn picture(&self) -> Picture {
        Picture {
            board: self.board.clone(),
            keepers: self.index.keepers().clone(),
            me: self.config.host,
            is_caught_up: self.is_caught_up(),
        }
    }
}

impl Picture {
    pub const fn board(&self) -> &Board {
        &self.board
    }

    pub const fn me(&self) -> HostId {
        self.me
    }

    /// As [`Agent::is_caught_up`].
    pub const fn is_caught_up(&self) -> bool {
        self.is_caught_up
    }

    /// As [`Agent::standing`].
    pub fn standing(&self, host: HostId) -> HostStanding {
        self.board.standing_now(host)
    }

    /// As [`Agent::keeper_of`].
    pub fn keeper_of(&self, service: ServiceId) -> Option<HostId> {
        self.keepers.of(service)
    }

    /// The move that would even out a service most, if any is worth it. Takes as long as to read
    /// the whole board.
    pub fn better_placed(&self, now: Wall, service: ServiceId) -> Option<Move> {
        let service = self.board.service(service)?;
        better(now, &self.board, &Index::of(&self.board), service)
    }
}
