//! The operations on tags: of services, runs and tasks, task definitions, clusters and hosts.

use super::{
    Plan, definitions,
    error::ApiError,
    hosts,
    request::Request,
    services::{find_active, no_such},
    tasks::meant,
    view::View,
};
use holdfast_core::{
    cluster::{
        board::Service,
        body::TaskReport,
        tag::{Subject, Tagging},
    },
    command::{Command, ServiceChange},
    ids::TaskId,
    limits,
    spec::{
        ecs_fields,
        options::{HAND_OVER_TAG, PARTITION_TAG, REPLACE_AFTER_TAG, ServiceOptions},
        service::{DefinitionRef, arn_resource, cluster_name},
        tags::{TagChange, TagMeaning, parse_tag_resource, parse_untag_resource},
    },
};
use serde_json::{Value, json};

const WANTED: &str = "the ARN of a service, a task, a task definition, a cluster or a container \
                      instance";

pub(crate) fn plan_tag(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let change = parse_tag_resource(body).map_err(ApiError::invalid)?;
    plan_change(view, change)
}

pub(crate) fn plan_untag(view: &View<'_>, body: &Value) -> Result<Plan, ApiError> {
    let change = parse_untag_resource(body).map_err(ApiError::invalid)?;
    plan_change(view, change)
}

fn plan_change(view: &View<'_>, change: TagChange) -> Result<Plan, ApiError> {
    let subject = subject(view, &change.resource)?;
    let tagging = Tagging {
        subject,
        set: change.tags.own,
        unset: change.unset,
    };
    check_room(view, &tagging)?;
    let options = change.tags.options;
    let command = match options.is_empty() {
        true => Command::Tag(vec![tagging]),
        false => Command::Tagged {
            command: Box::new(Command::UpdateService {
                service: service(view, &change.resource)?.settings.name.clone(),
                change: ServiceChange {
                    options,
                    ..ServiceChange::default()
                },
            }),
            set: tagging.set,
            unset: tagging.unset,
        },
    };
    Ok(Plan::prepared(command, json!({})))
}

/// Found out before anything is changed.
fn check_room(view: &View<'_>, tagging: &Tagging) -> Result<(), ApiError> {
    match view.board.has_room_for_tags(tagging) {
        true => Ok(()),
        false => Err(ApiError::LimitExceeded(format!(
            "too many tags: one thing has at most {}; take some away first",
            limits::TAGS_MAX
        ))),
    }
}

pub(crate) fn list(view: &View<'_>, body: &Value) -> Result<Value, ApiError> {
    let known = ecs_fields::LIST_TAGS_FOR_RESOURCE;
    let request = Request::read(body, known, known)?;
    let given = request.required("resourceArn", WANTED)?;
    let subject = subject(view, &given)?;
    let tags = match subject {
        Subject::Service(_) => tags(view, &service(view, &given)?),
        other => of(view, &other),
    };
    Ok(json!({"tags": tags}))
}

/// Tags that something gets.
pub(crate) const fn tagging(subject: Subject, set: Vec<(String, String)>) -> Tagging {
    Tagging {
        subject,
        set,
        unset: Vec::new(),
    }
}

/// With tags that something gets as it is made.
pub(crate) fn tagged(command: Command, set: Vec<(String, String)>) -> Command {
    match set.is_empty() {
        true => command,
        false => Command::Tagged {
            command: Box::new(command),
            set,
            unset: Vec::new(),
        },
    }
}

/// What an ARN names, if it is there.
fn subject(view: &View<'_>, given: &str) -> Result<Subject, ApiError> {
    let not_found = |what: &str| {
        let shown: String = given.chars().take(300).collect();
        ApiError::NotFound(format!(
            "resourceArn: there is no {what} {shown:?}; tags are of {WANTED}"
        ))
    };
    if TagMeaning::of(given) == TagMeaning::OptionsOfService {
        return Ok(Subject::Service(service(view, given)?.id));
    }
    if arn_resource(given, "task-definition").is_some() {
        let reference: DefinitionRef = given.parse().map_err(|_| not_found("task definition"))?;
        let found = view.board.resolve(&reference);
        let found = found.filter(|_| reference.revision.is_some());
        let found = found.ok_or_else(|| not_found("task definition"))?;
        return Ok(definitions::subject(&found));
    }
    if arn_resource(given, "cluster").is_some() {
        let name = cluster_name(given).map_err(|_| not_found("cluster"))?;
        let is_there = name == view.context.cluster || view.board.has_cluster(&name);
        return is_there
            .then_some(Subject::Cluster(name))
            .ok_or_else(|| not_found("cluster"));
    }
    if arn_resource(given, "container-instance").is_some() {
        return match hosts::find(view, given) {
            Ok(host) => Ok(Subject::Host(host)),
            Err(_) => Err(not_found("container instance")),
        };
    }
    let task = meant(view, given)?.ok_or_else(|| not_found("resource"))?;
    match view.board.task(task) {
        Some((_, report)) => Ok(subject_of(view, task, report)),
        None if view.board.run_of_task(task).is_some() => Ok(Subject::Task(task)),
        None => Err(not_found("resource")),
    }
}

fn service<'v>(view: &'v View<'_>, given: &str) -> Result<Service<'v>, ApiError> {
    let name = view.context.service_name(given);
    find_active(view, &name.ok_or_else(|| no_such(view, given))?)
}

/// As ECS tells tags.
pub(crate) fn of(view: &View<'_>, subject: &Subject) -> Vec<Value> {
    let tags = view.board.tags(subject);
    tags.map(told).collect()
}

fn told((key, value): (&str, &str)) -> Value {
    json!({"key": key, "value": value})
}

pub(crate) fn of_task(view: &View<'_>, task: TaskId, report: &TaskReport) -> Vec<Value> {
    of(view, &subject_of(view, task, report))
}

/// Of a run's task, what was promised first: whatever is begun in its place has its tags.
fn subject_of(view: &View<'_>, task: TaskId, report: &TaskReport) -> Subject {
    let first = report.slot.as_ref().and_then(|slot| {
        let run = view.board.run(slot.service)?;
        run.tasks.get(usize::try_from(slot.index).ok()?).copied()
    });
    Subject::Task(first.unwrap_or(task))
}

/// The tags of a service: of options, what was left as it is by default has none.
pub(crate) fn tags(view: &View<'_>, service: &Service<'_>) -> Vec<Value> {
    let (options, usual) = (service.settings.options, ServiceOptions::default());
    let mut tags = Vec::new();
    let mut add = |key: &str, value: String| tags.push(told((key, &value)));
    if options.partition != usual.partition {
        add(PARTITION_TAG, options.partition.to_string());
    }
    if options.replace_after != usual.replace_after {
        add(REPLACE_AFTER_TAG, options.replace_after.to_string());
    }
    if options.hand_over != usual.hand_over {
        add(HAND_OVER_TAG, options.hand_over.to_string());
    }
    tags.extend(of(view, &Subject::Service(service.id)));
    tags
}
