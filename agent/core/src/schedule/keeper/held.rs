//! What a keeper rules about one slot: it is well, goes to another host, or waits for something.

use super::{
    Keeper, Open, PROTECTED, RETURN_TAKES, Ruling,
    round::{Next, Round, label},
    runs::never_begun,
};
use crate::{
    cluster::{
        board::Service,
        body::{ContainerReport, Placement, RuntimeStatus, Slot, TaskReport},
    },
    ids::{Generation, HostId},
    limits,
    schedule::{
        copy::{awaited, is_healthy, serves},
        pace::{back_off, failures_after, failures_of_unhealthy},
        view::{Copy, SlotView},
    },
    spec::{options::HandOver, task_definition::TaskDefinition},
    task::status::{Health, TaskStatus},
    time::Span,
};

/// An offer that nobody has taken up after this long is made to another host.
const OFFER_LASTS: Span = Span::from_secs(10);
/// A host that is back may take this long to reach its container runtime and say what still runs.
const CONFIRMATION_TAKES: Span = Span::from_secs(30);
/// A task of which nothing runs is left to a container runtime that does not answer for so long.
const START_TAKES: Span = Span::from_secs(10);
/// Of a service that was asked for so long ago, slots were placed by somebody; where two clusters
/// meet, or two sides of a split, what is said of them comes within so much of the service.
const ASKED_LONG_AGO_MS: u64 = 2_000;
const SLOTS_FOLLOW_WITHIN: Span = Span::from_secs(1);
/// How long an unplaceable slot waits before it is looked at again without anything having changed.
const LOOK_AGAIN: Span = Span::from_secs(5);

/// How the reason begins for which a task that failed its health checks is replaced, and stops.
pub const FAILED_CHECKS: &str = "its task failed container health checks";
/// Between looks at unhealthy tasks of which too many are being replaced.
const UNHEALTHY_PAUSE: Span = Span::from_ms(500);

/// A slot that names a host.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) generation: Generation,
    pub(super) slot: &'a Slot,
    pub(super) host: HostId,
}

