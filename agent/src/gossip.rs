//! The transport between agents: sealed bytes in and out over one UDP and TCP port.
//!
//! It knows nothing of messages, promises no delivery and never blocks who sends: what cannot be
//! sent or taken is dropped and counted, and the layer above repairs.

mod accept;
mod counters;
mod datagram;
mod dial;
mod key;
mod knock;
mod keyring;
mod squeeze;
mod stream;
mod tunnel;
#[cfg(test)]
mod tests;

pub(crate) use counters::Counters;
pub(crate) use holdfast_seal::{
    key::{ClusterKey, Keyring},
    seal::DATAGRAM_PAYLOAD_MAX,
};
pub(crate) use key::{Guarded, KEY_FILE_BYTES_MAX, KeyFileError, read_guarded, read_key_file};
pub(crate) use keyring::KeyStore;
pub(crate) use knock::Knocks;
pub(crate) use tunnel::{Fate, Incoming, Tunnel, Tunnels};

use counters::{Tally, lock};
use dial::Lanes;
use holdfast_core::{
    ids::{HostId, KeyId},
    limits::{EPOCH_AHEAD_MAX, FRAME_BYTES_MAX},
};
use holdfast_seal::{
    key::{Derived, Secrets},
    replay::{Replays, SENDERS_MAX},
    seal::Sealer,
};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::{TcpListener, TcpSocket, UdpSocket},
    sync::{Semaphore, mpsc, watch},
};

/// Connections that the kernel takes for us while we do not: those by which peers see that this
/// machine is there while its agent is stalled stay until we do. Ten observers, one a second each,
/// and twice that for streams, over the minute that a stalled agent is given. The kernel takes no
/// more than `net.core.somaxconn` (4096 since Linux 5.4).
const UNACCEPTED_MAX: u32 = 2_048;

#[derive(Clone, Debug)]
pub(crate) struct TransportConfig {
    /// Port 0 takes any port that is free for both UDP and TCP.
    pub(crate) bind: SocketAddr,
    /// Where peers reach us. Port 0 is the bound port; an unspecified IP, the one they see.
    pub(crate) advertise: SocketAddr,
    pub(crate) cluster: String,
    /// Without one, `bind` must be a loopback address.
    pub(crate) keyring: Option<Keyring>,
    pub(crate) host: HostId,
    /// Milliseconds of wall time when the agent started, or later; greater than at any start of
    /// this host before. Peers hear the last few starts, and drop what starts in their future.
    pub(crate) boot: u64,
    pub(crate) now_wall_ms: fn() -> u64,
}

/// How something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// At most `DATAGRAM_PAYLOAD_MAX` bytes; may be lost or come in another order, never twice.
    Datagram,
    /// At most `FRAME_BYTES_MAX` bytes; in order, and lost only if the connection is.
    Stream,
}

/// Something that a peer with our key has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) from: HostId,
    pub(crate) boot: u64,
    /// Us, or nil if the sender did not know who is at our address.
    pub(crate) to: HostId,
    /// Where the sender listens: as it says in a stream, as seen from here for a datagram.
    pub(crate) address: SocketAddr,
    pub(crate) via: Via,
    pub(crate) payload: Vec<u8>,
}

/// Why the transport did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error(
        "no cluster key: set `key_file` (make one with `holdfast key new`) or bind to 127.0.0.1"
    )]
    NoKey,
    #[error(
        "cannot listen on {address} ({protocol}): check `bind`, \
         and that no other agent runs on this host"
    )]
    Listen {
        address: SocketAddr,
        protocol: &'static str,
        #[source]
        err: io::Error,
    },
    #[error("cannot draw random bytes: check that the kernel's random device works")]
    Random(#[source] getrandom::Error),
}

/// The caller sent what can never arrive. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    #[error(
        "a datagram carries at most {DATAGRAM_PAYLOAD_MAX} bytes, not {bytes}: send it by stream"
    )]
    Datagram { bytes: usize },
    #[error("a frame carries at most {FRAME_BYTES_MAX} bytes, not {bytes}: send it in parts")]
    Frame { bytes: usize },
}

/// Sends at once and receives into its inbox until it is dropped, which closes everything.
#[derive(Debug)]
pub(crate) struct Transport {
    shared: Arc<Shared>,
    /// Until somebody takes it, peers are told that there is no room.
    incoming: Option<Incoming>,
    /// Its end is what the workers wait for.
    _open: watch::Sender<()>,
}

