//! What was measured: the values of several trials, and what they were to reach.

use std::fmt;

/// What the values of a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    /// Of which parts are said, too.
    TenthsOfMilliseconds,
    Seconds,
    Mebibytes,
    /// Of one core.
    Percent,
    Times,
    /// How many times as much as something else.
    Ratio,
    EachSecond,
    MebibytesEachSecond,
}

/// What the median of a row is to be. Without one, less is better.
#[derive(Clone, Copy, Debug)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// The values of several trials. Infinite is what did not happen as long as somebody waited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trials(Vec<f64>);

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) who: String,
    unit: Unit,
    trials: Trials,
    /// And how it is said.
    goal: Option<(Goal, String)>,
    /// How many seconds somebody waited at most.
    bound_s: Option<u64>,
}

impl Trials {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn push_count(&mut self, count: usize) {
        self.0.push(count as f64);
    }

    /// `None` is what did not happen.
    pub(crate) fn push_if(&mut self, value: Option<f64>) {
        self.0.push(value.unwrap_or(f64::INFINITY));
    }

    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = f64>) {
        self.0.extend(values);
    }

    /// Trial by trial: how many times as much as the other's.
    pub(crate) fn over(&self, other: &Self) -> Self {
        assert_eq!(self.0.len(), other.0.len(), "they are measured in pairs");
        let pairs = self.0.iter().zip(&other.0);
        Self(pairs.map(|(ours, others)| ours / others).collect())
    }

    pub(crate) fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() % 2 {
            _ if sorted.is_empty() => f64::INFINITY,
            1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }
}

impl Row {
    pub(crate) fn new(
        what: &'static str,
        who: impl Into<String>,
        unit: Unit,
        trials: Trials,
    ) -> Self {
        Self {
            what,
            who: who.into(),
            unit,
            trials,
            goal: None,
            bound_s: None,
        }
    }

    /// The median is to be at most this, which is said so.
    pub(crate) fn aims_at(mut self, limit: f64, said: impl Into<String>) -> Self {
        self.goal = Some((Goal::AtMost(limit), said.into()));
        self
    }

    /// The median is to be at least this, which is said so.
    pub(crate) fn aims_above(mut self, limit: f64, said: impl Into<String>) -> Self {
        self.goal = Some((Goal::AtLeast(limit), said.into()));
        self
    }

    /// Nobody waited longer.
    pub(crate) fn waited_at_most(mut self, seconds: u64) -> Self {
        self.bound_s = Some(seconds);
        self
    }

    /// Whether it is a rival's: Docker alone is what all of them stand on.
    fn is_rival(&self) -> bool {
        ["Swarm", "serf", "dnsmasq"]
            .iter()
            .any(|rival| self.who.starts_with(rival))
    }

    fn is_ours(&self) -> bool {
        self.who.starts_with("Holdfast")
    }

    /// The cells of the table: what, who, to reach, median, least to most, trials, verdict.
    pub(crate) fn cells(&self, all: &[Self]) -> Vec<String> {
        let sorted = self.trials.sorted();
        let ends = match (sorted.first(), sorted.last()) {
            (Some(least), Some(most)) => format!("{} to {}", self.said(*least), self.said(*most)),
            _ => String::new(),
        };
        let goal = self.goal.as_ref().map_or("", |(_, said)| said.as_str());
        vec![
            self.what.to_owned(),
            self.who.clone(),
            goal.to_owned(),
            self.said(self.trials.median()),
            ends,
            sorted.len().to_string(),
            self.verdict(all),
        ]
    }

    /// Whether we reached what we were to, and to whom we lose.
    fn verdict(&self, all: &[Self]) -> String {
        let median = self.trials.median();
        let mut verdicts = Vec::new();
        if let Some((goal, _)) = &self.goal {
            let reached = match goal {
                Goal::AtMost(limit) => median <= *limit,
                Goal::AtLeast(limit) => median >= *limit,
            };
            let verdict = if reached { "reached" } else { "**missed**" };
            verdicts.push(verdict.to_owned());
        }
        let beats =
            |row: &&Self| row.is_rival() && row.what == self.what && row.trials.median() < median;
        let better = all.iter().filter(beats).filter(|_| self.is_ours());
        verdicts.extend(better.map(|row| format!("**loses to {}**", row.who)));
        verdicts.join(", ")
    }

    fn said(&self, value: f64) -> String {
        if value.is_infinite() {
            return self
                .bound_s
                .map_or("never".to_owned(), |bound| format!("not in {bound} s"));
        }
        match self.unit {
            Unit::Microseconds => format!("{value:.0} µs"),
            Unit::Milliseconds => format!("{value:.0} ms"),
            Unit::TenthsOfMilliseconds => format!("{value:.1} ms"),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Mebibytes => format!("{value:.1} MiB"),
            Unit::Percent => format!("{value:.2} %"),
            Unit::Times => format!("{value}"),
            Unit::Ratio => format!("{value:.3}"),
            Unit::EachSecond => format!("{value:.2}"),
            Unit::MebibytesEachSecond => format!("{value:.0} MiB/s"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells(&[]);
        write!(f, "{}: {}: {} ({})", cells[0], cells[1], cells[3], cells[4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(who: &str, values: &[f64]) -> Row {
        Row::new("host lost", who, Unit::Seconds, Trials(values.to_vec()))
    }

    #[test]
    fn the_median_and_the_ends_are_said_also_where_something_never_happened() {
        let swarm = row("Swarm", &[f64::INFINITY, 3.0, f64::INFINITY]).waited_at_most(90);
        let cells = swarm.cells(&[]).join(" | ");
        assert_eq!(
            cells,
            "host lost | Swarm |  | not in 90 s | 3.00 s to not in 90 s | 3 | "
        );
        assert_eq!(row("Swarm", &[1.0, 4.0]).cells(&[])[3], "2.50 s");
    }

    #[test]
    fn the_verdict_says_what_was_missed_and_who_was_better() {
        let all = [
            row("Swarm", &[3.0]),
            row("Docker alone", &[0.1]),
            row("Swarm, tuned", &[9.0]),
        ];
        let ours = row("Holdfast", &[4.0]).aims_at(2.0, "at most 2 s");
        assert_eq!(ours.verdict(&all), "**missed**, **loses to Swarm**");
        let ours = row("Holdfast", &[1.0]).aims_at(2.0, "at most 2 s");
        assert_eq!(ours.verdict(&all), "reached");
        assert_eq!(all[2].verdict(&all), "", "only ours is judged");
    }

    #[test]
    fn what_is_measured_in_pairs_is_judged_pair_by_pair() {
        let (ours, alone) = (
            Trials(vec![9.0, 22.0, 30.0]),
            Trials(vec![10.0, 20.0, 30.0]),
        );
        let row = Row::new("times", "Holdfast", Unit::Ratio, ours.over(&alone));
        let cells = row.clone().aims_above(1.0, "≥ 1").cells(&[]).join(" | ");
        let expected = "times | Holdfast | ≥ 1 | 1.000 | 0.900 to 1.100 | 3 | reached";
        assert_eq!(cells, expected);
        assert_eq!(row.aims_above(1.01, "more").verdict(&[]), "**missed**");
    }
}
