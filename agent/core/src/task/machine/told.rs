//! What the runtime says of the containers of a task.

use super::{Started, Task};
use crate::{
    effect::Effects,
    ids::{ImageDigest, RuntimeId},
    spec::task_definition::RestartPolicy,
    task::{
        container::{AfterFailure, Container, Phase},
        runtime::{Exit, FailureKind, Observed, ObservedStatus, RuntimeFailure},
        status::{StopCode, TaskStatus},
    },
    time::{Mono, Now, Span},
};

impl Task {
    /// A create that is under way waits for its image.
    pub fn on_pulling(&mut self, now: Now, name: &str, progress: String) {
        let stopping = self.is_stopping();
        let found = self.find(name);
        if let Some(container) = found.filter(|c| c.phase == Phase::Creating && !stopping) {
            container.on_progress(progress);
            self.sync(now);
        }
    }

    pub fn on_created(
        &mut self,
        now: Now,
        name: &str,
        (runtime_id, image): (RuntimeId, Option<ImageDigest>),
        fx: &mut Effects,
    ) {
        let stopping = self.is_stopping();
        let Some(container) = self.find(name) else {
            return;
        };
        if container.runtime_id.is_none_or(|known| known == runtime_id) {
            // Also where a comparison has found it first.
            container.image = image.or(container.image);
        }
        if container.phase > Phase::Creating {
            self.sync(now);
            return;
        }
        container.runtime_id = Some(runtime_id);
        // How far its image had come.
        container.reason.clear();
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
        // Of the run before, whose end is known: the next one has not been asked for yet.
        if container.is_to_run_again() {
            return;
        }
        let Started {
            runtime_id,
            since,
            ports,
        } = started;
        container.runtime_id = Some(runtime_id);
        container.ports = of_the_host.unwrap_or(ports).into();
        // It may have run for long before this agent came to know; what it started itself has not,
        // whatever two clocks say.
        let is_found = container.phase == Phase::Unknown;
        let age_ms = if is_found {
            now.wall.ms_since(since)
        } else {
            0
        };
        let age_us = age_ms.saturating_mul(1_000);
        container.started = Some(Mono(now.mono.0.saturating_sub(age_us)));
        container.reason.clear();
        container.enter(Phase::Running);
        self.report.started_at.get_or_insert(since);
        let number = self.containers.iter().position(|c| c.name == name);
        self.begin_checks(number.expect("it was found above"), now);
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
            self.sync(now);
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
        let stopping = self.is_stopping();
        let Some(container) = self.find(name) else {
            return;
        };
        // While the task stops, no run follows on another.
        if !stopping && container.is_past(&exit) {
            return;
        }
        self.on_end(now, name, exit, fx);
    }

    /// The run that there is has ended.
    fn on_end(&mut self, now: Now, name: &str, exit: Exit, fx: &mut Effects) {
        let (id, stopping) = (self.id, self.is_stopping());
        let Some(container) = self.find(name) else {
            return;
        };
        if container.is_over() {
            self.correct(now, name, &exit);
            return;
        }
        if self.is_run_again(now, name, &exit) {
            if let Some(container) = self.find(name) {
                container.restart(now, exit);
            }
            self.settle(now, fx);
            return;
        }
        let Some(container) = self.find(name) else {
            return;
        };
        container.enter(Phase::Stopped);
        if !stopping && exit.code.is_some_and(|code| code != 0) {
            fx.ask(container.read_log(id));
        }
        let essential = container.essential;
        let reason = essential_exited(name, &exit);
        container.exit = Some(exit);
        if essential && !planted!(IgnoresTheEssential) {
            self.used_until = None;
            self.stop(now, StopCode::EssentialContainerExited, &reason, fx);
        }
        self.settle(now, fx);
    }

    /// Why it ended, in its own words: beside the reason of the task, if it is the reason.
    pub fn on_last_words(&mut self, now: Now, name: &str, text: &str) {
        let Some(container) = self.find(name).filter(|c| c.is_over()) else {
            return;
        };
        container.reason = format!("it wrote last: {text}");
        let Some(exit) = &container.exit else {
            return;
        };
        let before = essential_exited(name, exit);
        if *self.report.stopped_reason == before {
            self.report.stopped_reason = format!("{before}; it wrote last: {text}").into();
        }
        self.sync(now);
    }

