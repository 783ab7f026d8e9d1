//! `/v1/keys` over the socket: what is taken, what is refused, and that nothing repeats a key.

use super::*;
use crate::gossip::ClusterKey;
use holdfast_core::ids::KeyId;
use hyper::Method;

const KEY: KeyId = KeyId([0xab, 0xcd, 0xef, 0x01]);

/// As a core would that has room for everything but the last key's removal.
fn rotate(command: Command) -> Result<Outcome, Refusal> {
    match command {
        Command::InstallKey { key, .. } => Ok(Outcome::KeyInstalled(key)),
        Command::UseKey { key, force: true } => Ok(Outcome::KeyPutToUse(key)),
        Command::UseKey { key, force: false } => Err(Refusal::KeyLacking {
            key,
            hosts: "beta".to_owned(),
        }),
        Command::RemoveKey { key, force: true } => Ok(Outcome::KeyRemoved(key)),
        Command::RemoveKey { key, force: false } => Err(Refusal::OnlyKey(key)),
        other => unreachable!("{other:?}"),
    }
}

async fn ask(served: &Served, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path);
    told(&served.socket, request, Full::from(body.to_string())).await
}

#[tokio::test]
async fn a_key_is_installed_put_to_use_and_removed_by_its_id() {
    let served = Served::start(rotate).await;
    let key = ClusterKey::generate().unwrap();
    let id = key.id().to_string();
    let install = json!({"key": key.to_text()});
    let (status, answer) = ask(&served, Method::POST, "/v1/keys", &install).await;
    assert_eq!(
        (status.as_u16(), &answer),
        (200, &json!({"id": id, "status": "installed"}))
    );
    let force = json!({"force": true});
    let path = format!("/v1/keys/{KEY}/use");
    let (status, answer) = ask(&served, Method::POST, &path, &force).await;
    assert_eq!(
        (status.as_u16(), &answer["status"]),
        (200, &json!("in use"))
    );
    let path = format!("/v1/keys/{KEY}");
    let (status, answer) = ask(&served, Method::DELETE, &path, &force).await;
    assert_eq!(
        (status.as_u16(), &answer["status"]),
        (200, &json!("removed"))
    );
}

#[tokio::test]
async fn what_is_refused_says_why_and_never_repeats_the_key() {
    let served = Served::start(rotate).await;
    let key = ClusterKey::generate().unwrap().to_text();
    let cut = &key[..key.len() - 4];
    let used = format!("/v1/keys/{KEY}/use");
    let removed = format!("/v1/keys/{KEY}");
    let refusals = [
        (Method::POST, "/v1/keys", json!({"key": cut})),
        (Method::POST, "/v1/keys", json!({"key": 7})),
        (Method::POST, "/v1/keys", json!({})),
        (Method::POST, &used, json!({})),
        // What is not known is not dropped.
        (Method::POST, &used, json!({"forse": true})),
        (Method::DELETE, &removed, json!({"key": "abcdef01"})),
        (Method::POST, &used, json!({"force": "true"})),
        (Method::POST, "/v1/keys/nonsense/use", json!({})),
        (Method::DELETE, &removed, json!({})),
        (Method::DELETE, "/v1/keys/abcdef", json!({"force": true})),
    ];
    let mut lines = Vec::new();
    for (method, path, body) in refusals {
        let (status, answer) = ask(&served, method.clone(), path, &body).await;
        let why = answer["message"].as_str().unwrap_or_default();
        assert!(!why.contains(&cut[5..]), "{why}");
        lines.push(format!("{method} {path}: {} {why}", status.as_u16()));
    }
    expect_file!["key_refusals.txt"].assert_eq(&lines.join("\n"));
}

#[tokio::test]
async fn over_tcp_keys_are_listed_and_not_changed() {
    let served = Served::start(rotate).await;
    let (status, listed) = get(&served.loopback, "/v1/keys").await;
    assert!(status.is_success() && listed["keys"].is_array(), "{listed}");
    let install = Request::post("/v1/keys");
    let (status, _) = told(&served.loopback, install, Full::from("{}")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}
