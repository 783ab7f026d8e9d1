//! Sends frames: one connection to each peer, made when there is something to send.

use super::{
    Shared,
    counters::{Cause, lock},
    stream::{Failure, Hello, Link, Purpose},
};
use holdfast_core::ids::HostId;
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::debug;

/// Counted for each frame in a queue besides its payload, so that empty frames are bounded too.
const FRAME_OVERHEAD_BYTES: usize = 256;
/// A peer that acknowledges or takes nothing for this long is gone.
const UNACKNOWLEDGED_WAIT_MAX: Duration = Duration::from_secs(10);

/// The queue of each peer that was lately sent to.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Mutex<HashMap<SocketAddr, Lane>>,
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Lane {
    frames: mpsc::UnboundedSender<Queued>,
    bytes: Arc<AtomicUsize>,
}

/// A frame that waits; its bytes are given back wherever it is dropped.
#[derive(Debug)]
struct Queued {
    to: HostId,
    payload: Vec<u8>,
    held: usize,
    counts: [Arc<AtomicUsize>; 2],
}

#[cfg(test)]
impl Lanes {
    pub(super) fn queued_bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.lanes).is_empty()
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        for count in &self.counts {
            count.fetch_sub(self.held, Relaxed);
        }
    }
}

/// Puts a frame into the queue of its peer, or drops and counts it.
pub(super) fn send(shared: &Arc<Shared>, to: SocketAddr, to_host: HostId, payload: Vec<u8>) {
    if let Err(cause) = enqueue(shared, to, to_host, payload) {
        shared.tally.drop(cause, to);
    }
}

fn enqueue(
    shared: &Arc<Shared>,
    to: SocketAddr,
    to_host: HostId,
    payload: Vec<u8>,
) -> Result<(), Cause> {
    let (limits, total) = (&shared.limits, &shared.lanes.bytes);
    let held = payload.len() + FRAME_OVERHEAD_BYTES;
    // Only under this lock do the counts grow, so what is checked holds until it is added.
    let mut lanes = lock(&shared.lanes.lanes);
    if total.load(Relaxed) + held > limits.lanes_bytes_max {
        return Err(Cause::QueueFull);
    }
    if !lanes.contains_key(&to) {
        if lanes.len() >= limits.lanes_max {
            return Err(Cause::TooManyConnections);
        }
        let (frames, queue) = mpsc::unbounded_channel();
        shared.spawn(run(shared.clone(), to, queue));
        lanes.insert(
            to,
            Lane {
                frames,
                bytes: Arc::default(),
            },
        );
    }
    let lane = &lanes[&to];
    if lane.bytes.load(Relaxed) + held > limits.lane_bytes_max {
        return Err(Cause::QueueFull);
    }
    let counts = [lane.bytes.clone(), total.clone()];
    for count in &counts {
        count.fetch_add(held, Relaxed);
    }
    let queued = Queued {
        to: to_host,
        payload,
        held,
        counts,
    };
    // It fails only if the worker has panicked: the next frame gets a new one.
    if lane.frames.send(queued).is_err() {
        lanes.remove(&to);
        return Err(Cause::SendFailed);
    }
    Ok(())
}

/// What happens to a lane.
enum Event {
    Frame(Queued),
    Closed,
    Idle,
}

async fn run(shared: Arc<Shared>, to: SocketAddr, mut queue: mpsc::UnboundedReceiver<Queued>) {
    let mut link = None;
    let mut backoff = shared.limits.backoff_min;
    loop {
        let frame = match next(&shared, &mut link, &mut queue).await {
            Event::Frame(frame) => frame,
            Event::Closed => {
                link = None;
                continue;
            }
            Event::Idle if retire(&shared, to, &queue) => return,
            Event::Idle => continue,
        };
        match deliver(&shared, to, &mut link, &frame).await {
            Ok(()) => backoff = shared.limits.backoff_min,
            Err(failure) => {
                link = None;
                debug!(%to, ?failure, "Cannot send frames.");
                shared.tally.drop(Cause::SendFailed, to);
                drop(frame);
                while queue.try_recv().is_ok() {
                    shared.tally.drop(Cause::SendFailed, to);
                }
                sleep(backoff).await;
                backoff = (backoff * 2).min(shared.limits.backoff_max);
            }
        }
    }
}

