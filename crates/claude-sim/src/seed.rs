//! Determinism: a fast hash of the request body, and a small generator that everything random is drawn from.

/// Odd constant of splitmix64 (Steele, Lea, Flood 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Alphabet of the API's ids (base58).
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Splitmix64: tiny, well mixed, and not for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `bound` (0 when `bound` is 0).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        if bound == 0 { 0 } else { usize::try_from(self.next() % bound).unwrap_or(0) }
    }

    /// `prefix` and 22 base58 characters, as in `msg_01…`.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        let mut id = String::with_capacity(prefix.len() + 22);
        id.push_str(prefix);
        for _ in 0..2 {
            let mut bits = self.next();
            for _ in 0..11 {
                id.push(char::from(BASE58[usize::try_from(bits % 58).unwrap_or(0)]));
                bits /= 58;
            }
        }
        id
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Hash of `bytes`, eight at a time: equal on every platform and release, not collision resistant.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut state = GOLDEN ^ u64::try_from(bytes.len()).unwrap_or(0);
    for word in words {
        state = (state ^ u64::from_le_bytes(*word)).wrapping_mul(0x517c_c1b7_2722_0a95).rotate_left(23);
    }
    let mut last = [0u8; 8];
    last[..tail.len()].copy_from_slice(tail);
    mix(state ^ u64::from_le_bytes(last))
}

/// One hash of two: order matters.
pub(crate) fn combine(left: u64, right: u64) -> u64 {
    mix(left.rotate_left(17) ^ right.wrapping_mul(GOLDEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_byte_changes_the_hash_at_every_length() {
        for len in 1..40 {
            let plain = vec![b'a'; len];
            for at in 0..len {
                let mut other = plain.clone();
                other[at] = b'b';
                assert_ne!(hash(&plain), hash(&other), "len {len} at {at}");
            }
            assert_ne!(hash(&plain), hash(&plain[1..]));
        }
    }

    #[test]
    fn ids_have_the_shape_of_the_api() {
        let id = Rng::new(7).id("msg_01");
        assert_eq!(id.len(), 28);
        assert!(id[6..].bytes().all(|b| BASE58.contains(&b)));
        assert_ne!(id, Rng::new(8).id("msg_01"));
    }
}
