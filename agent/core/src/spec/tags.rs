//! Tags of services: ECS's way to say what it has no word for; only those that are options for now.

use super::{
    ecs_fields,
    error::{Faults, SpecError, SpecErrors, shown},
    options::{
        HAND_OVER_TAG, HandOver, OptionsChange, PARTITION_TAG, PartitionPolicy, REPLACE_AFTER_TAG,
        ReplaceAfter,
    },
    read::{Choice, Fields, RefError, TEXT},
};
use serde_json::Value;
use std::str::FromStr;

/// Tags that a service gets or loses, where the change is to them alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagChange {
    /// Its name or its ARN, as it was given.
    pub resource: String,
    pub options: OptionsChange,
}

const KEYS: Choice = Choice {
    served: &[REPLACE_AFTER_TAG, PARTITION_TAG, HAND_OVER_TAG],
    refused: &[],
    wanted: "\"holdfast:replace-after\", \"holdfast:partition\" or \"holdfast:hand-over\"; other \
             tags are not served yet",
};

const RESOURCE_WANTED: &str = "a service's ARN";

/// Reads the field `tags`.
pub(super) fn read_tags(fields: &Fields<'_>, faults: &mut Faults) -> OptionsChange {
    let mut change = OptionsChange::default();
    for fields in fields.objects("tags", faults) {
        let read = tag(&fields, &KEYS, faults)
            .and_then(|(key, value)| set(&mut change, key, &value, fields.path("value")));
        faults.keep(read);
    }
    change
}

/// One of these keys, and its value.
pub(super) fn tag(
    fields: &Fields<'_>,
    keys: &Choice,
    faults: &mut Faults,
) -> Result<(&'static str, String), SpecError> {
    fields.check(&["key", "value"], &["key", "value"], faults);
    let key = fields.required("key", keys.wanted, fields.choice("key", keys))?;
    let value = fields.text("value", &TEXT);
    let value = fields.required("value", "the tag's value", value)?;
    Ok((key, value))
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

pub fn parse_tag_resource(json: &Value) -> Result<TagChange, SpecErrors> {
    let fields = Fields::of_request(json)?;
    let mut faults = Faults::default();
    let resource = faults.keep(resource(&fields));
    let options = read_tags(&fields, &mut faults);
    fields.check(
        ecs_fields::TAG_RESOURCE,
        ecs_fields::TAG_RESOURCE,
        &mut faults,
    );
    faults.finish(())?;
    Ok(TagChange { resource, options })
}

/// A tag that is taken away leaves what holds without it.
pub fn parse_untag_resource(json: &Value) -> Result<TagChange, SpecErrors> {
    let fields = Fields::of_request(json)?;
    let mut faults = Faults::default();
    let resource = faults.keep(resource(&fields));
    let keys = faults.keep(fields.choices("tagKeys", &KEYS));
    fields.check(
        ecs_fields::UNTAG_RESOURCE,
        ecs_fields::UNTAG_RESOURCE,
        &mut faults,
    );
    faults.finish(())?;
    let has = |tag: &str| keys.contains(&tag);
    let options = OptionsChange {
        replace_after: has(REPLACE_AFTER_TAG).then(ReplaceAfter::default),
        partition: has(PARTITION_TAG).then(PartitionPolicy::default),
        rebalance: None,
        hand_over: has(HAND_OVER_TAG).then(HandOver::default),
        health_grace_s: None,
    };
    Ok(TagChange { resource, options })
}

fn resource(fields: &Fields<'_>) -> Result<String, SpecError> {
    let read = fields.text("resourceArn", &TEXT);
    fields.required("resourceArn", RESOURCE_WANTED, read)
}
