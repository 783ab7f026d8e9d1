//! Tags, and clusters that people make: what they order, and what is cleared up behind them. And
//! what somebody is told whose word did not hold, since another said something else meanwhile.

use super::Agent;
use crate::{
    cluster::{
        body::{Body, Key},
        namespace::{Namespace, cluster_of},
        record::Record,
        tag::{Subject, Tag, Tagging},
    },
    command::{Command, CommandId, Outcome, Refusal},
    effect::Effects,
    event::{Clash, Happening},
    ids::{Digest, HostId, ServiceId},
    limits,
    rng::hash_bytes,
    time::Now,
};

impl Agent {
    /// Carries a command out, and puts tags on what it has made or changed.
    pub(super) fn make_tagged(
        &mut self,
        now: Now,
        (id, command): (CommandId, Command),
        (set, unset): (Vec<(String, String)>, Vec<String>),
        fx: &mut Effects,
    ) -> Result<Option<Outcome>, Refusal> {
        let before = self.board.root();
        let done = self.carry_out(now, id, command, fx)?;
        // What is there already, as whoever repeats a request finds it, is left as it is.
        let is_new = self.board.root() != before;
        let subjects = match &done {
            Some(Outcome::Updated(id)) => vec![Subject::Service(*id)],
            _ if !is_new => Vec::new(),
            Some(Outcome::Registered {
                revision,
                definition,
                ..
            }) => vec![Subject::Definition(*definition, *revision)],
            Some(Outcome::Created(id)) => vec![Subject::Service(*id)],
            Some(Outcome::RunBegun(id)) => {
                let tasks = self.board.run(*id).map(|run| run.tasks.clone());
                let tasks = tasks.unwrap_or_default().into_iter();
                tasks.map(Subject::Task).collect()
            }
            Some(Outcome::ClusterMade(name)) => vec![Subject::Cluster(name.clone())],
            // Nothing was made that tags could be put on.
            _ => Vec::new(),
        };
        let changes = subjects.into_iter().map(|subject| Tagging {
            subject,
            set: set.clone(),
            unset: unset.clone(),
        });
        self.tag(now, changes.collect(), fx)?;
        Ok(done)
    }

    pub(super) fn tag(
        &mut self,
        now: Now,
        changes: Vec<Tagging>,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let has_room = |change| self.board.has_room_for_tags(change);
        if !changes.iter().all(has_room) {
            return Err(Refusal::Limit {
                what: "the number of tags on one thing",
                max: limits::TAGS_MAX as u64,
            });
        }
        let mut subjects = Vec::new();
        for Tagging {
            subject,
            set,
            unset,
        } in changes
        {
            for name in unset {
                let key = Key::Tag(subject.clone(), name);
                let known = self.board.record(&key);
                if known.is_some_and(|record| record.body.is_some()) {
                    self.write(now, key, 0, None, fx);
                }
            }
            set.into_iter()
                .for_each(|tag| self.set_tag(now, &subject, tag, fx));
            subjects.push(subject);
        }
        Ok(Outcome::Tagged(subjects))
    }

    /// To say again what is so already must not undo what somebody else says meanwhile.
    fn set_tag(
        &mut self,
        now: Now,
        subject: &Subject,
        (name, value): (String, String),
        fx: &mut Effects,
    ) {
        let name = if planted!(HasOneTagForAll) {
            String::new()
        } else {
            name
        };
        let key = Key::Tag(subject.clone(), name);
        let known = self.board.record(&key);
        let stamp = known.map(|record| record.version.stamp);
        let is_ours = stamp.is_some_and(|stamp| stamp.author == self.config.host);
        let (over, stays) = match known.and_then(|record| record.body.as_ref()) {
            Some(Body::Tag(tag)) if is_ours => (tag.over, tag.value == value),
            Some(Body::Tag(tag)) => (stamp, tag.value == value),
            _ => (stamp, false),
        };
        if !stays {
            let body = Body::Tag(Tag { value, over });
            self.write(now, key, 0, Some(body), fx);
        }
    }

