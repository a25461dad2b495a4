//! What a key or a token can be bound to: a client certificate, by its thumbprint (RFC 8705 3.1) or by the SPIFFE id in
//! it, and a key pair, by the thumbprint of its public half (RFC 9449 6.1, RFC 7638).

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

/// Certificates that one key may be bound to: enough for old and new ones of a few callers.
pub const MOST_BINDINGS: usize = 16;
/// How a thumbprint begins where it is written beside other kinds.
const THUMBPRINT: &str = "x5t#S256:";

/// A SPIFFE id: `spiffe://trust-domain/path`. Read as the SPIFFE-ID standard has it, sections 2.1 to 2.3.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId(String);

/// Why a text is no binding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// No SPIFFE id.
    #[error("`{0}` is no SPIFFE id: expected spiffe://trust-domain/path, in plain letters and digits")]
    Spiffe(String),
    /// No thumbprint.
    #[error("`{0}` is no thumbprint: expected {THUMBPRINT} and the SHA-256 of the certificate in base64url")]
    Thumbprint(String),
    /// Too many.
    #[error("at most {MOST_BINDINGS} certificates")]
    TooMany,
}

impl FromStr for SpiffeId {
    type Err = BindingError;

    fn from_str(text: &str) -> Result<Self, BindingError> {
        let bad = || BindingError::Spiffe(text.chars().take(80).collect());
        let rest = text.strip_prefix("spiffe://").filter(|_| text.len() <= 2_048).ok_or_else(bad)?;
        let (domain, path) = rest.split_once('/').map_or((rest, None), |(d, p)| (d, Some(p)));
        let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
        let in_segment = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(in_segment);
        let good = (1..=255).contains(&domain.len())
            && domain.bytes().all(in_domain)
            && path.is_none_or(|path| path.split('/').all(segment));
        good.then(|| Self(text.to_owned())).ok_or_else(bad)
    }
}

impl SpiffeId {
    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.0.strip_prefix("spiffe://").unwrap_or_default().split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was read of a certificate that a caller proved to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of the whole certificate.
    pub thumbprint: [u8; 32],
    /// The SPIFFE id among its names.
    pub spiffe: Option<SpiffeId>,
}

impl ShownCertificate {
    /// Of a certificate in DER.
    #[must_use]
    pub fn new(der: &[u8], spiffe: Option<SpiffeId>) -> Self {
        Self { thumbprint: thumbprint(der), spiffe }
    }

    /// As it stands in `cnf` of a token (RFC 8705 3.1).
    #[must_use]
    pub fn x5t_s256(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.thumbprint)
    }
}

/// A certificate that a key is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateBinding {
    /// This very certificate.
    Thumbprint([u8; 32]),
    /// Any certificate for this SPIFFE id.
    Spiffe(SpiffeId),
}

impl CertificateBinding {
    /// To this very certificate, in DER.
    #[must_use]
    pub fn to_certificate(der: &[u8]) -> Self {
        Self::Thumbprint(thumbprint(der))
    }

    /// Whether it is the certificate that was shown. Takes as long whatever the difference is.
    #[must_use]
    pub fn fits(&self, shown: &ShownCertificate) -> bool {
        match self {
            Self::Thumbprint(bytes) => bytes.ct_eq(&shown.thumbprint).into(),
            Self::Spiffe(id) => {
                shown.spiffe.as_ref().is_some_and(|s| s.0.as_bytes().ct_eq(id.0.as_bytes()).into())
            }
        }
    }
}

fn thumbprint(der: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, der).as_ref());
    bytes
}

impl FromStr for CertificateBinding {
    type Err = BindingError;

    fn from_str(text: &str) -> Result<Self, BindingError> {
        if text.starts_with("spiffe:") {
            return text.parse().map(Self::Spiffe);
        }
        let bad = || BindingError::Thumbprint(text.chars().take(80).collect());
        let encoded = text.strip_prefix(THUMBPRINT).ok_or_else(bad)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        bytes.map(Self::Thumbprint).ok_or_else(bad)
    }
}

impl fmt::Display for CertificateBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thumbprint(bytes) => write!(f, "{THUMBPRINT}{}", URL_SAFE_NO_PAD.encode(bytes)),
            Self::Spiffe(id) => id.fmt(f),
        }
    }
}

