//! Which cluster keys a host is to have and to seal with, as the board tells; seals nothing itself.

use crate::{
    cluster::{
        board::Board,
        body::{Body, Key},
        record::Version,
    },
    ids::{KeyId, Secret},
};
use serde::{Deserialize, Serialize, Serializer};

/// What a host says of its keys; empty where it has none and talks on loopback alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    pub held: Vec<KeyId>,
    /// What it seals with.
    pub in_use: Option<KeyId>,
}

/// What a host's driver is to do with its keys, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyOrders {
    #[serde(serialize_with = "ids_alone")]
    pub install: Vec<(KeyId, Secret)>,
    pub seal_with: Option<KeyId>,
    pub remove: Vec<KeyId>,
}

impl KeyOrders {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// In recordings there are no secrets.
fn ids_alone<S: Serializer>(install: &[(KeyId, Secret)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(install.iter().map(|(id, _)| id))
}

/// What is to change, so that this host has what the board says.
pub fn orders(board: &Board, report: &KeyReport) -> KeyOrders {
    // Without a key there is no cluster beyond this machine, and nothing to rotate.
    let Some(sealing) = report.in_use else {
        return KeyOrders::default();
    };
    let mut installed: Vec<(Version, KeyId, &Secret)> = Vec::new();
    let mut removed = Vec::new();
    for (id, version, body) in board.cluster_keys() {
        match body {
            Some(body) => installed.push((version, id, &body.secret)),
            None => removed.push(id),
        }
    }
    let install: Vec<_> = installed
        .iter()
        .filter(|(_, id, _)| !report.held.contains(id))
        .map(|(_, id, secret)| (*id, Secret::clone(secret)))
        .collect();
    let is_had = |id: &KeyId| {
        let comes = install.iter().any(|(new, _)| new == id);
        !removed.contains(id) && (comes || report.held.contains(id))
    };
    // A key that was put to use on one side of a partition and removed on the other is not used:
    // all choose the same one of those that are left.
    let newest = || installed.iter().max().map(|(_, id, _)| *id);
    let wanted = board
        .key_in_use()
        .and_then(|id| match removed.contains(&id) {
            true => newest(),
            false => Some(id),
        });
    let seal_with = wanted.filter(|id| is_had(id) && *id != sealing);
    let kept = seal_with.unwrap_or(sealing);
    let remove = report.held.iter().copied();
    let remove = remove.filter(|id| removed.contains(id) && *id != kept);
    KeyOrders {
        remove: remove.collect(),
        seal_with,
        install,
    }
}

impl Board {
    /// Every key that was ever installed or removed, as long as the board remembers it.
    pub fn cluster_keys(
        &self,
    ) -> impl Iterator<Item = (KeyId, Version, Option<&crate::cluster::body::ClusterKey>)> {
        let range = Key::ClusterKey(KeyId([0; 4]))..=Key::ClusterKey(KeyId([u8::MAX; 4]));
        self.range(range).filter_map(|record| {
            let body = match &record.body {
                Some(Body::ClusterKey(body)) => Some(body),
                Some(_) => return None,
                None => None,
            };
            match record.key {
                Key::ClusterKey(id) => Some((id, record.version, body)),
                _ => None,
            }
        })
    }

    /// The key that people have put to use; `None` before the first rotation.
    pub fn key_in_use(&self) -> Option<KeyId> {
        match &self.record(&Key::KeyInUse)?.body {
            Some(Body::KeyInUse(body)) => Some(body.key),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{
        body::{ClusterKey, KeyInUse},
        record::Record,
    };

    const A: KeyId = KeyId([1; 4]);
    const B: KeyId = KeyId([2; 4]);
    const C: KeyId = KeyId([3; 4]);

    fn secret(id: KeyId) -> Secret {
        Secret([id.0[0]; 32])
    }

    fn board(records: &[(Key, Option<Body>)]) -> Board {
        let mut board = Board::default();
        for (epoch, (key, body)) in records.iter().enumerate() {
            let version = Version {
                epoch: epoch as u64,
                ..Version::default()
            };
            board.merge(&Record::new(key.clone(), version, body.clone()));
        }
        board
    }

    fn install(id: KeyId) -> (Key, Option<Body>) {
        let secret = secret(id);
        (
            Key::ClusterKey(id),
            Some(Body::ClusterKey(ClusterKey { secret })),
        )
    }

    fn put_to_use(key: KeyId) -> (Key, Option<Body>) {
        (Key::KeyInUse, Some(Body::KeyInUse(KeyInUse { key })))
    }

    fn remove(id: KeyId) -> (Key, Option<Body>) {
        (Key::ClusterKey(id), None)
    }

    fn report(held: &[KeyId]) -> KeyReport {
        KeyReport {
            held: held.to_vec(),
            in_use: held.first().copied(),
        }
    }

    #[test]
    fn a_key_is_installed_put_to_use_and_the_old_one_taken_away() {
        let told = orders(&board(&[install(B)]), &report(&[A]));
        assert_eq!(told.install, [(B, secret(B))]);
        assert_eq!((told.seal_with, told.remove), (None, vec![]));
        let told = orders(&board(&[install(B), put_to_use(B)]), &report(&[A, B]));
        assert_eq!((told.seal_with, told.remove), (Some(B), vec![]));
        let all = board(&[install(B), put_to_use(B), remove(A)]);
        // One that comes late does all of it at once, and then nothing more.
        let told = orders(&all, &report(&[A]));
        assert_eq!((told.install.len(), told.seal_with), (1, Some(B)));
        assert_eq!(told.remove, [A]);
        assert!(orders(&all, &report(&[B])).is_empty());
    }

    #[test]
    fn the_key_that_a_host_seals_with_is_never_taken_away() {
        assert!(orders(&board(&[remove(A)]), &report(&[A])).is_empty());
        // Nor does it seal with one that it has not got.
        assert!(orders(&board(&[put_to_use(B)]), &report(&[A])).is_empty());
        assert!(orders(&board(&[install(B)]), &KeyReport::default()).is_empty());
    }

    #[test]
    fn a_key_put_to_use_here_and_removed_there_is_used_nowhere() {
        let torn = board(&[install(B), install(C), put_to_use(B), remove(B)]);
        let told = orders(&torn, &report(&[B, A, C]));
        assert_eq!((told.seal_with, told.remove), (Some(C), vec![B]));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let record = install(B);
        assert!(format!("{record:?}").contains("Secret(…)"), "{record:?}");
    }
}
