//! Tunnels between two transports: what goes through, what ends them, and what is refused.

use super::*;
use crate::gossip::{
    stream::{Failure, Hello, Link, NOWHERE, Purpose},
    tunnel::{Incoming, Lost, OpenError, Tunnel},
};
use tokio::{task::JoinHandle, time::timeout};

/// More than all buffers of both sides and of the kernel hold.
const MUCH: usize = 64 * 1_024 * 1_024;

/// A peer that takes tunnels, and what it takes.
async fn taking(limits: Limits) -> (Peer, Incoming) {
    let mut peer = start_within(config(B), 256, limits).await;
    let incoming = peer.transport.take_incoming().unwrap();
    assert!(peer.transport.take_incoming().is_none());
    (peer, incoming)
}

/// Both ends of one tunnel.
async fn pair(a: &Peer, b: SocketAddr, incoming: &mut Incoming) -> (Tunnel, Tunnel) {
    let near = a.transport.tunnels().open(b, B).await.unwrap();
    let far = timeout(PATIENCE, incoming.recv()).await.unwrap().unwrap();
    assert_eq!((near.peer, far.peer), (B, A));
    (near, far)
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

async fn until_lost(tunnel: &Tunnel) -> Lost {
    let fate = tunnel.fate();
    let started = Instant::now();
    loop {
        match fate.get() {
            Some(lost) => return lost,
            None => assert!(started.elapsed() < PATIENCE, "never lost"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn bytes_go_both_ways_at_once_and_each_way_ends_by_itself() {
    let a = start(config(A)).await;
    let (b, mut incoming) = taking(Limits::default()).await;
    let (near, far) = pair(&a, b.at, &mut incoming).await;
    let (there, back) = (noise(300_000, 1), noise(200_000, 2));
    let send = async |mut to: Tunnel, bytes: &[u8]| {
        to.write_all(bytes).await.unwrap();
        to.shutdown().await.unwrap();
        let mut got = Vec::new();
        to.read_to_end(&mut got).await.unwrap();
        got
    };
    let (got_back, got_there) = tokio::join!(send(near, &there), send(far, &back));
    assert_eq!((got_there, got_back), (there, back));

    let (mut near, mut far) = pair(&a, b.at, &mut incoming).await;
    near.shutdown().await.unwrap();
    assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
    far.write_all(b"still open this way").await.unwrap();
    far.shutdown().await.unwrap();
    let mut got = Vec::new();
    near.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"still open this way");
    assert_eq!((near.fate().get(), far.fate().get()), (None, None));
    assert_eq!(b.all_dropped(), BTreeMap::new());
}

#[tokio::test]
async fn a_slow_reader_makes_its_writer_wait_and_nobody_else() {
    let mut a = start(config(A)).await;
    let (b, mut incoming) = taking(Limits::default()).await;
    let (mut near, mut far) = pair(&a, b.at, &mut incoming).await;
    let bytes = vec![7; MUCH];
    let writing: JoinHandle<()> = tokio::spawn(async move {
        far.write_all(&bytes).await.unwrap();
        far.shutdown().await.unwrap();
    });
    // Longer than a peer may be silent: it is slow and not lost.
    let (mut other, mut others_end) = pair(&a, b.at, &mut incoming).await;
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        other.write_all(b"quick").await.unwrap();
        others_end.read_exact(&mut [0; 5]).await.unwrap();
        b.send(a.at, A, Via::Stream, b"quick");
        a.receive().await;
    }
    assert!(!writing.is_finished(), "something holds it all");
    let mut got = Vec::new();
    near.read_to_end(&mut got).await.unwrap();
    assert_eq!((got.len(), near.fate().get()), (MUCH, None));
    writing.await.unwrap();
}

#[tokio::test]
async fn a_tunnel_whose_end_is_dropped_ends() {
    let a = start(config(A)).await;
    let (b, mut incoming) = taking(Limits::default()).await;
    let (near, mut far) = pair(&a, b.at, &mut incoming).await;
    drop(near);
    assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
    // Who goes on writing learns that nobody reads.
    let told = async {
        while far.write_all(&[0; 1_024]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, told).await.expect("it is told");
}

/// A cable to `to` that can be cut, or be held so that nothing comes through any more.
async fn cable(to: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let carrying = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        copy_bidirectional(&mut near, &mut far).await.ok();
    });
    (at, carrying)
}

#[tokio::test]
async fn a_peer_that_is_cut_off_is_lost_at_once_and_one_without_power_within_seconds() {
    let a = start(config(A)).await;
    let (b, mut incoming) = taking(Limits::default()).await;
    let (at, carrying) = cable(b.at).await;
    let (mut near, _far) = pair(&a, at, &mut incoming).await;
    carrying.abort();
    let err = near.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(near.fate().get(), Some(Lost::Broken));

    // Whoever is at the other end took the connection and says nothing more: so it looks where a
    // machine has lost its power.
    let (listener, secrets) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        b.transport.shared.secrets(),
    );
    let at = listener.local_addr().unwrap();
    let silent = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut link = Link::accepted(stream, &secrets, hello(B))
            .await
            .ok()
            .unwrap();
        link.write_chunk(&[0]).await.ok().unwrap();
        link
    };
    let tunnels = a.transport.tunnels();
    let (_silent, near) = tokio::join!(silent, tunnels.open(at, B));
    let (since, mut near) = (Instant::now(), near.unwrap());
    near.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(near.fate().get(), Some(Lost::Silent));
    assert!(since.elapsed() < Duration::from_secs(10));
}

