//! Schedules whose keepers are lost, stand still or are cut off when a tick comes.

use super::{Case, Told, expect};
use crate::{
    cluster::{Cluster, SECOND},
    liveness::CONVERGE_MAX,
    planted::Planted::Core,
    ticks::Recurring,
    workload::definition,
};
use holdfast_core::{
    cluster::schedule::{Overlap, Ticked, keeper_id},
    planted::Bug,
    spec::run::{OnLost, RunOptions},
};

pub(super) const CASES: &[Case] = &[
    Case {
        number: 44,
        name: "a schedule's keeper lost just before a tick",
        agents: 5,
        story: lost,
        bug: Core(Bug::DropsLateTicks),
        caught_by: "the ticks are",
    },
    Case {
        number: 44,
        name: "a keeper whose agent alone is killed just before a tick",
        agents: 5,
        story: agent_killed,
        bug: Core(Bug::DropsLateTicks),
        caught_by: "the ticks are",
    },
    Case {
        number: 44,
        name: "a schedule's keeper that stood still for three ticks",
        agents: 5,
        story: stood_still,
        bug: Core(Bug::TicksWithoutListening),
        caught_by: "the ticks are",
    },
    Case {
        number: 44,
        name: "two sides of a split that both run a tick",
        agents: 5,
        story: split,
        bug: Core(Bug::NamesRunsAnew),
        caught_by: "is run as",
    },
    Case {
        number: 45,
        name: "runs that may not overlap",
        agents: 3,
        story: overlapping,
        bug: Core(Bug::LetsRunsOverlap),
        caught_by: "the ticks are",
    },
];

const NAME: &str = "minutely";
/// When it is set; a tick comes each minute from then on.
const SET_AT: u64 = 8 * SECOND;
const MINUTE: u64 = 60 * SECOND;

/// A schedule each of whose runs takes so many seconds.
fn begin(cluster: &mut Cluster, overlap: Overlap, seconds: u32) -> Told {
    cluster.run_until(6 * SECOND)?;
    cluster.register(0, definition("endless", 1));
    cluster.run_until(SET_AT)?;
    let recurring = Recurring {
        expression: "rate(1 minute)".to_owned(),
        family: "endless".to_owned(),
        count: 1,
        options: RunOptions {
            timeout_s: Some(seconds),
            on_lost: OnLost::Report,
            ..RunOptions::default()
        },
        overlap,
    };
    cluster.set_schedule(0, NAME, &recurring);
    cluster.run_until(SET_AT + 5 * SECOND)
}

fn keeper(cluster: &Cluster) -> Result<usize, String> {
    let agents = cluster.hosts.iter().filter_map(|host| host.agent.as_ref());
    let agent = agents.take(1).next().ok_or("there is no agent")?;
    let keeper = agent.keeper_of(keeper_id(NAME));
    let place = cluster
        .hosts
        .iter()
        .position(|host| Some(host.id) == keeper);
    place.ok_or_else(|| "nobody keeps the schedule".to_owned())
}

/// What became of the ticks so far, by the board of whoever is there: `b` for one that was run, `f`
/// for one that was not since an earlier run went on, `m` for one that was missed.
fn ticks(cluster: &Cluster, wanted: &str) -> Told {
    for (place, host) in cluster.hosts.iter().enumerate() {
        let Some(board) = cluster.board(place).filter(|_| !host.lost) else {
            continue;
        };
        let ticks = board.ticks(NAME).ok_or("no tick is known")?;
        let letter = |what: &Ticked| match what {
            Ticked::Begun(_) => 'b',
            Ticked::Forbidden(_) => 'f',
            Ticked::Missed => 'm',
            Ticked::Failed(_) => '!',
        };
        let found: String = ticks.last.iter().map(|tick| letter(&tick.what)).collect();
        expect(found == wanted, || {
            format!("the ticks are {found} instead of {wanted} on h{place}")
        })?;
        // No clock is right, and each schedule goes by that of the host where it was set.
        let first = ticks.last.first().map_or(0, |tick| tick.at.0);
        let on_time = (0..)
            .zip(&ticks.last)
            .all(|(number, tick)| tick.at.0 == first + number * MINUTE / 1_000);
        expect(on_time, || format!("the ticks are at {:?}", ticks.last))?;
    }
    Ok(())
}

fn starts(cluster: &Cluster, wanted: u64) -> Told {
    let found = cluster.stats.starts;
    expect(found == wanted, || {
        format!("{found} starts instead of {wanted}")
    })
}

/// At a time of the schedule's: so long after it was set.
fn until(cluster: &mut Cluster, since: u64) -> Told {
    cluster.run_until(SET_AT + since)
}

fn lost(cluster: &mut Cluster) -> Told {
    begin(cluster, Overlap::Allow, 5)?;
    until(cluster, 2 * MINUTE - SECOND / 10)?;
    let keeper = keeper(cluster)?;
    cluster.lose_host(keeper);
    until(cluster, 2 * MINUTE + 20 * SECOND)?;
    ticks(cluster, "bb")?;
    starts(cluster, 2)?;
    until(cluster, 3 * MINUTE + 30 * SECOND)?;
    cluster.converge(CONVERGE_MAX)?;
    ticks(cluster, "bbb")
}

/// Its machine is there, so nothing is moved for a while; the tick is run all the same.
fn agent_killed(cluster: &mut Cluster) -> Told {
    begin(cluster, Overlap::Allow, 5)?;
    until(cluster, 2 * MINUTE - SECOND / 10)?;
    let keeper = keeper(cluster)?;
    cluster.crash(keeper);
    until(cluster, 2 * MINUTE + 12 * SECOND)?;
    ticks(cluster, "bb")?;
    starts(cluster, 2)?;
    cluster.restart(keeper);
    until(cluster, 3 * MINUTE + 30 * SECOND)?;
    cluster.converge(CONVERGE_MAX)?;
    ticks(cluster, "bbb")
}

/// It slept like a machine that was suspended: whatever was sent to it meanwhile is lost, too.
fn stood_still(cluster: &mut Cluster) -> Told {
    begin(cluster, Overlap::Forbid, 150)?;
    until(cluster, MINUTE + 20 * SECOND)?;
    let keeper = keeper(cluster)?;
    cluster.partition(&[keeper]);
    cluster.freeze(keeper);
    until(cluster, 4 * MINUTE + 20 * SECOND)?;
    cluster.heal();
    until(cluster, 5 * MINUTE + 20 * SECOND)?;
    ticks(cluster, "bffbf")?;
    starts(cluster, 2)?;
    cluster.converge(CONVERGE_MAX).map(drop)
}

fn split(cluster: &mut Cluster) -> Told {
    begin(cluster, Overlap::Allow, 20)?;
    until(cluster, MINUTE - 5 * SECOND)?;
    let keeper = keeper(cluster)?;
    cluster.partition(&[keeper, (keeper + 1) % 5]);
    until(cluster, MINUTE + 5 * SECOND)?;
    // Each side begins it, as nobody there can know of the other.
    starts(cluster, 2)?;
    cluster.heal();
    until(cluster, 2 * MINUTE + 30 * SECOND)?;
    cluster.converge(CONVERGE_MAX)?;
    ticks(cluster, "bb")?;
    starts(cluster, 3)
}

fn overlapping(cluster: &mut Cluster) -> Told {
    begin(cluster, Overlap::Forbid, 90)?;
    until(cluster, 4 * MINUTE + 30 * SECOND)?;
    ticks(cluster, "bfbf")?;
    starts(cluster, 2)
}
