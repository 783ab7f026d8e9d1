//! What ECS's clients wait for who describe many tasks, and whether the agent waits for them.

use crate::{
    board::BigBoard,
    trials::{Row, Trials, Unit},
};
use e2e::{
    host::Host,
    http::{Request, Server},
    place, program,
    usage::{TICKS_PER_SECOND, cpu_ticks},
    wait::{pass, secs, until, wall_nanos},
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::PathBuf,
    process,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// As many as ECS takes in a request.
const SERVICES_ASKED_MAX: u64 = 10;
const TASKS_ASKED: u64 = 100;
/// Of both kinds together.
const REQUESTS_PER_SECOND: u32 = 200;
const CHANGES_PER_SECOND: u32 = 10;
const ASKED_FOR: Duration = secs(15);
/// Without any request but those that see whether the agent's loop goes on.
const QUIET: Duration = secs(5);
const LOOKS_PER_SECOND: u32 = 100;
/// Requests under way at once at the most: beyond, the next one is late, which counts as well.
const CLIENTS: usize = 32;
const LOADED_WITHIN: Duration = secs(60);
/// What starting stirred up has to settle.
const SETTLED: Duration = secs(3);
/// The agent writes its numbers down so often.
const STATUS_WITHIN: Duration = secs(3);
const DELAY_MS_MAX: f64 = 20.0;

const SERVICES: &str = "200 requests a second, 10,000 tasks: 99 % of DescribeServices within";
const TASKS: &str = "… 99 % of DescribeTasks, of 100 tasks each, within";
const SLOW: &str = "… meanwhile steps of the core that take over 5 ms";
const HELD_UP: &str = "… meanwhile the agent's loop goes on within, at the most";
const CPU: &str = "… CPU of the agent, of one core";

/// The first core is the clients', the last one the agent's, also where there is only one.
#[derive(Clone, Copy)]
enum Core {
    First,
    Last,
}

/// What people do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changing {
    Nothing,
    Tag,
}

/// An agent without Docker and without peers, on a core of its own; it ends with this value.
struct Knowing {
    board: BigBoard,
    host: Host,
    dir: PathBuf,
}

/// What a while of asking came to, in ms, sorted.
struct Asked {
    services: Vec<f64>,
    tasks: Vec<f64>,
    held_up: Vec<f64>,
    /// Steps that took over 5 ms.
    slow: f64,
    /// Of one core, in %.
    cpu: f64,
}

#[derive(Default)]
struct Measured {
    services: Trials,
    tasks: Trials,
    slow: Trials,
    held_up: Trials,
    quiet: Trials,
    cpu: Trials,
}

pub(crate) fn described(trials: usize) -> Option<Vec<Row>> {
    let cases = [
        (
            10,
            1_000,
            Changing::Nothing,
            "Holdfast, 10 services of 1,000",
        ),
        (
            10,
            1_000,
            Changing::Tag,
            "Holdfast, 10 of 1,000, changed ten times a second",
        ),
        (
            1,
            10_000,
            Changing::Nothing,
            "Holdfast, a service of 10,000",
        ),
        (
            1,
            10_000,
            Changing::Tag,
            "Holdfast, one of 10,000, changed ten times a second",
        ),
    ];
    let mut measured = cases.map(|_| Measured::default());
    for _ in 0..trials {
        for ((services, copies, changing, _), measured) in cases.iter().zip(&mut measured) {
            measured.note(*services, *copies, *changing);
        }
    }
    let rows = cases.iter().zip(measured);
    Some(
        rows.flat_map(|((.., who), measured)| measured.rows(who))
            .collect(),
    )
}

impl Measured {
    fn note(&mut self, services: u64, copies: u32, changing: Changing) {
        let knowing = Knowing::start(services, copies);
        let quiet = knowing.look_on(QUIET);
        let asked = knowing.ask(changing);
        self.services.push(late(&asked.services, 99));
        self.tasks.push(late(&asked.tasks, 99));
        self.slow.push(asked.slow);
        self.held_up.push(late(&asked.held_up, 100));
        self.quiet.push(late(&quiet, 100));
        self.cpu.push(asked.cpu);
        eprintln!(
            "  {services} of {copies}, {changing:?}: services {:.2} ms, tasks {:.2} ms, \
             held up {:.2} ms (99 % \
             {:.2} ms; quiet {:.2} ms), {:.1} % of a core",
            self.services.last(),
            self.tasks.last(),
            self.held_up.last(),
            late(&asked.held_up, 99),
            self.quiet.last(),
            self.cpu.last(),
        );
    }

