//! When which slot, or which whole service, is to be looked at again.

use crate::{
    ids::{ServiceId, SlotIndex},
    schedule::index::Touched,
    time::Mono,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A slot, or the service as a whole.
type Subject = (ServiceId, Option<SlotIndex>);

/// One wake for each subject, the earliest that was asked for: whoever is looked at asks anew.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Wakes {
    queue: BTreeSet<(Mono, Subject)>,
    at: BTreeMap<Subject, Mono>,
}

impl Wakes {
    pub(super) fn earliest(&self) -> Option<Mono> {
        self.queue.first().map(|(at, _)| *at)
    }

    pub(super) fn add(&mut self, service: ServiceId, index: Option<SlotIndex>, at: Mono) {
        let subject = (service, index);
        match self.at.get(&subject) {
            Some(before) if *before <= at => return,
            Some(before) => {
                self.queue.remove(&(*before, subject));
            }
            None => {}
        }
        self.at.insert(subject, at);
        self.queue.insert((at, subject));
    }

    pub(super) fn due(&mut self, now: Mono) -> Touched {
        let mut touched = Touched::default();
        while let Some((at, subject)) = self.queue.first().copied() {
            if at > now {
                break;
            }
            self.queue.pop_first();
            self.at.remove(&subject);
            match subject {
                (service, Some(index)) => {
                    touched.slots.insert((service, index));
                }
                (service, None) => {
                    touched.services.insert(service);
                }
            }
        }
        touched
    }

    pub(super) fn forget(&mut self, service: ServiceId) {
        let range = (service, None)..=(service, Some(SlotIndex::MAX));
        let subjects: Vec<_> = self.at.range(range).map(|(s, at)| (*at, *s)).collect();
        for (at, subject) in subjects {
            self.at.remove(&subject);
            self.queue.remove(&(at, subject));
        }
    }
}
