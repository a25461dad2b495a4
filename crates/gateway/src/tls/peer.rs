//! The certificate that a caller showed, and whether it is still good: a connection may outlive a certificate, and the
//! trust in who signed it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use claviger_domain::{
    binding::{ShownCertificate, SpiffeId},
    clock::Timestamp,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::Tls;

/// A caller's certificate. It was verified in the handshake: its holder has its key.
#[derive(Debug)]
pub struct PeerCertificate {
    shown: ShownCertificate,
    not_after: Timestamp,
    /// One of those that came with it is over after that: whether the rest still leads to an authority is asked again.
    whole_until: Timestamp,
    chain: Vec<CertificateDer<'static>>,
    tls: Tls,
    /// The generation of the listener's identity by which it was last found good.
    vouched: AtomicU64,
}

/// The certificate was verified, and yet cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the caller's certificate cannot be read")]
pub struct Unreadable;

impl PeerCertificate {
    /// Reads what a handshake left. `generation` is the one that was current before the handshake.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub(crate) fn read(
        tls: &Tls,
        generation: u64,
        chain: &[CertificateDer<'_>],
    ) -> Result<Option<Arc<Self>>, Unreadable> {
        let Some(own) = chain.first() else { return Ok(None) };
        let end = |read: &X509Certificate<'_>| Timestamp::from_secs(read.validity().not_after.timestamp());
        let (_, leaf) = X509Certificate::from_der(own).map_err(|_| Unreadable)?;
        // What cannot be read and was not needed either is asked about each time.
        let others = chain.iter().skip(1);
        let ends = others.map(|other| {
            X509Certificate::from_der(other).map_or_else(|_| Timestamp::default(), |(_, other)| end(&other))
        });
        Ok(Some(Arc::new(Self {
            shown: ShownCertificate::new(own, spiffe_id(&leaf)),
            not_after: end(&leaf),
            whole_until: ends.min().unwrap_or(Timestamp::MAX),
            chain: chain.iter().map(|c| c.clone().into_owned()).collect(),
            tls: tls.clone(),
            vouched: AtomicU64::new(generation),
        })))
    }

    /// What it says, if it is good now.
    #[must_use]
    pub fn good(&self, now: Timestamp) -> Option<&ShownCertificate> {
        // Its last second is a whole one (RFC 5280 4.1.2.5).
        if now.as_secs() > self.not_after.as_secs() {
            return None;
        }
        let generation = self.tls.generation();
        if self.vouched.load(Ordering::Acquire) != generation || now.as_secs() > self.whole_until.as_secs() {
            self.verify(now)?;
            self.vouched.store(generation, Ordering::Release);
        }
        Some(&self.shown)
    }

    /// Judges it again, by the authorities that are trusted now.
    fn verify(&self, now: Timestamp) -> Option<()> {
        let verifier = self.tls.verifier()?;
        let (own, others) = self.chain.split_first()?;
        let secs = u64::try_from(now.as_secs()).unwrap_or(0);
        let at = UnixTime::since_unix_epoch(Duration::from_secs(secs));
        verifier.verify_client_cert(own, others, at).ok().map(drop)
    }
}

/// An X.509-SVID has one URI among its names, and no other (X.509-SVID 2); one that may sign others is nobody's own
/// (X.509-SVID 4.3, 5.2).
fn spiffe_id(certificate: &X509Certificate<'_>) -> Option<SpiffeId> {
    let usage = certificate.key_usage().ok()?;
    if usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()) {
        return None;
    }
    let names = certificate.subject_alternative_name().ok().flatten()?;
    // What cannot be read may be a second one.
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        GeneralName::Invalid(..) => Some(""),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::DNSName(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_) => None,
    });
    let only = uris.next()?;
    if uris.next().is_some() { None } else { only.parse().ok() }
}

#[cfg(test)]
mod tests;
