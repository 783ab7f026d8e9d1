//! Clusters: that of the agents, and those that people make over its hosts.

use super::board::{A, B, T0, board, call, context, put, revision, task, task_id, with_view};
use crate::api::{
    Operation,
    scope::{About, about},
};
use expect_test::{expect, expect_file};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Availability, Body, Directive, Key, ServiceCount, ServiceSettings},
        namespace::Namespace,
        record::{Record, Stamp, Version},
        tag::{Subject, Tag},
    },
    ids::ServiceId,
    spec::options::ServiceOptions,
    task::{runtime::SlotLabel, status::TaskStatus},
    time::Wall,
};
use serde_json::{Value, json};

pub(crate) const FRONT: ServiceId = ServiceId(0x57a9_0000_0000_0000_0000_0000_0000_0000);

/// With a cluster `staging`, and in it a service `web` and a task.
pub(crate) fn staged() -> Board {
    let mut board = board();
    let made = Body::Cluster(Namespace { created_at: T0 });
    put(&mut board, Key::Cluster("staging".to_owned()), 0, made);
    let settings = ServiceSettings {
        name: "staging/web".to_owned(),
        created_at: T0,
        client_token: String::new(),
        options: ServiceOptions::default(),
    };
    let records = [
        (Key::ServiceSettings(FRONT), Body::ServiceSettings(settings)),
        (
            Key::ServiceCount(FRONT),
            Body::ServiceCount(ServiceCount { desired: 1 }),
        ),
        (
            Key::ServiceRevision(FRONT),
            Body::ServiceRevision(revision()),
        ),
    ];
    for (key, body) in records {
        put(&mut board, key, 0, body);
    }
    let mut front = task(0, TaskStatus::Running);
    front.slot = Some(SlotLabel {
        service: FRONT,
        service_name: "staging/web".into(),
        index: 0,
        generation: 1,
    });
    put(&mut board, Key::Task(B, task_id(40)), 2, Body::Task(front));
    board
}

pub(crate) fn tag(board: &mut Board, subject: Subject, name: &str, value: &str) {
    let body = Body::Tag(Tag {
        value: value.to_owned(),
        over: None,
    });
    put(board, Key::Tag(subject, name.to_owned()), 0, body);
}

fn value(board: &Board, operation: Operation, body: &Value) -> Value {
    let told = call(board, operation, body);
    serde_json::from_str(&told).unwrap_or(Value::String(told))
}

#[test]
fn clusters_are_told_of_with_what_is_in_them() {
    let mut board = staged();
    tag(
        &mut board,
        Subject::Cluster("staging".to_owned()),
        "team",
        "red",
    );
    let ask = |operation, body| call(&board, operation, &body);
    let shown = [
        ask(Operation::ListClusters, json!({})),
        ask(Operation::ListClusters, json!({"maxResults": 1})),
        ask(Operation::DescribeClusters, json!({})),
        ask(
            Operation::DescribeClusters,
            json!({"clusters": ["nope", "staging"], "include": ["STATISTICS", "TAGS"]}),
        ),
        ask(Operation::CreateCluster, json!({})),
    ];
    expect_file!["snapshots/clusters.json"].assert_eq(&shown.join("\n"));
}

#[test]
fn what_cannot_be_done_with_a_cluster_is_refused() {
    let board = staged();
    let ask = |operation, body| call(&board, operation, &body);
    let refused = [
        ask(Operation::CreateCluster, json!({"clusterName": "run"})),
        ask(
            Operation::CreateCluster,
            json!({"clusterName": "a", "tags": [{"key": "aws:x", "value": "y"}]}),
        ),
        ask(
            Operation::CreateCluster,
            json!({"clusterName": "a", "settings": [
                {"name": "containerInsights", "value": "enabled"}]}),
        ),
        ask(
            Operation::CreateCluster,
            json!({"clusterName": "shop", "capacityProviders": ["FARGATE"]}),
        ),
        ask(Operation::DeleteCluster, json!({"cluster": "shop"})),
        ask(Operation::DeleteCluster, json!({"cluster": "other"})),
        ask(Operation::DeleteCluster, json!({})),
        ask(Operation::DescribeClusters, json!({"include": ["ALL"]})),
        ask(Operation::DescribeClusters, json!({"clusters": ["a b"]})),
    ];
    expect_file!["snapshots/cluster_refusals.txt"].assert_eq(&refused.join("\n"));
}