/// What all workers of one transport use.
struct Shared {
    local: SocketAddr,
    /// With the port that is bound, if none was set.
    advertise: SocketAddr,
    host: HostId,
    cluster: String,
    boot: u64,
    now_wall_ms: fn() -> u64,
    /// The keys of the moment; whoever waits for a change hears of it.
    secrets: watch::Sender<Arc<Secrets>>,
    /// Which key a host sealed with lately, where it is not the one in use: it may not have that.
    spoke: Mutex<BTreeMap<HostId, KeyId>>,
    sealer: Sealer,
    socket: UdpSocket,
    inbox: mpsc::Sender<Received>,
    replays: Mutex<Replays>,
    lanes: Lanes,
    /// KiB that frames may take which are not yet in the inbox.
    frames_kib: Semaphore,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    tunnels: mpsc::Sender<Tunnel>,
    tunnels_dialed: Arc<Semaphore>,
    tunnels_accepted: Arc<Semaphore>,
    tally: Tally,
    limits: Limits,
    closing: watch::Receiver<()>,
}

/// Every limit of the transport on what peers and time can grow.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connections_max: usize,
    handshakes_max: usize,
    handshake_wait_max: Duration,
    /// A connection that a peer opened and does not use is closed after this.
    accepted_idle_max: Duration,
    /// A connection that we opened and do not use is closed after this; less than the above, so
    /// that nobody sends into a connection which the other side is closing.
    dialed_idle_max: Duration,
    /// A connection younger than this shows who is at its other end.
    dialed_known_for: Duration,
    frame_wait_max: Duration,
    frames_kib_max: usize,
    /// Those that we opened, and those that peers opened. Each holds some 256 KiB at the most.
    tunnels_max: usize,
    lanes_max: usize,
    lane_bytes_max: usize,
    lanes_bytes_max: usize,
    backoff_min: Duration,
    backoff_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            handshakes_max: 256,
            handshake_wait_max: Duration::from_secs(3),
            accepted_idle_max: Duration::from_secs(120),
            dialed_idle_max: Duration::from_secs(60),
            dialed_known_for: Duration::from_secs(1),
            frame_wait_max: Duration::from_secs(30),
            frames_kib_max: 64 * 1_024,
            tunnels_max: 64,
            lanes_max: 1_024,
            lane_bytes_max: 4 * 1_024 * 1_024,
            lanes_bytes_max: 64 * 1_024 * 1_024,
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(5),
        }
    }
}

impl Transport {
    /// Listens, and from then on puts what comes into `inbox`. When that is full, datagrams are
    /// dropped and streams wait.
    pub(crate) async fn bind(
        config: TransportConfig,
        inbox: mpsc::Sender<Received>,
    ) -> Result<Self, BindError> {
        Self::bind_within(config, inbox, Limits::default()).await
    }

    async fn bind_within(
        config: TransportConfig,
        inbox: mpsc::Sender<Received>,
        limits: Limits,
    ) -> Result<Self, BindError> {
        let keyring = match config.keyring {
            Some(keyring) => keyring,
            None if config.bind.ip().to_canonical().is_loopback() => {
                let primary = ClusterKey::known_to_everyone(&config.cluster);
                Keyring {
                    primary,
                    others: Vec::new(),
                }
            }
            None => return Err(BindError::NoKey),
        };
        let secrets = Secrets::new(&keyring, &config.cluster);
        let mut salt = [0; 8];
        getrandom::fill(&mut salt).map_err(BindError::Random)?;
        let (listener, socket) = listen(config.bind).await?;
        let local = listener
            .local_addr()
            .map_err(|err| refused(config.bind, "TCP", err))?;
        let mut advertise = config.advertise;
        if advertise.port() == 0 {
            advertise.set_port(local.port());
        }
        let (open, closing) = watch::channel(());
        let (tunnels, incoming) = mpsc::channel(tunnel::WAITING_MAX);
        let shared = Arc::new(Shared {
            local,
            advertise,
            host: config.host,
            cluster: config.cluster,
            boot: config.boot,
            now_wall_ms: config.now_wall_ms,
            sealer: Sealer::new(config.host, config.boot, salt),
            secrets: watch::Sender::new(Arc::new(secrets)),
            spoke: Mutex::default(),
            socket,
            inbox,
            replays: Mutex::new(Replays::new(SENDERS_MAX)),
            lanes: Lanes::default(),
            frames_kib: Semaphore::new(limits.frames_kib_max),
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            handshakes: Arc::new(Semaphore::new(limits.handshakes_max)),
            tunnels,
            tunnels_dialed: Arc::new(Semaphore::new(limits.tunnels_max)),
            tunnels_accepted: Arc::new(Semaphore::new(limits.tunnels_max)),
            tally: Tally::default(),
            limits,
            closing,
        });
        shared.spawn(datagram::receive(shared.clone()));
        shared.spawn(accept::receive(shared.clone(), listener));
        Ok(Self {
            shared,
            incoming: Some(incoming),
            _open: open,
        })
    }

