//! The keeper of a service: makes each slot name one host, by hand-overs that carry their reason.
//!
//! Everything is derived from the records, so that any next keeper goes on where the last one
//! stopped. Only delays (back-off, waiting for an offer to be taken) are this keeper's own.

mod held;
mod lost;
mod brake;
mod moves;
mod round;
mod runs;
mod wakes;

use crate::{
    cluster::{
        board::{Board, Service},
        body::Slot,
    },
    ids::{Generation, HostId, ServiceId, SlotIndex},
    schedule::{
        index::{Index, Touched},
        view::SlotView,
    },
    time::{Mono, Now, Span},
    timings::Timings,
};
use brake::Brake;
use moves::Balance;
use round::Round;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use wakes::Wakes;

/// A slot that was not handed over for so long is at rest.
const CALM: Span = Span::from_secs(10);
/// Hand-overs of one slot that need not wait, in a row.
const HASTY_MAX: u32 = 3;
/// How long to wait for the new incarnation of a host that is heard again.
const RETURN_TAKES: Span = Span::from_ms(500);
/// A service of so many tasks is looked at as a whole whenever one of its slots gets on with moving
/// to another definition; a larger one after this pause.
const WHOLE_AT_ONCE_MAX: u32 = 64;
const WHOLE_PAUSE: Span = Span::from_ms(50);

/// Why nothing changes hands under the policy `majority`.
const MINORITY: &str = "waits until more than half of the hosts that count are on this side";

/// Why a slot stays where it is, and as it is.
const PROTECTED: &str = "its task is protected from being stopped";

pub use held::FAILED_CHECKS;
pub use moves::{Move, better};

/// A slot record to be written, at this generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub service: ServiceId,
    pub index: SlotIndex,
    pub generation: Generation,
    pub slot: Slot,
}

/// What a plan looks at. It tries its own decisions on the index, and leaves it as it found it.
#[derive(Debug)]
pub struct Sight<'a> {
    pub board: &'a Board,
    pub index: &'a mut Index,
    /// Hosts that are down by the board, but are heard again: they are waited for.
    pub returning: &'a BTreeSet<HostId>,
    /// This side may replace what is under the policy `majority`.
    pub is_majority: bool,
}

/// Which slots of a service a plan is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Whole,
    Slots(BTreeSet<SlotIndex>),
}

impl Scope {
    pub fn covers(&self, index: SlotIndex) -> bool {
        match self {
            Self::Whole => true,
            Self::Slots(slots) => slots.contains(&index),
        }
    }
}

/// The delays of the services that this host keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Keeper {
    /// When a slot was first seen as it is now: the offer open, or the failure to be made good.
    since: BTreeMap<(ServiceId, SlotIndex), (Generation, Open, Mono)>,
    /// When each slot was last handed over, and how often in a row that was soon after the time
    /// before: two keepers that see different things must not fight at the speed of the network.
    handed_over: BTreeMap<(ServiceId, SlotIndex), (Mono, u32)>,
    /// Slots that were given to a host within the last moments, whoever keeps them.
    changed_at: BTreeMap<(ServiceId, SlotIndex), Mono>,
    /// Services that were seen to move to another definition: what one slot does lets others go.
    moving: BTreeSet<ServiceId>,
    /// Since when this host knows of those that are down.
    down_since: BTreeMap<HostId, Mono>,
    brake: Brake,
    /// How long a container takes to stop at the most, where its definition does not say.
    stop_timeout: Span,
    /// Services that do not wait so long act as soon as the observers agree that nobody answers.
    down_after: Span,
    /// Since when this host knows of those that are suspects.
    suspect_since: BTreeMap<HostId, Mono>,
    balance: BTreeMap<ServiceId, Balance>,
    wakes: Wakes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Open {
    /// Nobody is known to have placed it.
    Unheard,
    Offer,
    /// Taken up, and the host's container runtime does not answer.
    Start,
    /// A predecessor is to stop first.
    Predecessor,
    Failure,
    /// Its task is unhealthy.
    Health,
    Confirmation,
}

/// What is to become of a slot.
enum Ruling {
    /// It goes to the host that the record names, with one more generation.
    HandOver(Slot),
    /// It stays with the host that it names, and is as this says.
    Change(Slot),
    /// Nothing changes hands, but whoever asks is told this.
    Say(String),
}

impl Keeper {
    pub fn new(timings: &Timings) -> Self {
        Self {
            stop_timeout: timings.stop_timeout,
            down_after: timings.down_after,
            brake: Brake::new(timings.brake),
            ..Self::default()
        }
    }

    pub fn deadline(&self) -> Option<Mono> {
        self.wakes.earliest()
    }

    /// What asked to be looked at again by now.
    pub fn on_wake(&mut self, now: Now) -> Touched {
        self.wakes.due(now.mono)
    }

    /// Slots that were offered so long ago to hosts of which nothing was heard since.
    pub fn unanswered(
        &self,
        now: Mono,
        after: Span,
    ) -> impl Iterator<Item = (ServiceId, SlotIndex)> {
        let open = self.since.iter();
        let open =
            open.filter(move |(_, (_, open, at))| *open == Open::Offer && now.since(*at) >= after);
        open.map(|(slot, _)| *slot)
    }

