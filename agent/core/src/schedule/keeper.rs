//! The keeper of a service: makes each slot name one host, by hand-overs that carry their reason.
//!
//! Everything is derived from the records, so that any next keeper goes on where the last one
//! stopped. Only delays (back-off, waiting for an offer to be taken) are this keeper's own.

use crate::{
    cluster::{
        board::{Board, Service},
        body::{HandOver, HostStatus, Placement, RuntimeStatus, ServiceRevision, Slot},
    },
    ids::{Generation, HostId, ServiceId, SlotIndex},
    limits, rng,
    schedule::{
        copy::serves,
        pace::{back_off, failures_after, hand_over_room},
        place::{Load, choose},
        view::{Copy, SlotView},
    },
    task::status::TaskStatus,
    time::{Mono, Now, Span},
};
use std::collections::{BTreeMap, BTreeSet};

/// An offer that nobody has taken up after this long is made to another host.
const OFFER_LASTS: Span = Span::from_secs(10);
/// A host that is back may take this long to reach its container runtime and say what still runs.
const CONFIRMATION_TAKES: Span = Span::from_secs(30);
/// A slot that was not handed over for so long is at rest.
const CALM: Span = Span::from_secs(10);
/// Hand-overs of one slot that need not wait, in a row.
const HASTY_MAX: u32 = 3;
/// How long to wait for the new incarnation of a host that is heard again.
const RETURN_TAKES: Span = Span::from_ms(500);
/// How long an unplaceable slot waits before it is looked at again without anything having changed.
const LOOK_AGAIN: Span = Span::from_secs(5);

/// A slot record to be written, at this generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub service: ServiceId,
    pub index: SlotIndex,
    pub generation: Generation,
    pub slot: Slot,
}

/// The delays of the services that this host keeps.
#[derive(Debug, Default)]
pub struct Keeper {
    /// When a slot was first seen as it is now: the offer open, or the failure to be made good.
    since: BTreeMap<(ServiceId, SlotIndex), (Generation, Open, Mono)>,
    /// When each slot was last handed over, and how often in a row that was soon after the time
    /// before: two keepers that see different things must not fight at the speed of the network.
    handed_over: BTreeMap<(ServiceId, SlotIndex), (Mono, u32)>,
    returning: BTreeSet<HostId>,
    /// When each slot's record last changed on this host's board, whoever keeps it.
    changed_at: BTreeMap<(ServiceId, SlotIndex), Mono>,
    wake_at: Option<Mono>,
    woken_for: BTreeSet<ServiceId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Offer,
    Failure,
    Confirmation,
}

/// What is to become of a slot.
enum Ruling {
    /// It goes to the host that the record names, with one more generation.
    HandOver(Slot),
    /// Nothing changes hands, but whoever asks is told this.
    Say(String),
}

/// How the next holder of a slot comes to it.
struct Next {
    superseded: Vec<Placement>,
    failures: u32,
    reason: String,
}

/// The eligible host with the highest rendezvous score for the service: up, and with a full copy.
pub fn keeper_of(board: &Board, service: ServiceId) -> Option<HostId> {
    let eligible = board.hosts().filter(|(host, _, report)| {
        report.caught_up && !board.is_down(*host) && report.status == HostStatus::Active
    });
    eligible
        .map(|(host, _, _)| host)
        .max_by_key(|host| rng::score(service.word(), host.word()))
}

impl Keeper {
    pub const fn deadline(&self) -> Option<Mono> {
        self.wake_at
    }

    /// The services that asked to be looked at again by now.
    pub fn on_wake(&mut self, now: Now) -> BTreeSet<ServiceId> {
        if self.wake_at.is_none_or(|at| now.mono < at) {
            return BTreeSet::new();
        }
        self.wake_at = None;
        std::mem::take(&mut self.woken_for)
    }

    fn look_again(&mut self, service: ServiceId, at: Mono) {
        self.wake_at = Some(self.wake_at.map_or(at, |wake| wake.min(at)));
        self.woken_for.insert(service);
    }

    /// A slot's record has changed.
    pub fn on_slot(&mut self, now: Now, service: ServiceId, index: SlotIndex) {
        self.changed_at.insert((service, index), now.mono);
    }

    /// No longer ours to keep, or gone: its delays are forgotten.
    pub fn forget(&mut self, service: ServiceId) {
        self.since.retain(|(of, _), _| *of != service);
        self.handed_over.retain(|(of, _), _| *of != service);
    }