    /// Opens tunnels to peers.
    pub(crate) fn tunnels(&self) -> Tunnels {
        Tunnels(Arc::downgrade(&self.shared))
    }

    /// The tunnels that peers open. There is one taker: who comes later gets nothing.
    pub(crate) fn take_incoming(&mut self) -> Option<Incoming> {
        self.incoming.take()
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Sends without waiting. `to_host` is who should be there: anyone else drops it; nil if not
    /// known. Must be called within tokio's runtime.
    pub(crate) fn send(
        &self,
        to: SocketAddr,
        to_host: HostId,
        via: Via,
        payload: Vec<u8>,
    ) -> Result<(), SendError> {
        let bytes = payload.len();
        match via {
            Via::Datagram if bytes > DATAGRAM_PAYLOAD_MAX => Err(SendError::Datagram { bytes }),
            Via::Stream if bytes > FRAME_BYTES_MAX => Err(SendError::Frame { bytes }),
            Via::Datagram => {
                datagram::send(&self.shared, to, to_host, payload);
                Ok(())
            }
            Via::Stream => {
                dial::send(&self.shared, to, to_host, payload);
                Ok(())
            }
        }
    }

    /// From now on these keys are accepted, and the first one seals. Connections that were made
    /// with a key which is no longer there are closed.
    pub(crate) fn set_keyring(&self, keyring: &Keyring) {
        let secrets = Secrets::new(keyring, &self.shared.cluster);
        self.shared.secrets.send_replace(Arc::new(secrets));
    }

    pub(crate) fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
    }
}

impl Shared {
    fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets.borrow())
    }

    /// What to seal with for this host: the key in use, or the one that it sealed with itself.
    fn key_for<'a>(&self, secrets: &'a Secrets, host: HostId) -> &'a Derived {
        let spoken = lock(&self.spoke).get(&host).copied();
        let known = spoken.and_then(|id| secrets.find(id));
        known.unwrap_or_else(|| secrets.primary())
    }

    /// A host has shown that it has this key.
    fn note_key(&self, secrets: &Secrets, host: HostId, key: KeyId) {
        let mut spoke = lock(&self.spoke);
        if key == secrets.primary().id {
            spoke.remove(&host);
        } else if spoke.len() < SENDERS_MAX || spoke.contains_key(&host) {
            spoke.insert(host, key);
        }
    }

    /// Waits until a key is no longer accepted.
    async fn removed(&self, key: KeyId) {
        let mut secrets = self.secrets.subscribe();
        let gone = secrets
            .wait_for(|secrets| secrets.find(key).is_none())
            .await;
        assert!(gone.is_ok(), "the sender lives as long as we do");
    }

    /// Runs until it is done or the transport is dropped.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut closing = self.closing.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = closing.changed() => {}
                () = work => {}
            }
        });
    }

    fn is_for_us(&self, to: HostId) -> bool {
        to == HostId::default() || to == self.host
    }

    /// Of a clock that is wrong by less the agents tell one another, and go by what most show.
    fn is_in_future(&self, boot: u64) -> bool {
        boot > (self.now_wall_ms)().saturating_add(EPOCH_AHEAD_MAX)
    }

    /// The address as our sockets want it: one that listens on IPv6 reaches IPv4 by mapped ones.
    fn reachable(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.local.is_ipv6() => {
                SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), to.port())
            }
            _ => to,
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("local", &self.local)
            .field("host", &self.host)
            .finish()
    }
}

/// The wall clock in milliseconds since 1970, for `TransportConfig`.
pub(crate) fn now_wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Peers are told one port, so UDP and TCP must have the same.
async fn listen(bind: SocketAddr) -> Result<(TcpListener, UdpSocket), BindError> {
    let mut tries = if bind.port() == 0 { 16 } else { 1 };
    loop {
        tries -= 1;
        let tcp = listen_tcp(bind).map_err(|err| refused(bind, "TCP", err))?;
        let address = tcp.local_addr().map_err(|err| refused(bind, "TCP", err))?;
        match datagram::bind(address).await {
            Ok(udp) => return Ok((tcp, udp)),
            Err(err) if tries == 0 => return Err(refused(address, "UDP", err)),
            Err(_) => {}
        }
    }
}

/// As `TcpListener::bind`, with more room for connections that nobody has accepted yet.
fn listen_tcp(bind: SocketAddr) -> io::Result<TcpListener> {
    let socket = match bind {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As every server does: a restart need not wait for connections of the last run to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(bind)?;
    socket.listen(UNACCEPTED_MAX)
}

fn refused(address: SocketAddr, protocol: &'static str, err: io::Error) -> BindError {
    BindError::Listen {
        address,
        protocol,
        err,
    }
}
