//! People who write at once on two sides of a partition: one rule decides, all come to the same,
//! and whoever is overruled is told.

use super::{Case, Told, expect, runs};
use crate::{
    cluster::{Cluster, SECOND},
    liveness::CONVERGE_MAX,
    planted::Planted::Core,
    workload::definition,
};
use holdfast_core::{
    cluster::{
        board::Board,
        tag::{Subject, Tagging},
    },
    command::{Command, Outcome},
    planted::Bug,
};
use std::collections::BTreeSet;

pub(super) const CASES: &[Case] = &[
    Case {
        number: 46,
        name: "a family registered on two sides at once",
        agents: 6,
        story: numbers,
        bug: Core(Bug::KeepsTheLostNumber),
        caught_by: "definitions instead of",
    },
    Case {
        number: 47,
        name: "a service of one name created on two sides at once",
        agents: 6,
        story: names,
        bug: Core(Bug::YieldsInSilence),
        caught_by: "was not told",
    },
    Case {
        number: 48,
        name: "tags put on one thing on two sides at once",
        agents: 6,
        story: tags,
        bug: Core(Bug::HasOneTagForAll),
        caught_by: "is tagged",
    },
    Case {
        number: 49,
        name: "a cluster deleted on one side, and filled on the other",
        agents: 6,
        story: clusters,
        bug: Core(Bug::ForgetsFullClusters),
        caught_by: "has no cluster",
    },
];

/// The sides, as seen from one host each.
const LEFT: usize = 0;
const RIGHT: usize = 3;

/// Which of two words is the earlier one, the hosts' clocks tell: they differ by less than this.
const APART: u64 = 5 * SECOND;

/// Splits the cluster in halves once all know one another.
fn split(cluster: &mut Cluster) -> Told {
    cluster.run_until(6 * SECOND)?;
    cluster.partition(&[0, 1, 2]);
    cluster.run_for(SECOND)
}

/// Then all boards must be equal soon.
fn heal(cluster: &mut Cluster) -> Told {
    cluster.run_for(4 * SECOND)?;
    cluster.mend_network();
    cluster.converge(CONVERGE_MAX).map(|_| ())
}

/// What was answered to the command of this id.
fn answered(cluster: &Cluster, id: u64) -> Result<Outcome, String> {
    let asked = cluster.checks.asked.get(&id);
    match asked.and_then(|asked| asked.answer.as_ref()) {
        Some(Ok(outcome)) => Ok(outcome.clone()),
        other => Err(format!("the command {id} was answered {other:?}")),
    }
}

fn done(cluster: &mut Cluster, place: usize, command: Command) -> Result<Outcome, String> {
    let id = cluster.ask(place, command);
    cluster.run_for(SECOND / 10)?;
    answered(cluster, id)
}

fn tagged(command: Command, tags: &[(&str, &str)]) -> Command {
    Command::Tagged {
        command: Box::new(command),
        set: pairs(tags),
        unset: Vec::new(),
    }
}

fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    tags.iter().map(owned).collect()
}

fn tags_on(board: &Board, subject: &Subject) -> String {
    let tags = board.tags(subject);
    let tags: Vec<_> = tags
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    tags.join(" ")
}

/// Of the hosts, exactly these were told once that their word on this does not hold.
fn told(cluster: &Cluster, about: &str, wanted: &[usize]) -> Told {
    let clashes = cluster.checks.clashes.iter();
    let told = clashes.filter(|(_, what)| what == about);
    let told: Vec<usize> = told.map(|(place, _)| *place).collect();
    match wanted.iter().find(|place| !told.contains(place)) {
        Some(place) => Err(format!(
            "h{place} was not told of {about}, but {told:?} were"
        )),
        None => expect(told.len() == wanted.len(), || {
            format!("{told:?} were told of {about} instead of {wanted:?}")
        }),
    }
}

