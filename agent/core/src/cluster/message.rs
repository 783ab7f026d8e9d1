//! What agents say to one another, and its bounded, total, versioned form as bytes.

use crate::{
    cluster::{
        body::Key,
        hash_tree::{FAN, Prefix},
        record::{Record, RecordError, Version},
    },
    ids::{HostId, Incarnation},
    limits,
    spec::image::ImageRef,
    task::runtime::PulledImage,
    time::{Mono, Wall},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Version of the wire format; a message of another one is refused, by name.
pub const WIRE_VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// "Are you there?"
    Probe { sequence: u32 },
    /// "I am", to the probe of that number.
    Ack { sequence: u32 },
    /// To the co-observers: "I have no answer from this host"; a vote as long as it is repeated.
    Alarm(Alarm),
    /// To who raised an alarm: "`subject` does answer me"; takes its vote back.
    Alive {
        subject: HostId,
        incarnation: Incarnation,
    },
    /// Records that changed, or that the receiver lacked.
    Records(Vec<Arc<Record>>),
    /// The XOR of all record hashes; answered with `Branches` or `Holdings` where ours differs.
    Summary { root: u64 },
    /// For some prefixes of key hashes the XOR of the record hashes below each longer one.
    Branches(Vec<(Prefix, [u64; FAN])>),
    /// The hashes of all keys below some prefixes, with their versions.
    Holdings {
        prefixes: Vec<Prefix>,
        held: Vec<(u64, Version)>,
    },
    /// "Send me the records with these key hashes."
    Fetch(Vec<u64>),
    /// "Send me your board after this key"; answered with one `Page`.
    CatchUp { after: Option<Key> },
    /// To `CatchUp`: "I have no board either: this is my first start."
    Blank,
    /// To `CatchUp`: "I am catching up, too."
    Behind,
    /// "My clock shows this."
    Clock { wall: Wall },
    /// "Are you on my side?", asked of those that count under `majority`; `at` is the asker's.
    Call { at: Mono },
    /// To `Call`, from a host that does not hold the asker for down.
    Present { at: Mono },
    /// A part of the board, in order of keys; the last one says so.
    Page {
        records: Vec<Arc<Record>>,
        last: bool,
    },
    /// "Pull this image", said again under the same number until that is over.
    Pull { number: u64, image: ImageRef },
    /// To `Pull`, and unasked once it is over.
    Pulling { number: u64, stage: PullStage },
}

