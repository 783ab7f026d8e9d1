//! Values that the cluster keeps for tasks: set and removed by people, given to containers, and
//! sealed anew when the cluster's key has changed.

use super::Agent;
use crate::{
    cluster::{
        body::Body,
        values::{ConfigText, GivenValue, Reseal, SealedSecret, SetAt, Setting},
    },
    command::{NewValue, Outcome, Refusal},
    effect::{Effect, Effects},
    ids::{HostId, KeyId, TaskId},
    limits,
    rng::{hash_bytes, mix},
    spec::given::ValueName,
    time::Now,
};

impl Agent {
    pub(super) fn set_value(
        &mut self,
        now: Now,
        (value, by, restart): (NewValue, String, bool),
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let name = value.name();
        self.check_room(&name, value.bytes())?;
        let set_at = self.next_set_at(now, &name);
        let before = self.board.setting(&name);
        let set = Setting {
            number: before.map_or(1, |before| before.number.saturating_add(1)),
            by: by.into(),
            valid_since: match restart {
                true => set_at,
                false => before.map_or(0, |before| before.valid_since),
            },
        };
        let number = set.number;
        let body = match value {
            NewValue::Secret { sealed, size, .. } => {
                Body::Secret(SealedSecret { sealed, size, set })
            }
            NewValue::Config { text, .. } => Body::Config(ConfigText { text, set }),
        };
        self.write(now, name.key(), set_at, Some(body), fx);
        Ok(Outcome::ValueSet {
            used_by: self.board.users_of(&name),
            name,
            number,
        })
    }

    /// With `force` also where services use it: their tasks run on, and new ones fail.
    pub(super) fn remove_value(
        &mut self,
        now: Now,
        (name, force): (ValueName, bool),
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if self.board.setting(&name).is_none() {
            return Err(Refusal::NoSuchValue(name));
        }
        let used_by = self.board.users_of(&name);
        if !used_by.is_empty() && !force {
            return Err(Refusal::ValueUsed {
                name,
                services: super::keys::named(&used_by),
            });
        }
        let set_at = self.next_set_at(now, &name);
        self.write(now, name.key(), set_at, None, fx);
        Ok(Outcome::ValueRemoved(name))
    }

    /// Later than what was there before, whatever the clocks say.
    fn next_set_at(&self, now: Now, name: &ValueName) -> SetAt {
        now.wall.0.max(self.board.value_set_at(name) + 1)
    }

    fn check_room(&self, name: &ValueName, bytes: usize) -> Result<(), Refusal> {
        let (mut count, mut all) = (1, bytes);
        for (other, ..) in self.board.values() {
            if other != *name {
                count += 1;
                let record = self.board.record(&other.key());
                all += record.map_or(0, |record| record.bytes as usize);
            }
        }
        let limited = |what, max: usize| {
            let max = max as u64;
            Err(Refusal::Limit { what, max })
        };
        if bytes > limits::VALUE_BYTES_MAX {
            return limited("the size of a secret or config", limits::VALUE_BYTES_MAX);
        }
        if count > limits::VALUES_MAX {
            return limited("the number of secrets and configs", limits::VALUES_MAX);
        }
        if all > limits::VALUES_BYTES_MAX {
            let what = "the size of all secrets and configs together";
            return limited(what, limits::VALUES_BYTES_MAX);
        }
        Ok(())
    }

    /// Puts into what is asked of the runtime in this step the values that containers are given:
    /// those that the board has now, however often it is tried.
    pub(super) fn give_values(&mut self, fx: &mut Effects) {
        for create in fx.creates() {
            let names = create.container.values();
            let given = names.map(|name| GivenValue {
                content: self.board.value(&name),
                name,
            });
            create.given = given.collect();
            if !create.given.is_empty() {
                self.note_values(create.labels.task);
            }
        }
    }

