//! An agent amid a cluster that has found itself long ago: so begin the simulator's largest runs.

use super::{Agent, AgentConfig, Joining};
use crate::{
    cluster::{board::Board, body::RuntimeStatus},
    time::Now,
};

impl Agent {
    /// As it would be a while after it joined, with all reports on its board, its own among them:
    /// it announces nothing and asks nobody. In a cluster of thousands, whose agents would all
    /// start at one moment, joining alone would take longer than what is to be looked at.
    ///
    /// # Panics
    /// If its own report is not on the board.
    pub fn amid(config: AgentConfig, board: Board, seed: u64, now: Now) -> Self {
        let mut agent = Self::new(config, board, Joining::Done, seed, now);
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
