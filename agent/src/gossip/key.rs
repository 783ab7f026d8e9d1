//! The cluster key: how it is made, written, read from a file, and turned into keys for each use.

use holdfast_core::{
    ids::{KeyId, Secret},
    limits::CLUSTER_KEYS_MAX,
};
use sha2::{Digest as _, Sha256};
use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Says what the text is and in which version of the form, so that it is found by secret scanners.
const PREFIX: &str = "hfk1_";
const KEY_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 3;
/// 35 bytes are exactly 56 digits of five bits each: no padding.
const DIGITS: usize = (KEY_BYTES + CHECKSUM_BYTES) * 8 / 5;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const KEY_FILE_BYTES_MAX: u64 = 4_096;

/// The secret that every agent of a cluster shares. It is printed by `to_text` alone.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ClusterKey([u8; KEY_BYTES]);

/// Names a cluster in front of everything that is sent: 32 bits of a hash of its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ClusterTag(pub(super) [u8; 4]);

/// What is sent is sealed with `primary`; what comes is opened with whichever key it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keyring {
    pub(crate) primary: ClusterKey,
    pub(crate) others: Vec<ClusterKey>,
}

/// Why a text is not a key. None of these repeats the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
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

/// Why a key file was not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("cannot read the key file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error(
        "others than its owner can read or change the key file {} (mode {mode:04o}): \
         chmod 600 {}",
        path.display(), path.display()
    )]
    Open { path: PathBuf, mode: u32 },
    #[error("the key file {} is not a plain file: put the key in one", path.display())]
    NotAFile { path: PathBuf },
    #[error("the key file {} is not one: it has more than 4096 bytes", path.display())]
    TooBig { path: PathBuf },
    #[error("the key file {} has no key: run `holdfast key new` and put it there", path.display())]
    Empty { path: PathBuf },
    #[error("the key file {} has more than 8 keys: remove the oldest", path.display())]
    TooMany { path: PathBuf },
    #[error("line {line} of the key file {} is not a key", path.display())]
    Key {
        path: PathBuf,
        line: usize,
        #[source]
        err: KeyError,
    },
}

/// Reads the keys of a file, one on each line, the one to seal with first. Empty lines and lines
/// that begin with `#` are skipped.
pub(crate) fn read_key_file(path: &Path) -> Result<Keyring, KeyFileError> {
    let path = path.to_owned();
    // The file that was opened is the one that is judged: its name may be given to another.
    let (text, mode) = match read_guarded(&path) {
        Ok(Guarded::Text(text, mode)) => (text, mode),
        Ok(Guarded::NotAFile) => return Err(KeyFileError::NotAFile { path }),
        Err(err) => return Err(KeyFileError::Read { path, err }),
    };
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open { path, mode });
    }
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(KeyFileError::TooBig { path });
    }
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (line, number) = (line.trim(), index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.parse::<ClusterKey>() {
            Ok(key) => keys.push(key),
            Err(err) => {
                return Err(KeyFileError::Key {
                    path,
                    line: number,
                    err,
                });
            }
        }
    }
    if keys.len() > CLUSTER_KEYS_MAX {
        return Err(KeyFileError::TooMany { path });
    }
    if keys.is_empty() {
        return Err(KeyFileError::Empty { path });
    }
    Ok(Keyring {
        primary: keys.remove(0),
        others: keys,
    })
}

enum Guarded {
    Text(String, u32),
    NotAFile,
}

fn read_guarded(path: &Path) -> io::Result<Guarded> {
    // Opening a pipe would wait for its writer for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(Guarded::NotAFile);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Guarded::NotAFile);
    }
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    Ok(Guarded::Text(text, metadata.permissions().mode() & 0o7777))
}

impl ClusterKey {
    /// A new key from the kernel's random device.
    pub(crate) fn generate() -> io::Result<Self> {
        let mut key = Self([0; KEY_BYTES]);
        getrandom::fill(&mut key.0).map_err(|err| io::Error::other(err.to_string()))?;
        Ok(key)
    }

