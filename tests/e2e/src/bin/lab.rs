//! `lab`: several hosts on this machine, each with a Docker of its own, and faults to give them.

use e2e::lab::{
    HOSTS_MAX, Lab, Outcome,
    faults::{self, Fault, Way},
    host::{Host, Loss},
};
use nix::sys::signal::Signal;
use std::{
    env,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

const USAGE: &str = "\
lab up [N] [-- ARGS...]       hosts 1..N (5), each with its own Docker (ARGS: more for dockerd)
lab status                    hosts, containers, faults
lab exec I CMD...             a command on host I (0: the observer, a network and nothing more)
lab docker I ARGS...          the docker command on the engine of host I
lab spawn I NAME CMD...       a program that goes on by itself; its output: DIR/hI/NAME.log
lab signal I NAME SIGNAL      to what was spawned, or to dockerd, containerd: KILL TERM STOP CONT
lab dockerd I...              starts Docker again where it has ended
lab kill I...                 loss of power: link down, then every process gone at once
lab stop I...                 orderly: SIGTERM to what was spawned, then to Docker, then off
lab boot I... [--fresh]       on again, with its disk (or as a new machine in the same place)
lab freeze I... | thaw I...   every process stalls, the kernel answers
lab cut A [B]                 no packet between A and B (or anybody); silently
lab cut1 A B                  no packet from A to B
lab udp A [B]                 no datagram between A and B (or anybody); TCP goes through
lab loss I PERCENT            of the packets to and from host I (0: none)
lab partition '1,2|3,4,5'     cuts between the sides, in place of all earlier cuts
lab heal                      no fault of the network any more
lab down                      all of it is gone
lab check                     what a lab needs is here; says what is missing where not
LAB_NAME=labtwo makes another lab beside the first; LAB_DIR is where its files go (/tmp).";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    match Lab::named("lab").and_then(|lab| act(&lab, &words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("lab: {why}");
            ExitCode::FAILURE
        }
    }
}

fn act(lab: &Lab, words: &[&str]) -> Outcome<()> {
    let (verb, rest) = words.split_first().expect("there is a word");
    match (*verb, rest) {
        ("up", rest) => up(lab, rest),
        ("down", []) => lab.down(),
        // Whoever gets so far has all that a lab needs.
        ("check", []) => Ok(()),
        ("status", []) => status(lab),
        ("exec", [host, command @ ..]) if !command.is_empty() => exec(&one(lab, host)?, command),
        ("docker", [host, arguments @ ..]) => docker(&one(lab, host)?, arguments),
        ("spawn", [host, name, command @ ..]) if !command.is_empty() => {
            spawn(&one(lab, host)?, name, command)
        }
        ("signal", [host, name, signal]) => {
            let signal = format!("SIG{}", signal.to_uppercase().trim_start_matches("SIG"));
            let signal = signal.parse::<Signal>();
            one(lab, host)?.signal(name, signal.map_err(|_| "there is no such signal")?)
        }
        ("dockerd", hosts) => {
            let arguments = lab.dockerd_arguments();
            all(lab, hosts)?
                .iter()
                .try_for_each(|host| host.start_dockerd(&arguments))
        }
        ("kill", hosts) => lab
            .kill(&numbers(hosts)?)
            .map(|losses| tell(hosts, &losses)),
        ("stop", hosts) => lab
            .stop(&numbers(hosts)?)
            .map(|losses| tell(hosts, &losses)),
        ("boot", ["--fresh", hosts @ ..] | [hosts @ .., "--fresh"]) => {
            lab.boot_fresh(&numbers(hosts)?)
        }
        ("boot", hosts) => lab.boot(&numbers(hosts)?),
        ("freeze", hosts) => all(lab, hosts)?.iter().try_for_each(Host::freeze),
        ("thaw", hosts) => all(lab, hosts)?.iter().try_for_each(Host::thaw),
        (_, rest) => disturb(lab, verb, rest),
    }
}

/// The faults of the network.
fn disturb(lab: &Lab, verb: &str, rest: &[&str]) -> Outcome<()> {
    let both = |a: &str, b: Option<&str>| {
        let b = b.map(number).transpose()?;
        Ok::<_, String>(Way::between(number(a)?, b))
    };
    match (verb, rest) {
        ("cut", [a]) => add(lab, both(a, None)?.map(Fault::Cut).to_vec()),
        ("cut", [a, b]) => add(lab, both(a, Some(b))?.map(Fault::Cut).to_vec()),
        ("cut1", [a, b]) => {
            let (from, to) = (Some(number(a)?), Some(number(b)?));
            add(lab, vec![Fault::Cut(Way { from, to })])
        }
        ("udp", [a]) => add(lab, both(a, None)?.map(Fault::Udp).to_vec()),
        ("udp", [a, b]) => add(lab, both(a, Some(b))?.map(Fault::Udp).to_vec()),
        ("loss", [host, percent]) => lose(lab, number(host)?, percent),
        ("partition", [sides]) => {
            let cuts = faults::partition(sides)?;
            lab.set_faults(|faults| {
                faults.retain(|fault| !matches!(fault, Fault::Cut(_)));
                faults.extend(cuts);
            })
        }
        ("heal", []) => lab.set_faults(Vec::clear),
        _ => Err(format!("cannot understand this:\n{USAGE}")),
    }
}

