//! Transports among strangers, and members gone bad, that send them whatever they like.

use super::*;
use crate::gossip::stream::{Hello, Link, Purpose};
use holdfast_seal::seal;

/// Waits until the other side closes, and returns what it sent until then.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // It may close by a reset: what came before counts.
    read.expect("never closed").ok();
    bytes
}

/// A datagram from `from` as it went over the wire.
async fn record(from: &Peer, to_host: HostId, payload: &[u8]) -> Vec<u8> {
    let wire = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    from.send(wire.local_addr().unwrap(), to_host, Via::Datagram, payload);
    let mut datagram = [0; 2_000];
    let len = wire.recv(&mut datagram).await.unwrap();
    datagram[..len].to_vec()
}

#[tokio::test]
async fn strangers_are_dropped_and_the_cause_is_told() {
    let check = async |stranger: TransportConfig, cause: Cause| {
        let (a, b) = (start(stranger).await, start(config(B)).await);
        a.send(b.at, NIL, Via::Datagram, b"let me in");
        b.until_dropped(cause, 1).await;
        a.send(b.at, NIL, Via::Stream, b"let me in");
        b.until_dropped(cause, 2).await;
        assert_eq!(b.all_dropped(), BTreeMap::from([(cause, 2)]));
        assert!(b.inbox.is_empty());
    };
    let other_key = TransportConfig {
        keyring: Some(keyring("two")),
        ..config(A)
    };
    check(other_key, Cause::WrongKey).await;
    check(
        TransportConfig {
            keyring: None,
            ..config(A)
        },
        Cause::WrongKey,
    )
    .await;
    check(
        TransportConfig {
            cluster: "test".to_owned(),
            ..config(A)
        },
        Cause::WrongCluster,
    )
    .await;
    let future = TransportConfig {
        boot: NOW_MS + EPOCH_AHEAD_MAX + 1,
        ..config(A)
    };
    check(future, Cause::Future).await;
}

#[tokio::test]
async fn what_is_meant_for_another_host_is_dropped() {
    let (a, mut b) = (start(config(A)).await, start(config(B)).await);
    a.send(b.at, C, Via::Datagram, b"not yours");
    b.until_dropped(Cause::WrongDestination, 1).await;
    // A stream's dialer learns in the handshake who is there, and does not even send.
    a.send(b.at, C, Via::Stream, b"not yours");
    a.until_dropped(Cause::WrongDestination, 1).await;
    a.send(b.at, B, Via::Stream, b"yours");
    assert_eq!(b.receive().await.payload, b"yours");
}

#[tokio::test]
async fn garbage_of_every_length_is_dropped() {
    let (a, mut b) = (start(config(A)).await, start(config(B)).await);
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut rng = Rng::new(1);
    for len in 0..1_300u64 {
        let bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        stranger.send_to(&bytes, b.at).await.unwrap();
        b.until("one more", |b| b.all_dropped().values().sum::<u64>() > len)
            .await;
    }
    b.check_drops(expect!["{Garbage: 1201, Oversize: 99}"]);
    a.send(b.at, B, Via::Datagram, b"still there?");
    assert_eq!(b.receive().await.payload, b"still there?");
}

#[tokio::test]
async fn every_flipped_byte_of_a_datagram_is_noticed() {
    let (a, mut b) = (start(config(A)).await, start(config(B)).await);
    let good = record(&a, B, b"count me").await;
    let wire = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 0x55;
        wire.send_to(&bad, b.at).await.unwrap();
        let count = position as u64;
        b.until("one more", |b| {
            b.all_dropped().values().sum::<u64>() > count
        })
        .await;
    }
    b.check_drops(expect![
        "{Garbage: 2, WrongVersion: 1, WrongCluster: 4, WrongKey: 4, BadSeal: 80}"
    ]);
    // None of them spoiled the window for the one that is good.
    wire.send_to(&good, b.at).await.unwrap();
    let got = b.receive().await;
    assert_eq!(
        (got.address, got.payload),
        (wire.local_addr().unwrap(), b"count me".to_vec())
    );
}

#[tokio::test]
async fn replays_are_dropped_also_those_of_the_start_before_that_is_still_heard() {
    let (a, mut b) = (start(config(A)).await, start(config(B)).await);
    let wire = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (first, late) = (record(&a, B, b"first").await, record(&a, B, b"late").await);
    wire.send_to(&first, b.at).await.unwrap();
    assert_eq!(b.receive().await.payload, b"first");
    wire.send_to(&first, b.at).await.unwrap();
    b.until_dropped(Cause::Replayed, 1).await;

    drop(a);
    let a = start(TransportConfig {
        boot: NOW_MS + 1,
        ..config(A)
    })
    .await;
    a.send(b.at, B, Via::Datagram, b"I am back");
    let got = b.receive().await;
    assert_eq!((got.boot, got.payload), (NOW_MS + 1, b"I am back".to_vec()));
    wire.send_to(&late, b.at).await.unwrap();
    let got = b.receive().await;
    assert_eq!((got.boot, got.payload), (NOW_MS, b"late".to_vec()));
    for old in [first, late] {
        wire.send_to(&old, b.at).await.unwrap();
    }
    b.until_dropped(Cause::Replayed, 3).await;
}

#[tokio::test]
async fn a_slow_handshake_is_cut() {
    let limits = Limits {
        handshake_wait_max: Duration::from_millis(30),
        ..Limits::default()
    };
    let b = start_within(config(B), 1, limits).await;
    let mut slow = TcpStream::connect(b.at).await.unwrap();
    slow.write_all(b"hf").await.unwrap();
    assert_eq!(read_to_end(&mut slow).await, b"");
    b.until_dropped(Cause::TooSlow, 1).await;
}

