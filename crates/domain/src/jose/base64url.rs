//! Base64url without padding (RFC 7515, appendix C), in its canonical form only: one text for one value.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Writes bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a text; `None` for padding, white space, the other alphabet, and bits left over that are not zero.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_canonical_text_is_read() {
        assert_eq!(decode(b"_-8").unwrap(), [0xff, 0xef]);
        for other in ["_-8=", "/+8", "_-9", "_-8 ", " _-8", "_-8\n", "_", "_-8%3D", "_-8.", "A", "_-8A-"] {
            assert_eq!(decode(other.as_bytes()), None, "{other}");
        }
        assert_eq!(decode(b"").unwrap(), b"");
    }

    proptest! {
        #[test]
        fn a_text_that_is_read_is_the_one_that_is_written(text in "[A-Za-z0-9_-]{0,16}") {
            if let Some(bytes) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
