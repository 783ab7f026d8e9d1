//! Runs that begin by the clock: once, whoever keeps the schedule, and told alike by every agent.

use e2e::{
    fleet::{Fleet, PATIENCE},
    host::Host,
    program::IMAGE,
    wait::{holds, secs, until, wall_nanos},
};
use serde_json::{Value, json};
use std::process::Command;

fn register(host: &Host, family: &str) {
    let definition = json!({"family": family, "containerDefinitions": [{
        "name": "main", "image": IMAGE, "memory": 16, "stopTimeout": 1,
        "command": ["exit", "0", "after", "300"],
    }]});
    host.ecs("RegisterTaskDefinition", &definition)
        .expect("it is a good definition");
}

fn now_s() -> u64 {
    wall_nanos() / 1_000_000_000
}

/// Seconds since 1970 as `--at` takes them, in UTC.
fn as_typed(seconds: u64) -> String {
    let mut date = Command::new("date");
    date.args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%S"]);
    let date = date.output().expect("date can be run");
    assert!(date.status.success(), "{date:?}");
    String::from_utf8_lossy(&date.stdout).trim().to_owned()
}

fn schedule_of(host: &Host, name: &str) -> Value {
    host.look(&format!("/v1/schedules/{name}"))["schedule"].clone()
}

/// The runs of a schedule that a host knows.
fn runs_of(host: &Host, name: &str) -> Vec<Value> {
    let started_by = json!(format!("schedule/{name}"));
    let runs = host.look("/v1/runs")["runs"].clone();
    let runs = runs.as_array().cloned().unwrap_or_default().into_iter();
    runs.filter(|run| run["startedBy"] == started_by).collect()
}

#[track_caller]
fn await_known(host: &Host, name: &str) {
    until(
        &format!("{} knows the schedule", host.name),
        PATIENCE,
        || {
            let schedule = schedule_of(host, name);
            match schedule["nextTick"].is_number() {
                true => Ok(()),
                false => Err(schedule.to_string()),
            }
        },
    );
}

/// Waits until this host says that the one tick has begun a run that ended well; its id.
#[track_caller]
fn await_success(host: &Host, name: &str) -> String {
    let what = format!("{} says that the tick's run has ended", host.name);
    until(&what, PATIENCE, || {
        let schedule = schedule_of(host, name);
        let tick = &schedule["ticks"][0];
        match (tick["outcome"].as_str(), tick["runStatus"].as_str()) {
            (Some("BEGUN"), Some("SUCCEEDED")) => Ok(tick["runId"].clone()),
            _ => Err(schedule.to_string()),
        }
    })
    .as_str()
    .expect("an id is a text")
    .to_owned()
}

/// Everybody says the same of it, Docker has made one container, and it stays so.
#[track_caller]
fn ran_once(fleet: &Fleet, hosts: &[&Host], name: &str) {
    let run = await_success(hosts[0], name);
    for host in hosts {
        assert_eq!(await_success(host, name), run, "{}", host.name);
    }
    let told = schedule_of(hosts[0], name);
    holds("the tick has begun one run", secs(3), || {
        for host in hosts {
            let runs = runs_of(host, name);
            if runs.len() != 1 || runs[0]["runId"] != json!(run) {
                return Err(format!("{}: {runs:?}", host.name));
            }
            let schedule = schedule_of(host, name);
            if schedule["ticks"] != told["ticks"] || schedule.get("nextTick").is_some() {
                return Err(format!("{}: {schedule}", host.name));
            }
        }
        match fleet.containers().len() {
            1 => Ok(()),
            several => Err(format!("{several} containers")),
        }
    });
}

