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
    /// Also orders about hosts, and how services are held.
    pub choices: bool,
    /// Every message passes through its bytes, and datagrams are measured.
    pub codec: bool,
    /// What each agent is told is recorded, and replayed every ten seconds.
    pub recorded: bool,
    pub trace: TraceMode,
    /// A bug that the checks are to catch.
    pub planted: Option<Planted>,
    /// Of the faults that the seed draws, only those with these numbers.
    pub only_faults: Option<Vec<usize>>,
    /// Of the orders that the seed draws, only those with these numbers.
    pub only_orders: Option<Vec<usize>>,
}

impl Options {
    pub const fn new(seed: u64, agents: usize) -> Self {
        Self {
            seed,
            agents,
            seconds: 90,
            calm: false,
            choices: false,
            codec: true,
            recorded: false,
            trace: TraceMode::Keep,
            planted: None,
            only_faults: None,
            only_orders: None,
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
        let choices = if self.choices { " --choices" } else { "" };
        let codec = if self.codec { " --codec" } else { "" };
        let recorded = if self.recorded { " --recorded" } else { "" };
        let Self {
            seed,
            agents,
            seconds,
            ..
        } = self;
        let faults = only("--only-faults", self.only_faults.as_deref());
        let orders = only("--only-orders", self.only_orders.as_deref());
        format!(
            "cargo run --release -p sim -- {seed} --agents {agents} --seconds {seconds}\
             {calm}{choices}{codec}{recorded}{faults}{orders} --trace"
        )
    }
}

fn only(flag: &str, kept: Option<&[usize]>) -> String {
    let Some(kept) = kept else {
        return String::new();
    };
    let numbers: Vec<_> = kept.iter().map(ToString::to_string).collect();
    let none = if numbers.is_empty() { "none" } else { "" };
    format!(" {flag} {none}{}", numbers.join(","))
}
