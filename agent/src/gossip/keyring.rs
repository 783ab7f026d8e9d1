//! This host's keys over time: from the key file, changed while the agent runs, kept over restarts.
//!
//! Rotation must not write to the key file, which belongs to whoever provisions the host. So what
//! was rotated in stands in the state directory and goes before the key file, until that one is
//! changed: then it is an order of its own, and its keys come first.

use super::key::{KeyFileError, read_key_file};
use crate::whole_file;
use holdfast_core::{
    cluster::keys::{KeyOrders, KeyReport},
    ids::KeyId,
    limits::CLUSTER_KEYS_MAX,
};
use holdfast_seal::key::{ClusterKey, Keyring};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tracing::{error, info};

const FILE: &str = "keyring";
/// Before the ids of the keys that the key file had when this was written.
const NOTE: &str = "# key_file had:";

#[derive(Debug)]
pub(crate) struct KeyStore {
    path: PathBuf,
    /// The keys of the key file when the agent started.
    in_key_file: Vec<KeyId>,
    ring: Keyring,
}

impl KeyStore {
    /// Puts together what the key file and the state directory say.
    pub(crate) fn open(state_dir: &Path, key_file: Keyring) -> Result<Self, KeyFileError> {
        let path = state_dir.join(FILE);
        let in_key_file: Vec<KeyId> = key_file.keys().map(ClusterKey::id).collect();
        let ring = match path.exists() {
            false => key_file,
            true => {
                let kept = read_key_file(&path)?;
                let noted = noted(&path).map_err(|err| KeyFileError::Read {
                    path: path.clone(),
                    err,
                })?;
                let same = noted == in_key_file;
                let (first, second) = if same {
                    // What was removed meanwhile does not come back with a restart.
                    (kept, None)
                } else {
                    info!("The key file is another one than at the last start: its keys go first.");
                    (key_file, Some(kept))
                };
                joined(first, second)
            }
        };
        Ok(Self {
            path,
            in_key_file,
            ring,
        })
    }

    pub(crate) const fn ring(&self) -> &Keyring {
        &self.ring
    }

    pub(crate) fn report(&self) -> KeyReport {
        KeyReport {
            held: self.ring.keys().map(ClusterKey::id).collect(),
            in_use: Some(self.ring.primary.id()),
        }
    }

    /// Does as ordered, on disk first. Says whether anything is different now.
    pub(crate) fn apply(&mut self, orders: &KeyOrders) -> io::Result<bool> {
        let mut keys: Vec<ClusterKey> = self.ring.keys().cloned().collect();
        for (id, secret) in &orders.install {
            let key = ClusterKey::from_secret(secret);
            if key.id() != *id {
                error!(key = %id, "A key on the board is not the one that it is called; left out.");
            } else if !keys.contains(&key) && keys.len() < CLUSTER_KEYS_MAX {
                keys.push(key);
            }
        }
        keys.retain(|key| !orders.remove.contains(&key.id()));
        let sealing = orders.seal_with.unwrap_or_else(|| self.ring.primary.id());
        let first = keys.iter().position(|key| key.id() == sealing);
        let Some(first) = first else {
            error!(key = %sealing, "The key to seal with is not there; no key was changed.");
            return Ok(false);
        };
        let primary = keys.remove(first);
        let ring = Keyring {
            primary,
            others: keys,
        };
        if ring == self.ring {
            return Ok(false);
        }
        self.write(&ring)?;
        self.ring = ring;
        Ok(true)
    }

    /// Whole or not at all: a new file takes the place of the old one when it is on disk.
    fn write(&self, ring: &Keyring) -> io::Result<()> {
        let ids: Vec<_> = self.in_key_file.iter().map(KeyId::to_string).collect();
        let keys: String = ring.keys().map(|key| key.to_text() + "\n").collect();
        let text = format!(
            "# Written by holdfast; the first key seals. Do not copy it to other hosts.\n{NOTE} \
             {}\n{keys}",
            ids.join(" ")
        );
        whole_file::replace(&self.path, text.as_bytes())
    }
}

/// Each key once, the primary one of `first` first.
fn joined(first: Keyring, second: Option<Keyring>) -> Keyring {
    let mut others: Vec<ClusterKey> = Vec::new();
    let second = second.iter().flat_map(Keyring::keys);
    for key in first.others.iter().chain(second) {
        if *key != first.primary && !others.contains(key) && others.len() + 1 < CLUSTER_KEYS_MAX {
            others.push(key.clone());
        }
    }
    Keyring {
        primary: first.primary.clone(),
        others,
    }
}

fn noted(path: &Path) -> io::Result<Vec<KeyId>> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(NOTE));
    let ids = line.unwrap_or_default().split_whitespace();
    Ok(ids.filter_map(|id| id.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::os::unix::fs::PermissionsExt as _;

    fn key(name: &str) -> ClusterKey {
        ClusterKey::known_to_everyone(name)
    }

    fn ring(names: &[&str]) -> Keyring {
        Keyring {
            primary: key(names[0]),
            others: names[1..].iter().map(|name| key(name)).collect(),
        }
    }

    fn install(name: &str) -> KeyOrders {
        KeyOrders {
            install: vec![(key(name).id(), key(name).secret())],
            ..KeyOrders::default()
        }
    }

    #[test]
    fn what_was_rotated_in_is_there_after_a_restart_and_what_was_removed_is_not() {
        let dir = TestDir::new("keyring");
        let mut store = KeyStore::open(&dir, ring(&["old"])).unwrap();
        assert!(store.apply(&install("new")).unwrap());
        assert!(!store.apply(&install("new")).unwrap());
        let rotate = KeyOrders {
            seal_with: Some(key("new").id()),
            remove: vec![key("old").id()],
            ..KeyOrders::default()
        };
        assert!(store.apply(&rotate).unwrap());
        assert_eq!(store.ring(), &ring(&["new"]));
        let mode = fs::metadata(dir.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = KeyStore::open(&dir, ring(&["old"])).unwrap();
        assert_eq!(again.ring(), &ring(&["new"]));
    }

    #[test]
    fn a_key_file_that_was_changed_goes_first() {
        let dir = TestDir::new("keyring");
        let mut store = KeyStore::open(&dir, ring(&["old"])).unwrap();
        store.apply(&install("new")).unwrap();
        let again = KeyStore::open(&dir, ring(&["newer"])).unwrap();
        assert_eq!(again.ring(), &ring(&["newer", "old", "new"]));
    }

    #[test]
    fn the_key_to_seal_with_is_never_lost_and_a_false_name_is_not_believed() {
        let dir = TestDir::new("keyring");
        let mut store = KeyStore::open(&dir, ring(&["old"])).unwrap();
        let bad = KeyOrders {
            remove: vec![key("old").id()],
            ..KeyOrders::default()
        };
        assert!(!store.apply(&bad).unwrap());
        let misnamed = KeyOrders {
            install: vec![(key("new").id(), key("other").secret())],
            ..KeyOrders::default()
        };
        assert!(!store.apply(&misnamed).unwrap());
        assert_eq!(store.ring(), &ring(&["old"]));
    }
}
