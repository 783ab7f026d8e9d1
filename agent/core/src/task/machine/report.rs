//! What the board is told of a task: it follows from the containers.

use super::Task;
use crate::{
    cluster::body::ContainerReport,
    spec::task_definition::NetworkMode,
    task::{
        checkup::CheckKind,
        container::{Container, Phase},
        pause::PAUSE,
        runtime::PortBinding,
        status::{Health, TaskStatus},
    },
    time::Now,
};

impl Task {
    /// Makes the report follow from the containers.
    pub(super) fn sync(&mut self, now: Now) {
        self.report.containers = self.container_reports();
        let status = self.status();
        if self.report.last.can_become(status) {
            self.report.last = status;
            if status == TaskStatus::Stopped {
                self.report.stopped_at = Some(now.wall);
            }
        }
        self.report.health = self.health();
        self.report.ready = self.is_ready();
        let left = self.containers.iter().any(|c| c.phase == Phase::Stopped);
        if self.report.last == TaskStatus::Stopped && left && self.remove_at.is_none() {
            self.remove_at = Some(now.mono + self.retention);
        }
    }

    /// Of the definition's containers; where they share a network, its holder has their ports.
    fn container_reports(&self) -> Box<[ContainerReport]> {
        let holder = self.containers.iter().find(|c| c.name == PAUSE);
        let definition = self.definition.as_ref();
        let sharing = definition.filter(|known| known.network == NetworkMode::Task);
        let report = |container: &Container| {
            let mut report = container.report();
            if let Some(known) = definition {
                report.gpus = known.gpus_of(&container.name, &self.gpus).into();
            }
            let defined = sharing.and_then(|known| known.container(&container.name));
            if let (Some(holder), Some(defined)) = (holder, defined) {
                let is_its = |one: &&PortBinding| defined.ports.iter().any(|port| one.is_of(port));
                report.ports = holder.ports.iter().filter(is_its).copied().collect();
            }
            report
        };
        let own = self.containers.iter().filter(|c| c.name != PAUSE);
        own.map(report).collect()
    }

    fn status(&self) -> TaskStatus {
        let all = |phase| self.containers.iter().all(|c| c.phase >= phase);
        let any = |phase| self.containers.iter().any(|c| c.phase >= phase);
        let unseen = self.containers.is_empty() && !self.compared;
        if self.is_stopping() {
            return if all(Phase::Stopped) && !unseen {
                TaskStatus::Stopped
            } else if self.used_until.is_some() {
                TaskStatus::Deactivating
            } else {
                TaskStatus::Stopping
            };
        }
        if self.containers.is_empty() {
            TaskStatus::Provisioning
        } else if all(Phase::Running) {
            TaskStatus::Running
        } else if any(Phase::Starting) {
            TaskStatus::Activating
        } else if any(Phase::Creating) {
            TaskStatus::Pending
        } else {
            TaskStatus::Provisioning
        }
    }

    /// ECS's rule: of the essential containers that are checked, the worst.
    fn health(&self) -> Health {
        if self.definition.is_none() {
            return self.report.health;
        }
        let checked = self.containers.iter().filter(|container| {
            container.essential && self.check(&container.name, CheckKind::Liveness).is_some()
        });
        let found = checked.map(|container| container.report().health);
        // From the worst to the best.
        let rank = |health: &Health| match health {
            Health::Unhealthy => 0,
            Health::Unknown => 1,
            Health::Healthy => 2,
        };
        found.min_by_key(rank).unwrap_or_default()
    }

    /// It runs, nobody has told it to stop, and each check that there is says that it is well.
    fn is_ready(&self) -> bool {
        if self.report.last != TaskStatus::Running || self.is_stopping() {
            return false;
        }
        if self.definition.is_none() {
            return self.report.ready;
        }
        if planted!(ReadyBeforeItsChecks) {
            return true;
        }
        self.containers.iter().all(|container| {
            let passes = |kind, health| {
                self.check(&container.name, kind).is_none() || health == Health::Healthy
            };
            match container.phase {
                Phase::Running => {
                    let lives = passes(CheckKind::Liveness, container.liveness.health);
                    (lives || !container.essential)
                        && passes(CheckKind::Readiness, container.readiness.health)
                }
                // What is run again is not there for a moment; what has ended is not asked.
                Phase::Starting => !container.essential,
                _ => true,
            }
        })
    }
}