    /// What is told of an end once more knows it better: the killer's name comes late, sometimes.
    fn correct(&mut self, now: Now, name: &str, exit: &Exit) {
        let Some(container) = self.find(name) else {
            return;
        };
        let Some(known) = container.exit.as_mut().filter(|_| exit.out_of_memory) else {
            return;
        };
        let before = essential_exited(name, known);
        known.out_of_memory = true;
        let after = essential_exited(name, known);
        if let Some(rest) = self.report.stopped_reason.strip_prefix(&*before) {
            self.report.stopped_reason = format!("{after}{rest}").into();
        }
        self.sync(now);
    }

    /// The container's own policy makes its end good, and the task goes on.
    fn is_run_again(&self, now: Now, name: &str, exit: &Exit) -> bool {
        let defined = self
            .definition
            .as_ref()
            .and_then(|known| known.container(name));
        let policy = defined.and_then(|defined| defined.restart.as_ref());
        if planted!(RunsAgainUnasked) {
            return !self.is_stopping() && exit.code.is_some();
        }
        let (Some(policy), Some(code)) = (policy.filter(|policy| policy.enabled), exit.code) else {
            return false;
        };
        let period = policy
            .attempt_period_s
            .unwrap_or(RestartPolicy::ATTEMPT_PERIOD_S);
        let container = self.containers.iter().find(|c| c.name == name);
        // Of what ended while this agent did not run it is not known how long it ran.
        let is_unknown = container.is_some_and(|c| c.phase == Phase::Unknown && c.exit.is_none());
        let started = container.and_then(|container| container.started);
        let ran = started.map_or(Span::ZERO, |since| now.mono.since(since));
        let ran_long = is_unknown || ran >= Span::from_secs(u64::from(period));
        !self.is_stopping() && ran_long && !policy.ignored_exit_codes.contains(&code)
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
        self.on_gpus(observed.labels.gpus.clone());
        let container = self.find(&name).expect("it is there now");
        container.runtime_id = Some(observed.runtime_id);
        let never_ran = observed.status == ObservedStatus::Created;
        let runs = matches!(observed.status, ObservedStatus::Running { .. });
        // An end that was made good, and nothing since: the start, or its answer, is lost.
        let is_past = match &observed.status {
            ObservedStatus::Exited(exit) => !stopping && container.is_past(exit),
            ObservedStatus::Created | ObservedStatus::Running { .. } => false,
        };
        let lost = match container.phase {
            Phase::Starting if is_past => container.start(id),
            Phase::Starting if never_ran && stopping => container.stop(id),
            Phase::Starting if never_ran => container.start(id),
            Phase::Stopping if never_ran || runs => container.stop(id),
            Phase::Stopped | Phase::Gone if runs => container.stop(id),
            Phase::Removing => container.remove(id),
            _ => None,
        };
        // Of one that runs it is believed in the end, however the clocks stand.
        let has_ended = is_past && container.phase == Phase::Running;
        let lags = container.lags(now.mono, lost.is_some() || has_ended);
        fx.ask(lost.filter(|_| lags));
        match observed.status {
            _ if planted!(TrustsOnlyAnswers) => {}
            ObservedStatus::Created => {
                self.on_created(now, &name, (observed.runtime_id, None), fx);
            }
            ObservedStatus::Running {
                since,
                ports,
                health,
            } => {
                let started = Started {
                    runtime_id: observed.runtime_id,
                    since,
                    ports,
                };
                self.on_started(now, &name, started, fx);
                self.on_health_seen(now, &name, health, fx);
            }
            ObservedStatus::Exited(_) if planted!(TakesExitedForRunning) => {}
            ObservedStatus::Exited(exit) if has_ended && lags => self.on_end(now, &name, exit, fx),
            ObservedStatus::Exited(exit) => self.on_exited(now, &name, exit, fx),
        }
    }

    /// A full comparison is over, and these containers of ours were not in it. One that was known
    /// before the agent started is gone; of another the comparison may have been too early to know,
    /// so the second in a row that misses it is believed.
    pub fn on_missing(&mut self, now: Now, seen: &[&str], fx: &mut Effects) {
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
                    container.enter(match stopping {
                        true => Phase::Gone,
                        false => Phase::Waiting,
                    });
                }
                Phase::Unknown => self.on_removed(now, &name, fx),
                Phase::Waiting | Phase::Gone => {}
                Phase::Creating => match (container.lags(now.mono, true), stopping) {
                    (true, true) => container.enter(Phase::Gone),
                    (true, false) => self.create(number, fx),
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

fn essential_exited(name: &str, exit: &Exit) -> String {
    let end = exit.in_words();
    format!("Essential container in task exited: {name} {end}")
}
