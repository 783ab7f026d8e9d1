//! What can be typed, and the help for it.

mod ecs;
mod reach;
mod runs;
mod schedules;

pub(crate) use ecs::EcsCommand;
pub(crate) use reach::{CpArgs, ExecArgs, LogsArgs, StatsArgs, TopArgs};
pub(crate) use runs::{InputArgs, RunArgs, RunsCommand};
pub(crate) use schedules::{ScheduleCommand, SetArgs};

use super::{
    output::Output,
    values::{ConfigCommand, SecretCommand},
};
use crate::{
    config::Flags,
    http::{Address, SOCKET_DEFAULT},
};
use clap::{Args, Parser, Subcommand};
use holdfast_core::limits;
use std::{net::SocketAddr, path::PathBuf};

const OVERVIEW: &str = "\
Examples:
  holdfast status
  holdfast task-definition register web.json
  holdfast service create web --task-definition web --count 3 --wait
  holdfast service ls
  holdfast events --follow

Exit codes:
  0  done
  1  refused or failed; the text on stderr says why and what to do
  2  the command line is wrong
  3  no agent can be reached
  4  waited until the time-out
  5  `holdfast agent` only: the host has left the cluster
`holdfast task exec` ends as the command does that it runs.";

const LEAVE_EXAMPLES: &str = "\
Examples:
  holdfast leave
  holdfast leave --timeout 300
  holdfast leave --force && systemctl disable holdfast

Without --force the host stays if not all of its tasks were taken over. The agent ends once the
host has left; starting it again, as the next boot does, brings the host back.";

