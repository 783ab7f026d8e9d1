//! The operations of ECS.

use super::board::{
    A, B, T0, WEB, board, bury_service, call, context, digest, equip, error_text, pretty, put,
    record, revision, task, task_id, with_view,
};
use crate::api::{Operation, TARGET, answer, definitions, error::ApiError};
use expect_test::{ExpectFile, expect, expect_file};
use holdfast_core::{
    cluster::body::{
        Availability, Body, Directive, Key, Label, LabelStanding, ServiceCount, ServiceRevision,
        ServiceSettings, StopOrder,
    },
    command::{Outcome, Refusal},
    event::HostStanding,
    ids::{Digest, ServiceId},
    spec::options::ServiceOptions,
    task::status::{StopCode, TaskStatus},
    time::Wall,
};
use serde_json::{Value, json};

fn check(operation: Operation, body: Value, expected: ExpectFile) {
    expected.assert_eq(&call(&board(), operation, &body));
}

fn value(operation: Operation, body: &Value) -> Value {
    serde_json::from_str(&call(&board(), operation, body)).unwrap()
}

#[test]
fn a_service_is_described_as_ecs_does() {
    check(
        Operation::DescribeServices,
        json!({"services": ["web", "arn:aws:ecs:us-east-1:1:service/shop/shy",
            "arn:aws:ecs:eu-central-1:000000000000:service/other/web"]}),
        expect_file!["snapshots/service.json"],
    );
}

#[test]
fn tasks_are_described_as_ecs_does() {
    check(
        Operation::DescribeTasks,
        json!({"tasks": [task_id(1).to_string(), task_id(9).to_string()]}),
        expect_file!["snapshots/tasks.json"],
    );
}

#[test]
fn a_task_that_stopped_says_why() {
    let mut board = board();
    let mut stopped = task(0, TaskStatus::Stopped);
    stopped.stop_code = Some(StopCode::EssentialContainerExited);
    stopped.stopped_reason = "Essential container in task exited".into();
    stopped.stopped_at = Some(Wall(T0.0 + 9_000));
    stopped.containers[0].exit_code = Some(137);
    stopped.containers[0].reason = "OutOfMemoryError: killed".into();
    put(&mut board, Key::Task(A, task_id(1)), 2, Body::Task(stopped));
    let body = json!({"tasks": [context().task_arn(task_id(1))]});
    let answer = call(&board, Operation::DescribeTasks, &body);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let task = &answer["tasks"][0];
    let shown = json!({
        "desiredStatus": task["desiredStatus"], "lastStatus": task["lastStatus"],
        "stopCode": task["stopCode"], "stoppedReason": task["stoppedReason"],
        "stoppedAt": task["stoppedAt"], "exitCode": task["containers"][0]["exitCode"],
        "reason": task["containers"][0]["reason"],
    });
    expect![[r#"
        {
          "desiredStatus": "STOPPED",
          "exitCode": 137,
          "lastStatus": "STOPPED",
          "reason": "OutOfMemoryError: killed",
          "stopCode": "EssentialContainerExited",
          "stoppedAt": 1795392009.5,
          "stoppedReason": "Essential container in task exited"
        }"#]]
    .assert_eq(&pretty(&shown));
    let list = |status: &str| {
        let body = json!({"desiredStatus": status});
        let answer = call(&board, Operation::ListTasks, &body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["taskArns"].as_array().unwrap().len()
    };
    assert_eq!(
        (list("RUNNING"), list("STOPPED"), list("PENDING")),
        (1, 1, 0)
    );
}

#[test]
fn a_duplicate_that_truly_runs_is_counted() {
    let mut board = board();
    put(
        &mut board,
        Key::Task(B, task_id(7)),
        1,
        Body::Task(task(0, TaskStatus::Running)),
    );
    let answer = call(
        &board,
        Operation::DescribeServices,
        &json!({"services": ["web"]}),
    );
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["services"][0]["runningCount"], json!(2));
}

#[test]
fn a_rolling_update_shows_two_deployments_until_the_old_tasks_are_gone() {
    let mut board = board();
    let newer = ServiceRevision {
        definition: Digest([7; 32]),
        revision: 2,
        renewals: 0,
        ..revision()
    };
    put(
        &mut board,
        Key::ServiceRevision(WEB),
        0,
        Body::ServiceRevision(newer.clone()),
    );
    // The stamp decides, so the later one is written a moment later.
    let key = Key::ServiceRevision(WEB);
    put(&mut board, key, 1, Body::ServiceRevision(newer));
    let answer = call(
        &board,
        Operation::DescribeServices,
        &json!({"services": ["web"]}),
    );
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let shown: Vec<_> = answer["services"][0]["deployments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            format!(
                "{} {} desired {} running {} pending {}",
                d["status"],
                d["taskDefinition"],
                d["desiredCount"],
                d["runningCount"],
                d["pendingCount"]
            )
        })
        .collect();
    expect_file!["snapshots/rolling_update.txt"].assert_eq(&shown.join("\n"));
}

