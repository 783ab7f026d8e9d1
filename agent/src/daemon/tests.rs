//! Whole agents in this process: on loopback, each with its own state directory, without Docker.

mod cluster;

use super::*;
use cluster::{Cluster, until};
use gossip::ClusterKey;
use holdfast_core::{
    cluster::body::Availability,
    command::{Command, Outcome, Refusal},
    event::HostStanding,
    ids::KeyId,
    recording::{Cause, Recording},
};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
};

#[tokio::test]
async fn agents_that_all_come_back_with_new_addresses_find_each_other_again() {
    let mut cluster = Cluster::new(3);
    for number in 0..3 {
        cluster.start(number).await;
    }
    cluster.list_peers();
    cluster.until_all_see(3, HostStanding::Up).await;
    let before = cluster.addresses();
    for number in 0..3 {
        cluster.kill(number).await;
    }
    for number in 0..3 {
        cluster.start(number).await;
    }
    assert!(cluster.addresses().iter().all(|new| !before.contains(new)));
    cluster.list_peers();
    cluster.until_all_see(3, HostStanding::Up).await;
}

async fn order(cluster: &Cluster, command: Command) -> Result<Outcome, Refusal> {
    cluster.handle(0).command(command).await.unwrap()
}

async fn until_all_hold(cluster: &Cluster, held: &[KeyId]) {
    let what = format!("all have the keys {held:?} and seal with the first");
    let expected = KeyReport {
        held: held.to_vec(),
        in_use: held.first().copied(),
    };
    until(&what, async || {
        let expected = expected.clone();
        let seen = cluster.ask(move |agent| {
            let board = agent.board();
            let up = board.hosts().filter(|(host, ..)| board.is_up(*host));
            let (up, keys): (Vec<_>, Vec<_>) = up.map(|(host, _, said)| (host, &said.keys)).unzip();
            up.len() == 3 && keys.iter().all(|keys| **keys == expected)
        });
        seen.await.into_iter().all(|same| same).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_is_rotated_while_all_stay_up_and_one_that_was_away_is_brought_back() {
    let (old, new) = (
        ClusterKey::generate().unwrap(),
        ClusterKey::generate().unwrap(),
    );
    let mut cluster = Cluster::new(4);
    for number in 0..4 {
        cluster.give_key(number, &old);
        cluster.start(number).await;
    }
    cluster.list_peers();
    cluster.until_all_see(4, HostStanding::Up).await;
    cluster.kill(3).await;
    cluster.until_all_see(3, HostStanding::Up).await;
    cluster.until_all_see(1, HostStanding::Down).await;
    let lives = |agent: &holdfast_core::agent::Agent| -> Vec<u64> {
        agent.board().hosts().map(|(_, life, _)| life).collect()
    };
    let before = cluster.ask(lives).await;

    let (key, secret) = (new.id(), new.secret());
    order(&cluster, Command::InstallKey { key, secret })
        .await
        .unwrap();
    until_all_hold(&cluster, &[old.id(), key]).await;
    let remove = |force| Command::RemoveKey {
        key: old.id(),
        force,
    };
    let refused = order(&cluster, remove(true)).await;
    assert!(
        matches!(refused, Err(Refusal::KeyUsed { .. })),
        "{refused:?}"
    );
    order(&cluster, Command::UseKey { key, force: false })
        .await
        .unwrap();
    until_all_hold(&cluster, &[key, old.id()]).await;
    let refused = order(&cluster, remove(false)).await;
    assert!(
        matches!(refused, Err(Refusal::KeyOfAbsent { .. })),
        "{refused:?}"
    );
    order(&cluster, remove(true)).await.unwrap();
    until_all_hold(&cluster, &[key]).await;
    assert_eq!(
        cluster.ask(lives).await,
        before,
        "a host was taken for down"
    );

    bring_back(&mut cluster, &new).await;
}

/// The last host was away; what it has is no longer accepted.
async fn bring_back(cluster: &mut Cluster, new: &ClusterKey) {
    // It has the old key alone, which is no longer accepted: it stays alone, down to the others.
    cluster.start(3).await;
    cluster.list_peers();
    until("the old key is refused", async || {
        let drops = cluster.handle(0).status().transport;
        (drops["drops"]["wrong_key"]["count"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let standing = cluster
        .handle(0)
        .read(|agent| agent.standing(HostId(4 << 96)));
    assert_eq!(standing.await.unwrap(), HostStanding::Down);
    cluster.kill(3).await;
    cluster.give_key(3, new);
    cluster.start(3).await;
    cluster.list_peers();
    cluster.until_all_see(4, HostStanding::Up).await;
    // And what was rotated in is there after a restart, whatever the key file says.
    cluster.kill(1).await;
    cluster.start(1).await;
    cluster.list_peers();
    cluster.until_all_see(4, HostStanding::Up).await;
}

#[tokio::test]
async fn what_an_agent_lived_through_is_repeated_from_its_recording() {
    let mut cluster = Cluster::new(2);
    for number in 0..2 {
        cluster.start(number).await;
    }
    cluster.list_peers();
    cluster.until_all_see(2, HostStanding::Up).await;
    let drain = Command::DirectHosts {
        hosts: vec![HostId(2 << 96)],
        availability: Availability::Drain,
    };
    order(&cluster, drain).await.unwrap();
    cluster.until_all_see(1, HostStanding::Draining).await;
    let file = cluster.handle(0).record(Wall(0)).await.unwrap();
    let recording = Recording::read(&file).unwrap();
    assert_eq!(recording.header.cause, Cause::Asked);
    assert!(!recording.steps.is_empty());
    let mut agent = recording.agent.clone();
    for step in &recording.steps {
        step.repeat(&mut agent).1.unwrap();
    }
    recording.check_end(&agent).unwrap();
}

#[tokio::test]
async fn a_panic_of_the_core_leaves_a_recording_whose_last_input_it_was() {
    let cluster = Cluster::new(1);
    let (mut started, _state) = cluster.prepare(0).await;
    // What the agent asked for at its start was not carried out, which it does not put up with.
    let stepped = AssertUnwindSafe(|| started.driver.advance(Input::Shutdown));
    catch_unwind(stepped).unwrap_err();
    let folder = cluster.state_dir(0).join("recordings");
    let files: Vec<_> = fs::read_dir(folder).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let path = files[0].as_ref().unwrap().path();
    assert!(path.to_string_lossy().ends_with("-panic.hfrec"));
    let recording = Recording::read(&fs::read(path).unwrap()).unwrap();
    let said = "the effects of the last step were not drained".to_owned();
    assert_eq!(recording.header.cause, Cause::Panicked(said));
    let last = recording.steps.last().unwrap();
    assert!(matches!(last.input, Input::Shutdown) && last.effects.is_none());
}
