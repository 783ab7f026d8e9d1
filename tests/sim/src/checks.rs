//! What must always hold of one agent: statuses, events, wakes; and who runs what in truth.

use crate::{disk::Disk, host::Host, majority::Calm, ticks::Begun, values::Words};
use holdfast_core::{
    cluster::{
        body::{Body, Key, TaskReport},
        record::Record,
    },
    command::{Outcome, Refusal},
    event::{Event, Happening, TaskChange},
    ids::{Generation, HostId, ServiceId, SlotIndex, TaskId},
    task::{runtime::RuntimeEvent, status::TaskStatus},
};
use std::collections::{BTreeMap, BTreeSet};

/// More wakes than this at one instant are a spin.
const WAKES_PER_INSTANT_MAX: u32 = 64;

#[derive(Debug)]
pub struct Checks {
    ledgers: Vec<Ledger>,
    /// Copies that run, and those that ended a moment ago.
    pub copies: BTreeMap<(ServiceId, SlotIndex), Vec<Copy>>,
    pub disturbed_at: u64,
    pub calm: Calm,
    pub wanted: BTreeMap<ServiceId, Wanted>,
    pub asked: BTreeMap<u64, Asked>,
    pub words: Words,
    /// Until when tasks are not to be stopped, as was answered.
    pub protected: BTreeMap<TaskId, u64>,
    pub begun: Begun,
    /// Who was told that its word on what does not hold.
    pub clashes: Vec<(usize, String)>,
}

/// What is known of one host from what it recorded and emitted.
#[derive(Debug, Default)]
struct Ledger {
    statuses: BTreeMap<TaskId, TaskStatus>,
    /// The last status in an event of this agent's life.
    emitted: BTreeMap<TaskId, TaskStatus>,
    sequence: Option<u64>,
    /// Reported RUNNING at some time, in whatever life.
    reached: BTreeSet<TaskId>,
    told_running: BTreeSet<TaskId>,
    told_to_stop: BTreeSet<TaskId>,
    events_lost: bool,
    wakes: (u64, u32),
}

/// A copy of a slot as the runtimes have it, out of band.
#[derive(Clone, Debug)]
pub struct Copy {
    pub place: usize,
    pub task: TaskId,
    pub generation: Generation,
    pub up_at: u64,
    pub down_at: Option<u64>,
    /// The core has asked for its end.
    pub told: bool,
}

/// How many copies of a service the last answered order asked for.
#[derive(Debug)]
pub struct Wanted {
    pub desired: u32,
    pub short_since: Option<u64>,
}

#[derive(Debug)]
pub struct Asked {
    pub place: usize,
    pub boot: u32,
    pub at: u64,
    pub desired: Option<u32>,
    /// Microseconds within which it is to be answered.
    pub within: u64,
    pub answer: Option<Result<Outcome, Refusal>>,
}

/// The host that a check is about.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    pub place: usize,
    pub id: HostId,
    pub disk: &'a Disk,
}

impl<'a> Site<'a> {
    pub const fn new(host: &'a Host) -> Self {
        Self {
            place: host.place,
            id: host.id,
            disk: &host.disk,
        }
    }
}

impl Checks {
    pub fn new(hosts: usize) -> Self {
        Self {
            ledgers: (0..hosts).map(|_| Ledger::default()).collect(),
            copies: BTreeMap::new(),
            disturbed_at: 0,
            calm: Calm::default(),
            wanted: BTreeMap::new(),
            asked: BTreeMap::new(),
            words: Words::default(),
            protected: BTreeMap::new(),
            begun: BTreeMap::new(),
            clashes: Vec::new(),
        }
    }

    /// An agent starts with what its disk held: a status that was only to be remembered may be
    /// lost.
    pub fn on_start(&mut self, site: Site<'_>) {
        let ledger = &mut self.ledgers[site.place];
        ledger.emitted.clear();
        ledger.sequence = None;
        ledger.statuses.clear();
        for record in site.disk.records() {
            if let (Key::Task(host, task), Some(Body::Task(report))) = (&record.key, &record.body)
                && *host == site.id
            {
                ledger.statuses.insert(*task, report.last);
            }
        }
    }

