//! What is taken and refused for services, and how things are referred to.

use super::transcript;
use crate::spec::{
    parse_create_service, parse_update_service,
    service::{DefinitionRef, ServiceRef, cluster_name},
};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

fn check_create(json: Value, expected: Expect) {
    expected.assert_eq(&transcript(parse_create_service(&json)));
}

fn check_update(json: Value, expected: Expect) {
    expected.assert_eq(&transcript(parse_update_service(&json)));
}

#[test]
fn a_service_is_created_from_a_name_a_definition_and_a_count() {
    check_create(
        json!({
            "serviceName": "web",
            "taskDefinition": "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:3",
            "desiredCount": 2,
            "cluster": "arn:aws:ecs:eu-west-1:123456789012:cluster/lab",
            "clientToken": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
            "schedulingStrategy": "REPLICA",
            "launchType": "EXTERNAL",
            "enableECSManagedTags": false,
            "loadBalancers": [],
        }),
        expect![[r#"
            CreateService {
                service_name: "web",
                definition: DefinitionRef {
                    family: "web",
                    revision: Some(
                        3,
                    ),
                },
                desired_count: 2,
                cluster: Some(
                    "lab",
                ),
                client_token: Some(
                    "7d444840-9dc0-11d1-b245-5ffdce74fad2",
                ),
                options: ServiceOptions {
                    replace_after: Down,
                    partition: Fill,
                    rebalance: true,
                    hand_over: StartFirst,
                    health_grace_s: 0,
                },
            }
        "#]],
    );
}

#[test]
fn a_service_is_not_created_from_less_or_from_more() {
    check_create(
        json!({}),
        expect![[r#"
            serviceName is missing; it must be 1 to 255 letters, digits, hyphens or
                underscores
            taskDefinition is missing; it must be a family, family:revision or the ARN
                of a task definition
            desiredCount is missing; it must be the number of tasks to keep running
        "#]],
    );
    check_create(
        json!([]),
        expect![[r#"
            the request must be an object, but is a list
        "#]],
    );
    check_create(
        json!({
            "serviceName": "web/1",
            "taskDefinition": "web:latest",
            "desiredCount": 5001,
            "cluster": "",
            "clientToken": "a b",
            "schedulingStrategy": "DAEMON",
            "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s-1"]}},
            "desiredCuont": 3,
            "runningCount": 3,
        }),
        expect![[r#"
            serviceName is "web/1", but must be 1 to 255 letters, digits, hyphens or
                underscores
            taskDefinition is "web:latest", but must be a family, family:revision or the
                ARN of a task definition
            desiredCount is 5001, but must be from 0 to 5000 tasks
            cluster is "", but must be a cluster's name or its ARN
            clientToken is "a b", but must be 1 to 36 printable ASCII characters without
                spaces
            schedulingStrategy is "DAEMON", which Holdfast does not serve yet; it must
                be "REPLICA": desiredCount tasks, wherever there is room
            launchType is "FARGATE", which Holdfast does not serve yet; it must be "EC2"
                or "EXTERNAL": tasks run on your own hosts
            desiredCuont is not an ECS field; did you mean desiredCount?
            networkConfiguration is an ECS field that Holdfast does not serve yet;
                remove it to send this request
            runningCount is part of ECS's answers, not of its requests; remove it
        "#]],
    );
}

#[test]
fn a_service_is_updated_in_what_is_given() {
    check_update(
        json!({"service": "web"}),
        expect![[r#"
            UpdateService {
                service: "web",
                renew: false,
                options: OptionsChange {
                },
            }
        "#]],
    );
    check_update(
        json!({
            "service": "arn:aws:ecs:eu-west-1:123456789012:service/lab/web",
            "desiredCount": 0,
            "taskDefinition": "web:4",
            "forceNewDeployment": true,
            "healthCheckGracePeriodSeconds": 30,
        }),
        expect![[r#"
            UpdateService {
                service: "web",
                desired_count: Some(
                    0,
                ),
                definition: Some(
                    DefinitionRef {
                        family: "web",
                        revision: Some(
                            4,
                        ),
                    },
                ),
                renew: true,
                options: OptionsChange {
                    health_grace_s: Some(
                        30,
                    ),
                },
                cluster: Some(
                    "lab",
                ),
            }
        "#]],
    );
}

#[test]
fn an_update_that_makes_no_sense_is_refused() {
    check_update(
        json!({
            "service": "arn:aws:ecs:eu-west-1:123456789012:service/lab/web",
            "cluster": "prod",
        }),
        expect![[r#"
            service names the cluster "lab", but cluster is "prod"; make them agree
        "#]],
    );
    check_update(
        json!({"desiredCount": "3", "forceNewDeployment": 1, "taskDefinition": 1,
               "healthCheckGracePeriodSeconds": -1}),
        expect![[r#"
            service is missing; it must be a service's name or its ARN
            desiredCount must be a whole number, but is a string
            taskDefinition must be a string, but is a number
            forceNewDeployment must be true or false, but is a number
            healthCheckGracePeriodSeconds is -1, but must be from 0 to 2147483647
                seconds
        "#]],
    );
}

#[test]
fn definitions_are_referred_to_in_each_form_and_in_no_other() {
    let read = |text: &str| match text.parse::<DefinitionRef>() {
        Ok(reference) => format!("{text} -> {reference}\n"),
        Err(err) => format!("{}\n", err.got),
    };
    let texts = [
        "web",
        "web:7",
        "arn:aws:ecs:eu-west-1:1:task-definition/web:7",
        "arn:aws-cn:ecs:::task-definition/web",
        "web:",
        "web:0",
        "web:07",
        "web:+7",
        "web:4294967296",
        "web:7:8",
        ":7",
        "arn:aws:ecs:eu-west-1:1:service/web",
        "arn:aws:s3:eu-west-1:1:task-definition/web:7",
    ];
    let transcript: String = texts.into_iter().map(read).collect();
    expect![[r#"
        web -> web
        web:7 -> web:7
        arn:aws:ecs:eu-west-1:1:task-definition/web:7 -> web:7
        arn:aws-cn:ecs:::task-definition/web -> web
        web:
        web:0
        web:07
        web:+7
        web:4294967296
        web:7:8
        :7
        arn:aws:ecs:eu-west-1:1:service/web
        arn:aws:s3:eu-west-1:1:task-definition/web:7
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn services_and_clusters_are_referred_to_by_name_or_arn() {
    let read = |text: &str| match text.parse::<ServiceRef>() {
        Ok(ServiceRef { name, cluster }) => format!("{text} -> {name} in {cluster:?}\n"),
        Err(err) => format!("{err}\n"),
    };
    let texts = [
        "web",
        "arn:aws:ecs:eu-west-1:1:service/web",
        "arn:aws:ecs:eu-west-1:1:service/lab/web",
        "lab/web",
        "arn:aws:ecs:eu-west-1:1:service/lab/web/1",
        "arn:aws:ecs:eu-west-1:1:service//web",
    ];
    let services: String = texts.into_iter().map(read).collect();
    expect![[r#"
        web -> web in None
        arn:aws:ecs:eu-west-1:1:service/web -> web in None
        arn:aws:ecs:eu-west-1:1:service/lab/web -> web in Some("lab")
        lab/web -> web in Some("lab")
        "arn:aws:ecs:eu-west-1:1:service/lab/web/1" must be a service's name or its ARN
        "arn:aws:ecs:eu-west-1:1:service//web" must be a service's name or its ARN
    "#]]
    .assert_eq(&services);

    let texts = ["lab", "arn:aws:ecs:r:1:cluster/lab", "cluster/lab"];
    let clusters: String = texts.map(|text| transcript(cluster_name(text))).concat();
    expect![[r#"
        "lab"
        "lab"
        "cluster/lab" must be a cluster's name or its ARN
    "#]]
    .assert_eq(&clusters);
}

#[test]
fn what_is_said_of_deployments_must_be_what_is_so() {
    let service = |configuration: Value| {
        json!({"service": "web", "deploymentConfiguration": configuration,
            "deploymentController": {"type": "ECS"}, "propagateTags": "NONE"})
    };
    // What Terraform says unasked.
    let said = json!({
        "maximumPercent": 200, "minimumHealthyPercent": 100, "strategy": "ROLLING",
        "bakeTimeInMinutes": 0, "deploymentCircuitBreaker": {"enable": false, "rollback": false},
        "alarms": {"alarmNames": [], "enable": false, "rollback": false}, "lifecycleHooks": [],
    });
    assert!(parse_update_service(&service(said)).is_ok());
    let other = json!({
        "maximumPercent": 150, "minimumHealthyPercent": "half", "strategy": "BLUE_GREEN",
        "bakeTimeInMinutes": 5, "deploymentCircuitBreaker": {"enable": true, "rolback": false},
        "canaryConfiguration": {"canaryPercent": 5}, "speed": 1,
    });
    check_update(
        service(other),
        expect![[r#"
        deploymentConfiguration.strategy is "BLUE_GREEN", which Holdfast does not
            serve yet; it must be "ROLLING"
        deploymentConfiguration.maximumPercent is "150", but must be 200: each new
            task is started beside the one that it takes over from
        deploymentConfiguration.minimumHealthyPercent is "\"half\"", but must be
            100: no task is stopped before its successor is healthy
        deploymentConfiguration.bakeTimeInMinutes is "5", but must be 0: a task that
            was taken over from is stopped at once
        deploymentConfiguration.deploymentCircuitBreaker.enable is an ECS field that
            Holdfast does not serve yet; remove it to send this request
        deploymentConfiguration.deploymentCircuitBreaker.rolback is not an ECS
            field; did you mean rollback?
        deploymentConfiguration.canaryConfiguration is an ECS field that Holdfast
            does not serve yet; remove it to send this request
        deploymentConfiguration.speed is not an ECS field; remove it
    "#]],
    );
    check_update(
        json!({"service": "web", "deploymentConfiguration": 1, "propagateTags": "SERVICE",
            "deploymentController": {"type": "CODE_DEPLOY", "kind": "x"}}),
        expect![[r#"
            propagateTags is "SERVICE", which Holdfast does not serve yet; it must be
                "NONE"
            deploymentController.type is "CODE_DEPLOY", which Holdfast does not serve
                yet; it must be "ECS"
            deploymentController.kind is not an ECS field; remove it
            deploymentConfiguration must be an object, but is a number
        "#]],
    );
}
