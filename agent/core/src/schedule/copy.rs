//! What a host does with its own copy of a slot: serve, take over, wait, or stop.
//!
//! No healthy copy ever stops on anything but the successor's own report of RUNNING, a stop-first
//! order, a smaller count, or a deletion: else a bad moment kills both.

use crate::{
    cluster::{
        board::Board,
        body::{HostStatus, Placement, Slot, TaskReport},
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
            stop(format!("(service {}) was deleted", label.service_name))
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
        HandOver::StartFirst if has_successor(board, (generation, slot), label) => {
            Fate::GiveWay { reason }
        }
        HandOver::StartFirst => Fate::Serve,
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

/// The host that the slot names has itself reported a healthy task at this generation.
fn has_successor(
    board: &Board,
    (generation, slot): (Generation, &Slot),
    label: &SlotLabel,
) -> bool {
    let Some(host) = slot.host else { return false };
    let mut copies = board.copies(label.service, label.index);
    copies.any(|(on, task, report)| {
        let serving = serves(report, label.index, generation) && is_healthy(report);
        on == host && serving && board.is_vouched(on, task)
    })
}

/// The report is of a copy of this slot, at this generation or a later one.
pub fn serves(report: &TaskReport, index: SlotIndex, generation: Generation) -> bool {
    let label = report.slot.as_ref();
    label.is_some_and(|label| label.index == index && label.generation >= generation)
}

/// RUNNING, meant to go on, and not known to be unhealthy.
pub fn is_healthy(report: &TaskReport) -> bool {
    report.last == TaskStatus::Running
        && report.desired == TaskStatus::Running
        && report.health != Health::Unhealthy
}

const fn stop(reason: String) -> Fate {
    Fate::Stop { reason }
}
