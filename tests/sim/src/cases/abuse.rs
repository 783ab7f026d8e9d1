//! What an enemy or a broken peer sends.

use super::{Case, Told, churn, expect, hold, moved, rest};
use crate::{
    cluster::{Cluster, SECOND},
    host::FIRST_KEY,
    planted::Planted::Core,
    workload::definition,
};
use holdfast_core::{
    cluster::{
        body::{Body, Key, ServiceSettings},
        hash_tree::{FAN, Prefix},
        message::Message,
        record::{Record, Stamp, Version},
    },
    command::Command,
    ids::{KeyId, Secret},
    limits,
    planted::{Bug, POISON},
};
use std::sync::Arc;

pub(super) const CASES: &[Case] = &[
    Case {
        number: 38,
        name: "replayed, changed and spoofed, while keys are rotated",
        agents: 5,
        story: enemy_listens,
        bug: Core(Bug::TakesReplays),
        caught_by: "that was replayed",
    },
    Case {
        number: 39,
        name: "garbage, cut short, over the limits",
        agents: 3,
        story: garbage,
        bug: Core(Bug::ReadsAnyLength),
        caught_by: "was read",
    },
    Case {
        number: 40,
        name: "a record that crashes whoever reads it",
        agents: 4,
        story: poison,
        bug: Core(Bug::SetsNothingAside),
        caught_by: "times of the same record",
    },
];

/// Of what an enemy sends nothing is opened, and it does not keep the members from rotating.
fn enemy_listens(cluster: &mut Cluster) -> Told {
    const NEW: KeyId = KeyId([2; 4]);
    hold(cluster, "web", 10)?;
    let before = churn(&cluster.stats);
    cluster.admit_enemy();
    cluster.run_for(10 * SECOND)?;
    let secret = Secret([2; 32]);
    let (key, force) = (NEW, false);
    cluster.ask(0, Command::InstallKey { key, secret });
    cluster.run_for(5 * SECOND)?;
    cluster.ask(1, Command::UseKey { key, force });
    cluster.run_for(5 * SECOND)?;
    let key = FIRST_KEY;
    cluster.ask(2, Command::RemoveKey { key, force });
    cluster.run_for(20 * SECOND)?;
    for host in 0..5 {
        let keys = &cluster.host(host).keys;
        expect(keys.held == [NEW] && keys.in_use == Some(NEW), || {
            format!("h{host} has the keys {keys:?}")
        })?;
    }
    for what in ["replayed", "changed", "spoofed"] {
        let tried = cluster.enemy().and_then(|enemy| enemy.tried.get(what));
        expect(tried.is_some_and(|times| *times > 100), || {
            format!("the enemy hardly tried what is {what}: {tried:?}")
        })?;
    }
    let judged = cluster.stats.down().count();
    expect(judged == 0, || {
        format!("{judged} verdicts on hosts that are there")
    })?;
    moved(cluster, before, (0, 0))?;
    rest(cluster, 10)
}

/// Every reader is total: whatever the bytes, it says no, or reads something within the limits.
fn garbage(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 3)?;
    let board = cluster.agent(0).map(holdfast_core::agent::Agent::board);
    let records = board.map(|board| board.records().cloned().collect());
    let good = Message::Records(records.unwrap_or_default()).encode();
    for _ in 0..2_000 {
        let mut bytes = good.clone();
        for _ in 0..=cluster.rng.below(8) {
            let place = cluster.rng.below(bytes.len() as u64) as usize;
            bytes[place] = cluster.rng.next_u64() as u8;
        }
        let left = cluster.rng.below(bytes.len() as u64 + 1) as usize;
        bytes.truncate(left);
        if let Ok(message) = Message::decode(&bytes) {
            cluster.tell(1, 0, message);
        }
    }
    let many = limits::BRANCHES_MAX + 1;
    for message in [
        Message::Branches(vec![(Prefix::ROOT, [1; FAN]); many]),
        Message::Fetch(vec![1; 2 * limits::HOLDINGS_MAX + 1]),
        Message::Records(vec![]),
    ] {
        let is_long = !matches!(message, Message::Records(_));
        let read = Message::decode(&message.encode());
        expect(read.is_err() == is_long, || {
            "a list over its limit was read".to_owned()
        })?;
    }
    rest(cluster, 3)
}

/// New settings of the service `s0` under this name, as a peer would pass them on.
fn settings(cluster: &Cluster, name: &str) -> Option<Arc<Record>> {
    let board = cluster.agent(1)?.board();
    let service = board.service_named("s0")?.id;
    let (key, settings) = (
        Key::ServiceSettings(service),
        board.service(service)?.settings,
    );
    let stamp = Stamp {
        wall: cluster.host(1).wall(cluster.now()),
        counter: 0,
        author: cluster.host(1).id,
    };
    let settings = ServiceSettings {
        name: name.to_owned(),
        ..settings.clone()
    };
    let version = Version { epoch: 0, stamp };
    Some(Record::new(
        key,
        version,
        Some(Body::ServiceSettings(settings)),
    ))
}

/// Every agent dies of it twice, sets it aside and comes back; until it is written anew its service
/// runs as it did, and all others are held as ever.
fn poison(cluster: &mut Cluster) -> Told {
    hold(cluster, "web", 6)?;
    cluster.register(0, definition("pair", 1));
    cluster.create(0, "s1", "pair", 4);
    cluster.run_for(SECOND)?;
    cluster.converge(30 * SECOND)?;
    let before = churn(&cluster.stats);
    let (poisoned, mended) = (settings(cluster, POISON), settings(cluster, "s0"));
    let (Some(poisoned), Some(mended)) = (poisoned, mended) else {
        return Err("there is no service s0".to_owned());
    };
    // Its author is of another release, lives, and says it again.
    for _ in 0..20 {
        for to in [0, 2, 3] {
            cluster.tell(1, to, Message::Records(vec![poisoned.clone()]));
        }
        cluster.run_for(2 * SECOND)?;
    }
    moved(cluster, before, (0, 0))?;
    for host in 0..4 {
        let deaths = cluster.host(host).poisoned;
        expect(deaths <= 2, || {
            format!("h{host}'s agent died {deaths} times of the same record")
        })?;
        let agent = cluster.agent(host);
        let kept = agent.and_then(|agent| agent.board().record(&poisoned.key));
        expect(
            kept.is_some_and(|kept| kept.encode() == poisoned.encode()),
            || format!("h{host} has not kept the record as it came"),
        )?;
    }
    cluster.kill_container(2);
    cluster.scale(3, "s1", 6);
    cluster.run_for(5 * SECOND)?;
    // Power is lost everywhere, and what is set aside is on every disk.
    (0..4).for_each(|host| cluster.crash(host));
    (0..4).for_each(|host| cluster.restart(host));
    cluster.run_for(10 * SECOND)?;
    let version = Version {
        epoch: 0,
        stamp: Stamp {
            wall: cluster.host(1).wall(cluster.now()),
            ..mended.version.stamp
        },
    };
    let mended = Record::new(mended.key.clone(), version, mended.body.clone());
    cluster.tell(1, 0, Message::Records(vec![mended]));
    cluster.run_for(5 * SECOND)?;
    for host in 0..4 {
        let agent = cluster.agent(host);
        let aside = agent.map_or(0, |agent| agent.set_aside().count());
        expect(aside == 0, || format!("h{host} still sets {aside} aside"))?;
    }
    rest(cluster, 12)
}
