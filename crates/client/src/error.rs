//! Why a call has no answer.

use claviger_domain::{
    clock::EntropyError, kms::KmsError, sealed_key::BlobError, signature::sign::SignError,
};

/// Whatever another layer fails with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A key source has no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The base URL cannot be used.
    #[error("the base URL must be an http or https URL of the gateway, without credentials")]
    BaseUrl,
    /// A credential would travel in clear.
    #[error("plain http beyond this machine: {0}")]
    Insecure(String),
    /// The request is not for the gateway; nothing was sent.
    #[error("the request is not for the configured gateway: {0}")]
    ForeignOrigin(String),
    /// A body that cannot be signed in pieces is larger than may be held in memory.
    #[error("the body is larger than {0} bytes: announce its digest with `ContentDigest`")]
    BodyTooLarge(usize),
    /// A streamed body was not the one that was announced; the request was broken off.
    #[error("the streamed body differs from its announced digest")]
    DigestMismatch,
    /// The body failed while it was read.
    #[error("the request's body failed")]
    Body(#[source] BoxError),
    /// A signature names the key, and the credential does not show its name.
    #[error("no key id: the credential is not a gateway key, set `Signing::key_id`")]
    NoKeyId,
    /// It can make no proofs of possession.
    #[error("a proof key is a P-256 or an Ed25519 key, unencrypted in PKCS #8 PEM")]
    ProofKey,
    /// The request cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The random source failed.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The token endpoint's answer is no token.
    #[error("the token endpoint's answer is no token")]
    NoToken,
    /// The client-side limiter's queue is full, or the wait too long.
    #[error("client-side limit reached")]
    Limited,
    /// No answer came; `sent` says whether the gateway may have seen the request.
    #[error("no answer from the gateway")]
    Transport {
        /// Whether the gateway may have seen it.
        sent: bool,
        /// What the HTTP client says.
        #[source]
        source: BoxError,
    },
    /// A client certificate cannot be used: the file, and why.
    #[error("client certificate: {0}")]
    Certificate(String),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Http(#[source] BoxError),
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(&'static str),
    /// A header cannot hold what was to be put there.
    #[error("a credential has bytes that no header can hold")]
    HeaderValue,
}

/// What an inner service wraps around an error when it knows that nothing reached the gateway.
#[derive(Debug, thiserror::Error)]
#[error("nothing was sent")]
pub struct Unsent(#[source] pub BoxError);

/// Why a key source has no key. No variant holds anything of what was read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nothing there, more than one line, or too long.
    #[error("{0}: no key, or more than one line")]
    NoKey(String),
    /// Others can read the file.
    #[error("key file {path} has mode {mode:04o}: others can read it; chmod 600 it")]
    OpenToOthers {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// It cannot be read.
    #[error("key file {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line of a `.env` file.
    #[error("{path}: line {line} is not NAME=VALUE")]
    Dotenv {
        /// The file.
        path: String,
        /// Counts from 1.
        line: usize,
    },
    /// A command failed, printed too much, or took too long.
    #[error("key command {0} failed")]
    Command(String),
    /// The sealed key is none, is for something else, or was changed.
    #[error("the sealed key: {0}")]
    Sealed(#[from] BlobError),
    /// The key management service's settings, or its answer.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The key management service did not open the sealed key.
    #[error("the key management service does not open the sealed key: it answered {0}")]
    Refused(u16),
    /// The secret store did not answer as expected.
    #[error("the secret store answered {0}")]
    Store(u16),
    /// The secret store was not reached.
    #[error("the secret store was not reached")]
    Unreachable(#[source] BoxError),
    /// The secret store's address cannot be used.
    #[error("the secret store's address must be an https URL, or on this machine")]
    Address,
    /// A wrapped token was opened before, or is too old: an incident.
    #[error("the wrapped token was opened before or has expired")]
    WrappedTokenUsed,
}
