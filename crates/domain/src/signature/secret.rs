//! Signing secrets as they are kept, and when one follows another.
//!
//! What part a secret plays follows from its times alone, so that nothing has to happen on time: it is accepted from
//! when it was made, it is the current one from `valid_from`, and it is refused from `until`, which is written when its
//! successor is made: 24 hours after the successor's `valid_from`.

use crate::{
    clock::{MICROS_PER_DAY, MICROS_PER_HOUR, Timestamp},
    id::{KeyId, SigningId},
};

/// How long a secret is the current one, in days.
pub const PERIOD_DAYS: i64 = 30;
/// How long before its time a successor is made, in days: so long its holder has to fetch it.
pub const LEAD_DAYS: i64 = 7;
/// How long the one before is accepted, in hours.
pub const GRACE_HOURS: i64 = 24;
/// Use of the old one is worth a notice for so long before its end, in hours.
pub const LATE_HOURS: i64 = 1;

/// What signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningKind {
    /// A secret that both sides know.
    Hmac,
    /// The holder's key pair: only its public half is here.
    Ed25519,
}

impl SigningKind {
    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hmac => "hmac-sha256",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The reverse of [`SigningKind::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Hmac, Self::Ed25519].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A signing secret, or the public half of a holder's key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRecord {
    /// Its id.
    pub id: SigningId,
    /// Whose it is.
    pub key: KeyId,
    /// What it is.
    pub kind: SigningKind,
    /// The sealed text of a secret, or the 32 bytes of a public key; empty once it is over.
    pub material: Vec<u8>,
    /// What may be shown of it.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is the current one.
    pub valid_from: Timestamp,
    /// From when on it is refused; `None`: it has no successor.
    pub until: Option<Timestamp>,
    /// Row version, for optimistic locking.
    pub version: i64,
}

/// What parts a key's secrets play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing<'a> {
    /// The one to be used.
    pub current: Option<&'a SigningRecord>,
    /// The one that was made ahead.
    pub next: Option<&'a SigningRecord>,
    /// The one before, in its grace.
    pub previous: Option<&'a SigningRecord>,
}

impl<'a> Standing<'a> {
    /// How a key's secrets stand at `now`. Public keys have no part in it: their holders change them.
    #[must_use]
    pub fn of(records: &'a [SigningRecord], now: Timestamp) -> Self {
        let living =
            |r: &&SigningRecord| r.kind == SigningKind::Hmac && r.until.is_none_or(|until| now < until);
        let mut living: Vec<&SigningRecord> = records.iter().filter(living).collect();
        living.sort_by_key(|r| (r.valid_from, r.created_at));
        let next = living.iter().copied().find(|r| r.valid_from > now);
        let mut begun = living.iter().rev().copied().filter(|r| r.valid_from <= now);
        Self { current: begun.next(), next, previous: begun.next() }
    }

    /// When a successor takes over that is to be made now; `None`: it is not time yet, or one was made.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let current = self.current.filter(|_| self.next.is_none())?;
        let end = current.valid_from.plus_micros(PERIOD_DAYS * MICROS_PER_DAY);
        let lead = end.plus_micros(-LEAD_DAYS * MICROS_PER_DAY);
        // Who was not told in time, because nobody was there to tell, still gets a day.
        (lead <= now).then(|| end.max(now.plus_micros(GRACE_HOURS * MICROS_PER_HOUR)))
    }
}

/// When the secret before is refused, if its successor takes over at `valid_from`.
#[must_use]
pub const fn grace_end(valid_from: Timestamp) -> Timestamp {
    valid_from.plus_micros(GRACE_HOURS * MICROS_PER_HOUR)
}

/// Whether use of a secret that ends then is worth a notice.
#[must_use]
pub fn is_late(until: Timestamp, now: Timestamp) -> bool {
    now < until && until.micros_since(now) <= LATE_HOURS * MICROS_PER_HOUR
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = MICROS_PER_DAY;

    fn record(id: &str, valid_from: i64, until: Option<i64>) -> SigningRecord {
        SigningRecord {
            id: SigningId::parse(id).unwrap(),
            key: KeyId::parse("key_0123456789").unwrap(),
            kind: SigningKind::Hmac,
            material: vec![1],
            hint: String::new(),
            created_at: Timestamp::from_micros(valid_from),
            valid_from: Timestamp::from_micros(valid_from),
            until: until.map(Timestamp::from_micros),
            version: 1,
        }
    }

    fn names(standing: Standing<'_>) -> [Option<&str>; 3] {
        [standing.current, standing.next, standing.previous].map(|r| r.map(|r| r.id.as_str()))
    }

    #[test]
    fn a_successor_is_made_a_week_ahead_and_the_old_one_ends_a_day_after() {
        let first = record("sgn_a", 0, None);
        let alone = [first.clone()];
        let at = |day: i64| Timestamp::from_micros(day * DAY);
        assert_eq!(Standing::of(&alone, at(22)).due(at(22)), None);
        assert_eq!(Standing::of(&alone, at(23)).due(at(23)), Some(at(30)));
        // Nobody was there for two months.
        assert_eq!(Standing::of(&alone, at(60)).due(at(60)), Some(at(61)));

        let both =
            [SigningRecord { until: Some(grace_end(at(30))), ..first }, record("sgn_b", 30 * DAY, None)];
        assert_eq!(names(Standing::of(&both, at(29))), [Some("sgn_a"), Some("sgn_b"), None]);
        assert_eq!(Standing::of(&both, at(29)).due(at(29)), None);
        assert_eq!(names(Standing::of(&both, at(30))), [Some("sgn_b"), None, Some("sgn_a")]);
        assert_eq!(names(Standing::of(&both, at(31))), [Some("sgn_b"), None, None]);
    }

    #[test]
    fn the_last_hour_of_grace_is_late() {
        let until = Timestamp::from_micros(DAY);
        assert!(!is_late(until, until.plus_micros(-MICROS_PER_HOUR - 1)));
        assert!(is_late(until, until.plus_micros(-MICROS_PER_HOUR)));
        assert!(!is_late(until, until));
    }
}