#[test]
fn a_deleted_service_is_draining_then_inactive_for_as_long_as_its_tasks_are_remembered() {
    let mut board = board();
    bury_service(&mut board);
    let status = |board: &_| {
        let answer = call(
            board,
            Operation::DescribeServices,
            &json!({"services": ["web"]}),
        );
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let service = &answer["services"][0];
        format!("{} {}", service["status"], service["runningCount"])
    };
    assert_eq!(status(&board), "\"DRAINING\" 1");
    for (host, id) in [(A, 1), (B, 2)] {
        let stopped = Body::Task(task(0, TaskStatus::Stopped));
        put(&mut board, Key::Task(host, task_id(id)), 2, stopped);
    }
    assert_eq!(status(&board), "\"INACTIVE\" 0");
    expect_file!["snapshots/gone.txt"].assert_eq(&call(
        &board,
        Operation::UpdateService,
        &json!({"service": "web", "desiredCount": 2}),
    ));
    let listed = call(&board, Operation::ListServices, &json!({}));
    assert_eq!(
        serde_json::from_str::<Value>(&listed).unwrap(),
        json!({"serviceArns": []})
    );
}

#[test]
fn hosts_are_described_as_container_instances() {
    check(
        Operation::DescribeContainerInstances,
        json!({"containerInstances": [A.to_string()]}),
        expect_file!["snapshots/container_instances.json"],
    );
    check(
        Operation::ListContainerInstances,
        json!({"maxResults": 1}),
        expect_file!["snapshots/container_instances_2.json"],
    );
}

#[test]
fn gpus_are_told_by_their_ids_as_those_of_ecs() {
    let mut board = board();
    equip(&mut board);
    let read = |operation, body: &Value| -> Value {
        serde_json::from_str(&call(&board, operation, body)).unwrap()
    };
    let hosts = json!({"containerInstances": [A.to_string()]});
    let hosts = read(Operation::DescribeContainerInstances, &hosts);
    let gpus = |ids: &[&str]| json!({"name": "GPU", "type": "STRINGSET", "stringSetValue": ids});
    let host = &hosts["containerInstances"][0];
    assert_eq!(host["registeredResources"][2], gpus(&["GPU-a", "GPU-b"]));
    assert_eq!(host["remainingResources"][2], gpus(&["GPU-b"]));
    let tasks = json!({"tasks": [task_id(1).to_string()]});
    let tasks = read(Operation::DescribeTasks, &tasks);
    assert_eq!(
        tasks["tasks"][0]["containers"][0]["gpuIds"],
        json!(["GPU-a"])
    );
}

