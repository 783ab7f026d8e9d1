//! Slots that are well and move all the same: off a host that is leaving, or to an emptier one.
//!
//! Start-first, no healthy copy stops before its successor serves; stop-first only where people
//! chose it.

use super::{
    Decision, Keeper, PROTECTED, Ruling,
    held::Held,
    round::{Next, Round},
};
use crate::{
    cluster::board::{Board, Service},
    ids::{HostId, ServiceId, SlotIndex},
    schedule::{
        copy::is_healthy,
        index::Index,
        place::{Wanted, choose},
        view::{Copy, SlotView},
    },
    task::status::TaskStatus,
    time::{Mono, Now, Span, Wall},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Slots that are on the move in the whole cluster, above which no keeper begins another move.
const MOVES_AT_ONCE_MAX: usize = 10;
/// How long a slot that may not move yet waits.
const MOVE_PAUSE: Span = Span::from_ms(500);
/// How long a service and the hosts must have been at rest before slots move for balance alone.
const CALM_BEFORE_BALANCE: Span = Span::from_secs(30);
/// Between two such moves of a service.
const BALANCE_PAUSE: Span = Span::from_secs(2);
/// A move must even out a difference of at least so many copies, or it could undo the one before.
const BALANCE_GAIN_MIN: u32 = 2;

/// Whether a service is to be looked at for balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Balance {
    Due(Mono),
    /// Something else is the matter with it; to be looked at again.
    Unrest(Mono),
    Done,
}

/// A slot that would be better placed elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub index: SlotIndex,
    pub from: HostId,
    pub to: HostId,
    pub reason: String,
}

impl Keeper {
    /// The slot's host is leaving: the copy serves on until its successor does.
    pub(super) fn move_off(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
        current: Copy<'_>,
    ) -> Option<Ruling> {
        if !view.board.is_leaving(held.host) || planted!(LeavesTasksWhereTheyDrain) {
            return None;
        }
        if current.report.is_protected() && !planted!(StopsTheProtected) {
            let name = view.name_of(held.host);
            return Some(Ruling::Say(format!("waits to leave {name}: {PROTECTED}")));
        }
        // What never becomes ready must not hold up its own move.
        let is_alone = view.still_live(&held.slot.superseded).is_empty();
        let is_idle =
            is_alone && current.report.last == TaskStatus::Running && !is_healthy(current.report);
        if !is_idle && !round.has_room() || round.moves() >= MOVES_AT_ONCE_MAX {
            self.look_again(view.key(), round.now.mono + MOVE_PAUSE);
            return None;
        }
        let name = view.name_of(held.host);
        let next = Next {
            superseded: view.superseded_with(current, &held.slot.superseded),
            failures: 0,
            tried: 0,
            order: round.order(),
            reason: format!("{name} is draining"),
        };
        round.leave(current);
        let placed = self.place(round, view, next);
        if placed.host.is_none() {
            let why = placed.reason;
            return Some(Ruling::Say(format!("waits to leave {name}: {why}")));
        }
        if !is_idle {
            round.take_room();
        }
        Some(Ruling::HandOver(placed))
    }

    /// Something about the service was not at rest: it is looked at for balance later.
    pub(super) fn upset(&mut self, now: Now, service: ServiceId) {
        let at = now.mono + CALM_BEFORE_BALANCE;
        self.balance.insert(service, Balance::Due(at));
        self.wakes.add(service, None, at);
    }

    /// There is a host to move slots to: all services are looked at, once it was calm for a while.
    pub fn on_more_room(&mut self, now: Now) {
        let services: Vec<_> = self.balance.keys().copied().collect();
        for service in services {
            self.upset(now, service);
        }
    }

    /// No service of this keeper is about to move a slot for balance.
    pub fn is_balanced(&self) -> bool {
        let mut states = self.balance.values();
        states.all(|state| !matches!(state, Balance::Due(_)))
    }

