//! AES-256-GCM with random 96-bit nonces, and the associated data that binds a value to its place.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use claviger_domain::{clock::Entropy, ports::SealError, secret::SecretBytes};
use zeroize::Zeroizing;

/// Length of a key in bytes.
pub(crate) const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;

/// The bytes that are authenticated but not encrypted: parts, each preceded by its length as eight bytes, big-endian.
pub(crate) fn bind(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len() + 8).sum());
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// One AES-256-GCM key. Its schedule is wiped by the library when it is dropped.
pub(crate) struct Key(LessSafeKey);

impl Key {
    pub(crate) fn new(bytes: &[u8; KEY_LEN]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, bytes).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// `header ‖ nonce ‖ ciphertext ‖ tag`. The header is authenticated together with `place`.
    pub(crate) fn seal(
        &self,
        header: &[u8],
        place: &[&[u8]],
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce).map_err(|_| SealError::Entropy)?;
        let begin = header.len() + NONCE_LEN;
        let mut out = Vec::with_capacity(begin + plain.len() + TAG_LEN);
        out.extend_from_slice(header);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let aad = Aad::from(associated(header, place));
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, aad, &mut out[begin..]);
        // Only a value longer than the cipher allows (64 GB) fails here; its plain bytes must not leave.
        let tag = tag.map_err(|_| SealError::CannotOpen)?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    /// The plain bytes of what [`Key::seal`] made, given the same header length and place.
    pub(crate) fn open(
        &self,
        header_len: usize,
        place: &[&[u8]],
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        let (header, rest) = sealed.split_at_checked(header_len).ok_or(SealError::CannotOpen)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::CannotOpen)?;
        let (cipher, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(SealError::CannotOpen)?;
        let mut plain = Zeroizing::new(vec![0; cipher.len()]);
        let aad = Aad::from(associated(header, place));
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_separate_gather(nonce, aad, cipher, tag, &mut plain)
            .map_err(|_| SealError::CannotOpen)?;
        Ok(SecretBytes::new(std::mem::take(&mut *plain)))
    }
}

fn associated(header: &[u8], place: &[&[u8]]) -> Vec<u8> {
    let mut out = bind(&[header]);
    out.extend_from_slice(&bind(place));
    out
}
