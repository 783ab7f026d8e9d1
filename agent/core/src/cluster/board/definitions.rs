//! Task definitions as the board has them: contents by digest, and the labels that name them.

use super::Board;
use crate::{
    cluster::body::{Body, Key, Label, LabelStanding, ServiceRevision},
    ids::{Digest, ServiceId},
    spec::{service::DefinitionRef, task_definition::TaskDefinition},
};
use std::ops::RangeBounds;

impl Board {
    pub fn definition(&self, digest: Digest) -> Option<&TaskDefinition> {
        let registered = body!(self, Key::Definition(digest), Definition);
        let of_run = || {
            let run = *self.run_definitions.get(&digest)?.get_min()?;
            self.run(run)?.overridden.as_deref()
        };
        registered.map(|(_, definition)| definition).or_else(of_run)
    }

    /// Whatever its standing is.
    pub fn label(&self, family: &str, revision: u32) -> Option<&Label> {
        body!(self, label_key(family, revision), Label).map(|(_, label)| label)
    }

    /// All labels in order of family and revision, whatever their standing is.
    pub fn labels(&self) -> impl Iterator<Item = (&str, u32, &Label)> {
        self.labels_within(label_key("", 0)..Key::ServiceCount(ServiceId(0)))
    }

    /// The highest number that the family has given, whatever became of it.
    pub fn last_revision(&self, family: &str) -> Option<u32> {
        // Also of labels that a later version of Holdfast wrote.
        let labels = self.range(label_key(family, 0)..=label_key(family, u32::MAX));
        let last = labels.rev().find(|record| record.body.is_some())?;
        match last.key {
            Key::Label { revision, .. } => Some(revision),
            _ => None,
        }
    }

    /// Something new may be made of it.
    pub fn is_active(&self, found: &ServiceRevision) -> bool {
        let label = self.label(&found.family, found.revision);
        label.is_some_and(|label| label.standing == LabelStanding::Active)
    }

    /// The definition that `family` (its latest that is active) or `family:revision` means.
    pub fn resolve(&self, wanted: &DefinitionRef) -> Option<ServiceRevision> {
        let family = wanted.family.clone();
        let active = |(_, revision, label): (&str, u32, &Label)| {
            (label.standing == LabelStanding::Active).then_some(revision)
        };
        let latest = || self.labels_of(&family).rev().find_map(active);
        let revision = wanted.revision.or_else(latest)?;
        let definition = self.label(&family, revision)?.definition;
        Some(ServiceRevision {
            definition,
            family,
            revision,
            renewals: 0,
        })
    }

    /// Families and revisions of which services, runs that go on, and tasks are made; one as often
    /// as something is made of it.
    pub fn revisions_in_use(&self) -> impl Iterator<Item = (&str, u32)> {
        fn named(revision: &ServiceRevision) -> (&str, u32) {
            (revision.family.as_str(), revision.revision)
        }
        let services = self.services().map(|service| named(service.revision));
        let runs = self
            .runs()
            .filter(|(id, _)| self.run_ended_at(*id).is_none());
        let runs = runs.map(|(_, run)| named(&run.revision));
        let tasks = self.tasks().filter(|(_, _, report)| report.last.is_live());
        let tasks = tasks.map(|(_, _, report)| (&*report.family, report.revision));
        services.chain(runs).chain(tasks)
    }

    fn labels_of(&self, family: &str) -> impl DoubleEndedIterator<Item = (&str, u32, &Label)> {
        self.labels_within(label_key(family, 0)..=label_key(family, u32::MAX))
    }

    fn labels_within(
        &self,
        keys: impl RangeBounds<Key>,
    ) -> impl DoubleEndedIterator<Item = (&str, u32, &Label)> {
        self.range(keys)
            .filter_map(|record| match (&record.key, &record.body) {
                (Key::Label { family, revision }, Some(Body::Label(label))) => {
                    Some((family.as_str(), *revision, label))
                }
                _ => None,
            })
    }
}

fn label_key(family: &str, revision: u32) -> Key {
    let family = family.to_owned();
    Key::Label { family, revision }
}