    pub fn on_end(&mut self, site: Site<'_>) {
        let place = site.place;
        self.ledgers[place].events_lost = true;
        // Whoever asked the agent that ended will not be answered.
        self.asked
            .retain(|_, asked| asked.place != place || asked.answer.is_some());
    }

    pub fn on_replaced(&mut self, place: usize) {
        self.ledgers[place] = Ledger::default();
    }

    /// A lost event or a call that timed out may be why something is told twice.
    pub fn on_runtime_event(&mut self, place: usize, event: &RuntimeEvent) {
        if let RuntimeEvent::Unavailable { .. } = event {
            self.ledgers[place].events_lost = true;
        }
    }

    pub fn on_wake(&mut self, place: usize, now: u64) -> Result<(), String> {
        let wakes = &mut self.ledgers[place].wakes;
        if wakes.0 != now {
            *wakes = (now, 0);
        }
        wakes.1 += 1;
        if wakes.1 > WAKES_PER_INSTANT_MAX {
            return Err(format!(
                "h{place} wants to be woken for ever at one instant"
            ));
        }
        Ok(())
    }

    /// A record on its way to the disk: of a host's own tasks, the statuses only move forward.
    pub fn on_record(&mut self, site: Site<'_>, record: &Record) -> Result<(), String> {
        self.on_ticks(site.place, record)?;
        let (Key::Task(host, task), Some(Body::Task(report))) = (&record.key, &record.body) else {
            return Ok(());
        };
        if *host != site.id {
            return Ok(());
        }
        let ledger = &mut self.ledgers[site.place];
        let next = report.last;
        let before = ledger.statuses.insert(*task, next);
        if let Some(before) = before
            && before != next
            && !before.can_become(next)
        {
            let place = site.place;
            return Err(format!(
                "h{place}: task {task} went from {before} to {next}"
            ));
        }
        if next == TaskStatus::Running {
            ledger.reached.insert(*task);
        }
        Self::check_reason(site.place, *task, report)
    }

    fn check_reason(place: usize, task: TaskId, report: &TaskReport) -> Result<(), String> {
        let is_stopped = report.last == TaskStatus::Stopped;
        if is_stopped && (report.stopped_reason.is_empty() || report.stop_code.is_none()) {
            return Err(format!(
                "h{place}: task {task} is STOPPED without a code and a reason"
            ));
        }
        Ok(())
    }

