//! Seals and opens datagrams: who sends, in which start, which one, and to whom, all authenticated.
//!
//! | bytes | what | |
//! |---|---|---|
//! | 0..2 | `hf` | clear, authenticated |
//! | 2 | version | |
//! | 3..7 | cluster tag | |
//! | 7..11 | key id | |
//! | 11..27 | sender | |
//! | 27..35 | boot of the sender | |
//! | 35..43 | salt, drawn when the sender started | |
//! | 43..51 | counter, from 1 | |
//! | 51..n-32 | payload | sealed with XChaCha20-Poly1305 |
//! | n-32..n-16 | destination, zero if the sender does not know it | sealed |
//! | n-16..n | tag | |
//!
//! The first 16 bytes of the nonce are a hash of sender, boot and salt, the last 8 the counter. So
//! a nonce comes twice only if one boot is used twice *and* 64 random bits fall alike: restoring a
//! host from a copy of its disk gives no two datagrams under one nonce.

use crate::key::{Derived, Secrets, first, hash};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use holdfast_core::{
    ids::{HostId, KeyId},
    limits::DATAGRAM_BYTES_MAX,
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub const MAGIC: [u8; 2] = *b"hf";
pub const VERSION: u8 = 1;
/// Magic, version, cluster tag and key id: what a datagram and a connection begin with.
pub const PREAMBLE_BYTES: usize = 11;
const CLEAR_BYTES: usize = PREAMBLE_BYTES + 16 + 8 + 8 + 8;
const HOST_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// The most that one datagram carries.
pub const DATAGRAM_PAYLOAD_MAX: usize = DATAGRAM_BYTES_MAX - CLEAR_BYTES - HOST_BYTES - TAG_BYTES;

/// Why something is not from a member of our cluster, or cannot be told to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    Garbage,
    WrongVersion,
    WrongCluster,
    WrongKey,
    BadSeal,
    Oversize,
}

/// Seals what this start of this host sends. There must be one alone for each `boot`.
#[derive(Debug)]
pub struct Sealer {
    /// The clear part, all but the preamble and the counter.
    clear: [u8; CLEAR_BYTES],
    stem: [u8; 16],
    counter: AtomicU64,
}

/// A datagram that is authentic: someone with the key has sealed it.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    pub key: KeyId,
    pub sender: HostId,
    pub boot: u64,
    pub counter: u64,
    pub destination: HostId,
    pub payload: Vec<u8>,
}

impl Sealer {
    pub fn new(sender: HostId, boot: u64, salt: [u8; 8]) -> Self {
        let mut clear = [0; CLEAR_BYTES];
        clear[11..27].copy_from_slice(&sender.0.to_be_bytes());
        clear[27..35].copy_from_slice(&boot.to_be_bytes());
        clear[35..43].copy_from_slice(&salt);
        Self {
            clear,
            stem: stem(&clear),
            counter: AtomicU64::new(1),
        }
    }

    /// # Panics
    /// If the payload is longer than `DATAGRAM_PAYLOAD_MAX`.
    pub fn seal(
        &self,
        (secrets, key): (&Secrets, &Derived),
        destination: HostId,
        mut payload: Vec<u8>,
    ) -> Vec<u8> {
        assert!(
            payload.len() <= DATAGRAM_PAYLOAD_MAX,
            "the sender checks sizes"
        );
        let counter = self.counter.fetch_add(1, Relaxed).to_be_bytes();
        let mut clear = self.clear;
        clear[..PREAMBLE_BYTES].copy_from_slice(&preamble(secrets, key));
        clear[43..51].copy_from_slice(&counter);
        payload.extend_from_slice(&destination.0.to_be_bytes());
        let sealed = XChaCha20Poly1305::new(&key.datagram.into())
            .encrypt(
                &nonce(self.stem, counter),
                Payload {
                    msg: &payload,
                    aad: &clear,
                },
            )
            .expect("1,200 bytes are far below the 256 GiB of one nonce");
        let mut datagram = Vec::with_capacity(CLEAR_BYTES + sealed.len());
        datagram.extend_from_slice(&clear);
        datagram.extend_from_slice(&sealed);
        datagram
    }
}

