//! What the records say: keys, and a body for each kind.

use crate::{
    cluster::{
        keys::KeyReport,
        namespace::Namespace,
        run::{End, Run},
        schedule::{Schedule, Ticks},
        tag::{Subject, Tag},
        trailing,
        values::{ConfigText, SealedSecret, SetAt},
    },
    ids::{
        Digest, GpuId, HostId, ImageDigest, KeyId, RuntimeId, Secret, ServiceId, SlotIndex, TaskId,
    },
    spec::{
        options::{HandOver, ServiceOptions},
        task_definition::TaskDefinition,
    },
    task::{
        runtime::{PortBinding, SlotLabel},
        status::{Health, StopCode, TaskStatus},
    },
    time::Wall,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{collections::BTreeMap, fmt, net::SocketAddr};

/// What a record is about, who writes it, and what the epoch of its version means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Anyone, once; epoch 0.
    Definition(Digest),
    /// Anyone; epoch is the complement of the wall time, so that the earlier stamp keeps the
    /// number. It stays the same when the label's standing changes.
    Label { family: String, revision: u32 },
    /// Anyone; epoch 0 while the service lives, 1 for its tombstone: ids are never used again, so a
    /// deletion is final, whatever was written at the same time elsewhere.
    ServiceCount(ServiceId),
    /// As [`Key::ServiceCount`].
    ServiceRevision(ServiceId),
    /// As [`Key::ServiceCount`].
    ServiceSettings(ServiceId),
    /// The service's keeper; epoch as of [`Key::ServiceCount`]. What its images are.
    Pins(ServiceId),
    /// Anyone, once; epoch as of [`Key::ServiceCount`]. Tasks that are to run once.
    Run(ServiceId),
    /// That host only; epoch is its incarnation.
    Host(HostId),
    /// That host only; epoch is its incarnation.
    Task(HostId, TaskId),
    /// Anyone; epoch 0. A person's order to stop one task.
    StopOrder(TaskId),
    /// The host's observers; epoch is the incarnation judged.
    Verdict(HostId),
    /// The service's keeper; epoch is the generation.
    Slot(ServiceId, SlotIndex),
    /// Anyone; epoch 0. What people want of a host.
    Directive(HostId),
    /// A keeper under the policy `majority`; epoch is how often it was changed. Which hosts count.
    Electorate,
    /// Anyone; epoch 0. A key that all hosts are to have; its tombstone takes it away again.
    ClusterKey(KeyId),
    /// Anyone; epoch 0. Which key everybody is to seal with.
    KeyInUse,
    /// Anyone; epoch is how often it was set, or removed. What is to run again and again.
    Schedule(String),
    /// The schedule's keeper; epoch is how often it was written.
    Ticks(String),
    /// Anyone; epoch is when it was set, or removed, in ms, and greater than that of what was there
    /// before: so that to seal a secret anew undoes nothing that was said elsewhere meanwhile.
    Secret(String),
    /// As [`Key::Secret`]. A text for tasks that is no secret.
    Config(String),
    /// Anyone; epoch 0. How long a task is not to be stopped but for a good reason.
    Protection(TaskId),
    /// Anyone; epoch is how often it was made, or deleted. One that people made.
    Cluster(String),
    /// Anyone; epoch 0. A word on something, by its name.
    Tag(Subject, String),
    /// Of a later version of Holdfast: kept and passed on, not understood.
    Unknown { kind: u8, key: Vec<u8> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Definition(TaskDefinition),
    Label(Label),
    ServiceCount(ServiceCount),
    ServiceRevision(ServiceRevision),
    ServiceSettings(ServiceSettings),
    Pins(Pins),
    Run(Run),
    Host(HostReport),
    Task(TaskReport),
    StopOrder(StopOrder),
    Verdict(Verdict),
    Slot(Slot),
    Directive(Directive),
    Electorate(Electorate),
    ClusterKey(ClusterKey),
    KeyInUse(KeyInUse),
    Schedule(Schedule),
    Ticks(Ticks),
    Secret(SealedSecret),
    Config(ConfigText),
    Protection(Protection),
    Cluster(Namespace),
    Tag(Tag),
    Unknown(Vec<u8>),
}

/// `family:revision` is a label on a definition's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub definition: Digest,
    pub registered_at: Wall,
    #[serde(with = "trailing")]
    pub standing: LabelStanding,
}

/// Whether anything new may be made of what a label names. What is made of it already goes on. It
/// only ever rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LabelStanding {
    #[default]
    Active,
    /// Deregistered then.
    Inactive(Wall),
    /// Deregistered then, and deleted since: unknown once nothing is made of it any more.
    Deleted(Wall),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCount {
    pub desired: u32,
}

