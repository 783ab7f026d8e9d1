//! Protection: for a while, a task goes on whatever its service is to run, since somebody said so.
//!
//! The task's host alone decides when that ends, by its own clock, and says it in its report: so
//! keepers and copies need no clocks to agree. It holds against smaller counts and hand-overs; not
//! against people's orders, failed checks, deletions, or the loss of the host.

use super::Agent;
use crate::{
    cluster::body::{Body, Key, Protection, TaskReport},
    command::{NotProtected, Outcome},
    effect::Effects,
    ids::TaskId,
    limits,
    time::{Mono, Now, Span, Wall},
};

const MINUTE_MS: u64 = 60_000;
/// What ends so soon after what was ordered is no other order.
const SAME_WITHIN_MS: u64 = 1_000;

impl Agent {
    /// A person's or a task's own order; it goes to the hosts of the tasks as any record does.
    pub(super) fn order_protection(
        &mut self,
        now: Now,
        asked: Vec<TaskId>,
        minutes: Option<u32>,
        fx: &mut Effects,
    ) -> Outcome {
        let until = minutes.map(|minutes| {
            let minutes = minutes.min(limits::PROTECTION_MINUTES_MAX);
            Wall(now.wall.0 + u64::from(minutes) * MINUTE_MS)
        });
        let (mut tasks, mut failed) = (Vec::new(), Vec::new());
        for task in asked {
            match self.check_protectable(task) {
                Ok(()) => tasks.push(task),
                Err(why) => failed.push((task, why)),
            }
        }
        if let [task] = tasks[..]
            && let Some(standing) = self.board.protection(task)
            && is_about_the_same(standing.until, until)
        {
            // Tasks ask for themselves, and as often as they like.
            return Outcome::ProtectionOrdered {
                until: standing.until,
                tasks,
                failed,
            };
        }
        for task in &tasks {
            let order = Body::Protection(Protection { until });
            self.write(now, Key::Protection(*task), 0, Some(order), fx);
        }
        Outcome::ProtectionOrdered {
            until,
            tasks,
            failed,
        }
    }

    fn check_protectable(&self, task: TaskId) -> Result<(), NotProtected> {
        let (_, report) = self.board.task(task).ok_or(NotProtected::Unknown)?;
        let ends = !report.last.is_live()
            || report.stop_code.is_some()
            || self.board.stop_order(task).is_some();
        match &report.slot {
            None => Err(NotProtected::OfNoService),
            Some(label) if self.board.run(label.service).is_some() => {
                Err(NotProtected::OfNoService)
            }
            Some(_) if ends => Err(NotProtected::Ending),
            Some(_) => Ok(()),
        }
    }

    /// An order is on the board; it concerns the task's host.
    pub(super) fn on_protection(&mut self, now: Now, task: TaskId, order: Protection) {
        if self.roster.get(task).is_none() {
            return;
        }
        let until = order.until.and_then(|until| ends_at(now, until));
        if let Some(task) = self.roster.get_mut(task) {
            task.report.protected_until = until.map(|(wall, _)| wall);
        }
        match until {
            Some((_, mono)) => self.protected.insert(task, mono),
            None => self.protected.remove(&task),
        };
        self.touch_slot_of(task);
    }

    /// Of a task of an earlier life: what was ordered may be newer than what it said of itself.
    pub(super) fn recall_protection(&mut self, now: Now, task: TaskId) {
        if let Some(order) = self.board.protection(task) {
            self.on_protection(now, task, order);
        }
    }

    /// To be told of each of this host's reports that changed: also those of an earlier life.
    pub(super) fn note_protection(&mut self, now: Now, task: TaskId, report: &TaskReport) {
        let until = report.protected_until.filter(|_| report.last.is_live());
        match until {
            None => {
                self.protected.remove(&task);
            }
            Some(until) => {
                let (_, mono) = ends_at(now, until).unwrap_or((until, now.mono));
                self.protected.entry(task).or_insert(mono);
            }
        }
    }

    pub(super) fn is_protected(&self, task: TaskId) -> bool {
        let known = self.roster.get(task);
        known.is_some_and(|task| task.report.is_protected())
    }

    pub(super) fn protection_deadline(&self) -> Option<Mono> {
        self.protected.values().min().copied()
    }

    pub(super) fn on_protection_wake(&mut self, now: Now) {
        let over = self.protected.iter().filter(|(_, ends)| now.mono >= **ends);
        let over: Vec<TaskId> = over.map(|(task, _)| *task).collect();
        for task in over {
            self.protected.remove(&task);
            if let Some(known) = self.roster.get_mut(task) {
                known.report.protected_until = None;
            }
            self.touch_slot_of(task);
        }
    }

    fn touch_slot_of(&mut self, task: TaskId) {
        let known = self.roster.get(task);
        let label = known.and_then(|task| task.report.slot.as_ref());
        let slot = label.map(|label| (label.service, label.index));
        self.dirty.slots.extend(slot);
    }
}

/// Nobody can tell one from the other.
fn is_about_the_same(standing: Option<Wall>, asked: Option<Wall>) -> bool {
    match (standing, asked) {
        (Some(standing), Some(asked)) => standing.0.abs_diff(asked.0) < SAME_WITHIN_MS,
        (standing, asked) => standing == asked,
    }
}

/// By both clocks of this host. `None` if it is over; never later than anybody may ask for,
/// whatever the clock of the one who asked shows.
fn ends_at(now: Now, until: Wall) -> Option<(Wall, Mono)> {
    let most = u64::from(limits::PROTECTION_MINUTES_MAX) * MINUTE_MS;
    let left = until.0.saturating_sub(now.wall.0).min(most);
    let ends = (Wall(now.wall.0 + left), now.mono + Span::from_ms(left));
    (left > 0).then_some(ends)
}
