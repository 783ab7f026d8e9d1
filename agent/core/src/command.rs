//! What people ask an agent to change, and what they are told: the write side of the API.
//!
//! Reads need no command: whoever holds the `Agent` reads its board between steps.

use crate::{
    cluster::{
        body::Availability,
        schedule::Schedule,
        tag::{Subject, Tagging},
        values::{Opaque, Sealed},
    },
    ids::{Digest, HostId, KeyId, Secret, ServiceId, TaskId},
    spec::{
        given::ValueName,
        image::ImageRef,
        options::{OptionsChange, ServiceOptions},
        run::RunOptions,
        service::DefinitionRef,
        task_definition::TaskDefinition,
    },
    time::{Span, Wall},
};
use serde::{Deserialize, Serialize};

/// Pairs a reply with its command; minted by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommandId(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    RegisterTaskDefinition(TaskDefinition),
    /// Nothing new may be made of these from now on; each is named with its revision.
    RetireDefinitions {
        definitions: Vec<DefinitionRef>,
        /// Those that nothing new may be made of are to be forgotten once nothing is made of them.
        delete: bool,
    },
    CreateService {
        name: String,
        definition: DefinitionRef,
        desired: u32,
        options: ServiceOptions,
        /// Makes a repeated call harmless; empty where the client gave none.
        client_token: String,
    },
    UpdateService {
        service: String,
        change: ServiceChange,
    },
    /// Without `force` a service is deleted only when it is scaled to 0, as ECS does.
    DeleteService {
        service: String,
        force: bool,
    },
    RunTask(Box<RunOrder>),
    /// What is made or changed gets these tags, and loses those.
    Tagged {
        command: Box<Command>,
        set: Vec<(String, String)>,
        unset: Vec<String>,
    },
    /// All of it, or nothing.
    Tag(Vec<Tagging>),
    /// One that is there already is left as it is.
    MakeCluster(String),
    /// Nothing may be in it any more.
    DeleteCluster(String),
    /// All tasks of a run are to stop, and none is to begin.
    StopRun {
        run: ServiceId,
        reason: String,
    },
    /// Nothing is to be known of a run any more; with `force` what still runs of it stops.
    RemoveRun {
        run: ServiceId,
        force: bool,
    },
    /// What there is under this name already is changed; the time of its creation stays.
    SetSchedule {
        name: String,
        schedule: Schedule,
    },
    SwitchSchedule {
        name: String,
        enabled: bool,
    },
    RemoveSchedule(String),
    StopTask {
        task: TaskId,
        reason: String,
    },
    /// These tasks are not to be stopped for a smaller count, another revision or a better place
    /// for so many minutes; `None`: they may be again.
    ProtectTasks {
        tasks: Vec<TaskId>,
        minutes: Option<u32>,
    },
    /// What people want of these hosts from now on; of all of them, or of none.
    DirectHosts {
        hosts: Vec<HostId>,
        availability: Availability,
    },
    /// Removes all that is known of a host that is gone; with `force` also of one that is up, which
    /// then registers anew if its agent lives.
    ForgetHost {
        host: HostId,
        force: bool,
    },
    /// This host moves its tasks to others and goes. Answered when it has, or when it has given up;
    /// with `force` it goes in any case, and stops what nobody has taken over by then.
    Leave {
        /// [`crate::timings::Timings::leave_timeout`] where it is not said.
        within: Option<Span>,
        force: bool,
    },
    /// A host is to pull an image, whatever it has by that name. Answered when it has, or has not.
    PullImage {
        host: HostId,
        image: ImageRef,
    },
    /// All hosts are to have this key.
    InstallKey {
        key: KeyId,
        #[serde(serialize_with = "Secret::leave_out")]
        secret: Secret,
    },
    /// All hosts are to seal with this key. With `force` also where some lack it.
    UseKey {
        key: KeyId,
        force: bool,
    },
    /// No host is to have this key any more. With `force` also where hosts that are down need it.
    RemoveKey {
        key: KeyId,
        force: bool,
    },
    /// With `restart` the tasks of services that use it are replaced.
    SetValue {
        value: NewValue,
        /// Who asked, for people.
        by: String,
        restart: bool,
    },
    RemoveValue {
        name: ValueName,
        force: bool,
    },
}

