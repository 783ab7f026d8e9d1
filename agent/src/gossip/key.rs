//! The key file: the cluster's keys as whoever provisions the host wrote them.

use holdfast_core::limits::CLUSTER_KEYS_MAX;
use holdfast_seal::key::{ClusterKey, KeyError, Keyring};
use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

pub(crate) const KEY_FILE_BYTES_MAX: u64 = 4_096;

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

/// What a file with a secret in it holds, or why it is none.
pub(crate) enum Guarded {
    /// With its mode, for whoever asks to judge.
    Text(String, u32),
    NotAFile,
}

/// Never more than a little over [`KEY_FILE_BYTES_MAX`].
pub(crate) fn read_guarded(path: &Path) -> io::Result<Guarded> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::tests::fold;
    use expect_test::{Expect, expect};
    use holdfast_core::ids::Secret;
    use std::os::unix::fs::OpenOptionsExt as _;

    fn key(byte: u8) -> ClusterKey {
        ClusterKey::from_secret(&Secret([byte; 32]))
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
