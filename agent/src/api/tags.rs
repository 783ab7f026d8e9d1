//! The operations on tags: of services only, and only those that stand for options.

use super::{
    Plan,
    error::ApiError,
    request::Request,
    services::{find_active, no_such},
    view::View,
};
use holdfast_core::{
    cluster::board::Service,
    command::{Command, ServiceChange},
    spec::{
        ecs_fields,
        options::{HAND_OVER_TAG, PARTITION_TAG, REPLACE_AFTER_TAG, ServiceOptions},
        tags::{TagChange, parse_tag_resource, parse_untag_resource},
    },
};
use serde_json::{Value, json};

pub(crate) fn plan_tag(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    plan_change(view, parse_tag_resource(body).map_err(ApiError::invalid)?)
}

pub(crate) fn plan_untag(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    plan_change(view, parse_untag_resource(body).map_err(ApiError::invalid)?)
}

fn plan_change(view: &View<'_>, change: TagChange) -> Result<Plan, ApiError> {
    let service = tagged(view, &change.resource)?;
    Ok(Plan::Write {
        command: Command::UpdateService {
            service: service.settings.name.clone(),
            change: ServiceChange {
                options: change.options,
                ..ServiceChange::default()
            },
        },
        prepared: Some(json!({})),
    })
}

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::LIST_TAGS_FOR_RESOURCE;
    let request = Request::read(view.context, body, known, known)?;
    let given = request.required("resourceArn", "a service's ARN")?;
    let service = tagged(view, &given)?;
    Ok(json!({"tags": tags(service.settings.options)}))
}

fn tagged<'v>(view: &'v View<'_>, given: &str) -> Result<Service<'v>, ApiError> {
    let name = view.context.service_name(given);
    find_active(view, name.ok_or_else(|| no_such(view, given))?)
}

/// The tags of a service: what was left as it is by default has none.
pub(crate) fn tags(options: ServiceOptions) -> Vec<Value> {
    let usual = ServiceOptions::default();
    let mut tags = Vec::new();
    let mut add = |key: &str, value: String| tags.push(json!({"key": key, "value": value}));
    if options.partition != usual.partition {
        add(PARTITION_TAG, options.partition.to_string());
    }
    if options.replace_after != usual.replace_after {
        add(REPLACE_AFTER_TAG, options.replace_after.to_string());
    }
    if options.hand_over != usual.hand_over {
        add(HAND_OVER_TAG, options.hand_over.to_string());
    }
    tags
}
