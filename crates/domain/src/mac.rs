//! What is stored of a key: `HMAC-SHA256(pepper[v], "cvg/apikey/v1" ‖ 0x00 ‖ token)`.
//!
//! A fast keyed hash is right here: the secret has 160 random bits, so there is nothing to guess, and a slow
//! one would only let strangers burn CPU. The pepper lives outside the database.

use std::fmt;

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

use crate::token::{Token, side::SideToken};

const DOMAIN: &[u8] = b"cvg/apikey/v1\0";
const SIDE_DOMAIN: &[u8] = b"cvg/side/v1\0";
const LOCKOUT_DOMAIN: &[u8] = b"cvg/lockout/v1\0";

/// Which pepper a MAC was made with; counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct PepperVersion(pub u32);

/// One pepper: a MAC key that turns tokens into what may be stored.
#[derive(Clone)]
pub struct Pepper {
    version: PepperVersion,
    key: hmac::Key,
}

impl Pepper {
    /// Length of a pepper in bytes.
    pub const LEN: usize = 32;

    /// From its 32 bytes.
    #[must_use]
    pub fn new(version: PepperVersion, bytes: &[u8; Self::LEN]) -> Self {
        Self { version, key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> PepperVersion {
        self.version
    }

    /// The MAC of a token under this pepper.
    #[must_use]
    pub fn mac(&self, token: &Token) -> KeyMac {
        self.sign(DOMAIN, token.expose())
    }

    /// The MAC of a side token: under a domain of its own, so that neither kind is ever taken for the other.
    #[must_use]
    pub fn side_mac(&self, token: &SideToken) -> KeyMac {
        self.sign(SIDE_DOMAIN, token.expose())
    }

    /// Which of so many places belongs to something that is proved: the same after every start, and nothing that
    /// strangers can aim at.
    #[must_use]
    pub fn lockout_place(&self, claim: &str, places: u64) -> u64 {
        let KeyMac(mac) = self.sign(LOCKOUT_DOMAIN, claim.as_bytes());
        let mut first = [0_u8; 8];
        first.copy_from_slice(&mac[..8]);
        u64::from_be_bytes(first) % places.max(1)
    }

    fn sign(&self, domain: &[u8], text: &[u8]) -> KeyMac {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(domain);
        context.update(text);
        let mut mac = [0_u8; 32];
        mac.copy_from_slice(context.sign().as_ref());
        KeyMac(mac)
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper(v{})", self.version.0)
    }
}

/// All peppers that stored MACs may still be under. Never empty.
#[derive(Clone, Debug)]
pub struct Peppers {
    current: Pepper,
    older: Vec<Pepper>,
}

impl Peppers {
    /// The pepper for new keys, and those that older records name.
    #[must_use]
    pub const fn new(current: Pepper, older: Vec<Pepper>) -> Self {
        Self { current, older }
    }

    /// The pepper for new keys.
    #[must_use]
    pub const fn current(&self) -> &Pepper {
        &self.current
    }

    /// Whether the token is the one whose MAC was stored. Takes the same time whatever the answer, also for a
    /// pepper that is not there (a dummy MAC is computed).
    #[must_use]
    pub fn verify(&self, token: &Token, stored: &KeyMac, version: PepperVersion) -> bool {
        let found = self.of(version);
        let mac = found.unwrap_or(&self.current).mac(token);
        bool::from(mac.0.ct_eq(&stored.0)) && found.is_some()
    }

    /// [`Peppers::verify`] for a side token.
    #[must_use]
    pub fn verify_side(&self, token: &SideToken, stored: &KeyMac, version: PepperVersion) -> bool {
        let found = self.of(version);
        let mac = found.unwrap_or(&self.current).side_mac(token);
        bool::from(mac.0.ct_eq(&stored.0)) && found.is_some()
    }

    fn of(&self, version: PepperVersion) -> Option<&Pepper> {
        std::iter::once(&self.current).chain(&self.older).find(|p| p.version == version)
    }

    /// Does the work of [`Peppers::verify`] for a token whose record does not exist, so that the time taken
    /// does not tell strangers which ids exist.
    pub fn verify_nothing(&self, token: &Token) {
        let mac = self.current.mac(token);
        std::hint::black_box(bool::from(mac.0.ct_eq(&[0_u8; 32])));
    }
}

/// A stored MAC: 32 bytes that open nothing by themselves. Compare through [`Peppers::verify`].
#[derive(Clone, Copy)]
pub struct KeyMac([u8; 32]);

impl KeyMac {
    /// From the bytes in the store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes for the store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMac")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Brand, Token};

    #[test]
    fn a_key_is_verified_under_the_pepper_its_record_names_and_no_other() {
        let token =
            Token::parse(Brand::DEFAULT, b"cvg_live_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb").unwrap();
        let other =
            Token::parse(Brand::DEFAULT, b"cvg_live_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz2GEXC8").unwrap();
        let old = Pepper::new(PepperVersion(1), &[1; 32]);
        let mac = old.mac(&token);
        let peppers = Peppers::new(Pepper::new(PepperVersion(2), &[2; 32]), vec![old]);
        assert!(peppers.verify(&token, &mac, PepperVersion(1)));
        assert!(!peppers.verify(&token, &mac, PepperVersion(2)));
        assert!(!peppers.verify(&token, &mac, PepperVersion(3)));
        assert!(!peppers.verify(&other, &mac, PepperVersion(1)));
    }

    #[test]
    fn debug_shows_no_secret() {
        let pepper = Pepper::new(PepperVersion(7), &[9; 32]);
        assert_eq!(format!("{pepper:?}"), "Pepper(v7)");
        assert_eq!(format!("{:?}", KeyMac::from_bytes([9; 32])), "KeyMac");
    }
}
