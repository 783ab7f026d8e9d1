//! Whether anything was written of a service since it was looked at.

use super::Board;
use crate::{
    cluster::{
        body::{Body, Key},
        record::Record,
    },
    ids::ServiceId,
};
use imbl::OrdMap;
use std::sync::Arc;

/// Stands for all that a board has of a service, and all that services have in common. Equal ones
/// of one service say that nothing was written between them, also after the board was cloned or
/// the service's records were removed and came back. Unequal ones say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    own: Option<Mark>,
    common: Mark,
}

/// Equal to its clones alone: as long as there is one of them, nothing else is where it is.
#[derive(Clone, Debug, Default)]
struct Mark(Arc<()>);

/// The traces of all services.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces {
    /// A few services may share one, so that those that are gone need not be cleared away.
    own: OrdMap<u16, Mark>,
    common: Mark,
}

impl Board {
    /// To be kept with what was made of the service; see [`Trace`].
    pub fn trace(&self, service: ServiceId) -> Trace {
        self.traces.of(service)
    }
}

impl Traces {
    fn of(&self, service: ServiceId) -> Trace {
        Trace {
            own: self.own.get(&place(service)).cloned(),
            common: self.common.clone(),
        }
    }

    /// This record came, or went.
    pub(super) fn note(&mut self, record: &Record) {
        match service_of(record) {
            Some(service) => self.own.entry(place(service)).or_default().renew(),
            None => self.common.renew(),
        }
    }
}

impl Mark {
    fn renew(&mut self) {
        // What nobody has a clone of, nobody can compare.
        if Arc::get_mut(&mut self.0).is_none() {
            *self = Self::default();
        }
    }
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Mark {}

const fn place(service: ServiceId) -> u16 {
    service.word() as u16
}

/// The one service that the record is of. Of what is not known for sure to be of one, all are.
fn service_of(record: &Record) -> Option<ServiceId> {
    match (&record.key, &record.body) {
        (
            Key::ServiceCount(service)
            | Key::ServiceRevision(service)
            | Key::ServiceSettings(service)
            | Key::Pins(service)
            | Key::Run(service)
            | Key::Slot(service, _),
            _,
        ) => Some(*service),
        (Key::Task(..), Some(Body::Task(report))) => report.slot.as_ref().map(|slot| slot.service),
        _ => None,
    }
}
