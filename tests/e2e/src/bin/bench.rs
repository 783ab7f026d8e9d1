//! `make bench`: what agents take, beside what Docker alone takes; `--write PATH` keeps the page.

use e2e::{
    docker::{CLUSTER_LABEL, Container, Engine, Event, Watch},
    fleet::{Fleet, PATIENCE},
    program::{self, IMAGE},
    usage,
    wait::{pass, secs, wall_nanos},
};
use serde_json::{Value, json};
use std::{
    env,
    fmt::Write as _,
    fs,
    process::{Command, ExitCode},
    time::Duration,
};

const TRIALS: usize = 11;
const IDLE: Duration = secs(30);

/// Milliseconds of several trials.
#[derive(Debug, Default)]
struct Trials(Vec<f64>);

/// One line of the table.
struct Row {
    what: String,
    unit: &'static str,
    trials: Trials,
    target: &'static str,
}

fn main() -> ExitCode {
    let Some(mut fleet) = Fleet::empty() else {
        return ExitCode::FAILURE;
    };
    for _ in 0..6 {
        fleet.add();
    }
    let mut rows = Vec::new();
    // Five for the first two, the sixth only for idling.
    for host in &mut fleet.hosts[..5] {
        host.start();
    }
    fleet.await_up(5);
    // One slot for each trial: one whose tasks end again and again has to wait, by design.
    let slots = TRIALS as u32;
    fleet.create_service("web", slots);
    fleet.await_count("web", slots);
    eprintln!("container killed -> replacement running, {TRIALS} trials, each beside raw Docker");
    rows.extend(replace_containers(&mut fleet, slots));
    fleet.scale("web", 5);
    eprintln!("host lost -> count restored, {TRIALS} trials");
    rows.extend(lose_hosts(&mut fleet));
    eprintln!(
        "idle for {} s: six agents, five tasks on each",
        IDLE.as_secs()
    );
    fleet.start_all();
    fleet.scale("web", 30);
    fleet.await_count("web", 30);
    rows.extend(idle(&fleet));
    let page = page(&fleet.engine, &rows);
    drop(fleet);
    program::forget();
    println!("{page}");
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => ExitCode::SUCCESS,
        ["--write", path] => {
            // What the simulator wrote stays.
            let old = fs::read_to_string(path).unwrap_or_default();
            let kept = old.find("<!-- simulator").map_or("", |at| &old[at..]);
            let page = if kept.is_empty() {
                page
            } else {
                format!("{page}\n{kept}")
            };
            fs::write(path, page).unwrap_or_else(|err| panic!("write {path}: {err}"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: bench [--write PATH]");
            ExitCode::from(64)
        }
    }
}

fn lose_hosts(fleet: &mut Fleet) -> Vec<Row> {
    let (mut detected, mut started, mut all) = <(Trials, Trials, Trials)>::default();
    for trial in 0..TRIALS {
        let running = fleet.await_count("web", 5);
        let victim = running[trial % running.len()].host.clone();
        let lost = running
            .iter()
            .filter(|container| container.host == victim)
            .count();
        let index = fleet.index_of(&victim);
        let watch = fleet.engine.watch(&fleet.label());
        let from = wall_nanos();
        fleet.lose_host(index);
        let starts = (0..lost).map(|_| watch.expect("start", PATIENCE).at_nanos);
        let restored = starts.max().expect("it had a container");
        fleet.await_count("web", 5);
        let down = down_nanos(fleet, &victim, from);
        detected.0.push(millis(from, down));
        started.0.push(millis(down, restored));
        all.0.push(millis(from, restored));
        eprintln!(
            "  {trial}: down after {:.0} ms, restored after {:.0} ms",
            millis(from, down),
            millis(from, restored)
        );
        fleet.start_host(index);
        fleet.await_up(5);
    }
    vec![
        row("host lost → count restored", "ms", all, "≤ 3,000"),
        row(
            "… of which: until the first agent called it down",
            "ms",
            detected,
            "",
        ),
        row(
            "… of which: from then to the last replacement's start",
            "ms",
            started,
            "",
        ),
    ]
}

/// When the first agent told that the host is down.
fn down_nanos(fleet: &mut Fleet, host: &str, after: u64) -> u64 {
    let after_ms = after / 1_000_000;
    let mut first = None;
    for index in fleet.running_agents() {
        let told = fleet.hosts[index].look("/v1/events?follow=false")["events"].clone();
        let events = told.as_array().into_iter().flatten();
        let down =
            events.filter(|event| event["host"] == json!(host) && event["standing"] == "DOWN");
        let at = down
            .filter_map(|event| millis_of(event["at"].as_str()?, after_ms))
            .filter(|at| *at >= after_ms);
        first = first.into_iter().chain(at).min();
    }
    first.unwrap_or_else(|| panic!("no agent told that {host} is down")) * 1_000_000
}

/// Of `2026-01-31T23:59:59.123Z`, which is less than half a day from `near`.
fn millis_of(text: &str, near_ms: u64) -> Option<u64> {
    const DAY_MS: u64 = 86_400_000;
    let (_, time) = text.trim_end_matches('Z').split_once('T')?;
    let (seconds, ms) = time.split_once('.')?;
    let parts: Vec<u64> = seconds
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let &[hour, minute, second] = &parts[..] else {
        return None;
    };
    let of_day = ((hour * 60 + minute) * 60 + second) * 1_000 + ms.parse::<u64>().ok()?;
    let day = near_ms - near_ms % DAY_MS;
    let candidates = [
        day + of_day,
        day + DAY_MS + of_day,
        (day + of_day).saturating_sub(DAY_MS),
    ];
    candidates.into_iter().min_by_key(|at| at.abs_diff(near_ms))
}

fn replace_containers(fleet: &mut Fleet, slots: u32) -> Vec<Row> {
    let mut raw = Raw::new(fleet);
    let (mut ours, mut alone, mut after_die) = <(Trials, Trials, Trials)>::default();
    let watch = fleet.engine.watch(&fleet.label());
    for trial in 0..TRIALS {
        let running: Vec<Container> = fleet.await_count("web", slots);
        watch.drain();
        fleet.engine.kill(&running[trial].id);
        let died = watch.expect("die", PATIENCE);
        let started = watch.expect("start", PATIENCE);
        ours.0.push(millis(died.at_nanos, started.at_nanos));
        fleet.await_count("web", slots);
        alone.0.push(raw.start());
        after_die.0.push(raw.replace());
        let last = |trials: &Trials| trials.0.last().copied().unwrap_or_default();
        eprintln!(
            "  {trial}: {:.0} ms; raw {:.0} ms; raw after an end {:.0} ms",
            last(&ours),
            last(&alone),
            last(&after_die)
        );
    }
    vec![
        row(
            "container killed → replacement running",
            "ms",
            ours,
            "≤ raw + 100",
        ),
        row("raw `create` + `start` on the same engine", "ms", alone, ""),
        row(
            "raw kill, then `create` + `start` at the `die` event",
            "ms",
            after_die,
            "",
        ),
    ]
}

/// The same container as the agents', made by hand; all are removed with this value.
struct Raw {
    engine: Engine,
    body: Value,
    watch: Watch,
    ids: Vec<String>,
}

impl Raw {
    fn new(fleet: &Fleet) -> Self {
        let cluster = format!("{}-raw", fleet.place.name);
        let body = json!({
            "Image": IMAGE,
            "Labels": {CLUSTER_LABEL: cluster},
            "HostConfig": {"Memory": 16 * 1024 * 1024, "NetworkMode": "bridge"},
        });
        Self {
            watch: fleet.engine.watch(&format!("{CLUSTER_LABEL}={cluster}")),
            engine: fleet.engine.clone(),
            body,
            ids: Vec::new(),
        }
    }

    /// From the request to the start event, in ms.
    fn start(&mut self) -> f64 {
        let from = wall_nanos();
        millis(from, self.create_and_start().at_nanos)
    }

    /// From the end of the last one to the start event of its successor, in ms.
    fn replace(&mut self) -> f64 {
        let last = self.ids.last().expect("one was started before");
        self.engine.kill(last);
        let died = self.watch.expect("die", PATIENCE);
        millis(died.at_nanos, self.create_and_start().at_nanos)
    }

    fn create_and_start(&mut self) -> Event {
        let id = self.engine.create(&self.body);
        self.ids.push(id.clone());
        self.engine.start(&id);
        let started = self.watch.next(PATIENCE, |event| event.action == "start");
        started.expect("it was started")
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.engine.remove(&self.ids);
    }
}

fn idle(fleet: &Fleet) -> Vec<Row> {
    // What the scaling stirred up has to settle.
    pass(secs(10));
    let ticks = |fleet: &Fleet| {
        fleet
            .hosts
            .iter()
            .map(|host| usage::cpu_ticks(host.pid()))
            .collect()
    };
    let before: Vec<f64> = ticks(fleet);
    pass(IDLE);
    let after: Vec<f64> = ticks(fleet);
    let wall = IDLE.as_secs_f64() * usage::TICKS_PER_SECOND;
    let used = before
        .iter()
        .zip(&after)
        .map(|(before, after)| (after - before) / wall * 100.0);
    let resident = fleet
        .hosts
        .iter()
        .map(|host| usage::resident_mib(host.pid()));
    let peak = fleet.hosts.iter().map(|host| usage::peak_mib(host.pid()));
    vec![
        row(
            "idle agent, 5 peers, 5 tasks: resident memory",
            "MiB",
            Trials(resident.collect()),
            "≤ 20",
        ),
        row(
            "… its peak since it started",
            "MiB",
            Trials(peak.collect()),
            "",
        ),
        row("… CPU, of one core", "%", Trials(used.collect()), "≤ 0.5"),
    ]
}

impl Trials {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        }
    }
}

