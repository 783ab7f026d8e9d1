//! Tags: people's own words, and ECS's way to say what it has no word for.

use super::{
    ecs_fields,
    error::{Faults, SpecError, SpecErrors, shown},
    options::{
        HAND_OVER_TAG, HandOver, OptionsChange, PARTITION_TAG, PartitionPolicy, REPLACE_AFTER_TAG,
        ReplaceAfter,
    },
    read::{Fields, RefError, Rule, TEXT},
    service::arn_resource,
};
use crate::limits;
use serde_json::Value;
use std::str::FromStr;

/// Tags that something gets or loses, where the change is to them alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagChange {
    /// An ARN, or a service's name, as it was given.
    pub resource: String,
    pub tags: Tags,
    /// Those that go, but for those that stand for options.
    pub unset: Vec<String>,
}

/// As they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// What some of them stand for, where they are a service's.
    pub options: OptionsChange,
    /// All others.
    pub own: Vec<(String, String)>,
}

/// What tags that begin with `holdfast:` mean where they are put, and may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagMeaning {
    OptionsOfService,
    None,
}

/// What a tag of the reserved kind may be, for whoever gave another one.
pub(super) struct Reserved {
    pub(super) served: &'static [&'static str],
    pub(super) wanted: &'static str,
}

/// Of all tags that begin so, only those that mean something may be put on anything.
const OURS: &str = "holdfast:";

/// As in ECS, nobody's own.
const OF_AWS: &str = "aws:";

const OF_SERVICES: Reserved = Reserved {
    served: &[REPLACE_AFTER_TAG, PARTITION_TAG, HAND_OVER_TAG],
    wanted: "\"holdfast:replace-after\", \"holdfast:partition\" or \"holdfast:hand-over\", or \
             begin with neither of \"holdfast:\" and \"aws:\"",
};

const OF_OTHERS: Reserved = Reserved {
    served: &[],
    wanted: "a text that begins with neither of \"holdfast:\" and \"aws:\"",
};

const RESOURCE_WANTED: &str = "an ARN, or a service's name";

/// ECS's, of keys and of values.
fn is_tag_text(text: &str) -> bool {
    let is_allowed = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
    text.chars().all(is_allowed)
}

const KEY: Rule = Rule {
    wanted: "1 to 128 letters, digits, spaces and _.:/=+-@",
    holds: |text| {
        (1..=limits::TAG_KEY_CHARS_MAX).contains(&text.chars().count()) && is_tag_text(text)
    },
};

const VALUE: Rule = Rule {
    wanted: "at most 256 letters, digits, spaces and _.:/=+-@",
    holds: |text| text.chars().count() <= limits::TAG_VALUE_CHARS_MAX && is_tag_text(text),
};

/// Reads the field `tags` of a service, or of something whose tags mean nothing.
pub(super) fn read_tags(fields: &Fields<'_>, meaning: TagMeaning, faults: &mut Faults) -> Tags {
    let mut options = OptionsChange::default();
    let reserved = meaning.reserved();
    let own = each_tag(fields, reserved, faults, |(key, value), path| {
        set(&mut options, key, value, path)
    });
    Tags { options, own }
}

/// What is given where the API has tags of a thing that is made.
///
/// # Errors
/// Where one of them cannot be.
pub fn parse_tags(request: &Value) -> Result<Vec<(String, String)>, SpecErrors> {
    let fields = Fields::of_request(request)?;
    let mut faults = Faults::default();
    let tags = read_tags(&fields, TagMeaning::None, &mut faults);
    faults.finish(tags.own)
}