    fn rows(self, who: &str) -> Vec<Row> {
        let row = |what, trials| Row::new(what, who, Unit::TenthsOfMilliseconds, trials);
        let quiet = format!("{who}, nobody asks");
        vec![
            row(SERVICES, self.services).aims_at(DELAY_MS_MAX, "≤ 20 ms"),
            row(TASKS, self.tasks).aims_at(DELAY_MS_MAX, "≤ 20 ms"),
            Row::new(SLOW, who, Unit::Times, self.slow).aims_at(0.0, "0"),
            row(HELD_UP, self.held_up),
            Row::new(HELD_UP, quiet, Unit::TenthsOfMilliseconds, self.quiet),
            Row::new(CPU, who, Unit::Percent, self.cpu).aims_at(100.0, "≤ 100 %"),
        ]
    }
}

impl Knowing {
    fn start(services: u64, copies: u32) -> Self {
        let now_ms = wall_nanos() / 1_000_000;
        let board = BigBoard::new(services, copies, now_ms);
        let dir = place::base().join(format!("e2e-{}-reads", process::id()));
        fs::remove_dir_all(&dir).ok();
        fs::create_dir(&dir).unwrap_or_else(|err| panic!("create {}: {err}", dir.display()));
        let mut host = Host::new("h0".to_owned(), dir.join("h0"), [127, 102, 0, 1].into());
        fs::create_dir(host.state_dir()).expect("the directory is ours");
        board.store(&host.state_dir());
        host.set(
            "docker-socket",
            &dir.join("no-docker").display().to_string(),
        );
        // None of the hosts is there: they are not to be given up while they are described.
        host.set("probe-interval-ms", "60000");
        host.set("suspect-after-ms", "600000");
        host.set("down-after-ms", "600000");
        host.set("impaired-grace-s", "3600");
        program::holdfast();
        on(Core::Last, || host.start());
        let knowing = Self { board, host, dir };
        knowing.await_all();
        knowing
    }

    fn await_all(&self) {
        until("the agent knows all tasks", LOADED_WITHIN, || {
            let told = self.host.look("/v1/status");
            let tasks = &told["tasks"];
            let is_known = tasks["byStatus"]["RUNNING"] == self.board.tasks();
            match told["caughtUp"] == true && is_known && tasks["unconfirmed"] == 0 {
                true => Ok(()),
                false => Err(told.to_string()),
            }
        });
        pass(SETTLED);
        let body = json!({"services": [BigBoard::name(0)]});
        let told = self.host.ecs("DescribeServices", &body);
        let told = told.unwrap_or_else(|refused| panic!("{refused:?}"));
        let service = &told["services"][0];
        assert_eq!(service["runningCount"], self.board.copies, "{service}");
        let rollout = &service["deployments"][0]["rolloutState"];
        assert_eq!(rollout, "COMPLETED", "{service}");
    }

    fn server(&self) -> Server {
        Server::Unix(self.host.socket())
    }

    /// Whether the loop goes on, in ms, sorted: this is answered between two of its steps.
    fn look_on(&self, during: Duration) -> Vec<f64> {
        let server = self.server();
        at_rate(LOOKS_PER_SECOND, during, 1, |_| {
            let alive = server.get("/healthz").expect("the agent serves");
            assert_eq!(alive.status, 200, "{}", alive.text());
        })
    }

