//! How fast a keeper goes: how many hand-overs at once, and how long after a failure.

use crate::{
    cluster::{
        board::{Board, Service},
        body::TaskReport,
    },
    ids::SlotIndex,
    schedule::copy::{is_healthy, serves},
    task::status::{Health, StopCode, TaskStatus},
    time::{Span, Wall},
};

/// A first task that ran this long has shown that it can; after each failure in a row it takes
/// twice as long, so that whoever crashes again and again after a while is slowed down as well.
const RAN_WELL_MS: u64 = 10_000;
const RAN_WELL_MS_MAX: u64 = 600_000;

/// How many more hand-overs to another definition may be under way at once: a quarter of the count,
/// at least one. A slot whose holder does not run yet, or has a predecessor, is under way; unless
/// the holder is not ready and no longer what is wanted: it would hold up its own replacement.
pub(super) fn hand_over_room(board: &Board, service: Service<'_>) -> u32 {
    let surge = (service.desired / 4).max(1);
    let under_way = (0..service.desired).filter(|&slot| is_under_way(board, service, slot));
    surge.saturating_sub(u32::try_from(under_way.count()).unwrap_or(u32::MAX))
}

fn is_under_way(board: &Board, service: Service<'_>, index: SlotIndex) -> bool {
    let Some((generation, slot)) = board.slot(service.id, index) else {
        return true;
    };
    if slot.host.is_none() {
        // It will begin with the new definition, whenever it can.
        return false;
    }
    let (mut running, mut has_predecessor) = (false, false);
    for (host, task, report) in board.copies(service.id, index) {
        let is_superseded = slot.superseded.iter().any(|at| at.task == task);
        // One that is protected stays for long: the others need not wait for it.
        let goes = is_superseded && !report.is_protected();
        has_predecessor |= goes && report.last.is_live() && board.is_up(host);
        let holds = slot.host == Some(host)
            && (slot.adopted == Some(task) || serves(report, index, generation));
        let is_wanted = service.is_current(report);
        if holds && report.last == TaskStatus::Running && !is_healthy(report) && !is_wanted {
            return false;
        }
        running |= holds && is_healthy(report);
    }
    has_predecessor || !running
}

/// Failures in a row, after this one.
pub(super) fn failures_after(before: u32, report: &TaskReport) -> u32 {
    let ran_ms = match (report.started_at, report.stopped_at.or(report.stopping_at)) {
        (Some(started), Some(stopped)) => stopped.ms_since(started),
        _ => 0,
    };
    match report.stop_code {
        Some(StopCode::EssentialContainerExited) if ran_ms >= ran_well_ms(before) => 1,
        Some(StopCode::EssentialContainerExited | StopCode::TaskFailedToStart) => {
            before.saturating_add(1)
        }
        Some(
            StopCode::UserInitiated
            | StopCode::ServiceSchedulerInitiated
            | StopCode::TerminationNotice,
        )
        | None => 0,
    }
}

/// How many more unhealthy tasks may be replaced at once: a quarter of the count, at least one. One
/// that was told to go and has not gone yet counts.
pub(super) fn replacing_room(board: &Board, service: Service<'_>) -> u32 {
    let is_going = |index: &u32| {
        let slot = board.slot(service.id, *index).map(|(_, slot)| slot);
        let mut copies = board.copies(service.id, *index);
        copies.any(|(host, task, report)| {
            let is_told = slot.is_some_and(|slot| slot.superseded.iter().any(|at| at.task == task));
            is_told
                && report.last.is_live()
                && report.health == Health::Unhealthy
                && board.is_up(host)
        })
    };
    let going = (0..service.desired).filter(is_going).count();
    let going = u32::try_from(going).unwrap_or(u32::MAX);
    (service.desired / 4).max(1).saturating_sub(going)
}

/// The same as [`failures_after`] of a task that runs and is unhealthy, whose checks take so long
/// to find out.
pub(super) fn failures_of_unhealthy(
    before: u32,
    report: &TaskReport,
    now: Wall,
    checks_take: Span,
) -> u32 {
    let ran_ms = report.started_at.map_or(0, |started| now.ms_since(started));
    match ran_ms >= ran_well_ms(before) + checks_take.as_ms() {
        true => 1,
        false => before.saturating_add(1),
    }
}

/// How long a task must have run for its failures to be counted anew.
fn ran_well_ms(failures_before: u32) -> u64 {
    (RAN_WELL_MS << failures_before.min(16)).min(RAN_WELL_MS_MAX)
}

/// A host that has failed to start tasks of a service so often is given none for a minute, doubling
/// up to an hour, which is how long that is remembered; unless there is no other.
pub(super) fn avoided_for(failures: u32) -> Span {
    Span::from_secs((60 << failures.saturating_sub(1).min(6)).min(3_600))
}

/// The first failure is made good at once; then after 1 s, doubling up to five minutes.
pub(super) fn back_off(failures: u32) -> Span {
    match failures {
        _ if planted!(NeverBacksOff) => Span::ZERO,
        0 | 1 => Span::ZERO,
        more => Span::from_secs((1 << (more - 2).min(9)).min(300)),
    }
}
