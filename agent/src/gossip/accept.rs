//! Takes connections from peers and puts their frames into the inbox.

use super::{
    Received, Shared, Via,
    counters::Cause,
    stream::{Failure, Hello, Link, NOWHERE, Purpose},
    tunnel,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tracing::debug;

/// When file descriptors run out, accepting fails at once, again and again.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn receive(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                let Some(permits) = permits(&shared) else {
                    shared.tally.drop(Cause::TooManyConnections, from);
                    continue;
                };
                shared.spawn(serve(shared.clone(), stream, from, permits));
            }
            Err(err) => {
                debug!(%err, "Cannot accept a connection.");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// Strangers get a small share of the connections, so that they cannot take those of the peers.
struct Permits {
    _connection: OwnedSemaphorePermit,
    handshake: OwnedSemaphorePermit,
}

fn permits(shared: &Shared) -> Option<Permits> {
    Some(Permits {
        _connection: shared.connections.clone().try_acquire_owned().ok()?,
        handshake: shared.handshakes.clone().try_acquire_owned().ok()?,
    })
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, from: SocketAddr, permits: Permits) {
    let us = Hello {
        host: shared.host,
        boot: shared.boot,
        listens: NOWHERE,
    };
    let secrets = shared.secrets();
    let handshake = Link::accepted(stream, &secrets, us);
    let handshake = timeout(shared.limits.handshake_wait_max, handshake).await;
    drop(permits.handshake);
    let result = match handshake {
        Ok(Ok(link)) => {
            shared.note_key(&secrets, link.peer.host, link.key);
            let key = link.key;
            match link.purpose {
                _ if shared.is_in_future(link.peer.boot) => Err(Failure::Refused(Cause::Future)),
                Purpose::Tunnel(to) => tunnel::accept(&shared, link, to).await,
                Purpose::Frames => tokio::select! {
                    taken = take_frames(&shared, link, from) => taken,
                    () = shared.removed(key) => Err(Failure::Refused(Cause::WrongKey)),
                },
            }
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::Refused(Cause::TooSlow)),
    };
    match result {
        Ok(()) | Err(Failure::Ended) => {}
        Err(Failure::Refused(cause)) => shared.tally.drop(cause, from),
        Err(Failure::Io(err)) => debug!(%from, %err, "A connection from a peer failed."),
    }
}

async fn take_frames(shared: &Shared, mut link: Link, from: SocketAddr) -> Result<(), Failure> {
    shared.tally.connections_accepted.add(0);
    let mut address = link.peer.listens;
    if address.ip().is_unspecified() {
        address.set_ip(from.ip());
    }
    loop {
        let frame = link.read_frame(&shared.limits, &shared.frames_kib).await?;
        if !shared.is_for_us(frame.to) {
            shared.tally.drop(Cause::WrongDestination, address);
            continue;
        }
        shared.tally.frames_received.add(frame.payload.len());
        let received = Received {
            from: link.peer.host,
            boot: link.peer.boot,
            to: frame.to,
            address,
            via: Via::Stream,
            payload: frame.payload,
        };
        // A full inbox makes the peer wait.
        if shared.inbox.send(received).await.is_err() {
            return Ok(());
        }
    }
}
