//! Knocks: whether a machine whose agent is silent is there, by what its kernel says to TCP.
//!
//! A connection that is accepted or refused was answered by a kernel that is alive; the agent need
//! not be. Nothing is sent over it.

use holdfast_core::{ids::HostId, input::Input};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tracing::debug;

/// Less than the second after which TCP repeats its first packet: a knock is one packet.
const KNOCK_WAIT_MAX: Duration = Duration::from_millis(400);
const KNOCKS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Knocks {
    at_once: Arc<Semaphore>,
    outcomes: mpsc::Sender<Input>,
}

/// What one connection showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Alive,
    Silent,
    /// Our own machine could not even try.
    Nothing,
}

impl Knocks {
    /// The receiver is told what came of each knock.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Input>) {
        let (outcomes, told) = mpsc::channel(KNOCKS_MAX);
        let at_once = Arc::new(Semaphore::new(KNOCKS_MAX));
        (Self { at_once, outcomes }, told)
    }

    /// Does not wait. With too many under way it is let be: the core asks again.
    pub(crate) fn knock(&self, host: HostId, addresses: Vec<SocketAddr>) {
        let Ok(permit) = Arc::clone(&self.at_once).try_acquire_owned() else {
            debug!(%host, "Too many knocks at once; this one is left out.");
            return;
        };
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
            let tries: JoinSet<Shown> = addresses.into_iter().map(try_one).collect();
            let shown = tries.join_all().await;
            let answered = shown.contains(&Shown::Alive);
            if answered || shown.contains(&Shown::Silent) {
                // The driver may have ended; then nobody asks any more.
                outcomes.send(Input::Knocked { host, answered }).await.ok();
            }
            drop(permit);
        });
    }
}

async fn try_one(address: SocketAddr) -> Shown {
    match timeout(KNOCK_WAIT_MAX, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Shown::Alive,
        Ok(Err(err)) => shown_by(&err),
        Err(_) => Shown::Silent,
    }
}

fn shown_by(err: &io::Error) -> Shown {
    match err.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Shown::Alive,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::TimedOut => Shown::Silent,
        _ => Shown::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const HOST: HostId = HostId(7);

    async fn outcome(addresses: Vec<SocketAddr>) -> Option<bool> {
        let (knocks, mut told) = Knocks::new();
        knocks.knock(HOST, addresses);
        drop(knocks);
        match told.recv().await {
            Some(Input::Knocked { host, answered }) if host == HOST => Some(answered),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[tokio::test]
    async fn a_kernel_answers_whether_anybody_listens_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody accepts, as while the agent is frozen.
        assert_eq!(outcome(vec![address]).await, Some(true));
        drop(listener);
        assert_eq!(outcome(vec![address]).await, Some(true), "refused");
    }

    #[tokio::test]
    async fn nothing_asked_is_nothing_told() {
        assert_eq!(outcome(vec![]).await, None);
    }

    #[test]
    fn an_unreachable_machine_is_silent_and_a_failure_of_our_own_shows_nothing() {
        use nix::errno::Errno;
        let shown = |errno: Errno| shown_by(&io::Error::from_raw_os_error(errno as i32));
        assert_eq!(shown(Errno::EHOSTUNREACH), Shown::Silent);
        assert_eq!(shown(Errno::ECONNREFUSED), Shown::Alive);
        assert_eq!(shown(Errno::EMFILE), Shown::Nothing);
    }
}
