//! What can be typed after `holdfast task` to reach into containers.

use clap::Args;

pub(super) const LOGS_EXAMPLES: &str = "\
Examples:
  holdfast task logs 3f2a9c01d4 --tail 100
  holdfast task logs 3f2a9c01d4 --follow --since 10m
  holdfast task logs --service web --follow --timestamps

Of several containers each line has its container before it; what has been said goes by time, what
is being said as it comes. Stopped tasks have logs while their containers are there
(stopped_container_retention_s).";

pub(super) const EXEC_EXAMPLES: &str = "\
Examples:
  holdfast task exec -it 3f2a9c01d4 sh
  holdfast task exec 3f2a9c01d4 --container web -- nginx -t
  pg_dump shop | holdfast task exec -i 3f2a9c01d4 psql shop

The exit code is the command's.";

pub(super) const CP_EXAMPLES: &str = "\
Examples:
  holdfast task cp 3f2a9c01d4:/var/log/app.log .
  holdfast task cp nginx.conf 3f2a9c01d4:web:/etc/nginx/
  holdfast task cp 3f2a9c01d4:/data - | tar t

As `docker cp`: where the target is a directory, the source goes into it; a source that ends in /.
means what is in it. - is a tar archive on standard input or output.";

pub(super) const STATS_EXAMPLES: &str = "\
Examples:
  holdfast task stats
  holdfast task stats --service web
  holdfast task stats 3f2a9c01d4 --no-stream -o json";

pub(super) const TOP_EXAMPLES: &str = "\
Examples:
  holdfast task top 3f2a9c01d4
  holdfast task top 3f2a9c01d4 --container web -- -eo pid,rss,args";

#[derive(Clone, Debug, Args)]
pub(crate) struct LogsArgs {
    /// Its id, the beginning of its id, or its ARN
    #[arg(required_unless_present = "service", conflicts_with = "service")]
    pub(crate) task: Option<String>,
    /// All running tasks of this service; with --follow, also those that come
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Only this container
    #[arg(long, short, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Go on with what is said from now on
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// From then on: 10m (ago), 2026-11-23T02:26:08Z, or seconds since 1970
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Up to then
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// Only so many of the last lines of each container, or all
    #[arg(long, short = 'n', value_name = "LINES", default_value = "all")]
    pub(crate) tail: String,
    /// Begin each line with when it was said
    #[arg(long, short)]
    pub(crate) timestamps: bool,
    /// Do not say which container a line is of
    #[arg(long, alias = "no-prefix")]
    pub(crate) no_log_prefix: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExecArgs {
    /// Its id, the beginning of its id, or its ARN
    pub(crate) task: String,
    /// In this container; not needed where the task has one only
    #[arg(long, short, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Pass standard input on
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// As this user of the container, by name or id, also USER:GROUP
    #[arg(long, short)]
    pub(crate) user: Option<String>,
    /// In this directory of the container
    #[arg(long, short, value_name = "DIRECTORY")]
    pub(crate) workdir: Option<String>,
    /// Set a variable of its environment; may be given several times
    #[arg(long = "env", short, value_name = "NAME=VALUE")]
    pub(crate) environment: Vec<String>,
    /// What to run, with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CpArgs {
    /// TASK:[CONTAINER:]PATH, a path here, or - for a tar archive
    pub(crate) source: String,
    /// The same
    pub(crate) target: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct StatsArgs {
    /// Their ids, the beginnings of their ids, or their ARNs; all running tasks where none is given
    #[arg(value_name = "TASK", conflicts_with = "service")]
    pub(crate) tasks: Vec<String>,
    /// All running tasks of this service
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Show it once, and end
    #[arg(long)]
    pub(crate) no_stream: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TopArgs {
    /// Its id, the beginning of its id, or its ARN
    pub(crate) task: String,
    /// Only this container
    #[arg(long, short, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Options of ps
    #[arg(last = true, value_name = "PS OPTIONS")]
    pub(crate) ps_args: Vec<String>,
}
