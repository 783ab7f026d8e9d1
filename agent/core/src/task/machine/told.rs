//! What the runtime says of the containers of a task.

use super::{Owner, Started, Task};
use crate::{
    effect::Effects,
    ids::RuntimeId,
    task::{
        container::{AfterFailure, Container, Phase},
        runtime::{Exit, FailureKind, Observed, ObservedStatus, RuntimeFailure},
        status::{StopCode, TaskStatus},
    },
    time::{Mono, Now},
};

impl Task {
    pub fn on_created(&mut self, now: Now, name: &str, runtime_id: RuntimeId, fx: &mut Effects) {
        let stopping = self.is_stopping();
        let Some(container) = self.find(name) else {
            return;
        };
        if container.phase > Phase::Creating {
            return;
        }
        container.runtime_id = Some(runtime_id);
        container.enter(match stopping && !planted!(StartsWhatWasStopped) {
            true => Phase::Stopped,
            false => Phase::Created,
        });
        self.settle(now, fx);
    }

    pub fn on_started(&mut self, now: Now, name: &str, started: Started, fx: &mut Effects) {
        let id = self.id;
        let of_the_host = self.host_ports(name);
        let Some(container) = self.find(name) else {
            return;
        };
        if container.phase == Phase::Stopped && !container.ended_since(started.since) {
            // By another start: one had failed, or was over, and a second one was under way.
            fx.ask(container.stop(id));
        }
        if container.phase >= Phase::Running {
            return;
        }
        let Started {
            runtime_id,
            since,
            ports,
        } = started;
        container.runtime_id = Some(runtime_id);
        container.ports = of_the_host.unwrap_or(ports).into();
        // It may have run for long before this agent came to know.
        let age_us = now.wall.0.saturating_sub(since.0).saturating_mul(1_000);
        container.started = Some(Mono(now.mono.0.saturating_sub(age_us)));
        container.enter(Phase::Running);
        self.report.started_at.get_or_insert(since);
        self.settle(now, fx);
    }

    /// A create or start failed.
    pub fn on_failed(&mut self, now: Now, name: &str, failure: &RuntimeFailure, fx: &mut Effects) {
        let (id, stopping) = (self.id, self.is_stopping());
        let Some(container) = self.find(name) else {
            return;
        };
        let starting = match container.phase {
            Phase::Creating => false,
            Phase::Starting => true,
            _ => return,
        };
        if !stopping && container.on_failure(now, failure) == AfterFailure::TryAgain {
            return;
        }
        if !starting {
            container.enter(Phase::Gone);
        } else if failure.kind == FailureKind::Permanent {
            container.enter(Phase::Stopped);
        } else {
            // Nobody knows whether it runs: a stop finds out, and is harmless if it does not.
            container.enter(Phase::Stopping);
            fx.ask(container.stop(id));
        }
        self.stop(now, StopCode::TaskFailedToStart, &failure.reason, fx);
        self.settle(now, fx);
    }

    pub fn on_exited(&mut self, now: Now, name: &str, exit: Exit, fx: &mut Effects) {
        let Some(container) = self.find(name) else {
            return;
        };
        if container.is_over() {
            return;
        }
        container.enter(Phase::Stopped);
        let essential = container.essential;
        let reason = format!(
            "Essential container in task exited: {name} {}",
            exit.in_words()
        );
        container.exit = Some(exit);
        if essential && !planted!(IgnoresTheEssential) {
            self.stop(now, StopCode::EssentialContainerExited, &reason, fx);
        }
        self.settle(now, fx);
    }

    pub fn on_stop_failed(&mut self, now: Now, name: &str) {
        if let Some(container) = self.find(name).filter(|c| c.phase == Phase::Stopping) {
            container.on_stop_failure(now);
        }
    }