/// What has become of a pull that a host was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullStage {
    /// Empty where nothing can be told yet.
    UnderWay {
        progress: String,
    },
    Pulled {
        image: PulledImage,
        took_ms: u32,
    },
    Failed {
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Via {
    /// May be lost, repeated and reordered; at most [`limits::DATAGRAM_BYTES_MAX`].
    Datagram,
    /// In order while the connection lasts; lost with it.
    Stream,
}

/// What an observer has to say against a host that does not answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    pub subject: HostId,
    pub incarnation: Incarnation,
    /// For how long its probes have not been answered.
    pub silent_ms: u32,
    /// For how long its silence is to be borne, as it has paused before.
    pub patience_ms: u32,
    /// Its machine answers, if its agent does not.
    pub kernel_answers: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("a message of wire version {got}; this agent speaks {WIRE_VERSION}")]
    WireVersion { got: u8 },
    #[error("an empty message")]
    Empty,
    #[error("not a message")]
    Frame(#[source] postcard::Error),
    #[error("a message with {got} entries is over the limit of {max}")]
    TooMany { got: usize, max: usize },
    #[error("a message with a text of {got} bytes is over the limit of {max}")]
    TooLong { got: usize, max: usize },
    #[error("a message with a bad key")]
    Key(#[source] postcard::Error),
    #[error("a message with a bad record")]
    Record(#[source] RecordError),
}

#[derive(Serialize, Deserialize)]
enum WireMessage {
    Probe {
        sequence: u32,
    },
    Ack {
        sequence: u32,
    },
    Alarm(Alarm),
    Alive {
        subject: HostId,
        incarnation: Incarnation,
    },
    Records(Vec<Vec<u8>>),
    Summary {
        root: u64,
    },
    Branches(Vec<(Prefix, [u64; FAN])>),
    Holdings {
        prefixes: Vec<Prefix>,
        held: Vec<(u64, Version)>,
    },
    Fetch(Vec<u64>),
    CatchUp {
        after: Option<(u8, Vec<u8>)>,
    },
    Page {
        records: Vec<Vec<u8>>,
        last: bool,
    },
    Blank,
    Behind,
    Clock {
        wall: Wall,
    },
    Call {
        at: u64,
    },
    Present {
        at: u64,
    },
    Pull {
        number: u64,
        image: ImageRef,
    },
    Pulling {
        number: u64,
        stage: PullStage,
    },
}

impl Message {
    pub fn encode(&self) -> Vec<u8> {
        let pack = |records: &[Arc<Record>]| records.iter().map(|r| r.encode()).collect();
        let wire = match self {
            Self::Probe { sequence } => WireMessage::Probe {
                sequence: *sequence,
            },
            Self::Ack { sequence } => WireMessage::Ack {
                sequence: *sequence,
            },
            Self::Alarm(alarm) => WireMessage::Alarm(*alarm),
            Self::Alive {
                subject,
                incarnation,
            } => WireMessage::Alive {
                subject: *subject,
                incarnation: *incarnation,
            },
            Self::Records(records) => WireMessage::Records(pack(records)),
            Self::Summary { root } => WireMessage::Summary { root: *root },
            Self::Branches(branches) => WireMessage::Branches(branches.clone()),
            Self::Holdings { prefixes, held } => WireMessage::Holdings {
                prefixes: prefixes.clone(),
                held: held.clone(),
            },
            Self::Fetch(hashes) => WireMessage::Fetch(hashes.clone()),
            Self::CatchUp { after } => WireMessage::CatchUp {
                after: after.as_ref().map(Key::to_wire),
            },
            Self::Blank => WireMessage::Blank,
            Self::Behind => WireMessage::Behind,
            Self::Clock { wall } => WireMessage::Clock { wall: *wall },
            Self::Call { at } => WireMessage::Call { at: at.0 },
            Self::Present { at } => WireMessage::Present { at: at.0 },
            Self::Page { records, last } => WireMessage::Page {
                records: pack(records),
                last: *last,
            },
            Self::Pull { number, image } => WireMessage::Pull {
                number: *number,
                image: image.clone(),
            },
            Self::Pulling { number, stage } => WireMessage::Pulling {
                number: *number,
                stage: stage.clone(),
            },
        };
        postcard::to_extend(&wire, vec![WIRE_VERSION]).expect("a message always encodes")
    }

    /// Reads a message back; total. What it allocates is bounded by the length of `bytes`, which
    /// the transport bounds by [`limits::FRAME_BYTES_MAX`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let (&version, rest) = bytes.split_first().ok_or(MessageError::Empty)?;
        if version != WIRE_VERSION {
            return Err(MessageError::WireVersion { got: version });
        }
        let wire: WireMessage = postcard::from_bytes(rest).map_err(MessageError::Frame)?;
        Ok(match wire {
            WireMessage::Probe { sequence } => Self::Probe { sequence },
            WireMessage::Ack { sequence } => Self::Ack { sequence },
            WireMessage::Alarm(alarm) => Self::Alarm(alarm),
            WireMessage::Alive {
                subject,
                incarnation,
            } => Self::Alive {
                subject,
                incarnation,
            },
            WireMessage::Records(records) => Self::Records(unpack(records)?),
            WireMessage::Summary { root } => Self::Summary { root },
            WireMessage::Branches(branches) => {
                at_most(branches.len(), limits::BRANCHES_MAX)?;
                Self::Branches(branches)
            }
            WireMessage::Holdings { prefixes, held } => {
                at_most(prefixes.len(), limits::BRANCHES_MAX * FAN)?;
                at_most(held.len(), 2 * limits::HOLDINGS_MAX)?;
                Self::Holdings { prefixes, held }
            }
            WireMessage::Fetch(hashes) => {
                at_most(hashes.len(), 2 * limits::HOLDINGS_MAX)?;
                Self::Fetch(hashes)
            }
            WireMessage::CatchUp { after } => Self::CatchUp {
                after: after
                    .map(|(kind, key)| Key::from_wire(kind, &key))
                    .transpose()
                    .map_err(MessageError::Key)?,
            },
            WireMessage::Blank => Self::Blank,
            WireMessage::Behind => Self::Behind,
            WireMessage::Clock { wall } => Self::Clock { wall },
            WireMessage::Call { at } => Self::Call { at: Mono(at) },
            WireMessage::Present { at } => Self::Present { at: Mono(at) },
            WireMessage::Page { records, last } => Self::Page {
                records: unpack(records)?,
                last,
            },
            WireMessage::Pull { number, image } => Self::Pull { number, image },
            WireMessage::Pulling { number, stage } => {
                let (text, max) = stage.text();
                if text.len() > max {
                    let got = text.len();
                    return Err(MessageError::TooLong { got, max });
                }
                Self::Pulling { number, stage }
            }
        })
    }
}

impl PullStage {
    /// What it says, and how many bytes of that there may be.
    pub(crate) const fn text(&self) -> (&String, usize) {
        match self {
            Self::UnderWay { progress } => (progress, limits::PULL_PROGRESS_BYTES_MAX),
            Self::Pulled { image, .. } => (&image.digest, limits::IMAGE_DIGEST_BYTES_MAX),
            Self::Failed { reason } => (reason, limits::REASON_BYTES_MAX),
        }
    }

    /// Within the limits, whatever the container runtime says.
    pub(crate) fn cut(mut self) -> Self {
        let (text, max) = self.text();
        let is_whole = |end: &usize| text.is_char_boundary(*end);
        let end = (0..=max.min(text.len())).rev().find(is_whole).unwrap_or(0);
        match &mut self {
            Self::UnderWay { progress } => progress.truncate(end),
            Self::Pulled { image, .. } => image.digest.truncate(end),
            Self::Failed { reason } => reason.truncate(end),
        }
        self
    }
}

fn unpack(records: Vec<Vec<u8>>) -> Result<Vec<Arc<Record>>, MessageError> {
    at_most(records.len(), limits::RECORDS_PER_MESSAGE_MAX)?;
    records
        .iter()
        .map(|bytes| Record::decode(bytes))
        .collect::<Result<_, _>>()
        .map_err(MessageError::Record)
}

fn at_most(got: usize, max: usize) -> Result<(), MessageError> {
    if got > max && !planted!(ReadsAnyLength) {
        Err(MessageError::TooMany { got, max })
    } else {
        Ok(())
    }
}
