//! What we know of our containers: ownership without asking, and comparisons that are not stale.
//!
//! A full comparison takes a while. What was told meanwhile (a container made, one gone) must not
//! be taken back by it: the ledger notes what changed since it began, and puts it right.

use holdfast_core::{
    ids::{RuntimeId, TaskId},
    task::{
        runtime::{Exit, Labels, Observed, ObservedStatus, PortBinding},
        status::Health,
    },
    time::Wall,
};
use std::collections::{BTreeMap, BTreeSet};

/// Holds our containers only, so that its size is limited by what the core asked for.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    known: BTreeMap<RuntimeId, Known>,
    /// Containers that went away since the comparison under way began.
    gone: BTreeSet<RuntimeId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) labels: Labels,
    pub(crate) status: ObservedStatus,
    /// Docker told of the kernel's out-of-memory killer; its `die` event doesn't say.
    out_of_memory: bool,
    /// Changed since the comparison under way began.
    changed: bool,
}

impl Ledger {
    pub(crate) fn on_created(&mut self, runtime_id: RuntimeId, labels: &Labels) {
        self.gone.remove(&runtime_id);
        self.known(runtime_id, labels).changed = true;
    }

    pub(crate) fn on_started(&mut self, runtime_id: RuntimeId, since: Wall, ports: &[PortBinding]) {
        let running = ObservedStatus::Running {
            since,
            ports: ports.to_vec(),
            health: Health::Unknown,
        };
        self.advance(runtime_id, running);
    }

    /// Whether that is news: Docker says it once, but its stream may be told twice.
    pub(crate) fn on_health(&mut self, runtime_id: RuntimeId, found: Health) -> bool {
        let Some(known) = self.known.get_mut(&runtime_id) else {
            return false;
        };
        let ObservedStatus::Running { health, .. } = &mut known.status else {
            return false;
        };
        let is_news = *health != found;
        *health = found;
        known.changed = true;
        is_news
    }

    /// Answers with the end as it is to be told: the same one has one moment, whoever tells of it.
    /// `None`: it is that of an earlier run.
    pub(crate) fn on_exited(&mut self, runtime_id: RuntimeId, exit: &Exit) -> Option<Exit> {
        self.advance(runtime_id, ObservedStatus::Exited(exit.clone()));
        match self.status(runtime_id) {
            Some(ObservedStatus::Exited(known)) => Some(known.clone()),
            Some(ObservedStatus::Running { .. }) => None,
            Some(ObservedStatus::Created) | None => Some(exit.clone()),
        }
    }

    /// Nobody knows what has become of it: whoever is to touch it next is to look first.
    pub(crate) fn forget(&mut self, runtime_id: RuntimeId) {
        self.known.remove(&runtime_id);
    }

    /// Those that run, and since when.
    pub(crate) fn running(&self) -> impl Iterator<Item = (RuntimeId, &Labels, Wall)> {
        self.known.iter().filter_map(|(id, known)| {
            let ObservedStatus::Running { since, .. } = known.status else {
                return None;
            };
            Some((*id, &known.labels, since))
        })
    }

    pub(crate) fn has_task(&self, task: TaskId) -> bool {
        self.known.values().any(|known| known.labels.task == task)
    }

    /// Answers with the container's exit, put right, if the container has exited already.
    pub(crate) fn on_out_of_memory(
        &mut self,
        runtime_id: RuntimeId,
        labels: &Labels,
    ) -> Option<Exit> {
        let known = self.known(runtime_id, labels);
        known.out_of_memory = true;
        known.changed = true;
        match &mut known.status {
            ObservedStatus::Exited(exit) if !exit.out_of_memory => {
                exit.out_of_memory = true;
                Some(exit.clone())
            }
            ObservedStatus::Created
            | ObservedStatus::Running { .. }
            | ObservedStatus::Exited(_) => None,
        }
    }

    pub(crate) fn on_gone(&mut self, runtime_id: RuntimeId) {
        self.known.remove(&runtime_id);
        self.gone.insert(runtime_id);
    }

