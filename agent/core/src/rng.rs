//! Our own seeded generator and mixing function: last year's seed still gives last year's run.

use serde::{Deserialize, Serialize};

/// SplitMix64 (Steele, Lea, Flood, OOPSLA'14): small, fast, and good enough for jitter and choices.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rng(u64);

impl Rng {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number in `0..bound`.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a choice among nothing");
        // Multiply-shift keeps the bias below 2^-64 * bound, far under anything we can notice.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True `parts` times out of a million.
    pub fn chance_ppm(&mut self, parts: u64) -> bool {
        self.below(1_000_000) < parts
    }

    /// An index into a slice of this length, or `None` for an empty one.
    pub fn index(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.below(len as u64) as usize)
    }
}

/// Scrambles one word so that every input bit flips about half of the output bits.
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stable 64-bit hash of bytes: equal on every architecture and in every version of Holdfast.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = mix(bytes.len() as u64 ^ 0x5107_F457);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

/// Rendezvous score of a candidate for a subject: the highest score wins (Thaler, Ravishankar
/// 1998).
pub const fn score(subject: u64, candidate: u64) -> u64 {
    mix(mix(subject) ^ candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut rng = Rng::new(7);
        let drawn = [rng.next_u64(), rng.next_u64(), rng.below(10), rng.below(10)];
        assert_eq!(drawn, [7191089600892374487, 309689372594955804, 9, 5]);
    }

    #[test]
    fn hashing_tells_lengths_and_contents_apart() {
        assert_ne!(hash_bytes(b"a"), hash_bytes(b"a\0"));
        assert_ne!(hash_bytes(b"12345678a"), hash_bytes(b"12345678b"));
        assert_eq!(hash_bytes(b"holdfast"), hash_bytes(b"holdfast"));
    }
}
