//! The key format: `cvg_live_` + 10-character public id + 27-character secret + 6-character CRC-32,
//! base62, 52 characters in all. Building and reading share this file, so they cannot drift apart.
//!
//! The checksum is for typing errors, scanners and refusing junk before any look-up; it proves nothing.

pub mod base62;
mod find;
mod inspect;
pub mod side;

use std::fmt;

pub use find::{FoundKey, MAX_KEY_LEN, find_keys, masked, without_keys};
pub use inspect::{Checks, Inspection, TokenKind, inspect, inspect_any_brand};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::clock::{Entropy, EntropyError};

/// Length of the whole token in bytes.
pub const TOKEN_LEN: usize = 52;
/// Length of `cvg_live_`.
pub const PREFIX_LEN: usize = 9;
/// Length of the public id.
pub const PUBLIC_ID_LEN: usize = 10;
/// Length of the secret part: 27 base62 characters, 160.8 bits.
pub const SECRET_LEN: usize = 27;
const CHECKED_LEN: usize = PREFIX_LEN + PUBLIC_ID_LEN + SECRET_LEN;

/// The three letters that a deployment's keys begin with; `cvg` unless configured.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Brand([u8; 3]);

/// A brand must be exactly three lower-case letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key brand is exactly three lower-case letters, such as `cvg`")]
pub struct BrandError;

impl Brand {
    /// `cvg`.
    pub const DEFAULT: Self = Self(*b"cvg");

    /// Reads a brand.
    ///
    /// # Errors
    /// [`BrandError`] unless the text is three lower-case ASCII letters.
    pub fn parse(text: &str) -> Result<Self, BrandError> {
        match *text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(u8::is_ascii_lowercase) => Ok(Self([a, b, c])),
            _ => Err(BrandError),
        }
    }

    /// The brand as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("cvg")
    }
}

impl Default for Brand {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Debug for Brand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a key opens the real Claude API or the built-in simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyClass {
    /// `cvg_live_`: sent to an upstream, and costs money.
    Live,
    /// `cvg_test_`: answered by the simulator, always and only.
    Test,
}

impl KeyClass {
    const fn tag(self) -> &'static [u8; 6] {
        match self {
            Self::Live => b"_live_",
            Self::Test => b"_test_",
        }
    }

    /// `live` or `test`, as stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// The reverse of [`KeyClass::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "live" => Some(Self::Live),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}

/// The public part of a token, by which its record is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicId([u8; PUBLIC_ID_LEN]);

impl PublicId {
    /// Reads ten base62 characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; PUBLIC_ID_LEN] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|b| base62::is_digit(*b)).then_some(Self(bytes))
    }

    /// The ten characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The key id: `key_` + the public id.
    ///
    /// # Errors
    /// Never for a value of this type; the signature follows [`crate::id::KeyId::parse`].
    pub fn key_id(&self) -> Result<crate::id::KeyId, crate::id::IdError> {
        crate::id::KeyId::parse(&format!("key_{}", self.as_str()))
    }

    /// The public id inside a key id.
    #[must_use]
    pub fn of_key(id: &crate::id::KeyId) -> Option<Self> {
        Self::parse(id.as_str().strip_prefix("key_")?)
    }
}

impl fmt::Debug for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A whole, well-formed, checksummed token. It cannot be printed or compared; it is zeroed on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Token([u8; TOKEN_LEN]);

/// Why a string is not a token. One opaque reason: callers answer all of them alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed key")]
pub struct TokenError;

impl Token {
    /// Makes a new key from the system's randomness, by rejection sampling (no modulo bias).
    ///
    /// # Errors
    /// [`EntropyError`] when randomness cannot be had.
    pub fn generate(brand: Brand, class: KeyClass, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut text = [0_u8; TOKEN_LEN];
        text[..3].copy_from_slice(&brand.0);
        text[3..PREFIX_LEN].copy_from_slice(class.tag());
        base62::fill_random(&mut text[PREFIX_LEN..CHECKED_LEN], entropy)?;
        Ok(Self::seal(text))
    }

    /// Makes another key under a public id that is there already: whatever had this id before is another key.
    ///
    /// # Errors
    /// [`EntropyError`] when randomness cannot be had.
    pub fn renew(
        brand: Brand,
        class: KeyClass,
        id: PublicId,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let mut renewed = Self::generate(brand, class, entropy)?.0;
        renewed[PREFIX_LEN..PREFIX_LEN + PUBLIC_ID_LEN].copy_from_slice(&id.0);
        Ok(Self::seal(renewed))
    }

    /// Reads a token: length, prefix, charset and checksum, in one pass without allocating. Nothing is trimmed.
    ///
    /// # Errors
    /// [`TokenError`] for anything else than a well-formed token of this brand.
    pub fn parse(brand: Brand, text: &[u8]) -> Result<Self, TokenError> {
        let bytes: [u8; TOKEN_LEN] = text.try_into().map_err(|_| TokenError)?;
        let token = Self(bytes);
        let ok = inspect::checks(brand, text).all();
        if ok { Ok(token) } else { Err(TokenError) }
    }

    fn seal(mut text: [u8; TOKEN_LEN]) -> Self {
        let sum = checksum(&text[..CHECKED_LEN]);
        text[CHECKED_LEN..].copy_from_slice(&sum);
        Self(text)
    }

    /// Live or test.
    #[must_use]
    pub fn class(&self) -> KeyClass {
        if &self.0[3..PREFIX_LEN] == KeyClass::Test.tag() { KeyClass::Test } else { KeyClass::Live }
    }

    /// The public id.
    #[must_use]
    pub fn public_id(&self) -> PublicId {
        let mut id = [0_u8; PUBLIC_ID_LEN];
        id.copy_from_slice(&self.0[PREFIX_LEN..PREFIX_LEN + PUBLIC_ID_LEN]);
        PublicId(id)
    }

    /// The token's text: shown once at creation, and put through the MAC. The name is meant to stand out.
    #[must_use]
    pub fn expose(&self) -> &[u8; TOKEN_LEN] {
        &self.0
    }

    /// What may be shown of a key later: its prefix and the first four characters of its public id.
    #[must_use]
    pub fn hint(&self) -> String {
        format!("{}…", String::from_utf8_lossy(&self.0[..PREFIX_LEN + 4]))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// CRC-32/IEEE of everything before it, as six base62 digits, most significant first.
fn checksum(checked: &[u8]) -> [u8; 6] {
    base62::encode_u32(crc32fast::hash(checked))
}