impl Serialize for CertificateBinding {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CertificateBinding {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The certificates that a key may be used with; none: it is bound to none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<CertificateBinding>", into = "Vec<CertificateBinding>")]
pub struct CertificateBindings(Vec<CertificateBinding>);

impl CertificateBindings {
    /// Reads them.
    ///
    /// # Errors
    /// [`BindingError`].
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, BindingError> {
        texts.iter().map(|t| t.as_ref().trim().parse()).collect::<Result<Vec<_>, _>>()?.try_into()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each.
    pub fn iter(&self) -> impl Iterator<Item = &CertificateBinding> {
        self.0.iter()
    }

    /// Whether the certificate is one of them, or nothing is demanded. All are looked at, whichever fits.
    #[must_use]
    pub fn admit(&self, shown: &ShownCertificate) -> bool {
        self.is_empty() || self.0.iter().fold(false, |found, binding| found | binding.fits(shown))
    }

    /// Whether whatever `other` admits is admitted here, too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.is_empty() || (!other.is_empty() && other.0.iter().all(|binding| self.0.contains(binding)))
    }
}

impl TryFrom<Vec<CertificateBinding>> for CertificateBindings {
    type Error = BindingError;

    fn try_from(all: Vec<CertificateBinding>) -> Result<Self, BindingError> {
        if all.len() > MOST_BINDINGS { Err(BindingError::TooMany) } else { Ok(Self(all)) }
    }
}

impl From<CertificateBindings> for Vec<CertificateBinding> {
    fn from(all: CertificateBindings) -> Self {
        all.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "spiffe://example.org/ns/ci/sa/build";

    fn shown(byte: u8, spiffe: Option<&str>) -> ShownCertificate {
        ShownCertificate { thumbprint: [byte; 32], spiffe: spiffe.map(|s| s.parse().unwrap()) }
    }

    #[test]
    fn spiffe_ids_are_read_as_the_standard_has_them() {
        for good in [ID, "spiffe://example.org", "spiffe://a_b-c.d/X.y/_"] {
            assert_eq!(good.parse::<SpiffeId>().unwrap().as_str(), good);
        }
        let long = format!("spiffe://{}", "a".repeat(256));
        for bad in [
            "https://example.org/x",
            "spiffe://",
            "spiffe:///x",
            "spiffe://Example.org/x",
            "spiffe://example.org/",
            "spiffe://example.org//x",
            "spiffe://example.org/../x",
            "spiffe://example.org/x?y",
            "spiffe://example.org/%61",
            "spiffe://user@example.org/x",
            "spiffe://example.org:80/x",
            &long,
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
        assert_eq!(ID.parse::<SpiffeId>().unwrap().trust_domain(), "example.org");
    }

    #[test]
    fn bindings_are_written_as_they_are_read() {
        let print = format!("{THUMBPRINT}{}", URL_SAFE_NO_PAD.encode([7; 32]));
        let both = CertificateBindings::parse(&[print.as_str(), ID]).unwrap();
        let json = serde_json::to_value(&both).unwrap();
        assert_eq!(json, serde_json::json!([print, ID]));
        assert_eq!(serde_json::from_value::<CertificateBindings>(json).unwrap(), both);
        for bad in ["", "x5t#S256:", "x5t#S256:AAAA", "sha256:AA", &format!("{print}=")] {
            assert!(bad.parse::<CertificateBinding>().is_err(), "{bad}");
        }
        assert_eq!(CertificateBindings::parse(&[ID; 17]), Err(BindingError::TooMany));
    }

    #[test]
    fn a_bound_key_admits_its_certificates_and_no_other() {
        let print = CertificateBinding::Thumbprint([7; 32]).to_string();
        let both = CertificateBindings::parse(&[print.as_str(), ID]).unwrap();
        assert!(both.admit(&shown(7, None)) && both.admit(&shown(8, Some(ID))));
        assert!(!both.admit(&shown(8, None)));
        assert!(!both.admit(&shown(8, Some("spiffe://example.org/ns/ci/sa/built"))));
        assert!(!both.admit(&shown(8, Some("spiffe://example.org/ns/ci/sa/build/x"))));
        assert!(CertificateBindings::default().admit(&shown(8, None)));
    }

    #[test]
    fn fewer_certificates_are_narrower_and_none_is_the_widest() {
        let none = CertificateBindings::default();
        let one = CertificateBindings::parse(&[ID]).unwrap();
        let two = CertificateBindings::parse(&[ID, "spiffe://example.org/x"]).unwrap();
        assert!(none.covers(&one) && two.covers(&one) && one.covers(&one));
        assert!(!one.covers(&two) && !one.covers(&none));
    }
}
