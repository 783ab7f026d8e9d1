//! Records of the board: one kind of thing, one rule of merging (the higher version wins, always).

use crate::{
    cluster::body::{Body, Key},
    ids::{Digest, HostId},
    limits,
    rng::{hash_bytes, mix},
    spec::task_definition::TaskDefinition,
    time::Wall,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::sync::Arc;

/// A hybrid logical clock's reading (Kulkarni et al., OPODIS'14), made unique by its author.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    pub wall: Wall,
    pub counter: u32,
    pub author: HostId,
}

/// Totally ordered; what the epoch means depends on the kind of record (see [`Key`]).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    pub epoch: u64,
    pub stamp: Stamp,
}

/// One entry of the board. Without a body it is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Key,
    pub version: Version,
    pub body: Option<Body>,
    /// Room for the author's signature; empty until hosts have key pairs.
    pub signature: Box<[u8]>,
    /// Hash of the key alone; says where in the hash tree the record is.
    pub key_hash: u64,
    /// Length of the wire form in bytes.
    pub bytes: u32,
}

/// What travels and what is stored: key and body as bytes behind their kind, so that a record of a
/// kind that this version does not know can be kept and passed on.
#[derive(Serialize, Deserialize)]
struct WireRecord {
    kind: u8,
    key: Vec<u8>,
    version: Version,
    body: Option<Vec<u8>>,
    signature: Box<[u8]>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a record of {got} bytes is over the limit of {max}", max = limits::RECORD_BYTES_MAX)]
    TooLong { got: usize },
    #[error("not a record")]
    Frame(#[source] postcard::Error),
    #[error("a record of kind {kind} whose key cannot be read")]
    Key {
        kind: u8,
        #[source]
        err: postcard::Error,
    },
    #[error("a record of kind {kind} whose body cannot be read")]
    Body {
        kind: u8,
        #[source]
        err: postcard::Error,
    },
}

impl Record {
    pub fn new(key: Key, version: Version, body: Option<Body>) -> Arc<Self> {
        Self::assemble(key, version, body, Box::default())
    }

    fn assemble(key: Key, version: Version, body: Option<Body>, signature: Box<[u8]>) -> Arc<Self> {
        let (kind, key_bytes) = key.to_wire();
        let key_hash = mix(hash_bytes(&key_bytes) ^ u64::from(kind));
        let mut record = Self {
            key,
            version,
            body,
            signature,
            key_hash,
            bytes: 0,
        };
        record.bytes = u32::try_from(record.encode().len()).expect("far below 4 GiB by its limits");
        Arc::new(record)
    }

    /// The same record, of which nobody reads more than its key and version.
    pub fn unread(&self) -> Arc<Self> {
        let body = self.body.as_ref().map(|body| Body::Unknown(body.to_wire()));
        Arc::new(Self {
            key: self.key.clone(),
            body,
            signature: self.signature.clone(),
            ..*self
        })
    }

    /// The definition that comes with the record, and its digest.
    pub fn defines(&self) -> Option<(Digest, &TaskDefinition)> {
        match (&self.key, self.body.as_ref()?) {
            (Key::Definition(digest), Body::Definition(definition)) => Some((*digest, definition)),
            (_, Body::Run(run)) => Some((run.revision.definition, run.overridden.as_deref()?)),
            _ => None,
        }
    }

    /// What the record adds to the XOR-hashes above it: key and version; one decides the body.
    pub fn hash(&self) -> u64 {
        let Stamp {
            wall,
            counter,
            author,
        } = self.version.stamp;
        let version =
            mix(mix(self.version.epoch) ^ wall.0) ^ mix(u64::from(counter) ^ author.word());
        mix(self.key_hash ^ version)
    }

    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(self.body.as_ref().map(Body::to_wire))
    }

    fn encode_with(&self, body: Option<Vec<u8>>) -> Vec<u8> {
        let (kind, key) = self.key.to_wire();
        let wire = WireRecord {
            kind,
            key,
            version: self.version,
            body,
            signature: self.signature.clone(),
        };
        postcard::to_allocvec(&wire).expect("a record always encodes")
    }

    /// Reads one record back; total, and bounded by [`limits::RECORD_BYTES_MAX`].
    pub fn decode(bytes: &[u8]) -> Result<Arc<Self>, RecordError> {
        if bytes.len() > limits::RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { got: bytes.len() });
        }
        let wire: WireRecord = postcard::from_bytes(bytes).map_err(RecordError::Frame)?;
        let kind = wire.kind;
        let key = Key::from_wire(kind, &wire.key).map_err(|err| RecordError::Key { kind, err })?;
        let body = wire.body.map(|bytes| read_body(kind, bytes)).transpose()?;
        Ok(Self::assemble(key, wire.version, body, wire.signature))
    }
}

/// As recordings hold it: what travels, but for the secret of a cluster key, which is blank; and
/// whether the body is read.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let body = self.body.as_ref().map(Body::to_wire);
        let body = match self.key {
            Key::ClusterKey(_) => body.map(|secret| vec![0; secret.len()]),
            _ => body,
        };
        let is_read = !matches!(self.body, Some(Body::Unknown(_)));
        (is_read, self.encode_with(body)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (is_read, bytes) = <(bool, Vec<u8>)>::deserialize(deserializer)?;
        let record = Self::decode(&bytes).map_err(D::Error::custom)?;
        let record = if is_read { record } else { record.unread() };
        Ok(Arc::unwrap_or_clone(record))
    }
}

/// A body that a later version wrote longer than we know it is kept as it is, not understood: cut
/// short under the same version it would differ from the others' for ever.
fn read_body(kind: u8, bytes: Vec<u8>) -> Result<Body, RecordError> {
    let body = Body::from_wire(kind, &bytes).map_err(|err| RecordError::Body { kind, err })?;
    Ok(if body.to_wire() == bytes {
        body
    } else {
        Body::Unknown(bytes)
    })
}
