//! What can be typed of runs.

use clap::{Args, Subcommand};
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast run migrate:3 --wait
  holdfast run migrate -e VERSION=7 --wait --rm -- ./migrate --to 7
  holdfast run crawl --count 5 --retries 3 --timeout 2h --on-lost rerun
  holdfast run --cli-input-json run.json

The file is what `aws ecs run-task --cli-input-json` takes. With --wait the exit code is that of the
first task that failed (1 where it has none). If its host is lost, a task is reported LOST and begun
nowhere else, since it may run on unseen, unless --on-lost says rerun.";

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// ECS's startedBy, to find the tasks by
    #[arg(long, value_name = "WHO")]
    pub(crate) started_by: Option<String>,
    /// The same token twice begins one run
    #[arg(long, value_name = "TOKEN")]
    pub(crate) client_token: Option<String>,
    /// Wait until all of its tasks have ended
    #[arg(long, short)]
    pub(crate) wait: bool,
}

/// What is to run, now or when a schedule says so.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// FAMILY (its latest revision) or FAMILY:REVISION
    #[arg(value_name = "DEFINITION", required_unless_present = "cli_input_json")]
    pub(crate) task_definition: Option<String>,
    /// What is run instead of the container's command
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// How many tasks, 1 to 100 [default: 1]
    #[arg(long)]
    pub(crate) count: Option<u32>,
    /// Which container the command and --env are for; not needed where there is one
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// A variable of the container, beside or instead of the definition's
    #[arg(long = "env", short, value_name = "NAME=VALUE")]
    pub(crate) environment: Vec<String>,
    /// CPU units of the whole task
    #[arg(long, value_name = "UNITS")]
    pub(crate) cpu: Option<u32>,
    /// Memory of the whole task
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u32>,
    /// File with ECS's overrides, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) overrides: Option<PathBuf>,
    /// How often a task that fails is begun again [default: 0]
    #[arg(long, value_name = "TIMES")]
    pub(crate) retries: Option<u32>,
    /// How long a task may run, such as 90s, 15m or 2h
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// What becomes of a task whose host is lost: report or rerun (it may then run twice) [default:
    /// report]
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_lost: Option<String>,
    /// ECS's group [default: family:FAMILY]
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// ECS's JSON, or - for standard input; the other arguments replace what it says
    #[arg(long, value_name = "FILE")]
    pub(crate) cli_input_json: Option<PathBuf>,
    /// Keep nothing of the run once it has ended
    #[arg(long)]
    pub(crate) rm: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List the runs that go on or have ended within the last hour, the newest first
    #[command(visible_alias = "list", after_help = "Examples:\n  holdfast runs ls")]
    Ls {
        /// Only those of this family of task definitions
        #[arg(long)]
        family: Option<String>,
    },
    /// Show a run slot by slot
    #[command(
        alias = "inspect",
        after_help = "Examples:\n  holdfast runs show 3f2a9c01d4"
    )]
    Show {
        /// Its id, the beginning of its id, or the id of its first task
        run: String,
    },
    /// Wait until all tasks of a run have ended; the exit code is as of `holdfast run --wait`
    #[command(after_help = "Examples:\n  holdfast runs wait 3f2a9c01d4")]
    Wait {
        /// Its id, the beginning of its id, or the id of its first task
        run: String,
    },
    /// Stop all tasks of a run, and begin none any more
    #[command(after_help = "Examples:\n  holdfast runs stop 3f2a9c01d4 --reason 'wrong version'")]
    Stop {
        /// Its id, the beginning of its id, or the id of its first task
        run: String,
        /// Shown wherever its tasks are described
        #[arg(long)]
        reason: Option<String>,
    },
    /// Forget a run that has ended
    #[command(visible_aliases = ["delete", "remove"],
        after_help = "Examples:\n  holdfast runs rm 3f2a9c01d4")]
    Rm {
        /// Its id, the beginning of its id, or the id of its first task
        run: String,
        /// Also one that goes on: its tasks stop
        #[arg(long, short)]
        force: bool,
    },
}
