//! One image everywhere: what a tag led to when a deployment began, all of its tasks run.

use e2e::{
    crew::{container_of, create_service_of, definition, scale, tasks_of},
    fleet::{Fleet, PATIENCE},
    registry::Stage,
    wait::until,
};
use serde_json::json;
use std::collections::BTreeSet;

/// The digests that the tasks of `web` are said to be of; they are made of what they are said.
fn digests(fleet: &mut Fleet) -> BTreeSet<String> {
    let tasks = tasks_of(fleet.any(), "web", "RUNNING");
    let containers = tasks.iter().map(|task| container_of(task, "main"));
    let told = containers.map(|container| {
        let text = |name: &str| container[name].as_str().unwrap_or_default().to_owned();
        let made = fleet.engine.inspect(&text("runtimeId"));
        let image = fleet
            .engine
            .image(made["Image"].as_str().unwrap_or_default());
        let (digest, known) = (text("imageDigest"), image["RepoDigests"].to_string());
        assert!(
            digest.starts_with("sha256:") && known.contains(&digest),
            "{digest} {known}"
        );
        digest
    });
    told.collect()
}

#[test]
fn a_tag_that_moves_on_moves_no_deployment_before_it_is_renewed() {
    let Some(mut stage) = Stage::set(2) else {
        return;
    };
    let Stage { fleet, registry } = &mut stage;
    let image = registry.push("web:1");
    let mut definition = definition("web");
    definition["containerDefinitions"][0]["image"] = json!(image);
    create_service_of(fleet.any(), &definition, "web", 2, &json!([]));
    fleet.await_count("web", 2);
    let first = digests(fleet);
    assert_eq!(first.len(), 1, "{first:?}");

    registry.push("web:1");
    fleet.any().cli_ok(&["image", "pull", &image]);
    scale(fleet.any(), "web", 4);
    fleet.await_count("web", 4);
    assert_eq!(
        digests(fleet),
        first,
        "also those that began after the tag had moved"
    );

    let renew = [
        "service",
        "update",
        "web",
        "--force-new-deployment",
        "--wait",
    ];
    fleet.any().cli_ok(&renew);
    let second = until("four of other bytes", PATIENCE, || {
        let now = digests(fleet);
        match now.len() == 1 && now != first {
            true => Ok(now),
            false => Err(format!("{now:?}")),
        }
    });
    fleet.await_count("web", 4);
    assert_eq!(digests(fleet), second);
}
