//! Requests in flight at once: a counter and its two rules.

/// How many requests are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InFlight(u32);

impl InFlight {
    /// Whether one more may enter under this limit; `None`: always.
    #[must_use]
    pub const fn has_room(self, limit: Option<u32>) -> bool {
        match limit {
            Some(limit) => self.0 < limit,
            None => self.0 < u32::MAX,
        }
    }

    /// One request enters. Ask [`InFlight::has_room`] first: this only counts.
    pub const fn enter(&mut self) {
        self.0 = self.0.saturating_add(1);
    }

    /// One request has ended. Leaving more often than entering stays at nothing.
    pub const fn leave(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// How many are in flight now.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_shrinks_below_the_count_admits_again_only_below_it() {
        let mut flight = InFlight::default();
        flight.enter();
        flight.enter();
        assert!(!flight.has_room(Some(1)));
        flight.leave();
        assert!(!flight.has_room(Some(1)));
        flight.leave();
        flight.leave();
        assert!(flight.has_room(Some(1)) && !flight.has_room(Some(0)) && flight.has_room(None));
        assert_eq!(flight.count(), 0);
    }
}
