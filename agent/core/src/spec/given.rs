//! What a container is given beside its definition: environment files, secrets, files of text.

use super::read::RefError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of ECS's `secrets`: a value from outside the definition, and where the container has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    pub at: SecretPlace,
    pub from: SecretSource,
}

/// ECS's `name`. ECS knows variables alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretPlace {
    Variable(String),
    /// A file that only the container's user can read; an absolute path.
    File(String),
}

/// ECS's `valueFrom`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretSource {
    /// A file of the host, in the directory that its agent's setting names.
    File(String),
    /// One of the credentials that systemd gives to the agent's unit.
    Credential(String),
    /// What a program prints that the host allows, by its name and with these arguments.
    Command(Vec<String>),
    /// A secret of the cluster's, or one member of it where it is a JSON object.
    Secret {
        name: String,
        member: Option<String>,
    },
    /// A text of the cluster's that is no secret.
    Config(String),
}

/// One of ECS's `environmentFiles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvironmentFile {
    /// A file of the host, in the directory that its agent's setting names.
    File(String),
    Config(String),
}

/// A value that the cluster itself holds, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ValueName {
    Secret(String),
    Config(String),
}

/// Beyond what names are: a file, a credential or a program has no other directory.
const PLAIN_BYTES_MAX: usize = 255;
/// Of a value that the cluster holds.
pub const VALUE_NAME_BYTES_MAX: usize = 128;

pub const WANTED_VALUE_NAME: &str =
    "1 to 128 letters, digits, hyphens, underscores or dots, the first one no dot";

const WANTED_SOURCE: &str = "\"secret:NAME\" or \"secret:NAME:MEMBER\" (kept by the cluster), \
                             \"config:NAME\" (likewise), \"file:NAME\", \"credential:NAME\" or \
                             \"command:NAME ARGUMENTS\" (of the host)";

const WANTED_FILE: &str = "\"file:NAME\" or \"file:/PATH\" (of the host) or \"config:NAME\" (kept \
                           by the cluster)";

impl SecretSource {
    pub fn parse(text: &str) -> Result<Self, RefError> {
        let source = match text.split_once(':') {
            Some(("file", path)) if is_file(path) => Some(Self::File(path.to_owned())),
            Some(("credential", name)) if is_plain(name) => Some(Self::Credential(name.to_owned())),
            Some(("command", line)) => {
                let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
                let named = words.first().is_some_and(|program| is_plain(program));
                named.then_some(Self::Command(words))
            }
            Some(("secret", rest)) => secret(rest),
            Some(("config", name)) if is_value_name(name) => Some(Self::Config(name.to_owned())),
            _ => None,
        };
        source.ok_or_else(|| refused(text, WANTED_SOURCE))
    }

    /// The value of the cluster's that it is, or is a part of.
    pub fn value(&self) -> Option<ValueName> {
        match self {
            Self::Secret { name, .. } => Some(ValueName::Secret(name.clone())),
            Self::Config(name) => Some(ValueName::Config(name.clone())),
            Self::File(_) | Self::Credential(_) | Self::Command(_) => None,
        }
    }
}

impl EnvironmentFile {
    pub fn parse(text: &str) -> Result<Self, RefError> {
        match text.split_once(':') {
            Some(("file", path)) if is_file(path) => Ok(Self::File(path.to_owned())),
            Some(("config", name)) if is_value_name(name) => Ok(Self::Config(name.to_owned())),
            _ => Err(refused(text, WANTED_FILE)),
        }
    }

    pub fn value(&self) -> Option<ValueName> {
        match self {
            Self::File(_) => None,
            Self::Config(name) => Some(ValueName::Config(name.clone())),
        }
    }
}

impl SecretPlace {
    /// As ECS's `name` has it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Variable(name) | Self::File(name) => name,
        }
    }
}

impl ValueName {
    pub fn name(&self) -> &str {
        match self {
            Self::Secret(name) | Self::Config(name) => name,
        }
    }

    /// The word for its kind, as in commands.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secret",
            Self::Config(_) => "config",
        }
    }
}

impl fmt::Display for ValueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {:?}", self.kind(), self.name())
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Command(words) => write!(f, "command:{}", words.join(" ")),
            Self::Secret { name, member: None } => write!(f, "secret:{name}"),
            Self::Secret {
                name,
                member: Some(member),
            } => write!(f, "secret:{name}:{member}"),
            Self::Config(name) => write!(f, "config:{name}"),
        }
    }
}

impl fmt::Display for EnvironmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Config(name) => write!(f, "config:{name}"),
        }
    }
}

/// What a value of the cluster's may be called.
pub fn is_value_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=VALUE_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(allowed)
}

fn secret(text: &str) -> Option<SecretSource> {
    let (name, member) = match text.split_once(':') {
        Some((name, member)) => (name, Some(member)),
        None => (text, None),
    };
    let says_nothing = |text: &str| text.is_empty() || text.contains('\0');
    (is_value_name(name) && !member.is_some_and(says_nothing)).then(|| SecretSource::Secret {
        name: name.to_owned(),
        member: member.map(str::to_owned),
    })
}

/// It cannot lead out of the directory that it is looked for in, as far as its text says.
fn is_file(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(char::is_control)
        && !path.split('/').any(|part| part == "..")
        && !path.ends_with('/')
}

fn is_plain(name: &str) -> bool {
    (1..=PLAIN_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control())
}

fn refused(text: &str, wanted: &'static str) -> RefError {
    let got = super::error::shown(text);
    RefError { got, wanted }
}