fn hello(host: HostId) -> Hello {
    Hello {
        host,
        boot: 1,
        listens: NOWHERE,
    }
}

/// A member that opens a tunnel by the rules and then sends what it likes.
async fn member(b: &Peer, purpose: Purpose) -> Link {
    let secrets = b.transport.shared.secrets();
    let stream = TcpStream::connect(b.at).await.unwrap();
    let keys = (&*secrets, secrets.primary());
    let link = Link::dialed(stream, keys, hello(A), purpose).await;
    link.ok().unwrap()
}

#[tokio::test]
async fn a_member_that_breaks_the_rules_of_tunnels_is_cut() {
    let (b, mut incoming) = taking(Limits::default()).await;
    let check = async |incoming: &mut Incoming, chunks: &[&[u8]]| {
        let mut link = member(&b, Purpose::Tunnel(B)).await;
        let mut tunnel = timeout(PATIENCE, incoming.recv()).await.unwrap().unwrap();
        for chunk in chunks {
            link.write_chunk(chunk).await.ok();
        }
        assert_eq!(until_lost(&tunnel).await, Lost::Garbled, "{chunks:?}");
        let mut got = Vec::new();
        tunnel.read_to_end(&mut got).await.unwrap_err();
    };
    check(&mut incoming, &[&[9]]).await;
    check(&mut incoming, &[&[2, 0]]).await;
    check(&mut incoming, &[&[1, 0]]).await;
    check(&mut incoming, &[&[]]).await;
    check(&mut incoming, &[&[1], &[1]]).await;
    check(&mut incoming, &[&[1], &[0, 5]]).await;
    check(&mut incoming, &[&[0; 40_000]]).await;
    // What is not sealed at all, or was sealed for another place in the stream.
    let mut rng = Rng::new(3);
    for _ in 0..50 {
        let link = member(&b, Purpose::Tunnel(B)).await;
        let tunnel = timeout(PATIENCE, incoming.recv()).await.unwrap().unwrap();
        let (mut stream, _) = link.into_parts();
        let len = 17 + rng.below(200) as usize;
        let mut garbage = noise(len, rng.next_u64());
        garbage.splice(0..0, (len as u16).to_be_bytes());
        stream.write_all(&garbage).await.unwrap();
        assert_eq!(until_lost(&tunnel).await, Lost::Garbled);
    }
}

/// Whoever recorded all that a member sent, and sends it again, gets an answer to the handshake and
/// nothing else: the purpose is sealed for another one.
#[tokio::test]
async fn a_tunnel_that_is_replayed_is_refused() {
    let a = start(config(A)).await;
    let (b, mut incoming) = taking(Limits::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, to) = (listener.local_addr().unwrap(), b.at);
    let recording = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        let (mut said, mut bytes) = (Vec::new(), [0; 4_096]);
        loop {
            tokio::select! {
                read = near.read(&mut bytes) => match read {
                    Ok(0) | Err(_) => return said,
                    Ok(len) => {
                        said.extend_from_slice(&bytes[..len]);
                        far.write_all(&bytes[..len]).await.unwrap();
                    }
                },
                answered = far.read_u8() => match answered {
                    Ok(byte) => near.write_all(&[byte]).await.unwrap(),
                    Err(_) => return said,
                },
            }
        }
    });
    let (mut near, mut far) = pair(&a, at, &mut incoming).await;
    near.write_all(b"stop everything").await.unwrap();
    far.read_exact(&mut [0; 15]).await.unwrap();
    drop((near, far));
    let said = recording.await.unwrap();
    let mut stranger = TcpStream::connect(b.at).await.unwrap();
    stranger.write_all(&said).await.unwrap();
    b.until_dropped(Cause::BadSeal, 1).await;
    assert!(incoming.is_empty());
}

