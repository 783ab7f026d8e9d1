//! Who this host is, kept apart from the store so that the store can be lost without becoming new.

use crate::whole_file;
use holdfast_core::ids::HostId;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// In the state directory; held by whoever uses it.
pub(crate) const LOCK: &str = "lock";

/// The agent's directory, ours alone for as long as this value lives.
///
/// The lock is the kernel's: it ends with the process, however that ends.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: File,
}

/// Made at first boot, kept over restarts and upgrades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) host: HostId,
    /// Of the machine that the identity was made on; zero where the machine has no id.
    pub(crate) fingerprint: u64,
}

/// A state directory that cannot be used; nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateDirError {
    #[error("cannot create state directory {path} as uid {uid}: create it, or set state_dir")]
    Create {
        path: PathBuf,
        uid: u32,
        #[source]
        err: io::Error,
    },
    #[error(
        "cannot write in state directory {path} (owner uid {owner}, mode {mode:04o}) as uid {uid}: \
         give it to that user, or set state_dir"
    )]
    Write {
        path: PathBuf,
        owner: u32,
        mode: u32,
        uid: u32,
        #[source]
        err: io::Error,
    },
    #[error(
        "another agent (pid {pid}) already uses state directory {path}: stop it, or set state_dir"
    )]
    InUse { path: PathBuf, pid: String },
    #[error("cannot lock {path}: the state directory needs a file system with flock")]
    Lock {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
}

/// No identity could be established; a recorded one was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("cannot read the host's identity {path}")]
    Read {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error(
        "cannot understand the host's identity {path}: restore it, or to make this a new host: \
         remove it"
    )]
    Parse {
        path: PathBuf,
        #[source]
        err: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "this state directory belongs to another machine (cloned image or moved disk?): {path} \
         was made on machine {recorded:016x}, this is {here:016x}; to make this a new host: \
         remove {path}"
    )]
    OtherMachine {
        path: PathBuf,
        recorded: u64,
        here: u64,
    },
    #[error("cannot write the host's identity {path}")]
    Write {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("cannot make an identity: the kernel gave no random bytes")]
    Random(#[source] getrandom::Error),
}

/// The identity as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    host: String,
    machine: String,
}

impl StateDir {
    /// Takes the directory, creating it with mode 0700 where it is absent.
    pub(crate) fn open(path: &Path) -> Result<Self, StateDirError> {
        let create = DirBuilder::new().recursive(true).mode(0o700).create(path);
        create.map_err(|err| StateDirError::Create {
            path: path.to_owned(),
            uid: uid(),
            err,
        })?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|err| unwritable(path, err))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateDirError::InUse {
                    path: path.to_owned(),
                    pid: holder(&mut lock),
                });
            }
            Err(TryLockError::Error(err)) => {
                return Err(StateDirError::Lock {
                    path: lock_path,
                    err,
                });
            }
        }
        // Only for the message of the next one who tries; a full disk must not stop the agent.
        let noted = lock
            .set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        if let Err(err) = noted {
            tracing::debug!(%err, "Cannot note the process id in the lock file.");
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Reads who this host is, or makes it up where nothing is recorded.
    ///
    /// When this returns a new identity, it is on disk.
    pub(crate) fn identity(&self, fingerprint: u64) -> Result<Identity, IdentityError> {
        let path = self.path.join("host-id");
        let Some(recorded) = read(&path)? else {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(IdentityError::Random)?;
            let host = HostId(u128::from_be_bytes(bytes));
            return write(&path, Identity { host, fingerprint });
        };
        match (recorded.fingerprint, fingerprint) {
            (same, here) if same == here => Ok(recorded),
            // A machine without an id cannot be told from any other.
            (_, 0) => {
                tracing::warn!("This machine has no /etc/machine-id: a clone would go unnoticed.");
                Ok(recorded)
            }
            (0, _) => write(
                &path,
                Identity {
                    fingerprint,
                    ..recorded
                },
            ),
            (other, here) => Err(IdentityError::OtherMachine {
                path,
                recorded: other,
                here,
            }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn unwritable(path: &Path, err: io::Error) -> StateDirError {
    let (owner, mode) = fs::metadata(path).map_or((0, 0), |m| (m.uid(), m.mode() & 0o7777));
    StateDirError::Write {
        path: path.to_owned(),
        owner,
        mode,
        uid: uid(),
        err,
    }
}

/// Who holds the lock, as it noted itself; it may not have come to that yet.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.take(32).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn read(path: &Path) -> Result<Option<Identity>, IdentityError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => {
            return Err(IdentityError::Read {
                path: path.to_owned(),
                err,
            });
        }
    };
    let identity = parse(&text).map_err(|err| IdentityError::Parse {
        path: path.to_owned(),
        err,
    })?;
    Ok(Some(identity))
}

fn parse(text: &str) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
    let raw: RawIdentity = toml::from_str(text)?;
    Ok(Identity {
        host: raw.host.parse()?,
        fingerprint: u64::from_str_radix(&raw.machine, 16)?,
    })
}

