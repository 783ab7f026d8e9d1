//! Seals what the cluster keeps for its tasks, so that it is read only by whoever has a key.
//!
//! | bytes | what |
//! |---|---|
//! | 0..24 | nonce, drawn for each seal |
//! | 24..n-16 | the value, sealed with XChaCha20-Poly1305 |
//! | n-16..n | tag |
//!
//! Authenticated with it, but not in it: the names of the cluster and of the value. So no value can
//! be put in another's place, nor be brought from another cluster.

use crate::key::{ClusterKey, Keyring, wipe};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use holdfast_core::ids::KeyId;
use std::{fmt, io};

const NONCE_BYTES: usize = 24;
const PURPOSE: &[u8] = b"holdfast v1 secret";

/// A value in clear. Nothing prints it, and it is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Clear(Vec<u8>);

/// Why a sealed value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(
        "it is sealed with the cluster key {0}, which this host does not have (see `holdfast key \
         ls`)"
    )]
    NoKey(KeyId),
    #[error("its seal is broken: set it anew")]
    Broken,
}

impl Clear {
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Seals with the primary key.
pub fn seal(
    ring: &Keyring,
    cluster: &str,
    name: &str,
    value: &Clear,
) -> io::Result<(KeyId, Vec<u8>)> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|err| io::Error::other(err.to_string()))?;
    let sealed = with_key(&ring.primary, cluster, |cipher| {
        let payload = Payload {
            msg: value.bytes(),
            aad: &about(cluster, name),
        };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload);
        sealed.expect("a value is far below the 256 GiB of one nonce")
    });
    Ok((ring.primary.id(), [nonce.as_slice(), &sealed].concat()))
}

/// With whichever key it was sealed.
pub fn open(
    ring: &Keyring,
    cluster: &str,
    name: &str,
    (key, sealed): (KeyId, &[u8]),
) -> Result<Clear, OpenError> {
    let found = ring.keys().find(|known| known.id() == key);
    let found = found.ok_or(OpenError::NoKey(key))?;
    let (nonce, sealed) = sealed.split_first_chunk().ok_or(OpenError::Broken)?;
    let opened = with_key(found, cluster, |cipher| {
        let payload = Payload {
            msg: sealed,
            aad: &about(cluster, name),
        };
        cipher.decrypt(&XNonce::from(*nonce), payload)
    });
    opened.map(Clear).map_err(|_| OpenError::Broken)
}

fn with_key<T>(key: &ClusterKey, cluster: &str, act: impl FnOnce(&XChaCha20Poly1305) -> T) -> T {
    let mut derived = key.derive(PURPOSE, cluster);
    let done = act(&XChaCha20Poly1305::new(&derived.into()));
    wipe(&mut derived);
    done
}

/// The length keeps cluster and name apart, whatever is in them.
fn about(cluster: &str, name: &str) -> Vec<u8> {
    let length = u64::try_from(cluster.len()).expect("a name is short");
    [&length.to_be_bytes(), cluster.as_bytes(), name.as_bytes()].concat()
}

impl fmt::Debug for Clear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clear({} bytes)", self.0.len())
    }
}

impl Drop for Clear {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(names: &[&str]) -> Keyring {
        let key = |name: &&str| ClusterKey::known_to_everyone(name);
        Keyring {
            primary: key(&names[0]),
            others: names[1..].iter().map(key).collect(),
        }
    }

    fn sealed(name: &str) -> (KeyId, Vec<u8>) {
        let value = Clear::new(b"hunter2".to_vec());
        seal(&ring(&["old"]), "prod", name, &value).unwrap()
    }

    #[test]
    fn whoever_has_the_key_reads_what_was_sealed_and_nobody_else() {
        let (key, bytes) = sealed("db");
        let opened = |names: &[&str]| open(&ring(names), "prod", "db", (key, &bytes));
        assert_eq!(opened(&["new", "old"]).unwrap().bytes(), b"hunter2");
        assert_eq!(opened(&["new"]), Err(OpenError::NoKey(key)));
        assert!(!bytes.windows(7).any(|part| part == b"hunter2"));
        assert_ne!(sealed("db").1, bytes, "each seal has a nonce of its own");
    }

    #[test]
    fn a_seal_holds_for_one_name_in_one_cluster() {
        let (key, bytes) = sealed("db");
        for (cluster, name) in [("prod", "api"), ("test", "db"), ("pro", "ddb")] {
            let moved = open(&ring(&["old"]), cluster, name, (key, &bytes));
            assert_eq!(moved, Err(OpenError::Broken), "{cluster} {name}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let opened = open(&ring(&["old"]), "prod", "db", (key, &bad));
            assert_eq!(opened, Err(OpenError::Broken), "byte {at}");
            let cut = open(&ring(&["old"]), "prod", "db", (key, &bytes[..at]));
            assert_eq!(cut, Err(OpenError::Broken), "{at} bytes");
        }
    }

    #[test]
    fn a_value_in_clear_is_never_printed() {
        let text = format!("{:?}", Clear::new(b"hunter2".to_vec()));
        assert_eq!(text, "Clear(7 bytes)");
    }
}
