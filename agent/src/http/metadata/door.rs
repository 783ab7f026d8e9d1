//! Takes the connections of containers, each of which may only have some of those that there are.

use crate::http::{caller::Caller, connection::Door};
use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// Of one address at the same time: a container that holds on to them leaves room for the others.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 16;

pub(super) struct MetadataDoor {
    listener: TcpListener,
    seats: Seats,
}

/// How many connections each address has.
#[derive(Clone, Debug, Default)]
struct Seats(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One connection's; given back when it is dropped.
#[derive(Debug)]
struct Seat {
    seats: Seats,
    address: IpAddr,
}

/// A connection with its seat.
#[derive(Debug)]
pub(super) struct Seated {
    io: TcpStream,
    _seat: Seat,
}

impl MetadataDoor {
    pub(super) fn new(listener: TcpListener) -> Self {
        let seats = Seats::default();
        Self { listener, seats }
    }
}

impl Door for MetadataDoor {
    type Io = Seated;

    /// Whoever has all of its seats is hung up on.
    async fn open(&mut self) -> io::Result<(Seated, Caller)> {
        loop {
            let (io, from) = self.listener.accept().await?;
            let (from, to) = (from.ip(), io.local_addr()?.ip());
            if let Some(seat) = self.seats.take(from) {
                let caller = Caller::Container { from, to };
                return Ok((Seated { io, _seat: seat }, caller));
            }
        }
    }
}

impl Seats {
    fn take(&self, address: IpAddr) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = taken.entry(address).or_default();
        if *of_it >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *of_it += 1;
        let seats = self.clone();
        Some(Seat { seats, address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.address) {
            Some(1) | None => {
                taken.remove(&self.address);
            }
            Some(of_it) => *of_it -= 1,
        }
    }
}

impl AsyncRead for Seated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl AsyncWrite for Seated {
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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_some_seats_and_gives_them_back() {
        let (seats, one, other) = (
            Seats::default(),
            IpAddr::from([10, 0, 0, 1]),
            IpAddr::from([10, 0, 0, 2]),
        );
        let taken: Vec<_> = std::iter::from_fn(|| seats.take(one)).collect();
        assert_eq!(taken.len(), CONNECTIONS_PER_ADDRESS_MAX);
        assert!(seats.take(other).is_some());
        drop(taken);
        assert!(seats.take(one).is_some());
        let left = seats.0.lock().expect("nobody panicked").len();
        assert_eq!(left, 0, "nothing is kept of who has left");
    }
}
