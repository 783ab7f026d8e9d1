//! Makes a failing run small: the fewest faults, then the fewest orders, that still fail alike.

use crate::{
    options::Options,
    run::{Failure, drawn, run},
    trace::TraceMode,
};

/// What is left of a failing run.
#[derive(Debug)]
pub struct Shrunk {
    pub failure: Box<Failure>,
    pub options: Options,
    /// How many runs it took.
    pub runs: u32,
}

/// The smallest run found that fails as this one does; `None` if it does not fail.
pub fn shrink(mut options: Options) -> Option<Shrunk> {
    if options.trace == TraceMode::Print {
        options.trace = TraceMode::Keep;
    }
    let failure = run(options.clone()).err()?;
    let kind = kind(&failure.what);
    let (faults, orders) = drawn(&options);
    let mut shrunk = Shrunk {
        failure,
        options,
        runs: 1,
    };
    let faults = (0..faults.len()).collect();
    shrunk.reduce(faults, &kind, |options, kept| {
        options.only_faults = Some(kept);
    });
    let orders = (0..orders.len()).collect();
    shrunk.reduce(orders, &kind, |options, kept| {
        options.only_orders = Some(kept);
    });
    Some(shrunk)
}

impl Shrunk {
    /// Delta debugging (Zeller and Hildebrandt 2002): leaves out ever smaller parts of the list
    /// while the run fails in the same way.
    fn reduce(&mut self, mut kept: Vec<usize>, kind: &str, set: impl Fn(&mut Options, Vec<usize>)) {
        let mut parts = 1;
        while !kept.is_empty() {
            let size = kept.len().div_ceil(parts);
            let smaller = (0..kept.len()).step_by(size).find_map(|from| {
                let to = (from + size).min(kept.len());
                let rest = [&kept[..from], &kept[to..]].concat();
                let mut options = self.options.clone();
                set(&mut options, rest.clone());
                self.runs += 1;
                let failure = run(options.clone()).err()?;
                (self::kind(&failure.what) == kind).then_some((rest, options, failure))
            });
            match smaller {
                Some((rest, options, failure)) => {
                    (self.options, self.failure) = (options, failure);
                    kept = rest;
                    parts = parts.saturating_sub(1).max(1);
                }
                None if size == 1 => return,
                None => parts = (parts * 2).min(kept.len()),
            }
        }
    }
}

/// What was violated, whoever it was: the words without numbers and ids.
fn kind(what: &str) -> String {
    let words = what.split_whitespace();
    let words = words.filter(|word| !word.chars().any(|c| c.is_ascii_digit()));
    words.take(8).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted::Planted;
    use holdfast_core::planted::Bug;

    #[test]
    fn a_failing_run_is_reduced_to_the_few_faults_that_it_takes() {
        let mut options = Options::new(1, 5);
        options.planted = Some(Planted::Core(Bug::TakesExitedForRunning));
        let (faults, orders) = drawn(&options);
        let shrunk = shrink(options).expect("an exit that is not noticed fails");
        let left = shrunk.options.only_faults.as_ref().map_or(0, Vec::len);
        let orders_left = shrunk.options.only_orders.as_ref().map_or(0, Vec::len);
        assert!(left <= 2 && left < faults.len(), "{left} faults are left");
        assert!(orders_left < orders.len(), "{orders_left} orders are left");
        let again = run(shrunk.options).expect_err("what is left fails");
        assert_eq!(again.what, shrunk.failure.what);
    }

    #[test]
    fn a_run_that_passes_is_not_reduced() {
        assert!(shrink(Options::calm(1, 3)).is_none());
    }
}
