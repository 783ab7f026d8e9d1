//! A service's deployments, as far as its tasks show them.

use super::{
    services::Counts,
    tasks::deployment_id,
    view::{View, seconds},
};
use holdfast_core::{
    cluster::{
        board::Service,
        body::{Key, TaskReport},
    },
    ids::{Digest, HostId, SlotIndex, TaskId},
    time::Wall,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Which deployment of a service: its definition, and how often that was deployed anew.
pub(crate) type DeploymentKey = (Digest, u32);

/// The PRIMARY one, and an ACTIVE one for each other definition that still has tasks: ECS's
/// waiters take a service for stable when there is exactly one. They are gathered in one look at
/// each task, and follow from the board: every agent tells the same.
#[derive(Debug)]
pub(crate) struct Deployments<'v> {
    service: Service<'v>,
    primary: Counts,
    /// A live task of the PRIMARY one is not as it is to be yet.
    behind: bool,
    others: BTreeMap<DeploymentKey, Other<'v>>,
    times: Times,
}

/// When its tasks came and went, as far as their hosts still tell.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// When the last of those began to run that do.
    started: Wall,
    /// When the last of those ended that ran.
    ended: Wall,
    /// The same of those of another deployment than the PRIMARY one.
    others_ended: Wall,
    /// When the last of the slots looked at first had a running task of the PRIMARY one.
    deployed: Wall,
    /// The slot that is being looked at, and when it first had one.
    slot: Option<(SlotIndex, Wall)>,
}

/// Since when a service is as it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steady {
    pub(crate) since: Wall,
    /// What led there and is still on the board: tasks that ended are forgotten after an hour, and
    /// an event must not become another one by that.
    pub(crate) anchor: Wall,
}

/// One that another one has replaced.
#[derive(Debug)]
struct Other<'v> {
    /// One of its tasks: there is no other record of it.
    example: &'v TaskReport,
    /// When the first of its tasks was that are left.
    created_at: Wall,
    counts: Counts,
}

impl<'v> Deployments<'v> {
    /// Nothing is known of its tasks yet; each of them is to be noted, slot by slot.
    pub(crate) fn of(service: Service<'v>) -> Self {
        Self {
            service,
            primary: Counts::default(),
            behind: false,
            others: BTreeMap::new(),
            times: Times::default(),
        }
    }

