//! Runs as meant: the valid form of ECS's `RunTask` input, and how a run's tasks are held.

use super::{
    SpecErrors, ecs_fields,
    error::{Faults, SpecError, shown},
    parse::parse_task_definition,
    read::{Fields, NAME, Range, RefError, Rule, TEXT},
    service::{CLIENT_TOKEN, DEFINITION_WANTED, DefinitionRef, LAUNCH_TYPE, cluster_name},
    tags::{Reserved, each_tag, parsed},
    task_definition::TaskDefinition,
};
use crate::limits;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{fmt, str::FromStr};

/// "Run so many tasks of this once."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTask {
    pub definition: DefinitionRef,
    pub count: u32,
    /// The cluster's name, also where its ARN was given; the agent's own where absent.
    pub cluster: Option<String>,
    /// The same token twice means the same request twice.
    pub client_token: Option<String>,
    /// ECS's `group`; the family's where absent.
    pub group: Option<String>,
    pub started_by: Option<String>,
    pub overrides: Option<Overrides>,
    pub options: RunOptions,
    /// But for those that stand for options.
    pub tags: Vec<(String, String)>,
}

/// What of its definition a run changes: ECS's `overrides`, checked field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrides(Value);

/// How the tasks of a run are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOptions {
    /// How often a task that failed is begun again.
    pub retries: u32,
    /// Seconds that a task may run; without end where absent.
    pub timeout_s: Option<u32>,
    pub on_lost: OnLost,
    /// Nothing is kept of the run for longer than whoever waits for it needs.
    pub remove: bool,
}

/// What becomes of a task whose host is lost before it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnLost {
    /// It is said to be lost, and begun nowhere else: it may run on unseen. As ECS does.
    #[default]
    Report,
    /// It is begun on another host; it may then have run twice.
    Rerun,
}

/// The tags that stand for options which ECS has no word for.
pub const RETRIES_TAG: &str = "holdfast:retries";
pub const TIMEOUT_TAG: &str = "holdfast:timeout";
pub const ON_LOST_TAG: &str = "holdfast:on-lost";
pub const REMOVE_TAG: &str = "holdfast:remove";

const RESERVED: Reserved = Reserved {
    served: &[RETRIES_TAG, TIMEOUT_TAG, ON_LOST_TAG, REMOVE_TAG],
    wanted: "\"holdfast:retries\", \"holdfast:timeout\", \"holdfast:on-lost\" or \
             \"holdfast:remove\", or begin with neither of \"holdfast:\" and \"aws:\"",
};

const COUNT: Range = Range {
    min: 1,
    max: limits::RUN_COUNT_MAX as i64,
    unit: " tasks",
};

const RETRIES_WANTED: &str = "a number from 0 to 100";
const TIMEOUT_WANTED: &str = "a time from 1s to 168h such as \"90s\", \"15m\" or \"2h\"";
const ON_LOST_WANTED: &str = "\"report\" or \"rerun\"";
const REMOVE_WANTED: &str = "\"true\" or \"false\"";

const GROUP: Rule = Rule {
    wanted: "1 to 255 printable characters, not beginning with \"service:\"",
    holds: |text| {
        let printable = text.chars().all(|c| !c.is_control());
        (1..=255).contains(&text.len()) && printable && !text.starts_with("service:")
    },
};

const STARTED_BY: Rule = Rule {
    wanted: "1 to 128 printable ASCII characters without spaces",
    holds: |text| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()),
};

pub fn parse_run_task(json: &Value) -> Result<RunTask, SpecErrors> {
    let fields = Fields::of_request(json)?;
    let mut faults = Faults::default();
    let count = faults.keep(fields.number("count", &COUNT));
    let client_token = faults.keep(fields.text("clientToken", &CLIENT_TOKEN));
    faults.keep(fields.choice("launchType", &LAUNCH_TYPE));
    let wanted = wanted(&fields, &mut faults);
    let own = ["count", "clientToken", "launchType"];
    fields.check(
        &[&own[..], &SERVED_BY_BOTH].concat(),
        ecs_fields::RUN_TASK,
        &mut faults,
    );
    faults.finish(())?;
    Ok(RunTask {
        count: count.unwrap_or(1),
        client_token,
        ..wanted.expect("a definition that was not read is a fault")
    })
}

