//! The second factor: time-based one-time passwords (RFC 6238): SHA-1, six digits, 30 seconds, as every app has them.

use claviger_domain::{
    clock::{Entropy, Timestamp},
    operator::{name::OperatorName, record::OperatorRecord},
    ports::{SealContext, Sealer},
};
use totp_rs::{Builder, Secret, Totp};

use crate::ServiceError;

/// Bytes of a secret (RFC 4226 section 4: 160 bits).
const SECRET_LEN: usize = 20;
/// Codes of the step before and the step after count too.
const SKEW: u16 = 1;

const fn context(operator: &str) -> SealContext<'_> {
    SealContext { table: "operators", column: "totp_sealed", row: operator }
}

/// A new secret, to be shown once.
pub(super) struct NewSecret {
    /// Base32, as apps take it.
    pub base32: String,
    /// For QR codes (Key Uri Format).
    pub url: String,
    /// For the store.
    pub sealed: Vec<u8>,
}

pub(super) fn generate(
    id: &str,
    name: &OperatorName,
    sealer: &dyn Sealer,
    entropy: &dyn Entropy,
) -> Result<NewSecret, ServiceError> {
    let mut bytes = [0; SECRET_LEN];
    entropy.fill(&mut bytes)?;
    let sealed = sealer.seal(context(id), &bytes)?;
    let base32 = Secret::from(bytes).to_base32().trim_end_matches('=').to_owned();
    let label = name.as_str().replace('@', "%40");
    let url = format!(
        "otpauth://totp/Claviger:{label}?secret={base32}&issuer=Claviger&algorithm=SHA1&digits=6&period=30"
    );
    Ok(NewSecret { base32, url, sealed })
}

/// The step whose code this is, when it is one of now and newer than every one that was used.
pub(super) fn step_of(
    operator: &OperatorRecord,
    code: &str,
    now: Timestamp,
    sealer: &dyn Sealer,
) -> Result<Option<i64>, ServiceError> {
    let secret = sealer.open(context(operator.id.as_str()), &operator.totp_sealed)?;
    let Ok(bytes) = <[u8; SECRET_LEN]>::try_from(secret.expose()) else { return Ok(None) };
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    if code.len() != 6 || !code.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let totp: Totp = Builder::new().with_secret(bytes).with_skew(SKEW).build_noncompliant();
    let Ok(secs) = u64::try_from(now.as_secs()) else { return Ok(None) };
    let step = totp.check(&code, secs).and_then(|step| i64::try_from(step).ok());
    Ok(step.filter(|step| *step > operator.totp_step))
}