    fn look_again(&mut self, slot: (ServiceId, SlotIndex), at: Mono) {
        self.wakes.add(slot.0, Some(slot.1), at);
    }

    /// A slot was given to a host.
    pub fn on_slot(&mut self, now: Now, service: ServiceId, index: SlotIndex) {
        self.changed_at.insert((service, index), now.mono);
    }

    /// To be called now and then: what is long over is forgotten.
    pub fn tidy(&mut self, now: Now) {
        self.changed_at
            .retain(|_, at| now.mono.since(*at) < RETURN_TAKES);
        self.handed_over
            .retain(|_, (at, _)| now.mono.since(*at) < CALM);
    }

    /// No longer ours to keep, or gone: its delays are forgotten.
    pub fn forget(&mut self, service: ServiceId) {
        self.forget_from(service, 0);
        self.moving.remove(&service);
        self.balance.remove(&service);
        self.wakes.forget(service);
    }

    /// Forgets the delays of the slots from this one on.
    fn forget_from(&mut self, service: ServiceId, first: SlotIndex) {
        let range = (service, first)..=(service, SlotIndex::MAX);
        let waiting = self.since.range(range.clone()).map(|(slot, _)| *slot);
        for slot in waiting.collect::<Vec<_>>() {
            self.since.remove(&slot);
        }
        let recent = self.handed_over.range(range).map(|(slot, _)| *slot);
        for slot in recent.collect::<Vec<_>>() {
            self.handed_over.remove(&slot);
        }
    }

    /// What is to be written so that each slot in scope comes to be served by one host.
    pub fn plan(
        &mut self,
        now: Now,
        sight: Sight<'_>,
        service: Service<'_>,
        scope: &Scope,
    ) -> Vec<Decision> {
        let is_moving = self.moving.contains(&service.id);
        let scope = match scope {
            Scope::Slots(_) if is_moving && service.desired <= WHOLE_AT_ONCE_MAX => &Scope::Whole,
            Scope::Slots(_) if is_moving => {
                self.wakes.add(service.id, None, now.mono + WHOLE_PAUSE);
                scope
            }
            scope => scope,
        };
        let mut round = Round::new(now, sight, service);
        let mut decisions = Vec::new();
        match scope {
            Scope::Whole => {
                self.moving.remove(&service.id);
                self.forget_from(service.id, service.desired);
                for index in 0..service.desired {
                    decisions.extend(self.decide(&mut round, index));
                }
            }
            Scope::Slots(slots) => {
                for index in slots.range(..service.desired) {
                    decisions.extend(self.decide(&mut round, *index));
                }
            }
        }
        if service.run.is_some() {
            // Its tasks stay where they are until they end.
        } else if !decisions.is_empty() {
            self.upset(now, service.id);
        } else if *scope == Scope::Whole {
            decisions.extend(self.balance(&mut round));
        }
        round.end();
        decisions
    }

    fn decide(&mut self, round: &mut Round<'_>, index: SlotIndex) -> Option<Decision> {
        let (board, service) = (round.board, round.service);
        let view = SlotView::of(board, service, index);
        let held = board.slot(service.id, index);
        let ruling = match held {
            None => self.vacant(round, &view, None),
            Some(held) if service.run.is_some() => self.run(round, &view, held),
            Some(held) => self.held(round, &view, held),
        };
        let ruling = match ruling? {
            Ruling::HandOver(slot) if !round.may_replace() && slot.host.is_some() => {
                Ruling::Say(MINORITY.to_owned())
            }
            ruling => ruling,
        };
        let (generation, slot) = match (ruling, held) {
            (Ruling::HandOver(slot), _) => {
                if !self.may_hand_over(round.now, (service.id, index)) {
                    return None;
                }
                (view.generation + 1, slot)
            }
            // Two keepers of which one holds a host for lost and the other does not.
            (Ruling::Change(slot), _) => {
                if !self.may_hand_over(round.now, (service.id, index)) {
                    return None;
                }
                (view.held_generation(), slot)
            }
            (Ruling::Say(reason), Some((generation, old))) if old.reason != reason => {
                let slot = Slot {
                    reason,
                    ..old.clone()
                };
                (generation, slot)
            }
            (Ruling::Say(_), _) => return None,
        };
        Some(Decision {
            service: service.id,
            index,
            generation,
            slot,
        })
    }

    /// Lets a few hand-overs of a slot pass at once, and slows down those that follow.
    fn may_hand_over(&mut self, now: Now, slot: (ServiceId, SlotIndex)) -> bool {
        let (last, in_a_row) = self.handed_over.get(&slot).copied().unwrap_or_default();
        let calm = now.mono.since(last) >= CALM;
        let wait = Span::from_ms(50 << in_a_row.min(7));
        if !calm && in_a_row >= HASTY_MAX && now.mono < last + wait {
            self.look_again(slot, last + wait);
            return false;
        }
        self.handed_over
            .insert(slot, (now.mono, if calm { 1 } else { in_a_row + 1 }));
        true
    }

    fn first_seen(&mut self, now: Now, view: &SlotView<'_>, open: Open) -> Mono {
        let generation = view.held_generation();
        let seen = self.since.entry((view.service.id, view.index));
        let seen = seen.or_insert((generation, open, now.mono));
        if (seen.0, seen.1) != (generation, open) {
            *seen = (generation, open, now.mono);
        }
        seen.2
    }
}