#[tokio::test]
async fn tunnels_are_so_many_and_their_places_are_given_back() {
    let few = Limits {
        tunnels_max: 1,
        ..Limits::default()
    };
    let a = start(config(A)).await;
    let (b, mut incoming) = taking(few).await;
    let first = pair(&a, b.at, &mut incoming).await;
    let refused = a.transport.tunnels().open(b.at, B).await;
    assert!(
        matches!(refused, Err(OpenError::TooManyThere)),
        "{refused:?}"
    );
    b.until_dropped(Cause::TooManyConnections, 1).await;
    drop(first);
    let started = Instant::now();
    let second = loop {
        match a.transport.tunnels().open(b.at, B).await {
            Ok(tunnel) => break tunnel,
            Err(err) => assert!(started.elapsed() < PATIENCE, "{err}"),
        }
    };
    drop(second);

    let c = start_within(config(C), 1, few).await;
    let held = c.transport.tunnels().open(a.at, A).await.unwrap();
    let refused = c.transport.tunnels().open(a.at, A).await;
    assert!(
        matches!(refused, Err(OpenError::TooManyHere(1))),
        "{refused:?}"
    );
    drop(held);
}

#[tokio::test]
async fn a_tunnel_that_cannot_be_opened_says_why() {
    let a = start(config(A)).await;
    let (b, _incoming) = taking(Limits::default()).await;
    let check = async |a: &Peer, at: SocketAddr, host, expected: Expect| {
        let err = a.transport.tunnels().open(at, host).await.unwrap_err();
        let port = at.port().to_string();
        expected.assert_eq(&fold(&err.to_string().replace(&port, "PORT")));
    };
    check(
        &a,
        b.at,
        C,
        expect!["another host answers at 127.0.0.1:PORT"],
    )
    .await;
    let nobody = "127.77.0.9:9".parse().unwrap();
    let refused = "its agent cannot be reached at 127.77.0.PORT:PORT: Connection refused";
    let err = a.transport.tunnels().open(nobody, B).await.unwrap_err();
    assert!(
        err.to_string().replace('9', "PORT").starts_with(refused),
        "{err}"
    );
    let stranger = TransportConfig {
        keyring: Some(keyring("two")),
        ..config(C)
    };
    let c = start(stranger).await;
    check(
        &c,
        b.at,
        B,
        expect![[r#"
            its agent cannot be reached at 127.0.0.1:PORT: it closes the connection; check
              `key_file` on both hosts"#]],
    )
    .await;
    let tunnels = c.transport.tunnels();
    drop(c);
    a.until("it is gone", |_| tunnels.0.strong_count() == 0)
        .await;
    let gone = tunnels.open(b.at, B).await;
    assert!(matches!(gone, Err(OpenError::Stopping)), "{gone:?}");
}

/// As a release before tunnels does: it takes the purpose for garbage.
#[tokio::test]
async fn an_agent_that_knows_of_no_tunnels_refuses_cleanly() {
    let a = start(config(A)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let secrets = a.transport.shared.secrets();
    let old = async {
        let (stream, _) = listener.accept().await.unwrap();
        drop(Link::accepted(stream, &secrets, hello(B)).await);
    };
    let tunnels = a.transport.tunnels();
    let ((), refused) = tokio::join!(old, tunnels.open(at, B));
    assert!(matches!(refused, Err(OpenError::NotServed)), "{refused:?}");
    for purpose in [&[2][..], &[1], &[1; 16], &[1; 18]] {
        let read = Purpose::read(purpose);
        assert!(
            matches!(read, Err(Failure::Refused(Cause::WrongVersion))),
            "{purpose:?}"
        );
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_the_key_that_it_was_opened_with() {
    let both = ring(&["one", "two"]);
    let a = start(config(A)).await;
    let (b, mut incoming) = taking(Limits::default()).await;
    b.transport.set_keyring(&both);
    let (near, far) = pair(&a, b.at, &mut incoming).await;
    b.transport.set_keyring(&ring(&["two"]));
    assert_eq!(until_lost(&far).await, Lost::KeyRemoved);
    assert_eq!(until_lost(&near).await, Lost::Broken);
}
