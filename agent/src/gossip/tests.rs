//! Transports that talk to each other over loopback.

mod strangers;
mod tunnels;

use super::{counters::Cause, *};
use expect_test::{Expect, expect};
use holdfast_core::rng::Rng;
use std::{collections::BTreeMap, error::Error, net::Ipv4Addr, time::Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

const NOW_MS: u64 = 1_000_000_000;
const NIL: HostId = HostId(0);
const A: HostId = HostId(0xa);
const B: HostId = HostId(0xb);
const C: HostId = HostId(0xc);
const PATIENCE: Duration = Duration::from_secs(20);

struct Peer {
    transport: Transport,
    inbox: mpsc::Receiver<Received>,
    at: SocketAddr,
}

fn keyring(name: &str) -> Keyring {
    Keyring {
        primary: ClusterKey::known_to_everyone(name),
        others: Vec::new(),
    }
}

fn config(host: HostId) -> TransportConfig {
    TransportConfig {
        bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        advertise: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        cluster: "prod".to_owned(),
        keyring: Some(keyring("one")),
        host,
        boot: NOW_MS,
        now_wall_ms: || NOW_MS,
    }
}

async fn start_within(config: TransportConfig, room: usize, limits: Limits) -> Peer {
    let started = Instant::now();
    loop {
        let (outbox, inbox) = mpsc::channel(room);
        match Transport::bind_within(config.clone(), outbox, limits).await {
            Ok(transport) => {
                return Peer {
                    at: transport.local_addr(),
                    transport,
                    inbox,
                };
            }
            // The workers of a transport that was dropped need a moment to let go of its port.
            Err(err) => assert!(started.elapsed() < PATIENCE, "{err:?}"),
        }
        tokio::task::yield_now().await;
    }
}

async fn start(config: TransportConfig) -> Peer {
    start_within(config, 256, Limits::default()).await
}

impl Peer {
    fn send(&self, to: SocketAddr, to_host: HostId, via: Via, payload: &[u8]) {
        self.transport
            .send(to, to_host, via, payload.to_vec())
            .unwrap();
    }

    async fn receive(&mut self) -> Received {
        let received = tokio::time::timeout(PATIENCE, self.inbox.recv()).await;
        received
            .unwrap_or_else(|_| panic!("nothing came: {:?}", self.transport.counters()))
            .unwrap()
    }

    fn dropped(&self, cause: Cause) -> u64 {
        self.transport
            .counters()
            .drops
            .get(&cause)
            .map_or(0, |drops| drops.count)
    }

    fn all_dropped(&self) -> BTreeMap<Cause, u64> {
        let drops = self.transport.counters().drops;
        drops
            .into_iter()
            .map(|(cause, drops)| (cause, drops.count))
            .collect()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            let counters = self.transport.counters();
            assert!(started.elapsed() < PATIENCE, "never: {what}: {counters:?}");
            tokio::task::yield_now().await;
        }
    }

    async fn until_dropped(&self, cause: Cause, times: u64) {
        let what = format!("{cause:?} {times} times");
        self.until(&what, |peer| peer.dropped(cause) >= times).await;
        assert_eq!(self.dropped(cause), times, "{cause:?}");
    }

    fn check_drops(&self, expected: Expect) {
        expected.assert_eq(&fold(&format!("{:?}", self.all_dropped())));
    }
}

/// Breaks lines between words, so that a sentence fits into a snapshot.
pub(super) fn fold(text: &str) -> String {
    let (mut folded, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        match width {
            0 => {}
            _ if width + word.len() > 80 => {
                folded.push_str("\n  ");
                width = 2;
            }
            _ => folded.push(' '),
        }
        folded.push_str(word);
        width += word.len() + 1;
    }
    folded
}

#[tokio::test]
async fn datagrams_go_both_ways_and_say_who_where_and_to_whom() {
    let (mut a, mut b) = (start(config(A)).await, start(config(B)).await);
    a.send(b.at, NIL, Via::Datagram, b"who are you?");
    let got = b.receive().await;
    let payload = b"who are you?".to_vec();
    let via = Via::Datagram;
    assert_eq!(
        got,
        Received {
            from: A,
            boot: NOW_MS,
            to: NIL,
            address: a.at,
            via,
            payload
        }
    );
    b.send(
        got.address,
        got.from,
        Via::Datagram,
        &[7; DATAGRAM_PAYLOAD_MAX],
    );
    let got = a.receive().await;
    assert_eq!(
        (got.from, got.to, got.payload),
        (B, A, vec![7; DATAGRAM_PAYLOAD_MAX])
    );
    a.send(b.at, B, Via::Datagram, b"");
    assert_eq!(b.receive().await.payload, b"");

    let counters = a.transport.counters();
    assert_eq!(
        (counters.datagrams_sent, counters.datagrams_received),
        (2, 1)
    );
    assert_eq!(
        (
            counters.datagram_bytes_sent,
            counters.datagram_bytes_received
        ),
        (178, 1_200)
    );
}