#[test]
fn hosts_are_drained_by_id_arn_or_name_and_those_that_are_not_there_are_named() {
    let arn = context().host_arn(B);
    let hosts = json!(["alpha", arn, A.to_string(), "gamma", "ffffffff"]);
    check(
        Operation::UpdateContainerInstancesState,
        json!({"containerInstances": hosts, "status": "DRAINING"}),
        expect_file!["snapshots/drain.txt"],
    );
    let nobody = json!({"containerInstances": ["gamma"], "status": "ACTIVE"});
    expect![[r#"
        {
          "containerInstances": [],
          "failures": [
            {
              "arn": "gamma",
              "reason": "MISSING"
            }
          ]
        }"#]]
    .assert_eq(&call(
        &board(),
        Operation::UpdateContainerInstancesState,
        &nobody,
    ));
}

#[test]
fn a_drained_host_is_draining_wherever_it_is_shown() {
    let mut board = board();
    let drain = Directive {
        availability: Availability::Drain,
    };
    put(&mut board, Key::Directive(B), 0, Body::Directive(drain));
    let listed = |status: &str| {
        let body = json!({"status": status});
        let answer = call(&board, Operation::ListContainerInstances, &body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["containerInstanceArns"].clone()
    };
    assert_eq!(listed("DRAINING"), json!([context().host_arn(B)]));
    assert_eq!(listed("ACTIVE"), json!([context().host_arn(A)]));
    let body = json!({"containerInstances": [B.to_string()]});
    let described = call(&board, Operation::DescribeContainerInstances, &body);
    let described: Value = serde_json::from_str(&described).unwrap();
    let host = &described["containerInstances"][0];
    assert_eq!(host["status"], json!("DRAINING"));
    assert_eq!(host["agentConnected"], json!(true));
    let standing = with_view(&board, |view| view.standing_of(B));
    assert_eq!(standing, HostStanding::Draining);
}

#[test]
fn a_host_is_deregistered_by_id_arn_or_name() {
    check(
        Operation::DeregisterContainerInstance,
        json!({"containerInstance": "beta", "force": true}),
        expect_file!["snapshots/deregister.txt"],
    );
}

#[test]
fn a_definition_is_described_by_family_revision_or_arn() {
    let arn = context().definition_arn("web", 1);
    let by = |text: &str| {
        value(
            Operation::DescribeTaskDefinition,
            &json!({"taskDefinition": text}),
        )
    };
    assert_eq!(by("web"), by("web:1"));
    assert_eq!(by("web"), by(&arn));
    check(
        Operation::DescribeTaskDefinition,
        json!({"taskDefinition": "web"}),
        expect_file!["snapshots/task_definition.json"],
    );
    let missing = json!({"taskDefinition": "web:2"});
    expect_file!["snapshots/no_task_definition.txt"].assert_eq(&call(
        &board(),
        Operation::DescribeTaskDefinition,
        &missing,
    ));
    let mut hidden = by("web");
    definitions::redact(&mut hidden);
    let environment = hidden.pointer("/taskDefinition/containerDefinitions/0/environment");
    assert_eq!(
        environment,
        Some(&json!([{"name": "TOKEN", "value": "[redacted]"}]))
    );
}

#[test]
fn writes_become_commands() {
    let create = json!({"serviceName": "api", "taskDefinition": "web:1", "desiredCount": 2,
        "cluster": "shop", "clientToken": "t1"});
    check(
        Operation::CreateService,
        create,
        expect_file!["snapshots/create_service.txt"],
    );
    let update = json!({"service": context().service_arn("web"), "desiredCount": 5});
    check(
        Operation::UpdateService,
        update,
        expect_file!["snapshots/update_service.txt"],
    );
    let stop = json!({"task": task_id(1).to_string()});
    check(
        Operation::StopTask,
        stop,
        expect_file!["snapshots/stop_task.txt"],
    );
    let deleted = call(
        &board(),
        Operation::DeleteService,
        &json!({"service": "web"}),
    );
    assert!(deleted.starts_with("DeleteService {\n    service: \"web\",\n    force: false,\n}"));
    assert!(deleted.contains("\"status\": \"DRAINING\""));
}

#[test]
fn what_cannot_be_done_is_refused_with_what_to_do_instead() {
    let errors = [
        (Operation::ListTasks, json!({"cluster": "other"})),
        (Operation::ListTasks, json!({"daemonName": "x", "taskz": 1})),
        (Operation::ListTasks, json!({"nextToken": "abc"})),
        (Operation::ListTasks, json!({"maxResults": 101})),
        (
            Operation::ListContainerInstances,
            json!({"filter": "agentConnected==true"}),
        ),
        (Operation::DescribeTasks, json!({"tasks": ["nonsense"]})),
        (Operation::DescribeServices, json!({"services": []})),
        (Operation::DescribeServices, json!([])),
        (
            Operation::UpdateService,
            json!({"service": "shy", "desiredCount": 1}),
        ),
        (Operation::DeleteService, json!({"service": "shy"})),
        (
            Operation::CreateService,
            json!({"serviceName": "x", "taskDefinition": "web",
            "desiredCount": 1, "launchType": "FARGATE"}),
        ),
        (Operation::RegisterTaskDefinition, json!({"family": "x"})),
        (
            Operation::StopTask,
            json!({"task": "arn:aws:ecs:r:1:task/other/00"}),
        ),
        (
            Operation::UpdateContainerInstancesState,
            json!({"containerInstances": ["alpha"]}),
        ),
        (
            Operation::UpdateContainerInstancesState,
            json!({"containerInstances": ["alpha"], "status": "INACTIVE"}),
        ),
        (
            Operation::DeregisterContainerInstance,
            json!({"containerInstance": "gamma"}),
        ),
    ];
    let told: Vec<_> = errors
        .iter()
        .map(|(operation, body)| {
            format!(
                "{}: {}",
                operation.as_str(),
                call(&board(), *operation, body)
            )
        })
        .collect();
    expect_file!["snapshots/refusals.txt"].assert_eq(&told.join("\n"));
    let unknown = Operation::of_target(&format!("{}.ExecuteCommand", TARGET)).unwrap_err();
    expect_file!["snapshots/refusals_2.txt"].assert_eq(&error_text(&unknown));
}

#[test]
fn refusals_of_the_core_have_ecs_types() {
    let refusals = [
        Refusal::NoSuchDefinition("web:9".to_owned()),
        Refusal::NoSuchService("web".to_owned()),
        Refusal::NoSuchTask(task_id(1)),
        Refusal::ServiceExists("web".to_owned()),
        Refusal::StillScaled {
            name: "web".to_owned(),
            desired: 3,
        },
        Refusal::Limit {
            what: "the number of services",
            max: 5_000,
        },
        Refusal::NotCaughtUp { seconds: 2 },
        Refusal::NoSuchHost(A),
        Refusal::HostIsUp {
            name: "alpha".to_owned(),
            tasks: 3,
        },
        Refusal::ForgetsItself,
        Refusal::LastHost { tasks: 3 },
    ];
    let kinds: Vec<_> = refusals
        .into_iter()
        .map(|refusal| ApiError::from(refusal).kind())
        .collect();
    expect![[r#"
        ClientException
        ServiceNotFoundException
        InvalidParameterException
        InvalidParameterException
        InvalidParameterException
        LimitExceededException
        ServerException
        InvalidParameterException
        InvalidParameterException
        InvalidParameterException
        InvalidParameterException"#]]
    .assert_eq(&kinds.join("\n"));
}

#[test]
fn lists_go_on_where_they_were_whatever_has_changed_in_between() {
    let mut board = board();
    for (number, name) in ["api", "blog", "cron"].into_iter().enumerate() {
        let id = ServiceId(number as u128);
        let settings = ServiceSettings {
            name: name.to_owned(),
            created_at: T0,
            client_token: String::new(),
            options: ServiceOptions::default(),
        };
        put(
            &mut board,
            Key::ServiceSettings(id),
            0,
            Body::ServiceSettings(settings),
        );
        let count = ServiceCount { desired: 0 };
        put(
            &mut board,
            Key::ServiceCount(id),
            0,
            Body::ServiceCount(count),
        );
        put(
            &mut board,
            Key::ServiceRevision(id),
            0,
            Body::ServiceRevision(revision()),
        );
    }
    let page = |board: &_, token: Option<&Value>| {
        let mut body = json!({"maxResults": 2});
        if let Some(token) = token {
            body["nextToken"] = token.clone();
        }
        let answer = call(board, Operation::ListServices, &body);
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    let arns = |names: &[&str]| -> Value {
        names
            .iter()
            .map(|name| context().service_arn(name))
            .collect::<Vec<_>>()
            .into()
    };
    let first = page(&board, None);
    assert_eq!(first["serviceArns"], arns(&["api", "blog"]));
    board.merge(&record(Key::ServiceSettings(ServiceId(1)), 1, None));
    let second = page(&board, Some(&first["nextToken"]));
    assert_eq!(second["serviceArns"], arns(&["cron", "web"]));
    assert_eq!(second.get("nextToken"), None);
}

#[test]
fn definitions_are_listed_either_way_round() {
    let mut board = board();
    for (family, revision) in [("web", 2), ("web", 10), ("a", 1)] {
        let label = Label {
            definition: digest(),
            registered_at: T0,
            standing: LabelStanding::Active,
        };
        let key = Key::Label {
            family: family.to_owned(),
            revision,
        };
        put(&mut board, key, 0, Body::Label(label));
    }
    let list = |body: &Value| {
        let answer = call(&board, Operation::ListTaskDefinitions, body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let arns = answer["taskDefinitionArns"].as_array().unwrap().clone();
        let names: Vec<_> = arns
            .iter()
            .map(|arn| arn.as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect();
        names.join(" ")
    };
    assert_eq!(list(&json!({})), "a:1 web:1 web:2 web:10");
    assert_eq!(
        list(&json!({"sort": "DESC", "familyPrefix": "web"})),
        "web:10 web:2 web:1"
    );
    assert_eq!(list(&json!({"status": "INACTIVE"})), "");
}

#[test]
fn a_stop_order_counts_before_the_host_has_seen_it() {
    let mut board = board();
    let order = StopOrder {
        reason: "it leaks".to_owned(),
    };
    put(
        &mut board,
        Key::StopOrder(task_id(1)),
        0,
        Body::StopOrder(order),
    );
    with_view(&board, |view| {
        let told = answer(view, &Outcome::StopOrdered(task_id(1))).unwrap();
        let task = &told["task"];
        expect![[r#""RUNNING" "STOPPED" "UserInitiated" "it leaks""#]].assert_eq(&format!(
            "{} {} {} {}",
            task["lastStatus"], task["desiredStatus"], task["stopCode"], task["stoppedReason"]
        ));
    });
}