    /// The service is gone for good.
    pub fn bury(&mut self, service: ServiceId) {
        self.forget(service);
        self.changed_at.retain(|(of, _), _| *of != service);
    }

    /// What is to be written so that each slot of the service comes to be served by one host.
    /// Hosts that are `returning` are down by the board, but are heard again: they are waited for.
    pub fn plan(
        &mut self,
        now: Now,
        board: &Board,
        service: Service<'_>,
        returning: &BTreeSet<HostId>,
    ) -> Vec<Decision> {
        self.returning.clone_from(returning);
        let mut load = None;
        let mut decisions = Vec::new();
        let mut room = hand_over_room(board, service);
        for index in 0..service.desired {
            let view = SlotView::of(board, service, index);
            let decided = match board.slot(service.id, index) {
                None => self.vacant(now, &view, None, &mut load),
                Some((generation, slot)) => {
                    self.held(now, &view, (generation, slot), &mut room, &mut load)
                }
            };
            let held = board.slot(service.id, index);
            let (generation, slot) = match (decided, held) {
                (None, _) => continue,
                (Some(Ruling::HandOver(slot)), _) => {
                    if !self.may_hand_over(now, (service.id, index)) {
                        continue;
                    }
                    (view.generation + 1, slot)
                }
                (Some(Ruling::Say(reason)), Some((generation, old))) if old.reason != reason => (
                    generation,
                    Slot {
                        reason,
                        ..old.clone()
                    },
                ),
                (Some(Ruling::Say(_)), _) => continue,
            };
            decisions.push(Decision {
                service: service.id,
                index,
                generation,
                slot,
            });
        }
        self.since
            .retain(|(of, index), _| *of != service.id || *index < service.desired);
        self.handed_over
            .retain(|(of, index), _| *of != service.id || *index < service.desired);
        decisions
    }

    /// Lets a few hand-overs of a slot pass at once, and slows down those that follow.
    fn may_hand_over(&mut self, now: Now, slot: (ServiceId, SlotIndex)) -> bool {
        let (last, in_a_row) = self.handed_over.get(&slot).copied().unwrap_or_default();
        let calm = now.mono.since(last) >= CALM;
        let wait = Span::from_ms(50 << in_a_row.min(7));
        if !calm && in_a_row >= HASTY_MAX && now.mono < last + wait {
            self.look_again(slot.0, last + wait);
            return false;
        }
        self.handed_over
            .insert(slot, (now.mono, if calm { 1 } else { in_a_row + 1 }));
        true
    }

