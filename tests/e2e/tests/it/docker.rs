//! Docker is not there yet, or not any more: agents say so and go on when it is back.

use e2e::{
    fleet::{Fleet, PATIENCE},
    wait::until,
};
use serde_json::json;
use std::{fs, os::unix::fs::symlink};

#[test]
fn an_agent_waits_for_a_docker_that_is_down_and_says_so() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    let socket = fleet.place.dir.join("docker.sock");
    fleet
        .add()
        .set("docker-socket", &socket.display().to_string());
    fleet.start_agents();
    let status = until("status says so", PATIENCE, || {
        let status = fleet.hosts[0].look("/v1/status")["docker"].clone();
        (status["available"] == json!(false))
            .then_some(status.clone())
            .ok_or(status.to_string())
    });
    let reason = status["reason"].as_str().expect("it has a reason");
    assert!(
        reason.contains(&socket.display().to_string()),
        "it says which socket: {reason}"
    );
    assert_eq!(
        fleet.hosts[0].get("/readyz").expect("it answers").status,
        503
    );
    assert_eq!(
        fleet.hosts[0].get("/healthz").expect("it answers").status,
        200
    );
    let shown = fleet.hosts[0].cli_ok(&["status"]);
    assert!(
        shown.contains(&socket.display().to_string()),
        "people read it, too: {shown}"
    );

    fleet.create_service("web", 2);
    let why = until("the service says why it waits", PATIENCE, || {
        let why = fleet.hosts[0].look("/v1/services/web/why")["slots"][0]["explanation"].clone();
        let text = why.as_str().unwrap_or_default().to_owned();
        if text.contains("no host") {
            Ok(text)
        } else {
            Err(text)
        }
    });
    assert!(why.contains("container runtime"), "{why}");

    symlink(&fleet.engine.socket, &socket).expect("the directory is ours");
    fleet.await_count("web", 2);
    until("it is ready", PATIENCE, || {
        let ready = fleet.hosts[0].get("/readyz").expect("it answers");
        if ready.status == 200 {
            Ok(())
        } else {
            Err(ready.text())
        }
    });
}

#[test]
fn a_docker_that_goes_away_for_a_while_loses_nothing() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    let socket = fleet.place.dir.join("docker.sock");
    symlink(&fleet.engine.socket, &socket).expect("the directory is ours");
    fleet
        .add()
        .set("docker-socket", &socket.display().to_string());
    fleet.hosts[0].set("docker-resync-s", "1");
    fleet.start_all();
    fleet.create_service("web", 2);
    let before = fleet.await_count("web", 2);
    fs::remove_file(&socket).expect("it is there");
    fleet.hosts[0].kill();
    fleet.start_agents();
    until("the agent misses Docker", PATIENCE, || {
        let status = fleet.hosts[0].look("/v1/status")["docker"].clone();
        (status["available"] == json!(false))
            .then_some(())
            .ok_or(status.to_string())
    });
    // One ends while the agent cannot see it.
    fleet.engine.kill(&before[0].id);
    symlink(&fleet.engine.socket, &socket).expect("the directory is ours");
    let after = fleet.await_count("web", 2);
    assert!(
        after.contains(&before[1]),
        "the other was left alone: {after:#?}"
    );
}
