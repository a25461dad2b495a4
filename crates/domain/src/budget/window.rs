//! The periods of budgets, in a time zone.

use jiff::{ToSpan, Unit, Zoned, ZonedRound, civil::Weekday, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How long a budget lasts until it begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday (ISO 8601).
    Week,
    /// From the first of a month to the first of the next.
    Month,
    /// For ever: it does not begin anew.
    Life,
}

impl Period {
    /// As written in flags, JSON and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Life => "life",
        }
    }

    /// As people say it after an amount: `a day`, `for life`.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Day => "a day",
            Self::Week => "a week",
            Self::Month => "a month",
            Self::Life => "for life",
        }
    }

    /// The reverse of [`Period::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Day, Self::Week, Self::Month, Self::Life].into_iter().find(|p| p.as_str() == text)
    }
}

/// One period: from its first microsecond to the one before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Its beginning; for life, the epoch.
    pub start: Timestamp,
    /// Its end; `None`: it has none.
    pub end: Option<Timestamp>,
}

impl Window {
    /// Whether the moment lies in it.
    #[must_use]
    pub fn contains(&self, moment: Timestamp) -> bool {
        self.start <= moment && self.end.is_none_or(|end| moment < end)
    }
}

/// Not a time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time zone such as Europe/Berlin or UTC")]
pub struct ZoneError(String);

/// A period in a time zone: knows when each begins and ends, summer time included.
#[derive(Debug, Clone)]
pub struct Calendar {
    period: Period,
    zone: TimeZone,
    name: String,
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        self.period == other.period && self.name == other.name
    }
}

impl Eq for Calendar {}

impl Calendar {
    /// A period in a zone of the IANA data base.
    ///
    /// # Errors
    /// [`ZoneError`].
    pub fn new(period: Period, zone: &str) -> Result<Self, ZoneError> {
        let bad = || ZoneError(zone.chars().take(64).collect());
        let found = TimeZone::get(zone).map_err(|_| bad())?;
        let name = found.iana_name().ok_or_else(bad)?.to_owned();
        Ok(Self { period, zone: found, name })
    }

    /// The period.
    #[must_use]
    pub const fn period(&self) -> Period {
        self.period
    }

