//! Counts what comes, goes and is dropped, and tells the operator once a minute why.

use holdfast_seal::seal::NotOurs;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tracing::{debug, warn};

const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Why something was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    Garbage,
    WrongVersion,
    WrongCluster,
    WrongKey,
    BadSeal,
    Future,
    Replayed,
    WrongDestination,
    Oversize,
    InboxFull,
    SendFailed,
    QueueFull,
    TooManyConnections,
    TooSlow,
}

/// What was dropped for one cause since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Drops {
    pub(crate) count: u64,
    pub(crate) last_address: SocketAddr,
}

/// A copy of the counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counters {
    pub(crate) datagrams_sent: u64,
    pub(crate) datagrams_received: u64,
    pub(crate) datagram_bytes_sent: u64,
    pub(crate) datagram_bytes_received: u64,
    pub(crate) frames_sent: u64,
    pub(crate) frames_received: u64,
    pub(crate) frame_bytes_sent: u64,
    pub(crate) frame_bytes_received: u64,
    /// Connections that were opened to peers and by peers since the start.
    pub(crate) connections_opened: u64,
    pub(crate) connections_accepted: u64,
    pub(crate) drops: BTreeMap<Cause, Drops>,
}

/// Something and its size in bytes, counted together.
#[derive(Debug, Default)]
pub(super) struct Meter {
    count: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) datagrams_sent: Meter,
    pub(super) datagrams_received: Meter,
    pub(super) frames_sent: Meter,
    pub(super) frames_received: Meter,
    pub(super) connections_opened: Meter,
    pub(super) connections_accepted: Meter,
    drops: Mutex<BTreeMap<Cause, Entry>>,
}

#[derive(Debug)]
struct Entry {
    drops: Drops,
    warned: Instant,
    warned_count: u64,
}

impl Meter {
    pub(super) fn add(&self, bytes: usize) {
        self.count.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.count.load(Relaxed), self.bytes.load(Relaxed))
    }
}

impl Tally {
    /// Counts one drop; the first of its cause in a minute is told to the operator.
    pub(super) fn drop(&self, cause: Cause, address: SocketAddr) {
        match self.record(cause, address, Instant::now()) {
            Some(times) => warn!(?cause, %address, times, "{}", cause.sentence(address)),
            None => debug!(?cause, %address, "Dropped."),
        }
    }

    /// How often it happened since the last warning, if it is time for one.
    fn record(&self, cause: Cause, address: SocketAddr, now: Instant) -> Option<u64> {
        let mut entries = lock(&self.drops);
        let Some(entry) = entries.get_mut(&cause) else {
            let drops = Drops {
                count: 1,
                last_address: address,
            };
            entries.insert(
                cause,
                Entry {
                    drops,
                    warned: now,
                    warned_count: 1,
                },
            );
            return Some(1);
        };
        entry.drops.count += 1;
        entry.drops.last_address = address;
        if now.saturating_duration_since(entry.warned) < WARN_INTERVAL {
            return None;
        }
        let times = entry.drops.count - entry.warned_count;
        (entry.warned, entry.warned_count) = (now, entry.drops.count);
        Some(times)
    }

    pub(super) fn snapshot(&self) -> Counters {
        let (datagrams_sent, datagram_bytes_sent) = self.datagrams_sent.read();
        let (datagrams_received, datagram_bytes_received) = self.datagrams_received.read();
        let (frames_sent, frame_bytes_sent) = self.frames_sent.read();
        let (frames_received, frame_bytes_received) = self.frames_received.read();
        let drops = lock(&self.drops);
        Counters {
            datagrams_sent,
            datagrams_received,
            datagram_bytes_sent,
            datagram_bytes_received,
            frames_sent,
            frames_received,
            frame_bytes_sent,
            frame_bytes_received,
            connections_opened: self.connections_opened.read().0,
            connections_accepted: self.connections_accepted.read().0,
            drops: drops
                .iter()
                .map(|(cause, entry)| (*cause, entry.drops.clone()))
                .collect(),
        }
    }
}

impl From<NotOurs> for Cause {
    fn from(not_ours: NotOurs) -> Self {
        match not_ours {
            NotOurs::Garbage => Self::Garbage,
            NotOurs::WrongVersion => Self::WrongVersion,
            NotOurs::WrongCluster => Self::WrongCluster,
            NotOurs::WrongKey => Self::WrongKey,
            NotOurs::BadSeal => Self::BadSeal,
            NotOurs::Oversize => Self::Oversize,
        }
    }
}

