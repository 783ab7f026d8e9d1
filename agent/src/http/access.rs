//! Who may use the API over TCP: keys from a file that root alone reads, and what each may do.

use super::sigv4::{SKEW_MAX_MS, Signature};
use crate::{
    api::{Reach, error::ApiError, scope::About},
    disk::chain,
    gossip::{Guarded, KEY_FILE_BYTES_MAX, now_wall_ms, read_guarded},
};
use axum::http::request::Parts;
use holdfast_core::spec::read::NAME;
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::task::spawn_blocking;
use tracing::warn;

const ID_BYTES: std::ops::RangeInclusive<usize> = 4..=128;
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=128;
/// Writes of one key within the last minutes whose signatures are remembered, so that none is taken
/// twice.
const TAKEN_MAX: usize = 5_000;

/// What a key may do; whoever may more may also less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Read,
    /// Definitions, services and tasks.
    Deploy,
    /// Hosts, too.
    Admin,
}

impl Role {
    pub(crate) const ALL: [(Self, &str); 3] = [
        (Self::Read, "read"),
        (Self::Deploy, "deploy"),
        (Self::Admin, "admin"),
    ];

    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    pub(super) fn may(self, reach: Reach) -> bool {
        self >= match reach {
            Reach::Read => Self::Read,
            Reach::Write => Self::Deploy,
            Reach::Hosts => Self::Admin,
        }
    }
}

/// Whoever has signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signer {
    pub(super) key_id: String,
    pub(super) role: Role,
    pub(super) clusters: Clusters,
}

/// Those that a key is for; all of them where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clusters(Option<Arc<[String]>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    secret: String,
    role: Role,
    clusters: Clusters,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("cannot read api_keys_file {path}")]
    Read {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("api_keys_file {path} is not a file")]
    NotAFile { path: PathBuf },
    #[error("api_keys_file {path} can be read by others (mode {mode:04o}): chmod 600 {path}")]
    Open { path: PathBuf, mode: u32 },
    #[error("api_keys_file {path} has more than {} bytes", KEY_FILE_BYTES_MAX)]
    Long { path: PathBuf },
    #[error(
        "api_keys_file {path}, line {line}: a line is ID SECRET ROLE [CLUSTER,...]: {} to {} \
         letters and digits, {} to {} letters, digits and +/=_-, one of read, deploy, admin, and \
         the names of the clusters that it is for, where it is not for all; `holdfast ecs key` \
         makes one",
        ID_BYTES.start(), ID_BYTES.end(), SECRET_BYTES.start(), SECRET_BYTES.end()
    )]
    Line { path: PathBuf, line: usize },
    #[error("api_keys_file {path}, line {line}: this id is there twice")]
    Twice { path: PathBuf, line: usize },
    #[error("api_keys_file {path} has no key {id:?}")]
    Unknown { path: PathBuf, id: String },
    #[error("api_keys_file {path} has no key: put one there with `holdfast ecs key >> {path}`")]
    Empty { path: PathBuf },
}

/// The keys, read anew for each request, so that they are rotated by changing the file. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    path: Arc<Path>,
    taken: Arc<Mutex<Taken>>,
}

/// The signatures of each key's writes, with when each of them is too old anyway.
#[derive(Debug, Default)]
struct Taken {
    since_ms: u64,
    until: BTreeMap<String, BTreeMap<[u8; 32], u64>>,
}

/// Somebody says who they are: there is such a key.
#[derive(Debug)]
pub(super) struct Claim {
    signature: Signature,
    key: Key,
}

impl Access {
    /// # Errors
    /// If the file cannot be used: found out at the start, not with the first request.
    pub(crate) fn open(path: &Path) -> Result<Self, KeysError> {
        read_keys(path)?;
        let taken = Taken {
            since_ms: now_wall_ms(),
            ..Taken::default()
        };
        Ok(Self {
            path: path.into(),
            taken: Arc::new(Mutex::new(taken)),
        })
    }

    /// One of a file's keys and its secret: that of this id, or the first by the order of ids.
    ///
    /// # Errors
    /// If the file cannot be used, or has no such key.
    pub(crate) fn key(path: &Path, id: Option<&str>) -> Result<(String, String), KeysError> {
        let mut keys = read_keys(path)?;
        let found = match id {
            Some(id) => keys.remove_entry(id),
            None => keys.pop_first(),
        };
        let (id, key) = found.ok_or_else(|| KeysError::Unknown {
            path: path.to_owned(),
            id: id.unwrap_or_default().to_owned(),
        })?;
        Ok((id, key.secret))
    }

