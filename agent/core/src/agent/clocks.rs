//! Clocks that are wrong: whoever stamps ahead of time is not followed, and both sides are told.

use super::Agent;
use crate::{
    cluster::{message::Message, record::Stamp},
    effect::Effects,
    event::HostStanding,
    ids::HostId,
    time::{Now, Span},
};

/// People are told of the same clock again after this.
const TOLD_AGAIN: Span = Span::from_secs(600);
/// Of so many clocks at a time; with more of them wrong, ours is.
const TOLD_MAX: usize = 64;

impl Agent {
    /// A record is stamped too far ahead of our clock. It is not taken: following it would drag the
    /// whole cluster's stamps along.
    pub(super) fn on_stamp_ahead(
        &mut self,
        now: Now,
        stamp: Stamp,
        from: Option<HostId>,
        fx: &mut Effects,
    ) {
        let author = stamp.author;
        if !self.is_news_of_clock(now, author) {
            return;
        }
        let ms = stamp.wall.ms_since(now.wall);
        let reason = format!(
            "its clock is {} s ahead of this host's: what it says is not taken; check the time on \
             both",
            ms / 1_000
        );
        let standing = self.standing(author);
        self.tell_host(now, author, standing, &reason, fx);
        // Who passed it on took it, so it is not the author's clock alone.
        if let Some(from) = from {
            self.send_to(from, Message::Ahead { ms }, fx);
        }
    }

    /// A peer does not take what we say.
    pub(super) fn on_ahead(&mut self, now: Now, from: HostId, ms: u64, fx: &mut Effects) {
        let me = self.config.host;
        if !self.is_news_of_clock(now, me) {
            return;
        }
        let peer = self.board.host(from);
        let peer = peer.map_or_else(|| from.to_string(), |(_, report)| report.name.clone());
        let reason = format!(
            "this host's clock, or one whose records it passes on, is {} s ahead of that of \
             {peer}, which does not take them; check the time on both",
            ms / 1_000
        );
        self.tell_host(now, me, HostStanding::Up, &reason, fx);
    }

    fn is_news_of_clock(&mut self, now: Now, host: HostId) -> bool {
        self.clocks_told
            .retain(|_, told| now.mono.since(*told) < TOLD_AGAIN);
        if self.clocks_told.contains_key(&host) || self.clocks_told.len() >= TOLD_MAX {
            return false;
        }
        self.clocks_told.insert(host, now.mono);
        true
    }
}
