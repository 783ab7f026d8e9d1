//! `RunTask` as it is sent: what is read, what a run changes of its definition, what is refused.

use crate::spec::{
    parse_task_definition,
    run::{OnLost, RunOptions, parse_run_task},
};
use expect_test::expect;
use serde_json::{Value, json};

fn refused(request: &Value) -> String {
    parse_run_task(request)
        .expect_err("it is wrong")
        .to_string()
}

fn base() -> Value {
    json!({"family": "job", "containerDefinitions": [
        {"name": "main", "image": "job:1", "memory": 64, "command": ["a"],
         "environment": [{"name": "KEEP", "value": "1"}, {"name": "CHANGE", "value": "1"}]},
        {"name": "side", "image": "side:1", "memory": 32},
    ]})
}

/// The definition with these overrides, as far as it differs from the base.
fn overridden(overrides: &Value) -> Result<Value, String> {
    let request = json!({"taskDefinition": "job:2", "overrides": overrides});
    let run = parse_run_task(&request).map_err(|err| err.to_string())?;
    let base = parse_task_definition(&base()).expect("it is a good definition");
    let overrides = run.overrides.expect("there are some");
    let changed = overrides.of(&base).map_err(|err| err.to_string())?;
    Ok(changed.to_ecs_json())
}

#[test]
fn what_is_said_is_read_and_what_is_not_said_is_as_in_ecs() {
    let run = parse_run_task(&json!({"taskDefinition": "job"})).expect("it is enough");
    assert_eq!((run.count, run.options), (1, RunOptions::default()));
    assert_eq!(
        (run.group, run.started_by, run.overrides),
        (None, None, None)
    );
    let run = parse_run_task(&json!({
        "taskDefinition": "arn:aws:ecs:eu-central-1:000000000000:task-definition/job:2",
        "count": 3, "group": "nightly", "startedBy": "cron", "launchType": "EC2",
        "clientToken": "t1", "cluster": "shop",
        "tags": [
            {"key": "holdfast:retries", "value": "2"},
            {"key": "holdfast:timeout", "value": "15m"},
            {"key": "holdfast:on-lost", "value": "rerun"},
            {"key": "holdfast:remove", "value": "true"},
        ],
    }));
    let run = run.expect("it is good");
    assert_eq!(run.definition.to_string(), "job:2");
    let options = RunOptions {
        retries: 2,
        timeout_s: Some(900),
        on_lost: OnLost::Rerun,
        remove: true,
    };
    assert_eq!((run.count, run.options), (3, options));
}

#[test]
fn what_is_wrong_is_told_at_once_and_by_name() {
    let told = refused(&json!({
        "count": 101, "group": "service:web", "launchType": "FARGATE",
        "placementStrategy": [{"type": "random"}],
        "tags": [{"key": "holdfast:timeout", "value": "9d"},
            {"key": "holdfast:on-lost", "value": "no"},
            {"key": "holdfast:team", "value": "a"}],
    }));
    let wanted = [
        "taskDefinition is missing",
        "count is 101, but must be from 1 to 100 tasks",
        "group is \"service:web\", but must be",
        "tags[0].value is \"9d\", but must be a time from 1s to 168h",
        "tags[1].value is \"no\", but must be \"report\" or \"rerun\"",
        "tags[2].key is \"holdfast:team\", but must be \"holdfast:retries\"",
        "launchType is \"FARGATE\", which Holdfast does not serve yet",
        "placementStrategy is an ECS field that Holdfast does not serve yet",
    ];
    assert_eq!(told.lines().count(), wanted.len(), "{told}");
    for fault in wanted {
        assert!(told.contains(fault), "{fault}: {told}");
    }
    let told = refused(&json!({"taskDefinition": "job", "overrides": {
        "taskRoleArn": "arn:aws:iam::1:role/a",
        "containerOverrides": [{"ephemeral": 1}],
    }}));
    for fault in [
        "overrides.taskRoleArn is an ECS field that Holdfast does not serve yet",
        "overrides.containerOverrides[0].name is missing",
        "overrides.containerOverrides[0].ephemeral is not an ECS field",
    ] {
        assert!(told.contains(fault), "{fault}: {told}");
    }
}

#[test]
fn a_run_changes_what_it_says_and_is_checked_as_a_definition_is() {
    let changed = overridden(&json!({"memory": "256", "containerOverrides": [{
        "name": "main", "command": ["b", "c"], "memory": 128,
        "environment": [{"name": "CHANGE", "value": "2"}, {"name": "NEW", "value": "3"}],
    }]}));
    let changed = changed.expect("it is good");
    assert_eq!(changed["memory"], "256");
    let main = &changed["containerDefinitions"][0];
    assert_eq!(main["command"], json!(["b", "c"]));
    assert_eq!(main["memory"], 128);
    assert_eq!(
        main["environment"],
        json!([
            {"name": "CHANGE", "value": "2"},
            {"name": "KEEP", "value": "1"},
            {"name": "NEW", "value": "3"},
        ])
    );
    let side = parse_task_definition(&base())
        .expect("it is good")
        .to_ecs_json();
    assert_eq!(
        changed["containerDefinitions"][1],
        side["containerDefinitions"][1]
    );

    let wrong = |overrides: Value| overridden(&overrides).expect_err("it is wrong");
    let told = wrong(json!({"containerOverrides": [{"name": "other"}]}));
    let name = "overrides.containerOverrides[0].name is \"other\", but must be the name of";
    assert!(told.starts_with(name), "{told}");
    expect![
        "containerDefinitions[0].memory is more than the 96 MiB that the whole task has; make \
         memory agree"
    ]
    .assert_eq(&wrong(json!({"memory": "96", "containerOverrides": [
        {"name": "main", "memory": 128}]})));
}