    /// Who has signed the request by what its head says. What comes from nobody is refused before
    /// the rest of it is read.
    pub(super) async fn claim(&self, parts: &Parts) -> Result<Claim, ApiError> {
        let signature = Signature::read(parts)?;
        signature.check_moment(now_wall_ms())?;
        let path = Arc::clone(&self.path);
        let read = spawn_blocking(move || read_keys(&path)).await;
        let unread = || ApiError::Server("this host cannot read its keys; its log says why".into());
        let mut keys = read.map_err(|_| unread())?.map_err(|err| {
            // Where keys are kept, and what is wrong with them, is not for whoever asks.
            warn!(reason = %chain(&err), "No key of the API can be used.");
            unread()
        })?;
        match keys.remove(&signature.key_id) {
            Some(key) => Ok(Claim { signature, key }),
            None => Err(ApiError::UnrecognizedClient(
                "The security token included in the request is invalid: this host has no such key"
                    .to_owned(),
            )),
        }
    }

    /// Refuses a write that was taken already.
    pub(super) fn take(&self, claim: &Claim) -> Result<(), ApiError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.take(&claim.signature, now_wall_ms())
    }
}

impl Clusters {
    /// The one that a request is to stay in, whatever it names in it; `None` where it may have all.
    pub(super) fn check(&self, about: About, reach: Reach) -> Result<Option<String>, String> {
        let Some(clusters) = &self.0 else {
            return Ok(None);
        };
        match about {
            About::Cluster(name) if clusters.contains(&name) => Ok(Some(name)),
            About::Hosts if reach != Reach::Read => {
                Err("a change of hosts, which all clusters have".to_owned())
            }
            About::Hosts | About::Shared => Ok(None),
            About::Cluster(name) => Err(format!("the cluster {name:?}")),
        }
    }
}

impl fmt::Display for Clusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("all clusters"),
            Some(clusters) => write!(f, "the clusters {}", clusters.join(", ")),
        }
    }
}

impl Claim {
    /// Whether it is so. `body` is what came with the request, byte by byte.
    pub(super) fn check(&self, parts: &Parts, body: &[u8]) -> Result<Signer, ApiError> {
        self.signature.check(&self.key.secret, parts, body)?;
        Ok(Signer {
            key_id: self.signature.key_id.clone(),
            role: self.key.role,
            clusters: self.key.clusters.clone(),
        })
    }
}

impl Taken {
    fn take(&mut self, signature: &Signature, now_ms: u64) -> Result<(), ApiError> {
        let again = || {
            // Clients try again after a server's error, with another signature.
            ApiError::Server(
                "this very request was taken already, or may have been before this host's agent \
                 was started; sign it anew to have it carried out"
                    .to_owned(),
            )
        };
        // Signatures are of whole seconds.
        if signature.at_ms < self.since_ms - self.since_ms % 1_000 {
            return Err(again());
        }
        let of_key = self.until.entry(signature.key_id.clone()).or_default();
        if of_key.len() >= TAKEN_MAX {
            of_key.retain(|_, until| *until >= now_ms);
        }
        if of_key.len() >= TAKEN_MAX {
            return Err(ApiError::Server(format!(
                "this host has taken {TAKEN_MAX} changes by this key within some minutes, which is \
                 the most; ask another host, use another key, or wait"
            )));
        }
        let until = signature.at_ms + SKEW_MAX_MS;
        match of_key.insert(signature.code, until) {
            None => Ok(()),
            Some(_) => Err(again()),
        }
    }
}

fn read_keys(path: &Path) -> Result<BTreeMap<String, Key>, KeysError> {
    let path = path.to_owned();
    let (text, mode) = match read_guarded(&path) {
        Ok(Guarded::Text(text, mode)) => (text, mode),
        Ok(Guarded::NotAFile) => return Err(KeysError::NotAFile { path }),
        Err(err) => return Err(KeysError::Read { path, err }),
    };
    if mode & 0o077 != 0 {
        return Err(KeysError::Open { path, mode });
    }
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(KeysError::Long { path });
    }
    let mut keys = BTreeMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let Some((id, key)) = key_of(text) else {
            return Err(KeysError::Line { path, line });
        };
        if keys.insert(id, key).is_some() {
            return Err(KeysError::Twice { path, line });
        }
    }
    match keys.is_empty() {
        true => Err(KeysError::Empty { path }),
        false => Ok(keys),
    }
}

fn key_of(line: &str) -> Option<(String, Key)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (id, secret, role, clusters) = match words[..] {
        [id, secret, role] => (id, secret, role, Clusters::default()),
        [id, secret, role, clusters] => (id, secret, role, clusters_of(clusters)?),
        _ => return None,
    };
    let is_id = ID_BYTES.contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (role, _) = Role::ALL.into_iter().find(|(_, name)| *name == role)?;
    let key = Key {
        secret: secret.to_owned(),
        role,
        clusters,
    };
    // So that a shell takes it as it is.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    let is_secret = SECRET_BYTES.contains(&secret.len()) && secret.bytes().all(plain);
    (is_id && is_secret).then(|| (id.to_owned(), key))
}

