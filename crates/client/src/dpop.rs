//! Proofs of possession (RFC 9449): an access token that is bought with one is bound to a key that is never sent, and
//! each request proves it anew.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use claviger_domain::{
    clock::{Entropy, Timestamp},
    jose::{Algorithm, SigningKey, sha256_base64url},
    secret::SecretBytes,
    signature::normal_authority,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::json;

use crate::{clock::SystemEntropy, error::ClientError, secret::Secret};

const HEADER: HeaderName = HeaderName::from_static("dpop");
const NONCE_HEADER: HeaderName = HeaderName::from_static("dpop-nonce");
const NONCE_DEMANDED: &str = "use_dpop_nonce";
const TYPE: &str = "dpop+jwt";

/// Makes proofs. Clones share the key.
#[derive(Clone)]
pub struct ProofKey(Arc<SigningKey>);

impl ProofKey {
    /// A new P-256 key. It lives as long as the process, and so do the tokens that are bound to it.
    ///
    /// # Errors
    /// [`ClientError::Entropy`].
    pub fn generate() -> Result<Self, ClientError> {
        Self::generate_for(Algorithm::Es256, &SystemEntropy)
    }

    /// A new key for ES256 or `EdDSA`.
    ///
    /// # Errors
    /// [`ClientError::Entropy`], [`ClientError::ProofKey`] for RS256, which makes no proofs here.
    pub fn generate_for(algorithm: Algorithm, entropy: &dyn Entropy) -> Result<Self, ClientError> {
        if algorithm == Algorithm::Rs256 {
            return Err(ClientError::ProofKey);
        }
        Self::of(algorithm, &SigningKey::generate_secret(algorithm, entropy)?)
    }

    /// From a private key in PEM form (PKCS #8, unencrypted): P-256 or Ed25519.
    ///
    /// # Errors
    /// [`ClientError::ProofKey`] for anything else.
    pub fn from_pem(text: &str) -> Result<Self, ClientError> {
        let key = SigningKey::from_pem(text).ok_or(ClientError::ProofKey)?;
        Ok(Self(Arc::new(key)))
    }

    fn of(algorithm: Algorithm, secret: &SecretBytes) -> Result<Self, ClientError> {
        let key = SigningKey::from_secret(algorithm, secret.expose()).ok_or(ClientError::ProofKey)?;
        Ok(Self(Arc::new(key)))
    }

    /// What the tokens say that they are bound to (`cnf.jkt`, RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        self.0.kid()
    }

    /// The value of the `DPoP` header for one request.
    pub(crate) fn proof(&self, of: &Subject<'_>, moment: &Once) -> Result<String, ClientError> {
        let mut claims = json!({
            "jti": moment.jti, "htm": of.method.as_str(), "htu": htu(of.uri), "iat": moment.at_secs,
        });
        if let Some(access) = of.access {
            claims["ath"] = sha256_base64url(access.reveal().as_bytes()).into();
        }
        if let Some(nonce) = &of.nonce {
            claims["nonce"] = nonce.as_str().into();
        }
        let public = self.0.public();
        let header = json!({ "typ": TYPE, "alg": public.algorithm().as_str(), "jwk": public.to_jwk() });
        Ok(self.0.sign_with(&header, claims.to_string().as_bytes())?)
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProofKey(jkt={})", self.thumbprint())
    }
}

/// What one proof is made for.
#[derive(Debug, Clone)]
pub(crate) struct Subject<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    /// The access token that goes with it; `None` where a token is bought.
    pub(crate) access: Option<&'a Secret>,
    pub(crate) nonce: Option<String>,
}

/// What makes one proof unique.
#[derive(Debug, Clone)]
pub(crate) struct Once {
    pub(crate) at_secs: i64,
    pub(crate) jti: String,
}

impl Once {
    /// The time and 16 random bytes.
    pub(crate) fn now(now: Timestamp, entropy: &dyn Entropy) -> Result<Self, ClientError> {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes)?;
        Ok(Self { at_secs: now.as_secs(), jti: hex::encode(bytes) })
    }
}

/// A proof key, and the gateway's nonce that its proofs hold.
pub(crate) struct Prover {
    key: ProofKey,
    nonce: Mutex<Option<String>>,
}

impl Prover {
    pub(crate) const fn new(key: ProofKey) -> Self {
        Self { key, nonce: Mutex::new(None) }
    }

    /// Puts a proof into the headers of a request, in place of one that is there.
    pub(crate) fn prove(
        &self,
        headers: &mut HeaderMap,
        subject: Subject<'_>,
        once: &Once,
    ) -> Result<(), ClientError> {
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let proof = self.key.proof(&Subject { nonce, ..subject }, once)?;
        headers.insert(HEADER, HeaderValue::from_str(&proof).map_err(|_| ClientError::HeaderValue)?);
        Ok(())
    }

    /// Keeps the nonce of an answer for the next proofs (RFC 9449, 8.2).
    pub(crate) fn notice(&self, headers: &HeaderMap) {
        if let Some(given) = headers.get(NONCE_HEADER).and_then(|nonce| nonce.to_str().ok()) {
            *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(given.to_owned());
        }
    }
}

/// Takes a proof out that somebody else put in.
pub(crate) fn strip(headers: &mut HeaderMap) {
    headers.remove(HEADER);
}

/// Whether an answer is a refusal that gives the nonce which the proof lacked. Token endpoints answer 400, others 401
/// (RFC 9449, 8).
pub(crate) fn demands_nonce(status: StatusCode, headers: &HeaderMap, code: &str) -> bool {
    let is_refusal = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
    is_refusal && headers.contains_key(NONCE_HEADER) && code == NONCE_DEMANDED
}

/// Whether an answer's code is about nonces, whether or not it gives one.
pub(crate) fn is_about_nonces(code: &str) -> bool {
    code == NONCE_DEMANDED
}

/// Without query and fragment, in the form that the gateway sees.
fn htu(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("https");
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let path = if uri.path().is_empty() { "/" } else { uri.path() };
    format!("{scheme}://{}{path}", normal_authority(authority, scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_can_make_no_proofs_are_refused() {
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY-----",
            "AAAA",
        ] {
            assert!(matches!(ProofKey::from_pem(text), Err(ClientError::ProofKey)), "{text}");
        }
        let rsa = ProofKey::generate_for(Algorithm::Rs256, &SystemEntropy);
        assert!(matches!(rsa, Err(ClientError::ProofKey)));
    }

    #[test]
    fn a_key_prints_its_thumbprint_and_two_keys_differ() {
        let (one, other) = (ProofKey::generate().unwrap(), ProofKey::generate().unwrap());
        assert_ne!(one.thumbprint(), other.thumbprint());
        assert_eq!(format!("{one:?}"), format!("ProofKey(jkt={})", one.thumbprint()));
    }
}
