//! Logs and commands of a container on another host, beside Docker's own on that host.

use crate::trials::{Row, Trials, Unit};
use e2e::{
    crew::create_service_of,
    fleet::definition,
    host::Host,
    lab::fleet::LabFleet,
    program,
    wait::{secs, until},
};
use serde_json::{Value, json};
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const LINES: usize = 600_000;
const LINE_BYTES: usize = 100;
const MIB: f64 = 1_024.0 * 1_024.0;
const SAID_WITHIN: Duration = secs(120);
/// Commands of each in a trial.
const COMMANDS: usize = 20;
const LOGS: &str = "60 MB of a log read";
const EXEC: &str = "a command that ends at once";
const HALF: f64 = 0.5;
const EXEC_MORE_MAX_MS: f64 = 2.0;

/// Two hosts, and a task on the second.
struct Ground {
    fleet: LabFleet,
    task: String,
    container: String,
}

impl Ground {
    /// `None`, loudly, where there can be no lab.
    fn up(words: &[&str]) -> Option<Self> {
        let mut fleet = LabFleet::up(2, &[])?;
        fleet.start_all();
        let mut body = definition("web");
        body["containerDefinitions"][0]["command"] = json!(words);
        create_service_of(&fleet.hosts[0], &body, "web", 2, &json!([]));
        fleet.await_running("web", 2, SAID_WITHIN);
        let there = fleet.hosts[1].name.clone();
        let (task, container) = until("its task runs", SAID_WITHIN, || {
            let tasks = fleet.hosts[0].cli_ok(&["task", "ls", "--host", &there, "-o", "json"]);
            let tasks: Value = serde_json::from_str(&tasks).expect("it is JSON");
            let text = |pointer: &str| tasks.pointer(pointer)?.as_str().map(str::to_owned);
            let found = text("/0/holdfast/taskId").zip(text("/0/containers/0/runtimeId"));
            found.ok_or_else(|| tasks.to_string())
        });
        Some(Self {
            fleet,
            task,
            container,
        })
    }

    fn holdfast(&self, on: usize, words: &[&str]) -> Command {
        let mut command = Command::new(program::holdfast());
        command
            .args(words)
            .env("HOLDFAST_SOCKET", self.host(on).socket());
        command
    }

    fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        let socket = self.fleet.ground(1).docker_socket();
        command
            .arg("--host")
            .arg(format!("unix://{}", socket.display()));
        command.args(words);
        command
    }

    fn host(&self, index: usize) -> &Host {
        &self.fleet.hosts[index]
    }

    fn resident_mib(&self) -> f64 {
        let pids = [self.host(0).pid(), self.host(1).pid()];
        pids.iter().map(|pid| peak_mib(*pid)).sum()
    }
}

/// The most that it had resident since it started.
fn peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("the agent runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.map_or(f64::INFINITY, |kib: f64| kib / 1_024.0)
}

/// Runs it to its end, in s.
fn timed(mut command: Command) -> f64 {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let since = Instant::now();
    let status = command.status().expect("it can be run");
    let took = since.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took.as_secs_f64()
}

pub(crate) fn logs(trials: usize) -> Option<Vec<Row>> {
    let (lines, bytes) = (LINES.to_string(), LINE_BYTES.to_string());
    let ground = Ground::up(&["pour", &lines, &bytes])?;
    let read = ["task", "logs", &ground.task];
    until("it has said all", SAID_WITHIN, || {
        let said = ground
            .host(0)
            .cli_ok(&["task", "logs", &ground.task, "--tail", "1"]);
        match said.starts_with(&format!("{:08}", LINES - 1)) {
            true => Ok(()),
            false => Err(said),
        }
    });
    let (mut ours, mut dockers, mut grown) = <(Trials, Trials, Trials)>::default();
    let rate = |seconds: f64| (LINES * LINE_BYTES) as f64 / MIB / seconds;
    for trial in 0..trials {
        for turn in [trial % 2, (trial + 1) % 2] {
            if turn == 0 {
                let before = ground.resident_mib();
                ours.push(rate(timed(ground.holdfast(0, &read))));
                grown.push(ground.resident_mib() - before);
            } else {
                dockers.push(rate(timed(ground.docker(&["logs", &ground.container]))));
            }
        }
        eprintln!(
            "  {trial}: Holdfast {:.0}, Docker {:.0} MiB/s",
            ours.last(),
            dockers.last()
        );
    }
    let times = ours.over(&dockers);
    let what = "… as many times `docker logs`, pair by pair";
    Some(vec![
        Row::new(
            LOGS,
            "Holdfast, from the other host",
            Unit::MebibytesEachSecond,
            ours,
        ),
        Row::new(what, "Holdfast", Unit::Ratio, times).aims_above(HALF, "≥ 0.5"),
        Row::new(
            LOGS,
            "Docker, on its own host",
            Unit::MebibytesEachSecond,
            dockers,
        ),
        Row::new(
            "… both agents' peak of memory grows by",
            "Holdfast",
            Unit::Mebibytes,
            grown,
        )
        .aims_at(8.0, "≤ 8 MiB"),
    ])
}

pub(crate) fn exec(trials: usize) -> Option<Vec<Row>> {
    let ground = Ground::up(&["run"])?;
    let ours = ["task", "exec", &ground.task, "/workload", "exit", "0"];
    let dockers = ["exec", &ground.container, "/workload", "exit", "0"];
    let mut taken: [Trials; 3] = Default::default();
    for trial in 0..trials {
        let mut times: [Trials; 3] = Default::default();
        for command in 0..COMMANDS {
            for turn in (0..3).map(|turn| (turn + command + trial) % 3) {
                times[turn].push(
                    1e3 * match turn {
                        2 => timed(ground.docker(&dockers)),
                        host => timed(ground.holdfast(host, &ours)),
                    },
                );
            }
        }
        for (all, these) in taken.iter_mut().zip(&times) {
            all.push(these.median());
        }
        let [far, near, docker] = taken.each_ref().map(Trials::last);
        eprintln!(
            "  {trial}: from the other host {far:.1}, on its own {near:.1}, Docker {docker:.1} ms"
        );
    }
    let [far, near, docker] = taken;
    let limit = docker.median() + EXEC_MORE_MAX_MS;
    let row = |who: &str, trials| Row::new(EXEC, who, Unit::Milliseconds, trials);
    Some(vec![
        row("Holdfast, from the other host", far).aims_at(limit, "Docker's + 2 ms"),
        row("Holdfast, on its own host", near).aims_at(limit, "Docker's + 2 ms"),
        row("Docker, on its own host", docker),
    ])
}
