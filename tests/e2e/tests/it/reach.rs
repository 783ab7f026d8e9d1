//! Into containers from any host: logs, commands, files, and what is used, here and elsewhere.

use e2e::{
    crew::create_service_of,
    fleet::{Fleet, definition},
    host::{Host, text_of},
    is_root_or_skip,
    program::holdfast,
    wait::{secs, until},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Two hosts with a service of two tasks, which say so many lines and then run.
fn talkers(words: &[&str]) -> Option<Fleet> {
    let mut fleet = Fleet::start(2)?;
    let mut body = definition("web");
    body["containerDefinitions"][0]["command"] = json!(words);
    create_service_of(&fleet.hosts[0], &body, "web", 2, &json!([]));
    fleet.await_count("web", 2);
    Some(fleet)
}

/// The service's task on a host, as another one knows it.
#[track_caller]
fn task_on(asked: &Host, host: &Host) -> String {
    until("the board knows its task", secs(20), || {
        let tasks = asked.cli_ok(&["task", "ls", "--host", &host.name, "-o", "json"]);
        let tasks: Value = serde_json::from_str(&tasks).expect("it is JSON");
        let running = tasks.as_array().into_iter().flatten();
        let mut running = running.filter(|task| task["lastStatus"] == "RUNNING");
        let id = running
            .next()
            .map(|task| task["holdfast"]["taskId"].clone());
        let id = id.as_ref().and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| tasks.to_string())
    })
}

fn with_input(host: &Host, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(holdfast())
        .args(arguments)
        .env("HOLDFAST_SOCKET", host.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be run");
    let mut stdin = child.stdin.take().expect("it is piped");
    // Whoever answers while it is written to takes no more than what is read of its answer.
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("it is taken"));
        child.wait_with_output().expect("it ends")
    })
}

/// Reads lines until one has this in it.
#[track_caller]
fn until_line(child: &mut Child, what: &str) -> String {
    let mut out = BufReader::new(child.stdout.as_mut().expect("it is piped"));
    let mut line = String::new();
    loop {
        line.clear();
        let len = out.read_line(&mut line).expect("it is text");
        assert!(len > 0, "it ended before {what}");
        if line.contains(what) {
            return line;
        }
    }
}

#[test]
fn logs_are_read_and_followed_from_any_host() {
    let Some(mut fleet) = talkers(&["talk", "50"]) else {
        return;
    };
    let (near, far) = (&fleet.hosts[0], &fleet.hosts[1]);
    let task = task_on(near, far);
    let said = until("it says something", secs(20), || {
        match near.cli_ok(&["task", "logs", &task, "--tail", "3"]) {
            said if said.lines().count() == 3 => Ok(said),
            said => Err(said),
        }
    });
    assert!(said.lines().all(|line| line.starts_with("line ")), "{said}");
    let timed = near.cli_ok(&["task", "logs", &task[..12], "-t", "--tail", "1"]);
    assert!(
        timed.starts_with("20") && timed.contains("Z line "),
        "{timed}"
    );
    let future = near.cli_ok(&["task", "logs", &task, "--since", "2100-01-01T00:00:00Z"]);
    assert_eq!(future, "");

    // All of a service, by time: each line says where it is from.
    let all = far.cli_ok(&["task", "logs", "--service", "web", "--tail", "5"]);
    let (a, b) = (task_on(far, near), task_on(near, far));
    for id in [&a, &b] {
        let label = format!("web/{} main | line ", &id[..16]);
        assert_eq!(all.matches(&label).count(), 5, "{all}");
    }

    let follow = [
        "task",
        "logs",
        "--follow",
        "--service",
        "web",
        "--tail",
        "0",
    ];
    let mut child = near.cli_begun(&follow);
    until_line(&mut child, &b[..16]);
    until_line(&mut child, &a[..16]);
    // One that comes later is followed, too.
    near.cli_ok(&["task", "stop", &a]);
    let new = until("a replacement", secs(30), || {
        let tasks = near.cli_ok(&["task", "ls", "-o", "json"]);
        let tasks: Value = serde_json::from_str(&tasks).expect("it is JSON");
        let mut tasks = tasks.as_array().into_iter().flatten();
        let new = tasks.find_map(|task| {
            let id = task["holdfast"]["taskId"].as_str()?;
            let is_new = id != a && id != b && task["lastStatus"] == "RUNNING";
            is_new.then(|| id.to_owned())
        });
        new.ok_or_else(|| "none yet".to_owned())
    });
    until_line(&mut child, &new[..16]);
    child.kill().expect("it runs");
    child.wait().expect("it ends");

    // Stopped tasks have their logs while their containers are there.
    let last = far.cli_ok(&["task", "logs", &a, "--tail", "1"]);
    assert!(last.contains("exit 0"), "{last}");
    fleet.lose_host(1);
    let lost = fleet.hosts[0].cli(&["task", "logs", &b]);
    let why = text_of(&lost.stderr);
    assert_eq!(lost.status.code(), Some(1), "{why}");
}

