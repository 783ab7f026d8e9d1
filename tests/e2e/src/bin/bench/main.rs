//! `make bench`: Holdfast, Docker Swarm and Docker alone, in turn, on the hosts of one lab.

mod trials;
mod page;
mod rival;
mod swarm;
mod raw;
mod watching;
mod losses;
mod tasks;
mod stalls;
mod splits;
mod idle;
mod dns;
mod lone;
mod starts;
mod standing;
mod reach;
mod board;
mod reads;
mod seen;

use std::{env, process::ExitCode, time::Instant};
use trials::Row;

/// What a part measures, in so many trials; `None`, loudly, where there can be no lab.
type Measure = fn(usize) -> Option<Vec<Row>>;

/// In the order of the table: the name, what measures it, and how many seconds a trial takes.
const PARTS: [(&str, Measure, u64); 16] = [
    ("host-lost", losses::one_host, 140),
    ("three-lost", losses::three_hosts, 45),
    ("task-killed", tasks::killed, 12),
    ("service-created", tasks::created, 20),
    ("agent-frozen", stalls::frozen, 85),
    ("split-healed", splits::healed, 80),
    ("idle", idle::idle, 45),
    ("task-start", starts::one, 4),
    ("start-50", starts::fifty, 60),
    ("adopt-50", standing::adopted, 12),
    ("running-200", standing::running, 120),
    ("dns", dns::answers, 12),
    ("logs", reach::logs, 12),
    ("exec", reach::exec, 10),
    ("reads", reads::described, 120),
    ("seen", seen::seen, 10),
];
const TRIALS: usize = 10;

/// What was asked for.
struct Options {
    trials: usize,
    only: Vec<String>,
    write: Option<String>,
}

fn main() -> ExitCode {
    let Some(options) = Options::read(env::args().skip(1)) else {
        eprintln!("usage: bench [--trials N] [--only PART,…] [--write PATH]   (as root)");
        let parts = PARTS
            .iter()
            .map(|(name, _, seconds)| format!("{name} ({seconds} s a trial)"));
        eprintln!("parts: {}", parts.collect::<Vec<_>>().join(", "));
        return ExitCode::from(64);
    };
    let begun = Instant::now();
    let mut measured = Vec::new();
    for (name, measure, seconds) in options.parts() {
        let minutes = seconds * options.trials as u64 / 60 + 1;
        eprintln!("{name}: {} trials, some {minutes} min", options.trials);
        let from = Instant::now();
        let Some(rows) = measure(options.trials) else {
            return ExitCode::FAILURE;
        };
        for row in &rows {
            eprintln!("  {row}");
        }
        eprintln!("{name}: {:.0} s", from.elapsed().as_secs_f64());
        measured.push((name, rows));
        // After each part, as a later one may fail.
        if let Some(path) = &options.write {
            page::write(path, &measured);
        }
    }
    println!("{}", page::table(&measured));
    println!("It took {:.0} s.", begun.elapsed().as_secs_f64());
    e2e::program::forget();
    ExitCode::SUCCESS
}

impl Options {
    fn read(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self {
            trials: TRIALS,
            only: Vec::new(),
            write: None,
        };
        let mut arguments = arguments;
        while let Some(flag) = arguments.next() {
            let value = arguments.next()?;
            match flag.as_str() {
                "--trials" => options.trials = value.parse().ok().filter(|trials| *trials > 0)?,
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                "--write" => options.write = Some(value),
                _ => return None,
            }
        }
        let known = |name: &String| PARTS.iter().any(|(part, ..)| part == name);
        options.only.iter().all(known).then_some(options)
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, Measure, u64)> {
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|part| part == name);
        PARTS.into_iter().filter(move |(name, ..)| wanted(name))
    }
}
