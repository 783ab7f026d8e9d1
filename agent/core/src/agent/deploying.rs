//! How far services are on the way to what they are to be: deployments that begin and end, for
//! people to be told. Nothing is decided here.

use super::{
    Agent,
    telling::{DEPLOYED, DEPLOYS, halves},
};
use crate::{
    cluster::board::{Board, Service},
    effect::Effects,
    event::{Deployment, EventId, ServiceNews},
    ids::{ServiceId, SlotIndex},
    schedule::keeper::Scope,
    task::status::TaskStatus,
    time::Now,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Slots that are looked at in one go; a service with more is looked at again and again.
const LOOKS_MAX: u32 = 1_024;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Progress(BTreeMap<ServiceId, Course>);

/// A service as it was last looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Course {
    deployment: Deployment,
    desired: u32,
    /// The slots below were seen to be as they are to be, but for those that are `open` again.
    looked: SlotIndex,
    open: BTreeSet<SlotIndex>,
    /// What is so when an agent comes is no news; what becomes so is.
    told_deployed: bool,
    told_steady: bool,
    is_first_look: bool,
}

impl Course {
    fn new(service: &Service<'_>, is_first_look: bool) -> Self {
        Self {
            deployment: deployment(service),
            desired: service.desired,
            looked: 0,
            open: BTreeSet::new(),
            told_deployed: false,
            told_steady: false,
            is_first_look,
        }
    }

    /// Whether something was found that is not as it is to be.
    fn look(&mut self, board: &Board, service: &Service<'_>, scope: &Scope) -> bool {
        if let Scope::Slots(slots) = scope {
            for &index in slots {
                if is_settled(board, service, index) {
                    self.open.remove(&index);
                } else if index < self.looked || index >= self.desired {
                    self.open.insert(index);
                }
            }
        }
        let last = self.looked.saturating_add(LOOKS_MAX).min(self.desired);
        while self.looked < last && is_settled(board, service, self.looked) {
            self.looked += 1;
        }
        self.looked < last || !self.open.is_empty()
    }

    fn is_steady(&self) -> bool {
        self.looked >= self.desired && self.open.is_empty()
    }

    /// More of it may be as it is to be than was looked at.
    const fn is_cut_short(&self) -> bool {
        self.looked < self.desired
    }
}

impl Agent {
    /// Looks at what was touched of a service, and tells what has come to an end or begun.
    pub(super) fn follow(&mut self, now: Now, id: ServiceId, scope: &Scope, fx: &mut Effects) {
        // A run ends by itself: it is never deployed, nor steady.
        let service = self.board.service(id).filter(|known| known.run.is_none());
        let Some(service) = service else {
            self.progress.0.remove(&id);
            return;
        };
        let (joined, deployment) = (self.joining.is_done(), deployment(&service));
        let known = self.progress.0.remove(&id);
        let begins = known
            .as_ref()
            .is_none_or(|known| known.deployment != deployment);
        let mut course = match known {
            Some(known) if !begins && known.desired == service.desired => known,
            Some(known) if !begins => Course {
                told_deployed: known.told_deployed,
                ..Course::new(&service, false)
            },
            known => Course::new(&service, known.is_none() && !joined),
        };
        if course.look(&self.board, &service, scope) && joined {
            course.is_first_look = false;
        }
        let mut news = Vec::new();
        let named = format!("{}:{}", service.revision.family, service.revision.revision);
        if begins && !course.is_first_look {
            news.push((
                ServiceNews::Deploys(deployment),
                format!("is to run {named}"),
            ));
        }
        let is_steady = course.is_steady();
        if is_steady && !course.told_deployed {
            course.told_deployed = true;
            let text = format!("is deployed: all its tasks are of {named}");
            news.push((ServiceNews::Deployed(deployment), text));
        }
        if is_steady && !course.told_steady {
            let text = "has reached a steady state.".to_owned();
            news.push((ServiceNews::Steady, text));
        }
        course.told_steady = is_steady;
        let name = service.settings.name.clone();
        let is_told = !course.is_first_look;
        self.progress.0.insert(id, course);
        for (news, text) in news.into_iter().filter(|_| is_told) {
            let event_id = match news {
                ServiceNews::Deploys(of) => deployment_id(DEPLOYS, id, of),
                ServiceNews::Deployed(of) => deployment_id(DEPLOYED, id, of),
                _ => self.own_id(halves(id.0)),
            };
            self.tell_service(now, event_id, (id, name.clone()), (news, text), fx);
        }
    }

    /// What an agent that has just read the board finds there is no news.
    pub(super) fn look_first(&mut self) {
        for service in self.board.services().filter(|known| known.run.is_none()) {
            let first = || Course::new(&service, true);
            self.progress.0.entry(service.id).or_insert_with(first);
        }
    }

    /// Goes on with services that have more slots than are looked at in one go.
    pub(super) fn follow_further(&mut self, now: Now, fx: &mut Effects) {
        let short = self
            .progress
            .0
            .iter()
            .filter(|(_, course)| course.is_cut_short());
        let short: Vec<ServiceId> = short.map(|(id, _)| *id).collect();
        for id in short {
            self.follow(now, id, &Scope::Slots(BTreeSet::new()), fx);
        }
    }
}

/// The slot has a task that runs as it is to, and none beside it; one that is not wanted has none.
fn is_settled(board: &Board, service: &Service<'_>, index: SlotIndex) -> bool {
    let live = board
        .copies(service.id, index)
        .filter(|(host, _, report)| report.last.is_live() && board.is_up(*host));
    let host = match board.slot(service.id, index) {
        Some((_, slot)) if index < service.desired => slot.host,
        _ => None,
    };
    let Some(host) = host else {
        return index >= service.desired && live.count() == 0;
    };
    let mut serves = false;
    for (on, task, report) in live {
        let runs = report.last == TaskStatus::Running && report.ready;
        let is_it = on == host && runs && service.is_current(report);
        if serves || !is_it || !board.is_fresh(on, task) {
            return false;
        }
        serves = true;
    }
    serves
}

fn deployment(service: &Service<'_>) -> Deployment {
    Deployment {
        definition: service.revision.definition,
        renewals: service.revision.renewals,
    }
}

fn deployment_id(kind: u64, service: ServiceId, deployment: Deployment) -> EventId {
    let digest = crate::rng::hash_bytes(&deployment.definition.0);
    let [high, low] = halves(service.0);
    EventId::of(kind, &[high, low, digest, deployment.renewals.into()])
}