    pub fn on_emit(&mut self, site: Site<'_>, event: &Event) -> Result<(), String> {
        let place = site.place;
        let ledger = &mut self.ledgers[place];
        let sequence = event.sequence;
        if let Some(last) = ledger.sequence.replace(sequence)
            && sequence != last + 1
        {
            return Err(format!("h{place}: event {sequence} follows event {last}"));
        }
        match &event.what {
            Happening::Task(change) if change.host == site.id => ledger.on_change(place, change),
            Happening::Clash(clash) => {
                self.clashes.push((place, clash.about.clone()));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub fn status(&self, place: usize, task: TaskId) -> Option<TaskStatus> {
        self.ledgers[place].statuses.get(&task).copied()
    }

    /// The task was RUNNING and was not told to stop since.
    /// Which slot the task serves there, while it runs.
    pub fn slot_of(&self, place: usize, task: TaskId) -> Option<(ServiceId, SlotIndex)> {
        let is_it =
            |copy: &Copy| (copy.place, copy.task) == (place, task) && copy.down_at.is_none();
        let mut slots = self.copies.iter();
        let (slot, _) = slots.find(|(_, copies)| copies.iter().any(is_it))?;
        Some(*slot)
    }

    pub fn is_serving(&self, place: usize, task: TaskId) -> bool {
        let ledger = &self.ledgers[place];
        ledger.reached.contains(&task) && !ledger.told_to_stop.contains(&task)
    }

    pub fn on_told_to_stop(&mut self, place: usize, task: TaskId) {
        self.ledgers[place].told_to_stop.insert(task);
        let copies = self.copies.values_mut().flatten();
        let meant = copies.filter(|copy| copy.task == task);
        meant.for_each(|copy| copy.told = true);
    }

    /// The agent has said, in some life, that this task runs.
    pub fn was_told_running(&self, place: usize, task: TaskId) -> bool {
        let ledger = &self.ledgers[place];
        ledger.events_lost || ledger.told_running.contains(&task)
    }

    pub fn copies_of(&self, service: ServiceId, index: SlotIndex) -> &[Copy] {
        self.copies
            .get(&(service, index))
            .map_or(&[], Vec::as_slice)
    }
}

impl Ledger {
    fn on_change(&mut self, place: usize, change: &TaskChange) -> Result<(), String> {
        let TaskChange { task, from, to, .. } = change;
        let before = self.emitted.insert(*task, *to);
        if before.is_some() && before != *from {
            return Err(format!(
                "h{place}: task {task} was told {before:?}, now from {from:?}"
            ));
        }
        if from.is_some_and(|from| !from.can_become(*to)) {
            return Err(format!(
                "h{place}: an event says that {task} went from {from:?} to {to}"
            ));
        }
        if *to == TaskStatus::Running {
            self.told_running.insert(*task);
        }
        if change.reason.is_empty() && matches!(to, TaskStatus::Running | TaskStatus::Stopped) {
            return Err(format!(
                "h{place}: task {task} became {to} and no reason is told"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use holdfast_core::{
        cluster::{
            body::{Body, Key, ServiceRevision, TaskReport},
            record::{Record, Version},
        },
        event::{EventId, Said},
        ids::Digest,
        time::Wall,
    };

    fn said(task: TaskId) -> Said {
        let revision = ServiceRevision {
            definition: Digest::default(),
            family: "web".to_owned(),
            revision: 1,
            renewals: 0,
        };
        let body = Body::Task(TaskReport::begin(revision, None, Wall(0)));
        let key = Key::Task(HostId(1), task);
        Said::new(&Record::new(key, Version::default(), Some(body)))
    }

    fn change(sequence: u64, from: Option<TaskStatus>, to: TaskStatus) -> Event {
        let reason = "because".to_owned();
        let change = TaskChange {
            task: TaskId(1),
            host: HostId(1),
            service: None,
            from,
            to,
            stop_code: None,
            reason,
            said: said(TaskId(1)),
        };
        Event {
            sequence,
            id: EventId::default(),
            at: Wall(0),
            ours: true,
            what: Happening::Task(change),
        }
    }

    fn told(events: &[Event]) -> Result<(), String> {
        let disk = Disk::default();
        let site = Site {
            place: 0,
            id: HostId(1),
            disk: &disk,
        };
        let mut checks = Checks::new(1);
        events
            .iter()
            .try_for_each(|event| checks.on_emit(site, event))
    }

    #[test]
    fn a_task_that_goes_back_or_skips_or_repeats_is_caught() {
        use TaskStatus::{Pending, Running, Stopped};
        let start = change(1, None, Pending);
        let run = change(2, Some(Pending), Running);
        assert_eq!(told(&[start.clone(), run.clone()]), Ok(()));
        assert!(told(&[start.clone(), change(3, Some(Pending), Running)]).is_err());
        assert!(told(&[start.clone(), run.clone(), run.clone()]).is_err());
        assert!(told(&[start.clone(), run, change(3, Some(Running), Pending)]).is_err());
        assert!(told(&[start, change(2, Some(Running), Stopped)]).is_err());
    }

    #[test]
    fn a_spin_is_caught() {
        let mut checks = Checks::new(1);
        let spin = (0..100).try_for_each(|_| checks.on_wake(0, 7));
        assert!(spin.is_err());
        let mut checks = Checks::new(1);
        assert_eq!((0..100).try_for_each(|now| checks.on_wake(0, now)), Ok(()));
    }
}
