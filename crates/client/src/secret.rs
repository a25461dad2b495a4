//! Texts that do not print themselves.

use std::fmt;

use claviger_domain::secret::SecretBytes;

/// The longest credential, in bytes.
pub const MOST_BYTES: usize = 8 << 10;
const PREFIX_LEN: usize = 9;
const PUBLIC_ID_LEN: usize = 10;
const BRAND_LEN: usize = 3;

/// A credential: zeroed when dropped, and never printed, compared or serialised by accident.
#[derive(Clone)]
pub struct Secret(SecretBytes);

impl Secret {
    /// Takes a text over. `None`: it is empty, has more than one line, or is too long. White space at its ends goes.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= MOST_BYTES && !text.contains(['\r', '\n', '\0']);
        fits.then(|| Self(SecretBytes::new(text.as_bytes().to_vec())))
    }

    /// The text itself. The name is meant to stand out in review.
    #[must_use]
    pub fn reveal(&self) -> &str {
        // It was made from a text.
        std::str::from_utf8(self.0.expose()).unwrap_or_default()
    }

    /// The part of a gateway key that names it and may be shown. `None`: this is no gateway key.
    #[must_use]
    pub fn public_id(&self) -> Option<&str> {
        let text = self.reveal();
        let tag = text.get(BRAND_LEN..PREFIX_LEN)?;
        let id = text.get(PREFIX_LEN..PREFIX_LEN + PUBLIC_ID_LEN)?;
        matches!(tag, "_live_" | "_test_").then_some(id)
    }

    /// Whether this is an access token already.
    #[must_use]
    pub fn is_jwt(&self) -> bool {
        let text = self.reveal();
        text.starts_with("eyJ") && text.bytes().filter(|b| *b == b'.').count() == 2
    }

    /// Whether both are the same text. For values that the holder has anyway: not in constant time.
    #[must_use]
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.expose() == other.0.expose()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_show_their_public_id_and_nothing_else_does() {
        let of = |text| Secret::new(text).unwrap().public_id().map(str::to_owned);
        assert_eq!(of("cvg_live_0123456789abc").as_deref(), Some("0123456789"));
        assert_eq!(of("acm_test_0123456789abc").as_deref(), Some("0123456789"));
        for other in ["cvg_sign_0123456789abc", "cvg_live_012", "eyJ.eyJ.x", "密钥密钥密钥密钥密钥密钥"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_secret_is_one_line_and_prints_as_a_word() {
        for bad in ["", " \n", "a\nb", "a\0b"] {
            assert!(Secret::new(bad).is_none(), "{bad:?}");
        }
        assert_eq!(format!("{:?}", Secret::new(" cvg_live_x \n").unwrap()), "[secret]");
    }
}
