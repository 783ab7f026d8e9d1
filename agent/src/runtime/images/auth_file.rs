//! The file of credentials: Docker's own `config.json`, as `docker login` writes it.

use super::{
    credentials::{Credentials, CredentialsError, Found, Secret},
    name::{DOCKER_HUB, is_docker_hub},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

const FILE_BYTES_MAX: u64 = 1_024 * 1_024;

/// What Docker's file says of credentials; the rest of it is not ours.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AuthFile {
    auths: BTreeMap<String, Entry>,
    /// The store that has the credentials of one registry.
    cred_helpers: BTreeMap<String, String>,
    /// The store that has all others.
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// USER:PASSWORD in base64.
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl AuthFile {
    pub(super) fn read(path: &Path) -> Result<Self, CredentialsError> {
        let path = path.to_owned();
        let failed = |err| CredentialsError::Read {
            path: path.clone(),
            err,
        };
        // Opening a pipe would wait for its writer for ever.
        if !fs::metadata(&path).map_err(failed)?.is_file() {
            return Err(CredentialsError::NotAFile { path });
        }
        // The file that was opened is the one that is judged: its name may be given to another.
        let file = File::open(&path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(CredentialsError::Open { path, mode });
        }
        let mut bytes = Vec::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
        if read.map_err(failed)? as u64 > FILE_BYTES_MAX {
            let bytes_max = FILE_BYTES_MAX;
            return Err(CredentialsError::TooBig { path, bytes_max });
        }
        serde_json::from_slice(&bytes).map_err(|err| CredentialsError::Format {
            line: err.line(),
            column: err.column(),
            path,
        })
    }

    /// Where the credentials of a registry are: with a store of its own, here, or with the store
    /// for all.
    pub(super) fn look(&self, registry: &str, path: &Path) -> Result<Found, CredentialsError> {
        let of_registry = |key: &&String| host_of(key) == registry;
        let own = self.cred_helpers.keys().find(of_registry);
        if let Some(key) = own {
            return store(&self.cred_helpers[key], path);
        }
        let mut entries = self.auths.iter().filter(|(key, _)| of_registry(key));
        // `docker login` leaves an empty entry for what it gave to a store.
        let entry = entries.find_map(|(key, entry)| Some((key, entry.credentials()?)));
        match entry {
            Some((_, Ok(credentials))) => Ok(Found::Here(credentials)),
            Some((key, Err(BadAuth))) => Err(CredentialsError::Auth {
                path: path.to_owned(),
                key: key.clone(),
            }),
            None if self.creds_store.is_empty() => Ok(Found::Nowhere),
            None => store(&self.creds_store, path),
        }
    }
}

/// `auth` is not what it must be.
struct BadAuth;

impl Entry {
    fn credentials(&self) -> Option<Result<Credentials, BadAuth>> {
        let (user, password) = match self.auth.is_empty() {
            true => (self.username.clone(), self.password.clone()),
            false => match decoded(&self.auth) {
                Some(pair) => pair,
                None => return Some(Err(BadAuth)),
            },
        };
        if !self.identitytoken.is_empty() {
            let secret = Secret::IdentityToken(self.identitytoken.clone());
            return Some(Ok(Credentials { user, secret }));
        }
        let given = !user.is_empty() && !password.is_empty();
        given.then(|| Ok(Credentials::new(user, password)))
    }
}

fn decoded(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    // Old versions of Docker filled it up with zeros.
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// Part of a command's name, so nothing else.
fn store(name: &str, path: &Path) -> Result<Found, CredentialsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !name.is_empty() && name.chars().all(allowed) {
        true => Ok(Found::Store(name.to_owned())),
        false => Err(CredentialsError::Name {
            path: path.to_owned(),
            name: name.to_owned(),
        }),
    }
}

/// Keys are hosts, or addresses such as `https://index.docker.io/v1/`.
fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").unwrap_or(key);
    let rest = rest.strip_prefix("http://").unwrap_or(rest);
    match rest.split('/').next().unwrap_or(rest) {
        hub if is_docker_hub(hub) => DOCKER_HUB,
        host => host,
    }
}