/// ECS's `StartTask`: a task on each of these hosts, as they were given.
///
/// # Errors
/// Where a field cannot be.
pub fn parse_start_task(json: &Value) -> Result<(RunTask, Vec<String>), SpecErrors> {
    let fields = Fields::of_request(json)?;
    let mut faults = Faults::default();
    let hosts = faults.keep(fields.texts(HOSTS, &TEXT));
    let (got, max) = (hosts.len(), limits::START_TASK_HOSTS_MAX);
    let path = HOSTS.to_owned();
    match got {
        0 => faults.push(SpecError::Missing {
            path,
            wanted: "the ids, ARNs or names of 1 to 10 container instances",
        }),
        got if got > max => faults.push(SpecError::TooMany { path, got, max }),
        _ => {}
    }
    let wanted = wanted(&fields, &mut faults);
    fields.check(
        &[&[HOSTS][..], &SERVED_BY_BOTH].concat(),
        ecs_fields::START_TASK,
        &mut faults,
    );
    faults.finish(())?;
    Ok((
        wanted.expect("a definition that was not read is a fault"),
        hosts,
    ))
}

const HOSTS: &str = "containerInstances";

/// What `RunTask` and `StartTask` have in common.
const SERVED_BY_BOTH: [&str; 6] = [
    "taskDefinition",
    "cluster",
    "group",
    "startedBy",
    "overrides",
    "tags",
];

/// One task of it; `None` where the definition was not read.
fn wanted(fields: &Fields<'_>, faults: &mut Faults) -> Option<RunTask> {
    let definition = fields.reference("taskDefinition", DefinitionRef::from_str);
    let definition = fields.required("taskDefinition", DEFINITION_WANTED, definition);
    let definition = faults.keep(definition.map(Some));
    let cluster = faults.keep(fields.reference("cluster", cluster_name));
    let group = faults.keep(fields.text("group", &GROUP));
    let started_by = faults.keep(fields.text("startedBy", &STARTED_BY));
    let overrides = overrides(fields, faults);
    let mut options = RunOptions::default();
    let tags = each_tag(fields, &RESERVED, faults, |tag, path| {
        set(&mut options, tag, path)
    });
    Some(RunTask {
        definition: definition?,
        count: 1,
        cluster,
        client_token: None,
        group,
        started_by,
        overrides,
        options,
        tags,
    })
}

fn set(
    options: &mut RunOptions,
    (key, value): (&str, &str),
    path: String,
) -> Result<(), SpecError> {
    match key {
        RETRIES_TAG => options.retries = parsed::<Retries>(value, path)?.0,
        TIMEOUT_TAG => options.timeout_s = Some(parsed::<Timeout>(value, path)?.0),
        ON_LOST_TAG => options.on_lost = parsed(value, path)?,
        REMOVE_TAG => options.remove = parsed::<Remove>(value, path)?.0,
        other => unreachable!("{other} is none of the keys that are served"),
    }
    Ok(())
}

/// Served: what each field of [`ecs_fields::TASK_OVERRIDE`] means is that of the definition.
fn overrides(request: &Fields<'_>, faults: &mut Faults) -> Option<Overrides> {
    let fields = faults.keep(request.object("overrides"))?;
    fields.check(
        &["containerOverrides", "cpu", "memory"],
        ecs_fields::TASK_OVERRIDE,
        faults,
    );
    for container in fields.objects("containerOverrides", faults) {
        faults.keep(container.required_text("name", &NAME));
        container.check(
            &[
                "name",
                "command",
                "environment",
                "cpu",
                "memory",
                "memoryReservation",
                "resourceRequirements",
            ],
            ecs_fields::CONTAINER_OVERRIDE,
            faults,
        );
        for variable in container.objects("environment", faults) {
            faults.keep(variable.required_text("name", &TEXT));
        }
    }
    let given = request.get("overrides").filter(|_| !fields.is_empty())?;
    let (got, max) = (given.to_string().len(), limits::OVERRIDES_BYTES_MAX);
    if got > max {
        faults.push(SpecError::TooLarge { got, max });
    }
    Some(Overrides(given.clone()))
}

