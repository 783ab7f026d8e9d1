//! Byte streams between two agents, both ways, each over a connection of its own.
//!
//! After the handshake of [`stream`](super::stream) the listener answers with a chunk of one byte
//! (0: taken), and then both sides send chunks: length 2, sealed bytes; sealed are a kind and what
//! goes with it.
//!
//! | kind | what |
//! |---|---|
//! | 0 | bytes of the stream, at most [`DATA_BYTES_MAX`] |
//! | 1 | no more bytes come this way; the other way stays open |
//! | 2 | nothing: the sender is there |
//!
//! Who has nothing to send for a second says that it is there, so that a lost peer is known within
//! [`SILENCE_MAX`], also where nothing flows. Nobody holds more than a few chunks: where a reader
//! is slow, TCP makes the writer wait. A peer that says that it is there and takes no bytes is not
//! lost, so no time-out of the kernel is set. Chunks are counted by both sides, so one that comes
//! twice or in another order is garbage.

use super::{
    Shared,
    counters::{Cause, lock},
    dial,
    stream::{Failure, Link, TAG_BYTES},
};
use bytes::{Buf as _, BytesMut};
use holdfast_core::ids::HostId;
use snow::TransportState;
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, Weak},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf,
        ReadHalf, WriteHalf, duplex, split,
    },
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How often whoever has nothing to send says that it is there.
const PRESENT_EACH: Duration = Duration::from_secs(1);
/// Who says nothing for this long is lost.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const DATA_BYTES_MAX: usize = 32 * 1_024;
const CHUNK_BYTES_MAX: usize = 1 + DATA_BYTES_MAX + TAG_BYTES;
/// What the two sides of this agent hold for one another, each way.
const HELD_BYTES_MAX: usize = 64 * 1_024;
/// What is read from a connection at once.
const READ_BYTES_MAX: usize = 2 * (2 + CHUNK_BYTES_MAX);
/// Tunnels that were accepted and nobody has taken yet.
pub(super) const WAITING_MAX: usize = 16;

const DATA: u8 = 0;
const END: u8 = 1;
const PRESENT: u8 = 2;

/// How the listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Answer {
    Taken = 0,
    TooMany = 1,
    OtherHost = 2,
}

/// A byte stream to a peer. Dropping it ends both ways.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) peer: HostId,
    io: DuplexStream,
    fate: Fate,
}

/// Tells how a tunnel ended, also when it is in other hands. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<OnceLock<Lost>>);

/// Why a tunnel ended before both sides had ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    #[error("its agent has said nothing for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("the connection to its agent broke")]
    Broken,
    #[error("what came from its agent was damaged or forged")]
    Garbled,
    #[error("the cluster key of the connection was removed")]
    KeyRemoved,
}

/// Why a tunnel was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("this agent has {0} connections of this kind open, which is the most; close some")]
    TooManyHere(usize),
    #[error("its agent has as many connections of this kind open as it takes; close some")]
    TooManyThere,
    #[error("another host answers at {0}")]
    OtherHost(SocketAddr),
    #[error("its agent does not serve this: run the same release on all hosts")]
    NotServed,
    #[error("its agent did not answer at {0} in time")]
    TooSlow(SocketAddr),
    #[error("its agent cannot be reached at {0}: {1}")]
    Unreachable(SocketAddr, String),
    #[error("this agent is stopping")]
    Stopping,
}

/// Opens tunnels, for as long as the transport is there. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tunnels(pub(super) Weak<Shared>);

impl Tunnels {
    /// Opens one to that host, which must be the one that answers there.
    pub(crate) async fn open(&self, to: SocketAddr, host: HostId) -> Result<Tunnel, OpenError> {
        let shared = self.0.upgrade().ok_or(OpenError::Stopping)?;
        let most = shared.limits.tunnels_max;
        let permit = Arc::clone(&shared.tunnels_dialed).try_acquire_owned();
        let permit = permit.map_err(|_| OpenError::TooManyHere(most))?;
        let opening = timeout(shared.limits.handshake_wait_max, dial(&shared, to, host));
        let link = opening.await.map_err(|_| OpenError::TooSlow(to))??;
        Ok(start(&shared, link, permit))
    }
}