/// Which definition the service's tasks run; the label is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRevision {
    pub definition: Digest,
    pub family: String,
    pub revision: u32,
    /// How often people asked to have its tasks replaced though nothing else had changed.
    pub renewals: u32,
}

/// The bytes that the images of a deployment stand for, as the first of its tasks found them: all
/// that follow run the same, wherever their tags lead by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    /// Which deployment that is, with its renewals.
    pub definition: Digest,
    pub renewals: u32,
    /// By the names of containers, in their order.
    pub images: BTreeMap<Box<str>, ImageDigest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    pub name: String,
    pub created_at: Wall,
    /// Makes a repeated `CreateService` harmless; empty where the client gave none.
    pub client_token: String,
    pub options: ServiceOptions,
}

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    pub name: Box<str>,
    pub address: SocketAddr,
    pub zone: Option<Box<str>>,
    /// In order of their names; a map of one would take half a kilobyte.
    pub attributes: Box<[(String, String)]>,
    pub capacity: Capacity,
    /// Those that `capacity` counts.
    pub gpus: Box<[GpuId]>,
    pub status: HostStatus,
    /// Has a full copy of the board, so it may be keeper and be given slots.
    pub caught_up: bool,
    pub runtime: RuntimeStatus,
    /// Tells two machines apart that were started from one image with one identity.
    pub fingerprint: u64,
    /// Which cluster keys it has, and which it seals with.
    pub keys: KeyReport,
    pub agent_version: Box<str>,
    pub registered_at: Wall,
    /// When its agent started; of two agents with one identity the later one is the clone.
    pub started_at: Wall,
}

/// CPU units (1024 a core), MiB of memory, and GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    pub cpu: u32,
    pub memory_mib: u32,
    pub gpus: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostStatus {
    Active,
    /// The agent was asked to stop and left its tasks running; it is expected back.
    Restarting,
    /// The host is about to go for good: its tasks are moved first.
    Leaving,
    /// The host has gone, by its own word: it is down at once, and nobody has to find that out.
    Left,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeStatus {
    Available { version: Box<str> },
    Unavailable { reason: Box<str> },
}

/// What a host says of one of its tasks; kept for an hour after the task stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    pub definition: Digest,
    pub family: Box<str>,
    pub revision: u32,
    /// As of [`ServiceRevision`].
    pub renewals: u32,
    /// When the values of the cluster's were set that it has, or earlier, in the order of
    /// [`TaskDefinition::values`]; none where nobody knows.
    pub values: Box<[SetAt]>,
    /// The slot that the task serves, at the generation it serves it in.
    pub slot: Option<SlotLabel>,
    pub desired: TaskStatus,
    pub last: TaskStatus,
    pub health: Health,
    /// RUNNING, and whatever its definition has checked of it is well: it may be used.
    pub ready: bool,
    pub stop_code: Option<StopCode>,
    pub stopped_reason: Box<str>,
    /// The host never started anything: it refused the offer, and says why in `stopped_reason`.
    pub refused: bool,
    /// The slot was given to another task without this one being asked; it runs on until the
    /// keeper has chosen which of the two to keep.
    pub replaced: bool,
    /// By its host's clock: before that, neither a smaller count nor a hand-over ends it.
    pub protected_until: Option<Wall>,
    pub created_at: Wall,
    pub started_at: Option<Wall>,
    pub stopping_at: Option<Wall>,
    pub stopped_at: Option<Wall>,
    pub containers: Box<[ContainerReport]>,
}

/// What its definition says of it is there to be read, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReport {
    pub name: Box<str>,
    /// `None` until the container is known to exist.
    pub runtime_id: Option<RuntimeId>,
    pub status: ContainerStatus,
    pub exit_code: Option<i32>,
    pub reason: Box<str>,
    pub ports: Box<[PortBinding]>,
    pub health: Health,
    /// How often it was run again in its task.
    pub restarts: u32,
    /// What it was made of, or is to be; `None` where its image has no digest.
    pub image: Option<ImageDigest>,
    /// Those of its host that it has for itself.
    pub gpus: Box<[GpuId]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ContainerStatus {
    Pending,
    Running,
    Stopped,
}

/// What people want of a host; without one it is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directive {
    pub availability: Availability,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Availability {
    Active,
    /// It takes no new tasks, and those that it has are moved, start-first.
    Drain,
}

