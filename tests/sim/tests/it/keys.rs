//! Rotation of the cluster's keys: messages that are sealed with what the receiver lacks are lost.

use super::scenarios::{SECOND, all, expect, story};
use holdfast_core::{
    command::Command,
    ids::{KeyId, Secret},
};
use sim::{cluster::Cluster, host::FIRST_KEY, liveness::CONVERGE_MAX};

const NEW: KeyId = KeyId([2; 4]);

const fn install() -> Command {
    Command::InstallKey {
        key: NEW,
        secret: Secret([2; 32]),
    }
}

const fn put_to_use(force: bool) -> Command {
    Command::UseKey { key: NEW, force }
}

const fn remove_first(force: bool) -> Command {
    Command::RemoveKey {
        key: FIRST_KEY,
        force,
    }
}

fn all_hold(cluster: &Cluster, held: &[KeyId], in_use: KeyId) -> Result<(), String> {
    (0..cluster.hosts()).try_for_each(|place| {
        let keys = &cluster.host(place).keys;
        let same = keys.held == held && keys.in_use == Some(in_use);
        expect(same, &format!("h{place} has {keys:?}"))
    })
}

/// Every false verdict costs its host an incarnation.
fn lives(cluster: &Cluster) -> Vec<u64> {
    let board = cluster.agent(0).expect("h0 runs").board();
    board
        .hosts()
        .map(|(_, incarnation, _)| incarnation)
        .collect()
}

#[test]
fn a_key_is_rotated_and_nobody_is_taken_for_down() {
    for agents in [2, 5, 20] {
        let report = story(agents, 10, |cluster| {
            let before = lives(cluster);
            cluster.ask(0, install());
            cluster.run_for(3 * SECOND)?;
            all_hold(cluster, &[FIRST_KEY, NEW], FIRST_KEY)?;
            cluster.ask(1, remove_first(true));
            cluster.run_for(3 * SECOND)?;
            all_hold(cluster, &[FIRST_KEY, NEW], FIRST_KEY)?;
            cluster.ask(1, put_to_use(false));
            cluster.run_for(3 * SECOND)?;
            all_hold(cluster, &[FIRST_KEY, NEW], NEW)?;
            cluster.ask(0, remove_first(false));
            cluster.run_for(10 * SECOND)?;
            all_hold(cluster, &[NEW], NEW)?;
            expect(lives(cluster) == before, "a host was taken for down")?;
            all(10)(cluster)
        });
        assert_eq!(
            (report.stats.starts, report.stats.stops),
            (10, 0),
            "{agents}"
        );
    }
}

#[test]
fn a_key_that_a_host_lacks_is_not_put_to_use() {
    story(3, 3, |cluster| {
        // In the same moment: the others have not even heard of the key.
        cluster.ask(0, install());
        cluster.ask(0, put_to_use(false));
        cluster.run_for(3 * SECOND)?;
        all_hold(cluster, &[FIRST_KEY, NEW], FIRST_KEY)
    });
}

#[test]
fn a_host_that_was_away_while_its_key_was_still_accepted_catches_up() {
    story(4, 4, |cluster| {
        cluster.shut_down(3);
        cluster.ask(0, install());
        cluster.run_for(2 * SECOND)?;
        cluster.restart(3);
        cluster.run_for(5 * SECOND)?;
        all_hold(cluster, &[FIRST_KEY, NEW], FIRST_KEY)?;
        cluster.converge(CONVERGE_MAX).map(drop)
    });
}

#[test]
fn the_last_key_of_a_host_that_is_down_is_removed_by_force_alone() {
    story(4, 4, |cluster| {
        cluster.lose_host(3);
        cluster.run_for(5 * SECOND)?;
        for command in [install(), put_to_use(false), remove_first(false)] {
            cluster.ask(0, command);
            cluster.run_for(3 * SECOND)?;
        }
        let held = |cluster: &Cluster| cluster.host(0).keys.held.clone();
        expect(held(cluster) == [FIRST_KEY, NEW], "removed without force")?;
        cluster.ask(0, remove_first(true));
        cluster.run_for(3 * SECOND)?;
        expect(held(cluster) == [NEW], "not removed by force")?;
        cluster.converge(CONVERGE_MAX).map(drop)
    });
}
