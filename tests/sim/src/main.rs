//! Runs one seed, many seeds, or the benchmark: `cargo run --release -p sim -- 7 --trace`.

use sim::{
    bench, floods,
    options::Options,
    run::{Report, run},
    stats::median,
    trace::TraceMode,
};
use std::{ops::Range, process::ExitCode};

const USAGE: &str = "\
sim SEED [--agents N] [--seconds S] [--trace] [--calm] [--codec]
sim seeds FROM..TO [--agents A..B] [--seconds S] [--calm] [--codec]
sim bench [--seconds S]
sim spread [--agents N] [--loss PERCENT]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("bench") => run_bench(&arguments),
        Some("spread") => run_spread(&arguments),
        Some("seeds") => run_seeds(&arguments),
        Some(seed) => match seed.parse() {
            Ok(seed) => run_one(seed, &arguments),
            Err(_) => usage(),
        },
        None => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::FAILURE
}

fn has(arguments: &[String], flag: &str) -> bool {
    arguments.iter().any(|argument| argument == flag)
}

fn value<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    let place = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(place + 1).map(String::as_str)
}

fn number(arguments: &[String], flag: &str, default: u64) -> u64 {
    value(arguments, flag)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

fn options(seed: u64, agents: usize, arguments: &[String]) -> Options {
    let mut options = Options::new(seed, agents);
    options.seconds = number(arguments, "--seconds", options.seconds);
    options.calm = has(arguments, "--calm");
    options.codec = has(arguments, "--codec");
    options
}

fn run_one(seed: u64, arguments: &[String]) -> ExitCode {
    let agents = number(arguments, "--agents", 5).max(1) as usize;
    let mut options = options(seed, agents, arguments);
    if has(arguments, "--trace") {
        options.trace = TraceMode::Print;
    }
    match run(options) {
        Ok(report) => {
            print(&report);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            println!("trace hash {:016x}", failure.hash);
            ExitCode::FAILURE
        }
    }
}

fn print(report: &Report) {
    let stats = &report.stats;
    let ms = |micros: u64| micros / 1_000;
    println!("virtual time    {} s", report.virtual_us / 1_000_000);
    println!("steps           {}", stats.steps);
    println!("messages        {}", stats.messages);
    println!("starts, stops   {}, {}", stats.starts, stats.stops);
    println!(
        "restored after  {} ms in the median of {}, {} ms at most",
        ms(median(&stats.restored_us)),
        stats.restored_us.len(),
        ms(stats.restored_us.iter().copied().max().unwrap_or(0))
    );
    println!("converged after {} ms", ms(stats.converged_us.unwrap_or(0)));
    println!("trace hash      {:016x}", report.hash);
}

fn run_seeds(arguments: &[String]) -> ExitCode {
    let Some(seeds) = arguments.get(1).and_then(|text| range(text)) else {
        return usage();
    };
    let agents = value(arguments, "--agents")
        .and_then(range)
        .unwrap_or(5..21);
    let (mut failed, mut converged) = (0, Vec::new());
    let total = seeds.end.saturating_sub(seeds.start);
    for seed in seeds {
        let count = agents.start + seed % (agents.end - agents.start).max(1);
        match run(options(seed, count.max(1) as usize, arguments)) {
            Ok(report) => converged.extend(report.stats.converged_us),
            Err(failure) => {
                failed += 1;
                println!(
                    "seed {seed}, {count} agents, at {} s: {}",
                    failure.at / 1_000_000,
                    { &failure.what }
                );
                println!("  {}", failure.repeat);
            }
        }
    }
    let longest = converged.iter().max().copied().unwrap_or(0) / 1_000;
    let middle = median(&converged) / 1_000;
    println!("{failed} of {total} failed; converged after {middle} ms, {longest} ms at most");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_bench(arguments: &[String]) -> ExitCode {
    let seconds = number(arguments, "--seconds", 1_000);
    match bench::bench(seconds) {
        Ok(speeds) => {
            bench::print(&speeds);
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn run_spread(arguments: &[String]) -> ExitCode {
    let agents = number(arguments, "--agents", 1_000).max(2) as usize;
    let loss_ppm = number(arguments, "--loss", 0) * 10_000;
    match floods::spread_one(1, agents, loss_ppm, 10) {
        Ok(spreads) => {
            floods::print(agents, loss_ppm, &spreads);
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("{what}");
            ExitCode::FAILURE
        }
    }
}
