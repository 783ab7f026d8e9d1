//! Runs one seed, many seeds, or the benchmark: `cargo run --release -p sim -- 7 --trace`.

use holdfast_core::{
    effect::Effect,
    recording::{Recording, Step},
};
use sim::{
    bench::{Asked, bench},
    floods, hours,
    model::{self, Bounds, Root},
    options::Options,
    replay::{Failed, effect_text, header_text, replay, step_text},
    run::{Report, run},
    shrink::shrink,
    stats::median,
    table,
    trace::TraceMode,
    work::work,
};
use std::{ops::Range, process::ExitCode};

const USAGE: &str = "\
sim SEED [--agents N] [--seconds S] [--trace] [--calm] [--choices] [--codec] [--recorded]
         [--only-faults 1,2|none] [--only-orders 1,2|none]
sim seeds FROM..TO [--agents A..B] [--seconds S] [--calm] [--choices] [--codec] [--recorded]
sim shrink SEED [--agents N] [--seconds S] [--choices] [--codec]
sim planted [NUMBER] [--seeds N]
sim hours HOURS [--agents N] [--from SEED]
sim model [--depth N] [--faults N] [--states N]
sim bench [PART..] [--hosts N] [--seeds FROM..TO] [--seconds S] [--write PAGE]
  parts: detection falsehood idleness spreading boot placement churn convergence speed recording
sim spread [--agents N] [--loss PERCENT]
sim replay FILE [--trace] [--step NUMBER] [--any-core]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("bench") => run_bench(&arguments),
        Some("planted") => run_planted(&arguments),
        Some("shrink") => run_shrink(&arguments),
        Some("hours") => run_hours(&arguments),
        Some("model") => run_model(&arguments),
        Some("spread") => run_spread(&arguments),
        Some("replay") => run_replay(&arguments),
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
    options.choices = has(arguments, "--choices");
    options.codec = has(arguments, "--codec");
    options.recorded = has(arguments, "--recorded");
    options.only_faults = value(arguments, "--only-faults").map(list);
    options.only_orders = value(arguments, "--only-orders").map(list);
    options
}

/// `1,2,3`; whatever is no number, such as `none`, adds none.
fn list(text: &str) -> Vec<usize> {
    let numbers = text.split(',');
    numbers.filter_map(|number| number.parse().ok()).collect()
}

fn succeeded(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
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
    println!("exact after     {} ms", ms(stats.exact_us.unwrap_or(0)));
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
    let seeds: Vec<u64> = seeds.collect();
    let count = |seed: u64| agents.start + seed % (agents.end - agents.start).max(1);
    let done = work(&seeds, |seed| {
        run(options(*seed, count(*seed).max(1) as usize, arguments))
    });
    for (place, result) in done {
        match result {
            Ok(report) => converged.extend(report.stats.converged_us),
            Err(failure) => {
                failed += 1;
                let (seed, seconds) = (seeds[place], failure.at / 1_000_000);
                let agents = count(seed);
                println!(
                    "seed {seed}, {agents} agents, at {seconds} s: {}",
                    failure.what
                );
                println!("  {}", failure.repeat);
            }
        }
    }
    let longest = converged.iter().max().copied().unwrap_or(0) / 1_000;
    let middle = median(&converged) / 1_000;
    println!("{failed} of {total} failed; converged after {middle} ms, {longest} ms at most");
    succeeded(failed == 0)
}

fn run_shrink(arguments: &[String]) -> ExitCode {
    let Some(seed) = arguments.get(1).and_then(|text| text.parse().ok()) else {
        return usage();
    };
    let agents = number(arguments, "--agents", 5).max(1) as usize;
    let Some(shrunk) = shrink(options(seed, agents, arguments)) else {
        println!("seed {seed} passes");
        return ExitCode::FAILURE;
    };
    println!("{}", shrunk.failure);
    let left = |kept: &Option<Vec<usize>>| kept.as_ref().map_or(0, Vec::len);
    let (faults, orders) = (&shrunk.options.only_faults, &shrunk.options.only_orders);
    println!(
        "{} faults and {} orders are left, after {} runs",
        left(faults),
        left(orders),
        shrunk.runs
    );
    ExitCode::SUCCESS
}

