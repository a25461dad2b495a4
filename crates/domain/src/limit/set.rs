//! All limits of one key, owner or workspace, taken together or not at all.

use crate::{
    clock::Timestamp,
    limit::{
        Bucket, Exceeded, Headroom, LimitKind, LimitSubject, Limits,
        concurrency::InFlight,
        gcra::{Decision, Gcra, Rate},
        tokens::{TokenState, Tokens},
        window::DayWindow,
    },
};

/// Which limits hold at one moment, and whose they are.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Whose.
    pub subject: LimitSubject,
    /// Rates, day quotas and concurrency.
    pub limits: &'a Limits,
    /// Uses in a key's whole life.
    pub max_uses: Option<u64>,
}

/// The state of all limits of one key, owner or workspace on one node. It outlives changes of the rules: each call says
/// which limits hold now, and what was used before still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitState {
    work: BucketState,
    look: BucketState,
    in_flight: InFlight,
    uses: u64,
    /// The tokens.
    pub tokens: TokenState,
}

/// What one bucket has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct BucketState {
    second: Gcra,
    minute: Gcra,
    hour: Gcra,
    day: DayWindow,
}

/// One request's place within the limits, to be taken before anything else happens to them.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    bucket: Bucket,
    taken: BucketState,
    /// What is left of the rate or day limit with the least remaining once it is taken; `None`: there is no such limit.
    pub tightest: Option<Headroom>,
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
    /// Tokens on this UTC day.
    pub tokens_today: Tokens,
}

impl UsedBefore {
    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            work_today: self.work_today.saturating_add(more.work_today),
            look_today: self.look_today.saturating_add(more.look_today),
            uses: self.uses.saturating_add(more.uses),
            tokens_today: self.tokens_today + more.tokens_today,
        }
    }
}

impl LimitState {
    /// The state after a start: day quotas and total uses go on where they stood.
    #[must_use]
    pub fn restored(now: Timestamp, used: UsedBefore) -> Self {
        let bucket = |today| BucketState { day: DayWindow::starting(now, today), ..BucketState::default() };
        Self {
            work: bucket(used.work_today),
            look: bucket(used.look_today),
            in_flight: InFlight::default(),
            uses: used.uses,
            tokens: TokenState::restored(now, used.tokens_today),
        }
    }

    /// Judges one request by every limit of its bucket, by the total uses, and by the places in flight, which are the
    /// same for both buckets. Nothing is taken before [`LimitState::take`].
    ///
    /// # Errors
    /// [`Exceeded`] names the limit that binds: spent total uses first, then of the rates the one that holds longest
    /// (so that its `retry_at` is when all of them admit), and concurrency only when nothing else stands in the way, so
    /// that waiting for a place is worth it.
    pub fn judge(&mut self, rules: &Rules<'_>, bucket: Bucket, now: Timestamp) -> Result<Place, Exceeded> {
        if let Some(exceeded) = self.worn_out(rules, now) {
            return Err(exceeded);
        }
        let (taken, verdict) = self.bucket(bucket).step(rules, now, 1);
        let refusal = verdict.refusal.or_else(|| self.crowded(rules, now));
        if let Some(exceeded) = refusal {
            let state = self.bucket(bucket);
            *state = state.step(rules, now, 0).0;
            return Err(exceeded);
        }
        Ok(Place { bucket, taken, tightest: verdict.tightest })
    }

    /// Takes what was judged last. The place in flight is given back by [`LimitState::leave`].
    pub const fn take(&mut self, place: Place) {
        *self.bucket(place.bucket) = place.taken;
        self.in_flight.enter();
        self.uses = self.uses.saturating_add(1);
    }

    /// [`LimitState::judge`] and [`LimitState::take`] at once.
    ///
    /// # Errors
    /// [`Exceeded`] names the limit that binds.
    pub fn admit(
        &mut self,
        rules: &Rules<'_>,
        bucket: Bucket,
        now: Timestamp,
    ) -> Result<Option<Headroom>, Exceeded> {
        let place = self.judge(rules, bucket, now)?;
        self.take(place);
        Ok(place.tightest)
    }