    /// A definition that got another number than it was given keeps the tags that it got with it.
    pub(super) fn move_tags(
        &mut self,
        now: Now,
        definition: Digest,
        (from, to): (u32, u32),
        fx: &mut Effects,
    ) {
        let from = Subject::Definition(definition, from);
        let tags = self.board.tags(&from);
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let tags: Vec<_> = tags.collect();
        for tag in tags {
            let old = Key::Tag(from.clone(), tag.0.clone());
            self.write(now, old, 0, None, fx);
            self.set_tag(now, &Subject::Definition(definition, to), tag, fx);
        }
    }

    pub(super) fn make_cluster(
        &mut self,
        now: Now,
        name: String,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if self.board.namespace(&name).is_none() {
            if self.board.clusters().len() >= limits::CLUSTERS_MAX {
                return Err(Refusal::Limit {
                    what: "the number of clusters",
                    max: limits::CLUSTERS_MAX as u64,
                });
            }
            let key = Key::Cluster(name.clone());
            let epoch = self.board.next_epoch(&key);
            let body = Body::Cluster(Namespace {
                created_at: now.wall,
            });
            self.write(now, key, epoch, Some(body), fx);
        }
        Ok(Outcome::ClusterMade(name))
    }

    pub(super) fn delete_cluster(
        &mut self,
        now: Now,
        name: String,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if !self.board.has_cluster(&name) {
            return Err(Refusal::NoSuchCluster(name));
        }
        let services = self.board.services_in(Some(&name)).count() as u64;
        if services > 0 {
            return Err(Refusal::ClusterHasServices { name, services });
        }
        let runs = self.board.runs_of_clusters();
        let runs = runs.filter(|cluster| *cluster == name);
        let live = self.board.tasks().filter(|(host, _, report)| {
            let is_in = report.slot_name().and_then(cluster_of) == Some(&*name);
            is_in && report.last.is_live() && self.board.is_up(*host)
        });
        let tasks = runs.count().max(live.count()) as u64;
        if tasks > 0 {
            return Err(Refusal::ClusterHasTasks { name, tasks });
        }
        let key = Key::Cluster(name.clone());
        let epoch = self.board.next_epoch(&key);
        self.write(now, key, epoch, None, fx);
        let subject = Subject::Cluster(name.clone());
        let tags = self.board.tags(&subject).map(|(tag, _)| tag.to_owned());
        let unset = tags.collect();
        let set = Vec::new();
        let cleared = Tagging {
            subject,
            set,
            unset,
        };
        self.tag(now, vec![cleared], fx)?;
        Ok(Outcome::ClusterDeleted(name))
    }

    /// To be called now and then: takes tags off what is gone. Each host does it for its own.
    pub(super) fn clear_up_tags(&mut self, now: Now, fx: &mut Effects) {
        if !self.joining.is_done() {
            return;
        }
        let (me, is_first) = (self.config.host, self.is_first_up());
        let gone = self.board.tag_records().filter(|(record, subject)| {
            let age_ms = now.wall.ms_since(record.version.stamp.wall);
            // Of hosts that never come back, one of those that are here does it.
            let is_mine = record.version.stamp.author == me
                || (is_first && !self.board.is_up(record.version.stamp.author));
            is_mine && self.board.is_subject_gone(subject, age_ms)
        });
        let gone: Vec<Key> = gone.map(|(record, _)| record.key.clone()).collect();
        for key in gone {
            self.write(now, key, 0, None, fx);
        }
    }

    fn is_first_up(&self) -> bool {
        let mut hosts = self.board.hosts().map(|(host, ..)| host);
        hosts.find(|host| self.board.is_up(*host)) == Some(self.config.host)
    }

