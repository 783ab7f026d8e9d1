//! Credentials for a registry, read anew for each pull, so that they may be rotated at any time.

use super::{auth_file::AuthFile, name::is_docker_hub};
use crate::command;
use bollard::auth::DockerCredentials;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::task::spawn_blocking;

/// What the command of a Docker credential store may take.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Docker's word for "I have none" (docker-credential-helpers, `credentials/error.go`).
const NOT_FOUND: &str = "credentials not found in native keychain";
/// As a user name: what follows is no password but an identity token.
const TOKEN_USER: &str = "<token>";

/// Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Password(String),
    IdentityToken(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) secret: Secret,
}

/// Why there are no credentials, where there should be some.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("cannot read {}, which registry_auth_file names", path.display())]
    Read {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error(
        "others than its owner can read or change {} (mode {mode:04o}), which registry_auth_file \
         names: chmod 600 {}", path.display(), path.display()
    )]
    Open { path: PathBuf, mode: u32 },
    #[error("{}, which registry_auth_file names, is not a plain file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{}, which registry_auth_file names, has more than {bytes_max} bytes", path.display())]
    TooBig { path: PathBuf, bytes_max: u64 },
    /// Without what the file has there: it may be a password.
    #[error(
        "{} is not as Docker's config.json is: see line {line}, column {column}", path.display()
    )]
    Format {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    #[error(
        "auth of {key:?} in {} must be USER:PASSWORD in base64: make it with \
         `printf %s USER:PASSWORD | base64 -w0`", path.display()
    )]
    Auth { path: PathBuf, key: String },
    #[error(
        "{name:?} in {} is not the name of a credential store: docker-credential-NAME must be a \
         command", path.display()
    )]
    Name { path: PathBuf, name: String },
    #[error("docker-credential-{name} gave no credentials for {registry}: {why}")]
    Command {
        name: String,
        registry: String,
        why: String,
    },
}

/// Where a file says that the credentials of a registry are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Here(Credentials),
    /// Ask `docker-credential-NAME`.
    Store(String),
    Nowhere,
}

/// The credentials for a registry; `None` where the file has none for it.
pub(crate) async fn find(
    path: &Path,
    registry: &str,
    wait_max: Duration,
) -> Result<Option<Credentials>, CredentialsError> {
    let (owned, wanted) = (path.to_owned(), registry.to_owned());
    let read = spawn_blocking(move || AuthFile::read(&owned)?.look(&wanted, &owned)).await;
    let found = read.unwrap_or_else(|err| {
        let (path, err) = (path.to_owned(), io::Error::other(err));
        Err(CredentialsError::Read { path, err })
    });
    match found? {
        Found::Here(credentials) => Ok(Some(credentials)),
        Found::Nowhere => Ok(None),
        Found::Store(name) => {
            match ask(&format!("docker-credential-{name}"), registry, wait_max).await {
                Ok(credentials) => Ok(credentials),
                Err(why) => Err(CredentialsError::Command {
                    name,
                    registry: registry.to_owned(),
                    why,
                }),
            }
        }
    }
}

/// What the command answers, in Docker's protocol.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// What it prints may be a secret and is never repeated, unless it says that it failed.
async fn ask(
    program: &str,
    registry: &str,
    wait_max: Duration,
) -> Result<Option<Credentials>, String> {
    let words = [program.to_owned(), "get".to_owned()];
    // Docker Hub's credentials are kept under the address that it had in the beginning.
    let server = match is_docker_hub(registry) {
        true => "https://index.docker.io/v1/",
        false => registry,
    };
    let ended = command::run_to_end(&words, server.as_bytes(), wait_max).await?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.output);
        let said = said.trim();
        if said.contains(NOT_FOUND) {
            return Ok(None);
        }
        let is_sentence = !said.is_empty() && !said.contains(['{', '\n']);
        return Err(ended.failure(if is_sentence { said } else { &ended.complaint }));
    }
    let answer: Answer = serde_json::from_slice(&ended.output)
        .map_err(|_| "it does not answer with JSON that has Username and Secret".to_owned())?;
    Ok(Some(Credentials::new(answer.user, answer.secret)))
}

impl Credentials {
    pub(crate) fn new(user: String, secret: String) -> Self {
        match user == TOKEN_USER {
            true => Self {
                user,
                secret: Secret::IdentityToken(secret),
            },
            false => Self {
                user,
                secret: Secret::Password(secret),
            },
        }
    }

    pub(crate) fn for_docker(&self, registry: &str) -> DockerCredentials {
        let (password, token) = match &self.secret {
            Secret::Password(password) => (Some(password.clone()), None),
            Secret::IdentityToken(token) => (None, Some(token.clone())),
        };
        DockerCredentials {
            username: Some(self.user.clone()).filter(|user| user != TOKEN_USER),
            password,
            identitytoken: token,
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(…)",
            Self::IdentityToken(_) => "IdentityToken(…)",
        })
    }
}

/// Bollard encodes credentials in base64's plain alphabet; Docker reads the one for addresses, and
/// takes what it can't read for no credentials at all. Marked, so that nobody logs them.
pub(crate) fn mend_header(headers: &mut HeaderMap) {
    const NAME: HeaderName = HeaderName::from_static("x-registry-auth");
    let Some(text) = headers.get(&NAME).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let text = text.replace('+', "-").replace('/', "_");
    let mut value = HeaderValue::try_from(text).expect("base64 may stand in a header");
    value.set_sensitive(true);
    headers.insert(NAME, value);
}

#[cfg(test)]
mod tests;
