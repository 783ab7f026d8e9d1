//! One round of planning: what it looks at, what it has given away so far, and how it places.

use super::Sight;
use crate::{
    cluster::{
        board::{Board, Service},
        body::{Placement, ServiceRevision, Slot},
    },
    ids::HostId,
    schedule::{
        index::Index,
        pace::{hand_over_room, replacing_room},
        place::{Wanted, choose},
        view::{Copy, SlotView},
    },
    spec::{
        options::{HandOver, PartitionPolicy},
        task_definition::Resources,
    },
    time::Now,
};
use std::collections::BTreeSet;

pub(super) struct Round<'a> {
    pub(super) now: Now,
    pub(super) board: &'a Board,
    pub(super) index: &'a mut Index,
    pub(super) service: Service<'a>,
    pub(super) returning: &'a BTreeSet<HostId>,
    is_majority: bool,
    /// What this round gave to hosts: so that a hundred decisions do not all choose the same one.
    drafted: Vec<(HostId, Resources)>,
    /// Where this round takes slots away, once they are served elsewhere; under stop-first with
    /// what they give back before that.
    left: Vec<(HostId, Option<Resources>)>,
    /// Why nothing fits any more: within a round, loads only grow.
    no_room: Option<String>,
    /// How many more slots may move to another definition; counted when the first one wants to.
    room: Option<u32>,
    /// The same of tasks that are unhealthy.
    unhealthy_room: Option<u32>,
}

/// How the next holder of a slot comes to it.
pub(super) struct Next {
    pub(super) superseded: Vec<Placement>,
    pub(super) failures: u32,
    /// As of [`Slot::tried`].
    pub(super) tried: u32,
    pub(super) order: HandOver,
    pub(super) reason: String,
}

impl<'a> Round<'a> {
    pub(super) fn new(now: Now, sight: Sight<'a>, service: Service<'a>) -> Self {
        Self {
            now,
            board: sight.board,
            index: sight.index,
            service,
            returning: sight.returning,
            is_majority: sight.is_majority,
            drafted: Vec::new(),
            left: Vec::new(),
            no_room: None,
            room: None,
            unhealthy_room: None,
        }
    }

    pub(super) fn is_under_majority(&self) -> bool {
        self.service.settings.options.partition == PartitionPolicy::Majority
    }

    /// Slots of the service may change hands, as far as partitions go.
    pub(super) fn may_replace(&self) -> bool {
        self.is_majority || !self.is_under_majority()
    }

    /// The decisions are now to be written, and the index learns of them as records.
    pub(super) fn end(mut self) {
        for (host, needs) in &self.drafted {
            self.index.load.release(*host, Some(self.service.id), needs);
        }
        for left in std::mem::take(&mut self.left) {
            self.restore(&left);
        }
    }

    /// Slots on the move in the whole cluster, with those that this round has begun to move.
    pub(super) fn moves(&self) -> usize {
        self.index.moves(self.board) + self.drafted.len()
    }

    /// How a slot of the service moves that is well.
    pub(super) fn order(&self) -> HandOver {
        self.service.settings.options.hand_over
    }

    /// A slot is to move away from this copy: where copies are spread, it is gone already; and
    /// under stop-first it makes room for its successor.
    pub(super) fn leave(&mut self, copy: Copy<'_>) {
        if self.order() == HandOver::StopFirst {
            return self.vacate(copy);
        }
        let (host, service) = (copy.at.host, self.service.id);
        self.index.load.discount(host, service);
        self.left.push((host, None));
    }

    /// This copy is to stop before its successor begins, which so finds its room.
    pub(super) fn vacate(&mut self, copy: Copy<'_>) {
        let (host, service) = (copy.at.host, self.service.id);
        let definition = self.board.definition(copy.report.definition);
        let vacated = definition.map(|definition| definition.needs());
        match &vacated {
            Some(needs) => self.index.load.release(host, Some(service), needs),
            None => self.index.load.discount(host, service),
        }
        self.left.push((host, vacated));
        // There is more room than when nothing was found.
        self.no_room = None;
    }