fn row(what: &str, unit: &'static str, trials: Trials, target: &'static str) -> Row {
    Row {
        what: what.to_owned(),
        unit,
        trials,
        target,
    }
}

fn millis(from_nanos: u64, to_nanos: u64) -> f64 {
    to_nanos.saturating_sub(from_nanos) as f64 / 1e6
}

fn page(engine: &Engine, rows: &[Row]) -> String {
    let mut page = String::from(
        "# Benchmarks\n\n\
         Written by `make bench`, which anyone with Docker can repeat: it builds the release, \
         starts agents on loopback\naddresses that share this machine's engine, and measures by \
         the time stamps of Docker's own events.\nThe numbers are of one machine on one day.\n\n",
    );
    for (what, text) in machine(engine) {
        writeln!(page, "- {what}: {text}").expect("a string takes it");
    }
    page += "\n| measure | target | median | min | max | trials |\n|---|---|---|---|---|---|\n";
    for row in rows {
        let sorted = row.trials.sorted();
        let digits = usize::from(row.unit != "ms") * 2;
        let number = |value: f64| format!("{value:.digits$} {}", row.unit);
        let target = match row.target {
            "" => String::new(),
            target => format!("{target} {}", row.unit),
        };
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        writeln!(
            page,
            "| {} | {target} | {} | {} | {} | {} |",
            row.what,
            number(row.trials.median()),
            number(min),
            number(max),
            sorted.len()
        )
        .expect("a string takes it");
    }
    page += "\nThe trials of idle agents are the agents of one fleet. A host is lost when its \
             agent is killed with\nSIGKILL and its containers are removed in the same moment; \
             five agents hold a service of five. Raw\nDocker does what the agent asks of it, \
             with the same image, memory limit and network, in turn with the\ntrials of the \
             agent. Each trial kills another slot's container: a slot whose tasks end again and \
             again\nwaits longer each time.\n";
    page
}

fn machine(engine: &Engine) -> Vec<(&'static str, String)> {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = file("/proc/cpuinfo");
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split_once(": "))
        .map_or("unknown", |pair| pair.1);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map_or_else(
            |_| "unknown".to_owned(),
            |o| e2e::host::text_of(&o.stdout).trim().to_owned(),
        )
    };
    let holdfast = program::holdfast().display().to_string();
    vec![
        ("Date", said("date", &["-u", "+%Y-%m-%d"])),
        ("Machine", format!("{cores} cores of {model}")),
        (
            "Kernel",
            file("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        ("Docker Engine", engine.version()),
        ("Holdfast", said(&holdfast, &["--version"])),
    ]
}