#[tokio::test]
async fn connections_that_are_too_many_are_refused_until_others_end() {
    let limits = [
        Limits {
            connections_max: 2,
            ..Limits::default()
        },
        Limits {
            handshakes_max: 2,
            ..Limits::default()
        },
    ];
    for limits in limits {
        let a = start(config(A)).await;
        let mut b = start_within(config(B), 9, limits).await;
        let first = TcpStream::connect(b.at).await.unwrap();
        let second = TcpStream::connect(b.at).await.unwrap();
        let mut third = TcpStream::connect(b.at).await.unwrap();
        assert_eq!(read_to_end(&mut third).await, b"");
        b.until_dropped(Cause::TooManyConnections, 1).await;
        drop((first, second));
        // To connect and close, as probes do, is no offence.
        b.until("room", |b| {
            b.transport.shared.handshakes.available_permits() >= 2
        })
        .await;
        a.send(b.at, B, Via::Stream, b"room again");
        assert_eq!(b.receive().await.payload, b"room again");
        b.check_drops(expect!["{TooManyConnections: 1}"]);
    }
}

#[tokio::test]
async fn garbage_on_a_connection_gets_no_answer() {
    let b = start(config(B)).await;
    let secrets = b.transport.shared.secrets();
    let mut rng = Rng::new(2);
    let ours = seal::preamble(&secrets, secrets.primary());
    for len in [1, 10, 11, 12, 100, 101, 102, 500, 70_000] {
        for known in [0, ours.len().min(len)] {
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            bytes[..known].copy_from_slice(&ours[..known]);
            let mut stranger = TcpStream::connect(b.at).await.unwrap();
            stranger.write_all(&bytes).await.ok();
            stranger.shutdown().await.ok();
            assert_eq!(read_to_end(&mut stranger).await, b"", "{len}");
        }
    }
    b.until("all counted", |b| {
        b.all_dropped().values().sum::<u64>() == 18
    })
    .await;
    b.check_drops(expect!["{Garbage: 14, BadSeal: 4}"]);
}

#[tokio::test]
async fn a_recorded_handshake_gets_a_short_answer_and_no_further() {
    let (a, b) = (start(config(A)).await, start(config(B)).await);
    let wire = TcpListener::bind("127.0.0.1:0").await.unwrap();
    a.send(wire.local_addr().unwrap(), B, Via::Stream, b"secret");
    let mut question = [0; 101];
    wire.accept()
        .await
        .unwrap()
        .0
        .read_exact(&mut question)
        .await
        .unwrap();

    let mut stranger = TcpStream::connect(b.at).await.unwrap();
    stranger.write_all(&question).await.unwrap();
    stranger
        .write_all(&[&[0, 16][..], &[0; 16]].concat())
        .await
        .unwrap();
    assert_eq!(read_to_end(&mut stranger).await.len(), 72);
    b.until_dropped(Cause::BadSeal, 1).await;
    assert_eq!(b.transport.counters().connections_accepted, 0);
}

#[tokio::test]
async fn a_member_that_breaks_the_rules_of_frames_is_cut() {
    let check = async |chunks: &[&[u8]], cause: Cause| {
        let frame_wait_max = Duration::from_millis(30);
        let b = start_within(
            config(B),
            1,
            Limits {
                frame_wait_max,
                ..Limits::default()
            },
        )
        .await;
        let stream = TcpStream::connect(b.at).await.unwrap();
        let us = Hello {
            host: A,
            boot: 1,
            listens: b.at,
        };
        let secrets = b.transport.shared.secrets();
        let mut link = Link::dialed(stream, (&secrets, secrets.primary()), us, Purpose::Frames)
            .await
            .ok()
            .unwrap();
        for chunk in chunks {
            link.write_chunk(chunk).await.ok();
        }
        tokio::time::timeout(PATIENCE, link.closed())
            .await
            .expect("never closed");
        b.until_dropped(cause, 1).await;
        assert!(b.inbox.is_empty());
    };
    let header = |len: usize| {
        let len = (len as u32).to_be_bytes();
        [&len[..], &len, &[0; 16]].concat()
    };
    let bomb = [&[0, 0, 0, 9, 0, 15, 0, 0][..], &[0; 16 + 9]].concat();
    check(&[&bomb], Cause::Garbage).await;
    check(&[&header(FRAME_BYTES_MAX + 1)], Cause::Oversize).await;
    check(&[&header(u32::MAX as usize)], Cause::Oversize).await;
    check(&[&header(10)[..19]], Cause::Garbage).await;
    check(&[&[header(2), vec![0; 3]].concat()], Cause::Garbage).await;
    check(&[header(2).as_slice(), &[0; 3]], Cause::Garbage).await;
    check(&[header(2).as_slice(), &[]], Cause::Garbage).await;
    check(&[header(2).as_slice(), &[0]], Cause::TooSlow).await;
}

/// Peers see by them that the machine is there while the agent is stalled: an agent that was frozen
/// for 40 s was held for dead, since knocks had filled the queue.
#[tokio::test]
async fn connections_of_the_minute_that_a_stalled_agent_is_given_are_all_answered() {
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let room: u32 = somaxconn.trim().parse().unwrap();
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (listener, _socket) = listen(anywhere).await.unwrap();
    let address = listener.local_addr().unwrap();
    for number in 0..room.min(600) {
        let answer = tokio::time::timeout(Duration::from_millis(400), TcpStream::connect(address));
        let answer = answer.await;
        assert!(
            matches!(answer, Ok(Ok(_))),
            "connection {number}: {answer:?}"
        );
    }
}
