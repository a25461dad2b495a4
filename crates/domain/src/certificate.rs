//! The certificate of a revocation (row V3): what was revoked, when, why, by whom and what it affected, with the
//! position of the revocation in the audit chain, as canonical JSON (RFC 8785) signed with Ed25519 (RFC 8032).
//!
//! Whoever holds the published public key verifies it offline.

mod jcs;
mod signing;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    audit::{Digest, chain::sha256},
    clock::Timestamp,
    id::{CertificateId, KeyId},
    key::RevocationReason,
};

pub use jcs::canonical;
pub use signing::{CertificateKey, CertificatePublicKey, PublicKeyError};

/// The only signature algorithm.
pub const ALGORITHM: &str = "Ed25519";

/// Where in the audit log the revocation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPosition {
    /// The number of its record in the control chain.
    pub number: i64,
    /// Its number in the change feed.
    pub seq: i64,
    /// The chain's head after the record, hex.
    pub head: Digest,
}

/// What is certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// `crt_…`.
    pub id: CertificateId,
    /// The key.
    pub key: KeyId,
    /// When it was revoked.
    pub revoked_at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
    /// Whether calls in flight were cut.
    pub immediate: bool,
    /// Who ordered it, in words: an operator's id and name, a local user, the program.
    pub authorized_by: String,
    /// What used the key: child keys, addresses and programs last seen, in words.
    pub affected_services: Vec<String>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// What else the record should say.
    pub compliance_notes: String,
    /// Where the revocation stands in the audit log.
    pub audit: AuditPosition,
}

/// Why a certificate proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is not a JSON object, or a field is missing or has the wrong type.
    #[error("not a certificate of revocation: `{0}` is missing or of the wrong type")]
    Malformed(&'static str),
    /// Its fields are not those that were hashed.
    #[error("its verification hash does not fit its fields: it was changed")]
    Changed,
    /// Its signature is not by this key.
    #[error("its signature is not by this public key")]
    Signature,
    /// It was signed by another key than the one that was given.
    #[error("it was signed by another key")]
    OtherKey,
}

/// What a certificate says, once it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Which certificate.
    pub certificate_id: String,
    /// Which key was revoked.
    pub key_id: String,
    /// When, RFC 3339.
    pub revocation_time: String,
    /// Why.
    pub reason: String,
    /// The number of the audit record.
    pub audit_number: i64,
}

impl Statement {
    fn fields(&self) -> Value {
        serde_json::json!({
            "affected_services": self.affected_services,
            "audit": self.audit,
            "authorized_by": self.authorized_by,
            "certificate_id": self.id,
            "compliance_notes": self.compliance_notes,
            "immediate": self.immediate,
            "key_id": self.key,
            "last_used_at": self.last_used_at.map(Timestamp::to_rfc3339),
            "reason": self.reason,
            "revocation_time": self.revoked_at.to_rfc3339(),
        })
    }

    /// The certificate: the fields, their hash, and the signature over both.
    #[must_use]
    pub fn sign(&self, key: &CertificateKey) -> Value {
        let mut certificate = self.fields();
        certificate["verification_hash"] = sha256(&[canonical(&certificate).as_bytes()]).to_hex().into();
        let signature = key.sign(canonical(&certificate).as_bytes());
        certificate["signature"] = serde_json::json!({
            "algorithm": ALGORITHM,
            "public_key_id": key.public().id(),
            "value": signature,
        });
        certificate
    }
}

/// Verifies a certificate: its hash, then its signature.
///
/// # Errors
/// [`CertificateError`].
pub fn verify(certificate: &Value, key: &CertificatePublicKey) -> Result<Verified, CertificateError> {
    let mut signed = certificate.as_object().ok_or(CertificateError::Malformed("certificate"))?.clone();
    let signature = signed.remove("signature").ok_or(CertificateError::Malformed("signature"))?;
    let value = text(&signature, "value")?;
    if text(&signature, "algorithm")? != ALGORITHM {
        return Err(CertificateError::Malformed("algorithm"));
    }
    if text(&signature, "public_key_id")? != key.id() {
        return Err(CertificateError::OtherKey);
    }
    let signed = Value::Object(signed);
    let mut hashed = signed.clone();
    let hash = match hashed.as_object_mut().and_then(|fields| fields.remove("verification_hash")) {
        Some(Value::String(hash)) => hash,
        Some(_) | None => return Err(CertificateError::Malformed("verification_hash")),
    };
    if sha256(&[canonical(&hashed).as_bytes()]).to_hex() != hash {
        return Err(CertificateError::Changed);
    }
    if !key.verify(canonical(&signed).as_bytes(), value) {
        return Err(CertificateError::Signature);
    }
    Ok(Verified {
        certificate_id: text(&signed, "certificate_id")?.to_owned(),
        key_id: text(&signed, "key_id")?.to_owned(),
        revocation_time: text(&signed, "revocation_time")?.to_owned(),
        reason: text(&signed, "reason")?.to_owned(),
        audit_number: signed["audit"]["number"].as_i64().ok_or(CertificateError::Malformed("audit"))?,
    })
}

fn text<'a>(object: &'a Value, field: &'static str) -> Result<&'a str, CertificateError> {
    object.get(field).and_then(Value::as_str).ok_or(CertificateError::Malformed(field))
}

#[cfg(test)]
mod tests;