/// Keeps containers running on many hosts, with no control plane: ask any agent.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = OVERVIEW, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// The agent's socket, or tcp://127.0.0.1:51678 for reading only
    #[arg(long, global = true, env = "HOLDFAST_SOCKET", default_value = SOCKET_DEFAULT)]
    #[arg(value_name = "ADDRESS")]
    pub(crate) socket: Address,
    /// `table` for people, `json` for programs
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent of this host (what systemd starts)
    Agent(Box<Flags>),
    /// Show the cluster as this host's agent sees it
    #[command(after_help = "Examples:\n  holdfast status\n  holdfast status -o json")]
    Status,
    /// List, show, drain and forget the hosts of the cluster
    #[command(subcommand, visible_alias = "hosts")]
    Host(HostCommand),
    /// Take this host out of the cluster: move its tasks to others, then end its agent
    #[command(after_help = LEAVE_EXAMPLES)]
    Leave {
        /// Go in any case: what nobody takes over in time is stopped
        #[arg(long, short)]
        force: bool,
        /// Seconds that the others have to take its tasks over [default: leave_timeout_s]
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u32>,
    },
    /// Register, list, show and take back task definitions
    #[command(subcommand, visible_alias = "td", alias = "task-definitions")]
    TaskDefinition(TaskDefinitionCommand),
    /// Create, change, delete and show services
    #[command(subcommand, visible_alias = "services")]
    Service(ServiceCommand),
    /// Run tasks once
    #[command(after_help = runs::EXAMPLES)]
    Run(Box<RunArgs>),
    /// List, show, await and stop runs
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Begin runs by the clock
    #[command(subcommand, visible_alias = "schedules")]
    Schedule(ScheduleCommand),
    /// List, show and stop tasks; their logs, commands in them, their files
    #[command(subcommand, visible_alias = "tasks")]
    Task(TaskCommand),
    /// List the images that this host's agent pulled, and pull more ahead of their use
    #[command(subcommand, visible_alias = "images")]
    Image(ImageCommand),
    /// Show what has happened in the cluster, and with --follow what happens
    #[command(
        after_help = "Examples:\n  holdfast events\n  holdfast events --follow -o json\n  \
        holdfast events --service web --kind task"
    )]
    Events(EventsArgs),
    /// Keep secrets for tasks in the cluster
    #[command(subcommand, visible_alias = "secrets")]
    Secret(SecretCommand),
    /// Keep files for tasks in the cluster that are no secrets
    #[command(subcommand, visible_alias = "configs")]
    Config(ConfigCommand),
    /// Make cluster keys, and rotate those in use
    #[command(subcommand, visible_alias = "keys")]
    Key(KeyCommand),
    /// Have aws, SDKs and Terraform ask this host's agent
    #[command(subcommand)]
    Ecs(EcsCommand),
    /// Gather what whoever looks for a bug in Holdfast needs
    #[command(subcommand)]
    Debug(DebugCommand),
    /// Print a script that completes commands in your shell
    #[command(after_help = "Examples:\n  source <(holdfast completions bash)\n  \
        holdfast completions zsh > ~/.zfunc/_holdfast")]
    Completions { shell: clap_complete::Shell },
    /// Take up, once, what this EC2 instance was given: user-data, zone, tags (for the unit)
    #[command(hide = true, after_help = "Examples:\n  holdfast first-boot")]
    FirstBoot {
        /// Of the agent, which reads it there
        #[arg(long, env = "STATE_DIRECTORY", default_value = "/var/lib/holdfast")]
        state_dir: PathBuf,
        /// A metadata service to ask wherever this is
        #[arg(long, value_name = "IP:PORT")]
        imds: Option<SocketAddr>,
    },
    /// Write the manual pages, one for each command, into a directory (for packages)
    #[command(hide = true, after_help = "Examples:\n  holdfast man target/man")]
    Man { directory: PathBuf },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// List all hosts
    #[command(visible_alias = "list", after_help = "Examples:\n  holdfast host ls")]
    Ls,
    /// Show one host and its tasks
    #[command(
        alias = "inspect",
        after_help = "Examples:\n  holdfast host show alpha"
    )]
    Show {
        /// Its name, its id, or the beginning of its id
        host: String,
    },
    /// Move all tasks away from hosts, and give them no more
    #[command(after_help = "Examples:\n  holdfast host drain alpha --wait\n  \
        holdfast host drain alpha beta --wait --timeout 600")]
    Drain {
        /// Their names, ids, or the beginnings of their ids
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,
        #[command(flatten)]
        wait: EmptyArgs,
    },
    /// Let drained hosts take tasks again
    #[command(after_help = "Examples:\n  holdfast host activate alpha")]
    Activate {
        /// Their names, ids, or the beginnings of their ids
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,
    },
    /// Remove hosts that are gone from the cluster's records
    #[command(
        visible_alias = "rm",
        alias = "deregister",
        after_help = "Examples:\n  holdfast host forget alpha\n\n\
        A host that comes back all the same registers anew."
    )]
    Forget {
        /// Their names, ids, or the beginnings of their ids
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,
        /// Also one that is up
        #[arg(long, short)]
        force: bool,
    },
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct EmptyArgs {
    /// Wait until no task is left there
    #[arg(long, short)]
    pub(crate) wait: bool,
    /// Seconds to wait at most
    #[arg(long, default_value_t = 300, requires = "wait", value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskDefinitionCommand {
    /// Register a new revision from a file in ECS's JSON
    #[command(
        visible_alias = "create",
        after_help = "Examples:\n  \
        holdfast task-definition register web.json\n  \
        jq '.taskDefinition' exported.json | holdfast td register -\n\n\
        The file is what `aws ecs register-task-definition --cli-input-json` takes."
    )]
    Register {
        /// The file, or - for standard input
        file: PathBuf,
    },
    /// List the revisions of all families, or of one
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  holdfast td ls\n  \
        holdfast td ls web"
    )]
    Ls { family: Option<String> },
    /// Show a task definition in ECS's JSON
    #[command(
        alias = "inspect",
        after_help = "Examples:\n  holdfast td show web\n  \
        holdfast td show web:3"
    )]
    Show {
        /// FAMILY (its latest revision) or FAMILY:REVISION
        definition: String,
    },
    /// Have nothing new made of a revision; what is made of it goes on
    #[command(after_help = "Examples:\n  holdfast td deregister web:3")]
    Deregister {
        /// FAMILY:REVISION
        definition: String,
    },
    /// Forget revisions that were deregistered, each once nothing is made of it any more
    #[command(
        visible_alias = "delete",
        after_help = "Examples:\n  holdfast td deregister web:3 && holdfast td rm web:3"
    )]
    Rm {
        /// FAMILY:REVISION, up to 10 of them
        #[arg(required = true)]
        definitions: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Create a service: keep so many copies of a task definition running
    #[command(after_help = "Examples:\n  \
        holdfast service create web --task-definition web:3 --count 3 --wait\n  \
        holdfast service create --cli-input-json service.json\n\n\
        The file is what `aws ecs create-service --cli-input-json` takes.")]
    Create(CreateArgs),
    /// Set how many copies are to run
    #[command(after_help = "Examples:\n  holdfast service scale web 5\n  \
        holdfast service scale web=0 --wait")]
    Scale {
        /// The service's name, or NAME=COUNT
        name: String,
        count: Option<u32>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Change the task definition, the count or the options of a service
    #[command(after_help = "Examples:\n  \
        holdfast service update web --task-definition web:4 --wait\n  \
        holdfast service update web --count 5\n  \
        holdfast service update web --force-new-deployment --wait\n  \
        holdfast service update web --replace-after 30s --partition hold")]
    Update {
        name: String,
        /// FAMILY (its latest revision) or FAMILY:REVISION
        #[arg(long, visible_alias = "td", value_name = "DEFINITION")]
        task_definition: Option<String>,
        /// How many copies are to run
        #[arg(long, alias = "desired-count")]
        count: Option<u32>,
        /// Replace all its tasks, though nothing else changes; tags of images are looked up anew
        #[arg(long)]
        force_new_deployment: bool,
        #[command(flatten)]
        options: OptionArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Delete services, which stops their tasks
    #[command(visible_aliases = ["delete", "remove"], after_help = "Examples:\n  \
        holdfast service rm web --force")]
    Rm {
        #[arg(required = true)]
        names: Vec<String>,
        /// Also where the service is not scaled to 0
        #[arg(long, short)]
        force: bool,
    },
    /// Show the next move that would spread a service more evenly over the hosts
    #[command(
        after_help = "Examples:\n  holdfast service rebalance web --dry-run\n\n\
        With rebalancing on, which it is unless it was switched off, such moves come by themselves."
    )]
    Rebalance {
        name: String,
        /// Only show it; nothing else is served
        #[arg(long, required = true)]
        dry_run: bool,
    },
    /// List all services
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  holdfast service ls"
    )]
    Ls,
    /// Show a service slot by slot, and why it is as it is
    #[command(visible_alias = "why", alias = "inspect")]
    #[command(after_help = "Examples:\n  holdfast service show web\n  holdfast service why web")]
    Show { name: String },
    /// Wait until a service runs as many copies as it should
    #[command(after_help = "Examples:\n  holdfast service wait web --timeout 60")]
    Wait {
        name: String,
        /// Seconds to wait at most
        #[arg(long, default_value_t = 300, value_name = "SECONDS")]
        timeout: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The new service's name; CLUSTER/NAME in another cluster than the agents' own
    #[arg(required_unless_present = "cli_input_json")]
    pub(crate) name: Option<String>,
    /// FAMILY (its latest revision) or FAMILY:REVISION
    #[arg(long, visible_alias = "td", value_name = "DEFINITION")]
    #[arg(required_unless_present = "cli_input_json")]
    pub(crate) task_definition: Option<String>,
    /// How many copies are to run
    #[arg(long, alias = "desired-count", alias = "replicas")]
    #[arg(required_unless_present = "cli_input_json")]
    pub(crate) count: Option<u32>,
    #[command(flatten)]
    pub(crate) options: OptionArgs,
    /// ECS's JSON, or - for standard input; the other arguments replace what it says
    #[arg(long, value_name = "FILE")]
    pub(crate) cli_input_json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct OptionArgs {
    /// How long a host is to be silent before its slots go to others: down (as soon as its
    /// observers agree), never, or a time such as 15s or 5m
    #[arg(long, value_name = "WHEN")]
    pub(crate) replace_after: Option<String>,
    /// What happens on the sides of a partition: fill (each holds the full count), hold (nothing
    /// that is merely out of reach is replaced) or majority (only the side with more than half of
    /// the hosts runs copies)
    #[arg(long, value_name = "POLICY")]
    pub(crate) partition: Option<String>,
    /// Whether slots move to hosts that joined: on or off
    #[arg(long, value_name = "on|off", value_parser = ["on", "off"])]
    pub(crate) rebalance: Option<String>,
    /// How a slot moves to another definition or host: start-first (the old copy serves until the
    /// new one does) or stop-first (never two at a time)
    #[arg(long, value_name = "ORDER")]
    pub(crate) hand_over: Option<String>,
    /// For so long after its start nobody minds that a task is unhealthy
    #[arg(long, value_name = "SECONDS")]
    pub(crate) health_check_grace_period_seconds: Option<u32>,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait until as many copies run as are wanted
    #[arg(long, short)]
    pub(crate) wait: bool,
    /// Seconds to wait at most
    #[arg(long, default_value_t = 300, requires = "wait", value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List tasks; those that stopped within the hour with --stopped or --all
    #[command(visible_aliases = ["list", "ps"], after_help = "Examples:\n  holdfast task ls\n  \
        holdfast task ls --service web --all\n  holdfast task ls --host alpha")]
    Ls {
        /// Only those of this service
        #[arg(long)]
        service: Option<String>,
        /// Only those on this host (its name or the beginning of its id)
        #[arg(long)]
        host: Option<String>,
        /// Only those of this family of task definitions
        #[arg(long)]
        family: Option<String>,
        /// Only those that stopped
        #[arg(long, conflicts_with = "all")]
        stopped: bool,
        /// Also those that stopped
        #[arg(long, short)]
        all: bool,
    },
    /// Show one task
    #[command(
        alias = "inspect",
        after_help = "Examples:\n  holdfast task show 3f2a9c01d4"
    )]
    Show {
        /// Its id, the beginning of its id, or its ARN
        task: String,
    },
    /// Stop one task; a service replaces it
    #[command(after_help = "Examples:\n  \
        holdfast task stop 3f2a9c01d4 --reason 'it leaks memory'")]
    Stop {
        /// Its id, the beginning of its id, or its ARN
        task: String,
        /// Shown wherever the task is described
        #[arg(long)]
        reason: Option<String>,
    },
    /// Show what a task's containers, or all of a service, have said, and with --follow say
    #[command(visible_alias = "log", after_help = reach::LOGS_EXAMPLES)]
    Logs(LogsArgs),
    /// Run a command in a container of a task
    #[command(after_help = reach::EXEC_EXAMPLES)]
    Exec(ExecArgs),
    /// Copy files out of a container of a task, or into it
    #[command(visible_alias = "copy", after_help = reach::CP_EXAMPLES)]
    Cp(CpArgs),
    /// Show what tasks use of their hosts
    #[command(after_help = reach::STATS_EXAMPLES)]
    Stats(StatsArgs),
    /// Show the processes of a task
    #[command(after_help = reach::TOP_EXAMPLES)]
    Top(TopArgs),
    /// Keep a service's task from being stopped for a smaller count, an update or a better place
    #[command(after_help = "Examples:\n  holdfast task protect 3f2a9c01d4 --minutes 30")]
    Protect {
        /// Its id, the beginning of its id, or its ARN
        task: String,
        /// For how long: 1 to 2880
        #[arg(long, default_value_t = limits::PROTECTION_MINUTES_DEFAULT)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=2_880))]
        minutes: u32,
    },
    /// Let a protected task be stopped again
    #[command(after_help = "Examples:\n  holdfast task unprotect 3f2a9c01d4")]
    Unprotect {
        /// Its id, the beginning of its id, or its ARN
        task: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List the images that this host's agent pulled, and what uses them
    #[command(visible_alias = "list", after_help = "Examples:\n  holdfast image ls")]
    Ls,
    /// Pull images to this host or to others, before any task needs them
    #[command(
        after_help = "Examples:\n  holdfast image pull web:2 registry.internal/db:7\n  \
        holdfast image pull web:2 --all\n  holdfast image pull web:2 --host alpha --host beta\n\n\
        It waits, and fails if a host cannot pull one of them. They stay until a first use. Who \
        stops waiting stops no pull."
    )]
    Pull {
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
        /// To this host (its name or the beginning of its id); may be given several times
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
        /// To all hosts
        #[arg(long, short, conflicts_with = "hosts")]
        all: bool,
    },
    /// Take out of a machine image what only one host may have, at the end of baking it
    #[command(
        after_help = "Examples:\n  holdfast image seal\n  holdfast image seal --root /mnt\n\n\
        It removes Holdfast's identity and state, and the machine's id and seeds. It fails and \
        changes nothing if hosts would share a cluster key or SSH host keys, or while an agent \
        runs on that state."
    )]
    Seal {
        /// Where the image's file system is
        #[arg(long, value_name = "DIRECTORY", default_value = "/")]
        root: PathBuf,
        /// The cluster's key is to be in the image: whoever has the image can join
        #[arg(long)]
        allow_key: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on with what happens from now on
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only what came after the event with this sequence
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) after: Option<u64>,
    /// Only of this service and its tasks, or of schedule/NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Only of this task, by the beginning of its id
    #[arg(long, value_name = "ID")]
    pub(crate) task: Option<String>,
    /// Only of this host, by its name or id, and of the tasks on it
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only of one kind
    #[arg(long, value_parser = ["task", "host", "service", "deployment"])]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Write what this host's agent was told of late into a file, for the simulator to repeat
    #[command(after_help = "Examples:\n  holdfast debug record\n  \
        sudo holdfast debug record alpha.hfrec\n\n\
        After a panic there is one already: in recordings, in the state directory.")]
    Record {
        /// Also copy it here, for you alone; only root can
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key, for a new cluster or for the next rotation
    #[command(
        visible_alias = "generate",
        after_help = "Examples:\n  \
        (umask 077 && holdfast key new > /etc/holdfast/cluster.key)"
    )]
    New,
    /// List the cluster's keys by their ids, and which hosts have them and seal with them
    #[command(visible_alias = "list", after_help = "Examples:\n  holdfast key ls")]
    Ls,
    /// Give all hosts one more key, which they accept and do not seal with yet
    #[command(
        after_help = "Examples:\n  holdfast key new | tee new.key | holdfast key install -\n\n\
        Rotation is install, use, remove, with a look at `holdfast key ls` after each."
    )]
    Install {
        /// File with the key, or - for standard input
        file: PathBuf,
    },
    /// Have all hosts seal with a key that all of them have
    #[command(after_help = "Examples:\n  holdfast key use 56fac5b2")]
    Use {
        /// Its id, or the beginning of its id
        key: String,
        /// Also where a host that is up lacks the key
        #[arg(long, short)]
        force: bool,
    },
    /// Take a key away from all hosts, which then no longer accept it
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  holdfast key remove 56fac5b2"
    )]
    Remove {
        /// Its id, or the beginning of its id
        key: String,
        /// Also where a host that is down has no other key
        #[arg(long, short)]
        force: bool,
    },
}
