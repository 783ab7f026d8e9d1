//! An agent's last inputs, and its state before them, for the simulator to repeat step by step.
//!
//! A step follows from the agent's state, the time and the input, and from nothing else. So a copy
//! of the agent (cheap: the board is shared) and what it was told since are the whole story. The
//! recorder keeps two segments of it: when the second is full, the first is dropped and the agent
//! is copied again. What was told is kept as bytes; the copy becomes bytes only in a file.

mod form;

pub use form::{Cause, FORMAT, Header, Part, ReadError};

use crate::{
    agent::Agent,
    effect::{Effect, Effects},
    input::Input,
    limits,
    rng::hash_bytes,
    time::{Now, Wall},
};
use serde::Serialize;

/// Digest of the core's sources, tests apart: which core made a recording.
pub const CORE: &str = env!("HOLDFAST_CORE");

/// How much of the past a recorder keeps, at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of inputs; more only where a single one is larger than half of it.
    pub bytes: usize,
    pub steps: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: limits::RECORDING_BYTES_MAX,
            steps: limits::RECORDING_STEPS_MAX,
        }
    }
}

/// Stands between a driver and its agent, and keeps what the driver says.
#[derive(Clone, Debug)]
pub struct Recorder {
    bounds: Bounds,
    earlier: Option<Segment>,
    current: Segment,
    /// Reused: inputs and effects as bytes.
    scratch: Vec<u8>,
}

/// An agent, and what it was told from then on.
#[derive(Clone, Debug)]
struct Segment {
    begins: Agent,
    /// How many steps there were before.
    first: u64,
    inputs: Vec<u8>,
    steps: Vec<Taken>,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    /// Where its input ends.
    end: usize,
    /// Digest of what the agent asked for; `None` if the step has not ended.
    effects: Option<u64>,
}

impl Recorder {
    /// Begins with the agent as it is.
    pub fn new(agent: &Agent, bounds: Bounds) -> Self {
        Self {
            bounds,
            earlier: None,
            current: Segment::new(agent, 0),
            scratch: Vec::new(),
        }
    }

    /// [`Agent::step`], on the record. The input is kept before the agent has it, so that it is
    /// there if the agent panics.
    pub fn step(&mut self, agent: &mut Agent, now: Now, input: Input, fx: &mut Effects) {
        to_bytes(&(now, &input), &mut self.scratch);
        let is_full = self.current.inputs.len() + self.scratch.len() > self.bounds.bytes / 2
            || self.current.steps.len() >= self.bounds.steps / 2;
        if is_full && !self.current.steps.is_empty() {
            let next = Segment::new(agent, self.current.first + self.current.steps.len() as u64);
            self.earlier = Some(std::mem::replace(&mut self.current, next));
        }
        self.current.inputs.extend_from_slice(&self.scratch);
        self.current.steps.push(Taken {
            end: self.current.inputs.len(),
            effects: None,
        });
        agent.step(now, input, fx);
        let digest = digest_of(fx.as_slice(), &mut self.scratch);
        if let Some(taken) = self.current.steps.last_mut() {
            taken.effects = Some(digest);
        }
    }

    /// The recording as a file. `agent` is the one that takes the steps.
    pub fn save(&self, agent: &Agent, cause: Cause, at: Wall) -> Vec<u8> {
        let oldest = self.earlier.as_ref().unwrap_or(&self.current);
        let segments = || self.earlier.iter().chain([&self.current]);
        let last = segments().flat_map(|segment| &segment.steps).last();
        // Amid a step that has not ended the agent is in no state to be compared with.
        let is_whole = last.is_none_or(|taken| taken.effects.is_some());
        let config = agent.config();
        let header = Header {
            format: FORMAT,
            core: CORE.to_owned(),
            version: config.agent_version.clone(),
            host: config.host.to_string(),
            name: config.name.clone(),
            cause,
            written_at: at,
            first: oldest.first,
            steps: segments().map(|segment| segment.steps.len() as u64).sum(),
            state: is_whole.then(|| state_of(agent)),
        };
        let steps = segments().flat_map(Segment::steps);
        form::write(&header, &oldest.begins, steps)
    }

