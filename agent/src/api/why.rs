//! Why a service is as it is, slot by slot: the answer of `/v1/services/<name>/why`.

use super::{
    error::ApiError,
    services::{counts, no_such},
    tasks::host_json,
    view::{View, set_if},
};
use holdfast_core::{
    cluster::{
        board::Service,
        body::{RuntimeStatus, Slot, TaskReport},
    },
    event::HostStanding,
    ids::{Generation, HostId, SlotIndex, TaskId},
    task::status::{Health, TaskStatus},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Slots that one answer explains; the first that are not well come first.
const SLOTS_MAX: usize = 1_000;

pub(crate) fn why(view: &View<'_>, name: &str) -> Result<Value, ApiError> {
    let service = view
        .board
        .service_named(name)
        .ok_or_else(|| no_such(view, name))?;
    let slots: BTreeMap<SlotIndex, (Generation, &Slot)> = view
        .board
        .slots(service.id)
        .map(|(index, generation, slot)| (index, (generation, slot)))
        .collect();
    let mut tasks: BTreeMap<SlotIndex, Vec<(HostId, TaskId, &TaskReport)>> = BTreeMap::new();
    for (host, task, report) in view.board.tasks_of(service.id) {
        if let Some(slot) = &report.slot {
            tasks
                .entry(slot.index)
                .or_default()
                .push((host, task, report));
        }
    }
    let end = slots
        .keys()
        .next_back()
        .map_or(0, |last| last + 1)
        .max(service.desired);
    let mut explained: Vec<(bool, Value)> = (0..end)
        .filter(|index| *index < service.desired || tasks.contains_key(index))
        .map(|index| {
            let tasks = tasks.get(&index).map_or(&[][..], Vec::as_slice);
            explain(view, &service, index, slots.get(&index).copied(), tasks)
        })
        .collect();
    explained.sort_by_key(|(well, _)| *well);
    let more = explained.len().saturating_sub(SLOTS_MAX);
    let slots: Vec<_> = explained
        .into_iter()
        .take(SLOTS_MAX)
        .map(|(_, slot)| slot)
        .collect();
    let counts = counts(view, service.id);
    let mut answer = json!({
        "serviceName": name,
        "serviceId": service.id.to_string(),
        "desiredCount": service.desired,
        "runningCount": counts.running,
        "pendingCount": counts.pending,
        "slots": slots,
        "slotsLeftOut": more,
    });
    let keeper = (view.keeper)(service.id);
    set_if(
        &mut answer,
        "keeper",
        keeper.map(|keeper| host_json(view, keeper)),
    );
    Ok(answer)
}

/// What rebalancing would do next, whether it is on or not: `/v1/services/<name>/rebalance`.
pub(crate) fn rebalance(view: &View<'_>, name: &str) -> Result<Value, ApiError> {
    let service = view
        .board
        .service_named(name)
        .ok_or_else(|| no_such(view, name))?;
    let best = (view.better_placed)(service.id);
    let moves: Vec<Value> = best
        .into_iter()
        .map(|best| {
            json!({
                "slot": best.index,
                "from": host_json(view, best.from),
                "to": host_json(view, best.to),
                "reason": best.reason,
            })
        })
        .collect();
    Ok(json!({
        "serviceName": name,
        "rebalance": service.settings.options.rebalance,
        "moves": moves,
    }))
}

/// One slot, and whether it is as it should be.
fn explain(
    view: &View<'_>,
    service: &Service<'_>,
    index: SlotIndex,
    slot: Option<(Generation, &Slot)>,
    tasks: &[(HostId, TaskId, &TaskReport)],
) -> (bool, Value) {
    let current = current_task(slot, tasks);
    let text = text(view, service, index, slot, current);
    let runs = current.is_some_and(|(host, task, report)| {
        report.last == TaskStatus::Running && view.is_confirmed(host, task)
    });
    let is_as_wanted =
        current.is_some_and(|(_, _, report)| report.ready && service.is_current(report));
    let well = runs && is_as_wanted && index < service.desired;
    let mut answer = json!({"slot": index, "well": well, "explanation": text});
    if let Some((generation, slot)) = slot {
        answer["generation"] = json!(generation);
        answer["order"] = json!(slot.order.to_string());
        answer["failures"] = json!(slot.failures);
        answer["reason"] = json!(slot.reason);
        let revision = &slot.revision;
        answer["taskDefinition"] = json!(format!("{}:{}", revision.family, revision.revision));
        set_if(
            &mut answer,
            "host",
            slot.host.map(|host| host_json(view, host)),
        );
    }
    if let Some((host, task, report)) = current {
        let mut shown = json!({
            "taskId": task.to_string(),
            "host": host_json(view, host),
            "lastStatus": report.last.as_str(),
            "healthStatus": report.health.as_str(),
        });
        if !report.stopped_reason.is_empty() {
            shown["stoppedReason"] = json!(report.stopped_reason);
        }
        answer["task"] = shown;
    }
    (well, answer)
}

/// The task that the slot is about: the one of its generation on its host, else the latest.
fn current_task<'a>(
    slot: Option<(Generation, &Slot)>,
    tasks: &[(HostId, TaskId, &'a TaskReport)],
) -> Option<(HostId, TaskId, &'a TaskReport)> {
    let serves = |host: HostId, task: TaskId, report: &TaskReport| {
        slot.is_some_and(|(generation, slot)| {
            let label = report.slot.as_ref();
            slot.adopted == Some(task)
                || (slot.host == Some(host) && label.is_some_and(|l| l.generation == generation))
        })
    };
    let rank = |(host, task, report): &(HostId, TaskId, &TaskReport)| {
        (
            serves(*host, *task, report),
            report.last.is_live(),
            report.created_at,
        )
    };
    tasks.iter().max_by_key(|task| rank(task)).copied()
}

fn text(
    view: &View<'_>,
    service: &Service<'_>,
    index: SlotIndex,
    slot: Option<(Generation, &Slot)>,
    current: Option<(HostId, TaskId, &TaskReport)>,
) -> String {
    let keeper = keeper_text(view, service);
    if index >= service.desired {
        let stays = current.is_some_and(|(_, _, report)| report.is_protected());
        return match stays {
            true => "above the desired count: its task is protected from being stopped".to_owned(),
            false => "above the desired count: its task stops".to_owned(),
        };
    }
    let Some((generation, slot)) = slot else {
        return format!("not placed yet; {keeper}");
    };
    let Some(host) = slot.host else {
        return format!("{}; {keeper}", slot.reason);
    };
    let name = view.host_name(host);
    if view.is_down(host) && slot.reason.starts_with("waits ") {
        return format!("{}; {keeper}", slot.reason);
    }
    if view.is_down(host) {
        return format!("was on {name}, which is down; {keeper}");
    }
    let reported = current.filter(|(at, _, report)| {
        let label = report.slot.as_ref();
        *at == host && label.is_some_and(|label| label.generation >= generation)
            || slot
                .adopted
                .is_some_and(|task| current.is_some_and(|(_, id, _)| id == task))
    });
    let Some((_, task, report)) = reported else {
        return format!(
            "given to {name}, which has not reported a task for it yet{}",
            { blocked(view, host) }
        );
    };
    if report.last.is_live() && !view.is_confirmed(host, task) {
        let last = report.last.as_str();
        return format!(
            "{name} is back and has not said yet whether task {task}, {last} before, still runs{}",
            blocked(view, host)
        );
    }
    let task = format!("task {task} on {name}");
    let why = &report.stopped_reason;
    match report.last {
        TaskStatus::Running => {
            let (state, waits) = (
                running_text(report),
                waits_text(view, service, slot, report),
            );
            format!("{task} is {state}{waits}")
        }
        TaskStatus::Stopped if report.refused => format!("{name} refused it: {why}; {keeper}"),
        TaskStatus::Stopped => {
            let failures = match slot.failures {
                0 => String::new(),
                n => format!(" ({n} failures in a row: the next try waits longer)"),
            };
            format!("{task} stopped: {why}{failures}; {keeper}")
        }
        status => format!("{task} is {status}{}{}", said(report), blocked(view, host)),
    }
}

/// Whether what runs is of use, and why not.
fn running_text(report: &TaskReport) -> String {
    match (report.ready, report.health) {
        (true, Health::Unknown) => "RUNNING".to_owned(),
        (true, health) => format!("RUNNING and {}", health.as_str()),
        (false, Health::Unhealthy) => format!("RUNNING and UNHEALTHY{}", said(report)),
        (false, _) => format!("RUNNING and not ready{}", said(report)),
    }
}

/// What the first of its containers says that has something to say.
fn said(report: &TaskReport) -> String {
    let mut reasons = report.containers.iter().map(|container| &container.reason);
    let said = reasons.find(|reason| !reason.is_empty());
    said.map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// What is to come instead of the task that runs.
fn waits_text(view: &View<'_>, service: &Service<'_>, slot: &Slot, report: &TaskReport) -> String {
    let wanted = service.revision;
    let moves = !service.is_current(report);
    // What it waited for earlier may still be written there.
    let waits = moves || report.health == Health::Unhealthy;
    let has_come = view.board.definition(wanted.definition).is_some();
    let is_over = has_come && slot.reason.ends_with("has not come yet");
    if waits && !is_over && slot.reason.starts_with("waits ") {
        return format!("; {}", slot.reason);
    }
    if moves {
        return format!("; it is to move to {}:{}", wanted.family, wanted.revision);
    }
    String::new()
}

fn keeper_text(view: &View<'_>, service: &Service<'_>) -> String {
    match (view.keeper)(service.id) {
        Some(keeper) if keeper == view.me => "this agent decides for it".to_owned(),
        Some(keeper) => format!("{} decides for it", view.host_name(keeper)),
        None => "nobody can decide for it: no host is up and caught up".to_owned(),
    }
}

/// What keeps a host from getting on.
fn blocked(view: &View<'_>, host: HostId) -> String {
    let docker = view.board.host(host).map(|(_, report)| &report.runtime);
    if let Some(RuntimeStatus::Unavailable { reason }) = docker {
        return format!("; its Docker does not answer: {reason}");
    }
    match view.standing_of(host) {
        HostStanding::Suspect => "; it has not answered lately".to_owned(),
        HostStanding::Impaired => "; its agent does not answer, its machine does".to_owned(),
        HostStanding::Restarting => "; its agent is restarting".to_owned(),
        HostStanding::Leaving => "; it is leaving".to_owned(),
        HostStanding::Draining => "; it is drained".to_owned(),
        HostStanding::Up | HostStanding::Down | HostStanding::Left | HostStanding::Forgotten => {
            String::new()
        }
    }
}
