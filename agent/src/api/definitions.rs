//! The operations on task definitions.

use super::{
    Plan,
    error::ApiError,
    request::{PAGE_MAX, Request, Sort, listed},
    tags::{self, tagged},
    view::{View, seconds},
};
use holdfast_core::{
    cluster::{
        body::{Label, LabelStanding, ServiceRevision},
        tag::Subject,
    },
    command::{Command, NotRetired},
    event::HostStanding,
    ids::HostId,
    rng::{hash_bytes, mix},
    spec::{
        ecs_fields, parse_task_definition, read::Choice, service::DefinitionRef, tags::parse_tags,
    },
};
use serde_json::{Value, json};
use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

const STATUS: Choice = Choice {
    served: &["ACTIVE", "INACTIVE", "DELETE_IN_PROGRESS"],
    refused: &[],
    wanted: "\"ACTIVE\", \"INACTIVE\" or \"DELETE_IN_PROGRESS\"",
};

const FAMILY_STATUS: Choice = Choice {
    served: &["ACTIVE", "INACTIVE", "ALL"],
    refused: &[],
    wanted: "\"ACTIVE\", \"INACTIVE\" or \"ALL\"",
};

/// As in ECS, in one call.
const DELETED_MAX: usize = 10;

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
    let tags = parse_tags(body).map_err(|errors| ApiError::Client(errors.to_string()))?;
    Ok(Plan::write(tagged(
        Command::RegisterTaskDefinition(definition),
        tags,
    )))
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

pub(crate) fn plan_deregister(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let known = ecs_fields::DEREGISTER_TASK_DEFINITION;
    let request = Request::read(body, known, known)?;
    let wanted = "the family:revision or the ARN of a task definition";
    let given = request.required("taskDefinition", wanted)?;
    let reference = reference("taskDefinition", &given)?;
    described(view, &reference)?;
    Ok(retire(vec![reference], false))
}

pub(crate) fn plan_delete(body: &Value) -> Result<Plan, ApiError> {
    let known = ecs_fields::DELETE_TASK_DEFINITIONS;
    let request = Request::read(body, known, known)?;
    let wanted = "the family:revision or ARN of 1 to 10 task definitions";
    let given = request.texts("taskDefinitions", wanted, DELETED_MAX)?;
    let references = given.iter().map(|one| reference("taskDefinitions", one));
    Ok(retire(references.collect::<Result<_, _>>()?, true))
}

fn retire(definitions: Vec<DefinitionRef>, delete: bool) -> Plan {
    Plan::write(Command::RetireDefinitions {
        definitions,
        delete,
    })
}

/// With its revision, as nobody means the latest one by chance here.
fn reference(field: &str, given: &str) -> Result<DefinitionRef, ApiError> {
    let read: Result<DefinitionRef, _> = given.parse();
    let read = read.map_err(|err| ApiError::Client(format!("{field} {err}")))?;
    match read.revision {
        Some(_) => Ok(read),
        None => Err(ApiError::InvalidParameter(format!(
            "{field} is {:?}, but must be family:revision or an ARN: a revision is needed",
            given.chars().take(300).collect::<String>()
        ))),
    }
}

/// The host that gives a family its numbers, where that is not this one: of those that are up and
/// know the board the one that ranks highest for the family (rendezvous hashing, as for keepers).
pub(crate) fn home_of(view: &View<'_>, family: &str) -> Option<(HostId, SocketAddr)> {
    let name = hash_bytes(family.as_bytes());
    let hosts = view.board.hosts();
    let able = hosts.filter(|(host, _, report)| {
        report.caught_up && view.standing_of(*host) == HostStanding::Up
    });
    let home = able.max_by_key(|(host, ..)| mix(name ^ mix(host.word())))?;
    (home.0 != view.me).then_some((home.0, home.2.address))
}

/// What `DeregisterTaskDefinition` and `DeleteTaskDefinitions` answer.
pub(crate) fn retired(
    view: &View<'_>,
    (definitions, failed): (&[DefinitionRef], &[(DefinitionRef, NotRetired)]),
    delete: bool,
) -> Result<Value, ApiError> {
    let arn = |one: &DefinitionRef| {
        let revision = one.revision.unwrap_or_default();
        view.context.definition_arn(&one.family, revision)
    };
    if !delete {
        return match definitions {
            [one] => Ok(json!({"taskDefinition": whole_json(view, one)})),
            _ => Err(ApiError::Client(
                "The specified task definition does not exist.".to_owned(),
            )),
        };
    }
    let told = |(one, why): &(DefinitionRef, NotRetired)| {
        let reason = match why {
            NotRetired::Unknown => {
                "The specified task definition does not exist. Specify a valid account, family, \
                 revision and try again."
            }
            NotRetired::Active => {
                "The specified task definition is still in ACTIVE status. Please deregister the \
                 target and try again."
            }
        };
        json!({"arn": arn(one), "reason": reason})
    };
    let definitions: Vec<_> = definitions
        .iter()
        .map(|one| whole_json(view, one))
        .collect();
    let failures: Vec<_> = failed.iter().map(told).collect();
    Ok(json!({"taskDefinitions": definitions, "failures": failures}))
}

pub(crate) fn describe(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::DESCRIBE_TASK_DEFINITION;
    let request = Request::read(body, known, known)?;
    let wanted = "a family, family:revision or the ARN of a task definition";
    let reference = request.required("taskDefinition", wanted)?;
    let reference: DefinitionRef = reference
        .parse()
        .map_err(|err| ApiError::Client(format!("taskDefinition {err}")))?;
    described(view, &reference)
}

