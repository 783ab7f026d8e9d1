//! Tags: words that people put on what there is. Each is a record of its own, so that two that are
//! put on the same thing on two sides of a partition both stay.

use crate::{
    cluster::{
        board::Board,
        body::{Body, Key},
        record::{Record, Stamp},
    },
    ids::{Digest, HostId, ServiceId, TaskId},
    limits,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a tag is on. Numbers on the wire and on disk by their order: only ever add at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// A service; what a run is given is on each of its first tasks.
    Service(ServiceId),
    /// One revision; by what it is, too, so that of two that were given the same number, each keeps
    /// its own.
    Definition(Digest, u32),
    Task(TaskId),
    /// The agents' own cluster is one of them.
    Cluster(String),
    Host(HostId),
    /// ECS's attributes of a container instance, as people set them.
    Attributes(HostId),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    pub value: String,
    /// What its author knew of others and replaced, by this word or an earlier one of its own. Who
    /// wrote something else since was not heard of.
    pub over: Option<Stamp>,
}

/// Tags that something is to get, and those that it is to lose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tagging {
    pub subject: Subject,
    pub set: Vec<(String, String)>,
    pub unset: Vec<String>,
}

impl Tag {
    /// It stands in the place of something later than its author knew of.
    pub fn passes_over(&self, replaced: &Record) -> bool {
        self.over.is_none_or(|over| over < replaced.version.stamp)
    }
}

/// As people are told of it.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(id) => write!(f, "the service or run {id}"),
            Self::Definition(digest, revision) => {
                write!(f, "revision {revision}, the task definition {digest}")
            }
            Self::Task(id) => write!(f, "the task {id}"),
            Self::Cluster(name) => write!(f, "the cluster {name:?}"),
            Self::Host(id) | Self::Attributes(id) => write!(f, "the host {id}"),
        }
    }
}

impl Board {
    /// In order of their names.
    pub fn tags<'b>(&'b self, subject: &'b Subject) -> impl Iterator<Item = (&'b str, &'b str)> {
        let records = self.range(Key::Tag(subject.clone(), String::new())..);
        let of = records.map_while(move |record| match &record.key {
            Key::Tag(of, name) if of == subject => Some((name.as_str(), &record.body)),
            _ => None,
        });
        of.filter_map(|(name, body)| match body {
            Some(Body::Tag(tag)) => Some((name, tag.value.as_str())),
            _ => None,
        })
    }

    /// Nothing would have more tags than it may.
    pub fn has_room_for_tags(&self, change: &Tagging) -> bool {
        let is_new = |name: &str| {
            let mut gone = change.unset.iter();
            let mut set = change.set.iter();
            !gone.any(|gone| gone == name) && !set.any(|(set, _)| set == name)
        };
        let stay = self.tags(&change.subject).filter(|(name, _)| is_new(name));
        stay.count() + change.set.len() <= limits::TAGS_MAX
    }

    /// Every tag that is on something.
    pub fn tag_records(&self) -> impl Iterator<Item = (&Record, &Subject)> {
        let records = self.range(Key::Tag(Subject::Service(ServiceId(0)), String::new())..);
        let tags = records.map_while(|record| match &record.key {
            Key::Tag(subject, _) => Some((record, subject)),
            _ => None,
        });
        tags.filter(|(record, _)| record.body.is_some())
    }

    /// We know that what a tag of this age is on is gone; not knowing it is something else.
    pub fn is_subject_gone(&self, subject: &Subject, age_ms: u64) -> bool {
        match subject {
            Subject::Service(id) => self.is_service_gone(*id),
            // A definition that was deleted is still what its tasks are of.
            Subject::Definition(..) => false,
            // Nobody puts one on a task that is not there, and by then all have heard of it.
            Subject::Task(id) => {
                let is_known = self.task(*id).is_some() || self.run_of_task(*id).is_some();
                !is_known && age_ms > limits::STOPPED_TASK_KEPT_MS
            }
            Subject::Cluster(name) => {
                self.is_buried(&Key::Cluster(name.clone())) && !self.has_cluster(name)
            }
            Subject::Host(id) | Subject::Attributes(id) => self.is_buried(&Key::Host(*id)),
        }
    }
}
