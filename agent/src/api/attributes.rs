//! The operations on attributes: people's own words on hosts, beside what hosts say of themselves.

use super::{
    Plan,
    error::ApiError,
    hosts,
    request::{PAGE_MAX, Request, Sort, listed},
    view::View,
};
use holdfast_core::{
    cluster::{
        body::HostReport,
        tag::{Subject, Tagging},
    },
    command::Command,
    ids::HostId,
    limits,
    spec::{
        ecs_fields,
        error::Faults,
        read::{Choice, Fields, Rule, TEXT},
    },
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TARGET_TYPE: Choice = Choice {
    served: &["container-instance"],
    refused: &[],
    wanted: "\"container-instance\"",
};

const NAME: Rule = Rule {
    wanted: "1 to 128 letters, digits and -_/\\.",
    holds: |text| {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_/\\.".contains(&b);
        (1..=128).contains(&text.len()) && text.bytes().all(is_allowed)
    },
};

const VALUE: Rule = Rule {
    wanted: "1 to 128 letters, digits, spaces and -_.@/\\:, beginning and ending with no space",
    holds: |text| {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.@/\\: ".contains(&b);
        (1..=128).contains(&text.len()) && text.bytes().all(is_allowed) && text.trim() == text
    },
};

/// Nobody's own, as in ECS.
const OF_ECS: &str = "ecs.";

const TARGET_WANTED: &str = "the id, ARN or name of a container instance";

/// An attribute as it was given.
#[derive(Debug)]
struct Given {
    name: String,
    value: Option<String>,
    host: String,
}

pub(crate) fn plan_put(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    plan(view, body, |tagging, name, value| {
        // As in ECS, an attribute may be there without a value.
        tagging.set.push((name, value.unwrap_or_default()));
    })
}

pub(crate) fn plan_delete(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    plan(view, body, |tagging, name, _| tagging.unset.push(name))
}

fn plan(
    view: &View<'_>,
    body: &Value,
    mut change: impl FnMut(&mut Tagging, String, Option<String>),
) -> Result<Plan, ApiError> {
    let given = read(body)?;
    let mut changes: BTreeMap<HostId, Tagging> = BTreeMap::new();
    let mut told = Vec::new();
    for Given { name, value, host } in given {
        let host = hosts::find(view, &host).map_err(|err| match err {
            ApiError::NotFound(text) => ApiError::TargetNotFound(text),
            other => other,
        })?;
        check_own(view, host, &name)?;
        told.push(attribute(view, host, &name, value.as_deref().unwrap_or("")));
        let tagging = changes.entry(host).or_insert_with(|| Tagging {
            subject: Subject::Attributes(host),
            set: Vec::new(),
            unset: Vec::new(),
        });
        change(tagging, name, value);
    }
    let changes: Vec<Tagging> = changes.into_values().collect();
    if !changes.iter().all(|one| view.board.has_room_for_tags(one)) {
        return Err(ApiError::AttributeLimitExceeded(format!(
            "a host has at most {} attributes that people put on it; delete some first",
            limits::TAGS_MAX
        )));
    }
    Ok(Plan::prepared(
        Command::Tag(changes),
        json!({"attributes": told}),
    ))
}

fn read(body: &Value) -> Result<Vec<Given>, ApiError> {
    let known = ecs_fields::PUT_ATTRIBUTES;
    let request = Request::read(body, known, known)?;
    let mut faults = Faults::default();
    let objects = request.objects("attributes")?;
    let one = |fields: &Fields<'_>, faults: &mut Faults| {
        fields.check(ecs_fields::ATTRIBUTE, ecs_fields::ATTRIBUTE, faults);
        faults.keep(fields.choice("targetType", &TARGET_TYPE));
        let host = fields.text("targetId", &TEXT);
        Given {
            name: faults.keep(fields.required_text("name", &NAME)),
            value: faults.keep(fields.text("value", &VALUE)),
            host: faults.keep(fields.required("targetId", TARGET_WANTED, host)),
        }
    };
    let given: Vec<Given> = objects
        .iter()
        .map(|fields| one(fields, &mut faults))
        .collect();
    let given = faults.finish(given).map_err(ApiError::invalid)?;
    let max = limits::ATTRIBUTES_PER_CALL_MAX;
    match given.len() {
        0 => Err(ApiError::InvalidParameter(
            "attributes is missing; it must be a list of attributes and their hosts".to_owned(),
        )),
        got if got > max => Err(ApiError::InvalidParameter(format!(
            "attributes has {got} entries, but at most {max} are allowed; remove some"
        ))),
        _ => Ok(given),
    }
}

/// What a host says of itself is for its own settings to say otherwise.
fn check_own(view: &View<'_>, host: HostId, name: &str) -> Result<(), ApiError> {
    let (_, report) = view.board.host(host).expect("it was found just now");
    let is_said = report.attributes.iter().any(|(said, _)| said == name);
    if !is_said && !name.starts_with(OF_ECS) {
        return Ok(());
    }
    Err(ApiError::InvalidParameter(format!(
        "the attribute {name:?} is the host's own word: say it in `attributes` of its \
         configuration; here, use another name that does not begin with {OF_ECS:?}"
    )))
}

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::LIST_ATTRIBUTES;
    let request = Request::read(body, known, known)?;
    if request.choice("targetType", &TARGET_TYPE)?.is_none() {
        return Err(ApiError::InvalidParameter(format!(
            "targetType is missing; it must be {}",
            TARGET_TYPE.wanted
        )));
    }
    let page = request.page(PAGE_MAX)?;
    let (name, value) = (
        request.text("attributeName")?,
        request.text("attributeValue")?,
    );
    if value.is_some() && name.is_none() {
        return Err(ApiError::InvalidParameter(
            "attributeValue is there without attributeName, whose value it is; add that".to_owned(),
        ));
    }
    let is_wanted = |text: &Option<String>, is: &str| text.as_deref().is_none_or(|text| text == is);
    let mut found = BTreeMap::new();
    for (host, _, report) in view.board.hosts() {
        for (said, is) in of(view, host, report) {
            if is_wanted(&name, &said) && is_wanted(&value, &is) {
                found.insert(format!("{host}{said}"), attribute(view, host, &said, &is));
            }
        }
    }
    let cut = page.cut(Sort::Ascending, found.into_iter());
    Ok(listed("attributes", cut))
}

/// The host's own words, and what people put on it.
pub(crate) fn of(view: &View<'_>, host: HostId, report: &HostReport) -> BTreeMap<String, String> {
    let subject = Subject::Attributes(host);
    let put = view.board.tags(&subject);
    let put = put.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let said = report.attributes.iter().cloned();
    let zone = report.zone.as_deref();
    let zone = zone.map(|zone| (ZONE.to_owned(), zone.to_owned()));
    put.chain(said).chain(zone).collect()
}

const ZONE: &str = "ecs.availability-zone";

fn attribute(view: &View<'_>, host: HostId, name: &str, value: &str) -> Value {
    let mut attribute = json!({
        "name": name,
        "targetType": "container-instance",
        "targetId": view.context.host_arn(host),
    });
    if !value.is_empty() {
        attribute["value"] = json!(value);
    }
    attribute
}