#[test]
fn whoever_follows_is_told_when_the_agent_there_is_killed() {
    let Some(mut fleet) = talkers(&["talk", "50"]) else {
        return;
    };
    let task = task_on(&fleet.hosts[0], &fleet.hosts[1]);
    let mut child = fleet.hosts[0].cli_begun(&["task", "logs", "-f", &task]);
    until_line(&mut child, "line");
    fleet.hosts[1].kill();
    let ended = child.wait_with_output().expect("it ends");
    let why = text_of(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{why}");
    assert!(why.contains("host host-2 was lost"), "{why}");
    assert!(why.contains("; the log ends here"), "{why}");
}

#[test]
fn commands_run_on_any_host_and_end_as_they_do_there() {
    let Some(fleet) = talkers(&["run"]) else {
        return;
    };
    let (near, far) = (&fleet.hosts[0], &fleet.hosts[1]);
    for host in [near, far] {
        let task = task_on(near, host);
        let ended = near.cli(&["task", "exec", &task, "/workload", "exit", "42"]);
        assert_eq!(ended.status.code(), Some(42), "{}", text_of(&ended.stderr));
        let tell = [
            "-e",
            "WORD=here",
            "-w",
            "/proc",
            "-u",
            "7",
            &task,
            "--",
            "/workload",
            "tell",
        ];
        let told = near.cli(&[&["task", "exec"], &tell[..]].concat());
        let out = text_of(&told.stdout);
        assert_eq!(
            out,
            "directory: /proc\nuser: 7\nterminal: false\nword: here\n"
        );
        assert_eq!(text_of(&told.stderr), "told\n");
        let input: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 253) as u8).collect();
        let repeated = with_input(
            near,
            &["task", "exec", "-i", &task, "/workload", "cat"],
            &input,
        );
        assert!(repeated.status.success(), "{}", text_of(&repeated.stderr));
        assert!(repeated.stdout == input, "{} bytes", repeated.stdout.len());
        let missing = near.cli(&["task", "exec", &task, "/none"]);
        assert!(
            [Some(126), Some(127), Some(1)].contains(&missing.status.code()),
            "{missing:?}"
        );
        assert!(!far.cli_ok(&["task", "top", &task]).is_empty());
        let stats = far.cli_ok(&["task", "stats", "--no-stream", &task]);
        assert!(
            stats.contains("CPU %") && stats.contains(&task[..16]),
            "{stats}"
        );
    }
    let no_terminal = near.cli(&["task", "exec", "-it", &task_on(near, far), "sh"]);
    assert_eq!(no_terminal.status.code(), Some(2));
    // On record where it was done.
    let log = far.log();
    let audit = log
        .lines()
        .filter(|line| line.contains("audit") && line.contains("exec"));
    let audit: Vec<_> = audit.collect();
    let begun = audit
        .iter()
        .any(|line| line.contains("Begun") && line.contains("exit 42"));
    let ended = audit
        .iter()
        .any(|line| line.contains("Ended") && line.contains("exit code 42"));
    assert!(begun && ended, "{audit:#?}");
}

/// Not even what it says that nobody reads.
#[test]
fn nothing_keeps_a_command_from_being_ended() {
    let Some(fleet) = talkers(&["run"]) else {
        return;
    };
    let near = &fleet.hosts[0];
    let task = task_on(near, &fleet.hosts[1]);
    let mut child = Command::new(holdfast())
        .args(["task", "exec", "-i", &task, "/workload", "cat"])
        .env("HOLDFAST_SOCKET", near.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be run");
    let mut stdin = child.stdin.take().expect("it is piped");
    let written = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while stdin.write_all(&[b'x'; 4_096]).is_ok() {
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut before = 0;
        until("no more is taken", secs(20), || {
            let now = written.load(Ordering::Relaxed);
            match now > 0 && std::mem::replace(&mut before, now) == now {
                true => Ok(()),
                false => Err(format!("{now} blocks")),
            }
        });
        let pid = i32::try_from(child.id()).expect("it is one");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        let ended = until("it ends", secs(10), || {
            let ended = child.try_wait().map_err(|err| err.to_string())?;
            ended.ok_or_else(|| "it runs".to_owned())
        });
        assert_eq!(ended.code(), Some(143));
    });
}

/// A directory with `tree/deep/one` and `tree/two` in it.
fn tree(host: &Host) -> PathBuf {
    let dir = host.dir.join("copies");
    fs::create_dir_all(dir.join("tree/deep")).expect("the directory is ours");
    fs::write(dir.join("tree/deep/one"), "one").expect("the directory is ours");
    fs::write(dir.join("tree/two"), "two").expect("the directory is ours");
    dir
}