#[test]
fn a_cluster_is_made_with_its_tags_and_inactive_for_an_hour_after_its_end() {
    let mut board = staged();
    let made = call(
        &board,
        Operation::CreateCluster,
        &json!({"clusterName": "new", "tags": [{"key": "a", "value": "b"}]}),
    );
    expect![[r#"
        Tagged {
            command: MakeCluster(
                "new",
            ),
            set: [
                (
                    "a",
                    "b",
                ),
            ],
            unset: [],
        }"#]]
    .assert_eq(&made);
    let end = |wall| {
        let stamp = Stamp {
            wall,
            ..Stamp::default()
        };
        let version = Version { epoch: 9, stamp };
        Record::new(Key::Cluster("gone".to_owned()), version, None)
    };
    let told = |board: &Board| {
        let told = value(
            board,
            Operation::DescribeClusters,
            &json!({"clusters": ["gone"]}),
        );
        let (clusters, failures) = (&told["clusters"], &told["failures"]);
        format!("{} {}", clusters[0]["status"], failures[0]["reason"])
    };
    board.merge(&end(Wall(crate::gossip::now_wall_ms())));
    assert_eq!(told(&board), "\"INACTIVE\" null");
    board.remove(&end(Wall(0)));
    board.merge(&end(Wall(0)));
    assert_eq!(told(&board), "null \"MISSING\"");
}

#[test]
fn a_name_means_another_service_in_another_cluster() {
    let board = staged();
    let services = |given: &str, body: Value| {
        let told = value(&board, Operation::DescribeServices, &body);
        let one = |service: &Value| {
            let fields = ["serviceName", "clusterArn", "serviceArn", "desiredCount"];
            fields.map(|field| service[field].to_string()).join(" ")
        };
        let services = told["services"].as_array().cloned().unwrap_or_default();
        let services: Vec<_> = services.iter().map(one).collect();
        format!("{given}: {} {}", services.join(", "), told["failures"])
    };
    let arn = context().service_arn("staging/web");
    let told = [
        services("web", json!({"services": ["web"]})),
        services(
            "web of staging",
            json!({"services": ["web"], "cluster": "staging"}),
        ),
        services("staging/web", json!({"services": ["staging/web"]})),
        services("its ARN", json!({"services": [arn]})),
        services(
            "its ARN, of shop",
            json!({"services": [arn], "cluster": "shop"}),
        ),
        services("shop/web", json!({"services": ["shop/web"]})),
        call(
            &board,
            Operation::ListServices,
            &json!({"cluster": "staging"}),
        ),
        call(
            &board,
            Operation::UpdateService,
            &json!({"service": "staging/web", "desiredCount": 3}),
        ),
        call(
            &board,
            Operation::CreateService,
            &json!({"serviceName": "api", "cluster": "staging", "taskDefinition": "web",
                "desiredCount": 1, "tags": [{"key": "team", "value": "red"}]}),
        ),
        call(
            &board,
            Operation::CreateService,
            &json!({"serviceName": "api", "cluster": "other", "taskDefinition": "web",
                "desiredCount": 1}),
        ),
    ];
    expect_file!["snapshots/services_of_clusters.txt"].assert_eq(&told.join("\n"));
}

#[test]
fn a_task_is_of_one_cluster_and_missing_in_others() {
    let board = staged();
    let id = task_id(40).to_string();
    let describe = |body: Value| {
        let told = value(&board, Operation::DescribeTasks, &body);
        let (task, failure) = (&told["tasks"][0], &told["failures"][0]);
        let fields = ["taskArn", "clusterArn", "containerInstanceArn", "group"];
        let fields = fields.map(|field| task[field].to_string());
        format!("{} {}", fields.join(" "), failure["reason"])
    };
    let arn = |cluster: &str| format!("arn:aws:ecs:eu-central-1:000000000000:task/{cluster}/{id}");
    let told = [
        describe(json!({"tasks": [id]})),
        describe(json!({"tasks": [id], "cluster": "staging"})),
        describe(json!({"tasks": [id], "cluster": "shop"})),
        describe(json!({"tasks": [arn("staging")]})),
        describe(json!({"tasks": [arn("shop")]})),
        describe(json!({"tasks": [arn("nowhere")]})),
        call(&board, Operation::ListTasks, &json!({"cluster": "staging"})),
        call(
            &board,
            Operation::StopTask,
            &json!({"task": id, "cluster": "shop"}),
        ),
    ];
    expect_file!["snapshots/tasks_of_clusters.txt"].assert_eq(&told.join("\n"));
}

#[test]
fn a_task_is_started_where_somebody_wants_it() {
    let mut board = staged();
    let drained = Directive {
        availability: Availability::Drain,
    };
    put(&mut board, Key::Directive(B), 0, Body::Directive(drained));
    let body = json!({"taskDefinition": "web", "cluster": "staging",
        "containerInstances": ["alpha", B.to_string(), "gone"],
        "tags": [{"key": "team", "value": "red"}, {"key": "holdfast:retries", "value": "2"}]});
    let nowhere = json!({"taskDefinition": "web", "containerInstances": ["gone"]});
    let told = [
        call(&board, Operation::StartTask, &body),
        call(&board, Operation::StartTask, &nowhere),
        call(
            &board,
            Operation::StartTask,
            &json!({"taskDefinition": "web"}),
        ),
        call(
            &board,
            Operation::StartTask,
            &json!({"taskDefinition": "web", "containerInstances": [A.to_string()], "count": 2}),
        ),
    ];
    expect_file!["snapshots/start_task.txt"].assert_eq(&told.join("\n"));
}

#[test]
fn tags_of_all_that_has_some_are_told() {
    let mut board = staged();
    let found = with_view(&board, |view| view.board.resolve(&"web:1".parse().unwrap()));
    let found = found.expect("it is registered");
    let on = [
        Subject::Service(FRONT),
        Subject::Task(task_id(40)),
        Subject::Definition(found.definition, 1),
        Subject::Cluster("shop".to_owned()),
        Subject::Host(A),
    ];
    for subject in on {
        tag(&mut board, subject, "team", "red");
    }
    let context = context();
    let staging = context.of(Some("staging/web"));
    let arns = [
        context.service_arn("staging/web"),
        staging.task_arn(task_id(40)),
        context.definition_arn("web", 1),
        context.cluster_arn(),
        context.host_arn(A),
        context.definition_arn("web", 9),
        context.cluster_arn_of("nowhere"),
        "arn:aws:ecs:a:1:capacity-provider/x".to_owned(),
    ];
    let listed = arns.map(|arn| {
        let told = value(
            &board,
            Operation::ListTagsForResource,
            &json!({"resourceArn": arn}),
        );
        format!("{arn}: {told}")
    });
    expect_file!["snapshots/tags_of_all.txt"].assert_eq(&listed.join("\n"));
}

#[test]
fn attributes_are_told_and_changed() {
    let mut board = staged();
    tag(&mut board, Subject::Attributes(A), "rack", "7");
    let context = context();
    let put =
        |operation, attributes: Value| call(&board, operation, &json!({"attributes": attributes}));
    let told = [
        call(
            &board,
            Operation::ListAttributes,
            &json!({"targetType": "container-instance", "attributeName": "rack"}),
        ),
        call(
            &board,
            Operation::ListAttributes,
            &json!({"attributeName": "rack"}),
        ),
        put(
            Operation::PutAttributes,
            json!([{"name": "shelf", "value": "top", "targetId": "alpha"},
                {"name": "gpu", "targetId": context.host_arn(B)}]),
        ),
        put(
            Operation::DeleteAttributes,
            json!([{"name": "rack", "targetId": "alpha"}]),
        ),
        put(
            Operation::PutAttributes,
            json!([{"name": "a", "targetId": "gone"}]),
        ),
        put(
            Operation::PutAttributes,
            json!([{"name": "ecs.a", "targetId": "alpha"}]),
        ),
        put(
            Operation::PutAttributes,
            json!([{"name": "a b", "targetId": "alpha"}]),
        ),
        put(Operation::PutAttributes, json!([])),
    ];
    expect_file!["snapshots/attributes.txt"].assert_eq(&told.join("\n"));
}

#[test]
fn it_is_known_which_cluster_a_request_is_about() {
    let context = context();
    let of = |operation, body: Value| match about(&context, operation, &body) {
        About::Cluster(name) => name,
        other => format!("{other:?}"),
    };
    let tagged = |arn: &str| of(Operation::TagResource, json!({"resourceArn": arn}));
    let told = [
        of(Operation::CreateCluster, json!({"clusterName": "new"})),
        of(
            Operation::RunTask,
            json!({"cluster": context.cluster_arn_of("staging")}),
        ),
        of(Operation::RunTask, json!({})),
        of(Operation::PutAttributes, json!({"cluster": "staging"})),
        of(Operation::RegisterTaskDefinition, json!({})),
        tagged(&context.service_arn("staging/web")),
        tagged("staging/web"),
        tagged("web"),
        tagged(&context.cluster_arn_of("staging")),
        tagged(&context.definition_arn("web", 1)),
        tagged(&context.host_arn(A)),
    ];
    expect!["new staging shop Hosts Shared staging staging shop staging Shared Hosts"]
        .assert_eq(&told.join(" "));
}
