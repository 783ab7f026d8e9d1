//! What Prometheus and Traefik are told.

use super::board::{A, B, WEB, board, context, pretty, put, task, task_id};
use crate::{
    api::{prometheus, traefik},
    directory::Directory,
};
use expect_test::expect_file;
use holdfast_core::{
    cluster::{
        board::Board,
        body::{Body, Key, ServiceRevision},
    },
    spec::parse_task_definition,
    task::{runtime::PortBinding, status::TaskStatus},
};
use serde_json::{Value, json};

/// The service `web` with a definition that has labels, and two tasks of it.
fn labelled(labels: &Value) -> Directory {
    let mut board = board();
    let definition = json!({
        "family": "web",
        "containerDefinitions": [{
            "name": "nginx",
            "image": "nginx:1.27",
            "memory": 128,
            "portMappings": [
                {"containerPort": 80, "name": "http"},
                {"containerPort": 9113, "name": "metrics"},
                {"containerPort": 81, "appProtocol": "grpc", "name": "grpc"},
                {"containerPort": 53, "protocol": "udp"},
            ],
            "dockerLabels": labels,
            "environment": [{"name": "TOKEN", "value": "secret"}],
        }],
    });
    let definition = parse_task_definition(&definition).unwrap();
    let digest = definition.digest();
    let ports = definition.containers[0].ports.clone();
    put(
        &mut board,
        Key::Definition(digest),
        0,
        Body::Definition(definition),
    );
    let revision = ServiceRevision {
        definition: digest,
        family: "web".to_owned(),
        revision: 7,
        renewals: 0,
    };
    put(
        &mut board,
        Key::ServiceRevision(WEB),
        1,
        Body::ServiceRevision(revision),
    );
    for (number, host) in [(1, A), (2, B)] {
        let mut report = task(number, TaskStatus::Running);
        report.definition = digest;
        report.revision = 7;
        let bound = ports.iter().map(|port| PortBinding {
            container_port: port.container_port,
            host_port: 32_000 + u16::try_from(number).unwrap() * 100 + port.container_port % 100,
            protocol: port.protocol,
        });
        report.containers[0].ports = bound.collect();
        let key = Key::Task(host, task_id(number.into()));
        put(&mut board, key, 2, Body::Task(report));
    }
    Directory::of(board, &Directory::default())
}

#[test]
fn prometheus_is_told_of_each_port_with_all_that_may_be_read_off_it() {
    let labels = json!({"prometheus.io/scrape": "true", "prometheus.io/path": "/m"});
    let directory = labelled(&labels);
    let all = prometheus::targets(&directory, &context(), None);
    expect_file!["snapshots/prometheus.json"].assert_eq(&pretty(&all));
    assert_eq!(
        prometheus::targets(&directory, &context(), Some("web")),
        all
    );
    let none = prometheus::targets(&directory, &context(), Some("api"));
    assert_eq!(none, json!([]));
    assert!(!all.to_string().contains("secret"), "{all}");
}

#[test]
fn traefik_has_a_service_for_each_port_and_a_router_for_each_that_the_labels_name() {
    let directory = labelled(&json!({
        "traefik.enable": "true",
        "Traefik.HTTP.Routers.Shop.Rule": "Host(`shop.example.com`)",
        "traefik.http.routers.Shop.entrypoints": "web, websecure",
        "traefik.http.routers.Shop.tls.certresolver": "le",
        "traefik.http.routers.metrics.rule": "PathPrefix(`/metrics`)",
        "traefik.http.routers.metrics.service": "stats",
        "traefik.http.routers.metrics.priority": "7",
        "traefik.http.routers.metrics.middlewares": "auth@file",
        "traefik.http.routers.ruleless.entrypoints": "web",
        "traefik.http.services.stats.loadbalancer.server.port": "9113",
        "traefik.http.services.stats.loadbalancer.server.scheme": "https",
        "traefik.http.services.stats.loadbalancer.passhostheader": "false",
        "traefik.http.middlewares.auth.basicauth.users": "ignored",
    }));
    let told = pretty(&traefik::configuration(&directory));
    expect_file!["snapshots/traefik.json"].assert_eq(&told);
}

#[test]
fn what_traefik_is_not_to_see_has_no_router() {
    let directory = labelled(&json!({
        "traefik.enable": "false",
        "traefik.http.routers.shop.rule": "Host(`shop.example.com`)",
    }));
    let told = traefik::configuration(&directory);
    assert_eq!(told["http"].get("routers"), None, "{told}");
    assert!(
        told["http"]["services"]["web-nginx-80"].is_object(),
        "{told}"
    );
}

#[test]
fn of_an_empty_cluster_there_is_nothing_to_tell() {
    let directory = Directory::of(Board::default(), &Directory::default());
    assert_eq!(traefik::configuration(&directory), json!({}));
    assert_eq!(prometheus::targets(&directory, &context(), None), json!([]));
}
