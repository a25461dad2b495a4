//! When a job is due: a cron expression in a time zone, or a fixed interval. Each moment at which a job is due is a
//! *slot*; no slot is run twice, wherever the clock is set to, and after downtime only the newest one is run.

use std::fmt;

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Zoned, tz::TimeZone};

use crate::{
    clock::{MICROS_PER_DAY, MICROS_PER_SEC, Timestamp},
    ports::jobs::JobRecord,
};

/// No lease and no pause before another try is longer, in microseconds. One that seems to be was taken before the
/// clock was set back.
pub const MAX_HOLD_MICROS: i64 = 3_600 * MICROS_PER_SEC;
/// Intervals are at least a second and at most 366 days, in seconds.
const INTERVAL_SECS: std::ops::RangeInclusive<i64> = 1..=366 * 86_400;

/// When a job is due.
#[derive(Debug, Clone)]
pub struct Schedule(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Cron { cron: Box<Cron>, zone: TimeZone, text: String },
    Every { micros: i64 },
}

/// Not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not a cron expression of five fields.
    #[error("`{0}` is not a cron expression such as `0 9 * * *`")]
    Cron(String),
    /// The expression never comes true.
    #[error("`{0}` never comes true")]
    Never(String),
    /// No such time zone.
    #[error("`{0}` is not a time zone such as Europe/Berlin")]
    Zone(String),
    /// Too short or too long.
    #[error("an interval is between a second and 366 days")]
    Interval,
}

impl Schedule {
    /// A cron expression of five fields (minute, hour, day of month, month, day of week), in a zone of the IANA data
    /// base. A time that daylight saving leaves out comes right after the gap; one that it repeats comes once.
    ///
    /// # Errors
    /// [`ScheduleError`] says what is wrong.
    pub fn cron(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        let bad = || ScheduleError::Cron(expression.to_owned());
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = Box::new(parser.parse(expression).map_err(|_| bad())?);
        let zone = TimeZone::get(zone).map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        let schedule = Self(Kind::Cron { cron, zone, text: expression.to_owned() });
        let comes = schedule.next_after(Timestamp::from_secs(0));
        comes.map(|_| schedule).ok_or_else(|| ScheduleError::Never(expression.to_owned()))
    }

    /// Every so many seconds, counted from the epoch, so that all nodes have the same slots.
    ///
    /// # Errors
    /// [`ScheduleError::Interval`].
    pub fn every(secs: i64) -> Result<Self, ScheduleError> {
        if !INTERVAL_SECS.contains(&secs) {
            return Err(ScheduleError::Interval);
        }
        Ok(Self(Kind::Every { micros: secs * MICROS_PER_SEC }))
    }

    /// By how much the beginning of a run may be put off at most, in microseconds: short intervals stay what they are.
    #[must_use]
    pub const fn most_jitter_micros(&self) -> i64 {
        match &self.0 {
            Kind::Every { micros } => *micros / 10,
            Kind::Cron { .. } => MICROS_PER_DAY,
        }
    }

    /// The first slot after a moment; `None` when there is none in the calendar.
    #[must_use]
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every { micros } => {
                let slot = moment.as_micros().div_euclid(*micros).checked_add(1)?.checked_mul(*micros)?;
                Some(Timestamp::from_micros(slot))
            }
            Kind::Cron { cron, zone, .. } => {
                let next = cron.find_next_occurrence(&zoned(moment, zone)?, false).ok()?;
                timestamp(&next).filter(|slot| *slot > moment)
            }
        }
    }

    /// The last slot at a moment or before.
    #[must_use]
    pub fn last_until(&self, moment: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every { micros } => {
                Some(Timestamp::from_micros(moment.as_micros().div_euclid(*micros) * *micros))
            }
            Kind::Cron { cron, zone, .. } => {
                let last = cron.find_previous_occurrence(&zoned(moment, zone)?, true).ok()?;
                timestamp(&last).filter(|slot| *slot <= moment)
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Cron { zone, text, .. } => write!(f, "{text} {}", zone.iana_name().unwrap_or("UTC")),
            Kind::Every { micros } => write!(f, "every {} s", micros / MICROS_PER_SEC),
        }
    }
}

fn zoned(moment: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    let moment = jiff::Timestamp::from_microsecond(moment.as_micros()).ok()?;
    Some(moment.to_zoned(zone.clone()))
}

fn timestamp(zoned: &Zoned) -> Option<Timestamp> {
    Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
}

/// What a runner does about a job now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    No,
    /// The next slot is another one than the stored: the clock was set back, or the schedule was changed.
    Move(Timestamp),
    /// Take the lease and run.
    Run {
        /// This slot,
        slot: Timestamp,
        /// and then this one.
        next: Timestamp,
    },
}

/// Whether a job is due. `jitter_micros` puts the beginning of each run off, so that not everything begins at once.
#[must_use]
pub fn due(schedule: &Schedule, job: &JobRecord, now: Timestamp, jitter_micros: i64) -> Due {
    if let Some(slot) = job.running_slot {
        let lapsed = job.lease_until <= now || job.lease_until > now.plus_micros(MAX_HOLD_MICROS);
        return if lapsed { Due::Run { slot, next: job.next_run_at } } else { Due::No };
    }
    let Some(next) = schedule.next_after(now) else { return Due::No };
    if job.next_run_at > next {
        return Due::Move(next);
    }
    let jitter = jitter_micros.clamp(0, MICROS_PER_DAY);
    if now < job.next_run_at.plus_micros(jitter) {
        return Due::No;
    }
    let slot = schedule.last_until(now).unwrap_or(job.next_run_at);
    Due::Run { slot, next }
}

#[cfg(test)]
mod tests;