/// Replaces the file as a whole: after a crash there is the old one or the new one.
fn write(path: &Path, identity: Identity) -> Result<Identity, IdentityError> {
    let failed = |err| IdentityError::Write {
        path: path.to_owned(),
        err,
    };
    let raw = RawIdentity {
        host: identity.host.to_string(),
        machine: format!("{:016x}", identity.fingerprint),
    };
    let text = toml::to_string(&raw).expect("two strings are always TOML");
    whole_file::replace(path, text.as_bytes()).map_err(failed)?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    #[test]
    fn an_identity_is_made_once_and_found_again() {
        let dir = TestDir::new("identity");
        let state = StateDir::open(&dir.join("deep/er")).unwrap();
        let first = state.identity(7).unwrap();
        assert_eq!(first.fingerprint, 7);
        assert_eq!(state.identity(7).unwrap(), first);
        let path = state.path().join("host-id");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(state.path()).unwrap().mode() & 0o777, 0o700);
        fs::remove_file(path).unwrap();
        assert_ne!(state.identity(7).unwrap().host, first.host);
    }

    #[test]
    fn a_cloned_state_directory_is_refused_and_left_alone() {
        let dir = TestDir::new("identity");
        let state = StateDir::open(&dir).unwrap();
        let made = state.identity(7).unwrap();
        let text = state.identity(8).unwrap_err().to_string();
        let path = dir.join("host-id");
        assert!(text.contains("cloned image or moved disk?"), "{text}");
        assert!(
            text.ends_with(&format!("remove {}", path.display())),
            "{text}"
        );
        assert_eq!(state.identity(7).unwrap(), made);
    }

    #[test]
    fn a_machine_without_an_id_is_taken_on_trust_until_it_has_one() {
        let dir = TestDir::new("identity");
        let state = StateDir::open(&dir).unwrap();
        let made = state.identity(0).unwrap();
        let known = state.identity(7).unwrap();
        assert_eq!((known.host, known.fingerprint), (made.host, 7));
        assert_eq!(state.identity(0).unwrap(), known);
        assert!(state.identity(8).is_err());
    }

    #[test]
    fn a_damaged_identity_is_an_error_and_not_a_new_host() {
        let dir = TestDir::new("identity");
        let state = StateDir::open(&dir).unwrap();
        let good = "host = \"0123456789abcdef0123456789abcdef\"\nmachine = \"1f\"\n";
        for bad in [
            "",
            "host = \"12\"\nmachine = \"1f\"\n",
            &format!("{good}more = 1\n"),
        ] {
            fs::write(dir.join("host-id"), bad).unwrap();
            assert!(
                matches!(state.identity(0x1f), Err(IdentityError::Parse { .. })),
                "{bad}"
            );
        }
        fs::write(dir.join("host-id"), good).unwrap();
        assert_eq!(state.identity(0x1f).unwrap().host.short(), 0x0123_4567);
    }

    #[test]
    fn a_second_agent_is_told_who_holds_the_directory() {
        let dir = TestDir::new("identity");
        let first = StateDir::open(&dir).unwrap();
        let text = StateDir::open(&dir).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            text.starts_with(&format!("another agent (pid {pid}) already uses")),
            "{text}"
        );
        drop(first);
        StateDir::open(&dir).unwrap();
    }

    #[test]
    fn a_state_directory_that_cannot_be_used_says_which_and_for_whom() {
        let dir = TestDir::new("identity");
        fs::write(dir.join("file"), "").unwrap();
        let text = StateDir::open(&dir.join("file/state"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("file/state as uid "), "{text}");
        // A directory in the lock file's place refuses root, too, as permissions would not.
        fs::create_dir(dir.join("lock")).unwrap();
        let text = StateDir::open(&dir).unwrap_err().to_string();
        assert!(
            text.contains("mode 07") && text.contains("as uid "),
            "{text}"
        );
    }
}