async fn dial(shared: &Shared, to: SocketAddr, host: HostId) -> Result<Link, OpenError> {
    let closed = "it closes the connection; check `key_file` on both hosts";
    let failed = |failure| match failure {
        Failure::Io(err) if err.kind() != io::ErrorKind::ConnectionReset => {
            OpenError::Unreachable(to, err.to_string())
        }
        Failure::Io(_) | Failure::Ended => OpenError::Unreachable(to, closed.to_owned()),
        Failure::Refused(cause) => OpenError::Unreachable(to, cause.sentence(to)),
    };
    let link = dial::dial_for_tunnel(shared, to, host).await;
    let mut link = link.map_err(failed)?;
    if link.peer.host != host {
        return Err(OpenError::OtherHost(to));
    }
    let mut answer = Vec::new();
    match link.read_chunk(&mut answer, 1).await {
        // So does an agent that knows of no tunnels.
        Err(Failure::Ended) => return Err(OpenError::NotServed),
        Err(Failure::Io(err)) if err.kind() == io::ErrorKind::ConnectionReset => {
            return Err(OpenError::NotServed);
        }
        read => read.map_err(failed)?,
    };
    match answer[..] {
        [answer] if answer == Answer::Taken as u8 => Ok(link),
        [answer] if answer == Answer::TooMany as u8 => Err(OpenError::TooManyThere),
        [answer] if answer == Answer::OtherHost as u8 => Err(OpenError::OtherHost(to)),
        _ => Err(OpenError::NotServed),
    }
}

/// Answers a peer that wants a tunnel, and hands it to whoever serves them.
pub(super) async fn accept(
    shared: &Arc<Shared>,
    mut link: Link,
    to: HostId,
) -> Result<(), Failure> {
    let refuse = async |mut link: Link, answer: Answer, cause| {
        link.write_chunk(&[answer as u8]).await?;
        Err(Failure::Refused(cause))
    };
    if to != shared.host {
        return refuse(link, Answer::OtherHost, Cause::WrongDestination).await;
    }
    let permit = Arc::clone(&shared.tunnels_accepted).try_acquire_owned();
    let waiting = shared.tunnels.clone().try_reserve_owned();
    let (Ok(permit), Ok(place)) = (permit, waiting) else {
        return refuse(link, Answer::TooMany, Cause::TooManyConnections).await;
    };
    link.write_chunk(&[Answer::Taken as u8]).await?;
    shared.tally.connections_accepted.add(0);
    place.send(start(shared, link, permit));
    Ok(())
}

/// Hands out one end; a worker carries what goes through until both ways have ended.
fn start(shared: &Arc<Shared>, link: Link, permit: OwnedSemaphorePermit) -> Tunnel {
    let (near, far) = duplex(HELD_BYTES_MAX);
    let fate = Fate::default();
    let tunnel = Tunnel {
        peer: link.peer.host,
        io: near,
        fate: fate.clone(),
    };
    let (peer, key) = (link.peer.host, link.key);
    let carrying = carry(link, far, fate.clone());
    let keys = Arc::clone(shared);
    shared.spawn(async move {
        tokio::select! {
            () = carrying => {}
            () = keys.removed(key) => fate.set(Lost::KeyRemoved),
        }
        if let Some(lost) = fate.get() {
            debug!(%peer, reason = %lost, "A tunnel was lost.");
        }
        drop(permit);
    });
    tunnel
}

async fn carry(link: Link, io: DuplexStream, fate: Fate) {
    let (stream, noise) = link.into_parts();
    let (from_peer, to_peer) = stream.into_split();
    let (from_here, to_here) = split(io);
    let noise = Mutex::new(noise);
    let ended = CancellationToken::new();
    let inbound = Inbound {
        noise: &noise,
        from_peer,
        to_here,
        came: BytesMut::new(),
        plain: vec![0; CHUNK_BYTES_MAX],
    };
    let outbound = Outbound {
        noise: &noise,
        to_peer,
        from_here,
        chunk: vec![0; 2 + CHUNK_BYTES_MAX],
    };
    let carried = tokio::select! {
        carried = inbound.carry(&ended) => carried,
        lost = outbound.carry(&ended) => Err(lost),
    };
    if let Err(lost) = carried {
        // Before our end of it is dropped, by which the other one learns of it.
        fate.set(lost);
    }
}

/// What comes from the peer.
struct Inbound<'a> {
    noise: &'a Mutex<TransportState>,
    from_peer: OwnedReadHalf,
    to_here: WriteHalf<DuplexStream>,
    came: BytesMut,
    plain: Vec<u8>,
}

