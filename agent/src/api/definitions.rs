//! The operations on task definitions.

use super::{
    Plan,
    error::ApiError,
    request::{PAGE_MAX, Request, Sort, listed},
    view::{View, seconds},
};
use holdfast_core::{
    command::Command,
    spec::{ecs_fields, parse_task_definition, read::Choice, service::DefinitionRef},
};
use serde_json::{Value, json};

const STATUS: Choice = Choice {
    served: &["ACTIVE", "INACTIVE", "DELETE_IN_PROGRESS"],
    refused: &[],
    wanted: "\"ACTIVE\", \"INACTIVE\" or \"DELETE_IN_PROGRESS\"",
};

const SORT: Choice = Choice {
    served: &["ASC", "DESC"],
    refused: &[],
    wanted: "\"ASC\" or \"DESC\"",
};

/// What a value of the environment is replaced by for whoever may not deploy.
pub(crate) const REDACTED: &str = "[redacted]";

pub(crate) fn plan_register(body: &Value) -> Result<Plan, ApiError> {
    let definition =
        parse_task_definition(body).map_err(|errors| ApiError::Client(errors.to_string()))?;
    Ok(Plan::Write {
        command: Command::RegisterTaskDefinition(definition),
        prepared: None,
    })
}

pub(crate) fn registered(view: &View<'_>, family: &str, revision: u32) -> Result<Value, ApiError> {
    described(
        view,
        &DefinitionRef {
            family: family.to_owned(),
            revision: Some(revision),
        },
    )
}

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DESCRIBE_TASK_DEFINITION;
    let request = Request::read(view.context, body, known, known)?;
    let wanted = "a family, family:revision or the ARN of a task definition";
    let reference = request.required("taskDefinition", wanted)?;
    let reference: DefinitionRef = reference
        .parse()
        .map_err(|err| ApiError::Client(format!("taskDefinition {err}")))?;
    described(view, &reference)
}

pub(crate) fn described(view: &View<'_>, reference: &DefinitionRef) -> Result<Value, ApiError> {
    definition_json(view, reference)
        .map(|definition| json!({"taskDefinition": definition, "tags": []}))
        .ok_or_else(|| {
            ApiError::Client(format!(
                "Unable to describe task definition: there is no {reference}; `holdfast \
                 task-definition ls` lists them"
            ))
        })
}

fn definition_json(view: &View<'_>, reference: &DefinitionRef) -> Option<Value> {
    let found = view.board.resolve(reference)?;
    let label = view.board.label(&found.family, found.revision)?;
    let definition = view.board.definition(found.definition)?;
    let mut answer = definition.to_ecs_json();
    answer["taskDefinitionArn"] = json!(view.context.definition_arn(&found.family, found.revision));
    answer["family"] = json!(found.family);
    answer["revision"] = json!(found.revision);
    answer["status"] = json!("ACTIVE");
    answer["registeredAt"] = seconds(label.registered_at);
    answer["compatibilities"] = json!(["EXTERNAL", "EC2"]);
    answer["requiresAttributes"] = json!([]);
    answer["placementConstraints"] = json!([]);
    Some(answer)
}

/// Hides the environment's values, which often hold secrets, from whoever may not deploy; and what
/// programs for secrets are called with.
pub(crate) fn redact(answer: &mut Value) {
    let containers = answer
        .pointer_mut("/taskDefinition/containerDefinitions")
        .and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let environment = container
            .get_mut("environment")
            .and_then(Value::as_array_mut);
        for pair in environment.into_iter().flatten() {
            pair["value"] = json!(REDACTED);
        }
        let secrets = container.get_mut("secrets").and_then(Value::as_array_mut);
        for secret in secrets.into_iter().flatten() {
            let from = secret["valueFrom"].as_str().unwrap_or_default();
            if from.starts_with("command:") && from.contains(' ') {
                let program = from.split(' ').next().unwrap_or_default();
                secret["valueFrom"] = json!(format!("{program} {REDACTED}"));
            }
        }
    }
}

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::LIST_TASK_DEFINITIONS;
    let request = Request::read(view.context, body, known, known)?;
    // ECS's name for it misleads: it is the whole family.
    let family = request.text("familyPrefix")?;
    let page = request.page(PAGE_MAX)?;
    let active = request
        .choice("status", &STATUS)?
        .is_none_or(|s| s == "ACTIVE");
    let sort = match request.choice("sort", &SORT)? {
        Some("DESC") => Sort::Descending,
        _ => Sort::Ascending,
    };
    let wanted = |name: &str| active && family.as_ref().is_none_or(|family| family == name);
    let mut arns: Vec<_> = view
        .board
        .labels()
        .filter(|(family, ..)| wanted(family))
        .map(|(family, revision, _)| {
            let arn = json!(view.context.definition_arn(family, revision));
            (label_key(family, revision), arn)
        })
        .collect();
    // The board orders families as their encoding does, and people want the order of names.
    arns.sort_by(|(a, _), (b, _)| a.cmp(b));
    if sort == Sort::Descending {
        arns.reverse();
    }
    Ok(listed(
        "taskDefinitionArns",
        page.cut(sort, arns.into_iter()),
    ))
}

/// Sorts as family and revision do.
fn label_key(family: &str, revision: u32) -> String {
    format!("{family}\0{revision:010}")
}