#[test]
fn a_tick_begins_one_run_and_any_agent_says_so() {
    let Some(fleet) = Fleet::start(3) else {
        return;
    };
    let hosts: Vec<&Host> = fleet.hosts.iter().collect();
    register(hosts[0], "job");
    let at = now_s() + 8;
    let typed = as_typed(at);
    let set = hosts[0].cli_ok(&["schedule", "set", "once", "--at", &typed, "job"]);
    assert!(set.contains("schedule once is new"), "{set}");
    assert!(set.contains(&typed), "{set}");
    for host in &hosts {
        await_known(host, "once");
        assert_eq!(runs_of(host, "once"), [json!(null); 0], "it is too early");
    }
    ran_once(&fleet, &hosts, "once");
    let run = &runs_of(hosts[1], "once")[0];
    let began = run["createdAt"].as_f64().expect("a time is a number");
    assert!((began - at as f64).abs() < 1.0, "{run}");
    let listed = hosts[2].ecs(
        "ListTasks",
        &json!({"startedBy": "schedule/once", "desiredStatus": "STOPPED"}),
    );
    let listed = listed.expect("any agent may be asked")["taskArns"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let shown = hosts[1].cli_ok(&["schedule", "show", "once"]);
    for wanted in [&typed, "BEGUN", "SUCCEEDED"] {
        assert!(shown.contains(wanted), "{wanted} is not in:\n{shown}");
    }
    let events = hosts[0].cli_ok(&["events", "--service", "schedule/once"]);
    assert!(events.contains("has begun (run"), "{events}");
    // What it has begun stays when it is removed.
    hosts[2].cli_ok(&["schedule", "rm", "once"]);
    until("the others know that it is removed", PATIENCE, || {
        let left = hosts[0].cli_ok(&["schedule", "ls"]);
        match left.contains("once") {
            false => Ok(()),
            true => Err(left),
        }
    });
    assert_eq!(runs_of(hosts[0], "once").len(), 1);
}

#[test]
fn a_tick_is_run_though_the_agent_that_it_was_set_at_was_killed() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    for _ in 0..3 {
        // The tick comes while the killed agent's machine still vouches for it. The run that it
        // begins may be that host's to place; it is not for much longer.
        fleet.add().set("impaired-grace-s", "20");
    }
    fleet.start_all();
    register(&fleet.hosts[0], "job");
    let at = now_s() + 12;
    let body = ["schedule", "set", "later", "--at", &as_typed(at), "job"];
    fleet.hosts[0].cli_ok(&body);
    await_known(&fleet.hosts[1], "later");
    await_known(&fleet.hosts[2], "later");
    fleet.hosts[0].kill();
    assert!(now_s() < at, "the tick came before the agent was killed");
    let others = [&fleet.hosts[1], &fleet.hosts[2]];
    ran_once(&fleet, &others, "later");
}

#[test]
fn a_schedule_that_is_disabled_begins_nothing_and_a_bad_one_is_refused() {
    let Some(fleet) = Fleet::start(2) else {
        return;
    };
    let (one, other) = (&fleet.hosts[0], &fleet.hosts[1]);
    register(one, "job");
    let at = now_s() + 8;
    one.cli_ok(&["schedule", "set", "off", "--at", &as_typed(at), "job"]);
    await_known(other, "off");
    other.cli_ok(&["schedule", "disable", "off"]);
    assert!(now_s() < at, "the tick came before it was disabled");
    until("the tick has passed", PATIENCE, || match now_s() > at + 2 {
        true => Ok(()),
        false => Err(format!("it is {}", now_s())),
    });
    // What came meanwhile is not made up for.
    one.cli_ok(&["schedule", "enable", "off"]);
    holds("nothing is begun", secs(3), || {
        let (schedule, runs) = (schedule_of(other, "off"), runs_of(other, "off"));
        match runs.is_empty() && schedule["ticks"] == json!([]) {
            true => Ok(()),
            false => Err(format!("{schedule} {runs:?}")),
        }
    });
    for (words, why) in [
        (["--at", "2020-01-01T00:00:00", "job"], "a time that comes"),
        (["--rate", "5 seconds", "job"], "rate(5 minutes)"),
        (["--rate", "5 minutes", "none"], "Unable to find"),
    ] {
        let words = [&["schedule", "set", "bad"], words.as_slice()].concat();
        let refused = one.cli(&words);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{words:?}: {told}");
        assert!(told.contains(why), "{words:?}: {told}");
    }
}
