//! Task definitions that were taken back, as ECS's clients see them.

use super::board::{B, T0, board, call, condemn, digest, put, with_view};
use crate::api::{Operation, answer, definitions::home_of};
use expect_test::{expect, expect_file};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key, Label, LabelStanding},
    },
    command::{NotRetired, Outcome},
    spec::service::DefinitionRef,
};
use serde_json::{Value, json};

/// `web:1` is what a service is made of.
fn retired() -> Board {
    let mut board = board();
    let inactive = LabelStanding::Inactive(T0);
    let deleted = LabelStanding::Deleted(T0);
    for (family, revision, standing) in [
        ("web", 1, deleted),
        ("web", 2, deleted),
        ("web", 3, inactive),
        ("web", 4, LabelStanding::Active),
        ("job", 1, inactive),
        ("past", 1, deleted),
    ] {
        let label = Label {
            definition: digest(),
            registered_at: T0,
            standing,
        };
        let family = family.to_owned();
        put(
            &mut board,
            Key::Label { family, revision },
            1,
            Body::Label(label),
        );
    }
    board
}

fn names(answer: &str, list: &str) -> String {
    let answer: Value = serde_json::from_str(answer).expect("it is JSON");
    let names = answer[list].as_array().expect("it has the list").iter();
    let names = names.map(|name| name.as_str().expect("a text").rsplit('/').next());
    names.flatten().collect::<Vec<_>>().join(" ")
}

#[test]
fn lists_tell_what_is_left_and_what_goes() {
    let board = retired();
    let list = |body| {
        names(
            &call(&board, Operation::ListTaskDefinitions, &body),
            "taskDefinitionArns",
        )
    };
    let families = |body| {
        names(
            &call(&board, Operation::ListTaskDefinitionFamilies, &body),
            "families",
        )
    };
    let shown = [
        list(json!({})),
        list(json!({"status": "INACTIVE"})),
        list(json!({"status": "DELETE_IN_PROGRESS"})),
        families(json!({})),
        families(json!({"status": "INACTIVE"})),
        families(json!({"status": "ALL"})),
        families(json!({"status": "ALL", "familyPrefix": "j"})),
    ];
    expect![[r#"
        web:4
        job:1 web:3
        web:1
        web
        job
        job web
        job"#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn what_is_deleted_is_described_while_something_is_made_of_it() {
    let board = retired();
    let describe = |name: &str| {
        let body = json!({"taskDefinition": name});
        let told = call(&board, Operation::DescribeTaskDefinition, &body);
        let Ok(told) = serde_json::from_str::<Value>(&told) else {
            return told;
        };
        let told = &told["taskDefinition"];
        format!(
            "{} {} {}",
            told["revision"], told["status"], told["deregisteredAt"]
        )
    };
    let shown = ["web", "web:1", "web:2", "web:3", "job", "job:1", "past:1"].map(describe);
    expect_file!["snapshots/retired.txt"].assert_eq(&shown.join("\n"));
}

#[test]
fn who_takes_definitions_back_names_their_revisions() {
    let board = retired();
    let ask = |operation, body| call(&board, operation, &body);
    let shown = [
        ask(
            Operation::DeregisterTaskDefinition,
            json!({"taskDefinition": "web:4"}),
        ),
        ask(
            Operation::DeregisterTaskDefinition,
            json!({"taskDefinition": "web"}),
        ),
        ask(
            Operation::DeregisterTaskDefinition,
            json!({"taskDefinition": "web:9"}),
        ),
        ask(
            Operation::DeleteTaskDefinitions,
            json!({"taskDefinitions": ["web:3", "web:9"]}),
        ),
        ask(
            Operation::DeleteTaskDefinitions,
            json!({"taskDefinitions": []}),
        ),
        ask(
            Operation::DeleteTaskDefinitions,
            json!({"taskDefinitions": ["web"]}),
        ),
    ];
    expect_file!["snapshots/retire.txt"].assert_eq(&shown.join("\n"));
}

#[test]
fn what_was_taken_back_is_told_with_what_was_not() {
    let named = |revision| DefinitionRef {
        family: "web".to_owned(),
        revision: Some(revision),
    };
    let outcome = |delete| Outcome::Retired {
        definitions: vec![named(3)],
        failed: vec![
            (named(4), NotRetired::Active),
            (named(9), NotRetired::Unknown),
        ],
        delete,
    };
    with_view(&retired(), |view| {
        let one = answer(view, &outcome(false)).expect("it is there");
        let told = &one["taskDefinition"];
        assert_eq!(told["status"], "INACTIVE");
        let several = answer(view, &outcome(true)).expect("it is there");
        assert_eq!(several["taskDefinitions"], json!([told]));
        let failures = serde_json::to_string_pretty(&several["failures"]).expect("it is JSON");
        expect_file!["snapshots/retire_failures.json"].assert_eq(&failures);
    });
}

#[test]
fn a_family_is_at_home_with_one_host_in_the_eyes_of_all() {
    let mut board = board();
    let homes = |board: &Board| {
        let families = ["web", "api", "job", "front", "mail"];
        with_view(board, |view| families.map(|family| home_of(view, family)))
    };
    // Here they are known by those that are another host's.
    let others: Vec<_> = homes(&board).into_iter().flatten().collect();
    assert!(!others.is_empty() && others.len() < 5, "{others:?}");
    assert!(others.iter().all(|(host, _)| *host == B));
    condemn(&mut board, B);
    assert_eq!(homes(&board), [None; 5]);
}
