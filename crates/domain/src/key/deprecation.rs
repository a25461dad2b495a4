//! The ladder that a key walks down before it is revoked (row R5): warned at once, lower limits after an hour, a
//! final warning after a day, refused after two, revoked after three. Each step is stored, so that a restart goes on
//! where the ladder was left.

use serde::{Deserialize, Serialize};

use crate::clock::{MICROS_PER_HOUR, Timestamp};

/// A rung of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeprecationStage {
    /// Works as before; callers are told in a header.
    Warned,
    /// Works with half of its limits.
    Limited,
    /// Works with half of its limits; owners are told for the last time.
    FinalWarning,
    /// Refused, but still known; the next step is revocation.
    Refused,
}

impl DeprecationStage {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Warned, Self::Limited, Self::FinalWarning, Self::Refused];

    /// When this rung is reached, counted from the ladder's begin, in microseconds.
    #[must_use]
    pub const fn after_us(self) -> i64 {
        match self {
            Self::Warned => 0,
            Self::Limited => MICROS_PER_HOUR,
            Self::FinalWarning => 24 * MICROS_PER_HOUR,
            Self::Refused => 48 * MICROS_PER_HOUR,
        }
    }

    /// The rung below; `None`: revocation.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Warned => Some(Self::Limited),
            Self::Limited => Some(Self::FinalWarning),
            Self::FinalWarning => Some(Self::Refused),
            Self::Refused => None,
        }
    }

    /// Whether limits are halved here.
    #[must_use]
    pub const fn lowers_limits(self) -> bool {
        match self {
            Self::Limited | Self::FinalWarning | Self::Refused => true,
            Self::Warned => false,
        }
    }

    /// As in JSON, headers and notices.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warned => "warned",
            Self::Limited => "limited",
            Self::FinalWarning => "final_warning",
            Self::Refused => "refused",
        }
    }
}

/// When a key is revoked, counted from the ladder's begin, in microseconds.
pub const REVOKED_AFTER_US: i64 = 72 * MICROS_PER_HOUR;

/// What comes next on the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// Nothing before this moment.
    Wait(Timestamp),
    /// The next stage is due. After a downtime several are due at once: they are taken one by one, so that each is
    /// stored and announced.
    Step(DeprecationStage),
    /// The key is to be revoked.
    Revoke,
}

/// Where on the ladder a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deprecation {
    /// When the ladder began.
    pub since: Timestamp,
    /// The rung that was reached.
    pub stage: DeprecationStage,
    /// When that rung was reached.
    pub stage_at: Timestamp,
}

impl Deprecation {
    /// The first rung.
    #[must_use]
    pub const fn begin(now: Timestamp) -> Self {
        Self { since: now, stage: DeprecationStage::Warned, stage_at: now }
    }

    /// When the key is revoked.
    #[must_use]
    pub const fn revoked_at(&self) -> Timestamp {
        self.since.plus_micros(REVOKED_AFTER_US)
    }

    /// When the next rung, or revocation, is due.
    #[must_use]
    pub const fn next_at(&self) -> Timestamp {
        let after_us = match self.stage.next() {
            Some(stage) => stage.after_us(),
            None => REVOKED_AFTER_US,
        };
        self.since.plus_micros(after_us)
    }

    /// What is to be done at `now`. A clock that goes back leads nowhere: a rung that was reached stays reached.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Rung {
        let next_at = self.next_at();
        if now < next_at {
            return Rung::Wait(next_at);
        }
        self.stage.next().map_or(Rung::Revoke, Rung::Step)
    }

    /// One rung down.
    #[must_use]
    pub const fn stepped(self, stage: DeprecationStage, now: Timestamp) -> Self {
        Self { stage, stage_at: now, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_772_452_800);

    fn at_hour(hour: i64) -> Timestamp {
        START.plus_micros(hour * MICROS_PER_HOUR)
    }

    #[test]
    fn the_ladder_has_the_rungs_of_the_promise() {
        let mut here = Deprecation::begin(START);
        let mut seen = vec![(0, here.stage)];
        for hour in 0..72 {
            while let Rung::Step(stage) = here.due(at_hour(hour)) {
                here = here.stepped(stage, at_hour(hour));
                seen.push((hour, stage));
            }
            assert_ne!(here.due(at_hour(hour)), Rung::Revoke, "hour {hour}");
        }
        use DeprecationStage::{FinalWarning, Limited, Refused, Warned};
        assert_eq!(seen, [(0, Warned), (1, Limited), (24, FinalWarning), (48, Refused)]);
        assert_eq!(here.due(at_hour(72)), Rung::Revoke);
    }

    #[test]
    fn after_a_downtime_every_rung_is_taken_in_order() {
        let (mut here, late) = (Deprecation::begin(START), at_hour(500));
        for expected in [DeprecationStage::Limited, DeprecationStage::FinalWarning, DeprecationStage::Refused]
        {
            assert_eq!(here.due(late), Rung::Step(expected));
            here = here.stepped(expected, late);
        }
        assert_eq!(here.due(late), Rung::Revoke);
    }

    proptest! {
        #[test]
        fn no_clock_leads_up_the_ladder_or_down_before_its_time(hours in proptest::collection::vec(-100_i64..200, 1..60)) {
            let mut here = Deprecation::begin(START);
            for hour in hours {
                let now = at_hour(hour);
                match here.due(now) {
                    Rung::Step(stage) => {
                        prop_assert!(stage > here.stage);
                        prop_assert!(now >= START.plus_micros(stage.after_us()));
                        here = here.stepped(stage, now);
                    }
                    Rung::Revoke => prop_assert!(now >= START.plus_micros(REVOKED_AFTER_US)),
                    Rung::Wait(until) => prop_assert!(until > now),
                }
            }
        }
    }
}
