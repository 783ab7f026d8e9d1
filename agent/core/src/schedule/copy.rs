//! What a host does with its own copy of a slot: serve, take over, wait, or stop.
//!
//! No healthy copy ever stops on anything but the successor's own report of RUNNING, a stop-first
//! order, a smaller count, or a deletion: else a bad moment kills both.

use crate::{
    cluster::{
        board::Board,
        body::{HostStatus, Placement, Slot, TaskReport},
        run::{Ended, title},
    },
    ids::{Generation, HostId, ServiceId, SlotIndex, TaskId},
    spec::options::{HandOver, PartitionPolicy},
    task::{
        runtime::SlotLabel,
        status::{Health, TaskStatus},
    },
};

/// What is to become of one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It serves its slot, or nothing is known that says otherwise.
    Serve,
    /// The slot was given to this copy as it runs: it serves this generation from now on.
    TakeOver(Generation),
    /// The slot went to another host without this copy being asked: it runs on, and says so.
    Replaced,
    Stop {
        reason: String,
    },
    /// Its successor serves the slot: it stops once that has been so for a while.
    GiveWay {
        reason: String,
    },
}

/// Decides about the copy `task` of `host`, which serves the slot as `label` says.
pub fn fate(board: &Board, (host, task): (HostId, TaskId), label: &SlotLabel) -> Fate {
    let Some(service) = board.service(label.service) else {
        // Not to know a service is no reason to stop its tasks; to know that it is gone is one.
        return if board.is_service_gone(label.service) {
            stop(format!("{} was deleted", title(&label.service_name)))
        } else {
            Fate::Serve
        };
    };
    if label.index >= service.desired {
        let (name, desired) = (&label.service_name, service.desired);
        return stop(format!("(service {name}) was scaled to {desired}"));
    }
    let Some((generation, slot)) = board.slot(label.service, label.index) else {
        return Fate::Serve;
    };
    // What is lost may be back; whatever else has ended, its run needs no other copy of it.
    let has_ended = slot.end.as_ref().is_some_and(|end| end.how != Ended::Lost);
    if has_ended && !planted!(RunsWhatHasEnded) {
        return stop(format!(
            "{} has ended elsewhere",
            title(&label.service_name)
        ));
    }
    if slot.host == Some(host) && slot.adopted == Some(task) && generation > label.generation {
        return Fate::TakeOver(generation);
    }
    if label.generation > generation {
        return Fate::Serve;
    }
    let mine = slot.host == Some(host) && slot.adopted.is_none_or(|adopted| adopted == task);
    if label.generation == generation && mine {
        return Fate::Serve;
    }
    if !slot
        .superseded
        .iter()
        .any(|placement| placement.task == task)
    {
        return Fate::Replaced;
    }
    let reason = slot.reason.clone();
    match slot.order {
        HandOver::StopFirst => Fate::Stop { reason },
        HandOver::StartFirst if has_successor(board, (generation, slot), (task, label)) => {
            Fate::GiveWay { reason }
        }
        HandOver::StartFirst => Fate::Serve,
    }
}

/// The same of a copy that is protected: neither a smaller count nor a successor ends it.
pub fn fate_of_protected(board: &Board, copy: (HostId, TaskId), label: &SlotLabel) -> Fate {
    let is_known = board.service(label.service).is_some() && !planted!(StopsTheProtected);
    match fate(board, copy, label) {
        Fate::Stop { .. } | Fate::GiveWay { .. } if is_known => Fate::Serve,
        fate => fate,
    }
}

/// Under stop-first: a predecessor that may still run. Before its end the slot's host begins
/// nothing. Of a host that is down it may run on unseen, which `fill` puts up with.
pub fn awaited(board: &Board, service: ServiceId, slot: &Slot) -> Option<Placement> {
    if slot.order != HandOver::StopFirst || planted!(BeginsBeforeTheEnd) {
        return None;
    }
    let service = board.service(service)?;
    let fills = service.settings.options.partition == PartitionPolicy::Fill;
    let may_run = |at: &&Placement| {
        let report = board.task_at(at.host, at.task);
        let has_left = board.status(at.host) == Some(HostStatus::Left);
        report.is_some_and(|report| report.last.is_live())
            && (board.is_up(at.host) || !(fills || has_left))
    };
    slot.superseded.iter().find(may_run).copied()
}

/// The host that the slot names has itself reported a task at this generation that may be used; for
/// a copy that is no use itself, one that runs: else those that never become healthy would pile up.
fn has_successor(
    board: &Board,
    (generation, slot): (Generation, &Slot),
    (copy, label): (TaskId, &SlotLabel),
) -> bool {
    let Some(host) = slot.host else { return false };
    let mut copies = board.copies(label.service, label.index);
    let is_well = copies
        .find(|(_, task, _)| *task == copy)
        .is_none_or(|(_, _, report)| {
            report.health != Health::Unhealthy && (report.ready || !another_serves(board, slot))
        });
    let mut copies = board.copies(label.service, label.index);
    copies.any(|(on, task, report)| {
        let serves = serves(report, label.index, generation)
            && match is_well {
                true => is_healthy(report),
                false => runs(report),
            };
        on == host && serves && board.is_vouched(on, task)
    })
}

/// Of those who have to go, one is of use until then.
fn another_serves(board: &Board, slot: &Slot) -> bool {
    slot.superseded.iter().any(|at| {
        let report = board.task_at(at.host, at.task);
        report.is_some_and(is_healthy) && board.is_vouched(at.host, at.task)
    })
}

/// The report is of a copy of this slot, at this generation or a later one.
pub fn serves(report: &TaskReport, index: SlotIndex, generation: Generation) -> bool {
    let label = report.slot.as_ref();
    label.is_some_and(|label| label.index == index && label.generation >= generation)
}

/// RUNNING, meant to go on, and whatever is checked of it is well.
pub fn is_healthy(report: &TaskReport) -> bool {
    runs(report) && report.ready
}

fn runs(report: &TaskReport) -> bool {
    report.last == TaskStatus::Running && report.desired == TaskStatus::Running
}

const fn stop(reason: String) -> Fate {
    Fate::Stop { reason }
}
