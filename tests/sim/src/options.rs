//! What a run is to be like.

use crate::{planted::Planted, trace::TraceMode};

#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub agents: usize,
    /// How long faults and orders come, before the healing.
    pub seconds: u64,
    /// No faults.
    pub calm: bool,
    /// Every message passes through its bytes, and datagrams are measured.
    pub codec: bool,
    pub trace: TraceMode,
    /// A bug that the checks are to catch.
    pub planted: Option<Planted>,
}

impl Options {
    pub const fn new(seed: u64, agents: usize) -> Self {
        Self {
            seed,
            agents,
            seconds: 90,
            calm: false,
            codec: true,
            trace: TraceMode::Keep,
            planted: None,
        }
    }

    pub fn calm(seed: u64, agents: usize) -> Self {
        Self {
            calm: true,
            ..Self::new(seed, agents)
        }
    }

    /// The command that repeats the run.
    pub fn repeat(&self) -> String {
        let calm = if self.calm { " --calm" } else { "" };
        let codec = if self.codec { " --codec" } else { "" };
        let Self {
            seed,
            agents,
            seconds,
            ..
        } = self;
        format!(
            "cargo run --release -p sim -- {seed} --agents {agents} --seconds {seconds}\
             {calm}{codec} --trace"
        )
    }
}
