//! `/v1/secrets` and `/v1/configs` over both servers: who may ask what, and what is never told.

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use holdfast_core::{command::NewValue, spec::given::ValueName};
use hyper::Method;

/// As a core would for which everything is in order but the removal without force.
fn keep(command: Command) -> Result<Outcome, Refusal> {
    match command {
        Command::SetValue { value, by, restart } => {
            assert!(!format!("{value:?} {by}").contains("hunter2"));
            assert!(!restart || matches!(value, NewValue::Secret { .. }));
            Ok(Outcome::ValueSet {
                name: value.name(),
                number: 1,
                used_by: vec!["web".to_owned()],
            })
        }
        Command::RemoveValue { name, force: true } => Ok(Outcome::ValueRemoved(name)),
        Command::RemoveValue { name, force: false } => Err(Refusal::ValueUsed {
            name,
            services: "web".to_owned(),
        }),
        other => unreachable!("{other:?}"),
    }
}

async fn ask(to: &Address, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path);
    let (status, answer) = told(to, request, Full::from(body.to_string())).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn values_are_set_and_removed_over_the_socket() {
    let served = Served::start(keep).await;
    let value = STANDARD.encode("hunter2");
    let body = json!({"value": value});
    let set = ask(&served.socket, Method::PUT, "/v1/secrets/db", &body).await;
    let told = json!({"name": "db", "version": 1, "restarting": ["web"], "notRestarted": []});
    assert_eq!(set, (200, told));
    let body = json!({"value": value, "restart": false});
    let (status, told) = ask(&served.socket, Method::PUT, "/v1/configs/web.conf", &body).await;
    assert_eq!((status, &told["notRestarted"]), (200, &json!(["web"])));
    let refused = ask(&served.socket, Method::DELETE, "/v1/secrets/db", &json!({})).await;
    let why = Refusal::ValueUsed {
        name: ValueName::Secret("db".to_owned()),
        services: "web".to_owned(),
    };
    assert_eq!(refused.0, 400);
    assert_eq!(refused.1["message"], json!(why.to_string()));
    let force = json!({"force": true});
    let removed = ask(&served.socket, Method::DELETE, "/v1/secrets/db", &force).await;
    assert_eq!(removed, (200, json!({"name": "db", "status": "removed"})));
}

#[tokio::test]
async fn over_tcp_there_are_no_secrets_and_nothing_is_set() {
    let served = Served::start(keep).await;
    let none = json!({});
    for (method, path, status) in [
        (Method::GET, "/v1/secrets", 404),
        (Method::GET, "/v1/secrets/db", 404),
        (Method::GET, "/v1/configs", 200),
        (Method::PUT, "/v1/secrets/db", 405),
        (Method::DELETE, "/v1/configs/web.conf", 405),
    ] {
        let (got, answer) = ask(&served.loopback, method.clone(), path, &none).await;
        assert_eq!(got, status, "{method} {path}: {answer}");
    }
    let (status, _) = ask(&served.socket, Method::GET, "/v1/secrets", &none).await;
    assert_eq!(status, 200);
    let (status, _) = ask(&served.socket, Method::GET, "/v1/configs/none", &none).await;
    assert_eq!(status, 404);
}
