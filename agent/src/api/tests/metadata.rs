//! The metadata endpoint's answers, and task protection.

use super::board::{A, T0, board, call, context, pretty, put, task, task_id, with_view};
use crate::{
    api::{
        Operation,
        metadata::{self, Facts, Version},
        metadata_file::{self, FileHost},
        protection,
    },
    gossip::now_wall_ms,
    metadata::Secret,
    runtime::{
        facts::{Check, Fact, Network, Place},
        tests::labels,
    },
    test_dir::TestDir,
};
use expect_test::expect_file;
use holdfast_core::{
    cluster::body::{Body, Key, Protection},
    command::NotProtected,
    ids::RuntimeId,
    spec::task_definition::Protocol,
    task::{runtime::PortBinding, status::TaskStatus},
    time::Wall,
};
use serde_json::{Value, json};
use std::sync::Arc;

fn facts() -> Facts {
    let time = |second: &str| Some(format!("2026-11-23T00:00:{second}Z"));
    let fact = Fact {
        image_id: "sha256:c0ffee".to_owned(),
        created_at: time("00.123456789"),
        started_at: time("01.5"),
        finished_at: time("02"),
        labels: [("tier".to_owned(), "front".to_owned())].into(),
        networks: vec![Network {
            name: "bridge".to_owned(),
            address: Some([172, 17, 0, 2].into()),
        }],
        check: Some(Check {
            ended_at: time("03"),
            exit_code: Some(0),
            output: "ok".to_owned(),
        }),
    };
    [("nginx".to_owned(), Arc::new(fact))].into()
}

#[test]
fn a_task_is_told_of_as_ecs_does_and_only_by_its_own_id() {
    let dir = TestDir::new("api-metadata");
    let secret = Secret::open(&dir).expect("there are random bytes");
    let id = secret.id_of(task_id(1), "nginx");
    let (v4, v3, stranger, sidecar) = with_view(&board(), |view| {
        let subject = metadata::by_id(view, &secret, &id).expect("it runs here");
        assert_eq!((subject.task, &*subject.container), (task_id(1), "nginx"));
        let told = |version| metadata::task(view, version, &subject, &facts());
        let sidecar = metadata::Subject {
            container: "sidecar".to_owned(),
            ..subject.clone()
        };
        (
            told(Version::V4),
            told(Version::V3),
            metadata::by_id(view, &secret, &secret.id_of(task_id(1), "other")),
            metadata::container(view, Version::V4, &sidecar, &facts()),
        )
    });
    let v4 = v4.expect("it is there");
    expect_file!["snapshots/task_metadata.json"].assert_eq(&pretty(&v4));
    let v3 = v3.expect("it is there");
    for only in ["LaunchType", "ServiceName", "FaultInjectionEnabled"] {
        assert!(v4[only] != Value::Null && v3[only] == Value::Null, "{only}");
    }
    assert_eq!(v3["Containers"][0]["ContainerARN"], Value::Null);
    assert_eq!((stranger, sidecar), (None, None));
}

#[test]
fn what_docker_does_not_tell_is_left_out() {
    let place = Place {
        task: task_id(1),
        container: "nginx".to_owned(),
    };
    let told = with_view(&board(), |view| {
        let subject = metadata::by_place(view, &place).expect("it runs here");
        metadata::container(view, Version::V2, &subject, &Facts::new())
    });
    let told = told.expect("it is there");
    for absent in ["CreatedAt", "StartedAt", "Networks", "ContainerARN"] {
        assert_eq!(told[absent], Value::Null, "{absent}");
    }
    assert_eq!(
        (&told["Name"], &told["ImageID"]),
        (&json!("nginx"), &json!(""))
    );
}

#[test]
fn a_task_that_has_ended_has_no_path_any_more() {
    let mut board = board();
    let ended = task(0, TaskStatus::Stopped);
    put(&mut board, Key::Task(A, task_id(1)), 2, Body::Task(ended));
    let dir = TestDir::new("api-metadata");
    let secret = Secret::open(&dir).expect("there are random bytes");
    let id = secret.id_of(task_id(1), "nginx");
    let found = with_view(&board, |view| metadata::by_id(view, &secret, &id));
    assert_eq!(found, None);
}

