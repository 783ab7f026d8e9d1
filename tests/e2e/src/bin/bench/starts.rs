//! The start of one task and of fifty: what the agent adds to what its own Docker takes for it.

use crate::{
    lone::Lone,
    trials::{Row, Trials, Unit},
};

const PAIRS: usize = 3;
const TOGETHER: usize = 50;
/// How many at a time Docker is best at, depends on the machine: the best of these counts.
const AT_ONCE: [usize; 4] = [1, 2, 4, 8];
const ONE: &str = "one task asked for → running";
const FIFTY: &str = "50 tasks of one host asked for at once: started a second";
const ONE_TIMES_MAX: f64 = 1.05;
const FIFTY_TIMES_MIN: f64 = 0.95;

/// Three pairs each trial, so that ten trials are thirty.
pub(crate) fn one(trials: usize) -> Option<Vec<Row>> {
    let mut lone = Lone::up()?;
    let twins = lone.twins();
    let (mut ours, mut alone) = <(Trials, Trials)>::default();
    for pair in 0..trials * PAIRS {
        // What came before is once the one's and once the other's.
        for turn in [pair % 2, (pair + 1) % 2] {
            if turn == 0 {
                ours.push(lone.start(1) * 1e3);
                lone.await_running(1);
                lone.stop();
            } else {
                alone.push(lone.start_alone(&twins, 1, 1) * 1e3);
            }
        }
        eprintln!(
            "  {pair}: Holdfast {:.1} ms, Docker alone {:.1} ms",
            ours.last(),
            alone.last()
        );
    }
    let times = ours.over(&alone);
    let what = "… as many times Docker alone, pair by pair";
    let times = Row::new(what, "Holdfast", Unit::Ratio, times);
    Some(vec![
        Row::new(ONE, "Holdfast", Unit::Milliseconds, ours),
        times.aims_at(ONE_TIMES_MAX, "≤ 1.05"),
        Row::new(ONE, "Docker alone", Unit::Milliseconds, alone),
    ])
}

pub(crate) fn fifty(trials: usize) -> Option<Vec<Row>> {
    let mut lone = Lone::up()?;
    let twins = lone.twins();
    let mut ours = Trials::default();
    let mut alone: [Trials; AT_ONCE.len()] = Default::default();
    for trial in 0..trials {
        let turns = AT_ONCE.len() + 1;
        // Each begins once, as nobody knows what the first one finds.
        for turn in (0..turns).map(|turn| (turn + trial) % turns) {
            match turn.checked_sub(1) {
                None => {
                    ours.push(rate(lone.start(TOGETHER)));
                    lone.await_running(TOGETHER);
                    lone.stop();
                }
                Some(way) => {
                    let took = lone.start_alone(&twins, TOGETHER, AT_ONCE[way]);
                    alone[way].push(rate(took));
                }
            }
        }
        let each = alone.each_ref().map(|rates| format!("{:.2}", rates.last()));
        eprintln!(
            "  {trial}: Holdfast {:.2} a second, Docker alone {AT_ONCE:?} at once: {}",
            ours.last(),
            each.join(", ")
        );
    }
    let best = alone
        .iter()
        .max_by(|a, b| a.median().total_cmp(&b.median()));
    let times = ours.over(best.expect("there are several"));
    let what = "… as many times the best of Docker alone";
    let mut rows = vec![
        Row::new(FIFTY, "Holdfast", Unit::EachSecond, ours),
        Row::new(what, "Holdfast", Unit::Ratio, times).aims_above(FIFTY_TIMES_MIN, "≥ 0.95"),
    ];
    for (at_once, rates) in AT_ONCE.into_iter().zip(alone) {
        let who = format!("Docker alone, {at_once} at once");
        rows.push(Row::new(FIFTY, who, Unit::EachSecond, rates));
    }
    Some(rows)
}

fn rate(seconds: f64) -> f64 {
    TOGETHER as f64 / seconds
}
