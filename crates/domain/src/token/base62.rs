//! Base62 with the alphabet `0-9A-Za-z`.

use crate::clock::{Entropy, EntropyError};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The largest multiple of 62 that fits a byte: bytes from here on are thrown away, so that every digit is
/// equally likely.
const UNBIASED_BELOW: u8 = 248;

/// Whether the byte is a base62 digit.
#[must_use]
pub const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Six digits, most significant first, padded with `0` on the left; six are enough for 2³².
#[must_use]
pub fn encode_u32(mut value: u32) -> [u8; 6] {
    let mut out = [b'0'; 6];
    for digit in out.iter_mut().rev() {
        *digit = ALPHABET[(value % 62) as usize];
        value /= 62;
    }
    out
}

/// Fills `out` with random digits by rejection sampling.
///
/// # Errors
/// [`EntropyError`] from the source.
pub fn fill_random(out: &mut [u8], entropy: &dyn Entropy) -> Result<(), EntropyError> {
    let mut pool = zeroize::Zeroizing::new([0_u8; 64]);
    let mut filled = 0;
    while filled < out.len() {
        entropy.fill(pool.as_mut())?;
        for byte in pool.iter().filter(|b| **b < UNBIASED_BELOW) {
            let Some(slot) = out.get_mut(filled) else { break };
            *slot = ALPHABET[(byte % 62) as usize];
            filled += 1;
        }
    }
    Ok(())
}
