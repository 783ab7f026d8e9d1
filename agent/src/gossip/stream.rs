//! One connection: the Noise handshake, then frames in sealed chunks from the side that dialed.
//!
//! | who | bytes | what |
//! |---|---|---|
//! | dialer | 0..11 | preamble: `hf`, version, cluster tag, key id; the prologue |
//! | dialer | 11..101 | Noise message 1; in it: host 16, boot 8, where it listens: IP 16, port 2 |
//! | listener | 0..72 | Noise message 2; in it: host 16, boot 8 |
//! | dialer | 18 or 35 | a chunk, its purpose: it has read message 2, so message 1 was no replay |
//! | dialer | … | chunks: length 2, sealed bytes up to 65,535 |
//!
//! A frame is: its length 4, that of the payload 4, destination 16 (zero if not known), payload. If
//! the lengths differ the payload is compressed. It starts with a chunk of its own. Numbers are
//! big-endian. An IP is IPv6, or IPv4 mapped into it; all zeros mean the one that the connection
//! comes from. The listener answers only to the key, with fewer bytes than it was asked with, and
//! sends nothing more: its own frames go by a connection that it dials. An empty purpose means
//! these frames; 1 and the host that is meant, a [tunnel](super::tunnel), in which both sides send
//! chunks. An agent that knows only frames takes any other purpose for garbage, and closes.

use super::{
    Limits,
    counters::Cause,
    squeeze::{check, squeeze, unsqueeze},
};
use holdfast_core::{
    ids::{HostId, KeyId},
    limits::FRAME_BYTES_MAX,
};
use holdfast_seal::{
    key::{Derived, Secrets},
    seal::{self, PREAMBLE_BYTES, array},
};
use snow::{Builder, HandshakeState, TransportState};
use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
pub(super) const TAG_BYTES: usize = 16;
const DIALER_HELLO_BYTES: usize = 16 + 8 + 16 + 2;
const LISTENER_HELLO_BYTES: usize = 16 + 8;
const QUESTION_BYTES: usize = 32 + DIALER_HELLO_BYTES + TAG_BYTES;
const ANSWER_BYTES: usize = 32 + LISTENER_HELLO_BYTES + TAG_BYTES;
const _: () = assert!(ANSWER_BYTES <= PREAMBLE_BYTES + QUESTION_BYTES, "amplifies");
const CHUNK_PLAIN_BYTES_MAX: usize = 65_535 - TAG_BYTES;
const FRAME_HEADER_BYTES: usize = 4 + 4 + 16;
/// More than any purpose has by now, so that a later one is told from garbage.
const PURPOSE_BYTES_MAX: usize = 64;
/// What a listener says of where it listens: the dialer has found it already.
pub(super) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) host: HostId,
    pub(super) boot: u64,
    /// Where it is reached; an unspecified IP is the one that the connection comes from.
    pub(super) listens: SocketAddr,
}

/// What a connection is for, as the dialer says in its first chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Frames,
    /// A byte stream to this host.
    Tunnel(HostId),
}

/// A connection after its handshake.
pub(super) struct Link {
    stream: TcpStream,
    noise: TransportState,
    pub(super) peer: Hello,
    /// What both sides shook hands with.
    pub(super) key: KeyId,
    pub(super) purpose: Purpose,
    pub(super) made: Instant,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("refused: {0:?}")]
    Refused(Cause),
    #[error("the peer closed the connection, or did not use it")]
    Ended,
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

/// A frame and the part of the frame budget that it holds until it is in the inbox.
pub(super) struct Frame<'a> {
    pub(super) to: HostId,
    pub(super) payload: Vec<u8>,
    pub(super) _budget: SemaphorePermit<'a>,
}

impl Purpose {
    const TUNNEL: u8 = 1;

    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Frames => Vec::new(),
            Self::Tunnel(to) => [&[Self::TUNNEL][..], &to.0.to_be_bytes()].concat(),
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Failure> {
        match bytes {
            [] => Ok(Self::Frames),
            [Self::TUNNEL, to @ ..] if to.len() == 16 => {
                Ok(Self::Tunnel(HostId(u128::from_be_bytes(array(to)))))
            }
            _ => Err(Failure::Refused(Cause::WrongVersion)),
        }
    }
}

