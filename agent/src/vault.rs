//! Seals and opens the cluster's secrets with the keys that this host has at the moment.

use crate::gossip::Keyring;
use holdfast_core::cluster::values::{Opaque, Reseal, Sealed};
use holdfast_seal::value::{self, Clear, OpenError};
use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard},
};
use tracing::warn;

/// Shared by whoever seals what people set and whoever opens it for a container; the driver changes
/// its keys.
#[derive(Clone)]
pub(crate) struct Vault {
    cluster: Arc<str>,
    /// `None` on an agent without a key, whose seals everybody could open.
    ring: Arc<Mutex<Option<Keyring>>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error(
        "this agent has no cluster key, so nothing can be sealed: put one into `key_file` and \
         restart it"
    )]
    NoKeys,
    #[error("cannot draw random bytes: check that the kernel's random device works")]
    Random(#[source] io::Error),
}

/// Why a secret cannot be read on this host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("this host's agent has no cluster key")]
    NoKeys,
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Vault {
    pub(crate) fn new(cluster: &str, ring: Option<Keyring>) -> Self {
        Self {
            cluster: cluster.into(),
            ring: Arc::new(Mutex::new(ring)),
        }
    }

    pub(crate) fn set_keyring(&self, ring: &Keyring) {
        *self.ring() = Some(ring.clone());
    }

    pub(crate) fn seal(&self, name: &str, value: &Clear) -> Result<Sealed, SealError> {
        let ring = self.ring();
        let ring = ring.as_ref().ok_or(SealError::NoKeys)?;
        let sealed = value::seal(ring, &self.cluster, name, value);
        let (key, bytes) = sealed.map_err(SealError::Random)?;
        let bytes = Opaque::from(bytes);
        Ok(Sealed { key, bytes })
    }

    pub(crate) fn open(&self, name: &str, sealed: &Sealed) -> Result<Clear, ReadError> {
        let ring = self.ring();
        let ring = ring.as_ref().ok_or(ReadError::NoKeys)?;
        let Sealed { key, bytes } = sealed;
        Ok(value::open(ring, &self.cluster, name, (*key, &bytes.0))?)
    }

    /// With the key that is in use now; what cannot be opened is left out, and said to be.
    pub(crate) fn reseal(&self, orders: Vec<Reseal>) -> Vec<Reseal> {
        let anew = |order: Reseal| {
            let clear = self.open(&order.name, &order.sealed);
            let clear = clear.map_err(|err| err.to_string());
            let sealed = clear.and_then(|clear| {
                let sealed = self.seal(&order.name, &clear);
                sealed.map_err(|err| err.to_string())
            });
            match sealed {
                Ok(sealed) => Some(Reseal { sealed, ..order }),
                Err(reason) => {
                    let secret = order.name;
                    warn!(secret, reason, "Cannot seal a secret with the key in use.");
                    None
                }
            }
        };
        orders.into_iter().filter_map(anew).collect()
    }

    fn ring(&self) -> MutexGuard<'_, Option<Keyring>> {
        let ring = self.ring.lock();
        ring.expect("nothing panics while it holds the keys")
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::ClusterKey;

    fn ring(names: &[&str]) -> Keyring {
        let key = |name: &&str| ClusterKey::known_to_everyone(name);
        Keyring {
            primary: key(&names[0]),
            others: names[1..].iter().map(key).collect(),
        }
    }

    #[test]
    fn what_is_sealed_anew_needs_the_old_key_no_more() {
        let vault = Vault::new("prod", Some(ring(&["old"])));
        let sealed = vault.seal("db", &Clear::new(b"x".to_vec())).unwrap();
        let order = Reseal {
            name: "db".to_owned(),
            set_at: 7,
            sealed: sealed.clone(),
        };
        vault.set_keyring(&ring(&["new", "old"]));
        let anew = vault.reseal(vec![order.clone()]).remove(0);
        assert_ne!(anew.sealed.key, sealed.key);
        vault.set_keyring(&ring(&["new"]));
        assert_eq!(vault.open("db", &anew.sealed).unwrap().bytes(), b"x");
        // What nobody can open stays as it is.
        assert_eq!(vault.reseal(vec![order]), []);
    }

    #[test]
    fn without_a_key_nothing_is_sealed() {
        let vault = Vault::new("prod", None);
        let refused = vault.seal("db", &Clear::new(vec![])).unwrap_err();
        assert!(refused.to_string().contains("key_file"), "{refused}");
    }
}
