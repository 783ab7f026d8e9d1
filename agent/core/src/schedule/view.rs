//! One slot as its keeper sees it: what the board says of it, and the copies that run.

use crate::{
    cluster::{
        board::{Board, Service},
        body::{Placement, ServiceRevision, Slot, TaskReport},
    },
    ids::{Generation, HostId, ServiceId, SlotIndex, TaskId},
    limits,
    schedule::copy::{is_healthy, serves},
    spec::options::HandOver,
    task::status::{StopCode, TaskStatus},
};
use std::{cmp::Reverse, collections::BTreeMap};

/// One live copy of a slot on a host that is up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy<'a> {
    pub(super) at: Placement,
    pub(super) report: &'a TaskReport,
}

/// Everything that one slot's decision looks at.
pub(super) struct SlotView<'a> {
    pub(super) board: &'a Board,
    pub(super) service: Service<'a>,
    pub(super) index: SlotIndex,
    /// The highest generation that anybody has heard of.
    pub(super) generation: Generation,
    /// Whatever was reported of the slot, also what has ended.
    pub(super) reported: Vec<(HostId, TaskId, &'a TaskReport)>,
    pub(super) copies: Vec<Copy<'a>>,
    /// Copies whose host has come back and has not yet said that they still run.
    pub(super) unconfirmed: Vec<Copy<'a>>,
}

impl<'a> SlotView<'a> {
    pub(super) fn of(board: &'a Board, service: Service<'a>, index: SlotIndex) -> Self {
        let mut generation = board
            .slot(service.id, index)
            .map_or(0, |(generation, _)| generation);
        let (mut copies, mut unconfirmed) = (Vec::new(), Vec::new());
        let mut reported = Vec::new();
        for (host, task, report) in board.copies(service.id, index) {
            reported.push((host, task, report));
            let label = report.slot.as_ref();
            generation = generation.max(label.map_or(0, |label| label.generation));
            let live = report.last.is_live() && report.desired == TaskStatus::Running;
            let copy = Copy {
                at: Placement { host, task },
                report,
            };
            let hangs = planted!(MovesFromAHungRuntime) && !board.is_vouched(host, task);
            if live && board.is_fresh(host, task) && !hangs {
                copies.push(copy);
            } else if live && board.is_up(host) {
                unconfirmed.push(copy);
            }
        }
        Self {
            board,
            service,
            index,
            generation,
            reported,
            copies,
            unconfirmed,
        }
    }

    pub(super) const fn key(&self) -> (ServiceId, SlotIndex) {
        (self.service.id, self.index)
    }

    /// The generation of the slot's record; that of the latest copy where there is none.
    pub(super) fn held_generation(&self) -> Generation {
        let held = self.board.slot(self.service.id, self.index);
        held.map_or(self.generation, |(generation, _)| generation)
    }

    /// The copy that serves the slot as it is now.
    pub(super) fn current(
        &self,
        copies: &[Copy<'a>],
        generation: Generation,
        slot: &Slot,
    ) -> Option<Copy<'a>> {
        let serving = |copy: &&Copy<'_>| {
            slot.host == Some(copy.at.host)
                && slot.adopted.map_or_else(
                    || serves(copy.report, self.index, generation),
                    |adopted| adopted == copy.at.task,
                )
        };
        copies.iter().find(serving).copied()
    }

    /// Two or more live copies, and not by our order: keep the oldest healthy one as it runs.
    pub(super) fn reconcile(&self, slot: &Slot, current: Copy<'a>, unasked: &[Copy<'a>]) -> Slot {
        let mut candidates = unasked.to_vec();
        candidates.push(current);
        let reason = "two copies of the slot ran; the oldest healthy one goes on".to_owned();
        self.adopt(&candidates, &slot.superseded, reason)
    }

    /// The best of `candidates` takes the slot over as it runs; the others serve until it says so.
    pub(super) fn adopt(
        &self,
        candidates: &[Copy<'a>],
        before: &[Placement],
        reason: String,
    ) -> Slot {
        let best = candidates.iter().min_by_key(|copy| {
            let started = copy.report.started_at.map_or(u64::MAX, |at| at.0);
            let vouched = self.board.is_vouched(copy.at.host, copy.at.task);
            (
                Reverse(vouched && is_healthy(copy.report)),
                Reverse(copy.report.is_protected()),
                started,
                copy.at.task,
            )
        });
        let best = best.expect("there is a copy to adopt");
        let mut superseded = self.still_live(before);
        superseded.extend(candidates.iter().map(|copy| copy.at));
        superseded.retain(|at| *at != best.at);
        superseded.sort_unstable();
        superseded.dedup();
        superseded.truncate(limits::SUPERSEDED_PER_SLOT_MAX);
        Slot {
            host: Some(best.at.host),
            revision: ServiceRevision {
                definition: best.report.definition,
                family: best.report.family.to_string(),
                revision: best.report.revision,
                renewals: best.report.renewals,
            },
            adopted: Some(best.at.task),
            superseded,
            order: HandOver::StartFirst,
            failures: 0,
            tried: 0,
            end: None,
            reason,
        }
    }

    pub(super) fn still_live(&self, placements: &[Placement]) -> Vec<Placement> {
        let known = self.copies.iter().chain(&self.unconfirmed);
        let live = |at: &&Placement| known.clone().any(|copy| copy.at == **at);
        placements.iter().filter(live).copied().collect()
    }

    /// As far as they live, with one more that has to go; no more than can be told at a time.
    pub(super) fn superseded_with(
        &self,
        current: Copy<'_>,
        before: &[Placement],
    ) -> Vec<Placement> {
        let mut superseded = self.still_live(before);
        superseded.insert(0, current.at);
        superseded.truncate(limits::SUPERSEDED_PER_SLOT_MAX);
        superseded
    }

    pub(super) fn name_of(&self, host: HostId) -> String {
        match self.board.host(host) {
            Some((_, report)) => format!("host {}", report.name),
            None => format!("host {host}"),
        }
    }

    /// How often each host refused or failed to start this slot in the last `failures` hand-overs.
    pub(super) fn failed_to_start(&self, failures: u32) -> BTreeMap<HostId, u32> {
        let after = self.generation.saturating_sub(u64::from(failures));
        let mut failed = BTreeMap::new();
        if planted!(TriesTheSameHostForEver) {
            return failed;
        }
        for &(host, _, report) in &self.reported {
            let recent = serves(report, self.index, after + 1);
            if recent && report.stop_code == Some(StopCode::TaskFailedToStart) {
                *failed.entry(host).or_default() += 1;
            }
        }
        failed
    }
}
