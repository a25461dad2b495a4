//! One notice on its way through one channel: tried, tried again with growing pauses, and at last laid aside.

use crate::{
    clock::{MICROS_PER_SEC, Timestamp},
    id::{ChannelId, NoticeId},
};

/// After so many tries a delivery is dead.
pub const MAX_ATTEMPTS: u32 = 8;
/// The pause after the first failure, in seconds; it doubles with each.
const FIRST_PAUSE_SECS: i64 = 10;
/// No pause is longer, in seconds.
const MAX_PAUSE_SECS: i64 = 3_600;

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for its next try.
    Pending,
    /// The channel took it.
    Delivered,
    /// Given up: to be looked at, and tried again by hand.
    Dead,
}

impl DeliveryState {
    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// The reverse of [`DeliveryState::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Dead].into_iter().find(|s| s.as_str() == text)
    }
}

/// A delivery as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The notice.
    pub notice: NoticeId,
    /// The channel.
    pub channel: ChannelId,
    /// How it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// It is not tried before.
    pub next_try_at: Timestamp,
    /// Why the last try failed, or empty.
    pub last_error: String,
    /// When it was delivered or given up.
    pub done_at: Option<Timestamp>,
    /// Row version: whoever tries takes the row first.
    pub version: i64,
}

/// A try failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It may work later: no connection, a busy server, 429 or 5xx.
    #[error("{0}")]
    Transient(String),
    /// It will never work so: a refused recipient or address, another 4xx, a redirect.
    #[error("{0}")]
    Permanent(String),
}

impl DeliveryRecord {
    /// The row while somebody tries it: nobody else does before `until`.
    #[must_use]
    pub fn taken(&self, until: Timestamp) -> Self {
        Self { attempts: self.attempts + 1, next_try_at: until, ..self.clone() }
    }

    /// The row after a try. `jitter` is uniform in 0..=u32::MAX.
    #[must_use]
    pub fn after(&self, result: Result<(), DeliveryError>, now: Timestamp, jitter: u32) -> Self {
        let error = match result {
            Ok(()) => {
                let (state, last_error) = (DeliveryState::Delivered, String::new());
                return Self { state, last_error, done_at: Some(now), ..self.clone() };
            }
            Err(error) => error,
        };
        let last_error = error.to_string().chars().take(500).collect();
        if matches!(error, DeliveryError::Permanent(_)) || self.attempts >= MAX_ATTEMPTS {
            return Self { state: DeliveryState::Dead, last_error, done_at: Some(now), ..self.clone() };
        }
        Self { last_error, next_try_at: now.plus_micros(pause(self.attempts, jitter)), ..self.clone() }
    }

    /// The row when an operator wants it tried again: all tries are free anew.
    #[must_use]
    pub fn again(&self, now: Timestamp) -> Self {
        Self { state: DeliveryState::Pending, attempts: 0, next_try_at: now, done_at: None, ..self.clone() }
    }
}

/// The pause after `attempts` tries, in microseconds: half of it fixed, half by chance, so that many that failed
/// together do not come back together.
fn pause(attempts: u32, jitter: u32) -> i64 {
    let doubled = FIRST_PAUSE_SECS.saturating_mul(1_i64 << attempts.saturating_sub(1).min(20));
    let half = doubled.min(MAX_PAUSE_SECS) * MICROS_PER_SEC / 2;
    let chance = i128::from(half) * i128::from(jitter) / i128::from(u32::MAX);
    half + i64::try_from(chance).unwrap_or(half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fresh() -> DeliveryRecord {
        DeliveryRecord {
            notice: NoticeId::parse("ntc_1").unwrap(),
            channel: ChannelId::parse("chn_1").unwrap(),
            state: DeliveryState::Pending,
            attempts: 0,
            next_try_at: Timestamp::from_secs(0),
            last_error: String::new(),
            done_at: None,
            version: 1,
        }
    }

    #[test]
    fn words_in_the_store_read_back() {
        for state in [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Dead] {
            assert_eq!(DeliveryState::parse(state.as_str()), Some(state));
        }
    }

    #[test]
    fn what_can_never_work_dies_at_once_and_can_be_called_back() {
        let now = Timestamp::from_secs(9);
        let gone = DeliveryError::Permanent("410".to_owned());
        let dead = fresh().taken(now).after(Err(gone), now, 0);
        assert_eq!((dead.state, dead.attempts, dead.done_at), (DeliveryState::Dead, 1, Some(now)));
        let back = dead.again(now);
        assert_eq!((back.state, back.attempts, back.done_at), (DeliveryState::Pending, 0, None));
        assert_eq!(back.last_error, "410");
    }

    proptest! {
        #[test]
        fn pauses_grow_up_to_an_hour_and_the_last_try_is_the_last(jitter in any::<u32>()) {
            let (mut row, mut now) = (fresh(), Timestamp::from_secs(0));
            let mut shortest = 0;
            for attempt in 1..MAX_ATTEMPTS {
                let busy = DeliveryError::Transient("503".to_owned());
                row = row.taken(now.plus_micros(60 * MICROS_PER_SEC)).after(Err(busy), now, jitter);
                prop_assert_eq!((row.state, row.attempts), (DeliveryState::Pending, attempt));
                let pause = row.next_try_at.micros_since(now);
                let full = (FIRST_PAUSE_SECS << (attempt - 1)).min(MAX_PAUSE_SECS) * MICROS_PER_SEC;
                prop_assert!((full / 2..=full).contains(&pause), "{}", pause);
                prop_assert!(pause >= shortest);
                shortest = full / 2;
                now = row.next_try_at;
            }
            let busy = DeliveryError::Transient("503".to_owned());
            let dead = row.taken(now).after(Err(busy), now, jitter);
            prop_assert_eq!((dead.state, dead.attempts), (DeliveryState::Dead, MAX_ATTEMPTS));
        }
    }
}