impl Keeper {
    /// A slot that was given to somebody: is it served as it should be?
    pub(super) fn held(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        (generation, slot): (Generation, &Slot),
    ) -> Option<Ruling> {
        let Some(host) = slot.host else {
            return self.vacant(round, view, Some(slot));
        };
        let held = Held {
            generation,
            slot,
            host,
        };
        let current = view.current(&view.copies, generation, slot);
        if current.is_none() && view.current(&view.unconfirmed, generation, slot).is_some() {
            return self.unconfirmed(round, view, held);
        }
        if let Some(ruling) = self.suspected(round, view, held) {
            return Some(ruling);
        }
        let unasked = |copy: &&Copy<'_>| {
            let other = current.is_none_or(|c| c.at != copy.at);
            // A suspect can be asked nothing.
            other
                && !view.board.is_suspect(copy.at.host)
                && !slot.superseded.contains(&copy.at)
                && !planted!(NeverReconciles)
        };
        let unasked: Vec<Copy<'_>> = view.copies.iter().filter(unasked).copied().collect();
        // Those who are told to go have to have gone before more can be told.
        let room_to_tell = view.still_live(&slot.superseded).len() + unasked.len()
            <= limits::SUPERSEDED_PER_SLOT_MAX;
        match current {
            Some(current) if !unasked.is_empty() && room_to_tell => {
                Some(Ruling::HandOver(view.reconcile(slot, current, &unasked)))
            }
            Some(current) if is_stuck(view, current) && !round.is_under_majority() => {
                self.stuck(round, view, held, current)
            }
            Some(current)
                if is_unhealthy(current)
                    && view.service.run.is_none()
                    && round.may_replace()
                    && !self.is_in_grace(round, view, current) =>
            {
                self.unhealthy(round, view, held, current)
            }
            // Whatever is the matter with it, it ends by itself.
            Some(_) if view.service.run.is_some() => {
                self.since.remove(&view.key());
                None
            }
            Some(current) => {
                self.since.remove(&view.key());
                self.roll(round, view, (slot, current))
                    .or_else(|| self.move_off(round, view, held, current))
            }
            None if !unasked.is_empty() && room_to_tell => {
                let reason = "a copy that runs already takes the slot over".to_owned();
                Some(Ruling::HandOver(view.adopt(
                    &unasked,
                    &slot.superseded,
                    reason,
                )))
            }
            None => self.unserved(round, view, held),
        }
    }

    /// The slot's host has taken it up, but its container runtime does not answer, and nothing of
    /// it ran yet: after a while it goes elsewhere. Should it start after all, it serves till then.
    fn stuck(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
        current: Copy<'_>,
    ) -> Option<Ruling> {
        let given_up_at = self.first_seen(round.now, view, Open::Start) + START_TAKES;
        if round.now.mono < given_up_at {
            self.look_again(view.key(), given_up_at);
            return None;
        }
        let superseded = view.superseded_with(current, &held.slot.superseded);
        let name = view.name_of(held.host);
        let next = Next {
            superseded,
            failures: held.slot.failures + 1,
            tried: held.slot.tried,
            order: HandOver::StartFirst,
            reason: format!("the container runtime of {name} does not answer"),
        };
        let placed = self.place(round, view, next);
        placed.host.is_some().then_some(Ruling::HandOver(placed))
    }

    /// The task is so young that nobody is to mind that it is unhealthy; later it is looked at.
    fn is_in_grace(&mut self, round: &Round<'_>, view: &SlotView<'_>, current: Copy<'_>) -> bool {
        let grace_ms = u64::from(view.service.settings.options.health_grace_s) * 1_000;
        let started = current.report.started_at.unwrap_or(round.now.wall);
        let left_ms = grace_ms.saturating_sub(round.now.wall.ms_since(started));
        if left_ms > 0 {
            self.look_again(view.key(), round.now.mono + Span::from_ms(left_ms));
        }
        left_ms > 0
    }

    /// The slot's task has failed its health checks: another one takes over, and it goes when that
    /// one runs; at once where there is no room beside it, and no predecessor that would go, too.
    fn unhealthy(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
        current: Copy<'_>,
    ) -> Option<Ruling> {
        let definition = view.board.definition(current.report.definition);
        let checks_take = definition.map_or(Span::ZERO, TaskDefinition::checks_take);
        let (before, now) = (held.slot.failures, round.now);
        let failures = failures_of_unhealthy(before, current.report, now.wall, checks_take);
        // What is to move to another definition anyway need not wait.
        let is_cured = !view.service.is_current(current.report);
        let pause = if is_cured {
            Span::ZERO
        } else {
            back_off(failures)
        };
        let due_at = self.first_seen(now, view, Open::Health) + pause;
        if now.mono < due_at || !round.may_replace_unhealthy() {
            self.look_again(view.key(), due_at.max(now.mono + UNHEALTHY_PAUSE));
            return None;
        }
        // A predecessor may still be in use: then nothing stops before another one is.
        let told = &held.slot.superseded;
        let serves = |copy: &Copy<'_>| told.contains(&copy.at) && is_healthy(copy.report);
        let is_served = view.copies.iter().any(serves);
        let superseded = view.superseded_with(current, told);
        let next = |order| Next {
            superseded: superseded.clone(),
            failures,
            tried: 0,
            order,
            reason: failed_checks(current.report),
        };
        let order = if is_served {
            HandOver::StartFirst
        } else {
            round.order()
        };
        let mut placed = self.place(round, view, next(order));
        if placed.host.is_none() && !is_served {
            round.vacate(current);
            placed = self.place(round, view, next(HandOver::StopFirst));
            if placed.host.is_none() {
                round.stay();
            }
        }
        if placed.host.is_some() {
            round.take_unhealthy();
            return Some(Ruling::HandOver(placed));
        }
        Some(Ruling::Say(format!(
            "waits to be replaced, since {}: {}",
            failed_checks(current.report),
            placed.reason
        )))
    }

    /// The slot's holder runs another definition than the service has now, or other bytes: hand
    /// over, as many at a time as the service's pace allows. What counts is what runs: of two
    /// records of a generation, from two sides of a split, the one that holds may name another
    /// definition than the copy has.
    fn roll(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        (slot, current): (&Slot, Copy<'_>),
    ) -> Option<Ruling> {
        let wanted = view.service.revision;
        let runs = current.report;
        if view.service.is_current(runs) {
            return None;
        }
        self.moving.insert(view.service.id);
        if current.report.is_protected() && !planted!(StopsTheProtected) {
            let next = label(wanted);
            return Some(Ruling::Say(format!("waits to move to {next}: {PROTECTED}")));
        }
        let is_deployed = view.service.is_deployed(runs);
        let strays_only = is_deployed && view.service.outdated(runs).is_none();
        if strays_only && round.order() == HandOver::StopFirst && !has_example(view) {
            // Nobody knows whether those bytes can still be had.
            return Some(Ruling::Say(format!(
                "waits, since nothing runs of what it is to be: {reason}",
                reason = why_it_rolls(view.service, runs)
            )));
        }
        if !round.has_room() {
            return None;
        }
        if view.still_live(&slot.superseded).len() >= limits::SUPERSEDED_PER_SLOT_MAX {
            // Those who are told to go have to have gone before more can be told.
            return None;
        }
        let superseded = view.superseded_with(current, &slot.superseded);
        let name = &view.service.settings.name;
        let reason = format!("(service {name}) {}", why_it_rolls(view.service, runs));
        // A copy from before the last change may still run what is wanted again now.
        let wanted_copy = view
            .copies
            .iter()
            .find(|copy| copy.at != current.at && view.service.is_current(copy.report));
        if let Some(copy) = wanted_copy {
            round.take_room();
            return Some(Ruling::HandOver(view.adopt(&[*copy], &superseded, reason)));
        }
        let next = Next {
            superseded,
            failures: 0,
            tried: 0,
            order: round.order(),
            reason,
        };
        round.leave(current);
        let placed = self.place(round, view, next);
        if placed.host.is_some() {
            round.take_room();
            return Some(Ruling::HandOver(placed));
        }
        // The old copy serves on; whoever asks why the new one does not come is told.
        Some(Ruling::Say(format!(
            "waits to move to {}: {}",
            label(wanted),
            placed.reason
        )))
    }

    /// The slot's host is back, but has not compared its reports with what runs yet: it is given
    /// time, and only when it says nothing is the slot given to another.
    fn unconfirmed(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
    ) -> Option<Ruling> {
        let given_up_at = self.first_seen(round.now, view, Open::Confirmation) + CONFIRMATION_TAKES;
        if round.now.mono < given_up_at {
            self.look_again(view.key(), given_up_at);
            return None;
        }
        let reason = "its host does not say whether its task still runs".to_owned();
        if round.is_under_majority() {
            return Some(Ruling::Say(format!("waits: {reason}")));
        }
        if let Some(run) = view.service.run {
            return Some(self.run_lost(round, view, (held, run), reason));
        }
        Some(self.pass_on(round, view, held, held.slot.failures, reason))
    }

    /// Nobody serves the slot: its host is lost, has stopped its task, or has not started it yet.
    fn unserved(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
    ) -> Option<Ruling> {
        if round.returning.contains(&held.host) {
            self.look_again(view.key(), round.now.mono + RETURN_TAKES);
            return None;
        }
        if !view.board.is_up(held.host) {
            let lost = (held.host, held.slot.revision.definition);
            return self.lost(round, view, held, lost);
        }
        match (ended(view, held), view.service.run) {
            (Some(report), Some(run)) if !report.refused => {
                self.run_stopped(round, view, (held, run), report)
            }
            (Some(report), _) => self.failed(round, view, held, report),
            (None, _) => self.offered(round, view, held),
        }
    }

    /// The slot's task has stopped, or was refused.
    pub(super) fn failed(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
        report: &TaskReport,
    ) -> Option<Ruling> {
        let failures = failures_after(held.slot.failures, report);
        let due_at = self.first_seen(round.now, view, Open::Failure) + back_off(failures);
        if round.now.mono < due_at {
            self.look_again(view.key(), due_at);
            return None;
        }
        Some(self.pass_on(round, view, held, failures, why_it_stopped(report)))
    }

    /// The slot's host has not said anything of it yet: give it a while, unless it cannot.
    fn offered(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
    ) -> Option<Ruling> {
        if let Some(before) = awaited(view.board, view.service.id, held.slot) {
            return self.awaiting(round, view, held, before);
        }
        let ends_at = self.first_seen(round.now, view, Open::Offer) + OFFER_LASTS;
        let host = view.board.host(held.host);
        let name = view.name_of(held.host);
        let reason = match host.map(|(_, report)| &report.runtime) {
            Some(RuntimeStatus::Unavailable { .. }) => {
                format!("the container runtime of {name} does not answer")
            }
            _ if view.board.is_leaving(held.host) => format!("{name} is draining"),
            _ if round.is_under_majority() && view.board.is_in_doubt(held.host) => {
                // It may have taken it up, and be cut off since.
                self.look_again(view.key(), round.now.mono + LOOK_AGAIN);
                return None;
            }
            _ if round.now.mono >= ends_at => format!("{name} has not taken it up for 10 s"),
            _ => {
                self.look_again(view.key(), ends_at);
                return None;
            }
        };
        let failures = held.slot.failures + 1;
        match self.pass_on(round, view, held, failures, reason) {
            Ruling::HandOver(placed) if placed.host == Some(held.host) => {
                // Nobody else can: then the offer stands, and is looked at again.
                self.look_again(view.key(), round.now.mono + LOOK_AGAIN);
                None
            }
            ruling => Some(ruling),
        }
    }

    /// Under stop-first: the slot's host begins nothing before its predecessor has stopped.
    fn awaiting(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
        before: Placement,
    ) -> Option<Ruling> {
        if !view.board.is_up(before.host) {
            let definition = view.board.task_at(before.host, before.task)?.definition;
            return self.lost(round, view, held, (before.host, definition));
        }
        let told_at = self.first_seen(round.now, view, Open::Predecessor) + OFFER_LASTS;
        if round.now.mono < told_at {
            self.look_again(view.key(), told_at);
            return None;
        }
        let name = view.name_of(before.host);
        Some(Ruling::Say(format!(
            "waits until {name} has stopped task {}",
            before.task
        )))
    }

    /// A slot that nobody holds: new, or so far unplaceable.
    pub(super) fn vacant(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        old: Option<&Slot>,
    ) -> Option<Ruling> {
        let superseded = old
            .map(|slot| view.still_live(&slot.superseded))
            .unwrap_or_default();
        let is_stranger = |copy: &&Copy<'_>| !superseded.contains(&copy.at);
        let strangers: Vec<Copy<'_>> = view.copies.iter().filter(is_stranger).copied().collect();
        if !strangers.is_empty() {
            let reason = "a copy that runs already takes the slot over".to_owned();
            return Some(Ruling::HandOver(view.adopt(
                &strangers,
                &superseded,
                reason,
            )));
        }
        if !view.unconfirmed.is_empty() {
            let seen = self.first_seen(round.now, view, Open::Confirmation);
            let is_given_time = round.now.mono < seen + CONFIRMATION_TAKES;
            if is_given_time || round.is_under_majority() {
                let until = (seen + CONFIRMATION_TAKES).max(round.now.mono + LOOK_AGAIN);
                self.look_again(view.key(), until);
                return None;
            }
        }
        if old.is_none() && self.may_be_placed(round, view) {
            return None;
        }
        let next = Next {
            superseded,
            failures: old.map_or(0, |slot| slot.failures),
            tried: old.map_or(0, |slot| slot.tried),
            order: HandOver::StartFirst,
            reason: "first placement".to_owned(),
        };
        let placed = self.place(round, view, next);
        if let Some(ruling) = never_begun(round, view, (old, &placed)) {
            return Some(ruling);
        }
        Some(match old {
            Some(slot) if placed.host.is_none() => wait_with_one(view, slot, placed.reason),
            _ => Ruling::HandOver(placed),
        })
    }

    /// Nothing is known of the slot yet, and its service is not new: somebody may have placed it.
    fn may_be_placed(&mut self, round: &Round<'_>, view: &SlotView<'_>) -> bool {
        let asked_at = view.board.asked_at(view.service.id);
        let age_ms = round.now.wall.0.saturating_sub(asked_at.0);
        if age_ms < ASKED_LONG_AGO_MS {
            return false;
        }
        let until = self.first_seen(round.now, view, Open::Unheard) + SLOTS_FOLLOW_WITHIN;
        let waits = round.now.mono < until;
        if waits {
            self.look_again(view.key(), until);
        }
        waits
    }

    /// The slot goes to the best host there is; who served it before still may.
    pub(super) fn pass_on(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
        failures: u32,
        reason: String,
    ) -> Ruling {
        let next = Next {
            superseded: view.still_live(&held.slot.superseded),
            failures,
            tried: held.slot.tried,
            order: held.slot.order,
            reason,
        };
        Ruling::HandOver(self.place(round, view, next))
    }

    pub(super) fn place(&mut self, round: &mut Round<'_>, view: &SlotView<'_>, next: Next) -> Slot {
        let placed = round.place(view, next);
        if placed.host.is_none() {
            let at_once = planted!(LooksAgainAtOnce);
            let later = if at_once { Span::ZERO } else { LOOK_AGAIN };
            self.look_again(view.key(), round.now.mono + later);
        }
        placed
    }
}