impl Link {
    /// Shakes hands as the side that connected.
    pub(super) async fn dialed(
        mut stream: TcpStream,
        (secrets, key): (&Secrets, &Derived),
        us: Hello,
        purpose: Purpose,
    ) -> Result<Self, Failure> {
        let preamble = seal::preamble(secrets, key);
        let mut noise = builder(&preamble, &key.stream)
            .build_initiator()
            .map_err(refused)?;
        let mut hello = [0; DIALER_HELLO_BYTES];
        hello[..16].copy_from_slice(&us.host.0.to_be_bytes());
        hello[16..24].copy_from_slice(&us.boot.to_be_bytes());
        hello[24..40].copy_from_slice(&ip_bytes(us.listens.ip()));
        hello[40..].copy_from_slice(&us.listens.port().to_be_bytes());
        let mut question = [0; PREAMBLE_BYTES + QUESTION_BYTES];
        question[..PREAMBLE_BYTES].copy_from_slice(&preamble);
        noise
            .write_message(&hello, &mut question[PREAMBLE_BYTES..])
            .map_err(refused)?;
        stream.write_all(&question).await?;

        let mut answer = [0; ANSWER_BYTES];
        stream.read_exact(&mut answer).await?;
        let hello: [u8; LISTENER_HELLO_BYTES] = read_hello(&mut noise, &answer)?;
        let noise = noise.into_transport_mode().map_err(refused)?;
        let peer = Hello {
            host: host(&hello),
            boot: boot(&hello),
            listens: NOWHERE,
        };
        let mut link = Self {
            stream,
            noise,
            peer,
            key: key.id,
            purpose,
            made: Instant::now(),
        };
        link.write_chunk(&purpose.bytes()).await?;
        Ok(link)
    }

    /// Shakes hands as the side that was connected to.
    pub(super) async fn accepted(
        mut stream: TcpStream,
        secrets: &Secrets,
        us: Hello,
    ) -> Result<Self, Failure> {
        let mut preamble = [0; PREAMBLE_BYTES];
        // Peers connect and close to see whether our kernel lives: that is no garbage.
        if stream.read(&mut preamble[..1]).await? == 0 {
            return Err(Failure::Ended);
        }
        stream.read_exact(&mut preamble[1..]).await.map_err(cut)?;
        let key = secrets
            .check_preamble(&preamble)
            .map_err(|not_ours| Failure::Refused(not_ours.into()))?;
        let mut question = [0; QUESTION_BYTES];
        stream.read_exact(&mut question).await.map_err(cut)?;
        let mut noise = builder(&preamble, &key.stream)
            .build_responder()
            .map_err(refused)?;
        let hello: [u8; DIALER_HELLO_BYTES] = read_hello(&mut noise, &question)?;
        let ip = IpAddr::from(array::<16>(&hello[24..40])).to_canonical();
        let port = u16::from_be_bytes(array(&hello[40..]));
        let peer = Hello {
            host: host(&hello),
            boot: boot(&hello),
            listens: SocketAddr::new(ip, port),
        };

        let mut hello = [0; LISTENER_HELLO_BYTES];
        hello[..16].copy_from_slice(&us.host.0.to_be_bytes());
        hello[16..].copy_from_slice(&us.boot.to_be_bytes());
        let mut answer = [0; ANSWER_BYTES];
        noise.write_message(&hello, &mut answer).map_err(refused)?;
        stream.write_all(&answer).await?;
        let noise = noise.into_transport_mode().map_err(refused)?;
        let mut link = Self {
            stream,
            noise,
            peer,
            key: key.id,
            purpose: Purpose::Frames,
            made: Instant::now(),
        };
        let mut purpose = Vec::new();
        link.read_chunk(&mut purpose, PURPOSE_BYTES_MAX).await?;
        link.purpose = Purpose::read(&purpose)?;
        Ok(link)
    }

    /// For whoever speaks by chunks of another kind from here on.
    pub(super) fn into_parts(self) -> (TcpStream, TransportState) {
        (self.stream, self.noise)
    }

    /// Waits until the listener closes; what it sends instead is against the protocol and the
    /// same to us. May be dropped at any await.
    pub(super) async fn closed(&mut self) {
        let mut unwanted = [0; 1];
        match self.stream.read(&mut unwanted).await {
            Ok(_) | Err(_) => {}
        }
    }

