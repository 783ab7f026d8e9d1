//! What becomes of the slots of a host that is down: they go to others, at once or after a wait.

use super::{Keeper, RETURN_TAKES, Ruling, held::Held, round::Round};
use crate::{
    cluster::board::Board,
    ids::{Digest, HostId, ServiceId, SlotIndex},
    schedule::{index::Index, lease::released_after, load::Standing, view::SlotView},
    spec::options::{PartitionPolicy, ReplaceAfter},
    time::{Mono, Now, Span},
};
use std::collections::btree_map::Entry;

impl Keeper {
    /// What is said of a host has changed.
    pub fn on_host(&mut self, now: Now, board: &Board, index: &Index, host: HostId) {
        if board.is_suspect(host) {
            self.suspect_since.entry(host).or_insert(now.mono);
        } else {
            self.suspect_since.remove(&host);
        }
        if index.standing(host) == Standing::Down {
            if let Entry::Vacant(unknown) = self.down_since.entry(host) {
                unknown.insert(now.mono);
                self.brake.on_loss(now.mono, host, index.roster());
            }
        } else if self.down_since.remove(&host).is_some() {
            self.brake.on_return(host);
        }
    }

    /// This host is down, which serves the slot or did, by this definition, before it was told to
    /// stop.
    pub(super) fn lost(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
        (host, definition): (HostId, Digest),
    ) -> Option<Ruling> {
        let now = round.now.mono;
        let changed_at = self.changed_at.get(&view.key());
        let settles_at = changed_at.map_or(Mono(0), |at| *at + RETURN_TAKES);
        if now < settles_at {
            // Somebody just gave it to a host that we hold for down: they know more than we do.
            self.look_again(view.key(), settles_at);
            return None;
        }
        let name = view.name_of(host);
        // Whoever left, or was forgotten, is not waited for.
        let expected = view.board.host(host).is_some() && !view.board.is_leaving(host);
        let slot = (view.key(), definition);
        if expected && let Some((until, why)) = self.wait_for(now, round, slot, host) {
            if let Some(until) = until {
                self.look_again(view.key(), until);
            }
            return Some(Ruling::Say(format!(
                "waits for {name}, which is down: {why}"
            )));
        }
        let reason = format!("{name} is down");
        if let Some(run) = view.service.run {
            return Some(self.run_lost(round, view, (held, run), reason));
        }
        Some(self.pass_on(round, view, held, 0, reason))
    }

    /// The slot's holder is a suspect, and the service does not wait until it is down: the slot
    /// goes to another host when the observers agree that it has been silent for so long.
    pub(super) fn suspected(
        &mut self,
        round: &mut Round<'_>,
        view: &SlotView<'_>,
        held: Held<'_>,
    ) -> Option<Ruling> {
        let options = round.service.settings.options;
        let ReplaceAfter::SilentMs(ms) = options.replace_after else {
            return None;
        };
        let wanted = Span::from_ms(u64::from(ms));
        let learned = *self.suspect_since.get(&held.host)?;
        if options.partition != PartitionPolicy::Fill || wanted >= self.down_after {
            return None;
        }
        let before = Span::from_ms(round.board.silent_ms(held.host));
        let until = learned + Span(wanted.0.saturating_sub(before.0));
        if round.now.mono < until {
            self.look_again(view.key(), until);
            return None;
        }
        let (name, after) = (view.name_of(held.host), options.replace_after);
        if let Some((until, why)) = self.brake.hold(round.now.mono, view.key()) {
            self.look_again(view.key(), until);
            return Some(Ruling::Say(format!(
                "waits for {name}, which is silent: {why}"
            )));
        }
        let reason = format!("{name} has been silent for {after}");
        let placed = self.pass_on(round, view, held, 0, reason);
        // With nobody to take it over there is nothing to win.
        matches!(&placed, Ruling::HandOver(slot) if slot.host.is_some_and(|to| to != held.host))
            .then_some(placed)
    }

    /// How long a task of this definition takes to stop at the most.
    fn stop_takes(&self, board: &Board, definition: Digest) -> Span {
        let Some(definition) = board.definition(definition) else {
            return self.stop_timeout;
        };
        let graces = definition.containers.iter().map(|container| {
            let seconds = container.stop_timeout_s;
            seconds.map_or(self.stop_timeout, |s| Span::from_secs(u64::from(s)))
        });
        definition.stopping_takes(graces)
    }

    /// Until when the slots of a host that is down wait for it, and why.
    fn wait_for(
        &mut self,
        now: Mono,
        round: &Round<'_>,
        (slot, definition): ((ServiceId, SlotIndex), Digest),
        host: HostId,
    ) -> Option<(Option<Mono>, String)> {
        let options = round.service.settings.options;
        if options.partition == PartitionPolicy::Hold {
            let why = "its service holds what is merely out of reach".to_owned();
            return Some((None, why));
        }
        let learned = *self.down_since.entry(host).or_insert(now);
        if options.partition == PartitionPolicy::Majority {
            let until = learned + released_after(self.stop_takes(round.board, definition));
            if now < until {
                let why = "its service runs on one side only, and what runs there must have \
                           stopped"
                    .to_owned();
                return Some((Some(until), why));
            }
        }
        match options.replace_after {
            ReplaceAfter::Down => {}
            ReplaceAfter::Never => {
                return Some((None, "its service never replaces".to_owned()));
            }
            ReplaceAfter::SilentMs(ms) => {
                // Of the silence, the observers had seen so much when they agreed.
                let before = round.board.silent_ms(host);
                let until = learned + Span::from_ms(u64::from(ms).saturating_sub(before));
                if now < until {
                    let after = options.replace_after;
                    let why = format!("its service replaces after {after} of silence");
                    return Some((Some(until), why));
                }
            }
        }
        let (until, why) = self.brake.hold(now, slot)?;
        Some((Some(until), why))
    }
}
