//! Rotation of the cluster's keys: what people order, and what this host's driver does about it.

use super::Agent;
use crate::{
    cluster::{
        body::{Body, ClusterKey, Key, KeyInUse},
        keys::{self, KeyReport},
    },
    command::{Outcome, Refusal},
    effect::{Effect, Effects},
    ids::{HostId, KeyId, Secret},
    limits,
    time::Now,
};

/// Hosts that a refusal names before it only counts them.
const NAMED_MAX: usize = 5;

impl Agent {
    /// The driver tells which keys it has from now on.
    pub(super) fn on_keys(&mut self, now: Now, report: KeyReport, fx: &mut Effects) {
        self.config.keys = report;
        self.publish_host(now, fx);
    }

    /// Asks the driver for what the board wants of this host's keys.
    pub(super) fn order_keys(&mut self, fx: &mut Effects) {
        if std::mem::take(&mut self.keys_dirty) {
            let orders = keys::orders(&self.board, &self.config.keys);
            if !orders.is_empty() {
                fx.push(Effect::Keys(orders));
            }
        }
    }

    pub(super) fn install_key(
        &mut self,
        now: Now,
        (key, secret): (KeyId, Secret),
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let held = &self.config.keys.held;
        if held.is_empty() {
            return Err(Refusal::NoKeys);
        }
        if !held.contains(&key) && held.len() >= limits::CLUSTER_KEYS_MAX {
            let max = limits::CLUSTER_KEYS_MAX as u64;
            return Err(Refusal::Limit {
                what: "the number of cluster keys",
                max,
            });
        }
        let body = Body::ClusterKey(ClusterKey { secret });
        self.write(now, Key::ClusterKey(key), 0, Some(body), fx);
        Ok(Outcome::KeyInstalled(key))
    }

    pub(super) fn use_key(
        &mut self,
        now: Now,
        key: KeyId,
        force: bool,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if !self.config.keys.held.contains(&key) {
            return Err(Refusal::NoSuchKey(key));
        }
        let lacking =
            self.hosts_whose(|host, report| self.board.is_up(host) && !report.held.contains(&key));
        if !lacking.is_empty() && !force {
            return Err(Refusal::KeyLacking {
                key,
                hosts: named(&lacking),
            });
        }
        let body = Body::KeyInUse(KeyInUse { key });
        self.write(now, Key::KeyInUse, 0, Some(body), fx);
        Ok(Outcome::KeyPutToUse(key))
    }

    /// `force` overlooks hosts that are down, never those that are there.
    pub(super) fn remove_key(
        &mut self,
        now: Now,
        key: KeyId,
        force: bool,
        fx: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        let mine = &self.config.keys;
        let used =
            self.hosts_whose(|host, report| self.board.is_up(host) && report.in_use == Some(key));
        let known = self
            .board
            .cluster_keys()
            .any(|(id, _, body)| id == key && body.is_some());
        let held = self.hosts_whose(|_, report| report.held.contains(&key));
        if held.is_empty() && !known {
            return Err(Refusal::NoSuchKey(key));
        }
        if mine.held.iter().all(|other| *other == key) {
            return Err(Refusal::OnlyKey(key));
        }
        if !used.is_empty() || self.board.key_in_use() == Some(key) {
            return Err(Refusal::KeyUsed {
                key,
                hosts: named(&used),
            });
        }
        let sealed = self.sealed_with(key);
        if !sealed.is_empty() {
            return Err(Refusal::KeySeals {
                key,
                secrets: named(&sealed),
            });
        }
        let cut_off = self.hosts_whose(|host, report| {
            let others = || mine.in_use.iter().all(|used| !report.held.contains(used));
            !self.board.is_up(host) && report.held.contains(&key) && others()
        });
        if !cut_off.is_empty() && !force {
            return Err(Refusal::KeyOfAbsent {
                key,
                hosts: named(&cut_off),
            });
        }
        self.write(now, Key::ClusterKey(key), 0, None, fx);
        Ok(Outcome::KeyRemoved(key))
    }

    fn hosts_whose(&self, holds: impl Fn(HostId, &KeyReport) -> bool) -> Vec<String> {
        let hosts = self.board.hosts();
        let hosts = hosts.filter(|(host, _, report)| holds(*host, &report.keys));
        hosts
            .map(|(_, _, report)| report.name.to_string())
            .collect()
    }
}

pub(super) fn named(hosts: &[String]) -> String {
    let shown = hosts[..hosts.len().min(NAMED_MAX)].join(", ");
    match hosts.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