    pub(crate) fn note(&mut self, view: &View<'_>, seen: (HostId, TaskId, &'v TaskReport)) {
        let (host, _, report) = seen;
        let is_primary = self.service.is_deployed(report);
        self.times.note(report, is_primary);
        if is_primary {
            self.behind |= report.last.is_live() && self.service.is_behind(report);
            self.primary.count(view, seen);
        } else if report.last.is_live() && !view.is_down(host) {
            let key = (report.definition, report.renewals);
            let other = self.others.entry(key).or_insert(Other {
                example: report,
                created_at: report.created_at,
                counts: Counts::default(),
            });
            other.created_at = other.created_at.min(report.created_at);
            other.counts.count(view, seen);
        }
    }

    /// Of all deployments together.
    pub(crate) fn counts(&self) -> Counts {
        let others = self.others.values().map(|other| other.counts);
        others.fold(self.primary, |sum, more| Counts {
            running: sum.running + more.running,
            pending: sum.pending + more.pending,
        })
    }

    /// The service is as it is to be, as far as its tasks are.
    pub(crate) fn is_done(&self) -> bool {
        self.others.is_empty() && self.primary.running == self.service.desired && !self.behind
    }

    pub(crate) const fn service(&self) -> &Service<'v> {
        &self.service
    }

    /// Since when the PRIMARY deployment is complete, if it is. A task that it lost since and that
    /// was replaced does not count, for as long as its report is there.
    pub(crate) fn completed_at(&self, view: &View<'_>) -> Option<Wall> {
        let rolled_out = self.times.deployed().max(self.times.others_ended);
        self.is_done()
            .then(|| self.created_at(view).max(rolled_out))
    }

    /// Since when all is as it is to be, if it is.
    pub(crate) fn steady(&self, view: &View<'_>) -> Option<Steady> {
        let asked = self.created_at(view).max(self.counted_at(view));
        let anchor = asked.max(self.times.started);
        let since = anchor.max(self.times.ended);
        self.is_done().then_some(Steady { since, anchor })
    }

    /// As DescribeServices tells them.
    pub(crate) fn json(&self, view: &View<'_>) -> Vec<Value> {
        let mut deployments = vec![self.primary_json(view)];
        deployments.extend(self.others.iter().map(|(key, other)| {
            let example = other.example;
            json!({
                "id": deployment_id(self.service.id, *key),
                "status": "ACTIVE",
                "taskDefinition": view.context.definition_arn(&example.family, example.revision),
                "desiredCount": 0,
                "runningCount": other.counts.running,
                "pendingCount": other.counts.pending,
                "failedTasks": 0,
                "createdAt": seconds(other.created_at),
                "updatedAt": seconds(other.created_at),
                "launchType": "EC2",
            })
        }));
        deployments
    }

    fn primary_json(&self, view: &View<'_>) -> Value {
        let service = &self.service;
        let revision = service.revision;
        let (created, changed) = (self.created_at(view), self.counted_at(view));
        let id = deployment_id(service.id, self.primary_key());
        let (rollout, reason) = match self.is_done() {
            true => ("COMPLETED", format!("ECS deployment {id} completed.")),
            false => ("IN_PROGRESS", format!("ECS deployment {id} in progress.")),
        };
        json!({
            "id": id,
            "status": "PRIMARY",
            "taskDefinition": view.context.definition_arn(&revision.family, revision.revision),
            "desiredCount": service.desired,
            "runningCount": self.primary.running,
            "pendingCount": self.primary.pending,
            "failedTasks": self.failed(view),
            "createdAt": seconds(created),
            "updatedAt": seconds(created.max(changed)),
            "launchType": "EC2",
            "rolloutState": rollout,
            "rolloutStateReason": reason,
        })
    }

    pub(crate) const fn primary_key(&self) -> DeploymentKey {
        let revision = self.service.revision;
        (revision.definition, revision.renewals)
    }

    /// Tasks that failed in a row, in all slots.
    fn failed(&self, view: &View<'_>) -> u32 {
        let slots = view.board.slots(self.service.id);
        let slots = slots.filter(|(index, ..)| *index < self.service.desired);
        slots.fold(0, |sum, (_, _, slot)| sum.saturating_add(slot.failures))
    }

    /// When the PRIMARY one was asked for.
    fn created_at(&self, view: &View<'_>) -> Wall {
        let written = view.written_at(&Key::ServiceRevision(self.service.id));
        written.unwrap_or(self.service.settings.created_at)
    }

    /// When its number of tasks was asked for.
    fn counted_at(&self, view: &View<'_>) -> Wall {
        let written = view.written_at(&Key::ServiceCount(self.service.id));
        written.unwrap_or(self.service.settings.created_at)
    }
}

impl Times {
    fn note(&mut self, report: &TaskReport, is_primary: bool) {
        let (Some(started), Some(label)) = (report.started_at, &report.slot) else {
            return;
        };
        match report.stopped_at {
            None => self.started = self.started.max(started),
            Some(ended) => self.ended = self.ended.max(ended),
        }
        if !is_primary {
            let ended = report.stopped_at.unwrap_or_default();
            self.others_ended = self.others_ended.max(ended);
            return;
        }
        self.slot = match self.slot {
            Some((index, first)) if index == label.index => Some((index, first.min(started))),
            _ => {
                self.deployed = self.deployed();
                Some((label.index, started))
            }
        };
    }

    /// With the slot that is being looked at.
    fn deployed(&self) -> Wall {
        let looked_at = self.slot.map_or(Wall(0), |(_, first)| first);
        self.deployed.max(looked_at)
    }
}
