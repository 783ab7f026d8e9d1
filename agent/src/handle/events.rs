//! The last events of this agent, and how a reader follows them without holding anybody up.

use holdfast_core::event::Event;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// How many events are kept for readers that come late or fall behind.
pub(crate) const EVENTS_KEPT_MAX: usize = 1_024;

/// The last [`EVENTS_KEPT_MAX`] events. A reader keeps its own place in it, so that a slow one
/// costs nothing: it is told how many events it missed.
#[derive(Debug)]
pub(crate) struct EventLog {
    kept: Mutex<VecDeque<Arc<Event>>>,
    /// Ticks with each event; the value is of no interest.
    grown: watch::Sender<()>,
}

/// What a reader is given next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Event(Arc<Event>),
    /// So many events before the next one are no longer kept.
    Missed(u64),
    /// The sequence asked for is ahead of ours: the agent has restarted and counts anew.
    Restarted,
}

/// A reader's place: the sequence that it wants next, or the oldest kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(Option<u64>);

impl Default for EventLog {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            grown: watch::Sender::new(()),
        }
    }
}

impl EventLog {
    /// For the driver alone: events come in the order of their sequence.
    pub(crate) fn push(&self, event: Event) {
        let mut kept = self.lock();
        if kept.len() == EVENTS_KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(Arc::new(event));
        drop(kept);
        self.grown.send_replace(());
    }

    /// The sequence of the newest event.
    pub(crate) fn latest(&self) -> Option<u64> {
        self.lock().back().map(|event| event.sequence)
    }

    /// What there is at `place` by now, and the place behind it.
    pub(crate) fn take(&self, place: Place) -> Option<(Delivery, Place)> {
        let kept = self.lock();
        let (oldest, newest) = (kept.front()?.sequence, kept.back()?.sequence);
        let wanted = place.0.unwrap_or(oldest);
        if wanted > newest.saturating_add(1) {
            return Some((Delivery::Restarted, Place(None)));
        }
        if wanted < oldest {
            return Some((Delivery::Missed(oldest - wanted), Place(Some(oldest))));
        }
        // Gapless, but a search is as quick and can't be wrong.
        let at = kept.partition_point(|event| event.sequence < wanted);
        let event = Arc::clone(kept.get(at)?);
        let next = Place(Some(event.sequence + 1));
        Some((Delivery::Event(event), next))
    }

    /// As [`EventLog::take`], but waits until there is something.
    pub(crate) async fn next(&self, place: Place) -> (Delivery, Place) {
        let mut grown = self.grown.subscribe();
        loop {
            if let Some(found) = self.take(place) {
                return found;
            }
            // The sender is ours, so it is there as long as we are.
            grown.changed().await.ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        // A panic between two whole operations on the queue leaves it valid.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Behind the event of that sequence; at the oldest kept where there is none.
    pub(crate) fn after(sequence: Option<u64>) -> Self {
        Self(sequence.map(|sequence| sequence.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::{
        event::{EventId, Happening, ServiceChange, ServiceNews},
        ids::ServiceId,
        time::Wall,
    };

    fn event(sequence: u64) -> Event {
        let what = Happening::Service(ServiceChange {
            service: ServiceId(1),
            name: "web".to_owned(),
            news: ServiceNews::Created,
            text: "created".to_owned(),
        });
        Event {
            sequence,
            id: EventId::default(),
            at: Wall(sequence),
            ours: false,
            what,
        }
    }

    fn filled(sequences: std::ops::RangeInclusive<u64>) -> EventLog {
        let log = EventLog::default();
        sequences.for_each(|sequence| log.push(event(sequence)));
        log
    }

    fn read_all(log: &EventLog, after: Option<u64>) -> String {
        let mut place = Place::after(after);
        let mut read = Vec::new();
        while let Some((delivery, next)) = log.take(place) {
            place = next;
            match delivery {
                Delivery::Event(event) => read.push(event.sequence.to_string()),
                Delivery::Missed(count) => read.push(format!("missed {count}")),
                Delivery::Restarted => read.push("restarted".to_owned()),
            }
            if read.len() == 5 {
                break;
            }
        }
        read.join(", ")
    }

    #[test]
    fn readers_resume_behind_what_they_have_and_learn_what_they_missed() {
        let log = filled(1..=3);
        assert_eq!(read_all(&log, None), "1, 2, 3");
        assert_eq!(read_all(&log, Some(1)), "2, 3");
        assert_eq!(read_all(&log, Some(3)), "");
        assert_eq!(read_all(&log, Some(900)), "restarted, 1, 2, 3");
        let long = filled(1..=2_000);
        assert_eq!(read_all(&long, None), "977, 978, 979, 980, 981");
        assert_eq!(read_all(&long, Some(10)), "missed 966, 977, 978, 979, 980");
        assert_eq!(read_all(&EventLog::default(), Some(7)), "");
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_the_next_event() {
        let log = Arc::new(EventLog::default());
        let reader = tokio::spawn({
            let log = Arc::clone(&log);
            async move { log.next(Place::after(None)).await.0 }
        });
        tokio::task::yield_now().await;
        log.push(event(1));
        assert_eq!(reader.await.unwrap(), Delivery::Event(Arc::new(event(1))));
    }
}
