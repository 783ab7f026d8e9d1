//! The cluster key: its secret, its written form, and what is derived from it for each use.

use holdfast_core::ids::{KeyId, Secret};
use sha2::{Digest as _, Sha256};
use std::{fmt, io, str::FromStr};

/// Says what the text is and in which version of the form, so that it is found by secret scanners.
const PREFIX: &str = "hfk1_";
const KEY_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 3;
/// 35 bytes are exactly 56 digits of five bits each: no padding.
const DIGITS: usize = (KEY_BYTES + CHECKSUM_BYTES) * 8 / 5;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The secret that every agent of a cluster shares. It is printed by `to_text` alone.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; KEY_BYTES]);

/// Names a cluster in front of everything that is sent: 32 bits of a hash of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterTag(pub [u8; 4]);

/// What is sent is sealed with `primary`; what comes is opened with whichever key it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    pub primary: ClusterKey,
    pub others: Vec<ClusterKey>,
}

/// Why a text is not a key. None of these repeats the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a cluster key begins with `hfk1_`: make one with `holdfast key new`")]
    NotAKey,
    #[error("the key is cut: it has {found} characters after `hfk1_`, not {DIGITS}: copy it again")]
    TooShort { found: usize },
    #[error(
        "the key is too long: {found} characters after `hfk1_`, not {DIGITS}: \
         put one key on each line"
    )]
    TooLong { found: usize },
    #[error("the key has {character:?} at position {position}: only a-z and 2-7 occur in keys")]
    BadCharacter { character: char, position: usize },
    #[error("the key is damaged or cut: its checksum is wrong: copy it again")]
    BadChecksum,
}

impl Keyring {
    pub fn keys(&self) -> impl Iterator<Item = &ClusterKey> {
        std::iter::once(&self.primary).chain(&self.others)
    }
}

impl ClusterKey {
    /// A new key from the kernel's random device.
    pub fn generate() -> io::Result<Self> {
        let mut key = Self([0; KEY_BYTES]);
        getrandom::fill(&mut key.0).map_err(|err| io::Error::other(err.to_string()))?;
        Ok(key)
    }

    /// The secret itself, for the key file. Never log it.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(PREFIX.len() + DIGITS);
        text.push_str(PREFIX);
        let (mut held, mut bits) = (0u32, 0);
        for &byte in self.0.iter().chain(&self.checksum()) {
            held = held << 8 | u32::from(byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                text.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
            }
        }
        text
    }

    /// The secret itself, for the board: it goes to every host of the cluster.
    pub const fn secret(&self) -> Secret {
        Secret(self.0)
    }

    pub const fn from_secret(secret: &Secret) -> Self {
        Self(secret.0)
    }

    pub fn id(&self) -> KeyId {
        KeyId(first(hash(&[&self.0, b"holdfast key id"])))
    }

    /// The key of an agent without one: known to everyone, so it is used on loopback alone.
    pub fn known_to_everyone(cluster: &str) -> Self {
        Self(hash(&[b"holdfast no key", cluster.as_bytes()]))
    }

    fn checksum(&self) -> [u8; CHECKSUM_BYTES] {
        first(hash(&[b"holdfast key checksum", &self.0]))
    }

    /// A key for one use in one cluster. The purpose fills half a block of SHA-256 and the key the
    /// other half, so no two of (purpose, key, name) run into each other.
    pub(crate) fn derive(&self, purpose: &[u8], cluster: &str) -> [u8; 32] {
        let mut label = [0; 32];
        label[..purpose.len()].copy_from_slice(purpose);
        hash(&[&label, &self.0, cluster.as_bytes()])
    }
}

impl FromStr for ClusterKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(KeyError::NotAKey)?;
        let mut bytes = [0; KEY_BYTES + CHECKSUM_BYTES];
        let (mut held, mut bits, mut filled) = (0u32, 0, 0);
        for (index, character) in digits.chars().enumerate() {
            let digit = match character {
                'a'..='z' => character as u32 - 'a' as u32,
                'A'..='Z' => character as u32 - 'A' as u32,
                '2'..='7' => character as u32 - '2' as u32 + 26,
                _ => {
                    return Err(KeyError::BadCharacter {
                        character,
                        position: index + 1,
                    });
                }
            };
            held = held << 5 | digit;
            bits += 5;
            if bits >= 8 && filled < bytes.len() {
                bits -= 8;
                bytes[filled] = (held >> bits & 255) as u8;
                filled += 1;
            }
        }
        match digits.len() {
            found if found < DIGITS => return Err(KeyError::TooShort { found }),
            found if found > DIGITS => return Err(KeyError::TooLong { found }),
            _ => {}
        }
        let mut key = Self([0; KEY_BYTES]);
        key.0.copy_from_slice(&bytes[..KEY_BYTES]);
        if key.checksum()[..] != bytes[KEY_BYTES..] {
            return Err(KeyError::BadChecksum);
        }
        Ok(key)
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKey({:?})", self.id())
    }
}

