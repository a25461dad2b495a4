//! The holder's signing secret: requests of keys that must sign are signed with it.

use std::path::PathBuf;

use clap::Args;
use claviger_domain::{
    clock::Clock,
    signature::{
        Profile, Target,
        sign::{Hand, Stamp, sign},
    },
};
use zeroize::Zeroizing;

use super::{
    holder::variable,
    output::CliError,
    sign::{MAX_SECRET, random, read},
};
use crate::clock::SystemClock;

/// The secret's variable, as the client adapters have it.
const SECRET: &str = "CLAVIGER_SIGNING_SECRET";
/// Which way to sign, as the client adapters have it.
const PROFILE: &str = "CLAVIGER_SIGNING_PROFILE";

/// What signs.
#[derive(Debug, Clone, Args)]
pub struct SignerArgs {
    /// The file that holds the key's signing secret, for keys that demand a signature [default: CLAVIGER_SIGNING_SECRET]
    #[arg(long, value_name = "FILE", env = "CLAVIGER_SIGNING_SECRET_FILE")]
    pub signing_secret_file: Option<PathBuf>,
}

/// A signing secret. There is no `Debug`.
pub struct Signer {
    profile: Profile,
    secret: Zeroizing<Vec<u8>>,
}

impl SignerArgs {
    /// The secret, if there is one.
    ///
    /// # Errors
    /// [`CliError`] when its file cannot be read, or the profile is none.
    pub fn signer(&self) -> Result<Option<Signer>, CliError> {
        let secret = match &self.signing_secret_file {
            Some(path) => Zeroizing::new(read(path, MAX_SECRET)?.trim_ascii().to_vec()),
            None => match variable(SECRET) {
                Some(text) => Zeroizing::new(text.into_bytes()),
                None => return Ok(None),
            },
        };
        if secret.is_empty() {
            return Err(CliError::failed("the signing secret's file is empty"));
        }
        let profile = match variable(PROFILE).as_deref() {
            None | Some("rfc9421") => Profile::Rfc9421,
            Some("v2") => Profile::V2,
            Some("v1") => Profile::V1,
            Some(_) => return Err(CliError::usage(format!("{PROFILE}: expected v1, v2 or rfc9421"))),
        };
        Ok(Some(Signer { profile, secret }))
    }
}

impl Signer {
    /// The headers that sign a request of this key now.
    ///
    /// # Errors
    /// [`CliError`] when there is no randomness, or the URL is none.
    pub fn headers(
        &self,
        key_id: &str,
        (method, url): (&str, &str),
        body: &[u8],
    ) -> Result<Vec<(&'static str, String)>, CliError> {
        let nonce = random()?;
        let stamp = Stamp { key_id, at_secs: SystemClock.now().as_secs(), nonce: &nonce, expires_secs: None };
        let target = Target::of_url(method, url);
        let target =
            target.ok_or_else(|| CliError::usage(format!("`{url}`: not a URL that can be signed")))?;
        let signed = sign(self.profile, &Hand::Secret(&self.secret), stamp, &target, body);
        signed.map_err(|error| CliError::failed(error.to_string()))
    }
}