/// The earlier one keeps the number; the other gets the next, with its tags.
fn numbers(cluster: &mut Cluster) -> Told {
    split(cluster)?;
    let (first, second) = (definition("shop", 1), definition("shop", 2));
    let register = |one| Command::RegisterTaskDefinition(one);
    done(
        cluster,
        LEFT,
        tagged(register(first.clone()), &[("side", "left")]),
    )?;
    cluster.run_for(APART)?;
    done(
        cluster,
        RIGHT,
        tagged(register(second.clone()), &[("side", "right")]),
    )?;
    heal(cluster)?;
    let board = cluster.board(LEFT).ok_or("h0 has no board")?;
    let labels = [1, 2].map(|revision| board.label("shop", revision));
    let found: Vec<_> = labels
        .iter()
        .flatten()
        .map(|label| label.definition)
        .collect();
    expect(found == [first.digest(), second.digest()], || {
        format!("{found:?} are the definitions instead of both, the earlier one first")
    })?;
    for (revision, one, side) in [(1, first, "side=left"), (2, second, "side=right")] {
        let tags = tags_on(board, &Subject::Definition(one.digest(), revision));
        expect(tags == side, || {
            format!("shop:{revision} is tagged {tags:?}")
        })?;
    }
    told(cluster, "the task definition shop:1", &[RIGHT])
}

/// The one that was created first has the name, and its tasks; the other's stop.
fn names(cluster: &mut Cluster) -> Told {
    cluster.run_until(6 * SECOND)?;
    cluster.register(LEFT, definition("web", 1));
    cluster.converge(30 * SECOND)?;
    split(cluster)?;
    cluster.create(LEFT, "web", "web", 3);
    cluster.run_for(APART)?;
    cluster.create(RIGHT, "web", "web", 2);
    heal(cluster)?;
    let board = cluster.board(RIGHT).ok_or("h3 has no board")?;
    let desired: Vec<_> = board.services().map(|service| service.desired).collect();
    expect(desired == [3], || {
        format!("services of {desired:?} are there instead of [3]")
    })?;
    runs(cluster, 3)?;
    told(cluster, "the service \"web\"", &[RIGHT])
}

/// Different tags all stay; of one tag, the later word does.
fn tags(cluster: &mut Cluster) -> Told {
    let subject = Subject::Cluster("shop".to_owned());
    let put = |set: &[(&str, &str)]| {
        Command::Tag(vec![Tagging {
            subject: subject.clone(),
            set: pairs(set),
            unset: Vec::new(),
        }])
    };
    cluster.run_until(6 * SECOND)?;
    done(cluster, LEFT, put(&[("env", "test")]))?;
    split(cluster)?;
    done(cluster, LEFT, put(&[("left", "here"), ("team", "red")]))?;
    cluster.run_for(APART)?;
    done(cluster, RIGHT, put(&[("right", "there"), ("team", "blue")]))?;
    heal(cluster)?;
    let found: BTreeSet<String> = (0..cluster.hosts())
        .filter_map(|place| cluster.board(place))
        .map(|board| tags_on(board, &subject))
        .collect();
    let wanted = "env=test left=here right=there team=blue";
    expect(found.len() == 1 && found.contains(wanted), || {
        format!("the cluster is tagged {found:?} instead of {wanted:?}")
    })?;
    told(cluster, "the tag \"team\" of the cluster \"shop\"", &[LEFT])
}

/// What is in it is not lost, and so it is there again.
fn clusters(cluster: &mut Cluster) -> Told {
    cluster.run_until(6 * SECOND)?;
    cluster.register(LEFT, definition("web", 1));
    done(cluster, LEFT, Command::MakeCluster("staging".to_owned()))?;
    cluster.converge(30 * SECOND)?;
    split(cluster)?;
    cluster.create(RIGHT, "staging/web", "web", 2);
    cluster.run_for(APART)?;
    done(cluster, LEFT, Command::DeleteCluster("staging".to_owned()))?;
    heal(cluster)?;
    runs(cluster, 2)?;
    for place in 0..cluster.hosts() {
        let is_there = cluster.board(place).is_some_and(|board| {
            board.has_cluster("staging") && board.clusters().contains("staging")
        });
        expect(is_there, || {
            format!("h{place} has no cluster of the services that run")
        })?;
    }
    Ok(())
}
