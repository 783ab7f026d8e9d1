//! Images by hand: pulled to one host or to many; where one cannot be pulled, whoever asks is told
//! why.

use e2e::{fleet::Fleet, host::text_of, program::IMAGE, registry::Stage};
use serde_json::Value;

/// A port of this machine on which no registry listens.
const NOWHERE: &str = "127.0.0.1:1/nothing:1";

#[test]
fn a_pull_that_fails_says_why_and_fails() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    let host = fleet.any();
    let output = host.cli(&["image", "pull", NOWHERE]);
    let said = text_of(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let says = format!(
        "error: {}: {NOWHERE}: failed: CannotPullContainerError: ",
        host.name
    );
    assert!(said.contains(&says), "{said}");
    assert!(said.contains("connection refused"), "{said}");
    assert_eq!(text_of(&output.stdout), "", "only what has come is there");

    let other = "127.0.0.1:1/other:1";
    let output = host.cli(&["image", "pull", NOWHERE, other, "--output", "json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(told["pulled"], Value::Array(Vec::new()), "{told}");
    let failed = told["failed"].to_string();
    assert!(failed.contains(NOWHERE) && failed.contains(other), "{told}");

    let output = host.cli(&["image", "pull", "not an image"]);
    let said = text_of(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("\"not an image\" is not an image"), "{said}");
    assert_eq!(host.cli(&["image", "pull"]).status.code(), Some(2));
}

#[test]
fn images_that_this_agent_did_not_pull_are_not_listed() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    fleet.create_service("web", 1);
    fleet.await_count("web", 1);
    let host = fleet.any();
    let shown = host.cli_ok(&["image", "ls"]);
    let repository = IMAGE.split(':').next().expect("it has a name");
    assert!(
        shown.starts_with("IMAGE") && !shown.contains(repository),
        "{shown}"
    );
    let listed = host.cli_ok(&["image", "ls", "--output", "json"]);
    assert_eq!(listed.trim(), "[]");
}

/// The lines of the output, sorted.
fn lines(bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<_> = text_of(bytes).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn an_image_is_pulled_to_all_hosts_or_to_some_and_each_says_what_became_of_it() {
    let Some(mut stage) = Stage::set(3) else {
        return;
    };
    let Stage { fleet, registry } = &mut stage;
    let image = registry.push("web:2");
    let output = fleet.any().cli(&["image", "pull", &image, "--all"]);
    let said = lines(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(said.len(), 3, "{said:?}");
    for (line, number) in said.iter().zip(1..) {
        // They share one engine, so some find it there.
        let ways = ["pulled (sha256:", "already here (sha256:"];
        let of_host = format!("host-{number}: {image}: ");
        let how = line.strip_prefix(&of_host);
        let how = how.unwrap_or_else(|| panic!("{said:?}"));
        assert!(ways.iter().any(|way| how.starts_with(way)), "{said:?}");
        assert!(how.ends_with(" s)"), "{said:?}");
    }
    let pulled = said.iter().any(|line| line.contains(": pulled ("));
    assert!(pulled, "one of them at least has pulled it: {said:?}");
    for host in &fleet.hosts {
        let shown = host.cli_ok(&["image", "ls"]);
        assert!(
            shown.contains(&image),
            "{} pulled it, too: {shown}",
            host.name
        );
    }
    let id = fleet.hosts[2].id();
    let two = [
        "image",
        "pull",
        &image,
        "--host",
        "host-1",
        "--host",
        &id[..8],
    ];
    let said = lines(fleet.any().cli_ok(&two).as_bytes());
    let again = |number: u8| format!("host-{number}: {image}: already here (");
    assert!(said[0].starts_with(&again(1)), "{said:?}");
    assert!(said[1].starts_with(&again(3)), "{said:?}");

    let missing = image.replace("web:2", "web:3");
    let output = fleet
        .any()
        .cli(&["image", "pull", &missing, "--all", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let failed = told["failed"].as_array().expect("it is a list");
    let reason = failed[2]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("CannotPullContainerError"), "{told}");
    assert_eq!((failed.len(), &told["pulled"]), (3, &Value::Array(vec![])));

    let output = fleet
        .any()
        .cli(&["image", "pull", &image, "--host", "host-9"]);
    let said = text_of(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("there is no host \"host-9\""), "{said}");
}

#[test]
fn a_host_that_is_lost_while_it_pulls_has_failed_and_the_others_have_not() {
    let Some(mut stage) = Stage::set(3) else {
        return;
    };
    let Stage { fleet, registry } = &mut stage;
    let image = registry.push("web:2");
    registry.freeze();
    let begun = fleet.any().cli_begun(&["image", "pull", &image, "--all"]);
    fleet.lose_host(2);
    fleet.await_up(2);
    registry.thaw();
    let output = begun.wait_with_output().expect("it is our child");
    let (said, failed) = (lines(&output.stdout), text_of(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let of_host = |number: u8| format!("host-{number}: {image}: ");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with(&of_host(1)) && said[1].starts_with(&of_host(2)),
        "{said:?}"
    );
    let expected = format!(
        "{}failed: it is down; ask again when it is back",
        of_host(3)
    );
    assert!(failed.contains(&expected), "{failed}");
    // Whoever is down already is named, too.
    let output = fleet.any().cli(&["image", "pull", &image, "--all"]);
    assert_eq!(
        (output.status.code(), lines(&output.stdout).len()),
        (Some(1), 2)
    );
    assert!(text_of(&output.stderr).contains(&expected), "{output:?}");
}