fn clusters_of(text: &str) -> Option<Clusters> {
    let names = text.split(',').map(str::to_owned);
    let names: Vec<String> = names.collect();
    let all_are = names.iter().all(|name| (NAME.holds)(name));
    all_are.then(|| Clusters(Some(names.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use expect_test::{expect, expect_file};
    use std::{fs, os::unix::fs::PermissionsExt as _};

    const LINE: &str = "HF01 0123456789abcdef deploy\n";

    fn read(dir: &TestDir, text: &str, mode: u32) -> String {
        let path = dir.join("api.keys");
        fs::write(&path, text).expect("the directory is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("so is the file");
        let read = read_keys(&path).map(|keys| {
            let keys = keys
                .iter()
                .map(|(id, key)| format!("{id}: {} {}", key.role.as_str(), key.clusters));
            keys.collect::<Vec<_>>().join(", ")
        });
        let read = read.unwrap_or_else(|err| err.to_string());
        read.replace(&*path.to_string_lossy(), "FILE")
    }

    #[test]
    fn keys_are_private_and_each_line_is_one() {
        let dir = TestDir::new("api-keys");
        let second = "HF02  fedcba9876543210\tadmin";
        let told = [
            read(&dir, &format!("# a comment\n\n{LINE}{second}"), 0o600),
            read(&dir, "HF01 0123456789abcdef deploy staging,test\n", 0o600),
            read(&dir, "HF01 0123456789abcdef deploy staging,,\n", 0o600),
            read(&dir, "HF01 0123456789abcdef deploy staging test\n", 0o600),
            read(&dir, LINE, 0o640),
            read(&dir, "", 0o600),
            read(&dir, &format!("{LINE}HF01 0123456789abcdef read\n"), 0o600),
            read(&dir, &format!("{LINE}HF02 short read\n"), 0o600),
            read(&dir, "HF-1 0123456789abcdef read\n", 0o600),
            read(&dir, "HF01 0123456789abcdef root\n", 0o600),
            read(&dir, "HF01 0123456789abcdef\n", 0o600),
            read(&dir, &LINE.repeat(200), 0o600),
        ];
        expect_file!["tests/key_files.txt"].assert_eq(&told.join("\n"));
    }

    #[test]
    fn whoever_may_more_may_less() {
        let may = Role::ALL.map(|(role, name)| {
            let may = [Reach::Read, Reach::Write, Reach::Hosts].map(|reach| role.may(reach));
            format!("{name} {may:?}")
        });
        expect![[r#"
            read [true, false, false]
            deploy [true, true, false]
            admin [true, true, true]"#]]
        .assert_eq(&may.join("\n"));
    }

    #[test]
    fn a_key_for_some_clusters_stays_in_them() {
        let clusters = clusters_of("staging,test").expect("they are names");
        let of = |name: &str| About::Cluster(name.to_owned());
        let check = |clusters: &Clusters, about, reach| match clusters.check(about, reach) {
            Ok(None) => "all".to_owned(),
            Ok(Some(name)) => format!("stays in {name}"),
            Err(why) => format!("refused: {why}"),
        };
        let told = [
            check(&Clusters::default(), About::Hosts, Reach::Hosts),
            check(&clusters, of("test"), Reach::Write),
            check(&clusters, of("live"), Reach::Read),
            check(&clusters, About::Hosts, Reach::Read),
            check(&clusters, About::Hosts, Reach::Hosts),
            check(&clusters, About::Shared, Reach::Write),
        ];
        expect![[r#"
            all
            stays in test
            refused: the cluster "live"
            all
            refused: a change of hosts, which all clusters have
            all"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn a_write_is_taken_once_and_forgotten_when_it_is_too_old_anyway() {
        let mut taken = Taken {
            since_ms: 1_700,
            ..Taken::default()
        };
        let mut take = |key: &str, number: usize, at_ms, now_ms| {
            let taken = taken.take(&Signature::of(key, number, at_ms), now_ms);
            taken.map_err(|err| err.to_string())
        };
        assert_eq!(take("HF01", 0, 1_000, 1_000), Ok(()));
        let again = "this very request was taken already, or may have been before this host's \
                     agent was started; sign it anew to have it carried out";
        assert_eq!(take("HF01", 0, 1_000, 2_000), Err(again.to_owned()));
        assert_eq!(take("HF01", 1, 999, 2_000), Err(again.to_owned()));
        for number in 1..TAKEN_MAX {
            assert_eq!(take("HF01", number, 1_000, 2_000), Ok(()));
        }
        let full = take("HF01", TAKEN_MAX, 1_000, 2_000);
        assert!(full.is_err_and(|err| err.contains("ask another host")));
        assert_eq!(take("HF02", TAKEN_MAX, 1_000, 2_000), Ok(()));
        // All the others have been too old for a moment.
        let late = 1_000 + SKEW_MAX_MS + 1;
        assert_eq!(take("HF01", TAKEN_MAX, late, late), Ok(()));
        assert_eq!(taken.until["HF01"].len(), 1);
    }
}
