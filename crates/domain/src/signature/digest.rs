//! `Content-Digest` (RFC 9530): a hash of the body as it was sent.

use aws_lc_rs::digest::{SHA256, SHA512};
use base64::{Engine, engine::general_purpose::STANDARD};
use smallvec::SmallVec;
use subtle::ConstantTimeEq;

use super::{
    body_hash::BodyHash,
    structured::{Bare, Member, StructuredError, dictionary},
};

const MOST_BYTES: usize = 1_024;

/// Why a digest cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not a structured field.
    #[error(transparent)]
    Structured(#[from] StructuredError),
    /// No hash that is strong enough.
    #[error("expected sha-256 or sha-512")]
    Weak,
    /// Not of the hash's length.
    #[error("the hash has another length")]
    Length,
}

/// The hashes that a body must have, while it is read.
pub(super) struct Digest(SmallVec<[(Vec<u8>, BodyHash); 1]>);

impl Digest {
    /// Reads the field. Hashes that are not known, or broken, count for nothing.
    pub(super) fn read(text: &[u8]) -> Result<Self, DigestError> {
        let mut expected = SmallVec::new();
        for (name, member) in dictionary(text, MOST_BYTES)? {
            let algorithm = match name {
                "sha-256" => &SHA256,
                "sha-512" => &SHA512,
                _ => continue,
            };
            let Member::Item(item) = member else { return Err(DigestError::Length) };
            let Bare::Bytes(hash) = item.value else { return Err(DigestError::Length) };
            if hash.len() != algorithm.output_len() {
                return Err(DigestError::Length);
            }
            expected.push((hash, BodyHash::new(algorithm)));
        }
        if expected.is_empty() { Err(DigestError::Weak) } else { Ok(Self(expected)) }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|(_, body)| body.update(bytes));
    }

    /// Whether the body, which ends with these bytes, has all of them.
    pub(super) fn matches(self, last: &[u8]) -> bool {
        self.0.into_iter().all(|(hash, body)| bool::from(body.finish(last).as_ref().ct_eq(&hash)))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

/// The field for a body of this SHA-256.
pub(super) fn write(sha256: &[u8; 32]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9530, appendix D, and RFC 9421, appendix B.2.
    const BODY: &[u8] = br#"{"hello": "world"}"#;
    const SHA512_OF_IT: &str =
        "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";

    fn write(body: &[u8]) -> String {
        let mut hash = [0; 32];
        hash.copy_from_slice(aws_lc_rs::digest::digest(&SHA256, body).as_ref());
        super::write(&hash)
    }

    fn holds(field: &str, body: &[u8]) -> Result<bool, DigestError> {
        let mut digest = Digest::read(field.as_bytes())?;
        let at_once = Digest::read(field.as_bytes())?.matches(body);
        body.chunks(5).for_each(|piece| digest.update(piece));
        let in_pieces = digest.matches(b"");
        assert_eq!(in_pieces, at_once);
        Ok(in_pieces)
    }

    #[test]
    fn the_digests_of_the_standards_are_recognised() {
        assert_eq!(holds(SHA512_OF_IT, BODY), Ok(true));
        assert_eq!(write(BODY), "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
        assert_eq!(holds(&format!("{}, {SHA512_OF_IT}", write(BODY)), BODY), Ok(true));
        assert_eq!(holds(&format!("{}, md5=:AAAA:", write(BODY)), BODY), Ok(true));
    }

    #[test]
    fn another_body_a_weak_hash_and_nonsense_are_refused() {
        assert_eq!(holds(&write(BODY), b"{}"), Ok(false));
        // Both must hold.
        assert_eq!(holds(&format!("{}, {SHA512_OF_IT}", write(b"{}")), BODY), Ok(false));
        assert_eq!(holds("md5=:AAAA:", BODY), Err(DigestError::Weak));
        assert_eq!(holds("", BODY), Err(DigestError::Weak));
        assert_eq!(holds("sha-256=:AAAA:", BODY), Err(DigestError::Length));
        assert_eq!(holds("sha-256=AAAA", BODY), Err(DigestError::Length));
        assert!(matches!(holds("sha-256=:A", BODY), Err(DigestError::Structured(_))));
    }
}