fn file_host(zone: Option<&str>, address: [u8; 4]) -> FileHost {
    FileHost {
        context: context(),
        zone: zone.map(str::to_owned),
        address: address.into(),
    }
}

#[test]
fn a_file_says_what_is_known_and_then_all_in_ecs_words() {
    let host = file_host(Some("eu-central-1a"), [10, 0, 0, 1]);
    let mut file = metadata_file::first(&host, &labels(), "holdfast-shop-3-web-7", "web:3");
    let first = pretty(&file);
    let id = "c0ffee".repeat(11)[..64].to_owned();
    let id: RuntimeId = id.parse().expect("it is an id of Docker's");
    let bound = [(443, 61_001), (80, 61_000)].map(|(container_port, host_port)| PortBinding {
        container_port,
        host_port,
        protocol: Protocol::Tcp,
    });
    let bound = vec![
        (Some("0.0.0.0"), bound[0]),
        (Some("::"), bound[1]),
        (Some(""), bound[1]),
    ];
    metadata_file::complete(&mut file, id, &facts()["nginx"], bound);
    let text = format!("{first}\n{}\n", pretty(&file));
    expect_file!["snapshots/metadata_file.txt"].assert_eq(&text);
}

#[test]
fn a_file_leaves_out_what_nobody_knows() {
    let host = file_host(None, [127, 0, 0, 1]);
    let mut file = metadata_file::first(&host, &labels(), "web", "web:3");
    let id = "0".repeat(64).parse().expect("it is an id of Docker's");
    metadata_file::complete(&mut file, id, &Fact::default(), vec![]);
    let absent = [
        "AvailabilityZone",
        "HostPrivateIPv4Address",
        "PortMappings",
        "Networks",
    ];
    for absent in absent {
        assert_eq!(file[absent], Value::Null, "{absent}");
    }
    assert_eq!(file["MetadataFileStatus"], "READY");
}

#[test]
fn protection_is_told_from_when_it_was_ordered() {
    let board = board();
    let asked = json!({"tasks": [task_id(1).to_string(), task_id(9).to_string()]});
    let told = |board: &_| -> Value {
        let told = call(board, Operation::GetTaskProtection, &asked);
        serde_json::from_str(&told).expect("it is JSON")
    };
    let before = told(&board);
    assert_eq!(
        before["protectedTasks"][0]["protectionEnabled"],
        json!(false)
    );
    assert_eq!(before["failures"][0]["reason"], json!("MISSING"));
    let order = |until| {
        let body = Body::Protection(Protection { until: Some(until) });
        let mut ordered = board.clone();
        put(&mut ordered, Key::Protection(task_id(1)), 0, body);
        told(&ordered)
    };
    let after = order(Wall(now_wall_ms() + 60_000));
    assert_eq!(after["protectedTasks"][0]["protectionEnabled"], json!(true));
    assert_eq!(order(T0), before, "what is over is over");
}

#[test]
fn protection_is_answered_and_refused_as_ecs_does() {
    let failed = [
        (task_id(9), NotProtected::Unknown),
        (task_id(2), NotProtected::Ending),
    ];
    let told = with_view(&board(), |view| {
        let ordered = protection::ordered(view, Some(T0), &[task_id(1)], &failed);
        json!({
            "ordered": ordered,
            "itself": protection::told(view, task_id(1), Some(T0)),
            "not any more": protection::told(view, task_id(1), None),
            "failure": protection::told_failure(view, task_id(1), NotProtected::OfNoService),
        })
    });
    let one = task_id(1).to_string();
    let refused = [
        json!({"tasks": [one]}),
        json!({"tasks": [], "protectionEnabled": true}),
        json!({"tasks": [one], "protectionEnabled": true, "expiresInMinutes": 2_881}),
        json!({"tasks": ["arn:aws:ecs:a:1:task/other/x"], "protectionEnabled": true}),
    ];
    let refused = refused.map(|body| call(&board(), Operation::UpdateTaskProtection, &body));
    let text = format!("{}\n{}\n", pretty(&told), refused.join("\n"));
    expect_file!["snapshots/protection.txt"].assert_eq(&text);
}
