//! Whom no datagram reaches though streams do, as where a firewall lets TCP alone through: to them
//! everything goes by stream, until a probe by datagram is answered again.

use super::{Membership, Turn, hearing::number};
use crate::{
    cluster::message::{Message, Via},
    effect::{Effects, Send},
    ids::HostId,
    time::{Mono, Now, Span},
};

/// A host that neither asks nor answers by stream is not reached by stream for longer than this.
const LASTS: Span = Span::from_secs(60);
/// Who answered by datagram so lately needs no stream, whatever it thinks itself: two that each
/// learned of the block from the other's streams would go on telling one another of it.
const FRESH: Span = Span::from_secs(3);

impl Membership {
    /// Tries by stream what datagrams have not done.
    pub(super) fn probe_by_stream(&self, turn: &mut Turn<'_>, host: HostId) {
        let sequence = number(turn.now.mono);
        self.send(turn, host, Via::Stream, Message::Probe { sequence });
    }

    /// A message came: one by stream that goes by datagram anywhere else shows that its sender has
    /// no other way.
    pub fn on_way(&mut self, now: Now, from: HostId, via: Via, message: &Message) {
        let is_small = matches!(
            message,
            Message::Probe { .. }
                | Message::Alarm(_)
                | Message::Alive { .. }
                | Message::Summary { .. }
                | Message::Call { .. }
        );
        if via == Via::Stream && is_small {
            self.on_stream(now.mono, from);
        }
    }

    fn on_stream(&mut self, now: Mono, from: HostId) {
        let watch = self.watched.get(&from);
        let by_datagram = watch.and_then(|watch| watch.by_datagram);
        if by_datagram.is_none_or(|at| now.since(at) >= FRESH) {
            self.by_stream.insert(from, now);
        }
    }

    /// It answered a probe that went this way.
    pub(super) fn on_answer(&mut self, now: Mono, from: HostId, via: Via) {
        match via {
            Via::Stream => self.on_stream(now, from),
            Via::Datagram => {
                self.by_stream.remove(&from);
                if let Some(watch) = self.watched.get_mut(&from) {
                    watch.by_datagram = Some(now);
                }
            }
        }
    }

    pub(super) fn is_by_stream(&self, host: HostId) -> bool {
        self.by_stream.contains_key(&host)
    }

    pub(super) fn forget_streams(&mut self, now: Mono) {
        self.by_stream.retain(|_, at| now.since(*at) < LASTS);
    }

    /// Has what this step sends go the way that works. Probes and their answers have their own.
    pub fn choose_ways(&self, fx: &mut Effects) {
        if self.by_stream.is_empty() || planted!(KeepsToDatagrams) {
            return;
        }
        let blocked = self.is_blocked();
        for send in fx.sends() {
            let Send { host, message, .. } = send;
            let has_its_own = matches!(message, Message::Probe { .. } | Message::Ack { .. });
            let reached = host.is_some_and(|host| blocked || self.is_by_stream(host));
            if reached && !has_its_own {
                send.via = Via::Stream;
            }
        }
    }

    /// More than half of our subjects are reached by stream alone: it is we who are behind the
    /// firewall, and others are no different.
    fn is_blocked(&self) -> bool {
        let subjects = self.watched.iter().filter(|(_, watch)| watch.is_subject);
        let (mut all, mut by_stream) = (0, 0);
        for (host, _) in subjects {
            all += 1;
            by_stream += usize::from(self.is_by_stream(*host));
        }
        by_stream * 2 > all
    }
}