/// Reads all tags; of the reserved ones, those that are served have a meaning.
pub(super) fn each_tag(
    fields: &Fields<'_>,
    reserved: &Reserved,
    faults: &mut Faults,
    mut mean: impl FnMut((&'static str, &str), String) -> Result<(), SpecError>,
) -> Vec<(String, String)> {
    let objects = fields.objects("tags", faults);
    let (got, max) = (objects.len(), limits::TAGS_MAX);
    if got > max {
        let path = fields.path("tags");
        faults.push(SpecError::TooMany { path, got, max });
    }
    let mut own: Vec<(String, String)> = Vec::new();
    for fields in objects {
        fields.check(&["key", "value"], &["key", "value"], faults);
        let key = fields.required_text("key", &KEY);
        let value = fields.text("value", &TEXT);
        let value = fields.required("value", "the tag's value", value);
        let (key, value) = match (key, value) {
            (Ok(key), Ok(value)) => (key, value),
            (key, value) => {
                faults.keep(key);
                faults.keep(value);
                continue;
            }
        };
        let path = || fields.path("key");
        match reserved.find(&key, path()) {
            Ok(Some(key)) => faults.keep(mean((key, &value), fields.path("value"))),
            Ok(None) if own.iter().any(|(known, _)| *known == key) => {
                faults.push(SpecError::Duplicate {
                    path: path(),
                    first: "another tag".to_owned(),
                    value: shown(&key),
                });
            }
            Ok(None) => {
                // The rule of values is that of tags that are words alone.
                faults.keep(fields.text("value", &VALUE));
                own.push((key, value));
            }
            Err(err) => faults.push(err),
        }
    }
    own
}

impl TagMeaning {
    /// Of what an ARN or a service's name stands for.
    pub fn of(resource: &str) -> Self {
        let is_service =
            !resource.starts_with("arn:") || arn_resource(resource, "service").is_some();
        match is_service {
            true => Self::OptionsOfService,
            false => Self::None,
        }
    }

    const fn reserved(self) -> &'static Reserved {
        match self {
            Self::OptionsOfService => &OF_SERVICES,
            Self::None => &OF_OTHERS,
        }
    }
}

impl Reserved {
    /// `None` for a tag that is somebody's own word.
    fn find(&self, key: &str, path: String) -> Result<Option<&'static str>, SpecError> {
        let lower = key.to_lowercase();
        if !lower.starts_with(OURS) && !lower.starts_with(OF_AWS) {
            return Ok(None);
        }
        let served = self.served.iter().find(|served| **served == key);
        served
            .map(|served| Some(*served))
            .ok_or(SpecError::Malformed {
                path,
                got: shown(key),
                wanted: self.wanted,
            })
    }
}

fn set(change: &mut OptionsChange, key: &str, value: &str, path: String) -> Result<(), SpecError> {
    match key {
        REPLACE_AFTER_TAG => change.replace_after = Some(parsed::<ReplaceAfter>(value, path)?),
        PARTITION_TAG => change.partition = Some(parsed::<PartitionPolicy>(value, path)?),
        HAND_OVER_TAG => change.hand_over = Some(parsed::<HandOver>(value, path)?),
        other => unreachable!("{other} is none of the keys that are served"),
    }
    Ok(())
}

pub(super) fn parsed<T: FromStr<Err = RefError>>(
    value: &str,
    path: String,
) -> Result<T, SpecError> {
    value.parse().map_err(|err: RefError| SpecError::Malformed {
        path,
        got: shown(value),
        wanted: err.wanted,
    })
}

/// # Errors
/// Where the request or one of its tags cannot be.
pub fn parse_tag_resource(json: &Value) -> Result<TagChange, SpecErrors> {
    let fields = Fields::of_request(json)?;
    let mut faults = Faults::default();
    let resource = faults.keep(resource(&fields));
    let tags = read_tags(&fields, TagMeaning::of(&resource), &mut faults);
    fields.check(
        ecs_fields::TAG_RESOURCE,
        ecs_fields::TAG_RESOURCE,
        &mut faults,
    );
    faults.finish(())?;
    let unset = Vec::new();
    Ok(TagChange {
        resource,
        tags,
        unset,
    })
}

/// A tag that stands for an option and is taken away leaves what holds without it.
///
/// # Errors
/// As [`parse_tag_resource`].
pub fn parse_untag_resource(json: &Value) -> Result<TagChange, SpecErrors> {
    let fields = Fields::of_request(json)?;
    let mut faults = Faults::default();
    let resource = faults.keep(resource(&fields));
    let keys = faults.keep(fields.texts("tagKeys", &KEY));
    let reserved = TagMeaning::of(&resource).reserved();
    let (mut served, mut unset) = (Vec::new(), Vec::new());
    for key in keys {
        match reserved.find(&key, fields.path("tagKeys")) {
            Ok(Some(key)) => served.push(key),
            Ok(None) => unset.push(key),
            Err(err) => faults.push(err),
        }
    }
    fields.check(
        ecs_fields::UNTAG_RESOURCE,
        ecs_fields::UNTAG_RESOURCE,
        &mut faults,
    );
    faults.finish(())?;
    let has = |tag: &str| served.contains(&tag);
    let options = OptionsChange {
        replace_after: has(REPLACE_AFTER_TAG).then(ReplaceAfter::default),
        partition: has(PARTITION_TAG).then(PartitionPolicy::default),
        rebalance: None,
        hand_over: has(HAND_OVER_TAG).then(HandOver::default),
        health_grace_s: None,
    };
    let own = Vec::new();
    Ok(TagChange {
        resource,
        tags: Tags { options, own },
        unset,
    })
}

fn resource(fields: &Fields<'_>) -> Result<String, SpecError> {
    let read = fields.text("resourceArn", &TEXT);
    fields.required("resourceArn", RESOURCE_WANTED, read)
}