impl Inbound<'_> {
    /// Until both ways have ended, or nobody here takes what comes.
    async fn carry(mut self, ended_here: &CancellationToken) -> Result<(), Lost> {
        let mut ended = false;
        loop {
            let next = async {
                match ended {
                    true => ended_here.cancelled().await,
                    false => std::future::pending().await,
                }
            };
            // In this order: who has ended both ways may find the connection closed.
            let plain_len = tokio::select! {
                biased;
                () = next => return Ok(()),
                read = self.chunk() => read?,
            };
            match self.plain[..plain_len] {
                [PRESENT] => {}
                [END] if !ended => {
                    ended = true;
                    self.to_here.shutdown().await.ok();
                }
                [DATA, ref data @ ..] if !ended => {
                    if self.to_here.write_all(data).await.is_err() {
                        return Ok(());
                    }
                }
                _ => return Err(Lost::Garbled),
            }
        }
    }

    /// The length of the next chunk in `plain`. May be dropped at any await.
    async fn chunk(&mut self) -> Result<usize, Lost> {
        loop {
            if let Some(len) = self.announced()?
                && self.came.len() >= 2 + len
            {
                let sealed = &self.came[2..2 + len];
                let opened = lock(self.noise).read_message(sealed, &mut self.plain);
                self.came.advance(2 + len);
                return opened.map_err(|_| Lost::Garbled);
            }
            self.came.reserve(READ_BYTES_MAX);
            let read = timeout(SILENCE_MAX, self.from_peer.read_buf(&mut self.came));
            match read.await {
                Err(_) => return Err(Lost::Silent),
                Ok(Ok(0) | Err(_)) => return Err(Lost::Broken),
                Ok(Ok(_)) => {}
            }
        }
    }

    fn announced(&self) -> Result<Option<usize>, Lost> {
        let Some(len) = self.came.first_chunk::<2>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(*len));
        match (1 + TAG_BYTES..=CHUNK_BYTES_MAX).contains(&len) {
            true => Ok(Some(len)),
            false => Err(Lost::Garbled),
        }
    }
}

/// What goes to the peer.
struct Outbound<'a> {
    noise: &'a Mutex<TransportState>,
    to_peer: OwnedWriteHalf,
    from_here: ReadHalf<DuplexStream>,
    chunk: Vec<u8>,
}

impl Outbound<'_> {
    /// Until the peer is lost.
    async fn carry(mut self, ended: &CancellationToken) -> Lost {
        match self.send_all(ended).await {
            Ok(never) => match never {},
            Err(lost) => lost,
        }
    }

    async fn send_all(
        &mut self,
        ended: &CancellationToken,
    ) -> Result<std::convert::Infallible, Lost> {
        let mut data = vec![0; 1 + DATA_BYTES_MAX];
        loop {
            match timeout(PRESENT_EACH, self.from_here.read(&mut data[1..])).await {
                Err(_) => self.send(&[PRESENT]).await?,
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(len)) => self.send(&data[..=len]).await?,
            }
        }
        self.send(&[END]).await?;
        ended.cancel();
        loop {
            tokio::time::sleep(PRESENT_EACH).await;
            self.send(&[PRESENT]).await?;
        }
    }

    async fn send(&mut self, plain: &[u8]) -> Result<(), Lost> {
        let sealed = lock(self.noise).write_message(plain, &mut self.chunk[2..]);
        let len = sealed.map_err(|_| Lost::Garbled)?;
        self.chunk[..2].copy_from_slice(&(len as u16).to_be_bytes());
        let written = self.to_peer.write_all(&self.chunk[..2 + len]).await;
        written.map_err(|_| Lost::Broken)
    }
}

impl Tunnel {
    pub(crate) fn fate(&self) -> Fate {
        self.fate.clone()
    }
}

impl Fate {
    /// `None` while it is open, and where both sides have ended it.
    pub(crate) fn get(&self) -> Option<Lost> {
        self.0.get().copied()
    }

    /// The first word counts.
    fn set(&self, lost: Lost) {
        self.0.set(lost).ok();
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = into.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, into) {
            // The end that a lost peer never sent.
            Poll::Ready(Ok(())) if into.filled().len() == filled && into.remaining() > 0 => {
                Poll::Ready(match self.fate.get() {
                    Some(lost) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, lost)),
                    None => Ok(()),
                })
            }
            polled => polled,
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Where tunnels come from that peers have opened.
pub(crate) type Incoming = mpsc::Receiver<Tunnel>;