/// A value for the cluster to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewValue {
    Secret {
        name: String,
        sealed: Sealed,
        /// Of what is sealed, in bytes.
        size: u32,
    },
    Config {
        name: String,
        text: Opaque,
    },
}

/// So many tasks are to run once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOrder {
    pub definition: DefinitionRef,
    /// What the definition means here, where the run changes something of it.
    pub overridden: Option<Box<TaskDefinition>>,
    /// ECS's `overrides` as they were given; empty where nothing was.
    pub overrides: String,
    pub count: u32,
    pub options: RunOptions,
    pub group: String,
    pub started_by: String,
    /// The agents' own where there is none.
    pub cluster: Option<String>,
    /// One for each task, where somebody chose them.
    pub hosts: Vec<HostId>,
    /// Makes a repeated call harmless; empty where the client gave none.
    pub client_token: String,
}

/// What of a service is to be otherwise; whatever is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceChange {
    pub desired: Option<u32>,
    pub definition: Option<DefinitionRef>,
    /// All tasks are replaced, whether anything else changes or not, and the images looked up anew.
    pub renew: bool,
    pub options: OptionsChange,
}

/// The change is on this host's board and disk, and on its way to the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    Registered {
        family: String,
        revision: u32,
        definition: Digest,
    },
    Retired {
        definitions: Vec<DefinitionRef>,
        /// Of these nothing was changed.
        failed: Vec<(DefinitionRef, NotRetired)>,
        /// As it was asked.
        delete: bool,
    },
    Created(ServiceId),
    Updated(ServiceId),
    Deleted(ServiceId),
    Tagged(Vec<Subject>),
    ClusterMade(String),
    ClusterDeleted(String),
    StopOrdered(TaskId),
    RunBegun(ServiceId),
    RunStopped(ServiceId),
    RunRemoved(ServiceId),
    ScheduleSet {
        name: String,
        is_new: bool,
    },
    ScheduleRemoved(String),
    ProtectionOrdered {
        until: Option<Wall>,
        tasks: Vec<TaskId>,
        /// Of these nothing was changed.
        failed: Vec<(TaskId, NotProtected)>,
    },
    Directed(Vec<HostId>),
    Forgotten(HostId),
    /// The host has left; so many of its tasks had to be stopped, since nobody took them over.
    Left {
        stopped: u32,
    },
    KeyInstalled(KeyId),
    KeyPutToUse(KeyId),
    KeyRemoved(KeyId),
    ValueSet {
        name: ValueName,
        number: u32,
        /// Services, by their names.
        used_by: Vec<String>,
    },
    ValueRemoved(ValueName),
    /// As [`crate::task::runtime::PulledImage`] has it, and how long that took.
    ImagePulled {
        digest: String,
        was_here: bool,
        took: Span,
    },
}

/// Why a definition cannot be deregistered or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NotRetired {
    Unknown,
    /// It is to be deregistered before it can be deleted.
    Active,
}

/// Why a task cannot be protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NotProtected {
    Unknown,
    /// Nothing but its own end, or a person, ends a task that is of no service.
    OfNoService,
    /// It has ended, or is about to.
    Ending,
}

