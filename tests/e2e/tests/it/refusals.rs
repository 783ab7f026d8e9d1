//! Bad requests: each is refused with ECS's error type and a sentence that says what to do.

use e2e::{
    fleet::{Fleet, definition},
    host::{Host, Refusal},
    http::Request,
};
use serde_json::{Value, json};

/// The request is refused with that type, and its text says all of these.
#[track_caller]
fn refused(host: &Host, operation: &str, body: &Value, kind: &str, says: &[&str]) {
    let refusal = host.ecs(operation, body).expect_err("it is to be refused");
    let Refusal {
        status,
        kind: got,
        message,
    } = &refusal;
    assert_eq!((*status, got.as_str()), (400, kind), "{message}");
    let missing: Vec<_> = says
        .iter()
        .filter(|part| !message.contains(**part))
        .collect();
    assert!(missing.is_empty(), "{message:?} does not say {missing:?}");
}

#[test]
fn bad_definitions_are_refused_by_name() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let host = fleet.any();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = definition("bad");
        change(&mut body);
        body
    };
    let cases: [(Value, &[&str]); 7] = [
        (
            with(&|d| d["containerDefinitions"][0]["firelensConfiguration"] = json!({"a": 1})),
            &["firelensConfiguration", "does not serve yet"],
        ),
        (
            with(&|d| {
                let twin = d["containerDefinitions"][0].clone();
                d["containerDefinitions"]
                    .as_array_mut()
                    .expect("a list")
                    .push(twin);
            }),
            &["containerDefinitions[1].name", "repeats", "main"],
        ),
        (
            with(&|d| {
                d["containerDefinitions"][0]["portMappings"] = json!([{"containerPort": 70_000}]);
            }),
            &["portMappings[0].containerPort is 70000", "65535"],
        ),
        (
            with(&|d| d["containerDefinitions"][0]["colour"] = json!("blue")),
            &["containerDefinitions[0].colour is not an ECS field"],
        ),
        (
            with(&|d| d["containerDefinitions"][0]["healthCheck"] = json!({"command": ["CMD"]})),
            &["containerDefinitions[0].healthCheck.command", "a program"],
        ),
        (
            with(&|d| d["containerDefinitions"][0]["essential"] = json!(false)),
            &["no essential container"],
        ),
        (
            with(&|d| d["containerDefinitions"] = json!([])),
            &["at least one container"],
        ),
    ];
    for (body, says) in cases {
        refused(
            host,
            "RegisterTaskDefinition",
            &body,
            "ClientException",
            says,
        );
    }
    let listed = host
        .ecs("ListTaskDefinitions", &json!({}))
        .expect("reading is fine");
    assert_eq!(
        listed["taskDefinitionArns"],
        json!([]),
        "nothing of it was kept"
    );
}

#[test]
fn bad_services_are_refused_by_name() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let host = fleet.any();
    host.ecs("RegisterTaskDefinition", &definition("web"))
        .expect("it is a good definition");
    let with = |field: &str, value: Value| {
        let mut body = json!({"serviceName": "a", "taskDefinition": "web", "desiredCount": 1});
        body[field] = value;
        body
    };
    let invalid = "InvalidParameterException";
    let cases: [(Value, &str, &[&str]); 6] = [
        (
            with("desiredCount", json!(-1)),
            invalid,
            &["desiredCount is -1"],
        ),
        (with("serviceName", json!("a b")), invalid, &["serviceName"]),
        (
            with("taskDefinition", json!("nothing:7")),
            "ClientException",
            &["nothing"],
        ),
        (
            with("colour", json!("blue")),
            invalid,
            &["colour is not an ECS field"],
        ),
        (
            with("loadBalancers", json!([{}])),
            invalid,
            &["loadBalancers", "does not serve yet"],
        ),
        (
            with("cluster", json!("another")),
            "ClusterNotFoundException",
            &["another"],
        ),
    ];
    for (body, kind, says) in cases {
        refused(host, "CreateService", &body, kind, says);
    }
    let listed = host
        .ecs("ListServices", &json!({}))
        .expect("reading is fine");
    assert_eq!(listed["serviceArns"], json!([]), "nothing of it was kept");
}

#[test]
fn bad_changes_are_refused_by_name() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    fleet.create_service("web", 1);
    let host = fleet.any();
    let nobody = json!({"service": "nobody", "desiredCount": 1});
    refused(
        host,
        "UpdateService",
        &nobody,
        "ServiceNotFoundException",
        &["nobody"],
    );
    let still_scaled = json!({"service": "web"});
    refused(
        host,
        "DeleteService",
        &still_scaled,
        "InvalidParameterException",
        &["force"],
    );
    let twin = json!({"serviceName": "web", "taskDefinition": "web", "desiredCount": 2});
    refused(
        host,
        "CreateService",
        &twin,
        "InvalidParameterException",
        &["web"],
    );
    let kind = "UnknownOperationException";
    refused(
        host,
        "ExecuteCommand",
        &json!({}),
        kind,
        &["ExecuteCommand", "CreateService"],
    );
    fleet.await_count("web", 1);
}

#[test]
fn a_request_that_is_too_large_or_no_json_is_refused_before_it_is_read() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let host = fleet.any();
    let send = |body: &[u8]| {
        let request = Request {
            method: "POST",
            path: "/",
            headers: &[
                ("content-type", "application/x-amz-json-1.1"),
                (
                    "x-amz-target",
                    "AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition",
                ),
            ],
            body,
        };
        host.request(&request).expect("it is answered")
    };
    let large = send(&vec![b' '; 600 * 1024]);
    assert_eq!(large.status, 413, "{}", large.text());
    assert_eq!(large.json()["__type"], "RequestEntityTooLargeException");
    assert!(large.text().contains("524288 bytes"), "{}", large.text());
    let garbage = send(b"{\"family\": ");
    assert_eq!(garbage.status, 400, "{}", garbage.text());
    assert_eq!(garbage.json()["__type"], "SerializationException");
    let deep = send("[".repeat(100_000).as_bytes());
    assert_eq!(deep.status, 400, "{}", deep.text());
    assert_eq!(host.get("/healthz").expect("it lives").status, 200);
}
