//! What a keeper rules about a slot of a run: it ends, is tried again, or is given up for lost.

use super::{
    Keeper, Ruling,
    held::{Held, why_it_stopped},
    round::Round,
};
use crate::{
    cluster::{
        body::{HostStatus, Key, Slot, TaskReport},
        run::{End, Ended, Run},
    },
    ids::Generation,
    schedule::view::SlotView,
    spec::run::OnLost,
    task::status::TaskStatus,
};

impl Keeper {
    /// A slot of a run that was given to somebody.
    pub(super) fn run(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        (generation, slot): (Generation, &Slot),
    ) -> Option<Ruling> {
        let Some(end) = &slot.end else {
            if view.copies.is_empty() && view.board.is_called_off(view.service.id, view.index) {
                return self.called_off(round, view, (generation, slot));
            }
            return self.held(round, view, (generation, slot));
        };
        // Its host was taken for lost, and the task runs on: it has not ended, then.
        let is_back = end.how == Ended::Lost
            && view.current(&view.copies, generation, slot).is_some()
            && !planted!(RunsWhatHasEnded);
        is_back.then(|| {
            Ruling::Change(Slot {
                end: None,
                reason: "its host is back, and its task runs on".to_owned(),
                ..slot.clone()
            })
        })
    }

    /// A person ordered the task to stop before it was begun.
    fn called_off(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        (generation, slot): (Generation, &Slot),
    ) -> Option<Ruling> {
        let begun = view.reported.iter().find(|(host, _, report)| {
            Some(*host) == slot.host
                && !report.refused
                && report
                    .slot
                    .as_ref()
                    .is_some_and(|label| label.generation >= generation)
        });
        if begun.is_some() {
            return self.held(round, view, (generation, slot));
        }
        let end = End::taskless(round.now.wall, Ended::Stopped);
        let reason = "it was called off before it began".to_owned();
        Some(ended(slot, end, reason))
    }

    /// The task of a slot of this run was told to stop, or has stopped: by its own doing, or not.
    pub(super) fn run_stopped(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        (held, run): (Held<'_>, &Run),
        report: &TaskReport,
    ) -> Option<Ruling> {
        if report.last != TaskStatus::Stopped {
            return None;
        }
        let definition = view.board.definition(report.definition);
        let essential = |name: &str| {
            let mut containers = definition.iter().flat_map(|d| &d.containers);
            containers
                .find(|c| c.name == name)
                .is_none_or(|c| c.essential)
        };
        let end = End::of(run, report, essential);
        let again = match end.how {
            Ended::Succeeded | Ended::Stopped => false,
            Ended::Failed | Ended::TimedOut => held.slot.tried < run.options.retries,
            Ended::Lost => run.options.on_lost == OnLost::Rerun,
        };
        if again || planted!(RunsWhatHasEnded) {
            return match self.failed(round, view, held, report)? {
                Ruling::HandOver(slot) => Some(Ruling::HandOver(Slot {
                    tried: held.slot.tried.saturating_add(1),
                    ..slot
                })),
                ruling => Some(ruling),
            };
        }
        Some(ended(held.slot, end, why_it_stopped(report)))
    }

    /// The host of a slot of a run is down, or does not know of it any more: if nothing else was
    /// asked for, that is the end.
    pub(super) fn run_lost(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        (held, run): (Held<'_>, &Run),
        reason: String,
    ) -> Ruling {
        if run.options.on_lost == OnLost::Rerun || planted!(RunsTheLostAgain) {
            return self.pass_on(round, view, held, 0, reason);
        }
        let end = End::taskless(round.now.wall, Ended::Lost);
        ended(held.slot, end, reason)
    }
}

fn ended(slot: &Slot, end: End, reason: String) -> Ruling {
    Ruling::Change(Slot {
        end: Some(Box::new(end)),
        reason,
        ..slot.clone()
    })
}

/// The one host that a task of a run was to run on is gone for good, and nothing of it was begun.
pub(super) fn never_begun(
    round: &Round<'_>,
    view: &SlotView<'_>,
    (old, placed): (Option<&Slot>, &Slot),
) -> Option<Ruling> {
    let chosen = view.service.run?.host_of(view.index)?;
    let left = view.board.status(chosen) == Some(HostStatus::Left);
    let is_gone = left || view.board.is_buried(&Key::Host(chosen));
    if placed.host.is_some() || !is_gone {
        return None;
    }
    let end = End::taskless(round.now.wall, Ended::Lost);
    let reason = "the host that was chosen for it has gone".to_owned();
    Some(match old {
        Some(slot) => ended(slot, end, reason),
        None => Ruling::HandOver(Slot {
            end: Some(Box::new(end)),
            reason,
            ..placed.clone()
        }),
    })
}