    /// The zone's name.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.name
    }

    /// The period that the moment lies in. A moment outside the calendar lies in one that never ends.
    #[must_use]
    pub fn window_at(&self, moment: Timestamp) -> Window {
        let endless = Window { start: Timestamp::from_micros(0), end: None };
        if self.period == Period::Life {
            return endless;
        }
        self.bounds(moment).unwrap_or(endless)
    }

    /// What the period that the moment lies in is called: `2026-11-22`, `2026-W47` (ISO 8601), `2026-11`, `life`.
    #[must_use]
    pub fn name_at(&self, moment: Timestamp) -> String {
        let Ok(at) = jiff::Timestamp::from_microsecond(moment.as_micros()) else { return String::new() };
        let date = at.to_zoned(self.zone.clone()).date();
        match self.period {
            Period::Day => date.to_string(),
            Period::Week => {
                let week = date.iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Period::Month => format!("{:04}-{:02}", date.year(), date.month()),
            Period::Life => Period::Life.as_str().to_owned(),
        }
    }

    /// When a day (`YYYY-MM-DD`) begins in the zone; `None`: the text is no day.
    #[must_use]
    pub fn day(&self, text: &str) -> Option<Timestamp> {
        let date: jiff::civil::Date = text.parse().ok().filter(|_| text.len() == "2026-11-22".len())?;
        let start = date.to_zoned(self.zone.clone()).ok()?;
        Some(Timestamp::from_micros(start.timestamp().as_microsecond()))
    }

    fn bounds(&self, moment: Timestamp) -> Option<Window> {
        let local = jiff::Timestamp::from_microsecond(moment.as_micros()).ok()?.to_zoned(self.zone.clone());
        // Rounding to a day gives the first moment of that day, also where midnight is left out.
        let midnight = |zoned: &Zoned| {
            zoned.round(ZonedRound::new().smallest(Unit::Day).mode(jiff::RoundMode::Trunc)).ok()
        };
        let today = midnight(&local)?;
        let (start, next) = match self.period {
            Period::Day => (today.clone(), today.checked_add(1.day()).ok()?),
            Period::Week => {
                let since = today.date().weekday().since(Weekday::Monday);
                let monday = midnight(&today.checked_sub(i64::from(since).days()).ok()?)?;
                (monday.clone(), monday.checked_add(7.days()).ok()?)
            }
            Period::Month => {
                let first = midnight(&today.with().day(1).build().ok()?)?;
                (first.clone(), first.checked_add(1.month()).ok()?)
            }
            Period::Life => return None,
        };
        let at = |zoned: &Zoned| Timestamp::from_micros(zoned.timestamp().as_microsecond());
        Some(Window { start: at(&start), end: Some(at(&midnight(&next)?)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn window(period: Period, zone: &str, moment: &str) -> (String, String) {
        let window = Calendar::new(period, zone).unwrap().window_at(at(moment));
        let text = |t: Timestamp| jiff::Timestamp::from_microsecond(t.as_micros()).unwrap().to_string();
        (text(window.start), window.end.map(text).unwrap_or_default())
    }

    fn pair(start: &str, end: &str) -> (String, String) {
        (start.into(), end.into())
    }

    #[test]
    fn days_weeks_and_months_begin_where_the_clocks_of_the_zone_say() {
        assert_eq!(
            window(Period::Day, "Europe/Berlin", "2026-11-22T23:30:00Z"),
            pair("2026-11-22T23:00:00Z", "2026-11-23T23:00:00Z")
        );
        assert_eq!(
            window(Period::Week, "UTC", "2026-11-22T23:59:59.999999Z"),
            pair("2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z")
        );
        assert_eq!(
            window(Period::Month, "Asia/Shanghai", "2026-11-30T16:00:00Z"),
            pair("2026-11-30T16:00:00Z", "2026-12-31T16:00:00Z")
        );
    }

    #[test]
    fn days_of_summer_time_have_23_or_25_hours() {
        assert_eq!(
            window(Period::Day, "Europe/Berlin", "2026-03-29T12:00:00Z"),
            pair("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")
        );
        assert_eq!(
            window(Period::Day, "Europe/Berlin", "2026-10-25T12:00:00Z"),
            pair("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")
        );
    }

    #[test]
    fn a_day_whose_midnight_is_left_out_begins_after_the_gap() {
        // Paraguay and Lebanon have put their clocks forward at midnight.
        assert_eq!(
            window(Period::Day, "Asia/Beirut", "2026-03-29T12:00:00Z").0,
            "2026-03-28T22:00:00Z".to_owned()
        );
    }

    #[test]
    fn periods_are_called_by_the_calendar_of_their_zone() {
        let name = |period, zone, moment| Calendar::new(period, zone).unwrap().name_at(at(moment));
        assert_eq!(name(Period::Day, "Asia/Shanghai", "2026-11-30T16:00:00Z"), "2026-12-01");
        assert_eq!(name(Period::Month, "Asia/Shanghai", "2026-11-30T15:59:59Z"), "2026-11");
        assert_eq!(name(Period::Week, "UTC", "2027-01-01T00:00:00Z"), "2026-W53");
        assert_eq!(name(Period::Life, "UTC", "2027-01-01T00:00:00Z"), "life");
        let shanghai = Calendar::new(Period::Day, "Asia/Shanghai").unwrap();
        assert_eq!(shanghai.day("2026-12-01"), Some(at("2026-11-30T16:00:00Z")));
        assert_eq!(shanghai.day("2026-12-01T00:00:00Z"), None);
    }

    #[test]
    fn a_life_has_no_end_and_an_unknown_zone_is_named() {
        let life = Calendar::new(Period::Life, "UTC").unwrap().window_at(at("2026-11-22T00:00:00Z"));
        assert_eq!(life.end, None);
        let error = Calendar::new(Period::Day, "Mars/Olympus").unwrap_err();
        insta::assert_snapshot!(error, @"`Mars/Olympus` is not a time zone such as Europe/Berlin or UTC");
    }

    proptest! {
        /// Periods follow one another without gap and overlap.
        #[test]
        fn each_moment_lies_in_its_own_window_and_the_next_begins_where_it_ends(
            secs in 0_i64..4_000_000_000,
            zone in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Beirut",
            ]),
            period in prop::sample::select(vec![Period::Day, Period::Week, Period::Month]),
        ) {
            let calendar = Calendar::new(period, zone).unwrap();
            let moment = Timestamp::from_secs(secs);
            let window = calendar.window_at(moment);
            prop_assert!(window.contains(moment));
            let end = window.end.unwrap();
            prop_assert_eq!(calendar.window_at(end).start, end);
            prop_assert_eq!(calendar.window_at(end.plus_micros(-1)), window);
            prop_assert_eq!(calendar.window_at(window.start), window);
        }
    }
}
