//! Tokens a second, a minute, an hour and a day.
//!
//! How many tokens a call takes is known only while it runs. So what it may take is *held* before it is sent, and what
//! it took is *counted* once the provider says so; what was held is given back then. A call is admitted when what is
//! counted, what is held for others and what it may take fit together, or when nothing is held and anything is left: a
//! call that may need more than all there is runs by itself. So calls that come at once can pass a limit together by
//! no more than the needs of one of them, and what passes it is owed: nothing is admitted until it has drained.
//!
//! A rate is a bucket as deep as its window's amount, as at the provider, which drains evenly. Its level is kept in
//! token-microseconds (see [`gcra`](crate::limit::gcra)); nothing is ever rounded.

use std::ops::{Add, Sub};

use crate::{
    clock::{MICROS_PER_SEC, Timestamp},
    limit::{
        Exceeded, Headroom, LimitKind, LimitSubject, Limits, Measure, gcra::REORDER_US, set::Rules,
        window::DayWindow,
    },
};

/// When a call that others stand in the way of is told to try again, in microseconds: calls end all the time.
const CROWDED_RETRY_US: i64 = MICROS_PER_SEC;

/// Tokens of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Into the model, but for what it read from the cache.
    pub input: u64,
    /// Out of the model.
    pub output: u64,
}

impl Tokens {
    /// Both together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }

    const fn of(self, measure: Measure) -> u64 {
        match measure {
            Measure::InputTokens => self.input,
            Measure::OutputTokens => self.output,
            Measure::Tokens => self.total(),
            Measure::Requests => 0,
        }
    }
}

/// At most as much as there can be.
impl Add for Tokens {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        let Self { input, output } = more;
        Self { input: self.input.saturating_add(input), output: self.output.saturating_add(output) }
    }
}

/// Never less than nothing.
impl Sub for Tokens {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        let Self { input, output } = less;
        Self { input: self.input.saturating_sub(input), output: self.output.saturating_sub(output) }
    }
}

/// What one measure has counted. The default is an idle one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Meter {
    second: Level,
    minute: Level,
    hour: Level,
    day: DayWindow,
}

/// All tokens of one key, owner or workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenState {
    input: Meter,
    output: Meter,
    total: Meter,
    held: Tokens,
}

/// The limits of one measure, by window.
const INPUT: [LimitKind; 4] = [
    LimitKind::InputTokensPerSecond,
    LimitKind::InputTokensPerMinute,
    LimitKind::InputTokensPerHour,
    LimitKind::InputTokensPerDay,
];
const OUTPUT: [LimitKind; 4] = [
    LimitKind::OutputTokensPerSecond,
    LimitKind::OutputTokensPerMinute,
    LimitKind::OutputTokensPerHour,
    LimitKind::OutputTokensPerDay,
];
const TOTAL: [LimitKind; 4] = [
    LimitKind::TokensPerSecond,
    LimitKind::TokensPerMinute,
    LimitKind::TokensPerHour,
    LimitKind::TokensPerDay,
];

impl TokenState {
    /// The state after a start: day quotas go on where they stood.
    #[must_use]
    pub fn restored(now: Timestamp, used: Tokens) -> Self {
        let meter = |n| Meter { day: DayWindow::starting(now, n), ..Meter::default() };
        Self {
            input: meter(used.input),
            output: meter(used.output),
            total: meter(used.total()),
            held: Tokens::default(),
        }
    }

    /// Whether a call that may take so much can begin; takes nothing.
    ///
    /// # Errors
    /// [`Exceeded`] names the limit that binds for longest.
    pub fn ask(&self, rules: &Rules<'_>, ask: Tokens, now: Timestamp) -> Result<(), Exceeded> {
        let mut refusal: Option<Exceeded> = None;
        self.each(rules.limits, now, |kind, gauge| {
            let wanted = ask.of(kind.measure());
            if gauge.admits(wanted) {
                return;
            }
            let headroom = gauge.headroom(rules.subject, kind);
            let exceeded = Exceeded { headroom, retry_at: Some(gauge.retry_at(wanted)) };
            if refusal.as_ref().is_none_or(|known| exceeded.binds_longer(known)) {
                refusal = Some(exceeded);
            }
        });
        refusal.map_or(Ok(()), Err)
    }

    /// Holds so much for a call that begins.
    pub fn hold(&mut self, ask: Tokens) {
        self.held = self.held + ask;
    }

    /// Gives back what was held.
    pub fn release(&mut self, held: Tokens) {
        self.held = self.held - held;
    }

    /// Counts what was taken, whatever any limit says.
    pub fn count(&mut self, limits: &Limits, taken: Tokens, now: Timestamp) {
        for (meter, kinds, n) in [
            (&mut self.input, INPUT, taken.input),
            (&mut self.output, OUTPUT, taken.output),
            (&mut self.total, TOTAL, taken.total()),
        ] {
            if n > 0 {
                meter.count(limits, kinds, n, now);
            }
        }
    }

    /// What is held for calls in flight.
    #[must_use]
    pub const fn held(&self) -> Tokens {
        self.held
    }

    /// Tells what is left of each limit; takes nothing.
    pub fn standing(&self, rules: &Rules<'_>, now: Timestamp, mut each: impl FnMut(Headroom)) {
        self.each(rules.limits, now, |kind, gauge| each(gauge.headroom(rules.subject, kind)));
    }

