//! `/v1/keys`: which keys there are, who has them, and never what they are.

use super::board::{A, B, board, condemn, host, pretty, put, record, with_view};
use crate::api::keys::{changed, keys};
use expect_test::{expect, expect_file};
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, ClusterKey, Key, KeyInUse},
        keys::KeyReport,
    },
    command::Outcome,
    ids::{HostId, KeyId, Secret},
};
use serde_json::Value;

const OLD: KeyId = KeyId([1; 4]);
const NEW: KeyId = KeyId([2; 4]);
const LOST: KeyId = KeyId([3; 4]);
const SECRET: [u8; 32] = *b"nobody may ever read these bytes";

fn tell(board: &mut Board, id: HostId, name: &str, held: &[KeyId]) {
    let mut report = host(name, 1);
    report.keys = KeyReport {
        held: held.to_vec(),
        in_use: held.first().copied(),
    };
    let (incarnation, _) = board.host(id).unwrap();
    put(board, Key::Host(id), incarnation + 1, Body::Host(report));
}

fn install(board: &mut Board, key: KeyId) {
    let secret = Secret(SECRET);
    let body = Body::ClusterKey(ClusterKey { secret });
    put(board, Key::ClusterKey(key), 0, body);
}

fn listed(board: &Board) -> Value {
    with_view(board, keys)
}

#[test]
fn a_rotation_under_way_shows_who_lacks_the_new_key_and_who_seals_with_the_old_one() {
    let mut board = board();
    tell(&mut board, A, "alpha", &[NEW, OLD]);
    tell(&mut board, B, "beta", &[OLD]);
    install(&mut board, NEW);
    put(
        &mut board,
        Key::KeyInUse,
        0,
        Body::KeyInUse(KeyInUse { key: NEW }),
    );
    let shown = pretty(&listed(&board));
    expect_file!["snapshots/keys.json"].assert_eq(&shown);
    assert!(!shown.contains("nobody may ever"));
}

#[test]
fn what_only_a_host_that_is_down_lacks_is_told_apart() {
    let mut board = board();
    tell(&mut board, A, "alpha", &[NEW]);
    tell(&mut board, B, "beta", &[LOST]);
    condemn(&mut board, B);
    // The verdict is on the incarnation that it has by now.
    let verdict = board.record(&Key::Verdict(B)).unwrap().body.clone();
    put(&mut board, Key::Verdict(B), 2, verdict.unwrap());
    let told = listed(&board);
    assert_eq!(told["hostsUp"], 1);
    let of = |key: KeyId| {
        let keys = told["keys"].as_array().unwrap();
        let found = keys.iter().find(|told| told["id"] == key.to_string());
        found.unwrap().clone()
    };
    let (new, lost) = (of(NEW), of(LOST));
    assert_eq!(
        (&new["lacking"], &new["lackingDown"]),
        (&Value::Array(vec![]), &Value::from(vec!["beta"]))
    );
    // A host that is down counts neither among those that have a key nor among those that seal.
    assert_eq!(
        (&lost["hosts"], &lost["sealing"]),
        (&Value::from(0), &Value::Array(vec![]))
    );
}

#[test]
fn a_removed_key_is_shown_as_long_as_somebody_has_it() {
    let mut board = board();
    tell(&mut board, A, "alpha", &[NEW, OLD]);
    tell(&mut board, B, "beta", &[NEW]);
    board.merge(&record(Key::ClusterKey(OLD), 1, None));
    let told = listed(&board);
    assert_eq!(told["keys"][0]["id"], OLD.to_string());
    assert_eq!(told["keys"][0]["removed"], true);
    tell(&mut board, A, "alpha", &[NEW]);
    let told = listed(&board);
    assert_eq!(told["keys"].as_array().unwrap().len(), 1, "{told}");
}

#[test]
fn without_keys_there_is_nothing_to_list() {
    expect![[r#"
        {
          "hostsUp": 2,
          "keys": []
        }"#]]
    .assert_eq(&pretty(&listed(&board())));
}

#[test]
fn a_change_is_told_by_the_keys_id_alone() {
    let told: Vec<String> = [
        Outcome::KeyInstalled(NEW),
        Outcome::KeyPutToUse(NEW),
        Outcome::KeyRemoved(OLD),
    ]
    .iter()
    .map(|outcome| changed(outcome).to_string())
    .collect();
    assert_eq!(
        told,
        [
            r#"{"id":"02020202","status":"installed"}"#,
            r#"{"id":"02020202","status":"in use"}"#,
            r#"{"id":"01010101","status":"removed"}"#,
        ]
    );
}
