//! Service deployments and revisions, as ECS's operations on them tell.

use super::board::{
    A, B, NEWER, T0, WEB, board, bury_service, call, context, deploy_newer, digest, put, task,
    task_id,
};
use crate::api::{Operation, tasks::deployment_number};
use expect_test::{expect, expect_file};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key, Pins, ServiceCount},
    },
    ids::{Digest, ImageDigest},
    task::status::TaskStatus,
    time::Wall,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn image(byte: u8) -> ImageDigest {
    format!("sha256:{}", format!("{byte:02x}").repeat(32))
        .parse()
        .unwrap()
}

fn ask(board: &Board, operation: Operation, body: &Value) -> Value {
    serde_json::from_str(&call(board, operation, body)).unwrap()
}

fn number(definition: Digest) -> String {
    deployment_number(WEB, (definition, 0))
}

fn arn(definition: Digest) -> String {
    context().service_deployment_arn("web", &number(definition))
}

fn revision_arn(definition: Digest) -> String {
    context().service_revision_arn("web", &number(definition))
}

/// Moves from `web:1`, of which one task is left, to `web:2`, of which one runs.
fn rolling() -> Board {
    let mut board = board();
    deploy_newer(&mut board);
    let mut new = task(1, TaskStatus::Running);
    new.definition = NEWER;
    new.revision = 2;
    new.created_at = Wall(T0.0 + 5_000);
    new.started_at = Some(Wall(T0.0 + 6_000));
    put(&mut board, Key::Task(B, task_id(2)), 2, Body::Task(new));
    let mut old = task(0, TaskStatus::Running);
    old.containers[0].image = Some(image(1));
    put(&mut board, Key::Task(A, task_id(1)), 2, Body::Task(old));
    board
}

/// One task, and it runs.
fn done() -> Board {
    let mut board = board();
    let count = Body::ServiceCount(ServiceCount { desired: 1 });
    put(&mut board, Key::ServiceCount(WEB), 9, count);
    let over = Body::Task(task(1, TaskStatus::Stopped));
    put(&mut board, Key::Task(B, task_id(2)), 2, over);
    let pins = Pins {
        definition: digest(),
        renewals: 0,
        images: BTreeMap::from([("nginx".into(), image(2))]),
    };
    put(&mut board, Key::Pins(WEB), 0, Body::Pins(pins));
    board
}

#[test]
fn a_rolling_update_is_two_service_deployments() {
    let board = rolling();
    let list = call(
        &board,
        Operation::ListServiceDeployments,
        &json!({"service": "web"}),
    );
    let arns = json!({"serviceDeploymentArns": [arn(NEWER), arn(digest())]});
    let whole = call(&board, Operation::DescribeServiceDeployments, &arns);
    expect_file!["snapshots/service_deployments.json"].assert_eq(&[list, whole].join("\n"));
}

