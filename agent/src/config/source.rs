//! Where settings come from: reading each source, and saying where a value was typed.

use super::keys::{Allowed, Key};
use holdfast_core::spec::refuse::edits;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};
use toml::de::DeTable;

/// Settings by the name of their key, from sources that have nothing but text.
pub(crate) type Texts = BTreeMap<&'static str, String>;

/// Where a value was typed, as errors name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    /// Found out when the agent started.
    Machine,
    File(Arc<Path>, usize),
    /// Found beside the settings that the machine was given at its boot.
    Seed(PathBuf),
    Variable(String),
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Machine => f.write_str("found on this machine"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Seed(path) => write!(f, "found at {}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One setting that was made.
#[derive(Clone, Debug)]
pub(crate) struct Set<T> {
    pub(crate) key: &'static Key,
    pub(crate) from: Source,
    pub(crate) value: T,
}

/// The settings cannot be used; the agent does not start with some of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read settings from {path}")]
    Read {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("cannot understand settings in {path}")]
    Syntax {
        path: PathBuf,
        #[source]
        err: Box<toml::de::Error>,
    },
    #[error("unknown key {name:?} ({at}){hint}")]
    UnknownKey {
        name: String,
        at: Source,
        hint: String,
    },
    #[error("{key} = {value} ({at}) is refused: must be {must}")]
    Value {
        key: &'static str,
        value: String,
        at: Source,
        must: String,
    },
    #[error("environment variable {0} is not UTF-8: set it anew")]
    NotText(String),
    #[error(
        "no cluster key: bind = \"{bind}\" ({at}) can be reached from other machines, where anyone \
         could join; set key_file, or bind to 127.0.0.1"
    )]
    NoKey { bind: String, at: Source },
    #[error(
        "cannot find the address that other agents reach this host by: set advertise, or bind to \
         one address instead of {bind}"
    )]
    NoAddress { bind: String },
}

impl<T: Serialize> Set<T> {
    pub(crate) fn refused(&self, must: impl fmt::Display) -> ConfigError {
        ConfigError::Value {
            key: self.key.name,
            value: toml_of(&self.value),
            at: self.from.clone(),
            must: must.to_string(),
        }
    }

    /// The setting refused for what its key allows.
    pub(crate) fn not_allowed(&self) -> ConfigError {
        self.refused(&self.key.allowed)
    }

    pub(crate) fn render(&self) -> String {
        format!(
            "{} = {} # {}\n",
            self.key.name,
            toml_of(&self.value),
            self.from
        )
    }
}

impl Set<i64> {
    /// The number, within what its key allows.
    pub(crate) fn number(&self) -> Result<u32, ConfigError> {
        let Allowed::Number { min, max, .. } = self.key.allowed else {
            panic!("{} has no range in the table of keys", self.key.name);
        };
        match u32::try_from(self.value) {
            Ok(number) if (min..=max).contains(&self.value) => Ok(number),
            _ => Err(self.not_allowed()),
        }
    }
}

fn toml_of(value: &impl Serialize) -> String {
    let value = toml::Value::try_from(value).expect("all kinds of settings are TOML");
    value.to_string()
}

/// What a value may be, read from a source that has nothing but text.
pub(crate) trait FromText: Sized + Serialize {
    fn from_text(text: &str) -> Option<Self>;
}

impl FromText for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromText for bool {
    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

impl FromText for i64 {
    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

impl FromText for Vec<String> {
    fn from_text(text: &str) -> Option<Self> {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        Some(items.map(str::to_owned).collect())
    }
}

impl FromText for BTreeMap<String, String> {
    fn from_text(text: &str) -> Option<Self> {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        let pairs = items.map(|item| {
            let (name, value) = item.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        });
        pairs.collect()
    }
}

impl<T: FromText> Set<T> {
    pub(crate) fn from_text(
        key: &'static Key,
        texts: &Texts,
        from: fn(&'static Key) -> Source,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(text) = texts.get(key.name) else {
            return Ok(None);
        };
        let from = from(key);
        match T::from_text(text) {
            Some(value) => Ok(Some(Self { key, from, value })),
            None => Err(ConfigError::Value {
                key: key.name,
                value: toml_of(text),
                at: from,
                must: key.allowed.to_string(),
            }),
        }
    }
}

/// A file that was read, to be parsed.
#[derive(Debug)]
pub(crate) struct FileText {
    path: Arc<Path>,
    text: String,
    /// The file is our own table of defaults.
    built_in: bool,
}

impl FileText {
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|err| ConfigError::Read {
            path: path.to_owned(),
            err,
        })?;
        Ok(Self {
            path: path.into(),
            text,
            built_in: false,
        })
    }

    pub(crate) fn built_in(text: String) -> Self {
        Self {
            path: Path::new("built-in defaults").into(),
            text,
            built_in: true,
        }
    }

    pub(crate) fn at(&self, offset: usize) -> Source {
        match self.built_in {
            true => Source::Default,
            false => {
                let before = self.text.as_bytes().iter().take(offset);
                let line = 1 + before.filter(|byte| **byte == b'\n').count();
                Source::File(self.path.clone(), line)
            }
        }
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|err| self.syntax(err))
    }

    pub(crate) fn refuse_unknown(
        &self,
        keys: &BTreeMap<&'static str, &'static Key>,
    ) -> Result<(), ConfigError> {
        let table = DeTable::parse(&self.text).map_err(|err| self.syntax(err))?;
        let names = table.get_ref().keys();
        let unknown = names.filter(|name| !keys.contains_key(name.get_ref().as_ref()));
        // The first in the file, not in the alphabet.
        let first = unknown.min_by_key(|name| -> usize {
            let span: Range<usize> = name.span();
            span.start
        });
        let Some(name) = first else {
            return Ok(());
        };
        Err(ConfigError::UnknownKey {
            name: name.get_ref().to_string(),
            at: self.at(name.span().start),
            hint: match nearest(name.get_ref(), keys.keys().copied()) {
                Some(near) => format!(": did you mean {near}?"),
                None => format!(": the keys are {}", list(keys.keys().copied())),
            },
        })
    }

    fn syntax(&self, err: toml::de::Error) -> ConfigError {
        ConfigError::Syntax {
            path: self.path.to_path_buf(),
            err: Box::new(err),
        }
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// The key that was meant: a part or the whole of a longer or shorter name, or a few slips away.
fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let scored = names.map(|name| {
        let part = typed.len() >= 3 && (name.starts_with(&typed) || typed.starts_with(name));
        (if part { 0 } else { edits(&typed, name) }, name)
    });
    let (count, name) = scored.min()?;
    (count <= 1 + name.len() / 5).then_some(name)
}
