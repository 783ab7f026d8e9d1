//! Tasks that run once: lost with their host, ended while nobody looked, and kept to their time.

use super::{Case, Told, expect, runs};
use crate::{
    cluster::{Cluster, SECOND},
    liveness::CONVERGE_MAX,
    planted::Planted::Core,
    workload::definition,
};
use holdfast_core::{
    cluster::run::Ended,
    planted::Bug,
    spec::run::{OnLost, RunOptions},
};

pub(super) const CASES: &[Case] = &[
    Case {
        number: 41,
        name: "host lost with a task that is only to be reported",
        agents: 5,
        story: reported,
        bug: Core(Bug::RunsTheLostAgain),
        caught_by: "has not ended",
    },
    Case {
        number: 41,
        name: "hosts cut off with tasks of a run, and back",
        agents: 5,
        story: cut_off,
        bug: Core(Bug::RunsTheLostAgain),
        caught_by: "are lost instead of",
    },
    Case {
        number: 42,
        name: "tasks that have ended, while agents come and go",
        agents: 5,
        story: ended,
        bug: Core(Bug::RunsWhatHasEnded),
        caught_by: "",
    },
    Case {
        number: 43,
        name: "a task that does not end by itself",
        agents: 3,
        story: timed_out,
        bug: Core(Bug::ForgetsTheTime),
        caught_by: "has not ended",
    },
];

/// A cluster that has begun `count` tasks of this family, all of which run.
fn begin(cluster: &mut Cluster, family: &str, count: u32, options: RunOptions) -> Told {
    cluster.run_until(6 * SECOND)?;
    cluster.register(0, definition(family, 1));
    cluster.run_once(0, family, count, options);
    while cluster.running() < count as usize && cluster.now < 12 * SECOND {
        cluster.run_for(SECOND / 10)?;
    }
    runs(cluster, count as usize)
}

fn starts(cluster: &Cluster, wanted: u64) -> Told {
    let found = cluster.stats.starts;
    expect(found == wanted, || {
        format!("{found} starts instead of {wanted}")
    })
}

/// How it ended with all slots, in their order.
fn ends(cluster: &Cluster, wanted: &[Ended]) -> Told {
    let board = cluster.board(0).ok_or("h0 has no agent")?;
    let (id, run) = board.runs().next().ok_or("there is no run")?;
    let slots = (0..).zip(&run.tasks).map(|(index, _)| {
        let (_, slot) = board.slot(id, index)?;
        slot.end.as_ref().map(|end| end.how)
    });
    let found: Vec<_> = slots.collect();
    let wanted: Vec<_> = wanted.iter().copied().map(Some).collect();
    expect(found == wanted, || {
        format!("the slots are {found:?} instead of {wanted:?}")
    })
}

const REPORTED: RunOptions = RunOptions {
    retries: 5,
    timeout_s: None,
    on_lost: OnLost::Report,
    remove: false,
};

fn reported(cluster: &mut Cluster) -> Told {
    begin(cluster, "endless", 1, REPORTED)?;
    let host = (0..5).find(|host| cluster.running_on(*host) > 0);
    cluster.lose_host(host.ok_or("nothing runs")?);
    cluster.run_for(10 * SECOND)?;
    cluster.converge(CONVERGE_MAX)?;
    starts(cluster, 1)
}

/// Of five hosts with a task each, two are cut off: they are given up for lost, and are not.
fn cut_off(cluster: &mut Cluster) -> Told {
    use Ended::{Lost, TimedOut};
    let options = RunOptions {
        timeout_s: Some(60),
        retries: 0,
        ..REPORTED
    };
    begin(cluster, "endless", 5, options)?;
    cluster.partition(&[3, 4]);
    cluster.run_for(20 * SECOND)?;
    let board = cluster.board(0).ok_or("h0 has no agent")?;
    let lost = board.all_slots().filter(|(.., slot)| {
        let end = slot.end.as_ref();
        end.is_some_and(|end| end.how == Lost)
    });
    let lost = lost.count();
    expect(lost == 2, || format!("{lost} are lost instead of 2"))?;
    cluster.heal();
    cluster.run_for(10 * SECOND)?;
    runs(cluster, 5)?;
    cluster.run_for(40 * SECOND)?;
    cluster.converge(CONVERGE_MAX)?;
    starts(cluster, 5)?;
    ends(cluster, &[TimedOut; 5])
}

/// Each agent is killed and comes back, while or after its tasks end.
fn ended(cluster: &mut Cluster) -> Told {
    begin(cluster, "once", 5, RunOptions::default())?;
    for host in 0..5 {
        cluster.crash(host);
        cluster.run_for(SECOND)?;
        cluster.restart(host);
        cluster.run_for(2 * SECOND)?;
    }
    cluster.converge(CONVERGE_MAX)?;
    starts(cluster, 5)?;
    ends(cluster, &[Ended::Succeeded; 5])?;
    // Two hours later nothing is left of it, and nothing was begun again.
    cluster.run_for(7_200 * SECOND)?;
    starts(cluster, 5)?;
    let board = cluster.board(0).ok_or("h0 has no agent")?;
    let left = board.runs().count() + board.tasks().count() + board.all_slots().count();
    expect(left == 0, || format!("{left} records are left of the run"))
}

fn timed_out(cluster: &mut Cluster) -> Told {
    let options = RunOptions {
        timeout_s: Some(5),
        retries: 1,
        ..RunOptions::default()
    };
    begin(cluster, "endless", 3, options)?;
    cluster.run_for(20 * SECOND)?;
    cluster.converge(CONVERGE_MAX)?;
    starts(cluster, 6)?;
    ends(cluster, &[Ended::TimedOut; 3])
}
