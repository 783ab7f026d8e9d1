//! Entries of the board's indexes: each is the record itself, ordered by what is looked for.

use crate::{
    cluster::{
        body::{Body, Key, TaskReport},
        record::Record,
    },
    ids::{HostId, ServiceId, TaskId},
};
use equivalent::{Comparable, Equivalent};
use std::{cmp::Ordering, sync::Arc};

/// A record in order of its key.
#[derive(Clone, Debug)]
pub(super) struct ByKey(pub(super) Arc<Record>);

/// A task report in order of task, then host.
#[derive(Clone, Debug)]
pub(super) struct ByTask(pub(super) Arc<Record>);

/// A task report with a slot in order of service, host and task.
#[derive(Clone, Debug)]
pub(super) struct ByService(pub(super) Arc<Record>);

/// Where the tasks of a service begin and end; equal to no entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum TasksOf {
    Begin(ServiceId),
    End(ServiceId),
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

impl ByService {
    fn service(&self) -> Option<ServiceId> {
        let (_, _, report) = report(&self.0)?;
        report.slot.as_ref().map(|slot| slot.service)
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

impl Ord for ByService {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_service = self.service().cmp(&other.service());
        by_service.then_with(|| self.0.key.cmp(&other.0.key))
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
ordered!(ByKey ByTask ByService);

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
    TasksOf, ByService, |of, entry| match of {
        TasksOf::Begin(id) => Some(*id).cmp(&entry.service()).then(Ordering::Less),
        TasksOf::End(id) => Some(*id).cmp(&entry.service()).then(Ordering::Greater),
    };
}
