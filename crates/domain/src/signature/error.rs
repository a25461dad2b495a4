//! Why a signature is not accepted. The texts are for whoever holds the key: they name what is wrong, and nothing
//! that helps to guess a secret.

use super::{SKEW_SECS, digest::DigestError, structured::StructuredError};

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header is there more than once.
    #[error("`{0}` is there more than once")]
    Repeated(&'static str),
    /// Two profiles, or two forms of one, at once.
    #[error("the request is signed in two ways at once: send one signature")]
    Mixed,
    /// A header is missing.
    #[error("`{0}` is missing")]
    Incomplete(&'static str),
    /// A header is not as it must be.
    #[error("`{0}` is malformed: expected {1}")]
    Shape(&'static str, &'static str),
    /// Not a version that there is.
    #[error("`x-request-signature-version` is malformed: expected 1 or 2")]
    Version,
    /// Not a structured field.
    #[error("`{0}` is malformed: {1}")]
    Structured(&'static str, #[source] StructuredError),
    /// Not exactly one label, or not the same in both headers.
    #[error("`signature-input` and `signature` must hold one signature, under one label")]
    Label,
    /// A component that cannot be covered here.
    #[error("`{0}` cannot be covered: {1}")]
    Component(Box<str>, &'static str),
    /// A component is covered twice.
    #[error("`{0}` is covered twice")]
    ComponentTwice(Box<str>),
    /// Something that must be covered is not.
    #[error("`{0}` is not covered by the signature")]
    Uncovered(&'static str),
    /// A parameter that is not known, or is there twice.
    #[error("the signature parameter `{0}` is not known, or is there twice")]
    Parameter(Box<str>),
    /// A parameter is missing or not as it must be.
    #[error("the signature parameter `{0}` is missing or malformed: expected {1}")]
    ParameterShape(&'static str, &'static str),
    /// A field that is covered is not in the request.
    #[error("`{0}` is covered by the signature but not in the request")]
    FieldAbsent(Box<str>),
    /// The digest cannot be read.
    #[error("`content-digest` is malformed: {0}")]
    Digest(#[from] DigestError),
    /// Of another time.
    #[error("the request's time is {} s {} ours: at most {SKEW_SECS} s are accepted; check the clock",
        ahead_secs.unsigned_abs(), if *ahead_secs > 0 { "ahead of" } else { "behind" })]
    Skew {
        /// How many seconds it is ahead of us; negative: behind.
        ahead_secs: i64,
    },
    /// It says itself that its time is over.
    #[error("the signature's `expires` is over")]
    Expired,
    /// The body came so late that the nonce cannot be judged any more.
    #[error(
        "the body ended too long after the request was signed: sign later, or cover `content-digest` (RFC 9421)"
    )]
    Late,
    /// The key has nothing to verify it with.
    #[error(
        "this key has no signing secret for this kind of signature: an operator makes one with `claviger key update --sign`"
    )]
    NoSigner,
    /// It was made for another key.
    #[error(
        "the signature was made for another key: `keyid` is the ten characters after `cvg_live_` or `cvg_test_`"
    )]
    OtherKey,
    /// It is of something else, or made with another secret.
    #[error("the signature does not match the request")]
    Mismatch,
    /// The body is not the one that the digest is of.
    #[error("the body does not match `content-digest`")]
    DigestMismatch,
}

impl SignatureError {
    /// `error.details.error_code` of the refusal.
    #[must_use]
    pub const fn error_code(&self) -> &'static str {
        match self {
            Self::Skew { .. } | Self::Expired | Self::Late => "timestamp_skew",
            Self::Repeated(_)
            | Self::Mixed
            | Self::Incomplete(_)
            | Self::Shape(..)
            | Self::Version
            | Self::Structured(..)
            | Self::Label
            | Self::Component(..)
            | Self::ComponentTwice(_)
            | Self::Uncovered(_)
            | Self::Parameter(_)
            | Self::ParameterShape(..)
            | Self::FieldAbsent(_)
            | Self::Digest(_)
            | Self::NoSigner
            | Self::OtherKey
            | Self::Mismatch
            | Self::DigestMismatch => "signature_invalid",
        }
    }

    /// The reason as metrics and audit records know it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Skew { .. } => "timestamp_skew",
            Self::Expired => "signature_expired",
            Self::Late => "signature_late",
            Self::NoSigner => "signature_no_secret",
            Self::OtherKey => "signature_other_key",
            Self::Mismatch => "signature_mismatch",
            Self::DigestMismatch => "digest_mismatch",
            Self::Repeated(_)
            | Self::Mixed
            | Self::Incomplete(_)
            | Self::Shape(..)
            | Self::Version
            | Self::Structured(..)
            | Self::Label
            | Self::Component(..)
            | Self::ComponentTwice(_)
            | Self::Uncovered(_)
            | Self::Parameter(_)
            | Self::ParameterShape(..)
            | Self::FieldAbsent(_)
            | Self::Digest(_) => "signature_malformed",
        }
    }
}
