//! What can be typed of schedules.

use super::InputArgs;
use clap::{ArgGroup, Args, Subcommand};

const SET_EXAMPLES: &str = "\
Examples:
  holdfast schedule set backup --cron '0 3 * * ? *' --timezone Europe/Berlin backup
  holdfast schedule set report --cron '0 9 ? * MON-FRI *' --overlap forbid report:3 -- ./report -v
  holdfast schedule set poll --rate '5 minutes' --timeout 4m poll
  holdfast schedule set move --at 2026-12-24T18:00:00 migrate

An expression is one of EventBridge Scheduler's: six fields of cron (minutes, hours, day of month,
month, day of week, year; one of the days is ?), a rate, or a time. What is to run is said as for
`holdfast run`. A schedule of that name that is there already is replaced.";

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Begin a run at certain times, or again and again
    #[command(after_help = SET_EXAMPLES)]
    Set(Box<SetArgs>),
    /// List the schedules, and when each is to run next
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  holdfast schedule ls"
    )]
    Ls,
    /// Show a schedule, and what became of its last ticks
    #[command(
        alias = "inspect",
        after_help = "Examples:\n  holdfast schedule show backup"
    )]
    Show { name: String },
    /// Remove schedules; what they have begun runs on
    #[command(visible_aliases = ["delete", "remove"],
        after_help = "Examples:\n  holdfast schedule rm backup")]
    Rm {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Let a schedule run again, from now on
    #[command(after_help = "Examples:\n  holdfast schedule enable backup")]
    Enable { name: String },
    /// Have a schedule begin nothing until it is enabled; what it has begun runs on
    #[command(after_help = "Examples:\n  holdfast schedule disable backup")]
    Disable { name: String },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("when").required(true))]
pub(crate) struct SetArgs {
    /// What the schedule is called: 1 to 64 letters, digits, hyphens, underscores or dots
    pub(crate) name: String,
    /// When, in six fields such as '0 3 * * ? *'
    #[arg(long, value_name = "FIELDS", group = "when")]
    pub(crate) cron: Option<String>,
    /// How often, such as '5 minutes', '1 hour' or '2 days', counted from now
    #[arg(long, value_name = "RATE", group = "when")]
    pub(crate) rate: Option<String>,
    /// Once, at a time such as 2026-12-24T18:00:00
    #[arg(long, value_name = "TIME", group = "when")]
    pub(crate) at: Option<String>,
    /// Whose hours and days are meant, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// What happens while an earlier run goes on: allow (both run), forbid (nothing is begun) or
    /// replace (it is stopped) [default: allow]
    #[arg(long, value_name = "WHAT")]
    pub(crate) overlap: Option<String>,
    /// How late a tick may still be run, such as 90s, 10m or 2h [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) deadline: Option<u32>,
    /// Begin nothing until it is enabled
    #[arg(long)]
    pub(crate) disabled: bool,
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

fn seconds(text: &str) -> Result<u32, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_s: Option<u32> = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        _ => None,
    };
    let number: Option<u32> = number.parse().ok();
    let seconds = number.zip(unit_s).and_then(|(n, unit)| n.checked_mul(unit));
    seconds.ok_or_else(|| "it must be a time such as 90s, 10m or 2h".to_owned())
}