/// Opens a datagram. Nothing but its bytes is judged: not when it came, nor whether before.
pub fn open(secrets: &Secrets, datagram: &[u8]) -> Result<Opened, NotOurs> {
    if datagram.len() > DATAGRAM_BYTES_MAX {
        return Err(NotOurs::Oversize);
    }
    let key = secrets.check_preamble(datagram)?;
    if datagram.len() < CLEAR_BYTES + HOST_BYTES + TAG_BYTES {
        return Err(NotOurs::Garbage);
    }
    let (clear, sealed) = datagram.split_at(CLEAR_BYTES);
    let counter: [u8; 8] = array(&clear[43..51]);
    let nonce = nonce(stem(clear), counter);
    let mut payload = XChaCha20Poly1305::new(&key.datagram.into())
        .decrypt(
            &nonce,
            Payload {
                msg: sealed,
                aad: clear,
            },
        )
        .map_err(|_| NotOurs::BadSeal)?;
    let payload_len = payload.len() - HOST_BYTES;
    let destination = HostId(u128::from_be_bytes(array(&payload[payload_len..])));
    payload.truncate(payload_len);
    Ok(Opened {
        key: key.id,
        sender: HostId(u128::from_be_bytes(array(&clear[11..27]))),
        boot: u64::from_be_bytes(array(&clear[27..35])),
        counter: u64::from_be_bytes(counter),
        destination,
        payload,
    })
}

impl Secrets {
    /// The key that this datagram or connection is sealed with, or why it is none of ours.
    pub fn check_preamble(&self, bytes: &[u8]) -> Result<&Derived, NotOurs> {
        if bytes.len() < PREAMBLE_BYTES || bytes[..2] != MAGIC {
            return Err(NotOurs::Garbage);
        }
        if bytes[2] != VERSION {
            return Err(NotOurs::WrongVersion);
        }
        if bytes[3..7] != self.cluster.0 {
            return Err(NotOurs::WrongCluster);
        }
        self.find(KeyId(array(&bytes[7..11])))
            .ok_or(NotOurs::WrongKey)
    }
}

pub fn preamble(secrets: &Secrets, key: &Derived) -> [u8; PREAMBLE_BYTES] {
    let mut preamble = [0; PREAMBLE_BYTES];
    preamble[..2].copy_from_slice(&MAGIC);
    preamble[2] = VERSION;
    preamble[3..7].copy_from_slice(&secrets.cluster.0);
    preamble[7..11].copy_from_slice(&key.id.0);
    preamble
}

fn stem(clear: &[u8]) -> [u8; 16] {
    first(hash(&[b"holdfast v1 nonce", &clear[11..43]]))
}

fn nonce(stem: [u8; 16], counter: [u8; 8]) -> XNonce {
    let mut nonce = XNonce::default();
    nonce[..16].copy_from_slice(&stem);
    nonce[16..].copy_from_slice(&counter);
    nonce
}

