//! How soon a change that was asked of one agent is seen at all others.

use crate::{
    idle::{has_serf, start_serfs},
    rival::{EVERYWHERE, HOSTS},
    trials::{Row, Trials, Unit},
};
use e2e::{
    crew,
    host::{Host, text_of},
    lab::fleet::LabFleet,
    skip,
    wait::{pass, secs},
};
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Of each kind, in a trial; each at another agent.
const WRITES: u64 = 6;
/// Between two looks at an agent.
const PAUSE: Duration = Duration::from_micros(500);
/// Between two changes: no multiple of anything that agents do now and then.
const BETWEEN: Duration = Duration::from_millis(37);
const SEEN_WITHIN_S: u64 = 10;
const SEEN_MS_MAX: f64 = 100.0;
const KINDS: [(Kind, &str); 3] = [
    (
        Kind::Register,
        "RegisterTaskDefinition → seen at all other agents",
    ),
    (Kind::Create, "CreateService → seen at all other agents"),
    (Kind::Update, "UpdateService → seen at all other agents"),
];
const ALL: &str = "… 99 % of all of them";
const SERF: &str = "serf";
const TAG: &str = "a host's tag set → seen at all other agents";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Register,
    Create,
    Update,
}

pub(crate) fn seen(trials: usize) -> Option<Vec<Row>> {
    let mut fleet = LabFleet::up(HOSTS, &[])?;
    fleet.start_all();
    fleet.create_service("web", 0);
    let (mut took, mut all) = (KINDS.map(|_| Trials::default()), Vec::new());
    for number in 0..trials as u64 * WRITES {
        for ((kind, _), trials) in KINDS.iter().zip(&mut took) {
            let ms = kind.measure(&fleet.hosts, number);
            trials.push(ms);
            all.push(ms);
            pass(BETWEEN);
        }
    }
    let row = |what, who, trials| {
        let row = Row::new(what, who, Unit::TenthsOfMilliseconds, trials);
        row.waited_at_most(SEEN_WITHIN_S)
    };
    let aims = |row: Row| row.aims_at(SEEN_MS_MAX, "≤ 100 ms");
    let rows = KINDS.iter().zip(took);
    let mut rows: Vec<Row> = rows
        .map(|((_, what), trials)| aims(row(what, "Holdfast", trials)))
        .collect();
    all.sort_by(f64::total_cmp);
    let mut late = Trials::default();
    late.push(all[(all.len() * 99 / 100).min(all.len() - 1)]);
    rows.push(row(ALL, "Holdfast", late));
    drop(fleet);
    if has_serf() {
        rows.push(row(TAG, SERF, serfs(trials)?));
    } else {
        skip("serf is not installed: it has no rows");
    }
    Some(rows)
}

impl Kind {
    fn measure(self, hosts: &[Host], number: u64) -> f64 {
        let by = number as usize % hosts.len();
        let name = format!("seen-{number}");
        let definition = crew::definition(&name);
        let (operation, body) = match self {
            Self::Register => ("RegisterTaskDefinition", definition),
            Self::Create => (
                "CreateService",
                json!({"serviceName": name, "taskDefinition": name, "desiredCount": 0}),
            ),
            Self::Update => (
                "UpdateService",
                json!({"service": name, "healthCheckGracePeriodSeconds": number + 1}),
            ),
        };
        let write = || {
            let done = hosts[by].ecs(operation, &body);
            done.unwrap_or_else(|refused| panic!("{operation}: {refused:?}"));
        };
        let others = hosts.iter().enumerate().filter(|(host, _)| *host != by);
        let looks =
            others.map(|(_, host)| move || self.is_seen(host, &format!("seen-{number}"), number));
        until_seen(write, looks)
    }

    /// By what an agent answers at once: some answers wait a little for what is on its way.
    fn is_seen(self, host: &Host, name: &str, number: u64) -> bool {
        match self {
            Self::Register => {
                let told = host.look(&format!("/v1/task-definitions?family={name}"));
                told["taskDefinitions"]
                    .as_array()
                    .is_some_and(|all| !all.is_empty())
            }
            Self::Create => host.look(&format!("/v1/services/{name}")) != Value::Null,
            Self::Update => {
                let told = host.look(&format!("/v1/services/{name}"));
                told["service"]["healthCheckGracePeriodSeconds"] == number + 1
            }
        }
    }
}

/// From the request until the last of them sees it, in ms.
fn until_seen<F: Fn() -> bool + Send>(write: impl FnOnce(), looks: impl Iterator<Item = F>) -> f64 {
    let limit = secs(SEEN_WITHIN_S);
    thread::scope(|scope| {
        let begun = Instant::now();
        let lookers = looks.map(|is_seen| {
            scope.spawn(move || {
                while !is_seen() {
                    if begun.elapsed() > limit {
                        return f64::INFINITY;
                    }
                    pass(PAUSE);
                }
                begun.elapsed().as_secs_f64() * 1e3
            })
        });
        let lookers: Vec<_> = lookers.collect();
        write();
        let seen = lookers.into_iter().map(|one| one.join());
        let seen = seen.map(|one| one.expect("it does not panic"));
        seen.fold(0.0, f64::max)
    })
}

/// By its own command line, which takes some ms.
fn serfs(trials: usize) -> Option<Trials> {
    let fleet = LabFleet::up(HOSTS, &[])?;
    start_serfs(&fleet);
    let mut took = Trials::default();
    for number in 0..trials as u64 * WRITES {
        let by = number as usize % EVERYWHERE.len();
        let fleet = &fleet;
        let tag = format!("number={number}");
        let set = || {
            let said = asked(fleet, by, &["tags", "-set", &tag]);
            assert!(said.contains("Success"), "{said}");
        };
        let others = EVERYWHERE.into_iter().filter(|host| *host != by);
        let looks = others.map(|host| {
            let tag = tag.clone();
            move || asked(fleet, host, &["members", "-tag", &tag]).contains("alive")
        });
        took.push(until_seen(set, looks));
        pass(BETWEEN);
    }
    Some(took)
}

fn asked(fleet: &LabFleet, host: usize, words: &[&str]) -> String {
    let words: Vec<_> = [SERF]
        .iter()
        .chain(words)
        .map(|word| (*word).to_owned())
        .collect();
    let command = fleet.ground(host).command(&words);
    let output = command.map(|mut command| command.output());
    match output {
        Ok(Ok(output)) => text_of(&output.stdout),
        failed => panic!("{words:?}: {failed:?}"),
    }
}