/// The hosts of which a side must have more than half to replace anything under `majority`: all
/// that were known when the cluster was last at rest, or as many of them as count at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Electorate {
    pub hosts: Vec<HostId>,
    /// Those that counted before, while not everybody may know of the change: more than half of
    /// both is needed, so that no two sides can each have a majority by their own list.
    pub before: Vec<HostId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterKey {
    pub secret: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInUse {
    pub key: KeyId,
}

/// `None`: not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    pub until: Option<Wall>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOrder {
    pub reason: String,
}

/// What its observers agree on about this host at this incarnation; the later word counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub standing: Standing,
    pub votes: Vec<HostId>,
    pub silent_ms: u64,
}

/// From the least to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standing {
    /// It answers again.
    Cleared,
    /// It does not answer: nothing is sent its way, and nothing is moved.
    Suspect,
    /// Its agent does not answer, its machine does: nothing is moved for a while.
    Impaired,
    /// Its tasks are replaced. Only its next incarnation refutes that.
    Down,
}

/// Who runs a slot. The generation is the epoch of the record's version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// `None`: no host can run it; `reason` says which filter refused how many.
    pub host: Option<HostId>,
    pub revision: ServiceRevision,
    /// A task that runs on `host` already and takes the slot over as it is.
    pub adopted: Option<TaskId>,
    /// Tasks that serve the slot until the host named has reported its task RUNNING, then stop.
    pub superseded: Vec<Placement>,
    pub order: HandOver,
    /// Failures in a row that led here; decides how long the next replacement waits.
    pub failures: u32,
    /// Tasks of a run that were begun for it before and ended badly.
    pub tried: u32,
    /// Of a run: nothing is begun for it any more.
    pub end: Option<Box<End>>,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Placement {
    pub host: HostId,
    pub task: TaskId,
}

const TAG: u8 = 23;

impl Key {
    /// What a tag is on may be something that only a later version puts tags on: it is kept, then.
    pub fn from_wire(kind: u8, bytes: &[u8]) -> Result<Self, postcard::Error> {
        let unknown = || Self::Unknown {
            kind,
            key: bytes.to_vec(),
        };
        match Self::read_wire(kind, bytes) {
            Err(_) if kind == TAG => Ok(unknown()),
            read => read,
        }
    }
}

/// As on the wire.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_wire().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (kind, key) = <(u8, Vec<u8>)>::deserialize(deserializer)?;
        Self::from_wire(kind, &key).map_err(D::Error::custom)
    }
}

/// As people are told of a record.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Definition(digest) => write!(f, "the task definition {digest}"),
            Self::Label { family, revision } => write!(f, "the label {family}:{revision}"),
            Self::ServiceCount(id) => write!(f, "the count of service {id}"),
            Self::ServiceRevision(id) => write!(f, "the revision of service {id}"),
            Self::ServiceSettings(id) => write!(f, "the settings of service {id}"),
            Self::Pins(id) => write!(f, "the images of service {id}"),
            Self::Run(id) => write!(f, "the run {id}"),
            Self::Host(id) => write!(f, "the report of host {id}"),
            Self::Task(_, id) => write!(f, "the report of task {id}"),
            Self::StopOrder(id) => write!(f, "the order to stop task {id}"),
            Self::Verdict(id) => write!(f, "the verdict on host {id}"),
            Self::Slot(id, index) => write!(f, "slot {index} of service {id}"),
            Self::Directive(id) => write!(f, "the directive for host {id}"),
            Self::ClusterKey(id) => write!(f, "the cluster key {id}"),
            Self::KeyInUse => write!(f, "the cluster key in use"),
            Self::Schedule(name) => write!(f, "the schedule {name:?}"),
            Self::Ticks(name) => write!(f, "the ticks of schedule {name:?}"),
            Self::Secret(name) => write!(f, "the secret {name:?}"),
            Self::Config(name) => write!(f, "the config {name:?}"),
            Self::Protection(id) => write!(f, "the protection of task {id}"),
            Self::Cluster(name) => write!(f, "the cluster {name:?}"),
            Self::Tag(subject, name) => write!(f, "the tag {name:?} of {subject}"),
            Self::Electorate => write!(f, "the list of hosts that count for a majority"),
            Self::Unknown { kind, .. } => write!(f, "a record of kind {kind}"),
        }
    }
}

impl Pins {
    pub fn are_of(&self, revision: &ServiceRevision) -> bool {
        (self.definition, self.renewals) == (revision.definition, revision.renewals)
    }
}

impl TaskReport {
    /// What its slot is of, by the name in the label.
    pub fn slot_name(&self) -> Option<&str> {
        self.slot.as_ref().map(|slot| &*slot.service_name)
    }