/// # Panics
/// If there are not exactly `N` bytes.
pub fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller sliced this many bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{ClusterKey, Keyring};
    use expect_test::expect;
    use holdfast_core::rng::Rng;

    fn key(text: &str) -> ClusterKey {
        ClusterKey::known_to_everyone(text)
    }

    fn secrets(primary: &str, others: &[&str]) -> Secrets {
        let others = others.iter().map(|other| key(other)).collect();
        Secrets::new(
            &Keyring {
                primary: key(primary),
                others,
            },
            "prod",
        )
    }

    fn sealer() -> Sealer {
        Sealer::new(HostId(0xaa << 120), 0x0102, [3; 8])
    }

    fn seal(sealer: &Sealer, secrets: &Secrets, to: HostId, payload: Vec<u8>) -> Vec<u8> {
        sealer.seal((secrets, secrets.primary()), to, payload)
    }

    #[test]
    fn the_form_of_a_datagram_never_changes() {
        let secrets = secrets("a", &[]);
        let datagram = seal(&sealer(), &secrets, HostId(0xbb), b"hello".to_vec());
        let lines = datagram.chunks(32).map(|line| {
            line.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                + "
"
        });
        let hex = lines.collect::<String>();
        expect![[r#"
            686601b8e9abb3a42fded5aa0000000000000000000000000000000000000000
            00010203030303030303030000000000000001f9d830a5163a7ca1774067684c
            51a666f0c41ab0bb5379e1c2764dc7ec28c3bbd1dcbdbf30
        "#]]
        .assert_eq(&hex);
        let opened = open(&secrets, &datagram).unwrap();
        assert_eq!(opened.sender, HostId(0xaa << 120));
        assert_eq!((opened.boot, opened.counter), (0x0102, 1));
        assert_eq!(
            (opened.destination, &opened.payload[..]),
            (HostId(0xbb), &b"hello"[..])
        );
    }

    #[test]
    fn the_greatest_payload_fills_a_datagram_and_the_empty_one_opens() {
        let secrets = secrets("a", &[]);
        for len in [0, DATAGRAM_PAYLOAD_MAX] {
            let datagram = seal(&sealer(), &secrets, HostId(1), vec![7; len]);
            assert_eq!(
                datagram.len(),
                DATAGRAM_BYTES_MAX - DATAGRAM_PAYLOAD_MAX + len
            );
            assert_eq!(open(&secrets, &datagram).unwrap().payload, vec![7; len]);
        }
    }

    #[test]
    fn each_byte_that_is_flipped_is_noticed() {
        let secrets = secrets("a", &[]);
        let good = seal(&sealer(), &secrets, HostId(0xbb), b"hello".to_vec());
        let mut causes = Vec::new();
        for position in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[position] ^= 1 << bit;
                causes.push(open(&secrets, &bad).unwrap_err());
            }
        }
        causes.dedup();
        let causes = format!("{causes:?}");
        expect!["[Garbage, WrongVersion, WrongCluster, WrongKey, BadSeal]"].assert_eq(&causes);
        for len in 0..good.len() {
            assert!(open(&secrets, &good[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn random_bytes_of_each_length_are_refused() {
        let (secrets, mut rng) = (secrets("a", &[]), Rng::new(1));
        for len in 0..1_300 {
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            assert!(open(&secrets, &bytes).is_err(), "{len}");
            // Once more with a preamble that is ours, to get past the first checks.
            let ours = preamble(&secrets, secrets.primary());
            let known = len.min(ours.len());
            bytes[..known].copy_from_slice(&ours[..known]);
            assert!(open(&secrets, &bytes).is_err(), "{len}");
        }
    }

    #[test]
    fn other_keys_and_clusters_are_told_apart() {
        let theirs = secrets("old", &[]);
        let datagram = seal(&sealer(), &theirs, HostId(0), vec![]);
        assert_eq!(
            open(&secrets("new", &[]), &datagram),
            Err(NotOurs::WrongKey)
        );
        assert!(open(&secrets("new", &["older", "old"]), &datagram).is_ok());
        let elsewhere = Secrets::new(
            &Keyring {
                primary: key("old"),
                others: vec![],
            },
            "test",
        );
        assert_eq!(open(&elsewhere, &datagram), Err(NotOurs::WrongCluster));
        // The name of the cluster is part of the key too, whatever the clear part claims.
        let mut forged = datagram;
        forged[3..7].copy_from_slice(&elsewhere.cluster.0);
        assert_eq!(open(&elsewhere, &forged), Err(NotOurs::BadSeal));
    }

    #[test]
    fn no_two_datagrams_share_a_nonce() {
        let secrets = secrets("a", &[]);
        let stem_of = |sender, boot, salt| Sealer::new(HostId(sender), boot, salt).stem;
        let stems = [
            stem_of(1, 1, [0; 8]),
            stem_of(2, 1, [0; 8]),
            stem_of(1, 2, [0; 8]),
            stem_of(1, 1, [1; 8]),
        ];
        assert!((1..4).all(|index| !stems[..index].contains(&stems[index])));
        let sealer = sealer();
        let counter = || seal(&sealer, &secrets, HostId(0), vec![])[43..51].to_vec();
        assert!(counter() != counter());
    }
}
