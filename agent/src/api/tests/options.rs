//! How services say that they are to be held, in ECS's API: tags, and the rebalancing of zones.

use super::board::{B, T0, WEB, board, bury_service, call, context};
use crate::api::Operation;
use expect_test::expect_file;
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key, ServiceSettings},
        record::{Record, Stamp, Version},
    },
    ids::HostId,
    spec::options::{HandOver, PartitionPolicy, ReplaceAfter, ServiceOptions},
    time::Wall,
};
use serde_json::{Value, json};

/// The service `web` with other options than the usual ones.
fn held() -> Board {
    let mut board = board();
    let settings = ServiceSettings {
        name: "web".to_owned(),
        created_at: T0,
        client_token: String::new(),
        options: ServiceOptions {
            replace_after: ReplaceAfter::Never,
            partition: PartitionPolicy::Hold,
            rebalance: false,
            hand_over: HandOver::StopFirst,
            health_grace_s: 30,
        },
    };
    // Epoch 0, as all settings of a service that lives; written later.
    bring(&mut board, settings);
    board
}

fn bring(board: &mut Board, settings: ServiceSettings) {
    let stamp = Stamp {
        wall: Wall(T0.0 + 1),
        counter: 0,
        author: B,
    };
    let version = Version { epoch: 0, stamp };
    let key = Key::ServiceSettings(WEB);
    board.merge(&Record::new(
        key,
        version,
        Some(Body::ServiceSettings(settings)),
    ));
}

fn arn() -> String {
    context().service_arn("web")
}

fn options_of(command: &str) -> String {
    let at = command
        .find("options")
        .unwrap_or_else(|| panic!("{command}"));
    let words: Vec<_> = command[at..].split_whitespace().collect();
    words
        .join(" ")
        .replace(", }", " }")
        .replace("( ", "(")
        .replace(", )", ")")
}

#[test]
fn services_are_held_as_tags_and_rebalancing_say_and_else_as_before() {
    let create = json!({
        "serviceName": "api", "taskDefinition": "web:1", "desiredCount": 2,
        "availabilityZoneRebalancing": "DISABLED",
        "tags": [
            {"key": "holdfast:replace-after", "value": "90s"},
            {"key": "holdfast:partition", "value": "hold"},
            {"key": "holdfast:hand-over", "value": "stop-first"},
        ],
    });
    let tag = json!({"key": "holdfast:partition", "value": "majority"});
    let told = [
        (Operation::CreateService, create),
        (
            Operation::TagResource,
            json!({"resourceArn": arn(), "tags": [tag]}),
        ),
        (
            Operation::UntagResource,
            json!({"resourceArn": arn(), "tagKeys": ["holdfast:replace-after"]}),
        ),
        (
            Operation::UpdateService,
            json!({"service": "web", "availabilityZoneRebalancing": "ENABLED"}),
        ),
    ]
    .map(|(operation, body)| {
        let command = call(&board(), operation, &body);
        format!("{operation:?}\n    {}", options_of(&command))
    });
    expect_file!["snapshots/options.txt"].assert_eq(&told.join("\n"));
}

#[test]
fn tags_are_listed_and_described_where_they_say_anything() {
    let list = json!({"resourceArn": arn()});
    assert_eq!(
        call(&board(), Operation::ListTagsForResource, &list),
        "{\n  \"tags\": []\n}"
    );
    let listed = call(&held(), Operation::ListTagsForResource, &list);
    expect_file!["snapshots/tags.json"].assert_eq(&listed);
    let described = |include: Value| -> Value {
        let body = json!({"services": ["web"], "include": include});
        let answer = call(&held(), Operation::DescribeServices, &body);
        serde_json::from_str(&answer).unwrap_or_else(|err| panic!("{err}: {answer}"))
    };
    let service = &described(json!(["TAGS"]))["services"][0];
    assert_eq!(
        service["tags"].as_array().map(Vec::len),
        Some(3),
        "{service}"
    );
    assert_eq!(service["availabilityZoneRebalancing"], "DISABLED");
    assert_eq!(service["healthCheckGracePeriodSeconds"], 30);
}

#[test]
fn what_no_tag_can_say_is_refused_with_what_it_could() {
    let tag = |key: &str, value: &str| {
        let tag = json!({"key": key, "value": value});
        json!({"resourceArn": arn(), "tags": [tag]})
    };
    let refusals = [
        (Operation::TagResource, tag("holdfast:partition", "half")),
        (Operation::TagResource, tag("holdfast:replace-after", "1ms")),
        (
            Operation::TagResource,
            tag("holdfast:replace-after", "soon"),
        ),
        (Operation::TagResource, tag("holdfast:team", "shop")),
        (Operation::TagResource, tag("AWS:team", "shop")),
        (Operation::TagResource, tag("team?", "shop")),
        (Operation::TagResource, tag("team", "shop!")),
        (Operation::TagResource, json!({"tags": []})),
        (
            Operation::TagResource,
            json!({"resourceArn": arn(), "tags": "holdfast:partition"}),
        ),
        (
            Operation::TagResource,
            json!({"resourceArn": arn(), "tags": [{"key": "holdfast:partition"}]}),
        ),
        (
            Operation::UntagResource,
            json!({"resourceArn": arn(), "tagKeys": ["holdfast:team"]}),
        ),
        (
            Operation::ListTagsForResource,
            json!({"resourceArn": context().service_arn("none")}),
        ),
        (
            Operation::ListTagsForResource,
            json!({"resourceArn": context().host_arn(HostId(1))}),
        ),
        (Operation::ListTagsForResource, json!({"resourceArn": ""})),
        (
            Operation::UpdateService,
            json!({"service": "web", "availabilityZoneRebalancing": "SOMETIMES"}),
        ),
    ];
    let told = refusals.map(|(operation, body)| call(&board(), operation, &body));
    expect_file!["snapshots/tag_refusals.txt"].assert_eq(&told.join(
        "
",
    ));
}

#[test]
fn a_deleted_service_has_no_tags_to_change() {
    let mut board = board();
    bury_service(&mut board);
    let body = json!({"resourceArn": arn(), "tagKeys": ["holdfast:partition"]});
    let refused = call(&board, Operation::UntagResource, &body);
    assert!(
        refused.starts_with("ServiceNotActiveException: "),
        "{refused}"
    );
}