    /// Bytes of inputs, and steps, that are kept at the moment.
    pub fn held(&self) -> Bounds {
        let segments = || self.earlier.iter().chain([&self.current]);
        Bounds {
            bytes: segments().map(|segment| segment.inputs.len()).sum(),
            steps: segments().map(|segment| segment.steps.len()).sum(),
        }
    }
}

impl Segment {
    fn new(agent: &Agent, first: u64) -> Self {
        Self {
            begins: agent.clone(),
            first,
            inputs: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Each input as bytes, and the digest of what followed.
    fn steps(&self) -> impl Iterator<Item = (&[u8], Option<u64>)> {
        let begins = [0]
            .into_iter()
            .chain(self.steps.iter().map(|taken| taken.end));
        let both = begins.zip(&self.steps);
        both.map(|(begin, taken)| (&self.inputs[begin..taken.end], taken.effects))
    }
}

/// What a file tells: an agent, and the steps to take with it.
#[derive(Clone, Debug)]
pub struct Recording {
    pub header: Header,
    pub agent: Agent,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Step {
    /// Counted from the first one since the agent started.
    pub number: u64,
    pub now: Now,
    pub input: Input,
    /// `None`: it did not end. The agent panicked in it.
    pub effects: Option<u64>,
}

/// The agent did another thing than on the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    #[error("step {number} asks for something else than on the record")]
    Effects { number: u64 },
    #[error("step {number} ends, and on the record the agent panicked in it")]
    NoPanic { number: u64 },
    #[error(
        "all steps ask for the same as on the record, but the agent's state differs in the end"
    )]
    State,
}

impl Recording {
    /// Reads the recording of this very core.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        let header = Header::read(bytes)?;
        if header.core != CORE {
            return Err(ReadError::OtherCore {
                version: header.version,
                core: header.core,
            });
        }
        form::read(bytes)
    }

    /// Of any core whose state and inputs can be read here: to see whether a change mends what
    /// went wrong. Its steps may well differ.
    pub fn read_of_any_core(bytes: &[u8]) -> Result<Self, ReadError> {
        form::read(bytes)
    }

    /// To be asked of the agent that has taken all steps.
    pub fn check_end(&self, agent: &Agent) -> Result<(), Divergence> {
        match self.header.state {
            Some(state) if state != state_of(agent) => Err(Divergence::State),
            Some(_) | None => Ok(()),
        }
    }
}

impl Step {
    /// Takes the step again; what the agent asks for, and whether that is what is on the record.
    pub fn repeat(&self, agent: &mut Agent) -> (Vec<Effect>, Result<(), Divergence>) {
        let mut fx = Effects::new();
        agent.step(self.now, self.input.clone(), &mut fx);
        let number = self.number;
        let same = match self.effects {
            None => Err(Divergence::NoPanic { number }),
            Some(digest) if digest != digest_of(fx.as_slice(), &mut Vec::new()) => {
                Err(Divergence::Effects { number })
            }
            Some(_) => Ok(()),
        };
        (fx.drain().collect(), same)
    }
}

fn digest_of(effects: &[Effect], scratch: &mut Vec<u8>) -> u64 {
    to_bytes(effects, scratch);
    // 0 stands for none.
    hash_bytes(scratch).max(1)
}

fn state_of(agent: &Agent) -> u64 {
    let mut bytes = Vec::new();
    to_bytes(agent, &mut bytes);
    hash_bytes(&bytes)
}

fn to_bytes(what: &(impl Serialize + ?Sized), bytes: &mut Vec<u8>) {
    let mut taken = std::mem::take(bytes);
    taken.clear();
    *bytes = postcard::to_extend(what, taken).expect("all that the core has can be written");
}
