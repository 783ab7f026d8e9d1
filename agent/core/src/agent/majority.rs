//! The policy `majority`: who counts is called, and counts are kept up with the roster.
//!
//! Only agents whom it concerns call: those that run, were given or keep something under it.

use super::Agent;
use crate::{
    cluster::body::{Body, Key},
    cluster::message::{Message, Via},
    effect::{Effect, Effects, Send},
    ids::{HostId, ServiceId},
    schedule::lease::Standing,
    time::{Mono, Now},
};
use std::net::SocketAddr;

impl Agent {
    /// To be called whenever something may have changed: calls those that count, and has services
    /// under the policy looked at when the answers come to something else.
    pub(super) fn attend_roll_call(&mut self, now: Now, fx: &mut Effects) {
        let concerned = self.is_concerned_by_majority();
        self.lease.set_concerned(now.mono, concerned);
        if !concerned {
            return;
        }
        self.keep_electorate(now, fx);
        let electors = self.board.electors();
        let change = self.board.electorate().map_or(0, |(change, _)| change);
        if self.lease.calls(now.mono, change) {
            let [hosts, before] = &electors;
            let others = before.iter().filter(|host| !hosts.contains(host));
            for host in hosts.iter().chain(others) {
                if *host != self.config.host {
                    self.send_to(*host, Message::Call { at: now.mono }, fx);
                }
            }
        }
        if self
            .lease
            .weigh(now.mono, self.config.host, change, &electors)
        {
            self.dirty.services.extend(self.index.under_majority());
        }
    }

    fn is_concerned_by_majority(&self) -> bool {
        let mut services = self.index.under_majority().peekable();
        if services.peek().is_none() || !self.joining.is_done() {
            return false;
        }
        let me = self.config.host;
        let is_mine = |service: ServiceId| {
            self.index.keeper_of(service) == Some(me)
                || self.index.slots_naming(me, service).next().is_some()
        };
        let runs = |service: ServiceId| {
            let slots = self.roster.iter().filter(|task| task.report.last.is_live());
            let mut slots = slots.filter_map(|task| task.report.slot.as_ref());
            slots.any(|slot| slot.service == service)
        };
        services.any(|service| is_mine(service) || runs(service))
    }

    /// The keeper of the first service under the policy lets the list follow the roster, while it
    /// has a majority by the list as it is.
    fn keep_electorate(&mut self, now: Now, fx: &mut Effects) {
        let first = self.index.under_majority().next();
        let keeper = first.and_then(|service| self.index.keeper_of(service));
        let changes = self.board.electorate().map(|(changes, _)| changes);
        let may = changes.is_none() || self.lease.is_steady(now.mono);
        if keeper != Some(self.config.host) || !may {
            return;
        }
        if let Some(next) = self.board.next_electorate() {
            let change = changes.map_or(1, |changes| changes + 1);
            self.write(
                now,
                Key::Electorate,
                change,
                Some(Body::Electorate(next)),
                fx,
            );
        }
    }

    /// Whoever we hold for down gets no answer: a keeper may be about to replace what it runs.
    pub(super) fn on_call(&self, from: HostId, to: SocketAddr, at: Mono, fx: &mut Effects) {
        if self.joining.is_done() && self.board.is_up(from) {
            fx.push(Effect::Send(Send {
                to,
                host: Some(from),
                via: Via::Datagram,
                message: Message::Present { at },
            }));
        }
    }

    /// Copies of the service may start here, as far as partitions go.
    pub(super) fn may_start(&self, service: ServiceId) -> bool {
        !self.index.is_under_majority(service) || self.lease.standing() == Standing::Majority
    }

    /// Copies of the service must stop here: others may replace them soon.
    pub(super) fn lease_is_over(&self, service: ServiceId) -> bool {
        self.index.is_under_majority(service) && self.lease.standing() == Standing::Expired
    }

    /// While something is under the policy, only people and a side with a majority forget hosts:
    /// else the rest of a cluster would become all of it.
    pub(super) fn may_reap(&self) -> bool {
        self.index.under_majority().next().is_none() || self.lease.standing() == Standing::Majority
    }
}
