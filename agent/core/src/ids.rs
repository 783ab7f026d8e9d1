//! One type for each kind of id, so that no two of them can be mixed up.

use crate::rng::{Rng, mix};
use serde::{Deserialize, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A machine; made at first boot, never in an image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct HostId(pub u128);

/// One run of a task definition. Its first eight hex digits are the short id of the host that
/// minted it, so that whoever does not know the task knows whom to ask.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct TaskId(pub u128);

/// A service from its creation to its deletion; a new service of the same name has a new id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ServiceId(pub u128);

/// SHA-256 over the canonical form of a task definition: what it *is*, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

/// SHA-256 over the manifest of an image: it always means the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageDigest(pub [u8; 32]);

/// Names a cluster key without telling it: 32 bits of a hash of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 4]);

/// A container, as the container runtime calls it: Docker and Podman draw 256 bits for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuntimeId(pub [u8; 32]);

/// A GPU of a host, as NVIDIA's tools call it: its UUID (`GPU-…`, `MIG-…`) or its index (`0`,
/// `0:1`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GpuId(Box<str>);

/// A cluster key on its way to the hosts. Nothing prints it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Secret(pub [u8; 32]);

impl Secret {
    /// In recordings: nothing of it, on which nothing in the core depends.
    pub(crate) fn leave_out<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self([0; 32]).serialize(serializer)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Which of a service's copies.
pub type SlotIndex = u32;

/// How often a slot was given to a host; only grows. It is the epoch of the slot record.
pub type Generation = u64;

/// Grows with each start of an agent and with each false verdict that it refutes.
pub type Incarnation = u64;

/// An id was not written as 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: ids are 32 hexadecimal digits")]
pub struct IdError(pub String);

/// What the container runtime calls a container is not 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a container's id: these are 64 hexadecimal digits")]
pub struct RuntimeIdError(pub String);

/// Nothing that the hosts can be told to agree on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an image's digest: these are sha256: and 64 hexadecimal digits")]
pub struct ImageDigestError(pub String);

/// What is to name a GPU is neither a UUID of NVIDIA's nor an index. Words such as `all` would give
/// away more than one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a GPU's id: these are as in GPU-8f6d4c1e-…, MIG-…, 0 or 0:1")]
pub struct GpuIdError(pub String);

macro_rules! id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:08x})"), self.0 >> 96)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
                match u128::from_str_radix(text, 16) {
                    Ok(number) if digits => Ok(Self(number)),
                    _ => Err(IdError(text.to_owned())),
                }
            }
        }

        impl $name {
            /// One word that stands for the id in rendezvous scores.
            pub const fn word(self) -> u64 {
                mix(self.0 as u64 ^ mix((self.0 >> 64) as u64))
            }
        }
    };
}
id!(HostId);
id!(TaskId);
id!(ServiceId);

impl HostId {
    /// The first eight hex digits, as people see them in tables and as task ids carry them.
    pub const fn short(self) -> u32 {
        (self.0 >> 96) as u32
    }
}

impl TaskId {
    pub fn mint(host: HostId, rng: &mut Rng) -> Self {
        Self(minted_by(host, rng))
    }

    /// The short id of the host that minted this task.
    pub const fn minter(self) -> u32 {
        (self.0 >> 96) as u32
    }
}

impl ServiceId {
    pub fn mint(host: HostId, rng: &mut Rng) -> Self {
        Self(minted_by(host, rng))
    }
}

fn minted_by(host: HostId, rng: &mut Rng) -> u128 {
    let low = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    (u128::from(host.short()) << 96) | (low >> 32)
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u32::from_str_radix(text, 16) {
            Ok(number) if digits => Ok(Self(number.to_be_bytes())),
            _ => Err(IdError(text.to_owned())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Digest({:02x}{:02x}{:02x}{:02x})",
            self.0[0], self.0[1], self.0[2], self.0[3]
        )
    }
}

impl FromStr for Digest {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        read_hex(text)
            .map(Self)
            .ok_or_else(|| IdError(text.to_owned()))
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ImageDigest {
    type Err = ImageDigestError;
    fn from_str(text: &str) -> Result<Self, ImageDigestError> {
        let digits = text.strip_prefix("sha256:").and_then(read_hex);
        digits
            .map(Self)
            .ok_or_else(|| ImageDigestError(text.to_owned()))
    }
}

impl RuntimeId {
    /// The first twelve digits, as Docker shows ids in tables.
    pub fn short(self) -> String {
        self.0[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl fmt::Display for RuntimeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for RuntimeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuntimeId({})", self.short())
    }
}

impl FromStr for RuntimeId {
    type Err = RuntimeIdError;
    fn from_str(text: &str) -> Result<Self, RuntimeIdError> {
        read_hex(text)
            .map(Self)
            .ok_or_else(|| RuntimeIdError(text.to_owned()))
    }
}

impl GpuId {
    /// NVIDIA's longest have 48.
    const BYTES_MAX: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GpuId {
    type Err = GpuIdError;
    fn from_str(text: &str) -> Result<Self, GpuIdError> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_index = text.split(':').count() <= 2 && text.split(':').all(digits);
        let uuid = ["GPU-", "MIG-"]
            .iter()
            .find_map(|kind| text.strip_prefix(kind));
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-/".contains(&b);
        let is_uuid = uuid.is_some_and(|uuid| !uuid.is_empty() && uuid.bytes().all(allowed));
        match (is_index || is_uuid) && text.len() <= Self::BYTES_MAX {
            true => Ok(Self(text.into())),
            false => Err(GpuIdError(text.to_owned())),
        }
    }
}

/// At once: whoever describes tasks writes two of them for each.
fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8; 32]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
    f.write_str(str::from_utf8(&text).expect("digits are ASCII"))
}

fn read_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_they_were_written_and_nothing_else_does() {
        let id = HostId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "0123",
            "+123456789abcdef0123456789abcdef0",
            &"g".repeat(32),
        ] {
            assert_eq!(bad.parse::<HostId>(), Err(IdError(bad.to_owned())));
        }
    }

    #[test]
    fn a_containers_id_is_64_digits_and_shown_by_the_first_12() {
        let text = "c0ffee0123456789".repeat(4);
        let id: RuntimeId = text.parse().expect("it is an id");
        assert_eq!(id.to_string(), text);
        assert_eq!(id.short(), text[..12]);
        for bad in ["", &text[..12], &"+f".repeat(32), &"é".repeat(32)] {
            let err = RuntimeIdError(bad.to_owned());
            assert_eq!(bad.parse::<RuntimeId>(), Err(err));
        }
    }

    #[test]
    fn a_gpu_is_called_by_its_uuid_or_its_index() {
        let uuid = "GPU-8f6d4c1e-0a2b-4c5d-9e8f-001122334455";
        let mig = "MIG-GPU-8f6d4c1e-0a2b-4c5d-9e8f-001122334455/1/0";
        for text in [uuid, mig, "0", "0:1"] {
            let id = text.parse::<GpuId>().expect("it is an id");
            assert_eq!(id.to_string(), text);
        }
        for bad in [
            "",
            "all",
            "none",
            "GPU-",
            "GPU-a,GPU-b",
            "0:",
            "0:1:2",
            "-1",
            "No devices",
        ] {
            assert_eq!(bad.parse::<GpuId>(), Err(GpuIdError(bad.to_owned())));
        }
    }

    #[test]
    fn a_task_id_says_who_minted_it() {
        let host = HostId(0xdead_beef << 96);
        let task = TaskId::mint(host, &mut Rng::new(1));
        assert_eq!(task.minter(), host.short());
        assert!(task.to_string().starts_with("deadbeef"));
    }
}