#[test]
fn what_is_complete_is_successful_and_says_since_when() {
    let list = |board: &Board| {
        let body = json!({"service": context().service_arn("web")});
        let answer = ask(board, Operation::ListServiceDeployments, &body);
        let all = answer["serviceDeployments"].as_array().unwrap().clone();
        let line = |one: &Value| format!("{} since {}", one["status"], one["finishedAt"]);
        all.iter().map(line).collect::<Vec<_>>().join("; ")
    };
    expect![[r#""SUCCESSFUL" since 1795392001.5"#]].assert_eq(&list(&done()));
    expect![[r#""IN_PROGRESS" since null"#]].assert_eq(&list(&board()));
}

#[test]
fn revisions_tell_the_bytes_of_their_images_where_those_are_known() {
    let told = [
        (rolling(), digest()),
        (done(), digest()),
        (board(), digest()),
    ];
    let told = told.map(|(board, definition)| {
        let body = json!({"serviceRevisionArns": [revision_arn(definition)]});
        ask(&board, Operation::DescribeServiceRevisions, &body)
    });
    let [of_a_task, pinned, unknown] = &told;
    let images = |told: &Value| told["serviceRevisions"][0]["containerImages"].clone();
    let nginx = |digest: Option<ImageDigest>| match digest {
        None => json!([{"containerName": "nginx", "image": "nginx:1.27"}]),
        Some(digest) => json!([{"containerName": "nginx", "image": "nginx:1.27",
            "imageDigest": digest.to_string()}]),
    };
    assert_eq!(images(of_a_task), nginx(Some(image(1))));
    assert_eq!(images(pinned), nginx(Some(image(2))));
    assert_eq!(images(unknown), nginx(None));
    let shown = serde_json::to_string_pretty(pinned).unwrap();
    expect_file!["snapshots/service_revision.json"].assert_eq(&shown);
}

#[test]
fn a_service_tells_its_current_deployment_and_revisions() {
    let answer = ask(
        &rolling(),
        Operation::DescribeServices,
        &json!({"services": ["web"]}),
    );
    let service = &answer["services"][0];
    assert_eq!(service["currentServiceDeployment"], arn(NEWER));
    let revisions = service["currentServiceRevisions"].as_array().unwrap();
    let arns: Vec<_> = revisions.iter().map(|one| &one["arn"]).collect();
    let (new, old) = (revision_arn(NEWER), revision_arn(digest()));
    assert_eq!(arns, [&json!(new), &json!(old)]);
}

#[test]
fn deployments_are_found_by_status_and_time_and_page_by_page() {
    let board = rolling();
    let list = |body: Value| {
        let answer = ask(&board, Operation::ListServiceDeployments, &body);
        let all = answer["serviceDeployments"].as_array().unwrap().clone();
        let statuses: Vec<_> = all.iter().map(|one| one["status"].to_string()).collect();
        (statuses.join(" "), answer["nextToken"].clone())
    };
    let (first, token) = list(json!({"service": "web", "maxResults": 1}));
    let (second, end) = list(json!({"service": "web", "nextToken": token}));
    let by = |status: &str| list(json!({"service": "web", "status": [status]})).0;
    let at = T0.0 as f64 / 1_000.0;
    let created = |span: Value| list(json!({"service": "web", "createdAt": span})).0;
    let shown = [
        first,
        second,
        by("STOPPED"),
        by("ROLLBACK_FAILED"),
        created(json!({"after": at})),
        created(json!({"before": at + 0.004})),
        created(json!({"after": at - 60.0, "before": at + 60.0})),
        created(json!({"before": 1})),
    ];
    assert_eq!(end, Value::Null);
    expect![[r#"
        "IN_PROGRESS"
        "STOPPED"
        "STOPPED"

        "IN_PROGRESS"
        "STOPPED"
        "IN_PROGRESS" "STOPPED"
    "#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn what_is_not_there_is_missing_and_what_is_not_understood_is_refused() {
    let mut board = board();
    let ask = |board: &Board, operation, body: Value| call(board, operation, &body);
    let elsewhere = arn(digest()).replace("/shop/", "/other/");
    let wrong_kind = revision_arn(digest());
    let arns = json!([arn(Digest([9; 32])), elsewhere, wrong_kind, "web", ""]);
    let many: Vec<_> = (0..21).map(|_| arn(digest())).collect();
    let (list, describe) = (
        Operation::ListServiceDeployments,
        Operation::DescribeServiceDeployments,
    );
    let span = json!({"after": "yesterday", "until": 3});
    let mut shown = vec![
        ask(&board, describe, json!({"serviceDeploymentArns": arns})),
        ask(&board, describe, json!({"serviceDeploymentArns": many})),
        ask(&board, describe, json!({})),
        ask(&board, list, json!({})),
        ask(&board, list, json!({"service": "shy"})),
        ask(&board, list, json!({"service": "web", "cluster": "other"})),
        ask(&board, list, json!({"service": "web", "status": ["DONE"]})),
        ask(&board, list, json!({"service": "web", "createdAt": span})),
        ask(
            &board,
            list,
            json!({"service": "web", "createdAt": {"before": -1}}),
        ),
    ];
    bury_service(&mut board);
    shown.push(ask(&board, list, json!({"service": "web"})));
    expect_file!["snapshots/service_deployments_refused.txt"].assert_eq(&shown.join("\n"));
}