/// There is no host for the slot. Of several copies that were to go when another serves, one is
/// enough to wait with: it takes the slot over.
fn wait_with_one(view: &SlotView<'_>, slot: &Slot, why: String) -> Ruling {
    let serves_on = |copy: &&Copy<'_>| slot.superseded.contains(&copy.at);
    let serve_on: Vec<Copy<'_>> = view.copies.iter().filter(serves_on).copied().collect();
    if serve_on.len() < 2 {
        return Ruling::Say(why);
    }
    let reason = format!("one of its copies serves on: {why}");
    Ruling::HandOver(view.adopt(&serve_on, &slot.superseded, reason))
}

/// Nothing of the copy ran yet, and its host's container runtime does not answer.
fn is_stuck(view: &SlotView<'_>, copy: Copy<'_>) -> bool {
    let host = view.board.host(copy.at.host);
    let runtime = host.map(|(_, report)| &report.runtime);
    copy.report.started_at.is_none() && matches!(runtime, Some(RuntimeStatus::Unavailable { .. }))
}

fn is_unhealthy(copy: Copy<'_>) -> bool {
    copy.report.health == Health::Unhealthy && !planted!(KeepsTheUnhealthy)
}

/// A task of the deployment that is as all are to be, and well.
fn has_example(view: &SlotView<'_>) -> bool {
    let mut tasks = view.board.tasks_of(view.service.id);
    tasks.any(|(host, task, report)| {
        view.service.is_current(report)
            && is_healthy(report)
            && report.containers.iter().any(|c| c.image.is_some())
            && view.board.is_vouched(host, task)
    })
}

