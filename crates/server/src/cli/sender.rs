//! What the holder of a key proves beside it: a client certificate, and the possession of a key pair (DPoP, RFC 9449).

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use clap::Args;
use claviger_domain::{
    clock::Clock,
    jose::{SigningKey, sha256_base64url},
};
use http::HeaderMap;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    output::CliError,
    sign::{MAX_SECRET, random, read},
};
use crate::clock::SystemClock;

/// Where a proof stands.
pub const DPOP: &str = "dpop";
const NONCE: &str = "dpop-nonce";

/// What the holder shows, as the client adapters have it.
#[derive(Debug, Clone, Args)]
pub struct SenderArgs {
    /// The certificate to show (PEM), for keys that demand one or are bound to it
    #[arg(long, value_name = "FILE", env = "CLAVIGER_CLIENT_CERT")]
    client_cert: Option<PathBuf>,
    /// The certificate's private key (PEM) [default: in the same file]
    #[arg(long, value_name = "FILE", env = "CLAVIGER_CLIENT_KEY")]
    client_key: Option<PathBuf>,
    /// A private key (PEM; P-256 or Ed25519) that access tokens are bound to and whose possession is proved (DPoP)
    #[arg(long, value_name = "FILE", env = "CLAVIGER_DPOP_KEY_FILE")]
    dpop_key_file: Option<PathBuf>,
}

impl SenderArgs {
    /// The certificate's file, and that of its key.
    pub fn certificate(&self) -> Option<(PathBuf, PathBuf)> {
        let chain = named(self.client_cert.as_ref())?;
        let key = named(self.client_key.as_ref()).unwrap_or_else(|| chain.clone());
        Some((chain, key))
    }

    /// What makes proofs of possession, if there is a key for it.
    ///
    /// # Errors
    /// [`CliError`] when its file cannot be read, can be read by others, or holds no such key.
    pub fn prover(&self) -> Result<Option<Prover>, CliError> {
        named(self.dpop_key_file.as_ref()).map(|path| Prover::read(&path)).transpose()
    }
}

/// A variable that is set to nothing names no file.
fn named(path: Option<&PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty()).cloned()
}

/// Makes proofs, and keeps the gateway's nonce for the next ones. There is no `Debug`.
pub struct Prover {
    key: SigningKey,
    nonce: Mutex<Option<String>>,
}

impl Prover {
    fn read(path: &Path) -> Result<Self, CliError> {
        let said = |why: &str| CliError::failed(format!("{}: {why}", path.display()));
        let about = std::fs::metadata(path).map_err(|e| said(&e.to_string()))?;
        if about.is_file() && about.mode() & 0o077 != 0 {
            return Err(said(&format!("it can be read by others: chmod 600 {}", path.display())));
        }
        let text = Zeroizing::new(read(path, MAX_SECRET)?);
        let key = std::str::from_utf8(&text).ok().and_then(SigningKey::from_pem);
        let key = key.ok_or_else(|| said("not an unencrypted P-256 or Ed25519 private key in PEM form"))?;
        Ok(Self { key, nonce: Mutex::default() })
    }

    /// What tokens are bound to (`cnf.jkt`).
    pub fn thumbprint(&self) -> &str {
        self.key.kid()
    }

    /// The proof for one request, and for the access token that it shows.
    ///
    /// # Errors
    /// [`CliError`] when there is no randomness.
    pub fn proof(&self, (method, url): (&str, &str), access: Option<&str>) -> Result<String, CliError> {
        let mut claims =
            json!({ "jti": random()?, "htm": method, "htu": url, "iat": SystemClock.now().as_secs() });
        if let Some(access) = access {
            claims["ath"] = sha256_base64url(access.as_bytes()).into();
        }
        if let Some(nonce) = &*self.nonce.lock().unwrap_or_else(PoisonError::into_inner) {
            claims["nonce"] = nonce.as_str().into();
        }
        let public = self.key.public();
        let header = json!({ "typ": "dpop+jwt", "alg": public.algorithm().as_str(), "jwk": public.to_jwk() });
        let made = self.key.sign_with(&header, claims.to_string().as_bytes());
        made.map_err(|error| CliError::failed(error.to_string()))
    }

    /// Keeps the nonce that an answer gives. Whether it gives one.
    pub fn notice(&self, headers: &HeaderMap) -> bool {
        let Some(given) = headers.get(NONCE).and_then(|nonce| nonce.to_str().ok()) else { return false };
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(given.to_owned());
        true
    }
}