#[tokio::test]
async fn streams_carry_frames_of_all_sizes_in_order_over_one_connection() {
    let (mut a, mut b) = (start(config(A)).await, start(config(B)).await);
    let sizes = [0, 1, 65_499, 65_500, 131_018, 131_019, FRAME_BYTES_MAX, 5];
    for (number, size) in sizes.into_iter().enumerate() {
        a.send(
            b.at,
            if number == 0 { NIL } else { B },
            Via::Stream,
            &vec![number as u8; size],
        );
    }
    for (number, size) in sizes.into_iter().enumerate() {
        let got = b.receive().await;
        assert_eq!((got.from, got.boot, got.via), (A, NOW_MS, Via::Stream));
        assert_eq!(
            (got.address, got.to),
            (a.at, if number == 0 { NIL } else { B })
        );
        assert!(got.payload == vec![number as u8; size], "{size}");
    }
    assert_eq!(a.transport.counters().connections_opened, 1);
    assert_eq!(b.transport.counters().frames_received, sizes.len() as u64);
    b.send(a.at, A, Via::Stream, b"thanks");
    assert_eq!(a.receive().await.payload, b"thanks");
}

/// Streams left from any address, and answers went there: nobody listened.
#[tokio::test]
async fn a_stream_leaves_from_the_address_that_is_bound() {
    let bind = "127.77.0.5:0".parse().unwrap();
    let mut a = start(TransportConfig { bind, ..config(A) }).await;
    let mut b = start(config(B)).await;
    a.send(b.at, B, Via::Stream, b"question");
    let got = b.receive().await;
    assert_eq!(got.address, a.at);
    b.send(got.address, A, Via::Stream, b"answer");
    assert_eq!(a.receive().await.payload, b"answer");
}

#[tokio::test]
async fn a_stream_says_which_address_is_advertised() {
    let mut b = start(config(B)).await;
    let mut check = async |bind: &str, advertise: &str, expected: &str| {
        let a = start(TransportConfig {
            bind: bind.parse().unwrap(),
            advertise: advertise.parse().unwrap(),
            ..config(A)
        })
        .await;
        a.send(b.at, B, Via::Stream, b"hello");
        let got = b.receive().await.address.to_string();
        let bound = a.at.port().to_string();
        assert_eq!(got, expected.replace("BOUND", &bound), "{advertise}");
    };
    check("0.0.0.0:0", "10.1.2.3:7946", "10.1.2.3:7946").await;
    check("0.0.0.0:0", "10.1.2.3:0", "10.1.2.3:BOUND").await;
    check("0.0.0.0:0", "[fd00::7]:7946", "[fd00::7]:7946").await;
    check("0.0.0.0:0", "0.0.0.0:0", "127.0.0.1:BOUND").await;
    check("0.0.0.0:0", "[::]:9", "127.0.0.1:9").await;
    check("127.77.0.6:0", "0.0.0.0:0", "127.77.0.6:BOUND").await;
}

