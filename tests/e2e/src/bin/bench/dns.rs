//! How many questions an agent's DNS answers, and how soon, beside dnsmasq with the same records.

use crate::trials::{Row, Trials, Unit};
use e2e::{
    crew,
    dns::{self, DOMAIN, RecordType},
    fleet::PATIENCE,
    lab::fleet::LabFleet,
    network, skip,
    usage::{TICKS_PER_SECOND, cpu_ticks},
    wait::{secs, until},
};
use serde_json::json;
use std::{
    fmt::Write as _,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

const TASKS: u32 = 10;
const PORT: u16 = 8_600;
const RIVAL_PORT: u16 = 8_601;
const RIVAL: &str = "dnsmasq";
/// Questions under way at once: what a few busy programs ask.
const WINDOW: usize = 16;
const ASKED_FOR: Duration = secs(3);
/// A question without an answer is lost, and another one takes its place.
const ANSWER_WITHIN: Duration = secs(1);
const ANSWER_BYTES_MAX: usize = 4_096;
const RATE_MIN: f64 = 50_000.0;
const DELAY_US_MAX: f64 = 1_000.0;
const KINDS: [(RecordType, &str, &str, &str); 2] = [
    (
        RecordType::A,
        "web.service",
        "DNS, A: answers for each second of a core",
        "DNS, A: 99 % are answered within",
    ),
    (
        RecordType::SRV,
        "_http._tcp.web.service",
        "DNS, SRV of 10 tasks: answers for each second of a core",
        "DNS, SRV of 10 tasks: 99 % are answered within",
    ),
];

/// What a while of asking came to.
struct Asked {
    answers: usize,
    /// In µs, sorted.
    took: Vec<f64>,
}

/// Rate and delay of a server, trial by trial.
#[derive(Default)]
struct Measured {
    rate: Trials,
    delay: Trials,
}

pub(crate) fn answers(trials: usize) -> Option<Vec<Row>> {
    let mut fleet = LabFleet::up(1, &[])?;
    let ip = fleet.hosts[0].address.ip();
    let (ours, theirs) = (SocketAddr::new(ip, PORT), SocketAddr::new(ip, RIVAL_PORT));
    fleet.hosts[0].set("dns", &ours.to_string());
    fleet.start_all();
    let mut definition = crew::definition("web");
    let mapping = json!([{"containerPort": 8080, "name": "http"}]);
    definition["containerDefinitions"][0]["portMappings"] = mapping;
    crew::create_service_of(&fleet.hosts[0], &definition, "web", TASKS, &json!([]));
    fleet.await_running("web", TASKS, PATIENCE);
    await_records(fleet.hosts[0].pid(), ours);
    let rival = start_rival(&fleet, ours, ip);
    if rival.is_none() {
        skip("dnsmasq is not installed: it has no rows");
    }
    let agent = fleet.hosts[0].pid();
    let mut rows = Vec::new();
    for (kind, name, rate, delay) in KINDS {
        let (mut own, mut other) = (Measured::default(), Measured::default());
        for _ in 0..trials {
            own.note(agent, ours, name, kind);
            if let Some(rival) = rival {
                other.note(rival, theirs, name, kind);
            }
        }
        rows.push(
            Row::new(rate, "Holdfast", Unit::EachSecond, own.rate).aims_above(RATE_MIN, "≥ 50,000"),
        );
        rows.push(
            Row::new(delay, "Holdfast", Unit::Microseconds, own.delay)
                .aims_at(DELAY_US_MAX, "≤ 1 ms"),
        );
        if rival.is_some() {
            rows.push(Row::new(rate, RIVAL, Unit::EachSecond, other.rate));
            rows.push(Row::new(delay, RIVAL, Unit::Microseconds, other.delay));
        }
    }
    Some(rows)
}

impl Measured {
    fn note(&mut self, process: u32, server: SocketAddr, name: &str, kind: RecordType) {
        let before = cpu_ticks(process);
        let asked = network::within(process, || ask_for(server, name, kind));
        let asked = asked.unwrap_or_else(|err| panic!("{server}: {err}"));
        let used = (cpu_ticks(process) - before) / TICKS_PER_SECOND;
        self.rate.push(asked.answers as f64 / used);
        self.delay.push(asked.took[asked.took.len() * 99 / 100]);
    }
}

fn await_records(process: u32, server: SocketAddr) {
    until("DNS has all tasks", PATIENCE, || {
        let answer = network::within(process, || {
            dns::ask(server, "_http._tcp.web.service", RecordType::SRV)
        });
        match dns::targets(&answer.map_err(|err| err.to_string())?).len() {
            found if found == TASKS as usize => Ok(()),
            found => Err(format!("{found} are there")),
        }
    });
}

/// On the same host, with the records that the agent has. Its process; `None` where it is absent.
fn start_rival(fleet: &LabFleet, ours: SocketAddr, ip: IpAddr) -> Option<u32> {
    Command::new(RIVAL).arg("--version").output().ok()?;
    let address = format!("web.service.{DOMAIN},{ip}");
    let mut text = format!(
        "no-resolv\nno-hosts\nlisten-address={ip}\nbind-interfaces\nport={RIVAL_PORT}\nuser=root\n\
         local-ttl=1\nhost-record={address}\n"
    );
    let tasks = fleet.hosts[0].look("/v1/cluster-tasks?service=web");
    for task in tasks["tasks"].as_array().expect("a list") {
        let arn = task["taskArn"].as_str().expect("a text");
        let id = arn.rsplit('/').next().expect("an ARN ends with the id");
        let port = &crew::container_of(task, "main")["networkBindings"][0]["hostPort"];
        let target = format!("{id}.task.{DOMAIN}");
        let name = format!("_http._tcp.web.service.{DOMAIN}");
        writeln!(
            text,
            "srv-host={name},{target},{port},1,1\nhost-record={target},{ip}"
        )
        .expect("a string takes it");
    }
    let config = fleet.hosts[0].dir.join("dnsmasq.conf");
    fs::write(&config, text).expect("the directory is ours");
    let words = [RIVAL, "--keep-in-foreground", "--conf-file"].map(str::to_owned);
    let mut words = Vec::from(words);
    let last = words.last_mut().expect("there are three");
    last.push_str(&format!("={}", config.display()));
    let process = fleet.ground(0).spawn(RIVAL, &words);
    let process = process.unwrap_or_else(|why| panic!("{why}"));
    await_records(process.pid, SocketAddr::new(ours.ip(), RIVAL_PORT));
    Some(process.pid)
}

/// Keeps so many questions under way, each with an id of its own.
fn ask_for(server: SocketAddr, name: &str, kind: RecordType) -> io::Result<Asked> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    socket.connect(server)?;
    let mut question = dns::question(name, kind);
    let begun = Instant::now();
    let mut sent = [begun; WINDOW];
    let (mut took, mut answer) = (Vec::new(), vec![0; ANSWER_BYTES_MAX]);
    let mut ask = |id: usize, sent: &mut [Instant; WINDOW]| {
        question[..2].copy_from_slice(&(id as u16).to_be_bytes());
        sent[id] = Instant::now();
        socket.send(&question)
    };
    for id in 0..WINDOW {
        ask(id, &mut sent)?;
    }
    while begun.elapsed() < ASKED_FOR {
        let len = socket.recv(&mut answer)?;
        let id = usize::from(u16::from_be_bytes([answer[0], answer[1]]));
        // No error, and an answer at least.
        assert!(len > 12 && answer[3] & 15 == 0 && answer[7] > 0, "{name}");
        took.push(sent[id].elapsed().as_secs_f64() * 1_000_000.0);
        ask(id, &mut sent)?;
    }
    took.sort_by(f64::total_cmp);
    let answers = took.len();
    Ok(Asked { answers, took })
}
