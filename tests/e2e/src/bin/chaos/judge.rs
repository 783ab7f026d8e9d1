//! What must be true of a round, by what the Dockers and the kernel say, and of memory.

use crate::draw::Round;
use e2e::{
    lab::fleet::{Happened, LabFleet, Moves},
    usage::resident_mib,
};
use std::fmt;

/// A round in which no check failed.
#[derive(Debug)]
pub(crate) struct Verdict {
    started: usize,
    ended: usize,
}

/// Says what was wrong with a round at whose beginning these containers lived, by host, and through
/// which at least so many were wanted.
pub(crate) fn judge(
    round: &Round,
    living: &[Vec<String>],
    moves: &Moves,
    wanted: u32,
) -> Result<Verdict, String> {
    let (started, ended) = (moves.started.len(), moves.ended.len());
    if round.moves_nothing() && started + ended > 0 {
        return Err(format!("this was to move nothing: {moves:#?}"));
    }
    no_bad_moment(round, living, moves, wanted)?;
    Ok(Verdict { started, ended })
}

/// That no container was ended where no more than wanted lived.
///
/// Hosts that are hurt end theirs, or are silent about them: they count as if all of theirs lived
/// on, so that only what is certainly wrong is called so.
fn no_bad_moment(
    round: &Round,
    living: &[Vec<String>],
    moves: &Moves,
    wanted: u32,
) -> Result<(), String> {
    let hurt = round.hurt();
    let mut alive: usize = living.iter().map(Vec::len).sum();
    let mut events: Vec<(&Happened, bool)> = moves.started.iter().map(|it| (it, true)).collect();
    events.extend(moves.ended.iter().map(|it| (it, false)));
    events.sort_by_key(|(happened, _)| happened.event.at_nanos);
    for (happened, is_start) in events {
        if is_start {
            alive += 1;
        } else if !hurt.contains(&happened.host) {
            alive -= 1;
            if alive < wanted as usize {
                return Err(format!(
                    "{alive} of {wanted} were left when {happened:?} ended"
                ));
            }
        }
    }
    Ok(())
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} started, {} ended", self.started, self.ended)
    }
}

/// Resident memory of the fattest agent after each round, in MiB.
#[derive(Debug, Default)]
pub(crate) struct Memory(Vec<f64>);

/// So much more, in MiB, the last quarter of the rounds may need than the second: what is kept for
/// an hour of a few hundred tasks that stopped, and what the allocator makes of it.
const GROWTH_MIB_MAX: f64 = 2.0;
/// With fewer rounds nothing is said of growth.
const ROUNDS_MIN: usize = 20;

impl Memory {
    pub(crate) fn note(&mut self, fleet: &LabFleet) {
        let each = fleet.hosts.iter().map(|host| resident_mib(host.pid()));
        self.0.push(each.fold(0.0, f64::max));
    }

    /// The medians of the second and the last quarter: in the first one all is new.
    fn quarters(&self) -> (f64, f64) {
        let quarter = self.0.len() / 4;
        let median = |part: &[f64]| {
            let mut part = part.to_vec();
            part.sort_by(f64::total_cmp);
            part.get(part.len() / 2).copied().unwrap_or_default()
        };
        let last = self.0.len() - quarter;
        (
            median(&self.0[quarter..2 * quarter]),
            median(&self.0[last..]),
        )
    }

    /// Says so where it does not stay what it is.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let (second, last) = self.quarters();
        if self.0.len() >= ROUNDS_MIN && last > second + GROWTH_MIB_MAX {
            return Err(format!("{self} It may grow by {GROWTH_MIB_MAX} MiB."));
        }
        Ok(())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (second, last) = self.quarters();
        write!(
            f,
            "Memory of the fattest agent: {second:.1} MiB in the second quarter, {last:.1} MiB in \
             the last."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Fault;
    use e2e::{docker::Event, wait::secs};

    fn happened(host: usize, action: &str, at_nanos: u64) -> Happened {
        let event = Event {
            action: action.to_owned(),
            id: format!("{host}{at_nanos}"),
            name: "web".to_owned(),
            at_nanos,
        };
        Happened { host, event }
    }

    fn round(fault: Fault) -> Round {
        Round {
            faults: vec![fault],
            lasts: secs(5),
        }
    }

    fn living(counts: [usize; 3]) -> Vec<Vec<String>> {
        counts.map(|count| vec!["id".to_owned(); count]).to_vec()
    }

    #[test]
    fn whoever_ends_a_container_before_its_successor_runs_is_found() {
        let end_first = Moves {
            started: vec![happened(1, "start", 20)],
            ended: vec![happened(0, "die", 10)],
        };
        let split = round(Fault::CutOff(2));
        let found = judge(&split, &living([1, 1, 1]), &end_first, 3);
        assert!(found.unwrap_err().contains("2 of 3"));
        let start_first = Moves {
            started: vec![happened(1, "start", 5)],
            ..end_first
        };
        judge(&split, &living([1, 1, 1]), &start_first, 3).unwrap();
    }

    #[test]
    fn what_ends_on_a_host_without_power_is_nobodys_fault() {
        let moves = Moves {
            started: vec![happened(1, "start", 20)],
            ended: vec![happened(0, "die", 10)],
        };
        judge(&round(Fault::Lose(vec![0])), &living([1, 1, 1]), &moves, 3).unwrap();
    }

    #[test]
    fn a_restart_in_a_round_that_moves_nothing_is_found() {
        let moves = Moves {
            started: vec![happened(1, "start", 20)],
            ended: Vec::new(),
        };
        let killed = round(Fault::KillAgents(vec![1]));
        assert!(judge(&killed, &living([1, 1, 1]), &moves, 3).is_err());
    }

    #[test]
    fn memory_that_grows_is_found() {
        let still = Memory((0..40).map(|round| 14.0 + f64::from(round % 3)).collect());
        still.judge().unwrap();
        let grows = Memory((0..40).map(|round| 14.0 + f64::from(round) / 5.0).collect());
        assert!(grows.judge().is_err());
        let few = Memory(vec![10.0, 14.0, 18.0, 22.0]);
        few.judge().unwrap();
    }
}
