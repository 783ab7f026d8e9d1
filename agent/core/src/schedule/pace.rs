//! How fast a keeper goes: how many hand-overs at once, and how long after a failure.

use crate::{
    cluster::{
        board::{Board, Service},
        body::TaskReport,
    },
    schedule::copy::{is_healthy, serves},
    task::status::StopCode,
    time::Span,
};

/// A task that ran this long was no crash at start: its failures are counted anew.
const RAN_WELL_MS: u64 = 10_000;

/// How many more hand-overs to another definition may be under way at once: a quarter of the count,
/// at least one. A slot whose holder does not run yet, or has a predecessor, is under way.
pub(super) fn hand_over_room(board: &Board, service: Service<'_>) -> u32 {
    let surge = (service.desired / 4).max(1);
    let under_way = (0..service.desired).filter(|&index| {
        let Some((generation, slot)) = board.slot(service.id, index) else {
            return true;
        };
        if slot.host.is_none() {
            // It will begin with the new definition, whenever it can.
            return false;
        }
        let mut running = false;
        for (host, task, report) in board.tasks_of(service.id) {
            if slot.superseded.iter().any(|at| at.task == task)
                && report.last.is_live()
                && board.is_up(host)
            {
                return true;
            }
            running |= slot.host == Some(host)
                && is_healthy(report)
                && (slot.adopted == Some(task) || serves(report, index, generation));
        }
        !running
    });
    surge.saturating_sub(u32::try_from(under_way.count()).unwrap_or(u32::MAX))
}

/// Failures in a row, after this one.
pub(super) fn failures_after(before: u32, report: &TaskReport) -> u32 {
    let ran_ms = match (report.started_at, report.stopped_at.or(report.stopping_at)) {
        (Some(started), Some(stopped)) => stopped.ms_since(started),
        _ => 0,
    };
    match report.stop_code {
        Some(StopCode::EssentialContainerExited) if ran_ms >= RAN_WELL_MS => 1,
        Some(StopCode::EssentialContainerExited | StopCode::TaskFailedToStart) => {
            before.saturating_add(1)
        }
        Some(StopCode::UserInitiated | StopCode::ServiceSchedulerInitiated) | None => 0,
    }
}

/// The first failure is made good at once; then after 1 s, doubling up to five minutes.
pub(super) fn back_off(failures: u32) -> Span {
    match failures {
        0 | 1 => Span::ZERO,
        more => Span::from_secs((1 << (more - 2).min(9)).min(300)),
    }
}