    fn each(&self, limits: &Limits, now: Timestamp, mut each: impl FnMut(LimitKind, &Gauge)) {
        for (meter, kinds) in [(&self.input, INPUT), (&self.output, OUTPUT), (&self.total, TOTAL)] {
            for (at, kind) in kinds.into_iter().enumerate() {
                let Some(limit) = limits.get(kind) else { continue };
                let held = self.held.of(kind.measure());
                let rate = |level: &Level, window_us| {
                    let drained = level.drained(limit, window_us, now);
                    Gauge { limit, held, level: drained.level, window_us, at: drained.at, day_ends: None }
                };
                let gauge = match at {
                    0 => rate(&meter.second, SECOND),
                    1 => rate(&meter.minute, MINUTE),
                    2 => rate(&meter.hour, HOUR),
                    _ => {
                        let (level, ends) = (meter.day.used(now).into(), meter.day.ends(now));
                        Gauge { limit, held, level, window_us: 1, at: now, day_ends: Some(ends) }
                    }
                };
                each(kind, &gauge);
            }
        }
    }
}

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60_000_000;
const HOUR: u64 = 3_600_000_000;

impl Meter {
    /// Days are counted also without a quota, so that one that is set later knows the day so far.
    fn count(&mut self, limits: &Limits, kinds: [LimitKind; 4], n: u64, now: Timestamp) {
        let [second, minute, hour, _] = kinds.map(|kind| limits.get(kind));
        for (level, limit, window) in [
            (&mut self.second, second, SECOND),
            (&mut self.minute, minute, MINUTE),
            (&mut self.hour, hour, HOUR),
        ] {
            if let Some(limit) = limit {
                *level = level.counted(limit, window, n, now);
            }
        }
        self.day = self.day.count(now, n);
    }
}

/// The state of one rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Level {
    /// Token-microseconds not yet drained at `at`; above the capacity: owed.
    level: u128,
    at: Timestamp,
    /// The limit that held then.
    limit: u64,
}

impl Level {
    fn counted(self, limit: u64, window_us: u64, n: u64, now: Timestamp) -> Self {
        let drained = self.drained(limit, window_us, now);
        let more = u128::from(n) * u128::from(window_us);
        Self { level: drained.level.saturating_add(more), ..drained }
    }

    /// The bucket at `now`: drained by the time gone by. One that has become smaller is at most full, but for what is
    /// owed.
    fn drained(self, limit: u64, window_us: u64, now: Timestamp) -> Self {
        let capacity = |limit: u64| u128::from(limit) * u128::from(window_us);
        let mut level = self.level;
        if limit < self.limit {
            let owed = level.saturating_sub(capacity(self.limit));
            level = (level - owed).min(capacity(limit)).saturating_add(owed);
        }
        let elapsed = now.micros_since(self.at);
        let at = if (-REORDER_US..0).contains(&elapsed) { self.at } else { now };
        let gone = u128::from(u64::try_from(elapsed).unwrap_or(0)) * u128::from(limit);
        Self { level: level.saturating_sub(gone), at, limit }
    }
}

/// One limit at one moment.
struct Gauge {
    limit: u64,
    held: u64,
    level: u128,
    /// In which the limit's amount drains; 1 for a day, whose level is a plain sum.
    window_us: u64,
    at: Timestamp,
    /// When a day's quota begins anew; `None`: the level drains.
    day_ends: Option<Timestamp>,
}

impl Gauge {
    fn capacity(&self) -> u128 {
        u128::from(self.limit) * u128::from(self.window_us)
    }

    fn weight(&self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.window_us)
    }

    fn admits(&self, ask: u64) -> bool {
        let full = self.level.saturating_add(self.weight(self.held.saturating_add(ask)));
        full <= self.capacity() || (self.held == 0 && self.level < self.capacity())
    }

    fn headroom(&self, subject: LimitSubject, kind: LimitKind) -> Headroom {
        let taken = self.level.saturating_add(self.weight(self.held));
        let left = self.capacity().saturating_sub(taken) / u128::from(self.window_us);
        let reset = self.day_ends.unwrap_or_else(|| self.drained_by(taken));
        let remaining = u64::try_from(left).unwrap_or(u64::MAX);
        Headroom { subject, kind, limit: self.limit, remaining, reset }
    }

    /// When a call that was refused could begin: exact where nothing is held, else the soonest that can be told.
    fn retry_at(&self, ask: u64) -> Timestamp {
        let crowded = self.at.plus_micros(CROWDED_RETRY_US);
        if let Some(ends) = self.day_ends {
            return if self.level < self.capacity() { crowded } else { ends };
        }
        // Nothing begins before anything is left; a call by itself does then.
        let alone = self.drained_by((self.level + 1).saturating_sub(self.capacity()));
        if self.held == 0 {
            return alone;
        }
        let full = self.level.saturating_add(self.weight(self.held.saturating_add(ask)));
        self.drained_by(full.saturating_sub(self.capacity())).min(alone.max(crowded))
    }

    /// When so much has drained, rounded up to whole microseconds.
    fn drained_by(&self, level: u128) -> Timestamp {
        let micros = level.div_ceil(u128::from(self.limit.max(1)));
        self.at.plus_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests;
