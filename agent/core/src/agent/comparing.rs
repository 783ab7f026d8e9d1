//! What the container runtime says: containers found, lost, and whether it answers at all.

use super::Agent;
use crate::{
    cluster::{body::RuntimeStatus, run::title},
    effect::Effects,
    task::runtime::{Observed, RuntimeEvent},
    time::{Now, Span},
};

/// How long a container that ran and was not found is in doubt: the comparison may have been made
/// before it was started.
const DOUBT: Span = Span::from_ms(200);

impl Agent {
    /// Containers were found. What the roster has let go or never knew, the board may remember: how
    /// the task ended, or that its service is gone.
    fn recall(&mut self, now: Now, found: &[Observed], fx: &mut Effects) {
        for labels in found.iter().map(|observed| &observed.labels) {
            let (me, task) = (self.config.host, labels.task);
            if self.roster.get(task).is_none() {
                match self.board.task_at(me, task).cloned() {
                    Some(report) => {
                        let definition = self.board.definition(report.definition).cloned();
                        self.roster.remember(task, report, definition);
                    }
                    None => {
                        let definition = self.board.definition(labels.definition).cloned();
                        self.roster.adopt(now, labels, definition);
                    }
                }
                self.recall_protection(now, task);
            }
        }
        self.stop_deleted(now, fx);
    }

    /// Of a service that is gone nothing is begun any more, nor of a run's slot that has ended;
    /// also not what the disk says was to be.
    fn stop_deleted(&mut self, now: Now, fx: &mut Effects) {
        let live = self.roster.iter().filter(|task| !task.is_stopping());
        let of_slots = live.filter_map(|task| Some((task.id, task.report.slot.as_ref()?)));
        let over = of_slots.filter_map(|(task, slot)| {
            let what = match self.board.is_service_gone(slot.service) {
                true => "was deleted",
                false if self.board.has_ended(slot) => "has ended",
                false => return None,
            };
            Some((task, format!("{} {what}", title(&slot.service_name))))
        });
        let over: Vec<_> = over.collect();
        for (task, reason) in over {
            self.stop_copy(now, task, &reason, fx);
        }
    }

    pub(super) fn on_runtime(&mut self, now: Now, event: RuntimeEvent, fx: &mut Effects) {
        // Images that people want here are no task's matter.
        let event = match event {
            RuntimeEvent::ImagePulling { image, progress } => {
                return self.pulls.on_progress(&image, progress);
            }
            RuntimeEvent::ImagePulled { image, outcome } => {
                return self.on_image_pulled(now, &image, outcome, fx);
            }
            event => event,
        };
        match &event {
            RuntimeEvent::Available { .. }
                if planted!(StaysOutOfService) && self.roster.has_compared() => {}
            RuntimeEvent::Available { version } => {
                // What ran before may have ended unseen: nothing is vouched for until it is
                // compared.
                let reason = "its containers are being compared".into();
                self.runtime = RuntimeStatus::Unavailable { reason };
                self.runtime_version = Some(version.as_str().into());
            }
            RuntimeEvent::Unavailable { reason } => {
                self.runtime_version = None;
                self.runtime = RuntimeStatus::Unavailable {
                    reason: reason.as_str().into(),
                };
            }
            // Whether a task that was found has stopped already, the peers may know better.
            RuntimeEvent::Listed(_) if !self.joining.is_done() => return,
            RuntimeEvent::Listed(found) => self.recall(now, found, fx),
            _ => {}
        }
        let compared = matches!(event, RuntimeEvent::Listed(_));
        self.roster.on_runtime(now, event, fx);
        if compared {
            self.on_compared(now);
        }
        self.publish_host(now, fx);
    }

    /// What this host says of its tasks is true, unless one that ran was missed for the first time:
    /// then the next comparison decides, and until then nothing new is vouched for.
    fn on_compared(&mut self, now: Now) {
        if self.roster.is_in_doubt() {
            self.next_compare = self.next_compare.min(now.mono + DOUBT);
        } else if let Some(version) = self.runtime_version.clone() {
            self.touch_own();
            self.runtime = RuntimeStatus::Available { version };
        }
    }
}
