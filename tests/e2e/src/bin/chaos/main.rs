//! `make chaos`: faults drawn from a seed, on real hosts; after each, what Docker really runs.

mod draw;
mod judge;

use draw::{Fault, Round};
use e2e::{
    lab::fleet::LabFleet,
    wait::{pass, secs, wall_nanos},
};
use holdfast_core::rng::Rng;
use judge::{Memory, Verdict};
use nix::sys::signal::Signal;
use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

const HOSTS: u8 = 5;
const SERVICE: &str = "web";
/// What the service begins with; rounds scale it.
const COUNT: u32 = 6;
/// From the end of a fault to exactly the count. Docker takes some seconds after a boot, and a
/// machine with two cores for five of them takes more.
const HELD_WITHIN: Duration = secs(30);
/// When all is well again, nothing moves for so long.
const CALM: Duration = secs(3);

const USAGE: &str = "usage: chaos SEED MINUTES   (as root; `make chaos SEED=7 MINUTES=30`)";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let numbers: Vec<u64> = arguments.iter().flat_map(|word| word.parse()).collect();
    let &[seed, minutes] = &numbers[..] else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let Some(mut fleet) = LabFleet::start(HOSTS) else {
        return ExitCode::FAILURE;
    };
    fleet.create_service(SERVICE, COUNT);
    // Slots that move to new machines in their own time, rounds later, are nobody's fault.
    fleet.hosts[0].cli_ok(&["service", "update", SERVICE, "--rebalance", "off"]);
    fleet.await_agreed(SERVICE, COUNT);
    println!("chaos {seed}: {minutes} minutes on {HOSTS} hosts. To repeat: chaos {seed} {minutes}");
    let (begun, mut rng) = (Instant::now(), Rng::new(seed));
    let (mut wanted, mut rounds, mut memory) = (COUNT, 0, Memory::default());
    let mut held: Vec<Duration> = Vec::new();
    while begun.elapsed() < secs(minutes * 60) {
        rounds += 1;
        let round = Round::draw(&mut rng, usize::from(HOSTS), wanted);
        let at = begun.elapsed().as_secs();
        let (took, verdict) = play(&mut fleet, &round, wanted);
        wanted = round.wanted(wanted);
        println!(
            "{at:>5} s  {round}: held after {:.1} s; {verdict}",
            took.as_secs_f64()
        );
        held.push(took);
        memory.note(&fleet);
    }
    held.sort();
    if let Err(why) = memory.judge() {
        eprintln!("{rounds} rounds: {why}");
        return ExitCode::FAILURE;
    }
    println!(
        "{rounds} rounds, no check failed. From the end of a fault to exactly the count: median \
         {:.1} s, at most {:.1} s. {memory}",
        held[held.len() / 2].as_secs_f64(),
        held[held.len() - 1].as_secs_f64()
    );
    ExitCode::SUCCESS
}

/// One round: the faults come, last and end; the count is exact, and it was never a bad moment.
/// Panics, with the history of the fleet, where a check fails.
fn play(fleet: &mut LabFleet, round: &Round, wanted: u32) -> (Duration, Verdict) {
    fleet.note(&format!("--- {round}"));
    let (from, living) = (wall_nanos(), fleet.living());
    for fault in &round.faults {
        begin(fleet, fault);
    }
    pass(round.lasts);
    let healing = wall_nanos();
    end(fleet, round);
    let count = round.wanted(wanted);
    fleet.await_running(SERVICE, count, HELD_WITHIN);
    let moved = fleet.moves_since(healing);
    fleet.await_all();
    fleet.await_agreed(SERVICE, count);
    fleet.stays(CALM);
    let took = moved.lasted_from(healing);
    let moves = fleet.moves_since(from);
    let verdict = judge::judge(round, &living, &moves, wanted.min(count));
    (took, verdict.unwrap_or_else(|why| panic!("{round}: {why}")))
}

fn begin(fleet: &mut LabFleet, fault: &Fault) {
    match fault {
        Fault::Lose(hosts) | Fault::Replace(hosts) => {
            fleet.lose(hosts);
        }
        Fault::ShutDown(host) => fleet.shut_down(&[*host]),
        Fault::Split(sides) => fleet.partition(sides),
        Fault::CutOff(host) => fleet.cut_off(*host),
        Fault::OneWay(from, to) => fleet.cut_one_way(*from, *to),
        Fault::Between(one, other) => fleet.cut_between(*one, *other),
        Fault::NoDatagrams(host) => fleet.block_udp(&[*host]),
        Fault::KillAgents(hosts) => {
            for host in hosts {
                fleet.hosts[*host].kill();
            }
            fleet.note("agents killed");
            fleet.start_agents(hosts);
        }
        Fault::FreezeAgent(host) => fleet.signal_agent(*host, Signal::SIGSTOP),
        Fault::KillDocker(host) => fleet.signal_docker(*host, Signal::SIGKILL),
        Fault::HangDocker(host) => fleet.signal_docker(*host, Signal::SIGSTOP),
        Fault::Scale(count) => fleet.scale(SERVICE, *count),
    }
}

/// Ends what lasts; what is over already needs no end.
fn end(fleet: &mut LabFleet, round: &Round) {
    fleet.heal();
    for fault in &round.faults {
        match fault {
            Fault::Lose(hosts) => fleet.boot(hosts),
            Fault::Replace(hosts) => replace(fleet, hosts),
            Fault::ShutDown(host) => fleet.boot(&[*host]),
            Fault::FreezeAgent(host) => fleet.signal_agent(*host, Signal::SIGCONT),
            Fault::KillDocker(host) => fleet.start_docker(*host),
            Fault::HangDocker(host) => fleet.signal_docker(*host, Signal::SIGCONT),
            _ => {}
        }
    }
}

/// New machines in the places of lost ones, which are forgotten, as whoever replaces them does.
fn replace(fleet: &mut LabFleet, hosts: &[usize]) {
    let gone: Vec<String> = hosts.iter().map(|host| fleet.hosts[*host].id()).collect();
    fleet.boot_fresh(hosts);
    let alive = (0..usize::from(HOSTS)).find(|host| !hosts.contains(host));
    let alive = &fleet.hosts[alive.expect("not all are lost for good")];
    for id in gone {
        alive.cli_ok(&["host", "forget", &id, "--force"]);
    }
}
