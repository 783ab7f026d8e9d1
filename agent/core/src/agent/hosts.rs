//! What people want of hosts, and how a host that is gone is forgotten.
//!
//! A tombstone of a host stands one incarnation above what was known of it: whatever it still wrote
//! elsewhere yields, and if it lives after all, it begins a later incarnation and registers anew.

use super::Agent;
use crate::{
    cluster::{
        body::{Availability, Body, Directive, HostStatus, Key},
        message::{Message, Via},
        record::Version,
    },
    command::{Outcome, Refusal},
    effect::{Effect, Effects, Send},
    event::HostStanding,
    ids::{HostId, Incarnation, TaskId},
    limits, rng,
    time::{Now, Span},
};
use std::{collections::BTreeSet, net::SocketAddr};

impl Agent {
    /// What this agent's board says of a host at the moment.
    pub fn standing(&self, host: HostId) -> HostStanding {
        self.board.standing_now(host)
    }

    pub(super) fn direct(
        &mut self,
        now: Now,
        hosts: Vec<HostId>,
        availability: Availability,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if let Some(unknown) = hosts.iter().find(|host| self.board.host(**host).is_none()) {
            return Err(Refusal::NoSuchHost(*unknown));
        }
        for &host in &hosts {
            if self.board.availability(host) != availability {
                let body = Body::Directive(Directive { availability });
                self.write(now, Key::Directive(host), 0, Some(body), fx);
            }
        }
        Ok(Outcome::Directed(hosts))
    }

    pub(super) fn forget_on_command(
        &mut self,
        now: Now,
        host: HostId,
        force: bool,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let (incarnation, report) = self.board.host(host).ok_or(Refusal::NoSuchHost(host))?;
        if host == self.config.host {
            return Err(Refusal::ForgetsItself);
        }
        if self.board.is_up(host) && !force {
            let name = report.name.to_string();
            let tasks = self.live_tasks_on(host);
            return Err(Refusal::HostIsUp { name, tasks });
        }
        self.forget_host(now, host, incarnation, fx);
        Ok(Outcome::Forgotten(host))
    }

    /// By the board, whether the host is up or not.
    pub(super) fn live_tasks_on(&self, host: HostId) -> u32 {
        let tasks = self.board.tasks_on(host);
        let live = tasks.filter(|(_, report)| report.last.is_live()).count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    fn forget_host(&mut self, now: Now, host: HostId, last: Incarnation, fx: &mut Effects) {
        let epoch = last.saturating_add(1);
        let tombstone = self.write(now, Key::Host(host), epoch, None, fx).version;
        self.clear_up_after(now, host, tombstone, fx);
    }

    /// Buries what was said of a host, or by it, before it was forgotten.
    fn clear_up_after(&mut self, now: Now, host: HostId, tombstone: Version, fx: &mut Effects) {
        let said = self.board.tasks_on(host).map(|(task, _)| task);
        let said: Vec<TaskId> = said.collect();
        let reports = said.iter().map(|task| Key::Task(host, *task));
        for key in reports.chain([Key::Verdict(host)]) {
            if self.is_older(&key, |of| of < tombstone) {
                self.write(now, key, tombstone.epoch, None, fx);
            }
        }
        let orders = said
            .iter()
            .flat_map(|task| [Key::StopOrder(*task), Key::Protection(*task)]);
        for key in orders.chain([Key::Directive(host)]) {
            if self.is_older(&key, |of| of.stamp < tombstone.stamp) {
                self.write(now, key, 0, None, fx);
            }
        }
    }

    fn is_older(&self, key: &Key, than: impl FnOnce(Version) -> bool) -> bool {
        let record = self.board.record(key);
        record.is_some_and(|record| record.body.is_some() && than(record.version))
    }

    /// Our own records say that we were forgotten, while we were away or cut off.
    pub(super) fn on_forgotten(&mut self, now: Now, tombstone: Version, fx: &mut Effects) {
        self.registered_at = now.wall;
        let next = self.incarnation.max(tombstone.epoch) + 1;
        self.begin_incarnation(now, next, fx);
    }

    /// Forgets hosts that have been gone for long enough, and what came late of those that were
    /// forgotten. One host does it for each of them, so that it is done once.
    pub(super) fn reap(&mut self, now: Now, fx: &mut Effects) {
        if !self.joining.is_done() || !self.may_reap() {
            return;
        }
        let mine = |host: HostId| self.reaper_of(host) == Some(self.config.host);
        let returning = self.membership.returning(now);
        let gone = self.board.hosts().filter(|(host, ..)| {
            let since = self.board.down_since(*host);
            let for_ms = since.map(|since| now.wall.ms_since(since));
            for_ms.is_some_and(|for_ms| for_ms >= self.kept_ms(*host))
                && !returning.contains(host)
                && mine(*host)
        });
        let gone: Vec<_> = gone.map(|(host, last, _)| (host, last)).collect();
        let forgotten = self.board.forgotten_hosts().filter(|(host, _)| mine(*host));
        let forgotten: Vec<_> = forgotten.collect();
        for (host, last) in gone {
            self.forget_host(now, host, last, fx);
        }
        for (host, tombstone) in forgotten {
            self.clear_up_after(now, host, tombstone, fx);
        }
    }

    /// Compares boards with a first peer that is not known: two sides that were apart for so long
    /// that they forgot each other must find together again, and nobody else would look.
    pub(super) fn call_unknown_peer(&mut self, fx: &mut Effects) {
        let known = self.board.hosts().map(|(_, _, report)| report.address);
        let known: BTreeSet<SocketAddr> = known.collect();
        let me = self.config.address;
        let unknown = |seed: &&SocketAddr| **seed != me && !known.contains(*seed);
        let unknown: Vec<SocketAddr> = self.config.seeds.iter().filter(unknown).copied().collect();
        let Some(index) = self.rng.index(unknown.len()) else {
            return;
        };
        let root = self.board.root();
        fx.push(Effect::Send(Send {
            to: unknown[index],
            host: None,
            via: Via::Datagram,
            message: Message::Summary { root },
        }));
    }

    /// Of the hosts that stay, the one with the highest rendezvous score.
    fn reaper_of(&self, gone: HostId) -> Option<HostId> {
        let stay = self.board.hosts().filter(|(host, _, report)| {
            report.caught_up && report.status == HostStatus::Active && self.board.is_up(*host)
        });
        stay.map(|(host, ..)| host)
            .max_by_key(|host| rng::score(gone.word(), host.word()))
    }

    /// How long a host that is gone stays known.
    fn kept_ms(&self, host: HostId) -> u64 {
        match (self.board.status(host), self.config.timings.reap_after) {
            (Some(HostStatus::Left), _) => limits::LEFT_HOST_KEPT_MS,
            (_, after) => after.map_or(u64::MAX, Span::as_ms),
        }
    }
}