#[test]
fn files_are_copied_as_docker_copies_them() {
    let Some(fleet) = talkers(&["run"]) else {
        return;
    };
    let near = &fleet.hosts[0];
    let task = task_on(near, &fleet.hosts[1]);
    let dir = tree(near);
    let here = |path: &str| dir.join(path).display().to_string();
    let there = |path: &str| format!("{task}:{path}");
    let copy = |from: &str, to: &str| near.cli_ok(&["task", "cp", from, to]);

    // A directory to a name that is not there takes that name; to one that is, goes into it.
    copy(&here("tree"), &there("/new"));
    copy(&here("tree"), &there("/new"));
    copy(&here("tree/two"), &format!("{task}:main:/new/three"));
    copy(&there("/new"), &here("back"));
    let read = |path: &str| {
        fs::read_to_string(dir.join(path)).unwrap_or_else(|err| format!("{path}: {err}"))
    };
    assert_eq!(read("back/deep/one"), "one");
    assert_eq!(read("back/tree/deep/one"), "one");
    assert_eq!(read("back/three"), "two");
    // What is in it, and not it.
    fs::create_dir(dir.join("flat")).expect("the directory is ours");
    copy(&there("/new/."), &here("flat"));
    assert_eq!(read("flat/two"), "two");
    copy(&there("/new/two"), &here("flat/renamed"));
    assert_eq!(read("flat/renamed"), "two");
    copy(&there("/new/two"), &here("flat/deep"));
    assert_eq!(read("flat/deep/two"), "two");
    let left = fs::read_dir(dir.join("flat"))
        .expect("it is there")
        .flatten();
    let hidden = left.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "nothing is left of the copying");

    let archive = near.cli(&["task", "cp", &there("/new/two"), "-"]);
    assert!(archive.stdout.starts_with(b"two\0"), "it is an archive");
    let copied = with_input(
        near,
        &["task", "cp", "-", &there("/new/deep")],
        &archive.stdout,
    );
    assert!(copied.status.success(), "{}", text_of(&copied.stderr));
    copy(&there("/new/deep/two"), &here("again"));
    assert_eq!(read("again"), "two");
}

#[test]
fn what_cannot_be_copied_says_why() {
    let Some(fleet) = talkers(&["run"]) else {
        return;
    };
    let near = &fleet.hosts[0];
    let task = task_on(near, &fleet.hosts[1]);
    let dir = tree(near);
    let here = |path: &str| dir.join(path).display().to_string();
    let there = |path: &str| format!("{task}:{path}");
    near.cli_ok(&["task", "cp", &here("tree"), &there("/new")]);
    for (from, to, says) in [
        (there("/none"), here("x"), "/none"),
        (here("none"), there("/x"), "cannot read"),
        (
            here("tree"),
            there("/new/two"),
            "is a file in the container",
        ),
        (
            here("tree/two"),
            there("/no/such/"),
            "there is no directory /no/such/",
        ),
        (
            there("/new"),
            here("no/such/place"),
            "there is no directory",
        ),
    ] {
        let failed = near.cli(&["task", "cp", &from, &to]);
        let why = text_of(&failed.stderr);
        assert_eq!(failed.status.code(), Some(1), "{from} {to}: {why}");
        assert!(why.contains(says), "{why}");
    }
    let neither = near.cli(&["task", "cp", "a", "b"]);
    assert_eq!(neither.status.code(), Some(2));
}

#[test]
fn a_host_may_deny_commands_and_nobody_reaches_in_who_may_not_deploy() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    fleet.add();
    fleet.add().set("exec", "deny");
    fleet.start_all();
    fleet.await_up(2);
    fleet.create_service("web", 2);
    fleet.await_count("web", 2);
    let near = &fleet.hosts[0];
    let task = task_on(near, &fleet.hosts[1]);
    let denied = near.cli(&["task", "exec", &task, "/workload", "tell"]);
    assert_eq!(denied.status.code(), Some(1));
    let why = text_of(&denied.stderr);
    assert!(why.contains("host host-2 refuses commands"), "{why}");
    near.cli_ok(&["task", "logs", &task]);

    if !is_root_or_skip("asking as another user") {
        return;
    }
    let mut nobody = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(holdfast())
        .args(["task", "logs", &task])
        .env("HOLDFAST_SOCKET", near.socket())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv is part of util-linux");
    let mut why = String::new();
    let err = nobody.stderr.as_mut().expect("it is piped");
    err.read_to_string(&mut why).expect("it is text");
    assert_eq!(nobody.wait().expect("it ends").code(), Some(1));
    assert!(
        why.contains("only root and the members of the group"),
        "{why}"
    );
}

#[test]
fn logs_are_kept_short_unless_the_engine_or_the_definition_says_otherwise() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    fleet.add();
    fleet.start_all();
    fleet.await_up(1);
    let host = &fleet.hosts[0];
    create_service_of(host, &definition("short"), "short", 1, &json!([]));
    let mut own = definition("own");
    own["containerDefinitions"][0]["logConfiguration"] = json!({"logDriver": "json-file"});
    create_service_of(host, &own, "own", 1, &json!([]));
    let container = fleet.await_count("short", 1).remove(0);
    let short = fleet.engine.inspect(&container.id)["HostConfig"]["LogConfig"].clone();
    assert_eq!(short["Type"], "local");
    assert_eq!(short["Config"]["max-size"], "20m");
    let own = fleet.await_count("own", 1);
    assert_eq!(
        fleet.engine.inspect(&own[0].id)["HostConfig"]["LogConfig"]["Type"],
        "json-file"
    );
}