fn why_it_rolls(service: Service<'_>, runs: &TaskReport) -> String {
    let wanted = service.revision;
    if runs.definition != wanted.definition {
        let (family, revision) = (&runs.family, runs.revision);
        return format!("moves from {family}:{revision} to {}", label(wanted));
    }
    if let Some(value) = service.outdated(runs).filter(|_| service.is_deployed(runs)) {
        return format!("takes up {value}, which was set anew");
    }
    match service.strays(runs) {
        Some((container, pinned)) if service.is_deployed(runs) => format!(
            "runs one image everywhere: container {} moves to {pinned}",
            container.name
        ),
        _ => format!("deploys {} anew", label(wanted)),
    }
}

pub(super) fn why_it_stopped(report: &TaskReport) -> String {
    match &*report.stopped_reason {
        "" => "its task stopped".to_owned(),
        reason => format!("its task stopped: {reason}"),
    }
}

/// ECS's sentence, and what the first container said that failed.
fn failed_checks(report: &TaskReport) -> String {
    let unhealthy = |c: &&ContainerReport| c.health == Health::Unhealthy;
    match report.containers.iter().find(unhealthy) {
        Some(failed) if failed.reason.is_empty() => {
            format!("{FAILED_CHECKS} ({})", failed.name)
        }
        Some(failed) => format!("{FAILED_CHECKS} ({}: {})", failed.name, failed.reason),
        None => FAILED_CHECKS.to_owned(),
    }
}

/// The report of the slot's task, if it has ended or is about to.
fn ended<'a>(view: &SlotView<'a>, held: Held<'_>) -> Option<&'a TaskReport> {
    let its = |(host, task, report): &&(HostId, crate::ids::TaskId, &TaskReport)| {
        let its = held.slot.adopted.map_or_else(
            || serves(report, view.index, held.generation),
            |adopted| adopted == *task,
        );
        *host == held.host && its && report.desired == TaskStatus::Stopped
    };
    view.reported.iter().find(its).map(|(_, _, report)| *report)
}
