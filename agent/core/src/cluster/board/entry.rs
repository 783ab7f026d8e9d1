//! Entries of the board's indexes: each is the record itself, ordered by what is looked for.

use crate::{
    cluster::{
        body::{Body, Key, TaskReport},
        record::Record,
    },
    ids::{HostId, ServiceId, SlotIndex, TaskId},
};
use equivalent::{Comparable, Equivalent};
use std::{cmp::Ordering, sync::Arc};

/// A record in order of its key.
#[derive(Clone, Debug)]
pub(super) struct ByKey(pub(super) Arc<Record>);

/// A task report in order of task, then host.
#[derive(Clone, Debug)]
pub(super) struct ByTask(pub(super) Arc<Record>);

/// A task report with a slot in order of service, slot, host and task.
#[derive(Clone, Debug)]
pub(super) struct BySlot(pub(super) Arc<Record>);

/// Where the tasks of a slot begin and end; equal to no entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum TasksOf {
    Begin(ServiceId, SlotIndex),
    End(ServiceId, SlotIndex),
}

/// What a record says of a task, if it does.
pub(super) fn report(record: &Record) -> Option<(HostId, TaskId, &TaskReport)> {
    match (&record.key, &record.body) {
        (Key::Task(host, task), Some(Body::Task(report))) => Some((*host, *task, report)),
        _ => None,
    }
}

impl ByTask {
    pub(super) fn report(&self) -> Option<(HostId, TaskId, &TaskReport)> {
        report(&self.0)
    }

    fn order(&self) -> (Option<TaskId>, Option<HostId>) {
        let report = self.report();
        (
            report.map(|(_, task, _)| task),
            report.map(|(host, ..)| host),
        )
    }
}

impl BySlot {
    fn slot(&self) -> Option<(ServiceId, SlotIndex)> {
        let (_, _, report) = report(&self.0)?;
        report.slot.as_ref().map(|slot| (slot.service, slot.index))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl Ord for ByTask {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl Ord for BySlot {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_slot = self.slot().cmp(&other.slot());
        by_slot.then_with(|| self.0.key.cmp(&other.0.key))
    }
}

macro_rules! ordered {
    ($($entry:ident)*) => {
        $(
            impl PartialOrd for $entry {
                fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                    Some(self.cmp(other))
                }
            }

            impl PartialEq for $entry {
                fn eq(&self, other: &Self) -> bool {
                    self.cmp(other).is_eq()
                }
            }

            impl Eq for $entry {}
        )*
    };
}
ordered!(ByKey ByTask BySlot);

/// By what the entries are looked up.
macro_rules! looked_up {
    ($($wanted:ty, $entry:ident, $compare:expr;)*) => {
        $(
            impl Comparable<$entry> for $wanted {
                fn compare(&self, entry: &$entry) -> Ordering {
                    let compare: fn(&$wanted, &$entry) -> Ordering = $compare;
                    compare(self, entry)
                }
            }

            impl Equivalent<$entry> for $wanted {
                fn equivalent(&self, entry: &$entry) -> bool {
                    self.compare(entry).is_eq()
                }
            }
        )*
    };
}
looked_up! {
    Key, ByKey, |key, entry| key.cmp(&entry.0.key);
    TaskId, ByTask, |task, entry| (Some(*task), None).cmp(&entry.order());
    TasksOf, BySlot, |of, entry| match *of {
        TasksOf::Begin(id, index) => Some((id, index)).cmp(&entry.slot()).then(Ordering::Less),
        TasksOf::End(id, index) => Some((id, index)).cmp(&entry.slot()).then(Ordering::Greater),
    };
}
