//! The checks of a task's containers: asks those that are the agent's own, and hears of all.

use super::Task;
use crate::{
    effect::{Effect, Effects},
    spec::health::HealthCheck,
    task::{
        checkup::{CheckKind, Checkup},
        container::{Container, Phase},
        runtime::RuntimeCommand,
        status::Health,
    },
    time::{Now, Span},
};

const KINDS: [CheckKind; 2] = [CheckKind::Liveness, CheckKind::Readiness];

impl Task {
    /// The check of that kind, if there is one that finds something out.
    pub(super) fn check(&self, name: &str, kind: CheckKind) -> Option<&HealthCheck> {
        let container = self.definition.as_ref()?.container(name)?;
        let check = match kind {
            CheckKind::Liveness => &container.health_check,
            CheckKind::Readiness => &container.readiness_check,
        };
        check.as_ref().filter(|check| check.is_on())
    }

    /// The container runs: it is asked from now on what the agent asks itself.
    pub(super) fn begin_checks(&mut self, number: usize, now: Now) {
        for kind in KINDS {
            let check = self.check(&self.containers[number].name, kind);
            let is_ours = check.is_some_and(|check| check.net().is_some());
            if is_ours {
                checkup(&mut self.containers[number], kind).begin(now);
            }
        }
    }

    /// Asks whoever is to be asked now.
    pub(super) fn ask_checks(&mut self, now: Now, fx: &mut Effects) {
        for number in 0..self.containers.len() {
            for kind in KINDS {
                let check = self.check(&self.containers[number].name, kind).cloned();
                let container = &mut self.containers[number];
                let runs = container.phase == Phase::Running;
                let Some(check) = check.filter(|_| runs) else {
                    continue;
                };
                if !checkup(container, kind).is_due(now, &check) {
                    continue;
                }
                if let (Some(probe), Some(runtime_id)) = (check.net(), container.runtime_id) {
                    fx.push(Effect::Runtime(RuntimeCommand::Check {
                        task: self.id,
                        container: container.name.clone(),
                        runtime_id,
                        kind,
                        probe: probe.clone(),
                        timeout: Span::from_secs(u64::from(check.timeout_s)),
                    }));
                }
            }
        }
    }

    /// A container has answered a check of ours, or failed to.
    pub fn on_checked(
        &mut self,
        now: Now,
        name: &str,
        kind: CheckKind,
        outcome: Result<(), String>,
        fx: &mut Effects,
    ) {
        let Some(check) = self.check(name, kind).cloned() else {
            return;
        };
        let Some(container) = self.find(name).filter(|c| c.phase == Phase::Running) else {
            return;
        };
        let ran = container
            .started
            .map_or(Span::ZERO, |since| now.mono.since(since));
        checkup(container, kind).on_answer(now, ran, &check, outcome);
        self.settle(now, fx);
    }

    /// The runtime's own check has come to another opinion.
    pub fn on_health(
        &mut self,
        now: Now,
        name: &str,
        (health, detail): (Health, String),
        fx: &mut Effects,
    ) {
        let is_ours = |check: &HealthCheck| check.net().is_some();
        if self.check(name, CheckKind::Liveness).is_some_and(is_ours) {
            return;
        }
        if let Some(container) = self.find(name).filter(|c| c.phase == Phase::Running) {
            container.liveness.on_told(health, detail);
            self.settle(now, fx);
        }
    }
    /// As a comparison found it, without words.
    pub(super) fn on_health_seen(&mut self, now: Now, name: &str, seen: Health, fx: &mut Effects) {
        let known = self.find(name).map(|container| container.liveness.health);
        if known.is_some_and(|known| known != seen) {
            self.on_health(now, name, (seen, String::new()), fx);
        }
    }
}

const fn checkup(container: &mut Container, kind: CheckKind) -> &mut Checkup {
    match kind {
        CheckKind::Liveness => &mut container.liveness,
        CheckKind::Readiness => &mut container.readiness,
    }
}