    pub fn on_removed(&mut self, now: Now, name: &str, fx: &mut Effects) {
        let Some(container) = self.find(name) else {
            return;
        };
        if planted!(IgnoresRemovals) {
            return;
        }
        if container.phase == Phase::Created {
            let reason = format!("{name} was removed before it was started");
            self.stop(now, StopCode::TaskFailedToStart, &reason, fx);
        } else if !container.is_over() {
            // Somebody removed it behind our back.
            let exit = Exit {
                code: None,
                out_of_memory: false,
                at: now.wall,
            };
            self.on_exited(now, name, exit, fx);
        }
        if let Some(container) = self.find(name) {
            container.enter(Phase::Gone);
        }
        self.settle(now, fx);
    }

    pub fn on_remove_failed(&mut self, now: Now, name: &str) {
        if let Some(container) = self.find(name).filter(|c| c.phase == Phase::Removing) {
            container.on_remove_failure(now);
        }
    }

    /// A full comparison found this container of ours.
    pub fn on_observed(&mut self, now: Now, observed: Observed, fx: &mut Effects) {
        let (id, stopping) = (self.id, self.is_stopping());
        let name = observed.labels.container.clone();
        if self.find(&name).is_none() {
            let essential = observed.labels.essential;
            let grace = crate::limits::STOP_TIMEOUT_DEFAULT;
            let found = Container::new(name.clone(), essential, grace, Phase::Unknown);
            self.containers.push(found);
        }
        let container = self.find(&name).expect("it is there now");
        container.runtime_id = Some(observed.runtime_id);
        let never_ran = observed.status == ObservedStatus::Created;
        let runs = matches!(observed.status, ObservedStatus::Running { .. });
        let lost = match container.phase {
            Phase::Starting if never_ran && stopping => container.stop(id),
            Phase::Starting if never_ran => container.start(id),
            Phase::Stopping if never_ran || runs => container.stop(id),
            Phase::Stopped | Phase::Gone if runs => container.stop(id),
            Phase::Removing => container.remove(id),
            _ => None,
        };
        let lags = container.lags(now.mono, lost.is_some());
        fx.ask(lost.filter(|_| lags));
        match observed.status {
            _ if planted!(TrustsOnlyAnswers) => {}
            ObservedStatus::Created => {
                self.on_created(now, &name, observed.runtime_id, fx);
            }
            ObservedStatus::Running { since, ports } => {
                let runtime_id = observed.runtime_id;
                self.on_started(
                    now,
                    &name,
                    Started {
                        runtime_id,
                        since,
                        ports,
                    },
                    fx,
                );
            }
            ObservedStatus::Exited(_) if planted!(TakesExitedForRunning) => {}
            ObservedStatus::Exited(exit) => self.on_exited(now, &name, exit, fx),
        }
    }

    /// A full comparison is over, and these containers of ours were not in it. One that was known
    /// before the agent started is gone; of another the comparison may have been too early to know,
    /// so the second in a row that misses it is believed.
    pub fn on_missing(&mut self, now: Now, seen: &[&str], owner: Owner<'_>, fx: &mut Effects) {
        self.compared = true;
        let stopping = self.is_stopping();
        for number in 0..self.containers.len() {
            let name = self.containers[number].name.clone();
            if seen.contains(&name.as_str()) {
                continue;
            }
            let has_been = self.has_been(number);
            let container = &mut self.containers[number];
            match container.phase {
                Phase::Unknown if self.report.last < TaskStatus::Running && !has_been => {
                    container.enter(Phase::Creating);
                    if self.report.desired == TaskStatus::Stopped {
                        container.enter(Phase::Gone);
                    } else {
                        self.create(number, owner, fx);
                    }
                }
                Phase::Unknown => self.on_removed(now, &name, fx),
                Phase::Gone => {}
                Phase::Creating => match (container.lags(now.mono, true), stopping) {
                    (true, true) => container.enter(Phase::Gone),
                    (true, false) => self.create(number, owner, fx),
                    (false, _) => {}
                },
                Phase::Created
                | Phase::Starting
                | Phase::Running
                | Phase::Stopping
                | Phase::Stopped
                | Phase::Removing => {
                    if container.is_missed(now.mono) {
                        self.on_removed(now, &name, fx);
                    }
                }
            }
        }
        self.settle(now, fx);
    }
}
