//! Leaving: this host's tasks are moved to others first; then it says goodbye, and its agent ends.
//!
//! While it leaves, the keepers hand its slots over as those of any host that is to be empty. What
//! nobody takes over in time stays, and so does the host, unless it was told to go in any case.

use super::Agent;
use crate::{
    cluster::body::{HostStatus, Slot, TaskReport},
    command::{CommandId, Outcome, Refusal},
    effect::{Effect, Effects},
    ids::TaskId,
    limits,
    task::{machine::Task, status::StopCode},
    time::{Mono, Now, Span},
};
use serde::{Deserialize, Serialize};

/// How many tasks that were not taken over a refusal explains.
const EXPLAINED_MAX: usize = 3;
/// For stopped containers to be told of, after the longest that stopping their tasks may take.
const TELLING_TAKES: Span = Span::from_secs(10);

/// A host on its way out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Leaving {
    /// Who waits to be told.
    callers: Vec<CommandId>,
    force: bool,
    within: Span,
    until: Mono,
    /// So many tasks were told to stop, since nobody took them over.
    stopped: Option<u32>,
}

impl Leaving {
    pub(super) const fn deadline(&self) -> Mono {
        self.until
    }
}

impl Agent {
    /// Begins to leave, or joins what has begun; whoever asked is answered at its end.
    pub(super) fn leave(
        &mut self,
        now: Now,
        id: CommandId,
        (within, force): (Option<Span>, bool),
        fx: &mut Effects,
    ) -> Result<(), Refusal> {
        if !force {
            let tasks = self.live_tasks_on(self.config.host);
            if tasks > 0 && !self.has_successors() {
                return Err(Refusal::LastHost { tasks });
            }
        }
        let within = within.unwrap_or(self.config.timings.leave_timeout);
        let until = now.mono + within;
        let leaving = self.leaving.get_or_insert(Leaving {
            callers: Vec::new(),
            force,
            within,
            until,
            stopped: None,
        });
        if leaving.callers.len() >= limits::LEAVE_CALLERS_MAX {
            let max = limits::LEAVE_CALLERS_MAX as u64;
            return Err(Refusal::Limit {
                what: "the number of callers that wait for this host to leave",
                max,
            });
        }
        leaving.callers.push(id);
        if leaving.stopped.is_none() {
            leaving.force |= force;
            (leaving.within, leaving.until) = (within, until);
        }
        self.status = HostStatus::Leaving;
        self.publish_host(now, fx);
        Ok(())
    }

    /// Whether anybody is there who could take tasks over.
    fn has_successors(&self) -> bool {
        let me = self.config.host;
        self.board.hosts().any(|(host, _, report)| {
            host != me
                && report.status == HostStatus::Active
                && self.board.is_up(host)
                && !self.board.is_leaving(host)
        })
    }

    /// To be called at the end of every step: goes on with leaving, as far as it has come.
    pub(super) fn go_on_leaving(&mut self, now: Now, fx: &mut Effects) {
        let Some(leaving) = &self.leaving else {
            return;
        };
        let late = now.mono >= leaving.until;
        let (force, stopped) = (leaving.force, leaving.stopped);
        let live = self.live_tasks_on(self.config.host);
        let is_empty = live == 0 && !self.roster.iter().any(|task| task.report.last.is_live());
        match stopped {
            _ if is_empty => self.say_goodbye(now, fx),
            // Docker does not end them; whoever waits for us must not wait for ever.
            Some(_) if late => self.say_goodbye(now, fx),
            Some(_) => {}
            None if force && (late || !self.has_successors()) => self.stop_the_rest(now, fx),
            None if late => self.stay(now, live, fx),
            None => {}
        }
    }

    fn say_goodbye(&mut self, now: Now, fx: &mut Effects) {
        let Some(leaving) = self.leaving.take() else {
            return;
        };
        self.status = HostStatus::Left;
        self.publish_host(now, fx);
        self.settle(now, fx);
        let stopped = leaving.stopped.unwrap_or(0);
        for id in leaving.callers {
            let result = Ok(Outcome::Left { stopped });
            fx.push(Effect::Reply { id, result });
        }
        fx.push(Effect::Left);
    }

    fn stop_the_rest(&mut self, now: Now, fx: &mut Effects) {
        let live = self.roster.iter().filter(|task| !task.is_stopping());
        let live: Vec<TaskId> = live.map(|task| task.id).collect();
        let takes = self.roster.iter().map(Task::stopping_takes).max();
        let until = now.mono + takes.unwrap_or(Span::ZERO) + TELLING_TAKES;
        if let Some(leaving) = &mut self.leaving {
            leaving.stopped = Some(u32::try_from(live.len()).unwrap_or(u32::MAX));
            leaving.until = until;
        }
        let code = StopCode::ServiceSchedulerInitiated;
        let reason = "its host leaves, and nobody took it over in time";
        for task in live {
            self.roster.stop(now, task, code, reason, fx);
        }
        self.settle(now, fx);
    }

    /// Nobody took the rest over: the host goes on as before, and says why.
    fn stay(&mut self, now: Now, tasks: u32, fx: &mut Effects) {
        let Some(leaving) = self.leaving.take() else {
            return;
        };
        let why = self.why_not_taken_over();
        self.status = HostStatus::Active;
        self.all_dirty = true;
        self.publish_host(now, fx);
        self.settle(now, fx);
        for id in leaving.callers {
            let refusal = Refusal::NotTakenOver {
                tasks,
                seconds: leaving.within.as_ms() / 1_000,
                why: why.clone(),
            };
            let result = Err(refusal);
            fx.push(Effect::Reply { id, result });
        }
    }

    fn why_not_taken_over(&self) -> String {
        let tasks = self.board.tasks_on(self.config.host);
        let live = tasks.filter(|(_, report)| report.last.is_live());
        let told: Vec<String> = live
            .take(EXPLAINED_MAX)
            .map(|(task, report)| {
                let slot = report.slot.as_ref();
                let found = slot.and_then(|label| {
                    let (_, slot) = self.board.slot(label.service, label.index)?;
                    Some((label, slot))
                });
                match found {
                    Some((label, slot)) => {
                        let (service, index) = (&label.service_name, label.index);
                        format!("slot {index} of {service}: {}", self.state_of(slot, report))
                    }
                    None => format!("task {task} serves no service"),
                }
            })
            .collect();
        told.join("; ")
    }

    /// Where a slot stands whose copy still runs here.
    fn state_of(&self, slot: &Slot, report: &TaskReport) -> String {
        let elsewhere = slot.host.filter(|host| *host != self.config.host);
        match elsewhere.and_then(|host| self.board.host(host)) {
            Some((_, next)) => format!(
                "{} was given it, and has not started {}:{} yet",
                next.name, report.family, report.revision
            ),
            None => slot.reason.clone(),
        }
    }
}