    /// Somebody asked that neither a smaller count nor a hand-over ends it. One that fails its
    /// checks is no use to anybody, and is replaced all the same.
    pub fn is_protected(&self) -> bool {
        self.protected_until.is_some()
            && self.desired == TaskStatus::Running
            && self.health != Health::Unhealthy
    }

    /// A task that was just accepted, or just found: nothing is known of its containers yet.
    pub fn begin(revision: ServiceRevision, slot: Option<SlotLabel>, now: Wall) -> Self {
        Self {
            definition: revision.definition,
            family: revision.family.into(),
            revision: revision.revision,
            renewals: revision.renewals,
            values: Box::default(),
            slot,
            desired: TaskStatus::Running,
            last: TaskStatus::Provisioning,
            health: Health::Unknown,
            ready: false,
            stop_code: None,
            stopped_reason: Box::default(),
            refused: false,
            replaced: false,
            protected_until: None,
            created_at: now,
            started_at: None,
            stopping_at: None,
            stopped_at: None,
            containers: Box::default(),
        }
    }
}

// The kinds are numbers on the wire and on disk: never renumber, never reuse.
macro_rules! kinds {
    ($($number:literal $kind:ident $pattern:pat => $key:expr, $read:ty => $make:expr;)*) => {
        impl Key {
            /// The kind's number and the key's canonical bytes.
            pub fn to_wire(&self) -> (u8, Vec<u8>) {
                match self {
                    $($pattern => (
                        $number,
                        postcard::to_allocvec(&$key).expect("a key always encodes"),
                    ),)*
                    Self::Unknown { kind, key } => (*kind, key.clone()),
                }
            }

            fn read_wire(kind: u8, bytes: &[u8]) -> Result<Self, postcard::Error> {
                match kind {
                    $($number => postcard::from_bytes::<$read>(bytes).map($make),)*
                    _ => Ok(Self::Unknown { kind, key: bytes.to_vec() }),
                }
            }
        }

        impl Body {
            pub fn to_wire(&self) -> Vec<u8> {
                match self {
                    $(Self::$kind(body) =>
                        postcard::to_allocvec(body).expect("a body always encodes"),)*
                    Self::Unknown(bytes) => bytes.clone(),
                }
            }

            pub fn from_wire(kind: u8, bytes: &[u8]) -> Result<Self, postcard::Error> {
                match kind {
                    $($number => postcard::from_bytes(bytes).map(Self::$kind),)*
                    _ => Ok(Self::Unknown(bytes.to_vec())),
                }
            }
        }
    };
}

kinds! {
    1 Definition Self::Definition(digest) => digest, Digest => Self::Definition;
    2 Label Self::Label { family, revision } => (family, revision),
        (String, u32) => |(family, revision)| Self::Label { family, revision };
    3 ServiceCount Self::ServiceCount(service) => service, ServiceId => Self::ServiceCount;
    4 ServiceRevision Self::ServiceRevision(service) => service, ServiceId => Self::ServiceRevision;
    5 ServiceSettings Self::ServiceSettings(service) => service, ServiceId => Self::ServiceSettings;
    6 Host Self::Host(host) => host, HostId => Self::Host;
    7 Task Self::Task(host, task) => (host, task),
        (HostId, TaskId) => |(host, task)| Self::Task(host, task);
    8 StopOrder Self::StopOrder(task) => task, TaskId => Self::StopOrder;
    9 Verdict Self::Verdict(host) => host, HostId => Self::Verdict;
    10 Slot Self::Slot(service, index) => (service, index),
        (ServiceId, SlotIndex) => |(service, index)| Self::Slot(service, index);
    11 Directive Self::Directive(host) => host, HostId => Self::Directive;
    12 Electorate Self::Electorate => (), () => |()| Self::Electorate;
    13 Pins Self::Pins(service) => service, ServiceId => Self::Pins;
    14 Run Self::Run(run) => run, ServiceId => Self::Run;
    15 Schedule Self::Schedule(name) => name, String => Self::Schedule;
    16 ClusterKey Self::ClusterKey(key) => key, KeyId => Self::ClusterKey;
    17 KeyInUse Self::KeyInUse => (), () => |()| Self::KeyInUse;
    18 Ticks Self::Ticks(name) => name, String => Self::Ticks;
    19 Secret Self::Secret(name) => name, String => Self::Secret;
    20 Config Self::Config(name) => name, String => Self::Config;
    21 Protection Self::Protection(task) => task, TaskId => Self::Protection;
    22 Cluster Self::Cluster(name) => name, String => Self::Cluster;
    23 Tag Self::Tag(subject, name) => (subject, name),
        (Subject, String) => |(subject, name)| Self::Tag(subject, name);
}
