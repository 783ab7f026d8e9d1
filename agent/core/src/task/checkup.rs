//! What one check of a container has found so far, and when it is asked again.

use crate::{
    spec::health::HealthCheck,
    task::status::Health,
    time::{Mono, Now, Span},
};
use serde::{Deserialize, Serialize};

/// The first question, and between the first ones: what starts fast is soon known to be well.
const FIRST_PACE: Span = Span::from_ms(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CheckKind {
    /// Does it live?
    Liveness,
    /// May it be used?
    Readiness,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Checkup {
    pub health: Health,
    /// What the last failure said.
    pub detail: String,
    /// Those in a row that count.
    failures: u32,
    pace: Span,
    next_at: Option<Mono>,
}

impl Checkup {
    /// As an earlier life of the agent has found it.
    pub fn remembered(health: Health) -> Self {
        Self {
            health,
            ..Self::default()
        }
    }

    /// The container runs: it is asked from now on.
    pub fn begin(&mut self, now: Now) {
        (self.pace, self.next_at) = (FIRST_PACE, Some(now.mono + FIRST_PACE));
    }

    pub const fn deadline(&self) -> Option<Mono> {
        self.next_at
    }

    /// Says that it is to be asked now, and again later should there be no answer.
    pub fn is_due(&mut self, now: Now, check: &HealthCheck) -> bool {
        let due = self.next_at.is_some_and(|at| now.mono >= at);
        if due {
            let (timeout, interval) = (seconds(check.timeout_s), seconds(check.interval_s));
            self.next_at = Some(now.mono + timeout + interval);
        }
        due
    }

    /// The answer to a question of the agent's own, of a container that has run for so long.
    pub fn on_answer(
        &mut self,
        now: Now,
        ran: Span,
        check: &HealthCheck,
        outcome: Result<(), String>,
    ) {
        let interval = seconds(check.interval_s);
        match outcome {
            Ok(()) => {
                (self.failures, self.pace) = (0, interval);
                (self.health, self.detail) = (Health::Healthy, String::new());
            }
            Err(detail) => {
                let is_early = ran < seconds(check.start_period_s.unwrap_or(0));
                // Before the first success it is asked more often than its failures count.
                let counts = self.pace >= interval && (!is_early || self.health != Health::Unknown);
                self.failures += u32::from(counts);
                if self.failures >= check.retries {
                    self.health = Health::Unhealthy;
                }
                self.detail = detail;
                self.pace = Span(self.pace.0 * 2).min(interval);
            }
        }
        self.next_at = Some(now.mono + self.pace);
    }

    /// The container runtime, which asks by itself, has come to another opinion.
    pub fn on_told(&mut self, health: Health, detail: String) {
        (self.health, self.detail) = (health, detail);
    }
}

fn seconds(seconds: u32) -> Span {
    Span::from_secs(u64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec::health::{NetProbe, Probe},
        time::Wall,
    };

    const CHECK: HealthCheck = HealthCheck {
        probe: Probe::Net(NetProbe {
            port: 80,
            path: None,
        }),
        interval_s: 1,
        timeout_s: 2,
        retries: 2,
        start_period_s: Some(3),
    };

    fn at(ms: u64) -> Now {
        Now {
            mono: Mono(ms * 1_000),
            wall: Wall(ms),
        }
    }

    /// Answers each question at once; the times of the questions, and the health after each.
    fn story(until_ms: u64, answer: impl Fn(u64) -> bool) -> Vec<(u64, Health)> {
        let (mut checkup, mut told) = (Checkup::default(), Vec::new());
        checkup.begin(at(0));
        while let Some(next) = checkup.deadline().filter(|next| next.0 <= until_ms * 1_000) {
            let now = at(next.0 / 1_000);
            assert!(checkup.is_due(now, &CHECK));
            assert!(!checkup.is_due(now, &CHECK));
            let outcome = match answer(now.wall.0) {
                true => Ok(()),
                false => Err("refused".to_owned()),
            };
            checkup.on_answer(now, Span(next.0), &CHECK, outcome);
            told.push((now.wall.0, checkup.health));
        }
        told
    }

    #[test]
    fn what_starts_fast_is_soon_known_to_be_well() {
        use Health::{Healthy, Unknown};
        assert_eq!(
            story(3_000, |ms| ms >= 600),
            [
                (200, Unknown),
                (600, Healthy),
                (1_600, Healthy),
                (2_600, Healthy)
            ]
        );
    }

    #[test]
    fn what_never_answers_is_unhealthy_when_its_grace_and_its_retries_are_over() {
        use Health::{Unhealthy, Unknown};
        assert_eq!(
            story(5_000, |_| false),
            [
                (200, Unknown),
                (600, Unknown),
                (1_400, Unknown),
                (2_400, Unknown),
                (3_400, Unknown),
                (4_400, Unhealthy),
            ]
        );
    }

    #[test]
    fn what_was_well_must_fail_several_times_in_a_row() {
        use Health::{Healthy, Unhealthy};
        let flaps = |ms: u64| ms < 1_000 || (2_000..3_000).contains(&ms);
        let told = story(5_500, flaps);
        assert_eq!(told.iter().filter(|(_, h)| *h == Unhealthy).count(), 2);
        assert_eq!(told[2], (2_200, Healthy), "one failure is none");
    }

    #[test]
    fn a_question_without_an_answer_is_asked_again() {
        let mut checkup = Checkup::default();
        checkup.begin(at(0));
        assert!(checkup.is_due(at(200), &CHECK));
        assert_eq!(checkup.deadline(), Some(at(3_200).mono));
    }
}
