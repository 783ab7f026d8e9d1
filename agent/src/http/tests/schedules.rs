//! `/v1/schedules` over both servers: who may ask what, and what becomes of a change.

use super::*;
use hyper::Method;

/// As a core would that has room for no schedule more, and knows one.
fn keep(command: Command) -> Result<Outcome, Refusal> {
    match command {
        Command::SetSchedule { name, schedule } => {
            assert_eq!((name.as_str(), schedule.enabled), ("nightly", true));
            Err(Refusal::Limit {
                what: "the number of schedules",
                max: limits::SCHEDULES_MAX as u64,
            })
        }
        Command::SwitchSchedule { name, .. } => Err(Refusal::NoSuchSchedule(name)),
        Command::RemoveSchedule(name) => Ok(Outcome::ScheduleRemoved(name)),
        other => unreachable!("{other:?}"),
    }
}

async fn ask(to: &Address, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path);
    let (status, answer) = told(to, request, Full::from(body.to_string())).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn schedules_are_set_switched_and_removed_over_the_socket() {
    let served = Served::start(keep).await;
    let (to, none) = (&served.socket, json!({}));
    let body = json!({"expression": "rate(1 day)", "run": {"taskDefinition": "web"}});
    let refused = ask(to, Method::PUT, "/v1/schedules/nightly", &body).await;
    assert_eq!(
        (refused.0, &refused.1["__type"]),
        (400, &json!("LimitExceededException"))
    );
    let past = json!({"expression": "at(2020-01-01T00:00:00)", "run": {"taskDefinition": "web"}});
    let (status, answer) = ask(to, Method::PUT, "/v1/schedules/nightly", &past).await;
    assert_eq!(
        (status, &answer["__type"]),
        (400, &json!("InvalidParameterException"))
    );
    for word in ["enable", "disable"] {
        let path = format!("/v1/schedules/none/{word}");
        let (status, answer) = ask(to, Method::POST, &path, &none).await;
        let why = Refusal::NoSuchSchedule("none".to_owned()).to_string();
        assert_eq!((status, &answer["message"]), (404, &json!(why)));
    }
    let removed = ask(to, Method::DELETE, "/v1/schedules/nightly", &none).await;
    assert_eq!(
        removed,
        (200, json!({"name": "nightly", "status": "REMOVED"}))
    );
}

#[tokio::test]
async fn over_tcp_schedules_are_read_and_not_set() {
    let served = Served::start(keep).await;
    let none = json!({});
    for to in [&served.socket, &served.loopback] {
        let listed = ask(to, Method::GET, "/v1/schedules", &none).await;
        assert_eq!(listed, (200, json!({"schedules": []})));
        let (status, _) = ask(to, Method::GET, "/v1/schedules/none", &none).await;
        assert_eq!(status, 404);
    }
    for (method, path) in [
        (Method::PUT, "/v1/schedules/nightly"),
        (Method::DELETE, "/v1/schedules/nightly"),
        (Method::POST, "/v1/schedules/nightly/enable"),
        (Method::POST, "/v1/schedules/nightly/disable"),
    ] {
        let (status, answer) = ask(&served.loopback, method, path, &none).await;
        assert_eq!(status, 405, "{path}: {answer}");
    }
}