    /// Every other request is of the one kind and of the other.
    fn ask(&self, changing: Changing) -> Asked {
        let (services, tasks) = (self.service_requests(), self.task_requests());
        let rate = REQUESTS_PER_SECOND / 2;
        let slow = self.slow_steps();
        let before = cpu_ticks(self.host.pid());
        let begun = Instant::now();
        let (services, tasks, held_up) = thread::scope(|scope| {
            let ask = |operation: &'static str, bodies| {
                move || {
                    at_rate(rate, ASKED_FOR, CLIENTS, |n| {
                        self.request(operation, bodies, n)
                    })
                }
            };
            let services = scope.spawn(ask("DescribeServices", &services));
            let tasks = scope.spawn(ask("DescribeTasks", &tasks));
            if changing == Changing::Tag {
                scope.spawn(|| at_rate(CHANGES_PER_SECOND, ASKED_FOR, 1, |n| self.tag(n)));
            }
            let held_up = self.look_on(ASKED_FOR);
            let joined = [services, tasks].map(|one| one.join().expect("it does not panic"));
            let [services, tasks] = joined;
            (services, tasks, held_up)
        });
        let used = (cpu_ticks(self.host.pid()) - before) / TICKS_PER_SECOND;
        let cpu = used / begun.elapsed().as_secs_f64() * 100.0;
        Asked {
            services,
            tasks,
            held_up,
            slow: self.slow_steps() - slow,
            cpu,
        }
    }

    /// As the agent counts them, once it has told of those before.
    fn slow_steps(&self) -> f64 {
        pass(STATUS_WITHIN);
        let steps = self.host.look("/v1/status")["steps"].clone();
        let slow = steps["over5Ms"].as_f64();
        slow.unwrap_or_else(|| panic!("{steps}"))
    }

    /// All that was written down of services is to be made anew.
    fn tag(&self, number: usize) {
        let name = BigBoard::name(0);
        let arn = format!("arn:aws:ecs:eu-central-1:000000000000:service/default/{name}");
        let tags = json!([{"key": "change", "value": number.to_string()}]);
        let body = json!({"resourceArn": arn, "tags": tags});
        let told = self.host.ecs("TagResource", &body);
        told.unwrap_or_else(|refused| panic!("{refused:?}"));
    }

    fn request(&self, operation: &str, bodies: &[String], number: usize) {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let answer = self.server().call(&Request {
            method: "POST",
            path: "/",
            headers: &[
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", &target),
            ],
            body: bodies[number % bodies.len()].as_bytes(),
        });
        let answer = answer.unwrap_or_else(|err| panic!("{operation}: {err}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        // Nothing is missing; a client's own time to read it is not the agent's.
        let is_whole = answer.body.ends_with(b"}\n") && answer.body.len() > 1_000;
        assert!(is_whole, "{}", answer.text());
    }

    /// Of 1 to 10 services each, as far as there are so many.
    fn service_requests(&self) -> Vec<String> {
        let all = self.board.services;
        let request = |number: u64| {
            let count = (number % SERVICES_ASKED_MAX + 1).min(all);
            let names = (0..count).map(|next| BigBoard::name((number + next) % all));
            json!({"services": names.collect::<Vec<_>>()}).to_string()
        };
        (0..SERVICES_ASKED_MAX).map(request).collect()
    }

    fn task_requests(&self) -> Vec<String> {
        let (copies, all) = (u64::from(self.board.copies), self.board.tasks());
        let id = |number: u64| {
            let index = u32::try_from(number % copies).expect("it is below the count");
            BigBoard::task_id(number / copies, index).to_string()
        };
        let requests = all / TASKS_ASKED;
        let request = |first: u64| {
            let ids = (0..TASKS_ASKED).map(|next| Value::from(id(first + next * requests)));
            json!({"tasks": ids.collect::<Vec<_>>()}).to_string()
        };
        (0..requests).map(request).collect()
    }
}

impl Drop for Knowing {
    fn drop(&mut self) {
        self.host.kill();
        if let Err(err) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {err}", self.dir.display());
        }
    }
}

/// Does it so often a second, whatever is still under way: from the moment that each was due until
/// it was done, in ms, sorted.
fn at_rate(
    per_second: u32,
    during: Duration,
    at_once: usize,
    work: impl Fn(usize) + Sync,
) -> Vec<f64> {
    let begun = Instant::now();
    let pause = Duration::from_secs(1) / per_second;
    let (next, took) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let client = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let due = pause * u32::try_from(number).expect("there are few");
        if due >= during {
            return;
        }
        pass(due.saturating_sub(begun.elapsed()));
        work(number);
        let took_ms = (begun.elapsed() - due).as_secs_f64() * 1e3;
        took.lock().expect("nobody panics").push(took_ms);
    };
    thread::scope(|scope| {
        let clients = (0..at_once).map(|_| scope.spawn(|| on(Core::First, client)));
        let clients: Vec<_> = clients.collect();
        let joined = clients.into_iter().map(|one| one.join());
        joined.for_each(|one| one.expect("it does not panic"));
    });
    let mut took = took.into_inner().expect("nobody panics");
    took.sort_by(f64::total_cmp);
    took
}

/// What so many in a hundred kept below.
fn late(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Does it on that core alone; what it starts stays there.
fn on<T>(core: Core, work: impl FnOnce() -> T) -> T {
    let me = Pid::from_raw(0);
    let all = sched_getaffinity(me).expect("a thread may ask for its own");
    let mut cores = (0..CpuSet::count()).filter(|core| all.is_set(*core) == Ok(true));
    let chosen = match core {
        Core::First => cores.next(),
        Core::Last => cores.next_back(),
    };
    let mut one = CpuSet::new();
    one.set(chosen.expect("we run on one")).expect("it exists");
    sched_setaffinity(me, &one).expect("a thread may choose among its own");
    let done = work();
    sched_setaffinity(me, &all).expect("they were its own");
    done
}