    /// What was admitted at this moment was refused for another reason: the rates, the day and the uses are as if it
    /// had not been. It leaves all the same.
    pub fn give_back(&mut self, limits: &Limits, bucket: Bucket, at: Timestamp) {
        self.return_use();
        let state = self.bucket(bucket);
        let rates = [
            (&mut state.second, limits.rps, Rate::per_second as fn(u32) -> Rate),
            (&mut state.minute, limits.rpm, Rate::per_minute),
            (&mut state.hour, limits.rph, Rate::per_hour),
        ];
        for (gcra, limit, rate) in rates {
            if let Some(limit) = limit {
                *gcra = gcra.give_back(rate(requests(limit)), 1);
            }
        }
        state.day = state.day.give_back(at, 1);
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

    /// Tells what is left of each rate and day limit of a bucket; takes nothing.
    pub fn standing(
        &self,
        rules: &Rules<'_>,
        bucket: Bucket,
        now: Timestamp,
        mut each: impl FnMut(Headroom),
    ) {
        let state = match bucket {
            Bucket::Work => &self.work,
            Bucket::Look => &self.look,
        };
        state.steps(rules.limits, now, 0, |kind, limit, decision| {
            each(headroom(rules.subject, kind, limit, &decision));
        });
    }

    const fn bucket(&mut self, bucket: Bucket) -> &mut BucketState {
        match bucket {
            Bucket::Work => &mut self.work,
            Bucket::Look => &mut self.look,
        }
    }

    fn worn_out(&self, rules: &Rules<'_>, now: Timestamp) -> Option<Exceeded> {
        let limit = rules.max_uses.filter(|max| self.uses >= *max)?;
        Some(refused(rules, (LimitKind::TotalUses, limit), now))
    }

    fn crowded(&self, rules: &Rules<'_>, now: Timestamp) -> Option<Exceeded> {
        let limit = rules.limits.concurrency?;
        if self.in_flight.has_room(Some(requests(limit))) {
            return None;
        }
        Some(refused(rules, (LimitKind::Concurrency, limit), now))
    }
}

/// A refusal without a time at which it ends.
const fn refused(rules: &Rules<'_>, (kind, limit): (LimitKind, u64), now: Timestamp) -> Exceeded {
    let headroom = Headroom { subject: rules.subject, kind, limit, remaining: 0, reset: now };
    Exceeded { headroom, retry_at: None }
}

/// More requests than this are as good as no limit.
fn requests(limit: u64) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

const fn headroom(subject: LimitSubject, kind: LimitKind, limit: u64, decision: &Decision) -> Headroom {
    Headroom { subject, kind, limit, remaining: decision.remaining, reset: decision.reset }
}

/// What all rates and the day quota of one bucket say together.
#[derive(Default)]
struct Verdict {
    tightest: Option<Headroom>,
    refusal: Option<Exceeded>,
}

impl Verdict {
    fn hear(&mut self, headroom: Headroom, decision: &Decision) {
        if !decision.admitted {
            let refusal = Exceeded { headroom, retry_at: decision.retry_at };
            if self.refusal.as_ref().is_none_or(|known| refusal.binds_longer(known)) {
                self.refusal = Some(refusal);
            }
        }
        if self.tightest.as_ref().is_none_or(|known| headroom.binds_before(known)) {
            self.tightest = Some(headroom);
        }
    }
}

impl BucketState {
    /// The bucket with `cost` requests taken from every limit that admits them, and what the limits say together. With
    /// a cost of 0 only time passes.
    fn step(&self, rules: &Rules<'_>, now: Timestamp, cost: u32) -> (Self, Verdict) {
        let mut verdict = Verdict::default();
        let next = self.steps(rules.limits, now, cost, |kind, limit, decision| {
            verdict.hear(headroom(rules.subject, kind, limit, &decision), &decision);
        });
        (next, verdict)
    }

    /// The day is counted also without a quota, so that one that is set later knows the day so far.
    fn steps(
        &self,
        limits: &Limits,
        now: Timestamp,
        cost: u32,
        mut each: impl FnMut(LimitKind, u64, Decision),
    ) -> Self {
        let mut next = *self;
        let mut rate = |gcra: &mut Gcra, kind, limit: Option<u64>, rate: fn(u32) -> Rate| {
            let Some(limit) = limit else { return };
            let (state, decision) = gcra.step(rate(requests(limit)), now, cost);
            *gcra = state;
            each(kind, limit, decision);
        };
        rate(&mut next.second, LimitKind::RequestsPerSecond, limits.rps, Rate::per_second);
        rate(&mut next.minute, LimitKind::RequestsPerMinute, limits.rpm, Rate::per_minute);
        rate(&mut next.hour, LimitKind::RequestsPerHour, limits.rph, Rate::per_hour);
        match limits.rpd {
            Some(quota) => {
                let (state, decision) = self.day.step(quota, now, cost.into());
                next.day = state;
                each(LimitKind::RequestsPerDay, quota, decision);
            }
            None => next.day = self.day.count(now, cost.into()),
        }
        next
    }
}

#[cfg(test)]
mod tests;
