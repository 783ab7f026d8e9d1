//! Which source of a setting counts: the layers, and what a machine is given at its boot.

use super::{
    FILE_DEFAULT, FILE_VARIABLE, found,
    keys::{Flags, RawConfig, literal_defaults},
    source::{FileText, Set, Source, Texts},
    texts_of, variable,
};
use crate::{config::ConfigError, probe::HostFacts};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

/// Names of what a machine may be given at its boot: systemd's credentials, or what the first boot
/// put down.
pub(crate) const SEED_FILE: &str = "holdfast.toml";
pub(crate) const SEED_KEY: &str = "holdfast.key";

/// Below the state directory that systemd names.
pub(crate) const FIRST_BOOT: &str = "first-boot";

impl RawConfig {
    /// Gathers the settings: command line over environment over systemd's credentials over what
    /// the first boot found over the file over defaults.
    ///
    /// The file may be absent, unless `--config` or `HOLDFAST_CONFIG` names it. A variable that is
    /// set to nothing counts as not set.
    pub(crate) fn gather(
        flags: &Flags,
        environment: impl Iterator<Item = (OsString, OsString)>,
        facts: &HostFacts,
    ) -> Result<Self, ConfigError> {
        let environment: BTreeMap<_, _> =
            environment.filter(|(_, value)| !value.is_empty()).collect();
        let named = flags.config.clone();
        let named = named.or_else(|| variable(&environment, FILE_VARIABLE).map(PathBuf::from));
        let file = match &named {
            Some(named) => Self::from_file(&FileText::read(named)?)?,
            None => Self::from_file_if_there(Path::new(FILE_DEFAULT))?,
        };
        let flags = Self::from_texts(&flags.texts(), |key| Source::Flag(key.flag()))?;
        let variables = texts_of(&environment)?;
        let variables = Self::from_texts(&variables, |key| Source::Variable(key.variable()))?;
        let directory = |name| variable(&environment, name).map(PathBuf::from);
        let credentials = Self::from_seed(directory("CREDENTIALS_DIRECTORY"))?;
        let first_boot = directory("STATE_DIRECTORY").map(|state| state.join(FIRST_BOOT));
        let first_boot = Self::from_seed(first_boot)?;
        let set = flags
            .over(variables)
            .over(credentials)
            .over(first_boot)
            .over(file)
            .over(Self::defaults()?);
        Ok(set.completed(facts))
    }

    /// What a directory of seeds says: a file of settings, and a cluster key beside it.
    fn from_seed(directory: Option<PathBuf>) -> Result<Self, ConfigError> {
        let Some(directory) = directory else {
            return Self::nothing();
        };
        let set = Self::from_file_if_there(&directory.join(SEED_FILE))?;
        let key = directory.join(SEED_KEY);
        if !key.exists() {
            return Ok(set);
        }
        let found = found("key_file", key.display().to_string());
        let key_file = found.map(|found| Set {
            from: Source::Seed(key),
            ..found
        });
        Ok(Self {
            key_file: set.key_file.or(key_file),
            ..set
        })
    }

    fn from_file_if_there(path: &Path) -> Result<Self, ConfigError> {
        match FileText::read(path) {
            Err(ConfigError::Read { err, .. }) if err.kind() == io::ErrorKind::NotFound => {
                Self::nothing()
            }
            read => Self::from_file(&read?),
        }
    }

    fn defaults() -> Result<Self, ConfigError> {
        Self::from_file(&FileText::built_in(literal_defaults()))
    }

    fn nothing() -> Result<Self, ConfigError> {
        Self::from_texts(&Texts::new(), |_| Source::Default)
    }
}

/// What the settings in a machine image say of what lies in it.
#[derive(Debug)]
pub(crate) struct BakedSettings {
    pub(crate) state_dir: PathBuf,
    pub(crate) key_file: Option<PathBuf>,
}

impl BakedSettings {
    pub(crate) fn read(root: &Path) -> Result<Self, ConfigError> {
        let file = FILE_DEFAULT.trim_start_matches('/');
        let set = RawConfig::from_file_if_there(&root.join(file))?;
        let RawConfig {
            state_dir,
            key_file,
            ..
        } = set.over(RawConfig::defaults()?);
        let path = |set: Set<String>| PathBuf::from(set.value);
        Ok(Self {
            state_dir: state_dir.map(path).expect("it has a default"),
            key_file: key_file.map(path),
        })
    }
}