    /// The secret itself, for the key file. Never log it.
    pub(crate) fn to_text(&self) -> String {
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
    pub(crate) const fn secret(&self) -> Secret {
        Secret(self.0)
    }

    pub(crate) const fn from_secret(secret: &Secret) -> Self {
        Self(secret.0)
    }

    pub(crate) fn id(&self) -> KeyId {
        KeyId(first(hash(&[&self.0, b"holdfast key id"])))
    }

    /// The key of an agent without one: known to everyone, so it is used on loopback alone.
    pub(super) fn known_to_everyone(cluster: &str) -> Self {
        Self(hash(&[b"holdfast no key", cluster.as_bytes()]))
    }

    fn checksum(&self) -> [u8; CHECKSUM_BYTES] {
        first(hash(&[b"holdfast key checksum", &self.0]))
    }

    /// A key for one use in one cluster. The purpose fills half a block of SHA-256 and the key the
    /// other half, so no two of (purpose, key, name) run into each other.
    fn derive(&self, purpose: &[u8], cluster: &str) -> [u8; 32] {
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
pub(super) struct Secrets {
    pub(super) cluster: ClusterTag,
    /// The primary key first; never empty.
    keys: Vec<Derived>,
}

pub(super) struct Derived {
    pub(super) id: KeyId,
    pub(super) datagram: [u8; 32],
    pub(super) stream: [u8; 32],
}

impl Secrets {
    pub(super) fn new(keyring: &Keyring, cluster: &str) -> Self {
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

    pub(super) fn primary(&self) -> &Derived {
        &self.keys[0]
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&Derived> {
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

impl Drop for Derived {
    fn drop(&mut self) {
        wipe(&mut self.datagram);
        wipe(&mut self.stream);
    }
}

/// Best effort without unsafe code: the black box keeps the compiler from leaving the write out.
fn wipe(secret: &mut [u8; 32]) {
    secret.fill(0);
    std::hint::black_box(secret);
}

pub(super) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part);
    }
    sha.finalize().into()
}

pub(super) fn first<const N: usize>(bytes: [u8; 32]) -> [u8; N] {
    const { assert!(N <= 32, "a hash has 32 bytes") };
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::tests::fold;
    use expect_test::{Expect, expect};
    use std::os::unix::fs::OpenOptionsExt as _;

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
            expected.assert_eq(&fold(&text.parse::<ClusterKey>().unwrap_err().to_string()));
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
            expect![[r#"
            the key is too long: 57 characters after `hfk1_`, not 56: put one key on each
              line"#]],
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

    #[test]
    fn a_key_file_is_private_and_holds_keys() {
        let folder = std::env::temp_dir().join(format!("holdfast-key-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |mode: u32, text: &str| {
            let path = folder.join("key");
            std::fs::remove_file(&path).ok();
            let options = File::options()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path);
            io::Write::write_all(&mut options.unwrap(), text.as_bytes()).unwrap();
            path
        };
        let check = |path: PathBuf, expected: Expect| {
            let text = read_key_file(&path).unwrap_err().to_string();
            expected.assert_eq(&fold(
                &text.replace(folder.to_str().unwrap(), "/etc/holdfast"),
            ));
        };
        let (new, old) = (key(2).to_text(), key(1).to_text());
        let path = write(0o600, &format!("# made today\n{new}\n\n{old}\n"));
        let keyring = Keyring {
            primary: key(2),
            others: vec![key(1)],
        };
        assert_eq!(read_key_file(&path).unwrap(), keyring);

        check(
            write(0o640, &new),
            expect![[r#"
            others than its owner can read or change the key file /etc/holdfast/key (mode
              0640): chmod 600 /etc/holdfast/key"#]],
        );
        check(
            write(0o600, "# none\n"),
            expect![[r#"
            the key file /etc/holdfast/key has no key: run `holdfast key new` and put it
              there"#]],
        );
        check(
            write(0o600, &format!("# cut\n{}", &new[..20])),
            expect!["line 2 of the key file /etc/holdfast/key is not a key"],
        );
        check(
            write(0o600, &"#".repeat(5_000)),
            expect!["the key file /etc/holdfast/key is not one: it has more than 4096 bytes"],
        );
        check(
            write(0o600, &format!("{new}\n").repeat(9)),
            expect!["the key file /etc/holdfast/key has more than 8 keys: remove the oldest"],
        );
        check(
            folder.join("absent"),
            expect!["cannot read the key file /etc/holdfast/absent"],
        );
        check(
            folder.clone(),
            expect!["the key file /etc/holdfast is not a plain file: put the key in one"],
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