    pub(crate) fn begin_comparison(&mut self) {
        self.gone.clear();
        self.known
            .values_mut()
            .for_each(|known| known.changed = false);
    }

    /// Brings what a comparison found up to the present, and learns from it.
    pub(crate) fn end_comparison(&mut self, found: Vec<Observed>) -> Vec<Observed> {
        let mut before = std::mem::take(&mut self.known);
        for observed in found {
            if self.gone.contains(&observed.runtime_id) {
                continue;
            }
            let was = before.remove(&observed.runtime_id);
            let later = was
                .as_ref()
                .filter(|was| was.changed)
                .map(|was| &was.status);
            let status = match later {
                Some(later) if !is_before(later, &observed.status) => later.clone(),
                _ => observed.status,
            };
            let known = Known {
                labels: observed.labels,
                status,
                out_of_memory: was.is_some_and(|was| was.out_of_memory),
                changed: false,
            };
            self.known.insert(observed.runtime_id, known);
        }
        // 1. What was made since the comparison began may be missing from it. 2. What was there
        // before and wasn't found went away unnoticed, and is forgotten.
        self.known
            .extend(before.into_iter().filter(|(_, was)| was.changed));
        self.gone.clear();
        let listed = self.known.iter().map(|(runtime_id, known)| Observed {
            runtime_id: *runtime_id,
            labels: known.labels.clone(),
            status: known.status.clone(),
        });
        listed.collect()
    }

    /// The container, if it is known to be this task's.
    pub(crate) fn get(
        &self,
        runtime_id: RuntimeId,
        task: TaskId,
        container: &str,
    ) -> Option<&Known> {
        let known = self.known.get(&runtime_id)?;
        (known.labels.task == task && known.labels.container == container).then_some(known)
    }

    pub(crate) fn status(&self, runtime_id: RuntimeId) -> Option<&ObservedStatus> {
        self.known.get(&runtime_id).map(|known| &known.status)
    }

    pub(crate) fn is_out_of_memory(&self, runtime_id: RuntimeId) -> bool {
        self.known
            .get(&runtime_id)
            .is_some_and(|known| known.out_of_memory)
    }

    fn known(&mut self, runtime_id: RuntimeId, labels: &Labels) -> &mut Known {
        self.known.entry(runtime_id).or_insert_with(|| Known {
            labels: labels.clone(),
            status: ObservedStatus::Created,
            out_of_memory: false,
            changed: false,
        })
    }

    fn advance(&mut self, runtime_id: RuntimeId, status: ObservedStatus) {
        if let Some(known) = self.known.get_mut(&runtime_id) {
            if is_before(&known.status, &status) {
                // What the killer said was of the run before, if there was one: it may be sooner
                // known than that the container was started.
                known.out_of_memory &= matches!(known.status, ObservedStatus::Created)
                    || !matches!(status, ObservedStatus::Running { .. });
                known.status = status;
            }
            known.changed = true;
        }
    }
}

