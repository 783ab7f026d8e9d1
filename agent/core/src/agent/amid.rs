//! Agents amid a cluster that has found itself long ago: so begin the simulator's largest runs.

use super::{Agent, AgentConfig, Joining};
use crate::{
    cluster::{board::Board, body::RuntimeStatus},
    schedule::index::Index,
    time::Now,
};

/// What all agents of such a cluster know, read once for all of them.
#[derive(Clone, Debug)]
pub struct Amid {
    board: Board,
    index: Index,
}

impl Amid {
    /// The reports of all hosts are on the board.
    pub fn of(board: Board) -> Self {
        let index = Index::of(&board);
        Self { board, index }
    }

    /// An agent as it would be a while after it joined: it announces nothing and asks nobody. In a
    /// cluster of thousands, whose agents would all start at one moment, joining alone would take
    /// longer than what is to be looked at. It shares with the others all that none of them has
    /// changed yet.
    ///
    /// # Panics
    /// If its own report is not on the board.
    pub fn agent(&self, config: AgentConfig, seed: u64, now: Now) -> Agent {
        let (board, index) = (self.board.clone(), self.index.clone());
        let mut agent = Agent::new(config, (board, index), Joining::Done, seed, now);
        let (incarnation, report) = agent
            .board
            .host(agent.config.host)
            .expect("its own report is on the board");
        let runtime = report.runtime.clone();
        agent.incarnation = incarnation;
        if let RuntimeStatus::Available { version } = &runtime {
            agent.runtime_version = Some(version.clone());
        }
        agent.runtime = runtime;
        agent
    }
}
