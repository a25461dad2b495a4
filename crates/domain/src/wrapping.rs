//! Wrapped delivery: a key is sealed in the store and handed over as a token that opens it once, for a short time. A
//! second opening is refused and is an incident: whoever came first may not have been the one it was for.

use crate::{
    clock::Timestamp,
    id::{KeyId, WrappingId},
    mac::{KeyMac, PepperVersion},
    token::PublicId,
};

/// How long a wrapping token opens unless something else is asked for: a day, in seconds.
pub const DEFAULT_TTL_SECS: u64 = 86_400;
/// The longest that may be asked for: a week, in seconds.
pub const MAX_TTL_SECS: u64 = 7 * 86_400;

/// A wrapped key as it is kept.
#[derive(Debug, Clone)]
pub struct WrappingRecord {
    /// `wrp_` + the token's public id.
    pub id: WrappingId,
    /// The public part of the wrapping token.
    pub public_id: PublicId,
    /// The MAC of the wrapping token.
    pub mac: KeyMac,
    /// The pepper of the MAC.
    pub pepper_version: PepperVersion,
    /// What is inside.
    pub key: KeyId,
    /// The sealed key; empty once it was opened or has lapsed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// It does not open from then on.
    pub expires_at: Timestamp,
    /// When it was opened, and from which address.
    pub opened: Option<Opened>,
    /// Row version, for optimistic locking: of two who open at once, one wins.
    pub version: i64,
}

/// Who opened a wrapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// When.
    pub at: Timestamp,
    /// From where; empty: from this machine.
    pub client_ip: String,
}

/// Why a wrapping does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrappingError {
    /// Somebody opened it before.
    #[error("this delivery was opened before, at {}: if it was not by you, revoke the key now", .0.at.to_rfc3339())]
    Opened(Opened),
    /// Its time is over.
    #[error("this delivery has lapsed at {}: ask for a new one", .0.to_rfc3339())]
    Lapsed(Timestamp),
    /// The key that it held is gone, or waits in another delivery.
    #[error("this delivery was withdrawn: its key was revoked, or delivered anew")]
    Withdrawn,
    /// No delivery lasts longer than a week.
    #[error("a delivery waits between 1 second and 7 days")]
    Ttl,
}

impl WrappingRecord {
    /// The record once opened; what it held goes.
    ///
    /// # Errors
    /// [`WrappingError::Opened`] before [`WrappingError::Lapsed`]: a second opening is an incident however late.
    /// [`WrappingError::Withdrawn`] when it was emptied unopened.
    pub fn open(&self, now: Timestamp, client_ip: &str) -> Result<Self, WrappingError> {
        if let Some(opened) = &self.opened {
            return Err(WrappingError::Opened(opened.clone()));
        }
        if now >= self.expires_at {
            return Err(WrappingError::Lapsed(self.expires_at));
        }
        if self.sealed.is_empty() {
            return Err(WrappingError::Withdrawn);
        }
        let opened = Some(Opened { at: now, client_ip: client_ip.to_owned() });
        Ok(Self { sealed: Vec::new(), opened, ..self.clone() })
    }
}

/// How long a delivery waits.
///
/// # Errors
/// [`WrappingError::Ttl`].
pub fn ttl_secs(asked: Option<u64>) -> Result<u64, WrappingError> {
    let ttl = asked.unwrap_or(DEFAULT_TTL_SECS);
    if (1..=MAX_TTL_SECS).contains(&ttl) { Ok(ttl) } else { Err(WrappingError::Ttl) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_772_452_800);

    fn wrapping() -> WrappingRecord {
        WrappingRecord {
            id: WrappingId::parse("wrp_0123456789").unwrap(),
            public_id: PublicId::parse("0123456789").unwrap(),
            mac: KeyMac::from_bytes([7; 32]),
            pepper_version: PepperVersion(1),
            key: KeyId::parse("key_0123456789").unwrap(),
            sealed: vec![1, 2, 3],
            created_at: NOW,
            expires_at: NOW.plus_micros(10),
            opened: None,
            version: 1,
        }
    }

    #[test]
    fn a_delivery_opens_once_and_keeps_nothing() {
        let opened = wrapping().open(NOW.plus_micros(9), "192.0.2.7").unwrap();
        assert!(opened.sealed.is_empty());
        let again = opened.open(NOW.plus_micros(99), "198.51.100.1");
        let first = Opened { at: NOW.plus_micros(9), client_ip: "192.0.2.7".into() };
        assert_eq!(again.unwrap_err(), WrappingError::Opened(first), "an incident, however late");
    }

    #[test]
    fn a_delivery_that_has_lapsed_does_not_open() {
        let late = wrapping().open(NOW.plus_micros(10), "");
        assert_eq!(late.unwrap_err(), WrappingError::Lapsed(NOW.plus_micros(10)));
    }

    #[test]
    fn an_emptied_delivery_does_not_open() {
        let emptied = WrappingRecord { sealed: Vec::new(), ..wrapping() };
        assert_eq!(emptied.open(NOW, "").unwrap_err(), WrappingError::Withdrawn);
    }

    #[test]
    fn a_delivery_waits_a_second_to_a_week() {
        assert_eq!(ttl_secs(None), Ok(86_400));
        assert_eq!(
            (ttl_secs(Some(0)), ttl_secs(Some(MAX_TTL_SECS + 1))),
            (Err(WrappingError::Ttl), Err(WrappingError::Ttl))
        );
    }
}
