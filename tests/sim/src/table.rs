//! The table of what is proven: each fault case with its planted bug, and each check with its own.

use crate::{
    cases::{CASES_MAX, Case, Verdict, cases, caught_at_boundary},
    planted::Planted,
    work::work,
};
use std::collections::BTreeSet;

/// A bug that so many seeds do not catch has survived.
pub const SEEDS: u64 = 20;
const WIDTH: usize = 72;

/// What is to be proven: one line of the table.
#[derive(Clone, Copy, Debug)]
enum Line {
    Case(Case),
    Check(Planted, &'static str),
}

/// Proves all cases (or the one of this number) and prints the table; whether all is proven, and
/// no case is missing.
pub fn prove(only: Option<u32>, seeds: u64) -> bool {
    let wanted = |case: &Case| only.is_none_or(|only| only == case.number);
    let lines = cases().into_iter().filter(wanted).map(Line::Case);
    let checks = Planted::AT_BOUNDARY.into_iter();
    let checks = checks.filter(|_| only.is_none());
    let checks = checks.map(|(planted, by)| Line::Check(planted, by));
    let lines: Vec<Line> = lines.chain(checks).collect();
    let found = work(&lines, |line| verdict(line, seeds));
    let mut well = true;
    for (place, verdict) in &found {
        well &= verdict.is_proven();
        print(&lines[*place], verdict);
    }
    well && (only.is_some() || count(&lines, &found))
}

fn verdict(line: &Line, seeds: u64) -> Verdict {
    match line {
        Line::Case(case) => case.prove(0..seeds),
        Line::Check(planted, by) => Verdict {
            broken: None,
            caught: caught_at_boundary(*planted, by, 0..seeds),
            otherwise: None,
        },
    }
}

fn print(line: &Line, verdict: &Verdict) {
    let (number, name, bug) = match line {
        Line::Case(case) => (case.number.to_string(), case.name, says(case.bug)),
        Line::Check(planted, _) => ("-".to_owned(), "the checks themselves", says(*planted)),
    };
    println!("{number:>2}  {name}");
    match &verdict.broken {
        Some(failure) => println!("      BROKEN without a bug: {failure}"),
        None if number != "-" => println!("      holds"),
        None => {}
    }
    println!("      planted: {bug}");
    match &verdict.caught {
        Some((seeds, what)) => {
            let what = what.lines().next().unwrap_or_default();
            let short: String = what.chars().take(WIDTH).collect();
            println!("      caught by seed {seeds}: {short}");
        }
        None => match &verdict.otherwise {
            Some(what) => println!("      SURVIVED, but for: {what}"),
            None => println!("      SURVIVED"),
        },
    }
}

fn says(planted: Planted) -> String {
    match planted {
        Planted::Core(bug) => bug.says(),
        other => format!("{other:?}"),
    }
}

/// Prints how many cases are proven; whether it is all of them.
fn count(lines: &[Line], found: &[(usize, Verdict)]) -> bool {
    let numbers = |proven: bool| -> BTreeSet<u32> {
        let meant = found.iter().filter(|(_, v)| v.is_proven() == proven);
        let meant = meant.filter_map(|(place, _)| match lines[*place] {
            Line::Case(case) => Some(case.number),
            Line::Check(..) => None,
        });
        meant.collect()
    };
    let proven: BTreeSet<u32> = numbers(true).difference(&numbers(false)).copied().collect();
    let missing: Vec<u32> = (1..=CASES_MAX).filter(|n| !proven.contains(n)).collect();
    println!("{} of {CASES_MAX} fault cases are proven", proven.len());
    println!("not proven: {missing:?}");
    missing.is_empty()
}
