//! Sends and receives datagrams over UDP.

use super::{
    Received, Shared, Via,
    counters::{Cause, lock},
};
use holdfast_core::{ids::HostId, limits::DATAGRAM_BYTES_MAX};
use holdfast_seal::seal;
use nix::sys::socket::{setsockopt, sockopt};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::UdpSocket, sync::mpsc::error::TrySendError};
use tracing::debug;

/// Room for a burst of some hundred peers; the kernel grants what `net.core.rmem_max` allows.
const SOCKET_BUFFER_BYTES: usize = 1024 * 1024;
const ERROR_PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address).await?;
    let receive = setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER_BYTES);
    if let Err(err) = receive.and(setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER_BYTES)) {
        debug!(%address, %err, "Socket buffers stay as they are.");
    }
    // Until tokio has once seen that it is writable, `try_send_to` would refuse to try.
    socket.writable().await?;
    Ok(socket)
}

pub(super) fn send(shared: &Shared, to: SocketAddr, to_host: HostId, payload: Vec<u8>) {
    let secrets = shared.secrets();
    let key = shared.key_for(&secrets, to_host);
    let datagram = shared.sealer.seal((&secrets, key), to_host, payload);
    match shared.socket.try_send_to(&datagram, shared.reachable(to)) {
        Ok(_) => shared.tally.datagrams_sent.add(datagram.len()),
        Err(err) => {
            debug!(%to, %err, "Cannot send a datagram.");
            shared.tally.drop(Cause::SendFailed, to);
        }
    }
}

pub(super) async fn receive(shared: Arc<Shared>) {
    // One byte more than is allowed tells a datagram that is too long from one that just fits.
    let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
    loop {
        match shared.socket.recv_from(&mut buffer).await {
            Ok((len, from)) => {
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                if let Err(cause) = on_datagram(&shared, from, &buffer[..len]) {
                    shared.tally.drop(cause, from);
                }
            }
            Err(err) => {
                debug!(%err, "Cannot receive a datagram.");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

fn on_datagram(shared: &Shared, from: SocketAddr, datagram: &[u8]) -> Result<(), Cause> {
    let secrets = shared.secrets();
    let opened = seal::open(&secrets, datagram)?;
    if !shared.is_for_us(opened.destination) {
        return Err(Cause::WrongDestination);
    }
    if shared.is_in_future(opened.boot) {
        return Err(Cause::Future);
    }
    // The inbox comes first: what is dropped for want of room has not been received.
    let room = match shared.inbox.try_reserve() {
        Ok(room) => room,
        Err(TrySendError::Full(())) => return Err(Cause::InboxFull),
        Err(TrySendError::Closed(())) => return Ok(()),
    };
    if !lock(&shared.replays).admit(opened.sender, opened.boot, opened.counter) {
        return Err(Cause::Replayed);
    }
    shared.note_key(&secrets, opened.sender, opened.key);
    shared.tally.datagrams_received.add(datagram.len());
    room.send(Received {
        from: opened.sender,
        boot: opened.boot,
        to: opened.destination,
        address: from,
        via: Via::Datagram,
        payload: opened.payload,
    });
    Ok(())
}