/// Nothing was changed, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
pub enum Refusal {
    #[error("there is no task definition {0}; `holdfast task-definition ls` lists them")]
    NoSuchDefinition(String),
    #[error(
        "TaskDefinition is inactive: {0} was deregistered, and nothing new is made of it; name \
         another revision (`holdfast task-definition ls`)"
    )]
    DefinitionInactive(String),
    #[error("there is no service {0:?}; `holdfast service ls` lists them")]
    NoSuchService(String),
    #[error("there is no run {0}; `holdfast runs ls` lists them")]
    NoSuchRun(ServiceId),
    #[error("the run {0} has not ended; stop it first, or use force")]
    StillRuns(ServiceId),
    #[error("there is no schedule {0:?}; `holdfast schedule ls` lists them")]
    NoSuchSchedule(String),
    #[error("there is no task {0}")]
    NoSuchTask(TaskId),
    #[error(
        "the service {0:?} exists already; change it with `service update`, or delete it first"
    )]
    ServiceExists(String),
    #[error(
        "the service {name:?} cannot be deleted while it is scaled above 0 (its desired count is \
         {desired}); scale it to 0 first, or use force"
    )]
    StillScaled { name: String, desired: u32 },
    #[error("there is no cluster {0:?}; `aws ecs list-clusters` lists them")]
    NoSuchCluster(String),
    #[error(
        "The Cluster cannot be deleted while Services are active: {name:?} has {services}; delete \
         them first"
    )]
    ClusterHasServices { name: String, services: u64 },
    #[error(
        "The Cluster cannot be deleted while Tasks are active: in {name:?} run {tasks}; stop them \
         first, or wait for their end"
    )]
    ClusterHasTasks { name: String, tasks: u64 },
    #[error("there is no host {0}; `holdfast host ls` lists them")]
    NoSuchHost(HostId),
    #[error(
        "the host {name} is up (its tasks: {tasks}); to take it out of the cluster, run `holdfast \
         leave` on it, or stop its machine; force forgets it all the same, and if its agent lives \
         it registers anew"
    )]
    HostIsUp { name: String, tasks: u32 },
    #[error(
        "an agent does not forget its own host; ask the agent of another one, or run `holdfast \
         leave` here"
    )]
    ForgetsItself,
    #[error(
        "no other host is up and takes tasks, so nobody could take over what runs here (tasks: \
         {tasks}); start another host, scale the services to 0, or use force, which stops them"
    )]
    LastHost { tasks: u32 },
    #[error(
        "not all of this host's tasks were taken over within {seconds} s ({tasks} left), so it \
         stays: {why}; \
         wait longer, make room on other hosts, or use force, which stops them"
    )]
    NotTakenOver {
        tasks: u32,
        seconds: u64,
        why: String,
    },
    /// Only a driver says so: the core does not know the disk.
    #[error(
        "this host cannot save the change, so it does not answer for it: {reason}. It may still \
         take effect; repeat it on another agent to be sure"
    )]
    NotSaved { reason: String },
    #[error("{what} is at its limit of {max}")]
    Limit { what: &'static str, max: u64 },
    #[error(
        "this agent has not yet read the board from a peer (since {seconds} s); try again in a \
         moment, or ask another agent"
    )]
    NotCaughtUp { seconds: u64 },
    #[error(
        "this agent has no cluster key, so there is none to rotate: put one into `key_file` and \
         restart it"
    )]
    NoKeys,
    #[error("no host has a key {0}; `holdfast key ls` lists them")]
    NoSuchKey(KeyId),
    #[error(
        "the key {key} cannot be put to use yet: {hosts} would not understand what is sealed with \
         it; wait until `holdfast key ls` shows that all have it, or use force"
    )]
    KeyLacking { key: KeyId, hosts: String },
    #[error(
        "the key {key} is in use ({hosts}); put another one to use first, and wait until \
         `holdfast key ls` shows that nobody seals with this one"
    )]
    KeyUsed { key: KeyId, hosts: String },
    #[error(
        "the key {key} still seals secrets ({secrets}); once another key is in use, they are \
         sealed with that one within some seconds: put one to use, or wait and try again"
    )]
    KeySeals { key: KeyId, secrets: String },
    #[error("there is no {} {:?}; `holdfast {} ls` lists them", .0.kind(), .0.name(), .0.kind())]
    NoSuchValue(ValueName),
    #[error(
        "{name} is used by services ({services}); change their task definitions first, or use \
         force: their tasks run on, and new ones fail"
    )]
    ValueUsed { name: ValueName, services: String },
    /// The host's own word, or why it has none.
    #[error("{reason}")]
    NotPulled { reason: String },
    #[error("the key {0} is the only one; install another one and put it to use first")]
    OnlyKey(KeyId),
    #[error(
        "the key {key} is the only one that {hosts} had when last seen, and down since: it could \
         not come back by itself; start it first, or use force and put the new key into its \
         `key_file`"
    )]
    KeyOfAbsent { key: KeyId, hosts: String },
}
