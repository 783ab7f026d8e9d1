//! An enemy on the network: it records sealed datagrams, repeats and changes them, and forges some.
//!
//! While it is there, datagrams travel as the daemon seals and opens them, byte by byte. Nothing of
//! what the enemy puts on the wire may ever be opened.

use crate::{
    cluster::Cluster,
    host::{CLUSTER, Host},
};
use holdfast_core::{
    cluster::message::{Message, Via},
    ids::{HostId, KeyId, Secret},
    rng::Rng,
};
use holdfast_seal::{
    key::{ClusterKey, Keyring, Secrets},
    replay::Replays,
    seal::{self, Sealer},
};
use std::collections::BTreeMap;

/// Datagrams that the enemy remembers of the latest, and how many members a window is kept of.
const HEARD_MAX: usize = 512;
const SENDERS: usize = 64;
/// After so many datagrams that came it tries one of its own.
const PATIENCE: u64 = 3;

#[derive(Debug)]
pub struct Enemy {
    rng: Rng,
    /// By place and boot: one for each start of an agent.
    sealers: BTreeMap<(usize, u32), Sealer>,
    replays: BTreeMap<(usize, u32), Replays>,
    /// What was taken, by whom, and by which start of its agent.
    heard: Vec<(usize, u32, Vec<u8>)>,
    pub tried: BTreeMap<&'static str, u32>,
}

impl Cluster {
    /// From now on an enemy listens, and sends what it likes.
    pub fn admit_enemy(&mut self) {
        let rng = Rng::new(self.rng.next_u64());
        self.enemy = Some(Box::new(Enemy {
            rng,
            sealers: BTreeMap::new(),
            replays: BTreeMap::new(),
            heard: Vec::new(),
            tried: BTreeMap::new(),
        }));
    }

    pub fn enemy(&self) -> Option<&Enemy> {
        self.enemy.as_deref()
    }

    /// A datagram as it goes over the wire, if anybody but the two listens.
    pub(crate) fn sealed(
        &mut self,
        from: usize,
        (via, meant): (Via, Option<HostId>),
        message: &Message,
    ) -> Option<Vec<u8>> {
        let enemy = self.enemy.as_mut().filter(|_| via == Via::Datagram)?;
        let host = &self.hosts[from];
        let salt = enemy.rng.next_u64().to_be_bytes();
        let sealer = enemy.sealers.entry((from, host.boot));
        let sealer = sealer.or_insert_with(|| Sealer::new(host.id, host.boot.into(), salt));
        let secrets = secrets(host);
        let to = meant.unwrap_or_default();
        Some(sealer.seal((&secrets, secrets.primary()), to, message.encode()))
    }

    /// What the daemon makes of a datagram: who sent it, and what it says.
    pub(crate) fn opened(&mut self, to: usize, datagram: &[u8]) -> Option<(HostId, Message)> {
        let host = &self.hosts[to];
        let opened = seal::open(&secrets(host), datagram).ok()?;
        let is_ours = opened.destination == HostId::default() || opened.destination == host.id;
        let boot = host.boot;
        let enemy = self.enemy.as_mut().filter(|_| is_ours)?;
        let replays = enemy.replays.entry((to, boot));
        let replays = replays.or_insert_with(|| Replays::new(SENDERS));
        if !replays.admit(opened.sender, opened.boot, opened.counter) {
            return None;
        }
        Message::decode(&opened.payload)
            .ok()
            .map(|message| (opened.sender, message))
    }

    /// The enemy has heard what was taken here; now and then it says something itself.
    pub(crate) fn overheard(&mut self, to: usize, datagram: Vec<u8>) {
        let boot = self.hosts[to].boot;
        let member = self.hosts[(to + 1) % self.hosts.len()].id;
        let Some(enemy) = self.enemy.as_mut() else {
            return;
        };
        if enemy.heard.len() >= HEARD_MAX {
            enemy.heard.remove(0);
        }
        enemy.heard.push((to, boot, datagram));
        if enemy.rng.below(PATIENCE) > 0 {
            return;
        }
        let (what, at, forged) = enemy.forge(member);
        // Of another start of the agent: it knows no window that this one does not.
        if self.hosts[at].boot != boot || self.hosts[at].agent.is_none() {
            return;
        }
        if let Some((from, message)) = self.opened(at, &forged) {
            self.fail(format!(
                "h{at} took a datagram that was {what}, as of {from}: {message:?}"
            ));
        }
    }
}

impl Enemy {
    /// What it tries, on whom, and the bytes.
    fn forge(&mut self, member: HostId) -> (&'static str, usize, Vec<u8>) {
        let heard = self.rng.below(self.heard.len() as u64) as usize;
        let (at, _, mut datagram) = self.heard[heard].clone();
        let what = match self.rng.below(3) {
            0 => "replayed",
            1 => {
                let place = self.rng.below(datagram.len() as u64) as usize;
                datagram[place] ^= 1 << self.rng.below(8);
                "changed"
            }
            _ => {
                let guessed = keyring(&[KeyId(
                    self.rng.next_u64().to_be_bytes()[..4]
                        .try_into()
                        .expect("four bytes"),
                )]);
                let secrets = Secrets::new(&guessed, CLUSTER);
                let sealer = Sealer::new(member, 1 << 40, [0; 8]);
                let payload = Message::Probe { sequence: 1 }.encode();
                let mut forged =
                    sealer.seal((&secrets, secrets.primary()), HostId::default(), payload);
                // It names a key that the members have.
                forged[..seal::PREAMBLE_BYTES].copy_from_slice(&datagram[..seal::PREAMBLE_BYTES]);
                datagram = forged;
                "spoofed"
            }
        };
        *self.tried.entry(what).or_default() += 1;
        (what, at, datagram)
    }
}

/// The simulator's keys are numbers; each stands for a secret.
fn secrets(host: &Host) -> Secrets {
    let (held, in_use) = (&host.keys.held, host.keys.in_use);
    let others = held.iter().filter(|key| Some(**key) != in_use);
    let keys: Vec<KeyId> = in_use.into_iter().chain(others.copied()).collect();
    Secrets::new(&keyring(&keys), CLUSTER)
}

fn keyring(keys: &[KeyId]) -> Keyring {
    let secret = |key: &KeyId| {
        let mut secret = [0; 32];
        secret[..4].copy_from_slice(&key.0);
        ClusterKey::from_secret(&Secret(secret))
    };
    let mut keys: Vec<ClusterKey> = keys.iter().map(secret).collect();
    Keyring {
        primary: keys.remove(0),
        others: keys,
    }
}
