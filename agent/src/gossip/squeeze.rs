//! Compresses what goes into a frame, and unpacks it again, never beyond what was announced.

use super::counters::Cause;
use holdfast_core::limits::FRAME_BYTES_MAX;
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

/// Below this there is nothing to win.
const SQUEEZED_BYTES_MIN: usize = 512;
/// LZ4 cannot make more than 255 bytes of one: whoever announces more wants memory, not a message.
const GAIN_MAX: usize = 255;

/// The bytes to send, if they are fewer than the payload has.
pub(super) fn squeeze(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() < SQUEEZED_BYTES_MIN {
        return None;
    }
    let mut squeezed = vec![0; get_maximum_output_size(payload.len())];
    let len = compress_into(payload, &mut squeezed).ok()?;
    squeezed.truncate(len);
    (len < payload.len()).then_some(squeezed)
}

/// Whether a frame of `len` bytes may hold a payload of `plain_len`; equal means not compressed.
pub(super) const fn check(len: usize, plain_len: usize) -> Result<(), Cause> {
    if len > FRAME_BYTES_MAX || plain_len > FRAME_BYTES_MAX {
        return Err(Cause::Oversize);
    }
    if plain_len < len || plain_len > len * GAIN_MAX {
        return Err(Cause::Garbage);
    }
    Ok(())
}

/// The payload of a frame whose lengths were checked; allocates no more than `plain_len`.
pub(super) fn unsqueeze(bytes: Vec<u8>, plain_len: usize) -> Result<Vec<u8>, Cause> {
    if bytes.len() == plain_len {
        return Ok(bytes);
    }
    let mut payload = vec![0; plain_len];
    match decompress_into(&bytes, &mut payload) {
        Ok(len) if len == plain_len => Ok(payload),
        Ok(_) | Err(_) => Err(Cause::Garbage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::rng::Rng;

    #[test]
    fn what_repeats_gets_small_and_comes_out_as_it_was() {
        let payload: Vec<u8> = b"a record of a task ".repeat(10_000);
        let squeezed = squeeze(&payload).expect("it gets smaller");
        assert!(squeezed.len() * 50 < payload.len(), "{}", squeezed.len());
        check(squeezed.len(), payload.len()).expect("it may be sent");
        assert_eq!(unsqueeze(squeezed, payload.len()), Ok(payload));
    }

    #[test]
    fn what_would_not_get_smaller_stays_as_it_is() {
        let mut rng = Rng::new(1);
        let noise: Vec<u8> = (0..5_000).map(|_| rng.below(256) as u8).collect();
        assert_eq!(squeeze(&noise), None);
        assert_eq!(squeeze(&[0; SQUEEZED_BYTES_MIN - 1]), None);
        assert_eq!(unsqueeze(noise.clone(), noise.len()), Ok(noise));
    }

    #[test]
    fn a_bomb_is_refused_before_it_takes_memory_and_noise_never_makes_more_than_it_said() {
        assert_eq!(check(10, FRAME_BYTES_MAX), Err(Cause::Garbage));
        assert_eq!(check(0, 1), Err(Cause::Garbage));
        assert_eq!(check(2, 1), Err(Cause::Garbage));
        assert_eq!(check(9_000, FRAME_BYTES_MAX + 1), Err(Cause::Oversize));
        assert_eq!(check(FRAME_BYTES_MAX + 1, 1), Err(Cause::Oversize));
        // What unpacks to more, or less, than was announced.
        let squeezed = squeeze(&[7; 100_000]).expect("it gets smaller");
        for plain_len in [99_999, 100_001] {
            assert_eq!(unsqueeze(squeezed.clone(), plain_len), Err(Cause::Garbage));
        }
        let mut rng = Rng::new(2);
        for _ in 0..2_000 {
            let len = 1 + rng.below(60) as usize;
            let noise: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
            let plain_len = len + rng.below(5_000) as usize;
            let made = unsqueeze(noise, plain_len).map(|payload| payload.len());
            assert!(made == Ok(plain_len) || made == Err(Cause::Garbage));
        }
    }
}
