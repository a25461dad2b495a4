//! Nonces: each is accepted once by a key, for as long as its request could be sent again.
//!
//! A request is taken when its time is within [`SKEW_SECS`] of ours, and its nonce is remembered until
//! [`KEPT_SECS`] after that time; whatever would have to be judged later than that (its body came slowly) is refused.
//! What was remembered can be lost: at a restart, a flush, a failover. After a loss at T, requests of a time up to
//! T + [`SKEW_SECS`] are refused ([`Loss::covers`]): nothing that was accepted before T can be of a later time. A
//! signing secret that was made after T had signed nothing that could be lost.

mod memory;

use std::fmt;

pub use memory::NonceMemory;

use super::{SKEW_SECS, SignatureError, lower_hex};
use crate::{clock::Timestamp, token::PublicId};

/// How long after a request's own time its nonce is remembered, in seconds: twice the skew, so that a body may take as
/// long as the skew to arrive.
pub const KEPT_SECS: i64 = 2 * SKEW_SECS;
const TEXT_LENGTH: std::ops::RangeInclusive<usize> = 16..=128;

/// 16 bytes that a key uses once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From a nonce of RFC 9421, which is any text: 32 hex digits are what they are in the other profiles, all else
    /// is hashed.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        if !TEXT_LENGTH.contains(&text.len()) {
            return None;
        }
        let hashed = || {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&hash.as_ref()[..16]);
            bytes
        };
        Some(Self(lower_hex::decoded(text.as_bytes()).unwrap_or_else(hashed)))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// One use of a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonceUse {
    /// Whose it is.
    pub key: PublicId,
    /// The nonce.
    pub nonce: Nonce,
    /// The request's own time.
    pub made_at_secs: i64,
    /// When the secret that signed it was made.
    pub signer_since: Timestamp,
}

impl NonceUse {
    /// Until when it is remembered: the first second in which it is not.
    #[must_use]
    pub const fn kept_until_secs(&self) -> i64 {
        self.made_at_secs.saturating_add(KEPT_SECS).saturating_add(1)
    }

    /// Whether it can be judged now at all.
    ///
    /// # Errors
    /// [`SignatureError::Late`], [`SignatureError::Skew`].
    pub const fn check(&self, now: Timestamp) -> Result<(), SignatureError> {
        let ahead_secs = self.made_at_secs.saturating_sub(now.as_secs());
        if ahead_secs < -KEPT_SECS {
            Err(SignatureError::Late)
        } else if ahead_secs > SKEW_SECS {
            Err(SignatureError::Skew { ahead_secs })
        } else {
            Ok(())
        }
    }
}

/// Something that was remembered was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// When, at the latest. Where the clock that says so is another than the one by which secrets are dated, it is
    /// said so much later as the two may be apart.
    pub at: Timestamp,
}

impl Loss {
    /// Whether a use could have been among what was lost.
    #[must_use]
    pub const fn covers(self, used: &NonceUse) -> bool {
        let made_since = used.signer_since.as_micros() > self.at.as_micros();
        !made_since && used.made_at_secs <= self.at.as_secs().saturating_add(SKEW_SECS)
    }

    /// From when on requests are judged again.
    #[must_use]
    pub const fn over_at_secs(self) -> i64 {
        self.at.as_secs().saturating_add(SKEW_SECS).saturating_add(1)
    }
}

/// What becomes of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceVerdict {
    /// It was not used before; it is from now on.
    Fresh,
    /// It was used before.
    Replayed,
    /// Nobody can tell: what was remembered was lost.
    Lost(Loss),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(made_at_secs: i64, signer_since: i64) -> NonceUse {
        NonceUse {
            key: PublicId::parse("0123456789").unwrap(),
            nonce: Nonce::from_bytes([7; 16]),
            made_at_secs,
            signer_since: Timestamp::from_secs(signer_since),
        }
    }

    #[test]
    fn hex_is_itself_and_other_texts_are_hashed() {
        let hex = "000102030405060708090a0b0c0d0e0f";
        assert_eq!(format!("{:?}", Nonce::of_text(hex).unwrap()), hex);
        let upper = Nonce::of_text(&hex.to_uppercase()).unwrap();
        assert_ne!(Some(upper), Nonce::of_text(hex));
        assert_ne!(Nonce::of_text(&"a".repeat(16)), Nonce::of_text(&"a".repeat(17)));
        assert_eq!((Nonce::of_text("short"), Nonce::of_text(&"a".repeat(129))), (None, None));
    }

    #[test]
    fn a_loss_covers_what_could_have_been_accepted_before_it_and_nothing_else() {
        let loss = Loss { at: Timestamp::from_secs(10_000) };
        assert!(
            loss.covers(&used(10_300, 0)),
            "signed by a clock that is 300 s ahead, accepted at the last moment"
        );
        assert!(!loss.covers(&used(10_301, 0)));
        assert!(loss.covers(&used(10_000, 10_000)));
        assert!(!loss.covers(&used(10_000, 10_001)), "the secret had signed nothing that could be lost");
        assert_eq!(loss.over_at_secs(), 10_301);
    }

    #[test]
    fn what_is_judged_is_remembered_longer_than_it_can_be_judged() {
        let now = Timestamp::from_secs(10_000);
        for (made, fits) in [(9_399, false), (9_400, true), (10_300, true), (10_301, false)] {
            assert_eq!(used(made, 0).check(now).is_ok(), fits, "{made}");
            assert!(!fits || used(made, 0).kept_until_secs() > now.as_secs());
        }
    }
}