fn run_hours(arguments: &[String]) -> ExitCode {
    let Some(wanted) = arguments.get(1).and_then(|text| text.parse().ok()) else {
        return usage();
    };
    let agents = number(arguments, "--agents", 10).max(2) as usize;
    let soaked = hours::soak(wanted, agents, number(arguments, "--from", 0));
    for failure in &soaked.failures {
        println!("at {} s: {}", failure.at / 1_000_000, failure.what);
        println!("  {}", failure.repeat);
    }
    println!(
        "{} virtual hours of {agents} faulted hosts in {} runs, {} containers started: {} failed",
        soaked.hours,
        soaked.runs,
        soaked.starts,
        soaked.failures.len()
    );
    succeeded(soaked.failures.is_empty())
}

fn run_model(arguments: &[String]) -> ExitCode {
    let bounds = Bounds {
        depth: number(arguments, "--depth", 5) as u32,
        faults: number(arguments, "--faults", 4) as u32,
        states_max: number(arguments, "--states", 200_000) as usize,
    };
    println!("faults: {}", model::faults().join(", "));
    let mut well = true;
    for root in Root::ALL {
        match model::explore(root, bounds) {
            Ok(found) => println!(
                "{root:?}: {} states, {} events, to a depth of {}; {} fair runs, at rest after \
                 {} ms at most",
                found.states, found.events, found.depth, found.rested, found.rest_ms_max
            ),
            Err(what) => {
                well = false;
                println!("{root:?}: {what}");
            }
        }
    }
    succeeded(well)
}

/// How many steps before the one that is asked for are listed.
const BEFORE: u64 = 10;

fn run_replay(arguments: &[String]) -> ExitCode {
    let Some(path) = arguments.get(1) else {
        return usage();
    };
    let read = match std::fs::read(path) {
        Ok(bytes) if has(arguments, "--any-core") => Recording::read_of_any_core(&bytes),
        Ok(bytes) => Recording::read(&bytes),
        Err(err) => {
            eprintln!("cannot read {path}: {err}");
            return ExitCode::FAILURE;
        }
    };
    let asked: Option<u64> = value(arguments, "--step").and_then(|text| text.parse().ok());
    let trace = has(arguments, "--trace");
    let listed = |number: u64| match asked {
        Some(asked) => number <= asked && number + BEFORE >= asked,
        None => trace,
    };
    let show = |step: &Step, effects: Option<&[Effect]>| match effects {
        None if asked == Some(step.number) => println!("{}\n{step:#?}", step_text(step)),
        None if listed(step.number) => println!("{}", step_text(step)),
        Some(effects) if asked == Some(step.number) => println!("{effects:#?}"),
        Some(effects) if listed(step.number) => {
            for effect in effects {
                println!("{:24}{}", "", effect_text(effect));
            }
        }
        _ => {}
    };
    match read.map_err(Failed::Read).and_then(|recording| {
        println!("{}", header_text(&recording.header));
        replay(recording, show)
    }) {
        Ok(replayed) => {
            println!("{replayed}");
            ExitCode::SUCCESS
        }
        Err(failed) => {
            println!("FAILED: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn run_planted(arguments: &[String]) -> ExitCode {
    let only = arguments.get(1).and_then(|text| text.parse().ok());
    succeeded(table::prove(
        only,
        number(arguments, "--seeds", table::SEEDS),
    ))
}

fn run_bench(arguments: &[String]) -> ExitCode {
    let parts = arguments[1..].iter();
    let parts = parts.take_while(|word| !word.starts_with("--"));
    let asked = Asked {
        parts: parts.cloned().collect(),
        hosts: value(arguments, "--hosts")
            .and_then(|text| text.parse().ok())
            .map(|hosts| [hosts]),
        seeds: value(arguments, "--seeds").and_then(range),
        seconds: number(arguments, "--seconds", 1_000),
        write: value(arguments, "--write").map(str::to_owned),
    };
    match bench(&asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
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