    /// One slot at a time moves to where the service is spread more evenly.
    pub(super) fn balance(&mut self, round: &mut Round<'_>) -> Option<Decision> {
        let (now, service) = (round.now, round.service);
        match self.balance.get(&service.id) {
            Some(Balance::Done) => return None,
            Some(Balance::Due(at) | Balance::Unrest(at)) if now.mono >= *at => {}
            Some(Balance::Due(at) | Balance::Unrest(at)) => {
                self.wakes.add(service.id, None, *at);
                return None;
            }
            None => {
                self.upset(now, service.id);
                return None;
            }
        }
        if !service.settings.options.rebalance {
            self.balance.insert(service.id, Balance::Done);
            return None;
        }
        if !round.may_replace() || !is_at_rest(round.board, service) {
            let again = now.mono + CALM_BEFORE_BALANCE;
            self.balance.insert(service.id, Balance::Unrest(again));
            self.wakes.add(service.id, None, again);
            return None;
        }
        let again = now.mono + BALANCE_PAUSE;
        let best = better(now.wall, round.board, round.index, service);
        let Some(best) = best else {
            self.balance.insert(service.id, Balance::Done);
            return None;
        };
        self.balance.insert(service.id, Balance::Due(again));
        self.wakes.add(service.id, None, again);
        if round.moves() >= MOVES_AT_ONCE_MAX {
            return None;
        }
        let view = SlotView::of(round.board, service, best.index);
        let (generation, slot) = round.board.slot(service.id, best.index)?;
        let current = view.current(&view.copies, generation, slot)?;
        let next = Next {
            superseded: vec![current.at],
            failures: 0,
            tried: 0,
            order: round.order(),
            reason: best.reason,
        };
        Some(Decision {
            service: service.id,
            index: best.index,
            generation: view.generation + 1,
            slot: round.given(best.to, next),
        })
    }
}

/// Each slot is served by one healthy copy of the definition that is wanted, and by no other.
fn is_at_rest(board: &Board, service: Service<'_>) -> bool {
    (0..service.desired).all(|index| {
        let view = SlotView::of(board, service, index);
        let Some((generation, slot)) = board.slot(service.id, index) else {
            return false;
        };
        let current = view.current(&view.copies, generation, slot);
        view.copies.len() == 1
            && view.unconfirmed.is_empty()
            && current.is_some_and(|copy| {
                service.is_current(copy.report)
                    && is_healthy(copy.report)
                    && !board.is_in_doubt(copy.at.host)
            })
    })
}

/// The one move that evens a service out most: from the host with the most copies to the best one
/// there is; where hosts are even, from the zone with the most. `None` where it gains too little.
///
/// A move never makes hosts less even, and evens out either them or the zones, so that no sequence
/// of moves comes back to where it began.
pub fn better(now: Wall, board: &Board, index: &Index, service: Service<'_>) -> Option<Move> {
    let needs = board.definition(service.revision.definition)?.needs();
    let avoided = index.avoided(now, service.id);
    let wanted = Wanted {
        service: service.id,
        index: 0,
        needs: &needs,
        failed: &avoided,
        only: None,
    };
    let to = choose(&index.load, wanted).ok()?;
    if avoided.contains_key(&to) {
        // Nothing is wrong where the slots are; what failed there would fail again and again.
        return None;
    }
    let mut holders: BTreeMap<HostId, SlotIndex> = BTreeMap::new();
    for (number, _, slot) in board.slots(service.id) {
        let host = slot
            .host
            .filter(|host| number < service.desired && *host != to);
        let mut copies = board.copies(service.id, number);
        let stays = copies.any(|(on, _, report)| {
            host == Some(on) && report.last.is_live() && report.is_protected()
        });
        let host = host.filter(|_| !stays || planted!(StopsTheProtected));
        if let Some(host) = host {
            holders.insert(host, number);
        }
    }
    let there = index.load.copies_on(service.id, to);
    let gains = holders.into_iter().filter_map(|(from, number)| {
        let here = index.load.copies_on(service.id, from);
        let by_hosts = here.host.saturating_sub(there.host);
        let by_zones = here.zone.saturating_sub(there.zone);
        let evens_hosts = by_hosts >= BALANCE_GAIN_MIN;
        let evens_zones = by_hosts >= 1 && by_zones >= BALANCE_GAIN_MIN;
        let gain = (evens_hosts, if evens_hosts { by_hosts } else { by_zones });
        (evens_hosts || evens_zones).then_some((gain, from, number, here))
    });
    let ((evens_hosts, _), from, number, here) =
        gains.max_by_key(|(gain, from, ..)| (*gain, *from))?;
    let reason = if evens_hosts {
        let (more, fewer) = (here.host, there.host);
        format!("to spread evenly: its host has {more} of the service, the next {fewer}")
    } else {
        let (more, fewer) = (here.zone, there.zone);
        format!("to spread evenly: its zone has {more} of the service, the next {fewer}")
    };
    Some(Move {
        index: number,
        from,
        to,
        reason,
    })
}
