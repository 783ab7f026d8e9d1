//! Secrets and config files that the cluster keeps: set on one host, used on another, set anew.

use e2e::{
    crew::{await_why, create_service_of, definition, delete_service, tasks_of},
    fleet::{Fleet, PATIENCE},
    host::{Host, text_of},
    wait::until,
};
use serde_json::{Value, json};
use std::{fs, io::Write as _, path::PathBuf};

const COUNT: u32 = 4;

/// Sets a value from a file, as a person does; what is answered.
#[track_caller]
fn set(fleet: &Fleet, host: usize, kind: &str, name: &str, text: &str) -> String {
    let path = fleet.place.dir.join("value");
    let written = fs::File::create(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.expect("the directory is ours");
    let path = path.display().to_string();
    fleet.hosts[host].cli_ok(&[kind, "set", name, &path])
}

fn given() -> Value {
    let mut definition = definition("web");
    definition["containerDefinitions"][0]["stopTimeout"] = json!(1);
    definition["containerDefinitions"][0]["environmentFiles"] =
        json!([{"value": "config:web.env", "type": "s3"}]);
    definition["containerDefinitions"][0]["secrets"] = json!([
        {"name": "DB_PASSWORD", "valueFrom": "secret:db:password"},
        {"name": "/run/secrets/db", "valueFrom": "secret:db"},
    ]);
    definition
}

/// What Docker was told of each container of the service that runs.
fn environments(fleet: &Fleet) -> Vec<String> {
    let running = fleet.running("web");
    let told = running.iter().map(|container| {
        let inspected = fleet.engine.inspect(&container.id);
        inspected["Config"]["Env"].to_string()
    });
    told.collect()
}

/// Where the host's agent has the files of its tasks.
fn mounts(host: &Host) -> PathBuf {
    PathBuf::from("/dev/shm/holdfast-e2e").join(host.id())
}

/// It is used, and nobody says what it is.
#[track_caller]
fn check_untold(fleet: &mut Fleet) {
    let shown = fleet.any().cli_ok(&["secret", "show", "db", "-o", "json"]);
    assert!(!shown.contains("second"), "{shown}");
    let used = fleet.any().cli(&["secret", "rm", "db"]);
    assert!(
        text_of(&used.stderr).contains("is used by services (web)"),
        "{used:?}"
    );
    assert_eq!(
        fleet.any().cli_ok(&["config", "show", "web.env"]),
        "MODE=fast\n"
    );
    for host in &fleet.hosts {
        let disk = fs::read(host.state_dir().join("holdfast.redb")).expect("it has a disk");
        assert!(
            !disk.windows(6).any(|part| part == b"second"),
            "{}",
            host.name
        );
        assert!(!host.log().contains("second"), "{}", host.name);
    }
}

#[test]
fn a_secret_is_set_here_used_there_and_taken_up_anew_while_the_count_holds() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    for _ in 0..3 {
        // Long enough for whoever has just listed them to look at each.
        fleet.add().set("stopped-container-retention-s", "5");
    }
    fleet.start_all();
    let told = set(&fleet, 0, "secret", "db", r#"{"password": "first"}"#);
    assert_eq!(told.trim_end(), "secret db: version 1 is set");
    set(&fleet, 1, "config", "web.env", "MODE=fast\n");
    create_service_of(&fleet.hosts[2], &given(), "web", COUNT, &json!([]));
    fleet.await_count("web", COUNT);
    for environment in environments(&fleet) {
        assert!(
            environment.contains("\"DB_PASSWORD=first\""),
            "{environment}"
        );
        assert!(environment.contains("\"MODE=fast\""), "{environment}");
    }

    let told = set(&fleet, 1, "secret", "db", r#"{"password": "second"}"#);
    assert_eq!(
        told.trim_end(),
        "secret db: version 2 is set; its services take it up, task by task: web"
    );
    until("all have the second password", PATIENCE, || {
        let running = environments(&fleet);
        if running.len() < COUNT as usize {
            panic!("only {} run", running.len());
        }
        let has = |one: &&String| one.contains("\"DB_PASSWORD=second\"");
        match running.iter().filter(has).count() {
            new if new == running.len() => Ok(()),
            new => Err(format!("{new} of {}", running.len())),
        }
    });
    fleet.await_count("web", COUNT);

    check_untold(&mut fleet);
    delete_service(fleet.any(), "web");
    until("nothing is left in memory", PATIENCE, || {
        for host in &fleet.hosts {
            let left = fs::read_dir(mounts(host)).map_or(0, Iterator::count);
            if left > 0 {
                return Err(format!("{left} tasks' files on {}", host.name));
            }
        }
        Ok(())
    });
    fleet.any().cli_ok(&["secret", "rm", "db"]);
}

#[test]
fn a_task_whose_secret_is_missing_says_so_and_runs_once_it_is_there() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    set(&fleet, 0, "config", "web.env", "MODE=fast\n");
    create_service_of(&fleet.hosts[0], &given(), "web", 1, &json!([]));
    let says = "the secret \"db\" is not on this cluster; set it with `holdfast secret set db`";
    until("the reason", PATIENCE, || {
        let stopped = tasks_of(fleet.any(), "web", "STOPPED");
        let told = json!(stopped).to_string().replace("\\\"", "\"");
        match told.contains(says) && told.contains("ResourceInitializationError") {
            true => Ok(()),
            false => Err(told),
        }
    });
    await_why(fleet.any(), "web", "ResourceInitializationError");
    set(&fleet, 1, "secret", "db", r#"{"password": "first"}"#);
    fleet.await_count("web", 1);
    delete_service(fleet.any(), "web");
    fleet.await_count("web", 0);
}

#[test]
fn the_key_that_seals_a_secret_is_rotated_with_it() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    set(&fleet, 0, "secret", "db", r#"{"password": "first"}"#);
    let sealing = |fleet: &mut Fleet| {
        let shown = fleet.any().cli_ok(&["secret", "show", "db", "-o", "json"]);
        let shown: Value = serde_json::from_str(&shown).expect("it is JSON");
        shown["sealedWith"].as_str().unwrap_or_default().to_owned()
    };
    let old = sealing(&mut fleet);
    let new = fleet.new_key("new");
    fleet.any().cli_ok(&["key", "install", &new]);
    let keys = |fleet: &mut Fleet| fleet.any().look("/v1/keys")["keys"].clone();
    let new = until("all have the new key", PATIENCE, || {
        let told = keys(&mut fleet);
        let all = told.as_array().map_or(&[][..], Vec::as_slice);
        let new = all.iter().find(|key| key["id"] != json!(old));
        match new {
            Some(new) if new["hosts"] == json!(2) => Ok(new["id"].as_str().map(str::to_owned)),
            _ => Err(told.to_string()),
        }
    });
    let new = new.expect("a key has an id");
    fleet.any().cli_ok(&["key", "use", &new]);
    until("the secret is sealed anew", PATIENCE, || {
        match sealing(&mut fleet) {
            key if key == new => Ok(()),
            key => Err(key),
        }
    });
    until("the old key is taken away", PATIENCE, || {
        let removed = fleet.any().cli(&["key", "remove", &old]);
        match removed.status.success() {
            true => Ok(()),
            false => Err(text_of(&removed.stderr)),
        }
    });
    set(&fleet, 1, "config", "web.env", "MODE=fast\n");
    create_service_of(&fleet.hosts[1], &given(), "web", 2, &json!([]));
    fleet.await_count("web", 2);
    for environment in environments(&fleet) {
        assert!(
            environment.contains("\"DB_PASSWORD=first\""),
            "{environment}"
        );
    }
    delete_service(fleet.any(), "web");
    fleet.await_count("web", 0);
}
