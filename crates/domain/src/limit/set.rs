//! All limits of one key, taken together or not at all.

use crate::{
    clock::Timestamp,
    limit::{
        Bucket, Exceeded, Headroom, LimitKind, Limits,
        concurrency::InFlight,
        gcra::{Decision, Gcra, Rate},
        window::DayWindow,
    },
};

/// The state of all limits of one key on one node. It outlives changes of the key's policy: each call says which
/// limits hold now, and what was used before still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyLimits {
    work: BucketState,
    look: BucketState,
    in_flight: InFlight,
    uses: u64,
}

/// What one bucket has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct BucketState {
    second: Gcra,
    minute: Gcra,
    hour: Gcra,
    day: DayWindow,
}

/// What the store knows of a key's past when a node meets it for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsedBefore {
    /// Requests of the work bucket on this UTC day.
    pub work_today: u64,
    /// Requests of the look bucket on this UTC day.
    pub look_today: u64,
    /// Uses in the key's whole life.
    pub uses: u64,
}

impl KeyLimits {
    /// The state after a start: day quotas and total uses go on where they stood.
    #[must_use]
    pub fn restored(now: Timestamp, used: UsedBefore) -> Self {
        let bucket = |today| BucketState { day: DayWindow::starting(now, today), ..BucketState::default() };
        Self {
            work: bucket(used.work_today),
            look: bucket(used.look_today),
            in_flight: InFlight::default(),
            uses: used.uses,
        }
    }

    /// Takes one request from every limit of its bucket, from the total uses, and a place in flight; or nothing.
    /// The place is given back by [`KeyLimits::leave`]. In-flight requests of both buckets count together.
    ///
    /// The headroom is that of the rate or day limit with the least remaining; `None`: the key has none of them.
    ///
    /// # Errors
    /// [`Exceeded`] names the limit that binds: spent total uses first, then of the rates the one that holds longest
    /// (so that its `retry_at` is when all of them admit), and concurrency only when nothing else stands in the way, so
    /// that waiting for a place is worth it.
    pub fn admit(
        &mut self,
        limits: &Limits,
        max_uses: Option<u64>,
        bucket: Bucket,
        now: Timestamp,
    ) -> Result<Option<Headroom>, Exceeded> {
        if let Some(exceeded) = self.worn_out(max_uses, now) {
            return Err(exceeded);
        }
        let (taken, verdict) = self.bucket(bucket).step(limits, now, 1);
        let refusal = verdict.refusal.or_else(|| self.crowded(limits.concurrency, now));
        if let Some(exceeded) = refusal {
            let state = self.bucket(bucket);
            *state = state.step(limits, now, 0).0;
            return Err(exceeded);
        }
        *self.bucket(bucket) = taken;
        self.in_flight.enter();
        self.uses = self.uses.saturating_add(1);
        Ok(verdict.tightest)
    }

    /// A request that was admitted has ended: its place in flight is free.
    pub const fn leave(&mut self) {
        self.in_flight.leave();
    }

    /// A request that was admitted was never sent: it does not count against the key's total uses.
    pub const fn return_use(&mut self) {
        self.uses = self.uses.saturating_sub(1);
    }

    /// Requests in flight.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight.count()
    }

    /// Uses in the key's whole life.
    #[must_use]
    pub const fn uses(&self) -> u64 {
        self.uses
    }

    /// What is left of each rate and day limit of a bucket; takes nothing.
    #[must_use]
    pub fn standing(&self, limits: &Limits, bucket: Bucket, now: Timestamp) -> Vec<Headroom> {
        let none = Limits { rps: None, rpm: None, rph: None, rpd: None, concurrency: None };
        let each = [
            Limits { rps: limits.rps, ..none },
            Limits { rpm: limits.rpm, ..none },
            Limits { rph: limits.rph, ..none },
            Limits { rpd: limits.rpd, ..none },
        ];
        let mut copy = *self;
        let state = *copy.bucket(bucket);
        each.iter().filter_map(|one| state.step(one, now, 0).1.tightest).collect()
    }

    const fn bucket(&mut self, bucket: Bucket) -> &mut BucketState {
        match bucket {
            Bucket::Work => &mut self.work,
            Bucket::Look => &mut self.look,
        }
    }

    fn worn_out(&self, max_uses: Option<u64>, now: Timestamp) -> Option<Exceeded> {
        let max = max_uses.filter(|max| self.uses >= *max)?;
        let limit = u32::try_from(max).unwrap_or(u32::MAX);
        let headroom = Headroom { kind: LimitKind::TotalUses, limit, remaining: 0, reset: now };
        Some(Exceeded { headroom, retry_at: None })
    }

    fn crowded(&self, limit: Option<u32>, now: Timestamp) -> Option<Exceeded> {
        if self.in_flight.has_room(limit) {
            return None;
        }
        let limit = limit.unwrap_or(u32::MAX);
        let headroom = Headroom { kind: LimitKind::Concurrency, limit, remaining: 0, reset: now };
        Some(Exceeded { headroom, retry_at: None })
    }
}

/// What all rates and the day quota of one bucket say together.
#[derive(Default)]
struct Verdict {
    tightest: Option<Headroom>,
    refusal: Option<Exceeded>,
}

impl Verdict {
    fn hear(&mut self, kind: LimitKind, limit: u32, decision: Decision) {
        let headroom = Headroom { kind, limit, remaining: decision.remaining, reset: decision.reset };
        if !decision.admitted {
            let refusal = Exceeded { headroom, retry_at: decision.retry_at };
            if self.refusal.as_ref().is_none_or(|known| binds_longer(&refusal, known)) {
                self.refusal = Some(refusal);
            }
        }
        let order = |h: &Headroom| (h.remaining, std::cmp::Reverse(h.reset));
        if self.tightest.as_ref().is_none_or(|known| order(&headroom) < order(known)) {
            self.tightest = Some(headroom);
        }
    }
}

/// Never is later than any time.
fn binds_longer(new: &Exceeded, known: &Exceeded) -> bool {
    match (new.retry_at, known.retry_at) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(new), Some(known)) => new > known,
    }
}

impl BucketState {
    /// The bucket with `cost` requests taken from every limit that admits them, and what the limits say together. With
    /// a cost of 0 only time passes. The day is counted also without a quota, so that one that is set later knows the
    /// day so far.
    fn step(&self, limits: &Limits, now: Timestamp, cost: u32) -> (Self, Verdict) {
        let mut next = *self;
        let mut verdict = Verdict::default();
        let mut rate = |gcra: &mut Gcra, kind, limit: Option<Rate>| {
            let Some(limit) = limit else { return };
            let (state, decision) = gcra.step(limit, now, cost);
            *gcra = state;
            verdict.hear(kind, limit.limit(), decision);
        };
        rate(&mut next.second, LimitKind::RequestsPerSecond, limits.rps.map(Rate::per_second));
        rate(&mut next.minute, LimitKind::RequestsPerMinute, limits.rpm.map(Rate::per_minute));
        rate(&mut next.hour, LimitKind::RequestsPerHour, limits.rph.map(Rate::per_hour));
        match limits.rpd {
            Some(quota) => {
                let (state, decision) = self.day.step(quota, now, cost);
                next.day = state;
                verdict.hear(LimitKind::RequestsPerDay, quota, decision);
            }
            None => next.day = self.day.count(now, cost),
        }
        (next, verdict)
    }
}

#[cfg(test)]
mod tests;