pub(crate) fn described(view: &View<'_>, reference: &DefinitionRef) -> Result<Value, ApiError> {
    let found = view.board.resolve(reference).and_then(|found| {
        let label = view.board.label(&found.family, found.revision)?;
        let key = (found.family.as_str(), found.revision);
        let is_told = is_known(label) || view.board.revisions_in_use().any(|used| used == key);
        let definition = is_told.then(|| definition_json(view, &found, label))??;
        let tags = tags::of(view, &subject(&found));
        Some(json!({"taskDefinition": definition, "tags": tags}))
    });
    found.ok_or_else(|| {
        ApiError::NoSuchDefinition(format!(
            "Unable to describe task definition: there is no {reference}; `holdfast \
                 task-definition ls` lists them"
        ))
    })
}

/// What its tags are on.
pub(crate) const fn subject(found: &ServiceRevision) -> Subject {
    Subject::Definition(found.definition, found.revision)
}

/// Also of one that is not known any more.
fn whole_json(view: &View<'_>, reference: &DefinitionRef) -> Value {
    let found = view.board.resolve(reference).and_then(|found| {
        let label = view.board.label(&found.family, found.revision)?;
        definition_json(view, &found, label)
    });
    found.unwrap_or_default()
}

fn definition_json(view: &View<'_>, found: &ServiceRevision, label: &Label) -> Option<Value> {
    let definition = view.board.definition(found.definition)?;
    let mut answer = definition.to_ecs_json();
    answer["taskDefinitionArn"] = json!(view.context.definition_arn(&found.family, found.revision));
    answer["family"] = json!(found.family);
    answer["revision"] = json!(found.revision);
    answer["status"] = json!(status(label));
    answer["registeredAt"] = seconds(label.registered_at);
    if let LabelStanding::Inactive(at) | LabelStanding::Deleted(at) = label.standing {
        answer["deregisteredAt"] = seconds(at);
    }
    answer["compatibilities"] = json!(["EXTERNAL", "EC2"]);
    answer["requiresAttributes"] = json!([]);
    answer["placementConstraints"] = json!([]);
    Some(answer)
}

/// Also when nothing is made of it.
const fn is_known(label: &Label) -> bool {
    !matches!(label.standing, LabelStanding::Deleted(_))
}

/// Those of them that are told of: what was deleted, while something is made of it.
pub(crate) fn told<'v>(
    view: &'v View<'_>,
    labels: impl Iterator<Item = (&'v str, u32, &'v Label)>,
) -> impl Iterator<Item = (&'v str, u32, &'v Label)> {
    // Looked for once, and only where something was deleted.
    let used = LazyCell::new(|| view.board.revisions_in_use().collect::<BTreeSet<_>>());
    labels.filter(move |(name, revision, label)| {
        is_known(label) || used.contains(&(*name, *revision))
    })
}

/// In ECS's words.
pub(crate) const fn status(label: &Label) -> &'static str {
    match label.standing {
        LabelStanding::Active => "ACTIVE",
        LabelStanding::Inactive(_) => "INACTIVE",
        LabelStanding::Deleted(_) => "DELETE_IN_PROGRESS",
    }
}

/// Hides the environment's values, which often hold secrets, from whoever may not deploy; and what
/// programs for secrets are called with.
pub(crate) fn redact(answer: &mut Value) {
    let tasks = answer.get_mut("tasks").and_then(Value::as_array_mut);
    for task in tasks.into_iter().flatten() {
        let overridden = task.pointer_mut("/overrides/containerOverrides");
        for container in overridden
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            redact_environment(container);
        }
    }
    let containers = answer
        .pointer_mut("/taskDefinition/containerDefinitions")
        .and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        redact_environment(container);
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

fn redact_environment(container: &mut Value) {
    let environment = container.get_mut("environment");
    for pair in environment
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        pair["value"] = json!(REDACTED);
    }
}

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::LIST_TASK_DEFINITIONS;
    let request = Request::read(body, known, known)?;
    // ECS's name for it misleads: it is the whole family.
    let family = request.text("familyPrefix")?;
    let page = request.page(PAGE_MAX)?;
    let wanted_status = request.choice("status", &STATUS)?.unwrap_or("ACTIVE");
    let sort = match request.choice("sort", &SORT)? {
        Some("DESC") => Sort::Descending,
        _ => Sort::Ascending,
    };
    let wanted = |(name, _, label): &(&str, u32, &Label)| {
        family.as_ref().is_none_or(|family| family == name) && status(label) == wanted_status
    };
    let mut arns: Vec<_> = told(view, view.board.labels().filter(wanted))
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

pub(crate) fn list_families(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::LIST_TASK_DEFINITION_FAMILIES;
    let request = Request::read(body, known, known)?;
    let prefix = request.text("familyPrefix")?.unwrap_or_default();
    let page = request.page(PAGE_MAX)?;
    let status = request.choice("status", &FAMILY_STATUS)?;
    // Whether any of the family's revisions is active.
    let mut families = BTreeMap::new();
    for (family, _, label) in view.board.labels() {
        if family.starts_with(&prefix) && is_known(label) {
            *families.entry(family).or_insert(false) |= label.standing == LabelStanding::Active;
        }
    }
    let wanted = |active: bool| match status {
        Some("ALL") => true,
        Some("INACTIVE") => !active,
        _ => active,
    };
    let found = families.into_iter().filter(|(_, active)| wanted(*active));
    let found = found.map(|(family, _)| (family.to_owned(), json!(family)));
    Ok(listed("families", page.cut(Sort::Ascending, found)))
}

/// Sorts as family and revision do.
fn label_key(family: &str, revision: u32) -> String {
    format!("{family}\0{revision:010}")
}
