//! Several runs of one thing: on all cores, in order of their seeds, and what is said of them.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Median, least and most of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub median: u64,
    pub least: u64,
    pub most: u64,
}

impl Sample {
    pub fn of(numbers: &[u64]) -> Self {
        Self {
            median: crate::stats::median(numbers),
            least: numbers.iter().min().copied().unwrap_or(0),
            most: numbers.iter().max().copied().unwrap_or(0),
        }
    }

    /// Three columns of a table.
    pub fn columns(&self, form: impl Fn(u64) -> String) -> String {
        let Self {
            median,
            least,
            most,
        } = *self;
        format!("{} | {} | {}", form(median), form(least), form(most))
    }

    /// One cell: the median, and the others behind it where they differ.
    pub fn cell(&self, form: impl Fn(u64) -> String) -> String {
        if self.least == self.most {
            return form(self.median);
        }
        let (least, most) = (form(self.least), form(self.most));
        format!("{} ({least} to {most})", form(self.median))
    }
}

/// Microseconds as seconds.
pub fn seconds(micros: u64) -> String {
    format!("{}.{:02} s", micros / 1_000_000, micros / 10_000 % 100)
}

/// Does it for each of these, on all cores; the answers are in the order of what was asked.
///
/// # Panics
/// If one of them does.
pub fn each<A: Sync, T: Send>(asked: &[A], work: impl Fn(&A) -> T + Sync) -> Vec<T> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers.min(asked.len()) {
            scope.spawn(|| {
                while let Some((number, one)) = take(&next, asked) {
                    let answer = work(one);
                    let mut answers = answers.lock().expect("no worker panics while it holds it");
                    answers.push((number, answer));
                }
            });
        }
    });
    let mut answers = answers.into_inner().expect("the workers have ended well");
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn take<'a, A>(next: &AtomicUsize, asked: &'a [A]) -> Option<(usize, &'a A)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    asked.get(number).map(|one| (number, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_in_the_order_of_the_questions() {
        let squares = each(&[3, 1, 2, 9], |number| number * number);
        assert_eq!(squares, [9, 1, 4, 81]);
        let sample = Sample::of(&squares);
        assert_eq!(sample.cell(|value| value.to_string()), "9 (1 to 81)");
        assert_eq!(sample.columns(seconds), "0.00 s | 0.00 s | 0.00 s");
    }
}
