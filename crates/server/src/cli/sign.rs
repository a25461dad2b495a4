//! `claviger sign`: the headers that sign a request, made without asking anyone.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::Ed25519KeyPair;
use clap::{Args, ValueEnum};
use claviger_domain::{
    clock::{Clock, Entropy},
    signature::{
        Profile, Target,
        sign::{Hand, Stamp, sign},
    },
    token::{
        Brand,
        side::{SideToken, SideUse},
    },
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Context, output::CliError};
use crate::{clock::SystemClock, entropy::SystemEntropy};

/// No secret is larger, in bytes.
pub const MAX_SECRET: u64 = 16 * 1024;
/// No body that is signed is larger, in bytes: files.
const MAX_BODY: u64 = 501 << 20;

/// Which way to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    /// Body, time and nonce
    V1,
    /// And key, method, authority, path and query
    V2,
    /// HTTP message signatures
    Rfc9421,
}

impl From<ProfileArg> for Profile {
    fn from(profile: ProfileArg) -> Self {
        match profile {
            ProfileArg::V1 => Self::V1,
            ProfileArg::V2 => Self::V2,
            ProfileArg::Rfc9421 => Self::Rfc9421,
        }
    }
}

/// `sign`
#[derive(Debug, Args)]
pub struct SignArgs {
    /// The signing secret (`cvg_sign_…`), as it was printed
    #[arg(long, value_name = "FILE", required_unless_present = "private_key_file")]
    secret_file: Option<PathBuf>,
    /// In its place, with rfc9421 only: an Ed25519 key as PKCS #8 PEM
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    private_key_file: Option<PathBuf>,
    /// Which way to sign
    #[arg(long, value_enum, default_value = "v2")]
    profile: ProfileArg,
    /// The request's method
    #[arg(long, default_value = "POST")]
    method: String,
    /// The request's URL, with its query
    #[arg(long)]
    url: String,
    /// The request's body; `-`: standard input; none when not given
    #[arg(long, value_name = "FILE", alias = "body")]
    body_file: Option<PathBuf>,
    /// The key's public id, for v2 and rfc9421: the ten characters after `cvg_live_` or `cvg_test_` (`key_…` is taken,
    /// too) [default: the one in the signing secret]
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// Seconds since the epoch [default: now]
    #[arg(long, value_name = "SECS")]
    timestamp: Option<i64>,
    /// 32 hex digits [default: random ones]
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
}

/// Runs `claviger sign`.
///
/// # Errors
/// [`CliError`] when a file cannot be read, or what was given cannot be signed.
pub fn run(context: &Context, args: &SignArgs) -> Result<(), CliError> {
    let profile = Profile::from(args.profile);
    let nonce = args.nonce.clone().map_or_else(random, Ok)?;
    let at_secs = args.timestamp.unwrap_or_else(|| SystemClock.now().as_secs());
    let target = Target::of_url(&args.method, &args.url)
        .ok_or_else(|| CliError::usage("--url: expected an absolute http or https URL"))?;
    let body = args.body_file.as_deref().map(|path| read(path, MAX_BODY)).transpose()?.unwrap_or_default();
    let (secret, pair) = (secret(args)?, pair(args)?);
    let given = args.key_id.as_deref().map(|id| id.strip_prefix("key_").unwrap_or(id).to_owned());
    let key_id = given.or_else(|| secret.as_deref().and_then(|text| whose(text))).unwrap_or_default();
    if key_id.is_empty() && profile != Profile::V1 {
        return Err(CliError::usage("--key-id: this profile binds the key, so it must be named"));
    }
    let stamp = Stamp { key_id: &key_id, at_secs, nonce: &nonce, expires_secs: None };
    let hand = match (&pair, &secret) {
        (Some(pair), _) => Hand::Pair(pair),
        (None, Some(secret)) => Hand::Secret(secret),
        (None, None) => return Err(CliError::usage("give --secret-file")),
    };
    let headers = sign(profile, &hand, stamp, &target, &body).map_err(|e| CliError::usage(e.to_string()))?;
    if context.out.json {
        let fields = headers.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
        context.out.value(&Value::Object(fields.collect::<Map<_, _>>()));
        return Ok(());
    }
    for (name, value) in headers {
        context.out.line(&format!("{name}: {value}"));
    }
    Ok(())
}

/// Whose signing secret a text is; `None`: it is none of ours.
pub fn whose(secret: &[u8]) -> Option<String> {
    let brand = Brand::parse(std::str::from_utf8(secret.get(..3)?).ok()?).ok()?;
    let secret = SideToken::parse(brand, SideUse::Signing, secret).ok()?;
    Some(secret.public_id().as_str().to_owned())
}

/// A nonce that was never used.
///
/// # Errors
/// [`CliError`] when there is no randomness.
pub fn random() -> Result<String, CliError> {
    let mut bytes = [0; 16];
    SystemEntropy::default().fill(&mut bytes).map_err(|e| CliError::failed(e.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn secret(args: &SignArgs) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
    let Some(path) = &args.secret_file else { return Ok(None) };
    let text = Zeroizing::new(read(path, MAX_SECRET)?);
    let trimmed = Zeroizing::new(text.trim_ascii().to_vec());
    if trimmed.is_empty() {
        return Err(CliError::failed(format!("{}: it is empty", path.display())));
    }
    Ok(Some(trimmed))
}

fn pair(args: &SignArgs) -> Result<Option<Ed25519KeyPair>, CliError> {
    let Some(path) = &args.private_key_file else { return Ok(None) };
    let text = Zeroizing::new(read(path, MAX_SECRET)?);
    let wrong = || CliError::failed(format!("{}: expected an Ed25519 key as PKCS #8 PEM", path.display()));
    let der = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| wrong())?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map(Some).map_err(|_| wrong())
}

/// Reads a file of `most` bytes at most; `-` is standard input.
///
/// # Errors
/// [`CliError`] when it cannot be read, or is larger.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, CliError> {
    let failed = |error: std::io::Error| CliError::failed(format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        File::open(path).map_err(failed)?.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() as u64 > most {
        return Err(CliError::failed(format!("{}: larger than {most} bytes", path.display())));
    }
    Ok(bytes)
}
