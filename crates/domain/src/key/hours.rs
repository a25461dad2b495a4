//! A window over the hours of a week in a time zone, such as `Mon-Fri 08-18 Europe/Berlin`.
//!
//! ```text
//! hours  = window *( (";" | ",") window )
//! window = [ days ] from "-" to [ zone ]     days: Mon, Mon-Fri, or several joined by ","; none: every day
//! from, to = HH or HH:MM, to 24              22-06 ends on the day after the one that is named
//! zone   = an IANA name or UTC               a window without one has the zone of the next that has one, else UTC
//! ```
//!
//! Hours are those that clocks on the wall show there: on the day that summer time begins, `08-18` is still from
//! eight to six.

mod parse;

use jiff::{civil::Weekday, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

const MINUTES_PER_DAY: u16 = 24 * 60;

/// The hours of the week in which a key may be used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HoursOfWeek {
    text: String,
    windows: Vec<Window>,
}

/// From one time of day to another, on some days.
#[derive(Debug, Clone)]
struct Window {
    /// Bit 0 is Monday.
    days: u8,
    /// Minutes after midnight.
    from: u16,
    /// Minutes after midnight, exclusive; at or before `from`: on the next day.
    until: u16,
    zone: TimeZone,
}

/// The window could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// Not a window.
    #[error("`{0}` is not a weekly window such as `Mon-Fri 08-18 Europe/Berlin`")]
    Window(String),
    /// No such zone.
    #[error("`{0}` is not a known time zone such as `Europe/Berlin` or `UTC`")]
    Zone(String),
    /// Too much of it.
    #[error("weekly hours have at most {MAX_LEN} characters")]
    TooLong,
}

/// The longest text that is read.
pub const MAX_LEN: usize = 512;

impl HoursOfWeek {
    /// Reads windows.
    ///
    /// # Errors
    /// [`HoursError`] names the part that cannot be read.
    pub fn parse(text: &str) -> Result<Self, HoursError> {
        let text = text.trim();
        if text.len() > MAX_LEN {
            return Err(HoursError::TooLong);
        }
        Ok(Self { windows: parse::windows(text)?, text: text.to_owned() })
    }

    /// Whether the moment lies in one of the windows.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        jiff::Timestamp::from_microsecond(now.as_micros())
            .is_ok_and(|now| self.windows.iter().any(|window| window.contains(now)))
    }

    /// The windows as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Window {
    fn contains(&self, now: jiff::Timestamp) -> bool {
        let local = self.zone.to_datetime(now);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = self.days & day_bit(local.weekday()) != 0;
        if self.from < self.until {
            return today && (self.from..self.until).contains(&minute);
        }
        let yesterday = self.days & day_bit(local.weekday().previous()) != 0;
        (today && minute >= self.from) || (yesterday && minute < self.until)
    }
}

fn day_bit(day: Weekday) -> u8 {
    1 << day.to_monday_zero_offset()
}

impl PartialEq for HoursOfWeek {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for HoursOfWeek {}

impl std::fmt::Display for HoursOfWeek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for HoursOfWeek {
    type Err = HoursError;
    fn from_str(text: &str) -> Result<Self, HoursError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for HoursOfWeek {
    type Error = HoursError;
    fn try_from(text: String) -> Result<Self, HoursError> {
        Self::parse(&text)
    }
}

impl From<HoursOfWeek> for String {
    fn from(hours: HoursOfWeek) -> Self {
        hours.text
    }
}

#[cfg(test)]
mod tests;
