//! Values that the cluster keeps for tasks: secrets, which come sealed, and texts that are none.
//!
//! The core carries bytes and opens nothing: whoever has the cluster's keys does.

use crate::{
    cluster::{
        board::Board,
        body::{Body, Key},
        record::Record,
        schedule::{SCHEDULE_PREFIX, Schedule},
    },
    ids::{Digest, KeyId},
    spec::{given::ValueName, service::DefinitionRef},
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// When a value was set: the epoch of its record, by the wall clock in ms. What is set anew is
/// always later; what is only sealed anew is the same.
pub type SetAt = u64;

/// Bytes that mean nothing to the core. They are shared, and never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opaque(pub Arc<[u8]>);

/// A secret as only whoever has the key can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub key: KeyId,
    pub bytes: Opaque,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    pub sealed: Sealed,
    /// Of what is sealed, in bytes.
    pub size: u32,
    pub set: Setting,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    pub text: Opaque,
    pub set: Setting,
}

/// How a value came to be what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// How often it was set, for people.
    pub number: u32,
    pub by: Box<str>,
    /// Tasks of services that have one that was set before this are replaced.
    pub valid_since: SetAt,
}

/// A value as a container is given it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenValue {
    pub name: ValueName,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    Sealed {
        sealed: Sealed,
        set_at: SetAt,
    },
    Plain {
        text: Opaque,
        set_at: SetAt,
    },
    /// This host has not heard of it; that may yet come.
    Unknown,
    Removed,
}

/// A secret that is to be sealed with the key that is in use now, or was: the core asks, the driver
/// answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reseal {
    pub name: String,
    pub set_at: SetAt,
    pub sealed: Sealed,
}

impl ValueName {
    pub fn key(&self) -> Key {
        match self {
            Self::Secret(name) => Key::Secret(name.clone()),
            Self::Config(name) => Key::Config(name.clone()),
        }
    }

    /// The value that a record is of.
    pub fn of(key: &Key) -> Option<Self> {
        match key {
            Key::Secret(name) => Some(Self::Secret(name.clone())),
            Key::Config(name) => Some(Self::Config(name.clone())),
            _ => None,
        }
    }
}

impl Board {
    /// Every value that was ever set or removed, as long as the board remembers it.
    fn value_records(&self) -> impl Iterator<Item = (ValueName, &Record)> {
        let first = Key::Secret(String::new());
        let range = self.range(
            first..Key::Unknown {
                kind: 0,
                key: Vec::new(),
            },
        );
        range.filter_map(|record| Some((ValueName::of(&record.key)?, record)))
    }

    /// The values that there are, in order of their kinds and names.
    pub fn values(&self) -> impl Iterator<Item = (ValueName, SetAt, &Setting)> {
        self.value_records().filter_map(|(name, record)| {
            let setting = record.body.as_ref().and_then(setting)?;
            Some((name, record.version.epoch, setting))
        })
    }

    pub fn secrets(&self) -> impl Iterator<Item = (&str, SetAt, &SealedSecret)> {
        self.value_records()
            .filter_map(|(_, record)| match (&record.key, &record.body) {
                (Key::Secret(name), Some(Body::Secret(body))) => {
                    Some((name.as_str(), record.version.epoch, body))
                }
                _ => None,
            })
    }

    pub fn configs(&self) -> impl Iterator<Item = (&str, SetAt, &ConfigText)> {
        self.value_records()
            .filter_map(|(_, record)| match (&record.key, &record.body) {
                (Key::Config(name), Some(Body::Config(body))) => {
                    Some((name.as_str(), record.version.epoch, body))
                }
                _ => None,
            })
    }

    /// What of a value is on the board; also when it was removed.
    pub fn value(&self, name: &ValueName) -> Content {
        let Some(record) = self.record(&name.key()) else {
            return Content::Unknown;
        };
        let set_at = record.version.epoch;
        match &record.body {
            Some(Body::Secret(SealedSecret { sealed, .. })) => Content::Sealed {
                sealed: sealed.clone(),
                set_at,
            },
            Some(Body::Config(ConfigText { text, .. })) => Content::Plain {
                text: text.clone(),
                set_at,
            },
            // Not understood.
            Some(_) => Content::Unknown,
            None => Content::Removed,
        }
    }

    /// When a value was last set or removed; 0 if this board knows nothing of it.
    pub fn value_set_at(&self, name: &ValueName) -> SetAt {
        let record = self.record(&name.key());
        record.map_or(0, |record| record.version.epoch)
    }

    pub fn setting(&self, name: &ValueName) -> Option<&Setting> {
        setting(self.record(&name.key())?.body.as_ref()?)
    }

    /// The services, runs and schedules whose tasks are given the value, by their names.
    pub fn users_of(&self, name: &ValueName) -> Vec<String> {
        let uses = |definition: Digest| {
            let definition = self.definition(definition);
            definition.is_some_and(|known| known.values().contains(name))
        };
        let services = self.services();
        let services = services.filter(|one| uses(one.revision.definition));
        let services = services.map(|one| one.settings.name.clone());
        let runs = self.runs();
        let runs = runs
            .filter(|(id, run)| uses(run.revision.definition) && self.run_ended_at(*id).is_none());
        let runs = runs.map(|(_, run)| run.settings.name.clone());
        let schedules = self.schedules();
        let schedules = schedules.filter(|(_, one)| self.runs_now(one).is_some_and(uses));
        let schedules = schedules.map(|(name, _)| format!("{SCHEDULE_PREFIX}{name}"));
        services.chain(runs).chain(schedules).collect()
    }

    /// The definition that a schedule would run now.
    fn runs_now(&self, schedule: &Schedule) -> Option<Digest> {
        let input: serde_json::Value = serde_json::from_str(&schedule.run).ok()?;
        let wanted: DefinitionRef = input["taskDefinition"].as_str()?.parse().ok()?;
        Some(self.resolve(&wanted)?.definition)
    }
}

fn setting(body: &Body) -> Option<&Setting> {
    match body {
        Body::Secret(secret) => Some(&secret.set),
        Body::Config(config) => Some(&config.set),
        _ => None,
    }
}

impl From<Vec<u8>> for Opaque {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opaque({} bytes)", self.0.len())
    }
}