    /// A slot that names a host: is it served as it should be?
    fn held(
        &mut self,
        now: Now,
        view: &SlotView<'_>,
        held: (Generation, &Slot),
        room: &mut u32,
        load: &mut Option<Load>,
    ) -> Option<Ruling> {
        let (generation, slot) = held;
        let Some(host) = slot.host else {
            return self.vacant(now, view, Some(slot), load);
        };
        let current = view.current(&view.copies, generation, slot);
        if current.is_none() && view.current(&view.unconfirmed, generation, slot).is_some() {
            return self.unconfirmed(now, view, (generation, slot), load);
        }
        let unasked = |copy: &&Copy<'_>| {
            current.is_none_or(|c| c.at != copy.at) && !slot.superseded.contains(&copy.at)
        };
        let unasked: Vec<Copy<'_>> = view.copies.iter().filter(unasked).copied().collect();
        // Those who are told to go have to have gone before more can be told.
        let room_to_tell = view.still_live(&slot.superseded).len() + unasked.len()
            <= limits::SUPERSEDED_PER_SLOT_MAX;
        match current {
            Some(current) if !unasked.is_empty() && room_to_tell => {
                Some(Ruling::HandOver(view.reconcile(slot, current, &unasked)))
            }
            Some(current) => {
                self.since.remove(&(view.service.id, view.index));
                self.roll(now, view, (slot, current), room, load)
            }
            None if !unasked.is_empty() && room_to_tell => {
                let reason = "a copy that runs already takes the slot over".to_owned();
                Some(Ruling::HandOver(view.adopt(
                    &unasked,
                    &slot.superseded,
                    reason,
                )))
            }
            None => self.unserved(now, view, (generation, slot), host, load),
        }
    }

    /// The slot's holder runs another definition than the service has now: hand over, start-first,
    /// as many at a time as the service's surge allows.
    fn roll(
        &mut self,
        now: Now,
        view: &SlotView<'_>,
        (slot, current): (&Slot, Copy<'_>),
        room: &mut u32,
        load: &mut Option<Load>,
    ) -> Option<Ruling> {
        let wanted = view.service.revision;
        if slot.revision.definition == wanted.definition || *room == 0 {
            return None;
        }
        let mut superseded = view.still_live(&slot.superseded);
        superseded.insert(0, current.at);
        let reason = format!(
            "(service {}) moves from {} to {}",
            view.service.settings.name,
            label(&slot.revision),
            label(wanted)
        );
        *room -= 1;
        // A copy from before the last change may still run what is wanted again now.
        let wanted_copy = view
            .copies
            .iter()
            .find(|copy| copy.at != current.at && copy.report.definition == wanted.definition);
        if let Some(copy) = wanted_copy {
            return Some(Ruling::HandOver(view.adopt(&[*copy], &superseded, reason)));
        }
        let next = Next {
            superseded,
            failures: 0,
            reason,
        };
        let placed = self.place(now, view, next, load);
        if placed.host.is_some() {
            return Some(Ruling::HandOver(placed));
        }
        *room += 1;
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
        now: Now,
        view: &SlotView<'_>,
        (generation, slot): (Generation, &Slot),
        load: &mut Option<Load>,
    ) -> Option<Ruling> {
        let seen = self.first_seen(now, view, generation, Open::Confirmation);
        if now.mono < seen + CONFIRMATION_TAKES {
            self.look_again(view.service.id, seen + CONFIRMATION_TAKES);
            return None;
        }
        let superseded = view.still_live(&slot.superseded);
        let reason = "its host does not say whether its task still runs".to_owned();
        let next = Next {
            superseded,
            failures: slot.failures,
            reason,
        };
        Some(Ruling::HandOver(self.place(now, view, next, load)))
    }

    /// Nobody serves the slot: its host is lost, has stopped its task, or has not started it yet.
    fn unserved(
        &mut self,
        now: Now,
        view: &SlotView<'_>,
        held: (Generation, &Slot),
        host: HostId,
        load: &mut Option<Load>,
    ) -> Option<Ruling> {
        let (generation, slot) = held;
        let superseded = view.still_live(&slot.superseded);
        if self.returning.contains(&host) {
            self.look_again(view.service.id, now.mono + RETURN_TAKES);
            return None;
        }
        let down = !view.board.is_up(host);
        let changed_at = self.changed_at.get(&(view.service.id, view.index));
        let settles_at = changed_at.map_or(Mono(0), |at| *at + RETURN_TAKES);
        if down && now.mono < settles_at {
            // Somebody just gave it to a host that we hold for down: they know more than we do.
            self.look_again(view.service.id, settles_at);
            return None;
        }
        if down {
            let reason = format!("{} is down", view.name_of(host));
            return Some(Ruling::HandOver(self.place(
                now,
                view,
                Next {
                    superseded,
                    failures: 0,
                    reason,
                },
                load,
            )));
        }
        let ended = view
            .board
            .tasks_of(view.service.id)
            .find(|(on, task, report)| {
                let its = slot.adopted.map_or_else(
                    || serves(report, view.index, generation),
                    |adopted| adopted == *task,
                );
                *on == host && its && report.desired == TaskStatus::Stopped
            });
        let Some((_, _, report)) = ended else {
            return self.offered(now, view, held, host, load);
        };
        let failures = failures_after(slot.failures, report);
        let delay = back_off(failures);
        let seen = self.first_seen(now, view, generation, Open::Failure);
        if now.mono < seen + delay {
            self.look_again(view.service.id, seen + delay);
            return None;
        }
        let reason = match report.stopped_reason.as_str() {
            "" => "its task stopped".to_owned(),
            reason => format!("its task stopped: {reason}"),
        };
        Some(Ruling::HandOver(self.place(
            now,
            view,
            Next {
                superseded,
                failures,
                reason,
            },
            load,
        )))
    }

    /// The slot's host has not said anything of it yet: give it a while, unless it cannot.
    fn offered(
        &mut self,
        now: Now,
        view: &SlotView<'_>,
        held: (Generation, &Slot),
        host: HostId,
        load: &mut Option<Load>,
    ) -> Option<Ruling> {
        let (generation, slot) = held;
        let seen = self.first_seen(now, view, generation, Open::Offer);
        let runtime = view.board.host(host).map(|(_, report)| &report.runtime);
        let reason = match runtime {
            Some(RuntimeStatus::Unavailable { .. }) => {
                format!(
                    "the container runtime of {} does not answer",
                    view.name_of(host)
                )
            }
            _ if now.mono >= seen + OFFER_LASTS => {
                format!("{} has not taken it up for 10 s", view.name_of(host))
            }
            _ => {
                self.look_again(view.service.id, seen + OFFER_LASTS);
                return None;
            }
        };
        let superseded = view.still_live(&slot.superseded);
        let next = Next {
            superseded,
            failures: slot.failures + 1,
            reason,
        };
        let placed = self.place(now, view, next, load);
        if placed.host == Some(host) {
            // Nobody else can: then the offer stands, and is looked at again.
            self.look_again(view.service.id, now.mono + LOOK_AGAIN);
            return None;
        }
        Some(Ruling::HandOver(placed))
    }

    /// A slot that nobody holds: new, or so far unplaceable.
    fn vacant(
        &mut self,
        now: Now,
        view: &SlotView<'_>,
        old: Option<&Slot>,
        load: &mut Option<Load>,
    ) -> Option<Ruling> {
        let superseded = old
            .map(|slot| view.still_live(&slot.superseded))
            .unwrap_or_default();
        let strangers: Vec<Copy<'_>> = view
            .copies
            .iter()
            .filter(|copy| !superseded.contains(&copy.at))
            .copied()
            .collect();
        if !strangers.is_empty() {
            let reason = "a copy that runs already takes the slot over".to_owned();
            return Some(Ruling::HandOver(view.adopt(
                &strangers,
                &superseded,
                reason,
            )));
        }
        if !view.unconfirmed.is_empty() {
            let generation = view.generation;
            let seen = self.first_seen(now, view, generation, Open::Confirmation);
            if now.mono < seen + CONFIRMATION_TAKES {
                self.look_again(view.service.id, seen + CONFIRMATION_TAKES);
                return None;
            }
        }
        let failures = old.map_or(0, |slot| slot.failures);
        let reason = "first placement".to_owned();
        let placed = self.place(
            now,
            view,
            Next {
                superseded,
                failures,
                reason,
            },
            load,
        );
        Some(match old {
            Some(_) if placed.host.is_none() => Ruling::Say(placed.reason),
            _ => Ruling::HandOver(placed),
        })
    }

    /// Gives the slot to the best host, or to none, with the reason why.
    fn place(
        &mut self,
        now: Now,
        view: &SlotView<'_>,
        next: Next,
        load: &mut Option<Load>,
    ) -> Slot {
        let service = view.service.id;
        let revision = view.service.revision.clone();
        let needs = view
            .board
            .definition(revision.definition)
            .map(|d| d.needs());
        let load = load.get_or_insert_with(|| Load::of(view.board));
        let chosen = match &needs {
            Some(needs) => {
                let failed = view.failed_to_start(next.failures);
                choose(view.board, load, (service, view.index), needs, &failed)
                    .map_err(|refusals| refusals.to_string())
            }
            None => Err(format!(
                "the definition {} has not come yet",
                label(&revision)
            )),
        };
        let (host, reason) = match chosen {
            Ok(host) => {
                load.add(host, Some(service), &needs.unwrap_or_default());
                (Some(host), next.reason)
            }
            Err(refusals) => {
                self.look_again(service, now.mono + LOOK_AGAIN);
                (None, refusals)
            }
        };
        let (superseded, failures) = (next.superseded, next.failures);
        let order = HandOver::StartFirst;
        Slot {
            host,
            revision,
            adopted: None,
            superseded,
            order,
            failures,
            reason,
        }
    }

    fn first_seen(
        &mut self,
        now: Now,
        view: &SlotView<'_>,
        generation: Generation,
        open: Open,
    ) -> Mono {
        let seen = self.since.entry((view.service.id, view.index));
        let seen = seen.or_insert((generation, open, now.mono));
        if (seen.0, seen.1) != (generation, open) {
            *seen = (generation, open, now.mono);
        }
        seen.2
    }
}

fn label(revision: &ServiceRevision) -> String {
    format!("{}:{}", revision.family, revision.revision)
}