#[tokio::test]
async fn without_a_key_the_code_is_the_same_on_loopback_and_refused_elsewhere() {
    let keyless = |host| TransportConfig {
        keyring: None,
        ..config(host)
    };
    let (a, mut b) = (start(keyless(A)).await, start(keyless(B)).await);
    for via in [Via::Datagram, Via::Stream] {
        a.send(b.at, B, via, b"hello");
        assert_eq!(b.receive().await.via, via);
    }
    let open = TransportConfig {
        bind: "0.0.0.0:0".parse().unwrap(),
        ..keyless(A)
    };
    let err = Transport::bind(open, mpsc::channel(1).0).await.unwrap_err();
    expect![[r#"
        no cluster key: set `key_file` (make one with `holdfast key new`) or bind to
          127.0.0.1"#]]
    .assert_eq(&fold(&err.to_string()));
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let a = start(TransportConfig {
        bind: "127.77.0.1:0".parse().unwrap(),
        ..config(A)
    })
    .await;
    let again = TransportConfig {
        bind: a.at,
        ..config(B)
    };
    let err = Transport::bind(again, mpsc::channel(1).0)
        .await
        .unwrap_err();
    let text = format!("{err}\n{}", err.source().unwrap());
    let text = text.replace(&a.at.port().to_string(), "7946");
    expect![[r#"
        cannot listen on 127.77.0.1:7946 (TCP): check `bind`, and that no other agent
          runs on this host
        Address already in use (os error 98)"#]]
    .assert_eq(&fold(&text));
}

#[tokio::test]
async fn a_key_that_is_being_rotated_out_still_opens() {
    let both = Keyring {
        others: vec![keyring("one").primary],
        ..keyring("two")
    };
    let boot = NOW_MS + EPOCH_AHEAD_MAX;
    let (a, mut b) = (
        start(TransportConfig { boot, ..config(A) }).await,
        start(TransportConfig {
            keyring: Some(both),
            ..config(B)
        })
        .await,
    );
    for via in [Via::Datagram, Via::Stream] {
        a.send(b.at, B, via, b"old key");
        assert_eq!(b.receive().await.via, via);
    }
}

#[tokio::test]
async fn what_is_too_big_is_refused_where_it_is_sent() {
    let a = start(config(A)).await;
    let check = |via, bytes, expected: Expect| {
        let err = a
            .transport
            .send(a.at, NIL, via, vec![0; bytes])
            .unwrap_err();
        expected.assert_eq(&fold(&err.to_string()));
    };
    check(
        Via::Datagram,
        DATAGRAM_PAYLOAD_MAX + 1,
        expect!["a datagram carries at most 1117 bytes, not 1118: send it by stream"],
    );
    check(
        Via::Stream,
        FRAME_BYTES_MAX + 1,
        expect!["a frame carries at most 1048576 bytes, not 1048577: send it in parts"],
    );
}

#[tokio::test]
async fn a_full_inbox_drops_datagrams_and_makes_streams_wait() {
    let a = start(config(A)).await;
    let mut b = start_within(config(B), 1, Limits::default()).await;
    a.send(b.at, B, Via::Datagram, b"fits");
    b.until("received", |b| {
        b.transport.counters().datagrams_received == 1
    })
    .await;
    a.send(b.at, B, Via::Datagram, b"does not");
    b.until_dropped(Cause::InboxFull, 1).await;
    for number in 0..9 {
        a.send(b.at, B, Via::Stream, &[number]);
    }
    assert_eq!(b.receive().await.payload, b"fits");
    for number in 0..9 {
        assert_eq!(b.receive().await.payload, [number]);
    }
}

#[tokio::test]
async fn sends_to_a_dead_peer_return_at_once_and_all_are_counted() {
    let a = start(config(A)).await;
    let bind = "127.77.0.2:0".parse().unwrap();
    let b = start(TransportConfig { bind, ..config(B) }).await;
    let at = b.at;
    drop(b);
    // Nobody else polls on this thread until we wait, so not even the worker has begun.
    for _ in 0..10_000 {
        a.send(at, B, Via::Stream, &[0; 1_024]);
    }
    let fit = (Limits::default().lane_bytes_max / (1_024 + 256)) as u64;
    assert_eq!(a.dropped(Cause::QueueFull), 10_000 - fit);
    let failed = |a: &Peer| a.dropped(Cause::SendFailed) + a.transport.counters().frames_sent;
    a.until("all are accounted for", |a| failed(a) == fit).await;
    a.until("bytes given back", |a| {
        a.transport.shared.lanes.queued_bytes() == 0
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_restarts_is_dialed_again() {
    let a = start(config(A)).await;
    let bind = "127.77.0.3:0".parse().unwrap();
    let mut b = start(TransportConfig { bind, ..config(B) }).await;
    a.send(b.at, B, Via::Stream, b"before");
    assert_eq!(b.receive().await.payload, b"before");
    let at = b.at;
    drop(b);
    let mut b = start(TransportConfig {
        bind: at,
        boot: NOW_MS + 1,
        ..config(B)
    })
    .await;
    // The first may go into the connection that the restart has cut.
    while b.inbox.is_empty() {
        a.send(at, B, Via::Stream, b"after");
        a.until("sent, or not", |a| {
            a.transport.shared.lanes.queued_bytes() == 0
        })
        .await;
    }
    assert_eq!(b.receive().await.payload, b"after");
    assert_eq!(a.transport.counters().connections_opened, 2);
}

/// Where a machine lost its power nobody closes the connection to it: it stays as it was, and all
/// that was for the machine that came in its place was dropped.
#[tokio::test]
async fn a_new_machine_at_the_address_of_one_without_power_is_dialed() {
    let limits = Limits {
        dialed_known_for: Duration::ZERO,
        ..Limits::default()
    };
    let a = start_within(config(A), 1, limits).await;
    let (mut old, mut new) = (start(config(B)).await, start(config(C)).await);
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = address.local_addr().unwrap();
    // Who comes first reaches the old machine, and stays connected; all others the new one.
    let machines = [old.at, new.at, new.at];
    let cables = tokio::spawn(async move {
        for machine in machines {
            let (mut near, _) = address.accept().await.unwrap();
            let mut far = TcpStream::connect(machine).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
    a.send(at, B, Via::Stream, b"for the old one");
    assert_eq!(old.receive().await.payload, b"for the old one");
    a.send(at, C, Via::Stream, b"for the new one");
    assert_eq!(new.receive().await.payload, b"for the new one");
    // Who is not there any more is looked for, in vain, and nobody else is given what was for it.
    a.send(at, B, Via::Stream, b"for nobody");
    a.until_dropped(Cause::WrongDestination, 1).await;
    cables.await.unwrap();
    assert!(old.inbox.is_empty() && new.inbox.is_empty());
}

#[tokio::test]
async fn a_connection_that_is_not_used_is_closed_and_made_again() {
    let dialed_idle_max = Duration::from_millis(20);
    let a = start_within(
        config(A),
        1,
        Limits {
            dialed_idle_max,
            ..Limits::default()
        },
    )
    .await;
    let mut b = start(config(B)).await;
    for opened in 1..3 {
        a.send(b.at, B, Via::Stream, b"hello");
        assert_eq!(b.receive().await.payload, b"hello");
        a.until("closed", |a| a.transport.shared.lanes.is_empty())
            .await;
        assert_eq!(a.transport.counters().connections_opened, opened);
    }
    assert_eq!(b.all_dropped(), BTreeMap::new());
}

#[tokio::test]
async fn a_dropped_transport_closes_its_port_and_its_connections() {
    let bind = "127.77.0.4:0".parse().unwrap();
    let a = start(config(A)).await;
    let mut b = start(TransportConfig { bind, ..config(B) }).await;
    a.send(b.at, B, Via::Stream, b"hello");
    b.receive().await;
    let (shared, at) = (Arc::downgrade(&b.transport.shared), b.at);
    drop(b);
    a.until("all workers ended", |_| shared.strong_count() == 0)
        .await;
    start(TransportConfig {
        bind: at,
        ..config(B)
    })
    .await;
}

fn ring(names: &[&str]) -> Keyring {
    Keyring {
        primary: ClusterKey::known_to_everyone(names[0]),
        others: names[1..]
            .iter()
            .map(|name| ClusterKey::known_to_everyone(name))
            .collect(),
    }
}

#[tokio::test]
async fn keys_change_live_for_datagrams_and_streams_and_the_old_one_ends() {
    let (mut a, mut b) = (start(config(A)).await, start(config(B)).await);
    let steps: [(&[&str], &[&str]); 4] = [
        (&["one"], &["one", "two"]),
        (&["one", "two"], &["two", "one"]),
        (&["two", "one"], &["two"]),
        (&["two"], &["two"]),
    ];
    for (ring_of_a, ring_of_b) in steps {
        a.transport.set_keyring(&ring(ring_of_a));
        b.transport.set_keyring(&ring(ring_of_b));
        for via in [Via::Datagram, Via::Stream] {
            a.send(b.at, B, via, b"there");
            assert_eq!(b.receive().await.payload, b"there");
            b.send(a.at, A, via, b"and back");
            assert_eq!(a.receive().await.payload, b"and back");
        }
    }
    // Whoever still seals with the old one is a stranger, and is not heard before one who is none.
    let c = start(config(C)).await;
    c.send(b.at, B, Via::Datagram, b"hello?");
    c.send(b.at, B, Via::Stream, b"hello?");
    // The connection that was open when its key ended is one of these.
    b.until("two are refused", |b| b.dropped(Cause::WrongKey) >= 2)
        .await;
    a.send(b.at, B, Via::Datagram, b"still here");
    assert_eq!(b.receive().await.payload, b"still here");
}

#[tokio::test]
async fn a_connection_made_with_a_key_ends_with_the_key() {
    let (a, mut b) = (start(config(A)).await, start(config(B)).await);
    a.send(b.at, B, Via::Stream, b"first");
    b.receive().await;
    b.transport.set_keyring(&ring(&["two"]));
    b.until_dropped(Cause::WrongKey, 1).await;
}

#[tokio::test]
async fn a_host_that_lacks_the_new_key_is_answered_in_the_one_that_it_has() {
    let (mut a, mut b) = (start(config(A)).await, start(config(B)).await);
    b.transport.set_keyring(&ring(&["two", "one"]));
    a.send(b.at, B, Via::Datagram, b"who are you?");
    b.receive().await;
    for via in [Via::Datagram, Via::Stream] {
        b.send(a.at, A, via, b"one who has two");
        assert_eq!(a.receive().await.payload, b"one who has two");
    }
}