impl Overrides {
    /// As it was given, for whoever asks what was run.
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }

    /// The definition as a run with these overrides has it. Each field means what it means in a
    /// definition, and is checked as such; variables are added to those that are there.
    pub fn of(&self, definition: &TaskDefinition) -> Result<TaskDefinition, SpecErrors> {
        let mut json = definition.to_ecs_json();
        for name in ["cpu", "memory"] {
            if let Some(value) = self.0.get(name).filter(|value| !value.is_null()) {
                json[name] = value.clone();
            }
        }
        let none = Vec::new();
        let overrides = self.0["containerOverrides"].as_array().unwrap_or(&none);
        for (index, given) in overrides.iter().enumerate() {
            let containers = json["containerDefinitions"].as_array_mut();
            let container = containers.and_then(|all| {
                let mut all = all.iter_mut();
                all.find(|container| container["name"] == given["name"])
            });
            let Some(container) = container else {
                return Err(SpecError::Malformed {
                    path: format!("overrides.containerOverrides[{index}].name"),
                    got: shown(given["name"].as_str().unwrap_or_default()),
                    wanted: "the name of a container of the task definition",
                }
                .into());
            };
            override_container(container, given);
        }
        parse_task_definition(&json)
    }
}

fn override_container(container: &mut Value, given: &Value) {
    let fields = [
        "command",
        "cpu",
        "memory",
        "memoryReservation",
        "resourceRequirements",
    ];
    for name in fields {
        if let Some(value) = given.get(name).filter(|value| !value.is_null()) {
            container[name] = value.clone();
        }
    }
    let added = given["environment"].as_array().cloned().unwrap_or_default();
    if added.is_empty() {
        return;
    }
    let known = container["environment"].as_array().cloned();
    let is_replaced = |known: &Value| added.iter().any(|added| added["name"] == known["name"]);
    let mut all: Vec<Value> = known.unwrap_or_default();
    all.retain(|known| !is_replaced(known));
    all.extend(added);
    container["environment"] = json!(all);
}

impl FromStr for OnLost {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        match text {
            "report" => Ok(Self::Report),
            "rerun" => Ok(Self::Rerun),
            _ => Err(not(text, ON_LOST_WANTED)),
        }
    }
}

impl fmt::Display for OnLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Report => "report",
            Self::Rerun => "rerun",
        })
    }
}

struct Retries(u32);

impl FromStr for Retries {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        let number = text.parse().ok();
        let number = number.filter(|number| *number <= limits::RUN_RETRIES_MAX);
        number.map(Self).ok_or_else(|| not(text, RETRIES_WANTED))
    }
}

/// Seconds.
struct Timeout(u32);

impl FromStr for Timeout {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_s: Option<u32> = match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3_600),
            _ => None,
        };
        let number: Option<u32> = number.parse().ok();
        let seconds = number.zip(unit_s).and_then(|(n, unit)| n.checked_mul(unit));
        let seconds = seconds.filter(|s| (1..=limits::RUN_TIMEOUT_S_MAX).contains(s));
        seconds.map(Self).ok_or_else(|| not(text, TIMEOUT_WANTED))
    }
}

struct Remove(bool);

impl FromStr for Remove {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        let said = text.parse().map(Self);
        said.map_err(|_| not(text, REMOVE_WANTED))
    }
}

fn not(text: &str, wanted: &'static str) -> RefError {
    RefError {
        got: shown(text),
        wanted,
    }
}
