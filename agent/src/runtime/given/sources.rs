//! Values that a host has: files in a directory that it allows, credentials, programs.

use super::{GivenSettings, Trouble, checked, permanent};
use crate::command;
use holdfast_core::limits::VALUE_BYTES_MAX;
use holdfast_seal::value::Clear;
use std::{
    env,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::task::spawn_blocking;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Where systemd puts the credentials of a unit (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Who may read a file for it to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readers {
    Any,
    /// Its owner and its group at most.
    Few,
}

pub(super) async fn environment_file(
    settings: &GivenSettings,
    path: String,
) -> Result<Clear, Trouble> {
    let directory = settings.environment_files.clone();
    in_background(move || read(&directory, &path, Readers::Any)).await
}

pub(super) async fn secret_file(settings: &GivenSettings, path: String) -> Result<Clear, Trouble> {
    let directory = settings.secret_files.clone();
    in_background(move || read(&directory, &path, Readers::Few)).await
}

pub(super) async fn credential(name: String) -> Result<Clear, Trouble> {
    let Some(directory) = env::var_os(CREDENTIALS).map(PathBuf::from) else {
        return Err(permanent(
            "the agent of this host has no credentials; give them to its unit with \
             LoadCredential= or LoadCredentialEncrypted="
                .to_owned(),
        ));
    };
    // systemd sees to who can read them.
    in_background(move || read(&directory, &name, Readers::Any)).await
}

/// Without a shell, from the one directory that the host's root allows.
pub(super) async fn command(settings: &GivenSettings, words: &[String]) -> Result<Clear, Trouble> {
    let Some(directory) = settings.secret_commands.as_ref() else {
        return Err(permanent(
            "this host runs no programs for secrets; set secret_commands of its agent to the \
             directory that they are in"
                .to_owned(),
        ));
    };
    let (program, arguments) = words.split_first().expect("parsed with a program");
    let program = directory.join(program).display().to_string();
    let words: Vec<String> = [program]
        .into_iter()
        .chain(arguments.iter().cloned())
        .collect();
    let output = command::output_of(&words, COMMAND_TIMEOUT)
        .await
        .map_err(permanent)?;
    checked(output)
}

async fn in_background(
    read: impl FnOnce() -> Result<Clear, Trouble> + Send + 'static,
) -> Result<Clear, Trouble> {
    let done = spawn_blocking(read).await;
    done.unwrap_or_else(|err| Err(permanent(err.to_string())))
}

/// A regular file in the directory, wherever links lead: not out of it.
fn read(directory: &Path, path: &str, readers: Readers) -> Result<Clear, Trouble> {
    let failed = |path: &Path, err: &io::Error| {
        let (path, reason) = (path.display(), err.kind());
        permanent(format!("cannot read {path} on this host: {reason}"))
    };
    let wanted = directory.join(path);
    let allowed = fs::canonicalize(directory).map_err(|err| failed(directory, &err))?;
    let found = fs::canonicalize(&wanted).map_err(|err| failed(&wanted, &err))?;
    if !found.starts_with(&allowed) {
        return Err(permanent(format!(
            "{} is not in {}, which alone this host reads",
            wanted.display(),
            directory.display()
        )));
    }
    // Opening a pipe would wait for its writer for ever.
    let kind = fs::metadata(&found).map_err(|err| failed(&wanted, &err))?;
    if !kind.is_file() {
        return Err(permanent(format!("{} is no file", wanted.display())));
    }
    let file = File::open(&found).map_err(|err| failed(&wanted, &err))?;
    let opened = file.metadata().map_err(|err| failed(&wanted, &err))?;
    let mode = opened.permissions().mode() & 0o7777;
    if readers == Readers::Few && mode & 0o007 != 0 {
        return Err(permanent(format!(
            "{path} can be read by everybody on this host (mode {mode:04o}), so it is no secret: \
             chmod o= {path}",
            path = wanted.display()
        )));
    }
    let mut bytes = Vec::new();
    let limited = file
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes);
    limited.map_err(|err| failed(&wanted, &err))?;
    checked(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::{fs, os::unix::fs::symlink};

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn refused(directory: &Path, path: &str) -> String {
        read(directory, path, Readers::Few).unwrap_err().text
    }

    #[test]
    fn a_secret_file_is_read_by_its_name_or_its_path() {
        let dir = TestDir::new("secret-files");
        write(&dir.join("db"), "hunter2", 0o640);
        let path = dir.join("db").display().to_string();
        for name in ["db", &path] {
            assert_eq!(read(&dir, name, Readers::Few).unwrap().bytes(), b"hunter2");
        }
    }

    #[test]
    fn what_lies_elsewhere_or_is_open_to_all_is_not_read() {
        let (dir, other) = (TestDir::new("secret-files"), TestDir::new("elsewhere"));
        write(&other.join("shadow"), "root", 0o600);
        symlink(other.join("shadow"), dir.join("link")).unwrap();
        let outside = other.join("shadow").display().to_string();
        for name in ["link", &outside] {
            let why = refused(&dir, name);
            assert!(why.ends_with("which alone this host reads"), "{why}");
        }
        write(&dir.join("open"), "x", 0o644);
        let why = refused(&dir, "open");
        assert!(why.contains("mode 0644"), "{why}");
        fs::create_dir(dir.join("sub")).unwrap();
        assert!(refused(&dir, "sub").ends_with("is no file"));
        assert!(refused(&dir, "none").ends_with("on this host: entity not found"));
        write(&dir.join("long"), &"x".repeat(VALUE_BYTES_MAX + 1), 0o600);
        assert_eq!(refused(&dir, "long"), "it is longer than 65536 bytes");
    }
}