    /// The last one that was to make room stays after all.
    pub(super) fn stay(&mut self) {
        if let Some(left) = self.left.pop() {
            self.restore(&left);
        }
    }

    fn restore(&mut self, (host, vacated): &(HostId, Option<Resources>)) {
        match vacated {
            Some(needs) => self.index.load.add(*host, Some(self.service.id), needs),
            None => self.index.load.recount(*host, self.service.id),
        }
    }

    /// Gives the slot to this host.
    pub(super) fn given(&self, host: HostId, next: Next) -> Slot {
        self.slot(Some(host), next)
    }

    /// Gives the slot to the best host, or to none, with the reason why.
    pub(super) fn place(&mut self, view: &SlotView<'_>, next: Next) -> Slot {
        match self.choose(view, next.failures) {
            Ok(host) => self.slot(Some(host), next),
            // Where nobody can take it over, nothing is to stop either.
            Err(refusals) => self.slot(
                None,
                Next {
                    order: HandOver::StartFirst,
                    reason: refusals,
                    ..next
                },
            ),
        }
    }

    fn slot(&self, host: Option<HostId>, next: Next) -> Slot {
        Slot {
            host,
            revision: self.service.revision.clone(),
            adopted: None,
            superseded: next.superseded,
            order: next.order,
            failures: next.failures,
            tried: next.tried,
            end: None,
            reason: next.reason,
        }
    }

    fn choose(&mut self, view: &SlotView<'_>, failures: u32) -> Result<HostId, String> {
        if let Some(no_room) = &self.no_room {
            return Err(no_room.clone());
        }
        let revision = self.service.revision;
        let Some(definition) = self.board.definition(revision.definition) else {
            return Err(format!(
                "the definition {} has not come yet",
                label(revision)
            ));
        };
        let (needs, service) = (definition.needs(), self.service.id);
        let mut failed = view.failed_to_start(failures);
        for (host, times) in self.index.avoided(self.now.wall, service) {
            let known = failed.entry(host).or_default();
            *known = times.max(*known);
        }
        let only = self.service.run.and_then(|run| run.host_of(view.index));
        let wanted = Wanted {
            service,
            index: view.index,
            needs: &needs,
            failed: &failed,
            only,
        };
        match choose(&self.index.load, wanted) {
            Ok(host) => {
                self.index.load.add(host, Some(service), &needs);
                self.drafted.push((host, needs));
                Ok(host)
            }
            Err(refusals) => {
                let refusals = refusals.to_string();
                // Of what is to run on one host alone, others know nothing.
                if only.is_none() {
                    self.no_room = Some(refusals.clone());
                }
                Err(refusals)
            }
        }
    }

    /// Whether one more slot may begin to move to another definition.
    pub(super) fn has_room(&mut self) -> bool {
        *self.room() > 0
    }

    /// One more slot moves.
    pub(super) fn take_room(&mut self) {
        let room = self.room();
        *room = room.saturating_sub(1);
    }

    /// Whether one more unhealthy task may be replaced.
    pub(super) fn may_replace_unhealthy(&mut self) -> bool {
        *self.unhealthy_room() > 0
    }

    pub(super) fn take_unhealthy(&mut self) {
        let room = self.unhealthy_room();
        *room = room.saturating_sub(1);
    }

    fn unhealthy_room(&mut self) -> &mut u32 {
        self.unhealthy_room
            .get_or_insert_with(|| replacing_room(self.board, self.service))
    }

    fn room(&mut self) -> &mut u32 {
        self.room
            .get_or_insert_with(|| hand_over_room(self.board, self.service))
    }
}

pub(super) fn label(revision: &ServiceRevision) -> String {
    format!("{}:{}", revision.family, revision.revision)
}
