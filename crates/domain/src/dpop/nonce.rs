//! Nonces that we give out (RFC 9449, 8): a moment under a MAC, so that nothing has to be remembered. A proof that holds
//! one was made after that moment, whatever the caller's clock says.

use aws_lc_rs::hmac;

use crate::{
    clock::{Entropy, EntropyError, MICROS_PER_SEC, Timestamp},
    jose::{decode, encode},
};

/// How long a nonce may be used, in seconds.
pub const NONCE_LIFE_SECS: i64 = 300;
/// What is left of the MAC: forging one takes 2^127 tries.
const TAG: usize = 16;
const LABEL: &[u8] = b"claviger dpop nonce\0";

/// Makes and reads nonces; whoever has the same secret reads the same ones.
pub struct NonceMaker(hmac::Key);

impl NonceMaker {
    /// With a secret of its own: nonces are good until the process ends.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        entropy.fill(&mut *secret)?;
        Ok(Self::from_secret(&*secret))
    }

    /// With this secret.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// One of now.
    #[must_use]
    pub fn make(&self, now: Timestamp) -> String {
        let moment = now.as_micros().to_be_bytes();
        let tag = self.tag(&moment);
        encode(&[&moment[..], &tag.as_ref()[..TAG]].concat())
    }

    /// When it was made, if it is ours and may be used still.
    #[must_use]
    pub fn read(&self, text: &str, now: Timestamp) -> Option<Timestamp> {
        let bytes = decode(text.as_bytes()).filter(|bytes| bytes.len() == 8 + TAG)?;
        let (moment, tag) = bytes.split_at(8);
        let expected = self.tag(moment);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&expected.as_ref()[..TAG], tag)) {
            return None;
        }
        let made = Timestamp::from_micros(i64::from_be_bytes(moment.try_into().ok()?));
        let age = now.micros_since(made);
        (0..=NONCE_LIFE_SECS * MICROS_PER_SEC).contains(&age).then_some(made)
    }

    fn tag(&self, moment: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, &[LABEL, moment].concat())
    }
}

impl std::fmt::Debug for NonceMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceMaker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_772_452_800);

    #[test]
    fn a_nonce_is_read_for_its_life_and_by_its_maker_only() {
        let maker = NonceMaker::from_secret(b"one");
        let text = maker.make(NOW);
        let after = |secs: i64| maker.read(&text, NOW.plus_micros(secs * MICROS_PER_SEC));
        assert_eq!((after(0), after(NONCE_LIFE_SECS)), (Some(NOW), Some(NOW)));
        assert_eq!((after(-1), after(NONCE_LIFE_SECS + 1)), (None, None));
        assert_eq!(NonceMaker::from_secret(b"two").read(&text, NOW), None);
    }

    #[test]
    fn whatever_is_changed_is_refused() {
        let maker = NonceMaker::from_secret(b"one");
        let bytes = decode(maker.make(NOW).as_bytes()).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(maker.read(&encode(&other), NOW), None, "{at}");
        }
        for text in ["", "a", &encode(&bytes[..23])] {
            assert_eq!(maker.read(text, NOW), None);
        }
    }
}
