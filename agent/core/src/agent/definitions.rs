//! Task definitions: their numbers, and what becomes of those that people take back.

use super::Agent;
use crate::{
    cluster::{
        body::{Body, Key, Label, LabelStanding, ServiceRevision},
        record::Record,
    },
    command::{NotRetired, Outcome, Refusal, ServiceChange},
    effect::Effects,
    ids::ServiceId,
    spec::{service::DefinitionRef, task_definition::TaskDefinition},
    time::Now,
};

impl Agent {
    pub(super) fn register(
        &mut self,
        now: Now,
        definition: TaskDefinition,
        fx: &mut Effects,
    ) -> Outcome {
        let (family, digest) = (definition.family.clone(), definition.digest());
        if self.board.definition(digest).is_none() {
            self.write(
                now,
                Key::Definition(digest),
                0,
                Some(Body::Definition(definition)),
                fx,
            );
        }
        let label = Label {
            definition: digest,
            registered_at: now.wall,
            standing: LabelStanding::Active,
        };
        let revision = self.write_label(now, &family, label, fx);
        Outcome::Registered {
            family,
            revision,
            definition: digest,
        }
    }

    /// Gives a definition the family's next number.
    fn write_label(&mut self, now: Now, family: &str, label: Label, fx: &mut Effects) -> u32 {
        let last = self.board.last_revision(family);
        let revision = last.map_or(1, |last| last.saturating_add(1));
        let key = Key::Label {
            family: family.to_owned(),
            revision,
        };
        // The complement: of two that take the same number, the earlier one is the higher version.
        let epoch = u64::MAX - now.wall.0;
        self.write(now, key, epoch, Some(Body::Label(label)), fx);
        revision
    }

    /// Another host's earlier stamp has taken a number that we had given: ours gets the next one.
    /// Or it has registered the same, and what we had taken back stays so.
    pub(super) fn on_label(
        &mut self,
        now: Now,
        (family, lost): (&str, u32),
        (old, new): (Option<&Record>, &Record),
        fx: &mut Effects,
    ) {
        let ours = old.filter(|old| old.version.stamp.author == self.config.host);
        let (Some(Body::Label(ours)), Some(Body::Label(theirs))) =
            (ours.and_then(|old| old.body.as_ref()), &new.body)
        else {
            return;
        };
        if ours.definition == theirs.definition {
            if ours.standing > theirs.standing {
                let label = Label {
                    standing: ours.standing,
                    ..theirs.clone()
                };
                let (key, epoch) = (new.key.clone(), new.version.epoch);
                self.write(now, key, epoch, Some(Body::Label(label)), fx);
            }
        } else if !planted!(KeepsTheLostNumber) {
            let label = Label {
                registered_at: now.wall,
                ..ours.clone()
            };
            let definition = label.definition;
            let next = self.write_label(now, family, label, fx);
            self.move_tags(now, definition, (lost, next), fx);
            let by = self.name_of(new.version.stamp.author);
            let about = format!("the task definition {family}:{lost}");
            let reason = format!(
                "what was registered under that number here is {family}:{next} from now on: the \
                 number was given at {by} before; what runs of it goes on"
            );
            self.tell_clash(now, (about, reason), fx);
        }
    }

    pub(super) fn retire(
        &mut self,
        now: Now,
        asked: Vec<DefinitionRef>,
        delete: bool,
        fx: &mut Effects,
    ) -> Outcome {
        let (mut definitions, mut failed) = (Vec::new(), Vec::new());
        for wanted in asked {
            match self.retire_one(now, &wanted, delete, fx) {
                Ok(()) => definitions.push(wanted),
                Err(why) => failed.push((wanted, why)),
            }
        }
        Outcome::Retired {
            definitions,
            failed,
            delete,
        }
    }

    fn retire_one(
        &mut self,
        now: Now,
        wanted: &DefinitionRef,
        delete: bool,
        fx: &mut Effects,
    ) -> Result<(), NotRetired> {
        let revision = wanted.revision.ok_or(NotRetired::Unknown)?;
        let key = Key::Label {
            family: wanted.family.clone(),
            revision,
        };
        let record = self.board.record(&key).ok_or(NotRetired::Unknown)?;
        let Some(Body::Label(label)) = &record.body else {
            return Err(NotRetired::Unknown);
        };
        let standing = match (label.standing, delete) {
            (LabelStanding::Active, false) => LabelStanding::Inactive(now.wall),
            (LabelStanding::Active, true) => return Err(NotRetired::Active),
            (LabelStanding::Inactive(at), true) => LabelStanding::Deleted(at),
            // It is so already.
            (LabelStanding::Inactive(_) | LabelStanding::Deleted(_), _) => return Ok(()),
        };
        let (epoch, label) = (record.version.epoch, label.clone());
        let label = Label { standing, ..label };
        self.write(now, key, epoch, Some(Body::Label(label)), fx);
        Ok(())
    }

    /// What something new may be made of.
    pub(super) fn resolve(&self, wanted: &DefinitionRef) -> Result<ServiceRevision, Refusal> {
        let found = self.board.resolve(wanted);
        let found = found.ok_or_else(|| Refusal::NoSuchDefinition(wanted.to_string()))?;
        match self.board.is_active(&found) {
            true => Ok(found),
            false => Err(Refusal::DefinitionInactive(wanted.to_string())),
        }
    }

    /// What a service is to be of from now on, if it is said. It may stay what it is, though that
    /// was deregistered meanwhile.
    pub(super) fn changed_revision(
        &self,
        service: ServiceId,
        change: &ServiceChange,
    ) -> Result<Option<ServiceRevision>, Refusal> {
        let Some(wanted) = &change.definition else {
            return Ok(None);
        };
        let known = self.board.service(service).map(|known| known.revision);
        let stays = known.is_some_and(|known| {
            known.family == wanted.family && Some(known.revision) == wanted.revision
        });
        match stays {
            true => Ok(self.board.resolve(wanted)),
            false => self.resolve(wanted).map(Some),
        }
    }
}
