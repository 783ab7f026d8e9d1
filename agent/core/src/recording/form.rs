//! A recording as bytes: a line that anybody can read, then the agent, then each step, checked.
//!
//! ```text
//! holdfast recording {"format":1,"core":"…","host":"…","steps":…}\n
//! frame: length (u32) | check (u64) | the agent, postcard
//! frame: length (u32) | check (u64) | digest of the effects (u64; absent: 0) | input, postcard
//! ```
//! Numbers are little-endian. The check covers the frame's place, so that none can be lost, doubled
//! or moved without notice.

use super::{CORE, Recording, Step, to_bytes};
use crate::{
    agent::Agent,
    rng::{hash_bytes, mix},
    time::Wall,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{any::Any, fmt};

/// Of the file; what is in the frames follows the core.
pub const FORMAT: u32 = 1;
const MAGIC: &[u8] = b"holdfast recording ";
const FRAME_HEAD: usize = 12;

/// What a recording says of itself; any version of Holdfast can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    /// [`super::CORE`] of whoever made it.
    pub core: String,
    pub version: String,
    pub host: String,
    pub name: String,
    pub cause: Cause,
    pub written_at: Wall,
    /// Steps that the agent took before the first one here.
    pub first: u64,
    pub steps: u64,
    /// Digest of the agent's state after the last step; absent where that one did not end.
    pub state: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Asked,
    /// In the last step, with this message.
    Panicked(String),
}

impl Cause {
    /// What a panic said.
    pub fn said(panic: &(dyn Any + Send)) -> String {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("without a word").to_owned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Agent,
    Step { number: u64 },
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("this is no recording of Holdfast")]
    NotOne,
    #[error("the first line of the recording cannot be read")]
    Header(#[source] serde_json::Error),
    #[error("a recording of format {got}; this program reads format {FORMAT}")]
    Format { got: u32 },
    #[error(
        "recorded by version {version} with core {core}, and this is core {CORE}: build the \
         simulator from the commit that the agent was built from"
    )]
    OtherCore { version: String, core: String },
    #[error("{part}, at byte {at}, is damaged")]
    Damaged { part: Part, at: usize },
    #[error("the recording is cut short: {part}, at byte {at}, is missing or not whole")]
    CutShort { part: Part, at: usize },
    #[error("{part}, at byte {at}, is whole but means nothing to this core")]
    Unreadable {
        part: Part,
        at: usize,
        #[source]
        err: postcard::Error,
    },
    #[error("{bytes} bytes follow the last step")]
    TooMuch { bytes: usize },
}

impl Header {
    /// The first line alone.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        Ok(split(bytes)?.0)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("the agent at the beginning"),
            Self::Step { number } => write!(f, "step {number}"),
        }
    }
}

pub(super) fn write<'a>(
    header: &Header,
    agent: &Agent,
    steps: impl Iterator<Item = (&'a [u8], Option<u64>)>,
) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(serde_json::to_vec(header).expect("a header always encodes"));
    bytes.push(b'\n');
    let mut frame = Vec::new();
    to_bytes(agent, &mut frame);
    push(&mut bytes, 0, &frame);
    for (place, (input, effects)) in (1..).zip(steps) {
        frame.clear();
        frame.extend(effects.unwrap_or(0).to_le_bytes());
        frame.extend_from_slice(input);
        push(&mut bytes, place, &frame);
    }
    bytes
}

fn push(bytes: &mut Vec<u8>, place: u64, frame: &[u8]) {
    let length = u32::try_from(frame.len()).expect("a board and an input have their limits");
    bytes.extend(length.to_le_bytes());
    bytes.extend(check(place, frame).to_le_bytes());
    bytes.extend_from_slice(frame);
}

fn check(place: u64, frame: &[u8]) -> u64 {
    mix(hash_bytes(frame) ^ place)
}

pub(super) fn read(bytes: &[u8]) -> Result<Recording, ReadError> {
    let (header, rest) = split(bytes)?;
    let mut frames = Frames {
        at: bytes.len() - rest.len(),
        rest,
        place: 0,
    };
    let (at, frame) = frames.next(Part::Agent)?;
    let agent = meaning(Part::Agent, at, frame)?;
    let mut steps = Vec::new();
    for number in (header.first + 1..).take(usize::try_from(header.steps).unwrap_or(usize::MAX)) {
        let part = Part::Step { number };
        let (at, frame) = frames.next(part)?;
        let Some((digest, input)) = frame.split_first_chunk() else {
            return Err(ReadError::Damaged { part, at });
        };
        let digest = u64::from_le_bytes(*digest);
        let (now, input) = meaning(part, at, input)?;
        steps.push(Step {
            number,
            now,
            input,
            effects: (digest != 0).then_some(digest),
        });
    }
    match frames.rest.len() {
        0 => Ok(Recording {
            header,
            agent,
            steps,
        }),
        bytes => Err(ReadError::TooMuch { bytes }),
    }
}

/// The header, and what follows its line.
fn split(bytes: &[u8]) -> Result<(Header, &[u8]), ReadError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let text = bytes.strip_prefix(MAGIC).ok_or(ReadError::NotOne)?;
    let end = text.iter().position(|byte| *byte == b'\n');
    let (line, rest) = text.split_at(end.ok_or(ReadError::NotOne)?);
    let Format { format } = serde_json::from_slice(line).map_err(ReadError::Header)?;
    if format != FORMAT {
        return Err(ReadError::Format { got: format });
    }
    let header = serde_json::from_slice(line).map_err(ReadError::Header)?;
    Ok((header, &rest[1..]))
}

struct Frames<'a> {
    at: usize,
    rest: &'a [u8],
    place: u64,
}

impl<'a> Frames<'a> {
    fn next(&mut self, part: Part) -> Result<(usize, &'a [u8]), ReadError> {
        let at = self.at;
        let short = ReadError::CutShort { part, at };
        let Some((head, rest)) = self.rest.split_first_chunk::<FRAME_HEAD>() else {
            return Err(short);
        };
        let (length, sum) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        let sum = u64::from_le_bytes(sum.try_into().expect("eight bytes"));
        let Some((frame, rest)) = rest.split_at_checked(length) else {
            return Err(short);
        };
        if check(self.place, frame) != sum {
            return Err(ReadError::Damaged { part, at });
        }
        (self.rest, self.place) = (rest, self.place + 1);
        self.at += FRAME_HEAD + length;
        Ok((at, frame))
    }
}

fn meaning<T: DeserializeOwned>(part: Part, at: usize, bytes: &[u8]) -> Result<T, ReadError> {
    postcard::from_bytes(bytes).map_err(|err| ReadError::Unreadable { part, at, err })
}