fn add(lab: &Lab, more: Vec<Fault>) -> Outcome<()> {
    lab.set_faults(|faults| {
        faults.retain(|known| !more.contains(known));
        faults.extend(more);
    })
}

fn lose(lab: &Lab, host: u8, percent: &str) -> Outcome<()> {
    let percent: f64 = percent
        .parse()
        .map_err(|_| format!("{percent:?} is no number"))?;
    if !(0.0..=100.0).contains(&percent) {
        return Err("0 to 100 percent".to_owned());
    }
    let thousandths = (percent * 10.0).round() as u16;
    lab.set_faults(|faults| {
        faults.retain(|fault| !matches!(fault, Fault::Loss { host: of, .. } if *of == host));
        if thousandths > 0 {
            faults.push(Fault::Loss { host, thousandths });
        }
    })
}

fn number(word: &str) -> Outcome<u8> {
    let number = word.parse().ok().filter(|number| *number <= HOSTS_MAX);
    number.ok_or_else(|| format!("{word:?} is no number of a host"))
}

fn numbers(words: &[&str]) -> Outcome<Vec<u8>> {
    let words = words.iter().flat_map(|word| word.split(','));
    let numbers: Vec<u8> = words.map(number).collect::<Outcome<_>>()?;
    if numbers.is_empty() {
        Err("which host?".to_owned())
    } else {
        Ok(numbers)
    }
}

fn one(lab: &Lab, word: &str) -> Outcome<Host> {
    Ok(lab.host(number(word)?))
}

fn all(lab: &Lab, words: &[&str]) -> Outcome<Vec<Host>> {
    let numbers = numbers(words)?.into_iter();
    Ok(numbers.map(|number| lab.host(number)).collect())
}

fn up(lab: &Lab, rest: &[&str]) -> Outcome<()> {
    let (count, arguments) = match rest {
        [] => ("5", &[][..]),
        ["--", arguments @ ..] => ("5", arguments),
        [count] => (*count, &[][..]),
        [count, "--", arguments @ ..] => (*count, arguments),
        _ => return Err(format!("cannot understand this:\n{USAGE}")),
    };
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let from = Instant::now();
    let started = lab.up(number(count)?, &arguments)?;
    let seconds = from.elapsed().as_secs_f64();
    println!(
        "{count} hosts are up, {} of them started, {seconds:.1} s",
        started.len()
    );
    Ok(())
}

fn exec(host: &Host, command: &[&str]) -> Outcome<()> {
    let words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    let mut command = host.command(&words)?;
    command.stdin(std::process::Stdio::inherit());
    Err(format!("cannot run {words:?}: {}", command.exec()))
}

fn docker(host: &Host, arguments: &[&str]) -> Outcome<()> {
    let socket = format!("unix://{}", host.docker_socket().display());
    let mut command = Command::new("docker");
    Err(format!(
        "docker: {}",
        command.arg("--host").arg(socket).args(arguments).exec()
    ))
}

fn spawn(host: &Host, name: &str, command: &[&str]) -> Outcome<()> {
    let good = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !good || ["init", "dockerd"].contains(&name) {
        return Err(format!(
            "{name:?} is no name for what is spawned: letters, digits and -"
        ));
    }
    let words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    let process = host.spawn(name, &words)?;
    println!("{}", process.pid);
    Ok(())
}

fn tell(hosts: &[&str], losses: &[Loss]) {
    for (host, loss) in hosts.iter().flat_map(|word| word.split(',')).zip(losses) {
        let millis = (loss.gone_nanos - loss.silent_nanos) / 1_000_000;
        println!("h{host} is off: silent at once, its last process gone {millis} ms later");
    }
}

fn status(lab: &Lab) -> Outcome<()> {
    if !lab.is_up() {
        return Err(format!("{} is not up", lab.name));
    }
    for host in lab.hosts() {
        let state = match (host.is_on(), host.is_frozen()) {
            (false, _) => "off",
            (true, true) => "frozen",
            (true, false) => "on",
        };
        let docker = match host.process("dockerd") {
            Some(dockerd) => format!("dockerd {}", dockerd.pid),
            None => "no dockerd".to_owned(),
        };
        let living = host.living().len();
        let (name, address) = (host.name(), host.address());
        println!("{name:<4} {address:<12} {state:<7} {docker:<16} {living} containers live");
    }
    for fault in lab.faults()? {
        println!("fault: {fault}");
    }
    println!("files: {}", Path::new(&lab.dir).display());
    Ok(())
}