    /// A tag comes late to a revision that has got another number since: it goes after it.
    fn follow_number(&mut self, now: Now, new: &Record, fx: &mut Effects) {
        let (Key::Tag(Subject::Definition(digest, number), _), Some(_)) = (&new.key, &new.body)
        else {
            return;
        };
        let (digest, number) = (*digest, *number);
        let to = self.board.definition(digest).and_then(|definition| {
            let family = &definition.family;
            let is_it = |number| {
                let label = self.board.label(family, number);
                label.is_some_and(|label| label.definition == digest)
            };
            if self.board.label(family, number).is_none() || is_it(number) {
                return None;
            }
            // Whoever gave the number moves what comes.
            let is_ours = |revision: u32| {
                let family = family.clone();
                let label = self.board.record(&Key::Label { family, revision });
                label.is_some_and(|label| label.version.stamp.author == self.config.host)
            };
            let mut later = number..=self.board.last_revision(family)?;
            later.find(|number| is_it(*number) && is_ours(*number))
        });
        if let Some(to) = to {
            self.move_tags(now, digest, (number, to), fx);
        }
    }

    /// Another's word on the same thing stands in the place of ours, and did not know of it.
    pub(super) fn on_tag(
        &mut self,
        now: Now,
        (old, new): (Option<&Record>, &Record),
        fx: &mut Effects,
    ) {
        self.follow_number(now, new, fx);
        let lost = old.filter(|old| self.is_lost(old, new));
        let (Some(lost), Some(Body::Tag(tag)), Key::Tag(subject, name)) =
            (lost, &new.body, &new.key)
        else {
            return;
        };
        let is_same = matches!(&lost.body, Some(Body::Tag(ours)) if ours.value == tag.value);
        if is_same || !tag.passes_over(lost) {
            return;
        }
        let about = format!("the tag {name:?} of {subject}");
        let by = self.name_of(new.version.stamp.author);
        let ours = match &lost.body {
            Some(Body::Tag(ours)) => format!("the value {:?} that it was given", ours.value),
            _ => "that it was taken away".to_owned(),
        };
        let reason = format!(
            "{ours} here does not hold: it was given {:?} at {by} meanwhile, which had not heard \
             of it",
            tag.value
        );
        self.tell_clash(now, (about, reason), fx);
    }

    /// Two services were given one name: the earlier one has it.
    pub(super) fn on_name(
        &mut self,
        now: Now,
        service: ServiceId,
        (old, new): (Option<&Record>, &Record),
        fx: &mut Effects,
    ) {
        let (None, Some(Body::ServiceSettings(settings))) = (old, &new.body) else {
            return;
        };
        let name = settings.name.clone();
        let called: Vec<ServiceId> = self.board.services_called(&name).collect();
        let [first, others @ ..] = &called[..] else {
            return;
        };
        let is_lost = |id: &ServiceId| {
            let ours = self.board.record(&Key::ServiceSettings(*id));
            ours.is_some_and(|ours| self.is_lost(ours, new))
        };
        if *first == service && others.iter().any(is_lost) && !planted!(YieldsInSilence) {
            let by = self.name_of(new.version.stamp.author);
            let reason = format!(
                "the one that was created here is taken away again, and its tasks stop: one of \
                 that name was created earlier at {by}, which had not heard of it"
            );
            self.tell_clash(now, (format!("the service {name:?}"), reason), fx);
        }
    }

    /// It was written here, and another's stands in its place.
    fn is_lost(&self, ours: &Record, theirs: &Record) -> bool {
        let me = self.config.host;
        ours.version.stamp.author == me && theirs.version.stamp.author != me
    }

    pub(super) fn name_of(&self, host: HostId) -> String {
        let known = self.board.host(host);
        known.map_or_else(|| host.to_string(), |(_, report)| report.name.to_string())
    }

    pub(super) fn tell_clash(
        &mut self,
        now: Now,
        (about, reason): (String, String),
        fx: &mut Effects,
    ) {
        let id = self.own_id([hash_bytes(about.as_bytes()), hash_bytes(reason.as_bytes())]);
        self.tell(now, id, Happening::Clash(Clash { about, reason }), fx);
    }
}