    /// Sends one frame; each chunk must be taken by the peer within `chunk_wait_max`.
    pub(super) async fn write_frame(
        &mut self,
        to: HostId,
        payload: &[u8],
        chunk_wait_max: Duration,
    ) -> Result<(), Failure> {
        assert!(payload.len() <= FRAME_BYTES_MAX, "the sender checks sizes");
        let squeezed = squeeze(payload);
        let plain_len = payload.len() as u32;
        let payload = squeezed.as_deref().unwrap_or(payload);
        let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + payload.len());
        frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        frame.extend_from_slice(&plain_len.to_be_bytes());
        frame.extend_from_slice(&to.0.to_be_bytes());
        frame.extend_from_slice(payload);
        for plain in frame.chunks(CHUNK_PLAIN_BYTES_MAX) {
            match timeout(chunk_wait_max, self.write_chunk(plain)).await {
                Ok(written) => written?,
                Err(_) => return Err(Failure::Refused(Cause::TooSlow)),
            }
        }
        Ok(())
    }

    /// Waits for a frame. Memory grows with the bytes that came, not with those announced.
    pub(super) async fn read_frame<'a>(
        &mut self,
        limits: &Limits,
        budget_kib: &'a Semaphore,
    ) -> Result<Frame<'a>, Failure> {
        let mut payload = Vec::new();
        let first = self.read_chunk(&mut payload, CHUNK_PLAIN_BYTES_MAX);
        timeout(limits.accepted_idle_max, first)
            .await
            .map_err(|_| Failure::Ended)??;
        if payload.len() < FRAME_HEADER_BYTES {
            return Err(Failure::Refused(Cause::Garbage));
        }
        let len = u32::from_be_bytes(array(&payload[..4]));
        let plain_len = u32::from_be_bytes(array(&payload[4..8]));
        let to = HostId(u128::from_be_bytes(array(&payload[8..FRAME_HEADER_BYTES])));
        payload.drain(..FRAME_HEADER_BYTES);
        let kib = plain_len / 1_024 + 1;
        let (len, plain_len) = (len as usize, plain_len as usize);
        check(len, plain_len).map_err(Failure::Refused)?;
        if payload.len() > len {
            return Err(Failure::Refused(Cause::Garbage));
        }
        let budget = budget_kib
            .acquire_many(kib)
            .await
            .map_err(|_| Failure::Ended)?;
        let rest = async {
            while payload.len() < len {
                let missing = len - payload.len();
                if self.read_chunk(&mut payload, missing).await? == 0 {
                    return Err(Failure::Refused(Cause::Garbage));
                }
            }
            Ok(())
        };
        let slow = |_| Failure::Refused(Cause::TooSlow);
        timeout(limits.frame_wait_max, rest).await.map_err(slow)??;
        Ok(Frame {
            to,
            payload: unsqueeze(payload, plain_len).map_err(Failure::Refused)?,
            _budget: budget,
        })
    }

    pub(super) async fn write_chunk(&mut self, plain: &[u8]) -> Result<(), Failure> {
        let len = plain.len() + TAG_BYTES;
        let mut chunk = vec![0; 2 + len];
        chunk[..2].copy_from_slice(&(len as u16).to_be_bytes());
        self.noise
            .write_message(plain, &mut chunk[2..])
            .map_err(refused)?;
        Ok(self.stream.write_all(&chunk).await?)
    }

    /// Appends the content of the next chunk, if that is at most `plain_bytes_max`.
    pub(super) async fn read_chunk(
        &mut self,
        into: &mut Vec<u8>,
        plain_bytes_max: usize,
    ) -> Result<usize, Failure> {
        let len = usize::from(self.stream.read_u16().await?);
        let plain_len = match len.checked_sub(TAG_BYTES) {
            Some(plain_len) if plain_len <= plain_bytes_max => plain_len,
            _ => return Err(Failure::Refused(Cause::Garbage)),
        };
        let mut sealed = vec![0; len];
        self.stream.read_exact(&mut sealed).await?;
        let start = into.len();
        into.resize(start + plain_len, 0);
        self.noise
            .read_message(&sealed, &mut into[start..])
            .map_err(refused)?;
        Ok(plain_len)
    }
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            io::ErrorKind::UnexpectedEof => Self::Ended,
            _ => Self::Io(err),
        }
    }
}

/// A connection that ends amid its first bytes was not Holdfast's.
fn cut(err: io::Error) -> Failure {
    match err.kind() {
        io::ErrorKind::UnexpectedEof => Failure::Refused(Cause::Garbage),
        _ => Failure::Io(err),
    }
}

/// Our own calls are right by construction, so what Noise refuses came from the other side.
fn refused(_: snow::Error) -> Failure {
    Failure::Refused(Cause::BadSeal)
}

fn builder<'a>(preamble: &'a [u8], key: &'a [u8; 32]) -> Builder<'a> {
    let pattern = PATTERN
        .parse()
        .expect("the pattern is a constant that snow knows");
    Builder::new(pattern)
        .psk(0, key)
        .and_then(|builder| builder.prologue(preamble))
        .expect("a pattern with one psk takes one key and one prologue")
}

fn read_hello<const N: usize>(
    noise: &mut HandshakeState,
    message: &[u8],
) -> Result<[u8; N], Failure> {
    let mut hello = [0; N];
    match noise.read_message(message, &mut hello).map_err(refused)? {
        len if len == N => Ok(hello),
        _ => Err(Failure::Refused(Cause::Garbage)),
    }
}

fn host(hello: &[u8]) -> HostId {
    HostId(u128::from_be_bytes(array(&hello[..16])))
}

fn boot(hello: &[u8]) -> u64 {
    u64::from_be_bytes(array(&hello[16..24]))
}

fn ip_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
