//! Strangers at the agents' port: the wrong key, the wrong cluster, and plain garbage.

use e2e::{
    fleet::{Fleet, PATIENCE},
    wait::{holds, secs, until},
};
use serde_json::json;
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

const GARBAGE_DATAGRAMS: usize = 2_000;

#[test]
fn an_agent_with_another_key_stays_outside_and_both_sides_say_why() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    let key = fleet.new_key("other-key");
    fleet.add().set("key-file", &key);
    stays_outside(
        &mut fleet,
        "uses a cluster key that this host does not have",
    );
}

#[test]
fn an_agent_of_another_cluster_stays_outside_and_both_sides_say_why() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    let cluster = format!("{}-other", fleet.place.name);
    fleet.add().set("cluster", &cluster);
    stays_outside(&mut fleet, "is for another cluster");
}

/// Starts the last host, which the others must not take in.
fn stays_outside(fleet: &mut Fleet, because: &str) {
    fleet.hosts[2].start();
    fleet.create_service("web", 2);
    fleet.await_up_of_first_two();
    until("a warning on one side at least", PATIENCE, || {
        let logs: Vec<_> = fleet.hosts.iter().map(e2e::host::Host::log).collect();
        let told = logs.iter().any(|log| log.contains(because));
        told.then_some(()).ok_or_else(|| logs.join("\n"))
    });
    holds("it stays outside", secs(2), || fleet.check_first_two());
    let outside = fleet.hosts[2].look("/v1/hosts")["hosts"].clone();
    let known = outside.as_array().map(Vec::len);
    assert!(
        known.is_none_or(|known| known <= 1),
        "it learned of others: {outside}"
    );
    let foreign = fleet.hosts[2].id();
    assert!(
        fleet
            .containers()
            .iter()
            .all(|container| container.host != foreign)
    );
    // So that the rest of the fleet can be waited for.
    fleet.hosts[2].kill();
    fleet.await_count("web", 2);
}

trait FirstTwo {
    fn await_up_of_first_two(&self);
    fn check_first_two(&self) -> Result<(), String>;
}

impl FirstTwo for Fleet {
    fn await_up_of_first_two(&self) {
        until("the two see each other", PATIENCE, || {
            self.check_first_two()
        });
    }

    fn check_first_two(&self) -> Result<(), String> {
        for host in &self.hosts[..2] {
            let hosts = host.look("/v1/status")["hosts"].clone();
            let known: u64 = hosts
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|h| h.1.as_u64())
                .sum();
            if (hosts["UP"].as_u64(), known) != (Some(2), 2) {
                return Err(format!("{}: {hosts}", host.name));
            }
        }
        Ok(())
    }
}

#[test]
fn garbage_on_both_ports_changes_nothing() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    fleet.create_service("web", 2);
    let before = fleet.await_count("web", 2);
    let victim = fleet.hosts[0].address;
    let watch = fleet.engine.watch(&fleet.label());
    throw_datagrams(victim);
    throw_streams(victim);
    assert_eq!(fleet.await_count("web", 2), before);
    fleet.await_up(2);
    assert_eq!(watch.drain(), [], "no container started or ended");
    let log = fleet.hosts[0].log();
    assert!(log.contains("is not Holdfast's"), "it says so: {log}");
    let warnings = log
        .lines()
        .filter(|line| line.contains("is not Holdfast's"))
        .count();
    assert!(
        warnings < 10,
        "{warnings} warnings about one fault fill the log"
    );
    // It still works: what dies is replaced.
    fleet.engine.kill(&before[0].id);
    watch.expect("start", secs(10));
    fleet.await_count("web", 2);
}

/// Of all lengths and contents: zeros, ones, a counter, and the beginnings of other protocols.
fn throw_datagrams(victim: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("there are free ports");
    for number in 0..GARBAGE_DATAGRAMS {
        let length = number * 7 % 1_500;
        let mut bytes: Vec<u8> = match number % 4 {
            0 => vec![0; length],
            1 => vec![0xff; length],
            2 => (0..length).map(|at| (at * number) as u8).collect(),
            _ => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        };
        // Also behind what may be the right first byte.
        if let Some(first) = bytes.first_mut().filter(|_| number % 5 == 0) {
            *first = (number / 5) as u8;
        }
        // The kernel may refuse one when the queue is full, which is as good.
        socket.send_to(&bytes, victim).ok();
    }
}

fn throw_streams(victim: SocketAddr) {
    let streams = (0..40_u8).map(|number| {
        let mut stream = TcpStream::connect(victim).expect("it listens");
        let bytes = match number % 4 {
            0 => vec![0; 4_096],
            1 => vec![0xff; 4_096],
            2 => b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            _ => vec![], // Says nothing and stays.
        };
        // It may have hung up already.
        stream.write_all(&bytes).ok();
        stream
    });
    let streams: Vec<_> = streams.collect();
    let (spoken, silent): (Vec<_>, Vec<_>) = streams
        .into_iter()
        .enumerate()
        .partition(|(number, _)| number % 4 != 3);
    for (_, mut stream) in spoken {
        let longest = Some(Duration::from_secs(20));
        stream.set_read_timeout(longest).expect("20 s is not 0");
        let mut answer = Vec::new();
        // A reset is an answer, too. A time-out leaves it open, which the next line finds.
        stream.read_to_end(&mut answer).ok();
        assert!(
            answer.len() < 64,
            "garbage is not answered: {} bytes",
            answer.len()
        );
    }
    drop(silent);
}

#[test]
fn a_cloned_identity_is_refused_with_what_to_do() {
    let Some(mut fleet) = Fleet::start(2) else {
        return;
    };
    fleet.create_service("web", 2);
    let before = fleet.await_count("web", 2);
    let original = fleet.hosts[1].state_dir();
    fleet.add();
    let clone = fleet.hosts[2].state_dir();
    std::fs::create_dir(&clone).expect("the directory is ours");
    std::fs::copy(original.join("host-id"), clone.join("host-id")).expect("it is there");
    fleet.hosts[2].start();
    let status = fleet.hosts[2].ended();
    assert!(!status.success(), "the clone must not go on");
    let log = fleet.hosts[2].log();
    let address = fleet.hosts[1].address.to_string();
    for part in [
        "has this host's id",
        "cloned",
        "remove the state directory",
        &address,
    ] {
        assert!(log.contains(part), "it does not say {part:?}: {log}");
    }
    assert!(fleet.hosts[1].is_running(), "the rightful one goes on");
    fleet.await_up(2);
    assert_eq!(fleet.await_count("web", 2), before);
    assert_eq!(fleet.hosts[0].look("/v1/status")["hosts"]["DOWN"], json!(0));
}