impl Cause {
    /// What it means and what to do, for the log and for whoever asks the agent how it fares.
    pub(crate) fn sentence(self, address: SocketAddr) -> String {
        match self {
            Self::Garbage => format!(
                "What comes from {address} is not Holdfast's: find out what sends it, \
                 or let only hosts of the cluster reach this port"
            ),
            Self::WrongVersion => format!(
                "{address} speaks another version of the protocol: \
                 run the same release on all hosts"
            ),
            Self::WrongCluster => {
                format!("What comes from {address} is for another cluster: check `cluster` there")
            }
            Self::WrongKey => format!(
                "{address} uses a cluster key that this host does not have: \
                 check `key_file` on both"
            ),
            Self::BadSeal => format!(
                "What came from {address} was damaged or forged: if it goes on, \
                 look for who sends it"
            ),
            Self::Future => format!(
                "The agent at {address} started in our future: set the clocks of both hosts"
            ),
            Self::Replayed => format!(
                "What came from {address} had come before: now and then is harmless; if it goes \
                 on, two agents share one state directory, or someone repeats what they recorded"
            ),
            Self::WrongDestination => format!(
                "What {address} sends, or is sent, is for another host: an address changed \
                 hands, and it ends when all hosts have learned the new one"
            ),
            Self::Oversize => format!(
                "{address} sends more at once than is allowed: run the same release on all hosts"
            ),
            Self::InboxFull => format!(
                "This agent cannot keep up and dropped what came from {address}: \
                 check its CPU and disk"
            ),
            Self::SendFailed => format!(
                "Nothing can be sent to {address}: the host is down, a firewall is in between, \
                 or it refuses our cluster, key or version"
            ),
            Self::QueueFull => {
                format!("{address} takes less than it is sent: check that host and the network")
            }
            Self::TooManyConnections => format!(
                "Refused {address}: too many connections are open: \
                 let only hosts of the cluster reach this port"
            ),
            Self::TooSlow => format!(
                "{address} opened a connection and was too slow: check the network to it, \
                 or find out what it is"
            ),
        }
    }
}

/// The data behind these locks is whole at any moment, so a panic elsewhere does not spoil it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::tests::fold;
    use expect_test::expect;

    const CAUSES: [Cause; 14] = [
        Cause::Garbage,
        Cause::WrongVersion,
        Cause::WrongCluster,
        Cause::WrongKey,
        Cause::BadSeal,
        Cause::Future,
        Cause::Replayed,
        Cause::WrongDestination,
        Cause::Oversize,
        Cause::InboxFull,
        Cause::SendFailed,
        Cause::QueueFull,
        Cause::TooManyConnections,
        Cause::TooSlow,
    ];

    fn peer() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 9], 7946))
    }

    #[test]
    fn every_cause_says_what_it_means_and_what_to_do() {
        let lines =
            CAUSES.map(|cause| fold(&format!("{cause:?}: {}", cause.sentence(peer()))) + "\n");
        expect![[r#"
            Garbage: What comes from 10.0.0.9:7946 is not Holdfast's: find out what sends
              it, or let only hosts of the cluster reach this port
            WrongVersion: 10.0.0.9:7946 speaks another version of the protocol: run the same
              release on all hosts
            WrongCluster: What comes from 10.0.0.9:7946 is for another cluster: check
              `cluster` there
            WrongKey: 10.0.0.9:7946 uses a cluster key that this host does not have: check
              `key_file` on both
            BadSeal: What came from 10.0.0.9:7946 was damaged or forged: if it goes on, look
              for who sends it
            Future: The agent at 10.0.0.9:7946 started in our future: set the clocks of both
              hosts
            Replayed: What came from 10.0.0.9:7946 had come before: now and then is
              harmless; if it goes on, two agents share one state directory, or someone
              repeats what they recorded
            WrongDestination: What 10.0.0.9:7946 sends, or is sent, is for another host: an
              address changed hands, and it ends when all hosts have learned the new one
            Oversize: 10.0.0.9:7946 sends more at once than is allowed: run the same release
              on all hosts
            InboxFull: This agent cannot keep up and dropped what came from 10.0.0.9:7946:
              check its CPU and disk
            SendFailed: Nothing can be sent to 10.0.0.9:7946: the host is down, a firewall
              is in between, or it refuses our cluster, key or version
            QueueFull: 10.0.0.9:7946 takes less than it is sent: check that host and the
              network
            TooManyConnections: Refused 10.0.0.9:7946: too many connections are open: let
              only hosts of the cluster reach this port
            TooSlow: 10.0.0.9:7946 opened a connection and was too slow: check the network
              to it, or find out what it is
        "#]]
        .assert_eq(&lines.concat());
    }

    #[test]
    fn a_cause_is_told_once_a_minute_with_how_often_it_happened() {
        let (tally, start) = (Tally::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(tally.record(Cause::Garbage, peer(), at(0)), Some(1));
        assert_eq!(tally.record(Cause::Garbage, peer(), at(59)), None);
        assert_eq!(tally.record(Cause::WrongKey, peer(), at(59)), Some(1));
        assert_eq!(tally.record(Cause::Garbage, peer(), at(60)), Some(2));
        assert_eq!(tally.record(Cause::Garbage, peer(), at(61)), None);
    }

    #[test]
    fn the_counters_are_printed_as_json() {
        let tally = Tally::default();
        tally.datagrams_sent.add(1_200);
        tally.drop(Cause::WrongCluster, peer());
        let json = serde_json::to_string_pretty(&tally.snapshot()).unwrap();
        expect![[r#"
            {
              "datagrams_sent": 1,
              "datagrams_received": 0,
              "datagram_bytes_sent": 1200,
              "datagram_bytes_received": 0,
              "frames_sent": 0,
              "frames_received": 0,
              "frame_bytes_sent": 0,
              "frame_bytes_received": 0,
              "connections_opened": 0,
              "connections_accepted": 0,
              "drops": {
                "wrong_cluster": {
                  "count": 1,
                  "last_address": "10.0.0.9:7946"
                }
              }
            }"#]]
        .assert_eq(&json);
    }
}