    /// What this host had not heard of when the task began, and no container can have had, has
    /// come.
    fn note_values(&mut self, task: TaskId) {
        let Some(known) = self.roster.get(task) else {
            return;
        };
        let Some(definition) = known
            .definition()
            .filter(|_| known.report.values.contains(&0))
        else {
            return;
        };
        let names = definition.values().into_iter();
        let values = names
            .zip(&known.report.values)
            .map(|(name, set_at)| match set_at {
                0 => self.board.value_set_at(&name),
                known => *known,
            });
        let values: Box<[SetAt]> = values.collect();
        if values != known.report.values
            && let Some(task) = self.roster.get_mut(task)
        {
            task.report.values = values;
        }
    }

    /// When the values were set that a task has which begins now.
    pub(super) fn values_set_at(&self, names: impl Iterator<Item = ValueName>) -> Box<[SetAt]> {
        names.map(|name| self.board.value_set_at(&name)).collect()
    }

    /// What a cluster key still seals, for whoever wants to remove it.
    pub(super) fn sealed_with(&self, key: KeyId) -> Vec<String> {
        let secrets = self.board.secrets();
        let its = secrets.filter(|(_, _, secret)| secret.sealed.key == key);
        its.map(|(name, ..)| name.to_owned()).collect()
    }

    /// Has the driver seal anew what is sealed with another key than the one in use. One host does
    /// it, and only with a key that all others have.
    pub(super) fn reseal(&self, fx: &mut Effects) {
        let Some(key) = self.config.keys.in_use.filter(|_| self.joining.is_done()) else {
            return;
        };
        let wanted = self.board.key_in_use();
        let mut up = self
            .board
            .hosts()
            .filter(|(host, ..)| self.board.is_up(*host));
        let all_have_it = up.all(|(_, _, report)| report.keys.held.contains(&key));
        if wanted.is_some_and(|wanted| wanted != key) || !all_have_it {
            return;
        }
        let secrets = self.board.secrets().filter(|(name, _, secret)| {
            let sealed = secret.sealed.key;
            sealed != key && self.resealer(name, sealed) == Some(self.config.host)
        });
        let orders = secrets.take(limits::RESEALED_AT_ONCE_MAX);
        let orders: Vec<_> = orders
            .map(|(name, set_at, secret)| Reseal {
                name: name.to_owned(),
                set_at,
                sealed: secret.sealed.clone(),
            })
            .collect();
        if !orders.is_empty() {
            fx.push(Effect::Reseal(orders));
        }
    }

    /// By rendezvous, of those that can open it.
    fn resealer(&self, name: &str, sealed: KeyId) -> Option<HostId> {
        let hosts = self.board.hosts();
        let able = hosts.filter(|(host, _, report)| {
            self.board.is_up(*host) && report.keys.held.contains(&sealed)
        });
        let hosts = able.map(|(host, ..)| host);
        hosts.max_by_key(|host| mix(hash_bytes(name.as_bytes()) ^ host.word()))
    }

    /// The driver has sealed these anew. What was set or removed meanwhile stands.
    pub(super) fn on_resealed(&mut self, now: Now, resealed: Vec<Reseal>, fx: &mut Effects) {
        for Reseal {
            name,
            set_at,
            sealed,
        } in resealed
        {
            let name = ValueName::Secret(name);
            let record = self.board.record(&name.key());
            let ours = record.filter(|record| record.version.epoch == set_at);
            let Some(Body::Secret(known)) = ours.and_then(|record| record.body.clone()) else {
                continue;
            };
            let body = Body::Secret(SealedSecret { sealed, ..known });
            let set_at = match planted!(SealsOverLaterWords) {
                true => self.next_set_at(now, &name),
                false => set_at,
            };
            self.write(now, name.key(), set_at, Some(body), fx);
        }
    }
}

impl NewValue {
    pub fn name(&self) -> ValueName {
        match self {
            Self::Secret { name, .. } => ValueName::Secret(name.clone()),
            Self::Config { name, .. } => ValueName::Config(name.clone()),
        }
    }

    /// Without the seal.
    fn bytes(&self) -> usize {
        match self {
            Self::Secret { sealed, .. } => {
                let bytes = sealed.bytes.0.len();
                bytes.saturating_sub(limits::SEAL_BYTES_MAX)
            }
            Self::Config { text, .. } => text.0.len(),
        }
    }
}