/// A container's statuses follow one another in time; one that is run again has several runs.
fn is_before(one: &ObservedStatus, other: &ObservedStatus) -> bool {
    use ObservedStatus::{Created, Exited, Running};
    match (one, other) {
        (_, Created) => false,
        (Created, _) => true,
        (Running { since: one, .. }, Running { since: other, .. }) => one < other,
        (Running { since, .. }, Exited(exit)) => *since <= exit.at,
        (Exited(exit), Running { since, .. }) => exit.at < *since,
        (Exited(one), Exited(other)) => one.at < other.at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::tests::labels;

    const ID: RuntimeId = RuntimeId([0; 32]);
    const EXITED: RuntimeId = RuntimeId([1; 32]);
    const MADE: RuntimeId = RuntimeId([2; 32]);
    const REMOVED: RuntimeId = RuntimeId([3; 32]);
    const STAYS: RuntimeId = RuntimeId([4; 32]);
    const VANISHED: RuntimeId = RuntimeId([5; 32]);

    fn observed(runtime_id: RuntimeId, status: ObservedStatus) -> Observed {
        Observed {
            runtime_id,
            labels: labels(),
            status,
        }
    }

    #[test]
    fn a_comparison_takes_back_nothing_that_was_told_meanwhile() {
        let exit = Exit {
            code: Some(1),
            out_of_memory: false,
            at: Wall(3),
        };
        let mut ledger = Ledger::default();
        for known in [STAYS, VANISHED, REMOVED, EXITED] {
            ledger.on_created(known, &labels());
        }
        ledger.begin_comparison();
        ledger.on_created(MADE, &labels());
        ledger.on_exited(EXITED, &exit);
        ledger.on_gone(REMOVED);
        let listed = ledger.end_comparison(vec![
            observed(
                EXITED,
                ObservedStatus::Running {
                    since: Wall(1),
                    ports: vec![],
                    health: Health::Unknown,
                },
            ),
            observed(REMOVED, ObservedStatus::Created),
            observed(STAYS, ObservedStatus::Created),
        ]);
        assert_eq!(
            listed,
            [
                observed(EXITED, ObservedStatus::Exited(exit)),
                observed(MADE, ObservedStatus::Created),
                observed(STAYS, ObservedStatus::Created),
            ]
        );
        assert!(ledger.status(VANISHED).is_none());
    }

    #[test]
    fn a_late_word_of_the_out_of_memory_killer_puts_the_exit_right() {
        let exit = Exit {
            code: Some(137),
            out_of_memory: false,
            at: Wall(3),
        };
        let mut ledger = Ledger::default();
        ledger.on_created(ID, &labels());
        ledger.on_exited(ID, &exit);
        let right = Exit {
            out_of_memory: true,
            ..exit
        };
        assert_eq!(ledger.on_out_of_memory(ID, &labels()), Some(right.clone()));
        assert_eq!(ledger.status(ID), Some(&ObservedStatus::Exited(right)));
        assert_eq!(ledger.on_out_of_memory(ID, &labels()), None);
    }

    /// On a busy host Docker tells of the killer before it has answered that the container runs.
    #[test]
    fn a_word_of_the_out_of_memory_killer_that_overtakes_the_start_is_of_that_run() {
        let mut ledger = Ledger::default();
        ledger.on_created(ID, &labels());
        assert_eq!(ledger.on_out_of_memory(ID, &labels()), None);
        ledger.on_started(ID, Wall(1), &[]);
        assert!(ledger.is_out_of_memory(ID));
        let exit = Exit {
            code: Some(137),
            out_of_memory: true,
            at: Wall(3),
        };
        ledger.on_exited(ID, &exit);
        ledger.on_started(ID, Wall(5), &[]);
        assert!(!ledger.is_out_of_memory(ID), "that was the run before");
    }

    #[test]
    fn an_end_is_that_of_the_run_before_it() {
        let (mut ledger, run) = (Ledger::default(), |at| Exit {
            code: Some(1),
            out_of_memory: false,
            at: Wall(at),
        });
        ledger.on_created(ID, &labels());
        ledger.on_started(ID, Wall(10), &[]);
        ledger.on_exited(ID, &run(20));
        assert_eq!(ledger.status(ID), Some(&ObservedStatus::Exited(run(20))));
        ledger.on_started(ID, Wall(30), &[]);
        ledger.on_exited(ID, &run(20));
        assert!(matches!(
            ledger.status(ID),
            Some(ObservedStatus::Running { .. })
        ));
        assert!(ledger.on_health(ID, Health::Healthy));
        assert!(!ledger.on_health(ID, Health::Healthy));
        ledger.on_exited(ID, &run(30));
        assert!(!ledger.on_health(ID, Health::Healthy));
        assert_eq!(ledger.status(ID), Some(&ObservedStatus::Exited(run(30))));
    }

    #[test]
    fn a_container_is_known_by_its_task_and_name_alone() {
        let mut ledger = Ledger::default();
        ledger.on_created(ID, &labels());
        assert!(ledger.get(ID, labels().task, "web").is_some());
        assert!(ledger.get(ID, labels().task, "other").is_none());
        assert!(ledger.get(ID, TaskId(9), "web").is_none());
    }
}
