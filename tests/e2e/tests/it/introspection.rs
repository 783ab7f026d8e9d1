//! Introspection over loopback TCP: the ECS agent's shapes for tools, and nothing for web pages.

use e2e::{
    fleet::{Fleet, PATIENCE},
    http::{Answer, Request, Server, query_escaped},
    wait::until,
};
use serde_json::{Value, json};
use std::io::Read as _;

fn introspected() -> Option<(Fleet, Server)> {
    let mut fleet = Fleet::empty()?;
    let host = fleet.add();
    let address = host.introspection;
    host.set("introspection", &address.to_string());
    fleet.start_all();
    Some((fleet, Server::Tcp(address)))
}

fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request {
        method,
        path,
        headers,
        body: &[],
    };
    server.call(&request).expect("it is answered")
}

#[test]
fn introspection_speaks_as_the_ecs_agent_does() {
    let Some((mut fleet, server)) = introspected() else {
        return;
    };
    fleet.create_service("web", 2);
    let running = fleet.await_count("web", 2);
    let get = |path: &str| {
        let answer = ask(&server, "GET", path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    let commands = get("/")["AvailableCommands"].to_string();
    assert!(
        commands.contains("/v1/metadata") && commands.contains("/v1/tasks"),
        "{commands}"
    );

    let metadata = get("/v1/metadata");
    assert_eq!(metadata["Cluster"], json!(fleet.place.name));
    let arn = metadata["ContainerInstanceArn"].as_str().expect("a text");
    let id = fleet.hosts[0].id();
    assert!(
        arn.starts_with("arn:aws:ecs:") && arn.ends_with(&id),
        "{arn} of {id}"
    );

    let tasks = get("/v1/tasks")["Tasks"].clone();
    assert_eq!(tasks.as_array().map(Vec::len), Some(2), "{tasks}");
    let one = get(&format!("/v1/tasks?dockerid={}", running[0].id));
    let arn = one["Arn"].as_str().expect("a text");
    assert!(arn.ends_with(&running[0].task), "{one}");
    assert_eq!(one["KnownStatus"], "RUNNING");
    assert_eq!(
        (&one["Family"], &one["Version"]),
        (&json!("web"), &json!("1"))
    );
    let container = &one["Containers"][0];
    assert_eq!(container["DockerId"], json!(running[0].id));
    assert_eq!(container["DockerName"], json!(running[0].name));
    assert_eq!(
        get(&format!("/v1/tasks?taskarn={}", query_escaped(arn))),
        one
    );
    assert_eq!(
        get(&format!("/v1/tasks?dockerid={}", &running[0].id[..12])),
        one
    );

    let unknown = ask(&server, "GET", "/v1/tasks?dockerid=0123", &[]);
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    assert_eq!(get("/v1/hosts")["hosts"][0]["holdfast"]["id"], json!(id));
    assert_eq!(get("/v1/services")["services"][0]["runningCount"], json!(2));
    assert_eq!(get("/healthz"), json!({"alive": true}));
    let ready = until("it is ready", PATIENCE, || {
        let ready = ask(&server, "GET", "/readyz", &[]);
        if ready.status == 200 {
            Ok(ready.json())
        } else {
            Err(ready.text())
        }
    });
    assert_eq!(ready["ready"], json!(true));
}

#[test]
fn events_are_streamed_in_a_gapless_sequence() {
    let Some((mut fleet, server)) = introspected() else {
        return;
    };
    fleet.create_service("web", 1);
    fleet.await_count("web", 1);
    let mut stream = server.connect().expect("it listens");
    let request = Request {
        method: "GET",
        path: "/v1/events?after=0",
        ..Request::default()
    };
    stream.send(&request).expect("it takes requests");
    let (status, head, mut text) = stream.head().expect("it answers");
    assert!(
        status == 200 && head.contains("text/event-stream"),
        "{head}"
    );
    let mut buffer = [0; 4_096];
    let told = loop {
        let told = events_in(&String::from_utf8_lossy(&text));
        if told.iter().any(|event| event["to"] == "RUNNING") {
            break told;
        }
        let count = stream.read(&mut buffer).expect("the stream goes on");
        assert!(count > 0, "the stream ended after {told:?}");
        text.extend_from_slice(&buffer[..count]);
    };
    let sequences: Vec<_> = told
        .iter()
        .filter_map(|event| event["sequence"].as_u64())
        .collect();
    let gapless = sequences.windows(2).all(|two| two[0] + 1 == two[1]);
    assert!(gapless && sequences.len() == told.len(), "{sequences:?}");
    let starts = told.iter().filter(|event| event["to"] == "RUNNING").count();
    assert_eq!(starts, 1, "each start has exactly one event: {told:?}");
}

fn events_in(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data.trim()).ok())
        .collect()
}

#[test]
fn web_pages_and_writers_are_refused() {
    let Some((_fleet, server)) = introspected() else {
        return;
    };
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);
    let cases: [Case<'_>; 6] = [
        ("GET", &[("host", "127.0.0.1:51678")], 200),
        ("GET", &[("host", "evil.example")], 403),
        ("GET", &[("host", "localhost.evil.example:80")], 403),
        ("GET", &[("origin", "https://evil.example")], 403),
        ("GET", &[("sec-fetch-site", "cross-site")], 403),
        ("POST", &[], 405),
    ];
    for (method, headers, status) in cases {
        let answer = ask(&server, method, "/v1/tasks", headers);
        assert_eq!(
            answer.status,
            status,
            "{method} {headers:?}: {}",
            answer.text()
        );
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, None, "no page may read it");
    }
}

#[test]
fn secrets_are_not_shown_to_whoever_may_not_deploy() {
    let Some((fleet, server)) = introspected() else {
        return;
    };
    let mut body = e2e::fleet::definition("secretive");
    body["containerDefinitions"][0]["environment"] = json!([{"name": "A", "value": "hunter2"}]);
    fleet.hosts[0]
        .ecs("RegisterTaskDefinition", &body)
        .expect("it is a good definition");
    for path in [
        "/v1/task-definitions",
        "/v1/tasks",
        "/v1/status",
        "/v1/services",
    ] {
        let told = ask(&server, "GET", path, &[]).text();
        assert!(!told.contains("hunter2"), "{path}: {told}");
    }
    let told = fleet.hosts[0].cli_ok(&["task-definition", "show", "secretive"]);
    assert!(told.contains("hunter2"), "root may see it: {told}");
}