async fn next(
    shared: &Shared,
    link: &mut Option<Link>,
    queue: &mut mpsc::UnboundedReceiver<Queued>,
) -> Event {
    let closed = async {
        match link {
            Some(link) => {
                let key = link.key;
                tokio::select! {
                    () = link.closed() => {}
                    () = shared.removed(key) => {}
                }
            }
            None => std::future::pending().await,
        }
    };
    // In this order: a frame must not go into a connection that is known to be closed.
    tokio::select! {
        biased;
        () = closed => Event::Closed,
        frame = queue.recv() => frame.map_or(Event::Idle, Event::Frame),
        () = sleep(shared.limits.dialed_idle_max) => Event::Idle,
    }
}

/// Ends a lane, unless something was sent at the last moment.
fn retire(shared: &Shared, to: SocketAddr, queue: &mpsc::UnboundedReceiver<Queued>) -> bool {
    let mut lanes = lock(&shared.lanes.lanes);
    let ends = queue.is_empty();
    if ends {
        lanes.remove(&to);
    }
    ends
}

async fn deliver(
    shared: &Shared,
    to: SocketAddr,
    link: &mut Option<Link>,
    frame: &Queued,
) -> Result<(), Failure> {
    // A machine without power closes nothing, and another one may have its address by now.
    let is_doubtful = |link: &mut Link| {
        !is_for(frame, link) && link.made.elapsed() >= shared.limits.dialed_known_for
    };
    link.take_if(is_doubtful);
    let link = match link {
        Some(link) => link,
        None => {
            let wait = shared.limits.handshake_wait_max;
            let dialed = timeout(wait, dial_for_frames(shared, to, frame.to)).await;
            link.insert(dialed.map_err(|_| Failure::Refused(Cause::TooSlow))??)
        }
    };
    if !is_for(frame, link) {
        shared.tally.drop(Cause::WrongDestination, to);
        return Ok(());
    }
    link.write_frame(frame.to, &frame.payload, UNACKNOWLEDGED_WAIT_MAX)
        .await?;
    shared.tally.frames_sent.add(frame.payload.len());
    Ok(())
}

fn is_for(frame: &Queued, link: &Link) -> bool {
    frame.to == HostId::default() || frame.to == link.peer.host
}

async fn dial_for_frames(
    shared: &Shared,
    to: SocketAddr,
    to_host: HostId,
) -> Result<Link, Failure> {
    let stream = connect(shared, shared.reachable(to)).await?;
    // A peer without power never closes: the kernel alone would try for a quarter of an hour.
    let wait_ms = UNACKNOWLEDGED_WAIT_MAX.as_millis() as u32;
    setsockopt(&stream, TcpUserTimeout, &wait_ms).map_err(io::Error::from)?;
    shake_hands(shared, stream, to_host, Purpose::Frames).await
}

/// Opens a connection on which a peer may be slow for as long as it says that it is there.
pub(super) async fn dial_for_tunnel(
    shared: &Shared,
    to: SocketAddr,
    to_host: HostId,
) -> Result<Link, Failure> {
    let stream = connect(shared, shared.reachable(to)).await?;
    shake_hands(shared, stream, to_host, Purpose::Tunnel(to_host)).await
}

async fn shake_hands(
    shared: &Shared,
    stream: TcpStream,
    to_host: HostId,
    purpose: Purpose,
) -> Result<Link, Failure> {
    stream.set_nodelay(true)?;
    let us = Hello {
        host: shared.host,
        boot: shared.boot,
        listens: shared.advertise,
    };
    let secrets = shared.secrets();
    let key = shared.key_for(&secrets, to_host);
    let link = Link::dialed(stream, (&secrets, key), us, purpose).await?;
    shared.tally.connections_opened.add(0);
    Ok(link)
}

/// Leaves from the address that is bound, as datagrams do: firewalls know the host by it.
async fn connect(shared: &Shared, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let mut from = shared.local;
    if !from.ip().is_unspecified() && from.is_ipv4() == to.is_ipv4() {
        from.set_port(0);
        socket.bind(from)?;
    }
    socket.connect(to).await
}
