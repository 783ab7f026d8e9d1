//! Services and runs as the board has them, and whether a task is as it is to be.

use super::Board;
use crate::{
    cluster::{
        body::{Body, ContainerReport, Key, Pins, ServiceRevision, ServiceSettings, TaskReport},
        run::Run,
    },
    ids::{ImageDigest, ServiceId, SlotIndex, TaskId},
    spec::given::ValueName,
};
use std::fmt;

/// A service as its records describe it together.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    pub id: ServiceId,
    pub settings: &'a ServiceSettings,
    pub revision: &'a ServiceRevision,
    pub desired: u32,
    /// Of this deployment; `None` before the first of its images is known.
    pub pins: Option<&'a Pins>,
    /// Its slots end; it is no service then, but is kept as one.
    pub run: Option<&'a Run>,
    values: Values<'a>,
}

// Services.
impl Board {
    /// The service if it lives and is the earliest of its name; or the run.
    pub fn service(&self, id: ServiceId) -> Option<Service<'_>> {
        if let Some(run) = self.run(id) {
            return Some(Service::of_run(id, run, self));
        }
        let (_, settings) = body!(self, Key::ServiceSettings(id), ServiceSettings)?;
        if self.service_id_named(&settings.name) != Some(id) {
            return None;
        }
        let (_, count) = body!(self, Key::ServiceCount(id), ServiceCount)?;
        let (_, revision) = body!(self, Key::ServiceRevision(id), ServiceRevision)?;
        let pins = body!(self, Key::Pins(id), Pins).map(|(_, pins)| pins);
        Some(Service {
            id,
            settings,
            revision,
            desired: count.desired,
            pins: pins.filter(|pins| pins.are_of(revision)),
            run: None,
            values: Values(self),
        })
    }

    pub fn run(&self, id: ServiceId) -> Option<&Run> {
        body!(self, Key::Run(id), Run).map(|(_, run)| run)
    }

    /// All runs in order of their ids.
    pub fn runs(&self) -> impl Iterator<Item = (ServiceId, &Run)> {
        let range = Key::Run(ServiceId(0))..=Key::Run(ServiceId(u128::MAX));
        self.range(range)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Run(id), Some(Body::Run(run))) => Some((*id, run)),
                _ => None,
            })
    }

    /// The slot of a run whose first task is to be called so.
    pub fn run_of_task(&self, task: TaskId) -> Option<(ServiceId, SlotIndex)> {
        self.run_tasks.get(&task).copied()
    }

    pub fn service_named(&self, name: &str) -> Option<Service<'_>> {
        self.service(self.service_id_named(name)?)
    }

    /// All services in order of their names.
    pub fn services(&self) -> impl Iterator<Item = Service<'_>> {
        self.names
            .keys()
            .filter_map(|name| self.service_named(name))
    }

    /// What services are called, in order, from this name on.
    pub fn service_names_from(&self, from: String) -> impl Iterator<Item = &str> {
        self.names.range(from..).map(|(name, _)| name.as_str())
    }

    /// Every living service of that name, the one that counts first.
    pub fn services_called(&self, name: &str) -> impl Iterator<Item = ServiceId> {
        self.names
            .get(name)
            .into_iter()
            .flatten()
            .map(|(_, id)| *id)
    }

    /// Services whose name an earlier one has.
    pub fn shadowed_services(&self) -> impl Iterator<Item = ServiceId> {
        self.names
            .values()
            .flat_map(|ids| ids.iter().skip(1).map(|(_, id)| *id))
    }

    /// We know that the service was deleted (or lost its name to an earlier one); not knowing a
    /// service at all is something else.
    pub fn is_service_gone(&self, id: ServiceId) -> bool {
        if self.is_run_gone(id) {
            return true;
        }
        match self.record(&Key::ServiceSettings(id)).map(|r| &r.body) {
            Some(None) => true,
            Some(Some(Body::ServiceSettings(s))) => self.service_id_named(&s.name) != Some(id),
            // Not known, or not understood.
            None | Some(Some(_)) => false,
        }
    }

    fn service_id_named(&self, name: &str) -> Option<ServiceId> {
        self.names.get(name)?.get_min().map(|(_, id)| *id)
    }
}

impl<'a> Service<'a> {
    fn of_run(id: ServiceId, run: &'a Run, board: &'a Board) -> Self {
        Self {
            id,
            settings: &run.settings,
            revision: &run.revision,
            desired: u32::try_from(run.tasks.len()).unwrap_or(u32::MAX),
            pins: None,
            run: Some(run),
            values: Values(board),
        }
    }
}

/// The values that tasks are given, where a service looks them up.
#[derive(Clone, Copy)]
struct Values<'a>(&'a Board);

impl Service<'_> {
    /// The task is of the deployment that the service is to have, of the same bytes as the others
    /// of it, and has the values that they are to have.
    pub fn is_current(&self, report: &TaskReport) -> bool {
        self.is_deployed(report) && !self.is_behind(report)
    }

    /// The task is of other bytes than it is to be, or has values that were set anew.
    pub fn is_behind(&self, report: &TaskReport) -> bool {
        self.strays(report).is_some() || self.outdated(report).is_some()
    }

    /// The task is of the deployment that the service is to have.
    pub fn is_deployed(&self, report: &TaskReport) -> bool {
        let wanted = self.revision;
        (report.definition, report.renewals) == (wanted.definition, wanted.renewals)
    }

    /// A value that the task has and that was set anew since, so that tasks are to take it up.
    pub fn outdated(&self, report: &TaskReport) -> Option<ValueName> {
        // Of most tasks, which are given none, nothing is looked up. What runs once is not run
        // again.
        if report.values.is_empty() || self.run.is_some() || planted!(KeepsOldValues) {
            return None;
        }
        let board = self.values.0;
        let names = board.definition(report.definition)?.values();
        let mut given = names.into_iter().zip(&report.values);
        let is_old = |(name, set_at): &(ValueName, &u64)| {
            // What its host has yet to hear of is waited for, not replaced.
            let set = board.setting(name).filter(|_| **set_at > 0);
            set.is_some_and(|set| set.valid_since > **set_at)
        };
        given.find(is_old).map(|(name, _)| name)
    }

    /// A container of the task that is known to be of other bytes, and the right ones.
    pub fn strays<'a>(&self, report: &'a TaskReport) -> Option<(&'a ContainerReport, ImageDigest)> {
        let pins = &self.pins?.images;
        // Mostly there is one, and the task is of it, whatever the container is called: of many
        // tasks each name that is read takes a while to fetch.
        let only = pins.values().next().filter(|_| pins.len() == 1);
        let strays = |container: &&'a ContainerReport| {
            let image = container.image.filter(|image| Some(image) != only)?;
            let pinned = pins.get(&container.name)?;
            (image != *pinned).then_some(*pinned)
        };
        let mut containers = report.containers.iter();
        containers.find_map(|container| Some((container, strays(&container)?)))
    }
}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values(…)")
    }
}
