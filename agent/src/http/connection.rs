//! Takes connections, never more than a bound, and none for ever.

use super::{caller::Caller, tasks::TASK_STREAMS_MAX};
use crate::gossip::{Incoming as FromPeers, Tunnel};
use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    pin,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::debug;

/// Connections of one server at the same time, streams of logs among them; the kernel's queue holds
/// whoever comes next.
const CONNECTIONS_MAX: usize = 64 + TASK_STREAMS_MAX;
/// From the connection, or the end of the last request, to the end of the next one's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// Then a connection takes no more requests: clients connect anew. Ends those who do not read.
const LIFE_MAX: Duration = Duration::from_secs(60);
/// For what a connection is in the middle of when its time is up.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of events; their readers come back with `Last-Event-ID`.
const STREAM_LIFE_MAX: Duration = Duration::from_secs(3_600);
/// After a failure to accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells a connection that it now carries a stream, which may last.
#[derive(Clone, Debug, Default)]
pub(super) struct Streaming(Arc<AtomicU8>);

impl Streaming {
    const EVENTS: u8 = 1;
    const ENDLESS: u8 = 2;

    /// Of events, whose readers come back.
    pub(super) fn begin(&self) {
        self.0.fetch_max(Self::EVENTS, Ordering::Relaxed);
    }

    /// Of something that cannot be gone on with. How many there are must be bounded.
    pub(super) fn begin_endless(&self) {
        self.0.fetch_max(Self::ENDLESS, Ordering::Relaxed);
    }

    /// How much longer than other connections it may last.
    fn life_max(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            Self::ENDLESS => Some(Duration::MAX),
            Self::EVENTS => Some(STREAM_LIFE_MAX),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Connections {
    permits: Arc<Semaphore>,
    /// Ended with this, so that no connection outlives its server.
    workers: JoinSet<()>,
    router: Router,
    closing: CancellationToken,
}

/// Where connections come from.
pub(super) trait Door: Send + 'static {
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and who is at its other end.
    fn open(&mut self) -> impl Future<Output = io::Result<(Self::Io, Caller)>> + Send;
}

impl Door for UnixListener {
    type Io = UnixStream;

    async fn open(&mut self) -> io::Result<(UnixStream, Caller)> {
        let (io, _) = self.accept().await?;
        let peer = io.peer_cred()?;
        let (uid, gid) = (peer.uid(), peer.gid());
        Ok((io, Caller::Local { uid, gid }))
    }
}

impl Door for TcpListener {
    type Io = TcpStream;

    async fn open(&mut self) -> io::Result<(TcpStream, Caller)> {
        let (io, _) = self.accept().await?;
        Ok((io, Caller::Loopback))
    }
}

/// Tunnels: what peers ask of this agent.
impl Door for FromPeers {
    type Io = Tunnel;

    async fn open(&mut self) -> io::Result<(Tunnel, Caller)> {
        match self.recv().await {
            Some(tunnel) => {
                let peer = Caller::Peer(tunnel.peer);
                Ok((tunnel, peer))
            }
            // The transport is gone, and so will we be.
            None => std::future::pending().await,
        }
    }
}

/// Serves until `closing`, and then until what was asked has been answered.
pub(super) async fn serve(mut door: impl Door, router: Router, closing: CancellationToken) {
    let mut connections = Connections::new(router, closing.clone());
    loop {
        let opened = async { (connections.permit().await, door.open().await) };
        match closing.run_until_cancelled(opened).await {
            Some((permit, Ok((io, caller)))) => connections.start(io, caller, permit),
            Some((_, Err(err))) => pause(&err).await,
            None => break,
        }
    }
    drop(door);
    while connections.workers.join_next().await.is_some() {}
}

async fn pause(err: &io::Error) {
    debug!(%err, "A connection could not be accepted.");
    sleep(ACCEPT_PAUSE).await;
}

impl Connections {
    fn new(router: Router, closing: CancellationToken) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            workers: JoinSet::new(),
            router,
            closing,
        }
    }

    async fn permit(&mut self) -> OwnedSemaphorePermit {
        while self.workers.try_join_next().is_some() {}
        let permits = Arc::clone(&self.permits);
        permits
            .acquire_owned()
            .await
            .expect("these permits are never closed")
    }

    fn start<I>(&mut self, io: I, caller: Caller, permit: OwnedSemaphorePermit)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (router, closing) = (self.router.clone(), self.closing.clone());
        self.workers.spawn(async move {
            converse(io, caller, router, closing).await;
            drop(permit);
        });
    }
}

/// Answers the requests of one connection until its time is up, or its server closes.
async fn converse<I>(io: I, caller: Caller, router: Router, closing: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let streaming = Streaming::default();
    let told = streaming.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(told.clone());
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    pin!(connection);
    let life = async {
        let ended = timeout(LIFE_MAX, connection.as_mut()).await.is_ok();
        match streaming.life_max() {
            Some(life_max) if !ended => timeout(life_max, connection.as_mut()).await.is_ok(),
            _ => ended,
        }
    };
    if closing.run_until_cancelled(life).await == Some(true) {
        return;
    }
    connection.as_mut().graceful_shutdown();
    // Whoever still does not read is cut off.
    timeout(LAST_ANSWER_TIMEOUT, connection).await.ok();
}