impl Drop for ClusterKey {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// The keys of one cluster for each use, made when the transport starts and when they change.
pub struct Secrets {
    pub cluster: ClusterTag,
    /// The primary key first; never empty.
    keys: Vec<Derived>,
}

pub struct Derived {
    pub id: KeyId,
    pub datagram: [u8; 32],
    pub stream: [u8; 32],
}

impl Secrets {
    pub fn new(keyring: &Keyring, cluster: &str) -> Self {
        let derived = |key: &ClusterKey| Derived {
            id: key.id(),
            datagram: key.derive(b"holdfast v1 datagram", cluster),
            stream: key.derive(b"holdfast v1 stream", cluster),
        };
        let keys = std::iter::once(&keyring.primary)
            .chain(&keyring.others)
            .map(derived)
            .collect();
        let tag = ClusterTag(first(hash(&[b"holdfast cluster", cluster.as_bytes()])));
        Self { cluster: tag, keys }
    }

    pub fn primary(&self) -> &Derived {
        &self.keys[0]
    }

    pub fn find(&self, id: KeyId) -> Option<&Derived> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| key.id))
            .finish()
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Derived({:?})", self.id)
    }
}

impl Drop for Derived {
    fn drop(&mut self) {
        wipe(&mut self.datagram);
        wipe(&mut self.stream);
    }
}

/// Best effort without unsafe code: the black box keeps the compiler from leaving the write out.
pub(crate) fn wipe(secret: &mut [u8]) {
    secret.fill(0);
    std::hint::black_box(secret);
}

pub fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part);
    }
    sha.finalize().into()
}

pub fn first<const N: usize>(bytes: [u8; 32]) -> [u8; N] {
    const { assert!(N <= 32, "a hash has 32 bytes") };
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn key(byte: u8) -> ClusterKey {
        ClusterKey([byte; KEY_BYTES])
    }

    #[test]
    fn the_forms_of_a_key_never_change() {
        let seven = key(7);
        expect!["hfk1_a4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4d5nffm"]
            .assert_eq(&seven.to_text());
        expect!["ClusterKey(56fac5b2)"].assert_eq(&format!("{seven:?}"));
        let secrets = Secrets::new(
            &Keyring {
                primary: seven,
                others: vec![],
            },
            "prod",
        );
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        expect!["b8e9abb3"].assert_eq(&hex(&secrets.cluster.0));
        expect!["e90e03a0ad41532c"].assert_eq(&hex(&secrets.primary().datagram[..8]));
        expect!["237ced5ba534699e"].assert_eq(&hex(&secrets.primary().stream[..8]));
    }

    #[test]
    fn a_key_reads_back_as_it_was_written_also_in_capitals_and_with_a_newline() {
        let new = ClusterKey::generate().unwrap();
        assert!(new != ClusterKey::generate().unwrap());
        let text = new.to_text();
        assert_eq!(text.len(), PREFIX.len() + DIGITS);
        assert!(text.parse() == Ok(new.clone()));
        let capitals = format!(" {PREFIX}{}\n", text[PREFIX.len()..].to_uppercase());
        assert!(capitals.parse() == Ok(new));
    }

    #[test]
    fn what_is_not_a_key_is_refused_with_the_reason() {
        let check = |text: &str, expected: Expect| {
            expected.assert_eq(&text.parse::<ClusterKey>().unwrap_err().to_string());
        };
        let good = key(7).to_text();
        check(
            "",
            expect!["a cluster key begins with `hfk1_`: make one with `holdfast key new`"],
        );
        check(
            "secret",
            expect!["a cluster key begins with `hfk1_`: make one with `holdfast key new`"],
        );
        check(
            &good[..40],
            expect!["the key is cut: it has 35 characters after `hfk1_`, not 56: copy it again"],
        );
        check(
            &format!("{good}a"),
            expect![
                "the key is too long: 57 characters after `hfk1_`, not 56: put one key on each line"
            ],
        );
        check(
            &good.replace("a4d", "a1d"),
            expect!["the key has '1' at position 2: only a-z and 2-7 occur in keys"],
        );
        check(
            &good.replace("a4d", "aéd"),
            expect!["the key has 'é' at position 2: only a-z and 2-7 occur in keys"],
        );
        check(
            &good.replace("a4dq", "a4dr"),
            expect!["the key is damaged or cut: its checksum is wrong: copy it again"],
        );
    }

    #[test]
    fn every_single_wrong_character_is_noticed() {
        let good = key(9).to_text();
        for position in PREFIX.len()..good.len() {
            for &digit in ALPHABET {
                let mut bad = good.clone().into_bytes();
                bad[position] = digit;
                let bad = String::from_utf8(bad).unwrap();
                let parsed = bad.parse::<ClusterKey>();
                assert!(bad == good || parsed == Err(KeyError::BadChecksum), "{bad}");
            }
        }
    }
}
