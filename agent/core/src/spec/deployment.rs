//! What ECS lets people say of deployments and Holdfast does in one way only: taken where it says
//! just that, since clients say it unasked, and refused otherwise.

use super::{
    ecs_fields,
    error::{Faults, SpecError, shown},
    read::{Choice, Fields},
};
use serde_json::{Value, json};

/// They are checked by [`check`].
pub(super) const FIELDS: [&str; 3] = [
    "deploymentConfiguration",
    "deploymentController",
    "propagateTags",
];

const CONTROLLER: Choice = Choice {
    served: &["ECS"],
    refused: &["CODE_DEPLOY", "EXTERNAL"],
    wanted: "\"ECS\"",
};

const PROPAGATE_TAGS: Choice = Choice {
    served: &["NONE"],
    refused: &["TASK_DEFINITION", "SERVICE"],
    wanted: "\"NONE\"",
};

const STRATEGY: Choice = Choice {
    served: &["ROLLING"],
    refused: &["BLUE_GREEN", "LINEAR", "CANARY"],
    wanted: "\"ROLLING\"",
};

/// What is said of the pace, and what it must be.
const PACE: [(&str, u32, &str); 3] = [
    (
        "maximumPercent",
        200,
        "200: each new task is started beside the one that it takes over from",
    ),
    (
        "minimumHealthyPercent",
        100,
        "100: no task is stopped before its successor is healthy",
    ),
    (
        "bakeTimeInMinutes",
        0,
        "0: a task that was taken over from is stopped at once",
    ),
];

/// Refuses what says anything else than is so.
pub(super) fn check(fields: &Fields<'_>, faults: &mut Faults) {
    faults.keep(fields.choice("propagateTags", &PROPAGATE_TAGS));
    if let Some(controller) = faults.keep(fields.object("deploymentController")) {
        faults.keep(controller.choice("type", &CONTROLLER));
        controller.check(&["type"], &["type"], faults);
    }
    let Some(configuration) = faults.keep(fields.object("deploymentConfiguration")) else {
        return;
    };
    faults.keep(configuration.choice("strategy", &STRATEGY));
    for (name, must, wanted) in PACE {
        if let Some(got) = configuration.get(name).filter(|got| **got != json!(must)) {
            faults.push(other(configuration.path(name), got, wanted));
        }
    }
    let switched = [
        ("deploymentCircuitBreaker", ecs_fields::CIRCUIT_BREAKER),
        ("alarms", ecs_fields::DEPLOYMENT_ALARMS),
    ];
    for (name, known) in switched {
        if let Some(switched) = faults.keep(configuration.object(name)) {
            switched.check(&[], known, faults);
        }
    }
    let mut served = vec!["strategy"];
    served.extend(PACE.map(|(name, ..)| name));
    served.extend(switched.map(|(name, _)| name));
    configuration.check(&served, ecs_fields::DEPLOYMENT_CONFIGURATION, faults);
}

fn other(path: String, got: &Value, wanted: &'static str) -> SpecError {
    let got = shown(&got.to_string());
    SpecError::Malformed { path, got, wanted }
}
